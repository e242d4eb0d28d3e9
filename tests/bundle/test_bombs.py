"""Bundles of a few kilobytes that declare gigabytes."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from samedge.bundle import SelfTest
from samedge.bundle.sealing import seal
from tests.bounded import MEMORY, SECONDS, open_bounded

TINY = Path(__file__).parents[1] / "data" / "tiny.samedge"
SETUP = """
import os, tempfile
from samedge.bundle import Bundle

os.environ["SAMEDGE_CACHE"] = tempfile.mkdtemp()

def opens(path):
    return len(Bundle.open(path).selftest())
"""
MB = 1 << 20
Document = dict[str, Any]


def variant(**sizes: int) -> Callable[[Path, Document], None]:
    return lambda _, document: document["variant"].update(sizes)


def family(**fields: Any) -> Callable[[Path, Document], None]:
    return lambda _, document: document["family"].update(fields)


def extra(value: Callable[[], Any]) -> Callable[[Path, Document], None]:
    return lambda _, document: document.update(extra=value())


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def selftest(name: str, shape: tuple[int, ...]) -> Callable[[Path, Document], None]:
    """One array of a self-test becomes zeros of another shape."""

    def change(folder: Path, document: Document) -> None:
        first = next(f for f in sorted(document["files"]) if f.startswith("selftest/"))
        out = io.BytesIO()
        with (
            zipfile.ZipFile(folder / first) as old,
            zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
        ):
            for entry in old.namelist():
                if entry != f"{name}.npy":
                    new.writestr(entry, old.read(entry))
            head = {"descr": "|u1", "fortran_order": False, "shape": shape}
            with new.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, head)
                left = int(np.prod(shape))
                while left > 0:
                    file.write(bytes(min(left, MB)))
                    left -= MB
        add(folder, document, first, out.getvalue())

    return change


def add(folder: Path, document: Document, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    document["files"][name] = {"sha256": digest, "bytes": len(data)}


def many(folder: Path, document: Document) -> None:
    """Self-tests that are within the limit, each for itself."""
    none = np.zeros((1, 0))
    data = SelfTest(
        "large", np.zeros((4096, 4096, 3), np.uint8), none[..., None].repeat(2, 2),
        none.astype(np.int64), None, np.zeros((1, 8, 8), np.float32),
        np.zeros((1, 4096, 4096), np.uint8), np.zeros(1, np.float32),
    ).to_bytes()  # fmt: skip
    for number in range(4):
        add(folder, document, f"selftest/large{number}.npz", data)


CASES: dict[str, tuple[Callable[[Path, Document], None], str]] = {
    "masks.samedge": (selftest("masks", (17_000, 64, 33)), "says that it holds"),
    "frame.samedge": (selftest("frame", (20_000, 20_000)), "says that it holds"),
    "many.samedge": (many, "its self-tests hold more than 256 MB"),
    "wide.samedge": (selftest("frame", (1, 100 * MB)), "masks of another width"),
    "low_res.samedge": (variant(low_res=65536), "'variant.low_res' is 65536, expected 1 to 1024"),
    "input.samedge": (variant(input_size=65536), "expected 1 to 4096"),
    "grid.samedge": (variant(grid=65536), "expected 1 to 1024"),
    "channels.samedge": (variant(channels=65536), "expected 1 to 4096"),
    "upscale.samedge": (family(upscale_size=65536), "expected 1 to 4096"),
    "via.samedge": (family(via=65536, interpolation="zoom"), "expected 0 to 4096"),
    "slices.samedge": (family(slices=1 << 20), "'family.slices' is 1048576, expected 1 to"),
    "masks of an answer.samedge": (family(multi_masks=[255, 1] * 50), "at most 64 masks"),
    "lists.samedge": (extra(lambda: [[] for _ in range(250_000)]), "more than 200000 values"),
    "depth.samedge": (extra(lambda: nested(500)), "more than 32 levels deep"),
    "text.samedge": (extra(lambda: "x" * 5_000_000), "too large"),
}


def test_bombs(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in CASES]
    for path, (change, _) in zip(paths, CASES.values(), strict=True):
        shutil.copytree(TINY, path)
        document = json.loads((path / "manifest.json").read_text())
        change(path, document)
        (path / "manifest.json").write_bytes(seal(document))
    wrong = []
    for path, outcome in zip(paths, open_bounded(SETUP, paths), strict=True):
        fine = re.match(f"BundleError: .*{CASES[path.name][1]}", outcome.said)
        if not fine or outcome.memory > MEMORY or outcome.seconds > SECONDS:
            wrong.append(f"{path.name}: {outcome}")
    assert not wrong, "\n".join(wrong)
