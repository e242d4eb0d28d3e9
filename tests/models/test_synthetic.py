"""The weight formula; the reference vectors depend on every digit of it."""

from __future__ import annotations

import numpy as np
import pytest

from samedge.models.synthetic import synthetic_state_dict, synthetic_tensor


def raw(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    import zlib

    state = np.random.RandomState(zlib.crc32(f"{seed}:{key}".encode()))
    return state.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("key", "shape", "scale", "shift"),
    [
        ("blocks.0.attn.rel_pos_h", (27, 64), 0.2, 0),
        ("blocks.0.attn.rel_w", (27, 64), 0.2, 0),
        ("image_encoder.pos_embed", (1, 4, 4, 8), 0.5, 0),
        ("pe_layer.positional_encoding_gaussian_matrix", (2, 128), 1, 0),
        ("mask_decoder.mask_tokens.weight", (4, 256), 0.5, 0),
        ("prompt_encoder.point_embeddings.0.weight", (1, 256), 0.5, 0),
        ("norm1.weight", (768,), 0.1, 1),
        ("norm1.bias", (768,), 0.05, 0),
        ("output_upscaling.0.weight", (256, 64, 2, 2), 1 / 16, 0),
        ("patch_embed.proj.weight", (16, 3, 8, 8), 192**-0.5, 0),
        ("w_a_000", (4, 768), 768**-0.5, 0),
        ("scalar", (), 0.05, 0),
    ],
)
def test_rules(key: str, shape: tuple[int, ...], scale: float, shift: float) -> None:
    got = synthetic_tensor(key, shape, 3)
    assert got.dtype == np.float32
    assert got.shape == shape
    np.testing.assert_allclose(got, raw(key, shape, 3) * scale + shift, rtol=1e-6, atol=1e-7)


def test_names_and_seeds_matter() -> None:
    first = synthetic_state_dict({"a": (3,), "b": (3,)}, 1)
    assert not np.array_equal(first["a"], first["b"])
    assert not np.array_equal(first["a"], synthetic_tensor("a", (3,), 2))
    assert np.array_equal(first["a"], synthetic_tensor("a", [3], 1))
