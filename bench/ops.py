"""What an engine of our own starts and moves for one frame, counted without a GPU.

    python -m samedge.bench.ops --account BUNDLE [--precision int8]
    python -m samedge.bench.ops --account --family sam [--precision fp16] [--sm 87] [--json F]

An account, and no speed: nothing is compiled, run or timed. It comes from the plan of the engine,
next to the least bytes that the network's products can move and to eager PyTorch's launches.
`--family` takes the official ViT-B sizes; no weights are needed for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from samedge._optional import importing
from samedge.bench.account.report import Account, sheet
from samedge.bench.entry import add_files, finish, parsed, parser, run
from samedge.bench.families import configs
from samedge.bundle import Bundle
from samedge.errors import ModelError, NotSupportedError

with importing("torch", extra="export", what="counting an engine's launches"):
    import torch

    from samedge.bench.account.eager import eager_launches
    from samedge.bench.account.engine import FRAME, engine_launches
    from samedge.bench.account.least import least_bytes
    from samedge.export.triton.outline import outline
    from samedge.export.triton.trace import PRECISIONS, Source, opened
    from samedge.fold.layers import Block
    from samedge.fold.model import FoldedModel
    from samedge.fold.sizes import folded_sizes, unfolded_sizes
    from samedge.kernels.tiles import ARCHITECTURES
    from samedge.models import SamConfig


def account_of_family(
    name: str, precision: str = "fp16", arch: int = 87, frame: tuple[int, int] = FRAME
) -> Account:
    """The account of an official network, from its sizes alone.

    Args:
        name: of `samedge.bench.families.configs`.
        precision: "fp16", "bf16" or "fp32".
        arch: compute capability that tiles are chosen for.
        frame: height and width, px.

    Raises:
        ModelError: there is no system of that name.
        NotSupportedError: INT8, which is a bundle's; a network without kernels of samedge's own.
    """
    known = configs()
    if name not in known:
        raise ModelError(f"there is no system '{name}'; known: {', '.join(known)}")
    if precision == "int8":
        raise NotSupportedError(
            "which layers are quantised is decided when a bundle is calibrated; give a bundle "
            "with an INT8 encoder instead of --family"
        )
    title, make = known[name]
    config = make()
    if not isinstance(config, SamConfig):
        raise NotSupportedError(
            f"{title} has a TinyViT encoder, for which samedge has no kernels of its own to count; "
            "its engines are OpenVINO's and TensorRT's"
        )
    return account_of_config(config, title, precision, arch, frame)


def account_of_config(
    config: SamConfig, title: str, precision: str, arch: int, frame: tuple[int, int] = FRAME
) -> Account:
    """The account of a network of these sizes; arguments as `account_of_family`."""
    model = unfolded_sizes(config)
    folded = folded_sizes(model)
    return _account(outline(folded), title, precision, arch, frame, config)


def account_of_bundle(
    bundle: Bundle, precision: str = "fp16", arch: int = 87, frame: tuple[int, int] = FRAME
) -> Account:
    """The account of a bundle.

    Raises:
        BundleError: a graph was changed, or is not of samedge's writing.
        NotSupportedError: it has no INT8 encoder.
    """
    with opened(bundle, precision) as source:
        config = official_config(bundle)
        return _account(source, bundle.manifest.title, precision, arch, frame, config)


def official_config(bundle: Bundle) -> SamConfig | None:
    """Of the network that a bundle was made from, if it has official sizes."""
    family, variant = bundle.family, bundle.manifest.variant
    for _, make in configs().values():
        config = make()
        same = config.family.name == family.name and config.family.slices == family.slices
        if same and (config.vit, config.img_size) == (variant.vit, variant.input_size):
            return config if isinstance(config, SamConfig) else None
    return None


def _account(
    source: Source,
    title: str,
    precision: str,
    arch: int,
    frame: tuple[int, int],
    config: SamConfig | None,
) -> Account:
    manifest = source.bundle.manifest
    folded = FoldedModel(manifest.family, manifest.variant, source.encoder, source.decoder, None)
    eager = {}
    if config is not None:
        for name, dtype in (("fp32", torch.float32), ("half", torch.float16)):
            eager[name] = eager_launches(unfolded_sizes(config), dtype)
    blocks = [block for block in folded.encoder.blocks if isinstance(block, Block)]
    return Account(
        title=title,
        precision=precision,
        arch=arch,
        frame=frame,
        windowed=tuple(block.attn.windowed for block in blocks),
        ours=engine_launches(source, precision, arch, frame),
        least=least_bytes(folded),
        eager=eager,
    )


def _parser() -> argparse.ArgumentParser:
    made = parser("ops", __doc__)
    made.add_argument(
        "--account", action="store_true", required=True, help="what there is to be printed"
    )
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument("bundle", nargs="?", type=Path)
    what.add_argument("--family", help=f"of {', '.join(configs())}")
    made.add_argument("--precision", choices=tuple(PRECISIONS), default="fp16")
    made.add_argument("--sm", type=int, choices=ARCHITECTURES, default=87)
    made.add_argument("--frame", type=_frame, default=FRAME, help="WIDTHxHEIGHT, px")
    add_files(made, page=False)
    return made


def _frame(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(height), int(width)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    options = parsed(_parser(), arguments)
    chosen = options.precision, options.sm, options.frame
    if options.family is not None:
        account = account_of_family(options.family, *chosen)
    else:
        account = account_of_bundle(Bundle.open(options.bundle), *chosen)
    return finish(sheet(account), options, arguments)


if __name__ == "__main__":
    run(main)
