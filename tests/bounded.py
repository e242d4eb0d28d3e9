"""Hostile files, opened in a child that has 1 GB and 10 s for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MEMORY = 10**9  # bytes that one file may take
SECONDS = 10.0  # of the processor

# Everything is loaded before the limit is set, so it is what a file takes that is limited.
_CHILD = """
import json, re, resource, sys, time
from pathlib import Path
from samedge.errors import SamEdgeError

def now(field):
    return 1024 * int(re.search(field + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

{setup}

memory = now("VmSize") + {memory}
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
for path in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")
    before, began = now("VmRSS"), time.process_time()
    try:
        said = f"opened: {{opens(path)}}"
    except SamEdgeError as error:
        said = f"{{type(error).__name__}}: {{error}}"
    except BaseException as error:
        said = f"crashed: {{type(error).__name__}}: {{error}}"
    taken = now("VmHWM") - before
    print(json.dumps([said, taken, time.process_time() - began]), flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    """What a file did: its answer, bytes that it took, seconds of the processor."""

    said: str
    memory: int
    seconds: float


def open_bounded(setup: str, paths: Sequence[Path | str]) -> list[Outcome]:
    """Open files one after the other in a child with limits.

    Args:
        setup: Python that defines `opens(path)`, whose value is printed.
        paths: of the files.
    """
    done = subprocess.run(
        [sys.executable, "-c", _CHILD.format(setup=setup, memory=MEMORY), *map(str, paths)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=40 + 5 * len(paths),
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    found = [Outcome(*json.loads(line)) for line in done.stdout.splitlines()]
    reached = f"died at {paths[len(found)]}" if len(found) < len(paths) else ""
    assert not reached, f"{reached}: exit {done.returncode}: {done.stderr[-1000:]}"
    return found
