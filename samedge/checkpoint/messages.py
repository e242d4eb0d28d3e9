"""What is said about files: what they are, what differs, the nearest family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from samedge._wording import spoken
from samedge.checkpoint.layouts import what_was_done
from samedge.checkpoint.options import CheckpointOptions
from samedge.checkpoint.reader import SourceFile
from samedge.checkpoint.records import RECORDS, Record, loadable, record
from samedge.checkpoint.samed import lora_file_shapes
from samedge.errors import CheckpointError, ModelError, NotSupportedError
from samedge.models.presets import vit_title
from samedge.models.shapes import Shapes, differences, some

# Beginnings of the SHA-256 of SAM's official files, which are part of their names.
OFFICIAL_SAM = {"vit_b": "01ec64", "vit_l": "0b3195", "vit_h": "4b8939"}


def sam_name(vit: str) -> str:
    """What the official SAM checkpoint of a size is called."""
    return f"sam_{vit}_{OFFICIAL_SAM[vit]}.pth" if vit in OFFICIAL_SAM else "SAM_CHECKPOINT.pth"


def file_line(file: SourceFile) -> str:
    """Name, format and size of a file."""
    return f"{file.name} ({file.format}, {file.size / 1e6:.1f} MB)"


def file_notes(file: SourceFile, dropped: list[str] | None = None) -> list[str]:
    """What was done to the contents of a file.

    Args:
        file: as it was read.
        dropped: names of tensors that are not used.
    """
    notes = []
    if file.wrapper:
        notes.append(f"{file.name}: tensors found under '{'.'.join(file.wrapper)}'")
    if file.ignored:
        notes.append(f"{file.name}: ignored entries: {some(list(file.ignored))}")
    if file.prefixes:
        notes.append(f"{file.name}: stripped from tensor names: {', '.join(file.prefixes)}")
    if file.names_of:
        notes.append(
            f"{file.name}: its tensors had the names of {file.names_of}, "
            f"{what_was_done(file.names_of)}"
        )
    if dropped:
        notes.append(f"{file.name}: dropped constants: {', '.join(dropped)}")
    if file.passed_over:
        names = some(list(file.passed_over))
        notes.append(
            f"{file.name}: passed over, for they are whole numbers and no weights: {names}"
        )
    for dtype, number in file.converted.items():
        notes.append(f"{file.name}: {number} tensors converted from {dtype} to float32")
    return notes


def shapes_of(file: SourceFile) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a file's tensors."""
    return {key: tuple(value.shape) for key, value in file.tensors.items()}


@cache
def reference_shapes(name: str) -> Shapes:
    """Names and shapes of the usual file (ViT-B, TinyViT) of the record called `name`."""
    found = record(name)
    shapes = found.network.preset_shapes(found.network.usual_size, **found.example)
    return lora_file_shapes(shapes) if found.base else shapes


def what_it_is(file: SourceFile, found: Record) -> str:
    """ "x.pth (SAMUS, as its 'image_encoder.cnn_embed...' shows)"."""
    if found.names_of:
        return f"{file.name} ({found.title}, by its names)"
    return f"{file.name} ({found.title}, as its '{some([found.evidence(file.tensors)])}' shows)"


def not_loadable(name: str, tensors: Mapping[str, Any], found: Record) -> NotSupportedError:
    """The error for a family that is only recognised."""
    evidence = some([found.evidence(tensors)])
    said = f"{name}: {found.title} is recognised (by '{evidence}'), but samedge cannot load it"
    if found.advice:
        return NotSupportedError(f"{said}: {found.advice}. It can load: {loadable()}")
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    nearest, expected = _nearest(shapes)
    about = f" ({found.about})" if found.about else ""
    return NotSupportedError(
        f"{said}{about}. The nearest that it can is {nearest.title}; "
        f"{differences(expected, shapes)}. Take a checkpoint of one of these: {loadable()}"
    )


