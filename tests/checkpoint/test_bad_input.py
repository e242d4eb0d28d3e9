"""Files that are no checkpoint, or not the one asked for: a clear error, never a traceback."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from samedge import open_checkpoint
from samedge.checkpoint import checkpoint_from_tensors
from samedge.errors import CheckpointError
from tests.checkpoint.tiny_files import Files

StateDict = dict[str, Tensor]
Save = Callable[..., Path]
POS = "image_encoder.pos_embed"


def refused(path: Path, match: str, **options: Any) -> str:
    with pytest.raises(CheckpointError, match=match) as caught:
        open_checkpoint(path, **options)
    assert caught.value.exit_code == 3
    message = str(caught.value)
    assert str(path.parent) not in message
    return message


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.pth", "nothing.pth: no such file")


def test_folder(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder; expected a .pth")


def test_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.pth"
    path.touch()
    refused(path, "is empty")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(samus_tensors: StateDict, saved: Save) -> None:
    path = saved(samus_tensors)
    path.chmod(0)
    refused(path, "cannot be read")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"just some notes\nabout weights\n", "a text file"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "a PNG image"),
        (b"\x00\x01\x02\x03" * 10, "it begins with the bytes 00 01 02 03"),
    ],
)
def test_other_files(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "samus.pth"
    path.write_bytes(content)
    refused(path, f"is not a checkpoint .*{what}")


def test_other_archives(tmp_path: Path) -> None:
    path = tmp_path / "things.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path, "another zip archive")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("samus.samedge/manifest.json", "{}")
    refused(path, "a samedge bundle")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated(share: float, kind: str, samus_tensors: StateDict, tmp_path: Path) -> None:
    path = tmp_path / "samus.pth"
    if kind == "safetensors":
        save_file(samus_tensors, path)
    else:
        torch.save(samus_tensors, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, "truncated|damaged|not a checkpoint")


class RunsCode:
    """A pickle of this writes a file when it is opened carelessly."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.trace}",))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_bare_pickle_that_wants_to_run_code(protocol: int, tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"a": RunsCode(trace)}, protocol=protocol))
    refused(path, r"wants to run code \('posix.system'\).*it was not run.*state_dict")
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoint_that_wants_to_run_code(
    zipped: bool, samus_tensors: StateDict, saved: Save, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    content = {"state_dict": samus_tensors, "hook": RunsCode(trace)}
    path = saved(content, _use_new_zipfile_serialization=zipped)
    refused(path, "wants to run code .*posix.system")
    assert not trace.exists()


def test_pickled_objects_are_named(samus_tensors: StateDict, saved: Save) -> None:
    path = saved({"model": samus_tensors, "began": datetime.now(timezone.utc)})
    refused(path, r"'datetime.datetime'.*save only the tensors")
    refused(saved(torch.nn.Linear(2, 2)), "torch.nn.modules.linear.Linear")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([1, 2], "holds a list; expected a dictionary"),
        ({}, "holds nothing|it holds: nothing"),
        ({"epoch": 3, "lr": 0.1}, "holds no tensors .* it holds: epoch, lr"),
        (
            {"conv.weight": torch.zeros(2)},
            "none of which samedge knows; it can load: autosamus, samed_s, samed, msa_lora, msa, "
            "litemedsam, mobile_sam, samus, medsam, sam$",
        ),
        (torch.zeros(3), "holds a Tensor"),
    ],
)
def test_no_model_inside(content: Any, match: str, saved: Save) -> None:
    refused(saved(content), match)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_not_finite(value: float, samus_tensors: StateDict, saved: Save) -> None:
    broken = samus_tensors[POS].clone()
    broken[0, 1, 2, 3] = value
    refused(saved({**samus_tensors, POS: broken}), f"tensor '{POS}' has 1 values that are NaN")


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (torch.zeros(4, dtype=torch.int64), "is of type torch.int64"),
        (torch.zeros(4, dtype=torch.bool), "is of type torch.bool"),
        (torch.zeros(4, 4).to_sparse(), "is sparse"),
        (torch.zeros(2, 2, dtype=torch.complex64), "is of type torch.complex64"),
    ],
)
def test_odd_tensors(tensor: Tensor, match: str, samus_tensors: StateDict, saved: Save) -> None:
    refused(saved({**samus_tensors, POS: tensor}), f"tensor '{POS}' {match}")


