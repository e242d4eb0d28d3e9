"""What a run says of itself: rows, sheets, progress. None of it changes what is learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.files.whole import write_bytes
from samedge.train.loop.logs import EPOCHS, STEPS, Logs
from samedge.train.loop.progress import Clock, TrainingReport
from samedge.train.loop.state import Position, kept
from samedge.train.loop.validation import Score, sheet

SHEETS = "sheets"


class Reporter:
    """Writes logs and sheets, and tells how far the run is.

    Args:
        folder: of the run; None: this process is not the one that reports.
        step: where the run begins, or is resumed.
        sizes: steps of the whole run, and images per step.
        tensorboard: write event files as well.
        tell: called with the progress.
    """

    def __init__(
        self,
        folder: Path | None,
        step: int,
        sizes: tuple[int, int],
        tensorboard: bool = False,
        tell: Callable[[TrainingReport], None] | None = None,
    ) -> None:
        self._folder, self._tell = folder, tell
        self._steps, self._images = sizes
        self._logs = Logs(folder, step, tensorboard)
        self._clock = Clock()
        self._dice: float | None = None
        self._empty = 0
        self._last = (0.0, 0.0)

    def skip(self) -> None:
        """What took place since the last step was none."""
        self._clock.skip()

    def step(self, at: Position, loss: float, lr: float, norm: float) -> None:
        """A step has ended, with this loss, learning rate and norm of the gradient."""
        self._clock.step()
        self._last = loss, lr
        row = {"step": at.step, "epoch": at.epoch, "loss": loss, "lr": lr, "grad_norm": norm}
        self._logs.add(STEPS, row | {"images_per_s": round(self._pace, 2)})
        self._progress(at)

    def validated(self, at: Position, score: Score | None) -> None:
        """An epoch has ended; `score` is None without held-out data."""
        loss = at.loss_sum / max(at.loss_count, 1)
        row: dict[str, float | int] = {"step": at.step, "epoch": at.epoch, "train_loss": loss}
        if score is not None:
            self._dice, self._empty = score.dice, score.empty
            row |= {"val_loss": score.loss, "dice": score.dice, "best": at.best}
        self._logs.add(EPOCHS, row)
        if score is not None and self._folder is not None:
            picture = sheet(score, f"Epoch {at.epoch + 1}, step {at.step}")
            folder = self._folder / SHEETS
            folder.mkdir(exist_ok=True)
            write_jpeg(folder / f"epoch-{at.epoch + 1:04d}.jpg", picture)
            self._logs.add_picture(at.step, picture)
        self._progress(at, validated=True)
        self._clock.skip()

    def close(self) -> None:
        """Write out what is still held back."""
        self._logs.close()

    @property
    def _pace(self) -> float:
        """Images per second."""
        return self._images / max(self._clock.per_step_s, 1e-9)

    def _progress(self, at: Position, validated: bool = False) -> None:
        if self._tell is None or self._folder is None:
            return
        left = self._clock.remaining(at.step, self._steps)
        best = at.best if at.best >= 0 else None
        now = TrainingReport(
            *(at.step, self._steps, at.epoch, *self._last, self._pace, left),
            dice=self._dice,
            best=best,
            validated=validated,
            empty=self._empty,
        )
        self._tell(now)


def write_jpeg(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write RGB uint8 `[H, W, 3]` into a folder of a run's, whole or not at all.

    Raises:
        OutputError: the disk is full.
    """
    good, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert good
    write_bytes(path, data.tobytes(), kept(path.parent.parent, "The saved state is whole"))
