"""A `Runner` that starts nothing: it writes launches down, and makes a `Program` of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from samedge.bundle.manifest import TensorEntry
from samedge.export.triton.arena import Need, pack
from samedge.export.triton.weights import WeightMemory, Weights
from samedge.kernels.launch import Array, Launch, check_alignment, contiguous_strides
from samedge.runtime.triton.plan import Argument, Port, Program, Step
from samedge.runtime.triton.sizes import Size, named

DTYPES = {"uint8": "u8", "float32": "fp32", "int32": "i32", "int64": "i64"}


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory between two launches; it gets its place in the arena at the end."""

    size: Size
    name: str


@dataclass(frozen=True)
class PortMemory:
    """The caller's memory."""

    name: str


@dataclass(frozen=True)
class Traced:
    """A launch, and the layer that it belongs to."""

    label: str
    launch: Launch


class Tracer:
    """See the module.

    Args:
        arch: compute capability that tiles are chosen for; 0: the interpreter.
        weights: constants of the plan, shared by all its programs.

    Attributes:
        launches: so far.
    """

    def __init__(self, arch: int, weights: Weights) -> None:
        self.arch, self.weights = arch, weights
        self.launches: list[Traced] = []
        self._label: list[str] = []
        self._ports: dict[bool, list[Port]] = {False: [], True: []}

    @contextmanager
    def layer(self, name: str) -> Iterator[None]:
        """Launches in the block belong to this layer."""
        self._label.append(name)
        try:
            yield
        finally:
            self._label.pop()

    def port(self, entry: TensorEntry, output: bool = False) -> Array:
        """An input or output of the graph as an array."""
        shape = tuple(named(size) if isinstance(size, str) else size for size in entry.shape)
        self._ports[output].append(Port(entry.name, entry.dtype, shape))
        memory = PortMemory(entry.name)
        return Array(memory, DTYPES[entry.dtype], shape, contiguous_strides(shape), 0, entry.name)

    def empty(self, shape: Sequence[Size], dtype: str, name: str = "") -> Array:
        """A buffer."""
        sizes = tuple(shape)
        array = Array(None, dtype, sizes, contiguous_strides(sizes), 0, name)
        return Array(Buffer(array.nbytes, name), dtype, sizes, contiguous_strides(sizes), 0, name)

    def launch(self, launch: Launch) -> None:
        """Write a launch down."""
        for name, array in launch.arrays().items():
            check_alignment(array, launch.kernel.__name__, name)
        self.launches.append(Traced(self._label[-1] if self._label else "", launch))

    def program(
        self, graph: str, limits: Mapping[str, int], kernel_of: Callable[[Launch], int]
    ) -> Program:
        """All that was written down.

        Args:
            graph: "encoder" or "decoder".
            limits: name of a size -> the most that the program takes.
            kernel_of: number of the compiled kernel of a launch.
        """
        needs = _lives(self.launches)
        offsets, arena = pack(list(needs.values()), limits)
        places = dict(zip(needs, offsets, strict=True))
        steps = [_step(traced, places, kernel_of, self.weights) for traced in self.launches]
        inputs, outputs = (tuple(self._ports[output]) for output in (False, True))
        return Program(graph, dict(limits), inputs, outputs, arena, tuple(steps))


def _lives(launches: Sequence[Traced]) -> dict[Buffer, Need]:
    """Every buffer's size and life, in the order of their first use."""
    found: dict[Buffer, Need] = {}
    for at, traced in enumerate(launches):
        for array in traced.launch.arrays().values():
            if isinstance(array.storage, Buffer):
                first = found[array.storage].first if array.storage in found else at
                found[array.storage] = Need(array.storage.size, first, at)
    return found


def _step(
    traced: Traced,
    places: Mapping[Buffer, Size],
    kernel_of: Callable[[Launch], int],
    weights: Weights,
) -> Step:
    launch = traced.launch
    moved: dict[bool, Size] = {False: 0, True: 0}
    for name, array in launch.arrays().items():
        written = name in launch.outputs
        moved[written] = moved[written] + array.nbytes
    arguments = tuple(
        _argument(launch.arguments[name], places, weights)
        for name in launch.kernel.arg_names
        if name not in launch.constants and launch.arguments[name] is not None
    )
    label = ".".join(part for part in (traced.label, launch.label) if part)
    return Step(label, kernel_of(launch), launch.grid, arguments, launch.flops, moved[False],
                moved[True])  # fmt: skip


def _argument(
    value: Array | Size | None, places: Mapping[Buffer, Size], weights: Weights
) -> Argument:
    if not isinstance(value, Array):
        assert value is not None
        return Argument("size", value)
    memory = value.storage
    if isinstance(memory, Buffer):
        return Argument("arena", places[memory] + value.offset)
    if isinstance(memory, PortMemory):
        return Argument("port", value.offset, memory.name)
    assert isinstance(memory, WeightMemory)
    return Argument("weight", weights.listed[memory.index].offset + value.offset)