def test_tensors_of_odd_layout(samus_tensors: StateDict, saved: Save) -> None:
    """Stored in another order, or as a part of something larger: the numbers count."""
    turned = {k: v.mT.contiguous().mT if v.ndim > 1 else v for k, v in samus_tensors.items()}
    parts = {k: torch.cat((v, v))[: len(v)] if v.ndim else v for k, v in samus_tensors.items()}
    for tensors in (turned, parts):
        checkpoint = open_checkpoint(saved(tensors))
        for name, tensor in samus_tensors.items():
            assert checkpoint.tensors[name].is_contiguous()
            assert torch.equal(checkpoint.tensors[name], tensor)


@pytest.mark.parametrize(
    "tensor",
    [torch.tensor(1.0), torch.zeros(0), torch.zeros(0, 8, 8, 32), torch.zeros(1, 0, 0, 0)],
    ids=lambda t: str(list(t.shape)),
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_without_a_size(
    tensor: Tensor, dtype: torch.dtype, samus_tensors: StateDict, saved: Save
) -> None:
    for name in (POS, "mask_decoder.mask_tokens.weight", "mask_decoder.iou_token.weight"):
        refused(saved({**samus_tensors, name: tensor.to(dtype)}), f"looks like SAMUS.*{name}")


def test_a_table_of_a_million_rows_builds_no_million_modules(
    samus_tensors: StateDict, saved: Save
) -> None:
    name = "mask_decoder.mask_tokens.weight"
    refused(saved({**samus_tensors, name: torch.zeros(10**4, 1)}), "has 10000 rows, more than")
    refused(saved({**samus_tensors, name: torch.zeros(10**6, 1)}), "no size can be read")
    huge = torch.zeros(1, 10**6, 1, 1)
    refused(saved({**samus_tensors, POS: huge}), r"\[1, 1000000, 1, 1\], from which no size")


def test_a_dictionary_that_holds_itself(samus_tensors: StateDict, saved: Save) -> None:
    content: dict[str, Any] = {"epoch": 3}
    content["model"] = content
    refused(saved(content), "a container that holds itself")
    inner: dict[str, Any] = {"model": {}, "state_dict": {}}
    inner["state_dict"]["state_dict"] = inner["model"]["model"] = inner
    refused(saved(inner), "a container that holds itself")
    deep = {"model": {"model": {"model": samus_tensors}}}
    assert open_checkpoint(saved(deep)).files[0].wrapper == ("model",) * 3
    refused(saved({"model": deep}), "holds no tensors")


@pytest.mark.parametrize(
    ("recorded", "match"),
    [
        ({"decoder_heads": 0}, "in its own record decoder_heads=0 came; expected a whole number"),
        ({"decoder_heads": "8"}, "decoder_heads='8' came"),
        ({"decoder_heads": True}, "decoder_heads=True came"),
        ({"decoder_heads": [8]}, r"decoder_heads=\[8\] came"),
        ({"decoder_heads": 10**30}, "decoder_heads=1000"),
        ({"decoder_heads": 3}, "decoder_heads must divide"),
        ({"slices": 4}, "its own record has 'slices', which this family lacks"),
        ({"generator_heads": 4}, "has 'generator_heads', which this family lacks"),
        ({"classes": ["a", "b"]}, "has 'classes', which this family lacks"),
    ],
)
def test_nonsense_in_the_record_of_itself(
    recorded: dict[str, Any], match: str, samus_tensors: StateDict, saved: Save
) -> None:
    content = {"state_dict": samus_tensors, "samedge_config": recorded}
    refused(saved(content), f"^weights.pth: looks like SAMUS, but .*{match}")


@pytest.mark.parametrize("classes", ["ab", 2, [1, 2], ["a", "a"], {"a": 1}, None, [["a"], ["b"]]])
def test_classes_that_are_recorded_wrongly(classes: Any, files: Files, saved: Save) -> None:
    tensors = torch.load(files["msa"], weights_only=True)
    content = {"state_dict": tensors, "samedge_config": {"classes": classes}}
    refused(saved(content), "in its own record classes=.* came; expected different printable names")


def test_what_is_recorded_rightly(files: Files, saved: Save) -> None:
    tensors = torch.load(files["msa"], weights_only=True)
    recorded = {"classes": ["disc", "cup"], "slices": 6, "chunk": 3, "embed_dim": "read off"}
    checkpoint = open_checkpoint(saved({"model": tensors, "samedge_config": recorded}))
    config = checkpoint.build().config
    assert (config.classes, config.slices, config.chunk) == (("disc", "cup"), 6, 3)
    empty = saved({"model": tensors, "samedge_config": {"classes": []}})
    assert open_checkpoint(empty).family.classes == ()


def test_tensor_that_claims_more_than_it_stores(samus_tensors: StateDict, saved: Save) -> None:
    huge = torch.zeros(1).expand(10**7, 10**7)
    refused(saved({**samus_tensors, POS: huge}), "stores fewer")


def test_missing_and_extra(samus_tensors: StateDict, saved: Save) -> None:
    tensors = dict(samus_tensors)
    del tensors["mask_decoder.iou_token.weight"]
    tensors["mask_decoder.surprise"] = torch.zeros(1)
    message = refused(saved(tensors), r"looks like SAMUS .*250 of its 251")
    assert "missing: mask_decoder.iou_token.weight" in message
    assert "extra: mask_decoder.surprise" in message


def test_misshapen(samus_tensors: StateDict, saved: Save) -> None:
    name = "mask_decoder.iou_token.weight"
    refused(saved({**samus_tensors, name: torch.zeros(2, 32)}), rf"{name} \[2, 32\] instead of")


def test_sizes_that_do_not_fit_each_other(samus_tensors: StateDict, saved: Save) -> None:
    name = "image_encoder.blocks.0.attn.rel_pos_h"
    refused(saved({**samus_tensors, name: torch.zeros(9, 7)}), "of another shape: .*blocks")
    refused(saved({**samus_tensors, name: torch.zeros(9, 5)}), "num_heads must divide embed_dim")
    refused(saved({**samus_tensors, name: torch.zeros(0, 0)}), "no size can be read")
    refused(saved({**samus_tensors, POS: torch.zeros(3)}), "looks like SAMUS, but")


def test_half_a_checkpoint(samus_tensors: StateDict, saved: Save) -> None:
    half = {k: v for k, v in samus_tensors.items() if k.startswith("image_encoder.")}
    refused(saved(half), "tensor .* is missing, which shows a size")


def test_sam_passed_as_samus(sam_tensors: StateDict, saved: Save) -> None:
    message = refused(saved(sam_tensors), "is Segment Anything .*, not SAMUS", family="samus")
    assert "missing: image_encoder.input_Adapter.D_fc1.weight" in message
    assert "open_checkpoint(samus_file, sam_file)" in message


def test_samus_passed_as_sam(samus_tensors: StateDict, saved: Save) -> None:
    message = refused(saved(samus_tensors), "is SAMUS .*, not Segment Anything", family="sam")
    assert "extra: image_encoder.input_Adapter" in message
    assert "family='samus'" in message


def test_nearest_family_is_named(samus_tensors: StateDict, saved: Save) -> None:
    part = {k: v for k, v in samus_tensors.items() if k.startswith("prompt_encoder.")}
    refused(saved(part), "The nearest is Segment Anything, with 17 of 314 names in common")


def test_names_with_and_without_prefix(samus_tensors: StateDict, saved: Save) -> None:
    tensors = {**samus_tensors, f"module.{POS}": samus_tensors[POS]}
    refused(saved(tensors), "both with and without 'module.'")


def test_live_tensors_are_checked(samus_tensors: StateDict) -> None:
    with pytest.raises(CheckpointError, match="NaN"):
        checkpoint_from_tensors({**samus_tensors, POS: samus_tensors[POS] * float("nan")})
