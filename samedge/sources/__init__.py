"""Files -> frames `[H, W]` or `[H, W, 3]` uint8, with their times, sizes and places."""
