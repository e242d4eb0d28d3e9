"""The stand-in finds what it is there to find: every rule is broken once, and noticed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.runtime.gpu.driver import Device, DeviceMemory, Graph, PinnedArray, Stream
from samedge.runtime.tensorrt.plan import Plan, Scratch
from tests.runtime.stand_in.core import POISON, Violation
from tests.runtime.stand_in.driver import Driver
from tests.runtime.stand_in.install import installed


@pytest.fixture
def library() -> Iterator[ModuleType]:
    with installed() as module:
        yield module


@pytest.fixture
def driver(library: ModuleType) -> Driver:
    return library.world.driver


@pytest.fixture
def device(driver: Driver) -> Iterator[Device]:
    with Device(0) as opened:
        yield opened


def run_frames(tiny_bundle: Path, count: int = 3) -> list[Any]:
    """The same frame several times: queued, captured, replayed."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
    bundle = Bundle.open(tiny_bundle)
    with samedge.load(bundle, "tensorrt", "fp32") as session:
        return [session.segment(pixels, points=[(40, 30)]) for _ in range(count)]


def run_and_check(library: ModuleType, tiny_bundle: Path) -> None:
    run_frames(tiny_bundle)
    library.world.driver.assert_clean()


def test_code_that_does_not_wait_is_found_out(
    library: ModuleType, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = run_frames(tiny_bundle)[0]
    monkeypatch.setattr(Stream, "synchronise", lambda _self: None)
    with pytest.raises(Violation):  # it closes what is under way, at the latest
        run_frames(tiny_bundle)
    assert right.masks.any() in (True, False)


def test_results_are_poison_until_somebody_waits(device: Device, driver: Driver) -> None:
    stream, host = Stream(), PinnedArray((4,), np.uint8)
    address = driver.put(np.arange(4, dtype=np.uint8))
    stream.download(host, address)
    np.testing.assert_array_equal(host.array, np.full(4, POISON))
    stream.synchronise()
    np.testing.assert_array_equal(host.array, np.arange(4))


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        # The graph is kept although the scratch memory has moved.
        (Plan, "_drop_graph", lambda _self: None),
        # Memory that is given back before the work in it is done, or never.
        (DeviceMemory, "free", lambda _self: None),
        (PinnedArray, "free", lambda _self: None),
        (Graph, "close", lambda _self: None),
        (Stream, "close", lambda _self: None),
        (Device, "close", lambda _self: None),
        (Scratch, "close", lambda _self: None),
        # Too little scratch memory.
        (Scratch, "size", property(lambda _self: 1)),
    ],
)
def test_mistakes_of_the_runtime_are_found_out(
    library: ModuleType,
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    broken: Any,
) -> None:
    run_frames(tiny_bundle)
    library.world.driver.assert_clean()
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(Violation):
        run_and_check(library, tiny_bundle)


