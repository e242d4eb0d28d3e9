"""Files -> Checkpoint: detects the family, checks completeness, combines several files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from samedge._wording import option, spoken
from samedge.checkpoint import messages, samed
from samedge.checkpoint.checkpoint import Checkpoint
from samedge.checkpoint.lora import settle_merged
from samedge.checkpoint.lora_file import LoraFile, lora_file, needs_base
from samedge.checkpoint.messages import file_notes, opened_with, sam_name
from samedge.checkpoint.options import CheckpointOptions, make_options
from samedge.checkpoint.pour import pour_sam_into_samus
from samedge.checkpoint.questions import official_sam, questions
from samedge.checkpoint.reader import SourceFile, read_file, source_from_tensors
from samedge.checkpoint.records import (
    Record,
    Variant,
    loadable,
    recognised,
    record,
    serves,
)
from samedge.checkpoint.ultrasam import ULTRASAM_DIFFERS
from samedge.errors import CheckpointError, ModelError, NotSupportedError
from samedge.models.presets import encoder_title, vit_title
from samedge.models.shapes import differences

# Constants that some training scripts register as buffers (families.py has them), and the
# classifier that TinyViT was first trained with, which MobileSAM keeps and never runs.
_HARMLESS = frozenset(
    (
        "pixel_mean",
        "pixel_std",
        *(
            f"image_encoder.{part}.{kind}"
            for part in ("norm_head", "head")
            for kind in ("weight", "bias")
        ),
    )
)


def open_checkpoint(
    path: str | PathLike[str],
    *more: str | PathLike[str],
    family: str | None = None,
    input_size: int | None = None,
    classes: int | str | Sequence[str] | None = None,
    rank: int | None = None,
    slices: int | None = None,
    chunk: int | None = None,
) -> Checkpoint:
    """Open a checkpoint: detect what it is and check that it is complete. Runs no code in it.

    Args:
        path: a .pth, .pt or .safetensors file.
        more: a second file to combine with the first. SAMed: its LoRA file, behind the SAM
            checkpoint that it was trained on. SAMUS and SAM (either order): SAM's weights replace
            the SAMUS tensors of the same name. Medical SAM Adapter with LoRA, and the SAM that it
            was trained on: settles whether the branches are in the weights already.
        family: what the checkpoint is expected to be ("sam", "medsam", "samed", "msa", "msa_3d",
            "samus", "autosamus"); None: detect. MedSAM has SAM's tensors and is never detected.
        input_size: side of the network input in px, where the tensors leave it open (SAMed: 512,
            or 224).
        classes: number of classes or their names, without the background; "synapse" for those of
            SAMed's data set. For Medical SAM Adapter the structures of its several masks.
        rank: of the low-rank branches, if they are to be checked.
        slices: Medical SAM Adapter 3-D: how many slices of a volume are encoded together.
        chunk: the same, how many of them its depth branch relates; 0: all. `chunk` alone means as
            many slices.

    Returns:
        Checkpoint. Its tensors are memory-mapped where possible: do not change the files in place
        while it is in use.

    Raises:
        CheckpointError: unreadable, unsafe, incomplete, not finite, of another family, or not as
            was said.
        NotSupportedError: a family that is recognised but cannot be loaded.
    """
    said = _options(family, input_size, classes, rank, slices, chunk)
    if more:
        return _matching(
            _combine([_recognised_file(read_file(p)) for p in (path, *more)], said), family
        )
    return _matching(_single(_recognised_file(read_file(path), family), said), family)


def examine(
    path: str | PathLike[str], *more: str | PathLike[str], **said: Any
) -> Checkpoint | LoraFile:
    """Tell what files hold, also where that is no checkpoint yet.

    Args:
        path, more, said: as for `open_checkpoint`.

    Returns:
        what `open_checkpoint` returns; for SAMed's LoRA file alone, which it refuses: what the file
        was trained for, and which base it needs (unless something was said of the checkpoint, which
        only the two together can be held against). Both have `describe()` and `summary()`.

    Raises:
        as `open_checkpoint`.
    """
    if more or any(value is not None for value in said.values()):
        return open_checkpoint(path, *more, **said)
    part = _recognised_file(read_file(path))
    if part.record.base:
        return lora_file(part.file, part.record)
    return _single(part, CheckpointOptions())


def checkpoint_from_tensors(
    tensors: Mapping[str, Tensor],
    name: str = "state dict",
    family: str | None = None,
    *,
    input_size: int | None = None,
    classes: int | str | Sequence[str] | None = None,
    rank: int | None = None,
    slices: int | None = None,
    chunk: int | None = None,
) -> Checkpoint:
    """The checkpoint behind a live model's `state_dict()`, such as a `segment_anything.Sam`.

    Args:
        tensors: official names; any floating-point type.
        name: what to call it in messages.
        family, input_size, classes, rank, slices, chunk: as for `open_checkpoint`.

    Returns:
        Checkpoint without files, hence without digests.

    Raises:
        as `open_checkpoint`.
    """
    said = _options(family, input_size, classes, rank, slices, chunk)
    part = _recognised_file(source_from_tensors(tensors, name), family)
    return replace(_matching(_single(part, said), family), files=())


def _options(family: str | None, *others: Any) -> CheckpointOptions:
    """What a user says, checked, also the family's name."""
    if family is not None and serves(family) is None:
        raise CheckpointError(f"unknown family {family!r}; known: {loadable()}")
    return make_options(family, *others)


