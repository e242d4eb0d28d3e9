"""One engine per stage: something that encodes images and decodes prompts.

This file has what all stages share and the two that run in torch; `onnx_engine.py` and
`openvino_engine.py` run the graphs of a bundle, `half_engine.py` its half-precision twins.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from samedge.errors import NotSupportedError
from samedge.families import Family
from samedge.geometry.frame_geometry import FrameGeometry
from samedge.geometry.mask_values import decide, mask_values
from samedge.geometry.network_input import network_input
from samedge.geometry.prompt_tokens import prompt_tokens
from tests.golden.build import Build
from tests.golden.images import CaseImage

Floats = NDArray[np.float32]

# Stage -> module and class, in the order in which `--stage all` runs them.
ENGINES = {
    "eager": ("tests.golden.engines", "EagerEngine"),
    "folded": ("tests.golden.engines", "FoldedEngine"),
    "onnx": ("tests.golden.onnx_engine", "OnnxEngine"),
    "openvino": ("tests.golden.openvino_engine", "OpenVinoEngine"),
    "half": ("tests.golden.half_engine", "HalfEngine"),
}
HALF = "half"  # held to the limits of fp16, and only run when asked for
STAGES = tuple(name for name in ENGINES if name != HALF)


@dataclass(frozen=True)
class Options:
    """How to run a stage: key of `samedge.tolerances.LIMITS`, and CPU threads."""

    precision: str = "fp32"
    threads: int = 2


@dataclass(frozen=True)
class Prompt:
    """N prompts on one image, or one on each of a batch, in px of a frame; what is not given is
    None; nothing at all for families without prompts.

    Attributes:
        point_coords: [N, P, 2], (x, y); point_labels: int32 [N, P], 1, 0 or -1.
        boxes: [N, 4], (x0, y0, x1, y1).
        masks: float32 [N, 1, L, L], low-res logits.
        multimask: the family's several masks instead of its single one.
    """

    point_coords: NDArray[Any] | None = None
    point_labels: NDArray[np.int32] | None = None
    boxes: NDArray[Any] | None = None
    masks: Floats | None = None
    multimask: bool = False

    @property
    def count(self) -> int:
        """N."""
        given = (self.point_coords, self.boxes, self.masks)
        return next((len(array) for array in given if array is not None), 1)

    def only(self, index: int) -> Prompt:
        """The prompt of one image of a batch."""

        def part(array: NDArray[Any] | None) -> Any:
            return None if array is None else array[index : index + 1]

        return Prompt(
            part(self.point_coords),
            part(self.point_labels),
            part(self.boxes),
            part(self.masks),
            self.multimask,
        )


@dataclass(frozen=True)
class Decoded:
    """Answer to N prompts: K masks each.

    Attributes:
        low_res: float32 [N, K, L, L].
        iou: float32 [N, K].
        full: float32 [N, K, H, W], what decides at frame size (logits or probabilities).
        masks: uint8 [N, K, H, W] at frame size.
    """

    low_res: Floats
    iou: Floats
    full: Floats
    masks: NDArray[np.uint8]

    @classmethod
    def joined(cls, parts: list[Decoded]) -> Decoded:
        """Answers for each image of a batch as one."""
        names = ("low_res", "iou", "full", "masks")
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


class Engine(Protocol):
    """What the runner needs of a stage.

    Attributes:
        family: family record of the checkpoint.
        traces: module name -> row of its last output; stays empty where modules do not exist.
        notes: what a reader of the results should know; emptied by the runner.
    """

    family: Family
    traces: dict[str, Floats]
    notes: list[str]

    def __init__(self, build: Build, options: Options) -> None:
        """NotSupportedError if the stage does not have the precision."""

    def watch(self, names: list[str]) -> None:
        """Record traces of these modules from now on; may do nothing."""

    def pixels(self, image: CaseImage) -> Floats:
        """What the stage makes of the frames in front of the network, float32 [B, K, S, S]: grey
        levels, or 0..1 for families that stretch every image."""

    def encode(self, image: CaseImage) -> Floats:
        """Image embeddings [B, D, g, g], without the no-mask embedding."""

    def decode(
        self, image: CaseImage, embedding: Floats, prompt: Prompt, geometry: FrameGeometry
    ) -> Decoded:
        """Masks of N prompts on one embedding, or of one on each; prompts and masks are in the
        frame of `geometry`."""

    def prompt_embeddings(self, prompt: Prompt, geometry: FrameGeometry) -> tuple[Floats, Floats]:
        """Sparse [N, T, D] and dense [N, D, g, g] embeddings of a prompt."""

    def close(self) -> None:
        """Let go of the model."""


class OneByOne:
    """Encodes and decodes the images of a batch one after the other: the part that all stages but
    the eager one share."""

    family: Family

    def encode(self, image: CaseImage) -> Floats:
        """Image embeddings [B, D, g, g]."""
        return np.concatenate([self.encode_one(part) for part in image.parts()])

    def pixels(self, image: CaseImage) -> Floats:
        """Grey levels in front of the network."""
        return np.concatenate([self.pixels_of(part) for part in image.parts()])

    def decode(
        self, image: CaseImage, embedding: Floats, prompt: Prompt, geometry: FrameGeometry
    ) -> Decoded:
        """Masks of N prompts."""
        if len(embedding) == 1:
            return self.decode_one(image, embedding, prompt, geometry)
        answers = [
            self.decode_one(image, embedding[i : i + 1], prompt.only(i), geometry)
            for i in range(len(embedding))
        ]
        return Decoded.joined(answers)

    def encode_one(self, image: CaseImage) -> Floats:
        """The embeddings of one run of the encoder."""
        raise NotImplementedError

    def pixels_of(self, image: CaseImage) -> Floats:
        """The grey levels of one run of the encoder."""
        return numpy_pixels(image, self.family)

    def decode_one(
        self, image: CaseImage, embedding: Floats, prompt: Prompt, geometry: FrameGeometry
    ) -> Decoded:
        """Masks of N prompts on one embedding."""
        raise NotImplementedError


def engine_of(stage: str) -> type[Engine]:
    """The engine class of a stage."""
    module, name = ENGINES[stage]
    engine: type[Engine] = getattr(import_module(module), name)
    return engine


def fp32_only(stage: str, options: Options) -> None:
    """NotSupportedError for any other precision."""
    if options.precision != "fp32":
        raise NotSupportedError(f"the {stage} stage runs in fp32 only, not in {options.precision}")


def numpy_pixels(image: CaseImage, family: Family) -> Floats:
    """Grey levels by the geometry's numpy code: for stages whose network has none of its own."""
    levels = [
        with_mean(network_input(frame, geometry, family), family, geometry)
        for frame, geometry in zip(image.frames, image.geometries, strict=True)
    ]
    return np.concatenate(levels)


