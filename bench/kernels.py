"""samedge's kernels on this machine's GPU, next to what PyTorch offers for the same problem.

    python -m samedge.bench.kernels [--cases window_attention,linear.norm] [--dtype fp16]
                                    [--rounds 15] [-o bench/results]

Every contender's answer is compared with float64 before anything is timed; one that is wrong ends
the run. Then all are timed in turn, round by round, each as a CUDA graph by Triton's `do_bench`
(cold L2 cache). The record holds the card, its clocks before and after, versions, and every sample.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from samedge._optional import require
from samedge.bench.eager import require_torch
from samedge.bench.entry import run
from samedge.bench.latency import alternate, speed_ratio, summarise
from samedge.errors import DeviceError, NotSupportedError, ParityError
from samedge.files.whole import make_folder, write_bytes
from samedge.progress import Progress, Step, silent
from samedge.tables import render_table

if TYPE_CHECKING:
    import torch

    from samedge.bench.kernel_contenders import Call
    from samedge.kernels.problems import Case

SCHEMA = 1
OURS = "samedge"
LENIENT = 5  # times our limit are allowed to others: half-precision scores, sums rounded in between
CLOCKS = ("clocks.sm", "clocks.mem", "clocks.max.sm", "temperature.gpu", "power.draw")
COLUMNS = ("case", "contender", "p50 ms", "p90 ms", "samedge is", "error")


class Timer(Protocol):
    """What measures a call on the device.

    Attributes:
        device: torch's name of it.
        card: for people.
    """

    device: str
    card: str

    def prepared(self, call: Call) -> Callable[[], float]:
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
        self.card = str(torch.cuda.get_device_name())

    def prepared(self, call: Call) -> Callable[[], float]:
        """See `Timer`."""
        import torch
        from triton.testing import do_bench

        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(side):
            for _ in range(3):
                call()
        side.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        return lambda: float(do_bench(graph.replay, warmup=5, rep=20, return_mode="median"))

    def state(self) -> dict[str, str]:
        """See `Timer`."""
        asked = ["nvidia-smi", f"--query-gpu={','.join(CLOCKS)}", "--format=csv,noheader", "-i=0"]
        try:
            done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            return {"unknown": type(error).__name__}
        return dict(zip(CLOCKS, (x.strip() for x in done.stdout.split(",")), strict=True))


def measure(
    cases: Sequence[Case],
    timer: Timer,
    dtype: str = "fp16",
    rounds: int = 15,
    others: Callable[[str, Any, Any], dict[str, Call]] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Check, then time.

    Args:
        cases: of samedge.kernels.problems, at their true sizes.
        timer: of the device.
        dtype: "fp16", "bf16" or "fp32".
        rounds: measured rounds, after one to warm up.
        others: gives PyTorch's contenders; default: `kernel_contenders.contenders`.
        progress: told each step.

    Returns:
        A record of plain JSON values.

    Raises:
        ParityError: a contender computes something else; nothing of its case was timed.
    """
    from samedge.bench.kernel_contenders import contenders

    torch = require_torch()
    torch.backends.cuda.matmul.allow_tf32 = False
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "kernels",
        "card": timer.card,
        "dtype": dtype,
        "rounds": rounds,
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "before": timer.state(),
        "cases": [],
    }
    for case in cases:
        progress(Step(f"checking {case.name}"))
        calls, errors = checked(case, timer.device, dtype, others or contenders)
        progress(Step(f"measuring {case.name}, {len(calls)} contenders in turn"))
        ready = {name: timer.prepared(call) for name, call in calls.items()}
        samples = alternate(ready, rounds)
        record["cases"].append(_case(case, samples, errors))
    return {**record, "after": timer.state()}


