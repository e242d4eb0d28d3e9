"""How much memory folding and exporting take at their peaks, told from sizes alone.

The numbers below were fitted to what the steps took in fact, from ViT-B to ViT-H and for every
family; `python -m samedge.bench.memory CHECKPOINT` measures a checkpoint's and prints both.
docs/performance.md has the table. They are meant to be too large rather than too small.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from samedge.machine.memory import Need

FOLD = "folding the image encoder"
COMPARE = "comparing with the unfolded model"
WRITE = "writing the encoder graph"
HALF = "half precision: looking at every value, and its gate"
INT8 = "INT8: statistics, sensitivity and masks"
GATE = "parity gate: running the bundle on its self-test frames"

HALF_FROM = 1 << 10  # values; smaller weights (biases, norms) are not worth storing in 16 bits
EXTERNAL_ABOVE = 1_900_000_000  # bytes of weights of a graph; a protobuf ends at 2 GiB

_FLOAT = 4
_CHUNK = 4 << 26  # bytes of attention scores that torch holds at a time: kernels/chunks.py
_PLAIN = 300 * 10**6  # buffers of the libraries, images, masks, the decoder
_MARGIN = 1.2  # of everything: allocators, other versions of the libraries


@dataclass(frozen=True)
class Work:
    """What of a model decides how much memory it takes.

    Attributes:
        weights: bytes of its float32 weights.
        images: encoded together (slices of a volume).
        heads: attention heads.
        tokens: of one image.
        padded: the same with the padding of windows.
        dim: channels of a token.
        attended: keys of a token in the widest block: all tokens, or those of a window.
    """

    weights: int
    images: int
    heads: int
    tokens: int
    padded: int
    dim: int
    attended: int

    @property
    def scores(self) -> int:
        """Bytes of one block's attention scores, of all images and heads together."""
        return self.images * self.heads * self.tokens * self.attended * _FLOAT

    @property
    def chunk(self) -> int:
        """Bytes of attention scores that torch holds at a time; one head's at least."""
        return min(self.scores, max(_CHUNK, self.tokens * self.attended * _FLOAT))

    @property
    def activations(self) -> int:
        """Bytes of the tokens of all images, once."""
        return self.images * self.padded * self.dim * _FLOAT


def fold_needs(work: Work) -> list[Need]:
    """Of `samedge.fold`, beyond the model that is folded. Folding makes as many weights again."""
    compared = work.weights + 2 * work.chunk + 16 * work.activations
    return [_need(FOLD, work.weights), _need(COMPARE, compared)]


def export_needs(work: Work) -> list[Need]:
    """Of `samedge.export`, beyond the folded model.

    Weights inside a graph's file are read twice to check it, those beside it not at all (a tenth of
    them was taken). The gate has them once as OpenVINO's kernels want them and once as they were
    before.
    """
    checked = work.weights * (2 if work.weights < EXTERNAL_ABOVE else 0.1)
    gate = 2 * work.weights + 1.4 * work.scores + 8 * work.activations
    return [_need(WRITE, checked), _need(GATE, gate)]


def derive_needs(work: Work, precisions: Iterable[str]) -> list[Need]:
    """Of making graphs of other precisions from float32 ones: those in memory, what is made of
    them, and OpenVINO's kernels and values."""
    values = 2 * work.scores + 16 * work.activations
    needs = {
        "fp16": [_need(HALF, 4 * work.weights + values)],
        "int8": [_need(HALF, 4 * work.weights + values), _need(INT8, 5 * work.weights + values)],
    }
    return [need for precision in precisions for need in needs.get(precision, ())]


def bundle_bytes(work: Work) -> int:
    """Size of the bundle on the disk, from above: weights, tables, self-test frames."""
    return work.weights + _FLOAT * work.tokens * (1024 + 2 * work.dim) + 16 * 10**6


def _need(step: str, count: float) -> Need:
    return Need(step, int((count + _PLAIN) * _MARGIN))
