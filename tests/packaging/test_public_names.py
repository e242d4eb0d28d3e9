"""`samedge.NAME`: what is offered exists, and what a type checker lets pass runs."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import samedge
from samedge import errors
from tests.packaging.tree import ROOT

ERRORS = [name for name in vars(errors) if isinstance(getattr(errors, name), type)]
PROGRAM = """
import samedge

def first(session: samedge.Session, volume: samedge.VolumeResult) -> samedge.Result:
    try:
        return samedge.load("x")
    except samedge.BundleError as error:
        raise samedge.SamEdgeError(samedge.__version__) from error
"""


@pytest.mark.parametrize("name", samedge.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(samedge, name) is not None


def test_every_error_is_public() -> None:
    assert set(ERRORS) <= set(samedge.__all__)


def test_the_classes_are_those_that_sessions_give() -> None:
    from samedge.runtime.result import Result
    from samedge.runtime.session import Session
    from samedge.runtime.volumes import VolumeResult

    assert (samedge.Result, samedge.Session) == (Result, Session)
    assert samedge.VolumeResult is VolumeResult


def test_a_name_that_is_none_fails_at_run_time() -> None:
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        samedge.laod  # noqa: B018


def checked(program: str, folder: Path) -> str:
    """What mypy --strict says about a program; of samedge it reads the public face alone."""
    pytest.importorskip("mypy")
    (folder / "program.py").write_text(program)
    options = ("--strict", "--follow-imports=skip", "--no-incremental", "--config-file=")
    face = str(ROOT / "samedge" / "__init__.py")
    command = [sys.executable, "-m", "mypy", *options, "program.py", face]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout


def test_a_type_checker_knows_the_names_and_no_others(tmp_path: Path) -> None:
    mistyped = PROGRAM.replace("samedge.load", "samedge.laod")
    assert 'program.py:6: error: Module has no attribute "laod"' in checked(mistyped, tmp_path)
    assert "program.py" not in checked(PROGRAM, tmp_path)


@pytest.mark.parametrize("name", ERRORS)
def test_errors_come_out_of_worker_processes(name: str) -> None:
    kind = getattr(errors, name)
    error = kind("torch", "export", "samedge.fold") if name.startswith("Missing") else kind("words")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.exit_code) == (kind, str(error), error.exit_code)
