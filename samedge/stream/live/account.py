"""Numbers of a stream that runs for hours: counts that add up, and latencies in bounded memory."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from samedge.stream.live.states import Alarm, Kind

_STEP = 1.02  # of neighbouring bins: percentiles are right within 1 %
_FIRST_MS = 0.01
_BINS = math.ceil(math.log(1e5 / _FIRST_MS) / math.log(_STEP)) + 1
KEPT_ALARMS = 1000


class Histogram:
    """Latencies in ms, in bins that grow by 2 %; the largest is kept exactly."""

    def __init__(self) -> None:
        self._bins = [0] * _BINS
        self.count, self.most, self._sum = 0, 0.0, 0.0

    def add(self, ms: float) -> None:
        """Count one; below zero counts as zero."""
        ms = max(ms, 0.0)
        place = 0 if ms <= _FIRST_MS else math.ceil(math.log(ms / _FIRST_MS) / math.log(_STEP))
        self._bins[min(place, _BINS - 1)] += 1
        self.count += 1
        self._sum += ms
        self.most = max(self.most, ms)

    def percentile(self, share: float) -> float | None:
        """The smallest bin edge that `share` (0 to 1) of all are at or below, in ms; None if there
        are none."""
        if not self.count:
            return None
        wanted, seen = max(1, math.ceil(share * self.count)), 0
        for place, number in enumerate(self._bins):
            seen += number
            if seen >= wanted:
                return min(_FIRST_MS * _STEP**place, self.most)
        return self.most

    def summary(self) -> dict[str, float | int | None]:
        """Count, mean, p50, p90, p95, p99 and max, in ms."""
        rounded = {
            f"p{round(share * 100)}": _rounded(self.percentile(share))
            for share in (0.5, 0.9, 0.95, 0.99)
        }
        mean = _rounded(self._sum / self.count) if self.count else None
        return {"count": self.count, "mean": mean, **rounded, "max": _rounded(self.most)}

    def to_json(self) -> dict[str, Any]:
        """The summary and the bins that are not empty, as [upper edge in ms, count]."""
        bins = [[round(_FIRST_MS * _STEP**k, 4), n] for k, n in enumerate(self._bins) if n]
        return {**self.summary(), "bins": bins}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


@dataclass
class Counts:
    """Frames by what became of them. When a stream has ended, `captured` is the sum of the others.

    Attributes:
        captured: that the source gave.
        segmented: that the network saw and answered.
        repeated: whose pixels were those of the frame before: its masks were shown with them.
        unprompted: shown without masks, because nothing was prompted.
        replaced: dropped because a newer one came before the network was free.
        held: dropped because the user held the picture.
        failed: on which the network failed; shown without masks.
        refused: that are no frames for the network (their size, say).
        left: that nobody took before the end.
        late: of those shown, after their deadline; expired: too late to be shown with masks.
    """

    captured: int = 0
    segmented: int = 0
    repeated: int = 0
    unprompted: int = 0
    replaced: int = 0
    held: int = 0
    failed: int = 0
    refused: int = 0
    left: int = 0
    late: int = 0
    expired: int = 0

    @property
    def accounted(self) -> int:
        """Frames whose fate is known."""
        return (
            self.segmented
            + self.repeated
            + self.unprompted
            + self.replaced
            + self.held
            + self.failed
            + self.refused
            + self.left
        )

    @property
    def dropped(self) -> int:
        """Frames that came and were never shown."""
        return self.replaced + self.refused


class Alarms:
    """Alarms of all threads: the first thousand are kept, all are counted.

    Args:
        now: the clock, in s.
        tell: called with each, in the thread that raised it.
    """

    def __init__(self, now: Callable[[], float], tell: Callable[[Alarm], object]) -> None:
        self._now, self._tell = now, tell
        self._lock = threading.Lock()
        self._new: list[Alarm] = []
        self.kept: list[Alarm] = []
        self.counts: Counter[Kind] = Counter()

    def raise_(self, kind: Kind, message: str) -> None:
        """Tell everybody."""
        alarm = Alarm(kind, message, self._now())
        with self._lock:
            self.counts[kind] += 1
            if len(self.kept) < KEPT_ALARMS:
                self.kept.append(alarm)
            if len(self._new) < KEPT_ALARMS:
                self._new.append(alarm)
        self._tell(alarm)

    @property
    def waits_s(self) -> float:
        """For how long the oldest of those has waited that were not taken yet."""
        with self._lock:
            return self._now() - self._new[0].at_s if self._new else 0.0

    def take(self) -> tuple[Alarm, ...]:
        """Those that were not taken yet."""
        with self._lock:
            found, self._new = tuple(self._new), []
        return found


@dataclass
class Rate:
    """Events per second over the last two seconds."""

    window_s: float = 2.0
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=2000))

    def add(self, now: float) -> None:
        self._times.append(now)

    def value(self, now: float) -> float:
        """Per second; 0 when nothing happened lately."""
        recent = [t for t in list(self._times) if now - t <= self.window_s]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 2 else 0.0
