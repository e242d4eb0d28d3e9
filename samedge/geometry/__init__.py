"""Crop, resize, pad and the way back, as small matrices; what graphs take and give. numpy only."""
