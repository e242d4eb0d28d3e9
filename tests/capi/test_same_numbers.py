"""libsamedge answers what Python's session answers: all families, hundreds of frames and prompts.

An engine of `samedge build --target openvino` in the one, the graphs themselves, rewritten as they
are compiled, in the other: masks are equal bit by bit, logits to the last digits.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.capi.library import Library
from samedge.capi.session import NativeModel, NativeSession
from samedge.errors import NotSupportedError
from samedge.runtime.engines.store import ENV, EngineStore
from samedge.runtime.openvino import building
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.openvino.building import build_engines
from samedge.runtime.openvino.prepared import key_for
from tests.runtime.cases import CONFIGS, IMAGES, STACKS, Case
from tests.runtime.quantised import with_int8
from tests.runtime.test_int8 import first_inputs

FRAMES = 48  # of each family
LOGITS = 1e-5
PLAIN_LOGITS = 1e-4  # other operations, the same sums


class Pair:
    """A bundle in Python and in C, and the folder with its engine."""

    def __init__(self, library: Library, bundle: Bundle, engines: Path, precision: str) -> None:
        built = build_engines(bundle, (precision,), engines)
        assert built.unchecked is None
        self.bundle, self.engines, self.precision = bundle, engines, precision
        self.python = samedge.load(bundle, "openvino", precision, threads=1, cache=False)
        self.model = NativeModel(
            library, bundle.path, "openvino", precision, threads=1, engines=engines
        )
        self.native = self.model.session()

    def close(self) -> None:
        self.python.close()
        self.native.close()
        self.model.close()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv(ENV, str(folder))
        yield folder


# The six families and a volume; the others differ from these in numbers alone.
SLOW = ("structures", "whole")
NAMES = [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in CONFIGS]


@pytest.fixture(scope="module", params=NAMES)
def pair(
    request: pytest.FixtureRequest,
    library: Library,
    cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp(request.param)
    case = Case.of(request.param, folder)
    case.session.close()
    made = Pair(library, case.bundle, folder / "engines", "fp32")
    yield made
    made.close()


@pytest.fixture(scope="module")
def tiny(
    library: Library, cache: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    made = Pair(library, Bundle.open(tiny_bundle), tmp_path_factory.mktemp("e") / "e", "fp32")
    yield made
    made.close()


def frames(family: Any, count: int, seed: int = 0) -> Iterator[tuple[Any, str | None, Any, Any]]:
    """(as C gets it, its format, as Python gets it, crop); every size comes twice."""
    random = np.random.default_rng(seed)
    slices = () if family.slices == 1 else (family.slices,)
    for index in range(count):
        if index % 2 == 0:
            height, width = random.integers(16, 300, 2)
            if index % 8 == 0:
                height, width = random.integers(16, 90), random.integers(200, 640)
            crop = None
            if index % 3 == 0 and min(height, width) > 40:
                x, y = random.integers(0, 20, 2).tolist()
                crop = (x, y, int(width) - 3, int(height) - 1)
        kind = random.choice(["grey8", "rgb8", "bgr8", "rgba8", "grey16"])
        if (kind == "grey16" and family.rounded) or (slices and kind not in ("grey8", "rgb8")):
            kind = "grey8"
        levels, dtype = (65536, np.uint16) if kind == "grey16" else (256, np.uint8)
        shape = (*slices, height, width + random.integers(0, 9))  # rows may be longer than a frame
        if kind.startswith("grey"):
            given = random.integers(0, levels, shape, dtype=dtype)[..., :width]
            yield given, kind, given, crop
            continue
        channels = len(kind) - 1
        axis = len(slices) + 1
        given = random.integers(0, 256, (*shape, channels), dtype=np.uint8)
        given = given.take(range(width), axis) if slices else given[:, :width]
        yield given, kind, given[..., :3] if kind[0] == "r" else given[..., ::-1], crop


def prompts(
    family: Any, area: tuple[int, int, int, int], low_res: int, seed: int
) -> dict[str, Any]:
    """Random prompts of one to three objects in `area`, of everything that a family takes."""
    random = np.random.default_rng(seed)
    takes, objects = family.prompts, int(random.integers(1, 4))

    def inside(count: int) -> Any:
        x0, y0, x1, y1 = area
        return random.uniform((x0, y0), (x1 - 1, y1 - 1), (count, 2)).round(2)

    given: dict[str, Any] = {}
    points = "point" in takes and (random.random() < 0.7 or "box" not in takes)
    if points:
        counts = random.integers(1, 5, objects).tolist()
        given["points"] = [inside(count).tolist() for count in counts]
        given["labels"] = [[1, *random.integers(0, 2, n - 1).tolist()] for n in counts]
    if "box" in takes and (not points or random.random() < 0.3):
        corners = np.sort([inside(2) for _ in range(objects)], axis=1)
        corners[:, 1] += 1  # x1 and y1 are the crop's at the most
        given["box"] = corners.reshape(objects, 4)
    if "mask" in takes and random.random() < 0.3:
        count = int(random.choice([1, objects]))
        given["mask"] = random.normal(0, 4, (count, low_res, low_res)).astype(np.float32)
    if family.multi_masks and random.random() < 0.4:
        given["multimask"] = True
    return given


def same(found: Any, expected: Any, atol: float = LOGITS) -> None:
    """One answer as the other; masks bit by bit."""
    np.testing.assert_allclose(found.low_res_logits, expected.low_res_logits, rtol=0, atol=atol)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=atol)
    np.testing.assert_array_equal(found.object_index, expected.object_index)
    np.testing.assert_array_equal(found.class_index, expected.class_index)
    assert found.class_names == expected.class_names
    if atol == LOGITS:
        np.testing.assert_array_equal(found.masks, expected.masks)
        assert (found.class_map is None) == (expected.class_map is None)
        if found.class_map is not None:
            np.testing.assert_array_equal(found.class_map, expected.class_map)


def compare(pair: Pair, count: int, native: NativeSession | None = None, seed: int = 0,
            atol: float = LOGITS) -> None:  # fmt: skip
    """Random frames through both sessions."""
    native, family = native or pair.native, pair.bundle.family
    low_res = pair.bundle.manifest.variant.low_res
    for index, (given, kind, pixels, crop) in enumerate(frames(family, count, seed)):
        height, width = pixels.shape[1:3] if family.slices > 1 else pixels.shape[:2]
        area = crop or (0, 0, width, height)
        if family.slices > 1:
            asked = [
                prompts(family, area, low_res, 1000 * seed + index + slice_)
                for slice_ in range(family.slices)
            ]
            found = native.segment_slices(given, asked, crop)
            for one, other in zip(found, pair.python.segment_slices(pixels, asked, crop),
                                  strict=True):  # fmt: skip
                same(one, other, atol)
            continue
        asked_one = prompts(family, area, low_res, 1000 * seed + index)
        answer = pair.python.segment(np.ascontiguousarray(pixels), crop=crop, **asked_one)
        same(native.segment(given, crop=crop, pixel_format=kind, **asked_one), answer, atol)


def test_all_families(pair: Pair) -> None:
    compare(pair, FRAMES)


def test_all_families_without_an_engine(pair: Pair, library: Library) -> None:
    """The bundle's plain graphs: correct, and it says that an engine would be faster."""
    with NativeModel(library, pair.bundle.path, "openvino", "fp32", threads=1) as model:
        assert b"samedge build BUNDLE --target openvino --precision fp32" in model.info.notes
        session = model.session()
        compare(pair, 6, session, seed=1, atol=PLAIN_LOGITS)
        session.close()


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_other_precisions(
    precision: str,
    library: Library,
    cache: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if precision not in OPENVINO.precisions():
        pytest.skip(f"this CPU has no native {precision}")
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "tiny.samedge"))
    if precision == "int8":
        with_int8(folder, first_inputs(Bundle.open(folder)))
        monkeypatch.setattr(building, "gate", lambda *_: ())  # its ranges are of the simplest kind
    bundle = Bundle.open(folder)
    found = Pair(library, bundle, tmp_path / "e", precision)
    try:
        compare(found, FRAMES)
    finally:
        found.close()


