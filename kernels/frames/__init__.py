"""The ends of a plan: from a uint8 frame to the network's input, from logits to masks."""
