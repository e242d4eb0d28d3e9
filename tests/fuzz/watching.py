"""What holds for every reader, whatever the bytes: a result or a SamEdgeError, and nothing else.

No other exception, no time and memory without bound, no file left behind, and no word of what a
file says about a patient.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from samedge.errors import SamEdgeError

# What the seeds hold in their text fields; no message may repeat it.
PATIENT = "Doe^Secret^Jane"
_SECRET = "secret"
MAX_CPU_S = 10.0
MAX_GROWTH = 1 << 30  # bytes of memory
_EXIT_CODES = range(2, 7)
_ROOT = Path(__file__).resolve().parents[2]
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

Reader = Callable[[Path], list[str]]  # reads a file; returns what a user is told about it


@dataclass(frozen=True)
class Finding:
    """A broken promise.

    Attributes:
        kind: "ValueError", "leak", "memory", "time", "left behind".
        where: the innermost line of samedge, or what was seen.
        details: the traceback.
    """

    kind: str
    where: str
    details: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}"

    @property
    def digest(self) -> str:
        """Short, and equal for findings of one place."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:10]


def watched(read: Reader, data: bytes, name: str, folder: Path) -> Finding | None:
    """Let a reader read a file of these bytes, in an empty folder.

    Args:
        read: the reader.
        data: the file.
        name: of the file.
        folder: that may be filled; what it holds afterwards is removed.

    Returns:
        The promise that was broken, if one was.
    """
    place = folder / "in"
    place.mkdir()
    path = place / name
    path.write_bytes(data)
    try:
        return _watched(read, path)
    finally:
        shutil.rmtree(place)


def _watched(read: Reader, path: Path) -> Finding | None:
    before = {*path.parent.rglob("*")}
    start = time.process_time()
    with _peak() as grown:
        try:
            said = read(path)
        except SamEdgeError as error:
            said = [str(error)]
            if error.exit_code not in _EXIT_CODES or not str(error):
                return Finding("exit code", f"{type(error).__name__} {error.exit_code}")
        except (Exception, SystemExit) as error:
            return Finding(type(error).__name__, _place(error), traceback.format_exc())
    if _SECRET in (words := "\n".join(said)).lower():
        return Finding("leak", "a patient's name in a message", words)
    if (took := time.process_time() - start) > MAX_CPU_S:
        return Finding("time", f"more than {MAX_CPU_S:g} s", f"{took:.1f} s")
    if grown() > MAX_GROWTH:
        return Finding("memory", f"more than {MAX_GROWTH >> 20} MB", f"{grown() >> 20} MB")
    if left := {*path.parent.rglob("*")} - before:
        return Finding("left behind", str(sorted(p.name for p in left)))
    return None


def _place(error: BaseException) -> str:
    """The innermost line of samedge, without its number: lines move."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_ROOT) and "/tests/" not in frame.filename
    ]
    if not frames:
        return "outside samedge"
    last = frames[-1]
    return f"{Path(last.filename).relative_to(_ROOT)}, {last.name}: {last.line}"


@contextmanager
def _peak() -> Iterator[Callable[[], int]]:
    """How far memory grew within the block, in bytes; 0 where it is not said (not Linux)."""
    grown = [0]
    start = _high_water(reset=True)
    yield lambda: grown[0]
    grown[0] = _high_water() - start


def _high_water(reset: bool = False) -> int:
    try:
        if reset:
            _CLEAR.write_text("5")
        line = next(x for x in _STATUS.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) << 10
    except (OSError, StopIteration, ValueError):
        return 0
