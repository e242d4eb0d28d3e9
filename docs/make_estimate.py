"""Renew the tables of docs/estimate.md.

    python docs/make_estimate.py

A test checks that they are current. The networks' sizes are counted, no weights are needed.
"""

from __future__ import annotations

import re
from pathlib import Path

from samedge.bench.estimate.bound import Bound, bounds
from samedge.bench.estimate.command import sources
from samedge.bench.estimate.devices import DEVICES, PRECISIONS
from samedge.bench.estimate.work import Part, work_of
from samedge.bench.families import configs
from samedge.fold.sizes import folded_sizes, unfolded_sizes

TARGET = Path(__file__).with_name("estimate.md")
NETWORKS = ("samus", "sam")
SHOWN = ("fp16", "int8")


def devices() -> str:
    """What stands in `samedge.bench.estimate.devices`."""
    lines = [
        "| device | mode | GB/s | GB | cache, MB | " + " | ".join(PRECISIONS) + " |",
        "|---|---|---:|---:|---:|" + "---:|" * len(PRECISIONS),
    ]
    for device in DEVICES:
        memory = f"{device.memory_gb.value:g} | {device.cache_mb.value:.0f}"
        for mode in device.modes:
            rates = [device.ops_per_s(mode, precision) for precision in PRECISIONS]
            cells = " | ".join("" if rate is None else f"{rate / 1e12:.1f}" for rate in rates)
            name = f"{device.title} | {mode.name} | {mode.gb_s.value:.0f}"
            lines.append(f"| {name} | {memory} | {cells} |")
    return "\n".join(lines)


def sources_table() -> str:
    """Where every figure is from."""
    return sources(DEVICES).markdown()


def notes() -> str:
    """What a reader has to know of single devices."""
    return "\n".join(f"* {device.title}: {device.note}." for device in DEVICES if device.note)


def works() -> dict[str, dict[str, Part]]:
    """Of the networks that the page has, by their titles."""
    known = configs()
    return {
        f"{known[n][0]} ViT-B": work_of(folded_sizes(unfolded_sizes(known[n][1]())))
        for n in NETWORKS
    }


def table_of_bounds(made: dict[str, dict[str, Part]]) -> str:
    """Milliseconds per frame that no engine can go below."""
    heads = [f"{title}, {precision}" for title in made for precision in SHOWN]
    lines = ["| device | mode | " + " | ".join(heads) + " |", "|---|---|" + "---:|" * len(heads)]
    for device in DEVICES:
        found: list[list[Bound]] = [
            [
                b
                for work in made.values()
                for b in bounds(work, device, SHOWN)
                if b.mode == mode.name
            ]
            for mode in device.modes
        ]
        for row in found:
            cells = " | ".join(f"{bound.ms:.3g}" for bound in row)
            lines.append(f"| {device.title} | {row[0].mode} | {cells} |")
    return "\n".join(lines)


def document(text: str, made: dict[str, dict[str, Part]]) -> str:
    """The page with its tables renewed; `made` by `works`."""
    parts = {
        "devices": devices(),
        "notes": notes(),
        "bounds": table_of_bounds(made),
        "sources": sources_table(),
    }
    for name, table in parts.items():
        pattern = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
        assert pattern.search(text), name
        text = _between(pattern, table, text)
    return text


def _between(pattern: re.Pattern[str], table: str, text: str) -> str:
    return pattern.sub(lambda match: f"{match[1]}{table}\n{match[2]}", text)


def main() -> None:
    TARGET.write_text(document(TARGET.read_text(), works()))
    print(f"wrote {TARGET.name}")


if __name__ == "__main__":
    main()
