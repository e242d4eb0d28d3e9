"""The backends on NVIDIA GPUs, in processes of their own.

Once the stand-in for the driver is loaded, it answers whoever looks for `libcuda.so.1` in the same
process: other tests would find a GPU that is none.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from samedge.capi.library import Library

CASES = ("gpu_triton_cases.py", "gpu_tensorrt_cases.py")


@pytest.mark.parametrize("file", CASES)
def test_cases(file: str, library: Library) -> None:
    """`library`: it is built, or this is skipped with the reason."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider"]
    command.append(str(Path(__file__).with_name(file)))
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, timeout=800
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
