"""`samedge doctor`: what runs on this machine, and what to install for the rest."""

from __future__ import annotations

from typing import Any

import click

from samedge.cli.printing import Printer, common_options


@click.command()
@common_options
def command(quiet: bool, as_json: bool) -> None:
    """Tell what runs on this machine, and what to install for the rest.

    Looks at Python, the processor and its instruction sets, memory, the installed packages,
    OpenVINO's devices and NVIDIA GPUs. Changes nothing and reads no host or user name, so the
    output can go into a bug report.
    """
    from samedge import __version__
    from samedge.runtime.machine import machine

    printer = Printer(quiet, as_json)
    found = machine()
    can = abilities(found)
    printer.json({"samedge": __version__, **found, "abilities": can})
    printer.table("Machine", ("", ""), [("samedge", __version__), *_machine_rows(found)])
    printer.table("Packages", ("for", "extra", "installed", "missing"), _package_rows(found))
    printer.table(
        "What works here",
        ("", "", ""),
        [(item["what"], "yes" if item["works"] else "no", item["note"]) for item in can],
    )


def abilities(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What samedge can do here: a list of {"what", "works", "note"}; the note is the remedy."""
    from samedge.runtime.machine import EXTRAS

    items = [_runs_bundles(found), _runs_bf16(found)]
    for extra, (purpose, _) in EXTRAS.items():
        if extra:
            missing = [name for name, version in found["packages"][extra].items() if not version]
            note = f"pip install 'samedge[{extra}]'   (missing: {', '.join(missing)})"
            items.append({"what": purpose, "works": not missing, "note": note if missing else ""})
    gpus = found["nvidia"]["gpus"]
    if gpus or "note" in found["nvidia"]:
        name = gpus[0]["name"] if gpus else found["nvidia"]["note"]
        note = f"{name}: this version runs on the CPU only; GPU backends come in a later one"
        items.append({"what": "run a bundle on the NVIDIA GPU", "works": False, "note": note})
    return items


def _runs_bundles(found: dict[str, Any]) -> dict[str, Any]:
    error = found["openvino"].get("error")
    names = ", ".join(item["device"] for item in found["openvino"].get("devices", []))
    note = f"OpenVINO {error}: pip install --force-reinstall openvino" if error else names
    return {"what": "run a bundle (fp32)", "works": not error and bool(names), "note": note}


def _runs_bf16(found: dict[str, Any]) -> dict[str, Any]:
    native = any(
        item["device"] == "CPU" and "bf16" in item["native"]
        for item in found["openvino"].get("devices", [])
    )
    note = "" if native else "the CPU has no bf16 instructions (avx512_bf16, amx_bf16): use fp32"
    return {"what": "run a bundle in bf16", "works": native, "note": note}


def _machine_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    system, cpu, memory = found["system"], found["cpu"], found["memory"]
    rows = [
        ("Python", f"{found['python']['version']} ({found['python']['implementation']})"),
        ("system", f"{system['os']}, kernel {system['kernel']}, {system['architecture']}"),
        ("processor", cpu["model"]),
        ("instructions", ", ".join(cpu["features"]) or "unknown"),
        ("cores", f"{cpu['physical_cores']} physical, {cpu['logical_cores']} logical"),
        ("memory", _memory_text(memory)),
    ]
    if system["board"]:
        rows.insert(2, ("board", system["board"]))
    openvino = found["openvino"]
    if "error" in openvino:
        rows.append(("OpenVINO", openvino["error"]))
    for item in openvino.get("devices", []):
        text = f"{item['name']}; native: {', '.join(item['native'])}"
        rows.append((f"OpenVINO {item['device']}", text))
    for gpu in found["nvidia"]["gpus"]:
        text = "{name}, {memory}, compute capability {compute_capability}, driver {driver}"
        rows.append(("NVIDIA GPU", text.format(**gpu)))
    if not found["nvidia"]["gpus"]:
        rows.append(("NVIDIA GPU", found["nvidia"].get("note", "none")))
    return rows


def _memory_text(memory: dict[str, int | None]) -> str:
    if memory["total_mb"] is None:
        return "unknown"
    text = f"{memory['total_mb'] / 1000:.1f} GB"
    if memory["available_mb"] is not None:
        text += f", {memory['available_mb'] / 1000:.1f} GB free"
    if memory["limit_mb"] is not None and memory["limit_mb"] < memory["total_mb"]:
        text += f", limited to {memory['limit_mb'] / 1000:.1f} GB"
    return text


def _package_rows(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    from samedge.runtime.machine import EXTRAS

    rows = []
    for extra, (purpose, _) in EXTRAS.items():
        versions = found["packages"][extra]
        present = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        missing = ", ".join(name for name, version in versions.items() if not version)
        rows.append((purpose, extra or "(none)", present or "-", missing or "-"))
    return rows
