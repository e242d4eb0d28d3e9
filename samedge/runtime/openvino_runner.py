"""Any ONNX file in plain float32 on the CPU, value by value: the oracle behind probes and gates.

Not a backend: nothing is cached, rewritten or bound. What it computes is what the file says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import BundleError, DeviceError
from samedge.runtime.backend import Arrays
from samedge.runtime.cpu import physical_cores


class GraphRunner:
    """One ONNX file, compiled for the CPU.

    Args:
        path: of the file.
        threads: for inference; default: the physical cores.

    Raises:
        BundleError: OpenVINO cannot read the file.
        DeviceError: OpenVINO cannot compile it.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        from samedge.runtime.openvino_compile import DEVICE, core

        config = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads or physical_cores(),
            "NUM_STREAMS": "1",
        }
        try:
            model = core().read_model(path)
        except RuntimeError as error:
            raise BundleError(f"OpenVINO cannot read {path.name}: {error}") from error
        try:
            self._compiled: Any = core().compile_model(model, DEVICE, config)
        except RuntimeError as error:
            raise DeviceError(f"OpenVINO cannot compile {path.name}: {error}") from error
        self._request: Any = self._compiled.create_infer_request()
        self.inputs = [sorted(port.get_names()) for port in self._compiled.inputs]

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """All outputs for `inputs`, by every name they have; arrays of its own.

        Raises:
            DeviceError: OpenVINO failed.
        """
        import openvino as ov

        for names, port in zip(self.inputs, self._compiled.inputs, strict=True):
            array = next(inputs[name] for name in names if name in inputs)
            self._request.set_tensor(port, ov.Tensor(np.ascontiguousarray(array)))
        try:
            self._request.infer()
        except RuntimeError as error:
            raise DeviceError(f"OpenVINO failed: {error}") from error
        found = {}
        for port in self._compiled.outputs:
            array = self._request.get_tensor(port).data.copy()
            found.update(dict.fromkeys(port.get_names(), array))
        return found

    def close(self) -> None:
        """Free the engine."""
        self._request = self._compiled = None
