"""The page of a report: whole in itself, and readable at every width."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from samedge.bench.report import write
from samedge.bench.report.axes import Axis, round_up
from samedge.bench.report.page import page
from samedge.bench.report.plots import tail, timeline
from samedge.bench.report.values import Report, Row
from samedge.bench.schedule import FLAT
from tests.bench.reports import full, mode, report, row
from tests.browser import Browser

EVIL = "<script>alert(1)</script>\"'&\x1b"
_VOID = {"meta"}


class Elements(HTMLParser):
    """What a page consists of; an element that is not closed is a failure."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def many(count: int) -> Report:
    """Rows with names of somebody's own, one of them refused."""
    rows = [
        row(
            f"a rather long title of somebody's bundle, number {n}, openvino fp32 2 threads",
            mode(8.0 + n, seed=n),
            mode(9.0 + n, seed=n + 50, stalls={30: 80.0}, period_ms=1e3 / 30),
            baseline=n == 0,
            load={"cold": {"start_s": 1.0 + n, "peak_mb": 500.0}},
        )
        for n in range(count)
    ]
    return report([*rows, Row(EVIL, refused="wrong")], condition={"warnings": ["hot"]})


KINDS = {
    "full": full(),
    "one": report([row("a", mode(12.0))], fps=None),
    "four": many(4),
    "twelve": many(12),
    "cut short": report([Row("a"), Row("b", refused="no")], interrupted=True),
    "two rounds": report([row("a", mode(12.0, rounds=2))], interrupted=True),
    "one frame": report([row("a", paced=mode(0.0, rounds=1, frames=1, period_ms=33.0))]),
    "evil": report(
        [
            row(EVIL, mode(5.0, rounds=1), modes={EVIL: mode(6.0, rounds=1)}, notes=(EVIL,),
                about={EVIL: EVIL}, extra={EVIL: EVIL}, load={EVIL: {EVIL: EVIL}}),
            Row(EVIL + "2", refused=EVIL),
        ],
        title=EVIL, source=EVIL, command=EVIL, made=EVIL, machine={EVIL: {EVIL: [EVIL]}},
        condition={"warnings": [EVIL], EVIL: EVIL}, notes=(EVIL,),
    ),
}  # fmt: skip


@cache
def page_of(name: str) -> str:
    return page(KINDS[name])


@pytest.mark.parametrize("name", KINDS)
def test_it_is_whole_in_itself(name: str) -> None:
    found = Elements(page_of(name))
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(found.names)
    assert not [
        a for a in found.attributes if a[0] in ("href", "src", "srcset") or a[0][:2] == "on"
    ]
    assert "url(" not in page_of(name)
    assert "@import" not in page_of(name)
    assert "default-src 'none'" in page_of(name)


def test_foreign_text_stays_text() -> None:
    assert "<script" not in page_of("evil")
    assert "\x1b" not in page_of("evil")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;?" in page_of("evil")


def test_the_conclusion_stands_first() -> None:
    text = page_of("full")
    assert text.index("With 30 frames per second") < text.index("not clean") < text.index("<table")


def test_it_says_what_was_measured_and_how() -> None:
    text = page_of("full")
    for words in (
        "samedge bench demo.samedge --fps 30", "Imagined CPU 9000", "2026-01-02T03:04:05Z",
        "4.94 (4.81 to 5.04)", "Not timed: demo openvino int8 2 threads", "no frame is left out",
        "share of peak", "Peak memory", "blocks.0.mlp", "synthetic ultrasound",
    ):  # fmt: skip
        assert words in text, words


def test_what_was_not_measured_has_no_section() -> None:
    for words in ("Start and memory", "Slowest layers", "What pauses", "Times as fast"):
        assert f"<h2>{words}" not in page_of("one")


def test_every_frame_is_a_dot() -> None:
    one = row("a", mode(5.0, rounds=4, frames=30))
    assert timeline(one, None).count("h0") == 120


def test_of_very_many_frames_the_worst_stay() -> None:
    one = row("a", mode(5.0, frames=1000, stalls={7779: 500.0}))
    text = timeline(one, None)
    assert text.count("h0") <= 1500
    assert len(text) < 40_000
    heights = [float(y) for y in re.findall(r"M[\d.]+ ([\d.]+)h0", text)]
    assert sorted(heights)[0] < sorted(heights)[1] - 20


def test_the_tail_ends_at_the_worst_frame() -> None:
    stalled = report([row("a", mode(5.0, stalls={50: 100.0}))], fps=None)
    calm = report([row("a", mode(5.0))], fps=None)
    assert rightmost(tail(stalled, FLAT)) == pytest.approx(rightmost(tail(calm, FLAT)), abs=40)
    both = report([*calm.rows, row("b", mode(5.0, stalls={50: 100.0}))], fps=None)
    lines = re.findall(r'<path class="line \w+" d="([^"]+)"', tail(both, FLAT))
    assert rightmost(lines[0]) < rightmost(lines[1]) / 2


def rightmost(path: str) -> float:
    return max(float(x) for x in re.findall(r"H([\d.]+)", path))


@pytest.mark.parametrize(
    ("low", "high", "log"),
    [(0.0, 1.0, False), (0.0, 12345.0, False), (-3.0, 5.0, False), (0.013, 0.9, True),
     (0.8, 1.25, True), (1.0, 1e6, True), (4.0, 4.4, True)],
)  # fmt: skip
def test_axes(low: float, high: float, log: bool) -> None:
    axis = Axis(low, high, 10.0, 110.0, log)
    assert axis.at(low) == pytest.approx(10.0)
    assert axis.at(high) == pytest.approx(110.0)
    assert axis.at(high + 1) == axis.at(high)
    ticks = axis.ticks(5)
    assert len(ticks) <= 11
    assert ticks == sorted(ticks)
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)


def test_steps_are_round() -> None:
    assert [round_up(v) for v in (0.011, 0.2, 1.0, 3.0, 7.0, 99.0)] == pytest.approx(
        [0.02, 0.2, 1.0, 5.0, 10.0, 100.0]
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser.start(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.mark.parametrize("width", [340, 1200])
@pytest.mark.parametrize("name", ["full", "twelve", "evil", "cut short"])
def test_it_is_as_wide_as_the_window(
    browser: Browser, tmp_path: Path, name: str, width: int
) -> None:
    write(KINDS[name], html=tmp_path / "a.html")
    shown = browser.open((tmp_path / "a.html").as_uri(), width, 800, touch=width < 500)
    assert shown.evaluate("document.scrollingElement.scrollWidth") <= width
    assert not shown.errors
    assert not shown.lost
    shown.close()
