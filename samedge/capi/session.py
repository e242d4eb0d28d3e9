"""A model and its sessions in libsamedge, with numpy arrays, as the tests want them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from ctypes import byref
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samedge.capi import structs as s
from samedge.capi.library import Library
from samedge.errors import PromptError
from samedge.runtime.result import Result, Timing

_CHANNELS = {"grey8": 1, "grey16": 1, "rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4}


class NativeModel:
    """A bundle, opened by libsamedge.

    Args:
        library: loaded.
        path: bundle folder or zip.
        backend, precision, threads, device, hint, engines: as for `samedge.load`.

    Raises:
        as `samedge.load`.
    """

    def __init__(
        self,
        library: Library,
        path: str | os.PathLike[str],
        backend: str = "auto",
        precision: str = "auto",
        threads: int = 0,
        device: int = 0,
        hint: str = "latency",
        engines: str | os.PathLike[str] | None = None,
    ) -> None:
        self.library = library
        self.handle = ctypes.c_void_p()
        options = s.ModelOptions(
            backend=s.BACKENDS[backend],
            precision=s.PRECISIONS[precision],
            threads=threads,
            device=device,
            hint=s.HINTS[hint],
            engines=None if engines is None else os.fsencode(engines),
        )
        status = library.samedge_model_open(os.fsencode(path), byref(options), byref(self.handle))
        library.check(status)
        self.info = s.ModelInfo()
        library.check(library.samedge_model_get_info(self.handle, byref(self.info)))

    def session(self) -> NativeSession:
        """A new session."""
        return NativeSession(self)

    def class_names(self) -> tuple[str, ...]:
        """Of the structures that an answer has a mask of."""
        names, name = [], ctypes.c_char_p()
        for index in range(self.info.classes):
            self.library.check(self.library.samedge_class_name(self.handle, index, byref(name)))
            names.append((name.value or b"").decode())
        return tuple(names)

    def self_test(self) -> s.SelfTestReport:
        """The parity gate on the bundle's own frames.

        Raises:
            ParityError: it did not pass.
        """
        report = s.SelfTestReport()
        self.library.check(self.library.samedge_self_test(self.handle, byref(report)))
        return report

    def close(self) -> None:
        """Let it go."""
        handle, self.handle = self.handle, ctypes.c_void_p()
        self.library.check(self.library.samedge_model_close(handle))

    def __enter__(self) -> NativeModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class NativeSession:
    """A session of libsamedge; methods as those of `samedge.Session`."""

    def __init__(self, model: NativeModel) -> None:
        self.model, self.library = model, model.library
        self.handle = ctypes.c_void_p()
        self.library.check(self.library.samedge_session_create(model.handle, byref(self.handle)))

    def set_frame(
        self,
        frame: NDArray[Any],
        crop: Sequence[int] | None = None,
        pixel_format: str | None = None,
    ) -> None:
        """`frame`: as for `frame_struct`."""
        given = frame_struct(frame, crop, pixel_format)
        self.library.check(self.library.samedge_set_frame(self.handle, byref(given)))
        self._size = (given.height, given.width)

    def segment(
        self,
        frame: NDArray[Any],
        points: Any = None,
        labels: Any = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        multimask: bool = False,
        crop: Sequence[int] | None = None,
        pixel_format: str | None = None,
    ) -> Result:
        """Arguments and result as those of `samedge.Session.segment`, and `frame_struct`."""
        given = frame_struct(frame, crop, pixel_format)
        asked = PromptArrays(points, labels, box, mask, multimask)
        room = ResultArrays(self.model.info, asked, given.height, given.width)
        status = self.library.samedge_segment(
            self.handle, byref(given), byref(asked.struct), byref(room.struct)
        )
        self.library.check(status)
        self._size = (given.height, given.width)
        return room.result(self)

    def predict(
        self,
        points: Any = None,
        labels: Any = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        multimask: bool = False,
    ) -> Result:
        """As `samedge.Session.predict`."""
        asked = PromptArrays(points, labels, box, mask, multimask)
        room = ResultArrays(self.model.info, asked, *getattr(self, "_size", (16, 16)))
        status = self.library.samedge_predict(self.handle, byref(asked.struct), byref(room.struct))
        self.library.check(status)
        return room.result(self)

    def segment_slices(
        self,
        slices: NDArray[Any],
        prompts: Sequence[dict[str, Any]],
        crop: Sequence[int] | None = None,
    ) -> list[Result]:
        """As `samedge.Session.segment_slices`, for any number of slices that the model can take;
        the times are of all together."""
        given = frame_struct(slices, crop, None, stack=True)
        asked = [PromptArrays(**prompt) for prompt in prompts]
        rooms = [ResultArrays(self.model.info, one, given.height, given.width) for one in asked]
        ask = (ctypes.POINTER(s.Prompts) * len(asked))(*[ctypes.pointer(a.struct) for a in asked])
        fill = (ctypes.POINTER(s.Result) * len(rooms))(*[ctypes.pointer(r.struct) for r in rooms])
        status = self.library.samedge_segment_slices(self.handle, byref(given), ask, fill)
        self.library.check(status)
        return [room.result(self) for room in rooms]

    def embedding(self) -> NDArray[np.float32]:
        """The current frame's image embedding, flat."""
        values = np.zeros(self.model.info.embedding_size * self.model.info.slices, np.float32)
        pointer = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        self.library.check(self.library.samedge_get_embedding(self.handle, pointer, values.size))
        return values

    def contours(self, index: int) -> list[tuple[NDArray[np.int32], bool]]:
        """Outlines of a mask of the last answer: points [n, 2], and whether it is a hole's."""
        asked = s.Contours()
        self.library.check(self.library.samedge_get_contours(self.handle, index, byref(asked)))
        points = np.zeros((asked.point_count, 2), np.int32)
        starts = np.zeros(asked.contour_count, np.int32)
        holes = np.zeros(asked.contour_count, np.uint8)
        for name, array in (("points", points), ("starts", starts), ("holes", holes)):
            _bind(asked, name, f"{name}_capacity", array)
        self.library.check(self.library.samedge_get_contours(self.handle, index, byref(asked)))
        ends = [*starts[1:].tolist(), len(points)]
        return [
            (points[start:end], bool(hole))
            for start, end, hole in zip(starts.tolist(), ends, holes.tolist(), strict=True)
        ]

    def timing(self) -> s.Timing:
        """Milliseconds of the last answer."""
        timing = s.Timing()
        self.library.check(self.library.samedge_get_timing(self.handle, byref(timing)))
        return timing

    def notes(self) -> tuple[str, ...]:
        """What may be wrong for the current frame."""
        notes = ctypes.c_char_p()
        self.library.check(self.library.samedge_get_notes(self.handle, byref(notes)))
        return tuple((notes.value or b"").decode().splitlines())

    def close(self) -> None:
        """Free it."""
        handle, self.handle = self.handle, ctypes.c_void_p()
        self.library.check(self.library.samedge_session_destroy(handle))


