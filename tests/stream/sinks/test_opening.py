"""Names of sinks."""

from __future__ import annotations

from importlib import import_module

import pytest

from samedge.errors import OutputError
from samedge.stream.sinks.live_folder import FolderSink
from samedge.stream.sinks.null import NullSink
from samedge.stream.sinks.opening import _SINKS, SCHEMES, open_sink
from tests.stream.sinks.live_items import about, item


def test_null_counts() -> None:
    sink = open_sink("null:")
    assert isinstance(sink, NullSink)
    sink.open(about())
    sink.write(item(0))
    sink.write(item(0, is_new=False))
    sink.record(True)
    sink.close(None)
    assert sink.describe() == {"kind": "null", "frames": 1}


def test_every_scheme_has_its_sink() -> None:
    assert set(_SINKS) == set(SCHEMES)
    for name in _SINKS.values():
        module, _, attribute = name.partition(":")
        assert callable(getattr(import_module(module), attribute).from_uri)


def test_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    sink = open_sink("folder:~/out")
    assert isinstance(sink, FolderSink)
    assert str(sink._path) == "/somewhere/out"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("out.mp4", "mp4:out.mp4"),
        ("out.dcm", "dicom-seg:out.dcm"),
        ("out", "folder:out"),
        ("vewer:", "did you mean 'viewer'"),
        ("foldr://x", "did you mean 'folder'"),
        ("zzz:x", "expected one of viewer:, igtl:"),
        ("", "expected one of"),
        ("null:x", "takes nothing"),
        ("null:?a=1", "it has none"),
        ("mp4:", "a name is missing"),
        ("mp4:a.mp4?record=never", "'request', or 'always'"),
        ("folder:x?recrd=request", "did you mean 'record'"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(OutputError, match=words):
        open_sink(text)
