"""`import samedge` and `samedge --help` load almost nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.tree import ROOT

ALLOWED = Path(__file__).with_name("light_import.txt")

REPORT = """
import json, sys
sys.path.insert(0, {root!r})
before = set(sys.modules)
{action}
new = set(sys.modules) - before
print(json.dumps(sorted(m for m in new if m.split(".")[0] not in sys.stdlib_module_names)))
"""


def loaded(action: str, *flags: str) -> list[str]:
    """Modules outside the standard library that `action` loads in a fresh interpreter."""
    code = REPORT.format(root=str(ROOT), action=action)
    done = subprocess.run(
        [sys.executable, "-I", *flags, "-c", code], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def allowed() -> list[str]:
    """The checked-in list."""
    lines = ALLOWED.read_text().splitlines()
    return sorted(line for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("flags", [("-S",), ()], ids=["bare-interpreter", "installed-packages"])
def test_import_samedge_loads_the_checked_in_list(flags: tuple[str, ...]) -> None:
    assert loaded("import samedge", *flags) == allowed()


def test_asking_for_help_loads_click_and_no_command() -> None:
    found = loaded("from samedge.cli import run; run(['--help'])")
    assert {name.split(".")[0] for name in found} == {"samedge", "click"}
    ours = {name for name in found if name.startswith("samedge")}
    cli = {"samedge.cli", "samedge.cli.completion", "samedge.cli.terminal"}
    cli.add("samedge.cli.terminal.printing")
    assert ours == {*allowed(), *cli, "samedge._wording"}


def test_looking_at_names_loads_nothing() -> None:
    assert loaded("import samedge; dir(samedge); samedge.__version__") == allowed()
