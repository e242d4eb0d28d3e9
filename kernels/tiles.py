"""The table of tiles: how each kernel cuts its problem up on each kind of GPU.

`tiles.json` is data: compute capability -> "kernel" or "kernel.case" -> element type -> tile. What
an entry lacks is looked up under "default". `python -m samedge.kernels.tune` writes the entries of
the GPU that it runs on, from the tiles in `candidates.json`; nothing is tuned at run time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import resources
from itertools import product
from typing import Any

from samedge.kernels.launch import Tile

# Of the GPUs that engines are built for. sm_75 gets none: Triton emits no tensor-core code for it.
ARCHITECTURES = (80, 86, 87, 89, 90, 110, 120)

_TRIED: ContextVar[tuple[str, Tile] | None] = ContextVar("_TRIED", default=None)


@contextmanager
def trying(kernel: str, tile: Tile) -> Iterator[None]:
    """Inside the block `kernel` has this tile, whatever the table says: for the tuner."""
    token = _TRIED.set((kernel, tile))
    try:
        yield
    finally:
        _TRIED.reset(token)


@cache
def _table() -> dict[str, Any]:
    return _read("tiles.json")


def table() -> dict[str, Any]:
    """A copy of the table, to be changed."""
    return _read("tiles.json")


def candidates(kernel: str) -> tuple[Tile, ...]:
    """The tiles that the tuner tries: all combinations of what candidates.json says; none: ()."""
    ranges: dict[str, list[int]] = _read("candidates.json").get(kernel, {})
    tiles = []
    for values in product(*ranges.values()) if ranges else ():
        sizes = dict(zip(ranges, values, strict=True))
        others = sizes.pop("warps"), sizes.pop("stages"), sizes.pop("registers", 0)
        tiles.append(Tile(sizes, *others))
    return tuple(tiles)


def _read(name: str) -> dict[str, Any]:
    text = resources.files("samedge.kernels").joinpath(name).read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def tile_of(kernel: str, dtype: str, arch: int) -> Tile:
    """The tile of a kernel.

    Args:
        kernel: its name in the table, "linear" or "linear.narrow".
        dtype: element type of its products, "fp16".
        arch: compute capability; 0 for the interpreter, which likes large tiles.

    Raises:
        KeyError: no entry; a kernel needs at least one under "default".
    """
    tried = _TRIED.get()
    if tried is not None and tried[0] == kernel:
        return tried[1]
    known = _table()
    place = "interpreter" if arch == 0 else str(arch)
    for group in (place, "default"):
        kinds = known.get(group, {}).get(kernel)
        if kinds is not None and (entry := kinds.get(dtype, kinds.get("any"))) is not None:
            sizes = {k: v for k, v in entry.items() if k not in ("warps", "stages", "registers")}
            registers = entry.get("registers", 0)
            return Tile(sizes, entry.get("warps", 4), entry.get("stages", 2), registers)
    raise KeyError(f"tiles.json has no tile for {kernel} ({dtype})")
