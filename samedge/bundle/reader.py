"""Reading a bundle: nothing in it is used before it was checked."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from samedge.bundle.archive import unpacked
from samedge.bundle.manifest import MANIFEST, Manifest
from samedge.bundle.mistaken import mistaken_for_a_bundle
from samedge.bundle.names import regular_file
from samedge.bundle.sealing import parse_manifest
from samedge.bundle.selftest import FOLDER, SUFFIX, SelfTest
from samedge.errors import BundleError
from samedge.families import Family
from samedge.files.hashes import sha256_file
from samedge.files.in_use import hold_folder
from samedge.files.limits import MANIFEST_BYTES, SELFTEST_BYTES
from samedge.files.paths import kind_at, shown
from samedge.files.work_folder import is_still_there


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
    hash of a file is checked when it is asked for.

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
        entry = self.manifest.files.get(name)
        if entry is None:
            raise BundleError(
                f"{self.path.name}: its manifest lists no file {name!r}; export the bundle again"
            )
        info = regular_file(self.root, name)
        state = (info.st_size, info.st_mtime_ns)
        file = self.root / name
        if self._verified.get(name) == state:
            return file
        try:
            same = info.st_size == entry.bytes and sha256_file(file) == entry.sha256
        except OSError as error:
            raise BundleError(
                f"{self.path.name}: {name} cannot be read: {error.strerror or error}"
            ) from error
        if not same:
            raise BundleError(
                f"{self.path.name}: {name} was changed or damaged since the bundle was exported "
                f"(its SHA-256 is not the manifest's) and is not loaded; {self._remedy()}"
            )
        self._verified[name] = state
        return file

    def _remedy(self) -> str:
        if self.root != self.path:
            return f"remove the unpacked copy '{self.root}' and try again"
        return "copy the bundle again, or export it again"

    def graph(self, name: str, precision: str) -> Path:
        """Path of the ONNX file of graph `name` ("encoder", "decoder"), hashes checked.

        The file with its weights (NAME.onnx.data), if it has one, lies beside it and is checked,
        too.

        Raises:
            BundleError: the bundle has no such graph, or a file was changed.
        """
        entry = self.manifest.graphs.get(name, {}).get(precision)
        if entry is None:
            there = ", ".join(f"{graph} {key}" for graph, key, _ in self.manifest.entries())
            raise BundleError(
                f"{self.path.name} holds no {precision} {name}, only: {there}; export it with "
                f"--precision {precision}"
            )
        if f"{entry.file}.data" in self.manifest.files:
            self.verify_file(f"{entry.file}.data")
        return self.verify_file(entry.file)

    def selftest(self) -> list[SelfTest]:
        """All self-test frames, hashes checked, sorted by name.

        Raises:
            BundleError: a file was changed or cannot be read.
        """
        tests, left = [], SELFTEST_BYTES.most
        for name in sorted(self.manifest.files):
            if name.startswith(f"{FOLDER}/") and name.endswith(SUFFIX):
                data = self.verify_file(name).read_bytes()
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
