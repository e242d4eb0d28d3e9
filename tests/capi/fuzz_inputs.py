"""What the fuzzers begin with: bundles of several families, and whole files to damage.

The stand-in backend computes nothing of a graph, so that the bundles' weights do not matter: they
are exported once, into build/.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

from tests.capi import bundle_seeds
from tests.capi.build import BUILDS, ROOT

TINY = ROOT / "tests" / "data" / "tiny.samedge"
# Points and boxes and masks, several masks; classes; stacks; no prompts.
FAMILIES = ("sam", "structures", "volume", "samed")
SEEDS = Path(__file__).parent / "native" / "seeds"  # checked in, a folder for a target


def bundles() -> list[Path]:
    """tests/data/tiny.samedge, and one bundle of each of `FAMILIES`."""
    folder = BUILDS / "capi-bundles"
    found = [folder / f"{name}.samedge" for name in FAMILIES]
    if not all(path.is_dir() for path in found):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", __name__, str(folder)], cwd=ROOT, check=True)
    return [TINY, *found]


def export(folder: Path) -> None:
    """Bundles of `FAMILIES`."""
    import samedge
    from tests.fold.oracle import random_model
    from tests.runtime.cases import CONFIGS

    for name in FAMILIES:
        model = samedge.fold(random_model(CONFIGS[name]))
        samedge.export(model, folder / f"{name}.samedge")


def seeds(target: str, folder: Path) -> list[Path]:
    """Folders of files for a target: those that are checked in, and those that are made here."""
    made = folder / target
    made.mkdir()
    if target == "fuzz_bundle":
        for name, data in bundle_seeds.seeds().items():
            (made / name).write_bytes(data)
    if target == "fuzz_api":
        random = Random(15)
        for number in range(64):  # calls, most of which are right
            (made / f"calls{number}").write_bytes(random.randbytes(2000))
    return [path for path in (made, SEEDS / target) if path.is_dir()]


if __name__ == "__main__":
    export(Path(sys.argv[1]))