def frame_struct(
    frame: NDArray[Any],
    crop: Sequence[int] | None = None,
    pixel_format: str | None = None,
    stack: bool = False,
) -> s.Frame:
    """A samedge_frame over an array's memory, with its strides; the array must outlive it.

    Args:
        frame: uint8 or uint16 [H, W], uint8 [H, W, C]; NV12 [3 H / 2, W]; with an axis of slices in
            front for a stack. Pixels of a row lie side by side.
        crop: (x0, y0, x1, y1) in px.
        pixel_format: a key of `FORMATS`; default: grey or RGB, by the shape.
        stack: the first axis is that of slices.
    """
    one = frame[0] if stack else frame
    if pixel_format is None:
        grey = "grey16" if one.dtype == np.uint16 else "grey8"
        pixel_format = "rgb8" if one.ndim == 3 and one.shape[2] == 3 else grey
    height = one.shape[0] * 2 // 3 if pixel_format == "nv12" else one.shape[0]
    made = s.Frame(
        format=s.FORMATS[pixel_format],
        width=one.shape[1],
        height=height,
        pixels=frame.ctypes.data,
        stride=one.strides[0],
        slices=len(frame) if stack else 1,
        slice_stride=frame.strides[0] if stack else 0,
    )
    if crop is not None:
        made.crop = (ctypes.c_int32 * 4)(*crop)
    return made