def test_sessions_side_by_side(tiny: Pair, library: Library) -> None:
    """Two threads with a session each share a model; both answer as one alone."""
    with NativeModel(
        library, tiny.bundle.path, "openvino", "fp32", threads=2, hint="throughput",
        engines=tiny.engines,
    ) as model:  # fmt: skip
        frames_ = [f[0] for f in frames(tiny.bundle.family, 16) if f[0].ndim == 2]
        expected = [tiny.python.segment(f, points=[(9, 8)]) for f in frames_]

        def all_of_them(session: NativeSession) -> list[Any]:
            return [session.segment(frame, points=[(9, 8)]) for frame in frames_ * 3]

        sessions = [model.session() for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(all_of_them, sessions))
        for found in answers:
            for one, other in zip(found, expected * 3, strict=True):
                same(one, other)
        for session in sessions:
            session.close()


def test_sizes_and_prompts_that_take_turns(tiny: Pair) -> None:
    """More of both than a session keeps, and back to the first: nothing of another is left."""
    random = np.random.default_rng(3)
    sizes = [(40 + 7 * i, 300 - 11 * i) for i in range(20)]
    kept = {size: random.integers(0, 256, size, dtype=np.uint8) for size in sizes}
    for count in (1, 3, 2):
        for size in [*sizes, *sizes[:3]]:
            points = [[(5.0 + i, 6.0 * (i + 1))] for i in range(count)]
            found = tiny.native.segment(kept[size], points=points)
            same(found, tiny.python.segment(kept[size], points=points))


def test_one_frame_asked_again(tiny: Pair) -> None:
    frame = np.random.default_rng(4).integers(0, 256, (90, 120), dtype=np.uint8)
    tiny.native.set_frame(frame)
    tiny.python.set_frame(frame)
    for points in ([(10, 20)], [(80, 60), (11, 12)], [[(1, 2)], [(100, 80)]]):
        same(tiny.native.predict(points=points), tiny.python.predict(points=points))


