"""Nothing but a SamEdgeError may leave the reader, whatever the bytes."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from samedge import models, open_checkpoint
from samedge.checkpoint import checkpoint_from_tensors, examine
from samedge.errors import SamEdgeError
from samedge.families import FAMILIES
from tests.checkpoint.damage import VALUES, damaged
from tests.checkpoint.tiny_files import MINUTE, StateDict, earlier_msa, every_family, samed_file
from tests.checkpoint.ultrasam import UltraSam

SUFFIXES = st.sampled_from((".pth", ".pt", ".safetensors", ".ckpt"))
HEADS = st.sampled_from((b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x95", b"\x80\x02}q\x00"))


SAMUS = models.build_samus(models.tiny_samus_config(**MINUTE)).state_dict()
LORA = samed_file(models.tiny(models.SamedConfig, **MINUTE))
# Every file of every family, and what else goes together.
FILES = every_family(**MINUTE)
FILES["samus and sam"] = [*FILES["samus"], *FILES["sam"]]
FILES["msa_lora and sam"] = [*FILES["msa_lora"], *FILES["sam"]]
# Other names and other layouts.
FILES["ultrasam"] = [dict(UltraSam().state_dict())]
FILES["msa, earlier"] = [earlier_msa(models.tiny(models.MsaConfig, sam_decoder=True, **MINUTE))]
FILES["msa, open"] = [earlier_msa(models.tiny(models.MsaConfig, img_size=208, **MINUTE))]
KINDS_OF_FILES = st.sampled_from(sorted(FILES))
SEEDS = st.integers(0, 10**9)


def written(kind: str, tensors: StateDict) -> bytes:
    """A small whole file; enough for the reader, whose work does not depend on the size."""
    if kind == "safetensors":
        return save({k: v.contiguous() for k, v in tensors.items()})
    buffer = io.BytesIO()
    torch.save(tensors, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


WHOLE = {
    f"{kind} {name}": written(kind, tensors)
    for kind in ("zip", "legacy", "safetensors")
    for name, tensors in (("samus", SAMUS), ("lora", LORA))
}
KINDS = st.sampled_from(sorted(WHOLE))


def survives(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    for opens in (open_checkpoint, examine):
        message = path.name
        try:
            opens(path)
        except SamEdgeError as error:
            message = str(error)
        assert path.name in message
        assert str(path.parent) not in message


@settings(max_examples=150)
@given(head=HEADS, body=st.binary(max_size=300), suffix=SUFFIXES)
def test_random_bytes(head: bytes, body: bytes, suffix: str, tmp_path: Path) -> None:
    survives(head + body, tmp_path / f"fuzz{suffix}")


@settings(max_examples=60)
@given(kind=KINDS, share=st.floats(0, 1))
def test_truncated(kind: str, share: float, tmp_path: Path) -> None:
    whole = WHOLE[kind]
    survives(whole[: int(len(whole) * share)], tmp_path / "fuzz.pth")


@settings(max_examples=100)
@given(kind=KINDS, seed=st.integers(0, 10**6), flips=st.integers(1, 40))
def test_changed_bytes(kind: str, seed: int, flips: int, tmp_path: Path) -> None:
    content = bytearray(WHOLE[kind])
    chance = random.Random(seed)
    # Names, pickles and headers stand at both ends; the middle is plain numbers.
    ends = (*range(4000), *range(len(content) - 4000, len(content)))
    for _ in range(flips):
        content[chance.choice(ends)] = chance.randrange(256)
    survives(bytes(content), tmp_path / "fuzz.pth")


@settings(max_examples=60)
@given(
    header=st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=3),
        lambda inner: st.dictionaries(
            st.sampled_from(
                ("dtype", "shape", "data_offsets", "__metadata__", "x", "samedge_config")
            ),
            inner,
            max_size=4,
        ),
        max_leaves=8,
    )
)
def test_safetensors_headers(header: object, tmp_path: Path) -> None:
    text = json.dumps(header).encode()
    survives(len(text).to_bytes(8, "little") + text + bytes(16), tmp_path / "fuzz.safetensors")


@settings(max_examples=60)
@given(
    content=st.recursive(
        st.none() | st.integers() | st.floats() | st.just(torch.zeros(2)),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(("state_dict", "model", "samedge_config", "module.x", 3, "a.b")),
                inner,
                max_size=4,
            )
        ),
        max_leaves=10,
    )
)
def test_any_structure(content: object, tmp_path: Path) -> None:
    path = tmp_path / "fuzz.pth"
    torch.save(content, path)
    with pytest.raises(SamEdgeError):
        open_checkpoint(path)


def opens_or_says_why(paths: list[Path], **options: Any) -> None:
    """What opens must also build; what does not must name a file or the option."""
    try:
        checkpoint = open_checkpoint(*paths, **options)
    except SamEdgeError as error:
        message = str(error)
        about = [path.name for path in paths] + [f"{name}=" for name in options]
        assert any(name in message for name in (*about, "unknown family")), message
        assert str(paths[0].parent) not in message
        return
    json.dumps(checkpoint.summary())
    assert paths[0].name in checkpoint.describe()
    checkpoint.build()


@settings(max_examples=100)
@given(kind=KINDS_OF_FILES, seed=SEEDS)
def test_damaged_state_dicts(kind: str, seed: int, tmp_path: Path) -> None:
    chance = Random(seed)
    files = FILES[kind]
    hit = chance.randrange(len(files))
    paths = []
    for index, tensors in enumerate(files):
        paths.append(tmp_path / f"{index}.pth")
        content = damaged(tensors, chance) if index == hit else tensors
        torch.save({"state_dict": content}, paths[-1])
    opens_or_says_why(paths, **({"input_size": 128} if kind.startswith("samed") else {}))


@settings(max_examples=80)
@given(kind=KINDS_OF_FILES, seed=SEEDS)
def test_what_files_record_of_themselves(kind: str, seed: int, tmp_path: Path) -> None:
    chance = Random(seed)
    names = ("decoder_heads", "generator_heads", "generator_head_dim", "classes", "slices", "chunk")
    paths = []
    for index, tensors in enumerate(FILES[kind]):
        recorded = {chance.choice(names): chance.choice(VALUES) for _ in range(2)}
        paths.append(tmp_path / f"{index}.pth")
        torch.save({"model": tensors, "samedge_config": recorded}, paths[-1])
    opens_or_says_why(paths)


@settings(max_examples=120)
@given(kind=KINDS_OF_FILES, seed=SEEDS)
def test_what_users_say(kind: str, seed: int, tmp_path: Path) -> None:
    chance = Random(seed)
    families = (
        *FAMILIES,
        "msa_lora",
        "samed_s",
        "ultrasam",
        "msa_earlier",
        "hq_sam",
        "sam2",
        "x",
        5,
        None,
        ("sam",),
    )
    options: dict[str, Any] = {
        name: chance.choice(VALUES)
        for name in chance.sample(("input_size", "classes", "rank", "slices", "chunk"), 2)
    }
    options["family"] = chance.choice(families)
    paths = [tmp_path / f"{index}.pth" for index in range(len(FILES[kind]))]
    for path, tensors in zip(paths, FILES[kind], strict=True):
        torch.save(tensors, path)
    opens_or_says_why(chance.sample(paths, chance.randint(1, len(paths))), **options)


@settings(max_examples=60)
@given(first=KINDS_OF_FILES, second=KINDS_OF_FILES, seed=SEEDS)
def test_any_two_files(first: str, second: str, seed: int, tmp_path: Path) -> None:
    chance = Random(seed)
    paths = [tmp_path / "a.pth", tmp_path / "b.pth"]
    for path, kind in zip(paths, (first, second), strict=True):
        torch.save(chance.choice(FILES[kind]), path)
    opens_or_says_why(paths)


@settings(max_examples=60)
@given(head=HEADS, body=st.binary(max_size=300), swap=st.booleans())
def test_random_bytes_beside_a_good_file(
    head: bytes, body: bytes, swap: bool, tmp_path: Path
) -> None:
    paths = [tmp_path / "sam.pth", tmp_path / "noise.pth"]
    torch.save(FILES["sam"][0], paths[0])
    paths[1].write_bytes(head + body)
    with pytest.raises(SamEdgeError, match=r"noise\.pth"):
        open_checkpoint(*(paths[::-1] if swap else paths))


@settings(max_examples=200)
@given(kind=KINDS_OF_FILES, seed=SEEDS, family=st.sampled_from((None, *FAMILIES)))
def test_damaged_live_tensors(kind: str, seed: int, family: str | None) -> None:
    chance = Random(seed)
    content = damaged(FILES[kind][-1], chance)
    try:
        checkpoint_from_tensors(content, "live", family=family).build()
    except SamEdgeError as error:
        said = str(error)
    else:
        said = "live"
    assert "live" in said
