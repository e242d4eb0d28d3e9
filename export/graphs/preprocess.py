"""The first part of the encoder graph: from a frame of any size to the network's input.

The same arithmetic as `samedge.geometry.network_input.network_input`, operation by operation. For
families whose frames are rounded it needs plain float32 (no TF32, no bfloat16); docs/geometry.md
proves what it gives.
"""

from __future__ import annotations

import numpy as np
import onnx

from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.export.graphs.area import area_resize
from samedge.export.graphs.builder import GraphBuilder
from samedge.families import Family
from samedge.geometry.filters import CUBIC_CENTRE, CUBIC_PART, CUBIC_SLACK, PLANE

PATH = "preprocess"


def preprocess(g: GraphBuilder, family: Family, size: int) -> str:
    """Colour, crop, resize, padding, and what of the normalisation is not in the weights.

    Inputs: `frame` uint8 [H, W, C], or [slices, H, W, C] for a family of volumes; `colour` float32
    [C, K], the map from the frame's channels to the network's (`samedge.geometry.network_input`);
    `rows` [P, S, H] and `cols` [P, S, W]; for families resized by PIL `rows_first` uint8 [1], 1 for
    a frame that is handed over transposed (with its two matrices swapped) because its vertical pass
    comes first; `valid_rows` [S] and `valid_cols` [S] for a padded family whose padding the
    normalisation would change (`needs_valid`).

    Returns:
        The value called `network_input`, [slices, K, S, S] ([1, K, S, S] for images). It parts
        pre-processing (dynamic shapes, exact numbers in float32) from the network (static shapes):
        an engine may cut there.
    """
    k, volume = family.channels, family.slices > 1
    leading = (family.slices,) if volume else ()
    frame = g.input("frame", "uint8", (*leading, "height", "width", "frame_channels"))
    colour = g.input("colour", "float32", ("frame_channels", k))
    planes = 2 if family.rounded else 1
    rows = g.input("rows", "float32", (planes, size, "height"))
    cols = g.input("cols", "float32", (planes, size, "width"))
    x = str(g.op("Cast", [frame], PATH, to=onnx.TensorProto.FLOAT))
    half = g.const(np.float32(0.5), "half")
    x = g.op("Floor", [g.add(g.matmul(x, colour, f"{PATH}.colour"), half, f"{PATH}.colour")],
             f"{PATH}.colour")  # fmt: skip
    x = g.transpose(x, (0, 3, 1, 2) if volume else (2, 0, 1), PATH)  # [..., K, H, W]
    if family.interpolation == "pil":
        x = _pil(g, x, rows, cols, volume)
    elif family.interpolation == "cubic":
        x = _cubic(g, x, rows, cols, volume)
    elif family.interpolation == "area":
        x = area_resize(g, x, rows, cols)
    else:
        across = g.matmul(x, g.transpose(cols, (0, 2, 1), f"{PATH}.cols"), f"{PATH}.cols")
        x = g.matmul(rows, across, f"{PATH}.rows")
    valid = _valid(g, size) if needs_valid(family) else None
    if family.normalisation == "min_max":
        x = _min_max(g, x, valid)
    elif valid is not None:
        x = _subtract_mean(g, x, family, valid)
    if not volume:
        x = str(g.op("Unsqueeze", [x, g.const([0], "axis_0")], PATH))
    # one node whose output carries the name that engines cut at
    g.identity(x, NETWORK_INPUT)
    return NETWORK_INPUT


def needs_valid(family: Family) -> bool:
    """Whether the graph has to know what is padding: it would not stay zero by itself."""
    return family.padded and (family.normalisation == "min_max" or any(family.mean))


def _pil(g: GraphBuilder, x: str, rows: str, cols: str, volume: bool) -> str:
    """[..., K, H, W] -> [..., K, S, S], PIL's resize bit for bit."""
    plane_axis = _plane_axis(g, volume)
    x = str(g.op("Unsqueeze", [x, plane_axis], PATH))  # [..., K, 1, H, W]
    x = g.matmul(x, g.transpose(cols, (0, 2, 1), f"{PATH}.cols"), f"{PATH}.cols")
    x = _recombine(g, x, volume, f"{PATH}.cols")
    x = str(g.op("Unsqueeze", [x, plane_axis], PATH))
    x = _recombine(g, g.matmul(rows, x, f"{PATH}.rows"), volume, f"{PATH}.rows")
    first = g.input("rows_first", "uint8", (1,))
    first = g.op("Cast", [first], f"{PATH}.rows_first", to=onnx.TensorProto.BOOL)
    turned = g.transpose(x, (0, 1, 3, 2) if volume else (0, 2, 1), f"{PATH}.rows_first")
    return str(g.op("Where", [first, turned, x], f"{PATH}.rows_first"))


def _recombine(g: GraphBuilder, x: str, volume: bool, path: str) -> str:
    """[..., K, 2, ...] high and low plane -> [..., K, ...] rounded grey levels."""
    high, low = _planes(g, x, 2 if volume else 1, path)
    plane = g.const(np.float32(PLANE), "plane_size")
    carry = g.op("Floor", [g.op("Div", [low, plane], path)], path)
    total = g.add(g.add(high, carry, path), g.const(np.float32(PLANE / 2), "plane_half"), path)
    return str(g.op("Floor", [g.op("Div", [total, plane], path)], path))


