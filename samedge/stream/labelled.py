"""Images that come with masks: each is prompted with the box around its mask, and scored by it.

    rows = segment_labelled(session, Path("hc18"), Path("out"))

The folder has `img` and `label` (or `images` and `masks`) with files of the same names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samedge.drawing.contact_sheet import MAX_CELLS, Cell, contact_sheet
from samedge.drawing.overlay import draw_overlay
from samedge.drawing.png import write_png
from samedge.errors import SourceError
from samedge.files.paths import shown
from samedge.files.whole import write_json
from samedge.progress import Progress, Step, silent
from samedge.prompts.prompt import Prompt
from samedge.sources.images import natural_key, read_image

if TYPE_CHECKING:
    from samedge.runtime.session import Session

SHEET, SCORES = "labelled_contact.png", "labelled.json"
_PAIRS = (("img", "label"), ("images", "masks"))
_LABEL, _FOUND = (96, 220, 120), (255, 176, 0)


@dataclass(frozen=True)
class LabelledImage:
    """What became of one image.

    Attributes:
        name: of its file, without the suffix.
        dice: of mask and label, 0 to 1.
        score: what the network expects of its mask, the IoU.
        milliseconds: from frame to mask.
        overlay: name of the picture.
    """

    name: str
    dice: float
    score: float
    milliseconds: float
    overlay: str


def labelled_pairs(folder: Path, count: int = MAX_CELLS) -> list[tuple[Path, Path]]:
    """(image, label) of `count` images, evenly spaced in the folder's natural order.

    Raises:
        SourceError: the folder does not hold images with labels.
    """
    for images, labels in _PAIRS:
        if (folder / images).is_dir() and (folder / labels).is_dir():
            found = sorted((folder / images).glob("*.*"), key=natural_key)
            pairs = [(p, folder / labels / p.name) for p in found]
            pairs = [(image, label) for image, label in pairs if label.is_file()]
            if pairs:
                places = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)
                return [pairs[i] for i in places]
    raise SourceError(
        f"'{shown(folder)}' has no labelled images; expected folders img and label (or images and "
        "masks) with files of the same names"
    )


def box_around(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The first and last column and row of a mask that is not empty: (x0, y0, x1, y1)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def segment_labelled(
    session: Session,
    folder: Path,
    output: Path,
    count: int = MAX_CELLS,
    notice: str = "",
    progress: Progress = silent,
) -> list[LabelledImage]:
    """Segment labelled images; an overlay of each, and a contact sheet of all.

    Args:
        session: of a family that takes boxes.
        folder: see the module's text.
        output: exists; gets `NAME_overlay.png`, `labelled_contact.png` and `labelled.json`.
        count: how many images, evenly spaced.
        notice: a warning for the sheet.
        progress: told the images that are done.

    Raises:
        SourceError: no labelled images, one that cannot be read, or a label of another size.
        PromptError: the family takes no boxes.
        OutputError: a picture cannot be written.
    """
    pairs = labelled_pairs(folder, count)
    rows: list[LabelledImage] = []
    cells: list[Cell] = []
    for done, (frame, truth, path) in enumerate(_read(pairs)):
        progress(Step("segmenting labelled images", done, len(pairs)))
        box = box_around(truth)
        result = session.segment(frame, box=[box])
        found = result.masks[0]
        dice = 2 * int((found & truth).sum()) / int(found.sum() + truth.sum())
        picture = draw_overlay(
            frame,
            [truth.astype(np.uint8), found],
            Prompt(box=np.asarray([box], np.float32)),
            colours=[_LABEL, _FOUND],
            prompt_colours=[_FOUND],
        )
        overlay = f"{path.stem}_overlay.png"
        write_png(output / overlay, picture)
        spent = result.timing_ms["total"]
        rows.append(LabelledImage(path.stem, dice, float(result.scores[0]), spent, overlay))
        cells.append(Cell(picture, path.stem, f"Dice {dice:.3f}"))
    progress(Step("segmenting labelled images", len(pairs), len(pairs)))
    mean = np.mean([row.dice for row in rows])
    sheet = contact_sheet(
        cells[:MAX_CELLS],
        folder.resolve().name,
        f"Dice {mean:.4f} over {len(rows)} images, each with the box around its label",
        notice=notice,
        legend=(("label", _LABEL), ("found", _FOUND)),
    )
    write_png(output / SHEET, sheet)
    write_json(output / SCORES, {"images": [asdict(row) for row in rows]})
    return rows


def _read(
    pairs: list[tuple[Path, Path]],
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_], Path]]:
    for image, label in pairs:
        frame = np.asarray(read_image(image, _quiet), np.uint8)
        drawn = read_image(label, _quiet)
        truth = (drawn if drawn.ndim == 2 else drawn.max(axis=2)) > 0
        if truth.shape != frame.shape[:2]:
            raise SourceError(
                f"{image.name} has {frame.shape[1]} x {frame.shape[0]} px, its label "
                f"{truth.shape[1]} x {truth.shape[0]}; expected the same"
            )
        if not truth.any():
            raise SourceError(f"the label of {image.name} is empty; expected an object")
        yield frame, truth, image


def _quiet(_warning: str) -> None:
    """Eight bits or more, with alpha or without: masks and pictures are the same."""
