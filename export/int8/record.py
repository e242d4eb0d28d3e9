"""What INT8 decided and measured: the record in a manifest, and the pieces it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from samedge.export.graphs.model import OnnxGraph
from samedge.export.int8.calibration_data import CalibrationData
from samedge.export.int8.mask_agreement import Agreement
from samedge.runtime.frame_look import looks_of

METHOD = "symmetric int8; weights per output channel, activations per tensor, cut by least error"


@dataclass(frozen=True)
class Int8Options:
    """How an encoder is quantised.

    Attributes:
        min_dice: the mean overlap with float32 masks that must be reached.
        each: each mask must keep the limit that `samedge verify` has for int8, as well.
        max_error: the RMS of the embedding's error, relative, beyond which a layer by itself is
            not worth its speed; it stays in higher precision whatever the masks say.
        probes: frames that the sensitivity of each layer is measured on.
        questions: frames that masks are compared on.
        smoothing: move outliers of normalised values into the weights behind them.
        half: the rest of the graph in half precision; float32 otherwise.
        keep_float: names of nodes that stay float32 in a half graph (from the overflow probe).
        threads: of the CPU.
        cache: keep activation statistics on disk.
    """

    min_dice: float = 0.99
    each: bool = True
    max_error: float = 0.01
    probes: int = 2
    questions: int = 12
    smoothing: bool = True
    half: bool = True
    keep_float: frozenset[str] = frozenset()
    threads: int = 2
    cache: bool = True

    def allows(self, agreement: Agreement) -> bool:
        """Whether masks agree well enough."""
        worst = agreement.worst
        each = not self.each or worst is None or worst.passed
        return agreement.dice >= self.min_dice and each


@dataclass
class LayerRecord:
    """One layer.

    Attributes:
        name: module path.
        error: of the embedding, relative RMS, when this layer alone is INT8.
        share: of all the multiplications of quantisable layers.
        scale: of its input: what one step is worth.
        cut: share of the largest magnitude at which the input is cut off.
        smoothing: exponent of the smoothing in front of it, or None.
        kept: why it stays in higher precision; empty if it is INT8.
    """

    name: str
    error: float
    share: float
    scale: float
    cut: float
    smoothing: float | None = None
    kept: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded."""
        return {
            "name": self.name,
            "error": float(f"{self.error:.4g}"),
            "share": round(self.share, 5),
            "scale": float(f"{self.scale:.6g}"),
            "cut": self.cut,
            "smoothing": self.smoothing,
            "kept": self.kept,
        }


@dataclass
class Quantised:
    """An INT8 graph and how it came about.

    Attributes:
        graph: the encoder, with explicit Q/DQ.
        record: plain JSON for the manifest's `calibration`.
        warnings: for the user.
        passed: whether the masks agree well enough.
    """

    graph: OnnxGraph
    record: dict[str, Any]
    warnings: tuple[str, ...] = ()
    passed: bool = True


@dataclass
class Trial:
    """Masks compared with `kept` layers in higher precision."""

    kept: int
    agreement: Agreement

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kept": self.kept, **self.agreement.to_json()}


@dataclass
class Findings:
    """Everything that goes into the record.

    Attributes:
        layers: all quantisable ones, in the order of the graph.
        trials: in the order in which they were made.
        smoothed: module path of a norm -> exponent and the errors with and without smoothing.
    """

    layers: list[LayerRecord]
    trials: list[Trial] = field(default_factory=list)
    smoothed: dict[str, tuple[float | None, float, float]] = field(default_factory=dict)


def make_record(
    data: CalibrationData,
    findings: Findings,
    options: Int8Options,
    graph_sha256: str,
    own_frames: int,
) -> dict[str, Any]:
    """The calibration record: no paths, no pixels, nothing about patients.

    Args:
        data: the frames that came.
        findings: layers, trials, smoothing.
        options: the bounds.
        graph_sha256: of the float32 graph.
        own_frames: self-test frames that were calibrated with as well.
    """
    return {
        "method": METHOD,
        "frames": len(data.frames),
        "frames_offered": data.offered,
        "selftest_frames": own_frames,
        "source": data.source,
        "data_sha256": data.sha256(),
        "graph_sha256": graph_sha256,
        "bound": {
            "min_dice": options.min_dice,
            "each": options.each,
            "max_layer_error": options.max_error,
        },
        "agreement": findings.trials[-1].agreement.to_json() if findings.trials else None,
        "trials": [trial.to_json() for trial in findings.trials],
        "layers": [layer.to_json() for layer in findings.layers],
        "smoothing": _smoothing(findings.smoothed),
        "looks": looks_of(data.pixels()),
        "warnings": list(data.warnings),
    }


def _smoothing(
    smoothed: Mapping[str, tuple[float | None, float, float]],
) -> Sequence[dict[str, Any]]:
    return [
        {"norm": name, "exponent": exponent, "error": float(f"{after:.4g}"),
         "error_without": float(f"{before:.4g}")}
        for name, (exponent, after, before) in smoothed.items()
    ]  # fmt: skip
