"""Prompts per frame: strict CSV, line numbers in errors, anything else is a PromptError."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import PromptError
from samedge.families import MEDSAM, SAM, SAMED, SAMUS
from samedge.prompts.file import parse_prompts, read_prompts
from samedge.prompts.plan import PromptPlan

NUMBER = st.floats(0, 4000).map(lambda v: round(v, 3))


def prompts(text: str) -> dict[int, list]:
    """Frame -> (object, points or box) of each object."""
    found = {}
    for frame, prompt in parse_prompts(text, "p.csv").frames.items():
        values = prompt.box if prompt.points is None else prompt.points
        found[frame] = [(prompt.number(i), np.asarray(v).tolist()) for i, v in enumerate(values)]
    return found


def test_points() -> None:
    text = "frame,x,y\n0,120,80\n3,1.5,2e1\n3,7,8\n"
    assert prompts(text) == {0: [(1, [[120, 80]])], 3: [(1, [[1.5, 20], [7, 8]])]}


def test_labels_and_objects_in_any_order_of_columns() -> None:
    text = "object,label,y,x,frame\n5,1,2,1,0\n2,1,4,3,0\n5,0,6,5,0\n"
    (prompt,) = parse_prompts(text, "p.csv").frames.values()
    assert prompts(text) == {0: [(2, [[3, 4]]), (5, [[1, 2], [5, 6]])]}
    assert [list(v) for v in prompt.labels or ()] == [[1], [1, 0]]
    assert prompt.arguments()["points"][1].tolist() == [[1, 2], [5, 6]]
    assert prompt.to_json(1) == {"points": [[1, 2], [5, 6]], "labels": [1, 0]}


def test_boxes() -> None:
    assert prompts("frame,x0,y0,x1,y1\n2,1,2,3,4\n2,5,6,7,8") == {
        2: [(1, [1, 2, 3, 4]), (2, [5, 6, 7, 8])]
    }
    assert prompts("frame,x0,y0,x1,y1,object\n2,1,2,3,4,9\n2,5,6,7,8,4") == {
        2: [(4, [5, 6, 7, 8]), (9, [1, 2, 3, 4])]
    }


def test_what_spreadsheets_write() -> None:
    assert prompts("Frame, X ,Y\r\n\r\n 1 , 2 , 3 \r\n") == {1: [(1, [[2, 3]])]}


def test_cells_in_quotes() -> None:
    assert prompts('"frame","x","y"\n"1","2.5"," 3"\n') == {1: [(1, [[2.5, 3]])]}


def test_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes("\ufeffframe,x,y\r\n0,1,2\r\n".encode())
    assert list(read_prompts(tmp_path / "p.csv").frames) == [0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "p.csv is empty"),
        ("frame,x,y\n", "a header and no prompts"),
        ("x,y\n1,2", "line 1 of p.csv is no header"),
        ("frame,x,y,z\n1,2,3,4", "line 1 of p.csv is no header"),
        ("frame,x,y,x\n1,2,3,4", "line 1 of p.csv is no header"),
        ("frame,x0,y0,x1,y1,label\n", "line 1 of p.csv is no header"),
        ("0,1,2\n", "line 1 of p.csv is no header"),
        ("frame;x;y\n0;1;2", "line 1 of p.csv is no header"),
        ("frame,x,y\n0,1", "line 2 of p.csv has 2 cells; its header has 3"),
        ("frame,x,y\n0,1,2,3,4", "line 2 of p.csv has 5 cells; its header has 3"),
        ('frame,x,y\n0,1,"2"3', "line 2 of p.csv is no CSV"),
        ('frame,x,y\n\n0,1,"2', "line 3 of p.csv is no CSV"),
        ("frame,x,y\n0,1,2\r3", "line 2 of p.csv is no CSV"),
        ("frame,x,y\n\n0,1,abc", "line 3 of p.csv: y is 'abc'; expected a number of pixels"),
        ("frame,x,y\n0,1,nan", "line 2 of p.csv: y is 'nan'"),
        ("frame,x,y\n0,1_0,1", "x is '1_0'"),
        ("frame,x,y\n0,,1", "x is ''"),
        ("frame,x,y\n-1,1,1", "frame is '-1'; expected a whole number from 0"),
        ("frame,x,y\n1.0,1,1", "frame is '1.0'"),
        ("frame,x,y\n\u0661,1,1", "frame is"),
        ("frame,x,y,label\n0,1,1,2", "label is '2'; expected 1"),
        ("frame,x,y,object\n0,1,1,0", "object is '0'; expected a whole number from 1 to 255"),
        ("frame,x,y,object\n0,1,1,256", "object is '256'"),
        ("frame,x0,y0,x1,y1\n0,5,5,5,9", "line 2 of p.csv: the box is empty"),
        (
            "frame,x0,y0,x1,y1,object\n0,1,1,2,2,3\n0,1,1,2,2,3",
            "line 3 of p.csv: object 3 has a box in frame 0 already",
        ),
    ],
)
def test_errors_name_the_line(text: str, words: str) -> None:
    with pytest.raises(PromptError) as caught:
        parse_prompts(text, "p.csv")
    assert words in str(caught.value)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PromptError, match=r"p\.csv is no text in UTF-8"):
        read_prompts(path)
    with pytest.raises(PromptError, match=r"there is no file none\.csv"):
        read_prompts(tmp_path / "none.csv")


@given(st.lists(st.tuples(st.integers(0, 50), NUMBER, NUMBER, st.integers(0, 1)), min_size=1))
def test_points_come_back(rows: list[tuple[int, float, float, int]]) -> None:
    text = "frame,x,y,label\n" + "\n".join(",".join(map(repr, row)) for row in rows)
    found = parse_prompts(text, "p.csv")
    for frame, prompt in found.frames.items():
        own = [row for row in rows if row[0] == frame]
        assert prompts(text)[frame] == [(1, [[x, y] for _, x, y, _ in own])]
        assert list((prompt.labels or [[]])[0]) == [label for *_, label in own]


@given(st.text(max_size=80), st.sampled_from(["", "frame,x,y\n", "frame,x0,y0,x1,y1,object\n"]))
def test_any_text_is_prompts_or_a_prompt_error(text: str, head: str) -> None:
    message = "p.csv"
    try:
        parse_prompts(head + text, "p.csv")
    except PromptError as error:
        message = str(error)
    assert "p.csv" in message


@given(st.binary(max_size=60))
def test_any_bytes_are_prompts_or_a_prompt_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.csv").write_bytes(b"frame,x,y\n0,1," + data)
    message = "p.csv"
    try:
        read_prompts(tmp_path / "p.csv")
    except PromptError as error:
        message = str(error)
    assert "p.csv" in message


def plan(text: str, **default: object) -> PromptPlan:
    return PromptPlan(file=parse_prompts(text, "p.csv"), **default)  # type: ignore[arg-type]


def test_frames_and_prompts_belong_together() -> None:
    some = plan("frame,x,y\n0,1,1\n2,3,3\n")
    some.check_frames(3, 1, "a.npy")
    with pytest.raises(PromptError, match=r"no prompt for 1 of 3 frames of a\.npy \(1\); add them"):
        some.check_frames(3, None, "a.npy")
    with pytest.raises(PromptError, match=r"frame 2 \(line 3\), but a\.npy has 2 frames"):
        some.check_frames(2, None, "a.npy")
    with pytest.raises(PromptError, match="no prompt for frame 1"):
        some.resolve(40, 60, frame=1)
    assert np.asarray(some.resolve(40, 60, frame=2).points).tolist() == [[[3, 3]]]


def test_the_default_is_for_all_other_frames() -> None:
    some = plan("frame,x,y\n0,1,1\n", points=["center"])
    some.check_frames(9, None, "a.npy")
    assert np.asarray(some.resolve(40, 60, frame=5).points).tolist() == [[[30, 20]]]
    assert np.asarray(some.resolve(40, 60, frame=0).points).tolist() == [[[1, 1]]]


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("frame,x,y\n0,59.5,39.5", True),
        ("frame,x,y\n0,60,39", False),
        ("frame,x,y\n0,-1,39", False),
        ("frame,x0,y0,x1,y1\n0,0,0,60,40", True),
        ("frame,x0,y0,x1,y1\n0,0,0,60.5,40", False),
    ],
)
def test_points_outside_of_the_frames(text: str, inside: bool) -> None:
    file = parse_prompts(text, "p.csv")
    if inside:
        file.check_size(40, 60)
        return
    with pytest.raises(PromptError, match=r"frame 0 \(line 2 .* outside the frame of 60 x 40 px"):
        file.check_size(40, 60)


def test_the_kind_fits_the_family() -> None:
    points, boxes = plan("frame,x,y\n0,1,1"), plan("frame,x0,y0,x1,y1\n0,1,1,9,9")
    points.check(SAMUS)
    boxes.check(MEDSAM)
    boxes.check(SAM)
    with pytest.raises(PromptError, match="not trained with point prompts; it takes box prompts"):
        points.check(MEDSAM)
    with pytest.raises(PromptError, match="not trained with box prompts"):
        boxes.check(SAMUS)
    with pytest.raises(PromptError, match="SAMed finds its structures by itself and takes no"):
        boxes.check(SAMED)
