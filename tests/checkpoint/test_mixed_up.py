"""Good files, wrongly put together: every error names files, what differs and what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samedge import models, open_checkpoint
from samedge.checkpoint import Checkpoint, checkpoint_from_tensors, opening
from samedge.checkpoint.options import CheckpointOptions
from samedge.checkpoint.reader import source_from_tensors
from samedge.checkpoint.records import RECORDS
from samedge.errors import CheckpointError, NotSupportedError, SamEdgeError
from samedge.families import FAMILIES
from tests.checkpoint.tiny_files import (
    LOADABLE,
    Files,
    Refused,
    StateDict,
    every_family,
    samed_file,
    whole,
)


def _open(*contents: StateDict, input_size: int = 128) -> Checkpoint:
    """What `open_checkpoint` makes of files a.pth, b.pth, without writing them."""
    parts = [
        opening._recognised_file(source_from_tensors(content, f"{name}.pth"))
        for name, content in zip("abc", contents, strict=False)
    ]
    return opening._combine(parts, CheckpointOptions(input_size=input_size))


# --- SAMed's two files ----------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "title"), [("samed", "SAMed"), ("samed_s", "SAMed_s")])
def test_a_lora_file_alone(kind: str, title: str, files: Files, refused: Refused) -> None:
    for family in (None, "samed", "sam"):
        refused(
            files[kind],
            family=family,
            says=(
                rf"^{kind}\.pth: is {title}'s LoRA file, .*w_a_000, w_b_000",
                r"Missing for a whole network: image_encoder\.pos_embed",
                "Give the SAM checkpoint with an encoder of 4 blocks of width 32",
                rf"open_checkpoint\('SAM_CHECKPOINT\.pth', '{kind}\.pth'\)",
                rf"samedge export SAM_CHECKPOINT\.pth {kind}\.pth -o {kind}\.samedge",
            ),
        )


@pytest.mark.parametrize(("kind", "title"), [("samed", "SAMed"), ("samed_s", "SAMed_s")])
def test_base_and_lora_swapped(kind: str, title: str, files: Files, refused: Refused) -> None:
    refused(
        files[kind],
        files["sam"],
        says=(
            rf"^{kind}\.pth came first, and is {title}'s LoRA file \(w_a_000",
            r"sam\.pth is that base",
            rf"open_checkpoint\('sam\.pth', '{kind}\.pth'\)",
        ),
    )


def test_a_name_with_quotes_is_quoted(files: Files, refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "it's mine.pth"
    path.write_bytes(files["samed"].read_bytes())
    refused(path, says=(r'"it\'s mine\.pth"\)', r"pth 'it'\"'\"'s mine\.pth' -o"))


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"embed_dim": 48}, "4 blocks of width 48"),
        ({"depth": 6, "global_blocks": (1, 5)}, "6 blocks of width 32"),
        ({"depth": 2, "global_blocks": (1,)}, "2 blocks of width 32"),
        ({"embed_dim": 16, "depth": 2, "global_blocks": (1,)}, "2 blocks of width 16"),
    ],
)
def test_a_base_of_another_size(
    changes: dict[str, Any], size: str, files: Files, refused: Refused
) -> None:
    message = refused(
        whole(models.tiny_sam_config(**changes), 2),
        files["samed"],
        input_size=128,
        says=(
            r"^samed\.pth: looks like SAMed's LoRA file, trained on an encoder of 4 blocks of "
            r"width 32, but does not fit the base a\.pth, which is Segment Anything",
            f"with an encoder of {size}",
            r"Give the SAM checkpoint with an encoder of 4 blocks of width 32 .*'samed\.pth'\)",
        ),
    )
    if "embed_dim" in changes:
        wide = changes["embed_dim"]
        assert f"w_a_000 [3, 32] instead of [3, {wide}]" in message
    elif changes["depth"] == 6:
        assert "missing: w_a_008, w_b_008, w_a_009, w_b_009 and 4 more" in message
    else:
        assert "extra: w_a_004, w_b_004, w_a_005, w_b_005 and 4 more" in message


def test_vit_l_base_for_a_vit_b_lora() -> None:
    """With the real numbers of blocks and widths; nothing else of the networks matters here."""
    small = {"prompt_dim": 32, "decoder_mlp_dim": 8, "iou_hidden_dim": 8, "mlp_ratio": 0.01}
    lora = samed_file(models.preset(models.SamedConfig, "vit_b", img_size=32, **small))
    sam = whole(models.sam_config("vit_l", img_size=32, patch_size=16, **small))
    with pytest.raises(CheckpointError) as caught:
        _open(sam, lora, input_size=32)
    message = str(caught.value)
    assert message.startswith("b.pth: looks like SAMed's LoRA file, trained on ViT-B (12 blocks of")
    assert "fit the base a.pth, which is Segment Anything with ViT-L (24 blocks of width 1024)" in (
        message
    )
    assert "w_a_000 [4, 768] instead of [4, 1024]" in message
    assert message.endswith("open_checkpoint('sam_vit_b_01ec64.pth', 'b.pth')")


@pytest.mark.parametrize("kind", ["samed", "samed_s"])
def test_another_rank_than_said(kind: str, files: Files, refused: Refused) -> None:
    pair = files["sam"], files[kind]
    says = (rf"^{kind}\.pth: .*have rank 3 \(w_a_000 is \[3, 32\]\), not rank=4; leave it out",)
    refused(*pair, rank=4, input_size=128, says=says)
    assert open_checkpoint(*pair, rank=3, input_size=128).variant.ranks["encoder"] == 3


@pytest.mark.parametrize("said", [8, 2, 4, "synapse", ["a", "b"], ["a", "b", "c", "d"]])
def test_other_classes_than_said(said: Any, files: Files, refused: Refused) -> None:
    number = 8 if said == "synapse" else said if isinstance(said, int) else len(said)
    refused(
        files["sam"],
        files["samed"],
        classes=said,
        input_size=128,
        says=(
            r"^samed\.pth: .*trained for 3 classes besides the background",
            rf"mask_tokens\.weight has 4 rows\), not for {number}; say classes=3",
        ),
    )


def lora(**changes: Any) -> StateDict:
    return samed_file(models.tiny(models.SamedConfig, **changes))


@given(st.lists(st.integers(1, 15), min_size=1, unique=True))
def test_missing_branches_are_named(gone: list[int]) -> None:
    """Any factors may be missing, but for the first one, which shows what the file is."""
    tensors = lora()
    factors = [f"w_{half}_{i:03d}" for i in range(8) for half in "ab"]
    names = [factors[i] for i in gone]
    for name in names:
        del tensors[name]
    left = [f for f in factors if f in tensors]
    with pytest.raises(CheckpointError, match=r"^b\.pth: looks like SAMed's LoRA file") as caught:
        _open(whole(models.tiny_sam_config(), 2), tensors)
    message = str(caught.value)
    if len(left) % 4 == 0 and left == factors[: len(left)]:  # as if from a smaller encoder
        assert "does not fit the base a.pth" in message
    else:
        assert "come in pairs" in message
        assert any(name in message for name in names)


def test_an_odd_number_of_branches(files: Files, refused: Refused) -> None:
    tensors = lora()
    del tensors["w_a_007"], tensors["w_b_007"]
    refused(files["sam"], tensors, says=(r"^b\.pth: ", "missing: w_a_007, w_b_007. Take the whole"))
    tensors["w_a_0"] = torch.zeros(3, 32)  # a stray name
    refused(files["sam"], tensors, says=(r"^b\.pth: ", "w_a_007, w_b_007"))


def test_the_first_branch_shows_the_size(files: Files, refused: Refused) -> None:
    tensors = lora()
    del tensors["w_a_000"]
    refused(files["sam"], tensors, says=(r"^b\.pth: looks like SAMed", "'w_a_000' is missing"))
    for value in (torch.tensor(1.0), torch.zeros(0, 32), torch.zeros(3)):
        tensors["w_a_000"] = value
        refused(files["sam"], tensors, says=(r"^b\.pth: ", "'w_a_000' has shape", "no size"))


@pytest.mark.parametrize(
    ("first", "name", "shape"),
    [
        ("w_a_000", "w_a_005", (5, 32)),
        ("w_a_000", "w_b_005", (32, 5)),
        ("sa_a_000", "cti_a_001", (5, 32)),
        ("sa_a_000", "cit_b_003", (16, 5)),
        ("sa_a_000", "fati_qa", (5, 32)),
        ("sa_a_000", "fati_vb", (16, 1)),
    ],
)
def test_ranks_mixed_inside_a_file(
    first: str, name: str, shape: tuple[int, ...], files: Files, refused: Refused
) -> None:
    tensors = lora(decoder_rank=2)
    assert name in tensors
    assert tensors[name].shape != shape
    tensors[name] = torch.zeros(shape)
    message = refused(files["sam"], tensors, says=(r"^b\.pth: ", "have different ranks"))
    assert f"{name} {list(shape)}" in message
    assert f"{first} " in message
    assert "expected one rank for all" in message


def test_parts_of_the_decoder_missing(files: Files, refused: Refused) -> None:
    for kind, name in (
        (lora(), "mask_decoder.iou_token.weight"),
        (lora(), "prompt_encoder.no_mask_embed.weight"),
        (lora(decoder_rank=2), "cit_b_001"),
        (lora(decoder_rank=2), "fati_vb"),
    ):
        tensors = dict(kind)
        del tensors[name]
        refused(
            files["sam"], tensors, input_size=128,
            says=("^b.pth: ", "does not fit the base sam.pth", f"missing: {name}. Take the whole"),
        )  # fmt: skip


def test_an_incomplete_base(files: Files, refused: Refused) -> None:
    sam = whole(models.tiny_sam_config(), 2)
    del sam["image_encoder.neck.2.weight"]
    refused(sam, files["samed"], says=(r"^a\.pth: looks like Segment Anything", "neck.2.weight"))


# --- one file, another family ---------------------------------------------------------------------

WRONG = [
    # file, family said, missing, extra, advice
    ("msa", "sam", "blocks.0.attn.rel_pos_h", "blocks.0.attn.rel_h", "family='msa'"),
    ("msa", "medsam", "blocks.0.attn.rel_pos_h", "blocks.0.attn.rel_h", "family='msa'"),
    ("sam", "msa", "blocks.0.attn.rel_h", "blocks.0.attn.rel_pos_h", "family='sam'"),
    ("sam", "msa_3d", "blocks.0.attn.rel_h", "blocks.0.attn.rel_pos_h", "family='sam'"),
    ("sam", "samus", "input_Adapter.D_fc1.weight", "", "(samus_file, sam_file)"),
    ("sam", "autosamus", "input_Adapter.D_fc1.weight", "", "family='sam'"),
    ("sam", "samed", "attn.qkv.linear_a_q.weight", "attn.qkv.weight", "SAMed's LoRA file as the"),
    ("sam", "samed_s", "qkv.linear_a_q.weight", "attn.qkv.weight", "SAMed_s's LoRA file as the"),
    ("samus", "autosamus", "prompt_generator.object_token", "", "family='samus'"),
    ("autosamus", "samus", "", "prompt_generator.object_token", "family='autosamus'"),
    ("samus", "sam", "", "image_encoder.input_Adapter", "family='samus'"),
    ("msa_lora", "sam", "blocks.0.attn.rel_pos_h", "blocks.0.attn.rel_h", "family='msa'"),
    ("msa", "msa_lora", "blocks.0.attn.qkv.lora_A", "Space_Adapter", "family='msa'"),
    ("msa", "samus", "image_encoder.input_Adapter", "Space_Adapter.D_fc1", "family='msa'"),
    ("msa", "samed", "blocks.0.attn.qkv.qkv.weight", "blocks.0.attn.rel_h", "family='msa'"),
]


@pytest.mark.parametrize(("kind", "said", "missing", "extra", "advice"), WRONG)
def test_another_family_than_said(
    kind: str, said: str, missing: str, extra: str, advice: str, files: Files, refused: Refused
) -> None:
    titles = {r.name: r.title for r in RECORDS} | {"msa_3d": "Medical SAM Adapter"}
    wanted, found = re.escape(titles[said]), re.escape(titles[kind])
    message = refused(
        files[kind], family=said, says=(rf"^{kind}\.pth: is {found} \(.*\), not {wanted}: ",)
    )
    parts = dict(p.split(": ", 1) for p in message.split(f"not {titles[said]}: ")[1].split("; "))
    if missing:
        assert missing in parts["missing"]
    else:
        assert "missing" not in parts
    if extra:
        assert extra in parts["extra"]
    assert advice in message


@pytest.mark.parametrize("said", ["sam", "medsam", "samed_s", "msa", "samus"])
def test_a_pair_of_another_family_than_said(said: str, files: Files, refused: Refused) -> None:
    message = refused(
        files["sam"], files["samed"], family=said, input_size=128,
        says=(r"^sam\.pth \+ samed\.pth: is SAMed \(.*\), not ", "missing: ", "family='samed'"),
    )  # fmt: skip
    assert "pour" not in message
    assert "_file" not in message


@pytest.mark.parametrize("kind", sorted(every_family()))
def test_the_right_family_is_accepted(kind: str, files: Files) -> None:
    paths = [files["sam"], files[kind]] if kind.startswith("samed") else [files[kind]]
    options = {"input_size": 128} if kind.startswith("samed") else {}
    family = open_checkpoint(*paths, **options).family.name
    for said in {kind, family}:
        assert open_checkpoint(*paths, family=said, **options).kind == kind


def test_names_that_are_no_family(files: Files, refused: Refused) -> None:
    for said in ("yolo", "", "SAM", 5, ["sam"]):
        refused(files["sam"], family=said, says=("unknown family", f"known: {LOADABLE}$"))
    refused(
        files["sam"], family="hq_sam", error=NotSupportedError,
        says=(r"^sam\.pth: is Segment Anything, and samedge cannot load HQ-SAM", LOADABLE),
    )  # fmt: skip


# --- files that do not combine --------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("sam", "sam"),
        ("samus", "samus"),
        ("samed", "samed"),
        ("samed_s", "samed"),
        ("samus", "samed"),
        ("msa", "sam"),
        ("msa", "samed"),
        ("autosamus", "sam"),
        ("msa_lora", "msa"),
        ("sam", "samed", "samed"),
        ("sam", "samus", "autosamus"),
    ],
)
def test_files_that_do_not_combine(names: tuple[str, ...], files: Files, refused: Refused) -> None:
    message = refused(*(files[n] for n in names), says=("these checkpoints do not combine: ",))
    titles = {r.name: r.title for r in RECORDS}
    for name in names:
        assert f"{name}.pth ({titles[name]}, as its '" in message
    assert "expected: samus and sam; sam and samed; sam and samed_s; msa_lora and sam" in message
    assert "SAMed's LoRA file behind its SAM base" in message


def test_sam_of_another_input_for_samus(files: Files, refused: Refused) -> None:
    refused(
        files["samus"], files["sam"],
        says=(r"^samus\.pth \+ sam\.pth: ", "'image_encoder.pos_embed' has shape", "same ViT size"),
    )  # fmt: skip


def test_a_live_model_takes_the_same_options() -> None:
    tensors = every_family()["msa"][0]
    stack = checkpoint_from_tensors(tensors, family="msa_3d", slices=4, chunk=2)
    assert (stack.family.name, stack.family.slices) == ("msa_3d", 4)
    for options, says in (
        ({"family": "yolo"}, "unknown family 'yolo'"),
        ({"slices": 0}, "slices=0 came"),
        ({"input_size": 256}, "live: .* not input_size=256"),
    ):
        with pytest.raises(CheckpointError, match=says):
            checkpoint_from_tensors(tensors, "live", **options)


@pytest.mark.parametrize("said", sorted(FAMILIES))
def test_a_live_model_of_every_family(said: str) -> None:
    """Each is its own family, or an error says which it is."""
    for kind, tensors in every_family().items():
        try:
            checkpoint = checkpoint_from_tensors(tensors[-1], "live", family=said)
        except SamEdgeError as error:
            said_of = str(error)
        else:
            said_of = "live" if said in (kind, checkpoint.family.name) else ""
        assert "live" in said_of