def test_an_early_capture_is_found_out(
    library: ModuleType, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Plan._queue

    def capture_first(self: Plan) -> None:
        self._capture() if self.runs == 0 and not self.note else queue(self)

    monkeypatch.setattr(Plan, "_start", lambda self: (capture_first(self), queue(self)))
    with pytest.raises(Violation, match="before the first run"):
        run_frames(tiny_bundle)


def test_a_changed_context_behind_a_graph_is_found_out(
    library: ModuleType, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = Plan._start

    def meddle(self: Plan) -> None:
        self._context.set_device_memory(self._scratch.address, self._scratch.size)
        launch(self)

    run_frames(tiny_bundle)
    monkeypatch.setattr(Plan, "_start", meddle)
    with pytest.raises(Violation, match=r"whose context was changed|before the first run"):
        run_frames(tiny_bundle)


Misuse = Callable[[Driver, Stream], Any]


def _freed(driver: Driver) -> int:
    _, address = driver.cuMemAlloc(64)
    driver.cuMemFree(address)
    return address


def _write_under_way(driver: Driver, stream: Stream) -> None:
    host = PinnedArray((8,), np.uint8)
    stream.upload(driver.put(np.zeros(8, np.uint8)), host)
    host.array[3] = 7
    stream.synchronise()


def _free_under_way(driver: Driver, stream: Stream) -> None:
    host = PinnedArray((8,), np.uint8)
    stream.upload(driver.put(np.zeros(8, np.uint8)), host)
    host.free()


def _allocate_in_capture(driver: Driver, stream: Stream) -> None:
    with stream.capture():
        driver.cuMemAlloc(8)


MISUSES: dict[str, tuple[Misuse, str]] = {
    "free twice": (lambda d, _: d.cuMemFree(_freed(d)), "freed twice"),
    "copy to freed memory": (
        lambda d, s: s.copy(_freed(d), d.put(np.zeros(4, np.uint8)), 4),
        "not allocated",
    ),
    "copy too much": (
        lambda d, s: s.copy(d.put(np.zeros(4, np.uint8)), d.put(np.zeros(9, np.uint8)), 9),
        "too many",
    ),
    "copy from memory that is not pinned": (
        lambda d, s: d.cuMemcpyHtoDAsync(
            d.put(np.zeros(4, np.uint8)), np.zeros(4, np.uint8).ctypes.data, 4, s.handle
        ),
        "not pinned",
    ),
    "a device address on the host": (
        lambda d, _: d.cuMemcpyHtoD(d.put(np.zeros(4)), d.put(np.zeros(4)), 32),
        "device address",
    ),
    "write under way": (_write_under_way, "was written while"),
    "free under way": (_free_under_way, "while a upload is under way"),
    "destroy a busy stream": (
        lambda d, s: (
            s.upload(d.put(np.zeros(8, np.uint8)), PinnedArray((8,), np.uint8)),
            s.close(),
        ),
        "while work is queued",
    ),
    "use a closed stream": (lambda d, s: (s.close(), d.stream(101)), "destroyed"),
    "end no capture": (lambda d, s: d.cuStreamEndCapture(s.handle), "not begun"),
}


@pytest.mark.parametrize("what", MISUSES)
def test_misuse_of_the_driver(device: Device, driver: Driver, what: str) -> None:
    misuse, words = MISUSES[what]
    with pytest.raises(Violation, match=words):
        misuse(driver, Stream())


def test_an_allocation_breaks_a_capture(device: Device, driver: Driver) -> None:
    with pytest.raises(samedge.errors.DeviceError, match="CAPTURE_INVALIDATED"):
        _allocate_in_capture(driver, Stream())


def test_no_call_without_a_context(driver: Driver) -> None:
    with pytest.raises(Violation, match="no current context"):
        driver.cuMemAlloc(4)


def test_leaks_are_named(device: Device, driver: Driver) -> None:
    device.allocate(10, "a test")
    with pytest.raises(Violation, match=r"not freed: .*'device memory': 1"):
        driver.assert_clean()


def test_device_memory_cannot_be_read_by_the_host(device: Device, driver: Driver) -> None:
    """Not even by mistake: the addresses are those of no process."""
    address = driver.put(np.zeros(4))
    assert address > 1 << 48
    assert ctypes.sizeof(ctypes.c_void_p) == 8


def test_calls_that_a_version_does_not_have(library: ModuleType) -> None:
    class Log(library.ILogger):  # type: ignore[misc, name-defined]
        def log(self, severity: Any, msg: str) -> None: ...

    builder = library.Builder(Log())
    config = builder.create_builder_config()
    with pytest.raises(Violation, match=r"10\.3\.0 has no IBuilderConfig\.set_compute_capability"):
        config.set_compute_capability(1, 0)
    with pytest.raises(Violation, match="num_compute_capabilities"):
        config.num_compute_capabilities = 1
    with pytest.raises(Violation, match="it is called with"):
        config.set_flag(1, 2)
    with pytest.raises(AttributeError):
        assert library.BuilderFlag.FP16
    with pytest.raises(Violation, match="not initialised"):
        library.Builder(object())
