"""Frames that lie on a GPU -> what an engine there takes, without a copy where that can be.

Accepted by protocol, so that no GPU library is imported: `__cuda_array_interface__` (PyCUDA, CuPy,
Numba, torch) and DLPack (all of them, JAX). The producer's stream is waited for on the device.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from samedge.errors import FrameError, NotSupportedError
from samedge.runtime.gpu.arrays import DeviceArray
from samedge.runtime.gpu.dlpack import (
    CUDA,
    CUDA_MANAGED,
    UNSIGNED,
    ask_for_capsule,
    read_capsule,
)
from samedge.runtime.gpu.driver import Device, driver

_LEGACY_STREAM = 1  # what arrays of version 2 of the protocol may still be written by


def device_frame(frame: Any, deep: bool, device: Device, stream: int) -> DeviceArray:
    """`frame` as a device array [H, W, C], C = 1 or 3, uint8 or uint16.

    Args:
        frame: has `__cuda_array_interface__` or `__dlpack__`.
        deep: grey frames may have 16 bits.
        device: the session's; it must be the calling thread's.
        stream: handle of the session's stream, which a DLPack producer is told to serve.

    Raises:
        FrameError: another dtype, shape or layout, a null pointer; what came and what to do.
        NotSupportedError: it lies on another GPU, or on none that is NVIDIA's.
    """
    array = (
        _from_interface(frame, device)
        if hasattr(frame, "__cuda_array_interface__")
        else _from_dlpack(frame, device, stream)
    )
    _check_place(array, device)
    return _as_image(array, deep)


def as_encoder_input(array: DeviceArray) -> DeviceArray:
    """The pixels as the encoder's input: uint8 [H, W, C]; 16-bit levels are two bytes."""
    if array.dtype == np.uint8:
        return array
    height, width, _ = array.shape
    return array.reshaped((height, width, 2), (*array.strides[:2], 1), np.uint8)


def _as_image(array: DeviceArray, deep: bool) -> DeviceArray:
    wanted = "uint8 [H, W], [H, W, 1] or [H, W, 3] (RGB)" + (", or uint16 [H, W]" * deep)
    came = f"the frame came as {array.dtype} {list(array.shape)} on the GPU; expected {wanted}"
    if array.dtype != np.uint8 and not (deep and array.dtype == np.uint16):
        raise FrameError(f"{came}: convert it there, to 0..255")
    if len(array.shape) == 2:
        array = array.reshaped(
            (*array.shape, 1), (*array.strides, array.dtype.itemsize), array.dtype
        )
    channels = (1,) if array.dtype == np.uint16 else (1, 3)
    if len(array.shape) != 3 or 0 in array.shape or array.shape[2] not in channels:
        raise FrameError(f"{came}: move the channels last, drop an alpha channel")
    if not array.copyable:
        raise FrameError(
            f"the frame's pixels do not lie row by row (strides {list(array.strides)} bytes); "
            "make a contiguous copy on the GPU: frame.contiguous() (torch), "
            "cupy.ascontiguousarray(frame)"
        )
    return array


def _from_interface(frame: Any, device: Device) -> DeviceArray:
    about = frame.__cuda_array_interface__
    try:
        address, _ = about["data"]
        shape = tuple(int(side) for side in about["shape"])
        dtype = np.dtype(about["typestr"])
        strides = about.get("strides")
        steps = None if strides is None else tuple(int(step) for step in strides)
        stream = about.get("stream") if int(about.get("version", 0)) >= 3 else _LEGACY_STREAM
        if steps is not None and len(steps) != len(shape):
            raise ValueError("strides and shape differ in length")
    except (KeyError, TypeError, ValueError) as error:
        raise FrameError(
            f"the frame's __cuda_array_interface__ cannot be read ({error}); hand over an array of "
            "CuPy, PyCUDA, Numba or torch"
        ) from error
    if about.get("mask") is not None:
        raise FrameError("the frame is a masked array; hand over its data without the mask")
    if not address:
        raise FrameError("the frame is empty, or was freed: its address on the GPU is 0")
    if stream == 0 or isinstance(stream, bool):
        raise FrameError(
            "the frame's stream is 0, which its protocol forbids; 1 is the default stream, None "
            "means that nothing has to be waited for"
        )
    return DeviceArray(int(address), shape, dtype, device, steps, stream, frame)


def _from_dlpack(frame: Any, device: Device, stream: int) -> DeviceArray:
    kind, index = (int(part) for part in frame.__dlpack_device__())
    if kind not in (CUDA, CUDA_MANAGED):
        raise NotSupportedError(
            f"the frame lies on a device of DLPack's type {kind}, which is no NVIDIA GPU; bring it "
            "to the CPU or to the session's GPU first"
        )
    if index != device.index:
        raise _elsewhere(index, device)
    try:
        there = read_capsule(ask_for_capsule(frame, stream))
    except (ValueError, BufferError, TypeError) as error:
        raise FrameError(f"the frame cannot be handed over by DLPack ({error})") from error
    if there.lanes != 1 or there.code != UNSIGNED or there.bits not in (8, 16):
        raise FrameError(
            f"the frame has elements of {there.bits} bits that are no unsigned integers; convert "
            "it on the GPU to uint8, 0..255"
        )
    if not there.address:
        raise FrameError("the frame is empty: its address on the GPU is 0")
    size = there.bits // 8
    steps = None if there.strides is None else tuple(size * step for step in there.strides)
    return DeviceArray(there.address, there.shape, f"u{size}", device, steps, None, there.capsule)


def _check_place(array: DeviceArray, device: Device) -> None:
    """Refuse what lies on another GPU, or in memory that no GPU can see."""
    attribute = driver().CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    status, index = driver().cuPointerGetAttribute(attribute, array.address)
    if int(status) != 0:
        raise FrameError(
            "the frame's address is not in a GPU's memory; it was freed, or its array says so "
            "wrongly"
        )
    if int(index) != device.index:
        raise _elsewhere(int(index), device)


def _elsewhere(index: int, device: Device) -> NotSupportedError:
    return NotSupportedError(
        f"the frame lies on GPU {index}, and this session runs on GPU {device.index}; bring it "
        f"over, or load the session with device={index}"
    )
