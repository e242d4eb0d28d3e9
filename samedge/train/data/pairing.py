"""Which label files belong to which image, by their names.

An image `X.png` has the label `X.png` in another folder, or `X_mask.png` (or `X_label.png`) there
or beside it; several masks are `X_mask.png`, `X_mask_1.png` and so on, as in BUSI.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from samedge.errors import SourceError
from samedge.files.paths import kind_at, shown
from samedge.sources.images import natural_key
from samedge.sources.mask_names import mask_name, masked_image, masks_among

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_SHOWN = 10  # file names that a note lists


@dataclass(frozen=True)
class Pair:
    """An image and its label files, at least one."""

    image: Path
    labels: tuple[Path, ...]


def pair_files(images: Path, labels: Path) -> tuple[list[Pair], tuple[str, ...]]:
    """The images of a folder, in natural order, with their labels.

    Args:
        images, labels: folders; one and the same if its labels are called like masks of others.

    Returns:
        Pairs, and notes: several masks of one image, one folder for both, labels without image.

    Raises:
        SourceError: a folder is missing, holds no image, or two of one name; an image has no label,
            or labels of two kinds; one folder without names that tell masks from images.
    """
    stems = by_stem(images)
    together = kind_at(labels, SourceError) == "folder" and images.samefile(labels)
    found = stems if together else by_stem(labels)
    owners = {stem: _owner(stem, stems, together) for stem in found}
    if together:
        if not any(owners.values()):
            raise SourceError(
                f"images and labels are in one folder, '{images.name}', and no file in it is "
                "called like the mask of another; expected X.png and X_mask.png, or two folders"
            )
        masks = masks_among(stems)
        stems = {s: p for s, p in stems.items() if s not in masks}
    pairs = [
        Pair(path, _labels_of(path, [found[s] for s, o in owners.items() if o == stem], labels))
        for stem, path in stems.items()
    ]
    claimed = {label for pair in pairs for label in pair.labels} | set(stems.values())
    lost = [path for path in found.values() if path not in claimed]
    return pairs, tuple(_notes(pairs, lost, images.name if together else ""))


def holds_pairs(folder: Path) -> bool:
    """Whether images and masks lie together in this folder."""
    return folder.is_dir() and bool(masks_among(path.stem for path in image_files(folder)))


def by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by name without suffix, in natural order.

    Raises:
        SourceError: it is missing, holds none, or two of one name.
    """
    if kind_at(folder, SourceError) != "folder":
        raise SourceError(f"there is no folder '{shown(folder.name)}' with images")
    files = image_files(folder)
    if not files:
        raise SourceError(f"folder {folder.name} holds no image ({', '.join(SUFFIXES)})")
    found: dict[str, Path] = {}
    for path in files:
        if path.stem in found:
            raise SourceError(
                f"folder {folder.name} has both {found[path.stem].name} and {path.name}; one of "
                "them must have another name"
            )
        found[path.stem] = path
    return found


def image_files(folder: Path) -> list[Path]:
    """The images of a folder in natural order, without hidden ones and sub-folders.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        files = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES]
    except OSError as error:
        raise SourceError(f"cannot read folder {folder.name}: {error.strerror}") from error
    return sorted((p for p in files if not p.name.startswith(".")), key=natural_key)


def _owner(stem: str, images: Collection[str], together: bool) -> str | None:
    """Name of the image that a label of this name belongs to."""
    return stem if not together and stem in images else masked_image(stem, images)


def _labels_of(image: Path, labels: list[Path], folder: Path) -> tuple[Path, ...]:
    kinds = {_kind(label, image) for label in labels}
    if len(kinds) > 1:
        raise SourceError(
            f"{folder.name} has several labels of different kinds for {image.name}: "
            f"{_listed(labels)}; expected one, or masks called {image.stem}_mask, "
            f"{image.stem}_mask_1, ..."
        )
    if not labels:
        raise SourceError(
            f"{image.name} has no label; expected {folder.name}/{image.stem}.png (or "
            f"{image.stem}_mask.png)"
        )
    return tuple(labels)


def _kind(label: Path, image: Path) -> str:
    """How a label is called, "mask" or "label"; "" if like its image."""
    named = None if label.stem == image.stem else mask_name(label.stem)
    return named["word"].lower() if named else ""


def _notes(pairs: list[Pair], lost: list[Path], together: str) -> Iterable[str]:
    if together:
        yield (
            f"images and labels are in one folder, '{together}': {len(pairs)} images, like "
            f"{pairs[0].image.name} with the label {pairs[0].labels[0].name}"
        )
    several = [pair for pair in pairs if len(pair.labels) > 1]
    if several:
        yield (
            f"{len(several)} of {len(pairs)} images have several masks, whose union is the label "
            f"(the first is {several[0].image.name}: {_listed(several[0].labels)})"
        )
    if lost:
        yield f"{len(lost)} label files belong to no image and are left out: {_listed(lost)}"


def _listed(files: Iterable[Path]) -> str:
    names = [path.name for path in files]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
