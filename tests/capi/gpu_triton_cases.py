"""libsamedge on samedge's own engine, through the strict stand-in of the driver."""

from __future__ import annotations

import ctypes
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.capi import structs as s
from samedge.capi.library import Library
from samedge.capi.session import (
    NativeModel,
    NativeSession,
    PromptArrays,
    ResultArrays,
    frame_struct,
)
from samedge.errors import (
    BundleError,
    DeviceError,
    FrameError,
    NotSupportedError,
    SamEdgeError,
    SessionError,
)
from samedge.runtime.engines.mapped import MappedFile
from samedge.runtime.engines.records import record_path
from samedge.runtime.engines.store import EngineStore, add_parity
from samedge.runtime.triton.backend import key_for
from samedge.runtime.triton.engine_file import write_engine
from samedge.runtime.triton.plan import Argument, EnginePlan
from tests.capi.gpu import CudaStandIn, Recorded, cuda
from tests.runtime.stand_in.core import CUresult, Handle
from tests.runtime.stand_in.driver import Driver
from tests.runtime.stand_in.install import installed
from tests.runtime.triton.plans import SHARED, changed_step, kernels, small_plan
from tests.runtime.triton.test_backend import POINTS, assert_same, frame, keep

# What a frame of known sizes may call, twice: for the encoder and for the decoder.
FRAME = ["cuCtxPushCurrent", "cuGraphLaunch", "cuStreamSynchronize", "cuCtxPopCurrent"] * 2


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the user's engine cache."""
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Bundle:
    """A bundle of which the test may change everything."""
    return Bundle.open(Path(shutil.copytree(tiny_bundle, tmp_path / "tiny.samedge")))


@pytest.fixture
def driver(bundle: Bundle) -> Driver:
    """A GPU of sm_86 that knows the kernels of `small_plan`."""
    made = Driver()
    made.gpu.code.update(kernels(bundle, made))
    return made


@pytest.fixture(scope="session")
def stand_in_path(library_path: Path) -> Path:
    path = library_path.parent / "tests" / "stand_in" / "libcuda.so.1"
    if not path.exists():
        pytest.skip(f"{path} was not built (SAMEDGE_BUILD_TESTS)")
    return path


@pytest.fixture
def stand_in(stand_in_path: Path, driver: Driver) -> Iterator[CudaStandIn]:
    with cuda(stand_in_path, driver) as found:
        yield found


@pytest.fixture(scope="module")
def reference(tiny_bundle: Path) -> Iterator[samedge.runtime.Session]:
    with samedge.load(tiny_bundle, backend="openvino", precision="fp32", threads=1) as session:
        yield session


@pytest.fixture
def engine(bundle: Bundle) -> Path:
    return keep(bundle, bundle.path / "engines")


class Gpu:
    """A model and a session on the GPU; both are closed at the end of a with block."""

    def __init__(
        self, library: Library, bundle: Bundle, precision: str = "fp16", **more: Any
    ) -> None:
        self.model = NativeModel(
            library, bundle.path, backend="triton", precision=precision, **more
        )
        try:
            self.session = self.model.session()
        except BaseException:
            self.model.close()
            raise

    def __enter__(self) -> NativeSession:
        return self.session

    def __exit__(self, *_: object) -> None:
        self.session.close()
        self.model.close()


def refused(
    library: Library, bundle: Bundle, kind: type[SamEdgeError] = NotSupportedError, **more: Any
) -> str:
    with pytest.raises(kind) as caught, Gpu(library, bundle, **more):
        pass
    return str(caught.value)


def test_a_session_gives_what_openvino_gives(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path, reference: Any
) -> None:
    with Gpu(library, bundle) as session:
        for seed in range(4):
            points = [(40 + seed, 30)]
            got = session.segment(frame(seed=seed), points=points)
            assert_same(got, reference.segment(frame(seed=seed), points=points))
        assert session.model.info.device == b"Stand-in GPU"
        assert session.model.info.backend == s.BACKENDS["triton"]
    assert stand_in.driver.calls["cuGraphLaunch"] == 6  # from the second frame on


