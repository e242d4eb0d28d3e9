"""Builds libsamedge for the tests and for `make capi`, once per checkout, in build/capi.

A machine without a compiler is `Unavailable`, and its tests are skipped; code that does not compile
is a failure.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "samedge" / "capi"
BUILDS = ROOT / "build"
# Debian's names of what is needed to build, and how it is recognised.
TOOLS = {"cmake": ("cmake",), "g++": ("c++", "g++", "clang++"), "pkg-config": ("pkg-config",)}
LIBRARIES = {
    "libssl-dev": "libcrypto",
    "libzip-dev": "libzip",
    "nlohmann-json3-dev": "nlohmann_json",
}


class Unavailable(Exception):
    """This machine lacks what it takes; the message says what to install."""


class Failed(Exception):
    """The build failed; the message is what the compiler said."""


@dataclass(frozen=True)
class Build:
    """One way to build the library, in a folder of its own below build/.

    Attributes:
        name: of the folder.
        options: for CMake, "-DNAME=VALUE".
        openvino: with OpenVINO's headers and library, from the wheel of this Python.
    """

    name: str = "capi"
    options: Sequence[str] = ("-DCMAKE_BUILD_TYPE=Release",)
    openvino: bool = True
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return BUILDS / self.name

    @property
    def library(self) -> Path:
        return self.folder / "libsamedge.so.1"

    @property
    def internals(self) -> Path:
        """The library with functions from inside, for tests."""
        return self.folder / "tests" / "libsamedge_internals.so"

    @property
    def programs(self) -> Path:
        """The folder of the native tests."""
        return self.folder / "tests"


LIBRARY = Build()


def build(wanted: Build = LIBRARY, targets: Sequence[str] = ()) -> Path:
    """Configure and compile what is not there or not new; the folder.

    Several processes may call it at once: one of them builds.

    Raises:
        Unavailable: there is no compiler, CMake, library or OpenVINO.
        Failed: it does not compile.
    """
    missing = lacking()
    if missing:
        raise Unavailable(remedy(missing))
    options = [*wanted.options, "-DSAMEDGE_WERROR=ON", "-DSAMEDGE_BUILD_TESTS=ON"]
    if wanted.openvino:
        options.append(f"-DOpenVINO_DIR={openvino_folder()}")
    else:
        options.append("-DSAMEDGE_OPENVINO=OFF")
    if shutil.which("ninja"):
        options += ["-G", "Ninja"]
    command = ["cmake", "-S", str(SOURCE), "-B", str(wanted.folder), *options, *_found_apart()]
    wanted.folder.mkdir(parents=True, exist_ok=True)
    with _alone(wanted.folder):
        asked = wanted.folder / "asked.txt"  # configured with exactly this
        if not asked.exists() or asked.read_text() != shlex.join(command):
            (wanted.folder / "CMakeCache.txt").unlink(missing_ok=True)
            _run(command, wanted.environment)
            asked.write_text(shlex.join(command))
        jobs = str(min(len(os.sched_getaffinity(0)), 8))
        make = ["cmake", "--build", str(wanted.folder), "--parallel", jobs]
        _run([*make, *(["--target", *targets] if targets else [])], wanted.environment)
    return wanted.folder


def lacking() -> list[str]:
    """Debian's names of the packages that are missing."""
    missing = [name for name, programs in TOOLS.items() if not any(map(shutil.which, programs))]
    if "pkg-config" in missing:
        return [*missing, *LIBRARIES]
    found = {**os.environ, **_environment()}
    for name, module in LIBRARIES.items():
        command = ["pkg-config", "--exists", module]
        if subprocess.run(command, env=found, check=False).returncode != 0:
            missing.append(name)
    return missing


def install(missing: Sequence[str]) -> None:
    """Get packages: as root with apt-get; the libraries otherwise unpacked below build/.

    What cannot be had stays missing.
    """
    if shutil.which("apt-get") is None:
        return
    names = " ".join(missing)
    if os.geteuid() == 0:
        print(f"Installing {names} ...", file=sys.stderr)
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
        if not _works(["apt-get", "install", "-s", *missing], quiet):
            _works(["apt-get", "update"], quiet)
        _works(command, quiet)
        return
    wanted = [name for name in missing if name in LIBRARIES]
    if not wanted or shutil.which("dpkg-deb") is None:
        return
    print(f"Unpacking {' '.join(wanted)} into {APART} (no root here) ...", file=sys.stderr)
    packages = _with_dependencies(wanted)
    with tempfile.TemporaryDirectory() as folder:
        if not _works(["apt-get", "download", *packages], {}, folder):
            return
        APART.mkdir(parents=True, exist_ok=True)
        for package in sorted(Path(folder).glob("*.deb")):
            _works(["dpkg-deb", "-x", str(package), str(APART)], {})
    # Their paths are those of a system; here they begin in the folder.
    for file in APART.glob("usr/**/pkgconfig/*.pc"):
        file.write_text(file.read_text().replace("=/usr", f"={APART}/usr"))


