"""UltraSam's file: mmdetection's names, a residual that is added twice, and what its users do."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import samedge
from samedge import models, open_checkpoint
from samedge.checkpoint import Checkpoint
from samedge.cli import run
from samedge.errors import CheckpointError, NotSupportedError
from samedge.families import SAM
from samedge.models.sam import PromptableModel
from tests.checkpoint.tiny_files import Refused, StateDict, samed_file, whole
from tests.checkpoint.ultrasam import (
    CORNER_A,
    CORNER_B,
    NEGATIVE,
    NOT_A_POINT,
    POSITIVE,
    UltraSam,
)
from tests.packaging.tree import ROOT

Save = Callable[..., Path]
TABLE = "prompt_encoder.label_encoder.label_embedding.weight"


@pytest.fixture(scope="module")
def theirs() -> UltraSam:
    return UltraSam()


@pytest.fixture(scope="module")
def tensors(theirs: UltraSam) -> StateDict:
    return dict(theirs.state_dict())


@pytest.fixture(scope="module")
def opened(tensors: StateDict, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = tmp_path_factory.mktemp("ultrasam") / "UltraSam.pth"
    torch.save({"state_dict": tensors, "meta": {}}, path)
    return open_checkpoint(path)


def test_what_it_is(opened: Checkpoint) -> None:
    assert (opened.kind, opened.family.name) == ("sam", "sam")
    assert opened.family.prompts == ("point", "box", "mask")
    text = opened.describe()
    assert text.startswith("UltraSam, ")
    assert "names of UltraSam (mmdetection)" in text
    for difference in ("antialiasing", "asks twice", "before they are enlarged"):
        assert difference in text
    assert not opened.questions  # nothing is open: it is not MedSAM


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize(
    ("points", "labels", "box"),
    [
        ([[60.0, 80.5]], [1], None),
        ([[60.0, 80.5], [20.0, 100.0]], [1, 0], None),
        (None, None, [20.0, 30.0, 90.0, 99.0]),
    ],
)
def test_it_computes_what_their_code_computes(
    points: Any, labels: Any, box: Any, mask: bool, opened: Checkpoint, theirs: UltraSam
) -> None:
    ours = opened.build()
    assert isinstance(ours, PromptableModel)
    image = torch.randn(1, 3, 128, 128)
    given: dict[str, Tensor] = {"masks": torch.randn(1, 1, 32, 32)} if mask else {}
    if box is None:
        xy = torch.tensor([*points, [0.0, 0.0]])
        kinds = [(NEGATIVE, POSITIVE)[label] for label in labels] + [NOT_A_POINT]
        asked = (torch.tensor([points]), torch.tensor([labels]))
    else:
        xy, kinds, asked = torch.tensor(box).reshape(2, 2), [CORNER_A, CORNER_B], ()
        given["boxes"] = torch.tensor([box])
    with torch.no_grad():
        logits, scores = theirs(image, xy, kinds, given.get("masks"))
        embedding = ours.encode(image)
        assert torch.allclose(embedding, theirs.backbone(image), atol=1e-5)
        for several, part in ((False, slice(0, 1)), (True, slice(1, 4))):
            found, rated = ours.decode(embedding, *asked, **given, multimask=several)
            assert torch.allclose(found, logits[:, part], rtol=1e-5, atol=1e-5)
            assert torch.allclose(rated, scores[:, part], rtol=1e-5, atol=1e-5)
    assert float(logits.std()) > 0.05


def test_renamed_without_the_factors_it_would_compute_something_else(
    opened: Checkpoint, theirs: UltraSam, tensors: StateDict
) -> None:
    """What a mere renaming does: the oracle sees the second residual."""
    ours: Any = opened.build()
    for index in range(2):
        own = f"decoder.layers.{index}."
        block = ours.mask_decoder.transformer.layers[index]
        assert torch.equal(block.norm2.weight, 2 * tensors[own + "norm2.weight"])
        assert torch.equal(block.mlp.lin1.weight, tensors[own + "mlp.layers.0.0.weight"] / 2)
        block.norm2.load_state_dict({k: v / 2 for k, v in block.norm2.state_dict().items()})
        block.mlp.lin1.weight.data.mul_(2)
    image, box = torch.randn(1, 3, 128, 128), torch.tensor([[20.0, 30.0, 90.0, 99.0]])
    with torch.no_grad():
        logits, _ = theirs(image, box.reshape(2, 2), [CORNER_A, CORNER_B])
        found, _ = ours.decode(ours.encode(image), boxes=box)
    assert float((found - logits[:, :1]).abs().max()) > 0.01


def least() -> None:
    """Stands for a method of mmengine's."""


least.__qualname__, least.__module__ = "HistoryBuffer.min", "mmengine.logging.history_buffer"


