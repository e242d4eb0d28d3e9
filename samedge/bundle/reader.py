"""Reading a bundle: nothing in it is used before it was checked."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from samedge.bundle.archive import unpacked
from samedge.bundle.graphs.check import check_graph
from samedge.bundle.manifest import MANIFEST, FileEntry, Manifest
from samedge.bundle.mistaken import mistaken_for_a_bundle
from samedge.bundle.names import regular_file
from samedge.bundle.sealing import parse_manifest
from samedge.bundle.selftest import FOLDER, SUFFIX, SelfTest
from samedge.bundle.space import private_folder
from samedge.errors import BundleError
from samedge.families import Family
from samedge.files.hashes import sha256_file
from samedge.files.in_use import hold_folder
from samedge.files.limits import MANIFEST_BYTES, SELFTEST_BYTES
from samedge.files.paths import kind_at, shown
from samedge.files.whole import output_error
from samedge.files.work_folder import is_still_there

_CHUNK = 1 << 20


def _refuse_others(path: Path) -> None:
    """BundleError for a file that is something else."""
    try:
        other = mistaken_for_a_bundle(path)
    except OSError as error:
        raise BundleError(f"{path.name} cannot be read: {error.strerror or error}") from error
    if other:
        raise BundleError(f"{path.name} is not a bundle: {other}")


class Bundle:
    """An open bundle.

    Opening checks the manifest, and that every file is there, plain, and of the right size. The
    hash of a file is checked when it is asked for. Whoever can write to the bundle can exchange a
    file at any moment, also between a check and its use: so what is used (`opened_graph`,
    `read_file`, `copy_file`) are the very bytes that were hashed.

    Attributes:
        path: the bundle as the user named it, a folder or a zip file.
        root: the folder its files are in; for a zip file, a private copy.
        manifest: what the bundle says about itself.
        family: record of the model's family, from the manifest.
    """

    def __init__(self, path: Path, root: Path, manifest: Manifest) -> None:
        self.path = path
        self.root = root
        self.manifest = manifest
        self.family: Family = manifest.family
        self._verified: dict[str, tuple[int, int]] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Open a bundle folder or a zipped bundle.

        Raises:
            BundleError: missing, not a bundle, of another schema, incomplete or unsafe.
            OutputError: a zipped bundle cannot be unpacked into the cache.
        """
        given = Path(path)
        root, handle = given, None
        found = kind_at(given, BundleError)
        if found == "file":
            _refuse_others(given)
            root, handle = _unpacked(given)
        elif found != "folder":
            raise BundleError(
                f"there is no bundle at '{shown(given)}'; make one with: samedge export "
                "CHECKPOINT -o NAME.samedge"
            )
        bundle = cls(given, root, _read_manifest(root))
        if handle is not None:  # `samedge cache clear` leaves a copy alone while it is held
            weakref.finalize(bundle, os.close, handle)
        return bundle

    def verify_file(self, name: str) -> Path:
        """Path of the file `name` (relative, as in the manifest), after checking its hash.

        A file that did not change since (size and time of modification) is not read again.

        Raises:
            BundleError: not in the manifest, missing, a link, or changed since the export.
        """
        entry = self._listed(name)
        info = regular_file(self.root, name)
        state = (info.st_size, info.st_mtime_ns)
        if self._verified.get(name) != state:
            with self._reading(name):
                if info.st_size != entry.bytes or sha256_file(self.root / name) != entry.sha256:
                    raise self._changed(name)
            self._verified[name] = state
        return self.root / name

    def read_file(self, name: str) -> bytes:
        """The content of the small file `name`, whose hash is right.

        Raises:
            BundleError: not in the manifest, missing, a link, or changed since the export.
        """
        parts: list[bytes] = []
        self._read_checked(name, parts.append)
        return b"".join(parts)

    def copy_file(self, name: str, target: Path) -> None:
        """Write the content of the file `name`, whose hash is right, to a new file.

        Raises:
            BundleError: not in the manifest, missing, a link, or changed since the export; the new
                file is not to be used.
            OSError: the new file cannot be written.
        """
        with open(target, "xb") as file:
            self._read_checked(name, file.write)

    def _read_checked(self, name: str, take: Callable[[bytes], object]) -> None:
        """Read a file once: what is hashed is what is taken."""
        entry = self._listed(name)
        regular_file(self.root, name)
        digest, left = hashlib.sha256(), entry.bytes
        with self._reading(name):
            file = open(self.root / name, "rb", buffering=0, opener=_as_it_stands)  # noqa: SIM115
        with file:
            while left >= 0:
                with self._reading(name):
                    chunk = file.read(_CHUNK)
                if not chunk:
                    break
                left -= len(chunk)
                digest.update(chunk)
                take(chunk)
        if left != 0 or digest.hexdigest() != entry.sha256:
            raise self._changed(name)

    def _listed(self, name: str) -> FileEntry:
        entry = self.manifest.files.get(name)
        if entry is None:
            raise BundleError(
                f"{self.path.name}: its manifest lists no file {name!r}; export the bundle again"
            )
        return entry

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BundleError(
                f"{self.path.name}: {name} cannot be read: {error.strerror or error}"
            ) from error

    def _changed(self, name: str) -> BundleError:
        return BundleError(
            f"{self.path.name}: {name} was changed or damaged since the bundle was exported "
            f"(its SHA-256 is not the manifest's) and is not loaded; {self._remedy()}"
        )

    def _remedy(self) -> str:
        if self.root != self.path:
            return f"remove the unpacked copy '{self.root}' and try again"
        return "copy the bundle again, or export it again"

    def graph(self, name: str, precision: str) -> Path:
        """Path of the ONNX file of graph `name` ("encoder", "decoder"), hashes checked.

        The file with its weights (NAME.onnx.data), if it has one, lies beside it and is checked,
        too. This says that the bundle is what was exported; no engine reads the file from there
        (see `opened_graph`).

        Raises:
            BundleError: the bundle has no such graph, or a file was changed.
        """
        paths = [self.verify_file(file) for file in self.graph_files(name, precision)]
        return paths[0]

    @contextmanager
    def opened_graph(self, name: str, precision: str) -> Iterator[Path]:
        """The ONNX file of a graph for an engine: a private copy, with that of its weights.

        The copy is made of the bytes that were hashed, so nobody who can write to the bundle can
        exchange them, and the graph was checked against what samedge's exporters write. It is gone
        when the block is left.

        Raises:
            BundleError: the bundle has no such graph, a file was changed, or it is no graph of
                ours.
            OutputError: there is no room for the copy.
        """
        files = self.graph_files(name, precision)
        size = sum(self._listed(file).bytes for file in files)
        with private_folder(size, f"the {name} of {self.path.name}") as folder:
            paths = [folder / Path(file).name for file in files]
            for file, path in zip(files, paths, strict=True):
                try:
                    self.copy_file(file, path)
                except OSError as error:
                    raise output_error(error, path) from error
            check_graph(paths[0], self.manifest.graphs[name][precision])
            yield paths[0]

    def graph_files(self, name: str, precision: str) -> list[str]:
        """The names of a graph's file and, if it has one, of the file with its weights.

        Raises:
            BundleError: the bundle has no such graph.
        """
        entry = self.manifest.graphs.get(name, {}).get(precision)
        if entry is None:
            there = ", ".join(f"{graph} {key}" for graph, key, _ in self.manifest.entries())
            raise BundleError(
                f"{self.path.name} holds no {precision} {name}, only: {there}; export it with "
                f"--precision {precision}"
            )
        names = (entry.file, f"{entry.file}.data")
        return [file for file in names if file in self.manifest.files]

    def selftest(self) -> list[SelfTest]:
        """All self-test frames, hashes checked, sorted by name.

        Raises:
            BundleError: a file was changed or cannot be read.
        """
        tests, left = [], SELFTEST_BYTES.most
        for name in sorted(self.manifest.files):
            if name.startswith(f"{FOLDER}/") and name.endswith(SUFFIX):
                data = self.read_file(name)
                stem = name.removeprefix(f"{FOLDER}/").removesuffix(SUFFIX)
                test = SelfTest.from_bytes(stem, data)
                left -= test.nbytes
                if left < 0:
                    raise BundleError(
                        f"{self.path.name}: its self-tests hold more than "
                        f"{SELFTEST_BYTES.text(SELFTEST_BYTES.most)}; export the bundle again"
                    )
                tests.append(test)
        return tests


