"""Write the pictures of docs/stream.md that are drawn: how machines and programs are connected.

    python docs/make_stream_pictures.py

The others are photographs of the viewer: docs/make_viewer_pictures.py.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

IMAGES = Path(__file__).with_name("images")
_BOX = 'rx="8" fill="#202327" stroke="#56b4e9" stroke-width="1.5"'
_HEIGHT = 64

# Columns of boxes (title, line below it), and what is written on the arrows between columns.
GRABBER = (
    [[("Ultrasound cart", "video output")], [("UVC grabber", "USB")]],
    [("samedge stream", "camera:  masks, tracking")],
    [("viewer:", "a browser: click, look"), ("mp4:out.mp4", "a recording")],
    ["HDMI", "/dev/video0", "http, one message per frame"],
)
PLUS = (
    [[("Ultrasound cart", "video, tracker")], [("PLUS server", "port 18944")]],
    [("samedge stream", "igtl:  stamps and matrices kept")],
    [("3D Slicer", "Prediction, PredToReference"), ("viewer:", "a browser: click, look")],
    ["", "IMAGE Image_Image, TRANSFORM", "port 18945"],
)


def _box(x: float, y: float, width: float, title: str, below: str) -> str:
    middle = x + width / 2
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{_HEIGHT}" {_BOX}/>'
        f'<text x="{middle}" y="{y + 27}" text-anchor="middle" font-weight="bold">{escape(title)}'
        f'</text><text x="{middle}" y="{y + 47}" text-anchor="middle" fill="#a0a4aa" '
        f'font-size="12">{escape(below)}</text>'
    )


def _arrow(x0: float, y0: float, x1: float, y1: float, text: str) -> str:
    words = (
        f'<text x="{(x0 + x1) / 2}" y="{min(y0, y1) - 10}" text-anchor="middle" font-size="11" '
        f'fill="#a0a4aa">{escape(text)}</text>'
        if text
        else ""
    )
    return (
        f'<line x1="{x0}" y1="{y0}" x2="{x1 - 14}" y2="{y1}" stroke="#eeeef0" stroke-width="1.5" '
        f'marker-end="url(#end)"/>{words}'
    )


def diagram(before, middle, after, arrows) -> str:  # type: ignore[no-untyped-def]
    """An SVG picture of boxes from left to right."""
    columns = [*before, middle, after]
    widths, gap = [150, 130, 250, 220], [110, 190, 180]
    height, x, places = 210, 14.0, []
    for column, width in zip(columns, widths, strict=True):
        top = (height - len(column) * _HEIGHT - (len(column) - 1) * 22) / 2
        places.append([(x, top + i * (_HEIGHT + 22), width) for i in range(len(column))])
        x += width + (gap[len(places) - 1] if len(places) <= len(gap) else 14)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {x:.0f} {height}" '
        f'width="{x:.0f}" height="{height}" font-family="sans-serif" font-size="15" '
        'fill="#eeeef0"><defs><marker id="end" markerWidth="9" markerHeight="8" refX="1" refY="4" '
        'orient="auto"><path d="M0,0 L9,4 L0,8 z" fill="#eeeef0"/></marker></defs>'
        f'<rect width="{x:.0f}" height="{height}" fill="#141518"/>'
    ]
    for column, place in zip(columns, places, strict=True):
        parts += [_box(*p, *text) for p, text in zip(place, column, strict=True)]
    for left, right, text in zip(places, places[1:], arrows, strict=False):
        for x0, y0, width in left:
            for number, (x1, y1, _) in enumerate(right):
                words = text if number == 0 else ""
                parts.append(_arrow(x0 + width + 4, y0 + _HEIGHT / 2, x1, y1 + _HEIGHT / 2, words))
    return "".join(parts) + "</svg>\n"


if __name__ == "__main__":
    for name, figure in (("stream-grabber", GRABBER), ("stream-plus", PLUS)):
        (IMAGES / f"{name}.svg").write_text(diagram(*figure))
        print(f"wrote {name}.svg")
