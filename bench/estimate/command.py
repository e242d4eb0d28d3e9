"""What `samedge estimate` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from samedge.bench.estimate.bound import Bound, bounds, measured_bounds, sheet
from samedge.bench.estimate.devices import BY_NAME, Device, Figure
from samedge.bench.estimate.work import Part, work_of_bundle
from samedge.bench.peak import PRECISIONS, peak_gops
from samedge.bench.report.sheet import Column, Sheet, Table
from samedge.bundle import Bundle
from samedge.errors import NotSupportedError
from samedge.machine.cpu import physical_cores
from samedge.machine.facts import cpu, openvino_devices

SECONDS = 0.1  # for every way and shape of products on this machine


def estimate(
    path: Path,
    devices: Sequence[str],
    precisions: Sequence[str],
    mhz: float | None = None,
    here: bool = False,
) -> Sheet:
    """Bounds of a bundle.

    Args:
        path: of the bundle.
        devices: names of `samedge.bench.estimate.devices.BY_NAME`.
        precisions: those that a device does not compute in are left out.
        mhz: clock instead of the data sheet's.
        here: also of this machine's processor, whose rate is measured.

    Raises:
        BundleError: it is none, or not of samedge's writing.
        MissingDependencyError: the extra `export` is not installed.
        NotSupportedError: a device computes in none of the precisions.
    """
    bundle = Bundle.open(path)
    work = work_of_bundle(bundle)
    found = [b for name in devices for b in bounds(work, BY_NAME[name], precisions, mhz)]
    notes = [f"{BY_NAME[n].title}: {BY_NAME[n].note}" for n in devices if BY_NAME[n].note]
    if here:
        measured, told = bounds_here(work, precisions)
        found += measured
        notes += told
    return sheet(bundle.manifest.title, work, found, notes)


def bounds_here(
    work: Mapping[str, Part], precisions: Sequence[str]
) -> tuple[list[Bound], list[str]]:
    """Of this machine's processor, in the precisions that it has instructions for; and notes.

    Raises:
        NotSupportedError: it has instructions for none of them.
    """
    wanted = [p for p in native_precisions() if p in precisions]
    if not wanted:
        raise NotSupportedError(
            f"this machine's processor computes in {', '.join(native_precisions())}, and "
            f"{', '.join(precisions)} came: add --precision fp32"
        )
    peaks = [peak_gops(precision, physical_cores(), SECONDS) for precision in wanted]
    rates = {peak.precision: peak.gops for peak in peaks}
    notes = [f"This machine, {p.precision}: {p.gops:.0f} GFLOP/s by {p.by}" for p in peaks]
    notes.append(
        "It was measured now and its memory left out. While others work on the machine the rate is "
        "too low, and the bound too high."
    )
    return measured_bounds(work, str(cpu()["model"]), rates), notes


def native_precisions() -> list[str]:
    """That the processor has instructions for, as OpenVINO tells; fp32 at least."""
    devices = openvino_devices().get("devices", [])
    native = [p for device in devices if device["device"] == "CPU" for p in device["native"]]
    return [p for p in PRECISIONS if p == "fp32" or p in native]


def sources_of(found: Sheet, devices: Sequence[str]) -> Sheet:
    """With a table of where the devices' figures are from."""
    return replace(found, tables=[*found.tables, sources([BY_NAME[name] for name in devices])])


def sources(devices: Sequence[Device]) -> Table:
    """Every figure of devices, and its source."""
    columns = [
        Column("device"),
        Column("mode"),
        Column("figure"),
        Column("value", "g"),
        Column("source"),
        Column("read"),
    ]
    rows: list[list[str | float]] = []
    for device in devices:
        for mode in device.modes:
            figures = {"multiprocessors": mode.sms, "MHz": mode.mhz, "GB/s": mode.gb_s}
            rows += [_row(device.title, mode.name, name, f) for name, f in figures.items()]
        figures = {"GB": device.memory_gb, "MB of cache": device.cache_mb}
        rows += [_row(device.title, "", name, f) for name, f in figures.items()]
    for made in dict.fromkeys(device.architecture.name for device in devices):
        architecture = next(d.architecture for d in devices if d.architecture.name == made)
        ops = ", ".join(f"{name} {count}" for name, count in architecture.ops.items())
        what = "operations per clock and multiprocessor"
        rows.append([made, "", what, ops, architecture.source, "yes"])
    return Table("Sources", columns, rows)


def _row(title: str, mode: str, name: str, figure: Figure) -> list[str | float]:
    return [title, mode, name, figure.value, figure.source, "yes" if figure.read else "no"]
