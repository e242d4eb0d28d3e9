"""What the parts of a network are lowered with: the tracer, the constants, the element types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from samedge.bundle.manifest import GraphEntry, Variant
from samedge.export.triton.tracer import Tracer
from samedge.export.triton.weights import View, Weights
from samedge.families import Family
from samedge.kernels.launch import Array
from samedge.kernels.layers.conv3x3 import conv3x3
from samedge.kernels.layers.layer_norm import layer_norm
from samedge.kernels.layers.linear import linear
from samedge.kernels.layers.linear_int8 import linear_int8
from samedge.kernels.layers.linear_parts import RowNorm
from samedge.kernels.layers.rms_norm import rms_norm
from samedge.kernels.layers.row_statistics import row_statistics


@dataclass(frozen=True)
class Quantised:
    """A linear layer in INT8: names of its constants in the quantised graph.

    Attributes:
        weight: int8 [K, N].
        weight_scale: float32 [N].
        x_scale: float32 scale of its input.
    """

    weight: str
    weight_scale: str
    x_scale: float


@dataclass(frozen=True)
class Context:
    """See the module.

    Attributes:
        run: writes launches down.
        half: element type of weights and of what products take: fp16, bf16, or fp32 throughout.
        family, variant: of the bundle.
        entry: inputs and outputs of the graph.
        file: of the bundle that float32 weights stand in.
        quantised_file: of the graph in INT8.
        quantised: path of a linear layer -> how it is quantised.
    """

    run: Tracer
    half: str
    family: Family
    variant: Variant
    entry: GraphEntry
    file: str
    quantised_file: str = ""
    quantised: Mapping[str, Quantised] = field(default_factory=dict)

    @property
    def weights(self) -> Weights:
        """Constants of the plan."""
        return self.run.weights

    def input(self, name: str) -> Array:
        """An input of the graph."""
        return self.run.port(next(entry for entry in self.entry.inputs if entry.name == name))

    def output(self, name: str) -> Array:
        """An output of the graph."""
        entry = next(entry for entry in self.entry.outputs if entry.name == name)
        return self.run.port(entry, output=True)

    def takes(self, name: str) -> bool:
        """Whether the graph has an input of this name."""
        return any(entry.name == name for entry in self.entry.inputs)

    def gives(self, name: str) -> bool:
        """Whether the graph has an output of this name."""
        return any(entry.name == name for entry in self.entry.outputs)

    def has(self, key: str) -> bool:
        """Whether the bundle has such a weight."""
        return bool(self.weights.stored(self.file, key))

    def matrix(self, key: str, view: View | None = None) -> Array:
        """A weight that products take."""
        return self.weights.view(self._file_of(key), key, self.half, view)

    def vector(self, key: str, view: View | None = None) -> Array:
        """A bias, a norm's scale, a table that is added: float32."""
        return self.weights.view(self._file_of(key), key, "fp32", view)

    def _file_of(self, key: str) -> str:
        """Where a weight is taken from. The quantised graph has other norms and matrices than the
        float32 one (outliers moved from the one to the other); what it has in INT8 and no kernel
        takes so, its convolutions, is as it was."""
        quantised = self.quantised_file
        if quantised and self.weights.stored(quantised, key) in ("fp32", "fp16"):
            return quantised
        return self.file

    def bias(self, path: str) -> Array | None:
        """Of a linear layer; None if it has none."""
        key = f"{path}.bias"
        return self.vector(key) if self.has(key) else None

    def constant(self, values: torch.Tensor, dtype: str, name: str) -> Array:
        """What the engine brings along."""
        return self.weights.constant(values, dtype, name)

    def row_norm(self, x: Array, path: str, eps: float) -> RowNorm:
        """LayerNorm for the layers behind it, which normalise while they load."""
        with self.run.layer(path):
            statistics = row_statistics(self.run, x, eps)
        weight, bias = self.vector(f"{path}.weight"), self.vector(f"{path}.bias")
        return RowNorm(statistics, weight, bias)

    def layer_norm(self, x: Array, path: str, eps: float, dtype: str) -> Array:
        """LayerNorm of whole rows."""
        weight, bias = self.vector(f"{path}.weight"), self.vector(f"{path}.bias")
        with self.run.layer(path):
            return layer_norm(self.run, x, weight, bias, eps, dtype=dtype)

    def conv3x3(self, x: Array, path: str, planes: bool = False) -> Array:
        """3x3 convolution, before its norm; `planes`: x is channels first."""
        weight = self.matrix(f"{path}.weight", lambda w: w.permute(2, 3, 1, 0))
        with self.run.layer(path):
            return conv3x3(self.run, x, weight, dtype=self.half, planes=planes)

    def rms_norm(
        self, x: Array, path: str, eps: float, dtype: str, *, activation: str = "",
        pool: bool = False, planes: bool = False, add: tuple[Array, float] | None = None,
        out: Array | None = None,
    ) -> Array:  # fmt: skip
        """RMS norm over channels; see `samedge.kernels.layers.rms_norm`."""

        def flat(values: torch.Tensor) -> torch.Tensor:
            return values.reshape(-1)

        weight, bias = (self.vector(f"{path}.{name}", flat) for name in ("weight", "bias"))
        with self.run.layer(path):
            return rms_norm(
                self.run, x, weight, bias, eps, activation=activation, pool=pool, planes=planes,
                add=add, dtype=dtype, out=out,
            )  # fmt: skip

    def linear(self, x: Array, path: str, dtype: str, **options: Any) -> Array:
        """A linear layer called `path`; options of `samedge.kernels.layers.linear.linear`."""
        result = self._product(x, path, dtype=dtype, **options)
        assert isinstance(result, Array)
        return result

    def split_linear(
        self, x: Array, path: str, split: int, dtype: str, **options: Any
    ) -> tuple[Array, Array]:
        """A linear layer with a second output behind column `split`."""
        result = self._product(x, path, split=split, dtype=dtype, **options)
        assert isinstance(result, tuple)
        return result

    def _product(self, x: Array, path: str, **options: Any) -> Array | tuple[Array, Array]:
        bias, found = self.bias(path), self.quantised.get(path)
        with self.run.layer(path):
            if found is None:
                return linear(self.run, x, self.matrix(f"{path}.weight"), bias, **options)
            # Columns behind each other: that is how tensor cores take 8-bit operands.
            stored = self.weights.view(self.quantised_file, found.weight, "i8", lambda w: w.t())
            scale = self.weights.view(self.quantised_file, found.weight_scale, "fp32")
            x_scale = self.constant(torch.tensor([found.x_scale]), "fp32", "input scale")
            weight = stored.transposed()
            return linear_int8(self.run, x, weight, scale, x_scale, bias, **options)
