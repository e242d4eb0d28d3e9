"""RTSP streams of network cameras and video servers, read by PyAV.

The address may hold a user's name and password. It goes to FFmpeg alone: names, messages and
records show it without them and without what follows a question mark.
"""

from __future__ import annotations

import errno
from urllib.parse import urlsplit

from samedge._optional import require
from samedge.errors import SourceError
from samedge.sources.devices.av_feed import AvSource, Input
from samedge.sources.frame import Warn
from samedge.sources.uri import Uri, positive

_OWN = ("transport", "timeout")  # options; all others belong to the server
_TRANSPORTS = ("tcp", "udp")
_PORTS = {"rtsp": 554, "rtsps": 322}
_OPEN_S = 10.0  # a picture to begin with may be seconds away
_SILENT_S = 2.0
_PROTOCOLS = "rtsp,rtsps,rtp,srtp,tcp,udp,tls,crypto"


class RtspSource(AvSource):
    """A stream of an RTSP server.

    `stamp_s` is the sender's time since the connection began.

    Args:
        address: `rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH[?...]`, or `rtsps:`. Behind the question
            mark `transport=udp` (else tcp) and `timeout=SECONDS` (else 2) are ours; all else is
            passed on to the server.
        warn: told what is not as expected.

    Raises:
        MissingDependencyError: PyAV is not installed.
        SourceError: it is no such address. Iterating says what is wrong with the server.
    """

    kind = "network"

    def __init__(self, address: str, warn: Warn | None = None) -> None:
        require("av", "stream", "reading RTSP streams")
        name, bare = _shown(address)
        options, url = _split(address, name)
        given = Input(
            url,
            "rtsp",
            {
                "rtsp_transport": options.take("transport", _transport, "tcp", "tcp or udp"),
                "allowed_media_types": "video",
                "protocol_whitelist": _PROTOCOLS,
                "max_delay": "0",
                "reorder_queue_size": "0",
                "fpsprobesize": "0",  # nobody needs the rate, and finding it takes seconds
            },
            open_s=_OPEN_S,
            silent_s=options.take("timeout", positive, _SILENT_S, "seconds above 0"),
            explain=_explain,
        )
        super().__init__(name, bare, given, warn)


def _shown(address: str) -> tuple[str, str]:
    """The address without what is secret, and a name for files.

    Raises:
        SourceError: it is no address; the message does not hold it.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not address.lower().startswith(("rtsp://", "rtsps://")):
        raise SourceError(
            "the address of the RTSP stream is none; expected rtsp://HOST[:PORT]/PATH, with "
            "USER:PASSWORD@ before the host where the server asks for them"
        )
    host = f"[{host}]" if ":" in host else host
    place = host if port in (None, _PORTS[parts.scheme.lower()]) else f"{host}:{port}"
    stem = parts.path.rstrip("/").rpartition("/")[2] or "rtsp"
    return f"{parts.scheme.lower()}://{place}{parts.path}", stem


def _split(address: str, name: str) -> tuple[Uri, str]:
    """Our options, and the address with those of the server alone."""
    front, mark, query = address.partition("?")
    ours: dict[str, str] = {}
    theirs = []
    for part in query.split("&") if mark else ():
        key, _, value = part.partition("=")
        if key in _OWN:
            ours[key] = value
        else:
            theirs.append(part)
    return Uri(name, "rtsp", name, ours), front + ("?" + "&".join(theirs) if theirs else "")


def _transport(text: str) -> str:
    if text not in _TRANSPORTS:
        raise ValueError(text)
    return text


def _explain(error: Exception) -> str:
    """What an error of FFmpeg's means for a server, and what to do."""
    kind, number = type(error).__name__, getattr(error, "errno", None)
    if kind == "HTTPUnauthorizedError" or kind == "HTTPForbiddenError":
        return (
            "the server wants a name and a password, or others: rtsp://USER:PASSWORD@HOST/PATH; "
            "signs like @ and / in them as %40 and %2F"
        )
    if kind == "HTTPNotFoundError":
        return "the server has no such stream; check the path behind the host"
    if number == errno.ECONNREFUSED:
        return "nobody listens there; is the server running, and is the port right?"
    if number in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EIO, errno.ENOENT):
        return "the host cannot be reached; check its name or address, and the network"
    if isinstance(error, EOFError) or number in (errno.ECONNRESET, errno.EPIPE):
        return "the server has ended the stream"
    return f"the stream cannot be read ({kind})"
