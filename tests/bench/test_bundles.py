"""`samedge.bench.run` with sessions whose clock and results are made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest

from samedge.bench import Report, bundles, run
from samedge.bench.contenders import sessions
from samedge.bench.contenders.entry import Entry
from samedge.bench.contenders.sessions import labels, variants
from samedge.bench.report.values import Row
from samedge.bench.schedule import FLAT, KEPT_WARM, PACED
from samedge.bundle import Bundle, SelfTest
from samedge.errors import NotSupportedError, ParityError, SourceError
from samedge.families import SAMUS
from samedge.progress import Step
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.result import Result
from samedge.runtime.triton.backend import TRITON
from tests.bench.clocks import FakeClock, Worker
from tests.bundle.manifests import parity_row, small_manifest

STAGES = {"preprocess": 0.10, "encode": 0.80, "prompt": 0.05, "decode": 0.05}  # of a frame


class FakeBundle(Bundle):
    """A bundle with one self-test whose logits are 0, and nothing on the disk."""

    def __init__(self, name: str = "tiny.samedge", **changes: Any) -> None:
        path = Path("/somebody/at/home", name)
        super().__init__(path, path, small_manifest(**changes))

    def selftest(self) -> list[SelfTest]:
        return [
            SelfTest(
                name="first",
                frame=np.zeros((20, 30), np.uint8),
                points=np.zeros((1, 1, 2)),
                labels=np.ones((1, 1), np.int64),
                box=None,
                low_res_logits=np.zeros((1, 4, 4), np.float32),
                masks=np.zeros((1, 20, 30), np.uint8),
                scores=np.zeros(1, np.float32),
            )
        ]


class FakeSession:
    """Every frame takes `milliseconds` of fake time."""

    def __init__(
        self,
        machine: Machine,
        bundle: FakeBundle,
        what: tuple[str, str, int],
        milliseconds: float,
        error: float,
    ) -> None:
        self.machine, self.bundle, self.what = machine, bundle, what
        self.milliseconds, self.error = milliseconds, error
        self.family, self.frames, self.closed = SAMUS, 0, False

    def set_frame(self, frame: Any) -> None:
        self.frame = frame

    def predict(self, **_prompts: Any) -> Result:
        return self.result(self.frame)

    def segment(self, frame: Any, **_prompts: Any) -> Result:
        self.frames += 1
        self.machine.frames += 1
        if self.machine.frames == self.machine.interrupted_at:
            raise KeyboardInterrupt
        self.machine.clock.time += self.milliseconds / 1e3
        return self.result(frame)

    def result(self, frame: Any) -> Result:
        stages = {name: self.milliseconds * share for name, share in STAGES.items()}
        return Result(
            masks=np.zeros((1, *frame.shape[:2]), np.uint8),
            scores=np.zeros(1, np.float32),
            low_res_logits=np.full((1, 4, 4), self.error, np.float32),
            object_index=np.zeros(1, np.int64),
            timing_ms={**stages, "total": self.milliseconds},
        )

    def describe(self) -> dict[str, Any]:
        backend, precision, threads = self.what
        names = {"backend": backend, "precision": precision, "threads": threads}
        return {**names, "device": "a <fast> CPU", "why": "", "notes": ["a note"]}

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Machine:
    """Loads sessions that take what `ms` says of their precision, and errs as `error` says."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.ms: dict[str, float] = {"fp32": 10.0, "bf16": 5.0}
        self.error: dict[str, float] = {}
        self.sessions: list[FakeSession] = []
        self.frames, self.interrupted_at = 0, 0

    def load(
        self, bundle: FakeBundle, backend: str, precision: str, threads: int, **_: Any
    ) -> FakeSession:
        ms, error = self.ms[precision] / threads, self.error.get(precision, 0.0)
        session = FakeSession(self, bundle, (backend, precision, threads), ms, error)
        self.sessions.append(session)
        return session

    def run(self, *given: Any, **options: Any) -> Report:
        """`run` with little of everything, and no process of its own."""
        little = {"frames": 20, "rounds": 5, "warmup": 0, "startup": False, "threads": (1,)}
        return run(given or (FakeBundle(),), clock=self.clock, **{**little, **options})


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(sessions, "load", made.load)
    monkeypatch.setattr(OPENVINO, "precisions", lambda: ("fp32", "bf16"))
    monkeypatch.setattr(OPENVINO, "unavailable", lambda: None)
    return made


def test_report_counts_what_happened(machine: Machine) -> None:
    report = machine.run(precisions=("fp32",), warmup=10)
    (row,) = report.rows
    assert row.name == "tiny openvino fp32 1 thread"
    assert machine.sessions[0].frames == 10 + 20
    assert row.modes[FLAT].frames == pytest.approx([10.0] * 20)
    assert row.modes[FLAT].fps == pytest.approx(100.0)
    assert report.plan["rounds"] == 5
    assert report.plan["fps"] is None
    assert row.parity["passed"]
    assert row.about["device"] == "a <fast> CPU"
    assert row.notes == ("a note",)
    assert all(session.closed for session in machine.sessions)
    assert Report.from_json(json.loads(json.dumps(report.to_json()))).rows[0].name == row.name


