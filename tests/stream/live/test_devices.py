"""From files and servers through a whole stream into recordings: each mask with its own frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import cv2
import highdicom
import numpy as np
import pydicom
import pytest

from samedge.drawing.counter_strip import draw_counter, read_counter, strip_height
from samedge.runtime.result import Result
from samedge.stream.live.settings import LiveSettings
from samedge.stream.live.stream import LiveStream
from tests.sources.devices.rtsp_server import RtspServer
from tests.sources.media import write_video
from tests.stream.live.parts import Collect, Model

SIZE = (120, 320)
COUNT = 24


class Disc(Model):
    """Does not take the strip for an object."""

    def predict(self, **prompts: Any) -> Result:
        answer = super().predict(**prompts)
        answer.masks[:, SIZE[0] - strip_height(SIZE[0]) :] = 0
        return answer


def place(number: int) -> int:
    """Column in which the disc of a frame begins."""
    return 10 + 12 * number


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Frames with their number; where the disc is tells it, too."""
    frames = []
    for number in range(COUNT):
        pixels = np.full((*SIZE, 3), 40, np.uint8)
        pixels[40:60, place(number) : place(number) + 20] = 220
        draw_counter(pixels, number)
        frames.append(pixels)
    return write_video(tmp_path / "clip.mp4", frames, 60)


def test_what_is_recorded_belongs_together(tmp_path: Path, clip: Path) -> None:
    sinks = [f"mp4:{tmp_path}/a.mp4", f"folder:{tmp_path}/f", f"dicom-seg:{tmp_path}/s.dcm"]
    settings = LiveSettings(every_frame=True)
    record = LiveStream(Disc(), str(clip), ["center"], sinks=sinks, settings=settings).run()
    assert record.counts["captured"] == record.counts["accounted"] == COUNT
    with av.open(str(tmp_path / "a.mp4")) as container:
        shown = [f.to_ndarray(format="rgb24")[: SIZE[0]] for f in container.decode(video=0)]
    assert [read_counter(one) for one in shown] == list(range(COUNT))
    for number, one in enumerate(shown):
        blue = one[50, :, 2].astype(int) - one[50, :, 0]  # the colour of the first object
        assert np.argmax(blue > 20) == pytest.approx(place(number), abs=4)
    rows = [json.loads(line) for line in (tmp_path / "f" / "stream.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row.get("is_new")]
    assert len(rows) == COUNT
    segmentation = highdicom.seg.segread(tmp_path / "s.dcm")
    source = pydicom.dcmread(tmp_path / "s-sc.dcm")
    masks = segmentation.get_pixels_by_source_frame(
        source.SOPInstanceUID, list(range(1, COUNT + 1)), ignore_spatial_locations=True
    )
    for number, row in enumerate(rows):
        frame = cv2.imread(str(tmp_path / "f" / row["frame"]))
        labels = cv2.imread(str(tmp_path / "f" / row["labels"]), cv2.IMREAD_UNCHANGED)
        assert frame is not None
        assert labels is not None
        assert read_counter(frame) == row["index"] == number
        assert np.argmax(labels[50] == 1) == place(number)
        assert (source.pixel_array[number] == frame[..., 0]).all()
        assert (masks[number, ..., 0] == labels).all()


def test_a_server_that_dies_comes_back() -> None:
    sink = Collect()
    settings = LiveSettings(retry_s=0.01)
    with RtspServer() as server:
        name = f"rtsp://user:secret@{server.address}"
        stream = LiveStream(Model(), name, ["center"], sinks=[sink], settings=settings).start()
        sink.wait_for(lambda i: i.has_masks and i.is_new)
        server.die.set()
        told = sink.wait_for(lambda i: any("ended the stream" in a.message for a in i.alarms))
        lost_s = told.alarms[0].at_s
        back = sink.wait_for(lambda i: i.is_new and (i.frame.captured_s or 0) > lost_s)
        record = stream.finish()
    assert back.has_masks
    assert record.restarts == 1
    said = json.dumps(record.to_json()) + str([item.alarms for item in sink.items])
    assert "secret" not in said
