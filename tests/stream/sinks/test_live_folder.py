"""Recordings of live streams without loss."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import OutputError, SourceError
from samedge.sources.frame import Frame, Origin, Region
from samedge.sources.replay import ReplaySource
from samedge.stream.live.item import LiveObject, Status
from samedge.stream.live.states import Alarm, Kind, State
from samedge.stream.sinks import live_folder
from samedge.stream.sinks.live_folder import FolderSink
from tests.stream.sinks.live_items import START_S, STEP_S, about, disc, found, item, picture


def record(folder: Path, items: Any, error: BaseException | None = None) -> list[dict[str, Any]]:
    sink = FolderSink(folder)
    sink.open(about())
    for one in items:
        sink.write(one)
    sink.close(error)
    return lines(folder)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "stream.jsonl").read_text().splitlines()]


def read(folder: Path, file: str, shape: list[int]) -> np.ndarray:
    """Pixels as the recording means them."""
    pixels = cv2.imread(str(folder / file), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    if pixels.ndim == 3:
        return pixels[..., ::-1]
    return np.broadcast_to(pixels[..., None], shape) if len(shape) == 3 else pixels


def sha(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


@given(
    st.integers(16, 70),
    st.integers(16, 70),
    st.sampled_from(["grey", "grey as RGB", "RGB", "deep", "dark"]),
    st.integers(0, 2**32 - 1),
)
def test_pixels_and_masks_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, kind: str, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("out") / "run"
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 256, (height, width)).astype(np.uint8)
    pixels = {
        "grey": grey,
        "grey as RGB": np.repeat(grey[..., None], 3, axis=2),
        "RGB": rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
        "deep": rng.integers(0, 65536, (height, width)).astype(np.uint16),
        "dark": rng.integers(0, 4096, (height, width)).astype(np.uint16),
    }[kind]
    first = item(7, pixels=pixels)
    masks = [disc((height, width), *rng.integers(0, 40, 2), rng.integers(0, 20)) for _ in range(3)]
    objects = tuple(found(first.frame, n, mask) for n, mask in enumerate(masks, 1))
    rows = record(folder, [item(7, frame=first.frame, objects=objects)])
    row = rows[1]
    assert (row["shape"], row["bits"]) == (list(pixels.shape), pixels.dtype.itemsize * 8)
    again = read(folder, row["frame"], row["shape"])
    assert again.dtype == pixels.dtype
    assert (again == pixels).all()
    assert row["frame_sha256"] == sha(pixels)
    labels = read(folder, row["labels"], [height, width])
    assert row["labels_sha256"] == sha(labels)
    for one, mask in zip(row["objects"], masks, strict=True):
        own = one.get("mask")
        stored = read(folder, own, [height, width]) if own else labels == one["number"]
        assert (stored == mask).all()
        assert one["mask_sha256"] == sha(mask)
        assert one["area_px"] == mask.sum()
    with ReplaySource(folder, fast=True) as source:
        (played,) = source
    assert played.pixels.dtype == pixels.dtype
    assert (played.pixels == pixels).all()


def test_a_line_holds_everything(tmp_path: Path) -> None:
    matrix = np.arange(16, dtype=np.float32).reshape(4, 4) / 3
    matrix[0, 0] = np.nan
    frame = Frame(
        picture(3),
        3,
        0.1,
        "test",
        "test_00003",
        spacing_mm=(0.2, 0.1),
        region=(1, 2, 30, 40),
        captured_s=START_S,
        stamp_s=1e9,
        regions=(Region((1, 2, 30, 40), (0.2, 0.1)),),
        origin=Origin(2**63 + 1, matrix, matrix, 2**63, False, "Image_Image"),
    )
    doubtful = found(frame, 2, status=Status.DOUBTFUL, reason="score 0.2", score=float("nan"))
    lost = LiveObject(3, "vein", (1, 2, 3), Status.LOST, prompt={"points": [[1, 2]]})
    alarm = Alarm(Kind.LATE, "a mask is late", START_S + 1)
    row = record(
        tmp_path,
        [
            item(
                0,
                frame=frame,
                objects=(found(frame), doubtful, lost),
                alarms=(alarm,),
                states=frozenset({State.LATE, State.DOUBTFUL}),
                expires_s=float("inf"),
                crop=(0, 0, 32, 32),
                drops=4,
            )
        ],
    )[1]
    assert (row["number"], row["index"], row["name"], row["is_new"]) == (0, 3, "test_00003", True)
    assert (row["time_s"], row["captured_s"], row["stamp_s"]) == (0.1, 0, 1e9)
    assert (row["expires_s"], row["published_s"]) == (None, pytest.approx(0.02))
    assert (row["spacing_mm"], row["region"], row["crop"]) == (
        [0.2, 0.1],
        [1, 2, 30, 40],
        [0, 0, 32, 32],
    )
    assert row["regions"] == [{"box": [1, 2, 30, 40], "spacing_mm": [0.2, 0.1]}]
    assert row["states"] == ["doubtful", "late"]
    assert row["alarms"] == [{"kind": "late mask", "message": "a mask is late", "at_s": 1}]
    assert row["drops"] == 4
    assert (row["origin"]["ticks"], row["origin"]["transform_ticks"]) == (2**63 + 1, 2**63)
    again = np.array(row["origin"]["matrix"], float)
    assert (again.astype(np.float32) == matrix)[1:].all()
    assert row["origin"]["matrix"][0][0] is None
    assert row["origin"]["transform_valid"] is False
    one, two, three = row["objects"]
    assert (one["status"], one["score"], one["area_mm2"]) == (
        "found",
        0.9,
        pytest.approx(one["area_px"] * 0.02),
    )
    assert (two["status"], two["score"], two["reason"]) == ("doubtful", None, "score 0.2")
    assert three == {
        "number": 3,
        "name": "vein",
        "colour": [1, 2, 3],
        "status": "lost",
        "score": None,
        "area_px": 0,
        "area_mm2": None,
        "reason": "",
        "prompt": {"points": [[1, 2]]},
        "mask_sha256": None,
    }


def test_a_frame_knows_its_place_when_it_is_played_again(tmp_path: Path) -> None:
    """Areas, the crop and what goes back to the sender depend on it."""
    matrix = np.random.default_rng(0).normal(0, 1, (4, 4)).astype(np.float32)
    matrix[1, 1] = np.nan
    frame = Frame(
        picture(0),
        0,
        0.0,
        "t",
        "t",
        (0.2, 0.1),
        (1, 2, 30, 40),
        regions=(Region((1, 2, 30, 40), (0.2, 0.1)), Region((50, 2, 96, 64), (0.3, 0.3))),
        origin=Origin(2**64 - 1, matrix, -matrix, None, False, "Image_Image"),
    )
    plain = Frame(picture(1), 1, 0.1, "t", "t1", spacing_mm=(float("nan"), 1.0))
    record(tmp_path, [item(0, frame=frame), item(1, frame=plain)])
    with ReplaySource(tmp_path, fast=True) as source:
        again, other = source
    assert (again.spacing_mm, again.region, again.regions) == (
        (0.2, 0.1),
        (1, 2, 30, 40),
        frame.regions,
    )
    assert again.origin is not None
    assert np.array_equal(again.origin.matrix, matrix, equal_nan=True)
    assert again.origin.matrix.dtype == np.float32
    assert np.array_equal(again.origin.transform, -matrix, equal_nan=True)  # type: ignore[arg-type]
    rest = again.origin.ticks, again.origin.transform_ticks, again.origin.transform_valid
    assert (*rest, again.origin.device) == (2**64 - 1, None, False, "Image_Image")
    assert (other.spacing_mm, other.region, other.regions, other.origin) == (None, None, (), None)


@pytest.mark.parametrize(
    "change",
    [
        {"region": [1, 2, 3]},
        {"region": [0, 0, 97, 64]},
        {"region": [5, 5, 5, 9]},
        {"region": [0.5, 0, 9, 9]},
        {"region": 7},
        {"regions": [{"box": [0, 0, 9, 9]}]},
        {"regions": [{"box": [0, 0, 9, 9], "spacing_mm": [1, 1]}] * 101},
        {"regions": 5},
        {"regions": [3]},
        {"spacing_mm": [1]},
        {"spacing_mm": "ab"},
        {"spacing_mm": [10**400, 1]},
        {"origin": {}},
        {"origin": []},
        {"origin": {"ticks": -1}},
    ],
)
def test_places_that_cannot_be(tmp_path: Path, change: dict[str, Any]) -> None:
    head, row, end = record(tmp_path, [item(0)])
    text = "\n".join(json.dumps(one) for one in (head, row | change, end))
    (tmp_path / "stream.jsonl").write_text(text + "\n")
    with pytest.raises(SourceError, match="is no delivery of a stream"):
        ReplaySource(tmp_path)


def test_the_first_and_the_last_line(tmp_path: Path) -> None:
    head, *_, end = record(tmp_path / "a", map(item, range(3)))
    assert (head["schema"], head["source"], head["rate_fps"]) == (1, "test", 30)
    assert "Not a medical device" in head["notice"]
    assert end == {"end": {"deliveries": 3, "error": None}}
    assert record(tmp_path / "b", [], SourceError("gone"))[-1]["end"]["error"] == "gone"
    # What others say may hold anything.
    assert record(tmp_path / "c", [], KeyError("Doe^Jane"))[-1]["end"]["error"] == "KeyError"


def test_what_repeats_is_written_once(tmp_path: Path) -> None:
    first = item(0)
    same = item(1, pixels=first.frame.pixels.copy())
    again = item(2, frame=first.frame, is_new=False, objects=())
    rows = record(tmp_path, [first, same, again, item(3)])[1:-1]
    assert [row["frame"] for row in rows] == [f"frames/00000{i}.png" for i in (0, 0, 0, 3)]
    assert [row["labels"] for row in rows] == ["labels/000000.png"] * 2 + [
        None,
        "labels/000000.png",
    ]
    assert sorted(os.listdir(tmp_path / "frames")) == ["000000.png", "000003.png"]
    assert [row["captured_s"] for row in rows] == pytest.approx([0, STEP_S, 2 * STEP_S, 3 * STEP_S])


def test_recording_by_request(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path, by_request=True)
    sink.open(about())
    for index in range(12):
        if index % 3 == 0:
            sink.record(index % 2 == 1)
        sink.write(item(index))
    sink.close(None)
    assert [row["index"] for row in lines(tmp_path)[1:-1]] == [3, 4, 5, 9, 10, 11]
    assert sink.describe()["frames"] == 6


@pytest.mark.parametrize("name", ["stream.jsonl", "frames", "labels"])
def test_a_used_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").touch()  # is in nobody's way
    record(tmp_path / "fresh", [])
    if name == "stream.jsonl":
        (tmp_path / name).touch()
    else:
        (tmp_path / name).mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=f"holds a recording already .*{name}"):
        FolderSink(tmp_path).open(about())
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("left", [0, 100, 2000, 9000])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    """Every line that is there is whole, and so is every picture that it names."""
    real, room = os.write, [left]

    def write(handle: int, data: memoryview) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = real(handle, data[: room[0]])
        room[0] -= count
        return count

    sink = FolderSink(tmp_path)
    sink.open(about())
    monkeypatch.setattr(live_folder.os, "write", write)
    with pytest.raises(OutputError, match=r"no space left .*until then is whole"):
        any(sink.write(item(index)) for index in range(100))
    monkeypatch.undo()
    sink.close(None)
    rows = lines(tmp_path)
    named = {row[key] for row in rows[1:-1] for key in ("frame", "labels")}
    for row in rows[1:-1]:
        assert sha(read(tmp_path, row["frame"], row["shape"])) == row["frame_sha256"]
        assert sha(read(tmp_path, row["labels"], row["shape"][:2])) == row["labels_sha256"]
    assert bool(named) == (left >= 2000)
    for path in (tmp_path / "frames").iterdir():
        assert cv2.imread(str(path)) is not None  # no half of a picture
