"""OpenVINO: any x86 or ARM CPU, the default backend; and Intel GPUs, integrated or cards, which run
the network and the decoder while pre-processing stays on the CPU.

The GPU's is only taken by name, never by `auto`. Run `samedge verify --backend openvino_gpu` before
it serves. Precisions below fp32 are the encoder's.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from samedge.bundle import Bundle
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.errors import NotSupportedError
from samedge.machine.facts import cpu
from samedge.runtime.backend import (
    Arrays,
    Backend,
    Engines,
    GraphKeys,
    InnerTensors,
    LoadOptions,
    both_graphs,
)
from samedge.runtime.openvino.engine import OpenVinoEngine
from samedge.runtime.precision import graph_key, runnable

if TYPE_CHECKING:
    from samedge.runtime.openvino.compile import Compiled

# OpenVINO computes what it is told from either graph; float32 has the exact weights.
_EITHER = ("fp32", "fp16")
# x86's instructions that add products of INT8 in 32 bits, as /proc/cpuinfo has them.
_VNNI = ("avx512_vnni", "avx_vnni", "amx_int8")
SATURATES = (
    "this processor has no VNNI, so sums of INT8 products can saturate and masks be worse than the "
    "bundle's gate says"
)
GRAPHS: GraphKeys = {
    "fp32": {"encoder": _EITHER, "decoder": _EITHER},
    "bf16": {"encoder": _EITHER, "decoder": _EITHER},
    "fp16": {"encoder": _EITHER, "decoder": _EITHER},
    "int8": {"encoder": ("int8",), "decoder": _EITHER},
}


class OpenVinoBackend(Backend):
    """The CPU. See `samedge.runtime.backend.Backend`."""

    name = "openvino"
    graphs = GRAPHS
    device = "CPU"  # OpenVINO's own name for it

    def unavailable(self) -> str | None:
        """Why OpenVINO cannot run here, with the remedy; None if it can."""
        try:
            from samedge.runtime.openvino.compile import DEVICE, core

            core().get_property(DEVICE, "FULL_DEVICE_NAME")
        except ImportError as error:
            return f"openvino cannot be imported ({error}); pip install openvino"
        except RuntimeError as error:
            return f"OpenVINO finds no CPU device ({error}); pip install --force-reinstall openvino"
        return None

    def precisions(self) -> tuple[str, ...]:
        """fp32, and those of bf16, fp16 and int8 that the device computes natively."""
        from samedge.runtime.openvino.compile import core

        native = core().get_property(self.device, "OPTIMIZATION_CAPABILITIES")
        return ("fp32", *(name for name in ("bf16", "fp16", "int8") if name.upper() in native))

    def slower_than_float32(self) -> frozenset[str]:
        """Precisions that run natively but gain nothing here, which `auto` therefore leaves out.

        x86 has float16 vectors, but no matrix units for it before AMX-FP16: a SAMUS ViT-B took
        about 1.4 times as long as in float32.
        """
        matrix_units = (
            platform.machine() not in ("x86_64", "AMD64") or "amx_fp16" in cpu()["features"]
        )
        return frozenset() if matrix_units else frozenset({"fp16"})

    def doubtful(self) -> Mapping[str, str]:
        """INT8 on x86 without VNNI: pairs of products are added in 16 bits there, and saturate.

        How far that goes depends on weights and frames. A gate that was passed on a machine with
        VNNI says nothing about it: `samedge verify` on the machine itself does.
        """
        if platform.machine() not in ("x86_64", "AMD64") or set(_VNNI) & set(cpu()["features"]):
            return {}
        return {"int8": SATURATES}

    def proven(
        self, bundle: Bundle, precision: str, device: int = 0, engines: Sequence[Path] = ()
    ) -> bool | None:
        """Whether an engine in these folders passed the parity gate of `samedge build`: like the
        bundle's own table, on the machine that built it."""
        if not engines:
            return None
        from samedge.runtime.engines.store import EngineStore
        from samedge.runtime.openvino.prepared import key_for

        key = key_for(bundle, precision, self.graphs)
        return EngineStore(tuple(engines)).passed(key, precision)

    def ready(self, bundle: Bundle, engines: Sequence[Path], device: int = 0) -> tuple[str, ...]:
        """Precisions that the engines in these folders serve, by their records, and this CPU
        computes; see `samedge.runtime.backend.Backend`."""
        from samedge.runtime.openvino.prepared import unfit

        self.numbered(device)
        reasons = {
            precision: unfit(bundle, precision, self.graphs, engines)
            for precision in runnable(bundle, self)
        }
        found = tuple(precision for precision, reason in reasons.items() if reason is None)
        if not found:
            first = next((reason for reason in reasons.values() if reason is not None), None)
            raise NotSupportedError(first or f"{bundle.path.name} has no graph for the CPU")
        return found

    def open(self, bundle: Bundle, options: LoadOptions) -> Engines:
        """Compile both graphs of `bundle`, or the user's engine; see `Backend.open`."""
        if options.engines:
            from samedge.runtime.openvino.prepared import compile_prepared

            self._check_precision(options.precision)
            for graph in bundle.manifest.graphs:  # a changed bundle is an error in any case
                bundle.graph(graph, self._key(bundle, graph, options))
            parts = compile_prepared(bundle, self.graphs, options)
            engines = both_graphs(lambda graph: self._engine(bundle, graph, options, parts[graph]))
        else:
            engines = both_graphs(lambda graph: self.open_graph(bundle, graph, options))
        return Engines(*engines, self.device_name(options.device))

    def open_graph(self, bundle: Bundle, graph: str, options: LoadOptions) -> OpenVinoEngine:
        """Compile `graph` ("encoder" or "decoder") of `bundle`, from the engine cache where
        possible.

        Raises:
            BundleError: the file was changed, or is not a graph of ours.
            NotSupportedError: no such precision here or in the bundle, or no such device.
            DeviceError: OpenVINO could not compile it.
        """
        from samedge.runtime.openvino.compile import compile_graph

        self._check_precision(options.precision)
        device, key = self.numbered(options.device), self._key(bundle, graph, options)
        parts, notes = compile_graph(bundle, graph, key, options, device)
        return self._engine(bundle, graph, options, parts, notes)

    def _check_precision(self, precision: str) -> None:
        if precision not in self.precisions():
            raise NotSupportedError(
                f"the {self.name} backend has no precision '{precision}' on this machine; "
                f"here it can do: {', '.join(self.precisions())}"
            )

    def _engine(
        self,
        bundle: Bundle,
        graph: str,
        options: LoadOptions,
        parts: Mapping[str, Compiled],
        notes: Sequence[str] = (),
    ) -> OpenVinoEngine:
        key = self._key(bundle, graph, options)
        entry = bundle.manifest.graphs[graph][key]
        names = frozenset(tensor.name for tensor in entry.tensors)
        if key == "int8" and (reason := self.doubtful().get(key)) is not None:
            notes = [*notes, f"{reason}: run `samedge verify BUNDLE --precision int8` on it"]
        return OpenVinoEngine(parts, names | {NETWORK_INPUT}, tuple(notes))

    def device_name(self, number: int) -> str:
        """What OpenVINO calls the device with this number, for people."""
        from samedge.runtime.openvino.compile import core

        return str(core().get_property(self.numbered(number), "FULL_DEVICE_NAME")).strip()

    @property
    def inner(self) -> InnerTensors:
        """OpenVINO gives out tensors by their names."""
        return self

    def named_outputs(
        self,
        bundle: Bundle,
        graph: str,
        options: LoadOptions,
        names: Sequence[str],
        cases: Sequence[Arrays],
    ) -> list[dict[str, NDArray[Any]]]:
        """Tensors from inside `graph`; see `samedge.runtime.backend.InnerTensors`."""
        from samedge.runtime.openvino.tensors import named_outputs

        device, key = self.numbered(options.device), self._key(bundle, graph, options)
        return named_outputs(bundle, graph, key, options, names, cases, device)

    def numbered(self, number: int) -> str:
        """OpenVINO's name of the device with this number.

        Raises:
            NotSupportedError: there is none.
        """
        if number != 0:
            raise NotSupportedError(
                f"the openvino backend runs on the CPU, which is device 0; got {number}"
            )
        return self.device

    def _key(self, bundle: Bundle, graph: str, options: LoadOptions) -> str:
        return graph_key(bundle.manifest, self.name, graph, options.precision, self.graphs)


