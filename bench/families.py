"""What folding does to each of the eight systems: FLOPs, parameters, what is left, errors.

    python -m samedge.bench.families            # all, a few minutes
    python -m samedge.bench.families samus msa  # some

Sizes are those of the official checkpoints, ViT-B where there are several. Weights come from the
formula of the reference vectors; only the errors depend on them. Every model is folded as `samedge
export` folds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samedge.bench.contenders.eager import require_torch
from samedge.bench.entry import add_files, finish, parsed, parser, run
from samedge.bench.report.sheet import Cell, Column, Sheet, Table
from samedge.errors import ModelError

if TYPE_CHECKING:
    from samedge.fold import FoldReport
    from samedge.models import ModelConfig

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


def configs() -> dict[str, tuple[str, Callable[[], ModelConfig]]]:
    """Name -> (title, config of the official checkpoint)."""
    require_torch()
    from samedge import models as m

    return {
        "sam": ("SAM", lambda: m.preset(m.SamConfig, "vit_b")),
        "medsam": ("MedSAM", lambda: m.preset(m.MedsamConfig, "vit_b")),
        "litemedsam": ("LiteMedSAM", lambda: m.preset(m.LiteMedsamConfig, "vit_t")),
        "mobile_sam": ("MobileSAM", lambda: m.preset(m.MobileSamConfig, "vit_t")),
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
    Column("system"),
    Column("encoder_flops", ".1f", "encoder GFLOP", 1e-9),
    Column("encoder_flops_folded", ".1f", "folded", 1e-9),
    Column("decoder_flops", ".3f", "decoder GFLOP", 1e-9),
    Column("decoder_flops_folded", ".3f", "folded", 1e-9),
    Column("parameters", ".1f", "M parameters", 1e-6),
    Column("parameters_folded", ".1f", "folded", 1e-6),
    Column("embedding_error", ".1e", "embedding error"),
    Column("logit_error", ".1e", "logit error"),
)


def row(folded: Folded) -> list[Cell]:
    """Cells under `COLUMNS`."""
    r = folded.report
    return [
        folded.title,
        r.flops_before,
        r.flops_after,
        r.decoder_flops_before,
        r.decoder_flops_after,
        r.parameters_before,
        r.parameters_after,
        r.embedding_error,
        r.logit_error,
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    made = parser("families", __doc__)
    made.add_argument("names", nargs="*", help=f"of {', '.join(configs())}; default: all")
    add_files(made, page=False)
    options = parsed(made, arguments)
    rows = []
    for folded in measured(options.names or None):
        print(f"\n{folded.title}\n{folded.report}\n", flush=True)
        rows.append(row(folded))
    table = Table("Before and after folding", COLUMNS, rows)
    return finish(Sheet("families", (table,)), options, arguments)


if __name__ == "__main__":
    run(main)
