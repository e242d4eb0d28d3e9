"""Files -> Checkpoint: detects the family, checks completeness, combines several files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

from samedge.checkpoint.pour import pour_sam_into_samus
from samedge.checkpoint.reader import SourceFile, read_file, source_from_tensors
from samedge.checkpoint.records import RECORDS, Record, Variant, loadable
from samedge.errors import CheckpointError, ModelError, NotSupportedError
from samedge.families import Family

if TYPE_CHECKING:
    from torch import Tensor, nn

_NAMED = 4  # tensors named in a message
# Constants that some training scripts register as buffers; families.py has them.
_HARMLESS = frozenset(("pixel_mean", "pixel_std"))
# (kept, poured in) -> how to combine the two.
_COMBINATIONS = {("samus", "sam"): pour_sam_into_samus}


@dataclass(frozen=True)
class Checkpoint:
    """A complete, checked set of tensors and what they are.

    Attributes:
        family: the family record, with this checkpoint's input size.
        variant: ViT size, adapter, ranks, classes and all config fields.
        tensors: float32, on the CPU, under the official names.
        files: what each file held, in the order given; without their tensors.
        notes: what was converted, ignored, dropped or combined, for the user.
    """

    family: Family
    variant: Variant
    tensors: dict[str, Tensor] = field(repr=False)
    files: tuple[SourceFile, ...] = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> list[str]:
        """Digests of the files, in the order given."""
        return [file.sha256 for file in self.files]

    @property
    def parameters(self) -> int:
        """Number of values in all tensors."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    def build(self) -> nn.Module:
        """The model: eager, float32, eval mode, with its own copies of the tensors."""
        builder = _record(self.family.name).load_builder()
        model = builder.build(self.variant.config, self.tensors)
        formats = ", ".join(dict.fromkeys(file.format for file in self.files))
        origin: Any = model  # torch declares every attribute of a module as tensor or module
        origin.source = {"sha256": self.sha256, "format": formats}
        return model

    def summary(self) -> dict[str, Any]:
        """All that is known about the checkpoint as plain JSON values."""
        variant = asdict(self.variant)
        files = [
            {
                "name": file.name,
                "sha256": file.sha256,
                "bytes": file.size,
                "format": file.format,
                "wrapper": list(file.wrapper),
                "prefixes": list(file.prefixes),
                "ignored": list(file.ignored),
                "converted": dict(file.converted),
            }
            for file in self.files
        ]
        return {
            "kind": "checkpoint",
            "family": self.family.name,
            "title": self.family.title,
            "variant": {k: v for k, v in variant.items() if k != "config"},
            "config": {
                k: list(v) if isinstance(v, tuple) else v for k, v in variant["config"].items()
            },
            "prompts": list(self.family.prompts),
            "tensors": len(self.tensors),
            "parameters": self.parameters,
            "files": files,
            "notes": list(self.notes),
        }

    def describe(self) -> str:
        """The same for people, one fact per line."""
        variant, config = self.variant, self.variant.config
        size = f"{variant.input_size} x {variant.input_size}"
        lines = [f"{self.family.title}, {_vit_title(variant.vit)}"]
        lines += [f"  file       {f.name} ({f.format}, {f.size / 1e6:.1f} MB)" for f in self.files]
        lines += [
            f"  tensors    {len(self.tensors)}, {self.parameters / 1e6:.2f} M values",
            f"  encoder    {config['depth']} blocks of width {config['embed_dim']}, "
            f"{config['num_heads']} heads, global blocks "
            f"{', '.join(map(str, config['global_blocks'])) or 'none'}, "
            f"windows of {config['window_size']}",
            f"  input      {size} px, grid {variant.grid} x {variant.grid}, low-res logits "
            f"{variant.low_res} x {variant.low_res}",
            f"  prompts    {', '.join(self.family.prompts)}; {variant.masks} mask tokens",
        ]
        if variant.adapter != "none":
            widths = ", ".join(f"{name} {width}" for name, width in variant.ranks.items())
            lines.append(f"  adapter    {variant.adapter} (hidden width: {widths})")
        lines += [f"  sha256     {digest}" for digest in self.sha256]
        lines += [f"  note       {note}" for note in self.notes]
        return "\n".join(lines)


