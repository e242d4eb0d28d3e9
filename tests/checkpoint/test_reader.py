"""Files -> tensors in float32, without copies that need not be made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from samedge import models, open_checkpoint
from samedge.checkpoint.reader import FLOATS, to_float32
from samedge.errors import CheckpointError
from tests.checkpoint.tiny_files import whole


def test_float32_is_not_copied() -> None:
    tensor = torch.randn(4, 5)
    out, converted = to_float32({"a": tensor, "b": tensor[1:3]}, "x")
    assert out["a"].data_ptr() == tensor.data_ptr()
    assert out["b"].data_ptr() == tensor[1:].data_ptr()
    assert converted == {}


@pytest.mark.parametrize("dtype", sorted(FLOATS, key=str), ids=str)
def test_every_type_that_is_said_to_convert_does(dtype: torch.dtype) -> None:
    values = torch.tensor([[0.5, -2.0], [0.0, 1.0]])
    out, converted = to_float32({"a": values.to(dtype).mT}, "x")
    assert torch.equal(out["a"], values.mT)
    assert out["a"].is_contiguous()
    assert converted == ({} if dtype == torch.float32 else {str(dtype)[len("torch.") :]: 1})


def test_all_other_types_are_refused() -> None:
    """Also floating-point ones that torch cannot convert (two 4-bit numbers in a byte)."""
    types = {t for t in vars(torch).values() if isinstance(t, torch.dtype)} - FLOATS
    raw = torch.zeros(16, dtype=torch.uint8)
    # Quantised types have no plain tensors.
    plain = [t for t in types if not str(t).startswith(("torch.q", "torch.bits"))]
    assert len(plain) > 8
    for dtype in plain:
        with pytest.raises(CheckpointError, match=f"tensor 'a' is of type {dtype}; expected plain"):
            to_float32({"a": raw.view(dtype)}, "x")


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_shapes_without_extent(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    out, _ = to_float32({"a": torch.zeros(shape, dtype=dtype)}, "x")
    assert out["a"].shape == shape
    assert out["a"].dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_numbers_too_large_for_their_type(dtype: torch.dtype) -> None:
    value = torch.tensor([1.0, float("inf")], dtype=dtype)
    with pytest.raises(CheckpointError, match="tensor 'a' has 1 values that are NaN or infinite"):
        to_float32({"a": value}, "x")
    if dtype == torch.float64:  # finite there, not here
        with pytest.raises(CheckpointError, match="tensor 'a' has 1 values"):
            to_float32({"a": torch.tensor([1e300, 1.0], dtype=dtype)}, "x")


MEMORY = """
import sys
from pathlib import Path
from samedge import open_checkpoint

def anonymous() -> int:
    # kB that belong to this process alone, not to the file
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(l.split()[1]) for l in lines if l.startswith("RssAnon"))

open_checkpoint(sys.argv[1])  # whatever a first call loads
before = anonymous()
checkpoint = open_checkpoint(sys.argv[2])
print(anonymous() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_an_opened_file_takes_no_memory_of_its_own(tmp_path: Path) -> None:
    """It is memory-mapped; ViT-H is 2.6 GB."""
    small = tmp_path / "small.pth"
    torch.save(whole(models.tiny_sam_config()), small)
    large = tmp_path / "large.pth"
    config = models.tiny_sam_config(embed_dim=512, num_heads=8, depth=6, global_blocks=(5,))
    torch.save(whole(config), large)
    size = large.stat().st_size / 1024
    assert size > 60_000
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, small, large],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < size / 4


def test_a_model_takes_what_its_file_holds(tmp_path: Path) -> None:
    """Its own copies, and no more: the tensors of the checkpoint are not among them."""
    path = tmp_path / "sam.pth"
    torch.save(whole(models.tiny_sam_config()), path)
    checkpoint = open_checkpoint(path)
    model = checkpoint.build()
    own = {t.untyped_storage().data_ptr() for t in model.state_dict().values()}
    read = {t.untyped_storage().data_ptr() for t in checkpoint.tensors.values()}
    assert len(own) == len(checkpoint.tensors)
    assert not own & read
    assert all(file.tensors == {} for file in checkpoint.files)
