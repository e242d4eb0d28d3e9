"""A report as a table for people, and every sample as a plot."""

from __future__ import annotations

from html import escape
from typing import Any

from samedge.tables import render_table

Report = dict[str, Any]
_COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2")


def render(report: Report, width: int | None = None) -> str:
    """A report of `run` or of `samedge.bench.encoder` as text.

    Args:
        report: what they return.
        width: columns of text that its table may take; None: as many as it needs.
    """
    if report["kind"] == "encoder":
        return _render_encoder(report, width)
    return _render_session(report, width)


def svg(report: Report, width: int = 760) -> str:
    """Every sample of a report as one dot per round: a self-contained SVG picture."""
    groups: dict[str, list[float]] = dict(report["samples_ms"])
    if report.get("eager"):
        groups = dict(report["eager"]["samples_ms"].items())
    largest = max(max(values) for values in groups.values())
    left, row_height = 250, 34
    height = row_height * len(groups) + 46
    scale = (width - left - 30) / largest
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="18" font-weight="bold">{escape(report["title"])}: '
        "milliseconds per run</text>",
    ]
    for index, (name, values) in enumerate(groups.items()):
        y = 44 + index * row_height
        colour = _COLOURS[index % len(_COLOURS)]
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<line x1="{left}" y1="{y}" x2="{width - 30}" y2="{y}" stroke="#dddddd"/>')
        for number, value in enumerate(values):
            offset = (number % 5 - 2) * 2.5
            parts.append(
                f'<circle cx="{left + value * scale:.1f}" cy="{y + offset:.1f}" r="2.5" '
                f'fill="{colour}" fill-opacity="0.6"/>'
            )
    parts.append(f'<text x="{left}" y="{height - 8}">0</text>')
    parts.append(
        f'<text x="{width - 30}" y="{height - 8}" text-anchor="end">{largest:.0f} ms</text></svg>'
    )
    return "\n".join(parts) + "\n"


def _render_session(report: Report, width: int | None) -> str:
    slices = report["slices"]
    unit = "frames" if slices == 1 else f"stacks of {slices} slices"
    head = (
        f"{report['title']}, {report['backend']} {report['precision']}, "
        f"{report['threads']} threads, {report['device']}\n"
        f"{report['source']}; {report['frames']} {unit} after {report['warmup']} to warm up"
    )
    rows = [
        [stage, *(f"{values[key]:.2f}" for key in ("p50", "p90", "p99", "worst"))]
        for stage, values in report["stages_ms"].items()
    ]
    lines = [
        head,
        render_table(
            "Milliseconds per frame" if slices == 1 else "Milliseconds per stack",
            ["stage", "p50", "p90", "p99", "worst"],
            rows,
            width,
        ),
        f"{report['fps']:.2f} frames per second (wall clock); outside the encoder: "
        f"{report['outside_encoder_share']:.1%} of a frame; start {report['start_s']:.2f} s",
    ]
    parity = report["parity"]
    lines.append(
        f"Self-test passed before timing: largest logit error {parity['max_logit_error']:.2e} "
        f"(limit {parity['limit']:.2e}), Dice {parity['dice']:.4f}"
    )
    eager = report["eager"]
    if eager is not None:
        lines.append(
            f"{_ratio(eager['times_as_fast'])} times as fast as eager PyTorch "
            f"({eager['eager_ms']['p50']:.0f} ms against {eager['samedge_ms']['p50']:.0f} ms, "
            f"{eager['rounds']} rounds in turn; {eager['note']})"
        )
    return "\n".join(lines)


def _render_encoder(report: Report, width: int | None) -> str:
    rows = []
    for row in report["rows"]:
        rows.append(
            [
                row["name"],
                f"{row['ms']['p50']:.0f}",
                f"{row['ms']['p90']:.0f}",
                _ratio(row["times_eager"]),
                _ratio(row["times_plain"]) if row["times_plain"] else "",
                f"{row['max_error']:.1e}",
            ]
        )
    columns = ["encoder", "p50 ms", "p90 ms", "times eager", "times plain export", "max error"]
    title = (
        f"{report['title']}, {report['threads']} threads, {report['rounds']} rounds in turn, "
        f"{report['device']}"
    )
    lines = [
        render_table(title, columns, rows, width),
        "Ratios: median of the rounds (10 % to 90 % of them).",
    ]
    for start in report["startup"]:
        lines.append(
            f"Session {start['precision']}: start {start['cold']['start_s']:.2f} s cold, "
            f"{start['warm']['start_s']:.2f} s from a warm cache; resident "
            f"{start['warm']['resident_mb']:.0f} MB (peak {start['warm']['peak_mb']:.0f} MB); "
            f"outside the encoder {start['warm']['outside_encoder_share']:.1%} of a frame"
        )
    return "\n".join(lines)


def _ratio(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