def _cubic(g: GraphBuilder, x: str, rows: str, cols: str, volume: bool) -> str:
    """[..., K, H, W] -> [..., K, S, S], scikit-image's cubic resize cut off to uint8."""
    here = f"{PATH}.cols"
    centre, half = g.const(np.float32(CUBIC_CENTRE), "centre"), g.const(np.float32(0.5), "half")
    y = str(g.op("Unsqueeze", [_sub(g, x, centre, here), _plane_axis(g, volume)], here))
    y = g.matmul(y, g.transpose(cols, (0, 2, 1), here), here)
    high, low = _planes(g, y, 2 if volume else 1, here)  # [..., K, H, S]
    value = g.add(high, low, here)
    whole = str(g.op("Floor", [g.add(value, half, here)], here))
    above = _sub(g, high, whole, here)
    step = g.const(np.float32(CUBIC_PART), "part")
    part = g.op("Floor", [g.add(g.mul(g.add(above, low, here), step, here), half, here)], here)
    part = str(g.op("Div", [part, step], here))
    rest = g.add(_sub(g, above, part, here), low, here)

    here = f"{PATH}.rows"
    large, small = _planes(g, rows, 0, here)
    sums = g.matmul(large, whole, here)
    level = str(g.op("Floor", [sums], here))
    fraction = g.add(_sub(g, sums, level, here), g.matmul(large, part, here), here)
    tail = g.add(g.matmul(large, rest, here), g.matmul(small, value, here), here)
    tail = g.add(tail, g.const(np.float32(CUBIC_SLACK), "slack"), here)
    more = str(g.op("Floor", [g.add(fraction, tail, here)], here))
    level = g.add(g.add(level, more, here), centre, here)
    return _clip_to_crop(g, level, x, rows, cols)


def _clip_to_crop(g: GraphBuilder, resized: str, x: str, rows: str, cols: str) -> str:
    """Between the extremes of x in the crop, of all channels; outside it the matrices are zero."""
    path = f"{PATH}.clip"
    white, zero = g.const(np.float32(255), "white"), g.const(np.float32(0), "none")
    inside = []
    for matrix, axis in ((rows, 1), (cols, 0)):
        largest = g.op("Abs", [matrix], path)
        largest = g.op("ReduceMax", [largest, g.const([0, 1], "planes_and_out")], path, keepdims=0)
        seen = g.op("Cast", [g.op("Greater", [largest, zero], path)], path,
                    to=onnx.TensorProto.FLOAT)  # fmt: skip
        inside.append(g.op("Unsqueeze", [seen, g.const([axis], f"axis_{axis}")], path))
    crop = g.mul(inside[0], inside[1], path)  # [H, W]
    brightest = _extreme(g, "ReduceMax", g.mul(x, crop, path), path)
    darkness = _extreme(g, "ReduceMax", g.mul(_sub(g, white, x, path), crop, path), path)
    darkest = _sub(g, white, darkness, path)
    return str(g.op("Min", [g.op("Max", [resized, darkest], path), brightest], path))


def _min_max(g: GraphBuilder, x: str, valid: str | None) -> str:
    """Brought to 0..1 by the extremes of each image; a flat one becomes zero.

    Padding (where `valid` is 0) counts for none of the extremes: it is as dark as can be.
    """
    path = f"{PATH}.min_max"
    high = _extreme(g, "ReduceMax", x, path)
    if valid is None:
        low = darkest = _extreme(g, "ReduceMin", x, path)
    else:
        white = g.const(np.float32(255), "white")
        darkness = g.mul(_sub(g, white, x, path), valid, path)
        low = _sub(g, white, _extreme(g, "ReduceMax", darkness, path), path)
        darkest = g.mul(low, valid, path)
    span = g.op("Max", [_sub(g, high, low, path), g.const(np.float32(1e-8), "flat")], path)
    return str(g.op("Div", [_sub(g, x, darkest, path), span], path))


def _subtract_mean(g: GraphBuilder, x: str, family: Family, valid: str) -> str:
    path = f"{PATH}.mean"
    mean = np.asarray(family.mean, np.float32).reshape(-1, 1, 1) * np.float32(family.value_scale)
    return _sub(g, x, g.mul(valid, g.const(mean, "mean"), path), path)


def _valid(g: GraphBuilder, size: int) -> str:
    """[1, S, S], 1 on image and 0 on padding."""
    path = f"{PATH}.valid"
    rows = g.input("valid_rows", "float32", (size,))
    cols = g.input("valid_cols", "float32", (size,))
    return g.mul(g.reshape(rows, (1, size, 1), path), g.reshape(cols, (1, 1, size), path), path)


def _extreme(g: GraphBuilder, kind: str, x: str, path: str) -> str:
    """`kind` (ReduceMax or ReduceMin) over the channels, rows and columns of each image."""
    return str(g.op(kind, [x, g.const([-3, -2, -1], "image_axes")], path, keepdims=1))


def _planes(g: GraphBuilder, x: str, axis: int, path: str) -> list[str]:
    """The high and the low plane on an axis of two."""
    index = [g.const(np.int64(i), f"plane_{i}") for i in (0, 1)]
    return [str(g.op("Gather", [x, i], path, axis=axis)) for i in index]


def _plane_axis(g: GraphBuilder, volume: bool) -> str:
    """Where the planes of [..., K, planes, H, S] are."""
    return g.const([2 if volume else 1], "plane_axis")


def _sub(g: GraphBuilder, a: str, b: str, path: str) -> str:
    return str(g.op("Sub", [a, b], path))
