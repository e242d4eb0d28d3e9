"""What one has without samedge, for the same frames in the same run.

* `eager`: the official network in PyTorch, float32.
* `compile`: the same through `torch.compile`.
* `onnxruntime`, `openvino`: its plain ONNX export, as published exporters write it.

Each goes from the frame to its masks, and each is compared with the bundle's self-test before it
may be timed.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from samedge._wording import did_you_mean
from samedge.bench.contenders.eager import eager_model, require_torch
from samedge.bench.contenders.entry import Entry
from samedge.bench.contenders.networks import (
    GraphNetwork,
    TorchNetwork,
    in_onnxruntime,
    in_openvino,
)
from samedge.bench.contenders.plain import export_plain_network
from samedge.bench.contenders.sessions import labels, threads_text
from samedge.bench.contenders.whole_frames import (
    Network,
    Sizes,
    WholeFrames,
    alike,
    network_inputs,
    prompt_of,
    proven,
)
from samedge.bench.frames import Footage
from samedge.bench.report.values import Row
from samedge.bundle import Bundle
from samedge.errors import NotSupportedError
from samedge.runtime.openvino.backend import OPENVINO

MATRICES = (
    "frames are resized by samedge's matrices in numpy: they give the values of the original's "
    "library"
)


def baseline_entries(
    names: Sequence[str], checkpoint: Any, bundle: Bundle, clip: Footage, threads: int
) -> Iterator[Entry]:
    """Baselines of a bundle, one after the other; one may give several rows, or a refused one.

    Args:
        names: of `BASELINES`.
        checkpoint: path, or several, that the bundle was made from.
        bundle: gives the family, the sizes and the self-test.
        clip: frames and prompt.
        threads: of each.

    Raises:
        NotSupportedError: a name is none of them.
        CheckpointError: the checkpoint is not what the bundle was made from.
        MissingDependencyError: torch is not installed.
    """
    for name in names:
        if name not in MAKERS:
            raise NotSupportedError(
                f"there is no baseline '{name}'; use some of: {', '.join(BASELINES)}"
                f"{did_you_mean(name, BASELINES)}"
            )
    torch = require_torch()
    torch.set_num_threads(threads)
    model = eager_model(checkpoint, bundle.manifest)
    with tempfile.TemporaryDirectory(prefix="samedge-bench-") as folder:
        common = Common(model, bundle, clip, threads, Path(folder))
        for name in names:
            yield from MAKERS[name](common)


class Common:
    """What the baselines of one bundle share.

    Attributes:
        model: the eager one.
        sizes: of the model.
        clip: what it is given.
        threads: of each baseline.
        example, prompts: of the first frame, as `Network` takes them.
    """

    def __init__(
        self, model: Any, bundle: Bundle, clip: Footage, threads: int, folder: Path
    ) -> None:
        variant = bundle.manifest.variant
        self.model, self.threads = model.eval(), threads
        self.sizes = Sizes(bundle.family, variant.input_size, variant.low_res)
        self.clip = clip
        self._bundle, self._tests, self._folder = bundle, list(bundle.selftest()), folder
        self._graphs: tuple[Path, Path] | None = None
        self.example, self.prompts = network_inputs(self.sizes, clip)
        self._prompt = prompt_of(clip, bundle.family)

    def graphs(self) -> tuple[Path, Path]:
        """The plain ONNX export, encoder and decoder, written when it is first asked for.

        Raises:
            MissingDependencyError, NotSupportedError: it cannot be written.
        """
        if self._graphs is None:
            self._graphs = export_plain_network(
                self.model, self.example, self.prompts, self._folder
            )
        return self._graphs

    def row(self, engine: str, precision: str) -> Row:
        """An untimed row of a baseline."""
        name = labels([self._bundle])[0]
        about = {"bundle": name, "engine": engine, "precision": precision, "threads": self.threads}
        noted = self.sizes.family.interpolation != "pil"
        return Row(
            f"{name} {engine} {precision} {threads_text(self.threads)}",
            about,
            baseline=True,
            notes=(MATRICES,) if noted else (),
        )

    def entry(
        self,
        row: Row,
        network: Network,
        close: Callable[[], None] | None = None,
        counted: bool = False,
    ) -> Entry:
        """A network that is timed if it passes the self-test, and else says why it is not.

        Args:
            row: untimed.
            network: what is timed.
            close: frees it.
            counted: it is compiled for one number of points, and compared with that many.
        """
        close = close or _nothing
        tests = alike(self._tests, self._prompt, counted)
        engine, precision = str(row.about["engine"]), str(row.about["precision"])
        parity = proven(network, self.sizes, tests, engine, precision)
        row = replace(row, parity=parity.to_json())
        if not parity.passed:
            close()
            return Entry(replace(row, refused=_reason(parity.max_logit_error, parity.limit)))
        return Entry(row, WholeFrames(row.name, network, self.sizes, self.clip), close)


def _nothing() -> None:
    """What there is to close by default."""


def _reason(error: float, limit: float) -> str:
    return f"it fails the self-test (largest logit error {error:.3g}, limit {limit:.3g})"


def _eager(common: Common) -> Iterator[Entry]:
    network = TorchNetwork(common.model.encode, common.model.decode, common.threads)
    yield common.entry(common.row("eager PyTorch", "fp32"), network)


def _compiled(common: Common) -> Iterator[Entry]:
    torch, row = require_torch(), common.row("torch.compile", "fp32")
    try:
        network, seconds = _compiled_network(common)
        row = replace(row, extra={"compile_s": seconds})
        entry = common.entry(row, network, torch.compiler.reset, counted=True)
    except Exception as error:  # the compilers below raise anything
        torch.compiler.reset()
        entry = Entry(replace(row, refused=_no_compiler(error)))
    yield entry


def _compiled_network(common: Common) -> tuple[TorchNetwork, float]:
    """Compiled for this frame's shapes and this prompt's, and the seconds that took."""
    torch, model = require_torch(), common.model
    start = time.perf_counter()
    with warnings.catch_warnings():
        # torch's compiler is made of parts that torch deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        encode = torch.compile(model.encode, dynamic=False)
        decode = torch.compile(model.decode, dynamic=False)
        network = TorchNetwork(encode, decode, common.threads)
        network.decode(network.encode(common.example), common.prompts)
    return network, time.perf_counter() - start


def _no_compiler(error: Exception) -> str:
    kinds = " from ".join(type(e).__name__ for e in (error, error.__cause__) if e is not None)
    return (
        f"torch.compile failed with {kinds}; it needs a C++ compiler when it runs (on Debian: "
        "apt-get install g++) and the headers of Python"
    )


def _onnxruntime(common: Common) -> Iterator[Entry]:
    row = common.row("plain ONNX in ONNX Runtime", "fp32")
    try:
        network = GraphNetwork(*(in_onnxruntime(g, common.threads) for g in common.graphs()))
    except NotSupportedError as error:
        yield Entry(replace(row, refused=str(error)))
        return
    yield common.entry(row, network)


def _openvino(common: Common) -> Iterator[Entry]:
    """In each precision that is native here and no slower than float32; the decoder in float32."""
    slower = {*OPENVINO.slower_than_float32(), "int8"}
    for precision in (p for p in OPENVINO.precisions() if p not in slower):
        row = common.row("plain ONNX in OpenVINO", precision)
        try:
            encoder, decoder = common.graphs()
        except NotSupportedError as error:
            yield Entry(replace(row, refused=str(error)))
            return
        network = GraphNetwork(
            in_openvino(encoder, common.threads, precision),
            in_openvino(decoder, common.threads, "fp32"),
        )
        yield common.entry(row, network)


MAKERS: dict[str, Callable[[Common], Iterator[Entry]]] = {
    "eager": _eager,
    "compile": _compiled,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
BASELINES = tuple(MAKERS)
