"""Where a run starts: an official checkpoint, SAM's weights in another family, or nothing."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from samedge._optional import importing
from samedge.files.limits import CONFIG_BYTES
from samedge.files.numbers import finite, parse_json

with importing("torch", extra="export", what="samedge.train"):
    import torch
    from torch import Tensor, nn


from samedge.checkpoint import Checkpoint, open_checkpoint
from samedge.checkpoint.pour import pour_sam_into_samus, resize_position_tables
from samedge.checkpoint.samed import base_name
from samedge.errors import ModelError, NotSupportedError, TrainingError
from samedge.files.paths import read_small, shown
from samedge.models import (
    AutosamusConfig,
    LiteMedsamConfig,
    MedsamConfig,
    MobileSamConfig,
    ModelConfig,
    MsaConfig,
    PromptableModel,
    SamConfig,
    SamedConfig,
    SamusConfig,
    build_model,
    load_strictly,
)
from samedge.models.common import LayerNorm2d
from samedge.models.samus import Samus
from samedge.models.tiny_vit import MbConv
from samedge.train.fields import wrong_field
from samedge.train.recipes import Recipe

CONFIGS: dict[str, type[ModelConfig]] = {
    "sam": SamConfig,
    "medsam": MedsamConfig,
    "samed": SamedConfig,
    "msa": MsaConfig,
    "samus": SamusConfig,
    "autosamus": AutosamusConfig,
    "mobile_sam": MobileSamConfig,
    "litemedsam": LiteMedsamConfig,
}
_FROM_SAM = ("samus", "samed", "msa")
_OF_SAM = {f.name for f in fields(SamConfig)}


@dataclass(frozen=True)
class Start:
    """A model to train, and how it came about.

    Attributes:
        model: float32, on the CPU.
        notes: what was poured, resized, dropped or made anew, for the user.
        sources: names and SHA-256 of the files.
    """

    model: PromptableModel
    notes: tuple[str, ...]
    sources: tuple[tuple[str, str], ...] = ()


def read_config(path: Path) -> dict[str, Any]:
    """A file of config fields, JSON or TOML, perhaps with "family" among them.

    Raises:
        TrainingError: not there, not readable, or no table of fields.
        NotSupportedError: TOML before Python 3.11.
    """
    try:
        text = read_small(path, CONFIG_BYTES.most, TrainingError).decode("utf-8")
    except FileNotFoundError:
        raise TrainingError(f"there is no file '{shown(path)}' of config fields") from None
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path.name} cannot be read: {error}") from error
    try:
        if path.suffix.lower() == ".toml":
            if sys.version_info < (3, 11):
                raise NotSupportedError(f"{path.name}: reading TOML needs Python 3.11; use JSON")
            import tomllib

            found = tomllib.loads(text, parse_float=finite)
        else:
            found = parse_json(text)
    except (RecursionError, ValueError) as error:
        raise TrainingError(f"{path.name} is neither valid JSON nor TOML: {error}") from error
    if not isinstance(found, dict):
        raise TrainingError(f"{path.name} holds a {type(found).__name__}; expected config fields")
    return found


def make_config(family: str, said: Mapping[str, Any]) -> ModelConfig:
    """The config of a family with these fields; lists become tuples.

    Raises:
        TrainingError: no such family, or a field that it lacks. ModelError: values that do not fit.
    """
    if not isinstance(family, str) or family not in CONFIGS:
        raise TrainingError(f"there is no family '{family}'; expected one of {', '.join(CONFIGS)}")
    kind: Any = CONFIGS[family]
    known = {f.name for f in fields(kind)}
    odd = sorted(set(said) - known)
    if odd:
        raise TrainingError(
            f"'{odd[0]}' is no field of {kind.__name__}; it has: {', '.join(sorted(known))}"
        )
    if (wrong := wrong_field(kind, said)) is not None:
        raise ModelError(f"{kind.__name__}: {wrong}")
    values = _tuples(said)
    try:
        config: ModelConfig = kind(**values)
    except TypeError as error:
        raise ModelError(f"{kind.__name__}: {error}") from error
    return config


def fresh_model(config: ModelConfig, seed: int) -> PromptableModel:
    """A model with weights for training from scratch; the same for the same seed.

    As `initialise`, and besides: convolutions after He et al. 2015; prompt and mask tokens as
    truncated normal; what is added to a residual stream starts small (`1 / sqrt(2 depth)`), the
    adapters' second layer and TinyViT's convolution blocks at zero, so that a deep network begins
    close to a shallow one.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(config)
        for name, module in model.image_encoder.named_modules():
            _start_layer(name, module, config.blocks)
        for part in (model.prompt_encoder, model.mask_decoder):
            for module in part.modules():
                if isinstance(module, nn.Embedding):
                    nn.init.trunc_normal_(module.weight, std=0.02 * math.sqrt(50))
    return model


