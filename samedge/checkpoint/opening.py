"""Files -> Checkpoint: detects the family, checks completeness, combines several files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING

from samedge.checkpoint import messages, samed
from samedge.checkpoint.checkpoint import Checkpoint
from samedge.checkpoint.lora import settle_merged
from samedge.checkpoint.messages import differences, some, vit_title
from samedge.checkpoint.options import Options, make_options
from samedge.checkpoint.pour import pour_sam_into_samus
from samedge.checkpoint.reader import SourceFile, read_file, source_from_tensors
from samedge.checkpoint.records import RECORDS, Record, Variant, recognised, record, serves
from samedge.errors import CheckpointError, ModelError

if TYPE_CHECKING:
    from torch import Tensor

# Constants that some training scripts register as buffers; families.py has them.
_HARMLESS = frozenset(("pixel_mean", "pixel_std"))
# Beginnings of the SHA-256 of SAM's official files, which are part of their names.
_OFFICIAL_SAM = {"01ec64": "ViT-B", "0b3195": "ViT-L", "4b8939": "ViT-H"}


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
    said = make_options(family, input_size, classes, rank, slices, chunk)
    _check_known(family)
    parts = [_part(read_file(p), family) for p in (path, *more)]
    return _matching(_single(parts[0], said) if len(parts) == 1 else _combine(parts, said), family)


def checkpoint_from_tensors(
    tensors: Mapping[str, Tensor], name: str = "state dict", family: str | None = None
) -> Checkpoint:
    """The checkpoint behind a live model's `state_dict()`, such as a `segment_anything.Sam`.

    Args:
        tensors: official names; any floating-point type.
        name: what to call it in messages.
        family: as for `open_checkpoint`.

    Returns:
        Checkpoint without files, hence without digests.

    Raises:
        as `open_checkpoint`.
    """
    _check_known(family)
    part = _part(source_from_tensors(tensors, name), family)
    return replace(_matching(_single(part, Options(family)), family), files=())


def _check_known(family: str | None) -> None:
    if family is not None and serves(family) is None:
        known = ", ".join(r.name for r in RECORDS if r.loadable)
        raise CheckpointError(f"unknown family '{family}'; known: {known}")


@dataclass(frozen=True)
class _Part:
    """A file and what it was recognised as."""

    file: SourceFile
    record: Record


def _part(file: SourceFile, family: str | None) -> _Part:
    found = recognised(file.tensors, family)
    if found is None:
        raise messages.unknown(file)
    if not found.loadable:
        raise messages.not_loadable(file.name, found)
    return _Part(file, found)


def _single(part: _Part, said: Options) -> Checkpoint:
    """The checkpoint in one file."""
    file, found = part.file, part.record
    if found.base:
        raise messages.needs_base(file, found)
    shapes = messages.shapes_of(file)
    with _looks_like(file.name, found):
        variant = found.variant(shapes, file.config, said)
        expected = found.load_builder().shapes(variant.config)
    tensors = {k: v for k, v in file.tensors.items() if k in expected or k not in _HARMLESS}
    problems = differences(expected, {k: tuple(v.shape) for k, v in tensors.items()})
    if problems:
        fitting = sum(shapes.get(k) == shape for k, shape in expected.items())
        raise CheckpointError(
            f"{file.name}: looks like {found.title} ({vit_title(variant.vit)}), but only "
            f"{fitting} of its {len(expected)} tensors fit; {problems}"
        )
    dropped = [k for k in file.tensors if k not in tensors]
    ordered = {k: tensors[k] for k in expected}
    return _made(found, variant, ordered, [file], _file_notes(file, dropped) + _odd(part))


@contextmanager
def _looks_like(name: str, found: Record) -> Iterator[None]:
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
        family=found.load_builder().config(variant.config).family,
        kind=found.name,
        variant=variant,
        tensors=tensors,
        files=tuple(replace(file, tensors={}) for file in files),
        notes=tuple(notes),
    )


def _file_notes(file: SourceFile, dropped: list[str]) -> list[str]:
    notes = []
    if file.wrapper:
        notes.append(f"{file.name}: tensors found under '{'.'.join(file.wrapper)}'")
    if file.ignored:
        notes.append(f"{file.name}: ignored entries: {some(list(file.ignored))}")
    if file.prefixes:
        notes.append(f"{file.name}: stripped from tensor names: {', '.join(file.prefixes)}")
    if dropped:
        notes.append(f"{file.name}: dropped constants: {', '.join(dropped)}")
    for dtype, number in file.converted.items():
        notes.append(f"{file.name}: {number} tensors converted from {dtype} to float32")
    return notes


def _odd(part: _Part) -> list[str]:
    """What a user should know although, or because, the tensors do not show it."""
    file, kind = part.file, part.record.name
    official = _OFFICIAL_SAM.get(file.sha256[:6])
    if kind == "sam" and official:
        return [f"{file.name}: the official release of SAM {official}, by its hash"]
    if kind == "sam" and file.format != "memory":
        return [
            f"{file.name}: MedSAM's files have the same tensors. If this is MedSAM or trained from "
            "it, say so (family='medsam', --family medsam): it prepares images in another way"
        ]
    if kind == "medsam" and official:
        return [f"{file.name}: is the official release of SAM {official}, not MedSAM, by its hash"]
    if kind == "msa_lora":
        return [
            f"{file.name}: low-rank branches are added to the weights, as the original does when "
            "it loads them. A model saved in eval mode has them in already: give the SAM "
            "checkpoint that it was trained on as a second file, and this is settled"
        ]
    if kind == "msa" and "slices" not in file.config:
        return [
            f"{file.name}: opened for images unless slices or chunk are given; its depth adapters "
            "are idle then"
        ]
    return []


def _combine(parts: list[_Part], said: Options) -> Checkpoint:
    names = tuple(part.record.name for part in parts)
    for (first, second), (combine, any_order) in _COMBINATIONS.items():
        if names == (first, second):
            return combine(parts[0], parts[1], said)
        if names == (second, first):
            if any_order:
                return combine(parts[1], parts[0], said)
            raise messages.swapped(parts[0].file, parts[0].record, parts[1].file)
    found = ", ".join(f"{p.file.name} ({p.record.title})" for p in parts)
    known = "; ".join(f"{first} and {second}" for first, second in _COMBINATIONS)
    raise CheckpointError(f"these checkpoints do not combine: {found}; expected: {known}")


def _pour(samus: _Part, sam: _Part, said: Options) -> Checkpoint:
    target, source = _single(samus, said), _single(sam, Options())
    tensors, notes = pour_sam_into_samus(target.tensors, source.tensors, target.variant.config)
    return _made(
        samus.record,
        target.variant,
        tensors,
        [samus.file, sam.file],
        [*target.notes, *_file_notes(sam.file, []), *notes],
    )


def _attach(sam: _Part, lora: _Part, said: Options) -> Checkpoint:
    """SAMed: its base and its own file."""
    base, found = _single(sam, Options()), lora.record
    shapes = messages.shapes_of(lora.file)
    with _looks_like(lora.file.name, found):
        config = samed.samed_config(base.variant.config, shapes, said)
        ranks = {"encoder": config["lora_rank"]}
        if config["decoder_rank"]:
            ranks["decoder"] = config["decoder_rank"]
        variant = found.settled(config, said, ranks)
    model = found.load_builder().shapes(variant.config)
    problems = differences(samed.lora_file_shapes(model), shapes)
    if problems:
        raise CheckpointError(
            f"{lora.file.name}: looks like {found.title}'s LoRA file, but does not fit the base "
            f"{sam.file.name}, which is {sam.record.title} ({vit_title(variant.vit)}); {problems}"
        )
    tensors, notes = samed.attach(base.tensors, lora.file.tensors, config, model)
    kept = [*_file_notes(sam.file, []), *_file_notes(lora.file, []), *notes]
    return _made(found, variant, tensors, [sam.file, lora.file], kept)


def _settle(msa: _Part, sam: _Part, said: Options) -> Checkpoint:
    """Medical SAM Adapter with LoRA, and the base that tells whether it is merged already."""
    checkpoint = _single(msa, said)
    with _looks_like(msa.file.name, msa.record):
        tensors, notes = settle_merged(checkpoint.tensors, sam.file.tensors)
    kept = [*_file_notes(msa.file, []), *(f"{msa.file.name}: {note}" for note in notes)]
    return _made(msa.record, checkpoint.variant, tensors, [msa.file, sam.file], kept)


_Combine = Callable[[_Part, _Part, Options], Checkpoint]
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
    if wanted is found:
        raise CheckpointError(
            f"{_names(checkpoint)}: is opened as {checkpoint.family.name}, not {family}; "
            "leave slices and chunk out for images"
        )
    if not wanted.loadable:
        raise messages.not_loadable(_names(checkpoint), wanted)
    expected = wanted.load_builder().names(checkpoint.variant.config)
    problems = differences(dict.fromkeys(expected, ()), dict.fromkeys(checkpoint.tensors, ()))
    advice = f"Open it as family='{checkpoint.family.name}'"
    if (family, checkpoint.kind) in _COMBINATIONS:
        advice += f", or pour it into one: open_checkpoint({family}_file, {checkpoint.kind}_file)"
    if (checkpoint.kind, family) in _COMBINATIONS and wanted.base:
        advice += f", or give {wanted.title}'s LoRA file as the second one"
    raise CheckpointError(
        f"{_names(checkpoint)}: is {found.title} ({vit_title(checkpoint.variant.vit)}), not "
        f"{wanted.title}: {problems}. {advice}"
    )


def _names(checkpoint: Checkpoint) -> str:
    return " + ".join(file.name for file in checkpoint.files)
