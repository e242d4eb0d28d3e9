"""Names of live sources and sinks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import SourceError
from samedge.sources.uri import Uri, parse_uri, positive, yes_no

SCHEMES = ("camera", "igtl", "igtl+serve", "rtsp", "null")


@pytest.mark.parametrize(
    ("text", "scheme", "where", "options"),
    [
        ("camera:/dev/video0", "camera", "/dev/video0", {}),
        (
            "camera:/dev/video0?size=640x480&fps=30",
            "camera",
            "/dev/video0",
            {"size": "640x480", "fps": "30"},
        ),
        ("igtl://host:18944", "igtl", "host:18944", {}),
        ("igtl+serve://:18945?name=A%20B", "igtl+serve", ":18945", {"name": "A B"}),
        ("null:", "null", "", {}),
        ("loop.mp4", "path", "loop.mp4", {}),
        ("a:b.mp4", "path", "a:b.mp4", {}),
        ("what?.mp4", "path", "what?.mp4", {}),
        ("path:loop.mp4?loop=1", "path", "loop.mp4", {"loop": "1"}),
    ],
)
def test_names(text: str, scheme: str, where: str, options: dict[str, str]) -> None:
    assert parse_uri(text, SCHEMES) == Uri(text, scheme, where, options)


def test_what_was_meant() -> None:
    with pytest.raises(SourceError, match=r"no 'itgl:'.*igtl"):
        parse_uri("itgl://host", SCHEMES)
    with pytest.raises(SourceError, match=r"no option 'fsp'.*fps"):
        parse_uri("camera:x?fsp=3", SCHEMES).check_options(["fps", "size"])
    with pytest.raises(SourceError, match="KEY=VALUE, each key once"):
        parse_uri("camera:x?a=1&a=2", SCHEMES)
    with pytest.raises(SourceError, match="fps is '-1'; expected a rate"):
        parse_uri("camera:x?fps=-1", SCHEMES).take("fps", positive, 1.0, "a rate")
    uri = parse_uri("camera:x?loop=yes", SCHEMES)
    assert uri.take("loop", yes_no, False, "yes or no")
    assert uri.take("other", yes_no, False, "yes or no") is False


@given(st.text(max_size=40))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        uri = parse_uri(text, SCHEMES)
    except SourceError:
        return
    assert uri.text == text
