"""A run from the outside: data set and recipe in, a folder with weights, logs and its record out.

outcome = train("data", Path("run"), "samus", init=[Path("sam_vit_b.pth")], epochs=40)
outcome = resume("data", Path("run"))
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from samedge._optional import importing
from samedge._version import __version__
from samedge.files.limits import RUN_BYTES
from samedge.files.numbers import parse_json

with importing("lightning_fabric", extra="train", what="training"):
    from lightning_fabric import Fabric


from samedge.errors import OutputError, TrainingError
from samedge.files.paths import kind_at, read_small
from samedge.files.whole import write_json
from samedge.models import PromptableModel, build_model
from samedge.progress import Progress, silent
from samedge.train.data import augmentation
from samedge.train.data.items import PreparedItems, digest
from samedge.train.data.joined import Sources, open_sources, paths_of
from samedge.train.data.preparation import Preparation, fixed_prompt
from samedge.train.data.samples import Sample, Samples
from samedge.train.fields import wrong_field
from samedge.train.lists import check_lists, held_out_samples
from samedge.train.loop.devices import is_first_process, make_fabric
from samedge.train.loop.progress import TrainingReport
from samedge.train.loop.state import STATE
from samedge.train.loop.task import Segmentation, Task
from samedge.train.loop.trainer import DataSplits, Outcome, Trainer
from samedge.train.recipes import Recipe, recipe
from samedge.train.settings import Settings, settings_for
from samedge.train.start import Start, make_config, start
from samedge.train.trainable import freeze

RECORD = "run.json"
# What a run is continued by.
ENTRIES: dict[str, type | UnionType] = {
    "recipe": str,
    "family": str,
    "config": dict,
    "settings": dict,
    "processes": int,
    "data.split": str,
    "data.sha256": str,
    "data.held_out": str | None,
}
_COMMANDS = {"training": "samedge train", "distillation": "samedge distill"}
_PACKAGES = ("torch", "lightning-fabric", "monai", "numpy")

_Recorded = TypeVar("_Recorded")


@dataclass(frozen=True)
class RunOptions:
    """How a run shows itself and where it computes; none of it changes what is learned.

    Attributes:
        accelerator: "auto", "cpu" or "cuda".
        devices: processes on this machine; under torchrun its numbers count.
        suffix: of the weights: ".pth" or ".safetensors".
        tensorboard: write event files as well.
        progress: called on the first process after every step and validation.
        reading: the same for the samples that are read before the first step.
        note: called on the first process with what was decided about the data.
    """

    accelerator: str = "auto"
    devices: int = 1
    suffix: str = ".pth"
    tensorboard: bool = False
    progress: Callable[[TrainingReport], None] | None = None
    reading: Progress = silent
    note: Callable[[str], object] | None = None

    def check(
        self,
        samples: Samples,
        scored: Samples | None,
        fits: Callable[[Sample], None],
        labelled: bool = True,
    ) -> list[str]:
        """Read all samples, in every process; see `check_lists`."""
        first = is_first_process()
        reading = self.reading if first else silent
        notes = check_lists(samples, scored, fits, labelled, reading)
        if self.note is not None and first:
            for note in notes:
                self.note(note)
        return notes


def train(
    data: Sources,
    out: Path,
    recipe_name: str,
    *,
    times: Sequence[int] = (),
    init: Sequence[Path] = (),
    config: Mapping[str, Any] | None = None,
    says: Mapping[str, Any] | None = None,
    split: str = "train",
    held_out: str = "val",
    options: RunOptions | None = None,
    **said: Any,
) -> Outcome:
    """Start a run in a new folder.

    Args:
        data: as for `open_dataset`, one data set or several.
        out: folder to make, or an empty one.
        recipe_name: one of `RECIPES`.
        times: how often each data set's samples count in an epoch; 1 each by default.
        init, config, says: see `samedge.train.start.start`.
        split, held_out: which lists to train and to score on; both are read as a whole before the
            first step. Without a list "val" nothing is scored, and the last weights are the result.
        options: where it computes.
        said: fields of `Settings` that differ from the recipe's, or `epochs`.

    Raises:
        TrainingError: settings that do not fit; the loss is no number.
        OutputError: the folder is in use, cannot be written, or the disk is full.
        Cancelled: the user stopped it; it can be resumed.
        SamEdgeError: what data and checkpoints raise.
    """
    options = options or RunOptions()
    chosen = recipe(recipe_name)
    samples = open_sources(data, split, times)
    seed = said.get("seed") or 0
    begun = begin(chosen, samples, init=init, config=config, says=says, seed=seed)
    scored = held_out_samples(data, held_out)
    notes = options.check(samples, scored, _preparation(begun.model, chosen).check)
    fabric = make_fabric(said.get("precision") or "32-true", options.accelerator, options.devices)
    settings = settings_for(chosen, len(samples), fabric.world_size, **said)
    record = run_record(chosen, begun.model, settings, fabric.world_size, samples)
    record["init"] = [{"name": name, "sha256": digest} for name, digest in begun.sources]
    record["notes"] = [*begun.notes, *notes]
    record["data"] = data_record(data, samples, scored, split, held_out)
    record["data"]["times"] = list(times)
    start_folder(out, record, fabric)
    trainer = _trainer(begun.model, chosen, settings, (samples, scored), out, fabric, options)
    return trainer.run()


def begin(
    chosen: Recipe,
    samples: Samples,
    *,
    init: Sequence[Path] = (),
    config: Mapping[str, Any] | None = None,
    says: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Start:
    """The model that a run begins with; a family that answers with all classes gets the data's.

    Raises:
        as `samedge.train.start.start`.
    """
    usual: dict[str, Any] = {}
    if "samed" in chosen.families:
        usual = {"num_mask_tokens": len(samples.classes), "classes": list(samples.classes)}
    return start(chosen, init, config, usual=usual, seed=seed, says=says)


def resume(data: Sources, out: Path, options: RunOptions | None = None) -> Outcome:
    """Continue a run where its last saved state left it, with the settings that it began with.

    Raises:
        TrainingError: no run, other data, or another number of processes.
        CheckpointError: nothing was saved yet, or it is damaged.
        otherwise as `train`.
    """
    options = options or RunOptions()
    record = read_record(out, "training", ENTRIES)
    chosen = recipe(record["recipe"])
    settings = from_record(Settings, record["settings"])
    samples = open_sources(data, record["data"]["split"], _times(record))
    held_out = record["data"].get("held_out")
    scored = held_out_samples(data, held_out) if held_out else None
    fabric = make_fabric(settings.precision, options.accelerator, options.devices)
    require_same(record, samples, fabric.world_size, out)
    model = build_model(make_config(record["family"], record["config"]))
    options.check(samples, scored, _preparation(model, chosen).check)
    trainer = _trainer(model, chosen, settings, (samples, scored), out, fabric, options)
    return trainer.run(resume=True)


def _times(record: Mapping[str, Any]) -> list[int]:
    """How often each data set's samples count; none are recorded before that could be said."""
    found = record["data"].get("times", [])
    if not isinstance(found, list) or not all(type(each) is int for each in found):
        raise _damaged(f"'data.times' is {found!r:.40}, not a list of whole numbers")
    return found


