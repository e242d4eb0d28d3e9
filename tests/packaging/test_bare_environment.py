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
MODULE_OF = {"lightning-fabric": "lightning_fabric", "pillow": "PIL"}
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


def optional_packages(*extras: str) -> dict[str, str]:
    """Module -> extra, for every package that these extras list themselves."""
    found = {}
    for extra in extras:
        for requirement in pyproject()["project"]["optional-dependencies"][extra]:
            name = requirement.split(">")[0].strip()
            if not name.startswith("samedge["):
                found[MODULE_OF.get(name, name)] = extra
    return found


BARE = optional_packages("export", "physics", "stream", "train")


def import_without(blocked: set[str], names: list[str]) -> dict[str, object]:
    """Module -> "ok", or [package, extra, message], or another error as text."""
    arguments = json.dumps([str(ROOT), sorted(blocked), names])
    done = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT, arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def names_its_extra(outcome: object, extra_of: dict[str, str]) -> bool:
    """Whether it is the error for one of these packages, with what to install."""
    if not isinstance(outcome, list):
        return False
    package, extra, message = outcome
    return extra_of.get(package) == extra and f"[{extra}]" in message


@pytest.fixture(scope="module")
def outcomes() -> dict[str, object]:
    return import_without(set(BARE) | STRAY, sorted(modules()))


@pytest.mark.parametrize("module", sorted(modules()))
def test_module_imports_or_names_the_extra(module: str, outcomes: dict[str, object]) -> None:
    outcome = outcomes[module]
    assert outcome == "ok" or names_its_extra(outcome, BARE), f"{module}: {outcome}"


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


def test_training_with_torch_but_without_its_own_packages() -> None:
    """Which the test above cannot see: there, torch is missed first."""
    names = sorted(name for name in modules() if name.startswith("samedge.train."))
    needing = ("samedge.train.run", "samedge.train.loop", "samedge.train.distill")
    lacking = optional_packages("train")
    for module, outcome in import_without(set(lacking), names).items():
        missed = module.startswith(needing)
        fine = names_its_extra(outcome, lacking) if missed else outcome == "ok"
        assert fine, f"{module}: {outcome}"
