"""Classes of a family: which are written, what they are called in files, and their numbers.

A class's number is its value in class maps and label volumes: 0 is the background everywhere. Where
classes exclude each other the first class is the background, so numbers are indices; where each
class has a decision of its own, numbers begin at 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from samedge.errors import PromptError
from samedge.families import Family

MAP = "classes"  # file name suffix of the class map
_MAX_STEM = 60


def number_of(index: int, exclusive: bool) -> int:
    """Number of class `index`."""
    return index if exclusive else index + 1


def default_classes(family: Family) -> tuple[int, ...]:
    """Indices of all classes but the background."""
    return tuple(range(1 if family.exclusive else 0, len(family.classes)))


def choose_classes(family: Family, text: str) -> tuple[int, ...]:
    """Indices of the classes that `--classes` asks for, in the family's order.

    Args:
        family: of the bundle.
        text: names (case does not matter) or numbers, with commas between them.

    Raises:
        PromptError: the family has no classes, or not this one.
    """
    if not family.classes:
        raise PromptError(f"{family.title} has no classes; leave --classes out")
    numbers = {number_of(i, family.exclusive): i for i in range(len(family.classes))}
    names = {name.strip().lower(): i for i, name in enumerate(family.classes)}
    chosen = set()
    for word in (part.strip() for part in text.split(",")):
        by_number = int(word) if word.isascii() and word.isdecimal() else -1
        index = names.get(word.lower(), numbers.get(by_number))
        if index is None:
            known = ", ".join(f"{n} ({family.classes[i]})" for n, i in numbers.items())
            raise PromptError(f"'{word}' is no class of this bundle; it has: {known}")
        chosen.add(index)
    return tuple(sorted(chosen))


def file_stems(names: Sequence[str]) -> list[str]:
    """Names of classes as parts of file names: ASCII, without folders, no two alike.

    A name that is no file name at all becomes `class3`, by its place from 0.
    """
    taken, stems = {MAP}, []
    for index, name in enumerate(names):
        wish = re.sub(r"[^A-Za-z0-9.-]+", "_", name)[:_MAX_STEM].strip("._") or f"class{index}"
        stem, number = wish, 2
        while stem.lower() in taken:
            stem, number = f"{wish}_{number}", number + 1
        taken.add(stem.lower())
        stems.append(stem)
    return stems
