"""SAMed's own file without its base: what it was trained for, and what it needs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from samedge._wording import spoken
from samedge.checkpoint.messages import (
    file_line,
    file_notes,
    reference_shapes,
    sam_name,
    shapes_of,
)
from samedge.checkpoint.reader import SourceFile
from samedge.checkpoint.records import Record, record
from samedge.checkpoint.samed import LoraSizes, lora_sizes
from samedge.errors import CheckpointError
from samedge.models.presets import encoder_title
from samedge.models.shapes import some


@dataclass(frozen=True)
class LoraFile:
    """A file that holds only what SAMed trained; with its SAM base it is a checkpoint.

    Attributes:
        kind: name of its record, "samed" or "samed_s".
        sizes: ranks, classes, and the encoder that it was trained on.
        vit: "vit_b", "vit_l" or "vit_h", by blocks and width; "custom" for any other.
        tensors, parameters: their number, and the number of their values.
        file: what it held; without its tensors.
    """

    kind: str
    sizes: LoraSizes
    vit: str
    tensors: int
    parameters: int
    file: SourceFile = field(repr=False)

    @property
    def title(self) -> str:
        """The family's name to print."""
        return record(self.kind).title

    @property
    def ranks(self) -> dict[str, int]:
        """Ranks of its branches, by the part of the network."""
        return self.sizes.ranks

    @property
    def encoder(self) -> str:
        """Which encoder it was trained on, in words."""
        return encoder_title(self.vit, self.sizes.blocks, self.sizes.width)

    @property
    def command(self) -> str:
        """What makes a bundle of it; SAM's file under its usual name."""
        output = f"{PurePath(self.file.name).stem}.samedge"
        words = ("samedge", "export", sam_name(self.vit), self.file.name, "-o", output)
        return shlex.join(words)

    def summary(self) -> dict[str, Any]:
        """All that is known about the file as plain JSON values."""
        found = record(self.kind)
        assert found.family is not None
        return {
            "kind": "lora",
            "family": found.family.name,
            "title": found.title,
            "variant": {
                "vit": self.vit,
                "adapter": found.adapter,
                "ranks": self.ranks,
                "classes": self.sizes.classes,
            },
            "encoder": {"blocks": self.sizes.blocks, "width": self.sizes.width},
            "needs": {"family": found.base, "vit": self.vit, "file": sam_name(self.vit)},
            "command": self.command,
            "tensors": self.tensors,
            "parameters": self.parameters,
            "files": [self.file.summary()],
            "notes": file_notes(self.file),
        }

    def describe(self) -> str:
        """The same for people, one fact per line."""
        found, sizes = record(self.kind), self.sizes
        ranks = ", ".join(f"{part} {rank}" for part, rank in self.ranks.items())
        lines = [
            f"{found.title}'s LoRA file",
            f"  {found.about}",
            f"  file       {file_line(self.file)}",
            f"  tensors    {self.tensors}, {self.parameters / 1e6:.2f} M values: only what was "
            "trained, no whole network",
            f"  encoder    trained on {self.encoder}",
            f"  adapter    {found.adapter} (rank: {ranks})",
            f"  classes    {sizes.classes} besides the background",
            f"  needs      its SAM base as the first file: {self.encoder}",
            f"  next       {self.command}",
            f"  sha256     {self.file.sha256}",
        ]
        return "\n".join(lines + [f"  note       {note}" for note in file_notes(self.file)])


def lora_file(file: SourceFile, found: Record) -> LoraFile:
    """What is in a file that was recognised as SAMed's.

    Raises:
        CheckpointError: it contradicts itself.
    """
    try:
        sizes = lora_sizes(shapes_of(file))
    except CheckpointError as error:
        raise CheckpointError(
            f"{file.name}: looks like {found.title}'s LoRA file, but {error}"
        ) from error
    values = sum(tensor.numel() for tensor in file.tensors.values())
    return LoraFile(
        found.name, sizes, _vit(sizes), len(file.tensors), values, file.without_tensors()
    )


def needs_base(file: SourceFile, found: Record) -> CheckpointError:
    """The error for SAMed's file that came without its base."""
    lora = lora_file(file, found)
    missing = [k for k in reference_shapes(found.base) if k not in file.tensors]
    python = f"open_checkpoint({sam_name(lora.vit)!r}, {file.name!r}), or {lora.command}"
    return CheckpointError(
        f"{file.name}: is {found.title}'s LoRA file, which holds only what was trained "
        f"({some(list(file.tensors))}). Missing for a whole network: {some(missing)}. Give the SAM "
        f"checkpoint with {lora.encoder} that it was trained on first: "
        f"{spoken(python, lora.command)}"
    )


def _vit(sizes: LoraSizes) -> str:
    from samedge.models.config import VIT_SIZES  # a layer above: imported late

    for name, vit in VIT_SIZES.items():
        if (vit["depth"], vit["embed_dim"]) == (sizes.blocks, sizes.width):
            return name
    return "custom"
