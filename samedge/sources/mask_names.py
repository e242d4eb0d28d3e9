"""How masks are called that lie beside their images: `X_mask.png` beside `X.png`, as in BUSI.

One rule for all: training pairs images and labels by it, and a folder of images to segment leaves
the masks out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_MASK_NAME = re.compile(r"(?P<image>.+?)[_-](?P<word>mask|label)s?([_-][0-9]+)?", re.IGNORECASE)


def mask_name(stem: str) -> re.Match[str] | None:
    """The parts of a mask's name without suffix, `image` and `word`; None if it is called
    otherwise."""
    return _MASK_NAME.fullmatch(stem)


def masked_image(stem: str, images: Collection[str]) -> str | None:
    """Which of `images` (names without suffix) the mask `stem` belongs to; None if to none."""
    named = mask_name(stem)
    return named["image"] if named and named["image"] in images else None


def masks_among(stems: Iterable[str]) -> frozenset[str]:
    """The names in a folder that are masks: all that are called so, if one of them belongs to an
    image there. Otherwise it is a folder of images whose names happen to look like that."""
    names = frozenset(stems)
    if not any(masked_image(stem, names) for stem in names):
        return frozenset()
    return frozenset(stem for stem in names if mask_name(stem))