def test_what_mmengine_saves_beside_it(
    tensors: StateDict, saved: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs of the training are objects, with arrays and methods; none of them is ever made."""
    package = least.__module__
    module: Any = ModuleType(package)
    module.HistoryBuffer = type("HistoryBuffer", (), {"__module__": package, "min": least})
    log = module.HistoryBuffer()
    log.statistics_methods, log._log_history = {"min": module.HistoryBuffer.min}, np.arange(3.0)
    with monkeypatch.context() as patched:
        for name in ("mmengine", "mmengine.logging", package):
            patched.setitem(sys.modules, name, module)
        path = saved(
            {
                "meta": {"epoch": 1, "cfg": "model = dict()", "seed": np.int64(3)},
                "state_dict": tensors,
                "message_hub": {"log_scalars": {"train/loss": log}, "runtime_info": {}},
                "optimizer": {"state": {}, "param_groups": []},
            }
        )
    assert open_checkpoint(path).describe().startswith("UltraSam")


def test_said_families(tensors: StateDict, saved: Save, refused: Refused) -> None:
    path = saved(tensors)
    for family in ("sam", "ultrasam", "medsam"):
        found = open_checkpoint(path, family=family)
        assert found.describe().startswith("MedSAM" if family == "medsam" else "UltraSam")
    refused(
        whole(models.tiny(models.SamConfig), 2),
        family="ultrasam",
        says=("is Segment Anything, by its names", "UltraSam is known by", "family='sam'"),
    )


def test_it_is_a_base_like_sam(tensors: StateDict, saved: Save) -> None:
    config = models.tiny(models.SamedConfig, depth=2, global_blocks=(1,))
    made = open_checkpoint(saved(tensors, "u.pth"), saved(samed_file(config), "lora.pth"))
    assert made.family.name == "samed"
    with pytest.raises(CheckpointError, match=r"do not combine: .*UltraSam"):
        open_checkpoint(saved(tensors, "u.pth"), saved(tensors, "v.pth"))


def test_what_is_not_whole(tensors: StateDict, refused: Refused) -> None:
    encoder = {k: v for k, v in tensors.items() if k.startswith("backbone.")}
    refused(
        encoder,
        error=NotSupportedError,
        says=("SAM of OpenMMLab", "encoder alone", "UltraSam's own file"),
    )
    unrefined = {k: v for k, v in tensors.items() if "mask_downscaling" not in k}
    refused(unrefined, says=(r"^a\.pth: .*UltraSam", "without mask refinement", "put SAM's own"))
    refused(
        tensors | {"bbox_head.fc_cls.weight": torch.zeros(2, 2)},
        says=("holds 1 that UltraSam does not have", "fc_cls"),
    )
    refused(
        tensors | {TABLE: torch.zeros(16, 32)},
        says=(r"^a\.pth: tensor '.*label_embedding.weight' has shape \[16, 32\]", "11 rows"),
    )
    biases = "decoder.layers.0.self_attn.attn.in_proj_bias"
    refused(tensors | {biases: torch.zeros(7)}, says=(r"missing: .*q_proj\.bias",))


def test_the_command_line_says_what_differs(
    tensors: StateDict, saved: Save, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tensors, "UltraSam.pth")
    assert run(["inspect", str(path)]) == 0
    assert run(["export", str(path), "-o", str(path.with_name("x")), "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("its weights are run by SAM's conventions") == 2
    assert "warning" not in printed.err


@pytest.mark.slow
def test_the_pages_second_question(
    tensors: StateDict, theirs: UltraSam, saved: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe of docs/families.md gives what their code asks, with their network's numbers."""
    path = saved(tensors, "UltraSam.pth")
    monkeypatch.chdir(path.parent)
    assert run(["export", path.name, "-o", "ultrasam.samedge", "--quiet"]) == 0
    load = samedge.load
    monkeypatch.setattr(samedge, "load", lambda path: load(path, precision="fp32"))
    frame = np.random.default_rng(3).integers(0, 256, (128, 128, 3), np.uint8)
    box = (20, 30, 90, 99)
    page = (ROOT / "docs" / "families.md").read_text()
    (recipe,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"samedge": samedge, "frame": frame, "box": box}
    exec(compile(recipe, "families.md", "exec"), names)
    mean, std = torch.tensor(SAM.mean), torch.tensor(SAM.std)
    image = ((torch.from_numpy(frame).float() - mean) / std).movedim(-1, 0)[None]
    corners = torch.tensor(box).float().reshape(2, 2)
    with torch.no_grad():
        once, _ = theirs(image, corners, [CORNER_A, CORNER_B])
        twice, scores = theirs(image, corners, [CORNER_A, CORNER_B], once[:, :1])
    assert np.allclose(names["first"].low_res_logits, once[0, :1], atol=1e-5)
    assert np.allclose(names["second"].low_res_logits, twice[0, 1:], atol=1e-5)
    best = 1 + int(scores[0, 1:].argmax())
    large = F.interpolate(twice[:, best : best + 1], (128, 128), mode="bilinear")[0, 0]
    assert ((large > 0).numpy() == (names["mask"] > 0)).mean() > 0.999
    names["session"].close()
