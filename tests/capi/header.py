"""`samedge.h` as the compiler sees it: structs, constants and functions, for the test of the ABI.

    python -m tests.capi.header > tests/capi/abi/abi-1.0.txt

writes the list of a version that was not released yet. One that was released is never written
again: what is added later stands in the list of the next minor version.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "samedge" / "capi" / "include"
HEADER = INCLUDE / "samedge.h"


@dataclass(frozen=True)
class Header:
    """Names, in the order of the file.

    Attributes:
        structs: name -> fields.
        constants: of enums.
        functions: with visibility.
    """

    structs: dict[str, list[str]]
    constants: list[str]
    functions: list[str]


def parse(text: str) -> Header:
    """The names of everything in the header that a binary depends on."""
    code = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    structs = {}
    for body, name in re.findall(r"typedef struct \w+ \{(.*?)\}\s*(\w+);", code, flags=re.S):
        fields = [one.strip() for one in body.split(";") if one.strip()]
        structs[name] = [re.search(r"(\w+)\s*(\[\d+\])?$", one)[1] for one in fields]
    constants = []
    for body in re.findall(r"enum\s*\w*\s*\{(.*?)\}", code, flags=re.S):
        constants += [one.split("=")[0].strip() for one in body.split(",") if one.strip()]
    functions = re.findall(r"^SAMEDGE_API\s[^;(]*?(\w+)\(", code, flags=re.M)
    return Header(structs, constants, functions)


def layout(header: Header, compiler: str = "cc") -> list[str]:
    """What the compiler says: "struct field offset size" and "CONSTANT value 0" lines, sorted."""
    lines = ['#include "samedge.h"', "#include <stdio.h>", "int main(void) {"]
    for name in header.constants:
        lines.append(f'  printf("{name} %lld 0\\n", (long long){name});')
    for name, fields in header.structs.items():
        for field in fields:
            place = f"offsetof({name}, {field}), sizeof((({name} *)0)->{field})"
            lines.append(f'  printf("{name} {field} %zu %zu\\n", {place});')
    lines += ["  return 0;", "}"]
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "layout.c", Path(folder) / "layout"
        source.write_text("\n".join(lines))
        command = [compiler, "-std=c99", f"-I{INCLUDE}", str(source), "-o", str(program)]
        subprocess.run(command, check=True)
        return sorted(subprocess.check_output([str(program)], text=True).splitlines())


def compilers() -> dict[str, list[str]]:
    """Name of a standard -> the compiler call that checks it, of what is installed."""
    clang = shutil.which("clang") or shutil.which("clang-14")
    clangxx = shutil.which("clang++") or shutil.which("clang++-14")
    wanted = {
        "gcc c99": [shutil.which("gcc"), "-std=c99", "-x", "c"],
        "gcc c11": [shutil.which("gcc"), "-std=c11", "-x", "c"],
        "g++ c++17": [shutil.which("g++"), "-std=c++17", "-x", "c++"],
        "clang c99": [clang, "-std=c99", "-x", "c"],
        "clang++ c++17": [clangxx, "-std=c++17", "-x", "c++"],
    }
    return {name: call for name, call in wanted.items() if call[0] is not None}


if __name__ == "__main__":
    found = parse(HEADER.read_text())
    print("\n".join([*layout(found), *(f"function {name}" for name in sorted(found.functions))]))
