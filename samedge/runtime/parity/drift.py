"""Where in a graph an engine's results leave the float32 ones: for an engine that fails `verify`.

The same graph is computed twice on a self-test frame: by the engine under test, and by OpenVINO in
float32 from the float32 file. Tensors have the same names in both, so any of them can be compared.
A few spread over the graph are, then a few between the last one that agrees and the next, and so on
until two neighbours are left: bisection, with several cuts at once because compiling is what takes
the time. It rests on an error, once there, staying there. A residual connection may hide one for a
while, therefore two things more: the ancestors of what was found are compared, too, to move up to
the first whose own inputs agree, and if even that one only passes on what its inputs have, or if
nothing is found for an engine that fails, every tensor is compared.

"Agrees" is a bound on the relative RMS error (`samedge.tolerances.DRIFT`). Where no operation makes
an error of its own, it has no single place, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bundle import Bundle
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.errors import NotSupportedError
from samedge.machine.memory import release_memory
from samedge.progress import Progress, Step, silent
from samedge.runtime.backend import Arrays, Backend, InnerTensors, LoadOptions
from samedge.runtime.parity.drift_cases import Case, recorded_cases
from samedge.runtime.parity.graph_values import GraphValue, GraphValues
from samedge.tolerances import DRIFT

CUTS = 12  # tensors compared at once; each costs its memory, a compilation costs seconds
SCAN = 64  # the same, where all are
ANCESTORS = 24
_MOVING = frozenset(("Reshape", "Transpose", "Pad", "Slice", "Identity"))
GREW = 3.0  # an operation whose error is this many times its inputs' made it
_SILENT = 1e-9  # RMS below which a tensor counts as zero

Evaluate = Callable[[Sequence[str]], dict[str, "ComparedTensor"]]


@dataclass(frozen=True)
class ComparedTensor:
    """One tensor, compared.

    Attributes:
        name: in the ONNX files.
        kind: operator that computes it; "input" for what goes into the graph.
        place: its number in the order of computation.
        error: RMS of the difference over RMS of the float32 values; infinity if values are NaN or
            infinite that are not so in float32.
        largest: largest absolute float32 value, finite ones only.
    """

    name: str
    kind: str
    place: int
    error: float
    largest: float


@dataclass(frozen=True)
class Drift:
    """What was found in one graph.

    Attributes:
        graph: "encoder" or "decoder".
        case: name of the self-test whose frame it is.
        bound: largest relative error of an output that counts as agreeing.
        level: the same for tensors inside: half of what the outputs are off by, but from the bound
            to three times that.
        output: the worst of the graph's own outputs, computed with nothing else given out.
        first: the first tensor outside the bound; None if there is no such place.
        inputs: what `first` is computed from.
        checkpoints: all tensors that were compared, in order.
        verdict: one sentence.
    """

    backend: str
    precision: str
    graph: str
    case: str
    bound: float
    level: float
    output: ComparedTensor
    first: ComparedTensor | None
    inputs: tuple[ComparedTensor, ...]
    checkpoints: tuple[ComparedTensor, ...]
    verdict: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values (an infinite error is JSON's null where it is printed)."""
        return asdict(self)


