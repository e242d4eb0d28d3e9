"""Do INT8 masks agree with float32 masks? Asked of calibration frames, without any label.

Prompts are the bundle's own self-tests, and on every calibration frame a few positions. Of those
only prompts are kept to which the float32 model answers with a mask of a sensible size: a mask of
ten pixels says nothing about the encoder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._openvino import ov
from samedge.bundle import Bundle
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.export.graphs.model import OnnxGraph
from samedge.families import Family
from samedge.geometry.mask_values import dice
from samedge.progress import Progress, Step, silent
from samedge.runtime.backend import Backend, Engines, LoadOptions, both_graphs
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.openvino.compile import (
    DEVICE,
    Compiled,
    core,
    engine_config,
    read_model,
    split_encoder,
)
from samedge.runtime.openvino.engine import OpenVinoEngine
from samedge.runtime.openvino.rewrites.dense import optimise
from samedge.runtime.session import Session
from samedge.tolerances import LIMITS

SMALLEST, LARGEST = 0.004, 0.6  # share of the frame that a mask may cover
PROMPTS_PER_FRAME = 2
# Where prompts are tried, as shares of the frame's sides.
PLACES = ((0.5, 0.5), (0.35, 0.4), (0.65, 0.4), (0.4, 0.65), (0.6, 0.65), (0.5, 0.25), (0.5, 0.8))


@dataclass(frozen=True)
class WorstMask:
    """The mask that is nearest to its limit, or farthest beyond it.

    Attributes:
        frame: which one it is on, in words.
        dice: its overlap with the float32 mask.
        limit: on that; `Limit.least_dice` of its size.
    """

    frame: str
    dice: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether it keeps the limit."""
        return self.dice >= self.limit

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded."""
        return {"frame": self.frame, "dice": round(self.dice, 6), "limit": round(self.limit, 6)}


@dataclass(frozen=True)
class Agreement:
    """How INT8 masks and logits compare with float32, over all questions.

    Attributes:
        dice: mean overlap of the masks.
        worst_dice: the smallest.
        flipped: share of all mask pixels that differ.
        logit_rms: RMS of the logits' difference over RMS of the logits.
        masks: how many were compared.
        worst: the mask that decides about the limit of each; None if all are empty in float32.
    """

    dice: float
    worst_dice: float
    flipped: float
    logit_rms: float
    masks: int
    worst: WorstMask | None

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded."""
        return {
            "dice": round(self.dice, 6),
            "worst_dice": round(self.worst_dice, 6),
            "flipped": round(self.flipped, 6),
            "logit_rms": round(self.logit_rms, 6),
            "masks": self.masks,
            "worst": None if self.worst is None else self.worst.to_json(),
        }


@dataclass(frozen=True)
class _Question:
    name: str
    frame: NDArray[Any]
    prompts: dict[str, Any]
    masks: NDArray[np.uint8]
    logits: NDArray[np.float32]


@dataclass(frozen=True)
class MaskAgreement:
    """Questions and the float32 answers, to be compared with one INT8 graph after the other."""

    _bundle: Bundle
    _threads: int
    _questions: Sequence[_Question]

    @classmethod
    def ask(
        cls,
        bundle: Bundle,
        frames: Sequence[NDArray[Any]],
        threads: int,
        names: Sequence[str] = (),
        progress: Progress = silent,
    ) -> MaskAgreement:
        """Ask the float32 model.

        Args:
            bundle: with its float32 graphs and self-tests.
            frames: calibration frames to ask about, uint8 [H, W], [H, W, 3], or with slices in
                front.
            threads: of the engine.
            names: of the frames, in words.
            progress: told the frames that are done.
        """
        called = names or [f"calibration frame {n}" for n in range(len(frames))]
        options = LoadOptions("fp32", threads, cache=False)
        with Session(bundle, OPENVINO, options, "reference") as session:
            asked = _Asked(session)
            questions = _own(bundle, asked)
            for done, (name, frame) in enumerate(zip(called, frames, strict=True)):
                progress(Step("INT8: masks in float32", done, len(frames)))
                questions += _tried(bundle.family, asked, name, frame)
            progress(Step("INT8: masks in float32", len(frames), len(frames)))
        return cls(bundle, threads, questions)

    def compare(
        self, graph: OnnxGraph, precision: str, progress: Progress = silent, step: str = "masks"
    ) -> Agreement:
        """Answers of an encoder `graph`.

        Args:
            graph: the encoder.
            precision: of what is not INT8 in it; float32 where this CPU has no such type.
            progress: told the questions that are answered.
            step: what that is called.
        """
        with tempfile.TemporaryDirectory(prefix="samedge-int8-") as folder:
            path = Path(folder) / "encoder.onnx"
            graph.save(path)
            preprocess, encoder = split_encoder(read_model(path))
            encoder = optimise(encoder, "int8")
            return self.compare_network(preprocess, encoder, precision, progress, step)

    def compare_network(
        self,
        preprocess: ov.Model,
        encoder: ov.Model,
        precision: str,
        progress: Progress = silent,
        step: str = "masks",
    ) -> Agreement:
        """The same for the two parts of an encoder, whoever quantised the second."""
        backend = _Candidate({"preprocess": preprocess, "encoder": encoder}, precision)
        options = LoadOptions("fp32", self._threads, cache=False)
        with Session(self._bundle, backend, options, "candidate") as session:
            asked, rows = _Asked(session), []
            for done, question in enumerate(self._questions):
                progress(Step(step, done, len(self._questions)))
                rows.append((question, *asked.answer(question.frame, question.prompts)))
            progress(Step(step, len(rows), len(rows)))
        return _agreement(rows)


