"""Launches carried out at once on torch tensors: on a GPU, or in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from samedge.errors import DeviceError
from samedge.kernels.launch import Array, Launch
from samedge.runtime.triton.sizes import Size

DTYPES = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "i8": torch.int8,
    "u8": torch.uint8,
    "i32": torch.int32,
    "i64": torch.int64,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class TorchRunner:
    """A `Runner` on tensors. The interpreter is used if TRITON_INTERPRET was 1 in the environment
    when Triton was imported.

    Args:
        device: torch's name of the device.

    Attributes:
        arch: compute capability of the device, 0 of the interpreter.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device, self.arch = device, 0
        if torch.device(device).type == "cuda":
            major, minor = torch.cuda.get_device_capability(device)
            self.arch = 10 * major + minor

    def array(self, tensor: torch.Tensor, name: str = "") -> Array:
        """A tensor as a launcher takes it."""
        if tensor.dtype not in NAMES:
            raise DeviceError(f"{name or 'a tensor'} is {tensor.dtype}, which no kernel takes")
        return Array(
            tensor, NAMES[tensor.dtype], tuple(tensor.shape), tuple(tensor.stride()), 0, name
        )

    def tensor(self, array: Array) -> torch.Tensor:
        """The tensor that an array of this runner stands for."""
        whole: torch.Tensor = array.storage
        start = whole.storage_offset() + array.offset // whole.element_size()
        shape = [int(size) for size in array.shape]  # type: ignore[arg-type]
        strides = [int(stride) for stride in array.strides]  # type: ignore[arg-type]
        return whole.as_strided(shape, strides, start)

    def empty(self, shape: Sequence[Size], dtype: str, name: str = "") -> Array:
        """New memory; NaN where the type has one and tests ask torch to fill it."""
        sizes = [int(size) for size in shape]  # type: ignore[arg-type]
        return self.array(torch.empty(sizes, dtype=DTYPES[dtype], device=self.device), name)

    def launch(self, launch: Launch) -> None:
        """Start a kernel."""
        arguments = {
            name: self.tensor(value) if isinstance(value, Array) else value
            for name, value in launch.arguments.items()
        }
        for name, value in arguments.items():
            if isinstance(value, torch.Tensor) and value.data_ptr() % 16:
                raise DeviceError(f"{launch.kernel.__name__}: {name} is not aligned to 16 bytes")
        launch.kernel[launch.grid](
            **arguments,
            **launch.constants,
            num_warps=launch.tile.warps,
            num_stages=launch.tile.stages,
            **({"maxnreg": launch.tile.registers} if launch.tile.registers else {}),
        )
