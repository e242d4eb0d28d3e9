"""Renew the account in docs/kernels.md, and the table of what biases cost.

    python docs/make_kernels.py

It is counted from the plans of engines that nobody builds: no GPU, no weights, about half a minute.
A test checks that the tables are current.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from samedge.bench.account.report import Account, markdown
from samedge.bench.families import configs
from samedge.bench.ops import account_of_family
from samedge.kernels.attention import global_attention as whole
from samedge.kernels.attention import window_attention as windows
from samedge.kernels.launch import next_power
from samedge.kernels.tiles import tile_of

TARGET = Path(__file__).with_name("kernels.md")
SHOWN = (80, 87, 90, 120)
DIM = 64  # channels of a head
NETWORKS = ("sam", "samed", "msa", "msa_3d", "samus", "autosamus")


def accounts() -> dict[str, Account]:
    """Of the networks that the page has, by their names in `samedge.bench.families`."""
    return {name: account_of_family(name) for name in NETWORKS}


def bias_work() -> str:
    """Multiply-adds that biases take of the tensor cores, in parts of those of QK and PV."""
    lines = [
        "| attention, heads of 64 | one-hot products | "
        + " | ".join(f"sm_{a}" for a in SHOWN)
        + " |",
        "|---|---:" + "|---:" * len(SHOWN) + "|",
    ]
    for grid, window in ((16, 14), (32, 14), (64, 14), (16, 16), (28, 28), (32, 32), (64, 64)):
        cells = []
        for arch in SHOWN:
            if window < grid:
                tile = tile_of("window_attention", "fp16", arch)
                bias, rest = windows.tensor_core_work(grid, window, DIM, tile)
            else:
                tile = tile_of("global_attention", "fp16", arch)
                bias, rest = whole.tensor_core_work(grid, grid, DIM, tile)
            cells.append(f"{bias / rest:.1%}")
        what = f"windows of {window} in {grid} x {grid}" if window < grid else f"{grid} x {grid}"
        lines.append(f"| {what} | {one_hot(window):.0%} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def one_hot(side: int) -> float:
    """The same where every tile of 32 keys has two products of one-hot matrices, after two with
    the compact tables: 64 queries, sides padded to powers of two."""
    queries, keys = 64, -(-(side * side) // 32) * 32
    padded = next_power(side, 16)
    tables = 2 * queries * DIM * next_power(2 * side - 1, 16)
    return (tables + 2 * queries * keys * padded) / (2 * queries * keys * DIM)


def document(text: str, made: Mapping[str, Account]) -> str:
    """The page with its tables renewed."""
    known = configs()
    account = markdown({known[name][0]: account for name, account in made.items()})
    return _replaced(_replaced(text, "account", account), "bias", bias_work())


def _replaced(text: str, name: str, table: str) -> str:
    pattern = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    assert pattern.search(text), name
    return pattern.sub(lambda match: f"{match[1]}{table}\n{match[2]}", text)


def main() -> None:
    TARGET.write_text(document(TARGET.read_text(), accounts()))
    print(f"wrote {TARGET.name}")


if __name__ == "__main__":
    main()
