"""Renew the tables of docs/training.md.

    python docs/make_training.py

A test checks that they are current.
"""

from __future__ import annotations

from pathlib import Path

from samedge.models import (
    AutosamusConfig,
    LiteMedsamConfig,
    MedsamConfig,
    MobileSamConfig,
    MsaConfig,
    SamedConfig,
    SamusConfig,
)
from samedge.models.build import MODELS
from samedge.train.recipes import RECIPES, Recipe
from samedge.train.trainable import parameter_table

TARGET = Path(__file__).with_name("training.md")

CONFIGS = {
    "samus": SamusConfig(),
    "autosamus": AutosamusConfig(),
    "samed": SamedConfig(),
    "samed_s": SamedConfig(decoder_rank=4),
    "msa": MsaConfig(),
    "medsam": MedsamConfig(),
    "mobile_sam": MobileSamConfig(),
    "litemedsam": LiteMedsamConfig(),
    "full": SamusConfig(),
}


def recipes_table() -> str:
    """Numbers of every recipe."""
    lines = [
        "| recipe | loss on low-res logits | optimiser | schedule | prompt | batch | source |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{r.name}` | {_loss(r)} | {_optimiser(r)} | {_schedule(r)} | {_prompt(r)} | {r.batch} "
        f"| {r.source} |"
        for r in RECIPES.values()
    ]
    return "\n".join(lines)


def parameters_table() -> str:
    """What every recipe trains, in ViT-B."""
    import torch

    lines = [
        "| recipe | trained | of all parameters (ViT-B) | what |",
        "|---|---|---|---|",
    ]
    for name, recipe in RECIPES.items():
        with torch.device("meta"):
            model = MODELS[type(CONFIGS[name])](CONFIGS[name])
        total = parameter_table(model, recipe)[-1]
        whole = total.trained + total.frozen
        share = f"{total.trained / 1e6:.2f} M | {100 * total.trained / whole:.1f} % of "
        lines.append(f"| `{name}` | {share}{whole / 1e6:.1f} M | {recipe.about} |")
    return "\n".join(lines)


def _loss(r: Recipe) -> str:
    kind = "CE" if r.loss.kind == "classes" else "BCE"
    weight = f" (inside: {r.loss.positive:g})" if r.loss.positive != 1 else ""
    images = "" if r.loss.over_batch else " per image"
    parts = [f"{r.loss.dice:g} Dice{images}"] if r.loss.dice else []
    parts.append(f"{r.loss.cross_entropy:g} {kind}{weight}")
    if r.loss.score:
        parts.append(f"{r.loss.score:g} error of the IoU")
    return " + ".join(parts)


def _optimiser(r: Recipe) -> str:
    kind = {"adam": "Adam", "adamw": "AdamW"}[r.optimiser]
    decay = f", decay {r.weight_decay:g}" if r.weight_decay else ""
    clip = f", clipped at {r.clip:g}" if r.clip else ""
    return f"{kind} {r.lr:g}{decay}{clip}"


def _schedule(r: Recipe) -> str:
    after = {
        "constant": "constant",
        "poly": "poly 0.9",
        "cosine": "cosine to 0",
        "halving": "halved every 10 epochs",
    }[r.schedule]
    return f"warm-up {r.warmup}, {after}" if r.warmup else after


def _prompt(r: Recipe) -> str:
    words = {"random_click": "a click in the label", "mixed": "clicks and boxes, mixed"}
    return words.get(r.prompt, r.prompt)


def document(text: str) -> str:
    """The page with both tables renewed."""
    for name, table in (("recipes", recipes_table()), ("parameters", parameters_table())):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        block = f"{begin}\n{table}\n{end}"
        text = text[: text.index(begin)] + block + text[text.index(end) + len(end) :]
    return text


if __name__ == "__main__":
    TARGET.write_text(document(TARGET.read_text()))
    print(f"wrote {TARGET}")
