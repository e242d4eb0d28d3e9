"""How fast this machine multiplies matrices: the ceiling of every encoder here.

    python -m samedge.bench.peak [--threads 2] [--gflop 260]

Every library that is at hand multiplies matrices of several shapes, in every precision that the CPU
has. The fastest repeat of the fastest way counts, as a ceiling should: a speed that was reached
here. `--gflop` of work take at least what is printed behind it; the SAMUS ViT-B encoder has about
260 GFLOP as OpenVINO runs it (docs/performance.md).

* PyTorch multiplies two matrices. In int8 that is `torch._int_mm`: int8 times int8, sums in int32.
* OpenVINO runs four linear layers behind each other, as a network does: in between, bfloat16
  stays bfloat16, and int8 is rounded to int8 again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from samedge.bench.contenders.eager import require_torch
from samedge.bench.entry import add_files, finish, parsed, parser, run
from samedge.bench.report.sheet import Cell, Column, Sheet, Table
from samedge.errors import MissingDependencyError, NotSupportedError
from samedge.machine.cpu import physical_cores

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
PRECISIONS = (*DTYPES, "int8")
DEPTH = 4  # linear layers behind each other
_LEAST = 5  # repeats


class Shape(NamedTuple):
    """[m, k] times [k, n]."""

    m: int
    k: int
    n: int

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.m * self.k * self.n


# A large square; of a ViT-B with 32 x 32 tokens a linear layer of attention, and the MLP there and
# back. The small ones are over before a busy machine takes the core away.
SHAPES = (
    Shape(2048, 2048, 2048),
    Shape(1024, 768, 768),
    Shape(1024, 768, 3072),
    Shape(1024, 3072, 768),
)


class Work(NamedTuple):
    """A call, and the operations in it."""

    call: Callable[[], object]
    operations: int


# (precision, threads, shape) -> what is to be timed; None if this way does not go here.
Way = Callable[[str, int, Shape], Work | None]


@dataclass(frozen=True)
class Peak:
    """The highest rate of products in one precision.

    Attributes:
        precision: of the factors.
        threads: that worked on it.
        gops: 10^9 operations per second; a multiplication and an addition are two.
        by: the way and the shape that reached it.
        rates: the same of every way and shape that was tried.
    """

    precision: str
    threads: int
    gops: float
    by: str
    rates: Mapping[str, float]


def peak_gops(
    precision: str,
    threads: int,
    seconds: float = 0.5,
    shapes: Sequence[Shape] = SHAPES,
    ways: Mapping[str, Way] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Peak:
    """The best rate at which this CPU multiplies matrices.

    Args:
        precision: "fp32", "bf16", "fp16" or "int8". What the CPU does not have is slow, but goes.
        threads: for every way.
        seconds: for each way and shape; the fastest repeat in them counts.
        shapes: of the products.
        ways: name -> way; None: PyTorch, where it is installed, and OpenVINO.
        clock: seconds; a test passes its own.

    Raises:
        NotSupportedError: no such precision, or no way to multiply in it.
    """
    if precision not in PRECISIONS:
        raise NotSupportedError(
            f"the precision '{precision}' came; expected one of: {', '.join(PRECISIONS)}"
        )
    rates = {}
    for name, way in (WAYS if ways is None else ways).items():
        for shape in shapes:
            work = way(precision, threads, shape)
            if work is not None:
                key = f"{name} {' x '.join(map(str, shape))}"
                rates[key] = work.operations / _fastest(work.call, seconds, clock) * 1e-9
    if not rates:
        raise NotSupportedError(
            f"nothing that is installed multiplies {precision} matrices on this CPU; choose "
            "another precision"
        )
    by = max(rates, key=lambda key: rates[key])
    return Peak(precision, threads, rates[by], by, rates)


def _fastest(call: Callable[[], object], seconds: float, clock: Callable[[], float]) -> float:
    call()
    best, begin, repeats = float("inf"), clock(), 0
    while repeats < _LEAST or clock() - begin < seconds:
        start = clock()
        call()
        best = min(best, clock() - start)
        repeats += 1
    return best


def _pytorch(precision: str, threads: int, shape: Shape) -> Work | None:
    try:
        torch = require_torch()
    except MissingDependencyError:
        return None
    torch.set_num_threads(threads)
    m, k, n = shape
    if precision == "int8":
        product = getattr(torch, "_int_mm", None)  # no promise of PyTorch's, but all it has
        a, b = (torch.randint(-128, 128, size, dtype=torch.int8) for size in ((m, k), (k, n)))
    else:
        product, dtype = torch.mm, getattr(torch, DTYPES[precision])
        a, b = (torch.randn(size).to(dtype) for size in ((m, k), (k, n)))
    if product is None:
        return None
    out = torch.empty(m, n, dtype=torch.int32 if precision == "int8" else a.dtype)
    return Work(lambda: product(a, b, out=out), shape.operations)


def _openvino(precision: str, threads: int, shape: Shape) -> Work | None:
    from samedge._openvino import ops, ov
    from samedge.runtime.backend import LoadOptions
    from samedge.runtime.openvino.compile import DEVICE, core, engine_config

    layer = _int8_layer if precision == "int8" else _float_layer
    start = ops.parameter([shape.m, shape.k], np.int8 if precision == "int8" else np.float32)
    y = start
    if precision == "int8":
        y = ops.multiply(ops.convert(start, "f32"), ops.constant(np.float32(_STEP)))
    for number in range(DEPTH):
        y = layer(y, *((shape.k, shape.n) if number % 2 == 0 else (shape.n, shape.k)))
    rest = "fp32" if precision == "int8" else precision
    config = engine_config(rest, LoadOptions(threads=threads))
    model = ov.Model([ops.result(y)], [start], "products")
    request = core().compile_model(model, DEVICE, config).create_infer_request()
    data = request.get_input_tensor().data
    data[:] = np.random.default_rng(0).integers(-127, 128, data.shape)
    return Work(request.infer, DEPTH * shape.operations)


_STEP = 0.02  # between two neighbouring int8 numbers


def _float_layer(x: Any, inner: int, outer: int) -> Any:
    from samedge._openvino import ops

    weight = np.random.default_rng(1).standard_normal((inner, outer), np.float32)
    return ops.matmul(x, ops.constant(weight / np.float32(inner) ** 0.5), False, False)


def _int8_layer(x: Any, inner: int, outer: int) -> Any:
    from samedge._openvino import ops

    numbers = np.random.default_rng(1).integers(-127, 128, (inner, outer), dtype=np.int8)
    scales = np.full((1, outer), 0.01 / inner**0.5, np.float32)
    weight = ops.multiply(ops.convert(ops.constant(numbers), "f32"), ops.constant(scales))
    low, high = (ops.constant(np.float32(_STEP * end)) for end in (-128, 127))
    return ops.fake_quantize(ops.matmul(x, weight, False, False), low, high, low, high, 256)


WAYS: dict[str, Way] = {"PyTorch": _pytorch, "OpenVINO": _openvino}


def sheet(peaks: Sequence[Peak], gflop: float) -> Sheet:
    """Peaks as a table, with the time that `gflop` take at least; and every way that was tried."""
    rate = Column("GFLOP/s", ".0f")
    least = Column(f"ms for {gflop:g} GFLOP", ".0f")
    best: list[list[Cell]] = [[p.precision, p.gops, p.by, gflop / p.gops * 1e3] for p in peaks]
    tried: list[list[Cell]] = [
        [p.precision, way, value] for p in peaks for way, value in p.rates.items()
    ]
    title = f"Fastest products in {peaks[0].threads} threads"
    return Sheet(
        "peak",
        [
            Table(title, [Column("precision"), rate, Column("reached by"), least], best),
            Table("All that was tried", [Column("precision"), Column("way"), rate], tried),
        ],
        about={"threads": peaks[0].threads},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    from samedge.runtime.openvino.backend import OPENVINO

    options_of = parser("peak", __doc__)
    options_of.add_argument("--threads", type=int, default=physical_cores())
    options_of.add_argument("--gflop", type=float, default=260.0)
    options_of.add_argument("--seconds", type=float, default=0.5, help="for each way and shape")
    add_files(options_of, page=False)
    options = parsed(options_of, arguments)
    peaks = [peak_gops(p, options.threads, options.seconds) for p in OPENVINO.precisions()]
    return finish(sheet(peaks, options.gflop), options, arguments)


if __name__ == "__main__":
    run(main)
