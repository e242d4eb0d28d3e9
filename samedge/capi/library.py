"""libsamedge through ctypes: where it is, and its functions with their types."""

from __future__ import annotations

import ctypes
import os
from ctypes import (
    POINTER,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from ctypes.util import find_library
from pathlib import Path
from typing import Any

from samedge.capi import structs as s
from samedge.errors import (
    BundleError,
    DeviceError,
    FrameError,
    NonFiniteError,
    NotSupportedError,
    ParityError,
    PromptError,
    SamEdgeError,
    SessionError,
)

ENV = "SAMEDGE_LIBRARY"
NAME = "libsamedge.so.1"
# What samedge_abi_hash(0) gives for the structs in `samedge.capi.structs`.
ABI_HASH = 0xB5622432C58A6774

# Status -> the error that Python raises for the same thing.
_ERRORS: dict[int, type[SamEdgeError]] = {
    -3: SessionError,
    -4: SessionError,
    -5: BundleError,
    -6: FrameError,
    -7: PromptError,
    -9: NotSupportedError,
    -10: DeviceError,
    -11: NonFiniteError,
    -13: ParityError,
    -14: NotSupportedError,
}
_HANDLE, _STATUS = c_void_p, c_int32
LOG_CALLBACK = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)

_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "samedge_status_string": (c_char_p, [_STATUS]),
    "samedge_last_error": (c_char_p, []),
    "samedge_version": (c_char_p, []),
    "samedge_abi_version": (c_uint32, []),
    "samedge_abi_check": (_STATUS, [c_uint32, c_uint32]),
    "samedge_abi_hash": (c_uint64, [c_uint32]),
    "samedge_abi_layout": (c_char_p, []),
    "samedge_set_log_callback": (_STATUS, [LOG_CALLBACK, c_void_p]),
    "samedge_backend_check": (_STATUS, [c_int32]),
    "samedge_model_options_default": (_STATUS, [POINTER(s.ModelOptions), c_size_t]),
    "samedge_model_open": (_STATUS, [c_char_p, POINTER(s.ModelOptions), POINTER(_HANDLE)]),
    "samedge_model_close": (_STATUS, [_HANDLE]),
    "samedge_model_get_info": (_STATUS, [_HANDLE, POINTER(s.ModelInfo)]),
    "samedge_class_name": (_STATUS, [_HANDLE, c_int32, POINTER(c_char_p)]),
    "samedge_self_test": (_STATUS, [_HANDLE, POINTER(s.SelfTestReport)]),
    "samedge_session_create": (_STATUS, [_HANDLE, POINTER(_HANDLE)]),
    "samedge_session_destroy": (_STATUS, [_HANDLE]),
    "samedge_set_frame": (_STATUS, [_HANDLE, POINTER(s.Frame)]),
    "samedge_predict": (_STATUS, [_HANDLE, POINTER(s.Prompts), POINTER(s.Result)]),
    "samedge_segment": (
        _STATUS,
        [_HANDLE, POINTER(s.Frame), POINTER(s.Prompts), POINTER(s.Result)],
    ),
    "samedge_segment_slices": (
        _STATUS,
        [_HANDLE, POINTER(s.Frame), POINTER(POINTER(s.Prompts)), POINTER(POINTER(s.Result))],
    ),
    "samedge_get_embedding": (_STATUS, [_HANDLE, POINTER(c_float), c_size_t]),
    "samedge_get_contours": (_STATUS, [_HANDLE, c_int32, POINTER(s.Contours)]),
    "samedge_get_timing": (_STATUS, [_HANDLE, POINTER(s.Timing)]),
    "samedge_get_notes": (_STATUS, [_HANDLE, POINTER(c_char_p)]),
    "samedge_tracker_options_default": (_STATUS, [POINTER(s.TrackerOptions), c_size_t]),
    "samedge_tracker_create": (
        _STATUS,
        [_HANDLE, POINTER(s.Prompts), POINTER(s.TrackerOptions), POINTER(_HANDLE)],
    ),
    "samedge_tracker_destroy": (_STATUS, [_HANDLE]),
    "samedge_track": (
        _STATUS,
        [_HANDLE, POINTER(s.Frame), c_double, POINTER(s.Result), POINTER(c_int32), c_size_t],
    ),
    "samedge_tracker_lose": (_STATUS, [_HANDLE]),
    "samedge_tracker_reason": (_STATUS, [_HANDLE, c_int32, POINTER(c_char_p)]),
    "samedge_tracker_point": (_STATUS, [_HANDLE, c_int32, POINTER(c_double), POINTER(c_double)]),
}


class LibraryError(SamEdgeError):
    """libsamedge refused a call for which Python has no error of its own.

    Attributes:
        status: its samedge_status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def library_path() -> Path | str | None:
    """Where libsamedge is: `$SAMEDGE_LIBRARY`, or where the dynamic linker finds it; or None."""
    named = os.environ.get(ENV)
    if named:
        return Path(named)
    return find_library("samedge")


class Library:
    """libsamedge, loaded. Its functions are attributes: `library.samedge_version()`.

    Args:
        path: of the shared library; default: `library_path()`.

    Raises:
        NotSupportedError: there is none, it cannot be loaded, or it has another layout.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        found = path or library_path()
        if found is None:
            raise NotSupportedError(
                "there is no libsamedge on this machine: build and install it with CMake "
                f"(docs/embedding.md), or name it in {ENV}"
            )
        try:
            self.handle = ctypes.CDLL(str(found))
        except OSError as error:
            raise NotSupportedError(f"libsamedge cannot be loaded: {error}") from error
        self.path = str(found)
        for name, (result, arguments) in _SIGNATURES.items():
            try:
                function = getattr(self.handle, name)
            except AttributeError as error:
                raise NotSupportedError(
                    f"{found} has no function {name}: it is an older libsamedge; update it"
                ) from error
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        self.check(self.handle.samedge_abi_check(s.ABI_MAJOR, s.ABI_MINOR))
        if ABI_HASH not in (0, self.handle.samedge_abi_hash(s.ABI_MINOR)):
            raise NotSupportedError(
                f"{found} has structs of another layout than this version of samedge; install the "
                "two from one release"
            )

    def check(self, status: int) -> None:
        """Raise what a status stands for, with the library's own message."""
        if status == s.OK:
            return
        message = self.handle.samedge_last_error().decode("utf-8", "replace")
        kind = _ERRORS.get(status)
        if kind is not None:
            raise kind(message)
        raise LibraryError(
            f"{self.handle.samedge_status_string(status).decode()}: {message}", status
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)
