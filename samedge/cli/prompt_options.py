"""Options that say what to segment: points, boxes, and what the network sees of a frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from samedge.errors import PromptError, SourceError

if TYPE_CHECKING:
    from samedge.sources.frame import Box

Function = TypeVar("Function", bound=Callable[..., Any])


def prompt_options(function: Function) -> Function:
    """Add `--point`, `--label`, `--box` and `--objects`; the function gets `points`, `labels`,
    `boxes` and `objects`."""
    options = [
        click.option(
            "--point",
            "points",
            multiple=True,
            metavar="X,Y",
            callback=_points,
            help="Point in frame pixels, or 'center'. Repeat it for several.",
        ),
        click.option(
            "--label",
            "labels",
            multiple=True,
            type=click.IntRange(0, 1),
            metavar="1|0",
            help="1 inside the object, 0 outside; one per point, in order. Default: all 1.",
        ),
        click.option(
            "--box",
            "boxes",
            multiple=True,
            metavar="X0,Y0,X1,Y1",
            callback=_boxes,
            help="Box in frame pixels. Several boxes are several objects.",
        ),
        click.option("--objects", is_flag=True, help="Each point is an object of its own."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def crop_option(auto: str) -> Callable[[Function], Function]:
    """Add `--crop`.

    Args:
        auto: what "auto" means, for the help.
    """
    return click.option(
        "--crop",
        metavar="X0,Y0,X1,Y1|auto",
        callback=_crop,
        help=f"What the network sees of each frame; {auto}",
    )


def parsed(parse: Callable[[str], Any], value: str) -> Any:
    """What `parse` makes of a value; its error becomes one of the command line."""
    try:
        return parse(value)
    except (PromptError, SourceError) as error:
        raise click.BadParameter(str(error)) from error


def _points(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> list[Any]:
    from samedge.prompts.prompt import parse_point

    return [parsed(parse_point, v) for v in values]


def _boxes(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> list[Any]:
    from samedge.prompts.prompt import parse_box

    return [parsed(parse_box, v) for v in values]


def _crop(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Box | str | None:
    from samedge.prompts.prompt import parse_box

    if value is None or value.strip().lower() == "auto":
        return None if value is None else "auto"
    box = parsed(parse_box, value)
    if any(v != int(v) for v in box):
        raise click.BadParameter(f"'{value}': a crop is in whole pixels, or the word auto")
    x0, y0, x1, y1 = (int(v) for v in box)
    return x0, y0, x1, y1
