"""Run by test_v4l2.py, with the stand-in of the kernel's side: cameras, and what came of them.

Arguments: the FIFO that is the device, a JPEG file. Prints JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

from samedge.errors import SourceError
from samedge.sources.devices import camera

FIFO, JPEG = sys.argv[1:]
os.environ |= {"FAKE_V4L2": FIFO, "FAKE_V4L2_JPEG": JPEG}
camera.stat.S_ISCHR = lambda _: True  # type: ignore[assignment]


def watch(events: str, rounds: int = 1, **options: Any) -> dict[str, Any]:
    """Frames, the errors that ended them, and notes."""
    device = os.open(FIFO, os.O_RDWR | os.O_NONBLOCK)
    while True:  # what the round before left
        try:
            os.read(device, 1000)
        except BlockingIOError:
            break
    source = camera.CameraSource(FIFO, timeout_s=0.6, **options)
    source._given.__dict__["open_s"] = 1.0
    frames, errors = [], []
    for _ in range(rounds):
        sending = threading.Timer(0.1, os.write, (device, events.encode()))
        sending.start()
        try:
            for frame in source:
                level = int(frame.pixels[5, 5, 1])
                frames.append([frame.index, list(frame.pixels.shape), frame.stamp_s, level])
        except SourceError as error:
            errors.append(str(error))
        sending.join()
    os.close(device)
    alive = [t.name for t in threading.enumerate() if t.name == "samedge-av"]
    return {
        "frames": frames,
        "errors": errors,
        "warnings": source.warnings,
        "rate": source.rate,
        "threads": alive,
    }


found = {
    "plain": watch("FFFFFX", size=(320, 240), rate=60),
    "other size": watch("FFFF", size=(1280, 720)),
    "jpeg": watch("FFFFX", pixel_format="mjpeg"),
    "damaged": watch("FFFEFFX"),
    "no signal": watch("", rounds=2),
    "again": watch("FFFX", rounds=2),
    "format": watch("FF", pixel_format="nonsense"),
}
os.environ["FAKE_V4L2_BUSY"] = "1"
os.putenv("FAKE_V4L2_BUSY", "1")
found["busy"] = watch("FF")
print(json.dumps(found))