def _with_dependencies(wanted: Sequence[str]) -> list[str]:
    """And the libraries that their links point to; what these need as far as it is not there."""
    kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    ask = ["apt-cache", "depends", *(f"--no-{kind}" for kind in kinds)]

    def depends(names: Sequence[str], *options: str) -> set[str]:
        said = subprocess.run([*ask, *options, *names], capture_output=True, text=True, check=False)
        lines = [line.strip() for line in said.stdout.splitlines()]
        return {line.removeprefix("Depends: ") for line in lines if line.startswith("Depends: ")}

    def there(name: str) -> bool:
        query = ["dpkg-query", "-W", "-f=${Status}", name]
        said = subprocess.run(query, capture_output=True, text=True, check=False)
        return said.stdout.endswith(" installed")

    found = {name for name in depends(wanted, "--recurse") if "<" not in name}
    direct = {name for name in depends(wanted) if name.startswith("lib")}
    return sorted({*wanted, *direct, *(name for name in found if not there(name))} - {"libc6-dev"})


def _works(command: Sequence[str], environment: dict[str, str], folder: str | None = None) -> bool:
    done = subprocess.run(
        command, env={**os.environ, **environment}, cwd=folder, capture_output=True, check=False
    )
    return done.returncode == 0


def remedy(missing: Sequence[str]) -> str:
    """What to do about packages that are missing."""
    return (
        f"libsamedge needs {', '.join(missing)} to build: on Debian, Ubuntu and JetPack, "
        f"sudo apt-get install {' '.join(missing)}"
    )


def openvino_folder() -> Path:
    """The CMake files of the openvino wheel; importing it would report that to its maker.

    Raises:
        Unavailable: this Python has none, or one without CMake files.
    """
    found = importlib.util.find_spec("openvino")
    if found is None or not found.submodule_search_locations:
        raise Unavailable("libsamedge needs OpenVINO to build: pip install openvino")
    folder = Path(found.submodule_search_locations[0]) / "cmake"
    if not folder.is_dir():
        raise Unavailable(f"{folder} is missing: install openvino 2025.4 or newer from PyPI")
    return folder


APART = BUILDS / "capi-deps"


def run_environment() -> dict[str, str]:
    """For programs that use an installed library: where libraries without root were unpacked."""
    if not APART.is_dir():
        return {}
    folders = [APART / "usr" / "lib", *APART.glob("usr/lib/*-linux-gnu*")]
    return {"LD_LIBRARY_PATH": os.pathsep.join(map(str, folders))}


def _environment() -> dict[str, str]:
    """For pkg-config: packages that were unpacked below build/, without root."""
    if not APART.is_dir():
        return {}
    folders = [str(p) for p in sorted(APART.glob("usr/**/pkgconfig"))]
    before = os.environ.get("PKG_CONFIG_PATH")
    return {"PKG_CONFIG_PATH": os.pathsep.join([*folders, *([before] if before else [])])}


def _found_apart() -> list[str]:
    """The same for CMake."""
    if not APART.is_dir():
        return []
    headers = [APART / "usr" / "include", *APART.glob("usr/include/*-linux-gnu*")]
    libraries = [APART / "usr" / "lib", *APART.glob("usr/lib/*-linux-gnu*")]
    flags = " ".join(f"-isystem '{folder}'" for folder in headers)
    return [
        f"-DCMAKE_PREFIX_PATH={APART / 'usr'}",
        f"-DOPENSSL_ROOT_DIR={APART / 'usr'}",
        f"-DCMAKE_CXX_FLAGS={flags}",
        f"-DCMAKE_C_FLAGS={flags}",
        f"-DCMAKE_BUILD_RPATH={';'.join(map(str, libraries))}",
    ]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, **_environment(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise Failed(f"{shlex.join(command)}\n{done.stdout[-12000:]}")


def main() -> None:
    """`python -m tests.capi.build`: get what it takes, build the library, run its native tests."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--optional", action="store_true", help="no error where it cannot be built")
    arguments = parser.parse_args()
    try:
        if missing := lacking():
            install(missing)
        build()
    except Unavailable as error:
        print(f"libsamedge is not built: {error}", file=sys.stderr)
        sys.exit(0 if arguments.optional else 1)
    except Failed as error:
        sys.exit(str(error))
    print(LIBRARY.library.relative_to(ROOT))
    tests = ["ctest", "--test-dir", str(LIBRARY.folder), "--output-on-failure", "--no-tests=ignore"]
    done = subprocess.run(tests, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stdout)


if __name__ == "__main__":
    main()
