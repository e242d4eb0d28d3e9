"""Parts of test files, and a session that needs no engine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pydicom

from samedge.families import SAMUS, Family
from samedge.prompts.plan import PromptPlan
from samedge.runtime.result import Result
from samedge.stream.job import segment

PATIENT = "Doe^Secret^Jane"
TIMING = {"preprocess": 1.0, "encode": 2.0, "prompt": 3.0, "decode": 4.0, "total": 10}


def write_video(
    path: Path, frames: Iterable[np.ndarray], rate: int, times: Sequence[int] | None = None
) -> Path:
    """Write RGB frames: MJPEG as .avi, H.264 as .mp4; `times` in steps of 1 / rate."""
    with av.open(str(path), "w") as container:
        stream: Any = None
        for index, pixels in enumerate(frames):
            if stream is None:
                codec = "mjpeg" if path.suffix == ".avi" else "libx264"
                stream = container.add_stream(codec, rate=rate)
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = index if times is None else times[index]
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def region(x0: int, y0: int, x1: int, y1: int, delta_cm: float = 0.05) -> pydicom.Dataset:
    """An item of the ultrasound region sequence; the corners are inclusive."""
    item = pydicom.Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = x0, y0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x1, y1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta_cm, 2 * delta_cm
    return item


def segment_into(
    folder: Path,
    path: Path,
    plan: PromptPlan,
    session: FakeSession | None = None,
    source: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Segment a file with a session that needs no engine; returns the report."""
    source = source or {}
    result = segment(session or FakeSession(), path, plan, output=folder, **source, **options)
    assert result.results is not None
    report: dict[str, Any] = json.loads(result.results.read_text())
    return report


@dataclass
class FakeSession:
    """Segments what is brighter than the middle grey; remembers what it was asked.

    Each object gets the whole bright area, cut to 20 px around its first point or to its box. With
    classes a pixel belongs to the class of its brightness, in equal steps from black to white;
    where classes do not exclude each other it belongs to the darker ones too.
    """

    family: Family = SAMUS
    per_object: int = 1
    manifest: dict[str, Any] = field(
        default_factory=lambda: {"title": "Fake", "source": {"sha256": ["ab" * 32]}}
    )
    asked: list[dict[str, Any]] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)

    def segment(
        self,
        frame: Any,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: Any = None,
        multimask: bool = False,
        crop: Any = None,
    ) -> Result:
        self.asked.append(
            {"points": points, "labels": labels, "box": box, "mask": mask, "crop": crop}
        )
        assert self.family.prompts or (points is None and box is None)
        grey = frame if frame.ndim == 2 else frame.mean(axis=2)
        if frame.dtype == np.uint16:
            assert not self.family.rounded
            grey = grey / 257
        if self.family.classes:
            return self._classes(grey, len(points) if points is not None else 1)
        rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]]
        count = len(points) if points is not None else len(box) if box is not None else 1
        masks = []
        for i in range(count):
            inside = grey > 127
            if points is not None:
                x, y = points[i][0]
                inside = inside & (abs(columns - x) <= 20) & (abs(rows - y) <= 20)
            masks += [inside] * self.per_object
        total = count * self.per_object
        return Result(
            masks=np.stack(masks).astype(np.uint8),
            scores=np.linspace(0.5, 0.9, total, dtype=np.float32),
            low_res_logits=np.zeros((total, 8, 8), np.float32) + np.arange(total)[:, None, None],
            object_index=np.repeat(np.arange(count), self.per_object),
            timing_ms=dict(TIMING),
        )

    def _classes(self, grey: np.ndarray, objects: int) -> Result:
        family, count = self.family, len(self.family.classes)
        numbers = np.minimum(grey.astype(int) * count // 256, count - 1)
        index = np.tile(np.arange(count), objects)
        same = numbers == index[:, None, None]
        masks = same if family.exclusive else numbers >= index[:, None, None]
        return Result(
            masks=masks.astype(np.uint8),
            scores=np.linspace(0.5, 0.9, len(index), dtype=np.float32),
            low_res_logits=np.zeros((len(index), 8, 8), np.float32),
            object_index=np.repeat(np.arange(objects), count),
            timing_ms=dict(TIMING),
            class_index=index,
            class_names=family.classes,
            class_map=numbers.astype(np.uint8) if family.exclusive else None,
        )

    def segment_slices(self, slices: Any, prompts: Any) -> list[Result]:
        """One answer per slice; remembers how many came together."""
        assert len(slices) == len(prompts) == self.family.slices
        self.groups.append(len(slices))
        return [self.segment(s, **p) for s, p in zip(slices, prompts, strict=True)]

    def describe(self) -> dict[str, Any]:
        return {
            "backend": "fake",
            "precision": "fp32",
            "device": "CPU",
            "why": "a test",
            "threads": 1,
            "family": self.family.name,
            "title": "Fake",
        }

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_: object) -> None:
        return None
