"""`samedge doctor`: what runs on this machine, and what to install for the rest."""

from __future__ import annotations

from typing import Any

import click

from samedge.cli.terminal.printing import Printer, common_options


@click.command()
@common_options
def command(quiet: bool, as_json: bool) -> None:
    """Tell what runs on this machine, and what to install for the rest.

    Looks at Python, the processor, its instruction sets and clock, memory, the installed packages,
    OpenVINO's devices, NVIDIA GPUs with their driver and libraries, a Jetson's JetPack and power
    mode, libsamedge, and the engine cache. Changes nothing and reads no host or user name, so the
    output can go into a bug report.
    """
    from samedge._version import __version__

    printer = Printer(quiet, as_json)
    found = facts()
    can = abilities(found)
    todo = advice(found)
    printer.json({"samedge": __version__, **found, "abilities": can, "advice": todo})
    printer.table("Machine", ("", ""), [("samedge", __version__), *_machine_rows(found)])
    printer.table("Packages", ("for", "extra", "installed", "missing"), _package_rows(found))
    printer.table(
        "What works here",
        ("", "", ""),
        [(item["what"], "yes" if item["works"] else "no", item["note"]) for item in can],
    )
    printer.line("What to do" if todo else "Nothing to repair, rebuild or set on this machine.")
    for text in todo:
        printer.line(f"  * {text}")


def facts() -> dict[str, Any]:
    """What `samedge.machine.facts.machine` tells, what lies in the cache, where libsamedge is."""
    from samedge.capi.facts import facts as libsamedge
    from samedge.machine.facts import machine
    from samedge.runtime.engines.contents import contents
    from samedge.runtime.engines.report import engine_cache

    found = machine()
    openvino, libraries = found["openvino"], found["nvidia"]["libraries"]
    versions = {name: item and item["version"] for name, item in libraries.items()}
    processors = {item["device"]: item["name"] for item in openvino.get("devices", [])}
    found["cache_mb"] = contents().bytes / 1e6
    found["engine_cache"] = engine_cache(openvino.get("version"), processors, versions)
    found["libsamedge"] = libsamedge()
    return found


