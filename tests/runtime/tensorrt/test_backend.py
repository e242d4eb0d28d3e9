"""Sessions on TensorRT and TensorRT-RTX, through a strict stand-in of library and driver."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.errors import DeviceError, NotSupportedError
from samedge.runtime.backend import LoadOptions
from samedge.runtime.choice import named_backend
from samedge.runtime.gpu import engine as gpu_engine
from samedge.runtime.tensorrt import backend as tensorrt_backend
from samedge.runtime.tensorrt.engine import layer_information
from tests.runtime.stand_in.install import VERSIONS, installed

LIMIT = 1e-4


@pytest.fixture(params=VERSIONS)
def library(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """One of the libraries, on a machine with one GPU; nothing may be left at the end."""
    with installed(request.param) as module:
        yield module
        module.world.driver.assert_clean()


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


def frame(height: int = 90, width: int = 120, seed: int = 0, channels: int = 0) -> Any:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def gpu(bundle: Bundle, library: ModuleType, **options: Any) -> samedge.runtime.Session:
    return samedge.load(bundle, backend=library.__name__, precision="fp32", **options)


def assert_same(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one.low_res_logits, other.low_res_logits, atol=LIMIT)
    np.testing.assert_allclose(one.scores, other.scores, atol=LIMIT)
    assert np.mean(one.masks != other.masks) < 1e-3


@pytest.fixture(scope="module")
def reference(bundle: Bundle) -> Iterator[samedge.runtime.Session]:
    with samedge.load(bundle, backend="openvino", precision="fp32", threads=1) as session:
        yield session


def test_a_session_gives_what_openvino_gives(
    library: ModuleType, bundle: Bundle, reference: Any
) -> None:
    with gpu(bundle, library) as session:
        for seed in range(4):
            points = [(40 + seed, 30)]
            got = session.segment(frame(seed=seed), points=points)
            assert_same(got, reference.segment(frame(seed=seed), points=points))
        assert session.describe()["device"] == "Stand-in GPU"
    assert library.world.driver.calls["cuGraphLaunch"] == 6  # from the second frame on


def test_frames_of_all_kinds(library: ModuleType, bundle: Bundle, reference: Any) -> None:
    """Sizes, colours and turned frames, each twice (queued, then captured), in any order."""
    frames = [
        frame(60, 80),
        frame(200, 90),
        frame(64, 64, channels=3),
        frame(60, 80),
        frame(90, 99),
    ]
    with gpu(bundle, library) as session:
        for number, pixels in enumerate(frames * 2):
            points = [[(20, 30)], [(40, 10)]] if number % 2 else [(10, 12), (20, 22)]
            got = session.segment(pixels, points=points)
            assert_same(got, reference.segment(pixels, points=points))
            np.testing.assert_allclose(session.embedding(), reference.embedding(), atol=LIMIT)


def test_nothing_is_allocated_per_frame(library: ModuleType, bundle: Bundle) -> None:
    calls = library.world.driver.calls
    with gpu(bundle, library) as session:
        for seed in range(2):
            session.segment(frame(seed=seed), points=[(40, 30)])
        before = {
            name: calls[name] for name in ("cuMemAlloc", "cuMemHostAlloc", "cuGraphInstantiate")
        }
        for seed in range(3):
            session.segment(frame(seed=seed), points=[(40, 30)])
        assert {name: calls[name] for name in before} == before


def test_larger_frames_move_the_scratch_memory(
    library: ModuleType, bundle: Bundle, reference: Any
) -> None:
    with gpu(bundle, library) as session:
        for side in (64, 64, 64, 400, 64, 64, 64, 400, 400):
            pixels = frame(side, side)
            got = session.segment(pixels, points=[(20, 30)])
            assert_same(got, reference.segment(pixels, points=[(20, 30)]))


def test_memory_of_sizes_is_given_back(library: ModuleType, bundle: Bundle) -> None:
    """Ever smaller frames, more sizes than are kept ready: the largest make room."""
    used = []
    with gpu(bundle, library) as session:
        for side in range(64 + 2 * gpu_engine.MAX_SIZES, 64, -1):
            session.segment(frame(side, side), points=[(20, 30)])
            used.append(library.world.driver.used())
    kept = used[gpu_engine.MAX_SIZES :]
    assert used[0] < used[gpu_engine.MAX_SIZES - 1]
    assert kept == sorted(kept, reverse=True)


def test_the_engine_is_built_once_and_kept(library: ModuleType, bundle: Bundle) -> None:
    world = library.world
    with gpu(bundle, library) as session:
        assert "was built here" in session.describe()["notes"][0]
    assert world.builds == 2
    with gpu(bundle, library) as session, gpu(bundle, library) as other:
        assert session.describe()["notes"] == []
        one = session.segment(frame(), points=[(40, 30)])
        assert_same(one, other.segment(frame(), points=[(40, 30)]))
    assert world.builds == 2
    assert world.deserialised == 4  # encoder and decoder, twice; not three times


def test_without_cache_nothing_is_written(
    library: ModuleType, bundle: Bundle, private_cache: Path
) -> None:
    with gpu(bundle, library, cache=False) as session:
        session.segment(frame(), points=[(40, 30)])
    assert not private_cache.exists()


def test_where_no_graph_can_be_captured_it_goes_on_without(
    library: ModuleType, bundle: Bundle, reference: Any
) -> None:
    library.world.driver.fail_capture = True
    with gpu(bundle, library) as session:
        for _ in range(3):
            got = session.segment(frame(), points=[(40, 30)])
            assert_same(got, reference.segment(frame(), points=[(40, 30)]))
        assert any("no CUDA graph" in note for note in session.describe()["notes"])
    assert "cuGraphLaunch" not in library.world.driver.calls


def test_a_failed_run_is_an_error_and_not_the_end(
    library: ModuleType, bundle: Bundle, reference: Any
) -> None:
    with gpu(bundle, library) as session:
        library.world.fail_run = True
        with pytest.raises(DeviceError, match="failed to run"):
            session.segment(frame(), points=[(40, 30)])
        got = session.segment(frame(), points=[(40, 30)])
        assert_same(got, reference.segment(frame(), points=[(40, 30)]))


def test_out_of_memory_says_how_much(library: ModuleType, bundle: Bundle) -> None:
    with gpu(bundle, library) as session:
        library.world.driver.memory = library.world.driver.used() + 100
        with pytest.raises(DeviceError, match=r"out of memory: .* needs .* free are 100 bytes"):
            session.segment(frame(), points=[(40, 30)])


def test_a_failed_build_says_what_the_library_says(library: ModuleType, bundle: Bundle) -> None:
    library.world.fail_build = True
    with pytest.raises(DeviceError, match=r"could not build the fp32 encoder: no tactic"):
        gpu(bundle, library)


def test_more_objects_than_the_engine_was_built_for(library: ModuleType, bundle: Bundle) -> None:
    points = [[(10 + i, 20)] for i in range(17)]
    words = r"17 objects; this engine takes 1 to 16"
    with gpu(bundle, library) as session, pytest.raises(NotSupportedError, match=words):
        session.segment(frame(), points=points)


def test_another_thread_may_use_the_session(
    library: ModuleType, bundle: Bundle, reference: Any
) -> None:
    results: list[Any] = []
    with gpu(bundle, library) as session:
        for _ in range(2):
            worker = threading.Thread(
                target=lambda: results.append(session.segment(frame(), points=[(40, 30)]))
            )
            worker.start()
            worker.join()
    assert_same(results[1], reference.segment(frame(), points=[(40, 30)]))


def test_a_closed_engine_says_so(library: ModuleType, bundle: Bundle) -> None:
    engines = named_backend(library.__name__).open(bundle, LoadOptions("fp32"))
    assert {spec.name for spec in engines.decoder.io.inputs} >= {"image_embedding", "mask_rows"}
    assert engines.gpu is not None
    with pytest.raises(DeviceError, match="nothing was run"):
        engines.gpu.output("masks")
    engines.decoder.close()
    engines.close()
    for engine in (engines.encoder, engines.decoder):
        with pytest.raises(DeviceError, match="closed"):
            engine.run({}, {})


def test_a_decoder_that_cannot_be_built_leaves_nothing(
    library: ModuleType, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = tensorrt_backend.build_engine

    def failing(found: Any, opened: Any, graph: str, *rest: Any, **options: Any) -> Any:
        if graph == "decoder":
            raise DeviceError("no decoder today")
        return build(found, opened, graph, *rest, **options)

    monkeypatch.setattr(tensorrt_backend, "build_engine", failing)
    with pytest.raises(DeviceError, match="no decoder today"):
        gpu(bundle, library)  # the fixture looks at what is left


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": None}, "is missing"),
        ({"dtype": np.float64}, "came as float64"),
    ],
)
def test_wrong_arrays_are_refused(
    library: ModuleType, bundle: Bundle, change: dict[str, Any], words: str
) -> None:
    engines = named_backend(library.__name__).open(bundle, LoadOptions("fp32"))
    specs = engines.decoder.io.inputs
    inputs = {spec.name: np.zeros(_shape(spec.shape), spec.dtype) for spec in specs}
    if "name" in change:
        del inputs["point_coords"]
    else:
        inputs["point_coords"] = inputs["point_coords"].astype(change["dtype"])
    with pytest.raises(DeviceError, match=words):
        engines.decoder.run(inputs, {})
    engines.close()


def _shape(shape: tuple[int | str, ...]) -> tuple[int, ...]:
    sizes = {"objects": 1, "points": 2, "height": 20, "width": 20}
    return tuple(sizes[side] if isinstance(side, str) else side for side in shape)


def test_a_family_with_masks_and_several_answers(library: ModuleType, cases: Any) -> None:
    case = cases("sam")
    prompts = {"points": [(30, 20)], "multimask": True}
    pixels = frame(channels=3)
    with gpu(case.bundle, library) as session:
        for _ in range(3):
            first = session.segment(pixels, **prompts)
            assert_same(first, case.session.segment(pixels, **prompts))
            mask = first.low_res_logits[1]
            again = session.predict(box=[10, 10, 60, 50], mask=mask)
            assert_same(again, case.session.predict(box=[10, 10, 60, 50], mask=mask))


def test_a_volume_of_slices(library: ModuleType, cases: Any) -> None:
    case = cases("volume")
    volume = np.stack([frame(seed=seed) for seed in range(4)])
    prompts = {"points": [(30, 20)]} if "point" in case.family.prompts else {}
    with gpu(case.bundle, library) as session:
        for _ in range(2):
            got = session.segment_volume(volume, **prompts)
            want = case.session.segment_volume(volume, **prompts)
            assert np.mean(got.masks != want.masks) < 1e-3


def test_auto_takes_the_gpu_and_says_why(library: ModuleType, bundle: Bundle) -> None:
    with samedge.load(bundle, precision="fp32") as session:
        about = session.describe()
        assert about["backend"] == library.__name__
        assert "first backend that works here" in about["why"]


def test_an_engine_of_another_gpu_is_not_taken(tiny_bundle: Path, private_cache: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    with installed(VERSIONS[0]) as library:
        gpu(bundle, library).close()
    with installed(VERSIONS[0], capability=(8, 9)) as library:
        with gpu(bundle, library) as session:
            notes = session.describe()["notes"]
        assert "for a GPU of sm_86, and this one has sm_89" in notes[0]
        assert library.world.builds == 2  # each for itself
    with installed(VERSIONS[1]) as library, gpu(bundle, library) as session:
        assert "built by tensorrt 10.3.0, and here is 11.4.0.106" in session.describe()["notes"][0]


def test_a_tampered_engine_is_not_taken(
    library: ModuleType, bundle: Bundle, private_cache: Path
) -> None:
    gpu(bundle, library).close()
    engines = sorted(private_cache.rglob("*.engine"))
    for path in engines:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    with gpu(bundle, library) as session:
        notes = [note for note in session.describe()["notes"] if "SHA-256" in note]
    assert len(notes) == len(engines) == 2
    assert library.world.builds == 4


def test_engines_of_a_folder_others_can_write_to_are_not_taken(
    library: ModuleType, bundle: Bundle, private_cache: Path
) -> None:
    gpu(bundle, library).close()
    for folder in private_cache.glob("nvidia/*"):
        folder.chmod(0o777)
    with gpu(bundle, library) as session:
        assert any("writable by other users" in note for note in session.describe()["notes"])
        session.segment(frame(), points=[(40, 30)])


def test_the_librarys_report_on_layers(
    library: ModuleType, bundle: Bundle, private_cache: Path
) -> None:
    gpu(bundle, library).close()
    for path in private_cache.rglob("*.engine"):
        assert layer_information(path, library.__name__) == {"Layers": ["stand-in"]}
    path.write_bytes(b"something else")
    with pytest.raises(DeviceError, match="cannot load the engine: Magic tag"):
        layer_information(path, library.__name__)


def test_what_was_proven_was_so_on_the_gpu_that_is_asked_for(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def proven(_bundle: Any, _precision: str, device: int, _engines: Any) -> None:
        asked.append(device)

    monkeypatch.setattr(tensorrt_backend.TENSORRT, "proven", proven)
    with installed(VERSIONS[0], devices=2), samedge.load(bundle, "tensorrt", "fp32", device=1):
        assert asked == [1]


@pytest.mark.parametrize(("devices", "words"), [(0, "finds no GPU"), (1, None)])
def test_what_is_there_decides(devices: int, words: str | None) -> None:
    with installed(VERSIONS[0], devices=devices):
        reason = tensorrt_backend.TENSORRT.unavailable()
        other = tensorrt_backend.TENSORRT_RTX.unavailable()
    if words is None:
        assert reason is None
        assert other is not None
        assert "'.[rtx]'" in other
    else:
        assert reason is not None
        assert words in reason


def test_auto_without_a_gpu_says_so_once(bundle: Bundle) -> None:
    with installed(VERSIONS[0], devices=0), samedge.load(bundle, threads=1) as session:
        why = session.describe()["why"]
    assert "(tensorrt, tensorrt_rtx, triton: the NVIDIA driver finds no GPU)" in why
