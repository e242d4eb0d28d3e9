"""The bundle's graphs in half precision, as a GPU would compute them, in ONNX Runtime."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import onnx
import onnxruntime as ort

from samedge.export.graphs.model import OnnxGraph
from samedge.export.graphs.tensorrt_attention import shape_for_gpu
from samedge.export.half.emulation import emulated
from samedge.export.half.graph import to_half
from tests.golden import graphs
from tests.golden.onnx_engine import OnnxEngine


class HalfEngine(OnnxEngine):
    """The fp16 graphs, made from the float32 ones as `samedge.export` does it, and emulated."""

    def _half(self, source: Path, name: str) -> ort.InferenceSession:
        graph = OnnxGraph.read(source)
        if name != "decoder":
            shape_for_gpu(graph)
        path = self._folder / f"{name}.half.onnx"
        emulated(to_half(graph)).save(path)
        return self._session(path)

    @cached_property
    def _encoder(self) -> ort.InferenceSession:
        return self._half(self.bundle.graph("encoder", "fp32"), "encoder")

    @cached_property
    def _decoder(self) -> ort.InferenceSession:
        return self._half(self.bundle.graph("decoder", "fp32"), "decoder")

    @cached_property
    def _network(self) -> ort.InferenceSession:
        path = self._folder / "network.full.onnx"
        onnx.save(
            graphs.network(self.bundle),
            path,
            save_as_external_data=True,
            location=f"{path.name}.data",
        )
        return self._half(path, "network")
