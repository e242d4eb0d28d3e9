"""What a bundle's ONNX file says, read and checked before any engine sees it; no onnx needed.

Engines' own parsers crash on files that are nearly right, read whatever file the graph names, and
take what samedge never writes. So every graph is read here first, by a small strict reader.
"""
