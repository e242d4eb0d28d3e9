"""Figures that are no latencies: text, JSON and CSV of the same numbers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from samedge.bench import entry
from samedge.bench.report.sheet import Column, Sheet, Table
from samedge.errors import OutputError

SIZES = Table(
    "Sizes",
    (Column("step"), Column("bytes", ".1f", "MB", 1e-6), Column("share", ".1%"), Column("n")),
    (("fold, all", 12_345_678, 0.5, 3), ("write", 1_000, None, 4)),
)
SHEET = Sheet("sizes", (SIZES,), {"threads": 2}, notes=("A note.",), head=("Counted.",))


def test_text_has_formats_and_json_has_numbers() -> None:
    text = SHEET.render()
    assert text.startswith("Counted.\n\nSizes\n")
    assert text.endswith("\nA note.")
    assert "fold, all  12.3  50.0%  3" in text
    made = json.loads(json.dumps(SHEET.to_json()))
    assert (made["schema"], made["kind"], made["threads"]) == (1, "samedge bench sizes", 2)
    (table,) = made["tables"]
    assert table["title"] == "Sizes"
    assert table["rows"][0] == {"step": "fold, all", "bytes": 12_345_678, "share": 0.5, "n": 3}
    assert table["rows"][1]["share"] is None


def test_csv_has_a_line_per_row() -> None:
    rows = list(csv.DictReader(io.StringIO(SHEET.to_csv())))
    assert rows[0] == {"step": "fold, all", "bytes": "12345678", "share": "0.5", "n": "3"}
    other = Table("Kernels", (Column("kernel"), Column("n")), (("=linear", 7),))
    rows = list(csv.DictReader(io.StringIO(Sheet("two", (SIZES, other)).to_csv())))
    assert [(row["table"], row["n"]) for row in rows] == [
        ("Sizes", "3"), ("Sizes", "4"), ("Kernels", "7"),
    ]  # fmt: skip
    assert (rows[0]["kernel"], rows[2]["kernel"]) == ("", "'=linear")  # no formula


def test_columns_without_room_are_named() -> None:
    table = Table("T", (Column("long word"), Column("another", optional=True)), (("a" * 30, "b"),))
    text = " ".join(table.render(34).split())
    assert text.endswith("(not shown, for want of room: another)")


def test_finish_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = entry.parser("sizes", "About.")
    entry.add_files(parser, page=False)
    given = ["--json", str(tmp_path / "a.json"), f"--csv={tmp_path / 'a.csv'}"]
    options = parser.parse_args(given)
    assert entry.finish(SHEET, options, given) == 0
    assert capsys.readouterr().out == SHEET.render() + "\n"
    made = json.loads((tmp_path / "a.json").read_text())
    assert made["command"] == "python -m samedge.bench.sizes --json a.json --csv=a.csv"
    assert made["machine"]["cpu"]["logical_cores"] > 0
    assert made["made"].endswith("Z")
    assert (tmp_path / "a.csv").read_text() == SHEET.to_csv()


def test_files_are_looked_at_before_the_work(tmp_path: Path) -> None:
    parser = entry.parser("sizes", None)
    entry.add_files(parser)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        entry.parsed(parser, ["--html", str(tmp_path / "file" / "a.html")])


def test_a_command_has_no_folders() -> None:
    given = ["/home/me/a.samedge", "--csv=/tmp/b.csv", "--size", "480x640", "x/", "two words"]
    assert entry.repeating("program", given) == (
        "program a.samedge --csv=b.csv --size 480x640 x 'two words'"
    )


def test_ctrl_c_before_there_is_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        entry.run(main)
    assert ended.value.code == 130
    assert capsys.readouterr().err == ""
