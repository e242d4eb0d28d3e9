"""Distillation from the outside: a teacher's checkpoint and images in, a small model out.

outcome = distill([Path("sam_vit_b.pth")], "data", Path("run"), config={"embed_dim": 192, ...})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from samedge.checkpoint import Checkpoint, open_checkpoint
from samedge.errors import NotSupportedError, SourceError, TrainingError
from samedge.files.paths import kind_at
from samedge.models import PromptableModel, build_model
from samedge.train.data import augmentation, open_dataset
from samedge.train.data.pictures import Pictures
from samedge.train.data.preparation import Preparation, fixed_prompt, usual_prompt
from samedge.train.data.samples import Samples
from samedge.train.distill.items import PairedItems
from samedge.train.distill.task import Distillation, DistillWeights
from samedge.train.lists import held_out_samples
from samedge.train.loop.devices import make_fabric
from samedge.train.loop.trainer import DataSplits, Outcome, Trainer
from samedge.train.recipes import FULL
from samedge.train.run import (
    ENTRIES,
    RunOptions,
    data_record,
    from_record,
    make_trainer,
    read_record,
    require_same,
    run_record,
    start_folder,
)
from samedge.train.settings import Settings, settings_for
from samedge.train.start import fresh_model, make_config

_ENTRIES = ENTRIES | {
    "teacher": list,
    "teacher_family": str,
    "taken_over": bool,
    "train_decoder": bool,
    "prompt": str,
    "weights": dict,
}
STUDENTS = ("samus", "sam", "medsam", "mobile_sam", "litemedsam")
# Families whose prompt encoder and mask decoder are SAM's, operation by operation.
_SAME_DECODER = ("sam", "medsam", "samus", "mobile_sam", "litemedsam")
_DECODER_FIELDS = (
    "prompt_dim",
    "mask_channels",
    "num_mask_tokens",
    "decoder_depth",
    "decoder_heads",
    "decoder_mlp_dim",
    "decoder_downsample",
    "iou_hidden_dim",
    "iou_depth",
)


@dataclass(frozen=True)
class Pair:
    """A student and its teacher.

    Attributes:
        student, teacher: models, on the CPU.
        taken_over: the student has the teacher's prompt encoder and mask decoder; they stay as
            they are unless `train_decoder`.
        prompt: what both are prompted with.
    """

    student: PromptableModel
    teacher: PromptableModel
    taken_over: bool
    prompt: str

    @property
    def note(self) -> str:
        """Where the student's decoder comes from, in words."""
        if self.taken_over:
            return "prompt encoder and mask decoder are the teacher's"
        return "prompt encoder and mask decoder start anew and are trained on the labels"