def _agreement(
    rows: list[tuple[_Question, NDArray[np.uint8], NDArray[np.float32]]],
) -> Agreement:
    overlaps = [dice(a, b) for q, masks, _ in rows for a, b in zip(masks, q.masks, strict=True)]
    flipped = sum(int(np.count_nonzero(masks != q.masks)) for q, masks, _ in rows)
    pixels = sum(q.masks.size for q, _, _ in rows)
    wide = [(q.logits.astype(np.float64), logits) for q, _, logits in rows]
    square = sum(float(((a - b) ** 2).sum()) for a, b in wide)
    power = sum(float((a**2).sum()) for a, _ in wide)
    rms = float(np.sqrt(square / max(power, 1e-30)))
    mean, worst = float(np.mean(overlaps)), _worst(rows)
    return Agreement(mean, min(overlaps), flipped / pixels, rms, len(overlaps), worst)


def _worst(
    rows: list[tuple[_Question, NDArray[np.uint8], NDArray[np.float32]]],
) -> WorstMask | None:
    """The mask that loses most of what its size allows; one that is empty in float32 has no Dice
    to lose."""
    found = [
        WorstMask(question.name, dice(mask, reference), LIMITS["int8"].least_dice(share))
        for question, masks, _ in rows
        for mask, reference in zip(masks, question.masks, strict=True)
        if (share := float(np.mean(reference != 0)))
    ]
    return max(found, key=lambda mask: (1 - mask.dice) / (1 - mask.limit), default=None)


def _own(bundle: Bundle, asked: _Asked) -> list[_Question]:
    """The bundle's self-tests."""
    questions = []
    for test in bundle.selftest():
        prompts: dict[str, Any] = {"multimask": test.multimask}
        if test.points.shape[1]:
            prompts |= {"points": test.points, "labels": test.labels}
        if test.box is not None:
            prompts["box"] = test.box
        name = f"self-test frame '{test.name}'"
        questions.append(_Question(name, test.frame, prompts, *asked.answer(test.frame, prompts)))
    return questions


def _tried(family: Family, asked: _Asked, name: str, frame: NDArray[Any]) -> list[_Question]:
    questions: list[_Question] = []
    for prompts in _prompts(family, frame):
        masks, logits = asked.answer(frame, prompts)
        if all(SMALLEST <= mask.mean() <= LARGEST for mask in masks):
            questions.append(_Question(name, frame, prompts, masks, logits))
        if len(questions) == PROMPTS_PER_FRAME:
            break
    return questions


def _prompts(family: Family, frame: NDArray[Any]) -> list[dict[str, Any]]:
    """What to try on a frame, as arguments of `Session.segment`."""
    start = 1 if family.slices > 1 else 0
    height, width = frame.shape[start : start + 2]
    places = [(x * width, y * height) for x, y in PLACES]
    if "point" in family.prompts:
        return [{"points": [place]} for place in places]
    if "box" in family.prompts:
        w, h = width / 6, height / 6
        return [{"box": [x - w, y - h, x + w, y + h]} for x, y in places]
    return [{}]


class _Asked:
    """A session, and the frame that it has encoded: that is nearly all of the time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._frame: NDArray[Any] | None = None

    def answer(
        self, frame: NDArray[Any], prompts: dict[str, Any]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Masks and logits; of a stack of slices, of all of them."""
        session, count = self._session, self._session.family.slices
        if count == 1:
            if frame is not self._frame:
                session.set_frame(frame)
                self._frame = frame
            result = session.predict(**prompts)
            return result.masks.copy(), result.low_res_logits.copy()
        parts = [_of_slice(prompts, i, count) for i in range(count)]
        results = session.segment_slices(frame, parts)
        masks = np.concatenate([r.masks for r in results])
        return masks, np.concatenate([r.low_res_logits for r in results])


def _of_slice(prompts: dict[str, Any], index: int, count: int) -> dict[str, Any]:
    """A self-test's prompts have one object per slice; others are the same for all."""
    part = {}
    for name, value in prompts.items():
        several = isinstance(value, np.ndarray) and len(value) == count
        part[name] = value[index : index + 1] if several else value
    return part


class _Candidate(Backend):
    """OpenVINO with `parts` in place of a bundle's encoder; what is not INT8 in them runs in
    `precision`, or in float32 where this CPU has no such type."""

    name = OPENVINO.name
    graphs = OPENVINO.graphs

    def __init__(self, parts: dict[str, ov.Model], precision: str) -> None:
        self._parts = parts
        self._rest = precision if precision in OPENVINO.precisions() else "fp32"

    def unavailable(self) -> str | None:
        return OPENVINO.unavailable()

    def precisions(self) -> tuple[str, ...]:
        return OPENVINO.precisions()

    def open(self, bundle: Bundle, options: LoadOptions) -> Engines:
        def load(graph: str) -> OpenVinoEngine:
            if graph == "encoder":
                return self._encoder(bundle, options)
            return OPENVINO.open_graph(bundle, graph, options)

        return Engines(*both_graphs(load), DEVICE)

    def _encoder(self, bundle: Bundle, options: LoadOptions) -> OpenVinoEngine:
        precisions = {"preprocess": "fp32", "encoder": self._rest}
        made = {
            name: core().compile_model(model, DEVICE, engine_config(precisions[name], options))
            for name, model in self._parts.items()
        }
        entry = bundle.manifest.graphs["encoder"]["fp32"]
        names = {tensor.name for tensor in entry.tensors}
        compiled = {name: Compiled(model, None, False) for name, model in made.items()}
        return OpenVinoEngine(compiled, frozenset(names | {NETWORK_INPUT}))
