"""Writing a bundle: all of it or nothing."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from samedge._version import __version__
from samedge.bundle.archive import write_zip
from samedge.bundle.manifest import MANIFEST, FileEntry, GraphEntry, Manifest
from samedge.bundle.names import checked_name
from samedge.bundle.reader import Bundle
from samedge.bundle.sealing import dump_manifest, parse_manifest
from samedge.bundle.selftest import SelfTest
from samedge.bundle.space import check_space
from samedge.errors import BundleError, OutputError, SamEdgeError
from samedge.files.hashes import sha256_file
from samedge.files.paths import kind_at
from samedge.files.whole import is_disk_error, output_error, sync, sync_tree
from samedge.files.work_folder import WorkFolder, move_into_place


class BundleWriter:
    """Builds a bundle in a hidden folder beside its final place and moves it there when done.

        with BundleWriter("samus.samedge") as writer:
            onnx.save(encoder, writer.new_file("encoder.fp32.onnx"))
            writer.add_selftest(test)
            bundle = writer.commit(manifest)

    Leaving the block without `commit`, by an error, Ctrl-C or a full disk, leaves nothing behind.
    What a killed process leaves is hidden, and the next writer in that folder removes it.

    Args:
        path: where the bundle goes; its parent folder must exist.
        overwrite: replace a bundle that stands there. Anything else is never replaced.
        zip: write one zip file instead of a folder.
        size: bytes of all files to come, if known: the disk must have room for them.

    Raises:
        OutputError: something is in the way, the folder cannot be written, or there is no room.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        overwrite: bool = False,
        zip: bool = False,  # noqa: A002 (the word that users know)
        size: int = 0,
    ) -> None:
        self.path = Path(path)
        self._overwrite, self._zip = overwrite, zip
        self._check_target()
        check_space(self.path, size, zip)
        try:
            self._work = WorkFolder(self.path.absolute().parent)
        except OSError as error:
            raise output_error(error, self.path) from error
        # One level down: the lock of the work folder must not move with the bundle.
        self._folder = self._work.path / "bundle"

    def __enter__(self) -> BundleWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._work.remove()
        if isinstance(error, OSError) and is_disk_error(error):
            raise output_error(error, self.path) from error

    def new_file(self, name: str) -> Path:
        """Where to write the file `name` yourself; its folder exists. `commit` takes it along.

        Raises:
            BundleError: the name is unsafe, or the manifest's.
        """
        if checked_name(name).lower() == MANIFEST:
            raise BundleError(f"{MANIFEST} is written by commit, not as a file of its own")
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def scratch(self) -> Path:
        """A folder for what is needed on the way and is no part of the bundle; it is gone when the
        block is left, however that happens."""
        folder = self._work.path / "scratch"
        folder.mkdir(exist_ok=True)
        return folder

    def drop_file(self, name: str) -> None:
        """Take a file out again."""
        self.new_file(name).unlink(missing_ok=True)

    def add_file(self, name: str, source: str | os.PathLike[str]) -> None:
        """Copy the file `source` into the bundle as `name`."""
        shutil.copyfile(source, self.new_file(name))

    def add_bytes(self, name: str, data: bytes) -> None:
        """Write `data` as the file `name`."""
        self.new_file(name).write_bytes(data)

    def add_selftest(self, test: SelfTest) -> None:
        """Store a self-test frame under its own name."""
        self.add_bytes(test.file, test.to_bytes())

    def draft(self, manifest: Manifest) -> Bundle:
        """The unfinished bundle, opened where it is, for the parity gate before `commit`.

        It is gone when the block is left.

        Raises:
            BundleError: the manifest names a graph that was not written.
        """
        self._write_manifest(manifest)
        return Bundle.open(self._folder)

    def commit(self, manifest: Manifest) -> Bundle:
        """Hash everything, write the manifest, and move the bundle to its place in one step.

        Args:
            manifest: `samedge`, `files` and the `sha256` of the graphs are filled in here.

        Raises:
            BundleError: it names a graph that was not written, or a path of this machine.
            OutputError: the disk is full, or something else appeared at the target meanwhile.
        """
        try:
            names = [MANIFEST, *self._write_manifest(manifest)]
            result = self._folder
            if self._zip:
                result = self._work.path / "bundle.zip"
                write_zip(self._folder, names, result)
            sync_tree(result)
            opened = Bundle.open(result)  # a zip needs room in the cache: find out before it moves
            self._check_target()
            move_into_place(result, self.path, self._work.path / "old")
            sync(self.path.absolute().parent)
        except OSError as error:
            raise output_error(error, self.path) from error
        return Bundle(self.path, opened.root if self._zip else self.path, opened.manifest)

    def _write_manifest(self, manifest: Manifest) -> list[str]:
        """Write the manifest; the names of the files it lists."""
        self._folder.mkdir(exist_ok=True)
        files = {
            name: FileEntry(sha256_file(self._folder / name), size)
            for name, size in _listing(self._folder)
        }
        graphs = {
            graph: {key: _hashed(entry, files) for key, entry in precisions.items()}
            for graph, precisions in manifest.graphs.items()
        }
        data = dump_manifest(replace(manifest, graphs=graphs, files=files, samedge=__version__))
        _check_privacy(parse_manifest(data), self.path)
        (self._folder / MANIFEST).write_bytes(data)
        return list(files)

    def _check_target(self) -> None:
        path = self.path
        kind_at(path, OutputError)
        if not path.absolute().parent.is_dir():
            raise OutputError(
                f"there is no folder '{path.parent}' to write {path.name} into; make it first"
            )
        if not os.path.lexists(path):
            return
        if not self._overwrite:
            raise OutputError(
                f"'{path}' exists already; choose another name, or allow to replace it (--force)"
            )
        if not _is_bundle(path):
            raise OutputError(
                f"'{path}' exists and is not a samedge bundle, so it is not replaced; remove it "
                "yourself or choose another name"
            )


def _is_bundle(path: Path) -> bool:
    """Whether what stands at `path` is a bundle, of any schema, even a damaged one."""
    if path.is_symlink():
        return False
    if path.is_dir():
        return (path / MANIFEST).is_file()
    try:
        Bundle.open(path)
    except SamEdgeError:
        return False
    return True


def _listing(folder: Path) -> list[tuple[str, int]]:
    """(name, bytes) of all files below `folder` but the manifest, sorted."""
    files = sorted(p for p in folder.rglob("*") if not p.is_dir())
    names = [(p.relative_to(folder).as_posix(), p.stat().st_size) for p in files]
    return [(name, size) for name, size in names if name != MANIFEST]


def _hashed(entry: GraphEntry, files: Mapping[str, FileEntry]) -> GraphEntry:
    """With the hash of its file; one that was not written has none, and is refused when read."""
    return replace(entry, sha256=files[entry.file].sha256) if entry.file in files else entry


def _check_privacy(manifest: Manifest, target: Path) -> None:
    """Refuse a manifest that carries folders of this machine to others."""
    here = os.path.expanduser("~"), os.getcwd(), tempfile.gettempdir(), target.absolute().parent
    folders = "|".join(re.escape(str(folder)) for folder in here if len(str(folder)) > 1)
    path = re.compile(rf"(?<![\w./-])({folders})(?![\w.-])")
    for text in _strings(manifest.to_json()):
        if folders and path.search(text):
            raise BundleError(
                f"the manifest would tell a path of this machine: {text[:80]!r}; store file "
                "names without folders"
            )


def _strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
