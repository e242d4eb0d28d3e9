"""What an engine does for a frame, counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from samedge.bundle import Bundle
from samedge.runtime.triton.account import account, arenas, counted_for, kinds, launches, uses
from samedge.runtime.triton.plan import Target
from samedge.runtime.triton.sizes import named
from tests.runtime.triton.plans import small_plan


@pytest.fixture
def target(tiny_bundle: Path) -> Target:
    return small_plan(Bundle.open(tiny_bundle).manifest)[0].targets[86]


def test_kernels_of_one_name_are_counted_apart(target: Target) -> None:
    same = replace(target, kernels=tuple(replace(k, name="one") for k in target.kernels))
    assert uses(same) == uses(target) == [1, 1, 1, 1]
    encoder, decoder = target.programs
    twice = replace(encoder, steps=(encoder.steps[0], *encoder.steps))
    assert uses(replace(same, programs=(twice, decoder))) == [2, 1, 1, 1]
    (row,) = (row for row in kinds(replace(same, programs=(twice, decoder)))
              if row.graph == "encoder")  # fmt: skip
    size = 512 * 512
    assert (row.kind, row.launches, row.flops) == ("one", 3, 2 * size)
    assert row.reads == row.writes == 3 * size


def test_of_several_programs_the_one_for_usual_sizes(target: Target) -> None:
    encoder, decoder = target.programs
    small = replace(encoder, limits={**encoder.limits, "height": 64, "width": 64})
    large = replace(encoder, limits={**encoder.limits, "height": 4096, "width": 4096})
    both = replace(target, programs=(small, large, decoder))
    assert counted_for(both)["height"] == 512  # of the decoder, which takes no more
    assert launches(both)[0].reads == 600 * 800
    assert [row["largest_arena"] for row in arenas(both)][:2] == [64 * 64 * 3, 4096 * 4096 * 3]


def test_sizes_that_nobody_knows_are_one(target: Target) -> None:
    encoder, decoder = target.programs
    port = replace(decoder.inputs[1], shape=(named("mask_prompts"), 2))
    more = replace(
        decoder,
        limits={**decoder.limits, "mask_prompts": 7},
        inputs=(decoder.inputs[0], port, *decoder.inputs[2:]),
    )
    assert counted_for(replace(target, programs=(encoder, more)))["mask_prompts"] == 1


def test_all_of_it(tiny_bundle: Path) -> None:
    plan, _, _ = small_plan(Bundle.open(tiny_bundle).manifest, (86, 87))
    said = account(plan)
    assert [target["compute_capability"] for target in said["targets"]] == [86, 87]
    assert said["weights"] == 512