@dataclass(frozen=True)
class _RecognisedFile:
    """A file and what it was recognised as."""

    file: SourceFile
    record: Record


def _recognised_file(file: SourceFile, family: str | None = None) -> _RecognisedFile:
    found = recognised(file.tensors, family, file.names_of)
    if found is None:
        raise messages.unknown(file)
    if not found.loadable:
        raise messages.not_loadable(file.name, file.tensors, found)
    messages.check_no_whole_numbers(file, found)
    return _RecognisedFile(file, found)


def _single(part: _RecognisedFile, said: CheckpointOptions) -> Checkpoint:
    """The checkpoint in one file."""
    file, found = part.file, part.record
    if found.base:
        raise needs_base(file, found)
    shapes = messages.shapes_of(file)
    with _naming(file.name, found):
        variant = found.variant(shapes, file.config, said)
        expected = found.network.shapes(variant.config)
    tensors = {k: v for k, v in file.tensors.items() if k in expected or k not in _HARMLESS}
    came = {k: tuple(v.shape) for k, v in tensors.items()}
    wrong = messages.does_not_fit(file.name, found, variant.vit, expected, came)
    if wrong is not None:
        raise wrong
    dropped = [k for k in file.tensors if k not in tensors]
    ordered = {k: tensors[k] for k in expected}
    made = _made(found, variant, ordered, [file], file_notes(file, dropped) + _odd(part, variant))
    return replace(made, questions=questions(file, found, variant, said))


@contextmanager
def _naming(name: str, found: Record) -> Iterator[None]:
    """Says of which file and family an error speaks."""
    try:
        yield
    except (CheckpointError, ModelError) as error:
        raise CheckpointError(f"{name}: looks like {found.title}, but {error}") from error


def _made(
    found: Record,
    variant: Variant,
    tensors: dict[str, Tensor],
    files: list[SourceFile],
    notes: list[str],
) -> Checkpoint:
    return Checkpoint(
        family=found.network.config(variant.config).family,
        kind=found.kind,
        variant=variant,
        tensors=tensors,
        files=tuple(file.without_tensors() for file in files),
        notes=tuple(notes),
    )


