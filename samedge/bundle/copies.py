"""The unpacked copies of zipped bundles that lie in the user's cache."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from samedge.bundle.archive import COPY_NAME, copies_folder
from samedge.bundle.manifest import MANIFEST, Manifest
from samedge.bundle.sealing import parse_manifest
from samedge.errors import BundleError
from samedge.files.in_use import claimed, last_used
from samedge.files.limits import MANIFEST_BYTES


@dataclass(frozen=True)
class UnpackedCopy:
    """An unpacked bundle.

    Attributes:
        path: its folder.
        title: of its model.
        files: those that its manifest lists, and the manifest as the last one.
        bytes: of those that are there.
        last_used: in s since 1970.
    """

    path: Path
    title: str
    files: tuple[Path, ...]
    bytes: int
    last_used: float

    def remove(self) -> bool:
        """Remove these files, and the folders that are empty then.

        Returns:
            False if a process uses the bundle: nothing was removed.

        Raises:
            OSError: a file cannot be removed.
        """
        with claimed(self.path) as free:
            if not free:
                return False
            for file in self.files:
                file.unlink(missing_ok=True)
            inner = {parent for file in self.files for parent in file.parents}
            inner = {folder for folder in inner if folder.is_relative_to(self.path)}
            for folder in sorted(inner, key=lambda folder: -len(folder.parts)):
                with suppress(OSError):  # somebody put something else there
                    folder.rmdir()
        return True


def unpacked_copies() -> list[UnpackedCopy]:
    """All unpacked bundles in the cache, by name. What is none is left out."""
    folder = copies_folder()
    found = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if COPY_NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                with suppress(OSError, BundleError):
                    found.append(_copy(path))
    return found


def _copy(path: Path) -> UnpackedCopy:
    file = path / MANIFEST
    used = last_used(path)
    if file.lstat().st_size > MANIFEST_BYTES.most:
        raise BundleError("its manifest is too large")
    manifest: Manifest = parse_manifest(file.read_bytes())
    files = (*(path / name for name in manifest.files), file)
    files = tuple(one for one in files if not os.path.islink(one.parent))
    sizes = [one.lstat().st_size for one in files if os.path.lexists(one)]
    return UnpackedCopy(path, manifest.title, files, sum(sizes), used)
