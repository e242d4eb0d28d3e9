"""Arrays that a session hands to its engines, allocated once per frame size or prompt size.

Engines bind these arrays themselves, without a copy, so the same array object must come back for
the same size; a session keeps the last few (`samedge.geometry.recent`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import BundleError
from samedge.families import Family
from samedge.geometry.frame_geometry import Crop, FrameGeometry, geometry_of_crop
from samedge.geometry.network_input import encoder_inputs
from samedge.runtime.backend import GpuArray, GraphIO

# What a user should know whose frames are `FrameBuffers.turned` and lie on a GPU.
TURNED_ON_CPU = (
    "tall frames on the GPU come to the CPU to be turned, and go back, because this family's "
    "resize begins with their vertical pass; hand over such frames in the CPU's memory, which "
    "saves one of the two ways"
)


@dataclass(frozen=True, eq=False)
class FrameBuffers:
    """What the engines need for frames of one size and crop.

    Attributes:
        geometry: the matrices' source, and the coordinate map of prompts.
        frame: uint8 [H, W, C] (or uint16, or with a leading axis of slices), filled anew for every
            frame; a view of the input of that name.
        inputs: all inputs of the encoder, `frame` among them.
        mask_rows, mask_cols: float32 [H, L] and [W, L], for the decoder.
    """

    geometry: FrameGeometry
    frame: NDArray[Any]
    inputs: dict[str, NDArray[Any]]
    mask_rows: NDArray[np.float32]
    mask_cols: NDArray[np.float32]

    @classmethod
    def for_frame(
        cls,
        family: Family,
        pixels: NDArray[Any] | GpuArray,
        crop: Crop,
        input_size: int,
        low_res: int,
        io: GraphIO,
    ) -> FrameBuffers:
        """Buffers for frames like `pixels`, [H, W, C] or [slices, H, W, C].

        Args:
            family, input_size, low_res: of the bundle.
            pixels: only its shape and dtype count.
            crop: of such frames, as `checked_crop` gives it.
            io: of the encoder.

        Raises:
            FrameError: the family cannot take such frames.
            BundleError: the encoder has an input that is none of ours.
        """
        height, width, channels = pixels.shape[-3:]
        geometry = geometry_of_crop(family, height, width, crop, input_size, low_res)
        # Fresh arrays: engines want writable memory, and geometries are shared and read-only.
        depth = 8 * pixels.dtype.itemsize
        known, frame = encoder_inputs(family, geometry, channels, depth)
        foreign = [spec.name for spec in io.inputs if spec.name not in known]
        if foreign:
            raise BundleError(
                f"the encoder wants inputs that this version of samedge does not know: "
                f"{', '.join(foreign)}; use the version that wrote the bundle, or export it again"
            )
        inputs = {spec.name: known[spec.name] for spec in io.inputs}
        return cls(geometry, frame, inputs, geometry.mask_rows.copy(), geometry.mask_cols.copy())

    @property
    def nbytes(self) -> int:
        """Memory of all arrays but those that the geometry shares with others, in bytes."""
        own = (*self.inputs.values(), self.mask_rows, self.mask_cols)
        return sum(array.nbytes for array in own)

    @property
    def turned(self) -> bool:
        """The encoder takes these frames transposed: tall ones, where PIL would start with the
        vertical pass."""
        return bool(np.any(self.inputs.get("rows_first", 0)))

    def filled(self, pixels: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The encoder's inputs for one frame, [H, W, C] or [slices, H, W, C], of the size and dtype
        that these buffers are for. The pixels are copied."""
        np.copyto(self.frame, pixels)
        return self.inputs


@dataclass(frozen=True, eq=False)
class DecoderBuffers:
    """Inputs (besides the embedding and the matrices) and outputs of the decoder for one size."""

    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]

    @classmethod
    def allocate(
        cls,
        io: GraphIO,
        objects: int,
        length: int,
        masks: int,
        tokens: tuple[int, ...],
        size: tuple[int, int],
        low_res: int,
    ) -> DecoderBuffers:
        """Buffers for `objects` objects of `length` tokens, `masks` mask prompts, frame `size`."""
        count = len(tokens)
        known: dict[str, NDArray[Any]] = {
            "point_coords": np.zeros((objects, length, 2), np.float32),
            "point_labels": np.zeros((objects, length), np.int32),
            "mask_input": np.zeros((masks, 1, low_res, low_res), np.float32),
            "has_mask": np.zeros(masks, np.float32),
            "mask_index": np.array(tokens, np.int64),
        }
        outputs: dict[str, NDArray[Any]] = {
            "masks": np.zeros((objects, count, *size), np.uint8),
            "scores": np.zeros((objects, count), np.float32),
            "low_res_logits": np.zeros((objects, count, low_res, low_res), np.float32),
        }
        if io.has_output("class_map"):
            outputs["class_map"] = np.zeros((objects, *size), np.uint8)
        inputs = {name: array for name, array in known.items() if io.has_input(name)}
        return cls(inputs, outputs)

    @property
    def nbytes(self) -> int:
        """Memory of all arrays, in bytes."""
        return sum(array.nbytes for array in (*self.inputs.values(), *self.outputs.values()))

    def fill(
        self,
        coords: NDArray[np.float32],
        labels: NDArray[np.int32],
        masks: NDArray[np.float32] | None,
    ) -> None:
        """Put one group's prompts into the inputs."""
        if "point_coords" in self.inputs:
            np.copyto(self.inputs["point_coords"], coords)
            np.copyto(self.inputs["point_labels"], labels)
        if "mask_input" in self.inputs:
            self.inputs["mask_input"][...] = 0.0 if masks is None else masks
            self.inputs["has_mask"][...] = 0.0 if masks is None else 1.0
