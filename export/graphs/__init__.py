"""ONNX graphs: written, read, and reshaped for engines."""
