"""Renew the tables of docs/families.md.

    python docs/make_families.py             # the conventions, from samedge/families.py
    python docs/make_families.py --figures   # also what folding does, measured (a few minutes)

A test checks that the conventions are current.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from samedge.families import FAMILIES, Family

TARGET = Path(__file__).with_name("families.md")

_INTERPOLATIONS = {
    "pil": "Pillow bilinear, 8 bits, exact",
    "cubic": "scikit-image cubic, cut off to 8 bits",
    "zoom": "scipy cubic zoom",
    "bilinear": "torch bilinear, antialiased",
    "area": "OpenCV area, 8 bits, exact",
}


def conventions() -> str:
    """What differs outside the network, one column per family."""
    rows = {
        "network input": _input,
        "frames": _frames,
        "resize": _resize,
        "normalisation": _normalisation,
        "prompts": lambda f: (", ".join(f.prompts) or "none") + "; whole px" * f.whole_boxes,
        "padding point": lambda f: _padding(f) if "point" in f.prompts else "",
        "low-res logits": lambda f: f"{4 * f.input_size // f.stride}²",
        "answer": _answer,
        "to frame size": _to_frame,
        "decision": _decision,
    }
    families = list(FAMILIES.values())
    lines = [
        "| | " + " | ".join(f.title.replace("Medical SAM Adapter", "MSA") for f in families) + " |",
        "|---" * (len(families) + 1) + "|",
        "| `--family` | " + " | ".join(f"`{f.name}`" for f in families) + " |",
    ]
    lines += [
        f"| {name} | " + " | ".join(map(cell, families)) + " |" for name, cell in rows.items()
    ]
    return "\n".join(lines)


def _input(f: Family) -> str:
    stack = f"{f.slices} slices of " if f.slices > 1 else ""
    return f"{stack}{f.input_size}²"


def _frames(f: Family) -> str:
    depth = "8 bits" if f.rounded else "8 or 16 bits"
    return f"{'grey' if f.channels == 1 else 'RGB'}, {depth}"


def _resize(f: Family) -> str:
    rule = "stretch" if f.resize == "stretch" else "longest side, padded"
    via = f" via {f.via}²" if f.via else ""
    return f"{rule}{via}; {_INTERPOLATIONS[f.interpolation]}"


def _normalisation(f: Family) -> str:
    if f.normalisation == "min_max":
        return "each image to 0..1"
    scaled = "0..1" if f.value_scale == 255 else "0..255"
    return f"{scaled}, SAM's mean and std" if any(f.mean) else scaled


def _padding(f: Family) -> str:
    return "always" if f.pad_point == "always" else "without a box"


def _answer(f: Family) -> str:
    if f.classes:
        return f"class map, masks of {len(f.classes) - 1} or any number of classes"
    several = f", or {len(f.multi_masks)}" if f.multi_masks else ""
    structures = ", or one per structure" if f.name.startswith("msa") else ""
    return f"1 mask{several}{structures}"


def _to_frame(f: Family) -> str:
    kind = "probabilities" if f.mask_values == "probability" else "logits"
    how = "nearest" if f.mask_interpolation == "nearest" else "bilinear"
    size = f"{f.upscale_size}²" if f.upscale_size != 4 * f.input_size // f.stride else ""
    steps = f"bilinear to {size}, then {how}" if size else how
    return f"{kind}, {steps}"


def _decision(f: Family) -> str:
    if f.exclusive:
        return "largest class"
    return "p > 0.5" if f.mask_values == "probability" else f"logit > {f.threshold:g}"


def figures() -> str:
    """What folding does to each system, measured now."""
    from samedge.bench.families import COLUMNS, measured, row
    from samedge.bench.report.sheet import Table

    rows = []
    for folded in measured():
        rows.append(row(folded))
        print(f"  {folded.title}", file=sys.stderr)
    return Table("", COLUMNS, rows).markdown()


def replaced(text: str, name: str, block: str) -> str:
    """The page with one generated block renewed."""
    pattern = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    assert pattern.search(text), name
    return pattern.sub(lambda m: f"{m[1]}{block}\n{m[2]}", text)


def main() -> None:
    text = replaced(TARGET.read_text(), "conventions", conventions())
    if "--figures" in sys.argv[1:]:
        text = replaced(text, "figures", figures())
    TARGET.write_text(text)
    print(f"wrote {TARGET.name}")


if __name__ == "__main__":
    main()
