"""What a browser may say: any text at all has a meaning, or ends the connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import PromptError
from samedge.stream.live.controls import from_json
from samedge.stream.viewer.client import NOT_JSON, RUBBISH, Allowance, Client, Parting


class House:
    """Counts, and passes on what is a command."""

    def __init__(self) -> None:
        self.counts: list[str] = []
        self.commands: list[Any] = []

    def command(self, value: Mapping[str, Any]) -> str | None:
        try:
            self.commands.append(from_json(value))
        except PromptError as error:
            return str(error)
        return None

    def shown(self, latency_ms: float) -> None:
        raise AssertionError("nothing was sent that could be drawn")

    def count(self, what: str) -> None:
        self.counts.append(what)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(["command", "drawn", "hidden", "x", "y", "object", "on", "name", "points"])
WORDS = st.sampled_from(["click", "drag", "hold", "record", "rename", "remove", "points"])
OBJECTS = st.dictionaries(KEYS, VALUES | WORDS).map(json.dumps)


def heed(text: str) -> tuple[House, Parting | None]:
    house = House()
    try:
        Client(None, house, "")._heed(text)  # type: ignore[arg-type]
    except Parting as parting:
        return house, parting
    return house, None


@given(st.text() | OBJECTS | VALUES.map(json.dumps))
def test_any_text(text: str) -> None:
    house, parting = heed(text)
    assert parting is None or parting.code in (NOT_JSON, RUBBISH)
    assert not (house.commands and house.counts)


def test_a_command_arrives() -> None:
    house, parting = heed('{"command": "hold", "on": true}')
    assert parting is None
    assert len(house.commands) == 1


def test_an_allowance_is_used_up_and_comes_back() -> None:
    allowance = Allowance(per_second=1e6, at_once=3)
    assert all(allowance.take() for _ in range(3))
    none = Allowance(per_second=0, at_once=2)
    assert [none.take() for _ in range(4)] == [True, True, False, False]
    allowance._then -= 1
    assert allowance.take()
