"""What folding does to each of the six systems: FLOPs, parameters, what is left, errors.

    python -m samedge.bench.families            # all, a few minutes
    python -m samedge.bench.families samus msa  # some

Sizes are those of the official ViT-B checkpoints. Weights come from the formula of the reference
vectors; only the errors depend on them. Every model is folded as `samedge export` folds it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from samedge.bench.eager import require_torch
from samedge.errors import ModelError
from samedge.tables import render_table

if TYPE_CHECKING:
    from samedge.fold import FoldReport
    from samedge.models import SamConfig

SEED = 1


@dataclass(frozen=True)
class Folded:
    """One system, folded.

    Attributes:
        name, title: of the system.
        slices: images that the encoder takes at once; FLOPs are of all of them.
        report: of `samedge.fold`.
    """

    name: str
    title: str
    slices: int
    report: FoldReport


def configs() -> dict[str, tuple[str, Callable[[], SamConfig]]]:
    """Name -> (title, config of the official checkpoint)."""
    require_torch()
    from samedge import models as m

    return {
        "sam": ("SAM", lambda: m.preset(m.SamConfig, "vit_b")),
        "medsam": ("MedSAM", lambda: m.preset(m.MedsamConfig, "vit_b")),
        "samed": ("SAMed, 512 px", lambda: m.preset(m.SamedConfig, "vit_b")),
        "samed_224": ("SAMed, 224 px", lambda: m.preset(m.SamedConfig, "vit_b", img_size=224)),
        "samed_s": ("SAMed_s, 512 px", lambda: m.preset(m.SamedConfig, "vit_b", decoder_rank=4)),
        "msa": ("MSA, 256 px", lambda: m.preset(m.MsaConfig, "vit_b")),
        "msa_1024": ("MSA, 1024 px", lambda: m.preset(m.MsaConfig, "vit_b", img_size=1024)),
        "msa_3d": ("MSA 3-D, chunk 4", lambda: m.preset(m.MsaConfig, "vit_b", slices=4, chunk=4)),
        "samus": ("SAMUS", lambda: m.preset(m.SamusConfig, "vit_b")),
        "autosamus": ("AutoSAMUS", lambda: m.preset(m.AutosamusConfig, "vit_b")),
    }


def measured(names: list[str] | None = None) -> Iterator[Folded]:
    """Fold the systems called `names`, all by default, one after the other.

    Raises:
        ModelError: there is no system of that name.
    """
    torch = require_torch()
    from samedge.fold import fold
    from samedge.models.build import build_model, model_shapes
    from samedge.models.synthetic import synthetic_state_dict

    known = configs()
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ModelError(f"there is no system '{unknown[0]}'; known: {', '.join(known)}")
    for name in names or known:
        title, make = known[name]
        config = make()
        arrays = synthetic_state_dict(model_shapes(config), SEED)
        model = build_model(config, {k: torch.from_numpy(v) for k, v in arrays.items()})
        del arrays
        yield Folded(name, title, config.family.slices, fold(model).report)


COLUMNS = (
    "system",
    "encoder GFLOP",
    "folded",
    "decoder GFLOP",
    "folded",
    "M parameters",
    "folded",
    "embedding error",
    "logit error",
)


def row(folded: Folded) -> list[str]:
    """Cells under `COLUMNS`."""
    r = folded.report
    return [
        folded.title,
        f"{r.flops_before / 1e9:.1f}",
        f"{r.flops_after / 1e9:.1f}",
        f"{r.decoder_flops_before / 1e9:.3f}",
        f"{r.decoder_flops_after / 1e9:.3f}",
        f"{r.parameters_before / 1e6:.1f}",
        f"{r.parameters_after / 1e6:.1f}",
        f"{r.embedding_error:.1e}",
        f"{r.logit_error:.1e}",
    ]


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(configs())}; default: all")
    args = parser.parse_args(arguments)
    rows: list[Any] = []
    for folded in measured(args.names or None):
        print(f"\n{folded.title}\n{folded.report}", flush=True)
        rows.append(row(folded))
    sys.stdout.write("\n" + render_table("Before and after folding", COLUMNS, rows) + "\n")
    return 0


if __name__ == "__main__":
    from samedge.bench.entry import run

    run(main)
