"""The tuner where a GPU is: a few candidates of one kernel, checked and timed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from samedge.kernels.tiles import tile_of
from samedge.kernels.tune.choice import tuned
from samedge.kernels.tune.gpu import GpuBench, capability_here
from samedge.kernels.tune.workloads import CASES, Workload

pytestmark = pytest.mark.gpu


def test_candidates_are_checked_and_timed() -> None:
    arch = capability_here()
    before = tile_of("linear.few", "fp16", arch)
    tiles = [replace(before, warps=2), replace(before, stages=60)]
    workload = Workload("linear.few", CASES["linear.few"])
    found = tuned("linear.few", "fp16", before, tiles, [workload], GpuBench(arch, 2), rounds=5)
    assert (found.tried, found.refused, found.wrong) == (2, 1, ())
    assert found.share > 0
