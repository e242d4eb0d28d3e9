"""Family records: through JSON and back, and what their fields must agree on."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from samedge.bundle.parsing import family_from_json
from samedge.errors import BundleError
from samedge.families import (
    FAMILIES,
    INTERPOLATIONS,
    LATER,
    MASK_INTERPOLATIONS,
    MASK_VALUES,
    NORMALISATIONS,
    PROMPTS,
    RESIZE_RULES,
    SAM,
    SAMED,
    SAMUS,
    Family,
)

families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


@families
def test_round_trip(family: Family) -> None:
    again = Family.from_json(json.loads(json.dumps(family.to_json())))
    assert again == family
    assert hash(again) == hash(family)
    assert family_from_json(family.to_json()) == family


@families
def test_fields_agree(family: Family) -> None:
    assert FAMILIES.get(family.name, family) is family
    assert family.resize in RESIZE_RULES
    assert family.interpolation in INTERPOLATIONS
    assert family.normalisation in NORMALISATIONS
    assert family.mask_values in MASK_VALUES
    assert family.mask_interpolation in MASK_INTERPOLATIONS
    assert len(family.mean) == len(family.std)
    assert len(family.mean) in (family.channels, 3)
    # A mean of several channels of a grey frame goes into a bias, which padding would not have.
    assert len(family.mean) == family.channels or not family.padded
    assert not family.exclusive or family.classes
    assert not family.whole_volume or family.slices > 1
    assert family.input_size % family.stride == 0
    assert family.upscale_size % family.stride == 0
    assert set(family.prompts) <= set(PROMPTS)
    assert family.single_mask not in family.multi_masks


def test_mask_tokens() -> None:
    assert SAM.mask_tokens() == (0,)
    assert SAM.mask_tokens(multimask=True) == (1, 2, 3)
    assert SAMED.mask_tokens() == SAMED.mask_tokens(multimask=True) == tuple(range(9))


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SAM.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("field", dataclasses.fields(Family), ids=lambda field: field.name)
def test_only_a_field_that_came_later_may_be_missing(field: dataclasses.Field[Any]) -> None:
    data = SAMUS.to_json()
    del data[field.name]
    if field.name not in LATER:
        with pytest.raises(BundleError, match=field.name):
            Family.from_json(data)
    else:
        older = dataclasses.replace(SAMUS, **{field.name: LATER[field.name]})
        assert Family.from_json(data) == family_from_json(data) == older


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(BundleError, match="gamma"):
        Family.from_json({**SAM.to_json(), "gamma": 2.2})


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Family)])
@pytest.mark.parametrize("value", [None, [], {}, -1, "", [None], [["x"]], float("nan")])
def test_a_wrong_value_is_a_bundle_error(field: str, value: Any) -> None:
    data = {**SAM.to_json(), field: value}
    empty = field in ("prompts", "multi_masks", "classes") and value == []
    fine = empty or (field, value) == ("threshold", -1)
    if fine:
        assert family_from_json(data).to_json() == data
        return
    with pytest.raises(BundleError, match=f"family.{field}"):
        family_from_json(data)
