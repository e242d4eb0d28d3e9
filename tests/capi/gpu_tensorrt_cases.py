"""libsamedge on TensorRT, through the strict stand-ins of its library and of the driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.capi.library import Library
from samedge.capi.session import NativeModel
from samedge.errors import DeviceError, NotSupportedError, SessionError
from samedge.runtime.engines import records
from samedge.runtime.engines.store import EngineStore
from tests.capi.gpu import TensorRtStandIn, tensorrt
from tests.runtime.stand_in.driver import Driver
from tests.runtime.stand_in.install import installed
from tests.runtime.stand_in.tensorrt import make_module
from tests.runtime.triton.test_backend import POINTS, assert_same, frame

VERSION = "tensorrt 10.3.0"


@pytest.fixture(scope="session")
def library(library_path: Path) -> Library:
    """libsamedge with the TensorRT backend, compiled against tests/capi/native/tensorrt_headers."""
    path = library_path.parent / "tests" / "libsamedge_tensorrt.so"
    if not path.exists():
        pytest.skip(f"{path} was not built (SAMEDGE_BUILD_TESTS)")
    return Library(path)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """A user's cache with the engines of the bundle, built by Python."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch, installed(VERSION):
        patch.setenv("SAMEDGE_CACHE", str(folder))
        samedge.load(tiny_bundle, backend="tensorrt", precision="fp32").close()
    return folder


@pytest.fixture
def stand_in(
    library_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TensorRtStandIn]:
    monkeypatch.setenv("SAMEDGE_CACHE", str(cache))
    module = make_module(VERSION, Driver())
    with tensorrt(library_path.parent / "tests" / "stand_in", module) as found:
        yield found


@pytest.fixture(scope="module")
def reference(tiny_bundle: Path) -> Iterator[samedge.runtime.Session]:
    with samedge.load(tiny_bundle, backend="openvino", precision="fp32", threads=1) as session:
        yield session


def opened(library: Library, bundle: Path, **more: Any) -> NativeModel:
    return NativeModel(library, bundle, backend="tensorrt", precision="fp32", **more)


def test_a_session_gives_what_openvino_gives(
    library: Library, stand_in: TensorRtStandIn, tiny_bundle: Path, reference: Any
) -> None:
    with opened(library, tiny_bundle) as model:
        session = model.session()
        for seed in range(4):
            points = [(40 + seed, 30)]
            got = session.segment(frame(seed=seed), points=points)
            assert_same(got, reference.segment(frame(seed=seed), points=points))
        assert model.info.device == b"Stand-in GPU"
        session.close()
    assert stand_in.world.driver.calls["cuGraphLaunch"] == 6  # from the second frame on


def test_frames_of_all_kinds(
    library: Library, stand_in: TensorRtStandIn, tiny_bundle: Path, reference: Any
) -> None:
    frames = [frame(60, 80), frame(200, 90), frame(64, 64, channels=3), frame(60, 80), frame()]
    with opened(library, tiny_bundle) as model:
        one, other = model.session(), model.session()
        for number, pixels in enumerate(frames * 2):
            points = [[(20, 30)], [(40, 10)]] if number % 2 else [(10, 12), (20, 22)]
            session = other if number % 3 == 2 else one
            got = session.segment(pixels, points=points)
            assert_same(got, reference.segment(pixels, points=points))
            ours = session.embedding()
            np.testing.assert_allclose(ours, reference.embedding().ravel(), atol=1e-4)
        one.close()
        other.close()
    assert stand_in.called.count("deserialize_cuda_engine") == 2


def test_tensorrt_is_called_as_python_calls_it(
    library: Library, stand_in: TensorRtStandIn, tiny_bundle: Path
) -> None:
    """What is set in a context, in which order; and nothing of it for a frame of known sizes."""
    with opened(library, tiny_bundle) as model:
        session = model.session()
        stand_in.called.clear()
        session.set_frame(frame())
        inputs = stand_in.called.count("set_input_shape")
        calls = [name for name in stand_in.called if name != "get_tensor_profile_shape"]
        assert calls[: inputs + 2] == [
            "create_execution_context", *["set_input_shape"] * inputs, "infer_shapes",
        ]  # fmt: skip
        rest = calls[inputs + 2 :]
        memory = rest.index("update_device_memory_size_for_shapes")
        assert set(rest[:memory]) == {"get_tensor_shape", "set_tensor_address"}
        assert rest[memory + 1 :] == [
            "set_device_memory", "set_tensor_address", "execute_async_v3",
        ]  # fmt: skip
        stand_in.called.clear()
        session.set_frame(frame(seed=1))
        assert stand_in.called == ["execute_async_v3"]  # into the graph
        stand_in.called.clear()
        session.set_frame(frame(seed=2))
        assert stand_in.called == []
        session.close()