def _start_layer(name: str, module: nn.Module, depth: int) -> None:
    with torch.no_grad():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if name.endswith("D_fc2"):
                nn.init.zeros_(module.weight)
            elif re.search(r"blocks\.\d+\.(attn\.proj|mlp\.(lin|fc)2)$", name):
                module.weight.div_(math.sqrt(2 * depth))
        elif isinstance(module, nn.LayerNorm | LayerNorm2d):
            module.weight.fill_(1.0)
            module.bias.fill_(0.0)
        elif isinstance(module, MbConv):
            module.conv3.bn.weight.fill_(0.0)


def start(
    recipe: Recipe,
    init: Sequence[Path] = (),
    config: Mapping[str, Any] | None = None,
    *,
    usual: Mapping[str, Any] | None = None,
    seed: int = 0,
    says: Mapping[str, Any] | None = None,
) -> Start:
    """The model that a recipe begins with.

    Args:
        recipe: decides the family, unless the config's "family" does.
        init: official checkpoints, as for `open_checkpoint`: of the family itself, or SAM's (for
            SAMUS, SAMed, Medical SAM Adapter and MedSAM), or SAMUS's (for AutoSAMUS).
        config: fields of the family's config; without `init` all sizes, otherwise those that a new
            part has (ranks, classes, adapters, input size).
        usual: fields for new parts that `config` does not say, such as the data's classes.
        seed: of fresh weights.
        says: further arguments for `open_checkpoint`.

    Raises:
        TrainingError: nothing to begin with, or a family that the recipe does not train.
        CheckpointError, ModelError: the files or sizes do not fit.
    """
    fields_said = dict(config or {})
    family = str(fields_said.pop("family", recipe.families[0]))
    if family not in recipe.families or family not in CONFIGS:
        raise TrainingError(
            f"the recipe '{recipe.name}' trains {', '.join(recipe.families)}, not '{family}'"
        )
    if not init:
        return _from_scratch(recipe, family, fields_said, seed)
    usually: dict[str, Any] = {"family": "medsam"} if family == "medsam" else {}
    opened = open_checkpoint(init[0], *init[1:], **{**usually, **(says or {})})
    sources = tuple((file.name, file.sha256) for file in opened.files)
    kinds = (opened.kind, opened.family.name)
    if family in (*kinds, *(kind.split("_")[0] for kind in kinds)):
        if fields_said:
            raise TrainingError(
                f"{init[0].name} is a whole {opened.family.title}, whose sizes are given; leave "
                f"the config out (it says {', '.join(fields_said)})"
            )
        model = opened.build()
        assert isinstance(model, PromptableModel)
        return Start(model, opened.notes, sources)
    made, notes = _adapted(opened, family, {**(usual or {}), **fields_said}, seed)
    return Start(made, (*opened.notes, *notes), sources)


def _from_scratch(recipe: Recipe, family: str, said: Mapping[str, Any], seed: int) -> Start:
    if recipe.name != "full":
        raise TrainingError(
            f"the recipe '{recipe.name}' leaves most of the network as it is, so it needs a "
            "checkpoint to begin with (--init); to train a whole network from scratch use the "
            "recipe 'full'"
        )
    if not said:
        raise TrainingError(
            "nothing to begin with: give a checkpoint (--init), or the sizes of a new network "
            "(--config)"
        )
    model = fresh_model(make_config(family, said), seed)
    return Start(model, (f"a new {model.family.title}, seed {seed}",))


