"""Everything that a run needs to go on as if it had never stopped, in one file."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samedge.errors import CheckpointError
from samedge.files.whole import whole_file

STATE = "state.pt"
_VERSION = 1


@dataclass
class Position:
    """Where a run is.

    Attributes:
        step: optimiser steps done.
        epoch: the one that the next step belongs to.
        in_epoch: steps of it that are done.
        loss_sum, loss_count: of the epoch so far.
        best: best score so far; -1 before the first validation.
        best_step: when that was.
        best_empty: held-out samples that were empty in label and mask then.
        scored: held-out samples in all.
        misses: validations since then.
        stopped: the run ended before all steps because nothing got better.
    """

    step: int = 0
    epoch: int = 0
    in_epoch: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    best: float = -1.0
    best_step: int = 0
    best_empty: int = 0
    scored: int = 0
    misses: int = 0
    stopped: bool = False


@dataclass
class State:
    """What is saved.

    Attributes:
        position: where the run is.
        model: the model's state dict.
        optimiser: the optimiser's.
        precision: the loss scale of "16-mixed"; empty otherwise.
        ema: averages of the trained parameters, in the model's order; empty without.
        random: states of the random number generators.
    """

    position: Position
    model: dict[str, Any]
    optimiser: dict[str, Any]
    precision: dict[str, Any] = field(default_factory=dict)
    ema: list[Any] = field(default_factory=list)
    random: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write it as `state.pt`, in one step.

        Raises:
            OutputError: no room; the state before this one is still there.
        """
        content = {
            f: getattr(self, f) for f in ("model", "optimiser", "precision", "ema", "random")
        }
        content |= {"version": _VERSION, "position": asdict(self.position)}
        with whole_file(folder / STATE, kept(folder, "The state before is whole")) as file:
            torch.save(content, file)

    @classmethod
    def load(cls, folder: Path) -> State:
        """Read what `save` wrote; nothing in the file is executed.

        Raises:
            CheckpointError: there is none, it is damaged, or of another version.
        """
        path = folder / STATE
        if not path.is_file():
            raise CheckpointError(
                f"'{folder}' has no {STATE} to resume from: the run ended before its first saved "
                "state; start it anew, in another folder"
            )
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            if content["version"] != _VERSION:
                raise CheckpointError(
                    f"{path.name} is of version {content['version']}, this samedge reads "
                    f"{_VERSION}: continue with the samedge that wrote it"
                )
            position = Position(**content["position"])
            parts = {f: content[f] for f in ("model", "optimiser", "precision", "ema", "random")}
        except (RuntimeError, KeyError, TypeError, ValueError, EOFError, OSError) as error:
            raise CheckpointError(
                f"{path.name} is damaged ({str(error).splitlines()[0][:120]}); start again, "
                "--init with the last weights"
            ) from error
        return cls(position, **parts)


def kept(folder: Path, whole: str) -> str:
    """What is still good when something of a run cannot be written.

    Args:
        folder: of the run.
        whole: what is, if a state was saved.
    """
    if (folder / STATE).is_file():
        return f"{whole}: free some space and continue with --resume"
    return "No state was saved yet: free some space and start the run anew"


def random_states() -> dict[str, Any]:
    """Of all generators that code below might use."""
    version, key, gauss = random.getstate()
    kind, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, list(key), gauss],
        "numpy": [str(kind), [int(k) for k in keys], int(place), int(has_gauss), float(cached)],
    }


def restore_random(states: dict[str, Any]) -> None:
    """Put all generators where `random_states` found them."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all(states["cuda"])
    version, key, gauss = states["python"]
    random.setstate((version, tuple(key), gauss))
    kind, keys, place, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), place, has_gauss, cached))
