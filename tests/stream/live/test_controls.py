"""Commands: what a client may send, and what becomes of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import PromptError
from samedge.stream.live.controls import (
    MAX_PENDING,
    Click,
    Command,
    Controls,
    Drag,
    Hold,
    Points,
    Record,
    Remove,
    Rename,
    from_json,
    to_json,
)

GOOD: list[Command] = [
    Click(3.5, 4.0, False, 2, True),
    Drag(1, 2, 3, 4),
    Points((((1.0, 2.0, True), (3.0, 4.0, False)), ((5.0, 6.0, True),)), ("left", "right")),
    Points(((), ((1.0, 2.0, True),)), boxes=((1.0, 2.0, 3.0, 4.0), None)),
    Remove(3),
    Rename(1, "atrium"),
    Hold(True),
    Record(False),
]


@pytest.mark.parametrize("command", GOOD, ids=lambda c: type(c).__name__)
def test_json_and_back(command: Command) -> None:
    assert from_json(to_json(command)) == command


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"command": "rm"},
        {"command": ["click"]},
        {"command": "click"},
        {"command": "click", "x": 1},
        {"command": "click", "x": "1", "y": 2},
        {"command": "click", "x": True, "y": 2},
        {"command": "click", "x": 1, "y": float("nan")},
        {"command": "click", "x": 1, "y": 10**400},
        {"command": "click", "x": 1, "y": 2, "object": 1.5},
        {"command": "click", "x": 1, "y": 2, "object": 256},
        {"command": "click", "x": 1, "y": 2, "more": 2},
        {"command": "drag", "x0": 5, "y0": 0, "x1": 5, "y1": 9},
        {"command": "rename", "object": 1, "name": " "},
        {"command": "rename", "object": 1, "name": "x" * 41},
        {"command": "hold", "on": 1},
        {"command": "points", "points": [[[1, 2, False]]]},
        {"command": "points", "points": [[[1, 2]]]},
        {"command": "points", "points": 7},
        {"command": "points", "points": [[]], "boxes": [[1, 2, 3, 2]]},
        {"command": "points", "points": [[]], "boxes": [[1, 2, 3]]},
        {"command": "points", "points": [[]], "boxes": []},
    ],
)
def test_rubbish_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(PromptError):
        from_json(value)


_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_FLAT = (
    _PLAIN | st.lists(_PLAIN, max_size=3) | st.dictionaries(st.text(max_size=3), _PLAIN, max_size=3)
)
VALUES = _FLAT | st.lists(_FLAT | st.lists(_FLAT, max_size=3), max_size=3)
KEYS = st.sampled_from(
    [
        "x",
        "y",
        "x0",
        "y0",
        "x1",
        "y1",
        "inside",
        "object",
        "fresh",
        "on",
        "name",
        "points",
        "names",
        "boxes",
    ]
)


@given(
    st.sampled_from(["click", "drag", "points", "remove", "rename", "hold", "record"]),
    st.dictionaries(KEYS, VALUES),
)
def test_any_json_is_a_command_or_refused(name: str, fields: dict[str, Any]) -> None:
    try:
        command = from_json({"command": name, **fields})
    except PromptError:
        return
    assert from_json(to_json(command)) == command


def test_commands_wait_in_order() -> None:
    controls = Controls()
    for command in GOOD:
        controls.send(command)
    assert controls.take() == GOOD
    assert controls.take() == []


def test_a_flood_is_refused() -> None:
    controls = Controls()
    for _ in range(MAX_PENDING):
        controls.send(Hold(True))
    with pytest.raises(PromptError, match="wait already"):
        controls.send(Hold(True))
