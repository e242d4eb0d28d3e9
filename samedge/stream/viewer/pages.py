"""What a browser gets: the files of the page, from memory, and the headers that fence it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from samedge.drawing.colours import ALERT, FAINT, INK, PALETTE, PAPER, Colour

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

# Nothing from elsewhere, nothing inline, in no other page's frame, and no word to other places of
# the address, in which the token is.
HEADERS: tuple[tuple[str, str], ...] = (
    (
        "content-security-policy",
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
    ("cache-control", "no-store"),
)


@dataclass(frozen=True)
class Page:
    """One file.

    Attributes:
        content: its bytes.
        media_type: for the Content-Type header.
        is_open: it holds no secrets: whoever may ask at all gets it without the token.
    """

    content: bytes
    media_type: str
    is_open: bool = True


def load_pages() -> Mapping[str, Page]:
    """Path -> file: all there are. What is not in here does not exist, whatever is asked for."""
    found = {}
    for file in files(__package__).joinpath("static").iterdir():
        media_type = _TYPES.get(file.name.rpartition(".")[2])
        if media_type is not None:
            found[f"/{file.name}"] = Page(file.read_bytes(), media_type)
    index = found.pop("/index.html")
    found["/"] = Page(index.content, index.media_type, is_open=False)
    found["/colours.css"] = Page(_colours().encode(), _TYPES["css"])
    return found


def _colours() -> str:
    """The colours that all pictures of samedge have, as CSS variables."""
    named = {"ink": INK, "faint": FAINT, "paper": PAPER, "alert": ALERT}
    named |= {f"object-{k + 1}": colour for k, colour in enumerate(PALETTE)}
    lines = [f"  --{name}: {_css(colour)};" for name, colour in named.items()]
    return ":root {\n" + "\n".join(lines) + "\n}\n"


def _css(colour: Colour) -> str:
    return f"rgb({colour[0]}, {colour[1]}, {colour[2]})"
