"""Do model, prompts and settings go together in a live stream? Asked before anything starts."""

from __future__ import annotations

from samedge.errors import NotSupportedError, PromptError
from samedge.families import Family
from samedge.prompts.plan import PromptPlan
from samedge.stream.live.settings import LiveSettings
from samedge.stream.options import not_tracked


def check_live(family: Family, plan: PromptPlan, settings: LiveSettings) -> None:
    """Refuse what cannot be streamed.

    Raises:
        NotSupportedError: the family takes volumes.
        PromptError: prompts that the family does not take, or that a stream cannot use.
    """
    if family.slices > 1:
        raise NotSupportedError(
            f"{family.title} takes {family.slices} slices of a volume at once: there is no single "
            "frame of a stream to give it. Export it for images (--chunk 1), or use samedge segment"
        )
    if plan.file is not None:
        raise PromptError(
            "a file of prompts counts the frames of a source, and a stream has no such count; give "
            "points or boxes, which hold from the first frame on"
        )
    if not plan.is_empty:
        plan.check(family)
    if settings.track and (reason := not_tracked(family, plan)):
        raise PromptError(f"{reason}; leave --track out")