def with_mean(pixels: Floats, family: Family, geometry: FrameGeometry) -> Floats:
    """`network_input` [B, K, S, S] as grey levels: the mean of padded families is put back."""
    if not family.padded:
        return pixels
    mean = np.array(family.mean, dtype=np.float32)[:, None, None] * np.float32(family.value_scale)
    return pixels + mean * np.outer(geometry.valid_rows, geometry.valid_cols)


def tokens_of(
    prompt: Prompt, geometry: FrameGeometry, family: Family
) -> tuple[Floats, NDArray[np.int32]]:
    """Points, padding, box corners: network px [N, T, 2] and labels [N, T]."""
    n = prompt.count
    points = np.zeros((n, 0, 2)) if prompt.point_coords is None else prompt.point_coords
    labels = np.zeros((n, 0), np.int32) if prompt.point_labels is None else prompt.point_labels
    return prompt_tokens(family, geometry, points, labels, prompt.boxes)


def dense_embedding(added: Floats | None, no_mask: Floats, count: int, grid: int) -> Floats:
    """Dense embedding [N, D, g, g] from what a mask prompt adds to the tokens, [N, g*g, D]."""
    tokens = np.zeros((count, grid * grid, len(no_mask)), np.float32) + no_mask
    if added is not None:
        tokens = tokens + added
    return np.ascontiguousarray(tokens.transpose(0, 2, 1)).reshape(count, -1, grid, grid)


