"""A backend that runs a bundle's own plan in Triton's interpreter: what the GPU would be given,
launch by launch, on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from samedge.bundle import Bundle
from samedge.export.triton.build import traced
from samedge.export.triton.trace import opened
from samedge.kernels.compile import Signature
from samedge.runtime.backend import (
    Backend,
    Engine,
    Engines,
    GraphIO,
    LoadOptions,
    TensorSpec,
    both_graphs,
)
from samedge.runtime.triton.plan import Program
from tests.export.triton.executor import execute, fits, weights_memory
from tests.kernels.interpreted import interpreted

MAX_SIDE = 512  # px


@dataclass(frozen=True)
class Plan:
    """A traced bundle.

    Attributes:
        kernels: signatures by number.
        programs: of both graphs.
        weights: the memory of the weights.
    """

    kernels: list[Signature]
    programs: tuple[Program, ...]
    weights: bytes


def plan_of(bundle: Bundle, precision: str, arch: int = 0) -> Plan:
    """The plan of a bundle, with the tiles of one GPU (0: the interpreter's)."""
    with opened(bundle, precision) as source:
        kernels, programs = traced(source, precision, arch, MAX_SIDE)
        memory = weights_memory(bundle, source.weights.listed, bytes(source.weights.own))
    return Plan(kernels, programs, memory)


class PlanBackend(Backend):
    """See the module.

    Args:
        arch: whose tiles are used.
        change: breaks a plan on purpose.
    """

    name = "plan"

    def __init__(self, arch: int = 0, change: Callable[[Plan], Plan] = lambda plan: plan) -> None:
        self._arch, self._change = arch, change
        self.runs: list[Program] = []
        self._programs: tuple[Program, ...] = ()

    def known(self, graph: str) -> list[Program]:
        """All programs of a graph."""
        return [program for program in self._programs if program.graph == graph]

    def unavailable(self) -> str | None:
        """It runs everywhere."""
        return None

    def precisions(self) -> tuple[str, ...]:
        """What the interpreter computes rightly."""
        return ("fp32", "fp16", "int8")

    def open(self, bundle: Bundle, options: LoadOptions) -> Engines:
        """Trace both graphs."""
        plan = self._change(plan_of(bundle, options.precision, self._arch))
        self._programs = plan.programs
        encoder, decoder = both_graphs(lambda graph: _PlanEngine(plan, graph, bundle, self.runs))
        return Engines(encoder, decoder, "Triton's interpreter")


class _PlanEngine(Engine):
    def __init__(self, plan: Plan, graph: str, bundle: Bundle, runs: list[Program]) -> None:
        self._plan, self._runs = plan, runs
        self._programs = [p for p in plan.programs if p.graph == graph]
        entry = bundle.manifest.graphs[graph]["fp32"]
        specs = ([TensorSpec(t.name, t.dtype, t.shape) for t in tensors]
                 for tensors in (entry.inputs, entry.outputs))  # fmt: skip
        self._io = GraphIO(*map(tuple, specs))

    @property
    def io(self) -> GraphIO:
        """Inputs and outputs of the graph."""
        return self._io

    def run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Compute `outputs` in place from `inputs`."""
        given = {spec.name: np.asarray(inputs[spec.name]) for spec in self._io.inputs}
        program = next(p for p in self._programs if fits(p, given))
        self._runs.append(program)
        kernels, weights = self._plan.kernels, self._plan.weights
        for name, value in interpreted(execute, program, kernels, weights, given).items():
            if name in outputs:
                np.copyto(outputs[name], value)

    def close(self) -> None:
        """Nothing is held."""
