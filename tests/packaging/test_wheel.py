"""The wheel holds the package as it is in the tree: no file more, no file less, none changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.packaging.tree import LINKED, NATIVE, ROOT, package_files


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree: a build leaves folders behind."""
    source = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in ("samedge", *LINKED):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source / name)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    """The wheel."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    command += ["--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", "out", "."]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (source / "out").glob("samedge-*.whl")
    return built


def test_contents_equal_the_tree(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {n for n in archive.namelist() if ".dist-info/" not in n and not n.endswith("/")}
        expected = package_files()
        assert inside == set(expected)
        changed = [n for n in sorted(inside) if archive.read(n) != expected[n].read_bytes()]
    assert not changed


def test_the_wheel_has_nothing_to_compile(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    capi = [n for n in names if n.startswith("samedge/capi/")]
    assert "samedge/capi/library.py" in capi
    assert not [n for n in capi if not n.endswith(".py")]


def test_the_source_distribution_builds_libsamedge(source: Path) -> None:
    code = "import setuptools.build_meta as backend; backend.build_sdist('sdist')"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (source / "sdist").glob("samedge-*.tar.gz")
    with tarfile.open(built) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    paths = (p for p in NATIVE.rglob("*") if p.is_file() and p.suffix != ".pyc")
    assert {p.relative_to(ROOT).as_posix() for p in paths} <= inside
    assert "samedge/_version.py" in inside  # has the library's release


def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (path,) = (n for n in names if n.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(path).decode())
        (entry,) = (n for n in names if n.endswith(".dist-info/entry_points.txt"))
        entry_points = archive.read(entry).decode()
    assert "samedge = samedge.cli:main" in entry_points
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    base = [r for r in metadata.get_all("Requires-Dist") if "extra ==" not in r]
    assert base
    assert not [r for r in base if r.startswith(("torch", "onnx", "av", "nibabel", "pydicom"))]
    assert {"LICENSE", "NOTICE"} <= {Path(n).name for n in names}
    assert wheel.name.endswith("-py3-none-any.whl")