class EagerEngine:
    """The torch modules, as in training."""

    def __init__(self, build: Build, options: Options) -> None:
        fp32_only("eager", options)
        self.model = build.model()
        self.family = self.model.family
        self.traces: dict[str, Floats] = {}
        self.notes: list[str] = []
        self._hooks: list[Any] = []

    def watch(self, names: list[str]) -> None:
        """Hook the modules behind `names`; a suffix [0] or [1] picks a part of a tuple."""
        for name in names:
            path, _, index = name.partition("[")
            part = int(index.rstrip("]")) if index else None
            module = self.model.get_submodule(path)
            self._hooks.append(module.register_forward_hook(self._hook(name, part)))

    def _hook(self, name: str, part: int | None) -> Any:
        def record(_module: Any, _inputs: Any, output: Any) -> None:
            self.traces[name] = trace_row(output if part is None else output[part])

        return record

    def pixels(self, image: CaseImage) -> Floats:
        """Grey levels in front of the network."""
        return numpy_pixels(image, self.family)

    def encode(self, image: CaseImage) -> Floats:
        """Image embeddings [B, D, g, g]; a batch in one run, as traces want it."""
        with torch.inference_mode():
            embedding: Floats = self.model.encode(torch.from_numpy(image.network_input)).numpy()
        return embedding

    def decode(
        self, image: CaseImage, embedding: Floats, prompt: Prompt, geometry: FrameGeometry
    ) -> Decoded:
        """Masks of N prompts; brought to frame size by the two interpolations of the originals."""
        points, boxes, masks = _modules_prompt(prompt, geometry, self.family)
        coords, labels = points if points is not None else (None, None)
        with torch.inference_mode():
            low_res, iou = self.model.decode(
                torch.from_numpy(embedding), coords, labels, boxes, masks, prompt.multimask
            )
            full = self._to_frame(low_res, geometry)
        return Decoded(low_res.numpy(), iou.numpy(), full, decide(full, self.family))

    def _to_frame(self, low_res: torch.Tensor, geometry: FrameGeometry) -> Floats:
        """The originals' own steps, where torch has them."""
        family = self.family
        if family.mask_interpolation != "bilinear":
            return mask_values(low_res.numpy(), geometry, family)
        x = low_res.sigmoid() if family.mask_values == "probability" else low_res
        square = (family.upscale_size,) * 2
        if square != low_res.shape[-2:]:
            x = F.interpolate(x, square, mode="bilinear", align_corners=False)
        if family.padded:
            height, width = geometry.valid
            x = x[..., :height, :width]
        frame = (geometry.height, geometry.width)
        full: Floats = F.interpolate(x, frame, mode="bilinear", align_corners=False).numpy()
        return full

    def prompt_embeddings(self, prompt: Prompt, geometry: FrameGeometry) -> tuple[Floats, Floats]:
        """What the prompt encoder gives."""
        with torch.inference_mode():
            sparse, dense = self.model.prompt_encoder(
                *_modules_prompt(prompt, geometry, self.family)
            )
        return sparse.numpy(), dense.detach().numpy()

    def close(self) -> None:
        """Unhook; the model belongs to the build."""
        for hook in self._hooks:
            hook.remove()
        del self.model


