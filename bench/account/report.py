"""The account of a network: what an engine of our own starts and moves, the least, and eager's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from samedge.bench.account.launches import Cost, Ledger, largest_first
from samedge.bench.report.sheet import Cell, Column, Sheet, Table

LABEL = "An account, not a speed: launches and bytes are counted, nothing was run or timed."
DEFINITION = (
    "bytes: of the arrays that a launch reads and writes, each counted once; what a kernel reads "
    "again from caches is not in it.",
    "least: every linear layer, attention and convolution of the folded network reads its "
    "operands, weights and what is added to its result (bias, residual, position table) once and "
    "writes its result once, in half precision; norms, activations, pooling and layouts cost "
    "nothing.",
    "eager: operations of the official network that PyTorch dispatches and that are no views, each "
    "as one launch; in half precision the encoder alone (the decoder's code asks for float32). Its "
    "FLOPs are those of products only.",
)
OUTSIDE = ("preprocess", "postprocess")  # eager and least have nothing there
COLUMNS = (
    Column("part"),
    Column("launches", "d"),
    Column("bytes", ".1f", "MB", 1e-6),
    Column("least_bytes", ".1f", "least MB", 1e-6),
    Column("times_least", ".2f", "times least"),
    Column("flops", ".2f", "GFLOP", 1e-9),
    Column("eager_launches", "d", "eager launches"),
    Column("eager_bytes_fp32", ".1f", "eager MB, fp32", 1e-6),
    Column("eager_bytes_half", ".1f", "eager MB, half", 1e-6),
    Column("eager_flops", ".2f", "eager GFLOP", 1e-9),
)
_KINDS = (
    Column("kernel"),
    Column("launches", "d"),
    Column("bytes_read", ".1f", "MB read", 1e-6),
    Column("bytes_written", ".1f", "MB written", 1e-6),
    Column("flops", ".2f", "GFLOP", 1e-9),
)


@dataclass(frozen=True)
class Account:
    """Of one network and one frame (or stack of slices), with one object in each.

    Attributes:
        title: of the network.
        precision: of the engine.
        arch: compute capability that tiles were chosen for.
        frame: height and width, px.
        windowed: for every block, whether it attends in windows.
        ours: launches of the engine.
        least: bytes per part.
        eager: launches of eager PyTorch in float32 ("fp32") and with the encoder in half precision
            ("half"); empty where the official network's config is not known.
    """

    title: str
    precision: str
    arch: int
    frame: tuple[int, int]
    windowed: tuple[bool, ...]
    ours: Ledger
    least: Mapping[str, int]
    eager: Mapping[str, Ledger]

    def blocks(self, windowed: bool) -> list[str]:
        """Parts that are blocks of the one kind or the other."""
        return [f"blocks.{i}" for i, kind in enumerate(self.windowed) if kind is windowed]

    def times_least(self, part: str) -> float:
        """Bytes that the engine moves, as a multiple of the least."""
        return self.ours.parts()[part].moved / self.least[part]

    def to_json(self) -> dict[str, Any]:
        """Plain values: what it is of, and every part by itself."""
        return {
            "title": self.title,
            "precision": self.precision,
            "compute_capability": self.arch,
            "frame": list(self.frame),
            "windowed": list(self.windowed),
            "parts": {part: self._part(part) for part in self.ours.parts()},
        }

    def _part(self, part: str) -> dict[str, Any]:
        eager = {
            precision: ledger.parts()[part].to_json()
            for precision, ledger in self.eager.items()
            if part in ledger.parts()
        }
        own = self.ours.parts()[part].to_json()
        return {**own, "least_bytes": self.least.get(part), "eager": eager}


def rows(account: Account) -> list[list[Cell]]:
    """Cells under `COLUMNS`: parts in order (one of the blocks of a kind: the one that moves most),
    then sums."""
    parts = account.ours.parts()
    shown: list[tuple[str, list[str]]] = []
    for name in parts:
        if not name.startswith("blocks."):
            shown.append((name, [name]))
        elif name == "blocks.0":
            for windowed, words in ((True, "windowed"), (False, "global")):
                blocks = account.blocks(windowed)
                if blocks:
                    most = max(blocks, key=lambda block: parts[block].moved)
                    shown.append((f"each of {len(blocks)} {words} blocks", [most]))
    network = [name for name in parts if name not in OUTSIDE]
    encoder = [name for name in network if name != "decoder"]
    shown += [("encoder", encoder), ("encoder and decoder", network)]
    if any(name in parts for name in OUTSIDE):
        shown.append(("with the frame's ends", list(parts)))
    return [[name, *_cells(account, some)] for name, some in shown]


def _cells(account: Account, parts: list[str]) -> list[Cell]:
    def of(ledger: Ledger) -> Cost:
        sums = ledger.parts()
        return sum((sums.get(part, Cost()) for part in parts), Cost())

    ours = of(account.ours)
    known = all(part in account.least for part in parts)
    least = sum(account.least.get(part, 0) for part in parts)
    cells: list[Cell] = [
        ours.launches,
        ours.moved,
        least if known else None,
        ours.moved / least if known else None,
        ours.flops,
    ]
    if not account.eager or not known:
        return [*cells, None, None, None, None]
    full, half = of(account.eager["fp32"]), of(account.eager["half"])
    return [*cells, full.launches, full.moved, half.moved, full.flops]


def sheet(account: Account) -> Sheet:
    """An account on its way to a terminal or a file."""
    height, across = account.frame
    title = (
        f"{account.title}, {account.precision}, tiles of sm_{account.arch}, frame of "
        f"{across} x {height} px, one object"
    )
    tables = [Table(title, COLUMNS, rows(account)), _kinds("Kernels", account.ours)]
    notes: tuple[str, ...] = ()
    if account.eager:
        tables.append(_kinds("Eager operations, float32", account.eager["fp32"]))
    else:
        notes = ("(no eager column: the official network of these sizes is not known)",)
    return Sheet("account", tables, account.to_json(), notes, (LABEL, *DEFINITION))


def _kinds(title: str, ledger: Ledger) -> Table:
    sums = largest_first(ledger.kinds())
    return Table(title, _KINDS, [[k, c.launches, c.reads, c.writes, c.flops] for k, c in sums])


def markdown(accounts: Mapping[str, Account]) -> str:
    """Accounts as one table of a page, named in its first column; the frame's ends only in sums."""
    shown = [
        [name, *row]
        for name, account in accounts.items()
        for row in rows(account)
        if row[0] not in OUTSIDE
    ]
    return Table("", (Column("network"), *COLUMNS), shown).markdown()
