"""Tables of every width: no number of them is ever broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.cli import run
from samedge.cli.inspect import PARITY_COLUMNS, PARITY_OPTIONAL
from samedge.tables import render_table

DEMO = Path(__file__).parents[2] / "samedge" / "data" / "samus-demo.samedge"
NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?%?")

# One table of each kind that commands print: title, headings, rows, columns that may be spared.
KINDS = {
    "parity": (
        PARITY_COLUMNS,
        [
            ("tensorrt_rtx", "fp16", "1.23e-05", "2.37e-03", "> 1e6 x", "1.2e-06", "0.99716",
             "0.0304%", "yes"),
            ("openvino", "int8", "5.11e-01", "6.00e-01", "1.17 x", "2.0e-02", "0.98211", "1.2204%",
             "NO"),
        ],
        PARITY_OPTIONAL,
    ),
    "scores": (
        ("model", "prompt", "class", "images", "Dice", "95 % interval", "IoU", "HD95, px",
         "ASSD, px", "no surface", "equal to first"),
        [("samus-ultrasound.samedge", "point", "all of test-Breast-BUSI", "647",
          "0.8612 ± 0.1034", "0.8530 to 0.8690", "0.7771 ± 0.1402", "12.31 ± 9.20",
          "4.12 ± 2.01", "3", "99.9812%")],
        ("equal to first", "no surface", "ASSD, px", "IoU"),
    ),
    "engines": (
        ("engine", "for", "size", "kernels", "seconds", "state"),
        [("encoder.fp16.tensorrt_rtx-1.7.1.116.sm120.engine", "sm_120", "178.3 MB", "169", "312.5",
          "built")],
        (),
    ),
    "segmented": (
        ("source", "frames", "score", "area", "ms (median)"),
        [("a very long name of a loop from the cart 20240131-123456.dcm", "1200", "0.91 to 0.97",
          "10234.5 to 20123.9 mm2", "1234.5")],
        (),
    ),
    "kernels": (
        ("", "kind", "from", "to", "ONNX nodes"),
        [("168", "gemm", "2 Half", "1 Half", "/blocks.11/attn/qkv/MatMul, " * 9)],
        (),
    ),
    "drift": (
        ("place", "tensor", "operator", "error", "largest", "", ""),
        [("13 of 27", "encoder.blocks.11.attention.product_with_values", "MatMul", "1.2e-01",
          "1.24e+03", "outside", "FIRST OUTSIDE")],
        (),
    ),
    "about": (
        ("", ""),
        [("checkpoint sha256", "2f2b6671a39d4936bd632e2f738977140d10c75c536cac883445921bbb9607a9"),
         ("OpenVINO CPU", "Intel(R) Xeon(R) Platinum 8488C 2.40 GHz; native: fp32, bf16, int8")],
        (),
    ),
}  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_every_kind_of_table_is_whole(kind: str, width: int) -> None:
    columns, rows, optional = KINDS[kind]
    text = render_table(
        "A table with a title of some length", columns, rows, width, False, optional
    )
    assert max(map(len, text.splitlines())) <= width
    gone = re.search(r"not shown, for want of room: (.*)\)", " ".join(text.split()))
    named = gone[1] if gone else ""
    found = set(re.findall(r"[^\s(),]+", text))
    for row in rows:
        for head, cell in zip(columns, row, strict=True):
            numbers = [part for part in re.findall(r"[^\s(),]+", cell) if NUMBER.fullmatch(part)]
            if not head or head not in named:
                assert set(numbers) <= found, (head, cell)


def test_what_has_no_room_is_named_or_stacked() -> None:
    columns, rows, optional = KINDS["parity"]
    at_80 = render_table("t", columns, rows, 80, False, optional)
    assert "for want of room: RMS ratio)" in at_80
    assert at_80.splitlines()[-2].startswith("openvino")
    at_40 = render_table("t", columns, rows, 40, False, optional).splitlines()
    assert at_40[1].split() == ["backend", "tensorrt_rtx"]
    assert ["RMS", "ratio", "1.2e-06"] in [line.split() for line in at_40]
    assert "want of room" not in render_table("t", columns, rows, 120, False, optional)


@given(
    st.lists(st.lists(st.integers(0, 10**12), min_size=4, max_size=4), min_size=1, max_size=5),
    st.integers(30, 140),
)
def test_numbers_of_any_length(rows: list[list[int]], width: int) -> None:
    cells = [[f"{value:,}" for value in row] for row in rows]
    text = render_table("t", ("one", "two words", "three", "four"), cells, width)
    assert {cell for row in cells for cell in row} <= set(text.split())
    assert max(map(len, text.splitlines())) <= width


def test_numbers_are_aligned_right_and_text_left() -> None:
    text = render_table("Title", ("name", "ms"), [("a", "1.5"), ("long name", "100.25")])
    title, heads, _, first, second = text.splitlines()
    assert (title, heads.split()) == ("Title", ["name", "ms"])
    assert first.endswith("  1.5")
    assert second.endswith("100.25")
    assert first.startswith("a ")


def test_markup_in_a_cell_is_text() -> None:
    assert "[bold]x[/bold]" in render_table("[red]t", ("a",), [("[bold]x[/bold]",)])


def test_an_empty_table() -> None:
    assert render_table("Nothing", ("a", "b"), [], 80).splitlines()[0] == "Nothing"


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize(
    "command", [["inspect", str(DEMO)], ["verify", str(DEMO), "--precision", "fp32"]]
)
def test_tables_of_commands_keep_to_the_terminal(
    command: list[str],
    width: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(command) == 0
    parts = [part.strip("\n").splitlines() for part in capsys.readouterr().out.split("\n\n")]
    tables = [part for part in parts if len(part) > 2]
    assert tables
    assert max(len(line) for table in tables for line in table) <= width


def test_a_pipe_gets_whole_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert run(["inspect", str(DEMO)]) == 0
    head = next(line for line in capsys.readouterr().out.splitlines() if "RMS ratio" in line)
    assert "flipped pixels" in head