def test_failures_of_the_library(
    library: Library, stand_in: TensorRtStandIn, tiny_bundle: Path, reference: Any
) -> None:
    with opened(library, tiny_bundle) as model:
        session = model.session()
        stand_in.world.fail_run = True
        with pytest.raises(DeviceError, match=r"TensorRT 10\.3\.0 failed to run"):
            session.segment(frame(), points=POINTS)
        with pytest.raises(SessionError, match="no frame"):
            session.predict(points=POINTS)
        got = session.segment(frame(), points=POINTS)
        assert_same(got, reference.segment(frame(), points=POINTS))
        session.close()


def test_more_than_the_engine_takes(
    library: Library, stand_in: TensorRtStandIn, tiny_bundle: Path
) -> None:
    points = [[(10 + i % 90, 20)] for i in range(600)]
    with opened(library, tiny_bundle) as model:
        session = model.session()
        with pytest.raises(NotSupportedError, match=r"600 .*this engine takes 1 to"):
            session.segment(frame(), points=points)
        session.close()


def changed_record(folder: Path, cache: Path, target: Path, **changes: Any) -> None:
    """The engines of a cache in another folder, their records changed."""
    target.mkdir()
    for path in sorted(cache.rglob("*.engine")):
        if path.name.startswith(("encoder", "decoder")):
            record = records.read_record(path)
            key = replace(record.key, **changes)
            options = {"version_compatible": True} if "version" in changes else {}
            EngineStore((target,), bundle=folder.name).save(
                key, memoryview(path.read_bytes()), options
            )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": "11.0.0"}, "was built by TensorRT 11.0.0, and here is 10.3.0"),
        ({"compute_capability": 87}, "for a GPU of sm_87, and this one has sm_86"),
        ({"gpu": "Other GPU"}, r"tuned on another GPU \(Other GPU\) than this one"),
        ({"graph_sha256": "1" * 64}, "built from another model"),
        ({"backend": "tensorrt_rtx"}, "it holds decoder.*tensorrt_rtx"),
    ],
)
def test_engines_that_do_not_fit(
    library: Library, stand_in: TensorRtStandIn, tiny_bundle: Path, cache: Path, tmp_path: Path,
    changes: dict[str, Any], words: str,
) -> None:  # fmt: skip
    changed_record(tiny_bundle, cache, tmp_path / "engines", **changes)
    with pytest.raises(NotSupportedError, match=words):
        opened(library, tiny_bundle, engines=tmp_path / "engines")


@pytest.mark.parametrize(
    "changes", [{"version": "10.3.0.26"}, {"gpu": None}, {"version": "10.1.0"}]
)
def test_engines_that_fit(
    library: Library, stand_in: TensorRtStandIn, tiny_bundle: Path, cache: Path, tmp_path: Path,
    changes: dict[str, Any],
) -> None:  # fmt: skip
    """Those of a package with a build number; built elsewhere; version compatible ones."""
    changed_record(tiny_bundle, cache, tmp_path / "engines", **changes)
    opened(library, tiny_bundle, engines=tmp_path / "engines").close()
    assert ("set_engine_host_code_allowed" in stand_in.called) == ("version" in changes)


def test_what_is_no_engine(
    library: Library, stand_in: TensorRtStandIn, tiny_bundle: Path, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "engines"
    folder.mkdir()
    for path in sorted(cache.rglob("*.engine")):
        EngineStore((folder,)).save(records.read_record(path).key, memoryview(b"nothing"))
    with pytest.raises(DeviceError, match=r"cannot load the engine .*Magic tag does not match"):
        opened(library, tiny_bundle, engines=folder)


def test_no_engines(
    library: Library, stand_in: TensorRtStandIn, tiny_bundle: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path))
    with pytest.raises(NotSupportedError, match=r"no engine of the encoder .*--target tensorrt"):
        opened(library, tiny_bundle)
    with NativeModel(library, tiny_bundle, threads=1) as model:
        assert b"no engine" in model.info.why
