"""Sessions on samedge's own engine, through a strict stand-in of the driver."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.bundle.sealing import seal
from samedge.errors import BundleError, DeviceError, NotSupportedError
from samedge.runtime.backend import LoadOptions
from samedge.runtime.choice import choose_backend, named_backend
from samedge.runtime.engines.mapped import MappedFile
from samedge.runtime.engines.records import record_path
from samedge.runtime.engines.store import EngineStore, add_parity
from samedge.runtime.triton import backend as triton_backend
from samedge.runtime.triton import compiling
from samedge.runtime.triton.backend import TRITON, key_for
from samedge.runtime.triton.building import build_engines
from samedge.runtime.triton.engine_file import write_engine
from samedge.runtime.triton.plan import Argument, EnginePlan
from tests.runtime.stand_in.core import CUresult, Violation
from tests.runtime.stand_in.driver import Driver
from tests.runtime.stand_in.install import installed
from tests.runtime.triton.plans import SHARED, changed_step, kernels, small_plan

LIMIT = 1e-4
POINTS = [(40, 30)]
Change = Callable[[EnginePlan], EnginePlan]


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Bundle:
    """A bundle of which the test may change everything."""
    return Bundle.open(Path(shutil.copytree(tiny_bundle, tmp_path / "tiny.samedge")))


@pytest.fixture
def driver(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    """A machine with one GPU, no compiler and no other library; nothing may be left at the end."""
    monkeypatch.setattr(compiling, "NEEDED", ("torch", "a_compiler_that_is_not_here"))
    with (
        installed("tensorrt_rtx 1.7.1.116") as module,
        pytest.MonkeyPatch.context() as patch,  # undone before the stand-in goes
    ):
        patch.setitem(sys.modules, "tensorrt_rtx", None)
        found: Driver = module.world.driver
        found.gpu.code.update(kernels(bundle, found))
        yield found
        found.assert_clean()


@pytest.fixture(scope="module")
def reference(tiny_bundle: Path) -> Iterator[samedge.runtime.Session]:
    with samedge.load(tiny_bundle, backend="openvino", precision="fp32", threads=1) as session:
        yield session


def same(plan: EnginePlan) -> EnginePlan:
    return plan


def keep(
    bundle: Bundle,
    folder: Path,
    capabilities: tuple[int, ...] = (86,),
    precision: str = "fp16",
    change: Change = same,
) -> Path:
    """An engine of the bundle, stored as `samedge build` stores it."""
    folder.mkdir(exist_ok=True)
    plan, constants, code = small_plan(bundle.manifest, capabilities, precision)
    draft = folder / "draft"
    write_engine(draft, change(plan), constants, code)
    store = EngineStore((folder,), bundle=bundle.path.name)
    kept = store.save(key_for(bundle, precision, capabilities), MappedFile(draft).view())
    draft.unlink()
    return kept.path


@pytest.fixture
def engine(bundle: Bundle) -> Path:
    return keep(bundle, bundle.path / "engines")


def gpu(bundle: Bundle, precision: str = "fp16", **options: Any) -> samedge.runtime.Session:
    return samedge.load(bundle, backend="triton", precision=precision, **options)


def frame(height: int = 90, width: int = 120, seed: int = 0, channels: int = 0) -> Any:
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def assert_same(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one.low_res_logits, other.low_res_logits, atol=LIMIT)
    np.testing.assert_allclose(one.scores, other.scores, atol=LIMIT)
    assert np.mean(one.masks != other.masks) < 1e-3


def test_a_session_gives_what_openvino_gives(
    driver: Driver, bundle: Bundle, engine: Path, reference: Any
) -> None:
    with gpu(bundle) as session:
        for seed in range(4):
            points = [(40 + seed, 30)]
            got = session.segment(frame(seed=seed), points=points)
            assert_same(got, reference.segment(frame(seed=seed), points=points))
        assert session.describe()["device"] == "Stand-in GPU"
        assert session.describe()["notes"] == []
    assert driver.calls["cuGraphLaunch"] == 6  # from the second frame on


def test_launches_run_in_order_with_their_arguments(
    driver: Driver, bundle: Bundle, engine: Path
) -> None:
    with gpu(bundle) as session:
        session.segment(frame(60, 80), points=[[(20, 30)], [(40, 10)]])
        copy, network, tokens, answer = driver.gpu.launched
        names = [launch.name for launch in driver.gpu.launched]
        assert names == ["copy_frame", "encoder", "copy_tokens", "decoder"]
        assert (copy.grid, copy.threads, copy.shared) == ((-(-60 * 80 // 128), 1, 1), 128, 0)
        assert network.shared == SHARED
        assert copy.arguments[2:] == [1, 60, 80]  # frame_channels, height, width
        assert tokens.arguments[2:] == [60, 2, 2, 80]  # height, objects, points, width
        # What one launch writes into the arena, the next one reads there.
        assert copy.arguments[1] == network.arguments[0]
        assert tokens.arguments[1] == answer.arguments[0] == copy.arguments[1] + 256
        # Both weights stand in one block, at their offsets.
        assert answer.arguments[1] == network.arguments[1] + 256
        assert driver.device(network.arguments[1], 512).size == 512


def test_frames_of_all_kinds(driver: Driver, bundle: Bundle, engine: Path, reference: Any) -> None:
    """Sizes, colours and numbers of objects, each twice (queued, then captured), in any order."""
    frames = [frame(60, 80), frame(200, 90), frame(64, 64, channels=3), frame(60, 80), frame()]
    with gpu(bundle) as session:
        for number, pixels in enumerate(frames * 2):
            points = [[(20, 30)], [(40, 10)]] if number % 2 else [(10, 12), (20, 22)]
            got = session.segment(pixels, points=points)
            assert_same(got, reference.segment(pixels, points=points))
            np.testing.assert_allclose(session.embedding(), reference.embedding(), atol=LIMIT)


def test_nothing_is_allocated_per_frame(driver: Driver, bundle: Bundle, engine: Path) -> None:
    names = ("cuMemAlloc", "cuMemHostAlloc", "cuGraphInstantiate", "cuModuleLoadData")
    with gpu(bundle) as session:
        for seed in range(2):
            session.segment(frame(seed=seed), points=POINTS)
        before = {name: driver.calls[name] for name in names}
        for seed in range(3):
            session.segment(frame(seed=seed), points=POINTS)
        assert {name: driver.calls[name] for name in names} == before


def test_larger_frames_move_the_arena_of_both_graphs(
    driver: Driver, bundle: Bundle, engine: Path, reference: Any
) -> None:
    with gpu(bundle) as session:
        for side in (64, 64, 64, 400, 64, 64, 64, 400, 400):
            pixels = frame(side, side)
            got = session.segment(pixels, points=[(20, 30)])
            assert_same(got, reference.segment(pixels, points=[(20, 30)]))
            last = driver.gpu.launched[-4:]
            assert last[0].arguments[1] + 256 == last[2].arguments[1]  # one arena


def test_sessions_share_weights_and_code(
    driver: Driver, bundle: Bundle, engine: Path, reference: Any
) -> None:
    one, other = gpu(bundle), gpu(bundle)
    assert driver.calls["cuModuleLoadData"] == 4
    assert_same(one.segment(frame(), points=POINTS), other.segment(frame(), points=POINTS))
    one.close()
    got = other.segment(frame(seed=1), points=POINTS)
    assert_same(got, reference.segment(frame(seed=1), points=POINTS))
    other.close()
    with gpu(bundle):  # everything was freed, and is loaded again
        assert driver.calls["cuModuleLoadData"] == 8


class OnGpu:
    """What CuPy, PyCUDA or torch would hand over."""

    def __init__(self, driver: Driver, pixels: Any, shift: int = 0) -> None:
        moved = np.concatenate([np.zeros(shift, np.uint8), pixels.ravel()])
        self.__cuda_array_interface__ = {
            "shape": pixels.shape,
            "typestr": pixels.dtype.str,
            "data": (driver.put(moved) + shift, False),
            "strides": None,
            "version": 3,
            "stream": None,
        }


@pytest.mark.parametrize("shift", [0, 16, 5])
def test_frames_and_masks_on_the_gpu(
    driver: Driver, bundle: Bundle, engine: Path, reference: Any, shift: int
) -> None:
    """Aligned to 16 bytes they are read where they lie; others are copied there."""
    there = [OnGpu(driver, frame(seed=seed), shift) for seed in range(2)]
    with gpu(bundle) as session:
        for seed in (0, 0, 0, 1, 1, 1):
            got = session.segment(there[seed], points=POINTS)
            assert_same(got, reference.segment(frame(seed=seed), points=POINTS))
            read = driver.gpu.launched[-4].arguments[0]
            where = there[seed].__cuda_array_interface__["data"][0]
            assert (read == where) == (shift % 16 == 0)
    for address in [a for a in driver.blocks if a in {driver_start(x, shift) for x in there}]:
        del driver.blocks[address]


def driver_start(array: OnGpu, shift: int) -> int:
    return int(array.__cuda_array_interface__["data"][0]) - shift


def test_where_no_graph_can_be_captured_it_goes_on_without(
    driver: Driver, bundle: Bundle, engine: Path, reference: Any
) -> None:
    driver.fail_capture = True
    with gpu(bundle) as session:
        for _ in range(3):
            got = session.segment(frame(), points=POINTS)
            assert_same(got, reference.segment(frame(), points=POINTS))
        assert any("no CUDA graph" in note for note in session.describe()["notes"])
    assert "cuGraphLaunch" not in driver.calls


@pytest.mark.parametrize(
    ("graph", "at", "change"),
    [
        ("encoder", 0, {"grid": (1, 1, 1)}),
        ("encoder", 0, {"kernel": 2}),
        ("encoder", 1, {"arguments": 1}),
        ("decoder", 1, {"arguments": 1}),
        ("decoder", 0, {"arguments": 4}),
    ],
)
def test_a_changed_plan_is_found_out(
    driver: Driver, bundle: Bundle, reference: Any, graph: str, at: int, change: dict[str, Any]
) -> None:
    """The control: a grid, a kernel, one weight for the other, one size for another."""

    def changed(plan: EnginePlan) -> EnginePlan:
        steps = next(p for p in plan.targets[86].programs if p.graph == graph).steps
        what = dict(change)
        if "arguments" in what:
            index = what["arguments"]
            before = steps[at].arguments
            other = (
                Argument("size", 3)
                if before[index].kind == "size"
                else Argument("weight", 256 - int(str(before[index].value)))
            )
            what["arguments"] = (*before[:index], other, *before[index + 1 :])
        if "kernel" in what:
            what["arguments"] = (*steps[at].arguments, Argument("size", 1))
        return changed_step(plan, graph, at, **what)

    keep(bundle, bundle.path / "engines", change=changed)
    with pytest.raises((AssertionError, Violation, ValueError)), gpu(bundle) as session:  # noqa: PT012
        got = session.segment(frame(), points=POINTS)
        assert_same(got, reference.segment(frame(), points=POINTS))
    _give_up(driver)


def _give_up(driver: Driver) -> None:
    """Forget what a test left in the middle of a launch."""
    fresh = Driver()
    driver.__dict__.update(fresh.__dict__)
    from samedge.runtime.triton import engine

    engine._loaded.clear()


def test_a_launch_beyond_the_arena_is_not_started(driver: Driver, bundle: Bundle) -> None:
    """At the limits all is well, and for small frames an offset lies behind the end."""

    def changed(plan: EnginePlan) -> EnginePlan:
        first = plan.targets[86].programs[0].steps[0]
        far = Argument("arena", 4096)
        return changed_step(
            plan, "encoder", 0, arguments=(first.arguments[0], far, *first.arguments[2:])
        )

    keep(bundle, bundle.path / "engines", change=changed)
    with gpu(bundle) as session, pytest.raises(DeviceError, match=r"beyond its arena of 256 bytes"):
        session.segment(frame(16, 16), points=[(3, 3)])
    assert driver.gpu.launched == []


def test_more_than_the_engine_takes(driver: Driver, bundle: Bundle, engine: Path) -> None:
    points = [[(10 + i, 20)] for i in range(17)]
    with gpu(bundle) as session:
        with pytest.raises(NotSupportedError, match=r"17 objects; this engine takes 1 to 16"):
            session.segment(frame(), points=points)
        with pytest.raises(NotSupportedError, match=r"600 width; this engine .* --max-side"):
            session.segment(frame(20, 600), points=[(3, 3)])


def test_the_first_program_that_takes_the_sizes(
    driver: Driver, bundle: Bundle, reference: Any
) -> None:
    def changed(plan: EnginePlan) -> EnginePlan:
        """A program for small frames before the one for all, with an arena of its own."""
        target = plan.targets[86]
        encoder, decoder = target.programs
        small = replace(
            encoder, limits={**encoder.limits, "height": 64, "width": 64}, arena=64 * 64 * 3 + 1024
        )
        return replace(plan, targets={86: replace(target, programs=(small, encoder, decoder))})

    keep(bundle, bundle.path / "engines", change=changed)
    with gpu(bundle) as session:
        for side in (64, 65, 60):
            pixels = frame(side, side)
            got = session.segment(pixels, points=POINTS)
            assert_same(got, reference.segment(pixels, points=POINTS))


# What is refused


def refused(bundle: Bundle, **options: Any) -> str:
    with pytest.raises(NotSupportedError) as caught:
        gpu(bundle, **options)
    return str(caught.value)


def test_no_engine_and_no_compiler(driver: Driver, bundle: Bundle) -> None:
    said = refused(bundle)
    for words in ("no engine", "sm_86", "a_compiler_that_is_not_here not installed",
                  "--target triton --sm 86 --precision fp16"):  # fmt: skip
        assert words in said


def test_an_engine_for_another_gpu(driver: Driver, bundle: Bundle) -> None:
    keep(bundle, bundle.path / "engines", (87, 120))
    said = refused(bundle)
    assert "it is for sm_87, sm_120, and wanted is sm_86" in said
    assert "--sm 86" in said


def test_a_record_that_says_another_gpu_than_its_engine(driver: Driver, bundle: Bundle) -> None:
    """The plan is asked as well, not the record alone."""
    folder = bundle.path / "engines"
    folder.mkdir()
    write_engine(folder / "x", *small_plan(bundle.manifest, (87,)))
    key = key_for(bundle, "fp16", (86,))
    EngineStore((folder,)).save(key, MappedFile(folder / "x").view())
    said = refused(bundle)
    assert "is for sm_87, and this GPU (Stand-in GPU) has sm_86" in said


def test_an_engine_of_another_bundle(driver: Driver, bundle: Bundle) -> None:
    def changed(plan: EnginePlan) -> EnginePlan:
        return replace(plan, bundle="other.samedge", files=dict.fromkeys(plan.files, "1" * 64))

    keep(bundle, bundle.path / "engines", change=changed)
    said = refused(bundle)
    assert "built from another bundle (other.samedge)" in said
    assert "1111111111111111" in said
    assert "samedge build tiny.samedge --target triton" in said


def test_an_engine_with_other_ports(driver: Driver, bundle: Bundle) -> None:
    def changed(plan: EnginePlan) -> EnginePlan:
        target = plan.targets[86]
        encoder, decoder = target.programs
        output = replace(encoder.outputs[0], dtype="float16")
        programs = (replace(encoder, outputs=(output,)), decoder)
        return replace(plan, targets={86: replace(target, programs=programs)})

    keep(bundle, bundle.path / "engines", change=changed)
    assert "other outputs of the encoder than the bundle" in refused(bundle)


def test_an_engine_of_another_format(
    driver: Driver, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, engine: Path
) -> None:
    monkeypatch.setattr(triton_backend, "FORMAT", 2)
    assert "has format 1, and this version of samedge reads format 2" in refused(bundle)


@pytest.mark.parametrize("change", ["byte", "truncated"])
def test_a_changed_engine(driver: Driver, bundle: Bundle, engine: Path, change: str) -> None:
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(data if change == "byte" else data[:5000])
    said = refused(bundle)
    assert "SHA-256 is not the one in its record" in said
    assert "samedge build" in said


def test_an_engine_that_nobody_trusts(driver: Driver, bundle: Bundle, engine: Path) -> None:
    record = record_path(engine)
    record.write_bytes(record.read_bytes() + b"\n")
    assert "was not built by this user" in refused(bundle)


def test_a_changed_bundle(driver: Driver, bundle: Bundle, engine: Path) -> None:
    path = bundle.path / "encoder.fp32.onnx"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"encoder\.fp32\.onnx was changed"):
        gpu(bundle)


@pytest.mark.parametrize(
    "result", [CUresult.CUDA_ERROR_NO_BINARY_FOR_GPU, CUresult.CUDA_ERROR_INVALID_IMAGE]
)
def test_a_driver_that_is_too_old(
    driver: Driver, bundle: Bundle, engine: Path, result: CUresult
) -> None:
    driver.gpu.refuses = result
    said = refused(bundle)
    for words in ("CUDA 13.0", "sm_86", result.name, "update the driver"):
        assert words in said


def test_a_kernel_that_is_not_in_its_code(driver: Driver, bundle: Bundle) -> None:
    def changed(plan: EnginePlan) -> EnginePlan:
        target = plan.targets[86]
        first = replace(target.kernels[0], symbol="elsewhere")
        kernels = (first, *target.kernels[1:])
        return replace(plan, targets={86: replace(target, kernels=kernels)})

    keep(bundle, bundle.path / "engines", change=changed)
    with pytest.raises(DeviceError, match=r"kernel elsewhere: CUDA says CUDA_ERROR_NOT_FOUND"):
        gpu(bundle)


def test_too_little_memory_for_the_weights(driver: Driver, bundle: Bundle, engine: Path) -> None:
    driver.memory = 300
    words = r"the weights of the engine triton\.fp16\.sm86\.engine needs 512 bytes, free are 300"
    with pytest.raises(DeviceError, match=words):
        gpu(bundle)


def test_too_little_memory_for_the_arena(driver: Driver, bundle: Bundle, engine: Path) -> None:
    with gpu(bundle) as session:
        driver.memory = driver.used() + 100_000
        with pytest.raises(DeviceError, match=r"out of memory: .* needs .* free are"):
            session.segment(frame(400, 400), points=POINTS)
        driver.memory = 1 << 30
        session.segment(frame(400, 400), points=POINTS)


def test_too_little_shared_memory(driver: Driver, bundle: Bundle, engine: Path) -> None:
    driver.shared = 64000
    assert f"needs {SHARED} bytes of shared memory for encoder.fp16" in refused(bundle)


def test_a_gpu_without_the_tensor_cores(
    driver: Driver, bundle: Bundle, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "capability", (7, 5))
    reason = TRITON.unavailable()
    assert reason is not None
    assert "sm_75" in reason
    assert "tensorrt or openvino" in reason
    with pytest.raises(NotSupportedError, match="sm_80 and newer"):
        TRITON.open(bundle, LoadOptions("fp16"))


def test_wrong_arrays(driver: Driver, bundle: Bundle, engine: Path) -> None:
    engines = TRITON.open(bundle, LoadOptions("fp16"))
    inputs = {
        spec.name: np.zeros(
            [{"objects": 1, "points": 2}.get(s, 20) if isinstance(s, str) else s
             for s in spec.shape], spec.dtype,
        )
        for spec in engines.decoder.io.inputs
    }  # fmt: skip
    wrong = {**inputs, "point_labels": np.zeros((1, 3), np.int32)}
    with pytest.raises(DeviceError, match=r"'point_labels' came as \[1, 3\], .* points 2"):
        engines.decoder.run(wrong, {})
    with pytest.raises(DeviceError, match="'mask_rows' is missing"):
        engines.decoder.run({k: v for k, v in inputs.items() if k != "mask_rows"}, {})
    with pytest.raises(DeviceError, match="came as float64"):
        engines.decoder.run({**inputs, "mask_rows": inputs["mask_rows"].astype(float)}, {})
    engines.close()


# Choice


def test_engines_of_a_folder(
    driver: Driver, bundle: Bundle, tmp_path: Path, reference: Any
) -> None:
    folder = tmp_path / "engines"
    keep(bundle, folder, (80, 86))
    assert TRITON.ready(bundle, (folder,)) == ("fp16",)
    with samedge.load(bundle, engines=folder, precision="fp16") as session:
        assert session.describe()["backend"] == "triton"
        got = session.segment(frame(), points=POINTS)
        assert_same(got, reference.segment(frame(), points=POINTS))
    with pytest.raises(NotSupportedError, match=r"no engine in .* in bf16 .*--precision bf16"):
        gpu(bundle, "bf16", engines=folder)
    keep(bundle, tmp_path / "other", (90,))
    with pytest.raises(NotSupportedError, match=r"it is for sm_90"):
        TRITON.ready(bundle, (tmp_path / "other",))


def test_auto_leaves_bundles_without_a_verified_engine(driver: Driver, bundle: Bundle) -> None:
    with samedge.load(bundle, threads=1) as session:
        about = session.describe()
        assert about["backend"] == "openvino"
        assert "triton: no engine of this bundle for this GPU that was verified" in about["why"]
    engine = keep(bundle, bundle.path / "engines")
    assert TRITON.unready(bundle) is not None  # nobody ran it here
    rows = [{"backend": "triton", "precision": "fp16", "passed": True}]
    add_parity(engine, rows)
    assert TRITON.unready(bundle) is None
    assert TRITON.proven(bundle, "fp16") is True
    with samedge.load(bundle) as session:
        about = session.describe()
        assert (about["backend"], about["precision"]) == ("triton", "fp16")
        assert "tensorrt" in about["why"]


def test_a_network_without_kernels(
    driver: Driver, bundle: Bundle, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Engine and compiler may be here: there are none of a TinyViT, and `auto` goes on."""
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    manifest["family"]["name"] = "mobile_sam"
    (bundle.path / "manifest.json").write_bytes(seal(manifest))
    tiny = Bundle.open(bundle.path)
    monkeypatch.setattr(compiling, "NEEDED", ("torch",))
    said = "no Triton kernels for TinyViT encoders .* use tensorrt, tensorrt-rtx or openvino"
    for refused in (
        lambda: gpu(tiny),
        lambda: gpu(tiny, engines=engine.parent),
        lambda: build_engines(tiny, ("fp16",), (87,)),
        lambda: build_engines(tiny),
    ):
        with pytest.raises(NotSupportedError, match=said) as caught:
            refused()
        assert "samedge build" not in str(caught.value)  # no advice that leads here again
    with samedge.load(tiny, threads=1) as session:
        about = session.describe()
    assert about["backend"] == "openvino"
    assert "triton: there are no Triton kernels for TinyViT encoders" in about["why"]