class FoldedEngine(OneByOne):
    """The folded model in torch."""

    def __init__(self, build: Build, options: Options) -> None:
        fp32_only("folded", options)
        self.folded = build.folded()
        self.family = self.folded.family
        self.traces: dict[str, Floats] = {}
        self.notes: list[str] = []

    def watch(self, names: list[str]) -> None:
        """Folding leaves no modules to compare with."""

    def encode_one(self, image: CaseImage) -> Floats:
        """The embeddings of one run of the encoder."""
        if image.frame is None or image.geometry is None:
            pixels = grey_levels(image, self.family)
        else:
            pixels = network_input(image.frame, image.geometry, self.family)
        whole = self.folded.encode(torch.from_numpy(pixels))
        embedding: Floats = (whole - self.folded.no_mask.reshape(1, -1, 1, 1)).numpy()
        return embedding

    def decode_one(
        self, image: CaseImage, embedding: Floats, prompt: Prompt, geometry: FrameGeometry
    ) -> Decoded:
        """Masks of N prompts; the folded decoder gives all masks, those asked for are picked."""
        whole = torch.from_numpy(embedding) + self.folded.no_mask.reshape(1, -1, 1, 1)
        coords = labels = None
        if self.family.prompts:
            tokens = tokens_of(prompt, geometry, self.family)
            coords, labels = (torch.from_numpy(a) for a in tokens)
        mask, has_mask = self._mask(prompt)
        logits, scores = self.folded.decode(whole, coords, labels, mask, has_mask)
        wanted = self.family.mask_tokens(prompt.multimask)
        index = [self.folded.decoder.masks.index(t) for t in wanted]
        low_res = np.ascontiguousarray(logits[:, index].numpy())
        full = mask_values(low_res, geometry, self.family)
        return Decoded(low_res, scores[:, index].numpy(), full, decide(full, self.family))

    def _mask(self, prompt: Prompt) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        if prompt.masks is None:
            return None, None
        mask = torch.from_numpy(np.ascontiguousarray(prompt.masks))
        return mask, torch.ones(len(mask))

    def prompt_embeddings(self, prompt: Prompt, geometry: FrameGeometry) -> tuple[Floats, Floats]:
        """What the folded prompt encoder gives."""
        decoder = self.folded.decoder
        coords, labels = tokens_of(prompt, geometry, self.family)
        mask, has_mask = self._mask(prompt)
        added = None
        assert decoder.prompt is not None
        with torch.no_grad():
            sparse = decoder.prompt(torch.from_numpy(coords), torch.from_numpy(labels)).numpy()
            if decoder.mask_prompt is not None and mask is not None:
                added = decoder.mask_prompt(mask, has_mask).numpy()
        grid, no_mask = self.folded.variant.grid, self.folded.no_mask.numpy()
        return sparse, dense_embedding(added, no_mask, prompt.count, grid)

    def close(self) -> None:
        """The model belongs to the build."""
        del self.folded


def grey_levels(image: CaseImage, family: Family) -> Floats:
    """Normalised network input -> grey levels less the mean, as folded models take them."""
    std = np.array(family.std, dtype=np.float32) * np.float32(family.value_scale)
    return image.network_input * std[:, None, None]


def trace_row(output: torch.Tensor) -> Floats:
    """Mean, standard deviation and 256 evenly spaced values of a tensor."""
    values = output.detach().double().flatten()
    chosen = np.linspace(0, values.numel() - 1, 256).astype(np.int64)
    row = torch.cat((values.mean()[None], values.std()[None], values[torch.from_numpy(chosen)]))
    return row.numpy().astype(np.float32)


def _modules_prompt(
    prompt: Prompt, geometry: FrameGeometry, family: Family
) -> tuple[Any, Any, Any]:
    """(coords, labels), boxes and masks as the official modules take them, in network px."""
    points = boxes = None
    if prompt.point_coords is not None:
        assert prompt.point_labels is not None
        coords = torch.from_numpy(geometry.to_network(prompt.point_coords))
        points = (coords, torch.from_numpy(np.ascontiguousarray(prompt.point_labels)))
    if prompt.boxes is not None:
        corners = prompt.boxes.reshape(-1, 2, 2)
        if family.whole_boxes:  # the original's own step
            scale = family.input_size / max(geometry.height, geometry.width)
            xy = (corners * scale).astype(np.int64).astype(np.float32)
        else:
            xy = geometry.to_network(corners)
        boxes = torch.from_numpy(xy.reshape(-1, 4))
    masks = None
    if prompt.masks is not None:
        masks = torch.from_numpy(np.ascontiguousarray(prompt.masks))
    return points, boxes, masks