def require_same(record: Mapping[str, Any], samples: Samples, world: int, out: Path) -> None:
    """A run continues on the data and processes that it began with.

    Raises:
        TrainingError: they are others.
    """
    if (found := digest(samples)) != record["data"]["sha256"]:
        raise TrainingError(
            f"the data are not those that the run began with (digest {found[:12]}, not "
            f"{record['data']['sha256'][:12]}); resume with the same, or start a new run with "
            f"--init {out / 'last.pth'}"
        )
    if world != record["processes"]:
        raise TrainingError(
            f"the run began with {record['processes']} processes, and {world} came; its numbers "
            "follow from that: resume with as many"
        )


def read_record(folder: Path, kind: str, entries: Mapping[str, type | UnionType]) -> dict[str, Any]:
    """What `run.json` of a run says.

    Args:
        folder: of the run.
        kind: "training" or "distillation".
        entries: what is needed of the record, "data.split" for an entry within one, and its type.

    Raises:
        TrainingError: there is none, it cannot be read, is of the other kind, or lacks an entry.
    """
    try:
        record = parse_json(read_small(folder / RECORD, RUN_BYTES.most, TrainingError))
    except FileNotFoundError:
        raise TrainingError(f"'{folder}' is no run: it has no {RECORD}") from None
    except (RecursionError, ValueError) as error:
        raise TrainingError(f"{RECORD} of '{folder}' cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise _damaged(f"it holds a {type(record).__name__}, not a run's record")
    if (found := record.get("kind")) != kind and isinstance(found, str) and found in _COMMANDS:
        raise TrainingError(
            f"'{folder}' is a {found}, no {kind}; continue it with {_COMMANDS[found]} --resume"
        )
    for name, expected in entries.items():
        value: Any = record
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not isinstance(value, expected):
            kind_of_it = getattr(expected, "__name__", str(expected))
            raise _damaged(f"'{name}' is {value!r:.40}, not a {kind_of_it}")
    return record


def from_record(kind: type[_Recorded], values: Mapping[str, Any]) -> _Recorded:
    """A dataclass whose fields stand in `run.json`.

    Raises:
        TrainingError: they are those of another version, or of other types.
    """
    if (wrong := wrong_field(kind, values)) is not None:
        raise _damaged(wrong)
    try:
        return kind(**values)
    except TypeError as error:
        raise _damaged(f"what stands there is no {kind.__name__}: {error}") from error


def _damaged(why: str) -> TrainingError:
    return TrainingError(
        f"{RECORD} cannot be used: {why}. It was damaged, or written by another version of "
        "samedge: continue the run with that version, or start a new one"
    )


def _trainer(
    model: PromptableModel,
    chosen: Recipe,
    settings: Settings,
    samples: tuple[Samples, Samples | None],
    out: Path,
    fabric: Fabric,
    options: RunOptions,
) -> Trainer:
    freeze(model, chosen)
    augment = augmentation.AUGMENTATIONS[chosen.augment]
    items = PreparedItems(samples[0], _preparation(model, chosen), augment, settings.seed)
    scored = None
    if samples[1] is not None:
        preparation = Preparation(model.config, fixed_prompt(chosen.prompt))
        scored = PreparedItems(samples[1], preparation)
    task = Segmentation(model, chosen.prompt, chosen.loss)
    return make_trainer(task, settings, DataSplits(items, scored), out, fabric, options)


def _preparation(model: PromptableModel, chosen: Recipe) -> Preparation:
    return Preparation(model.config, chosen.prompt)


def make_trainer(
    task: Task, settings: Settings, data: DataSplits, out: Path, fabric: Fabric, options: RunOptions
) -> Trainer:
    """A trainer that shows itself as the options say."""
    return Trainer(
        task,
        settings,
        data,
        out,
        fabric,
        suffix=options.suffix,
        tensorboard=options.tensorboard,
        progress=options.progress,
    )


def start_folder(out: Path, record: Mapping[str, Any], fabric: Fabric) -> None:
    """Make the folder of a run and write its record, once for all processes.

    Raises:
        OutputError: see `make_folder`, or the disk is full.
    """
    if fabric.is_global_zero:
        make_folder(out)
        write_json(out / RECORD, record)
    fabric.barrier()


def data_record(
    data: Sources, samples: Samples, scored: Samples | None, split: str, held_out: str
) -> dict[str, Any]:
    """What a run's record says of its data: a name, never a path."""
    return {
        "name": " + ".join(path.name for path in paths_of(data)),
        "split": split,
        "held_out": held_out if scored is not None else None,
        "samples": len(samples),
        "sha256": digest(samples),
    }


def run_record(
    chosen: Recipe, model: PromptableModel, settings: Settings, world: int, samples: Samples
) -> dict[str, Any]:
    """All that a run began with, as plain JSON values; no path, no name of a machine or user."""
    return {
        "samedge": __version__,
        "kind": "training",
        "recipe": chosen.name,
        "family": model.family.name,
        "config": json.loads(json.dumps(asdict(model.config))),
        "settings": settings.to_json(),
        "prompt": chosen.prompt,
        "augment": chosen.augment,
        "classes": list(samples.classes),
        "processes": world,
        "versions": {"python": platform.python_version(), **{p: version(p) for p in _PACKAGES}},
    }


def make_folder(out: Path) -> None:
    """Make the folder of a run.

    Raises:
        OutputError: it cannot be made, or is not empty.
    """
    kind_at(out, OutputError)
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = any(out.iterdir())
    except OSError as error:
        raise OutputError(f"'{out}' cannot be made: {error.strerror or error}") from error
    if not taken:
        return
    if (out / STATE).is_file():
        rest = "choose another folder, or continue the run in it (--resume)"
    elif (out / RECORD).is_file():
        rest = "a run in it ended before its first saved state: remove it, or choose another folder"
    else:
        rest = "choose another folder"
    raise OutputError(f"'{out}' is not empty; {rest}")
