"""samexporter: its ONNX files and its own class that runs them, in ONNX Runtime."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from samedge.bench.contenders.entry import Entry
from samedge.bench.contenders.networks import onnxruntime_session
from samedge.bench.peers.entries import (
    absent,
    checked,
    coloured,
    only_for,
    peer_row,
    positive,
    refused,
)
from samedge.bench.peers.stand_in import importable
from samedge.bench.peers.subject import Subject

ENGINE = "samexporter, ONNX Runtime"
PACKAGES = ("samexporter", "onnxruntime")
REMEDY = "pip install --no-deps samexporter timm segment-anything; its own pins want an older torch"
EXPORTED = (
    "its decoder gives all four masks of a prompt; the one that SAM gives for multimask=False is "
    "compared"
)


def exporter_entry(subject: Subject) -> Entry:
    """Exported by its scripts and run by its class, or why it is not timed."""
    row = peer_row(subject, ENGINE, PACKAGES, EXPORTED)
    if other := only_for(subject, "sam", row):
        return other
    if subject.vit == "tiny":
        return refused(row, "it exports the official sizes alone; see --vit vit_b")
    try:
        with importable():
            parts = [
                import_module("samexporter.export_encoder"),
                import_module("samexporter.export_decoder"),
                import_module("samexporter.sam_onnx"),
            ]
    except ImportError as error:
        return absent(row, error, REMEDY)
    encoder, decoder, runner = parts
    return checked(subject, row, Exported(subject, _written(subject, encoder, decoder), runner))


def _written(subject: Subject, encoder: Any, decoder: Any) -> tuple[Path, Path]:
    """Its two files, from its own `run_export`; what is there is used again."""
    paths = tuple(subject.work / f"samexporter-{subject.vit}.{p}.onnx" for p in ("enc", "dec"))
    with redirect_stdout(io.StringIO()):  # it reports on what a report is printed to
        for script, path, given in zip(
            (encoder, decoder),
            paths,
            ({"use_preprocess": False}, {"return_single_mask": False}),
            strict=True,
        ):
            if not path.exists():
                checkpoint = str(subject.checkpoint)
                script.run_export(subject.vit, checkpoint, str(path), opset=18, **given)
    return paths[0], paths[1]


class Exported:
    """Frame -> mask by `encode` and `predict_masks` of its `SegmentAnythingONNX`."""

    def __init__(self, subject: Subject, paths: tuple[Path, Path], runner: Any) -> None:
        self._model = runner.SegmentAnythingONNX(*map(str, paths), providers="cpu")
        # The class leaves ONNX Runtime all cores; here every contender has the same threads.
        self._model.encoder_session, self._model.decoder_session = (
            onnxruntime_session(path, subject.threads) for path in paths
        )
        points = subject.clip.prompts(subject.bundle.family)["points"]
        self._prompt = [{"type": "point", "data": list(xy), "label": 1} for xy in points]

    def __call__(self, frame: NDArray[Any]) -> tuple[NDArray[Any], Mapping[str, float]]:
        start = time.perf_counter()
        embedding = self._model.encode(coloured(frame)[:, :, ::-1].copy())  # it wants BGR
        encoded = time.perf_counter()
        logits = self._model.predict_masks(embedding, self._prompt)
        mask = positive(logits[0, 0])
        end = time.perf_counter()
        return mask, {"encode": (encoded - start) * 1e3, "decode": (end - encoded) * 1e3}