def test_stages_are_in_the_report_without_their_sum(machine: Machine) -> None:
    (row,) = machine.run(precisions=("fp32",)).rows
    stages = row.modes[FLAT].stages()
    assert list(stages) == list(STAGES)
    assert stages["encode"].p50.value == pytest.approx(8.0)
    assert sum(stage.p50.value for stage in stages.values()) == pytest.approx(10.0)


def test_a_rate_adds_paced_frames(machine: Machine) -> None:
    report = machine.run(precisions=("fp32",), fps=50.0)
    (row,) = report.rows
    assert tuple(row.modes) == (FLAT, PACED)
    assert np.diff(row.modes[PACED].at_s[0]) == pytest.approx([0.02] * 3)
    assert report.deadline_ms == pytest.approx(20.0)
    assert row.modes[FLAT].summary(report.deadline_ms).missed == 0


def test_kept_warm_without_a_rate_is_at_thirty(machine: Machine) -> None:
    report = machine.run(precisions=("fp32",), keep_warm=True)
    assert tuple(report.rows[0].modes) == (FLAT, PACED, KEPT_WARM)
    assert report.plan["fps"] == 30.0
    assert machine.clock.spun > 0.1


def test_every_combination_has_a_row(machine: Machine) -> None:
    bundles_ = FakeBundle("a.samedge"), FakeBundle("b.zip")
    report = machine.run(*bundles_, precisions=("fp32", "bf16"), threads=(1, 2))
    assert [row.name for row in report.rows] == [
        f"{bundle} openvino {precision} {threads}"
        for bundle in "ab"
        for precision in ("fp32", "bf16")
        for threads in ("1 thread", "2 threads")
    ]
    medians = [row.modes[FLAT].summary().p50.value for row in report.rows]
    assert medians == pytest.approx([10.0, 5.0, 5.0, 2.5] * 2)


def test_what_auto_means_is_not_measured_twice(machine: Machine) -> None:
    parity = (parity_row("openvino", "bf16", True),)
    report = machine.run(FakeBundle(parity=parity), precisions=("auto", "bf16", "all"))
    names = [row.name for row in report.rows]
    assert names == ["tiny openvino bf16 1 thread", "tiny openvino fp32 1 thread"]
    assert "parity gate" in report.rows[0].about["why"]


def test_bundles_of_one_name_are_told_apart() -> None:
    same = [FakeBundle("a.samedge"), FakeBundle("a.zip"), FakeBundle("b.samedge")]
    assert labels(same) == ["a", "a (2)", "b"]


def test_all_backends_are_those_that_run_here(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TRITON, "unavailable", lambda: "there is no GPU in this test")
    report = machine.run(backends=("all",), precisions=("fp32",))
    assert [row.about["backend"] for row in report.rows] == ["openvino"]
    assert any("no GPU in this test" in note for note in report.notes)


def test_a_backend_that_was_named_has_to_run_here(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TRITON, "unavailable", lambda: "there is no GPU in this test")
    with pytest.raises(NotSupportedError, match="no GPU in this test"):
        machine.run(backends=("openvino", "triton"))
    with pytest.raises(NotSupportedError, match="did you mean 'openvino'"):
        machine.run(backends=("openvin",))


