"""Frames end to end through a session: latency per stage, frames per second, ratio to eager."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from samedge.bench.frames import Footage, footage, send
from samedge.bench.latency import Clock, alternate, speed_ratio, summarise
from samedge.bundle import Bundle
from samedge.errors import ParityError
from samedge.geometry.frame_geometry import frame_geometry
from samedge.machine.memory import resident_mb
from samedge.runtime import load
from samedge.runtime.parity.verify import verify_session
from samedge.runtime.result import STAGES
from samedge.runtime.session import Session

SCHEMA = 1
EAGER_ROUNDS = 10  # an eager ViT takes seconds per frame


def run(
    bundle_path: str | Path,
    backend: str = "auto",
    precision: str = "auto",
    source: Any = None,
    frames: int = 50,
    warmup: int = 5,
    eager_checkpoint: Any = None,
    threads: int | None = None,
    engines: str | os.PathLike[str] | None = None,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Measure a bundle on this device. It is verified first: a wrong model is never timed.

    Args:
        bundle_path: bundle folder or zip.
        backend, precision, threads, engines: as for `samedge.load`.
        source: image, folder, video or DICOM; None for synthetic speckle of 640 x 480 px.
        frames: measured frames; for a model of volumes, stacks of slices.
        warmup: frames before those.
        eager_checkpoint: the checkpoint (or several) that the bundle was made from; it runs in
            eager PyTorch in the same run, in turn, with the same number of threads.
        clock: seconds; a test passes its own.

    Returns:
        A report of plain JSON values; see docs/performance.md and `render`.

    Raises:
        ParityError: the self-test failed; nothing was timed.
        SamEdgeError: whatever `samedge.load` and the source raise.
    """
    clip = footage(source)
    bundle = Bundle.open(Path(bundle_path))
    model = _eager(eager_checkpoint, bundle)
    start = clock()
    with load(bundle, backend, precision, threads, engines=engines) as session:
        start_s = clock() - start
        parity = _verified(session, bundle)
        report = {
            "schema": SCHEMA,
            "kind": "session",
            **session.describe(),
            "source": clip.about + _stacks(session),
            "frames": frames,
            "slices": session.family.slices,
            "warmup": warmup,
            "start_s": start_s,
            "parity": parity,
            **_stream(session, clip, frames, warmup, clock),
            "eager": None,
        }
        if model is not None:
            rounds = min(frames, EAGER_ROUNDS)
            report["eager"] = _against(model, session, clip, rounds, clock)
    return report


def _verified(session: Session, bundle: Bundle) -> dict[str, Any]:
    row = verify_session(session, bundle.selftest())
    if not row.passed:
        raise ParityError(
            f"{row.backend} {row.precision} fails the self-test (largest logit error "
            f"{row.max_logit_error:.3g}, limit {row.limit:.3g}; {row.flipped:.2%} of the "
            "pixels flipped), so nothing was timed; see `samedge verify`"
        )
    return row.to_json()


def _stream(
    session: Session, clip: Footage, frames: int, warmup: int, clock: Clock
) -> dict[str, Any]:
    """Frames one after the other, as a stream would send them."""
    for index in range(warmup):
        send(session, clip, index)
    samples: dict[str, list[float]] = {stage: [] for stage in STAGES}
    begin = clock()
    for index in range(frames):
        for stage, milliseconds in send(session, clip, index).items():
            samples[stage].append(milliseconds)
    wall_s = clock() - begin
    stages = {stage: summarise(values) for stage, values in samples.items()}
    total = stages["total"].p50
    return {
        "stages_ms": {stage: summary.to_json() for stage, summary in stages.items()},
        "samples_ms": {"samedge": samples["total"]},
        "wall_s": wall_s,
        "fps": frames / wall_s,
        "outside_encoder_share": 1.0 - stages["encode"].p50 / total,
        "resident_mb": resident_mb(),
    }


def _stacks(session: Session) -> str:
    slices = session.family.slices
    return f", in stacks of {slices}" if slices > 1 else ""


def _eager(checkpoint: Any, bundle: Bundle) -> Any:
    if checkpoint is None:
        return None
    from samedge.bench.eager import eager_model

    return eager_model(checkpoint, bundle.manifest)


def _against(
    model: Any, session: Session, clip: Footage, rounds: int, clock: Clock
) -> dict[str, Any]:
    """The eager model and the session in turn, on the first frame."""
    from samedge.bench.eager import eager_frame, eager_prompts, network_input

    family, variant = session.family, session.bundle.manifest.variant
    frame = clip.pixels(0, family)
    height, width = clip.frame(0).shape[:2]
    geometry = frame_geometry(family, height, width, clip.crop, variant.input_size, variant.low_res)
    threads = session.describe()["threads"]
    x = network_input(frame, geometry, family)
    prompts = eager_prompts(clip.prompts(family), geometry, family.slices)
    contenders = {
        "eager": eager_frame(model, x, prompts, threads),
        "samedge": lambda: send(session, clip, 0)["total"],
    }
    samples = alternate(contenders, rounds, warmup=1, pause_s=0.05, clock=clock)
    return {
        "rounds": rounds,
        "eager_ms": summarise(samples["eager"]).to_json(),
        "samedge_ms": summarise(samples["samedge"]).to_json(),
        "times_as_fast": speed_ratio(samples["eager"], samples["samedge"]).to_json(),
        "samples_ms": samples,
        "note": "eager PyTorch float32, encode and decode only; samedge end to end",
    }