class PromptArrays:
    """A samedge_prompts and the arrays it points to; arguments as for `samedge.Session.predict`."""

    def __init__(
        self,
        points: Any = None,
        labels: Any = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        multimask: bool = False,
    ) -> None:
        self.struct = s.Prompts(multimask=int(multimask))
        self._kept: list[NDArray[Any]] = []
        objects = 1
        if points is not None:
            nested = _nested(points)
            objects = len(nested)
            counts = [len(one) for one in nested]
            self._set("points", np.concatenate(nested), np.float64)
            self._set("points_per_object", np.array(counts), np.int32)
            self.struct.point_count = sum(counts)
            if labels is not None:
                given = labels if np.ndim(labels[0]) else [labels]
                self._set("labels", np.concatenate([np.ravel(one) for one in given]), np.int32)
        if box is not None:
            boxes = np.asarray(box, np.float64).reshape(-1, 4)
            objects = len(boxes)
            self._set("boxes", boxes, np.float64)
        if mask is not None:
            masks = np.asarray(mask, np.float32)
            masks = masks.reshape(-1, *masks.shape[-2:])
            self.struct.mask_count = len(masks)
            if points is None and box is None:
                objects = len(masks)
            self._set("masks", masks, np.float32)
        self.struct.objects = self.objects = objects
        self.multimask = multimask

    def _set(self, name: str, array: NDArray[Any], dtype: Any) -> None:
        array = np.ascontiguousarray(array, dtype)
        self._kept.append(array)
        _bind(self.struct, name, None, array)


class ResultArrays:
    """A samedge_result and the arrays that it fills."""

    def __init__(self, info: s.ModelInfo, asked: PromptArrays, height: int, width: int) -> None:
        each = info.multi_masks if asked.multimask else info.single_masks
        count = asked.objects * max(each, 1)
        self.struct = s.Result()
        self.masks = np.full((count, height, width), 7, np.uint8)
        self.class_map = np.full((height, width), 255, np.uint8)
        self.scores = np.full(count, np.nan, np.float32)
        self.object_index = np.full(count, -1, np.int32)
        self.class_index = np.full(count, -1, np.int32)
        self.boxes = np.full((count, 4), -1, np.int32)
        self.areas = np.full(count, -1, np.int64)
        self.low_res_logits = np.full((count, info.low_res, info.low_res), np.nan, np.float32)
        for name in (
            "masks",
            "class_map",
            "scores",
            "object_index",
            "class_index",
            "boxes",
            "areas",
        ):
            _bind(self.struct, name, f"{name}_capacity", getattr(self, name))
        _bind(self.struct, "low_res_logits", "low_res_capacity", self.low_res_logits)

    def result(self, session: NativeSession) -> Result:
        """What Python's session would answer."""
        timing = session.timing()
        names = [name for name in Timing.__dataclass_fields__ if hasattr(timing, name)]
        return Result(
            masks=self.masks,
            scores=self.scores,
            low_res_logits=self.low_res_logits,
            object_index=self.object_index.astype(np.int64),
            timing_ms=Timing(**{name: getattr(timing, name) for name in names}),
            class_index=self.class_index.astype(np.int64),
            class_names=session.model.class_names(),
            class_map=self.class_map if self.struct.has_class_map else None,
            notes=session.notes(),
        )


def _nested(points: Any) -> list[NDArray[np.float64]]:
    """Points of each object: the library reads as many as it is told, so their shape is checked."""
    if isinstance(points, (list, tuple)) and np.ndim(points[0]) == 2:
        return [np.asarray(one, np.float64).reshape(-1, 2) for one in points]
    array = np.asarray(points, np.float64)
    if array.ndim not in (2, 3) or array.shape[-1] != 2:
        raise PromptError(f"points of shape {list(array.shape)} came; expected [P, 2] or [N, P, 2]")
    return list(array) if array.ndim == 3 else [array]


def _bind(struct: s.Sized, name: str, capacity: str | None, array: NDArray[Any]) -> None:
    """Let a pointer of a struct be an array's memory."""
    kind = type(getattr(struct, name))
    setattr(struct, name, ctypes.cast(array.ctypes.data, kind))
    if capacity is not None:
        setattr(struct, capacity, array.size)
