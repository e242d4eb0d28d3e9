"""What a user may say about a checkpoint: the same options for every command that opens one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from samedge.cli.completion import Choice
from samedge.families import FAMILIES

Function = TypeVar("Function", bound=Callable[..., Any])

SAYS = ("family", "input_size", "classes", "rank", "slices", "chunk")


def told(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of a command's options what was said of a checkpoint: arguments of `open_checkpoint`."""
    return {name: values[name] for name in SAYS if values[name] is not None}


def _classes(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> int | str | list[str] | None:
    """A number, a known set, or names."""
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")]
    if len(names) == 1 and names[0].isdecimal():
        return int(names[0])
    if len(names) == 1 and names[0].lower() == "synapse":
        return names[0].lower()
    if "" in names:
        raise click.BadParameter(f"'{value}': a name is empty; expected for example liver,spleen")
    return names


def checkpoint_options(function: Function) -> Function:
    """Add the options to a command; its function gets them by the names in `SAYS`."""
    options = (
        click.option(
            "--family",
            type=Choice(list(FAMILIES)),
            help="What the checkpoint is, where its tensors do not tell: MedSAM has those of SAM.",
        ),
        click.option(
            "--input-size",
            type=click.IntRange(16),
            metavar="PX",
            help="Side of the network input, where tensors do not tell. SAMed: 512 by default; "
            "earlier versions of Medical SAM Adapter: that of their tables.",
        ),
        click.option(
            "--classes",
            metavar="NAMES|N",
            callback=_classes,
            help="Names of the classes without the background (liver,spleen; synapse: those of "
            "that data set), or their number. SAM and Medical SAM Adapter: of their several "
            "masks.",
        ),
        click.option("--rank", type=click.IntRange(1), help="Rank that the LoRA file must have."),
        click.option(
            "--slices",
            type=click.IntRange(1),
            metavar="N",
            help="Medical SAM Adapter: volumes of N slices, all related with each other.",
        ),
        click.option(
            "--chunk",
            type=click.IntRange(0),
            metavar="N",
            help="Medical SAM Adapter: volumes of any multiple of N slices, N related at a time.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function