def does_not_fit(
    name: str, found: Record, vit: str, expected: Shapes, shapes: Shapes
) -> CheckpointError | None:
    """The error for tensors that are not those of the network that they look like, if so.

    Args:
        name: of the file.
        found: what it looks like.
        vit: size of its encoder.
        expected: names and shapes of the network's tensors.
        shapes: those that came.
    """
    problems = differences(expected, shapes)
    if not problems:
        return None
    looks = f"{name}: looks like {found.title} ({vit_title(vit)}), but"
    fitting = sum(shapes.get(k) == shape for k, shape in expected.items())
    if fitting < len(expected):
        return CheckpointError(
            f"{looks} only {fitting} of its {len(expected)} tensors fit; {problems}. Give it the "
            "state dict of one whole model, under the names of the original project"
        )
    more = [k for k in shapes if k not in expected]
    return CheckpointError(
        f"{looks} beside all of its tensors it holds {len(more)} that {found.title} does not have: "
        f"{some(more)}. Those are adapters or heads of another project, and without them the "
        f"network computes something else. samedge can load: {loadable()}. If they take no part "
        "in the masks, save the state dict without them"
    )


def check_no_whole_numbers(file: SourceFile, found: Record) -> None:
    """CheckpointError where a tensor that was passed over is one that the network needs."""
    needed = {_numberless(name) for name in reference_shapes(found.name)}
    for name, dtype in file.passed_over.items():
        if _numberless(name) in needed:
            raise CheckpointError(
                f"{file.name}: tensor '{name}' is of type torch.{dtype}; expected plain "
                "floating-point numbers"
            )


def _numberless(name: str) -> str:
    """The same for all blocks."""
    return re.sub(r"\d+", "0", name)


def opened_with(*files: str) -> str:
    """How files that belong together are opened, in the reader's language."""
    python = f"open_checkpoint({', '.join(map(repr, files))})"
    return spoken(python, f"samedge export {' '.join(files)} -o NAME.samedge")


def swapped(lora: SourceFile, found: Record, base: SourceFile) -> CheckpointError:
    """The error for a base that came second."""
    first = [k for k in lora.tensors if k not in base.tensors]
    return CheckpointError(
        f"{lora.name} came first, and is {found.title}'s LoRA file ({some(first)}), which "
        f"completes {record(found.base).title}; {base.name} is that base. The base comes first: "
        f"{opened_with(base.name, lora.name)}"
    )


def unknown(file: SourceFile) -> CheckpointError:
    """The error for tensors of no known family: names the nearest one and what differs."""
    found = shapes_of(file)
    nearest, expected = _nearest(found)
    common = len(found.keys() & expected.keys())
    if not common:
        return CheckpointError(
            f"{file.name}: holds {len(found)} tensors ({some(list(found))}), none of which "
            f"samedge knows; {_hidden(found)}it can load: {loadable()}"
        )
    return CheckpointError(
        f"{file.name}: is no family that samedge knows. The nearest is {nearest.title}, with "
        f"{common} of {len(expected)} names in common; {differences(expected, found)}. Give it a "
        f"whole state dict under the names of the original project; it can load: {loadable()}"
    )


def _hidden(found: Shapes) -> str:
    """What to do where names are known but for what all of them begin with; empty otherwise."""
    prefix = next(iter(found)).partition(".")[0] + "."
    shorter = {name.removeprefix(prefix): shape for name, shape in found.items()}
    nearest, expected = _nearest(shorter)
    if not all(name.startswith(prefix) for name in found) or not shorter.keys() & expected.keys():
        return ""
    return f"take '{prefix}' off all names, and the nearest is {nearest.title}; "


def _nearest(found: Shapes) -> tuple[Record, Shapes]:
    """The family with the most names in common, and its names and shapes.

    Of several that have as many: a whole network before one that needs a base, then the smallest.
    """

    def nearness(item: tuple[Record, Shapes]) -> tuple[int, bool, int]:
        candidate, shapes = item
        return len(found.keys() & shapes.keys()), not candidate.base, -len(shapes)

    candidates = [(r, reference_shapes(r.name)) for r in RECORDS if r.loadable and not r.same_as]
    nearest, usual = max(candidates, key=nearness)
    if nearest.base:
        return nearest, usual
    try:  # of its own size rather than of the usual one
        variant = nearest.variant(found, {}, CheckpointOptions())
        return nearest, nearest.network.shapes(variant.config)
    except (CheckpointError, ModelError):
        return nearest, usual
