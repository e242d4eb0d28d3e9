"""OpenVINO on an Intel GPU, integrated or a card. Only by name: `auto` never takes it.

The network and the decoder run on the GPU, pre-processing on the CPU. It shares everything with the
CPU's backend but the device. Run `samedge verify --backend openvino_gpu` before it serves.
"""

from __future__ import annotations

from samedge.errors import NotSupportedError
from samedge.runtime.openvino.backend import OpenVinoBackend


class OpenVinoGpuBackend(OpenVinoBackend):
    """One graph of a bundle on an Intel GPU. See `samedge.runtime.backend.Backend`."""

    name = "openvino_gpu"
    device = "GPU"

    @classmethod
    def unavailable(cls) -> str | None:
        """Why there is no Intel GPU for OpenVINO, with the remedy; None if there is one."""
        reason = OpenVinoBackend.unavailable()
        if reason is not None:
            return reason
        if _gpus():
            return None
        return (
            "OpenVINO finds no Intel GPU; if this machine has one, install its compute driver "
            "(Ubuntu and Debian: apt install intel-opencl-icd; Windows: Intel's graphics driver), "
            "let this user into the group 'render', and see `samedge doctor`"
        )

    @classmethod
    def slower_than_float32(cls) -> frozenset[str]:
        """None: these GPUs compute half precision at twice the rate or more."""
        return frozenset()

    @classmethod
    def numbered(cls, number: int) -> str:
        """OpenVINO's name of the GPU with this number: "GPU", or "GPU.0", "GPU.1" of several.

        Raises:
            NotSupportedError: there is none.
        """
        there = _gpus()
        if not 0 <= number < len(there):
            raise NotSupportedError(
                f"the openvino_gpu backend has {len(there)} GPUs here, numbered from 0; "
                f"got device {number}"
            )
        return there[number]


def _gpus() -> list[str]:
    """OpenVINO's names of the Intel GPUs, in its order."""
    from samedge.runtime.openvino.compile import core

    return [name for name in core().available_devices if name.partition(".")[0] == "GPU"]
