"""Everything compiled that is kept on disk, in one store: keys, records, hashes, pruning, report.

OpenVINO's parts, NVIDIA's engines, the kernels that TensorRT-RTX compiles on the device, and the
statistics of a calibration. Each is a file `STEM.engine` with a record `STEM.json` beside it.
"""