def test_auto_knows_the_order(driver: Driver) -> None:
    taken, why = choose_backend("auto")
    assert taken.name == "triton"
    assert "tensorrt" in why
    assert named_backend("triton") is TRITON


# Compiling on the device


@pytest.fixture
def compiler(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A compiler that gives the small engine; its calls."""
    calls: list[tuple[Any, ...]] = []

    def build(
        opened: Bundle, precision: str, numbers: tuple[int, ...], target: Path, *,
        max_side: int, progress: Any,
    ) -> None:  # fmt: skip
        calls.append((precision, numbers, max_side))
        write_engine(target, *small_plan(opened.manifest, numbers, precision))

    monkeypatch.setattr(compiling, "NEEDED", ())
    monkeypatch.setattr(sys.modules[__name__], "build_engine_file", build, raising=False)
    monkeypatch.setattr(compiling, "COMPILER", f"{__name__}:build_engine_file")
    return calls


def test_it_is_compiled_once_and_kept(
    driver: Driver, bundle: Bundle, compiler: list[Any], reference: Any
) -> None:
    with gpu(bundle) as session:
        assert "the engine was compiled here" in session.describe()["notes"][0]
        got = session.segment(frame(), points=POINTS)
        assert_same(got, reference.segment(frame(), points=POINTS))
    with gpu(bundle) as session:
        assert session.describe()["notes"] == []
    assert compiler == [("fp16", (86,), 4096)]


def test_without_cache_nothing_is_kept(
    driver: Driver, bundle: Bundle, compiler: list[Any], private_cache: Path
) -> None:
    for _ in range(2):
        with gpu(bundle, cache=False) as session:
            session.segment(frame(), points=POINTS)
    assert len(compiler) == 2
    assert not list(private_cache.rglob("*.engine"))


def test_an_engine_that_is_not_taken_is_told_of(
    driver: Driver, bundle: Bundle, compiler: list[Any], engine: Path
) -> None:
    engine.write_bytes(engine.read_bytes()[:-1])
    with gpu(bundle) as session:
        notes = session.describe()["notes"]
    assert "SHA-256" in notes[0]
    assert "compiled here" in notes[1]


def test_a_compiler_that_cannot_be_imported(
    driver: Driver, bundle: Bundle, compiler: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "COMPILER", "tests.not_there:build_engine_file")
    said = refused(bundle)
    assert "tests.not_there" in said
    assert "'.[triton]'" in said


def test_a_compiler_that_fails_leaves_nothing(
    driver: Driver, bundle: Bundle, compiler: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise DeviceError("ptxas was killed")

    monkeypatch.setattr(sys.modules[__name__], "build_engine_file", failing)
    with pytest.raises(DeviceError, match="ptxas was killed"):
        gpu(bundle)
