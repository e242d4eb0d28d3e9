"""`samedge.h` for ctypes: structs field by field, and the constants."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint32,
    c_void_p,
)
from typing import Any, ClassVar

ABI_MAJOR, ABI_MINOR = 1, 0

OK = 0
BACKENDS = {"auto": 0, "tensorrt": 1, "triton": 2, "openvino": 3}
PRECISIONS = {"auto": 0, "fp32": 1, "bf16": 2, "fp16": 3, "int8": 4}
HINTS = {"latency": 0, "throughput": 1}
FORMATS = {"grey8": 1, "grey16": 2, "rgb8": 3, "bgr8": 4, "rgba8": 5, "bgra8": 6, "nv12": 7}
HOST, CUDA = 0, 1
VERDICTS = ("good", "doubtful", "lost")


class Sized(Structure):
    """A struct of `samedge.h` with its size filled in and zeros elsewhere."""

    _fields_: ClassVar[Sequence[tuple[str, Any]]] = (("struct_size", c_uint32),)

    def __init__(self, **fields: object) -> None:
        super().__init__(struct_size=ctypes.sizeof(type(self)))
        for name, value in fields.items():
            setattr(self, name, value)


class ModelOptions(Sized):
    """samedge_model_options"""

    _fields_ = (
        ("backend", c_int32),
        ("precision", c_int32),
        ("threads", c_int32),
        ("device", c_int32),
        ("hint", c_int32),
        ("engines", c_char_p),
    )


class ModelInfo(Sized):
    """samedge_model_info"""

    _fields_ = (
        ("backend", c_int32),
        ("precision", c_int32),
        ("threads", c_int32),
        ("input_size", c_int32),
        ("low_res", c_int32),
        ("embedding_size", c_int32),
        ("slices", c_int32),
        ("whole_volume", c_int32),
        ("takes", c_int32),
        ("takes_grey16", c_int32),
        ("single_masks", c_int32),
        ("multi_masks", c_int32),
        ("classes", c_int32),
        ("exclusive", c_int32),
        ("family", c_char_p),
        ("title", c_char_p),
        ("device", c_char_p),
        ("why", c_char_p),
        ("notes", c_char_p),
    )


class SelfTestReport(Sized):
    """samedge_self_test_report"""

    _fields_ = (
        ("frames", c_int32),
        ("max_logit_error", c_double),
        ("logit_limit", c_double),
        ("dice", c_double),
        ("dice_limit", c_double),
        ("score_error", c_double),
        ("margin", c_double),
        ("flipped", c_double),
        ("flipped_limit", c_double),
        ("flipped_far", c_int64),
    )


class Frame(Sized):
    """samedge_frame"""

    _fields_ = (
        ("format", c_int32),
        ("width", c_int32),
        ("height", c_int32),
        ("pixels", c_void_p),
        ("stride", c_int64),
        ("chroma", c_void_p),
        ("chroma_stride", c_int64),
        ("memory", c_int32),
        ("slices", c_int32),
        ("slice_stride", c_int64),
        ("crop", c_int32 * 4),
    )


class Prompts(Sized):
    """samedge_prompts"""

    _fields_ = (
        ("objects", c_int32),
        ("points", POINTER(c_double)),
        ("labels", POINTER(c_int32)),
        ("point_count", c_int32),
        ("mask_count", c_int32),
        ("points_per_object", POINTER(c_int32)),
        ("boxes", POINTER(c_double)),
        ("masks", POINTER(c_float)),
        ("multimask", c_int32),
    )


class Result(Sized):
    """samedge_result"""

    _fields_ = (
        ("count", c_int32),
        ("width", c_int32),
        ("height", c_int32),
        ("low_res", c_int32),
        ("has_class_map", c_int32),
        ("mask_value", c_int32),
        ("masks", POINTER(c_uint8)),
        ("masks_capacity", c_size_t),
        ("mask_stride", c_int64),
        ("class_map", POINTER(c_uint8)),
        ("class_map_capacity", c_size_t),
        ("scores", POINTER(c_float)),
        ("scores_capacity", c_size_t),
        ("object_index", POINTER(c_int32)),
        ("object_index_capacity", c_size_t),
        ("class_index", POINTER(c_int32)),
        ("class_index_capacity", c_size_t),
        ("boxes", POINTER(c_int32)),
        ("boxes_capacity", c_size_t),
        ("areas", POINTER(c_int64)),
        ("areas_capacity", c_size_t),
        ("low_res_logits", POINTER(c_float)),
        ("low_res_capacity", c_size_t),
    )


class Contours(Sized):
    """samedge_contours"""

    _fields_ = (
        ("contour_count", c_int32),
        ("points", POINTER(c_int32)),
        ("points_capacity", c_size_t),
        ("starts", POINTER(c_int32)),
        ("starts_capacity", c_size_t),
        ("holes", POINTER(c_uint8)),
        ("holes_capacity", c_size_t),
        ("point_count", c_int32),
    )


class Timing(Sized):
    """samedge_timing"""

    _fields_ = (
        ("reserved", c_int32),
        ("copy_in", c_double),
        ("preprocess", c_double),
        ("encode", c_double),
        ("prompt", c_double),
        ("decode", c_double),
        ("copy_out", c_double),
        ("total", c_double),
    )


class TrackerOptions(Sized):
    """samedge_tracker_options"""

    _fields_ = (
        ("min_area", c_int32),
        ("score", c_double),
        ("score_drop", c_double),
        ("score_spread", c_double),
        ("area_jump", c_double),
        ("overlap", c_double),
        ("steady", c_double),
        ("found_s", c_double),
        ("border", c_double),
        ("hold_s", c_double),
        ("fresh_s", c_double),
        ("steady_s", c_double),
    )


STRUCTS: dict[str, type[Sized]] = {
    "samedge_model_options": ModelOptions,
    "samedge_model_info": ModelInfo,
    "samedge_self_test_report": SelfTestReport,
    "samedge_frame": Frame,
    "samedge_prompts": Prompts,
    "samedge_result": Result,
    "samedge_contours": Contours,
    "samedge_timing": Timing,
    "samedge_tracker_options": TrackerOptions,
}
