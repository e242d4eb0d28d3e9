"""The whole plan of tiny models of all families, launch by launch on a CPU: masks of a session.

What is run are the launches of an engine at the plan's own offsets, in Triton's interpreter. The
reference is the eager model; float32 shows that every number is the right one, float16 is what
engines compute in.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.bundle import Bundle
from samedge.families import TINY_VIT
from samedge.geometry.mask_values import decide, decision_distance
from samedge.runtime.backend import LoadOptions
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.parity.verify import verify_session
from samedge.runtime.session import Session
from samedge.runtime.triton.plan import Argument, Program, Step
from samedge.tolerances import LIMITS
from tests.export.triton.plan_backend import Plan, PlanBackend, plan_of
from tests.runtime.cases import CONFIGS, IMAGES, STACKS, Case, grey, random_pixels, rgb
from tests.runtime.quantised import with_int8
from tests.runtime.test_int8 import first_inputs


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Case] = {}

    def case(name: str) -> Case:
        if name not in made:
            made[name] = Case.of(name, tmp_path_factory.mktemp(name))
        return made[name]

    return case


def session(case: Case, precision: str, backend: PlanBackend | None = None) -> Session:
    return Session(case.bundle, backend or PlanBackend(), LoadOptions(precision), "")


def frame_for(case: Case) -> Any:
    if case.family.slices > 1:
        return random_pixels(case.family.slices, 70, 64)
    return rgb() if case.family.channels == 3 else grey()


def error(case: Case, result: Any, frame: Any, index: int = 0, **prompts: Any) -> float:
    """The largest difference of low-res logits from the eager model's; the masks are compared."""
    logits, values = case.eager(frame, None, index, **prompts)
    limit = LIMITS["fp16"].logits
    sure = decision_distance(values, case.family) > limit
    np.testing.assert_array_equal(result.masks[sure], decide(values, case.family)[sure])
    return float(np.abs(result.low_res_logits - logits).max())


def check(name: str, precision: str, cases: Any) -> None:
    case = cases(name)
    frame, prompts = frame_for(case), case.prompts()
    with session(case, precision) as opened:
        result = opened.segment(frame, **prompts)
    assert error(case, result, frame, **prompts) < LIMITS[precision].logits


@pytest.mark.parametrize("name", [n for n in IMAGES if CONFIGS[n].family.name not in TINY_VIT])
def test_images(name: str, cases: Any) -> None:
    check(name, "fp16", cases)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["samus", "autosamus", "msa"])  # SAM's parts are in these as well
def test_images_in_float32(name: str, cases: Any) -> None:
    check(name, "fp32", cases)


def check_volume(name: str, precision: str, cases: Any) -> None:
    case = cases(name)
    frame, prompts = frame_for(case), case.prompts()
    with session(case, precision) as opened:
        results = opened.segment_slices(frame, [prompts] * case.family.slices)
    assert len(results) == case.family.slices
    for index, result in enumerate(results):
        assert error(case, result, frame, index, **prompts) < LIMITS[precision].logits


@pytest.mark.parametrize("name", STACKS)
def test_volumes(name: str, cases: Any) -> None:
    check_volume(name, "fp16", cases)


@pytest.mark.slow
def test_a_volume_in_float32(cases: Any) -> None:
    check_volume("volume", "fp32", cases)


def decoder_inputs(case: Case, objects: int, points: int, mask_prompts: int = 1) -> dict[str, Any]:
    """Random ones, of the sizes that are asked for."""
    rng, variant = np.random.default_rng(objects), case.bundle.manifest.variant
    side, low = variant.input_size, variant.low_res
    geometry = case.geometry(frame_for(case))
    return {
        "image_embedding": rng.normal(size=(1, variant.prompt_dim, variant.grid, variant.grid)),
        "point_coords": rng.uniform(0, side, (objects, points, 2)),
        "point_labels": rng.integers(-1, 4, (objects, points)),
        "mask_input": rng.normal(size=(mask_prompts, 1, low, low)),
        "has_mask": np.ones(mask_prompts),
        "mask_index": np.arange(3)[::-1],
        "mask_rows": geometry.mask_rows,
        "mask_cols": geometry.mask_cols,
    }


def decoded(case: Case, engine: Any, inputs: dict[str, Any]) -> Any:
    """The engine's low-res logits."""
    given = {spec.name: inputs[spec.name].astype(spec.dtype) for spec in engine.io.inputs}
    objects = len(inputs["point_coords"])
    masks = len(inputs["mask_index"]) if engine.io.has_input("mask_index") else 1
    low = case.bundle.manifest.variant.low_res
    height, width = len(inputs["mask_rows"]), len(inputs["mask_cols"])
    outputs = {
        "low_res_logits": np.full((objects, masks, low, low), np.nan, np.float32),
        "scores": np.full((objects, masks), np.nan, np.float32),
        "masks": np.full((objects, masks, height, width), 7, np.uint8),
    }
    engine.run(given, outputs)
    assert np.isfinite(outputs["scores"]).all()
    assert outputs["masks"].max() <= 1
    return outputs["low_res_logits"]