def locate(
    bundle: Bundle,
    backend: Backend,
    precision: str,
    threads: int = 1,
    device: int = 0,
    progress: Progress = silent,
    thorough: bool = False,
    engines: Sequence[Path] = (),
) -> list[Drift]:
    """Find where each graph's results leave the float32 ones.

    The decoder is given the float32 embedding, so it answers for itself alone.

    Args:
        bundle: with self-test frames.
        backend: one that gives out tensors from inside (`Backend.inner`).
        precision: one that it runs, by name.
        threads, device: as for `samedge.load`.
        progress: told what is compared.
        thorough: compare every tensor of a graph whose outputs agree: for an engine that is known
            to fail. A SAMUS ViT-B takes a few minutes then.
        engines: folders of ready engines, as in `LoadOptions`. Those that give out tensors from
            inside are built here all the same.

    Returns:
        One entry for the encoder, one for the decoder; none for that if the encoder gives NaN in
        float32 already.

    Raises:
        NotSupportedError: the backend cannot give out tensors, or the bundle has no float32 graph.
        BundleError: there are no self-test frames.
        DeviceError: an engine failed.
    """
    inner = backend.inner
    if inner is None:
        raise NotSupportedError(
            f"the {backend.name} backend cannot give out tensors from inside a graph, so an error "
            "cannot be located; verify another precision, or the openvino backend"
        )
    options = LoadOptions(precision, threads, device, cache=False, engines=tuple(engines))
    found = []
    for graph, cases in recorded_cases(bundle, threads).items():
        if not cases:
            continue
        pair = _Pair(bundle, inner, options, graph, progress)
        found.append(_located(pair, cases, backend.name, thorough))
        release_memory()
    return found


@dataclass
class _Pair:
    """One graph, computed by the engine under test and in float32; and its structure."""

    bundle: Bundle
    inner: InnerTensors
    options: LoadOptions
    graph: str
    progress: Progress
    outputs: tuple[str, ...] = field(init=False)
    order: dict[str, int] = field(init=False)
    computed: dict[str, GraphValue] = field(init=False)

    def __post_init__(self) -> None:
        if "fp32" not in self.bundle.manifest.graphs[self.graph]:
            raise NotSupportedError(
                f"the bundle has no float32 {self.graph} to compare with; export it again with "
                "--precision fp32 among its precisions"
            )
        from samedge.runtime.openvino.tensors import read_values

        with self.bundle.opened_graph(self.graph, "fp32") as path:
            found: GraphValues = read_values(path)
        # All in front of the network's input is float32 in every graph.
        sources = (NETWORK_INPUT,) if self.graph == "encoder" else found.inputs
        self.outputs = found.outputs
        self.computed = {value.name: value for value in found.computed_from(sources)}
        names = dict.fromkeys((*sources, *self.computed))
        self.order = {name: place for place, name in enumerate(names)}

    def compare(
        self, names: Sequence[str], cases: Sequence[Case]
    ) -> list[dict[str, ComparedTensor]]:
        """The tensors `names`, as far as both engines know them and they are real numbers."""
        from samedge.runtime.openvino.tensors import named_outputs

        inputs = [case.inputs for case in cases]
        exact = LoadOptions("fp32", self.options.threads, cache=False)
        reference = named_outputs(self.bundle, self.graph, "fp32", exact, names, inputs, plain=True)
        release_memory()
        given = self.inner.named_outputs(self.bundle, self.graph, self.options, names, inputs)
        return [self._compared(names, *both) for both in zip(reference, given, strict=True)]

    def _compared(
        self, names: Sequence[str], expected: Arrays, got: Arrays
    ) -> dict[str, ComparedTensor]:
        found = {}
        for name in names:
            if name in expected and name in got and expected[name].dtype.kind == "f":
                kind = self.computed[name].operation if name in self.computed else "input"
                error = relative_error(got[name], expected[name], self._may_be_smoothed(name))
                finite = expected[name][np.isfinite(expected[name])]
                largest = float(np.abs(finite).max(initial=0.0))
                found[name] = ComparedTensor(name, kind, self.order[name], error, largest)
        return found

    def _may_be_smoothed(self, name: str) -> bool:
        """Smoothing for int8 moves a factor per channel from a LayerNormalization into the next
        layer, on purpose: what lies between the two has that factor."""
        value = self.computed.get(name)
        while value is not None and value.operation in _MOVING:
            value = self.computed.get(value.inputs[0])
        int8 = self.options.precision == "int8"
        return int8 and value is not None and value.operation == "LayerNormalization"


