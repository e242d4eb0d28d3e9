"""The only composer: config (and tensors) -> model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from samedge.errors import CheckpointError
from samedge.models.autosamus import Autosamus
from samedge.models.config import (
    AutosamusConfig,
    LiteMedsamConfig,
    MedsamConfig,
    MobileSamConfig,
    ModelConfig,
    MsaConfig,
    SamConfig,
    SamedConfig,
    SamusConfig,
)
from samedge.models.msa import Msa
from samedge.models.presets import preset
from samedge.models.sam import PromptableModel, Sam, initialise
from samedge.models.samed import Samed
from samedge.models.samus import Samus
from samedge.models.shapes import differences

_Config = TypeVar("_Config", bound=ModelConfig)
_Model = TypeVar("_Model", bound=PromptableModel)

MODELS: dict[type[ModelConfig], Callable[[Any], PromptableModel]] = {
    SamConfig: Sam,
    MedsamConfig: Sam,
    SamedConfig: Samed,
    MsaConfig: Msa,
    SamusConfig: Samus,
    AutosamusConfig: Autosamus,
    MobileSamConfig: Sam,
    LiteMedsamConfig: Sam,
}


def build_model(
    config: ModelConfig, tensors: Mapping[str, Tensor] | None = None, copy: bool = True
) -> PromptableModel:
    """The model of a config, whatever its family, in eager float32, eval mode.

    Args:
        config: all sizes; its type says which family.
        tensors: official state dict, loaded strictly; None: fresh weights, for training.
        copy: give the model copies; else it shares memory with the tensors.

    Raises:
        CheckpointError: missing, unexpected or misshapen tensors.
    """
    return _build(MODELS[type(config)], config, tensors, copy)


def build_sam(config: SamConfig, tensors: Mapping[str, Tensor] | None = None) -> Sam:
    """SAM in eager float32, eval mode; arguments and errors as `build_model`."""
    return _build(Sam, config, tensors)


def build_samus(config: SamusConfig, tensors: Mapping[str, Tensor] | None = None) -> Samus:
    """SAMUS in eager float32, eval mode; arguments and errors as `build_model`."""
    return _build(Samus, config, tensors)


def _build(
    model_type: Callable[[_Config], _Model],
    config: _Config,
    tensors: Mapping[str, Tensor] | None,
    copy: bool = True,
) -> _Model:
    if tensors is not None:
        return load_strictly(_skeleton(model_type, config), tensors, copy)
    model = model_type(config)
    initialise(model)
    return model.eval()


class _NoRandomNumbers(TorchFunctionMode):
    """On the meta device random numbers mean nothing, but cost seconds of imports inside torch."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return (torch.empty if func is torch.randn else func)(*args, **kwargs)


def _skeleton(model_type: Callable[[_Config], _Model], config: _Config) -> _Model:
    """The model without memory for its tensors."""
    with torch.device("meta"), _NoRandomNumbers():
        return model_type(config)


@dataclass(frozen=True)
class FamilyBuilder(Generic[_Config]):
    """How one family is built from what `samedge.checkpoint` found in a file.

    Attributes:
        config_type: ModelConfig or a subclass.
    """

    config_type: type[_Config]

    @property
    def fields(self) -> frozenset[str]:
        """Names of the config's fields."""
        return frozenset(f.name for f in dataclass_fields(self.config_type))

    def config(self, fields: Mapping[str, Any]) -> _Config:
        """The config with these fields; ModelError if they do not fit each other."""
        return self.config_type(**fields)

    def shapes(self, fields: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all tensors of the model with these config fields."""
        return model_shapes(self.config(fields))

    @property
    def usual_size(self) -> str:
        """Name of the encoder's size that most checkpoints have: "vit_b", "vit_t"."""
        return next(iter(self.config_type.SIZES))

    def preset_shapes(self, vit: str, **changes: Any) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the official checkpoint of size `vit`; `changes` override fields."""
        return model_shapes(preset(self.config_type, vit, **changes))

    def names(self, fields: Mapping[str, Any]) -> list[str]:
        """Tensor names of a model of these sizes; fields that the family lacks are left out."""
        return list(self.shapes({k: v for k, v in fields.items() if k in self.fields}))

    def build(
        self, fields: Mapping[str, Any], tensors: Mapping[str, Tensor], copy: bool = True
    ) -> PromptableModel:
        """The model with these config fields and tensors; arguments, errors as `build_model`."""
        return build_model(self.config(fields), tensors, copy)


def model_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of the model of a config; takes no memory for them."""
    state = _skeleton(MODELS[type(config)], config).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


SAM_BUILDER = FamilyBuilder(SamConfig)
MEDSAM_BUILDER = FamilyBuilder(MedsamConfig)
SAMED_BUILDER = FamilyBuilder(SamedConfig)
MSA_BUILDER = FamilyBuilder(MsaConfig)
SAMUS_BUILDER = FamilyBuilder(SamusConfig)
AUTOSAMUS_BUILDER = FamilyBuilder(AutosamusConfig)
MOBILE_SAM_BUILDER = FamilyBuilder(MobileSamConfig)
LITEMEDSAM_BUILDER = FamilyBuilder(LiteMedsamConfig)


def load_strictly(model: _Model, tensors: Mapping[str, Tensor], copy: bool = True) -> _Model:
    """Put `tensors` (float32) into `model`: every name and shape must fit. Returns it in eval mode.

    The model may live on the meta device. It gets its own copies, so that training it changes
    neither the checkpoint's tensors nor another model built from them; without `copy` it shares
    their memory.

    Raises:
        CheckpointError: names the first missing, unexpected and misshapen tensors.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    problems = differences(expected, found, extra="not part of the model")
    if problems:
        raise CheckpointError(
            f"the tensors do not fit {model.family.title} ({model.config.vit}): {problems}"
        )
    own = {k: v.detach().to(torch.float32, copy=copy) for k, v in tensors.items()}
    model.load_state_dict(own, strict=True, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.eval()
