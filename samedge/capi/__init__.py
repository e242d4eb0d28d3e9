"""The C library libsamedge: its sources, and what Python needs to find and call it.

`include/samedge.h` is the contract, docs/embedding.md the manual. CMake builds it; no wheel has it.
"""