def relative_error(got: NDArray[Any], expected: NDArray[Any], per_channel: bool = False) -> float:
    """RMS of the difference over RMS of the expected values; infinity where values are not finite
    that should be, or shapes differ.

    Args:
        got, expected: arrays of one shape.
        per_channel: allow `got` a factor for each place of the last axis.
    """
    if got.shape != expected.shape:
        return float("inf")
    wide, exact = got.astype(np.float64), expected.astype(np.float64)
    usable = np.isfinite(exact)
    if not np.isfinite(wide[usable]).all():
        return float("inf")
    wide, exact = np.where(usable, wide, 0.0), np.where(usable, exact, 0.0)
    if per_channel and wide.ndim:
        axes = tuple(range(wide.ndim - 1))
        power = np.sum(wide**2, axis=axes)
        factor = np.sum(wide * exact, axis=axes) / np.where(power > 0, power, 1.0)
        wide = wide * factor
    size = float(np.sqrt(np.mean(exact**2))) if exact.size else 0.0
    return float(np.sqrt(np.mean((wide - exact) ** 2)) / max(size, _SILENT)) if exact.size else 0.0


def _located(pair: _Pair, cases: Sequence[Case], backend: str, thorough: bool) -> Drift:
    bound = DRIFT[pair.options.precision]
    ends = [name for name in pair.outputs if name in pair.order]
    pair.progress(Step(f"{pair.graph}: its outputs on {len(cases)} self-tests"))
    alone = [_worst(found.values()) for found in pair.compare(ends, cases)]
    case, output = max(zip(cases, alone, strict=True), key=lambda both: both[1].error)
    seen: dict[str, ComparedTensor] = {}

    def evaluate(names: Sequence[str]) -> dict[str, ComparedTensor]:
        wanted = [name for name in names if name not in seen]
        if wanted:
            ordered = sorted(wanted, key=pair.order.__getitem__)
            pair.progress(
                Step(f"{pair.graph}: {len(ordered)} tensors, {ordered[0]} to {ordered[-1]}")
            )
            seen.update(pair.compare(ordered, [case])[0])
        return {name: seen[name] for name in names if name in seen}

    level = min(max(output.error / 2, bound), 3 * bound)
    search = _Search(pair, evaluate, level, output.name)
    spread = search.spread()
    if output.error > bound:
        first = search.run(spread)
    else:
        first = search.scanned() if thorough else None
    inputs = search.inputs_of(first) if first is not None else ()
    together = seen.get(output.name, output)
    return Drift(
        backend, pair.options.precision, pair.graph, case.name, bound, level, output, first, inputs,
        tuple(sorted(seen.values(), key=lambda tensor: tensor.place)),
        _verdict(first, inputs, output, together, bound, level),
    )  # fmt: skip


