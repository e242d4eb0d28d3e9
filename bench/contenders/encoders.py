"""Image encoders that are measured against each other: eager, compiled, plain exports, samedge's.

Each takes one frame of the network's own size, in memory that stays where it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bench.contenders.eager import network_input, require_torch
from samedge.bench.contenders.int8_bundle import with_int8
from samedge.bench.contenders.networks import onnxruntime_session, openvino_model
from samedge.bench.contenders.plain import OUTPUT, export_plain
from samedge.bench.contenders.products import FLOAT, INT8, bundle_products, plain_products
from samedge.bundle import Bundle
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.geometry.frame_geometry import frame_geometry
from samedge.runtime.backend import LoadOptions
from samedge.runtime.buffers import FrameBuffers
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.precision import runnable

EAGER = "eager PyTorch fp32"
Embedding = NDArray[np.float32]


def _nothing() -> None:
    """What there is to free by default."""


@dataclass(frozen=True)
class Encoder:
    """An encoder that can be run, or why it cannot.

    Attributes:
        name: unique.
        engine: what runs it.
        precision: "fp32", "bf16", "fp16" or "int8".
        gflop: precision -> GFLOP of the products that are run in it.
        call: one run on the frame; milliseconds per stage, if it knows them.
        embedding: a run whose result is returned, float32 [1, D, g, g].
        counted: the stage that is the network, as of `schedule.Contender`.
        baseline: it is what one has without samedge.
        plain: name of the plain export in the same engine and precision.
        refused: why it does not run here.
        extra: further figures for the report.
        close: frees it.
    """

    name: str
    engine: str
    precision: str
    gflop: Mapping[str, float] = field(default_factory=dict)
    call: Callable[[int], Mapping[str, float] | None] = lambda _: None
    embedding: Callable[[], Embedding] = lambda: np.zeros(0, np.float32)
    counted: str = ""
    baseline: bool = False
    plain: str = ""
    refused: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    close: Callable[[], None] = _nothing


class Encoders:
    """The encoders of one model, made in a folder; what is there already is used again.

    Attributes:
        threads: of every encoder.
        worth: precisions that this CPU computes natively, and in less time than float32.
    """

    def __init__(self, model: Any, work: Path, threads: int) -> None:
        self.threads = threads
        slower = OPENVINO.slower_than_float32()
        self.worth = [p for p in OPENVINO.precisions() if p not in slower]
        self._native = tuple(p for p in self.worth if p != "int8")
        self._model, self._work = model, work
        family, config = model.family, model.config
        side = config.img_size
        self._frame = np.random.default_rng(1).integers(0, 256, (side, side), dtype=np.uint8)
        geometry = frame_geometry(family, side, side, None, side, config.low_res)
        self._x = network_input(self._frame, geometry, family)
        self._plain: Path | None = None

    def all(self, compiled: bool = True) -> Iterator[Encoder]:
        """Eager first, which the others are compared with.

        Args:
            compiled: with `torch.compile`, which takes minutes for a ViT-B.

        Raises:
            MissingDependencyError: torch, onnx or onnxruntime is not installed.
        """
        yield self._eager(EAGER, self._model.image_encoder)
        if compiled:
            yield self._compiled("torch.compile fp32")
        yield self._onnxruntime("plain export, ONNX Runtime fp32")
        for precision in self._native:
            yield self._openvino(_plain(precision), precision)
        bundle = self.bundle()
        for precision in (p for p in runnable(bundle, OPENVINO) if p in self.worth):
            yield self._samedge(f"samedge, OpenVINO {precision}", bundle, precision)

    def bundle(self) -> Bundle:
        """samedge's bundle, with an INT8 encoder where this CPU has use for one."""
        path = self._work / f"samus-{self._model.config.vit}.samedge"
        if not path.exists():
            from samedge.export import export
            from samedge.fold import fold

            export(fold(self._model), path)
        bundle = Bundle.open(path)
        if "int8" not in self.worth:
            return bundle
        quantised = path.with_name(f"{path.stem}-int8.samedge")
        if not quantised.exists():
            return with_int8(bundle, [self._frame], quantised, self.threads)
        return Bundle.open(quantised)

    def plain(self) -> Path:
        """The plain ONNX export."""
        if self._plain is None:
            path = self._work / f"plain-{self._model.config.vit}.onnx"
            if not path.exists():
                export_plain(self._model.image_encoder, self._x, path)
            self._plain = path
        return self._plain

    def _eager(self, name: str, encoder: Any, **more: Any) -> Encoder:
        torch = require_torch()

        def run() -> Any:
            torch.set_num_threads(self.threads)
            with torch.inference_mode():
                return encoder(self._x)

        gflop = {"fp32": plain_products(self.plain())[FLOAT]}
        return Encoder(
            name, "PyTorch", "fp32", gflop,
            call=lambda _: _drop(run()), embedding=lambda: _copy(run().numpy()), baseline=True,
            **more,
        )  # fmt: skip

    def _compiled(self, name: str) -> Encoder:
        torch = require_torch()
        torch.set_num_threads(self.threads)
        start = time.perf_counter()
        try:
            encoder = torch.compile(self._model.image_encoder)
            with torch.inference_mode():
                encoder(self._x)
        except Exception as error:  # the compiler raises anything; its reason is reported
            reason = f"torch.compile failed here ({type(error).__name__}: {_first_line(error)})"
            return Encoder(name, "PyTorch", "fp32", baseline=True, refused=reason)
        took = time.perf_counter() - start
        return self._eager(name, encoder, extra={"compile_s": round(took, 1)})

    def _onnxruntime(self, name: str) -> Encoder:
        session = onnxruntime_session(self.plain(), self.threads)
        feed = {NETWORK_INPUT: self._x.numpy()}

        def run() -> Any:
            return session.run([OUTPUT], feed)[0]

        return Encoder(
            name, "ONNX Runtime", "fp32", {"fp32": plain_products(self.plain())[FLOAT]},
            call=lambda _: _drop(run()), embedding=run, baseline=True,
        )  # fmt: skip

    def _openvino(self, name: str, precision: str) -> Encoder:
        from samedge._openvino import ov

        request = openvino_model(self.plain(), self.threads, precision).create_infer_request()
        request.set_input_tensor(ov.Tensor(np.ascontiguousarray(self._x.numpy())))

        def embedding() -> Embedding:
            request.infer()
            return _copy(request.get_output_tensor(0).data)

        return Encoder(
            name, "OpenVINO", precision, {precision: plain_products(self.plain())[FLOAT]},
            call=lambda _: _drop(request.infer()), embedding=embedding, baseline=True,
        )  # fmt: skip

    def _samedge(self, name: str, bundle: Bundle, precision: str) -> Encoder:
        options = LoadOptions(precision, self.threads, cache=False)
        engine = OPENVINO.open_graph(bundle, "encoder", options)
        variant = bundle.manifest.variant
        pixels = self._frame[:, :, None]
        buffers = FrameBuffers.for_frame(
            bundle.family,
            pixels,
            (0, 0, *self._frame.shape[::-1]),
            variant.input_size,
            variant.low_res,
            engine.io,
        )
        np.copyto(buffers.frame, pixels)
        shape = tuple(int(n) for n in engine.io.output("image_embedding").shape)
        outputs = {"image_embedding": np.zeros(shape, np.float32)}

        def call(_: int) -> Mapping[str, float]:
            engine.run(buffers.inputs, outputs)
            return dict(engine.stage_ms)

        # A bundle's embedding has the no-mask embedding added already; the encoder's has not.
        weight = self._model.prompt_encoder.no_mask_embed.weight
        no_mask: Embedding = weight.detach().numpy().reshape(1, -1, 1, 1)

        def embedding() -> Embedding:
            call(0)
            return outputs["image_embedding"] - no_mask

        return Encoder(
            name, "samedge, OpenVINO", precision, _gflop(bundle, precision),
            call=call, embedding=embedding, counted="encoder", close=engine.close,
            plain=_plain(precision) if precision in self._native else "",
        )  # fmt: skip


def _plain(precision: str) -> str:
    return f"plain export, OpenVINO {precision}"


def _gflop(bundle: Bundle, precision: str) -> dict[str, float]:
    """Of every precision that a session computes products in."""
    from samedge.runtime.openvino.compile import rest_of

    found = bundle_products(bundle, precision)
    parts = {rest_of(bundle, precision): found[FLOAT]}
    return parts | {"int8": found[INT8]} if found[INT8] else parts


def _copy(values: Any) -> Embedding:
    copied: Embedding = np.array(values, np.float32)
    return copied


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _drop(_: object) -> None:
    """Drop a result: the call as a whole is what counts."""
