"""The roofline bound: no program computes a frame on a device in less time than this.

The time is at least that of the products at the device's dense rate, and at least that of reading
the weights once per frame, as far as they do not fit the cache. Everything that a real engine does
besides is left out: norms, softmax, launches, values that go out to memory and come back, clocks
that follow the load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from samedge.bench.estimate.devices import PRECISIONS, Device, Figure, Mode
from samedge.bench.estimate.work import WINOGRAD, Part
from samedge.bench.report.sheet import Cell, Column, Sheet, Table
from samedge.errors import NotSupportedError

COMPUTE, MEMORY = "products", "weights"
LABEL = "A bound and no prediction: no engine on this device is faster, and real ones are slower."
DEFINITIONS = (
    "compute ms: the network's products alone at the device's dense rate, each in the precision of "
    f"the row, 3x3 convolutions with a {WINOGRAD}th of them (Winograd). samedge keeps some parts "
    "in a higher precision (docs/half.md, docs/int8.md).",
    "weights ms: reading all weights once per frame, less what the second-level cache may keep.",
    "not faster than: the larger of both. at most: frames per second at that time.",
    "uncached ms: if caches kept nothing, so that every product read its operands from memory and "
    "wrote its result there. Fused kernels and large caches are faster than that; it is no bound.",
    "Clocks are the data sheets'. A card that boosts higher: --mhz.",
)


@dataclass(frozen=True)
class Bound:
    """Of one frame with one object on one device, in one mode and precision; times in ms.

    Attributes:
        device, mode, precision: which.
        mhz: the clock that it is for; None where the rate was measured.
        compute_ms, encoder_ms, decoder_ms: products, of the whole and of the parts.
        weights_ms: weights that the cache cannot keep; None where the bandwidth is not known.
        uncached_ms: all operands and results by memory; None likewise.
    """

    device: str
    mode: str
    precision: str
    mhz: float | None
    compute_ms: float
    encoder_ms: float
    decoder_ms: float
    weights_ms: float | None
    uncached_ms: float | None

    @property
    def ms(self) -> float:
        """No frame takes less."""
        return max(self.compute_ms, self.weights_ms or 0.0)

    @property
    def fps(self) -> float:
        """No more frames per second than this."""
        return 1e3 / self.ms

    @property
    def limit(self) -> str:
        """What the bound comes from."""
        return MEMORY if (self.weights_ms or 0.0) > self.compute_ms else COMPUTE

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "ms": self.ms, "fps": self.fps, "limit": self.limit}


def bounds(
    work: Mapping[str, Part],
    device: Device,
    precisions: Sequence[str] = tuple(PRECISIONS),
    mhz: float | None = None,
) -> list[Bound]:
    """Of every mode of a device, in every precision that it computes.

    Args:
        work: of `samedge.bench.estimate.work`.
        device: of `samedge.bench.estimate.devices`.
        precisions: of `PRECISIONS`.
        mhz: clock of the multiprocessors instead of the data sheet's, in the fastest mode alone.

    Raises:
        NotSupportedError: the device computes in none of them.
    """
    modes: Sequence[Mode] = device.modes
    if mhz is not None:
        modes = [replace(modes[0], mhz=Figure(mhz, "the user"))]
    found = []
    for mode in modes:
        for precision in precisions:
            rate = device.ops_per_s(mode, precision)
            if rate is not None:
                named = device.title, mode.name, precision, mode.mhz.value
                memory = mode.gb_s.value * 1e9, device.cache_mb.value * 1e6
                found.append(_bound(work, named, rate, memory))
    if not found:
        raise NotSupportedError(
            f"{device.title} has no units for {', '.join(precisions)}; it computes in: "
            f"{', '.join(device.architecture.ops)}"
        )
    return found


def measured_bounds(
    work: Mapping[str, Part], title: str, gflops: Mapping[str, float]
) -> list[Bound]:
    """Of a processor whose rates were measured.

    Args:
        work: of `samedge.bench.estimate.work`.
        title: of the processor.
        gflops: precision -> 10^9 operations per second; its memory is left out.
    """
    return [
        _bound(work, (title, "", precision, None), rate * 1e9, None)
        for precision, rate in gflops.items()
    ]


def _bound(
    work: Mapping[str, Part],
    named: tuple[str, str, str, float | None],
    rate: float,
    memory: tuple[float, float] | None,
) -> Bound:
    whole = work["encoder"] + work["decoder"]
    size = PRECISIONS[named[2]]
    weights_ms = uncached_ms = None
    if memory is not None:
        bandwidth, cache = memory
        weights_ms = max(0.0, whole.weights * size - cache) / bandwidth * 1e3
        uncached_ms = whole.moved * size / bandwidth * 1e3
    compute_ms, encoder_ms, decoder_ms = (
        part.least_flops / rate * 1e3 for part in (whole, work["encoder"], work["decoder"])
    )
    return Bound(*named, compute_ms, encoder_ms, decoder_ms, weights_ms, uncached_ms)


def sheet(
    title: str, work: Mapping[str, Part], found: Sequence[Bound], notes: Sequence[str] = ()
) -> Sheet:
    """Bounds as tables.

    Args:
        title: of the network.
        work: of it.
        found: bounds.
        notes: below everything.
    """
    return Sheet(
        "estimate",
        [_network(title, work), _devices(found)],
        about={"work": {name: asdict(part) for name, part in work.items()}},
        notes=["", *DEFINITIONS, *notes],
        head=[LABEL],
    )


def _network(title: str, work: Mapping[str, Part]) -> Table:
    columns = [
        Column("part"),
        Column("flops", ".2f", "GFLOP", 1e-9),
        Column("convolutions", ".2f", "in 3x3 convolutions", 1e-9),
        Column("weights", ".1f", "M weights", 1e-6),
        *(Column(f"{p}_bytes", ".1f", f"MB in {p}", 1e-6) for p in ("fp32", "fp16", "int8")),
        Column("intensity", ".0f", "FLOP per byte, fp16"),
    ]
    rows: list[list[Cell]] = []
    whole = work["encoder"] + work["decoder"]
    for name, part in (*work.items(), ("frame", whole)):
        sizes = [part.weights * PRECISIONS[p] for p in ("fp32", "fp16", "int8")]
        intensity = part.flops / (part.moved * PRECISIONS["fp16"])
        rows.append([name, part.flops, part.convolutions, part.weights, *sizes, intensity])
    return Table(f"{title}: one frame, one object", columns, rows)


def _devices(found: Sequence[Bound]) -> Table:
    columns = [
        Column("device"),
        Column("mode"),
        Column("precision"),
        Column("mhz", ".0f", "MHz", optional=True),
        Column("compute_ms", ".3g", "compute ms"),
        Column("weights_ms", ".3g", "weights ms"),
        Column("ms", ".3g", "not faster than, ms"),
        Column("fps", ",.0f", "at most, frames/s"),
        Column("limit", head="limited by"),
        Column("uncached_ms", ".3g", "uncached ms", optional=True),
    ]
    values = [bound.to_json() for bound in found]
    rows: list[list[Cell]] = [[value[column.name] for column in columns] for value in values]
    return Table("Bounds", columns, rows)