def open_checkpoint(
    path: str | PathLike[str], *more: str | PathLike[str], family: str | None = None
) -> Checkpoint:
    """Open a checkpoint: detect what it is and check that it is complete. Runs no code in it.

    Args:
        path: a .pth, .pt or .safetensors file.
        more: a second file to combine with the first. SAMUS and SAM: SAM's weights replace the
            SAMUS tensors of the same name (either order).
        family: what the checkpoint is expected to be ("sam", "samus"); None: detect.

    Returns:
        Checkpoint. Its tensors are memory-mapped where possible: do not change the files in place
        while it is in use.

    Raises:
        CheckpointError: unreadable, unsafe, incomplete, not finite, or another family.
        NotSupportedError: a family that is recognised but cannot be loaded yet.
    """
    parts = [_detect(read_file(p)) for p in (path, *more)]
    checkpoint = parts[0] if len(parts) == 1 else _combine(parts)
    if family is not None and family != checkpoint.family.name:
        raise _mismatch(checkpoint, family)
    return checkpoint


def checkpoint_from_tensors(tensors: Mapping[str, Tensor], name: str = "state dict") -> Checkpoint:
    """The checkpoint behind a live model's `state_dict()`, such as a `segment_anything.Sam`.

    Args:
        tensors: official names; any floating-point type.
        name: what to call it in messages.

    Returns:
        Checkpoint without files, hence without digests.

    Raises:
        as `open_checkpoint`.
    """
    found = _detect(source_from_tensors(tensors, name))
    return replace(found, files=())


def _detect(file: SourceFile) -> Checkpoint:
    record = next((r for r in RECORDS if r.fits(file.tensors)), None)
    if record is None:
        raise _unknown(file)
    if not record.builder or record.family is None:
        raise _not_yet(file.name, record)
    shapes = {k: tuple(v.shape) for k, v in file.tensors.items()}
    try:
        variant = record.variant(shapes, file.config)
        expected = record.load_builder().shapes(variant.config)
    except (CheckpointError, ModelError) as error:
        raise CheckpointError(f"{file.name}: looks like {record.title}, but {error}") from error
    tensors = {k: v for k, v in file.tensors.items() if k in expected or k not in _HARMLESS}
    problems = differences(expected, {k: tuple(v.shape) for k, v in tensors.items()})
    if problems:
        fitting = sum(shapes.get(k) == shape for k, shape in expected.items())
        raise CheckpointError(
            f"{file.name}: looks like {record.title} ({_vit_title(variant.vit)}), but only "
            f"{fitting} of its {len(expected)} tensors fit; {problems}"
        )
    builder = record.load_builder()
    dropped = [k for k in file.tensors if k not in tensors]
    return Checkpoint(
        family=builder.config(variant.config).family,
        variant=variant,
        tensors={k: tensors[k] for k in expected},
        files=(replace(file, tensors={}),),
        notes=tuple(_file_notes(file, dropped)),
    )


def _file_notes(file: SourceFile, dropped: list[str]) -> list[str]:
    notes = []
    if file.wrapper:
        notes.append(f"{file.name}: tensors found under '{'.'.join(file.wrapper)}'")
    if file.ignored:
        notes.append(f"{file.name}: ignored entries: {_some(list(file.ignored))}")
    if file.prefixes:
        notes.append(f"{file.name}: stripped from tensor names: {', '.join(file.prefixes)}")
    if dropped:
        notes.append(f"{file.name}: dropped constants: {', '.join(dropped)}")
    for dtype, number in file.converted.items():
        notes.append(f"{file.name}: {number} tensors converted from {dtype} to float32")
    return notes


