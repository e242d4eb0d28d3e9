"""The commands that messages and pages name to install something work for this copy of samedge."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from samedge import _install
from samedge._install import install_command
from tests.packaging.tree import ROOT, modules

SAY = """
import sys
sys.path.insert(0, {place!r})
from samedge.errors import MissingDependencyError
print(MissingDependencyError("torch", "export", "this"))
"""
URL = "file:///somewhere/samedge-0.1.0-py3-none-any.whl"
WHEEL = "pip install './samedge-0.1.0-py3-none-any.whl[export]' (in the folder of the wheel)"
CLONE = "pip install -e '.[export]' (in the clone of samedge)"


def installed(folder: Path, origin: object) -> str:
    """What a copy in a site-packages folder says, of which pip noted this origin."""
    (folder / "samedge").mkdir()
    for name in ("_install.py", "errors.py"):
        (folder / "samedge" / name).write_text((ROOT / "samedge" / name).read_text())
    (folder / "samedge" / "__init__.py").write_text("")
    info = folder / "samedge-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: samedge\nVersion: 0.1.0\n")
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps(origin))
    code = SAY.format(place=str(folder))
    return subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({"url": URL, "archive_info": {}}, WHEEL),
        (None, WHEEL),  # out of a folder of wheels (--find-links)
        ({"url": "file:///somewhere/clone", "dir_info": {}}, CLONE),
        ({"url": "https://x.org/samedge", "vcs_info": {"vcs": "git"}}, CLONE),
    ],
    ids=["wheel", "folder-of-wheels", "clone", "git"],
)
def test_a_message_fits_what_was_installed(origin: object, command: str, tmp_path: Path) -> None:
    assert installed(tmp_path, origin).endswith(f"Install it with: {command}")


def test_a_clone_that_is_not_installed() -> None:
    assert install_command("export") == CLONE
    assert install_command("export", "-c constraints.txt") == (
        "pip install -e '.[export]' -c constraints.txt (in the clone of samedge)"
    )


def test_pip_takes_the_wheels_command(tmp_path: Path) -> None:
    info = "samedge-0.1.0.dist-info"
    with zipfile.ZipFile(tmp_path / "samedge-0.1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: samedge\nVersion: 0.1.0\nProvides-Extra: export\n",
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    (argument,) = re.findall("'(.*)'", WHEEL)
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", argument]
    done = subprocess.run(
        [*command, "--force-reinstall"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Would install samedge-0.1.0" in done.stdout, done.stderr


def test_when_it_is_published_one_line_changes_every_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_install, "PUBLISHED", True)
    assert install_command("export") == "pip install 'samedge[export]'"


INDEX = re.compile(r"pip install\s+(-\S+ )*'?samedge")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "constraints.txt"], ids=lambda path: path.name)
def test_pages_ask_the_index_for_samedge_only_when_it_is_there(page: Path) -> None:
    assert _install.PUBLISHED or not INDEX.search(page.read_text())


def test_no_other_module_says_how_to_install_samedge() -> None:
    texts = {name: path.read_text() for name, path in modules().items()}
    del texts["samedge._install"]
    assert not [name for name, text in texts.items() if re.search(r"'(samedge|\.)\[", text)]
    assert not [name for name, text in texts.items() if INDEX.search(text)]
