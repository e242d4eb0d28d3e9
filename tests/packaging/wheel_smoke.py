"""Smoke run of the built wheel, in an environment that holds the wheel and what it asks for.

    python -I tests/packaging/wheel_smoke.py [BUNDLE]

`make wheel-smoke` builds that environment. Needs nothing but the standard library and samedge;
exits with a message at the first thing that is wrong.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import pkgutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

FORBIDDEN = ("torch", "onnx", "av", "nibabel", "pydicom", "pytest")


def main() -> None:
    """Run every check."""
    check_environment()
    modules, missing = check_imports()
    check_commands()
    done = "a bundle segmented" if len(sys.argv) > 1 else "no bundle given, none segmented"
    if len(sys.argv) > 1:
        check_bundle(Path(sys.argv[1]))
    print(f"wheel: {modules} modules import, {missing} more name their extra, commands run, {done}")


def check_environment() -> None:
    """The wheel is what gets imported, and the environment is as bare as a cart's."""
    import samedge

    site = Path(sysconfig.get_paths()["purelib"]).resolve()
    where = Path(samedge.__file__).resolve()
    if site not in where.parents:
        sys.exit(f"samedge was imported from {where}, not from the wheel in {site}")
    present = [name for name in FORBIDDEN if importlib.util.find_spec(name)]
    if present:
        sys.exit(f"not a clean environment, it has: {', '.join(present)}")


def check_imports() -> tuple[int, int]:
    """Every submodule imports, or names the extra that it needs."""
    import samedge
    from samedge.errors import MissingDependencyError

    imported = missing = 0
    broken: list[str] = []

    def ignore(_name: str) -> None:
        """A package that needs an extra is met again below, by its own name."""

    for module in pkgutil.walk_packages(samedge.__path__, "samedge.", onerror=ignore):
        try:
            importlib.import_module(module.name)
            imported += 1
        except MissingDependencyError as error:
            missing += 1
            if f".whl[{error.extra}]" not in str(error):
                broken.append(f"{module.name}: the message does not name the extra: {error}")
        except Exception as error:
            broken.append(f"{module.name}: {type(error).__name__}: {error}")
    if broken:
        sys.exit("modules of the wheel that do not import:\n  " + "\n  ".join(broken))
    if imported < 20:
        sys.exit(f"only {imported} modules found in the wheel")
    return imported, missing


def check_commands() -> None:
    """The installed command answers, and says so where an extra is missing."""
    if "Exit codes" not in run("--help"):
        sys.exit("samedge --help does not list the exit codes")
    report = json.loads(run("doctor", "--json"))
    if not report["openvino"].get("devices"):
        sys.exit(f"samedge doctor finds no OpenVINO device: {report['openvino']}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.pth").write_bytes(b"PK\x03\x04")
        message = run("export", f"{folder}/x.pth", "-o", f"{folder}/x.samedge", expected=4)
    if ".whl[export]" not in message:
        sys.exit(f"samedge export without torch does not name the extra: {message}")


def check_bundle(bundle: Path) -> None:
    """A bundle passes its self-test and segments a frame through the Python API."""
    import numpy

    import samedge

    report = json.loads(run("verify", str(bundle), "--json"))
    if not report["passed"]:
        sys.exit(f"samedge verify {bundle.name} failed: {report}")
    frame = numpy.arange(240 * 320, dtype=numpy.uint32).reshape(240, 320).astype(numpy.uint8)
    with samedge.load(bundle, precision="fp32", cache=False) as session:
        result = session.segment(frame, points=[(160.0, 120.0)], labels=[1])
    if result.masks.shape != (1, 240, 320) or result.masks.max() > 1:
        sys.exit(f"unexpected masks: {result.masks.shape}, maximum {result.masks.max()}")


def run(*arguments: str, expected: int = 0) -> str:
    """Output of the installed `samedge` command (stdout, or stderr where it has to fail)."""
    script = Path(sysconfig.get_paths()["scripts"]) / "samedge"
    done = subprocess.run([str(script), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != expected:
        sys.exit(
            f"samedge {' '.join(arguments)}: exit code {done.returncode}, expected {expected}\n"
            f"{done.stdout}{done.stderr}"
        )
    return done.stderr if expected else done.stdout


if __name__ == "__main__":
    main()
