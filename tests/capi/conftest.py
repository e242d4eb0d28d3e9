"""libsamedge, built once for all tests; without a compiler they are skipped.

`SAMEDGE_LIBRARY=/path/to/libsamedge.so` tests one that is built already. Functions from inside are
then taken from `tests/libsamedge_internals.so` beside it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from samedge.capi.library import ENV, Library
from samedge.capi.session import NativeModel, NativeSession
from tests.capi.build import LIBRARY, Failed, Unavailable, build


@pytest.fixture(scope="session")
def library_path() -> Path:
    """The shared library."""
    named = os.environ.get(ENV)
    return Path(named) if named else _built() / LIBRARY.library.name


@pytest.fixture(scope="session")
def library(library_path: Path) -> Library:
    """libsamedge, loaded."""
    return Library(library_path)


@pytest.fixture(scope="module")
def model(library: Library, tiny_bundle: Path) -> Iterator[NativeModel]:
    """tests/data/tiny.samedge, opened with one thread."""
    with NativeModel(library, tiny_bundle, threads=1) as opened:
        yield opened


@pytest.fixture
def session(model: NativeModel) -> Iterator[NativeSession]:
    """A new session of `model`."""
    made = model.session()
    yield made
    if made.handle:
        made.close()


@pytest.fixture
def silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """The library prints nothing."""
    yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="session")
def internals_path(library_path: Path) -> Path:
    """The library with what `tests/capi/native/*internals.cpp` shows of its inside."""
    return library_path.parent / LIBRARY.internals.relative_to(LIBRARY.folder)


@pytest.fixture(scope="session")
def internals(internals_path: Path) -> ctypes.CDLL:
    """The same, loaded. Say `argtypes` and `restype` of what you call."""
    return ctypes.CDLL(str(internals_path))


def _built() -> Path:
    try:
        return build()
    except Unavailable as error:
        pytest.skip(str(error))
    except Failed as error:
        pytest.fail(str(error), pytrace=False)