def test_launches_run_in_order_with_their_arguments(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path
) -> None:
    driver = stand_in.driver
    with Gpu(library, bundle) as session:
        session.segment(frame(60, 80), points=[[(20, 30)], [(40, 10)]])
        copy, network, tokens, answer = driver.gpu.launched
        names = [launch.name for launch in driver.gpu.launched]
        assert names == ["copy_frame", "encoder", "copy_tokens", "decoder"]
        assert (copy.grid, copy.threads, copy.shared) == ((-(-60 * 80 // 128), 1, 1), 128, 0)
        assert network.shared == SHARED
        assert copy.arguments[2:] == [1, 60, 80]  # frame_channels, height, width
        assert tokens.arguments[2:] == [60, 2, 2, 80]  # height, objects, points, width
        assert copy.arguments[1] == network.arguments[0]
        assert tokens.arguments[1] == answer.arguments[0] == copy.arguments[1] + 256
        assert answer.arguments[1] == network.arguments[1] + 256


def script(session: Any) -> list[Any]:
    """Frames of two sizes and prompts of two kinds, each often enough to be captured."""
    answers = []
    for seed in range(3):
        answers.append(session.segment(frame(seed=seed), points=POINTS))
    for seed in range(3):
        answers.append(session.segment(frame(200, 90, seed), points=[[(20, 30)], [(40, 10)]]))
    for seed in range(2):
        answers.append(session.segment(frame(seed=seed), points=POINTS))
    return answers


def test_the_driver_is_called_as_python_calls_it(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path
) -> None:
    """The same functions in the same order with the same sizes, grids and arguments."""
    theirs = Recorded(stand_in.driver)
    stand_in.driver = theirs
    with Gpu(library, bundle) as session:
        script(session)
    cleaned = stand_in.driver.driver
    stand_in.driver = cleaned
    with installed("tensorrt_rtx 1.7.1.116") as module, pytest.MonkeyPatch.context() as patch:
        own = module.world.driver
        own.gpu.code.update(kernels(bundle, own))
        ours = Recorded(own)
        patch.setitem(__import__("sys").modules, "cuda.bindings.driver", ours)
        with samedge.load(bundle, backend="triton", precision="fp16") as session:
            script(session)
        own.assert_clean()
    names = ("cuLaunchKernel", "cuGraphLaunch", "cuStreamSynchronize", "cuMemcpyHtoDAsync",
             "cuMemcpyDtoHAsync", "cuStreamBeginCapture", "cuStreamEndCapture",
             "cuGraphInstantiate", "cuGraphDestroy", "cuGraphExecDestroy", "cuCtxPushCurrent",
             "cuCtxPopCurrent")  # fmt: skip
    from_start = [[name for name, _ in one.calls if name in names] for one in (ours, theirs)]
    first = [calls.index("cuLaunchKernel") for calls in from_start]
    last = [len(calls) - calls[::-1].index("cuGraphLaunch") for calls in from_start]
    assert from_start[0][first[0] - 1 : last[0]] == from_start[1][first[1] - 1 : last[1]]
    for name in ("cuMemAlloc", "cuMemHostAlloc", "cuMemcpyHtoD", "cuMemFree", "cuMemFreeHost",
                 "cuModuleLoadData", "cuFuncSetAttribute", "cuStreamCreate"):  # fmt: skip
        assert sizes(ours, name) == sizes(theirs, name), name
    assert launched(own) == launched(cleaned)


def sizes(recorded: Recorded, name: str) -> Counter[Any]:
    """How often a function was called, with which sizes."""
    place = {"cuMemAlloc": 0, "cuMemHostAlloc": 0, "cuMemcpyHtoD": 2, "cuFuncSetAttribute": 2}
    at = place.get(name)
    return Counter(
        None if at is None else arguments[at] for n, arguments in recorded.calls if n == name
    )


def launched(driver: Driver) -> list[Any]:
    """What ran, with addresses by the order in which they first occurred."""
    seen: dict[int, int] = {}
    return [
        (
            launch.name, launch.grid, launch.threads, launch.shared,
            [
                ("address", seen.setdefault(value, len(seen))) if value >> 40 else value
                for value in launch.arguments
            ],
        )
        for launch in driver.gpu.launched
    ]  # fmt: skip


def test_frames_of_all_kinds(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path, reference: Any
) -> None:
    """Sizes, colours and numbers of objects, each twice (queued, then captured), in any order."""
    frames = [frame(60, 80), frame(200, 90), frame(64, 64, channels=3), frame(60, 80), frame()]
    with Gpu(library, bundle) as session:
        for number, pixels in enumerate(frames * 2):
            points = [[(20, 30)], [(40, 10)]] if number % 2 else [(10, 12), (20, 22)]
            got = session.segment(pixels, points=points)
            assert_same(got, reference.segment(pixels, points=points))
            ours = session.embedding()
            np.testing.assert_allclose(ours, reference.embedding().ravel(), atol=1e-4)


def test_a_frame_of_known_sizes_starts_two_graphs(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path
) -> None:
    with Gpu(library, bundle) as session:
        for seed in range(2):
            session.segment(frame(seed=seed), points=POINTS)
        for seed in range(3):
            stand_in.called.clear()
            session.segment(frame(seed=seed), points=POINTS)
            assert stand_in.called == FRAME


def test_a_crop_brings_matrices_of_its_own(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path, reference: Any
) -> None:
    """Of the same sizes, so that the same buffers take them: what is constant has a number."""
    crops = [None, (10, 5, 110, 85), (0, 0, 100, 80), None]
    with Gpu(library, bundle) as session:
        for crop in crops * 2:
            got = session.segment(frame(), points=POINTS, crop=crop)
            assert_same(got, reference.segment(frame(), points=POINTS, crop=crop))


def test_larger_frames_move_the_arena_of_both_graphs(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path, reference: Any
) -> None:
    with Gpu(library, bundle) as session:
        for side in (64, 64, 64, 400, 64, 64, 64, 400, 400):
            got = session.segment(frame(side, side), points=[(20, 30)])
            assert_same(got, reference.segment(frame(side, side), points=[(20, 30)]))
            last = stand_in.driver.gpu.launched[-4:]
            assert last[0].arguments[1] + 256 == last[2].arguments[1]  # one arena


def test_sessions_share_weights_and_code(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path
) -> None:
    with NativeModel(library, bundle.path, backend="triton", precision="fp16") as model:
        one, other = model.session(), model.session()
    # The model is closed; its sessions keep what they need.
    assert stand_in.driver.calls["cuModuleLoadData"] == 4
    assert_same(one.segment(frame(), points=POINTS), other.segment(frame(), points=POINTS))
    one.close()
    other.segment(frame(seed=1), points=POINTS)
    other.close()
    assert stand_in.driver.modules_left() == 0


def test_sessions_in_threads(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path, reference: Any
) -> None:
    """A session is made in one thread, used in a second and closed in a third."""
    wanted = reference.segment(frame(), points=POINTS)
    with NativeModel(library, bundle.path, backend="triton", precision="fp16") as model:
        sessions = [model.session() for _ in range(2)]
        answers: list[Any] = []

        def work(session: NativeSession) -> None:
            answers.extend(session.segment(frame(), points=POINTS) for _ in range(4))

        for target in (work, NativeSession.close):
            threads = [threading.Thread(target=target, args=(one,)) for one in sessions]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert len(answers) == 8
    for got in answers:
        assert_same(got, wanted)


def test_where_no_graph_can_be_captured_it_goes_on_without(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path, reference: Any
) -> None:
    stand_in.driver.fail_capture = True
    with Gpu(library, bundle) as session:
        for _ in range(3):
            got = session.segment(frame(), points=POINTS)
            assert_same(got, reference.segment(frame(), points=POINTS))
    assert "cuGraphLaunch" not in stand_in.driver.calls


def test_the_first_program_that_takes_the_sizes(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, reference: Any
) -> None:
    def changed(plan: EnginePlan) -> EnginePlan:
        target = plan.targets[86]
        encoder, decoder = target.programs
        small = replace(
            encoder, limits={**encoder.limits, "height": 64, "width": 64}, arena=64 * 64 * 3 + 1024
        )
        return replace(plan, targets={86: replace(target, programs=(small, encoder, decoder))})

    keep(bundle, bundle.path / "engines", change=changed)
    with Gpu(library, bundle) as session:
        for side in (64, 65, 60):
            got = session.segment(frame(side, side), points=POINTS)
            assert_same(got, reference.segment(frame(side, side), points=POINTS))


@pytest.mark.parametrize(
    ("graph", "at", "change"),
    [
        ("encoder", 0, {"grid": (1, 1, 1)}),
        ("encoder", 1, {"arguments": 1}),
        ("decoder", 1, {"arguments": 1}),
        ("decoder", 0, {"arguments": 4}),
    ],
)
def test_a_changed_plan_is_found_out(
    library: Library, stand_in_path: Path, driver: Driver, bundle: Bundle, reference: Any,
    graph: str, at: int, change: dict[str, Any],
) -> None:  # fmt: skip
    """The control: another grid, one weight for the other, one size for another."""

    def changed(plan: EnginePlan) -> EnginePlan:
        steps = next(p for p in plan.targets[86].programs if p.graph == graph).steps
        what = dict(change)
        if "arguments" in what:
            index, before = what["arguments"], steps[at].arguments
            other = (
                Argument("size", 3)
                if before[index].kind == "size"
                else Argument("weight", 256 - int(str(before[index].value)))
            )
            what["arguments"] = (*before[:index], other, *before[index + 1 :])
        return changed_step(plan, graph, at, **what)

    keep(bundle, bundle.path / "engines", change=changed)
    expected = reference.segment(frame(), points=POINTS)
    with (
        pytest.raises((AssertionError, DeviceError, ValueError)),
        cuda(stand_in_path, driver),
        Gpu(library, bundle) as session,
    ):
        assert_same(session.segment(frame(), points=POINTS), expected)


def test_the_programs_own_context_stays_current(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path
) -> None:
    """Whatever fails or not: what a call needs is current during the call, and only then."""
    stack = stand_in.driver.stack
    stack.append(Handle(99))
    with Gpu(library, bundle) as session:
        for seed in range(3):
            session.segment(frame(seed=seed), points=POINTS)
        session.embedding()
        stand_in.fails["cuGraphLaunch"] = CUresult.CUDA_ERROR_ILLEGAL_ADDRESS
        with pytest.raises(DeviceError):
            session.segment(frame(), points=POINTS)
        assert stack == [99]
    stand_in.fails["cuModuleGetFunction"] = CUresult.CUDA_ERROR_NOT_FOUND
    with pytest.raises(DeviceError):
        Gpu(library, bundle)
    assert stack.pop() == 99
    assert not stack
    assert stand_in.contexts == {7}


# Frames on the GPU


def on_gpu(session: NativeSession, address: int, height: int, width: int, stride: int = 0) -> Any:
    """An answer for a grey frame at an address."""
    given = s.Frame(
        format=s.FORMATS["grey8"], width=width, height=height, pixels=address, stride=stride,
        memory=s.CUDA,
    )  # fmt: skip
    asked = PromptArrays(points=POINTS)
    room = ResultArrays(session.model.info, asked, height, width)
    library = session.library
    pointers = (ctypes.byref(x) for x in (given, asked.struct, room.struct))
    library.check(library.samedge_segment(session.handle, *pointers))
    return room.result(session)


@pytest.mark.parametrize("gap", [0, 13])
def test_frames_on_the_gpu(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path, reference: Any, gap: int
) -> None:
    """With gaps between rows, at any address; the default stream is waited for."""
    driver = stand_in.driver
    with Gpu(library, bundle) as session:
        for seed in range(4):
            pixels = np.full((90, 120 + gap), 7, np.uint8)
            pixels[:, :120] = frame(seed=seed)
            address = driver.put(np.concatenate([np.zeros(5, np.uint8), pixels.ravel()]))
            stand_in.called.clear()
            got = on_gpu(session, address + 5, 90, 120, 120 + gap if gap else 0)
            assert_same(got, reference.segment(frame(seed=seed), points=POINTS))
            assert "cuEventRecord" in stand_in.called
            del driver.blocks[address]
        assert stand_in.called.count("cuGraphLaunch") == 2
        assert "cuMemAlloc" not in stand_in.called


def test_frames_that_are_not_where_they_are_said_to_be(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path
) -> None:
    with Gpu(library, bundle) as session:
        with pytest.raises(FrameError, match="not in a GPU's memory"):
            on_gpu(session, frame().ctypes.data, 90, 120)
        with pytest.raises(SessionError, match="no frame"):
            session.predict(points=POINTS)


# What is refused


def test_no_engine(library: Library, stand_in: CudaStandIn, bundle: Bundle) -> None:
    said = refused(library, bundle)
    for words in ("no engine", "sm_86", "--target triton --sm 86 --precision fp16"):
        assert words in said


def test_an_engine_for_another_gpu(library: Library, stand_in: CudaStandIn, bundle: Bundle) -> None:
    keep(bundle, bundle.path / "engines", (87, 120))
    said = refused(library, bundle)
    assert "it is for sm_87, sm_120, and wanted is sm_86" in said
    assert "--sm 86" in said


def test_a_record_that_says_another_gpu_than_its_engine(
    library: Library, stand_in: CudaStandIn, bundle: Bundle
) -> None:
    folder = bundle.path / "engines"
    folder.mkdir()
    write_engine(folder / "x", *small_plan(bundle.manifest, (87,)))
    EngineStore((folder,)).save(key_for(bundle, "fp16", (86,)), MappedFile(folder / "x").view())
    said = refused(library, bundle)
    assert "is for sm_87, and this GPU (Stand-in GPU) has sm_86" in said


def test_an_engine_of_another_bundle(
    library: Library, stand_in: CudaStandIn, bundle: Bundle
) -> None:
    def changed(plan: EnginePlan) -> EnginePlan:
        return replace(plan, bundle="other.samedge", files=dict.fromkeys(plan.files, "1" * 64))

    keep(bundle, bundle.path / "engines", change=changed)
    said = refused(library, bundle)
    assert "built from another bundle (other.samedge)" in said
    assert "1111111111111111" in said


def test_an_engine_with_other_ports(
    library: Library, stand_in: CudaStandIn, bundle: Bundle
) -> None:
    def changed(plan: EnginePlan) -> EnginePlan:
        target = plan.targets[86]
        encoder, decoder = target.programs
        output = replace(encoder.outputs[0], dtype="float16")
        programs = (replace(encoder, outputs=(output,)), decoder)
        return replace(plan, targets={86: replace(target, programs=programs)})

    keep(bundle, bundle.path / "engines", change=changed)
    assert "other outputs of the encoder than the bundle" in refused(library, bundle)


@pytest.mark.parametrize("change", ["byte", "truncated"])
def test_a_changed_engine(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path, change: str
) -> None:
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(data if change == "byte" else data[:5000])
    said = refused(library, bundle)
    assert "SHA-256 is not the one in its record" in said
    assert "samedge build" in said


def test_engines_that_nobody_trusts(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path
) -> None:
    record = record_path(engine)
    before = record.read_bytes()
    record.write_bytes(before + b"\n")
    assert "was not built by this user" in refused(library, bundle)
    record.write_bytes(before)
    engine.chmod(0o666)
    assert "writable by other users" in refused(library, bundle)
    engine.chmod(0o600)
    engine.parent.chmod(0o777)
    assert "writable by other users" in refused(library, bundle)
    engine.parent.chmod(0o700)
    moved = engine.rename(engine.with_name("elsewhere"))
    engine.symlink_to(moved)
    assert "is a link" in refused(library, bundle)
    moved.replace(engine)
    with Gpu(library, bundle):
        pass


def test_a_folder_that_was_named_alone_is_looked_at(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path, tmp_path: Path
) -> None:
    keep(bundle, tmp_path / "named", (87,))
    said = refused(library, bundle, engines=tmp_path / "named")
    assert "it is for sm_87, and wanted is sm_86" in said
    with Gpu(library, bundle, engines=f"{engine.parent}//"):
        pass


def test_a_changed_bundle(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path
) -> None:
    path = bundle.path / "encoder.fp32.onnx"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert "encoder.fp32.onnx" in refused(library, bundle, BundleError)


@pytest.mark.parametrize(
    "result", [CUresult.CUDA_ERROR_NO_BINARY_FOR_GPU, CUresult.CUDA_ERROR_INVALID_IMAGE]
)
def test_a_driver_that_is_too_old_for_the_code(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path, result: CUresult
) -> None:
    stand_in.driver.gpu.refuses, stand_in.driver.version = result, 12020
    said = refused(library, bundle)
    for words in ("is for CUDA 12.2", "sm_86", result.name, "update the driver"):
        assert words in said


def test_no_gpu(library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path) -> None:
    stand_in.driver.devices = 0
    assert "finds no GPU" in refused(library, bundle)
    stand_in.driver.devices = 1
    said = refused(library, bundle, device=3)
    assert "no GPU number 3 here; choose one from 0 to 0" in said
    stand_in.driver.init_result = CUresult.CUDA_ERROR_NO_DEVICE
    assert "finds no GPU" in refused(library, bundle)


def test_a_gpu_that_is_too_old(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path
) -> None:
    stand_in.driver.capability = (7, 5)
    assert "sm_75, and engines of samedge's own are for sm_80 and newer" in refused(library, bundle)


def test_less_shared_memory_than_the_engine_needs(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path
) -> None:
    stand_in.driver.shared = SHARED - 1
    assert f"needs {SHARED} bytes of shared memory" in refused(library, bundle)


def test_more_than_the_engine_takes(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path
) -> None:
    points = [[(10 + i, 20)] for i in range(17)]
    with Gpu(library, bundle) as session:
        with pytest.raises(NotSupportedError, match=r"17 objects; this engine takes 1 to 16"):
            session.segment(frame(), points=points)
        with pytest.raises(NotSupportedError, match=r"600 width; this engine .* --max-side"):
            session.segment(frame(20, 600), points=[(3, 3)])


def test_a_launch_beyond_the_arena_is_not_started(
    library: Library, stand_in: CudaStandIn, bundle: Bundle
) -> None:
    def changed(plan: EnginePlan) -> EnginePlan:
        first = plan.targets[86].programs[0].steps[0]
        far = (first.arguments[0], Argument("arena", 4096), *first.arguments[2:])
        return changed_step(plan, "encoder", 0, arguments=far)

    keep(bundle, bundle.path / "engines", change=changed)
    with (
        Gpu(library, bundle) as session,
        pytest.raises(DeviceError, match=r"beyond its arena of 256 bytes"),
    ):
        session.segment(frame(16, 16), points=[(3, 3)])
    assert stand_in.driver.gpu.launched == []


# Failures of the device


def test_out_of_memory(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path, reference: Any
) -> None:
    """Wherever it happens, it is said, nothing leaks, and with more memory it goes on."""
    driver, points = stand_in.driver, [(20, 30)]
    driver.memory = 100
    assert "the GPU is out of memory: the weights of" in refused(library, bundle, DeviceError)
    driver.memory = 1 << 32
    with Gpu(library, bundle) as session:
        before = driver.used()
        failures = 0
        for limit in range(before, before + 200_000, 4000):
            driver.memory = limit
            with suppress(DeviceError):
                session.segment(frame(64, 64), points=points)
                break
            assert b"the GPU is out of memory" in library.samedge_last_error()
            failures += 1
            with pytest.raises(SessionError):
                session.contours(0)
        assert 3 < failures < 50
        got = session.segment(frame(64, 64), points=points)
        assert_same(got, reference.segment(frame(64, 64), points=points))


@pytest.mark.parametrize(
    "function",
    ["cuLaunchKernel", "cuGraphLaunch", "cuStreamSynchronize", "cuMemcpyHtoD", "cuMemHostAlloc",
     "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuCtxPushCurrent"],
)  # fmt: skip
def test_no_mask_from_a_call_that_failed(
    library: Library,
    stand_in: CudaStandIn,
    bundle: Bundle,
    engine: Path,
    reference: Any,
    function: str,
) -> None:
    with Gpu(library, bundle) as session:
        for seed in range(2 if function in ("cuGraphLaunch", "cuStreamSynchronize") else 0):
            session.segment(frame(seed=seed), points=POINTS)
        stand_in.fails[function] = CUresult.CUDA_ERROR_ILLEGAL_ADDRESS
        given, asked = frame_struct(pixels := frame(seed=5)), PromptArrays(points=POINTS)
        room = ResultArrays(session.model.info, asked, *pixels.shape)
        untouched = room.masks.copy()
        pointers = [ctypes.byref(x) for x in (given, asked.struct, room.struct)]
        with pytest.raises(DeviceError, match="ILLEGAL_ADDRESS; start this program again"):
            library.check(library.samedge_segment(session.handle, *pointers))
        assert np.array_equal(room.masks, untouched)
        del stand_in.fails[function]
        with pytest.raises(SessionError):
            session.contours(0)
        if function != "cuMemcpyDtoHAsync":  # which is the decoder's: the frame is there
            with pytest.raises(SessionError, match="no frame"):
                session.predict(points=POINTS)
        if function == "cuStreamSynchronize":  # what is queued was not waited for: it is now
            stand_in.driver.cuCtxPushCurrent(7)
            for stream in list(stand_in.driver.streams)[2:]:
                stand_in.driver.cuStreamSynchronize(stream)
            stand_in.driver.cuCtxPopCurrent()
        got = session.segment(frame(seed=1), points=POINTS)
        assert_same(got, reference.segment(frame(seed=1), points=POINTS))


@pytest.mark.parametrize(
    "function",
    ["cuDevicePrimaryCtxRetain", "cuModuleGetFunction", "cuFuncSetAttribute", "cuMemcpyHtoD",
     "cuStreamCreate", "cuModuleLoadData", "cuDeviceGetAttribute", "cuMemAlloc"],
)  # fmt: skip
def test_what_fails_while_loading_leaves_nothing(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path, function: str
) -> None:
    stand_in.fails[function] = CUresult.CUDA_ERROR_INVALID_CONTEXT
    with pytest.raises((DeviceError, NotSupportedError), match="CUDA_ERROR_INVALID_CONTEXT"):
        Gpu(library, bundle)
    del stand_in.fails[function]
    stand_in.driver.assert_clean()


# The choice


def test_auto_takes_an_engine_that_was_verified(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, engine: Path
) -> None:
    with NativeModel(library, bundle.path, threads=1) as model:
        assert model.info.backend == s.BACKENDS["openvino"]
        assert b"no engine of this bundle for this GPU" in model.info.why
    add_parity(engine, [{"backend": "triton", "precision": "fp16", "passed": True}])
    with NativeModel(library, bundle.path, threads=1) as model:
        assert model.info.backend == s.BACKENDS["triton"]
        assert model.info.precision == s.PRECISIONS["fp16"]


def test_of_named_engines_the_fastest_that_was_verified_is_taken(
    library: Library, stand_in: CudaStandIn, bundle: Bundle, tmp_path: Path
) -> None:
    folder = tmp_path / "named"
    keep(bundle, folder, precision="fp32")
    fast = keep(bundle, folder)
    with NativeModel(library, bundle.path, engines=folder) as model:
        assert model.info.backend == s.BACKENDS["triton"]
        assert model.info.precision == s.PRECISIONS["fp32"]
    add_parity(fast, [{"backend": "triton", "precision": "fp16", "passed": True}])
    with NativeModel(library, bundle.path, engines=folder) as model:
        assert model.info.precision == s.PRECISIONS["fp16"]
