"""The promise to programs that are built: symbols and layouts are those of the list, for ever."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from samedge.capi import library as binding
from samedge.capi import structs
from samedge.capi.library import Library
from tests.capi.header import HEADER, INCLUDE, compilers, layout, parse

FOUND = parse(HEADER.read_text())
LISTS = sorted((Path(__file__).parent / "abi").glob("abi-*.txt"))
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler: gcc")
needs_binutils = pytest.mark.skipif(shutil.which("nm") is None, reason="needs binutils")


def test_the_parser_finds_everything() -> None:
    text = HEADER.read_text()
    assert len(FOUND.functions) == len(re.findall(r"^SAMEDGE_API", text, flags=re.M))
    assert len(FOUND.structs) == len(re.findall(r"^typedef struct \w+ \{", text, flags=re.M))
    assert all(fields[0] == "struct_size" for fields in FOUND.structs.values())
    assert "SAMEDGE_ERROR_INTERNAL" in FOUND.constants
    assert "SAMEDGE_LOG_ERROR" in FOUND.constants


@needs_compiler
def test_layouts_are_those_of_the_list() -> None:
    """A line that is missing or changed breaks programs out there: take the change back."""
    now = {*layout(FOUND), *(f"function {name}" for name in FOUND.functions)}
    promised = set()
    for path in LISTS:
        promised |= set(path.read_text().splitlines())
    assert sorted(promised - now) == []
    assert sorted(now - promised) == [], "what is new needs a list of its minor version"


@needs_compiler
def test_the_library_tells_the_compilers_layout(library: Library) -> None:
    lines = library.samedge_abi_layout().decode().splitlines()
    assert sorted(line.rpartition(" ")[0] for line in lines) == layout(FOUND)
    assert len(set(lines)) == len(lines)
    assert {line.rpartition(" ")[2] for line in lines} <= {
        str(minor) for minor in range(structs.ABI_MINOR + 1)
    }


def test_structs_of_python_have_the_same_layout(library: Library) -> None:
    told = {}
    for line in library.samedge_abi_layout().decode().splitlines():
        parts = line.split()
        if len(parts) == 5:
            told[parts[0], parts[1]] = (int(parts[2]), int(parts[3]))
    ours = {}
    for name, kind in structs.STRUCTS.items():
        for base in (structs.Sized, kind):
            for field in dict(base._fields_):
                place = getattr(kind, field)
                ours[name, field] = (place.offset, place.size)
    assert ours == told


def test_the_binding_knows_every_function_and_struct() -> None:
    assert sorted(binding._SIGNATURES) == sorted(FOUND.functions)
    assert sorted(structs.STRUCTS) == sorted(FOUND.structs)


def test_constants_of_python(library: Library) -> None:
    told = {}
    for line in library.samedge_abi_layout().decode().splitlines():
        parts = line.split()
        if len(parts) == 4:
            told[parts[0]] = int(parts[1])
    for table, prefix in (
        (structs.BACKENDS, "SAMEDGE_BACKEND_"),
        (structs.HINTS, "SAMEDGE_HINT_"),
        (structs.FORMATS, "SAMEDGE_"),
    ):
        for name, value in table.items():
            assert told[prefix + name.upper()] == value
    for name, value in structs.PRECISIONS.items():
        prefix = "SAMEDGE_PRECISION_" if name == "auto" else "SAMEDGE_"
        assert told[prefix + name.upper()] == value
    for value, name in enumerate(structs.VERDICTS):
        assert told["SAMEDGE_" + name.upper()] == value


def test_hash(library: Library) -> None:
    """FNV-1a over the text, by which a binding refuses a library of another layout."""
    value = 14695981039346656037
    for byte in library.samedge_abi_layout():
        value = (value ^ byte) * 1099511628211 % 2**64
    assert library.samedge_abi_hash(structs.ABI_MINOR) == value
    assert value == binding.ABI_HASH, f"ABI_HASH in samedge/capi/library.py should be {value:#x}"
    assert library.samedge_abi_hash(structs.ABI_MINOR + 1) == 0


def test_a_library_of_another_layout_is_refused(
    library: Library, library_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "ABI_HASH", binding.ABI_HASH ^ 1)
    with pytest.raises(binding.NotSupportedError, match="another layout"):
        Library(library_path)


def test_versions(library: Library) -> None:
    major, minor = structs.ABI_MAJOR, structs.ABI_MINOR
    assert library.samedge_abi_version() == major << 16 | minor
    assert library.samedge_abi_check(major, minor) == 0
    for wrong in ((major + 1, 0), (major, minor + 1), (0, 0), (2**32 - 1, 2**32 - 1)):
        assert library.samedge_abi_check(*wrong) == -14
        assert f"ABI {wrong[0]}.{wrong[1]}" in library.samedge_last_error().decode()


@needs_binutils
def test_symbols_are_the_headers(library_path: Path) -> None:
    command = ["nm", "-D", "--defined-only", "--with-symbol-versions", str(library_path)]
    lines = subprocess.check_output(command, text=True).splitlines()
    shown = {line.split()[-1] for line in lines} - {"SAMEDGE_1"}
    assert shown == {f"{name}@@SAMEDGE_1" for name in FOUND.functions}


@needs_binutils
def test_name_of_the_library(library_path: Path) -> None:
    said = subprocess.check_output(["readelf", "-d", str(library_path)], text=True)
    assert f"[libsamedge.so.{structs.ABI_MAJOR}]" in re.search(r"SONAME.*", said)[0]
    assert "TEXTREL" not in said
    assert "BIND_NOW" in said


@pytest.mark.parametrize("standard", sorted(compilers()))
@pytest.mark.parametrize("file", sorted(path.name for path in INCLUDE.iterdir()))
def test_headers_stand_alone(standard: str, file: str) -> None:
    if file.endswith(".hpp") and "++" not in standard:
        pytest.skip("C++")
    source = f'#include "{file}"\n#include "{file}"\n' + (
        "int main() { return samedge_abi_version() == 0; }\n"
        if "++" in standard
        else "int main(void) { return samedge_abi_version() == 0; }\n"
    )
    command = [*compilers()[standard], *WARNINGS, f"-I{INCLUDE}", "-fsyntax-only", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_headers_are_narrow() -> None:
    for path in INCLUDE.iterdir():
        assert max(map(len, path.read_text().splitlines())) <= 110


def test_status_strings(library: Library) -> None:
    for line in library.samedge_abi_layout().decode().splitlines():
        name, value = line.split()[:2]
        if name == "SAMEDGE_OK" or name.startswith("SAMEDGE_ERROR_"):
            assert library.samedge_status_string(int(value)).decode() == name
    for other in (1, -16, -(2**31), 2**31 - 1):
        assert library.samedge_status_string(other) == b"unknown status"


def test_pointers_only() -> None:
    """No struct by value across the boundary; arrays stand inside structs alone."""
    code = re.sub(r"/\*.*?\*/", " ", HEADER.read_text(), flags=re.S)
    for name, rest in re.findall(r"^SAMEDGE_API\s[^;(]*?(\w+)\(([^;]*)\);", code, flags=re.M):
        for argument in rest.split(","):
            for struct in FOUND.structs:
                assert not re.search(rf"\b{struct}\s+\w+$", argument.strip()), name
