"""The training loop: steps, validations, saved states. Everything it does can be resumed.

fabric = make_fabric("bf16-mixed")
task = Segmentation(model, recipe.prompt, recipe.loss)
outcome = Trainer(task, settings, DataSplits(items, held_out), folder, fabric).run()
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from samedge.errors import Cancelled, TrainingError
from samedge.train.loop.batches import BatchPlan, Item, Items, load
from samedge.train.loop.devices import exact_algorithms
from samedge.train.loop.ema import Ema
from samedge.train.loop.progress import TrainingReport
from samedge.train.loop.reporting import Reporter
from samedge.train.loop.schedule import Schedule
from samedge.train.loop.state import (
    STATE,
    Position,
    State,
    fitting,
    kept,
    random_states,
    restore_random,
)
from samedge.train.loop.statistics import RunningStatistics
from samedge.train.loop.stopping import StopFlag, stop_flag
from samedge.train.loop.task import Task
from samedge.train.loop.validation import Score, validate
from samedge.train.official import write_weights
from samedge.train.settings import Settings


@dataclass(frozen=True)
class DataSplits:
    """What a run trains on, and what it is scored on; without the latter the last weights win."""

    train: Items
    held_out: Items | None = None


@dataclass(frozen=True)
class Outcome:
    """What came out of a run.

    Attributes:
        best, last: files of weights; equal without held-out data.
        dice: best score; None without held-out data.
        scored, empty: held-out samples, and those whose label and mask were both empty when the
            score was best: they count as 1.
        step: optimiser steps done; best_step: when the best weights were.
        early: the run ended because nothing got better.
        reports: this process is the one of several that speaks to the user.
    """

    best: Path
    last: Path
    dice: float | None
    step: int
    best_step: int
    early: bool
    reports: bool = True
    scored: int = 0
    empty: int = 0


class Trainer:
    """Trains one task in one folder.

    Args:
        task: what is minimised; parameters that want gradients are trained.
        settings: all numbers.
        data: what on.
        folder: of the run; exists. Gets `state.pt`, `best` and `last` weights, CSV logs and sheets.
        fabric: launched.
        suffix: of the weights: ".pth" or ".safetensors".
        tensorboard: write event files as well.
        progress: called on the first process after every step and validation.
    """

    def __init__(
        self,
        task: Task,
        settings: Settings,
        data: DataSplits,
        folder: Path,
        fabric: Fabric,
        *,
        suffix: str = ".pth",
        tensorboard: bool = False,
        progress: Callable[[TrainingReport], None] | None = None,
    ) -> None:
        self.task, self.settings, self.data, self.folder = task, settings, data, folder
        self.fabric = fabric
        self.best, self.last = folder / f"best{suffix}", folder / f"last{suffix}"
        self.position = Position()
        s = settings
        count, world, rank = len(data.train), fabric.world_size, fabric.global_rank
        self.plan = BatchPlan(count, s.batch, s.accumulate, world, rank, s.seed)
        self.schedule = Schedule(s.schedule, s.warmup, s.steps, self.plan.steps)
        self._tensorboard, self._report = tensorboard, progress

    def run(self, resume: bool = False) -> Outcome:
        """Train until all steps are done, or nothing gets better.

        Args:
            resume: continue from the state in the folder, to the numbers that a run without a break
                has.

        Raises:
            TrainingError: the loss or a gradient is no number; the last saved state is whole.
            OutputError: the disk is full; the same.
            Cancelled: Ctrl-C or SIGTERM; the state is saved.
            CheckpointError: nothing to resume from.
            SamEdgeError: whatever the data raise.
        """
        s = self.settings
        exact = exact_algorithms(s.deterministic)
        with stop_flag() as flag, exact, torch.random.fork_rng():
            self._set_up(resume)
            try:
                while self.position.step < s.steps and not self.position.stopped:
                    self._epoch(flag)
            finally:
                self._reporter.close()
        return self._outcome()

    def _set_up(self, resume: bool) -> None:
        s, fabric = self.settings, self.fabric
        torch.manual_seed(s.seed)
        state = State.load(self.folder) if resume else None
        if state is not None:
            with fitting():
                self.task.model.load_state_dict(state.model)
        if s.channels_last:
            self.task.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._trained = {n: p for n, p in self.task.named_parameters() if p.requires_grad}
        if not self._trained:
            raise TrainingError("no parameter of this model is trained by this recipe")
        self._wrapped, self._optimiser = fabric.setup(self.task, self._make_optimiser())
        self._statistics = RunningStatistics(self.task, fabric)
        # Averaged weights go with averaged statistics.
        self._learned = [*self._trained.values(), *self._statistics.buffers]
        self._ema = Ema(self._learned, s.ema)
        if state is not None:
            self.position = state.position
            with fitting():
                self._optimiser.load_state_dict(state.optimiser)
                fabric.strategy.precision.load_state_dict(state.precision)
                self._ema.load(state.ema)
                restore_random(state.random)
        self._reporter = Reporter(
            self.folder if fabric.is_global_zero else None,
            self.position.step,
            (s.steps, self.plan.per_step),
            self._tensorboard,
            self._report,
        )

    def _make_optimiser(self) -> torch.optim.Optimizer:
        s = self.settings
        matrices = [p for p in self._trained.values() if p.ndim > 1 or s.decay_all]
        others = [p for p in self._trained.values() if p.ndim <= 1 and not s.decay_all]
        groups: list[dict[str, Any]] = [
            {"params": matrices},
            {"params": others, "weight_decay": 0.0},
        ]
        kind = torch.optim.AdamW if s.optimiser == "adamw" else torch.optim.Adam
        used = [group for group in groups if group["params"]]
        return kind(used, lr=s.lr, weight_decay=s.weight_decay)

    def _epoch(self, flag: StopFlag) -> None:
        """The rest of an epoch, its validation and its state."""
        s, at = self.settings, self.position
        batches = self.plan.micro_batches(at.epoch, at.in_epoch)
        loader = load(self.data.train, at.epoch, batches, s.workers)
        self.task.train()
        self._reporter.skip()
        while at.in_epoch < self.plan.steps and at.step < s.steps:
            self._step(loader)
            ended = at.in_epoch == self.plan.steps or at.step == s.steps
            if not ended and s.save_every and at.step % s.save_every == 0:
                self._save()
            self._stop_if_asked(flag, save=True)
        last = at.step == s.steps
        if (at.epoch + 1) % s.validate_every == 0 or last:
            self._validate()
        at.epoch, at.in_epoch, at.loss_sum, at.loss_count = at.epoch + 1, 0, 0.0, 0
        self._save()
        self._stop_if_asked(flag, save=False)

    def _step(self, loader: Iterator[Item]) -> None:
        """One optimiser step."""
        s, at, fabric = self.settings, self.position, self.fabric
        lr = s.lr * self.schedule.factor(at.step)
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        total = 0.0
        self._statistics.begin()
        for part in range(s.accumulate):
            batch = fabric.to_device(next(loader))
            with fabric.no_backward_sync(self._wrapped, enabled=part + 1 < s.accumulate):
                loss: Tensor = self._wrapped(batch)
                self._require_number(loss, batch["name"])
                fabric.backward(loss / s.accumulate)
            self._statistics.add()
            total += float(loss.detach()) / s.accumulate
        norm = self._clip(batch["name"])
        self._statistics.end(s.accumulate)
        self._optimiser.step()
        self._optimiser.zero_grad()
        at.step, at.in_epoch = at.step + 1, at.in_epoch + 1
        self._ema.update(at.step)
        total = self._over_all(total, "mean")
        at.loss_sum, at.loss_count = at.loss_sum + total, at.loss_count + 1
        self._reporter.step(at, total, lr, norm)

    def _require_number(self, loss: Tensor, names: list[str]) -> None:
        if not bool(torch.isfinite(loss.detach())):
            raise self._diverged(f"the loss is {float(loss.detach())}", names)

    def _clip(self, names: list[str]) -> float:
        """Clip the gradient; its norm before. "16-mixed" skips steps without one by itself."""
        norm = self.fabric.clip_gradients(
            self._wrapped,
            self._optimiser,
            max_norm=self.settings.clip or math.inf,
            error_if_nonfinite=False,
        )
        assert norm is not None
        value = float(norm)
        if not math.isfinite(value) and self.settings.precision != "16-mixed":
            raise self._diverged(f"the norm of the gradient is {value}", names)
        return value

    def _diverged(self, what: str, names: list[str]) -> TrainingError:
        at = self.position
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        there = (self.folder / STATE).is_file()
        saved = "What was saved before is whole." if there else "No state was saved yet."
        return TrainingError(
            f"{what} in step {at.step + 1} (epoch {at.epoch + 1}), on the samples {shown}. {saved} "
            "Look at these samples; a smaller learning rate (--lr), a limit on gradients (--clip "
            "1) or precision 32-true may help"
        )

    def _validate(self) -> None:
        """Score the averaged weights, keep them if they are the best, draw the sheet."""
        s, at, fabric = self.settings, self.position, self.fabric
        score: Score | None = None
        with self._ema.applied():
            if self.data.held_out is not None:
                self.task.eval()
                score = validate(self.task, self.data.held_out, fabric, s.batch, s.workers)
                self.task.train()
            if score is None or score.dice > at.best:
                at.best, at.best_step, at.misses = score.dice if score else -1.0, at.step, 0
                at.best_empty, at.scored = (score.empty, score.samples) if score else (0, 0)
                self._write(self.best)
            else:
                at.misses += 1
            at.stopped = bool(s.patience) and at.misses >= s.patience
            if at.stopped or at.step == s.steps:
                self._write(self.last)
        self._reporter.validated(at, score)

    def _write(self, path: Path) -> None:
        if self.fabric.is_global_zero:
            write_weights(self.task.model, path, kept=self._kept())

    def _kept(self) -> str:
        return kept(self.folder, "The saved state and weights before are whole")

    def _save(self) -> None:
        """Write the state, unless the weights are no numbers any more."""
        if not all(bool(torch.isfinite(tensor).all()) for tensor in self._learned):
            raise self._diverged("a weight is no finite number any more", ["the last ones"])
        if self.fabric.is_global_zero:
            State(
                position=self.position,
                model=self.task.model.state_dict(),
                optimiser=self._optimiser.state_dict(),
                precision=dict(self.fabric.strategy.precision.state_dict()),
                ema=self._ema.average,
                random=random_states(),
            ).save(self.folder)
        self.fabric.barrier()

    def _stop_if_asked(self, flag: StopFlag, save: bool) -> None:
        """All processes stop together if one of them was asked to."""
        if self._over_all(float(flag.asked), "sum"):
            if save:
                self._save()
            raise Cancelled(
                f"stopped after step {self.position.step} of {self.settings.steps}; the state is "
                "saved: continue with --resume"
            )

    def _over_all(self, value: float, how: str) -> float:
        """The "mean" or "sum" of a number over all processes."""
        if self.fabric.world_size == 1:
            return value
        mine = torch.tensor(value, dtype=torch.float64, device=self.fabric.device)
        total = self.fabric.all_reduce(mine, reduce_op=how)
        assert isinstance(total, Tensor)
        return float(total)

    def _outcome(self) -> Outcome:
        at = self.position
        dice = at.best if at.best >= 0 else None
        first = self.fabric.is_global_zero
        ends = at.step, at.best_step, at.stopped, first
        return Outcome(self.best, self.last, dice, *ends, at.scored, at.best_empty)
