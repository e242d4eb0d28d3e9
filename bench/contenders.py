"""The encoders that are measured against each other, each as a call with fixed memory."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bench.eager import network_input, require_torch
from samedge.bench.int8_bundle import with_int8
from samedge.bench.latency import Contender
from samedge.bench.plain import OUTPUT, export_plain
from samedge.bundle import Bundle
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.errors import MissingDependencyError
from samedge.geometry.frame_geometry import frame_geometry
from samedge.runtime.backend import LoadOptions
from samedge.runtime.buffers import FrameBuffers
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.openvino.engine import OpenVinoEngine
from samedge.runtime.precision import runnable


class Contenders:
    """Encoders of one model, and what they compute for one frame of the network's own size.

    Attributes:
        calls: name -> one run; samedge's counts the network part only, as the others do.
        precisions: name -> "fp32", "bf16", "fp16" or "int8".
        yardstick: name -> the plain export in the same engine and precision.
        worth: precisions that this CPU computes natively, and in less time than float32.
        native: those of them that need no graph of their own.
        device: its name.
    """

    def __init__(self, model: Any, work: Path, threads: int) -> None:
        self.calls: dict[str, Contender] = {}
        self.precisions: dict[str, str] = {}
        self.yardstick: dict[str, str] = {}
        slower = OPENVINO.slower_than_float32()
        self.worth = [p for p in OPENVINO.precisions() if p not in slower]
        self.native = tuple(p for p in self.worth if p != "int8")
        self.device = ""
        self._model, self._work, self._threads = model, work, threads
        self._results: dict[str, Callable[[], NDArray[np.float32]]] = {}
        self._engines: list[OpenVinoEngine] = []
        family, config = model.family, model.config
        side = config.img_size
        self._frame = np.random.default_rng(1).integers(0, 256, (side, side), dtype=np.uint8)
        geometry = frame_geometry(family, side, side, None, side, config.low_res)
        self._x = network_input(self._frame, geometry, family)

    def add_eager(self, name: str) -> None:
        """The eager image encoder."""
        torch = require_torch()
        encoder = self._model.image_encoder

        def run() -> Any:
            torch.set_num_threads(self._threads)
            with torch.inference_mode():
                return encoder(self._x)

        self._add(name, "fp32", lambda: _nothing(run()), lambda: run().numpy())

    def add_plain(self) -> None:
        """The plain ONNX export in ONNX Runtime and OpenVINO."""
        path = self._work / f"plain-{self._model.config.vit}.onnx"
        if not path.exists():
            export_plain(self._model.image_encoder, self._x, path)
        self._add_onnxruntime("plain export, ONNX Runtime fp32", path)
        for precision in self.native:
            self._add_openvino(f"plain export, OpenVINO {precision}", path, precision)

    def add_samedge(self) -> Path:
        """samedge's bundle in OpenVINO; returns the bundle's path."""
        path = self._work / f"samus-{self._model.config.vit}.samedge"
        if not path.exists():
            from samedge.export import export
            from samedge.fold import fold

            export(fold(self._model), path)
        bundle = Bundle.open(path)
        if "int8" in self.worth:
            quantised = path.with_name(f"{path.stem}-int8.samedge")
            if not quantised.exists():
                with_int8(bundle, [self._frame], quantised, self._threads)
            path, bundle = quantised, Bundle.open(quantised)
        for precision in (p for p in runnable(bundle, OPENVINO) if p in self.worth):
            name = f"samedge, OpenVINO {precision}"
            self._add_bundle(name, bundle, precision)
            if precision in self.native:
                self.yardstick[name] = f"plain export, OpenVINO {precision}"
        return path

    def embeddings(self) -> dict[str, NDArray[np.float32]]:
        """What every contender computes, float32 [1, D, g, g]."""
        return {name: np.array(result()) for name, result in self._results.items()}

    def close(self) -> None:
        """Free all engines."""
        self.calls, self._results = {}, {}
        for engine in self._engines:
            engine.close()

    def _add(
        self,
        name: str,
        precision: str,
        call: Contender,
        result: Callable[[], NDArray[np.float32]],
    ) -> None:
        self.calls[name], self._results[name] = call, result
        self.precisions[name] = precision

    def _add_onnxruntime(self, name: str, path: Path) -> None:
        try:
            runtime = import_module("onnxruntime")
        except ImportError as error:
            raise MissingDependencyError("onnxruntime", "test", "this comparison") from error
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed = {NETWORK_INPUT: self._x.numpy()}

        def run() -> Any:
            return session.run([OUTPUT], feed)[0]

        self._add(name, "fp32", lambda: _nothing(run()), run)

    def _add_openvino(self, name: str, path: Path, precision: str) -> None:
        """Compiled with the options that samedge uses, so that only the graph differs."""
        from samedge.runtime.openvino.compile import DEVICE, core, engine_config

        config = engine_config(precision, LoadOptions(threads=self._threads))
        request = core().compile_model(str(path), DEVICE, config).create_infer_request()
        request.set_input_tensor(_tensor(self._x.numpy()))

        def result() -> NDArray[np.float32]:
            request.infer()
            data: NDArray[np.float32] = request.get_output_tensor(0).data
            return data

        self._add(name, precision, lambda: _nothing(request.infer()), result)

    def _add_bundle(self, name: str, bundle: Bundle, precision: str) -> None:
        options = LoadOptions(precision, self._threads, cache=False)
        engine = OPENVINO.open_graph(bundle, "encoder", options)
        self._engines.append(engine)
        self.device = OPENVINO.device_name(options.device)
        variant = bundle.manifest.variant
        buffers = FrameBuffers.for_frame(
            bundle.family,
            self._frame[:, :, None],
            (0, 0, *self._frame.shape[::-1]),
            variant.input_size,
            variant.low_res,
            engine.io,
        )
        np.copyto(buffers.frame, self._frame[:, :, None])
        shape = tuple(int(n) for n in engine.io.output("image_embedding").shape)
        outputs = {"image_embedding": np.zeros(shape, np.float32)}

        def call() -> float:
            engine.run(buffers.inputs, outputs)
            return engine.stage_ms["encoder"]

        # A bundle's embedding has the no-mask embedding added already; the encoder's has not.
        weight = self._model.prompt_encoder.no_mask_embed.weight
        no_mask: NDArray[np.float32] = weight.detach().numpy().reshape(1, -1, 1, 1)

        def result() -> NDArray[np.float32]:
            call()
            return outputs["image_embedding"] - no_mask

        self._add(name, precision, call, result)


def _nothing(_: object) -> None:
    """Drop a result: the call as a whole is what counts."""


def _tensor(array: NDArray[np.float32]) -> Any:
    from samedge._openvino import ov

    return ov.Tensor(np.ascontiguousarray(array))
