"""Reports as files: JSON that is read back, CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.bench.report import Report, check_targets, render, write
from samedge.bench.report.lines import to_csv
from samedge.bench.report.page import page
from samedge.bench.report.values import Row
from samedge.errors import OutputError, SourceError
from tests.bench.reports import full, mode, report, row, small

ANYTHING: list[Any] = [
    None, True, -1, 0, 1e200, 1e300, 10**400, math.nan, math.inf, "", "text", [], [[]], [[1.0]], {},
    {"a": {"b": [None]}}, [1], ["x"], -0.5,
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a value of JSON; of long lists the first element."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*path, key))
    elif isinstance(value, list) and value:
        found += places(value[0], (*path, 0))
    return found


WHOLE: dict[str, Any] = json.loads(small().to_text())
PLACES = places(WHOLE)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    full().save(tmp_path / "a.json")
    found = Report.read(tmp_path / "a.json")
    assert render(found) == render(full())
    assert [one.name for one in found.rows] == [one.name for one in full().rows]
    assert found.layers == full().layers


def test_a_block_takes_one_line() -> None:
    text = report([row("a", mode(5.0, rounds=3, frames=100, stages=False))]).to_text()
    assert len(text.splitlines()) < 130
    assert len(text) < 20_000


def test_nothing_is_lost_that_a_clock_can_tell() -> None:
    found = Report.from_json(json.loads(full().to_text()))
    for old, new in zip(full().rows, found.rows, strict=True):
        for name in old.modes:
            assert new.modes[name].frames == pytest.approx(old.modes[name].frames, rel=1e-8)


def damaged(paths: list[tuple[Any, ...]], anything: Any) -> dict[str, Any]:
    """A report with that in all those places."""
    value = deepcopy(WHOLE)
    for path in paths:
        at: Any = value
        for key in path[:-1]:
            at = at[key]
        if anything == "missing":
            del at[path[-1]]
        else:
            at[path[-1]] = anything
    return value


def read(value: Any) -> Report | None:
    try:
        return Report.from_json(value)
    except SourceError:
        return None


@pytest.mark.parametrize("anything", [*ANYTHING, "missing"], ids=lambda v: repr(v)[:20])
def test_what_is_damaged_is_refused_or_can_be_shown(anything: Any) -> None:
    taken = [path for path in PLACES if read(damaged([path], anything)) is not None]
    for depth in {len(path) for path in taken}:
        found = read(damaged([path for path in taken if len(path) == depth], anything))
        if found is not None:
            render(found, 80)
            to_csv(found)
            page(found)
            json.loads(found.to_text())


@pytest.mark.parametrize(
    ("name", "anything", "words"),
    [
        ("latency_ms", [], "without frames"), ("latency_ms", [[], []], "block without frames"),
        ("latency_ms", [[-1.0] * 3] * 2, "runs backwards"), ("seconds", [0.0, 1.0], "backwards"),
        ("seconds", [1.0], "1 numbers where 2 belong"), ("service_ms", [[1.0], [1.0]], "together"),
        ("latency_ms", [[math.nan] * 3] * 2, "finite"),
        ("latency_ms", [[1e100] * 3] * 2, "cannot be"), ("at_s", [["1"]], "str where a number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(name: str, anything: Any, words: str) -> None:
    path = ("rows", 0, "modes", "flat out", name)
    with pytest.raises(SourceError, match=f"damaged .*{words}.*measure again"):
        Report.from_json(damaged([path], anything))


@given(st.recursive(st.none() | st.floats() | st.text() | st.booleans(), lambda x: st.lists(x)))
def test_other_values_are_no_reports(value: Any) -> None:
    with pytest.raises(SourceError, match="no report of samedge bench"):
        Report.from_json(value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "\udcff", "[" * 100_000, '{"a": ' + "9" * 5000 + "}", "\x00", '"x"', "NaN"],
)
def test_files_that_are_no_reports(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SourceError):
        Report.read(tmp_path / "a.json")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a\.json cannot be read"):
        Report.read(tmp_path / "a.json")


def test_another_schema_says_what_to_do() -> None:
    with pytest.raises(SourceError, match="schema 1 came, expected 2: measure again"):
        Report.from_json({**WHOLE, "schema": 1})


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_a_line_per_row_and_mode() -> None:
    lines = table(to_csv(full()))
    assert [(line["what"], line["mode"]) for line in lines] == [
        ("demo openvino bf16 2 threads", "flat out"),
        ("demo openvino bf16 2 threads", "paced"),
        ("demo openvino fp32 2 threads", "flat out"),
        ("demo openvino fp32 2 threads", "paced"),
        ("eager PyTorch", "flat out"),
        ("demo openvino int8 2 threads", ""),
    ]
    first = lines[0]
    assert float(first["p50_ms"]) == full().rows[0].modes["flat out"].summary().p50.value
    assert first["p99_ms_high"] == ""
    assert float(first["p50 of encode_ms"]) > 5
    assert first["about precision"] == "bf16"
    assert first["verdict"] == "faster"
    assert float(first["warm load_s"]) == 0.2
    assert float(first["extra share of peak"]) == 0.77
    assert lines[1]["missed"] == "1"
    assert lines[5]["refused"].startswith("largest logit error")


def test_no_cell_is_a_formula() -> None:
    found = report(
        [
            row('=HYPERLINK("x")', mode(5.0, rounds=1), extra={"=1+1": "@x"}),
            Row("+a", about={"-key": "=2"}, refused="=3"),
        ]
    )
    for line in table(to_csv(found)):
        for cell in (*line, *line.values()):
            assert not cell.startswith(("=", "+", "@", "-"))


def test_each_file_that_is_named_is_written(tmp_path: Path) -> None:
    write(full(), json=tmp_path / "a.json", csv=tmp_path / "a.csv")
    assert Report.read(tmp_path / "a.json").title == "demo bundle"
    assert len(table((tmp_path / "a.csv").read_text())) == 6
    write(full())
    assert len(list(tmp_path.iterdir())) == 2


def test_one_that_cannot_be_written_does_not_cost_the_others(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder"):
        write(full(), json=tmp_path / "folder", csv=tmp_path / "a.csv")
    assert (tmp_path / "a.csv").exists()


def test_targets_are_checked_before() -> None:
    check_targets(None, None)
    with pytest.raises(OutputError, match="there is no folder"):
        check_targets(None, Path("/nowhere/a.csv"))


def test_two_reports_do_not_go_into_one_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="into one file"):
        check_targets(tmp_path / "a", tmp_path / "." / "a")
