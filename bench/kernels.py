"""samedge's kernels on this machine's GPU, next to what PyTorch offers for the same problem.

    python -m samedge.bench.kernels [--cases window_attention,linear.norm] [--dtype fp16]
                                    [--rounds 15] [--frames 20] [--json F] [--html F]

Every contender's answer is compared with float64 before anything is timed; one that is wrong is
not. Then all are timed in turn, each run of a CUDA graph by the GPU's own clock and with a cold L2
cache. Every other one is compared with samedge's kernel.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from samedge._optional import require
from samedge.bench.contenders.eager import require_torch
from samedge.bench.contenders.entry import Entry
from samedge.bench.entry import add_files, add_plan, finish, parsed, parser, plan_of, run, tell
from samedge.bench.measurement import measured_report
from samedge.bench.report.values import Report, Row
from samedge.bench.schedule import Call, Clock, Plan
from samedge.errors import DeviceError, NotSupportedError
from samedge.progress import Progress, Step, silent

if TYPE_CHECKING:
    import torch

    from samedge.bench.contenders.torch_kernels import Call as Launch
    from samedge.kernels.problems import Case

OURS = "samedge"
GPU = "gpu"  # the stage that counts
LENIENT = 5  # times our limit are allowed to others: half-precision scores, sums rounded in between
CLOCKS = ("clocks.sm", "clocks.mem", "clocks.max.sm", "temperature.gpu", "power.draw")


class Timer(Protocol):
    """What measures a call on the device.

    Attributes:
        device: torch's name of it.
        card: for people.
    """

    device: str
    card: str

    def prepared(self, call: Launch) -> Callable[[], float]:
        """The call made ready; every call of the result gives milliseconds of one run."""

    def state(self) -> dict[str, str]:
        """Clocks and the like, now."""


class CudaTimer:
    """Of the first GPU.

    Raises:
        DeviceError: there is none that PyTorch can use.
    """

    device = "cuda"

    def __init__(self) -> None:
        torch = require_torch()
        if not torch.cuda.is_available():
            raise DeviceError(
                "there is no GPU that PyTorch can use, and kernels are timed on nothing else; "
                "`python -m samedge.bench.ops --account` counts launches and bytes without one"
            )
        require("triton", extra="triton", what="samedge's kernels")
        from samedge.kernels.graph_clock import GraphClock

        self.card = str(torch.cuda.get_device_name())
        self._clock = GraphClock(self.device)

    def prepared(self, call: Launch) -> Callable[[], float]:
        """See `Timer`."""
        import torch

        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(side):
            for _ in range(3):
                call()
        side.synchronize()
        return self._clock.of(call)

    def state(self) -> dict[str, str]:
        """See `Timer`."""
        asked = ["nvidia-smi", f"--query-gpu={','.join(CLOCKS)}", "--format=csv,noheader", "-i=0"]
        try:
            done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            return {"unknown": type(error).__name__}
        return dict(zip(CLOCKS, (x.strip() for x in done.stdout.split(",")), strict=True))


def measure(
    cases: Iterable[Case],
    timer: Timer,
    dtype: str = "fp16",
    plan: Plan | None = None,
    others: Callable[[str, Any, Any], dict[str, Launch]] | None = None,
    progress: Progress = silent,
    clock: Clock | None = None,
) -> Report:
    """Check, then time.

    Args:
        cases: of samedge.kernels.problems, at their true sizes.
        timer: of the device.
        dtype: "fp16", "bf16" or "fp32".
        plan: how often; a frame is one run.
        others: gives PyTorch's contenders; default: `torch_kernels.contenders`.
        progress: told each step.
        clock: a test passes its own.

    Returns:
        A row per case and contender, whose latency is the GPU's.

    Raises:
        ParityError: every contender computes something else.
    """
    from samedge.bench.contenders.torch_kernels import contenders

    torch = require_torch()
    torch.backends.cuda.matmul.allow_tf32 = False
    before = timer.state()
    made: list[Entry] = []
    for case in cases:
        progress(Step(f"checking {case.name}"))
        made += entries(case, timer, dtype, others or contenders)
    report = measured_report(
        f"Kernels, {timer.card}, {dtype}",
        made,
        plan or Plan(rounds=15, frames=20, pause_s=0.0),
        source="the sizes of real networks, cold L2 cache",
        notes=(f"before: {_words(before)}",),
        part="kernel of each row",
        clock=clock,
        progress=progress,
    )
    return report.with_notes(f"after: {_words(timer.state())}")


def entries(
    case: Case,
    timer: Timer,
    dtype: str,
    others: Callable[[str, Any, Any], dict[str, Launch]],
) -> Iterator[Entry]:
    """samedge's kernel and the others of one case; those that answer wrongly are refused."""
    from samedge.kernels.problems.problem import LIMITS, Draw, error

    problem = case.make(Draw(dtype, timer.device), **case.true)
    ours = _ours(problem, timer.device)
    calls: dict[str, Launch] = {OURS: ours, **others(case.name, problem.given, case.true)}
    right, first = problem.answer(), f"{case.name}: {OURS}"
    for name, call in calls.items():
        limit = LIMITS[dtype] * (1 if name == OURS else LENIENT)
        found = error(call(), right)
        row = Row(
            f"{case.name}: {name}",
            about={"case": case.name, "contender": name, "precision": dtype,
                   "sizes": dict(case.true), "device": timer.card},
            against="" if name == OURS else first,
            parity={"passed": found <= limit, "error": found, "limit": limit},
            refused="" if found <= limit else f"it answers with an error of {found:.1e} (limit "
            f"{limit:.0e})",
        )  # fmt: skip
        yield Entry(row) if row.refused else Entry(row, _timed(row.name, timer.prepared(call)))


def _ours(problem: Any, device: str) -> Launch:
    from samedge.kernels.torch_runner import TorchRunner

    runner = TorchRunner(device)
    arrays = {name: runner.array(x, name) for name, x in problem.given.items()}

    def call() -> tuple[torch.Tensor, ...]:
        return tuple(map(runner.tensor, problem.solve(runner, arrays)))

    return call


def _timed(name: str, once: Callable[[], float]) -> Call:
    return Call(name, lambda _: {GPU: once()}, counted=GPU)


def _words(state: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in state.items())


def chosen(names: Sequence[str]) -> list[Case]:
    """Cases by name; all that PyTorch has something for by default.

    Raises:
        NotSupportedError: there is none of that name.
    """
    from samedge.bench.contenders.torch_kernels import known
    from samedge.kernels.problems import attention, linear

    cases = {case.name: case for case in (*attention.CASES, *linear.CASES)}
    for name in names:
        if name not in known():
            raise NotSupportedError(f"there is no case '{name}'; known: {', '.join(known())}")
    return [cases[name] for name in names or known()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    made = parser("kernels", __doc__)
    made.add_argument("--cases", default="", help="names, by commas; default: all")
    made.add_argument("--dtype", choices=("fp16", "bf16", "fp32"), default="fp16")
    add_plan(made, rounds=15, frames=20)
    add_files(made)
    options = parsed(made, arguments)
    timer = CudaTimer()
    cases = chosen([name for name in options.cases.split(",") if name])
    report = measure(cases, timer, options.dtype, plan_of(options), progress=tell)
    return finish(report, options, arguments)


if __name__ == "__main__":
    run(main)
