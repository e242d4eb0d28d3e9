"""Running an encoder graph in OpenVINO while it is being made: what INT8 is measured with.

Everything here is the network part, from `network_input` on; frames are brought there by
`samedge.geometry.network_input`, the oracle of the preprocessing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._openvino import ov
from samedge.bundle import Bundle
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.export.graphs.model import OnnxGraph
from samedge.families import Family
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.network_input import network_input
from samedge.runtime.backend import LoadOptions
from samedge.runtime.openvino.compile import DEVICE, core, engine_config, split_encoder

Floats = NDArray[np.float32]


class EncoderModel:
    """The network part of an encoder graph as an OpenVINO model; use it in a `with` block.

    Attributes:
        model: the ov.Model; its weights are mapped from a temporary file.
        preprocess: what stands before it.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="samedge-int8-")
        try:
            path = Path(self._folder.name) / "encoder.onnx"
            graph.save(path)
            self.preprocess, self.model = split_encoder(core().read_model(path))
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> EncoderModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del self.model, self.preprocess  # before the file that they live from
        self._folder.cleanup()

    def outputs(self) -> dict[str, Any]:
        """Every value by the name that it has in the graph."""
        return {
            name: output
            for node in self.model.get_ordered_ops()
            for output in node.outputs()
            for name in output.get_names()
        } | {NETWORK_INPUT: self.model.inputs[0].get_node().output(0)}

    def product(self, name: str) -> Any:
        """The product that the graph's convolution or linear layer `name` became: OpenVINO adds a
        convolution's bias in an operation of its own, which then has the name."""
        node: Any = next(n for n in self.model.get_ordered_ops() if n.get_friendly_name() == name)
        return node.input_value(0).get_node() if node.get_type_name() == "Add" else node


def compiled(model: ov.Model, threads: int, precision: str = "fp32") -> ov.CompiledModel:
    """`model` on this CPU, with what samedge uses for one frame at a time."""
    config = engine_config(precision, LoadOptions(precision, threads))
    return core().compile_model(model, DEVICE, config)


def run(request: ov.InferRequest, x: Floats) -> Sequence[NDArray[Any]]:
    """All outputs for one network input; views that the next run overwrites."""
    request.set_input_tensor(0, ov.Tensor(np.ascontiguousarray(x)))
    request.infer()
    return [tensor.data for tensor in request.output_tensors]


class NetworkInputs:
    """Frames as the network sees them, made anew in every round: large models take large ones.

    Args:
        frames: uint8 [H, W] or [H, W, 3]; for a family of volumes [slices, H, W] (or [..., 3]).
        bundle: whose preprocessing it is.
    """

    def __init__(self, frames: Sequence[NDArray[Any]], bundle: Bundle) -> None:
        self.frames = frames
        self._family: Family = bundle.family
        variant = bundle.manifest.variant
        self._sizes = variant.input_size, variant.low_res

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Floats]:
        for frame in self.frames:
            start = 1 if self._family.slices > 1 else 0
            height, width = frame.shape[start : start + 2]
            geometry = frame_geometry(self._family, height, width, None, *self._sizes)
            yield network_input(frame, geometry, self._family)
