"""Damaged files: every one that ever broke a promise, and a few hundred new ones for each reader.

`make fuzz` goes on from here, guided by coverage. What it finds is mended, and its file joins
`corpus/READER/`, under a name that says what it is.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from samedge.errors import SamEdgeError, SourceError
from tests.fuzz.mutation import PNG, mutated
from tests.fuzz.seeds import PATIENT
from tests.fuzz.targets import TARGETS
from tests.fuzz.watching import watched

CORPUS = Path(__file__).parent / "corpus"
FAULTS = sorted(p for p in CORPUS.glob("*/*") if p.is_file())
_EMPTY_ZIP = b"PK\x03\x04" + bytes(30) + b"PK\x05\x06" + bytes(18)  # no member in its table
MAX_CORPUS_BYTES = 200_000


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_whole(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    read, why = 0, []
    for data in target.seeds():
        assert len(data) <= target.most
        assert watched(target.read, data, f"a{target.suffix}", tmp_path) is None
        (tmp_path / f"a{target.suffix}").write_bytes(data)
        try:
            target.read(tmp_path / f"a{target.suffix}")
            read += 1
        except SamEdgeError as error:  # kinds that are refused are seeds as well
            why.append(str(error))
    assert read >= len(target.seeds()) / 2, why


@pytest.mark.parametrize("fault", FAULTS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_past_faults(fault: Path, tmp_path: Path) -> None:
    target = TARGETS[fault.parent.name]
    found = watched(target.read, fault.read_bytes(), f"fuzz{target.suffix}", tmp_path)
    assert found is None, f"{found}\n{found.details}"


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    target, chance = TARGETS[name], Random(name)
    wholes = target.seeds()
    for number in range(target.quick):
        data = mutated(chance.choice(wholes), chance, target.tokens, wholes)
        data = data if target.close is None else target.close(data)
        found = watched(target.read, data, f"fuzz{target.suffix}", tmp_path)
        if found is not None:
            file = tmp_path / f"{name}-{number}"
            file.write_bytes(data)
            pytest.fail(f"{found}; python -m tests.fuzz replay {name} {file}\n{found.details}")


@pytest.mark.parametrize("data", [b"", b"P", b"{", b"{}", _EMPTY_ZIP, PNG, b"\x1f\x8b", b"\0" * 40])
def test_anything_can_be_damaged(data: bytes) -> None:
    chance = Random(0)
    for _ in range(200):
        mutated(data, chance, (), ())


def test_the_corpus_is_small() -> None:
    assert sum(p.stat().st_size for p in FAULTS) < MAX_CORPUS_BYTES
    assert {p.parent.name for p in FAULTS} <= set(TARGETS)


def _raise(error: BaseException) -> list[str]:
    raise error


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda _: _raise(ValueError("a")), "ValueError"),
        (lambda _: _raise(MemoryError()), "MemoryError"),
        (lambda _: _raise(SourceError("")), "exit code"),
        (lambda _: _raise(SourceError(f"the image of {PATIENT}")), "leak"),
        (lambda _: [PATIENT.upper()], "leak"),
        (lambda path: [str(path.with_name("left").write_text("x"))], "left behind"),
    ],
)
def test_what_is_watched(read: object, kind: str, tmp_path: Path) -> None:
    found = watched(read, b"", "a.png", tmp_path)
    assert found is not None
    assert found.kind == kind
    assert not any(tmp_path.iterdir())


def test_memory_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.watching.MAX_GROWTH", 1 << 24)
    found = watched(lambda _: [str(len(b"x" * (1 << 26)))], b"", "a.png", tmp_path)
    assert found is not None
    assert found.kind == "memory"
