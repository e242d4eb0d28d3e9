"""What a bundle says about itself, as values: `Manifest` and the entries it is made of.

`samedge.bundle.parsing` makes one from JSON, with all the checks; `Manifest.to_json` is the way
back. docs/bundle.md has the format.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar

from samedge.families import Family

SCHEMA = 1
MANIFEST = "manifest.json"
GRAPHS = ("encoder", "decoder")
INTENDED_USE = (
    "Research use only. Not a medical device; not for diagnosis, treatment or any other clinical "
    "decision."
)


@dataclass(frozen=True)
class Variant:
    """Sizes of a network that the outside needs; everything else is in the weights.

    Attributes:
        vit: "vit_b", "vit_l", "vit_h" or "custom".
        input_size: side of the network input, px.
        grid: side of the image embedding, tokens.
        low_res: side of the low-res logits.
        channels: of the frame that the network sees.
        prompt_dim: channels of the image embedding; 0 where an older bundle does not say.
    """

    vit: str
    input_size: int
    grid: int
    low_res: int
    channels: int
    prompt_dim: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {key: value for key, value in asdict(self).items() if value != 0}


@dataclass(frozen=True)
class TensorEntry:
    """An input or output of a graph.

    Attributes:
        name: in the graph.
        dtype: "uint8", "float32", "int32" or "int64".
        shape: sizes, and names of those that are free.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}


@dataclass(frozen=True)
class GraphEntry:
    """One precision of a graph.

    Attributes:
        file: name of the ONNX file.
        inputs, outputs: in the graph's order.
        sha256: of the file; "" until the bundle is written.
    """

    file: str
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    sha256: str = ""

    @property
    def tensors(self) -> tuple[TensorEntry, ...]:
        """Inputs and outputs."""
        return (*self.inputs, *self.outputs)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "file": self.file,
            "inputs": [tensor.to_json() for tensor in self.inputs],
            "outputs": [tensor.to_json() for tensor in self.outputs],
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle: its SHA-256 in hexadecimal, and its size in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Source:
    """What a bundle was made from.

    Attributes:
        sha256: of the checkpoint's files.
        format: their kind.
        questions: what the files leave open and nobody said.
    """

    sha256: tuple[str, ...]
    format: str
    questions: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        asked = {"questions": list(self.questions)} if self.questions else {}
        return {"sha256": list(self.sha256), "format": self.format, **asked}


@dataclass(frozen=True, kw_only=True)
class ParityRow:
    """How a backend's results compare with the float32 reference, the worst over all frames.

    A number that a bundle of an older version does not have is NaN, or None if it is a count.

    Attributes:
        backend, precision: what was compared.
        frames: self-test frames.
        max_logit_error: largest absolute difference of the low-res logits; `limit` bounds it, which
            grows with the RMS of the reference logits where that is above 1.
        rms_ratio: RMS of that difference over RMS of the reference.
        dice: overlap of the masks at frame size (1 if both are empty); `dice_limit` bounds it,
            unless it is 0, and is lower for masks that cover little of the frame (see
            `samedge.tolerances.Limit.least_dice`).
        flipped: share of mask pixels that differ; `flipped_limit` bounds it.
        flipped_far: number of those where the reference is far from another decision (`near_zero`
            of the limits, in logits); must be 0.
        score_error: largest absolute difference of the scores; bounded like logits of RMS 1.
        margin: the smallest of limit / value over these bounds, for Dice of what may be missing
            from 1 over what is missing; at least 1 is a pass.
        passed: whether all bounds hold.
    """

    NUMBERS: ClassVar = (
        *("max_logit_error", "limit", "rms_ratio", "dice", "dice_limit"),
        *("flipped", "flipped_limit", "score_error", "margin"),
    )
    COUNTS: ClassVar = ("frames", "flipped_far")

    backend: str
    precision: str
    frames: int | None = None
    max_logit_error: float = math.nan
    limit: float = math.nan
    rms_ratio: float = math.nan
    dice: float = math.nan
    dice_limit: float = math.nan
    flipped: float = math.nan
    flipped_limit: float = math.nan
    flipped_far: int | None = None
    score_error: float = math.nan
    margin: float = math.nan
    passed: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values, of what is known."""
        return {k: v for k, v in asdict(self).items() if v is not None and v == v}


@dataclass(frozen=True)
class Manifest:
    """A bundle's manifest.

    Attributes:
        title: for people.
        family: record of the model's family.
        variant: sizes.
        graphs: "encoder" and "decoder" -> precision -> entry.
        source: the checkpoint.
        fold_report: what was folded, and the error that is left.
        intended_use: one sentence.
        tools: versions of what made it.
        parity: rows of the parity gate.
        calibration: record of INT8 (docs/int8.md), if there is any.
        overflow: record of half precision (docs/half.md), if there is any.
        files: name -> entry, of all files but the manifest; filled in by `BundleWriter`.
        samedge: version that wrote it; likewise.
    """

    title: str
    family: Family
    variant: Variant
    graphs: Mapping[str, Mapping[str, GraphEntry]]
    source: Source
    fold_report: Mapping[str, Any]
    tools: Mapping[str, str]
    intended_use: str = INTENDED_USE
    parity: tuple[ParityRow, ...] = ()
    calibration: Mapping[str, Any] | None = None
    overflow: Mapping[str, Any] | None = None
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    samedge: str = ""
    # What it was read from. A changed copy (`dataclasses.replace`) has none.
    _document: Mapping[str, Any] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(entry.bytes for entry in self.files.values())

    def entries(self) -> Iterator[tuple[str, str, GraphEntry]]:
        """(graph, precision, entry) of all graphs."""
        for graph, precisions in self.graphs.items():
            for precision, entry in precisions.items():
                yield graph, precision, entry

    def with_graph(self, graph: str, precision: str, entry: GraphEntry) -> Manifest:
        """The same with one more graph, or another one in that place."""
        return self._with_graphs(graph, {**self.graphs[graph], precision: entry})

    def without_graph(self, graph: str, precision: str) -> Manifest:
        """The same without a graph."""
        left = {key: entry for key, entry in self.graphs[graph].items() if key != precision}
        return self._with_graphs(graph, left)

    def _with_graphs(self, graph: str, precisions: Mapping[str, GraphEntry]) -> Manifest:
        return replace(self, graphs={**self.graphs, graph: precisions})

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the file has them, but for its digest."""
        graphs = {
            graph: {precision: entry.to_json() for precision, entry in precisions.items()}
            for graph, precisions in self.graphs.items()
        }
        return {
            "schema": SCHEMA,
            "samedge": self.samedge,
            "title": self.title,
            "family": self.family.to_json(),
            "variant": self.variant.to_json(),
            "graphs": graphs,
            "source": self.source.to_json(),
            "fold_report": dict(self.fold_report),
            "intended_use": self.intended_use,
            "tools": dict(self.tools),
            "parity": [row.to_json() for row in self.parity],
            "calibration": self.calibration,
            **({} if self.overflow is None else {"overflow": self.overflow}),
            "files": {name: asdict(entry) for name, entry in self.files.items()},
        }

    def as_mapping(self) -> Mapping[str, Any]:
        """The JSON of the file, with all keys that stand in it, known or not; read-only."""
        return MappingProxyType(self.to_json() if self._document is None else self._document)

    def read_from(self, document: Mapping[str, Any]) -> Manifest:
        """The same, and the JSON that it was read from, for `as_mapping`."""
        made = replace(self)
        object.__setattr__(made, "_document", document)
        return made
