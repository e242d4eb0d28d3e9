"""Where optional packages are missing, a module imports, or says which extra it needs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.packaging.tree import ROOT, modules, pyproject

SCRIPT = """
import importlib, json, sys, warnings
warnings.simplefilter("error", ImportWarning)
root, blocked, names = json.loads(sys.argv[1])
sys.path.insert(0, root)

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Blocker())
from samedge.errors import MissingDependencyError
result = {}
for name in names:
    try:
        importlib.import_module(name)
        result[name] = "ok"
    except MissingDependencyError as error:
        result[name] = [error.package, error.extra, str(error)]
    except BaseException as error:
        result[name] = f"{type(error).__name__}: {error}"
print(json.dumps(result))
"""

# The module that a package brings, where the names differ.
MODULE_OF = {"pillow": "PIL", "opencv-python-headless": "cv2", "pytest-timeout": "pytest_timeout"}
# What no extra brings, but a developer's machine may have.
STRAY = {
    "PIL",
    "cuda",
    "onnxruntime",
    "segment_anything",
    "tensorrt",
    "tensorrt_rtx",
    "torchvision",
    "triton",
}


def optional_packages() -> dict[str, str]:
    """Module -> extra, for every package that the base installation does not bring."""
    found = {}
    for extra in ("export", "physics", "stream"):
        for requirement in pyproject()["project"]["optional-dependencies"][extra]:
            name = requirement.split(">")[0].strip()
            found[MODULE_OF.get(name, name)] = extra
    return found


@pytest.fixture(scope="module")
def outcomes() -> dict[str, object]:
    """Module -> "ok", or [package, extra, message], or another error as text."""
    blocked = sorted(set(optional_packages()) | STRAY)
    arguments = json.dumps([str(ROOT), blocked, sorted(modules())])
    done = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT, arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("module", sorted(modules()))
def test_module_imports_or_names_the_extra(module: str, outcomes: dict[str, object]) -> None:
    outcome = outcomes[module]
    if outcome == "ok":
        return
    assert isinstance(outcome, list), f"{module}: {outcome}"
    package, extra, message = outcome
    assert optional_packages().get(package) == extra
    assert f"samedge[{extra}]" in message


@pytest.mark.parametrize(
    "module",
    [
        "samedge",
        "samedge.bundle",
        "samedge.cli",
        "samedge.geometry.frame_geometry",
        "samedge.runtime",
    ],
)
def test_what_a_cart_needs_works_without_extras(module: str, outcomes: dict[str, object]) -> None:
    assert outcomes[module] == "ok"