def checked(
    case: Case, device: str, dtype: str, others: Callable[[str, Any, Any], dict[str, Call]]
) -> tuple[dict[str, Call], dict[str, float]]:
    """Every contender of a case, and the error of its answer.

    Raises:
        ParityError: one is farther off than its element type allows.
    """
    from samedge.kernels.problems.problem import LIMITS, Draw, error
    from samedge.kernels.torch_runner import TorchRunner

    problem = case.make(Draw(dtype, device), **case.true)
    runner = TorchRunner(device)
    arrays = {name: runner.array(x, name) for name, x in problem.given.items()}

    def ours() -> tuple[torch.Tensor, ...]:
        return tuple(map(runner.tensor, problem.solve(runner, arrays)))

    calls: dict[str, Call] = {OURS: ours, **others(case.name, problem.given, case.true)}
    right, errors = problem.answer(), {}
    for name, call in calls.items():
        errors[name] = error(call(), right)
        limit = LIMITS[dtype] * (1 if name == OURS else LENIENT)
        if not errors[name] <= limit:
            raise ParityError(
                f"'{name}' answers {case.name} in {dtype} with an error of {errors[name]:.1e} "
                f"(limit {limit:.0e}), so nothing of it was timed"
            )
    return calls, errors


def _case(
    case: Case, samples: Mapping[str, list[float]], errors: Mapping[str, float]
) -> dict[str, Any]:
    rows = [
        {
            "name": name,
            "ms": summarise(values).to_json(),
            "samedge_is": speed_ratio(values, samples[OURS]).to_json(),
            "error": errors[name],
        }
        for name, values in samples.items()
    ]
    return {"name": case.name, "sizes": dict(case.true), "rows": rows, "samples_ms": dict(samples)}


def versions() -> dict[str, str]:
    """Of what was measured with."""
    torch = require_torch()
    import triton

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": str(torch.version.cuda),
    }


def render(record: Mapping[str, Any], width: int | None = None) -> str:
    """A record as text."""
    rows = []
    for case in record["cases"]:
        for row in case["rows"]:
            ratio = row["samedge_is"]
            times = f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
            cells = [f"{row['ms'][key]:.4f}" for key in ("p50", "p90")]
            times = "" if row["name"] == OURS else times
            rows.append([case["name"], row["name"], *cells, times, f"{row['error']:.1e}"])
    title = f"{record['card']}, {record['dtype']}, {record['rounds']} rounds in turn"
    clocks = (f"{when}: {_words(record[when])}" for when in ("before", "after"))
    note = '"samedge is": times as fast as the contender, median of the rounds (10 % to 90 %).'
    return "\n".join([render_table(title, COLUMNS, rows, width), note, *clocks])


def _words(state: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in state.items())


def chosen(names: Sequence[str]) -> list[Case]:
    """Cases by name; all that PyTorch has something for by default.

    Raises:
        NotSupportedError: there is none of that name.
    """
    from samedge.bench.kernel_contenders import known
    from samedge.kernels.problems import attention, linear

    cases = {case.name: case for case in (*attention.CASES, *linear.CASES)}
    for name in names:
        if name not in known():
            raise NotSupportedError(f"there is no case '{name}'; known: {', '.join(known())}")
    return [cases[name] for name in names or known()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m samedge.bench.kernels", description=__doc__)
    parser.add_argument("--cases", default="", help="names, by commas; default: all")
    parser.add_argument("--dtype", choices=("fp16", "bf16", "fp32"), default="fp16")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("-o", "--output", type=Path, default=Path("bench/results"))
    options = parser.parse_args(arguments)

    def tell(step: Step, /) -> None:
        print(step, file=sys.stderr, flush=True)

    timer = CudaTimer()
    cases = chosen([name for name in options.cases.split(",") if name])
    record = measure(cases, timer, options.dtype, options.rounds, progress=tell)
    print(render(record))
    print(f"written: {save(record, options.output)}")
    return 0


def save(record: Mapping[str, Any], folder: Path) -> Path:
    """Write a record, named for card, type and day."""
    card = re.sub(r"[^a-z0-9]+", "-", str(record["card"]).lower()).strip("-")
    make_folder(folder)
    target = folder / f"kernels-{card}-{record['dtype']}-{record['date']}.json"
    write_bytes(target, json.dumps(record, indent=1).encode())
    return target


if __name__ == "__main__":
    run(main)
