"""Nothing but a SamEdgeError may leave the reader, whatever the bytes."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from samedge import models, open_checkpoint
from samedge.errors import SamEdgeError

SUFFIXES = st.sampled_from((".pth", ".pt", ".safetensors", ".ckpt"))
HEADS = st.sampled_from((b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x95", b"\x80\x02}q\x00"))


def written(kind: str) -> bytes:
    """A small whole checkpoint; enough for the reader, whose work does not depend on the size."""
    config = models.tiny_samus_config(embed_dim=8, num_heads=1, depth=2, global_blocks=(1,))
    tensors = models.build_samus(config).state_dict()
    if kind == "safetensors":
        return save({k: v.contiguous() for k, v in tensors.items()})
    buffer = io.BytesIO()
    torch.save(tensors, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


WHOLE = {kind: written(kind) for kind in ("zip", "legacy", "safetensors")}
KINDS = st.sampled_from(sorted(WHOLE))


def survives(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    message = path.name
    try:
        open_checkpoint(path)
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
