"""Frames that lie on a GPU: taken where they lie, or refused with what came and what to do."""

from __future__ import annotations

import ctypes
import gc
import struct
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import samedge
from samedge.bundle import Bundle
from samedge.errors import FrameError, NotSupportedError, SessionError
from samedge.runtime.gpu import dlpack
from samedge.runtime.gpu.arrays import DeviceArray
from samedge.runtime.gpu.driver import Device
from tests.runtime.stand_in.core import Handle, Job
from tests.runtime.stand_in.driver import Driver
from tests.runtime.stand_in.install import installed
from tests.runtime.tensorrt.test_backend import LIMIT, assert_same, frame

POINTS = [(40, 30)]


@pytest.fixture
def library() -> Iterator[ModuleType]:
    with installed() as module:
        yield module


@pytest.fixture
def driver(library: ModuleType) -> Driver:
    return library.world.driver


@pytest.fixture
def session(library: ModuleType, tiny_bundle: Path) -> Iterator[samedge.runtime.Session]:
    with samedge.load(Bundle.open(tiny_bundle), "tensorrt", "fp32") as opened:
        yield opened


class OnGpu:
    """What CuPy, PyCUDA or torch would hand over."""

    def __init__(self, driver: Driver, pixels: Any, **changes: Any) -> None:
        self.address = driver.put(pixels)
        self.__cuda_array_interface__ = {
            "shape": pixels.shape,
            "typestr": pixels.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "version": 3,
            "stream": None,
            **changes,
        }


def test_a_frame_on_the_gpu_gives_the_same(session: Any, driver: Driver) -> None:
    for pixels in (frame(), frame(channels=3), frame()[:, :, None], frame(200, 90)):
        want = session.segment(pixels, points=POINTS)
        for _ in range(3):
            assert_same(session.segment(OnGpu(driver, pixels), points=POINTS), want)


def test_it_is_read_where_it_lies(session: Any, driver: Driver) -> None:
    """No memory is made for the frame, neither here nor there."""
    session.set_frame(frame(100, 130))  # what is made once
    counts = []
    for pixels in (frame(), OnGpu(driver, frame())):
        before = {name: driver.calls[name] for name in ("cuMemAlloc", "cuMemHostAlloc")}
        session.set_frame(pixels)
        counts.append({name: driver.calls[name] - before[name] for name in before})
    host, there = counts
    assert {name: count - 1 for name, count in host.items()} == there


