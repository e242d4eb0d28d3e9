"""Live models of other libraries are folded by their state dict."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import samedge
from samedge.bench.peers.predictor import official_sam
from samedge.errors import CheckpointError, ModelError, NotSupportedError
from samedge.models import MedsamConfig, SamConfig, build_model, tiny, tiny_sam_config
from samedge.tolerances import LIMITS
from tests.fold.oracle import random_model

# What shapes cannot show is as in every published checkpoint: 8 heads in the decoder.
CONFIG = tiny_sam_config()


class Foreign(nn.Module):
    """The state dict of `segment_anything.Sam`, constants included, and nothing else."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for key, tensor in tensors.items():
            *path, name = key.split(".")
            owner: nn.Module = self
            for part in path:
                if part not in owner._modules:
                    owner.add_module(part, nn.Module())
                owner = owner._modules[part]
            owner.register_parameter(name, nn.Parameter(tensor.clone()))
        self.register_buffer("pixel_mean", torch.tensor([123.675, 116.28, 103.53]))
        self.register_buffer("pixel_std", torch.tensor([58.395, 57.12, 57.375]))


def test_a_foreign_module_with_sams_state_dict() -> None:
    model = random_model(CONFIG)
    expected = samedge.fold(model)
    folded = samedge.fold(Foreign(model.state_dict()))
    assert folded.family == expected.family
    assert folded.source["sha256"] == []
    for key, value in folded.state_dict().items():
        assert torch.equal(value, expected.state_dict()[key]), key


def test_a_foreign_module_may_be_called_medsam() -> None:
    """MedSAM has SAM's tensors: nothing but its name tells them apart."""
    model = random_model(CONFIG)
    folded = samedge.fold(Foreign(model.state_dict()), family="medsam")
    assert folded.family == tiny(MedsamConfig).family
    expected = samedge.fold(build_model(tiny(MedsamConfig), model.state_dict()))
    for key, value in folded.state_dict().items():
        assert torch.equal(value, expected.state_dict()[key]), key
    assert {test.name for test in folded.selftests} == {"square-box", "colour-two-boxes"}


