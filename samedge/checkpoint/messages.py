"""What is said about files that are not what was expected: the nearest family, what differs."""

from __future__ import annotations

from samedge.checkpoint.reader import SourceFile
from samedge.checkpoint.records import RECORDS, Record, loadable
from samedge.checkpoint.samed import lora_file_shapes
from samedge.checkpoint.sizes import Shapes
from samedge.errors import CheckpointError, NotSupportedError

_NAMED = 4  # tensors named in a message
_VITS = {"vit_b": "ViT-B", "vit_l": "ViT-L", "vit_h": "ViT-H"}


def vit_title(vit: str) -> str:
    """ "vit_b" -> "ViT-B"."""
    return _VITS.get(vit, "a ViT of its own size")


def some(names: list[str]) -> str:
    """The first few names and how many more there are."""
    shown = [name if len(name) <= 100 else name[:97] + "..." for name in names[:_NAMED]]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shown) + more


def differences(expected: Shapes, found: Shapes) -> str:
    """What is missing, extra and misshapen, first names only; empty if nothing is."""
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    wrong = [
        f"{key} {list(found[key])} instead of {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    parts = (("missing", missing), ("extra", extra), ("of another shape", wrong))
    return "; ".join(f"{what}: {some(names)}" for what, names in parts if names)


def shapes_of(file: SourceFile) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a file's tensors."""
    return {key: tuple(value.shape) for key, value in file.tensors.items()}


def reference_shapes(record: Record) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the official ViT-B file of a family."""
    shapes = record.load_builder().preset_shapes("vit_b")
    return lora_file_shapes(shapes) if record.base else shapes


def not_loadable(name: str, record: Record) -> NotSupportedError:
    """The error for a family that is only recognised."""
    return NotSupportedError(
        f"{name}: {record.title} is recognised, but samedge cannot load it; it can load: "
        f"{loadable()}"
    )


def needs_base(file: SourceFile, record: Record) -> CheckpointError:
    """The error for low-rank branches that came without the checkpoint they belong to."""
    found = shapes_of(file)
    missing = [k for k in reference_shapes(_base(record)) if k not in found]
    return CheckpointError(
        f"{file.name}: is {record.title}'s LoRA file, which holds only what was trained "
        f"({some(list(found))}). Missing for a whole network: {some(missing)}. Give its base "
        f"first: open_checkpoint('sam_vit_b.pth', '{file.name}'), or samedge export sam_vit_b.pth "
        f"{file.name} -o NAME.samedge"
    )


def swapped(lora: SourceFile, record: Record, base: SourceFile) -> CheckpointError:
    """The error for a base that came second."""
    first = [k for k in shapes_of(lora) if k not in base.tensors]
    return CheckpointError(
        f"{lora.name} came first, and is {record.title}'s LoRA file ({some(first)}), which "
        f"completes {_base(record).title}; {base.name} is that base. The base comes first: "
        f"open_checkpoint('{base.name}', '{lora.name}')"
    )


def _base(record: Record) -> Record:
    return next(r for r in RECORDS if r.name == record.base)


def unknown(file: SourceFile) -> CheckpointError:
    """The error for tensors of no known family: names the nearest one and what differs."""
    names = shapes_of(file)
    candidates = [(r, reference_shapes(r)) for r in RECORDS if r.loadable and not r.same_as]
    record, shapes = max(candidates, key=lambda c: len(names.keys() & c[1].keys()) / len(c[1]))
    common = len(names.keys() & shapes.keys())
    if not common:
        return CheckpointError(
            f"{file.name}: holds {len(names)} tensors ({some(list(names))}), none of which "
            f"samedge knows; it can load: {loadable()}"
        )
    return CheckpointError(
        f"{file.name}: is no family that samedge knows. The nearest is {record.title}, with "
        f"{common} of {len(shapes)} names in common; {differences(shapes, names)}"
    )
