"""Global and shared memory of the emulator, with the checks that hardware does not make.

Addresses and data are numpy arrays with one entry per active lane; data is uint8 [lanes, size].
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

WARP = 32
NOBODY = -1
SEVERAL = -2


class PtxError(Exception):
    """The emulated program did something that a correct kernel never does."""


class OutOfBounds(PtxError):
    """An access outside of every array."""


class Misaligned(PtxError):
    """An address that is no multiple of the size of the access."""


class Race(PtxError):
    """Two warps, or two blocks, at one place without order."""


class UninitializedRead(PtxError):
    """A read of shared memory that nobody wrote."""


def _check_aligned(addresses: Any, size: int, space: str) -> None:
    if (addresses % size).any():
        raise Misaligned(f"misaligned {size}-byte access to {space} memory")


def _note_all(known: Any, units: Any, who: Any) -> None:
    """Where several touch one unit at once, the last one is not to stand for all."""
    known[units] = who
    different = known[units] != who
    known[units[different]] = SEVERAL


@dataclass
class _Region:
    """An array of the kernel. For every unit of `unit` bytes of one that is written: the block that
    read it and the block that wrote it, in this launch."""

    data: Any
    unit: int
    name: str
    written: bool
    reader: Any = None
    writer: Any = None

    def __post_init__(self) -> None:
        if self.written:
            self.reader = np.full(-(-self.data.size // self.unit), NOBODY, np.int32)
            self.writer = self.reader.copy()


class GlobalMemory:
    """The arrays that a kernel may touch, each alone in a region of a made-up address space.

    Regions are so far apart that leaving one array never ends in another one unnoticed. Blocks
    run in no order: none may read or write what another one writes.
    """

    REGION_BITS = 40

    def __init__(self) -> None:
        self.regions: list[_Region] = []
        self.counts: Counter[str] = Counter()

    def add(self, data: Any, unit: int, name: str, written: bool) -> int:
        """Make an array (uint8, updated in place) accessible; its address."""
        self.regions.append(_Region(data, unit, name, written))
        return len(self.regions) << self.REGION_BITS

    def snapshot(self) -> list[tuple[Any, ...]]:
        """What the launch may change, for `restore`."""
        found = [(r, r.data.copy(), r.reader.copy(), r.writer.copy()) for r in self._written()]
        return [*found, (self.counts.copy(),)]

    def restore(self, snapshot: list[tuple[Any, ...]]) -> None:
        """Back to what was there."""
        *regions, (counts,) = snapshot
        for region, data, reader, writer in regions:
            region.data[:] = data
            region.reader, region.writer = reader, writer
        self.counts = counts

    def _written(self) -> list[_Region]:
        return [region for region in self.regions if region.written]

    def load(self, addresses: Any, size: int, blocks: Any) -> Any:
        """uint8 [lanes, size]; blocks: of each lane."""
        data = np.zeros((addresses.size, size), np.uint8)
        for lanes, region, offset in self._locate(addresses, size, "load"):
            data[lanes] = region.data[offset[:, None] + np.arange(size)]
            if region.written:
                units, owners = self._units(region, offset, size, blocks[lanes])
                self._check_owner(region.writer[units], owners, "read", region)
                known = region.reader[units]
                mixed = (known != NOBODY) & (known != owners)
                _note_all(region.reader, units, np.where(mixed, SEVERAL, owners))
        return data

    def store(self, addresses: Any, data: Any, blocks: Any) -> None:
        """Write uint8 [lanes, size]."""
        size = data.shape[1]
        for lanes, region, offset in self._locate(addresses, size, "store"):
            if not region.written:
                raise PtxError(f"store to {region.name}, which the launch does not name as output")
            units, owners = self._units(region, offset, size, blocks[lanes])
            self._check_owner(region.writer[units], owners, "write", region)
            self._check_owner(region.reader[units], owners, "write", region)
            region.writer[units] = owners
            self._check_owner(region.writer[units], owners, "write", region)
            index = offset[:, None] + np.arange(size)
            region.data[index] = data[lanes]
            if (region.data[index] != data[lanes]).any():
                raise Race(f"lanes write different values to one place of {region.name}")

    @staticmethod
    def _units(region: _Region, offset: Any, size: int, blocks: Any) -> tuple[Any, Any]:
        count = max(size // region.unit, 1)
        units = (offset[:, None] // region.unit + np.arange(count)).ravel()
        return units, np.repeat(blocks, count)

    @staticmethod
    def _check_owner(known: Any, owners: Any, what: str, region: _Region) -> None:
        if ((known != NOBODY) & (known != owners)).any():
            raise Race(f"blocks {what} what another block touches in {region.name}")

    def _locate(self, addresses: Any, size: int, what: str) -> Any:
        """(lanes, region, offsets in bytes) for each array addressed."""
        _check_aligned(addresses, size, "global")
        self.counts[f"global_{what}_bytes"] += size * addresses.size
        numbers = addresses >> self.REGION_BITS
        for number in np.unique(numbers):
            if not 1 <= number <= len(self.regions):
                raise OutOfBounds(f"global {what} far outside of every array")
            region = self.regions[number - 1]
            lanes = np.nonzero(numbers == number)[0]
            offset = addresses[lanes] - (number << self.REGION_BITS)
            excess = int(offset.max()) + size - region.data.size
            if excess > 0:
                raise OutOfBounds(f"global {what} ends {excess} bytes behind {region.name}")
            yield lanes, region, offset


class SharedMemory:
    """Shared memory of all blocks, with a race detector.

    Between two barriers, warps run in no particular order. So within one barrier interval no warp
    may read what another warp writes, or write what another warp reads or writes. For each unit of
    `unit` bytes we keep the interval and the warp of the last read and of the last write.
    """

    def __init__(self, blocks: int, threads: int, size: int, unit: int = 2) -> None:
        self.threads, self.size, self.unit = threads, size, unit
        self.stride = (size + 15) // 16 * 16
        self.data = np.zeros(blocks * self.stride, np.uint8)
        units = self.data.size // unit
        self.interval = 0
        self.read_interval = np.full(units, -1, np.int32)
        self.read_warp = np.full(units, NOBODY, np.int32)
        self.write_interval = np.full(units, -1, np.int32)
        self.write_warp = np.full(units, NOBODY, np.int32)
        self.in_flight = np.zeros(units, bool)  # destination of an unfinished cp.async
        self.counts: Counter[str] = Counter()

    def barrier(self) -> None:
        """Every warp has come here."""
        self.interval += 1

    def load(self, lanes: Any, addresses: Any, size: int) -> Any:
        """uint8 [lanes, size]."""
        self._count_bank_conflicts(lanes, addresses, size)
        addresses = self._absolute(lanes, addresses, size)
        units, warps = self._units(lanes, addresses, size)
        self._check_not_in_flight(units)
        if (self.write_interval[units] < 0).any():
            raise UninitializedRead("read of unwritten shared memory")
        if self._touched_by_others(self.write_interval, self.write_warp, units, warps).any():
            raise Race("read after write by another warp without a barrier")
        seen = self._touched_by_others(self.read_interval, self.read_warp, units, warps)
        _note_all(self.read_warp, units, np.where(seen, SEVERAL, warps))
        self.read_interval[units] = self.interval
        return self.data[addresses[:, None] + np.arange(size)]

    def store(self, lanes: Any, addresses: Any, data: Any) -> None:
        """Write uint8 [lanes, size]."""
        self._count_bank_conflicts(lanes, addresses, data.shape[1])
        addresses = self._absolute(lanes, addresses, data.shape[1])
        units, warps = self._units(lanes, addresses, data.shape[1])
        self._check_not_in_flight(units)
        self._write(units, warps, addresses, data)

    def begin_copy(self, lanes: Any, addresses: Any, data: Any) -> tuple[Any, ...]:
        """cp.async: a token for `finish_copy`; until then nobody may touch the destination."""
        addresses = self._absolute(lanes, addresses, data.shape[1])
        units, warps = self._units(lanes, addresses, data.shape[1])
        self._check_not_in_flight(units)
        self._check_write(units, warps)
        self.in_flight[units] = True
        return units, warps, addresses, data

    def finish_copy(self, token: tuple[Any, ...]) -> None:
        """What was copied is there."""
        self.in_flight[token[0]] = False
        self._write(*token)

    def _write(self, units: Any, warps: Any, addresses: Any, data: Any) -> None:
        self._check_write(units, warps)
        _note_all(self.write_warp, units, warps)
        self.write_interval[units] = self.interval
        index = addresses[:, None] + np.arange(data.shape[1])
        self.data[index] = data
        # Triton lets several lanes write one number. Lanes of one warp may differ in its last bit,
        # where a product was fused into the first sum of a reduction; one of them wins. Several
        # warps must agree.
        if (self.data[index] != data).any():
            lost = (self.data[index] != data).any(1)
            units, _ = self._units(addresses[lost], addresses[lost], data.shape[1])
            if (self.write_warp[units] == SEVERAL).any():
                raise Race("different values written to one place by several warps at once")

    def _check_write(self, units: Any, warps: Any) -> None:
        if self._touched_by_others(self.read_interval, self.read_warp, units, warps).any():
            raise Race("write after read by another warp without a barrier")
        if self._touched_by_others(self.write_interval, self.write_warp, units, warps).any():
            raise Race("write after write by another warp without a barrier")

    def _check_not_in_flight(self, units: Any) -> None:
        if self.in_flight[units].any():
            raise Race("access to the destination of an unfinished asynchronous copy")

    def _touched_by_others(self, intervals: Any, owners: Any, units: Any, warps: Any) -> Any:
        return (intervals[units] == self.interval) & (owners[units] != warps)

    def _absolute(self, lanes: Any, addresses: Any, size: int) -> Any:
        if (addresses < 0).any() or (addresses + size > self.size).any():
            raise OutOfBounds("shared memory access out of bounds")
        _check_aligned(addresses, size, "shared")
        return addresses + lanes // self.threads * self.stride

    def _units(self, lanes: Any, addresses: Any, size: int) -> tuple[Any, Any]:
        """The units that each access covers, and the warp of each unit, both flat."""
        count = max(size // self.unit, 1)
        units = (addresses[:, None] // self.unit + np.arange(count)).ravel()
        return units, np.repeat((lanes // WARP).astype(np.int32), count)

    def _count_bank_conflicts(self, lanes: Any, addresses: Any, size: int) -> None:
        """Count wavefronts: passes over the 32 four-byte banks, per group served together."""
        group = lanes // {16: 8, 8: 16}.get(size, WARP)
        word = addresses // 4
        # One key per distinct word of a (group, bank): several words in one bank are a conflict.
        keys = np.unique((group << 40) | ((word % 32) << 32) | word)
        banks, words_per_bank = np.unique(keys >> 32, return_counts=True)
        first_bank = np.nonzero(np.diff(banks >> 8, prepend=-1))[0]
        passes = np.maximum.reduceat(words_per_bank, first_bank)
        self.counts["shared_wavefronts"] += int(passes.sum())
        self.counts["shared_wavefronts_without_conflicts"] += first_bank.size
