"""What is predicted from sizes: never less than what was measured, and growing with every size."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.fold.work import work_of, work_of_folded
from samedge.machine import needs
from samedge.machine.needs import (
    HALF,
    INT8,
    Work,
    bundle_bytes,
    derive_needs,
    export_needs,
    fold_needs,
)
from samedge.models import (
    MsaConfig,
    SamConfig,
    build_model,
    sam_config,
    tiny,
    tiny_sam_config,
    tiny_samus_config,
)
from samedge.models.build import model_shapes
from tests.export.engine import folded_model

works = st.builds(
    Work,
    weights=st.integers(1, 10**11),
    images=st.integers(1, 64),
    heads=st.integers(1, 32),
    tokens=st.integers(1, 10**5),
    padded=st.integers(1, 10**5),
    dim=st.integers(1, 4096),
    attended=st.integers(1, 10**5),
)


@given(works, st.sampled_from([field.name for field in fields(Work)]), st.integers(1, 10**6))
def test_more_of_anything_never_takes_less(work: Work, size: str, more: int) -> None:
    larger = replace(work, **{size: getattr(work, size) + more})
    before, after = (fold_needs(w) + export_needs(w)[1:] for w in (work, larger))
    assert all(a.bytes >= b.bytes > 0 for a, b in zip(after, before, strict=True))
    assert bundle_bytes(larger) >= bundle_bytes(work)


def test_weights_beside_the_graph_are_not_read_to_check_it() -> None:
    work = work_of(sam_config("vit_b"), 1)
    inside = replace(work, weights=needs.EXTERNAL_ABOVE - 1)
    outside = replace(work, weights=needs.EXTERNAL_ABOVE)
    (write_inside, _), (write_outside, _) = export_needs(inside), export_needs(outside)
    assert write_outside.bytes < 10**9 < write_inside.bytes


def parameters(config: SamConfig) -> int:
    total = 0
    for shape in model_shapes(config).values():
        count = 1
        for side in shape:
            count *= side
        total += count
    return total


@pytest.mark.parametrize("config", [tiny_sam_config(), tiny_samus_config(), tiny(MsaConfig)])
def test_sizes_before_and_after_folding_are_the_same(config: SamConfig) -> None:
    from samedge import fold

    before = work_of(config, parameters(config))
    after = work_of_folded(fold(build_model(config)))
    assert replace(after, weights=before.weights) == before
    assert after.weights == pytest.approx(before.weights, rel=0.5)


def test_the_bundle_s_size_is_told_from_above() -> None:
    folded = folded_model("sam")
    assert bundle_bytes(work_of_folded(folded)) > 4 * sum(p.numel() for p in folded.parameters())


def test_other_precisions_need_more_the_more_there_is_to_do() -> None:
    work = Work(weights=10**9, images=1, heads=12, tokens=4096, padded=4900, dim=768, attended=4096)
    assert derive_needs(work, ("fp32",)) == []
    (half,) = derive_needs(work, ("fp32", "fp16"))
    assert half.step == HALF
    assert half.bytes > 4 * work.weights
    steps = {need.step: need.bytes for need in derive_needs(work, ("int8",))}
    assert set(steps) == {HALF, INT8}
    assert steps[INT8] > steps[HALF]
