"""Photograph the viewer for README.md and docs/stream.md: docs/images/viewer.webp.

    python docs/make_viewer_pictures.py

Needs Chromium and the `test` extra, and a machine that is not busy: what is late is late in the
picture. Photographs take time as well: the source has 20 frames per second.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from samedge.cli.demo import OURS, ready_bundle
from samedge.sources.simulator import SimulatorSource
from samedge.stream.live.stream import LiveStream
from samedge.stream.viewer import ViewerSink

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
SIZE = (1120, 700)
SHOTS, EVERY_S = 20, 0.2


def main() -> None:
    """Run the stream, take the photographs, write the file."""
    sys.path.insert(0, str(ROOT))
    from tests.browser import Browser

    source, viewer = SimulatorSource(fps=20), ViewerSink(port=0)
    stream = LiveStream(
        ready_bundle(),
        source,
        [source.start_point],
        names=["left ventricle"],
        sinks=[viewer],
        track=True,
        notice=OURS,
    )
    stream.start()
    with tempfile.TemporaryDirectory() as folder, Browser.start(Path(folder)) as browser:
        page = browser.open(viewer.url, *SIZE)
        time.sleep(12)  # so that the plot has something to show
        shots = list(_shots(page))
    stream.finish()
    pictures = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots]
    first = pictures[0]
    first.save(
        IMAGES / "viewer.webp",
        save_all=True,
        append_images=pictures[1:],
        duration=round(EVERY_S * 1000),
        loop=0,
        quality=60,
        method=6,
    )
    print(f"wrote {len(pictures)} pictures, {(IMAGES / 'viewer.webp').stat().st_size // 1000} kB")


def _shots(page: Any) -> Iterator[bytes]:
    due = time.monotonic()
    for _ in range(SHOTS):
        time.sleep(max(due - time.monotonic(), 0))
        due += EVERY_S
        yield page.png()


if __name__ == "__main__":
    main()
