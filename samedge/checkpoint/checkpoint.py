"""A checked checkpoint: what it is, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from samedge.checkpoint.messages import file_line
from samedge.checkpoint.reader import SourceFile
from samedge.checkpoint.records import Variant, layout_record, record
from samedge.families import Family
from samedge.models.presets import vit_title
from samedge.models.shapes import some

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Checkpoint:
    """A complete, checked set of tensors and what they are.

    Attributes:
        family: the family record, with this checkpoint's input size.
        kind: name of the record in `samedge.checkpoint.records` that it was read by.
        variant: ViT size, adapter, ranks, classes and all config fields.
        tensors: float32, on the CPU, under the official names.
        files: what each file held, in the order given; without their tensors.
        notes: what was converted, ignored, dropped or combined, for the user.
        questions: what the files leave open and the user did not say; another answer gives other
            masks. They go into the bundle, and from there into every result's notes.
    """

    family: Family
    kind: str
    variant: Variant
    tensors: dict[str, Tensor] = field(repr=False)
    files: tuple[SourceFile, ...] = field(repr=False)
    notes: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()

    @property
    def sha256(self) -> list[str]:
        """Digests of the files, in the order given."""
        return [file.sha256 for file in self.files]

    @property
    def parameters(self) -> int:
        """Number of values in all tensors."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    @property
    def config(self) -> Any:
        """All sizes of the model that `build` makes: a SamConfig (`samedge.models`)."""
        return record(self.kind).network.config(self.variant.config)

    def build(self, copy: bool = True) -> nn.Module:
        """The model: eager, float32, eval mode.

        Args:
            copy: give it copies of the tensors. False: it shares them with the checkpoint, and
                where the file is memory-mapped takes no memory of its own. For folding: a model
                that is trained would change the checkpoint.
        """
        builder = record(self.kind).network
        model = builder.build(self.variant.config, self.tensors, copy)
        formats = ", ".join(dict.fromkeys(file.format for file in self.files))
        origin: Any = model  # torch declares every attribute of a module as tensor or module
        origin.source = {"sha256": self.sha256, "format": formats}
        if self.questions:
            origin.source["questions"] = list(self.questions)
        return model

    def summary(self) -> dict[str, Any]:
        """All that is known about the checkpoint as plain JSON values."""
        variant = asdict(self.variant)
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
            "files": [file.summary() for file in self.files],
            "notes": list(self.notes),
            "questions": list(self.questions),
        }

    def describe(self) -> str:
        """The same for people, one fact per line."""
        variant, family = self.variant, self.family
        found = layout_record(self.files[0].names_of if self.files else "", self.kind)
        lines = [f"{found.title}, {vit_title(variant.vit)}", f"  {found.about}"]
        lines += [f"  QUESTION   {question}" for question in self.questions]
        lines += [f"  file       {file_line(file)}" for file in self.files]
        lines.append(f"  tensors    {len(self.tensors)}, {self.parameters / 1e6:.2f} M values")
        lines += [f"  {name:<10} {text}" for name, text in _facts(variant, family)]
        lines += [f"  sha256     {digest}" for digest in self.sha256]
        lines += [f"  note       {note}" for note in self.notes]
        return "\n".join(lines)


def _encoder(config: Mapping[str, Any]) -> str:
    """The encoder's sizes in words."""
    if "widths" in config:
        blocks, widths = (" + ".join(map(str, config[name])) for name in ("depths", "widths"))
        windows = ", ".join(map(str, config["windows"][1:]))
        return f"TinyViT, {blocks} blocks of width {widths}, windows of {windows}"
    blocks = ", ".join(map(str, config["global_blocks"])) or "none"
    return (
        f"{config['depth']} blocks of width {config['embed_dim']}, {config['num_heads']} heads, "
        f"global blocks {blocks}, windows of {config['window_size']}"
    )


def _facts(variant: Variant, family: Family) -> list[tuple[str, str]]:
    """What a user wants to know of a network, (name, words)."""
    config, size = variant.config, variant.input_size
    colours = {1: "grey", 3: "RGB"}[family.channels]
    depth = f", {family.slices} slices of a volume together" if family.slices > 1 else ""
    facts = [
        ("encoder", _encoder(config)),
        (
            "input",
            f"{size} x {size} px, {colours}{depth}; grid {variant.grid} x {variant.grid}, low-res "
            f"logits {variant.low_res} x {variant.low_res}",
        ),
        ("prompts", ", ".join(family.prompts) or "none: it finds its objects by itself"),
    ]
    if family.classes:
        names = [n for i, n in enumerate(family.classes) if i or not family.exclusive]
        kind = "classes" if family.exclusive else "structures"
        facts.append((kind, f"{len(names)}: {some(names)}"))
    else:
        several = f", or {len(family.multi_masks)} answers" if family.multi_masks else ""
        if len(family.multi_masks) not in (0, 3):
            several = f"; the file has {variant.masks} mask tokens, SAM 4"
        facts.append(("masks", f"one per prompt{several}" if family.prompts else "one"))
    if variant.adapter != "none":
        widths = ", ".join(f"{name} {width}" for name, width in variant.ranks.items())
        word = "rank" if variant.adapter.startswith("lora") else "hidden width"
        facts.append(("adapter", f"{variant.adapter} ({word}: {widths})"))
    return facts
