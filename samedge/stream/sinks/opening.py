"""From a name on the command line to the sink of a live stream that it means."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from samedge._wording import did_you_mean
from samedge.errors import OutputError
from samedge.sources.uri import parse_uri
from samedge.stream.live.sink import LiveSink

# Name -> what it is, for help and completion.
SCHEMES: dict[str, str] = {
    "viewer": "viewer: or viewer://HOST:PORT  the picture in a browser, where it can be clicked on",
    "igtl": "igtl://:18945  an OpenIGTLink server: 3D Slicer connects to it",
    "igtl+connect": "igtl+connect://HOST:18945  an OpenIGTLink server to connect to",
    "mp4": "mp4:FILE  a video with the masks drawn in; ?record=request: when the viewer says so",
    "folder": "folder:DIR  every frame and its masks as they are, and stream.jsonl",
    "dicom-seg": "dicom-seg:FILE  the masks as a DICOM segmentation, with the frames beside it",
    "null": "null:  nothing; for its summary",
}
# Scheme -> module and class, whose `from_uri` makes the sink. Imported when it is asked for.
_SINKS = {
    "viewer": "samedge.stream.viewer:ViewerSink",
    "igtl": "samedge.stream.sinks.openigtlink:OpenIgtLinkSink",
    "igtl+connect": "samedge.stream.sinks.openigtlink:OpenIgtLinkSink",
    "mp4": "samedge.stream.sinks.live_mp4:Mp4Sink",
    "folder": "samedge.stream.sinks.live_folder:FolderSink",
    "dicom-seg": "samedge.stream.sinks.dicom_seg:DicomSegSink",
    "null": "samedge.stream.sinks.null:NullSink",
}


def open_sink(text: str) -> LiveSink:
    """Make a sink of a live stream; its file, port or device is opened with the stream.

    Args:
        text: see `SCHEMES`.

    Raises:
        OutputError: there is no such sink, or it has not these options.
        NotSupportedError: what it needs is not installed; the message names the remedy.
    """
    uri = parse_uri(text, SCHEMES, OutputError)
    if uri.scheme == "path":
        raise OutputError(_no_scheme(text, uri.where))
    module, _, name = _SINKS[uri.scheme].partition(":")
    return cast(LiveSink, getattr(import_module(module), name).from_uri(uri))


def _no_scheme(text: str, where: str) -> str:
    """What a name without a scheme can have meant."""
    word, colon, _ = text.partition(":")
    meant = did_you_mean(word, SCHEMES) if colon else ""
    if meant:
        return f"{text}: there is no '{word}:'{meant}"
    suffix = Path(where).suffix.lower()
    if not colon and suffix == ".dcm":
        return f"{text}: say what is written there: dicom-seg:{where}"
    if not colon and suffix:
        return f"{text}: say what is written there: mp4:{where}, for instance"
    if not colon and where:
        return f"{text}: say what is written there: folder:{where} for frames and masks"
    return f"{text}: there is no such sink; expected one of {', '.join(f'{s}:' for s in SCHEMES)}"