def _odd(part: _RecognisedFile, variant: Variant) -> list[str]:
    """What a user should know although, or because, the tensors do not show it."""
    file, kind = part.file, part.record.name
    official = official_sam(file)
    if kind == "ultrasam":
        return [f"{file.name}: {ULTRASAM_DIFFERS}"]
    if kind == "sam" and official:
        return [f"{file.name}: the official release of SAM {vit_title(official)}, by its hash"]
    if kind == "medsam" and official:
        return [
            f"{file.name}: is the official release of SAM {vit_title(official)}, not MedSAM, by "
            "its hash"
        ]
    if kind == "msa_lora":
        return [
            f"{file.name}: low-rank branches are added to the weights, as the original does when "
            "it loads them. A model saved in eval mode has them in already: give the SAM "
            "checkpoint that it was trained on as a second file, and this is settled"
        ]
    if kind in ("msa", "msa_earlier") and variant.config.get("slices", 1) == 1:
        return [
            f"{file.name}: opened for images, its depth adapters are idle. For volumes say slices "
            "or chunk"
        ]
    return []


def _combine(parts: list[_RecognisedFile], said: CheckpointOptions) -> Checkpoint:
    names = tuple(_side(part) for part in parts)
    for (first, second), (combine, any_order) in _COMBINATIONS.items():
        if names == (first, second):
            return combine(parts[0], parts[1], said)
        if names == (second, first):
            if any_order:
                return combine(parts[1], parts[0], said)
            raise messages.swapped(parts[0].file, parts[0].record, parts[1].file)
    found = ", ".join(messages.what_it_is(p.file, p.record) for p in parts)
    known = "; ".join(f"{first} and {second}" for first, second in _COMBINATIONS)
    raise CheckpointError(
        f"these checkpoints do not combine: {found}; expected: {known}. Open a whole checkpoint "
        "alone, and SAMed's LoRA file behind its SAM base"
    )


def _side(part: _RecognisedFile) -> str:
    """What a file counts as in a combination: a SAM under other names is a SAM."""
    return part.record.kind if part.record.names_of else part.record.name


def _pour(samus: _RecognisedFile, sam: _RecognisedFile, said: CheckpointOptions) -> Checkpoint:
    target, source = _single(samus, said), _single(sam, CheckpointOptions())
    with _naming(f"{samus.file.name} + {sam.file.name}", samus.record):
        tensors, notes = pour_sam_into_samus(target.tensors, source.tensors, target.variant.config)
    return _made(
        samus.record,
        target.variant,
        tensors,
        [samus.file, sam.file],
        [*target.notes, *file_notes(sam.file), *notes],
    )


def _attach(sam: _RecognisedFile, lora: _RecognisedFile, said: CheckpointOptions) -> Checkpoint:
    """SAMed: its base and its own file."""
    base, found = _single(sam, CheckpointOptions()), lora.record
    own = lora_file(lora.file, found)
    with _naming(lora.file.name, found):
        config = samed.samed_config(base.variant.config, own.sizes, said)
        variant = found.settled(config, said, own.ranks)
    model = found.network.shapes(variant.config)
    problems = differences(samed.lora_file_shapes(model), messages.shapes_of(lora.file))
    if problems:
        raise _does_not_fit(own, base, problems)
    tensors, notes = samed.attach(base.tensors, lora.file.tensors, config, model)
    kept = [*file_notes(sam.file), *file_notes(lora.file), *notes]
    if said.input_size is None:
        kept.append(
            f"{lora.file.name}: opened for an input of {variant.input_size} px, SAMed's usual one, "
            "which no tensor shows; if it was trained for another, say input_size"
        )
    return _made(found, variant, tensors, [sam.file, lora.file], kept)


def _does_not_fit(lora: LoraFile, base: Checkpoint, problems: str) -> CheckpointError:
    """The error for SAMed's file and a base that it was not trained on."""
    blocks, width = base.variant.config["depth"], base.variant.config["embed_dim"]
    name = lora.file.name
    if (blocks, width) == (lora.sizes.blocks, lora.sizes.width):
        advice = "Take the whole file, as SAMed writes it"
    else:
        advice = (
            f"Give the SAM checkpoint with {lora.encoder} that it was trained on first: "
            f"{opened_with(sam_name(lora.vit), name)}"
        )
    return CheckpointError(
        f"{name}: looks like {lora.title}'s LoRA file, trained on {lora.encoder}, but does not fit "
        f"the base {_names(base)}, which is {record(base.kind).title} with "
        f"{encoder_title(base.variant.vit, blocks, width)}; {problems}. {advice}"
    )


