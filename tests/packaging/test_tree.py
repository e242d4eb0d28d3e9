"""The tree, pyproject.toml, constraints.txt and the tables in the code say the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from samedge.machine.facts import EXTRAS
from tests.packaging.tree import LINKED, ROOT, modules, pyproject


@pytest.mark.parametrize("name", LINKED)
def test_symlinks_are_relative_and_point_to_the_root(name: str) -> None:
    link = ROOT / "samedge" / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../{name}"


@pytest.mark.parametrize("name", LINKED)
def test_bare_import_is_refused(name: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {name}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"ImportError: this folder is the package samedge.{name}" in done.stderr


def test_every_package_is_listed() -> None:
    found = {name for name, path in modules().items() if path.name == "__init__.py"}
    assert set(pyproject()["tool"]["setuptools"]["packages"]) == found


def test_every_folder_with_modules_is_a_package() -> None:
    packages = {name for name, path in modules().items() if path.name == "__init__.py"}
    for name in modules():
        assert name in packages or name.rpartition(".")[0] in packages


@pytest.mark.parametrize("name", ["onnx", "triton", "torch", "tensorrt", "openvino", "numpy"])
def test_no_module_has_the_name_of_a_package_it_uses(name: str) -> None:
    """A script hides what its neighbours import. Folders do not: imports are absolute."""
    assert not [path for path in modules().values() if path.name == f"{name}.py"]


def test_no_test_folder_is_a_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def requirements() -> dict[str, list[Requirement]]:
    """Extra ("" for the base) -> requirements other than samedge itself."""
    project = pyproject()["project"]
    listed = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        extra: [r for r in map(Requirement, lines) if r.name != "samedge"]
        for extra, lines in listed.items()
    }


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.13"])
def test_constraints_cover_every_requirement_and_respect_its_bound(python: str) -> None:
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate({"python_version": python}):
                assert pin.name not in pinned, f"{pin.name} is pinned twice for Python {python}"
                pinned[pin.name] = next(iter(pin.specifier)).version
    for lines in requirements().values():
        for requirement in lines:
            assert requirement.specifier.contains(pinned[requirement.name]), str(requirement)


def test_doctor_knows_the_extras() -> None:
    for extra, (_, packages) in EXTRAS.items():
        assert {r.name for r in requirements()[extra]} == set(packages)


def test_the_base_needs_no_torch() -> None:
    assert not {"torch", "onnx", "av", "nibabel", "pydicom"} & {r.name for r in requirements()[""]}


def test_ci_runs_the_same_command_as_a_developer() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text()
