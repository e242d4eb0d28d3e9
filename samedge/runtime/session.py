"""A bundle loaded and ready: frames and prompts in, masks out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samedge.bundle import Bundle
from samedge.errors import FrameError, NotSupportedError, PromptError, SessionError
from samedge.families import Family
from samedge.geometry.frame_geometry import checked_crop
from samedge.geometry.recent import Recent
from samedge.machine.memory import ran_out
from samedge.progress import Progress, Step, silent
from samedge.runtime.backend import Backend, GpuArray, LoadOptions
from samedge.runtime.buffers import TURNED_ON_CPU, DecoderBuffers, FrameBuffers
from samedge.runtime.finite import LOOKED_AT, check_finite
from samedge.runtime.frame_look import CalibrationLooks
from samedge.runtime.frames import (
    FrameLike,
    HostFrame,
    Pixels,
    as_frame,
    as_slices,
    is_on_gpu,
    on_gpu_error,
)
from samedge.runtime.prompt_groups import Nested, PromptGroup, assemble
from samedge.runtime.result import STAGES, Result, Timing, joined
from samedge.runtime.volumes import (
    VolumeResult,
    check_depth,
    checked_prompts,
    slice_prompts,
    stacked,
    without_doubles,
)

# Parts of an engine's run that are stages of their own, if it tells them.
_APART = ("copy_in", "preprocess", "copy_out")
# What a session keeps for frames and for prompts of earlier sizes, beyond those of the last.
KEPT_BYTES = 256 << 20


class _Spent:
    """Milliseconds per stage of an answer that is being made, from now on."""

    def __init__(self) -> None:
        self._ms = dict.fromkeys(STAGES, 0.0)
        self._start = self._last = time.perf_counter()

    def add(self, stage: str, parts: Mapping[str, float] | None = None) -> None:
        """The time since the last call went into a stage, but for the parts of it that an engine
        tells apart."""
        now = time.perf_counter()
        took = (now - self._last) * 1e3
        for name in _APART if parts else ():
            part = (parts or {}).get(name, 0.0)
            self._ms[name] += part
            took -= part
        self._ms[stage] += took
        self._last = now

    def timing(self) -> Timing:
        """All of it, now that the answer is there."""
        self.add("copy_out")
        return Timing(**{**self._ms, "total": (self._last - self._start) * 1e3})


class Session:
    """One model on one device. Make it with `samedge.load`; close it, or use it in a `with` block.

    Everything that depends only on the model is allocated here; what depends on the frame's size or
    the number of prompts is allocated when that first occurs and kept. A session is not
    thread-safe: two calls at once raise a SessionError and harm nothing. Sessions of one bundle in
    one process share their weights.

    Args:
        bundle: an open bundle.
        backend: which library.
        options: how to open the bundle with it.
        why: why this backend and precision, for `describe`.

    Attributes:
        family: the model family's record.
        bundle: what it runs.
        manifest: the bundle's manifest as it stands in the file, read-only.
    """

    def __init__(self, bundle: Bundle, backend: Backend, options: LoadOptions, why: str) -> None:
        self.family: Family = bundle.family
        self.bundle = bundle
        self.manifest: Mapping[str, Any] = bundle.manifest.as_mapping()
        self._backend_name, self._options, self._why = backend.name, options, why
        # What the checkpoint left open holds for every answer.
        self._open_questions = bundle.manifest.source.questions
        self._calibrated = CalibrationLooks.of(bundle.manifest.calibration, options.precision)
        self._frame_notes: tuple[str, ...] = ()
        self._notes: list[str] = []
        self._lock = threading.Lock()
        self._closed = False
        variant = bundle.manifest.variant
        self._input_size, self._low_res = variant.input_size, variant.low_res
        self._engines = backend.open(bundle, options)
        try:
            self._embedding = self._engines.encoder.buffer("image_embedding")
        except BaseException:
            self._engines.close()
            raise
        # One view per slice, made once: engines bind arrays, not their contents.
        self._slices = [self._embedding[i : i + 1] for i in range(self._embedding.shape[0])]
        self._groups = 0  # of objects that the last answer was decoded in
        self._frames: Recent[FrameBuffers] = Recent(4, KEPT_BYTES)
        self._prompts: Recent[DecoderBuffers] = Recent(8, KEPT_BYTES)
        self._frame: FrameBuffers | None = None

    def segment(
        self,
        frame: FrameLike,
        points: Nested | None = None,
        labels: Nested | None = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        multimask: bool = False,
        crop: tuple[int, int, int, int] | None = None,
    ) -> Result:
        """Encode a frame and decode its prompts: `set_frame` and `predict` in one call.

        Args:
            frame: uint8 `[H, W]`, `[H, W, 1]` or `[H, W, 3]` RGB, sides 16 to 4096 px; may be
                read-only or a non-contiguous view. It is not kept. Families that do not round
                (SAMed, say) also take uint16 `[H, W]`, whose 65535 is the 255 of uint8. A session
                on a GPU also takes an array that lies there (CuPy, PyCUDA, torch), without a copy.
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
            NonFiniteError: a DeviceError as well: the network gave NaN or infinity for this frame.
        """
        with self._exclusive():
            spent = _Spent()
            self._encode(self._one_frame(frame), crop, spent)
            return self._decode(spent, points, labels, box, mask, multimask)

    def set_frame(self, frame: FrameLike, crop: tuple[int, int, int, int] | None = None) -> None:
        """Encode a frame once, to prompt it often with `predict`. Arguments as for `segment`."""
        with self._exclusive():
            self._encode(self._one_frame(frame), crop, _Spent())

    def predict(
        self,
        points: Nested | None = None,
        labels: Nested | None = None,
        box: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        multimask: bool = False,
    ) -> Result:
        """Decode prompts on the frame given to `set_frame` or `segment` last.

        Arguments and errors as for `segment`; SessionError if there is no frame yet, or if the
        model looks at several slices at once.
        """
        with self._exclusive():
            if self.family.slices > 1:
                raise SessionError(
                    f"{self.family.title} has no single frame to prompt; call segment_slices or "
                    "segment_volume with the prompts of every slice"
                )
            return self._decode(_Spent(), points, labels, box, mask, multimask)

    def segment_slices(
        self,
        slices: HostFrame,
        prompts: Sequence[Mapping[str, Any]],
        crop: tuple[int, int, int, int] | None = None,
    ) -> list[Result]:
        """Encode as many slices of a volume as the model takes together (one, if it takes images);
        decode each with its own prompts.

        Args:
            slices: `[family.slices, H, W]` uint8 (or uint16 where `segment` takes it), or uint8
                `[family.slices, H, W, 3]` RGB.
            prompts: per slice, the arguments of `predict` ({"points": [(x, y)]}, say).
            crop: as for `segment`.

        Returns:
            One result per slice. The time of encoding is in the first.

        Raises:
            as `segment`.
        """
        count = self.family.slices
        given = checked_prompts(prompts, count)
        with self._exclusive():
            spent = _Spent()
            self._frame = None
            pixels = as_slices(slices, count, deep=not self.family.rounded)
            self._encode(pixels if count > 1 else pixels[0], crop, spent)
            results = []
            for index, arguments in enumerate(given):
                results.append(self._decode(spent, **arguments, index=index))
                spent = _Spent()
            return results

    def segment_volume(
        self,
        volume: HostFrame,
        points: Nested | None = None,
        labels: Nested | None = None,
        box: Nested | None = None,
        crop: tuple[int, int, int, int] | None = None,
        progress: Progress = silent,
    ) -> VolumeResult:
        """Segment a stack of slices; slice by slice, or several together where the model does that.

        Args:
            volume: `[D, H, W]`, uint8 (or uint16 where `segment` takes it), or uint8
                `[D, H, W, 3]` RGB.
            points: `[P, 2]`, the same in every slice, or one entry per slice as for `segment`.
            labels, box: nested like the points.
            crop: as for `segment`, the same for all slices.
            progress: told the slices that are done.

        Raises:
            FrameError: as `segment`, or another number of slices than the model can take.
            PromptError, SessionError, DeviceError: as `segment`.
        """
        pixels = as_slices(volume, None, deep=not self.family.rounded)
        depth, step = len(pixels), self.family.slices
        check_depth(self.family, depth)
        prompts = slice_prompts(depth, points, labels, box)
        results: list[Result] = []
        for at in range(0, depth, step):
            group = self.segment_slices(pixels[at : at + step], prompts[at : at + step], crop)
            results += map(without_doubles, group)
            progress(Step("segmenting slices", len(results), depth))
        return stacked(results)

    def embedding(self) -> NDArray[np.float32]:
        """A copy of the current frame's image embedding, float32 `[1, D, g, g]`; of a stack of
        slices, one for each."""
        with self._exclusive():
            self._current_frame()
            copy: NDArray[np.float32] = self._embedding.copy()
            return copy

    def on_device(self, name: str) -> GpuArray:
        """The last answer's "masks" `[N, K, H, W]`, "scores" `[N, K]` or "low_res_logits" where it
        lies on the GPU: an object with `__cuda_array_interface__` and DLPack, valid until the next
        call.

        Raises:
            NotSupportedError: this session runs on the CPU.
            SessionError: there is no answer yet, it came in several parts, or has no such array.
        """
        with self._exclusive():
            if not self._engines.decoder.io.has_output(name):
                raise SessionError(f"an answer has no '{name}'; use masks, scores, low_res_logits")
            if self._engines.gpu is None:
                raise NotSupportedError(
                    f"the {self._backend_name} backend has its results in the CPU's memory: use "
                    "the Result"
                )
            if self._groups != 1:
                raise SessionError(
                    "there is no answer on the GPU: prompt objects with equally many points first"
                )
            return self._engines.gpu.output(name)

    def describe(self) -> dict[str, Any]:
        """What runs here: backend, precision, device, why, threads, family, title, notes."""
        engines = self._engines
        return {
            "backend": self._backend_name,
            "precision": self._options.precision,
            "device": engines.device_name,
            "why": self._why,
            "threads": self._options.threads,
            "family": self.family.name,
            "title": self.bundle.manifest.title,
            "notes": list(
                dict.fromkeys(
                    (
                        *self._open_questions,
                        *engines.encoder.notes,
                        *engines.decoder.notes,
                        *self._notes,
                    )
                )
            ),
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
            self._frames.clear()
            self._prompts.clear()
            self._engines.close()

    def __repr__(self) -> str:
        title = self.bundle.manifest.title
        state = ", closed" if self._closed else ""
        return f"Session({title}, {self._backend_name} {self._options.precision}{state})"

    def __reduce__(self) -> NoReturn:
        raise SessionError(
            "a session cannot be pickled or copied: its engine belongs to this process. Give the "
            "bundle's path to the other process, and call samedge.load there"
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _one_frame(self, frame: FrameLike) -> Pixels | GpuArray:
        """A single frame `[H, W, C]`, for models that take one."""
        self._frame = None  # a frame that fails must not leave the one before it in its place
        if self.family.slices > 1:
            raise FrameError(
                f"{self.family.title} looks at {self.family.slices} slices of a volume at once; "
                "call segment_volume(volume, ...) or segment_slices(slices, prompts)"
            )
        deep = not self.family.rounded
        if not is_on_gpu(frame):
            return as_frame(frame, deep)
        if self._engines.gpu is None:
            raise on_gpu_error(frame)
        return self._engines.gpu.frame(frame, deep)

    def _encode(
        self, pixels: Pixels | GpuArray, crop: tuple[int, int, int, int] | None, spent: _Spent
    ) -> None:
        """Fill the embedding."""
        self._frame = None
        whole = checked_crop(crop, *pixels.shape[-3:-1])
        self._frame_notes = ()
        if self._calibrated is not None and isinstance(pixels, np.ndarray):
            x0, y0, x1, y1 = whole
            self._frame_notes = self._calibrated.notes(pixels[..., y0:y1, x0:x1, :])
        encoder = self._engines.encoder
        buffers = self._frames.get(
            (pixels.shape, pixels.dtype.str, whole),
            lambda: FrameBuffers.for_frame(
                self.family, pixels, whole, self._input_size, self._low_res, encoder.io
            ),
        )
        inputs = self._encoder_inputs(buffers, pixels)
        spent.add("copy_in")
        encoder.run(inputs, {"image_embedding": self._embedding})
        spent.add("encode", encoder.stage_ms)
        if isinstance(self._embedding, np.ndarray):  # on a GPU the logits have to tell
            check_finite({"image_embedding": self._embedding}, self._options.precision)
        spent.add("post")
        self._frame = buffers

    def _encoder_inputs(
        self, buffers: FrameBuffers, pixels: Pixels | GpuArray
    ) -> Mapping[str, NDArray[Any] | GpuArray]:
        """What the encoder takes for one frame: a copy of it, or on a GPU the frame itself."""
        if isinstance(pixels, np.ndarray):
            return buffers.filled(pixels)
        if buffers.turned:
            self._notes = [TURNED_ON_CPU]
            return buffers.filled(pixels.copy())
        assert self._engines.gpu is not None
        return {**buffers.inputs, "frame": self._engines.gpu.encoder_input(pixels)}

    def _decode(
        self,
        spent: _Spent,
        points: Nested | None,
        labels: Nested | None,
        box: Nested | None,
        mask: ArrayLike | None,
        multimask: bool,
        index: int = 0,
    ) -> Result:
        """Decode the prompts of slice `index` (a frame has one)."""
        frame = self._current_frame()
        tokens = self._mask_tokens(multimask)
        self._groups = 0  # an answer that was refused is no answer
        groups = assemble(self.family, frame.geometry, points, labels, box, mask)
        spent.add("prompt")
        parts = [(g.objects, self._run_decoder(frame, g, tokens, index, spent)) for g in groups]
        self._groups = len(groups)
        notes = self._open_questions + self._frame_notes
        return joined(parts, spent.timing, self.family.classes, notes)

    def _run_decoder(
        self,
        frame: FrameBuffers,
        group: PromptGroup,
        tokens: tuple[int, ...],
        index: int,
        spent: _Spent,
    ) -> dict[str, NDArray[Any]]:
        """Outputs `[n, K, ...]` of one group of objects, in arrays of their own."""
        count, length = group.labels.shape
        masks = 1 if group.masks is None else len(group.masks)
        size = (frame.geometry.height, frame.geometry.width)
        buffers = self._prompts.get(
            (count, length, masks, tokens, size),
            lambda: DecoderBuffers.allocate(
                self._engines.decoder.io, count, length, masks, tokens, size, self._low_res
            ),
        )
        buffers.fill(group.coords, group.labels, group.masks)
        inputs = {
            **buffers.inputs,
            "image_embedding": self._slices[index],
            "mask_rows": frame.mask_rows,
            "mask_cols": frame.mask_cols,
        }
        decoder = self._engines.decoder
        spent.add("prompt")
        decoder.run(inputs, buffers.outputs)
        spent.add("decode", decoder.stage_ms)
        numbers = {name: buffers.outputs[name] for name in LOOKED_AT}
        check_finite(numbers, self._options.precision)
        spent.add("post")
        outputs = {name: array.copy() for name, array in buffers.outputs.items()}
        spent.add("copy_out")
        return outputs

    def _mask_tokens(self, multimask: bool) -> tuple[int, ...]:
        if multimask and not self.family.multi_masks:
            kind = "one mask per class" if self.family.classes else "one mask per object"
            raise PromptError(f"{self.family.title} has {kind}; leave multimask=False")
        return self.family.mask_tokens(multimask)

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
        except MemoryError as error:
            lack = ran_out(error, "making room for a frame, its prompts or its masks")
            assert lack is not None
            raise lack from error
        finally:
            self._lock.release()