class _Search:
    """From the ends of a graph to the first tensor whose error is above a level."""

    def __init__(self, pair: _Pair, evaluate: Evaluate, level: float, end: str) -> None:
        self._pair, self._evaluate, self._level = pair, evaluate, level
        self._names = [name for name in pair.order if pair.order[name] <= pair.order[end]]

    def spread(self) -> dict[int, ComparedTensor]:
        """Tensors over the whole graph, the end among them, by their places."""
        last = len(self._names) - 1
        return self._places([0, *_between(0, last, CUTS), last])

    def run(self, at: dict[int, ComparedTensor]) -> ComparedTensor | None:
        """From tensors of `spread`: the operation's result that makes the error, or else the first
        beyond the level; None if the end is within it when tensors inside are given out."""
        if not at or at[max(at)].error <= self._level:
            return None
        first = self._made_first(self._bisected(at))
        return first if self._makes_it(first) else self.scanned() or first

    def _bisected(self, at: dict[int, ComparedTensor]) -> ComparedTensor:
        """The first outside behind the last that is inside."""
        low = -1
        while True:
            inside = [place for place, t in at.items() if t.error <= self._level]
            low = max([low, *inside])
            high = min(place for place in at if place > low)
            more = self._places(_between(low, high, CUTS))
            if not more:
                return at[high]
            at = {high: at[high], **more}

    def _makes_it(self, tensor: ComparedTensor) -> bool:
        """Whether a tensor is much farther off than all that it is computed from."""
        return tensor.error >= GREW * max((t.error for t in self.inputs_of(tensor)), default=0.0)

    def scanned(self) -> ComparedTensor | None:
        """The first of all tensors that is outside and made so by its own operation."""
        for at in range(0, len(self._names), SCAN):
            for tensor in self._evaluate(self._names[at : at + SCAN]).values():
                if tensor.error > self._level and self._makes_it(tensor):
                    return tensor
        return None

    def _places(self, places: Sequence[int]) -> dict[int, ComparedTensor]:
        found = self._evaluate([self._names[place] for place in places])
        return {place: found[self._names[place]] for place in places
                if self._names[place] in found}  # fmt: skip

    def _made_first(self, tensor: ComparedTensor) -> ComparedTensor:
        """Up from `tensor` while an input is outside the bound, too."""
        known: set[str] = set()
        while True:
            if not known.issuperset(self._inputs(tensor.name)):
                nearest = self._ancestors(tensor.name)
                self._evaluate(nearest)
                known.update(nearest)
            wrong = [t for t in self.inputs_of(tensor) if t.error > self._level]
            if not wrong:
                return tensor
            tensor = min(wrong, key=lambda t: t.place)

    def inputs_of(self, tensor: ComparedTensor) -> tuple[ComparedTensor, ...]:
        """What a tensor is computed from, compared."""
        return tuple(self._evaluate(self._inputs(tensor.name)).values())

    def _inputs(self, name: str) -> list[str]:
        """Its inputs that depend on the graph's; behind what no engine shows, theirs."""
        value = self._pair.computed.get(name)
        inputs = value.inputs if value is not None else ()
        return [name for name in inputs if name in self._pair.order]

    def _ancestors(self, name: str) -> list[str]:
        """The nearest ones."""
        found: list[str] = []
        waiting = [name]
        while waiting and len(found) < ANCESTORS:
            for value in self._inputs(waiting.pop(0)):
                if value not in found:
                    found.append(value)
                    waiting.append(value)
        return found[:ANCESTORS]


def _between(low: int, high: int, count: int) -> list[int]:
    """At most `count` whole numbers above `low` and below `high`, evenly spread."""
    inside = high - low - 1
    if inside <= count:
        return list(range(low + 1, high))
    return sorted({low + round((i + 1) * (high - low) / (count + 1)) for i in range(count)})


def _worst(tensors: Any) -> ComparedTensor:
    worst: ComparedTensor = max(tensors, key=lambda tensor: tensor.error)
    return worst


def _verdict(
    first: ComparedTensor | None,
    inputs: Sequence[ComparedTensor],
    output: ComparedTensor,
    together: ComparedTensor,
    bound: float,
    level: float,
) -> str:
    if output.error <= bound and first is None:
        return (
            f"every output agrees with float32 to {output.error:.1e} (bound {bound:g}); "
            "no operation stands out"
        )
    if first is None or together.error <= bound < output.error:
        return (
            f"{output.name} is off by {output.error:.2g}, but agrees as soon as tensors inside are "
            "given out: the fault is in how the engine fuses operations, not in one of them"
        )
    where = f"{first.name} ({first.kind})"
    if not np.isfinite(first.error):
        return (
            f"{where} holds NaN or infinity, its inputs do not: an overflow "
            f"(largest float32 value {first.largest:.3g})"
        )
    before = max((tensor.error for tensor in inputs), default=0.0)
    if first.error < GREW * before:
        return (
            f"{where} is the first beyond {level:.2g}, but its inputs are off by {before:.2g} "
            "already: the error grew over many operations, it was not made by one"
        )
    made = f"{where} makes an error of {first.error:.2g}, its inputs are off by {before:.2g}"
    return f"{made}; the output is off by {output.error:.2g}"
