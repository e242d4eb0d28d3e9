"""Memory: what this process may still take, and the error where that will not do.

A container's or service's limit counts as much as the machine itself: whoever takes more than is
left there is killed without a word, in the middle of the work. What cannot be found out (no Linux,
no /proc) limits nothing.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from samedge._wording import option
from samedge.errors import DeviceError, NotSupportedError

_MEMINFO = Path("/proc/meminfo")
_STATM = Path("/proc/self/statm")
_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # version 1 writes a number where version 2 writes "max"


@dataclass(frozen=True)
class Room:
    """Memory that may still be taken.

    Attributes:
        bytes: how much.
        where: what limits it, to stand behind a number of GB ("free on this machine").
    """

    bytes: int
    where: str


@dataclass(frozen=True)
class Need:
    """Memory that a step takes at its peak, bytes, beyond what the process has when it asks."""

    step: str
    bytes: int

    def plus(self, count: int) -> Need:
        """The same step with `count` more bytes (or fewer, but none below zero)."""
        return Need(self.step, max(0, self.bytes + count))


def room() -> Room | None:
    """The tightest limit on what this process may still take; None if nothing is known.

    Swap counts for nothing: work on hundreds of megabytes at a time does not get done in it.
    """
    found = [Room(left, "left under this process's limit (ulimit -v)") for left in _own_limit()]
    if (free := meminfo().get("MemAvailable")) is not None:
        found.append(Room(free, "free on this machine"))
    for group in _memory_groups():
        if group.limit is not None and group.used is not None:
            left = max(0, group.limit - group.used)
            found.append(Room(left, "left in this container or control group"))
    return min(found, key=lambda r: r.bytes, default=None)


def group_limit() -> int | None:
    """Bytes that the tightest control group (container, service) around this process allows."""
    limits = [group.limit for group in _memory_groups() if group.limit is not None]
    return min(limits, default=None)


def require_room(needs: Sequence[Need], what: str, smaller: str) -> None:
    """Refuse work that does not fit, before it begins.

    Args:
        needs: of its steps; they do not add up, the largest counts.
        what: the subject of the message: "exporting Segment Anything, ViT-H, 1024 px".
        smaller: what would need less ("a smaller ViT"), or "".

    Raises:
        NotSupportedError: more is needed than there is room for; says how much, where, and what
            helps.
    """
    here, most = room(), max(needs, key=lambda need: need.bytes)
    if here is None or most.bytes <= here.bytes:
        return
    remedies = ["closing other programs", "a machine or a limit with more memory", smaller]
    raise NotSupportedError(
        f"{what} needs about {gigabytes(most.bytes)} more memory in the step '{most.step}', and "
        f"{gigabytes(here.bytes)} are {here.where}; nothing was begun. What helps: "
        f"{', '.join(filter(None, remedies))}. To try it all the same: "
        f"{option('check_memory', False, '--ignore-memory')}"
    )


# How engines say it, where Python raises MemoryError.
_WORDS = (
    "bad_alloc",
    "cannot allocate memory",
    "failed to allocate",
    "out of memory",
    "can't alloc",
)


def ran_out(error: BaseException, what: str, need: int | None = None) -> DeviceError | None:
    """The error to raise if `error` means that memory ran out; None if it means something else.

    Args:
        error: from an engine, or from numpy.
        what: was being done: "reading encoder.fp32.onnx".
        need: bytes that it takes at the least, if that is known.
    """
    text = str(error)
    if not isinstance(error, MemoryError) and not any(w in text.lower() for w in _WORDS):
        return None
    here = room()
    said = "" if need is None else f", which takes {gigabytes(need)} at the least"
    left = "" if here is None else f"; {gigabytes(here.bytes)} are {here.where}"
    asked = f" ({text})" if isinstance(error, MemoryError) and text else ""
    return DeviceError(
        f"memory ran out while {what}{said}{asked}{left}. Close other programs, raise the limit, "
        "or use a smaller model, smaller frames or fewer objects at once"
    )


def gigabytes(count: int) -> str:
    """'3.2 GB', of 10^9 bytes."""
    return f"{count / 1e9:.1f} GB"


def release_memory() -> None:
    """Give freed heap pages back to the system (glibc keeps them otherwise)."""
    gc.collect()
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (AttributeError, OSError):  # musl has no malloc_trim; it returns pages by itself
            return


def resident_mb() -> float | None:
    """Resident memory of this process in MB (10^6 bytes); None where the system does not tell."""
    pages = _pages()
    return None if pages is None else pages[1] * os.sysconf("SC_PAGE_SIZE") / 1e6


def meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes; empty where there is none."""
    found = {}
    for line in _lines(_MEMINFO):
        key, _, rest = line.partition(":")
        if rest.strip().endswith("kB"):
            found[key] = int(rest.split()[0]) * 1024
    return found


@dataclass(frozen=True)
class _Group:
    """A control group's limit and what is used of it, file pages that can go not counted."""

    limit: int | None
    used: int | None


def _memory_groups() -> Iterator[_Group]:
    """The control groups around this process, innermost first: each of them limits it."""
    for line in _lines(_OWN_GROUPS):
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers:
            yield from (_version2(folder) for folder in _upwards(_GROUPS, path))
        elif "memory" in controllers.split(","):
            yield from (_version1(folder) for folder in _upwards(_GROUPS / "memory", path))


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """The group's folder and those above it. Inside a container `path` may be the host's name for
    it, which is not there; the container's own group then is the root."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for count in range(len(parts), -1, -1):
        yield root.joinpath(*parts[:count])


def _version2(folder: Path) -> _Group:
    limits = [_number(folder / name) for name in ("memory.max", "memory.high")]
    limit = min((n for n in limits if n is not None), default=None)
    cache = _stat(folder, "inactive_file", "active_file")
    return _Group(limit, _less(_number(folder / "memory.current"), cache))


def _version1(folder: Path) -> _Group:
    limit = _number(folder / "memory.limit_in_bytes")
    cache = _stat(folder, "total_inactive_file", "total_active_file")
    used = _less(_number(folder / "memory.usage_in_bytes"), cache)
    return _Group(None if limit is None or limit >= _UNLIMITED else limit, used)


def _less(used: int | None, cache: int) -> int | None:
    return None if used is None else max(0, used - cache)


def _stat(folder: Path, *names: str) -> int:
    rows = (line.partition(" ") for line in _lines(folder / "memory.stat"))
    return sum(int(value) for name, _, value in rows if name in names and value.isdigit())


def _own_limit() -> Iterator[int]:
    """What is left of this process's address space, if that is limited."""
    limit, pages = resource.getrlimit(resource.RLIMIT_AS)[0], _pages()
    if limit != resource.RLIM_INFINITY and pages is not None:
        yield max(0, limit - pages[0] * os.sysconf("SC_PAGE_SIZE"))


def _pages() -> tuple[int, int] | None:
    """Pages of address space and of resident memory."""
    for line in _lines(_STATM):
        size, resident = line.split()[:2]
        return int(size), int(resident)
    return None


def _number(path: Path) -> int | None:
    for line in _lines(path):
        return int(line) if line.strip().isdigit() else None
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