def _unpacked(path: Path) -> tuple[Path, int]:
    """The unpacked copy of a zipped bundle, and a handle that holds it until that is closed."""
    while True:
        root = unpacked(path)
        try:
            handle = hold_folder(root)
        except FileNotFoundError:  # cleared in the moment before it was held
            continue
        if is_still_there(root, handle) and (root / MANIFEST).exists():
            return root, handle
        os.close(handle)


def _as_it_stands(path: str, flags: int) -> int:
    """No link, and nothing that waits, should either have taken the file's place."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _read_manifest(root: Path) -> Manifest:
    """The validated manifest of a folder whose files are all there with the right sizes."""
    if not os.path.lexists(root / MANIFEST):
        raise BundleError(
            f"'{root}' is a folder but no bundle: it has no {MANIFEST}; make a bundle with: "
            "samedge export CHECKPOINT -o NAME.samedge"
        )
    if regular_file(root, MANIFEST).st_size > MANIFEST_BYTES.most:
        raise BundleError(f"{root.name}: {MANIFEST} is too large; export the bundle again")
    try:
        data = (root / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleError(
            f"{root.name}: {MANIFEST} cannot be read: {error.strerror or error}"
        ) from error
    manifest = parse_manifest(data)
    for name, entry in manifest.files.items():
        size = regular_file(root, name).st_size
        if size != entry.bytes:
            raise BundleError(
                f"{root.name}: {name} has {size} bytes, the manifest says {entry.bytes}; copy "
                "the bundle again, or export it again"
            )
    return manifest
