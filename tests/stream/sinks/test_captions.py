"""Words below the pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from samedge.drawing.colours import INK, colour_of
from samedge.drawing.overlay import Line, add_caption, draw_overlay
from samedge.families import MSA, SAM, SAMED, Family
from samedge.prompts.plan import PromptPlan
from samedge.prompts.prompt import Prompt
from samedge.sources.frame import Frame, Source
from samedge.stream.options import SegmentOptions
from samedge.stream.segmenting import Segmented, segment_frames
from samedge.stream.sinks.captions import Captions, Curves, mask_colour, prompt_colours, visible
from tests.sources.media import FakeSession

MANY = replace(SAMED, classes=("background", *(f"organ {i}" for i in range(1, 33))))


class Stack(Source):
    """Frames given by hand."""

    kind, is_stack = "volume", True

    def __init__(self, *frames: np.ndarray) -> None:
        super().__init__("v.npy")
        self._frames, self.total = frames, len(frames)

    def __iter__(self):  # type: ignore[no-untyped-def]
        for k, pixels in enumerate(self._frames):
            yield Frame(pixels, k, None, self.name, f"v_{k}", (1.0, 2.0))


def ask(family: Family, *frames: np.ndarray, plan: PromptPlan | None = None) -> list[Segmented]:
    session, source = FakeSession(family=family), Stack(*frames)
    return list(segment_frames(session, source, plan or PromptPlan(), SegmentOptions()))


def steps(*levels: int) -> np.ndarray:
    """Stripes of 8 rows each."""
    return np.repeat(np.array(levels, np.uint8), 8)[:, None].repeat(32, axis=1)


def entries(lines: list[Line]) -> list[Line]:
    """Lines and what stands beside them."""
    return [entry for line in lines for entry in (line, line.beside) if entry is not None]


def test_only_classes_in_the_frame_are_listed() -> None:
    (item,) = ask(replace(SAMED, classes=("background", "a", "b", "c")), steps(0, 100, 250, 0))
    lines = Captions(Stack(steps(0)), "slice").lines(item)
    texts = [(line.left, line.colour) for line in entries(lines) if line.left]
    assert texts == [
        ("2 structures", None),
        ("a   area 256 px = 512 mm2", colour_of(0)),
        ("c   area 256 px = 512 mm2", colour_of(2)),
        ("slice 0 of 0 to 0", None),
    ]
    assert lines[0].right == "10 ms"


def test_nothing_found() -> None:
    (item,) = ask(SAMED, steps(0, 0))
    assert Captions(Stack(steps(0)), "slice").lines(item)[0].left == "nothing found"


def test_long_lists_end_with_a_number() -> None:
    (item,) = ask(MANY, steps(*range(4, 256, 8)))
    lines = Captions(Stack(steps(0)), "slice").lines(item)
    texts = [line.left for line in entries(lines) if line.left]
    assert texts[0] == "31 structures"
    assert texts[24] == "and 8 more"
    assert len(texts) == 26


@pytest.mark.parametrize("notice", ["", "Untrained weights"])
def test_captions_of_a_video_have_one_height(notice: str) -> None:
    captions = Captions(Stack(steps(0)), "frame", notice, even=True)
    items = ask(SAMED, steps(0, 0), steps(0, 250), steps(*range(0, 256, 30)))
    picture = np.zeros((300, 400, 3), np.uint8)
    heights = {add_caption(picture, captions.lines(item)).shape for item in items}
    assert len(heights) == 1


def test_colours_belong_to_classes_or_to_objects() -> None:
    points = PromptPlan([(4, 4), (20, 4)], separate=True)
    (item,) = ask(replace(MSA, classes=("disc", "cup")), steps(200, 200), plan=points)
    assert [mask_colour(item, k) for k in visible(item)] == [colour_of(0), colour_of(1)] * 2
    assert prompt_colours(item) == [INK, INK]
    lines = entries(Captions(Stack(steps(0)), "slice").lines(item))
    assert [line.left.partition("   ")[0] for line in lines[1:5]] == [
        "disc 1", "cup 1", "disc 2", "cup 2"
    ]  # fmt: skip
    (item,) = ask(SAM, steps(200, 200), plan=points)
    numbered = replace(item, prompt=Prompt(item.prompt.points, item.prompt.labels, None, (3, 9)))
    assert [mask_colour(numbered, k) for k in (0, 1)] == [colour_of(2), colour_of(8)]
    assert prompt_colours(numbered) == [colour_of(2), colour_of(8)]


def test_curves_fill_in_what_is_absent() -> None:
    curves = Curves()
    family = replace(SAMED, classes=("background", "a", "b", "c"))
    for item in ask(family, steps(0, 100), steps(250, 100), steps(250, 250)):
        curves.add(item)
    assert curves.values() == [[512, 0], [512, 512], [0, 1024]]
    assert curves.legend() == [("a", colour_of(0)), ("c", colour_of(2))]
    assert curves.colours() == [colour_of(0), colour_of(2)]


def test_objects_have_no_legend() -> None:
    curves = Curves()
    (item,) = ask(SAM, steps(200, 200), plan=PromptPlan([(4, 4), (20, 4)], separate=True))
    curves.add(item)
    assert curves.legend() == []
    assert curves.colours() == [colour_of(0), colour_of(1)]


def test_entries_side_by_side_stay_in_their_half() -> None:
    picture = np.zeros((300, 400, 3), np.uint8)
    long = "a structure with a very long name indeed   area 123 456 px = 123 456 mm2"
    alone = add_caption(picture, [Line(long, beside=Line(""))])[300:]
    assert not (alone[:, 200:] != alone[0, 0]).any()
    both = add_caption(picture, [Line("", beside=Line(long, "", (1, 250, 3)))])[300:]
    assert not (both[:, :198] != both[0, 0]).any()  # the dot may stick out by its soft rim
    assert (both[:, 200:] != both[0, 0]).any()


def test_masks_have_the_colours_they_are_given() -> None:
    frame, mask = np.zeros((40, 60), np.uint8), np.ones((40, 60), np.uint8)
    picture = draw_overlay(frame, [mask], scale=1, colours=[(200, 100, 0)])
    assert picture[20, 30].tolist() == [52, 26, 0]
    prompt = PromptPlan([(30, 20)]).resolve(40, 60)
    picture = draw_overlay(frame, [], prompt, 4, prompt_colours=[(1, 200, 3)])
    assert (picture == (1, 200, 3)).all(axis=2).any()
