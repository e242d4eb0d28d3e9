"""Any ONNX file in plain float32 on the CPU, value by value: the oracle behind probes and gates.

Not a backend: nothing is cached, rewritten or bound. What it computes is what the file says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.errors import BundleError, DeviceError
from samedge.machine.cpu import physical_cores
from samedge.runtime.backend import Arrays


class GraphRunner:
    """One ONNX file, compiled for the CPU.

    An encoder is cut at `network_input`: what stands behind it has fixed shapes, and OpenVINO plans
    memory for those. In one piece with what takes frames of any size every value has its own.

    Args:
        path: of the file.
        threads: for inference; default: the physical cores.

    Raises:
        BundleError: OpenVINO cannot read the file.
        DeviceError: OpenVINO cannot compile it.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        from samedge.runtime.openvino.compile import DEVICE, core

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
            self._requests: list[Any] = [
                core().compile_model(part, DEVICE, config).create_infer_request()
                for part in _parts(model)
            ]
        except RuntimeError as error:
            raise DeviceError(f"OpenVINO cannot compile {path.name}: {error}") from error

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """All outputs for `inputs`, by every name they have; arrays of its own.

        Raises:
            DeviceError: OpenVINO failed.
        """
        import openvino as ov

        known = dict(inputs)
        for request in self._requests:
            for port in request.model_inputs:
                array = next(known[name] for name in port.get_names() if name in known)
                request.set_tensor(port, ov.Tensor(np.ascontiguousarray(array)))
            try:
                request.infer()
            except RuntimeError as error:
                raise DeviceError(f"OpenVINO failed: {error}") from error
            for port in request.model_outputs:
                array = request.get_tensor(port).data.copy()
                known.update(dict.fromkeys(port.get_names(), array))
        return {name: array for name, array in known.items() if name not in inputs}

    def close(self) -> None:
        """Free the engine."""
        self._requests = []


def _parts(model: Any) -> Iterator[Any]:
    """The model in the pieces that run one after the other; `model` is used up."""
    import openvino as ov
    import openvino.opset13 as ops

    ports = (port for node in model.get_ordered_ops() for port in node.outputs())
    port = next((port for port in ports if NETWORK_INPUT in port.get_names()), None)
    if port is None or port.get_partial_shape().is_dynamic or not port.get_node().inputs():
        yield model
        return
    behind = _downstream(port)
    results = model.get_results()
    first = [result for result in results if result.get_name() not in behind]
    entry = ops.parameter(port.get_shape(), port.get_element_type(), name=NETWORK_INPUT)
    for consumer in port.get_target_inputs():
        consumer.replace_source_output(entry.output(0))
    parameters = model.get_parameters()
    rest = [result for result in results if result not in first]
    yield ov.Model([*first, ops.result(port)], parameters, "preprocess")
    entry.output(0).get_tensor().set_names({NETWORK_INPUT})
    yield ov.Model(rest, [entry], "network")


def _downstream(port: Any) -> set[str]:
    """Names of all nodes that are computed from the value at `port`."""
    found: set[str] = set()
    waiting = [port]
    while waiting:
        for consumer in waiting.pop().get_target_inputs():
            node = consumer.get_node()
            if node.get_name() not in found:
                found.add(node.get_name())
                waiting += node.outputs()
    return found
