"""libsamedge's bundle reader and its choice of a precision, as Python functions."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.capi.structs import PRECISIONS

BUNDLE, NOT_SUPPORTED = -5, -9


class Refused(Exception):
    """The library refused.

    Attributes:
        status: its samedge_status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def tried(call: Callable[[], Any]) -> Refused | None:
    """The refusal of a call; None if it worked."""
    try:
        call()
    except Refused as refused:
        return refused
    return None


class Inside:
    """Functions of `tests/capi/native/bundle_internals.cpp`; all raise `Refused`."""

    def __init__(self, internals: ctypes.CDLL) -> None:
        self._library = internals
        internals.test_answer.restype = ctypes.c_void_p
        internals.test_open.restype = ctypes.c_void_p
        internals.test_is_printable.restype = ctypes.c_bool

    def manifest(self, data: bytes) -> dict[str, Any]:
        """What a manifest says."""
        found: dict[str, Any] = json.loads(self._call("test_manifest", data, _size(data)))
        return found

    def bundle(self, path: str | os.PathLike[str], graphs: bool = False) -> dict[str, Any]:
        """Opens a bundle and reads every file, and every graph with its checks if asked for."""
        answer = self._call("test_bundle", os.fsencode(path), ctypes.c_bool(graphs))
        found: dict[str, Any] = json.loads(answer)
        return found

    def read(self, path: str | os.PathLike[str], file: str) -> bytes:
        """A file of a bundle."""
        return self._call("test_read", os.fsencode(path), file.encode())

    def open(self, path: str | os.PathLike[str]) -> OpenBundle:
        """A bundle that stays open."""
        handle = self._library.test_open(os.fsencode(path))
        if handle is None:
            raise Refused(BUNDLE, self._answer().decode())
        return OpenBundle(self, handle)

    def self_test(self, name: str, data: bytes) -> dict[str, Any]:
        """Sizes and arrays of a self-test."""
        head, _, blob = self._call("test_self_test", name.encode(), data, _size(data)).partition(
            b"\0"
        )
        said: dict[str, Any] = json.loads(head)
        objects, points, count = said["objects"], said["points"], said["count"]
        size = (said["height"], said["width"])
        colour = (3,) if said["channels"] == 3 else ()
        frame = (said["slices"], *size) if said["stack"] else (*size, *colour)
        parts: dict[str, tuple[tuple[int, ...], Any]] = {
            "frame": (frame, np.uint8),
            "points": ((objects, points, 2), np.float64),
            "labels": ((objects, points), np.int32),
            "box": ((objects, 4) if said["boxed"] else (0,), np.float64),
            "low_res_logits": ((count, said["low_res"], said["low_res"]), np.float32),
            "masks": ((count, *size), np.uint8),
            "scores": ((count,), np.float32),
        }
        at, arrays = 0, {}
        for key, (shape, dtype) in parts.items():
            taken = int(np.prod(shape)) * np.dtype(dtype).itemsize
            arrays[key] = np.frombuffer(blob[at : at + taken], dtype).reshape(shape)
            at += taken
        assert at == len(blob)
        return {
            "name": said["name"],
            "multimask": said["multimask"],
            "stack": said["stack"],
            **arrays,
        }

    def graph(self, manifest: bytes, graph: str, data: bytes, weights: bytes | None = None) -> None:
        """The check of a float32 graph, and of the file of its weights where there is one."""
        size = _size(weights or b"")
        sizes = (manifest, _size(manifest), graph.encode(), data, _size(data), weights, size)
        self._call("test_graph", *sizes)

    def graph_copy(self, path: str | os.PathLike[str], graph: str) -> list[str]:
        """Names and sizes of the files that a reader of files gets."""
        answer = self._call("test_graph_copy", os.fsencode(path), graph.encode())
        return sorted(answer.decode().splitlines())

    def precision(
        self, manifest: bytes, toy: dict[str, Any], precision: str, engines: bool = False
    ) -> tuple[str, str]:
        """The precision for a backend, and why."""
        number = PRECISIONS[precision]
        said = json.dumps(toy).encode()
        arguments = (manifest, _size(manifest), said, number, ctypes.c_bool(engines))
        name, _, why = self._call("test_precision", *arguments).decode().partition("\n")
        return name, why

    def physical_cores(self) -> int:
        """Cores that this process may use."""
        return int(self._library.test_physical_cores())

    def is_printable(self, point: int) -> bool:
        """Whether a character may be shown."""
        return bool(self._library.test_is_printable(ctypes.c_uint32(point)))

    def limits(self) -> dict[str, int]:
        """What files may ask for."""
        found: dict[str, int] = json.loads(self._call("test_limits"))
        return found

    def _call(self, name: str, *arguments: Any) -> bytes:
        status = getattr(self._library, name)(*arguments)
        answer = self._answer()
        if status != 0:
            raise Refused(status, answer.decode())
        return answer

    def _answer(self) -> bytes:
        size = ctypes.c_size_t()
        return ctypes.string_at(self._library.test_answer(ctypes.byref(size)), size.value)


class OpenBundle:
    """A bundle that libsamedge has open."""

    def __init__(self, inside: Inside, handle: int) -> None:
        self._inside, self._handle = inside, ctypes.c_void_p(handle)

    def read(self, file: str) -> bytes:
        """A file of it."""
        return self._inside._call("test_read_open", self._handle, file.encode())

    def close(self) -> None:
        """Let it go."""
        self._inside._library.test_forget(self._handle)


def compared(test: Any) -> dict[str, NDArray[Any]]:
    """The arrays of a Python self-test as `Inside.self_test` gives them."""
    box = np.zeros(0) if test.box is None else test.box
    names = ("frame", "points", "labels", "low_res_logits", "masks", "scores")
    return {**{name: getattr(test, name) for name in names}, "box": box}


def _size(data: bytes) -> ctypes.c_size_t:
    return ctypes.c_size_t(len(data))