@pytest.mark.parametrize(("objects", "points", "mask_prompts"), [(1, 2, 1), (3, 4, 3), (2, 30, 1)])
def test_objects_points_and_mask_prompts(
    objects: int, points: int, mask_prompts: int, cases: Any
) -> None:
    """Thirty points are more than the fused kernels have places for: the plain ones take over."""
    case, backend = cases("sam"), PlanBackend()
    inputs = decoder_inputs(case, objects, points, mask_prompts)
    options = LoadOptions("fp32")
    found = decoded(case, backend.open(case.bundle, options).decoder, inputs)
    reference = OPENVINO.open(case.bundle, LoadOptions("fp32", cache=False))
    expected = decoded(case, reference.decoder, inputs)
    reference.close()
    np.testing.assert_allclose(found, expected, atol=LIMITS["fp32"].logits)
    few = min(program.limits["points"] for program in backend.known("decoder"))
    assert (backend.runs[0].limits["points"] == few) is (points <= few)


Change = Callable[[Step], Step]


def moved(kind: str, by: int) -> Change:
    """The first pointer of a kind points somewhere else."""

    def change(step: Step) -> Step:
        arguments = list(step.arguments)
        at = next(i for i, a in enumerate(arguments) if a.kind == kind)
        arguments[at] = replace(arguments[at], value=arguments[at].value + by)
        return replace(step, arguments=tuple(arguments))

    return change


def swapped(step: Step) -> Step:
    """Two pointers to weights have changed places."""
    arguments = list(step.arguments)
    first, second = [i for i, a in enumerate(arguments) if a.kind == "weight"][:2]
    arguments[first], arguments[second] = arguments[second], arguments[first]
    return replace(step, arguments=tuple(arguments))


def counted(step: Step) -> Step:
    """The first size is one less."""
    arguments = list(step.arguments)
    at = next(i for i, a in enumerate(arguments) if a.kind == "size")
    arguments[at] = Argument("size", arguments[at].value + -1)
    return replace(step, arguments=tuple(arguments))


def fewer_blocks(step: Step) -> Step:
    """A block is not started."""
    return replace(step, grid=(step.grid[0], 1, step.grid[2]))


def test_a_changed_plan_fails(cases: Any) -> None:
    """One launch left out, or one offset, weight, size or grid changed: another result, always."""
    case = cases("samus")
    inputs = decoder_inputs(case, 1, 2)
    plan: list[Plan] = []
    backend = PlanBackend(change=lambda known: (plan.append(known), known)[1])
    expected = decoded(case, backend.open(case.bundle, LoadOptions("fp32")).decoder, inputs)
    (known,) = plan
    at = next(i for i, p in enumerate(known.programs) if p.graph == "decoder")
    steps = known.programs[at].steps

    def broken(steps: tuple[Step, ...]) -> bool:
        program = replace(known.programs[at], steps=steps)
        programs = (*known.programs[:at], program, *known.programs[at + 1 :])
        other = PlanBackend(change=lambda _: replace(known, programs=programs))
        try:
            found = decoded(case, other.open(case.bundle, LoadOptions("fp32")).decoder, inputs)
        except AssertionError:
            return True
        return not np.allclose(found, expected, atol=LIMITS["fp32"].logits)

    def one_changed(label: str, change: Change) -> bool:
        index = next(i for i, step in enumerate(steps) if label in step.label)
        return broken((*steps[:index], change(steps[index]), *steps[index + 1 :]))

    assert broken(steps[:4] + steps[5:])
    assert one_changed("layers.1.image", moved("arena", 256))
    assert one_changed("layers.0", swapped)
    assert one_changed("layers.0.image", moved("weight", 256))
    assert one_changed("decoder.prompt", counted)
    assert one_changed("decoder.head", fewer_blocks)
    assert not broken(steps)


def test_int8(tiny_bundle: Path, tmp_path: Path) -> None:
    """With the scales of the bundle's quantised graph the self-test passes the INT8 limits."""
    target = tmp_path / "tiny.samedge"
    shutil.copytree(tiny_bundle, target)
    bundle, _ = with_int8(target, first_inputs(Bundle.open(target)))
    kernels = [kernel.kernel for kernel in plan_of(bundle, "int8", 87).kernels]
    assert sum("linear_int8" in name for name in kernels) >= 4
    with Session(bundle, PlanBackend(), LoadOptions("int8"), "") as opened:
        row = verify_session(opened, bundle.selftest()[:1])
    assert row.passed
    assert row.max_logit_error > LIMITS["fp32"].logits


def test_the_same_bundle_gives_the_same_plan(cases: Any) -> None:
    bundle = cases("autosamus").bundle
    assert plan_of(bundle, "fp16", 87) == plan_of(bundle, "fp16", 87)


def test_ports_are_the_bundle_s(cases: Any) -> None:
    """A program takes and gives what the graph that it stands for takes and gives."""
    for name in ("sam", "samed", "autosamus", "structures"):
        bundle = cases(name).bundle
        for program in plan_of(bundle, "fp16").programs:
            entry = bundle.manifest.graphs[program.graph]["fp32"]
            assert ports(program) == [{(t.name, t.dtype) for t in tensors}
                                      for tensors in (entry.inputs, entry.outputs)]  # fmt: skip


def ports(program: Program) -> list[set[tuple[str, str]]]:
    return [{(p.name, p.dtype) for p in given} for given in (program.inputs, program.outputs)]
