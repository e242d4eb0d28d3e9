"""The inside of libsamedge with numpy arrays: geometry, pixels, looks, prompts, outlines."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_double, c_int32, c_int64, c_size_t, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.capi import structs as s
from samedge.errors import BundleError, FrameError, NotSupportedError, PromptError, SamEdgeError
from samedge.families import INTERPOLATIONS, Family

_ERRORS = {-5: BundleError, -6: FrameError, -7: PromptError, -9: NotSupportedError}
_ELEMENTS = [np.uint8, np.int32, np.int64, np.float16, np.float32]
_TAKES = {"point": 1, "box": 2, "mask": 4}

_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "message": (c_char_p, []),
    "new": (c_void_p, [c_void_p]),
    "free": (None, [c_void_p]),
    "geometry": (c_int32, [c_void_p, c_int32, c_int32, c_void_p, c_int32, c_int32, c_void_p]),
    "matrix": (c_void_p, [c_void_p, c_char_p, POINTER(c_size_t)]),
    "inputs": (c_int32, [c_void_p, c_int32, c_int32]),
    "input": (c_void_p, [c_void_p, c_char_p, c_void_p, POINTER(c_int32), POINTER(c_int32)]),
    "pixels": (c_int32, [c_void_p, POINTER(s.Frame), c_int32, c_void_p]),
    "look": (
        c_int32,
        [c_void_p, c_void_p, POINTER(s.Frame), c_void_p, c_int32, c_char_p, c_size_t],
    ),
    "assemble": (c_int32, [c_void_p, POINTER(s.Prompts), POINTER(c_int32)]),
    "group": (c_int32, [c_void_p, POINTER(s.Prompts), c_int32, c_void_p, *[POINTER(c_void_p)] * 4]),
    "measure": (None, [c_void_p, c_int32, c_int32, c_void_p, POINTER(c_int64)]),
    "trace": (
        c_int32,
        [c_void_p, c_void_p, c_int32, c_int32, POINTER(c_void_p), POINTER(c_size_t)],
    ),
    "outline": (c_int32, [c_void_p, c_int32, POINTER(c_int32)]),
}


class Inside:
    """What tests/capi/native/geometry_internals.cpp shows of the library, for one family."""

    def __init__(self, library: ctypes.CDLL, family: Family) -> None:
        self._call = {}
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, f"inside_{name}")
            function.restype, function.argtypes = result, arguments
            self._call[name] = function
        numbers = (
            family.input_size,
            family.channels,
            family.padded,
            INTERPOLATIONS.index(family.interpolation),
            family.via,
            sum(_TAKES[prompt] for prompt in family.prompts),
            family.pad_point == "always",
            family.upscale_size,
            family.mask_interpolation == "nearest",
            family.slices,
            family.whole_boxes,
        )
        self._handle = self._call["new"]((c_int32 * len(numbers))(*map(int, numbers)))

    def __del__(self) -> None:
        self._call["free"](self._handle)

    def geometry(
        self, height: int, width: int, crop: Sequence[int] | None, size: int, low_res: int
    ) -> tuple[tuple[int, int], bool, int]:
        """Valid size, whether rows come first, planes. `matrix` and `inputs` are of this one."""
        facts = (c_int32 * 4)()
        inside = (c_int32 * 4)(*(crop or (0, 0, 0, 0)))
        self._check("geometry", height, width, inside, size, low_res, facts)
        return (facts[0], facts[1]), bool(facts[2]), facts[3]

    def matrix(self, name: str) -> NDArray[np.float32]:
        """One of the geometry's, flat."""
        count = c_size_t()
        address = self._call["matrix"](self._handle, name.encode(), byref(count))
        return _copy(address, np.float32, (count.value,))

    def inputs(self, channels: int, depth: int) -> dict[str, NDArray[Any]]:
        """All inputs of the encoder for the geometry's frames."""
        self._check("inputs", channels, depth)
        found = {}
        for name in ("frame", "colour", "rows", "cols", "rows_first", "valid_rows", "valid_cols"):
            sides, rank, element = (c_int64 * 8)(), c_int32(), c_int32()
            address = self._call["input"](
                self._handle, name.encode(), sides, byref(rank), byref(element)
            )
            found[name] = _copy(address, _ELEMENTS[element.value], tuple(sides[: rank.value]))
        return found

    def pixels(self, frame: s.Frame, transposed: bool = False) -> NDArray[np.uint8]:
        """The encoder's copy of a frame, flat, with eight guard bytes checked and cut off."""
        self._check("pixels", byref(frame), 0, None)
        grey = frame.format in (s.FORMATS["grey8"], s.FORMATS["grey16"])
        each = {s.FORMATS["grey16"]: 2}.get(frame.format, 1 if grey else 3)
        size = max(frame.slices, 1) * frame.width * frame.height * each
        target = np.full(size + 8, 0xA5, np.uint8)
        self._check("pixels", byref(frame), int(transposed), target.ctypes.data)
        assert (target[size:] == 0xA5).all()
        return target[:size]

    def look(
        self,
        ranges: dict[str, tuple[float, float]],
        frame: s.Frame,
        pixels: NDArray[np.uint8],
        transposed: bool,
    ) -> str:
        """What is odd about a frame whose copy is `pixels`."""
        names = ("mean", "spread", "black", "edges", "colour")
        numbers = [value for name in names for value in ranges.get(name, (1.0, 0.0))]
        words = ctypes.create_string_buffer(200)
        self._check(
            "look",
            (c_double * 10)(*numbers),
            byref(frame),
            pixels.ctypes.data,
            int(transposed),
            words,
            200,
        )
        return words.value.decode()

    def groups(self, prompts: s.Prompts, low_res: int) -> list[dict[str, Any]]:
        """Objects, coords, labels and masks of each group."""
        number = c_int32()
        self._check("assemble", byref(prompts), byref(number))
        return [self._group(prompts, index, low_res) for index in range(number.value)]

    def _group(self, prompts: s.Prompts, index: int, low_res: int) -> dict[str, Any]:
        counts, addresses = (c_int32 * 3)(), [c_void_p() for _ in range(4)]
        self._check("group", byref(prompts), index, counts, *map(byref, addresses))
        count, length, masks = counts
        objects, coords, labels, logits = (address.value for address in addresses)
        return {
            "objects": _copy(objects, np.int32, (count,)),
            "coords": _copy(coords, np.float32, (count, length, 2)),
            "labels": _copy(labels, np.int32, (count, length)),
            "masks": _copy(logits, np.float32, (masks, 1, low_res, low_res)) if masks else None,
        }

    def measure(self, mask: NDArray[np.uint8]) -> tuple[list[int], int]:
        """Box and area."""
        box, area = (c_int32 * 4)(*[-7] * 4), c_int64(-7)
        self._call["measure"](mask.ctypes.data, *mask.shape, box, byref(area))
        return list(box), area.value

    def outlines(self, mask: NDArray[np.uint8]) -> list[tuple[NDArray[np.int32], bool]]:
        """Points [n, 2] of every outline, and whether it is a hole's."""
        address, values = c_void_p(), c_size_t()
        count = self._call["trace"](
            self._handle, mask.ctypes.data, *mask.shape, byref(address), byref(values)
        )
        points = _copy(address.value, np.int32, (values.value // 2, 2))
        starts, holes = [], []
        for index in range(count):
            hole = c_int32()
            starts.append(self._call["outline"](self._handle, index, byref(hole)))
            holes.append(bool(hole.value))
        return list(zip(np.split(points, starts[1:]) if starts else [], holes, strict=True))

    def _check(self, name: str, *arguments: Any) -> None:
        status = self._call[name](self._handle, *arguments)
        if status != s.OK:
            raise _ERRORS.get(status, SamEdgeError)(self._call["message"]().decode())


def _copy(address: int | None, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    if not address or 0 in shape:
        return np.zeros(shape, dtype)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(ctypes.string_at(address, size), dtype).reshape(shape)
