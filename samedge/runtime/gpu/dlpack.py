"""DLPack, the exchange of arrays between libraries, for arrays on a GPU: dlpack.h in ctypes.

An array travels as a capsule named "dltensor". Whoever takes it renames the capsule and calls the
deleter when it is done; a capsule that nobody took calls it by itself.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

CUDA, CUDA_MANAGED = 2, 13  # types of device
UNSIGNED = 1  # code of unsigned integers
_CODES = {"i": 0, "u": UNSIGNED, "f": 2}
_NAME = b"dltensor"


class _Tensor(ctypes.Structure):
    """DLManagedTensor: a DLTensor, and who gives it back."""

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
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Exchanged:
    """What a capsule says.

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


def read_capsule(capsule: Any) -> Exchanged:
    """The array in a capsule. It is left unused, so that its own destructor gives the memory back.

    Raises:
        ValueError: it is no capsule of an array, or was taken already.
    """
    tensor = _Tensor.from_address(_pointer(capsule, _NAME))
    sides = range(tensor.ndim)
    return Exchanged(
        int(tensor.data or 0) + int(tensor.byte_offset),
        tuple(tensor.shape[at] for at in sides),
        tuple(tensor.strides[at] for at in sides) if tensor.strides else None,
        tensor.code,
        tensor.bits,
        tensor.lanes,
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
    tensor = _Tensor(
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
        context=None,
        deleter=ctypes.cast(_DELETER, ctypes.c_void_p),
    )
    place = ctypes.addressof(tensor)
    lent[place] = (tensor, sides, steps, owner)
    return _new_capsule(place, _NAME, _DESTRUCTOR)


# Address of a tensor that is on loan -> what has to live as long.
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
_new_capsule: Any = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
)(("PyCapsule_New", ctypes.pythonapi))
