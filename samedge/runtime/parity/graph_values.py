"""The values of a graph by name: what each is computed from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class GraphValue:
    """One value: its name, the operation that makes it, and the named values that it is made of.

    Attributes:
        operation: in ONNX, as the name says (`samedge.bundle.graph_names.operation_of`); where it
            does not, as the engine calls it.
    """

    name: str
    operation: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class GraphValues:
    """A graph's computed values in an order in which they can be computed, and its ends' names."""

    values: tuple[GraphValue, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def computed_from(self, sources: Iterable[str]) -> list[GraphValue]:
        """The values that depend on one of `sources`, in order."""
        known, found = set(sources), []
        for value in self.values:
            if known.intersection(value.inputs):
                known.add(value.name)
                found.append(value)
        return found
