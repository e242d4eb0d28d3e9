"""INT8: calibration, sensitivity of layers, smoothing, graphs with Q/DQ, and the report."""
