"""The tuner's choices, with a clock that is made up; and what it is told where there is no GPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch

from samedge.errors import DeviceError, NotSupportedError
from samedge.kernels.launch import Tile
from samedge.kernels.tiles import candidates, table, tile_of, trying
from samedge.kernels.tune import __main__ as command
from samedge.kernels.tune import gpu
from samedge.kernels.tune.choice import Outcome, by_kernel, tuned, with_outcome
from samedge.kernels.tune.workloads import WORKLOADS, Workload, recorded

TILES = [Tile({"BLOCK_M": size}, 4, 2) for size in (16, 32, 64, 128)]
TWO = [w for w in WORKLOADS if w.kernel == "window_attention"]


class MadeUp:
    """Times by BLOCK_M and workload; a GPU whose clock falls all the time."""

    def __init__(
        self,
        times: Mapping[int, Sequence[float]],
        unfit: Sequence[int] = (),
        errors: Mapping[int, float] | None = None,
        fails: Sequence[int] = (),
    ) -> None:
        self.times, self.unfit, self.fails = times, unfit, fails
        self.errors = errors or {}
        self.slower = count(100)
        self.order: list[int] = []

    def fitting(
        self, workloads: Sequence[Workload], dtype: str, tiles: Sequence[Tile]
    ) -> Mapping[int, str]:
        sizes = [tile["BLOCK_M"] for tile in tiles]
        return {i: "it spills" for i, size in enumerate(sizes) if size in self.unfit}

    def ready(
        self, workload: Workload, dtype: str, tile: Tile
    ) -> tuple[float, Callable[[], float]]:
        size = tile["BLOCK_M"]
        if size in self.fails:
            raise DeviceError("too many resources requested")

        def clock() -> float:
            self.order.append(size)
            return self.times[size][TWO.index(workload)] * next(self.slower)

        return self.errors.get(size, 0.0), clock


def outcome(bench: MadeUp, before: int = 16, rounds: int = 9) -> Outcome:
    return tuned(
        "window_attention", "fp16", Tile({"BLOCK_M": before}, 4, 2), TILES, TWO, bench, rounds
    )


def test_the_fastest_of_both_workloads_wins() -> None:
    """32 is best for the first, 128 for the second, 64 for both together; the clock, which makes
    later runs slower, does not decide."""
    bench = MadeUp({16: (2.0, 2.0), 32: (0.5, 2.4), 64: (1.0, 1.0), 128: (2.4, 0.5)})
    found = outcome(bench)
    assert found.after == TILES[2]
    assert found.share == pytest.approx(0.5, rel=0.1)
    assert (found.tried, found.refused, found.wrong) == (4, 0, ())


def test_measurements_are_interleaved() -> None:
    bench = MadeUp(dict.fromkeys((16, 32, 64, 128), (1.0, 1.0)))
    outcome(bench, rounds=3)
    assert bench.order == [16, 16, 32, 32, 64, 64, 128, 128] * 3


def test_a_tile_that_is_hardly_faster_does_not_replace_the_present_one() -> None:
    times = {16: (1.0, 1.0), 32: (0.995, 0.995), 64: (2.0, 2.0), 128: (2.0, 2.0)}
    found = outcome(MadeUp(times), rounds=99)
    assert found.after == found.before


def test_tiles_that_do_not_fit_or_run_or_are_wrong_are_not_timed() -> None:
    bench = MadeUp(
        {16: (1.0, 1.0), 32: (0.1, 0.1), 64: (0.1, 0.1), 128: (0.1, 0.1)},
        unfit=[32],
        errors={64: 5e-3, 128: 0.0},
        fails=[128],
    )
    found = outcome(bench)
    assert found.after == found.before
    assert (found.tried, found.refused, found.wrong) == (1, 2, (TILES[2],))
    assert set(bench.order) == {16}


def test_results_that_are_not_numbers_are_wrong() -> None:
    bench = MadeUp(dict.fromkeys((16, 32, 64, 128), (1.0, 1.0)), errors={64: float("inf")})
    assert outcome(bench).wrong == (TILES[2],)


@pytest.mark.parametrize(
    ("bench", "message"),
    [
        (MadeUp({}, unfit=[16]), "the tile of the table cannot be used: it spills"),
        (MadeUp({}, errors={16: 0.5}), "nothing is tuned on wrong results"),
        (MadeUp({}, fails=[16]), "too many resources"),
    ],
)
def test_the_present_tile_has_to_work(bench: MadeUp, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        outcome(bench)


def test_only_what_is_new_is_written() -> None:
    known = table()
    before = tile_of("window_attention", "fp16", 87)
    kept = Outcome("window_attention", "fp16", before, before, 1.0, 3, 0, ())
    with_outcome(known, 87, kept)
    assert known == table()
    new = Tile({"BLOCK_M": 32, "BLOCK_N": 16}, 2, 3)
    with_outcome(known, 87, Outcome("window_attention", "fp16", before, new, 0.9, 3, 0, ()))
    added = known["87"].pop("window_attention")
    assert added == {"fp16": {"BLOCK_M": 32, "BLOCK_N": 16, "warps": 2, "stages": 3}}


def test_candidates_are_tiles_of_the_table() -> None:
    """With the same sizes as the entries that they may replace."""
    for kernel in by_kernel():
        for tile in candidates(kernel):
            assert list(tile.sizes) == list(tile_of(kernel, "fp16", 87).sizes), kernel
    assert len(set(map(str, candidates("linear")))) == 3 * 3 * 2 * 2 * 3
    assert candidates("nothing") == ()


def test_a_tile_that_is_tried_is_taken() -> None:
    """Every workload is of the tile that it says, or the tuner would measure something else."""
    for workload in WORKLOADS:
        tile = tile_of(workload.kernel, "fp16", 87)
        other = Tile(tile.sizes, 2 * tile.warps, tile.stages)
        with trying(workload.kernel, other):
            warps = [launch.tile.warps for launch in recorded(workload, "fp16", 87)]
            assert other.warps in warps, workload.name
        assert tile_of(workload.kernel, "fp16", 87) == tile


def test_unknown_kernels_are_named() -> None:
    with pytest.raises(NotSupportedError, match="no candidates for nothing; there are some for"):
        by_kernel(["linear", "nothing"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu(tmp_path: Path) -> None:
    target = tmp_path / "tiles.json"
    with pytest.raises(NotSupportedError, match="torch finds none here: run this on the machine"):
        command.main(["-o", str(target)])
    assert not target.exists()


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way with a made-up GPU: the table that is written, and what is said."""

    class Faked:
        def __init__(self, arch: int, processes: int) -> None:
            assert (arch, processes) == (87, 3)

        def fitting(self, *_: object) -> Mapping[int, str]:
            return {}

        def ready(self, _w: Workload, dtype: str, tile: Tile) -> tuple[float, Callable[[], float]]:
            fast = tile.warps == 2 and tile.stages == 3 and tile["BLOCK_M"] == 32
            return 0.0, lambda: 1.0 if fast else 2.0

    monkeypatch.setattr(gpu, "capability_here", lambda: 87)
    monkeypatch.setattr(gpu, "GpuBench", Faked)
    target = tmp_path / "tiles.json"
    options = ["--kernels", "window_attention", "--types", "fp16", "--rounds", "3"]
    assert command.main([*options, "--processes", "3", "-o", str(target)]) == 0
    written = json.loads(target.read_text())
    assert written["87"]["window_attention"]["fp16"]["warps"] == 2
    assert written["default"] == table()["default"]
    with pytest.raises(NotSupportedError, match="the GPU here is sm_87"):
        command.main(["--sm", "90"])


@pytest.mark.slow
def test_candidates_that_do_not_fit_are_found_ahead_of_time() -> None:
    """The part of a GPU's bench that needs none."""
    before = tile_of("linear.few", "fp16", 87)
    tiles = [before, replace(before, stages=60)]
    workload = next(w for w in WORKLOADS if w.kernel == "linear.few")
    unfit = gpu.GpuBench(87, 1, "cpu").fitting([workload], "fp16", tiles)
    assert list(unfit) == [1]
    assert "bytes of shared memory" in unfit[1]
