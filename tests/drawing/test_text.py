"""Words in pictures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from samedge.drawing.text import fit_height, grouped, text_width


@given(st.text("abc 0123", min_size=1, max_size=60), st.floats(20, 500))
def test_text_is_made_to_fit(text: str, room: float) -> None:
    height = fit_height(text, 16, room)
    assert height == 5.0 or text_width(text, height) <= room + 3


def test_grouped_digits() -> None:
    assert [grouped(v) for v in (0, 999, 1234.4, 1234567)] == ["0", "999", "1 234", "1 234 567"]
