"""Do a source, its prompts and the options fit the family? Asked before an engine starts."""

from __future__ import annotations

from dataclasses import dataclass

from samedge.errors import PromptError, SourceError
from samedge.families import Family
from samedge.prompts.plan import PromptPlan
from samedge.prompts.tracking import MIN_AREA_PX
from samedge.sources.frame import Box, Source


@dataclass(frozen=True)
class SegmentOptions:
    """How a source is segmented.

    Attributes:
        crop: (x0, y0, x1, y1), "auto" (the DICOM region), or None.
        multimask: several masks per object.
        track: prompts follow their objects through loops, volumes and the images of a folder.
        min_area: smallest mask, in px, that a tracked point is taken from.
        limit: stop after so many frames; None: at the end.
        classes: indices of the classes to keep; None: all but the background.
    """

    crop: Box | str | None = None
    multimask: bool = False
    track: bool = False
    min_area: int = MIN_AREA_PX
    limit: int | None = None
    classes: tuple[int, ...] | None = None


def check_options(family: Family, plan: PromptPlan, options: SegmentOptions) -> None:
    """Refuse what means nothing for a family.

    Raises:
        PromptError: with what to do instead.
    """
    if options.multimask and family.classes:
        raise PromptError(f"{family.title} gives one mask per class; leave --multimask out")
    if options.crop is not None and family.slices > 1:
        raise PromptError(f"{family.title} sees whole slices; leave --crop out")
    if options.track:
        reason = not_tracked(family, plan)
        if reason:
            raise PromptError(f"{reason}; leave --track out")


def not_tracked(family: Family, plan: PromptPlan) -> str:
    """Why no point can follow an object; empty if one can."""
    title = family.title
    if not family.prompts:
        return f"{title} finds its structures by itself: there is no prompt to move"
    if "point" not in family.prompts:
        return f"{title} takes no points, and only points are moved (--prompts has boxes per frame)"
    if family.slices > 1:
        return f"{title} takes the prompts of {family.slices} slices at once"
    if family.classes:
        return f"{title} answers a point with several structures: none of them to follow"
    return "--prompts says where the prompts are" if plan.file is not None else ""


def check_source(family: Family, source: Source, plan: PromptPlan, options: SegmentOptions) -> None:
    """Refuse a source that does not fit the family, or its prompts.

    Raises:
        SourceError: the family takes slices, and this is no volume or not so many; says what fits.
        PromptError: the file of prompts does not fit the source.
    """
    if family.slices > 1:
        _check_slices(family, source, options.limit)
    if plan.file is not None:
        if source.total is not None:
            plan.check_frames(source.total, options.limit, source.name)
        if source.size is not None:
            plan.file.check_size(*source.size)


def _check_slices(family: Family, source: Source, limit: int | None) -> None:
    count, title, total = family.slices, family.title, source.total
    if not source.holds_slices or total is None:
        kind = "a single image" if source.kind in ("image", "dicom") else f"a {source.kind}"
        raise SourceError(
            f"{title} takes {count} slices of a volume at once, and {source.name} is {kind}; give "
            "a NIfTI volume, a numpy array, or a folder of slices"
        )
    if family.whole_volume:
        if total != count:
            raise SourceError(
                f"{source.name} has {total} slices; {title} takes volumes of exactly {count}, "
                "since it relates all of them. Cut or resample it to that"
            )
        if limit is not None and limit < total:
            raise SourceError(f"{title} takes all {total} slices at once; leave --frames out")
        return
    used = total if limit is None else min(total, limit)
    if used % count:
        lower, upper = used - used % count, used - used % count + count
        fits = f"--frames {lower}, or " if lower else ""
        raise SourceError(
            f"{used} slices of {source.name} are to be segmented, and {title} takes {count} at "
            f"once: give a multiple of {count} ({fits}a volume padded to {upper})"
        )
