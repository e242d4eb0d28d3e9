"""Masks, prompts and words over frames, as pictures."""
