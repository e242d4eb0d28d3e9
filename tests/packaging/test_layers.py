"""Imports point to lower layers only, and heavy packages stay where they belong.

Every import statement counts, also inside a function or under `if TYPE_CHECKING`.
"""

from __future__ import annotations

import ast
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.packaging.tree import modules as find_modules

MODULES = find_modules()
MOST_FILES = 24

# Lowest first; a unit imports itself and anything in a line above its own.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("_install", "_wording"),
    ("errors", "_callable", "_version", "progress", "tables"),
    ("_openvino", "_optional", "families", "tolerances"),
    ("machine", "files"),
    ("geometry", "simulate", "openigtlink"),
    ("bundle", "prompts"),
    ("drawing",),
    ("sources",),
    ("runtime",),
    ("stream", "capi"),
    ("kernels",),
    ("models",),
    ("checkpoint",),
    ("fold",),
    ("export",),
    ("bench",),
    ("train",),
    ("cli",),
    ("__main__",),
)
RANK = {unit: rank for rank, line in enumerate(LAYERS) for unit in line}

# Named in a table of the runtime's and imported only when somebody asks for it by that name: what
# needs more than a cart has.
ON_REQUEST = {"samedge.export.half.emulation_backend", "samedge.export.triton.build"}
# The rooms and modules of training, in the same way.
TRAIN: tuple[tuple[str, ...], ...] = (
    ("data", "fields", "recipes"),
    ("evaluation", "lists", "official", "settings", "start", "trainable"),
    ("loop",),
    ("run",),
    ("distill",),
)

# `samedge` itself offers the public names; test_light_import.py watches over what that loads.
EXEMPT = {"samedge"}

# Third-party package -> units that may import it. What is not listed is free.
EXPORT_SIDE = {"checkpoint", "kernels", "models", "fold", "export", "train"}
EAGER = {"bench"}  # compares with eager PyTorch and its plain ONNX export
THIRD_PARTY: dict[str, set[str]] = {
    "torch": EXPORT_SIDE | EAGER,
    "safetensors": EXPORT_SIDE,
    "onnx": {"export"} | EAGER,
    "onnxscript": {"export"},
    "onnxruntime": EAGER,
    "lightning_fabric": {"train"},
    "matplotlib": {"drawing"},
    "monai": {"train"},
    # train: labels as they are stored, palettes and alpha; bench: the originals resize with it
    "PIL": {"bench", "train"},
    "pymust": {"simulate"},
    "scipy": {"train"},
    "segment_anything": {"bench"},  # a peer
    "skimage": set(),
    "torchvision": set(),
    "openvino": {"_openvino"},  # by itself it reports the import to its maker
    # export: INT8 is measured where it runs
    "samedge._openvino": {"machine", "runtime", "bench", "export"},
    "tensorrt": {"runtime"},
    "triton": {"kernels", "export", "bench"},  # what compiles kernels; a device has none
    "tensorrt_rtx": {"runtime", "bench"},
    "cuda": {"runtime"},
    "pynvml": {"machine"},
    "pydicom": {"sources", "stream", "cli"},
    "nibabel": {"sources", "stream"},
    "av": {"sources", "stream"},
    "highdicom": set(),
    "starlette": {"stream"},
    "uvicorn": {"stream"},
    "websockets": {"stream", "bench"},
    "click": {"cli"},
    "rich": {"cli", "tables"},
}


def unit_of(module: str) -> str:
    """`samedge.fold.layers` -> `fold`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports_of(path: Path) -> list[tuple[int, str]]:
    """(line, module) of every import in a file; `from samedge import x` gives `samedge.x`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            if node.module == "samedge":
                found += [(node.lineno, f"samedge.{alias.name}") for alias in node.names]
            else:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                found += [(node.lineno, name) for name in names if name in MODULES]
                if not all(name in MODULES for name in names):
                    found.append((node.lineno, node.module or ""))
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "require"):
            found += [(node.lineno, str(a.value)) for a in node.args if isinstance(a, ast.Constant)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append((node.lineno, _module_in_table(node.value)))
    return [(line, target) for line, target in found if target]


def _module_in_table(text: str) -> str:
    """Tables name modules as text ("samedge.x.y" or "samedge.x.y:object"); that counts, too."""
    module = text.partition(":")[0]
    return module if module in MODULES else ""


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


# What `samedge` offers lazily -> where it lives.
PUBLIC = {
    "samedge.LiveStream": "samedge.stream",
    "samedge.load": "samedge.runtime",
    "samedge.segment": "samedge.stream",
    "samedge.open_checkpoint": "samedge.checkpoint",
    "samedge.SamEdgeError": "samedge.errors",
}


@pytest.mark.parametrize("module", sorted(set(MODULES) - EXEMPT))
def test_imports_point_down(module: str) -> None:
    unit, path = unit_of(module), MODULES[module]
    assert unit in RANK, f"{module}: a new unit needs its place in LAYERS"
    wrong = []
    for line, target in imports_of(path):
        if target.split(".")[0] != "samedge" or target in ON_REQUEST:
            continue
        other = unit_of(PUBLIC.get(target, target))
        if other in (unit, ""):
            continue
        assert other in RANK, f"{path}:{line}: {target} is in no layer"
        if RANK[other] >= RANK[unit]:
            wrong.append(f"{path}:{line}: {unit} imports {target}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", [m for m in sorted(MODULES) if m.startswith("samedge.train.")])
def test_imports_of_training_point_down(module: str) -> None:
    rank = {room: number for number, line in enumerate(TRAIN) for room in line}
    room = module.split(".")[2]
    assert room in rank, f"{module}: a new room needs its place in TRAIN"
    targets = {t for _, t in imports_of(MODULES[module]) if t.startswith("samedge.train.")}
    wrong = [t for t in targets if (r := t.split(".")[2]) != room and rank[r] >= rank[room]]
    assert not wrong, f"{module} imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_heavy_packages_stay_where_they_belong(module: str) -> None:
    path, unit = MODULES[module], unit_of(module)
    wrong = [
        f"{path}:{line}: {unit or 'samedge'} imports {target}"
        for line, target in imports_of(path)
        if unit not in THIRD_PARTY.get(_package(target), {unit})
    ]
    assert not wrong, "\n".join(wrong)


def _package(target: str) -> str:
    return target if target in THIRD_PARTY else target.split(".")[0]


def test_no_circles() -> None:
    """No module imports, by whatever way round, a module that imports it."""
    imports = {
        module: {
            target
            for _, name in imports_of(path)
            if (target := PUBLIC.get(name, name)) in MODULES and target not in ON_REQUEST
        }
        - {module, *EXEMPT}
        for module, path in MODULES.items()
        if module not in EXEMPT
    }
    try:
        tuple(TopologicalSorter(imports).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_rooms_are_small() -> None:
    """A newcomer should see at a glance what a folder holds."""
    rooms = Counter(path.parent for path in MODULES.values())
    large = {str(room.name): count for room, count in rooms.items() if count > MOST_FILES}
    assert not large
