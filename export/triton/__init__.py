"""A bundle -> an engine of our own: its network traced into a plan, the kernels compiled."""
