"""DLPack, the exchange of arrays between libraries, for arrays on a GPU: dlpack.h in ctypes.

An array travels as a capsule named "dltensor", or "dltensor_versioned" from version 1 on. Whoever
takes it renames the capsule and calls the deleter when it is done; a capsule that nobody took calls
it by itself.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

CUDA, CUDA_MANAGED = 2, 13  # types of device
UNSIGNED = 1  # code of unsigned integers
MAX_VERSION = (1, 0)  # newest that is read here; what its minor versions add is not needed
_CODES = {"i": 0, "u": UNSIGNED, "f": 2}
_NAME, _VERSIONED = b"dltensor", b"dltensor_versioned"


class _Array(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    """DLManagedTensor: an array, and who gives it back."""

    _fields_ = (
        ("array", _Array),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class _ManagedVersioned(ctypes.Structure):
    """DLManagedTensorVersioned: the same from version 1 on."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("array", _Array),
    )


@dataclass(frozen=True)
class CapsuleArray:
    """The array in a capsule.

    Attributes:
        address: of the first element.
        shape: of the array.
        strides: in elements; None for C order.
        code, bits, lanes: the type of the elements.
        capsule: keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    code: int
    bits: int
    lanes: int
    capsule: Any


def ask_for_capsule(array: Any, stream: int) -> Any:
    """A capsule of an array that knows DLPack, of any version.

    Args:
        array: has `__dlpack__`.
        stream: handle of the CUDA stream that the array is to be ready for.
    """
    try:
        return array.__dlpack__(stream=stream, max_version=MAX_VERSION)
    except TypeError:  # from before there were versions
        return array.__dlpack__(stream=stream)


def read_capsule(capsule: Any) -> CapsuleArray:
    """The array in a capsule. It is left unused, so that its own destructor gives the memory back.

    Raises:
        ValueError: it is no capsule of an array, was taken already, or is of a later version.
    """
    if _is_capsule(capsule, _VERSIONED):
        managed = _ManagedVersioned.from_address(_pointer(capsule, _VERSIONED))
        if managed.major != MAX_VERSION[0]:
            known = MAX_VERSION[0]
            raise ValueError(f"it is of DLPack's version {managed.major}, {known} is known")
        array = managed.array
    else:
        array = _Managed.from_address(_pointer(capsule, _NAME)).array
    sides = range(array.ndim)
    return CapsuleArray(
        int(array.data or 0) + int(array.byte_offset),
        tuple(array.shape[at] for at in sides),
        tuple(array.strides[at] for at in sides) if array.strides else None,
        array.code,
        array.bits,
        array.lanes,
        capsule,
    )


def make_capsule(
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    kind: str,
    itemsize: int,
    device: int,
    owner: Any,
) -> Any:
    """A capsule for an array on a GPU.

    Args:
        address: of the first element.
        shape: of the array.
        strides: in elements.
        kind: numpy's letter for the type, "u", "i" or "f".
        itemsize: bytes of an element.
        device: number of the GPU.
        owner: kept alive until the array is given back.
    """
    sides, steps = (ctypes.c_int64 * len(shape))(*shape), (ctypes.c_int64 * len(shape))(*strides)
    array = _Array(
        data=address,
        device_type=CUDA,
        device_id=device,
        ndim=len(shape),
        code=_CODES[kind],
        bits=8 * itemsize,
        lanes=1,
        shape=sides,
        strides=steps,
        byte_offset=0,
    )
    managed = _Managed(array=array, context=None, deleter=ctypes.cast(_DELETER, ctypes.c_void_p))
    place = ctypes.addressof(managed)
    lent[place] = (managed, sides, steps, owner)
    return _new_capsule(place, _NAME, _DESTRUCTOR)


# Address of an array that is on loan -> what has to live as long.
lent: dict[int, Any] = {}


def _give_back(place: int) -> None:
    lent.pop(place, None)


def _give_back_unused(capsule: int) -> None:
    # The capsule is about to go, so it is passed on as a bare address.
    if _is_unused(capsule, _NAME):
        lent.pop(_address_in(capsule, _NAME), None)


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_give_back)
_DESTRUCTOR = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_give_back_unused)
_pointer: Any = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_address_in: Any = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_is_unused: Any = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_is_capsule: Any = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_new_capsule: Any = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
)(("PyCapsule_New", ctypes.pythonapi))
