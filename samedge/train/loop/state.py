"""Everything that a run needs to go on as if it had never stopped, in one file."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samedge.checkpoint.torch_files import load_zip, one_line
from samedge.errors import CheckpointError
from samedge.files.whole import whole_file
from samedge.train.fields import wrong_field

STATE = "state.pt"
_VERSION = 1
_PARTS: dict[str, type] = {
    "version": int, "position": dict, "model": dict, "optimiser": dict, "precision": dict,
    "ema": list, "random": dict,
}  # fmt: skip


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
        ema: averages of the trained parameters, in the model's order, and of running statistics;
            empty without.
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
            content = load_zip(path)
        except (CheckpointError, OSError) as error:
            raise _damaged(one_line(error).removeprefix(f"{path.name}: ")) from error
        if not isinstance(content, dict) or not _PARTS.keys() <= content.keys():
            raise _damaged("it is the state of no run")
        if (version := content["version"]) != _VERSION:
            raise CheckpointError(
                f"{path.name} is of version {version!r:.40}, this samedge reads {_VERSION}: "
                "continue with the samedge that wrote it"
            )
        odd = [name for name, kind in _PARTS.items() if not isinstance(content[name], kind)]
        if odd:
            raise _damaged(f"its part '{odd[0]}' is a {type(content[odd[0]]).__name__}")
        position = content["position"]
        if set(position) != {f.name for f in fields(Position)}:
            raise _damaged("it does not say where the run was")
        if (wrong := wrong_field(Position, position)) is not None:
            raise _damaged(wrong)
        return cls(Position(**position), **{f.name: content[f.name] for f in fields(cls)[1:]})


@contextmanager
def fitting() -> Iterator[None]:
    """The parts of a state take their places in a run while the block runs.

    Raises:
        CheckpointError: they do not fit: the file was damaged, or is of another run.
    """
    try:
        yield
    except (
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
    ) as error:
        raise _damaged(f"it does not fit this run: {one_line(error)}") from error


def _damaged(why: str) -> CheckpointError:
    return CheckpointError(f"{STATE} is damaged ({why}); start again, --init with the last weights")


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