def _combine(parts: list[Checkpoint]) -> Checkpoint:
    by_name = {part.family.name: part for part in parts}
    for (kept, poured), pour in _COMBINATIONS.items():
        if len(parts) == 2 and set(by_name) == {kept, poured}:
            target, source = by_name[kept], by_name[poured]
            config = target.variant.config
            tensors, notes = pour(target.tensors, source.tensors, config)
            return Checkpoint(
                family=target.family,
                variant=target.variant,
                tensors=tensors,
                files=tuple(file for part in parts for file in part.files),
                notes=tuple(note for part in parts for note in part.notes) + tuple(notes),
            )
    found = ", ".join(f"{p.files[0].name} ({p.family.title})" for p in parts)
    known = "; ".join(f"{kept} and {poured}" for kept, poured in _COMBINATIONS)
    raise CheckpointError(f"these checkpoints do not combine: {found}; expected: {known}")


def _record(name: str) -> Record:
    return next(record for record in RECORDS if record.name == name)


def _mismatch(checkpoint: Checkpoint, family: str) -> CheckpointError | NotSupportedError:
    """The error for a checkpoint that is not of the family asked for."""
    wanted = next((record for record in RECORDS if record.name == family), None)
    if wanted is None:
        known = ", ".join(record.name for record in RECORDS)
        return CheckpointError(f"unknown family '{family}'; known: {known}")
    name = " + ".join(file.name for file in checkpoint.files)
    if not wanted.builder:
        return _not_yet(name, wanted)
    names: dict[str, tuple[int, ...]] = dict.fromkeys(checkpoint.tensors, ())
    expected = wanted.load_builder().names(checkpoint.variant.config)
    problems = differences(dict.fromkeys(expected, ()), names)
    advice = f"Open it as family='{checkpoint.family.name}'"
    if (family, checkpoint.family.name) in _COMBINATIONS:
        advice += (
            f", or pour it into one: open_checkpoint({family}_file, {checkpoint.family.name}_file)"
        )
    return CheckpointError(
        f"{name}: is {checkpoint.family.title} ({_vit_title(checkpoint.variant.vit)}), not "
        f"{wanted.title}: {problems}. {advice}"
    )


def _not_yet(name: str, record: Record) -> NotSupportedError:
    note = f" ({record.note})" if record.note else ""
    return NotSupportedError(
        f"{name}: {record.title} is recognised, but samedge cannot load it yet{note}; it can load: "
        f"{loadable()}"
    )


def _unknown(file: SourceFile) -> CheckpointError:
    """The error for tensors of no known family: names the nearest one and what differs."""
    names = {key: tuple(value.shape) for key, value in file.tensors.items()}
    candidates = [(r, r.load_builder().preset_shapes("vit_b")) for r in RECORDS if r.builder]
    record, shapes = max(candidates, key=lambda c: len(names.keys() & c[1].keys()) / len(c[1]))
    common = len(names.keys() & shapes.keys())
    if not common:
        return CheckpointError(
            f"{file.name}: holds {len(names)} tensors ({_some(list(names))}), none of which "
            f"samedge knows; it can load: {loadable()}"
        )
    return CheckpointError(
        f"{file.name}: is no family that samedge knows. The nearest is {record.title}, with "
        f"{common} of {len(shapes)} names in common; {differences(shapes, names)}"
    )


def differences(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    """What is missing, extra and misshapen, first names only; empty if nothing is."""
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    wrong = [
        f"{key} {list(found[key])} instead of {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    parts = (("missing", missing), ("extra", extra), ("of another shape", wrong))
    return "; ".join(f"{what}: {_some(names)}" for what, names in parts if names)


def _some(names: list[str]) -> str:
    shown = [name if len(name) <= 100 else name[:97] + "..." for name in names[:_NAMED]]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shown) + more


def _vit_title(vit: str) -> str:
    titles = {"vit_b": "ViT-B", "vit_l": "ViT-L", "vit_h": "ViT-H"}
    return titles.get(vit, "a ViT of its own size")