def distill(
    teacher: Sequence[Path],
    data: str | Path,
    out: Path,
    *,
    config: Mapping[str, Any] | None = None,
    says: Mapping[str, Any] | None = None,
    weights: DistillWeights | None = None,
    train_decoder: bool = False,
    split: str = "train",
    held_out: str = "val",
    options: RunOptions | None = None,
    **said: Any,
) -> Outcome:
    """Train a small model to have a large one's embedding.

    Args:
        teacher: checkpoints of any family of images, as for `open_checkpoint`.
        data: a labelled data set, or a folder of images.
        out: folder to make, or an empty one.
        config: fields of the student's config, and its "family" (one of `STUDENTS`; by default
            MedSAM's and LiteMedSAM's students are of their own family, which takes boxes only, all
            others' "samus"). What the teacher's decoder needs is filled in.
        says: further arguments for `open_checkpoint`.
        weights: of the parts of the loss.
        train_decoder: train prompt encoder and mask decoder as well, where they are the teacher's.
        split, held_out: lists of a labelled data set.
        options: where it computes.
        said: fields of `Settings`, or `epochs`; the rest is the recipe "full".

    Raises:
        TrainingError: a student that does not fit its teacher; the loss is no number.
        NotSupportedError: a teacher of volumes, or one that cannot make masks from prompts while
            there are no labels.
        otherwise as `samedge.train.run.train`.
    """
    options, weights = options or RunOptions(), weights or DistillWeights()
    samples, scored, labelled = open_images(data, split, held_out)
    opened = open_checkpoint(teacher[0], *teacher[1:], **(says or {}))
    pair = make_pair(opened, config or {}, said.get("seed") or 0, labelled)
    notes = _check(pair, samples, scored, labelled, options)
    fabric = make_fabric(said.get("precision") or "32-true", options.accelerator, options.devices)
    settings = settings_for(FULL, len(samples), fabric.world_size, **said)
    record = run_record(FULL, pair.student, settings, fabric.world_size, samples)
    record |= {
        "kind": "distillation",
        "prompt": pair.prompt,
        "augment": _augmentation(pair).name,
        "teacher": [{"name": f.name, "sha256": f.sha256} for f in opened.files],
        "teacher_family": opened.family.name,
        "taken_over": pair.taken_over,
        "train_decoder": train_decoder,
        "weights": asdict(weights),
        "notes": [pair.note, *notes],
        "data": {
            **data_record(data, samples, scored, split, held_out),
            "labelled": labelled,
        },
    }
    start_folder(out, record, fabric)
    task = _task(pair, weights, train_decoder, labelled)
    return _trainer(task, pair, settings, (samples, scored), out, fabric, options).run()


def resume_distillation(
    teacher: Sequence[Path],
    data: str | Path,
    out: Path,
    *,
    says: Mapping[str, Any] | None = None,
    options: RunOptions | None = None,
) -> Outcome:
    """Continue a distillation where its last saved state left it.

    Raises:
        TrainingError: no distillation, another teacher, other data or processes.
        otherwise as `distill`.
    """
    options = options or RunOptions()
    record = read_record(out, "distillation", _ENTRIES)
    names = record["data"]
    samples, scored, labelled = open_images(data, names["split"], names.get("held_out"))
    began_as = {"family": record["teacher_family"], **(says or {})}
    opened = open_checkpoint(teacher[0], *teacher[1:], **began_as)
    found = [file.sha256 for file in opened.files]
    if found != [file["sha256"] for file in record["teacher"]]:
        wanted = ", ".join(file["name"] for file in record["teacher"])
        raise TrainingError(f"the run began with another teacher ({wanted}); give the same files")
    settings = from_record(Settings, record["settings"])
    fabric = make_fabric(settings.precision, options.accelerator, options.devices)
    require_same(record, samples, fabric.world_size, out)
    student = build_model(make_config(record["family"], record["config"]))
    pair = Pair(student, _built(opened), record["taken_over"], record["prompt"])
    _check(pair, samples, scored, labelled, options)
    weights = from_record(DistillWeights, record["weights"])
    task = _task(pair, weights, record["train_decoder"], labelled)
    trainer = _trainer(task, pair, settings, (samples, scored), out, fabric, options)
    return trainer.run(resume=True)


def _check(
    pair: Pair, samples: Samples, scored: Samples | None, labelled: bool, options: RunOptions
) -> list[str]:
    """Both lists, before the first step; a teacher with classes must have those of the labels."""
    fits = Preparation(pair.teacher.config).check
    return options.check(samples, scored, fits, labelled)