def _adapted(
    opened: Checkpoint, family: str, said: Mapping[str, Any], seed: int
) -> tuple[PromptableModel, list[str]]:
    """Another family's network around what the checkpoint brings."""
    if family == "autosamus" and opened.kind == "samus":
        sizes = {**opened.variant.config, **_tuples(said)}
        model = fresh_parts(AutosamusConfig(**sizes), seed)
        return _filled(model, opened.tensors, "SAMUS")
    if opened.kind != "sam" or family not in _FROM_SAM:
        others = ", or SAM's" if family in _FROM_SAM else ""
        raise TrainingError(
            f"{opened.files[0].name} is {opened.family.title}, from which no {family} can start; "
            f"give a checkpoint of the family itself{others}"
        )
    config = _around(opened, family, said)
    model = fresh_parts(config, seed)
    if isinstance(model, Samus):
        tensors, notes = pour_sam_into_samus(model.state_dict(), opened.tensors, vars(config))
        return load_strictly(model, tensors), notes
    grid = config.grid if family == "samed" else config.pos_grid
    tensors, notes = resize_position_tables(opened.tensors, config.global_blocks, grid)
    if family == "msa":
        tensors = _msa_names(opened.tensors, config)
        notes = []
    model, more = _filled(model, tensors, "SAM")
    return model, [*notes, *more]


def fresh_parts(config: ModelConfig, seed: int) -> PromptableModel:
    """A model whose new parts start as the original projects start them: torch's defaults."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(config)


def _around(opened: Checkpoint, family: str, said: Mapping[str, Any]) -> SamConfig:
    """The config of a family around a SAM of known sizes."""
    base: dict[str, Any] = {k: v for k, v in opened.variant.config.items() if k in _OF_SAM}
    for name in ("img_size", "rel_pos_grid", "num_mask_tokens"):
        base.pop(name, None)  # the family's own
    if family != "samed":
        base["num_mask_tokens"] = opened.variant.config.get("num_mask_tokens", 4)
    config = make_config(family, {**base, **said})
    assert isinstance(config, SamConfig)
    if family == "msa" and "stored_grid" not in said:
        assert isinstance(config, MsaConfig)
        table = opened.tensors["image_encoder.pos_embed"]
        config = replace(config, stored_grid=table.shape[1])
    return config


def _msa_names(sam: Mapping[str, Tensor], config: SamConfig) -> dict[str, Tensor]:
    """SAM's tensors under Medical SAM Adapter's names; tables of global blocks resized.

    The original leaves out what has another name there, so that its tables start at zero.
    """
    stored = sam["image_encoder.pos_embed"]
    resized, _ = resize_position_tables(sam, config.global_blocks, config.grid)
    resized["image_encoder.pos_embed"] = stored  # its own way to resize it, at run time
    renamed = (
        (r"\.rel_pos_([hw])$", r".rel_\1"),
        (r"(layers\.\d+\.mlp)\.lin1\.", r"\1.layers.0.0."),
    )
    out = {}
    for name, tensor in resized.items():
        for pattern, new in (*renamed, (r"^(mask_decoder.*\.mlp)\.lin2\.", r"\1.fc.")):
            name = re.sub(pattern, new, name)
        out[name] = tensor
    return out


def _filled(
    model: PromptableModel, tensors: Mapping[str, Tensor], what: str
) -> tuple[PromptableModel, list[str]]:
    """A model with all tensors that fit it in name and shape, and what did not."""
    own = model.state_dict()
    named = {base_name(name, own): tensor for name, tensor in tensors.items()}
    fitting = {k: v for k, v in named.items() if k in own and own[k].shape == v.shape}
    odd = [k for k in named if k not in fitting]
    new = [k for k in own if k not in fitting]
    notes = [f"{len(fitting)} of {len(tensors)} {what} tensors taken, {len(new)} start anew"]
    if odd:
        notes.append(f"left out, as they do not fit: {', '.join(odd[:4])}, {len(odd)} in all")
    return load_strictly(model, {**own, **fitting}), notes


def _tuples(said: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