@pytest.mark.parametrize(
    ("family", "error", "words"),
    [
        ("samus", CheckpointError, "SAMUS"),
        ("sam2", NotSupportedError, "cannot load SAM 2"),
        ("sammy", CheckpointError, "unknown family 'sammy'; known: .*medsam"),
    ],
)
def test_a_foreign_module_that_is_not_what_was_said(
    family: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        samedge.fold(Foreign(random_model(CONFIG).state_dict()), family=family)


@pytest.mark.parametrize("name", ["sam", "medsam"])
def test_a_native_model_says_itself_what_it_is(name: str) -> None:
    """MedSAM opened as SAM would be folded with SAM's normalisation: no silent change of mind."""
    kinds = {"sam": SamConfig, "medsam": MedsamConfig}
    model = random_model(tiny(kinds[name]))
    assert samedge.fold(model, family=name).family == model.family
    other = next(k for k in kinds if k != name)
    with pytest.raises(ModelError, match=rf"not '{other}'; leave family out, or open.*'{other}'"):
        samedge.fold(model, family=other)


def test_a_foreign_module_in_half_precision() -> None:
    model = random_model(CONFIG)
    folded = samedge.fold(Foreign(model.half().state_dict()))
    assert folded.report.embedding_error <= LIMITS["fp32"].embedding


def test_a_foreign_module_that_lacks_a_tensor() -> None:
    tensors = random_model(CONFIG).state_dict()
    del tensors["mask_decoder.iou_token.weight"]
    with pytest.raises(CheckpointError, match=r"mask_decoder\.iou_token\.weight"):
        samedge.fold(Foreign(tensors))


def test_heads_that_shapes_do_not_show_are_compared() -> None:
    foreign = Foreign(random_model(CONFIG).state_dict())
    attention = foreign.get_submodule("mask_decoder.transformer.final_attn_token_to_image")
    attention.num_heads = 4  # type: ignore[assignment]
    with pytest.raises(ModelError, match=r"has 4 attention heads.*has 8 there"):
        samedge.fold(foreign)


@pytest.fixture
def segment_anything(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The original package. It imports torchvision for functions that are not called here."""
    wanted = {
        "torchvision": (),
        "torchvision.ops": (),
        "torchvision.ops.boxes": ("batched_nms", "box_area"),
        "torchvision.transforms": (),
        "torchvision.transforms.functional": ("resize", "to_pil_image"),
    }
    # MONAI tries to import it, too; without torchvision that leaves half of its modules behind.
    for name in [name for name in sys.modules if name.split(".")[0] == "segment_anything"]:
        monkeypatch.delitem(sys.modules, name)
    before = set(sys.modules)
    if "torchvision" not in sys.modules:
        for module_name, functions in wanted.items():
            stub = ModuleType(module_name)
            for function in functions:
                setattr(stub, function, None)
            monkeypatch.setitem(sys.modules, module_name, stub)
    yield pytest.importorskip("segment_anything")
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "segment_anything":
            del sys.modules[name]


def test_a_live_segment_anything_model(segment_anything: Any) -> None:
    """Not only its weights: the original's own results, computed by its own code."""
    original = official_sam(segment_anything, CONFIG)
    original.load_state_dict(random_model(CONFIG).state_dict(), strict=False)
    folded = samedge.fold(original)
    limit = LIMITS["fp32"]
    side = CONFIG.img_size
    levels = torch.randint(0, 256, (1, 3, side, side)).float()
    points = torch.tensor([[[20.0, 50.0], [99.0, 31.0]], [[64.5, 3.0], [7.0, 120.0]]])
    labels = torch.tensor([[1, 0], [1, 1]])
    with torch.no_grad():
        expected = original.image_encoder(original.preprocess(levels[0])[None])
        sparse, dense = original.prompt_encoder((points, labels), None, None)
        code = original.prompt_encoder.get_dense_pe()
        logits, scores = original.mask_decoder(expected, code, sparse, dense, True)
        padding = torch.zeros(2, 1, 2), torch.full((2, 1), -1)
        embedding = folded.encode(levels - original.pixel_mean)
        prompt = [torch.cat(pair, 1) for pair in ((points, padding[0]), (labels, padding[1]))]
        got, got_scores = folded.decode(embedding, *prompt)
    error = float((embedding - folded.no_mask.reshape(1, -1, 1, 1) - expected).abs().max())
    assert error <= limit.embedding, error
    for ours, theirs in ((got, logits), (got_scores, scores)):
        error = float((ours[:, 1:] - theirs).abs().max())
        assert error <= limit.logits, error


def test_a_live_segment_anything_model_as_medsam(segment_anything: Any) -> None:
    """Boxes, and pixels of 0 to 1 without mean or standard deviation: MedSAM's own script."""
    original = official_sam(segment_anything, CONFIG)
    original.load_state_dict(random_model(CONFIG).state_dict(), strict=False)
    folded = samedge.fold(original, family="medsam")
    pixels = torch.rand(1, 3, CONFIG.img_size, CONFIG.img_size)
    boxes = torch.tensor([[20.0, 30.0, 90.0, 80.0], [5.0, 6.0, 70.0, 60.0]])
    with torch.no_grad():
        embedding = original.image_encoder(pixels)
        sparse, dense = original.prompt_encoder(points=None, boxes=boxes, masks=None)
        code = original.prompt_encoder.get_dense_pe()
        expected, scores = original.mask_decoder(embedding, code, sparse, dense, False)
        corners, labels = boxes.reshape(2, 2, 2), torch.tensor([[2, 3]] * 2)
        got, got_scores = folded.decode(folded.encode(pixels), corners, labels)
    for ours, theirs in ((got, expected), (got_scores, scores)):
        assert ours.shape == theirs.shape
        error = float((ours - theirs).abs().max())
        assert error <= LIMITS["fp32"].logits, error
