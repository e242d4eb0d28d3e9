"""From a name on the command line to the live source that it means."""

from __future__ import annotations

import math
import os
import re
from importlib import import_module
from typing import cast

from samedge._wording import did_you_mean
from samedge.errors import SourceError
from samedge.files.paths import kind_at
from samedge.sources.frame import Source, Warn
from samedge.sources.uri import Uri, parse_uri, yes_no

# Name -> what it is, for help and completion.
SCHEMES: dict[str, str] = {
    "simulator": "simulator:[KIND]?seed=1&fps=30  a beating heart or another organ, simulated",
    "camera": "camera:/dev/video0?size=1280x720&fps=30&format=mjpeg  a camera or a video grabber",
    "rtsp": "rtsp://HOST/PATH  a stream in the network",
    "rtsps": "rtsps://HOST/PATH  the same, encrypted",
    "igtl": "igtl://HOST:18944  an OpenIGTLink server, PLUS for instance",
    "igtl+serve": "igtl+serve://:18944  OpenIGTLink clients that connect to us",
    "replay": "replay:DIR  what folder:DIR recorded, at its own times",
    "path": "FILE or path:FILE?rate=30&loop=yes  a video, a DICOM loop, a folder of frames",
}
# Scheme -> module and function `(uri, warn)` that opens it. Imported when it is asked for.
_DEVICES = {
    "simulator": "samedge.sources.simulator:open_simulator",
    "camera": "samedge.sources.devices.camera:open_camera",
    "igtl": "samedge.sources.openigtlink:open_openigtlink",
    "igtl+serve": "samedge.sources.openigtlink:open_openigtlink",
    "replay": "samedge.sources.replay:open_replay",
}
_TAKE_FPS = ("simulator", "camera")
_PATH_OPTIONS = ("rate", "loop", "window", "axis", "time")
_LIKE_A_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+-]+):")


def open_live_source(
    text: str, *, rate: float | None = None, loop: bool = False, warn: Warn | None = None
) -> Source:
    """Open a device, a stream in the network, or a file that is played.

    Args:
        text: see `SCHEMES`; what has none of them is a path.
        rate: frames per second that a camera or the simulator is asked for, or at which a file is
            played (0: as fast as possible) instead of its own times. What the name itself says
            comes first.
        loop: play a file again and again.
        warn: called once with each warning.

    Returns:
        a source with `is_live`. Devices are opened when it is iterated.

    Raises:
        SourceError: there is no such source, it has not these options, or it does not take `rate`
            or `loop`.
        NotSupportedError: what it needs is not here; the message names the remedy.
    """
    if text.lower().startswith(("rtsp:", "rtsps:")):
        # Before anything else looks at it: the name may hold a password.
        from samedge.sources.devices.rtsp import RtspSource

        refuse(text.partition(":")[0] + ":", rate=rate, loop=loop)
        return RtspSource(text, warn)
    uri = parse_uri(text, SCHEMES)
    if uri.scheme == "path":
        return _path(uri, rate, loop, warn)
    uri = _asked(uri, rate, loop)
    module, _, name = _DEVICES[uri.scheme].partition(":")
    return cast(Source, getattr(import_module(module), name)(uri, warn))


def refuse(name: str, rate: float | None = None, loop: bool = False) -> None:
    """Say that a source does not take what was given.

    Raises:
        SourceError: something was.
    """
    for given, what in ((rate is not None, "a rate"), (loop, "to be repeated")):
        if given:
            raise SourceError(
                f"{name} does not take {what}: its frames come when they come; that is for files"
            )


def _asked(uri: Uri, rate: float | None, loop: bool) -> Uri:
    """The rate as the source's own option, where its name does not have it."""
    options = dict(uri.options)
    if rate == 0 and uri.scheme == "replay":
        options.setdefault("fast", "yes")
        rate = None
    elif rate is not None and uri.scheme in _TAKE_FPS:
        options.setdefault("fps", f"{rate:g}")
        rate = None
    refuse(uri.text, rate, loop)
    return Uri(uri.text, uri.scheme, uri.where, options)


def _path(uri: Uri, rate: float | None, loop: bool, warn: Warn | None) -> Source:
    from samedge.sources.paced import open_paced

    uri.check_options(_PATH_OPTIONS)
    _check_scheme(uri)
    return open_paced(
        os.path.expanduser(uri.where) if uri.text != uri.where else uri.where,
        uri.take("rate", _rate, rate, "frames per second, or 0 for as fast as possible"),
        uri.take("loop", yes_no, loop, "yes or no"),
        warn,
        window=uri.take("window", _window, None, "two numbers, LOW,HIGH"),
        axis=uri.take("axis", int, None, "the number of an axis"),
        time=uri.take("time", yes_no, False, "yes or no"),
    )


def _check_scheme(uri: Uri) -> None:
    """Say what was meant where a scheme was mistyped: `camra:/dev/video0` is no file."""
    word = _LIKE_A_SCHEME.match(uri.text)
    if uri.text != uri.where or word is None or kind_at(uri.where, SourceError) != "missing":
        return
    meant = did_you_mean(word[1], SCHEMES)
    if meant:
        raise SourceError(f"{uri.text}: there is no '{word[1]}:' and no such file{meant}")


def _rate(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(text)
    return value


def _window(text: str) -> tuple[float, float]:
    low, high = (float(part) for part in text.split(","))
    if not low < high or not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(text)
    return low, high
