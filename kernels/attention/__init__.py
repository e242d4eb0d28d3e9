"""Attention and what stands beside it, in one launch: windows, relative positions, depth."""
