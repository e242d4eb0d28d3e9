"""Memory does not grow with the sizes of frames and the numbers of prompts that a session met."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.tree import ROOT

# In a process of its own: memory is the process's, and so is oneDNN's cache.
PROGRAM = """
import json, sys
import numpy as np
import samedge
from samedge.machine.memory import release_memory, resident_mb

bundle, what, count, cache = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "cache"
rng = np.random.default_rng(0)
pixels = rng.integers(0, 256, (400, 400), np.uint8)
used = []
with samedge.load(bundle, threads=1, cache=cache, precision="fp32") as session:
    for turn in range(-20, count):
        height, width, objects, points = 96, 128, 1, 1
        if what in ("sizes", "both"):
            height, width = (int(side) for side in rng.integers(32, 200, 2))
        if what in ("prompts", "both"):
            objects, points = 1 + turn % 7, 1 + int(rng.integers(60))
        session.segment(pixels[:height, :width], points=[[(9, 9)] * points] * objects)
        if turn % max(count // 10, 1) == max(count // 10, 1) - 1:
            release_memory()
            used.append(resident_mb())
print(json.dumps(used))
"""


def grown(bundle: Path, what: str, count: int, folder: Path, cache: bool = False) -> float:
    """MB by which a session's process grew from a tenth of the way to the end."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("ONEDNN", "DNNL"))
    } | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SAMEDGE_CACHE": str(folder)}
    arguments = (str(bundle), what, str(count), "cache" if cache else "")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    used = json.loads(done.stdout)
    print(what, count, [round(mb) for mb in used])
    return max(used[1:]) - used[0]


@pytest.mark.parametrize(("what", "cache"), [("sizes", False), ("both", True)])
def test_memory_stays_over_many_sizes(
    tiny_bundle: Path, tmp_path: Path, what: str, cache: bool
) -> None:
    """Without the bounds it grows by 2.6 MB with every size: 390 MB."""
    assert grown(tiny_bundle, what, 150, tmp_path, cache) < 25


@pytest.mark.slow
@pytest.mark.parametrize("what", ["prompts", "both"])
def test_memory_stays_over_hundreds(tiny_bundle: Path, tmp_path: Path, what: str) -> None:
    """As with 2000, which have been tried: what grows does so from the beginning."""
    assert grown(tiny_bundle, what, 600, tmp_path) < 15


def test_openvino_is_told_of_the_bound_for_its_own_graphs_alone(tmp_path: Path) -> None:
    """The variable does not stay, and a user's own value stands."""
    program = (
        "import os; from samedge.runtime.openvino.compile import core; core();"
        "print({k: v for k, v in os.environ.items() if 'PRIMITIVE' in k})"
    )
    for own in ({}, {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7"}):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(ROOT), **own},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == str(own)
