"""Programs of others: built against an installed samedge in an odd folder that was moved there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from samedge.capi import structs
from tests.capi.build import run_environment

C_PROGRAM = r"""
#include <samedge.h>
#include <stdio.h>

static unsigned char pixels[48 * 64], mask[48 * 64];

int main(int count, char **arguments) {
  samedge_model *model = NULL;
  samedge_session *session = NULL;
  samedge_frame frame = {.struct_size = sizeof frame};
  samedge_prompts prompts = {.struct_size = sizeof prompts};
  samedge_result result = {.struct_size = sizeof result};
  const double click[2] = {30.0, 20.0};
  if (samedge_abi_check(SAMEDGE_ABI_MAJOR, SAMEDGE_ABI_MINOR) != SAMEDGE_OK) return 2;
  if (count == 2 && samedge_model_open(arguments[1], NULL, &model) == SAMEDGE_OK &&
      samedge_session_create(model, &session) == SAMEDGE_OK) {
    frame.format = SAMEDGE_GREY8;
    frame.pixels = pixels;
    frame.width = 64;
    frame.height = 48;
    prompts.points = click;
    prompts.point_count = 1;
    result.masks = mask;
    result.masks_capacity = sizeof mask;
    if (samedge_segment(session, &frame, &prompts, &result) == SAMEDGE_OK) {
      printf("%d x %d, samedge %s\n", (int)result.width, (int)result.height, samedge_version());
      samedge_session_destroy(session);
      samedge_model_close(model);
      return 0;
    }
  }
  fprintf(stderr, "%s\n", samedge_last_error());
  return 1;
}
"""
CPP_PROGRAM = """
#include <samedge.hpp>
int main() { return samedge_abi_version() == 0; }
"""
CMAKE_PROJECT = """
cmake_minimum_required(VERSION 3.16)
project(consumer LANGUAGES C)
find_package(samedge {version} REQUIRED)
add_executable(consumer consumer.c)
set_target_properties(consumer PROPERTIES C_STANDARD 99 C_EXTENSIONS OFF)
target_compile_options(consumer PRIVATE -pedantic -Wall -Wextra -Werror)
target_link_libraries(consumer PRIVATE samedge::samedge)
"""


@pytest.fixture(scope="module")
def prefix(library_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """samedge, installed and moved: the folder where it was installed is gone."""
    if not (library_path.parent / "cmake_install.cmake").exists():
        pytest.skip("the library does not stand in its build folder")
    folder = tmp_path_factory.mktemp("stage")
    first = folder / "first"
    run(["cmake", "--install", str(library_path.parent), "--prefix", str(first)])
    moved = folder / "Geräte ä & ö" / "sam edge"
    moved.parent.mkdir()
    shutil.move(first, moved)
    return moved


def run(command: Sequence[str], cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **run_environment(), **environment},
        capture_output=True,
        # pkgconf escapes every byte of an umlaut
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def libraries(prefix: Path) -> Path:
    (found,) = prefix.glob("lib*/**/libsamedge.so")
    return found.parent


def pkg_config(prefix: Path, *asked: str) -> list[str]:
    # The samedge alone: nothing else may be needed.
    folder = str(libraries(prefix) / "pkgconfig")
    said = run(["pkg-config", *asked, "samedge"], PKG_CONFIG_LIBDIR=folder, PKG_CONFIG_PATH=folder)
    flags = shlex.split(said)
    return [flag.encode("utf-8", "surrogateescape").decode() for flag in flags]


def test_what_is_installed(prefix: Path) -> None:
    files = {
        p.relative_to(prefix).as_posix() for p in prefix.rglob("*") if p.is_file() or p.is_symlink()
    }
    lib = libraries(prefix).relative_to(prefix).as_posix()
    major, minor = structs.ABI_MAJOR, structs.ABI_MINOR
    assert {
        "include/samedge.h",
        f"{lib}/libsamedge.so",
        f"{lib}/libsamedge.so.{major}",
        f"{lib}/libsamedge.so.{major}.{minor}",
        f"{lib}/pkgconfig/samedge.pc",
        f"{lib}/cmake/samedge/samedge-config.cmake",
        f"{lib}/cmake/samedge/samedge-config-version.cmake",
        f"{lib}/cmake/samedge/samedge-targets.cmake",
    } <= files
    rest = {f for f in files if not f.startswith(("include/", f"{lib}/"))}
    assert {Path(f).name for f in rest} == {"LICENSE", "NOTICE"}


def test_nothing_knows_where_it_was_built(prefix: Path, library_path: Path) -> None:
    texts = [p for p in libraries(prefix).rglob("*") if p.suffix in (".pc", ".cmake")]
    assert len(texts) >= 5
    for path in texts:
        text = path.read_text()
        for folder in (library_path.parent, prefix.parents[1]):
            assert str(folder) not in text, path


def test_every_library_exists(prefix: Path, library_path: Path) -> None:
    """Those that the package names, and those that the library asks the loader for."""
    flags = pkg_config(prefix, "--libs")
    assert "-lsamedge" in flags
    named = [flag[2:] for flag in flags if flag.startswith("-l")]
    folders = [Path(flag[2:]) for flag in flags if flag.startswith("-L")]
    for name in named:
        assert any((folder / f"lib{name}.so").exists() for folder in folders), name
    assert pkg_config(prefix, "--libs", "--static") == flags
    targets = (libraries(prefix) / "cmake" / "samedge" / "samedge-targets.cmake").read_text()
    assert "openvino" not in targets
    assert "LINK_LIBRARIES" not in targets
    loaded = run(["ldd", str(libraries(prefix) / "libsamedge.so")])
    assert "not found" not in loaded
    assert "libpython" not in loaded
    found = re.findall(r"=> (\S.*) \(0x", loaded)
    assert found
    assert all(Path(path).exists() for path in found)


def test_the_library_finds_its_neighbours(prefix: Path) -> None:
    said = run(["readelf", "-d", str(libraries(prefix) / "libsamedge.so")])
    assert re.search(r"R(UN)?PATH.*\[\$ORIGIN(:.*)?\]", said)


def test_find_package(prefix: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    version = (libraries(prefix) / "pkgconfig" / "samedge.pc").read_text()
    version = re.search(r"Version: (.*)", version)[1]
    (tmp_path / "consumer.c").write_text(C_PROGRAM)
    (tmp_path / "CMakeLists.txt").write_text(CMAKE_PROJECT.format(version=version))
    run(["cmake", "-S", ".", "-B", "build", f"-DCMAKE_PREFIX_PATH={prefix}"], tmp_path)
    run(["cmake", "--build", "build"], tmp_path)
    said = run([str(tmp_path / "build" / "consumer"), str(tiny_bundle)])
    assert said == f"64 x 48, samedge {version}\n"


def test_another_version_is_not_taken(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "consumer.c").write_text(C_PROGRAM)
    (tmp_path / "CMakeLists.txt").write_text(CMAKE_PROJECT.format(version="99.0"))
    command = ["cmake", "-S", ".", "-B", "build", f"-DCMAKE_PREFIX_PATH={prefix}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "99.0" in done.stderr


def test_pkg_config(prefix: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "consumer.c").write_text(C_PROGRAM)
    strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
    flags = [*pkg_config(prefix, "--cflags"), "consumer.c", *pkg_config(prefix, "--libs")]
    run(["cc", *strict, *flags, "-o", "consumer"], tmp_path)
    said = run(
        [str(tmp_path / "consumer"), str(tiny_bundle)], LD_LIBRARY_PATH=str(libraries(prefix))
    )
    assert said.startswith("64 x 48, samedge ")


def test_cpp(prefix: Path, tmp_path: Path) -> None:
    if not (prefix / "include" / "samedge.hpp").exists():
        pytest.skip("there is no samedge.hpp")
    (tmp_path / "consumer.cpp").write_text(CPP_PROGRAM)
    strict = ["-std=c++17", "-pedantic", "-Wall", "-Wextra", "-Werror"]
    flags = [*pkg_config(prefix, "--cflags"), "consumer.cpp", *pkg_config(prefix, "--libs")]
    run(["c++", *strict, *flags, "-o", "consumer"], tmp_path)
    run([str(tmp_path / "consumer")], LD_LIBRARY_PATH=str(libraries(prefix)))


def test_a_missing_bundle_is_told(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "consumer.c").write_text(C_PROGRAM)
    flags = [*pkg_config(prefix, "--cflags"), "consumer.c", *pkg_config(prefix, "--libs")]
    run(["cc", *flags, "-o", "consumer"], tmp_path)
    done = subprocess.run(
        [str(tmp_path / "consumer"), "nowhere.samedge"],
        env={**os.environ, **run_environment(), "LD_LIBRARY_PATH": str(libraries(prefix))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "nowhere.samedge" in done.stderr
    assert done.stdout == ""
