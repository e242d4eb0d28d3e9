"""Frame -> network input, and low-res logits -> masks: the ends of a plan."""

from __future__ import annotations

from samedge.export.triton.context import Context
from samedge.kernels.frames.bands import bands, negligible
from samedge.kernels.frames.frame import frame
from samedge.kernels.frames.mask import mask
from samedge.kernels.launch import Array


def network_input(c: Context) -> Array:
    """Network pixels [B, K, S, S], from the encoder's inputs."""
    names = ("frame", "colour", "rows", "cols", "rows_first", "valid_rows", "valid_cols")
    ports = {name: c.input(name) for name in names if c.takes(name)}
    with c.run.layer("preprocess.bands"):
        least = negligible(c.family)
        row_bands = bands(c.run, ports["rows"], least)
        col_bands = bands(c.run, ports["cols"], least)
    with c.run.layer("preprocess"):
        return frame(
            c.run,
            ports["frame"],
            ports["colour"],
            ports["rows"],
            ports["cols"],
            ports.get("rows_first"),
            ports.get("valid_rows"),
            ports.get("valid_cols"),
            row_bands,
            col_bands,
            c.family,
            dtype=c.half,
        )


def masks_at_frame_size(c: Context, logits: Array) -> None:
    """The decoder's masks (and class map) from its logits [N, K, L, L]."""
    rows, cols = c.input("mask_rows"), c.input("mask_cols")
    out = c.output("masks")
    class_map = c.output("class_map") if c.gives("class_map") else None
    with c.run.layer("postprocess.bands"):
        row_bands, col_bands = bands(c.run, rows), bands(c.run, cols)
    with c.run.layer("postprocess"):
        mask(c.run, logits, rows, cols, row_bands, col_bands, c.family, out, class_map)
