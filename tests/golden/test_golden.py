"""All stages against the reference vectors.

`-m "not slow"` leaves SAMUS, and nothing of the other systems. Of those the whole set is used where
$SAMEDGE_GOLDEN points to it (or ../shared/golden is there), else what the small copy has.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.checkpoint import Checkpoint
from samedge.errors import ParityError
from samedge.export import exporting
from samedge.fold import folding
from samedge.fold.probes import selftest_prompts
from tests.golden.cases import FULL, SYSTEMS, VECTORS, Case, read_cases
from tests.golden.compare import Row, table
from tests.golden.engines import HALF, STAGES
from tests.golden.run import Opener, Plan, main, report, run_cases
from tests.golden.runner import TRACES, opened_checkpoint


def written_as_listed(golden: Path, out: Path, system: str, stage: str = "eager") -> None:
    """Every supported case is there, with the names and shapes of the index."""
    for case in read_cases(golden):
        if case.system != system:
            continue
        expected = {n: s for n, s in case.arrays.items() if stage == "eager" or n not in TRACES}
        with np.load(out / case.file) as arrays:
            assert {name: arrays[name].shape for name in arrays.files} == expected, case.id


@dataclass(frozen=True)
class Compared:
    """Stage -> folder with its arrays, and rows of the comparison."""

    out: dict[str, Path]
    rows: dict[str, list[Row]]


@pytest.fixture(scope="module")
def opener() -> Iterator[Opener]:
    """Checkpoints by case, written and read once for all tests here."""
    with ExitStack() as stack:
        known: dict[Any, Checkpoint] = {}

        @contextmanager
        def opened(case: Case) -> Iterator[Checkpoint]:
            if case.checkpoints not in known:
                known[case.checkpoints] = stack.enter_context(opened_checkpoint(case))
            yield known[case.checkpoints]

        yield opened


def fewer_proofs(patch: pytest.MonkeyPatch) -> None:
    """The vectors are stricter than the proofs that fold and export run by themselves, which would
    double the time; SAM and SAMed run with all of them."""
    patch.setattr(folding, "selftest_prompts", lambda *about: selftest_prompts(*about)[:1])
    patch.setattr(exporting, "gate", lambda _bundle: [])


@pytest.fixture(scope="module")
def samus(opener: Opener, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """The small copy's SAMUS cases in all stages; every checkpoint is folded and exported once."""
    out = {stage: tmp_path_factory.mktemp(stage) for stage in (*STAGES, HALF)}
    cases = [case for case in read_cases(VECTORS) if case.system == "samus"]
    with pytest.MonkeyPatch.context() as patch:
        fewer_proofs(patch)
        return Compared(out, run_cases(cases, Plan(out, compare=True), opener))


@pytest.mark.parametrize("stage", [*STAGES, HALF])
def test_samus(stage: str, samus: Compared) -> None:
    rows = samus.rows[stage]
    assert [row for row in rows if not row.passed] == [], table(rows)
    written_as_listed(VECTORS, samus.out[stage], "samus", stage)
    # The frame of the dataset case is resized inside the graphs, bit for bit as by PIL.
    assert ("seed1_dataset_synthetic", "network_input_u8") in {(r.case, r.array) for r in rows}


def test_a_changed_weight_shows(opener: Opener, samus: Compared, tmp_path: Path) -> None:
    cases = [case for case in read_cases(VECTORS) if case.id == "seed1_one_negative"]
    name = "image_encoder.blocks.2.attn.rel_pos_h"

    @contextmanager
    def damaged(case: Case) -> Iterator[Checkpoint]:
        with opener(case) as checkpoint:
            tensors = {**checkpoint.tensors, name: checkpoint.tensors[name] * 0.5}
            yield replace(checkpoint, tensors=tensors)

    rows = run_cases(cases, Plan({"eager": tmp_path}, compare=True), damaged)
    assert [row.passed for row in rows["eager"]] == [False]
    with pytest.raises(ParityError, match="1 of 1 arrays fail: eager seed1_one_negative/low_res"):
        report(rows)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("system", [system for system in SYSTEMS if system != "samus"])
def test_other_systems(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if system not in ("sam", "samed"):
        fewer_proofs(monkeypatch)
    options = ["--system", system, "--stage", "all", "--compare"]
    assert main([str(FULL), str(tmp_path), *options]) == 0
    for stage in STAGES:
        written_as_listed(FULL, tmp_path / stage, system, stage)