def test_a_turned_frame_goes_through_the_cpu_and_says_so(
    session: Any, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[int] = []
    fetch = driver.cuMemcpyDtoH

    def watched(*args: Any) -> Any:
        fetched.append(args[2])
        return fetch(*args)

    monkeypatch.setattr(driver, "cuMemcpyDtoH", watched, raising=False)
    session.set_frame(OnGpu(driver, frame(90, 120)))
    assert not fetched
    assert not [note for note in session.describe()["notes"] if "tall frames" in note]
    for _ in range(2):
        session.set_frame(OnGpu(driver, frame(200, 90)))
    assert fetched == [200 * 90] * 2
    (note,) = [note for note in session.describe()["notes"] if "tall frames" in note]
    assert "hand over such frames in the CPU's memory" in note


def test_the_same_address_is_replayed_and_its_new_content_seen(
    session: Any, driver: Driver
) -> None:
    pixels = OnGpu(driver, frame())
    for seed in range(4):
        now = frame(seed=seed)
        driver.device(pixels.address, now.size)[:] = now.ravel()
        got = session.segment(pixels, points=POINTS)
        assert_same(got, session.segment(now, points=POINTS))
    assert driver.calls["cuGraphLaunch"] > 4


def test_rows_with_a_gap_and_odd_addresses_are_copied_on_the_gpu(
    session: Any, driver: Driver
) -> None:
    wide = frame(90, 160)
    want = session.segment(wide[:, 7:127].copy(), points=POINTS)
    whole = OnGpu(driver, wide)
    about = {
        "shape": (90, 120),
        "strides": (160, 1),
        "data": (whole.address + 7, True),
    }
    for _ in range(3):
        part = OnGpu(driver, wide, **about)
        assert_same(session.segment(part, points=POINTS), want)


def test_the_producers_stream_is_waited_for(session: Any, driver: Driver) -> None:
    """The pixels arrive late: in a stream of the producer's."""
    pixels = OnGpu(driver, np.zeros((90, 120), np.uint8), stream=1)
    right = frame()

    def write() -> None:
        driver.device(pixels.address, right.size)[:] = right.ravel()

    for _ in range(3):
        driver.device(pixels.address, right.size)[:] = 0
        driver.stack.append(Handle(7))
        driver.queue(1, Job("producer", write, (), ((pixels.address, right.size),)))
        driver.stack.pop()
        got = session.segment(pixels, points=POINTS)
        assert_same(got, session.segment(right, points=POINTS))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"typestr": "<f4", "shape": (22, 120)}, "convert it there"),
        ({"typestr": "<u2", "shape": (45, 120)}, "convert it there"),
        ({"shape": (4, 9, 120)}, "move the channels last"),
        ({"shape": (10800,)}, "move the channels last"),
        ({"strides": (1, 90), "shape": (90, 120)}, "row by row"),
        ({"strides": (1,)}, "differ in length"),
        ({"stream": 0}, "stream is 0"),
        ({"data": (0, False)}, "address on the GPU is 0"),
        ({"data": (1 << 51, False)}, "not in a GPU's memory"),
        ({"mask": object()}, "masked"),
        ({"typestr": "nonsense"}, "cannot be read"),
        ({"shape": None}, "cannot be read"),
        ({"shape": (8, 8)}, "frame height is 8"),
    ],
)
def test_what_is_refused(session: Any, driver: Driver, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(FrameError, match=words):
        session.segment(OnGpu(driver, frame(), **changes), points=POINTS)
    with pytest.raises(SessionError):
        session.predict(points=POINTS)


def test_a_frame_on_another_gpu(
    session: Any, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = OnGpu(driver, frame())
    monkeypatch.setattr(driver, "cuPointerGetAttribute", lambda *_: (0, 1), raising=False)
    with pytest.raises(NotSupportedError, match=r"lies on GPU 1, .* runs on GPU 0"):
        session.segment(pixels, points=POINTS)


def test_the_cpu_still_says_where_to_bring_it(tiny_bundle: Path, driver: Driver) -> None:
    with samedge.load(tiny_bundle, "openvino", "fp32", threads=1) as session:
        with pytest.raises(NotSupportedError, match="runs on the CPU"):
            session.segment(OnGpu(driver, frame()), points=POINTS)
        session.segment(frame(), points=POINTS)
        with pytest.raises(NotSupportedError, match="CPU's memory"):
            session.on_device("masks")


class Tensor(ctypes.Structure):
    """DLManagedTensor of dlpack.h, as far as it is read."""

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


class DlPack:
    """An array that knows DLPack only, as JAX's."""

    def __init__(self, driver: Driver, pixels: Any, kind: int = 2, index: int = 0, **about: Any):
        shape = (ctypes.c_int64 * pixels.ndim)(*pixels.shape)
        fields = {
            "data": driver.put(pixels),
            "device_type": kind,
            "device_id": index,
            "ndim": pixels.ndim,
            "code": 1,
            "bits": 8,
            "lanes": 1,
            "shape": shape,
            **about,
        }
        self.tensor, self.keep, self.place = Tensor(**fields), shape, (kind, index)
        self.streams: list[Any] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.place

    def __dlpack__(self, stream: Any = None) -> Any:
        self.streams.append(stream)
        return capsule(self.tensor, b"dltensor")


class VersionedDlPack(DlPack):
    """An array that knows DLPack from version 1 on, as torch's and CuPy's newest."""

    major = 1

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, **_: Any) -> Any:
        assert max_version == (1, 0)
        self.streams.append(stream)
        whole = bytes(self.tensor)[: -2 * ctypes.sizeof(ctypes.c_void_p)]
        head = struct.pack("<IIQQQ", self.major, 3, 0, 0, 1)  # read-only
        self.managed = ctypes.create_string_buffer(head + whole)
        return capsule(self.managed, b"dltensor_versioned")


def capsule(managed: Any, name: bytes) -> Any:
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(ctypes.addressof(managed), name, None)


def test_dlpack(session: Any, driver: Driver) -> None:
    pixels = frame(channels=3)
    want = session.segment(pixels, points=POINTS)
    there = DlPack(driver, pixels)
    assert_same(session.segment(there, points=POINTS), want)
    # The producer was told to have the pixels ready for the session's own stream: none of CUDA's.
    (stream,) = there.streams
    assert stream > 2


def test_dlpack_with_versions(session: Any, driver: Driver) -> None:
    pixels = frame(channels=3)
    there = VersionedDlPack(driver, pixels)
    want = session.segment(pixels, points=POINTS)
    assert_same(session.segment(there, points=POINTS), want)
    assert len(there.streams) == 1
    there.major = 2
    with pytest.raises(FrameError, match="DLPack's version 2, 1 is known"):
        session.segment(there, points=POINTS)


def test_a_result_is_handed_out_where_it_lies(session: Any) -> None:
    session.segment(frame(), points=POINTS)
    masks = session.on_device("masks")
    assert masks.__dlpack__(stream=1, max_version=(1, 3), dl_device=(2, 0), copy=False)
    for wish in ({"copy": True}, {"dl_device": (1, 0)}):
        with pytest.raises(BufferError, match="where it lies, on GPU 0"):
            masks.__dlpack__(**wish)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"kind": 10}, NotSupportedError, "no NVIDIA GPU"),
        ({"index": 1}, NotSupportedError, "lies on GPU 1"),
        ({"code": 2, "bits": 32}, FrameError, "no unsigned integers"),
        ({"lanes": 4}, FrameError, "no unsigned integers"),
        ({"data": None}, FrameError, "address on the GPU is 0"),
    ],
)
def test_dlpack_that_is_refused(
    session: Any, driver: Driver, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        session.segment(DlPack(driver, frame(), **changes), points=POINTS)


def test_results_on_the_gpu(session: Any, driver: Driver) -> None:
    with pytest.raises(SessionError, match="no answer on the GPU"):
        session.on_device("masks")
    for _ in range(3):
        result = session.segment(frame(), points=POINTS)
        masks = session.on_device("masks")
        about = masks.__cuda_array_interface__
        assert about["version"] == 3
        assert about["strides"] is None
        there = driver.get(about["data"][0], about["shape"], about["typestr"])
        np.testing.assert_array_equal(there[0], result.masks)
        np.testing.assert_array_equal(masks.copy()[0], result.masks)
        np.testing.assert_allclose(session.on_device("scores").copy()[0], result.scores, atol=LIMIT)


class DlPackOnly:
    """A DeviceArray seen by a library that knows DLPack only."""

    def __init__(self, array: DeviceArray) -> None:
        self.__dlpack_device__, self._array = array.__dlpack_device__, array

    def __dlpack__(self, stream: Any = None) -> Any:
        return self._array.__dlpack__(stream=stream)


def test_results_and_frames_by_dlpack(session: Any, driver: Driver) -> None:
    want = session.segment(frame(), points=POINTS)
    pixels = DeviceArray(driver.put(frame()), (90, 120), np.uint8, SimpleNamespace(index=0))
    assert_same(session.segment(DlPackOnly(pixels), points=POINTS), want)
    logits = session.on_device("low_res_logits")
    there = dlpack.read_capsule(logits.__dlpack__())
    assert (there.address, there.shape) == (logits.address, logits.shape)
    assert (there.code, there.bits, there.lanes) == (2, 32, 1)
    assert there.strides is not None
    assert tuple(4 * step for step in there.strides) == logits.strides
    del there, pixels
    gc.collect()
    session.segment(frame(), points=POINTS)
    assert dlpack.lent == {}  # capsules that nobody took have given it back


def test_who_takes_a_capsule_gives_it_back(driver: Driver) -> None:
    array = DeviceArray(4096, (2, 3), np.float32, SimpleNamespace(index=0))
    capsule = array.__dlpack__()
    (place,) = dlpack.lent
    rename = ctypes.pythonapi.PyCapsule_SetName
    rename.argtypes = [ctypes.py_object, ctypes.c_char_p]
    name = b"used_dltensor"
    rename(capsule, name)
    with pytest.raises(ValueError):
        dlpack.read_capsule(capsule)
    del capsule
    assert place in dlpack.lent
    deleter = Tensor.from_address(place).deleter
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(deleter)(place)
    assert dlpack.lent == {}


def test_an_answer_has_three_arrays(session: Any) -> None:
    session.segment(frame(), points=POINTS)
    with pytest.raises(SessionError, match="has no 'embedding'"):
        session.on_device("embedding")


def test_slices_are_read_from_the_cpu(session: Any, driver: Driver) -> None:
    volume = OnGpu(driver, np.zeros((2, 90, 120), np.uint8))
    with pytest.raises(NotSupportedError, match=r"the slices .* are read from the CPU"):
        session.segment_volume(volume, points=POINTS)


def test_a_result_in_parts_is_not_on_the_gpu(session: Any) -> None:
    session.segment(frame(), points=[[(10, 10)], [(20, 20), (30, 30)]])
    with pytest.raises(SessionError, match="equally many points"):
        session.on_device("masks")


@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple),
    dtype=st.sampled_from(["u1", "<u2", "<f4"]),
    cut=st.integers(0, 3),
)
def test_device_arrays_describe_what_numpy_describes(
    shape: tuple[int, ...], dtype: str, cut: int
) -> None:
    array = np.zeros((*shape, 2), dtype)
    there = DeviceArray(4096, array.shape, dtype, device=SimpleNamespace(index=0))
    assert there.strides == array.strides or 0 in array.shape
    assert there.contiguous
    assert there.copyable
    assert there.nbytes == array.nbytes
    part = there[cut : cut + 2]
    assert part.shape == array[cut : cut + 2].shape
    assert part.address - there.address == min(cut, array.shape[0]) * there.strides[0]


def test_copies_of_views(library: ModuleType, driver: Driver) -> None:
    pixels = np.arange(60, dtype=np.uint16).reshape(5, 6, 2)
    with Device(0) as device:
        address = driver.put(pixels)
        view = DeviceArray(address + 2, (5, 3), "<u2", device, (24, 4))
        np.testing.assert_array_equal(view.copy(), pixels[:, :3, 1])
        assert not view.copyable
        rows = DeviceArray(address, (5, 4), "<u2", device, (24, 2))
        assert rows.copyable
        np.testing.assert_array_equal(rows.copy(), pixels.reshape(5, 12)[:, :4])
    device.close()
