"""What the fuzzers begin with: bundles of several families, and whole files to damage.

The stand-in backend computes nothing of a graph, so that the bundles' weights do not matter: they
are exported once, into build/.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from random import Random

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
        _write_bundles(made)
    if target == "fuzz_api":
        random = Random(15)
        for number in range(64):  # calls, most of which are right
            (made / f"calls{number}").write_bytes(random.randbytes(2000))
    return [path for path in (made, SEEDS / target) if path.is_dir()]


def _write_bundles(made: Path) -> None:
    """A manifest, a self-test, and a small bundle as a zip file: as readers of bytes take them."""
    shutil.copy(TINY / "manifest.json", made / "manifest.json")
    for path in (TINY / "selftest").iterdir():
        if path.stat().st_size < 20_000:
            shutil.copy(path, made / path.name)
    manifest = json.loads((TINY / "manifest.json").read_text())
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(made / f"bundle{method}.zip", "w", method) as archive:
            archive.writestr("manifest.json", json.dumps(manifest))
            archive.writestr("encoder.fp32.onnx", b"graph")


if __name__ == "__main__":
    export(Path(sys.argv[1]))
