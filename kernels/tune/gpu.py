"""The GPU that tiles are measured on: run by torch and Triton, timed by CUDA events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from samedge.errors import DeviceError, NotSupportedError
from samedge.kernels.compile import check_arch, compile_each, signature_of
from samedge.kernels.graph_clock import GraphClock
from samedge.kernels.launch import Array, Launch, Tile
from samedge.kernels.problems import Draw, Problem, error
from samedge.kernels.tiles import trying
from samedge.kernels.torch_runner import TorchRunner
from samedge.kernels.tune.workloads import Workload, recorded
from samedge.runtime.triton.sizes import Size


def capability_here() -> int:
    """Compute capability of the GPU of this machine, 87 for 8.7.

    Raises:
        NotSupportedError: there is none, torch cannot use it, or samedge has no kernels for it.
    """
    if not torch.cuda.is_available():
        raise NotSupportedError(
            "tiles are measured on an NVIDIA GPU, and torch finds none here: run this on the "
            "machine with the GPU, with a torch built for CUDA"
        )
    major, minor = torch.cuda.get_device_capability()
    check_arch(10 * major + minor)
    return 10 * major + minor


class _Keeping(TorchRunner):
    """Runs launches and keeps them; what is not written stays NaN."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.launches: list[Launch] = []

    def empty(self, shape: Sequence[Size], dtype: str, name: str = "") -> Array:
        array = super().empty(shape, dtype, name)
        tensor = self.tensor(array)
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))
        return array

    def launch(self, launch: Launch) -> None:
        super().launch(launch)
        self.launches.append(launch)


class GpuBench:
    """A `choice.Bench`.

    Args:
        arch: compute capability of the GPU.
        processes: that compile candidates at a time.
    """

    def __init__(self, arch: int, processes: int, device: str = "cuda") -> None:
        self._arch, self._processes, self._device = arch, processes, device
        self._clock = GraphClock(device)
        self._problems: dict[tuple[str, str], tuple[Problem, tuple[torch.Tensor, ...]]] = {}

    def fitting(
        self, workloads: Sequence[Workload], dtype: str, tiles: Sequence[Tile]
    ) -> Mapping[int, str]:
        """Compile what each tile needs, ahead of time and in parallel."""
        needed, unfit = {}, {}
        for place, tile in enumerate(tiles):
            with trying(workloads[0].kernel, tile):
                launches = [x for w in workloads for x in recorded(w, dtype, self._arch)]
            needed[place] = [signature_of(launch) for launch in launches]
        everything = [signature for some in needed.values() for signature in some]
        compiled = compile_each(everything, self._arch, self._processes)
        for place, signatures in needed.items():
            for result in (compiled[signature] for signature in signatures):
                if isinstance(result, DeviceError):
                    unfit[place] = str(result)
        return unfit

    def ready(
        self, workload: Workload, dtype: str, tile: Tile
    ) -> tuple[float, Callable[[], float]]:
        """Run once and compare; then what is timed is the launches alone, as a CUDA graph."""
        problem, right = self._problem(workload, dtype)
        run = _Keeping(self._device)
        arrays = {name: run.array(tensor, name) for name, tensor in problem.given.items()}
        try:
            with trying(workload.kernel, tile):
                outputs = problem.solve(run, arrays)
            torch.cuda.synchronize()
        except RuntimeError as refused:  # torch's and Triton's, of the driver
            raise DeviceError(f"{workload.name}: {refused}") from refused
        found = tuple(run.tensor(array) for array in outputs)
        launches = _of_tile(run.launches, workload)

        def again() -> None:
            for launch in launches:
                TorchRunner.launch(run, launch)

        return error(found, right), self._clock.of(again)

    def _problem(self, workload: Workload, dtype: str) -> tuple[Problem, tuple[torch.Tensor, ...]]:
        key = workload.name, dtype
        if key not in self._problems:
            problem = workload.problem(Draw(dtype, self._device))
            self._problems[key] = problem, problem.answer()
        return self._problems[key]


def _of_tile(launches: Sequence[Launch], workload: Workload) -> list[Launch]:
    """Without the row statistics that a product needs, which have a tile of their own."""
    own = workload.kernel == "row_statistics"
    return [x for x in launches if own or x.kernel.__name__ != "row_statistics_kernel"]
