"""A bundle loaded and ready: frames and prompts in, masks out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bundle import Bundle
from samedge.errors import PromptError, SessionError
from samedge.families import Family
from samedge.runtime.backend import Backend, LoadOptions
from samedge.runtime.buffers import DecoderBuffers, FrameBuffers, Recent
from samedge.runtime.frames import as_frame
from samedge.runtime.prompts import PromptGroup, assemble
from samedge.runtime.result import Result, join


class Session:
    """One model on one device. Make it with `samedge.load`; close it, or use it in a `with` block.

    Everything that depends only on the model is allocated here; what depends on the frame's size or
    the number of prompts is allocated when that first occurs and kept. A session is not
    thread-safe: two calls at once raise a SessionError and harm nothing. Sessions of one bundle in
    one process share their weights.

    Args:
        bundle: an open bundle.
        backend: which engine.
        options: how to load it.
        why: why this backend and precision, for `describe`.

    Attributes:
        family: the model family's record.
        manifest: the bundle's manifest.
    """

    def __init__(
        self, bundle: Bundle, backend: type[Backend], options: LoadOptions, why: str
    ) -> None:
        self.family: Family = bundle.family
        self.manifest: dict[str, Any] = bundle.manifest
        self._options, self._why = options, why
        self._lock = threading.Lock()
        self._closed = False
        self._encoder = backend.load(bundle, "encoder", options)
        try:
            self._decoder = backend.load(bundle, "decoder", options)
        except BaseException:
            self._encoder.close()
            raise
        variant = bundle.manifest["variant"]
        self._input_size, self._low_res = int(variant["input_size"]), int(variant["low_res"])
        shape = tuple(int(n) for n in self._encoder.io.output("image_embedding").shape)
        self._embedding = np.zeros(shape, np.float32)
        self._frames: Recent[FrameBuffers] = Recent(4)
        self._prompts: Recent[DecoderBuffers] = Recent(8)
        self._frame: FrameBuffers | None = None

    def segment(
        self,
        frame: Any,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: Any = None,
        multimask: bool = False,
        crop: tuple[int, int, int, int] | None = None,
    ) -> Result:
        """Encode a frame and decode its prompts: `set_frame` and `predict` in one call.

        Args:
            frame: uint8 `[H, W]`, `[H, W, 1]` or `[H, W, 3]` RGB, sides 16 to 4096 px; may be
                read-only or a non-contiguous view. It is not kept.
            points: `[P, 2]` one object, `[N, P, 2]` or a list of `[P_i, 2]` several; (x, y) in
                frame px.
            labels: nested like the points; 1 inside the object, 0 outside. Default: all 1.
            box: `[4]` or `[N, 4]`, (x0, y0, x1, y1) in frame px.
            mask: `[L, L]` or `[N, L, L]`, `low_res_logits` of an earlier result.
            multimask: several masks per object, where the family has them.
            crop: (x0, y0, x1, y1) in whole px, the part of the frame that the network sees.

        Raises:
            FrameError, PromptError: what came, what was expected, what to do.
            SessionError: closed, or in use by another thread.
            DeviceError: the engine failed.
        """
        with self._exclusive():
            start = time.perf_counter()
            timing = self._encode(frame, crop)
            return self._decode(timing, start, points, labels, box, mask, multimask)

    def set_frame(self, frame: Any, crop: tuple[int, int, int, int] | None = None) -> None:
        """Encode a frame once, to prompt it often with `predict`. Arguments as for `segment`."""
        with self._exclusive():
            self._encode(frame, crop)

    def predict(
        self,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: Any = None,
        multimask: bool = False,
    ) -> Result:
        """Decode prompts on the frame given to `set_frame` or `segment` last.

        Arguments and errors as for `segment`; SessionError if there is no frame yet.
        """
        with self._exclusive():
            start = time.perf_counter()
            timing = {"preprocess": 0.0, "encode": 0.0}
            return self._decode(timing, start, points, labels, box, mask, multimask)

    def embedding(self) -> NDArray[np.float32]:
        """A copy of the current frame's image embedding, float32 `[1, D, g, g]`."""
        with self._exclusive():
            self._current_frame()
            return self._embedding.copy()

    def describe(self) -> dict[str, Any]:
        """What runs here: backend, precision, device, why, threads, family, title, notes."""
        return {
            "backend": self._encoder.name,
            "precision": self._encoder.precision,
            "device": self._encoder.device_name,
            "why": self._why,
            "threads": self._options.threads,
            "family": self.family.name,
            "title": self.manifest.get("title", self.family.title),
            "notes": list(dict.fromkeys((*self._encoder.notes, *self._decoder.notes))),
        }

    def close(self) -> None:
        """Free the engines. Calling it twice is harmless; any other call afterwards is an error.

        Raises:
            SessionError: another thread is using the session.
        """
        if self._closed:
            return
        with self._exclusive():
            self._closed = True
            self._frame = None
            self._frames, self._prompts = Recent(0), Recent(0)
            self._encoder.close()
            self._decoder.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _encode(self, frame: Any, crop: tuple[int, int, int, int] | None) -> dict[str, float]:
        """Fill the embedding; milliseconds of "preprocess" and "encode"."""
        start = time.perf_counter()
        self._frame = None  # a frame that fails must not leave the one before it in its place
        pixels = as_frame(frame)
        key = (pixels.shape, None if crop is None else tuple(crop))
        buffers = self._frames.get(
            key,
            lambda: FrameBuffers.for_frame(
                self.family, pixels.shape, crop, self._input_size, self._low_res, self._encoder.io
            ),
        )
        np.copyto(buffers.frame, pixels)
        copied = time.perf_counter()
        self._encoder.run(buffers.inputs, {"image_embedding": self._embedding})
        run_ms = (time.perf_counter() - copied) * 1e3
        first = self._encoder.stage_ms.get("preprocess", 0.0)
        self._frame = buffers
        return {"preprocess": (copied - start) * 1e3 + first, "encode": run_ms - first}

    def _decode(
        self,
        timing: dict[str, float],
        start: float,
        points: Any,
        labels: Any,
        box: Any,
        mask: Any,
        multimask: bool,
    ) -> Result:
        begin = time.perf_counter()
        frame = self._current_frame()
        tokens = self._mask_tokens(multimask)
        groups = assemble(self.family, frame.geometry, points, labels, box, mask)
        assembled = time.perf_counter()
        joined = join([(g.objects, self._run_decoder(frame, g, tokens)) for g in groups])
        end = time.perf_counter()
        timing["prompt"] = (assembled - begin) * 1e3
        timing["decode"] = (end - assembled) * 1e3
        timing["total"] = (end - start) * 1e3
        height, width = frame.geometry.height, frame.geometry.width
        return Result(
            masks=joined["masks"].reshape(-1, height, width),
            scores=joined["scores"],
            low_res_logits=joined["low_res_logits"],
            object_index=joined["object_index"],
            timing_ms=timing,
        )

    def _run_decoder(
        self, frame: FrameBuffers, group: PromptGroup, tokens: tuple[int, ...]
    ) -> dict[str, NDArray[Any]]:
        """Outputs `[n, K, ...]` of one group of objects, in arrays of their own."""
        count, length = group.labels.shape
        masks = 1 if group.masks is None else len(group.masks)
        size = (frame.geometry.height, frame.geometry.width)
        buffers = self._prompts.get(
            (count, length, masks, tokens, size),
            lambda: DecoderBuffers.allocate(
                self._decoder.io, count, length, masks, tokens, size, self._low_res
            ),
        )
        buffers.fill(group.coords, group.labels, group.masks)
        inputs = {
            **buffers.inputs,
            "image_embedding": self._embedding,
            "mask_rows": frame.mask_rows,
            "mask_cols": frame.mask_cols,
        }
        self._decoder.run(inputs, buffers.outputs)
        return {name: array.copy() for name, array in buffers.outputs.items()}

    def _mask_tokens(self, multimask: bool) -> tuple[int, ...]:
        if not multimask:
            return (self.family.single_mask,)
        if not self.family.multi_masks:
            raise PromptError(f"{self.family.title} has one mask per object; leave multimask=False")
        return self.family.multi_masks

    def _current_frame(self) -> FrameBuffers:
        if self._frame is None:
            raise SessionError(
                "there is no frame to prompt; call set_frame(frame) first (a frame that raised an "
                "error does not count), or use segment(frame, ...)"
            )
        return self._frame

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Refuse a second caller instead of mixing its frame with the first one's."""
        if not self._lock.acquire(blocking=False):
            raise SessionError(
                "this session is in use by another thread; give each thread a session of its own "
                "(sessions of one bundle share their weights) or serialise the calls"
            )
        try:
            if self._closed:
                raise SessionError("this session is closed; make a new one with samedge.load")
            yield
        finally:
            self._lock.release()
