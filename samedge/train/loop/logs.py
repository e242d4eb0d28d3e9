"""Numbers of a run: two CSV files always, TensorBoard if asked for."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samedge._optional import require
from samedge.files.whole import is_disk_error, output_error

STEPS, EPOCHS = "steps.csv", "epochs.csv"
_COLUMNS = {
    STEPS: ("step", "epoch", "loss", "lr", "grad_norm", "images_per_s"),
    EPOCHS: ("step", "epoch", "train_loss", "val_loss", "dice", "best"),
}


class Logs:
    """Appends rows to `steps.csv` and `epochs.csv`, line by line, so that they can be followed.

    Args:
        folder: of the run; None: nothing is written (on all processes but the first).
        step: rows after this step are dropped: a resumed run writes them again.
        tensorboard: write event files below `tensorboard/` as well.
    """

    def __init__(self, folder: Path | None, step: int = 0, tensorboard: bool = False) -> None:
        self._folder = folder
        self._writer: Any = None
        if folder is None:
            return
        for name in _COLUMNS:
            _rewind(folder / name, _COLUMNS[name], step)
        if tensorboard:
            require("tensorboard", extra="train", what="--tensorboard")
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, name: str, row: Mapping[str, float | int]) -> None:
        """One row; keys are the file's columns.

        Raises:
            OutputError: it cannot be written.
        """
        if self._folder is None:
            return
        texts = [_text(row.get(column, "")) for column in _COLUMNS[name]]
        try:
            with open(self._folder / name, "a", newline="") as file:
                csv.writer(file).writerow(texts)
        except OSError as error:
            if is_disk_error(error):
                raise output_error(error, self._folder / name) from error
            raise
        if self._writer is not None:
            for key, value in row.items():
                if key not in ("step", "epoch"):
                    self._writer.add_scalar(f"{name[:-4]}/{key}", value, row["step"])

    def add_picture(self, step: int, picture: Any) -> None:
        """A validation sheet, RGB uint8 `[H, W, 3]`; for TensorBoard only."""
        if self._writer is not None:
            self._writer.add_image("validation", picture, step, dataformats="HWC")

    def close(self) -> None:
        """Write out what TensorBoard still holds."""
        if self._writer is not None:
            self._writer.close()


def _rewind(path: Path, columns: Sequence[str], step: int) -> None:
    """Keep the head and the rows up to `step`."""
    rows: list[list[str]] = []
    if path.exists() and step:
        with open(path, newline="") as file:
            rows = [r for r in list(csv.reader(file))[1:] if r and r[0].isdecimal()]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(r for r in rows if int(r[0]) <= step)


def _text(value: float | int | str) -> str:
    """Floats with all their digits: resumed runs are compared by them."""
    return repr(value) if isinstance(value, float) else str(value)
