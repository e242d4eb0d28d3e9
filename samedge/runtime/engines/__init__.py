"""Compiled engines on disk: found, checked, pruned."""
