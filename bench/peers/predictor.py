"""segment-anything's own `SamPredictor`: what its authors offer, in eager PyTorch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bench.contenders.eager import require_torch
from samedge.bench.contenders.entry import Entry
from samedge.bench.peers.entries import absent, checked, coloured, only_for, peer_row
from samedge.bench.peers.stand_in import NOTE, importable
from samedge.bench.peers.subject import Subject

REMEDY = "pip install segment-anything"


def predictor_entry(subject: Subject) -> Entry:
    """The predictor with the subject's checkpoint, or why it is not timed."""
    row = peer_row(subject, "segment-anything's SamPredictor", ("segment-anything", "torch"))
    if other := only_for(subject, "sam", row):
        return other
    try:
        with importable() as stands_in:
            package = import_module("segment_anything")
    except ImportError as error:
        return absent(row, error, REMEDY)
    notes = (NOTE,) if stands_in else ()
    row = peer_row(subject, str(row.about["engine"]), ("segment-anything", "torch"), *notes)
    return checked(subject, row, Predictor(package, subject))


class Predictor:
    """Frame -> mask by `set_image` and `predict`, as its documentation says."""

    def __init__(self, package: Any, subject: Subject) -> None:
        self._torch, self._threads = require_torch(), subject.threads
        sam = official_sam(package, subject.config)
        sam.load_state_dict(self._torch.load(subject.checkpoint, weights_only=True))
        self._predictor = package.SamPredictor(sam.eval())
        given = subject.clip.prompts(subject.bundle.family)
        self._points = np.asarray(given["points"], np.float64)

    def __call__(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Mapping[str, float]]:
        self._torch.set_num_threads(self._threads)
        start = time.perf_counter()
        self._predictor.set_image(coloured(frame))
        encoded = time.perf_counter()
        masks, _, _ = self._predictor.predict(
            self._points, np.ones(len(self._points), np.int64), multimask_output=False
        )
        end = time.perf_counter()
        # Resizing is a part of set_image, and of predict: what they are cannot be told apart.
        stages = {"encode": (encoded - start) * 1e3, "decode": (end - encoded) * 1e3}
        return masks[0].astype(np.uint8), stages


def official_sam(package: Any, config: Any) -> Any:
    """segment-anything's own network with the sizes of a config, as its registry puts it together.

    The registry has the official sizes alone.
    """
    nn, parts = require_torch().nn, import_module(f"{package.__name__}.modeling")
    encoder = parts.ImageEncoderViT(
        img_size=config.img_size,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
        out_chans=config.prompt_dim,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=config.window_size,
        global_attn_indexes=config.global_blocks,
    )
    prompt = parts.PromptEncoder(
        embed_dim=config.prompt_dim,
        image_embedding_size=(config.grid, config.grid),
        input_image_size=(config.img_size, config.img_size),
        mask_in_chans=config.mask_channels,
    )
    transformer = parts.TwoWayTransformer(
        depth=config.decoder_depth,
        embedding_dim=config.prompt_dim,
        mlp_dim=config.decoder_mlp_dim,
        num_heads=config.decoder_heads,
    )
    decoder = parts.MaskDecoder(
        num_multimask_outputs=config.num_mask_tokens - 1,
        transformer=transformer,
        transformer_dim=config.prompt_dim,
        iou_head_depth=config.iou_depth,
        iou_head_hidden_dim=config.iou_hidden_dim,
    )
    return parts.Sam(encoder, prompt, decoder)
