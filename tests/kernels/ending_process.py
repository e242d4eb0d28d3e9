"""A module of kernels whose import ends the process, as Triton's compiler can."""

import os

os._exit(1)