def _settle(msa: _RecognisedFile, sam: _RecognisedFile, said: CheckpointOptions) -> Checkpoint:
    """Medical SAM Adapter with LoRA, and the base that tells whether it is merged already."""
    checkpoint = _single(msa, said)
    with _naming(msa.file.name, msa.record):
        rounding = max(map(_rounding, (*msa.file.converted, *sam.file.converted)), default=0.0)
        tensors, notes = settle_merged(
            checkpoint.tensors, sam.file.tensors, rounding, base_file=sam.file.name
        )
    kept = [*file_notes(msa.file), *(f"{msa.file.name}: {note}" for note in notes)]
    return _made(msa.record, checkpoint.variant, tensors, [msa.file, sam.file], kept)


def _rounding(dtype: str) -> float:
    """How exactly numbers of a type were stored, relative to them."""
    return float(torch.finfo(getattr(torch, dtype)).eps)


_Combine = Callable[[_RecognisedFile, _RecognisedFile, CheckpointOptions], Checkpoint]
# (first, second) -> how to combine the two, and whether they may come the other way round.
_COMBINATIONS: dict[tuple[str, str], tuple[_Combine, bool]] = {
    ("samus", "sam"): (_pour, True),
    ("sam", "samed"): (_attach, False),
    ("sam", "samed_s"): (_attach, False),
    ("msa_lora", "sam"): (_settle, True),
}


def _matching(checkpoint: Checkpoint, family: str | None) -> Checkpoint:
    """The checkpoint, if it is of the family asked for.

    Raises:
        CheckpointError: it is another; says what differs.
    """
    found = record(checkpoint.kind)
    if family is None or family in (found.name, checkpoint.family.name):
        return checkpoint
    wanted = serves(family)
    assert wanted is not None
    if not wanted.loadable:
        raise NotSupportedError(
            f"{_names(checkpoint)}: is {found.title}, and samedge cannot load {wanted.title}; it "
            f"can load: {loadable()}"
        )
    if wanted.names_of:
        if any(file.names_of == wanted.names_of for file in checkpoint.files):
            return checkpoint
        raise CheckpointError(
            f"{_names(checkpoint)}: is {found.title}, by its names; {wanted.title} is known by the "
            f"names of {wanted.names_of}. Give its file as its authors publish it: renamed, it may "
            f"compute something else. Or open it as {option('family', checkpoint.family.name)}"
        )
    sizes = {k: v for k, v in checkpoint.variant.config.items() if k in _shared_sizes()}
    with _naming(_names(checkpoint), found):
        expected = wanted.network.names({**sizes, **wanted.example})
    problems = differences(dict.fromkeys(expected, ()), dict.fromkeys(checkpoint.tensors, ()))
    advice = f"Open it as {option('family', checkpoint.family.name)}"
    if (wanted.name, found.name) in _COMBINATIONS and not found.base:
        python = f"open_checkpoint({family}_file, {found.name}_file)"
        advice += f", or together with one: {spoken(python, f'{family}_file {found.name}_file')}"
    if (checkpoint.kind, family) in _COMBINATIONS and wanted.base:
        advice += f", or give {wanted.title}'s LoRA file as the second one"
    raise CheckpointError(
        f"{_names(checkpoint)}: is {found.title} ({vit_title(checkpoint.variant.vit)}), not "
        f"{wanted.title}: {problems}. {advice}"
    )


def _shared_sizes() -> frozenset[str]:
    """Config fields that mean the same in all families and decide which tensors there are."""
    own = {"img_size", "rel_pos_grid", "classes"}
    return record("sam").network.fields - own | {"cnn_channels"}


def _names(checkpoint: Checkpoint) -> str:
    return " + ".join(file.name for file in checkpoint.files)
