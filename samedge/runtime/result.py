"""What a session answers."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import OutputError
from samedge.runtime.frames import FrameLike, as_frame

PER_MASK = ("masks", "scores", "low_res_logits")


@dataclass(frozen=True, eq=False)
class Timing(Mapping[str, float]):
    """Milliseconds per stage of one answer; also a mapping from the stages' names to them.

    They add up to the total but for what is between them. What an engine cannot tell apart is in
    its `encode` and `decode`: on a GPU the way there and back, and `preprocess`.

    Attributes:
        copy_in: checking the frame, and frame -> the engine's memory; 0 where nothing was encoded.
        preprocess: frame -> network input; likewise.
        encode: network input -> image embedding; likewise.
        prompt: checking prompts, and prompts -> tokens.
        decode: embedding and tokens -> masks.
        post: looking for NaN and infinity in what came out.
        copy_out: the engine's memory -> arrays of the answer's own.
        total: from the call to the answer.
    """

    copy_in: float = 0.0
    preprocess: float = 0.0
    encode: float = 0.0
    prompt: float = 0.0
    decode: float = 0.0
    post: float = 0.0
    copy_out: float = 0.0
    total: float = 0.0

    @classmethod
    def summed(cls, parts: Iterable[Mapping[str, float]]) -> Timing:
        """Stage by stage, over several answers."""
        rows = list(parts)
        return cls(**{stage: sum(row.get(stage, 0.0) for row in rows) for stage in STAGES})

    def __getitem__(self, stage: str) -> float:
        if stage not in STAGES:
            raise KeyError(stage)
        value: float = getattr(self, stage)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(STAGES)

    def __len__(self) -> int:
        return len(STAGES)


STAGES = tuple(entry.name for entry in fields(Timing))


@dataclass(frozen=True, eq=False)
class Result:
    """Masks of one frame. The arrays belong to the caller: no later call changes them.

    Results are equal if all but their times is, arrays by type and value.

    Attributes:
        masks: uint8 `[K, H, W]`, 0 or 1, at the frame's own size. K = objects x masks per object.
        scores: float32 `[K]`, predicted IoU.
        low_res_logits: float32 `[K, L, L]`; feed one back as `mask=` where the family takes masks.
        object_index: int64 `[K]`, which of the prompted objects (0-based) a mask belongs to.
        timing_ms: milliseconds per stage, from "copy_in" to "copy_out", and their "total"; a
            `Timing` where a session answered. `predict` does not encode, so its first three are 0.
        class_index: int64 `[K]`, place in `class_names` of what a mask shows; 0 for families
            without classes.
        class_names: names of the family's classes or structures; empty without.
        class_map: uint8 `[H, W]`, class of every pixel, where each belongs to one class (0 is the
            background); else None.
        notes: what was decided on the user's behalf and may be wrong for this frame.
    """

    masks: NDArray[np.uint8]
    scores: NDArray[np.float32]
    low_res_logits: NDArray[np.float32]
    object_index: NDArray[np.int64]
    timing_ms: Mapping[str, float]
    class_index: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    class_names: tuple[str, ...] = ()
    class_map: NDArray[np.uint8] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.class_index):
            object.__setattr__(self, "class_index", np.zeros_like(self.object_index))

    def best(self, index: int = 0) -> int:
        """Position in `masks` of the highest-scoring mask of object `index`.

        Raises:
            IndexError: there is no such object.
        """
        places = np.flatnonzero(self.object_index == index)
        if not len(places):
            raise IndexError(f"object {index} is not in this result")
        return int(places[np.argmax(self.scores[places])])

    def save(self, path: str | os.PathLike[str], index: int | None = None) -> Path:
        """Write the result to a file, whole or not at all.

        Args:
            path: `NAME.npz` takes every array under its own name, for `numpy.load`. `NAME.png`
                takes one picture: the class map where there is one (the class's number per pixel),
                else the highest-scoring mask of the only object (0 and 255).
            index: position in `masks` of the mask to write, as a PNG of 0 and 255.

        Returns:
            the path.

        Raises:
            OutputError: another kind of file, several masks for one PNG, no such mask, or the file
                cannot be written.
        """
        from samedge.drawing.png import write_png
        from samedge.files.whole import write_bytes

        target = Path(path)
        kind = target.suffix.lower()
        if kind == ".png":
            write_png(target, self._picture(index))
        elif kind == ".npz" and index is None:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, allow_pickle=False, **self._arrays())
            write_bytes(target, buffer.getvalue())
        elif kind == ".npz":
            raise OutputError("an .npz file takes all masks; leave index out, or name a .png file")
        else:
            raise OutputError(
                f"'{target.name}' came; expected a name that ends in .npz (all arrays) or .png "
                "(one picture)"
            )
        return target

    def plot(self, frame: FrameLike | None = None, ax: Any = None) -> Any:
        """Draw the masks with matplotlib: the best of each object, or all classes that occur.

        Args:
            frame: drawn below the masks; what `Session.segment` takes.
            ax: the matplotlib `Axes` to draw into; default: a new figure.

        Returns:
            the `Axes`.

        Raises:
            MissingDependencyError: matplotlib is not installed.
            FrameError: the frame is none, or of another size than the masks.
        """
        from samedge.drawing.figure import draw_figure

        shown, names = self._shown()
        below = None if frame is None else as_frame(frame, True)
        return draw_figure([self.masks[k] for k in shown], names, self.masks.shape[1:], below, ax)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the times, as arrays."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "timing_ms"}
        found |= {name: np.array(found[name], str) for name in ("class_names", "notes")}
        return {name: array for name, array in found.items() if array is not None}

    def _picture(self, index: int | None) -> NDArray[np.uint8]:
        """What a PNG shows, uint8 `[H, W]`."""
        if index is None and self.class_map is not None:
            return self.class_map
        if index is None:
            pairs = zip(self.object_index.tolist(), self.class_index.tolist(), strict=True)
            several = len(set(pairs))
            if several != 1:
                raise OutputError(
                    f"{several} objects or structures came for one PNG, and their masks may "
                    "overlap: give index=, the position of one mask, or a name that ends in .npz"
                )
            index = self.best(int(self.object_index[0]))
        if not 0 <= index < len(self.masks):
            raise OutputError(f"index={index} came; expected 0 to {len(self.masks) - 1}")
        return np.asarray((self.masks[index] != 0) * np.uint8(255), np.uint8)

    def _shown(self) -> tuple[list[int], list[str]]:
        """Positions of the masks worth seeing, and what each of them is called."""
        objects = sorted(set(self.object_index.tolist()))
        if not self.class_names:
            return [self.best(i) for i in objects], [f"object {i + 1}" for i in objects]
        background = self.class_map is not None
        shown = [
            k
            for k, c in enumerate(self.class_index.tolist())
            if self.masks[k].any() and not (background and c == 0)
        ]
        return shown, [self.class_names[self.class_index[k]] for k in shown]

    def __eq__(self, other: object) -> bool:
        return same_values(self, other) if isinstance(other, Result) else NotImplemented

    def __hash__(self) -> int:  # by what cannot change: the values of the arrays can
        return hash((self.masks.shape, self.class_names))

    def __repr__(self) -> str:
        return short_text("Result", self.masks.shape, self.object_index, self.timing_ms)


def same_values(one: Any, other: Any) -> bool:
    """Whether two results of a kind have the same answer; arrays count by type and value, times
    do not."""
    names = (f.name for f in fields(one) if f.name != "timing_ms")
    return all(_same(getattr(one, name), getattr(other, name)) for name in names)


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, np.ndarray) or not isinstance(other, np.ndarray):
        return one is other or (type(one) is type(other) and bool(one == other))
    numbers = one.dtype.kind == "f"
    return bool(one.dtype == other.dtype and np.array_equal(one, other, equal_nan=numbers))


def short_text(
    kind: str,
    shape: tuple[int, ...],
    object_index: NDArray[np.int64],
    timing_ms: Mapping[str, float],
) -> str:
    """One line for a result: how large, how many objects, how long."""
    size = "x".join(map(str, shape))
    objects = len(set(object_index.tolist()))
    return f"{kind}(masks={size}, objects={objects}, {timing_ms.get('total', 0.0):.1f} ms)"


def joined(
    parts: list[tuple[NDArray[np.int64], dict[str, NDArray[Any]]]],
    timing: Callable[[], Timing],
    classes: tuple[str, ...],
    notes: tuple[str, ...] = (),
) -> Result:
    """Decoder outputs of groups of objects as one result, in the objects' order.

    Args:
        parts: per group the object numbers `[n]` and its outputs, each `[n, K, ...]`; `class_map`
            is `[n, H, W]`.
        timing: of the answer; called when its arrays are there.
        classes: of the family.
        notes: for the user.
    """
    order = np.concatenate([objects for objects, _ in parts])
    place = np.argsort(order, kind="stable")
    together: dict[str, NDArray[Any]] = {}
    for name in parts[0][1]:
        stacked = np.concatenate([outputs[name] for _, outputs in parts])[place]
        if name in PER_MASK:
            stacked = stacked.reshape(-1, *stacked.shape[2:])
        together[name] = np.ascontiguousarray(stacked)
    per_object = len(together["scores"]) // len(order)
    object_index = np.repeat(order[place], per_object).astype(np.int64)
    class_index = np.tile(np.arange(per_object), len(order)).astype(np.int64)
    return Result(
        masks=together["masks"],
        scores=together["scores"],
        low_res_logits=together["low_res_logits"],
        object_index=object_index,
        timing_ms=timing(),
        class_index=class_index if classes else class_index * 0,
        class_names=classes,
        class_map=together["class_map"][0] if "class_map" in together else None,
        notes=notes,
    )
