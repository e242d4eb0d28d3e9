"""`samedge stream`: masks on frames as they come, from a device to a screen."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samedge.cli.completion import FiniteRange, engine_options, engines_option
from samedge.cli.prompt_options import crop_option, prompt_options
from samedge.cli.terminal.printing import Printer, common_options, verbose_option
from samedge.errors import PromptError

if TYPE_CHECKING:
    from samedge.cli.terminal.live_line import LiveLine
    from samedge.prompts.plan import PromptPlan
    from samedge.stream.live.record import StreamRecord
    from samedge.stream.live.settings import LiveSettings
    from samedge.stream.live.sink import LiveSink
    from samedge.stream.live.stream import LiveStream

_POLL_S = 0.05

EPILOG = """\b
A SOURCE is one of:
  simulator:[KIND]?seed=1&fps=30            a beating heart, simulated
  camera:/dev/video0?fps=30                 a camera or a video grabber (quote it)
  rtsp://HOST/PATH                          a stream in the network
  igtl://HOST:18944                         an OpenIGTLink server, PLUS for instance
  igtl+serve://:18944                       OpenIGTLink clients that connect to us
  FILE, FOLDER                              a video, a DICOM loop, images; at their own times
  replay:DIR                                what folder:DIR recorded
\b
A SINK is one of; give several if you like:
  viewer:                     a page in the browser, http://127.0.0.1:8000 (the default)
  viewer://HOST:PORT          for other machines; a token is asked for
  igtl://:18945               an OpenIGTLink server for 3D Slicer
  igtl+connect://HOST:18945   connects to an OpenIGTLink server
  mp4:FILE                    a video with the masks
  folder:DIR                  frames and masks as PNG, and what was said of them
  dicom-seg:FILE              a DICOM segmentation, and the frames as a secondary capture
  null:                       nothing
\b
Examples:
  samedge stream --demo
  samedge stream samus.samedge --source camera:/dev/video0 --crop auto --track
  samedge stream samus.samedge --source igtl://localhost --sink igtl: --sink viewer: --track
  samedge stream samus.samedge --source loop.mp4 --loop --point 150,95 --track --sink mp4:out.mp4
\b
Ctrl-C ends a stream; what was recorded is finished then.
"""


@click.command(epilog=EPILOG)
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--source", metavar="SOURCE", help="Where frames come from; see below.")
@click.option(
    "--sink", "sinks", metavar="SINK", multiple=True, help="Where they go; see below. Repeat it."
)
@click.option("--demo", is_flag=True, help="The simulator, the model that comes along, the viewer.")
@click.option(
    "--fps",
    type=FiniteRange(0, 1000),
    help="Frames per second of a file, the simulator or a camera; 0: as fast as it goes.",
)
@click.option("--loop", is_flag=True, help="Play a file again and again.")
@prompt_options
@click.option(
    "--name", "names", multiple=True, metavar="TEXT", help="Of an object, in their order."
)
@click.option("--track", is_flag=True, help="Prompts follow their objects.")
@crop_option("auto: the ultrasound image is looked for.")
@click.option(
    "--hide-text/--keep-text",
    default=True,
    help="With --crop auto: black for the network what lies outside the ultrasound image.",
)
@click.option("--duration", type=FiniteRange(0, min_open=True), metavar="S", help="End after S s.")
@click.option("--frames", type=click.IntRange(1), metavar="N", help="End after N frames.")
@click.option(
    "--every-frame", is_flag=True, help="Drop no frame: the source waits for the network."
)
@click.option(
    "--deadline",
    type=FiniteRange(1),
    default=100,
    show_default=True,
    metavar="MS",
    help="From capture to mask; later ones are late.",
)
@click.option(
    "--expire",
    type=FiniteRange(1),
    default=500,
    show_default=True,
    metavar="MS",
    help="Time to live of a mask: an older one is never shown.",
)
@click.option(
    "--watchdog",
    type=FiniteRange(0.1),
    default=10,
    show_default=True,
    metavar="S",
    help="An inference that takes longer ends the stream.",
)
@click.option(
    "--give-up",
    type=FiniteRange(0, min_open=True),
    metavar="S",
    help="End when a lost source is not back after S s.  [default: never]",
)
@click.option(
    "--record",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="JSON with versions, settings, latencies, drops and alarms of this run.",
)
@engine_options()
@engines_option
@click.option(
    "--threads", type=click.IntRange(1), help="CPU threads.  [default: the physical cores]"
)
@verbose_option
@common_options
def command(
    bundle: Path | None,
    source: str | None,
    sinks: tuple[str, ...],
    demo: bool,
    fps: float | None,
    loop: bool,
    points: list[Any],
    labels: tuple[int, ...],
    boxes: list[Any],
    objects: bool,
    names: tuple[str, ...],
    track: bool,
    crop: Any,
    hide_text: bool,
    duration: float | None,
    frames: int | None,
    every_frame: bool,
    deadline: float,
    expire: float,
    watchdog: float,
    give_up: float | None,
    record: Path | None,
    backend: str,
    precision: str,
    engines: Path | None,
    threads: int | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Segment a live stream with BUNDLE: frames from SOURCE, with their masks, into each SINK.

    The newest frame wins: what comes while the network is busy is dropped and counted. Without
    --point or --box a click in the viewer, or a point that 3D Slicer sends, says what to segment.
    """
    from samedge.prompts.plan import PromptPlan
    from samedge.stream.live.settings import LiveSettings
    from samedge.stream.live.stream import LiveStream

    plan = PromptPlan(points, labels, boxes, objects)
    try:
        plan.check_combination()
    except PromptError as error:
        raise click.UsageError(str(error)) from error
    settings = LiveSettings(
        crop=crop,
        hide_text=hide_text,
        track=track,
        deadline_s=deadline / 1e3,
        expire_s=expire / 1e3,
        watchdog_s=watchdog,
        give_up_s=math.inf if give_up is None else give_up,
        every_frame=every_frame,
    )
    printer = Printer(quiet, as_json, verbose)
    model, where, plan, settings, notice = _chosen(bundle, source, demo, fps, plan, settings)
    if record is not None:
        from samedge.files.whole import check_target

        check_target(record)
    from samedge.cli.terminal.live_line import LiveLine

    line = LiveLine(printer)
    opened = [_sink(name) for name in sinks or ("viewer:",)]
    stream = LiveStream(
        model,
        where,
        plan,
        names=names,
        sinks=opened,
        settings=settings,
        rate=fps,
        loop=loop,
        duration_s=duration,
        frames=frames,
        backend=backend,
        precision=precision,
        threads=threads,
        engines=engines,
        notice=notice,
        on_alarm=line.alarm,
    )
    _run(stream, opened, line, printer, record)