def abilities(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What samedge can do here: a list of {"what", "works", "note"}; the note is the remedy."""
    from samedge._install import install_command
    from samedge.machine.facts import EXTRAS
    from samedge.machine.jetson import how_to_install, major

    jetpack = major(found["jetson"])
    items = [_runs_bundles(found), *(_runs(found, *kind) for kind in _NATIVE)]
    for extra, (purpose, _) in EXTRAS.items():
        if extra:
            missing = [name for name, version in found["packages"][extra].items() if not version]
            note = f"{install_command(extra)}; missing: {', '.join(missing)}"
            if jetpack is not None and extra in ("tensorrt", "rtx"):
                note = how_to_install({"rtx": "tensorrt_rtx"}.get(extra, extra), jetpack)
            items.append({"what": purpose, "works": not missing, "note": note if missing else ""})
    return [*items, _embeds(found), *_runs_on_gpus(found)]


def _embeds(found: dict[str, Any]) -> dict[str, Any]:
    library = found["libsamedge"]
    if library is None:
        works, note = False, "there is no libsamedge; docs/embedding.md says how to build it"
    elif "error" in library:
        works, note = False, library["error"]
    else:
        here = [name for name, reason in library["backends"].items() if reason is None]
        works, note = bool(here), ", ".join(here) or "none of its backends works here"
    return {"what": "run a bundle from C and C++", "works": works, "note": note}


def _runs_bundles(found: dict[str, Any]) -> dict[str, Any]:
    error = found["openvino"].get("error")
    names = ", ".join(item["device"] for item in found["openvino"].get("devices", []))
    note = f"OpenVINO {error}: pip install --force-reinstall openvino" if error else names
    return {"what": "run a bundle (fp32)", "works": not error and bool(names), "note": note}


# Precision, and what to say where the processor does not compute it.
_NATIVE = (
    ("bf16", "the CPU has no bf16 instructions (avx512_bf16, amx_bf16): use fp32"),
    ("int8", "OpenVINO has no int8 kernels for this CPU: use fp32"),
)


def _runs(found: dict[str, Any], precision: str, otherwise: str) -> dict[str, Any]:
    native = any(
        item["device"] == "CPU" and precision in item["native"]
        for item in found["openvino"].get("devices", [])
    )
    note = "" if native else otherwise
    return {"what": f"run a bundle in {precision}", "works": native, "note": note}


def _runs_on_gpus(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Items for the GPUs that there are."""
    from samedge.machine.jetson import major
    from samedge.machine.nvidia import problems

    items = []
    intel = [d for d in found["openvino"].get("devices", []) if d["device"].startswith("GPU")]
    if intel:
        note = f"{intel[0]['name']}: --backend openvino_gpu"
        items.append({"what": "run a bundle on the Intel GPU", "works": True, "note": note})
    nvidia = found["nvidia"]
    jetpack = major(found["jetson"])
    if nvidia["gpus"] or "note" in nvidia or jetpack is not None:
        wrong = problems(nvidia, jetpack)
        names = [gpu["name"] for gpu in nvidia["gpus"]] or ["the Jetson's"] * (jetpack is not None)
        works = bool(names) and not wrong
        note = wrong[0] if wrong else names[0]
        items.append({"what": "run a bundle on the NVIDIA GPU", "works": works, "note": note})
    return items


def advice(found: dict[str, Any]) -> list[str]:
    """What to do about a machine as `facts` describes it: to install, to rebuild, to set."""
    from samedge.machine import jetson, nvidia

    return [
        *nvidia.problems(found["nvidia"], jetson.major(found["jetson"])),
        *jetson.advice(found["jetson"]),
        *_clock(found["cpu"]["governor"]),
        *_engines(found["engine_cache"]),
    ]


def _clock(governor: dict[str, str] | None) -> list[str]:
    if governor is None:
        return []
    # intel_pstate and amd-pstate-epp raise the clock under load in "powersave" as well.
    own = any(name in governor["driver"] for name in ("intel_pstate", "pstate-epp"))
    slow = [name for name in ("powersave", "conservative") if name in governor["governor"]]
    if not slow or (own and slow == ["powersave"]):
        return []
    return [
        f"the processor's frequency governor is '{governor['governor']}', which keeps its clock "
        "low: sudo cpupower frequency-set -g performance"
    ]


def _engines(cache: dict[str, Any]) -> list[str]:
    stale = cache["stale"]
    if not stale:
        return []
    size = sum(item["mb"] for item in stale)
    reasons = sorted({item["why"] for item in stale})
    return [
        f"{len(stale)} of {cache['engines']} cached engines are of no use any more, {size:.0f} MB "
        f"({'; '.join(reasons)}): samedge cache clear --stale; what is needed is built anew"
    ]


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
    return [*rows, *_nvidia_rows(found), *_other_rows(found)]


def _nvidia_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    from samedge.machine.nvidia import TITLES

    nvidia = found["nvidia"]
    rows = []
    for gpu in nvidia["gpus"]:
        text = "{name}, {memory}, compute capability {compute_capability}, driver {driver}"
        rows.append(("NVIDIA GPU", text.format(**gpu)))
    if not nvidia["gpus"]:
        none = nvidia.get("note", "none") if found["jetson"] is None else "the Jetson's own"
        rows.append(("NVIDIA GPU", none))
    if nvidia["cuda"]:
        rows.append(("NVIDIA driver", f"runs CUDA up to {nvidia['cuda']}"))
    for name, library in nvidia["libraries"].items():
        if library is not None:
            cuda = f", for CUDA {library['cuda']}" if library["cuda"] else ""
            rows.append((TITLES[name], f"{library['version']}{cuda}"))
    return rows


def _other_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    jetson = found["jetson"]
    if jetson is not None:
        parts = [f"JetPack {jetson['jetpack'] or 'unknown'}, L4T {jetson['l4t'] or 'unknown'}"]
        if jetson["power_mode"]:
            parts.append(f"power mode {jetson['power_mode']}")
        if jetson["gpu_mhz"]:
            parts.append("GPU clock {now} MHz ({least} to {most})".format(**jetson["gpu_mhz"]))
        rows.append(("Jetson", ", ".join(parts)))
    governor = found["cpu"]["governor"]
    if governor is not None:
        rows.append(("clock governor", f"{governor['governor']} ({governor['driver']})"))
    library = found["libsamedge"]
    if library is None:
        rows.append(("libsamedge", "none"))
    elif "error" in library:
        rows.append(("libsamedge", f"{library['path']} cannot be used"))
    else:
        rows.append(("libsamedge", "{path}, version {version}, ABI {abi}".format(**library)))
    cache = found["engine_cache"]
    text = f"{cache['engines']} engines, {cache['mb']:.0f} MB"
    if found["cache_mb"]:
        text += f"; {found['cache_mb']:.0f} MB with all else: samedge cache"
    stale = len(cache["stale"])
    rows.append(("engine cache", text + (f", {stale} of no use any more" if stale else "")))
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
    from samedge.machine.facts import EXTRAS

    rows = []
    for extra, (purpose, _) in EXTRAS.items():
        versions = found["packages"][extra]
        present = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        missing = ", ".join(name for name, version in versions.items() if not version)
        rows.append((purpose, extra or "(none)", present or "-", missing or "-"))
    return rows