def test_engines_elsewhere(
    library: Library, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the bundle's own folder, and in the user's cache for a zipped one."""
    monkeypatch.setenv(ENV, str(tmp_path / "cache"))
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "own.samedge"))
    build_engines(Bundle.open(bundle), ("fp32",))
    assert (bundle / "engines" / "openvino.fp32.engine").exists()
    zipped = shutil.make_archive(str(tmp_path / "zipped"), "zip", tiny_bundle)
    with NativeModel(library, zipped, "openvino", "fp32", threads=1) as model:
        assert b"no engine of this bundle" in model.info.notes
    build_engines(Bundle.open(Path(zipped)), ("fp32",))
    for path in (bundle, zipped):
        with NativeModel(library, path, "openvino", "fp32", threads=1) as model:
            assert model.info.notes in (b"", None)


def test_engines_that_do_not_fit(library: Library, tiny: Pair, tmp_path: Path) -> None:
    """Named ones alone are taken; others are passed over, and a note says why."""

    def opened(bundle: Path, engines: Path | None, precision: str = "fp32") -> bytes:
        with NativeModel(
            library, bundle, "openvino", precision, threads=1, engines=engines
        ) as model:
            return bytes(model.info.notes or b"")

    damaged = Path(shutil.copytree(tiny.engines, tmp_path / "damaged"))
    data = bytearray((damaged / "openvino.fp32.engine").read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / "openvino.fp32.engine").write_bytes(data)
    open_to_all = Path(shutil.copytree(tiny.engines, tmp_path / "open"))
    open_to_all.chmod(0o777)
    other = Path(shutil.copytree(tiny.engines, tmp_path / "other"))
    for path in sorted(other.iterdir()):
        path.rename(path.with_name(path.name.replace("fp32", "bf16")))
    foreign = Path(shutil.copytree(tiny.engines, tmp_path / "foreign"))
    record = foreign / "openvino.fp32.json"
    record.write_bytes(record.read_bytes() + b" ")
    for folder, words in (
        (damaged, "SHA-256"),
        (open_to_all, "writable by other users"),
        (other, r"openvino\.bf16\.engine"),  # what of it depends on what this CPU computes
        (foreign, "samedge cache trust"),
    ):
        with pytest.raises(NotSupportedError, match=words):
            opened(tiny.bundle.path, folder)
    bundle = Path(shutil.copytree(tiny.bundle.path, tmp_path / "own.samedge"))
    shutil.copytree(foreign, bundle / "engines")
    notes = opened(bundle, None)
    assert b"samedge cache trust" in notes
    assert b"plain graph" in notes


def test_damaged_engines_of_the_right_hash(library: Library, tiny: Pair, tmp_path: Path) -> None:
    """A builder's fault, not a stranger's: a message, and no crash."""
    data = (tiny.engines / "openvino.fp32.engine").read_bytes()
    key = key_for(tiny.bundle, "fp32", OPENVINO.graphs)
    random = np.random.default_rng(0)
    for index in range(40):
        damaged = bytearray(data)
        if index % 4 == 0:
            damaged = damaged[: int(random.integers(0, len(data)))] or bytearray(1)
        elif index % 4 == 1:
            damaged += bytes(int(random.integers(1, 99)))
        else:
            at = 8 + 4 * int(random.integers(0, 2)) if index % 4 == 2 else 16 + 8 * (index % 6)
            damaged[at] ^= int(random.integers(1, 256))
            damaged[23 + 8 * (index % 6)] ^= int(random.integers(0, 256))
        folder = tmp_path / str(index)
        EngineStore((folder,)).save(key, memoryview(damaged))
        with pytest.raises(NotSupportedError, match="build it again with `samedge build`"):
            NativeModel(library, tiny.bundle.path, "openvino", "fp32", 1, engines=folder)


def test_versions_are_those_of_python() -> None:
    """What libsamedge expects of an engine stands in its source."""
    from samedge.runtime.engines.keys import OPENVINO_FORMAT
    from samedge.runtime.openvino.rewrites import REWRITES_VERSION

    folder = Path(samedge.__file__).parent / "capi" / "src" / "runtime" / "openvino"
    text = (folder / "engine_file.hpp").read_text()
    assert f"kOpenVinoFormat = {OPENVINO_FORMAT};" in text
    assert f"kRewrites = {REWRITES_VERSION};" in text


def test_every_kind_of_frame_was_there() -> None:
    """The loop above is worth what it draws."""
    from samedge.families import SAM, SAMUS

    for family in (SAM, SAMUS):
        drawn = list(frames(family, FRAMES))
        kinds = {kind for _, kind, _, _ in drawn}
        assert {"grey8", "rgb8", "bgr8", "rgba8"} <= kinds
        assert any(crop is not None for *_, crop in drawn)
        assert any(given.strides[0] != given.shape[1] * given.strides[1] for given, *_ in drawn)
    asked = [prompts(SAM, (0, 0, 120, 90), 16, seed) for seed in range(FRAMES)]
    assert {key for one in asked for key in one} == {
        "points", "labels", "box", "mask", "multimask",
    }  # fmt: skip
    assert len(IMAGES) + len(STACKS) == len(CONFIGS)