def make_pair(
    opened: Checkpoint, config: Mapping[str, Any], seed: int = 0, labelled: bool = True
) -> Pair:
    """A new student for a teacher, with its prompt encoder and mask decoder if they fit.

    Raises:
        TrainingError: no such student, or a config that contradicts the teacher's.
        NotSupportedError: see `distill`.
    """
    if opened.family.slices > 1:
        raise NotSupportedError(
            f"{opened.family.title} takes stacks of slices; distillation is for images"
        )
    fields = dict(config)
    only_boxes = opened.family.prompts == ("box",)
    usual = opened.family.name if only_boxes and opened.family.name in STUDENTS else "samus"
    family = str(fields.pop("family", usual))
    if family not in STUDENTS:
        raise TrainingError(f"a student is one of {', '.join(STUDENTS)}, not '{family}'")
    takes = opened.family.name in _SAME_DECODER
    shared = _DECODER_FIELDS if takes else ("prompt_dim",)
    for name in shared:
        wanted = getattr(opened.config, name)
        if fields.setdefault(name, wanted) != wanted:
            raise TrainingError(
                f"the student's {name} is {fields[name]}, its teacher's {wanted}; leave it out: "
                "the student takes it from the teacher"
            )
    if not takes and not labelled:
        raise NotSupportedError(
            f"{opened.family.title} makes its masks in its own way, so a student's mask decoder "
            "has to be trained on labels; give a labelled data set"
        )
    student, teacher = fresh_model(make_config(family, fields), seed), _built(opened)
    if takes:
        student.prompt_encoder.load_state_dict(teacher.prompt_encoder.state_dict())
        student.mask_decoder.load_state_dict(teacher.mask_decoder.state_dict())
    return Pair(student, teacher, takes, _prompt(student, teacher, takes))


def _prompt(student: PromptableModel, teacher: PromptableModel, takes: bool) -> str:
    """What the student is prompted with: what its decoder knows."""
    if not takes:
        return usual_prompt(student.family)
    for kind, mode in (("point", "random_click"), ("box", "box")):
        if kind in student.family.prompts and kind in teacher.family.prompts:
            return mode
    raise TrainingError(
        f"a {teacher.family.title} knows {', '.join(teacher.family.prompts)} prompts, a "
        f"{student.family.title} {', '.join(student.family.prompts)}; choose another family for "
        "the student"
    )


def _built(opened: Checkpoint) -> PromptableModel:
    model = opened.build()
    assert isinstance(model, PromptableModel)
    return model


def open_images(
    data: str | Path, split: str, held_out: str | None
) -> tuple[Samples, Samples | None, bool]:
    """Samples, held-out samples, and whether they have labels.

    Raises:
        SourceError: neither a labelled data set nor a folder of images.
    """
    root = Path(data)
    try:
        samples: Samples = open_dataset(root, split)
    except SourceError as error:
        if (
            kind_at(root, SourceError) != "folder"
            or not any(root.iterdir())
            or (root / "MainPatient").is_dir()
        ):
            raise
        try:
            return Pictures(root), Pictures(root, "val"), False
        except SourceError:
            raise error from None
    scored = None if held_out is None else held_out_samples(root, held_out)
    return samples, scored, True


def _augmentation(pair: Pair) -> augmentation.Augmentation:
    return augmentation.augmentation_of(pair.student.family.name)


def _task(pair: Pair, weights: DistillWeights, train_decoder: bool, labelled: bool) -> Distillation:
    decoder = train_decoder or not pair.taken_over
    for name, parameter in pair.student.named_parameters():
        parameter.requires_grad_(decoder or name.startswith("image_encoder."))
    loss = FULL.loss
    return Distillation(pair.student, pair.teacher, pair.prompt, loss, weights, labelled)


def _trainer(
    task: Distillation,
    pair: Pair,
    settings: Settings,
    samples: tuple[Samples, Samples | None],
    out: Path,
    fabric: Any,
    options: RunOptions,
) -> Trainer:
    configs = pair.student.config, pair.teacher.config
    fixed = fixed_prompt(pair.prompt)
    items = PairedItems(
        samples[0], *configs, pair.prompt, task.labelled, _augmentation(pair), settings.seed
    )
    scored = None
    if samples[1] is not None:
        scored = PairedItems(samples[1], *configs, fixed, task.labelled)
    return make_trainer(task, settings, DataSplits(items, scored), out, fabric, options)
