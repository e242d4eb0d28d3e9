"""All stages against the reference vectors.

`-m "not slow"` leaves one case of each system; LiteMedSAM's are skipped where its trained weights
are not installed. The slow tests take the whole set where
$SAMEDGE_GOLDEN points to it (or ../shared/golden is there), else what the small copy has.

The folded model and the graphs stand between the eager model and the session, which would be wrong
if they were: one case each of SAMUS, MSA and SAMed goes through all stages, the others go through
these two. `python tests/golden/run.py ... --stage all --compare` asks all stages of all cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.checkpoint import Checkpoint
from samedge.errors import ParityError
from tests import real_weights
from tests.golden.cases import FULL, VECTORS, Case, read_cases
from tests.golden.compare import Row, table
from tests.golden.engines import HALF, STAGES, Options
from tests.golden.run import Opener, Plan, main, report, run_cases
from tests.golden.runner import TRACES, opened_checkpoint

SAMUS_STAGES = (*STAGES, HALF)
ENDS = ("eager", "openvino")
# Their networks are those of other cases but for a size: the eager model alone is asked.
ALIKE = ("seed1_2d_1024", "seed1_3d_chunk4")
ONE_THREAD = Options(threads=1)  # tests run in as many processes as there are cores
# One case of each system. In the other stages large networks, and AutoSAMUS, are tiny
# (test_runner.py), and here among the slow tests: they look at an image for up to ten seconds.
QUICK = [
    ("sam", "seed1_predictor_box", ("eager",)),
    ("medsam", "seed1_two_boxes", ("eager",)),
    ("samed", "seed1_samed_s_forward", ("eager",)),
    ("msa", "seed1_2d_256_multimask2", STAGES),
    ("samus", "seed1_dataset_synthetic", SAMUS_STAGES),
    ("autosamus", "seed1_single", ("eager",)),
    ("litemedsam", "seed1_200x150", (*STAGES, HALF)),
]
SYSTEMS = tuple(dict.fromkeys(case.system for case in read_cases(FULL)))


def chosen(golden: Path, system: str, ids: tuple[str, ...] = ()) -> list[Case]:
    """Cases of a system; of those only the ones named, if any are.

    Skips the test where their trained weights are not installed.
    """
    cases = [case for case in read_cases(golden) if case.system == system]
    if any(case.weights for case in cases):
        real_weights.lite_medsam()
    return [case for case in cases if not ids or case.id in ids]


def written_as_listed(cases: list[Case], out: Path, stage: str = "eager") -> None:
    """Every case is there, with the names and shapes of the index."""
    assert cases
    for case in cases:
        expected = {n: s for n, s in case.arrays.items() if stage == "eager" or n not in TRACES}
        with np.load(out / case.file) as arrays:
            assert {name: arrays[name].shape for name in arrays.files} == expected, case.id


@pytest.fixture(scope="module")
def opener() -> Iterator[Opener]:
    """Checkpoints by case, written and read once for all tests here."""
    with ExitStack() as stack:
        known: dict[Any, Checkpoint] = {}

        @contextmanager
        def opened(case: Case) -> Iterator[Checkpoint]:
            key = (case.checkpoints, case.weights)
            if key not in known:
                known[key] = stack.enter_context(opened_checkpoint(case))
            yield known[key]

        yield opened


def compared(
    cases: list[Case], folder: Path, stages: tuple[str, ...], opener: Opener = opened_checkpoint
) -> dict[str, list[Row]]:
    """Run the cases in all stages and hold them against the reference; rows by stage."""
    out = {stage: folder / stage for stage in stages}
    found = run_cases(cases, Plan(out, ONE_THREAD, compare=True), opener)
    for stage in stages:
        assert [row for row in found[stage] if not row.passed] == [], table(found[stage])
        written_as_listed(cases, out[stage], stage)
    return found


@pytest.mark.usefixtures("no_proofs")
@pytest.mark.parametrize(("system", "case", "stages"), QUICK)
def test_one_case(
    system: str, case: str, stages: tuple[str, ...], opener: Opener, tmp_path: Path
) -> None:
    given = opener if system == "samus" else opened_checkpoint
    rows = compared(chosen(VECTORS, system, (case,)), tmp_path, stages, given)
    if "dataset" in case:  # its frame is resized inside the graphs, bit for bit as by PIL
        for stage in stages:
            assert "network_input_u8" in {row.array for row in rows[stage]}


def test_a_changed_weight_shows(opener: Opener, tmp_path: Path) -> None:
    cases = chosen(VECTORS, "samus", ("seed1_one_negative",))
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
@pytest.mark.usefixtures("no_proofs")
@pytest.mark.parametrize("system", SYSTEMS)
def test_all(system: str, tmp_path: Path) -> None:
    """Of SAMUS in the small copy, which has all."""
    cases = chosen(VECTORS if system == "samus" else FULL, system)
    alike = [case for case in cases if case.id in ALIKE]
    compared([case for case in cases if case not in alike], tmp_path / "both", ENDS)
    if alike:
        compared(alike, tmp_path / "one", ENDS[:1])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("no_proofs")
def test_trained_weights_in_every_stage(tmp_path: Path) -> None:
    """All of LiteMedSAM's cases, whose activations are those of a real network.

    Their logits reach 47. There the original code itself moves by 7e-5 from one machine to another,
    and ONNX Runtime is 3 % beyond the limit in one of twelve: half as much again is allowed.
    """
    cases = chosen(FULL, "litemedsam")
    out = {stage: tmp_path / stage for stage in (*STAGES, HALF)}
    for stage, found in run_cases(cases, Plan(out, ONE_THREAD, compare=True)).items():
        assert [r for r in found if not r.passed and r.error > 1.5 * r.limit] == [], table(found)
        assert [r for r in found if not r.passed and "logits" not in r.array] == [], table(found)
        written_as_listed(cases, out[stage], stage)
    rough = Plan({"openvino": tmp_path / "bf16"}, Options("bf16", threads=1), compare=True)
    rows = run_cases(cases, rough)["openvino"]
    assert [row for row in rows if not row.passed] == [], table(rows)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_with_all_proofs(tmp_path: Path) -> None:
    """Of fold and export, in all stages: a network of ViT-B's size whose input is small."""
    system, case = "samed", "seed1_samed_volume"
    options = ["--system", system, "--case", case, "--stage", "all", "--threads", "1", "--compare"]
    assert main([str(FULL), str(tmp_path), *options]) == 0
    for stage in STAGES:
        written_as_listed(chosen(FULL, system, (case,)), tmp_path / stage, stage)