def _sink(name: str) -> LiveSink:
    """The sink that a name means; opened later, with the stream."""
    from samedge.errors import OutputError
    from samedge.stream.sinks.opening import open_sink

    try:
        return open_sink(name)
    except OutputError as error:
        raise click.UsageError(str(error)) from error


def _chosen(
    bundle: Path | None,
    source: str | None,
    demo: bool,
    fps: float | None,
    plan: PromptPlan,
    settings: LiveSettings,
) -> tuple[Path, Any, PromptPlan, LiveSettings, str]:
    """Bundle, source, prompts, settings and notice: what was given, and for `--demo` the rest."""
    from dataclasses import replace

    from samedge.cli.demo import ready_bundle, ready_notice
    from samedge.prompts.plan import PromptPlan

    if not demo:
        if bundle is None or source is None:
            lacks = "BUNDLE" if bundle is None else "--source"
            raise click.UsageError(f"{lacks} is missing; --demo needs neither")
        return bundle, source, plan, settings, ready_notice(bundle)
    notice = ready_notice(ready_bundle()) if bundle is None else ""
    opened: Any = source
    if source is None:
        from samedge.sources.live_opening import open_live_source

        opened = open_live_source("simulator:", rate=fps)
        if plan.is_empty:
            plan = PromptPlan([opened.start_point])
            settings = replace(settings, track=True)
    return bundle or ready_bundle(), opened, plan, settings, notice


def _run(
    stream: LiveStream,
    sinks: Sequence[LiveSink],
    line: LiveLine,
    printer: Printer,
    record: Path | None,
) -> None:
    try:
        stream.start()
        about = stream.about
        assert about is not None
        printer.engine(about.session)
        for sink in sinks:
            if url := getattr(sink, "url", ""):  # with the token, if there is one: not in records
                printer.line(f"open {url}")
            if where := getattr(sink, "serves", ""):
                printer.line(f"OpenIGTLink clients connect to {where}")
        if about.notice:
            printer.line(about.notice)
        try:
            while stream.is_running:
                line.show(stream.status)
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            stream.stop("interrupted")
        line.clear()
        stream.finish()
    finally:
        line.clear()
        _tell(stream, printer, record)


def _tell(stream: LiveStream, printer: Printer, record: Path | None) -> None:
    """What happened, also where it ended with an error; nothing if it never began."""
    if stream.about is None:
        return
    found = stream.record
    if record is not None:
        from samedge.files.whole import write_json

        write_json(record, found.to_json())
    printer.json(found.to_json())
    _print(found, printer)
    if record is not None:
        printer.line(f"Wrote {record}")


def _print(found: StreamRecord, printer: Printer) -> None:
    counts = found.counts
    words = {
        "captured": "frames captured",
        "segmented": "segmented",
        "repeated": "the same as before",
        "unprompted": "without a prompt",
        "replaced": "dropped, a newer one came",
        "held": "while the picture was held",
        "failed": "the network failed",
        "refused": "refused",
        "left": "left at the end",
        "late": "late",
        "expired": "masks that expired",
    }
    rows = [(text, str(counts[key])) for key, text in words.items() if counts[key]]
    rows += [("frames per second", f"{found.rate:.1f}"), ("ended", found.error or found.ended)]
    printer.table(f"Stream of {found.seconds:.1f} s", ("", ""), rows)
    stages = [*found.stages_ms.items(), *((s["name"], s["latency_ms"]) for s in found.sinks)]
    latency = [
        (
            name if name in found.stages_ms else f"capture to {name}",
            *map(_ms, _PERCENTILES, [h] * 5),
        )
        for name, h in stages
        if h["count"]
    ]
    printer.table("Latency, ms", ("", "p50", "p90", "p95", "p99", "max"), latency)
    written = [
        (s["name"], str(s["written"]), str(s["dropped"]), s["error"] or "-") for s in found.sinks
    ]
    printer.table("Sinks", ("sink", "written", "dropped", "error"), written)
    for sink in found.sinks:
        details = sink["details"]
        if details.get("kind") == "replay":
            total, equal = details["equal"] + details["different"], details["equal"]
            first = details["first_different"]
            where = "" if first is None else f"; the first other one is frame {first}"
            printer.line(f"{equal} of {total} masks equal those of the recording{where}")
    for kind, number in found.alarms["counts"].items():
        printer.line(f"alarm: {kind}, {number} time{'s' * (number != 1)}")


_PERCENTILES = ("p50", "p90", "p95", "p99", "max")


def _ms(key: str, histogram: Any) -> str:
    return f"{histogram[key]:.1f}"
