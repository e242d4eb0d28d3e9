"""Numbers in JSON are finite."""

from __future__ import annotations

import pytest

from samedge.files.numbers import finite, parse_json


@pytest.mark.parametrize("text", ["NaN", "-Infinity", '{"a": [1, 1e999]}', '{"a": -1.5E400}'])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        parse_json(text)


def test_numbers_stay_what_they_are() -> None:
    assert parse_json('{"a": [1, 2.5, 1e300, -0.0]}') == {"a": [1, 2.5, 1e300, 0.0]}
    assert finite("1e-400") == 0.0