class OpenVinoGpuBackend(OpenVinoBackend):
    """Intel GPUs. See `samedge.runtime.backend.Backend`."""

    name = "openvino_gpu"
    device = "GPU"

    def unavailable(self) -> str | None:
        """Why there is no Intel GPU for OpenVINO, with the remedy; None if there is one."""
        reason = super().unavailable()
        if reason is not None:
            return reason
        if _gpus():
            return None
        return (
            "OpenVINO finds no Intel GPU; if this machine has one, install its compute driver "
            "(Ubuntu and Debian: apt install intel-opencl-icd; Windows: Intel's graphics driver), "
            "let this user into the group 'render', and see `samedge doctor`"
        )

    def proven(
        self, bundle: Bundle, precision: str, device: int = 0, engines: Sequence[Path] = ()
    ) -> bool | None:
        """Nothing beyond the bundle's own table."""
        return Backend.proven(self, bundle, precision, device, engines)

    def ready(self, bundle: Bundle, engines: Sequence[Path], device: int = 0) -> tuple[str, ...]:
        """None: the rewrites in an engine of `samedge build --target openvino` are for CPUs."""
        return Backend.ready(self, bundle, engines, device)

    def slower_than_float32(self) -> frozenset[str]:
        """None: these GPUs compute half precision at twice the rate or more."""
        return frozenset()

    def doubtful(self) -> Mapping[str, str]:
        """None: these GPUs add products of INT8 in 32 bits."""
        return {}

    def numbered(self, number: int) -> str:
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


OPENVINO = OpenVinoBackend()
OPENVINO_GPU = OpenVinoGpuBackend()
