"""The calibration record as a page for people: one HTML file without anything outside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

Record = Mapping[str, Any]

_INT8, _KEPT = "#4269d0", "#ff725c"
_STYLE = """
body { font: 15px/1.45 sans-serif; color: #222; max-width: 62em; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse } td, th { padding: .2em .8em; text-align: right }
th { border-bottom: 1px solid #999; font-weight: 600 } tr:nth-child(even) td { background: #f5f5f5 }
td:first-child, th:first-child, td.text, th.text { text-align: left }
.warning { background: #fff4d6; border-left: 4px solid #efb118; padding: .5em 1em }
.failed { background: #ffe6e2; border-left: 4px solid #ff725c; padding: .5em 1em }
.note { color: #666 } svg { max-width: 100%; height: auto }
""".strip()


def report_page(record: Record, title: str) -> str:
    """A self-contained HTML page about one calibration.

    Args:
        record: `Manifest.calibration` of a bundle.
        title: of the model, for the heading.
    """
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f"<title>INT8: {escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>INT8 calibration: {escape(title)}</h1>",
        *(f'<p class="warning">{escape(text)}</p>' for text in record["warnings"]),
        _verdict(record),
        "<h2>How it was made</h2>",
        _about(record),
        "<h2>What each layer costs</h2>",
        '<p class="note">Relative RMS error of the image embedding when this layer alone is INT8, '
        "on a logarithmic scale. "
        f'<span style="color:{_INT8}">&#9632;</span> INT8, '
        f'<span style="color:{_KEPT}">&#9632;</span> left in higher precision.</p>',
        sensitivity_plot(record["layers"]),
        "<h2>Layers left in higher precision</h2>",
        _kept(record["layers"]),
        "<h2>Masks against float32</h2>",
        _trials(record["trials"]),
        "<h2>Smoothing</h2>",
        _smoothing(record["smoothing"]),
        '<p class="note">Research use only. Not a medical device.</p></body></html>',
    ]
    return "\n".join(parts) + "\n"


def sensitivity_plot(layers: Sequence[Record], width: int = 900) -> str:
    """One bar per layer, largest error first: an SVG picture."""
    ranked = sorted(layers, key=lambda layer: -layer["error"])
    errors = [max(layer["error"], 1e-9) for layer in ranked]
    low = 10 ** np.floor(np.log10(min(errors)))
    high = 10 ** np.ceil(np.log10(max(errors)) + 1e-9)
    left, row, top = 270, 15, 24
    height = top + row * len(ranked) + 8
    scale = (width - left - 90) / max(np.log10(high / low), 1e-9)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">'
    ]
    for decade in range(int(np.log10(low)), int(np.log10(high)) + 1):
        x = left + (decade - np.log10(low)) * scale
        parts.append(
            f'<line x1="{x:.1f}" y1="{top - 6}" x2="{x:.1f}" y2="{height}" stroke="#ddd"/>'
        )
        parts.append(f'<text x="{x:.1f}" y="12" text-anchor="middle">1e{decade}</text>')
    for index, (layer, error) in enumerate(zip(ranked, errors, strict=True)):
        y = top + index * row
        length = max(np.log10(error / low) * scale, 1.0)
        colour = _KEPT if layer["kept"] else _INT8
        name = escape(layer["name"].removeprefix("encoder."))
        parts.append(f'<text x="{left - 8}" y="{y + 10}" text-anchor="end">{name}</text>')
        parts.append(f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{row - 4}" '
                     f'fill="{colour}"/>')  # fmt: skip
        parts.append(f'<text x="{left + length + 5:.1f}" y="{y + 10}">{layer["error"]:.2g}</text>')
    return "\n".join([*parts, "</svg>"])


def _verdict(record: Record) -> str:
    agreement, bound = record["agreement"], record["bound"]["min_dice"]
    worst = None if agreement is None or not record["bound"]["each"] else agreement["worst"]
    if agreement is None:
        return '<p class="failed">Masks were not compared.</p>'
    text = (
        f"Mean Dice {agreement['dice']:.4f} of {agreement['masks']} masks against float32 "
        f"(limit of the mean {bound:g}); {agreement['flipped']:.3%} of the mask pixels differ."
    )
    if worst is not None:
        text += (
            f" The worst, on {escape(worst['frame'])}, has {worst['dice']:.4f} (limit of each mask "
            f"{worst['limit']:.4f})."
        )
    if agreement["dice"] >= bound and (worst is None or worst["dice"] >= worst["limit"]):
        return f"<p>{text}</p>"
    return f'<p class="failed">A limit was missed. {text}</p>'


def _about(record: Record) -> str:
    layers = record["layers"]
    share = sum(layer["share"] for layer in layers if not layer["kept"])
    quantised = sum(not layer["kept"] for layer in layers)
    rows = [
        ("Method", record["method"]),
        (
            "Frames",
            f"{record['frames']} of {record['frames_offered']} ({record['source']}), and "
            f"{record['selftest_frames']} self-test frames besides",
        ),
        ("Layers in INT8", f"{quantised} of {len(layers)}; {share:.1%} of their multiplications"),
        ("SHA-256 of the frames", record["data_sha256"]),
        ("SHA-256 of the float32 graph", record["graph_sha256"]),
    ]
    cells = "".join(
        f'<tr><td>{escape(name)}</td><td class="text">{escape(str(value))}</td></tr>'
        for name, value in rows
    )
    return f"<table>{cells}</table>"


def _kept(layers: Sequence[Record]) -> str:
    kept = [layer for layer in layers if layer["kept"]]
    if not kept:
        return "<p>None.</p>"
    rows = [
        [layer["name"], f"{layer['error']:.2g}", f"{layer['share']:.1%}", layer["kept"]]
        for layer in sorted(kept, key=lambda layer: -layer["error"])
    ]
    return _table(["layer", "error", "share of work", "why"], rows, last_is_text=True)


def _trials(trials: Sequence[Record]) -> str:
    rows = [
        [
            str(trial["kept"]),
            f"{trial['dice']:.4f}",
            f"{trial['worst_dice']:.4f}",
            f"{trial['flipped']:.3%}",
            f"{trial['logit_rms']:.4f}",
        ]
        for trial in trials
    ]
    return _table(
        ["layers left out", "mean Dice", "worst Dice", "pixels that differ", "logits, RMS"], rows
    )


def _smoothing(smoothing: Sequence[Record]) -> str:
    if not smoothing:
        return "<p>Not used.</p>"
    rows = [
        [
            one["norm"],
            "none" if one["exponent"] is None else f"{one['exponent']:g}",
            f"{one['error_without']:.2g}",
            f"{one['error']:.2g}",
        ]
        for one in smoothing
    ]
    return _table(["norm", "exponent", "error without", "error with"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], last_is_text: bool = False) -> str:
    def cells(kind: str, row: Sequence[str]) -> str:
        marks = [' class="text"' if last_is_text and i == len(row) - 1 else ""
                 for i in range(len(row))]  # fmt: skip
        return "".join(
            f"<{kind}{mark}>{escape(cell)}</{kind}>" for mark, cell in zip(marks, row, strict=True)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{cells('th', head)}</tr>{body}</table>"