def test_a_precision_that_one_bundle_has_not_is_left_out(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = FakeBundle("a.samedge"), FakeBundle("b.samedge", encoder="fp32 int8")
    machine.ms["int8"] = 3.0
    monkeypatch.setattr(OPENVINO, "precisions", lambda: ("fp32", "int8"))
    report = machine.run(*both, precisions=("fp32", "int8"))
    assert [row.name.split()[0] + row.about["precision"] for row in report.rows] == [
        "afp32",
        "bfp32",
        "bint8",
    ]
    assert any(note.startswith("a openvino int8 was left out") for note in report.notes)


def test_a_precision_that_no_bundle_has_is_an_error(machine: Machine) -> None:
    with pytest.raises(NotSupportedError, match="int8"):
        machine.run(precisions=("fp32", "int8"))
    assert not machine.sessions


def test_a_wrong_model_is_never_timed(machine: Machine) -> None:
    machine.error["fp32"] = 0.5
    with pytest.raises(ParityError, match="nothing was timed"):
        machine.run(precisions=("fp32",))
    assert machine.sessions[0].frames == 0
    assert machine.sessions[0].closed


def test_a_wrong_one_of_two_is_refused_and_the_other_timed(machine: Machine) -> None:
    machine.error["bf16"] = 50.0
    report = machine.run(precisions=("fp32", "bf16"))
    right, wrong = report.rows
    assert len(right.modes[FLAT].frames) == 20
    assert not wrong.modes
    assert "self-test" in wrong.refused
    assert not wrong.parity["passed"]
    assert machine.sessions[1].frames == 0


def eager_of(machine: Machine, milliseconds: float) -> Callable[..., list[Entry]]:
    """What `baseline_entries` may be replaced with."""

    def entries(names: Any, _checkpoint: Any, _bundle: Any, _clip: Any, count: int) -> list[Entry]:
        worker = Worker(machine.clock, milliseconds, f"{names[0]} {count}")
        return [Entry(Row(worker.name, baseline=True), worker)]

    return entries


def test_a_checkpoint_adds_the_eager_model_in_turn(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "samedge.bench.contenders.baselines.baseline_entries", eager_of(machine, 35.0)
    )
    report = machine.run(precisions=("fp32",), checkpoint="x.pth")
    ours, eager = report.rows
    assert eager.name == "eager 1"
    assert report.yardstick(ours) == eager
    found = report.ratio(ours, eager)
    assert found is not None
    assert found[0].value == pytest.approx(3.5)
    assert ours.modes[FLAT].at_s[0][0] < eager.modes[FLAT].at_s[0][0]
    assert ours.modes[FLAT].at_s[1][0] > eager.modes[FLAT].at_s[1][0]


def test_a_baseline_without_a_checkpoint_is_an_error(machine: Machine) -> None:
    with pytest.raises(NotSupportedError, match="checkpoint"):
        machine.run(baselines=("eager",))
    assert all(session.closed for session in machine.sessions)


def test_ctrl_c_reports_whole_rounds(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.interrupted_at = 2 * 2 * 4 + 3
    monkeypatch.setattr(bundles, "_with_layers", lambda *_: pytest.fail("it goes on"))
    report = machine.run(precisions=("fp32", "bf16"), layers=True)
    assert report.interrupted
    assert [len(row.modes[FLAT].frames) for row in report.rows] == [8, 8]
    assert all(session.closed for session in machine.sessions)


def test_ctrl_c_after_the_frames_keeps_them(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Report:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundles, "_with_layers", interrupted)
    monkeypatch.setattr(bundles, "_with_starts", lambda *_: pytest.fail("it goes on"))
    report = machine.run(precisions=("fp32",), layers=True, startup=True)
    assert report.interrupted
    assert len(report.rows[0].modes[FLAT].frames) == 20


def test_frames_are_those_of_all_rounds(machine: Machine) -> None:
    plan = machine.run(precisions=("fp32",), frames=3, rounds=10).plan
    assert (plan["rounds"], plan["frames"]) == (3, 1)
    plan = machine.run(precisions=("fp32",), frames=25, rounds=10).plan
    assert (plan["rounds"], plan["frames"]) == (10, 3)
    with pytest.raises(NotSupportedError, match="at least one"):
        machine.run(frames=0)


def test_progress_names_what_is_loaded(machine: Machine) -> None:
    said: list[Step] = []
    machine.run(precisions=("fp32", "bf16"), progress=said.append)
    first = [str(step) for step in said][:2]
    assert first == [
        "loading and verifying: tiny openvino fp32 1 thread, 0 of 2",
        "loading and verifying: tiny openvino bf16 1 thread, 1 of 2",
    ]


def test_what_a_start_failed_of_is_a_note(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(path: Path, precision: str, *_: Any) -> Mapping[str, Any]:
        if precision == "bf16":
            raise SourceError("no such thing")
        return {"cold": {"load_s": 1.0}, "warm": {"load_s": 0.5}}

    monkeypatch.setattr("samedge.bench.startup.measure_start", start)
    report = machine.run(precisions=("fp32", "bf16"), startup=True)
    assert report.rows[0].load["warm"]["load_s"] == 0.5
    assert "its start was not measured: no such thing" in report.rows[1].notes
    assert len(report.rows[1].modes[FLAT].frames) == 20


def test_nothing_is_said_of_a_warm_up_that_was_not_asked_for(machine: Machine) -> None:
    assert machine.run(precisions=("fp32",), warmup=0).rows[0].notes == ("a note",)


def test_libsamedge_that_is_not_there_is_an_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samedge.bench.contenders.native.library_path", lambda: None)
    with pytest.raises(NotSupportedError, match="make capi"):
        machine.run(precisions=("fp32",), native=True)
    assert all(session.closed for session in machine.sessions)


def test_frames_and_volumes_are_not_compared(machine: Machine) -> None:
    volume = FakeBundle(family=replace(SAMUS, slices=3))
    with pytest.raises(NotSupportedError, match="slices"):
        machine.run(FakeBundle(), volume)


def test_nobody_s_folders_are_in_a_report(machine: Machine) -> None:
    assert "somebody" not in json.dumps(machine.run(precisions=("fp32",)).to_json())


def test_missing_source(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        machine.run(source=tmp_path / "nothing.mp4")


def test_no_bundle() -> None:
    with pytest.raises(NotSupportedError, match="no bundle"):
        run([])


def test_variants_of_engines_ask_the_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no engine"):
        variants([FakeBundle()], engines=tmp_path)
