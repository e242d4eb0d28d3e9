"""A bundle as one zip file: written stored and deterministic, unpacked once into a private cache.

Engines map their files, so a zipped bundle is unpacked before use, into a folder that is named by
the zip's own hash. Only what the manifest lists is unpacked, every file is checked against it on
the way, and a zip cannot put anything elsewhere or fill the disk.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import time
import zipfile
from contextlib import suppress
from pathlib import Path

from samedge.bundle.manifest import MANIFEST, FileEntry, Manifest
from samedge.bundle.sealing import parse_manifest
from samedge.errors import BundleError, OutputError
from samedge.files.hashes import sha256_file
from samedge.files.in_use import claimed
from samedge.files.limits import BUNDLE_TIMES, MANIFEST_BYTES, SMALL_BYTES
from samedge.files.whole import is_disk_error, output_error
from samedge.files.work_folder import WorkFolder

CACHE_ENV = "SAMEDGE_CACHE"
LIMIT_BYTES = 16 * 10**9  # of all unpacked bundles, as of the engines made of them
UNUSED_S = 30 * 86400.0  # an unpacked bundle that was not opened for so long goes
IN_USE_S = 86400.0  # one that was opened since then stays in any case
COPY_NAME = re.compile("[0-9a-f]{64}")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1 << 20


def write_zip(folder: Path, names: list[str], target: Path) -> None:
    """Move the files `names` of `folder` into a new zip, one by one, so that the disk holds at
    most one of them twice. Stored, not compressed: reading is a copy.
    """
    with zipfile.ZipFile(target, "w", allowZip64=True) as archive:
        for name in names:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.file_size = (folder / name).stat().st_size
            with open(folder / name, "rb") as source, archive.open(info, "w") as entry:
                shutil.copyfileobj(source, entry, _CHUNK)
            (folder / name).unlink()


def unpacked(path: Path) -> Path:
    """The folder with the contents of the zipped bundle `path`, unpacked now or earlier.

    Raises:
        BundleError: it is no zip, no bundle, unsafe, damaged or changed.
        OutputError: the cache folder cannot be written.
    """
    cache = cache_folder()
    try:
        digest = sha256_file(path)
    except OSError as error:
        raise BundleError(f"{path.name} cannot be read: {error.strerror or error}") from error
    try:
        with zipfile.ZipFile(path) as archive:
            manifest, prefix, data = _read_manifest(archive, path)
            folder = cache / digest
            if not _is_complete(folder, manifest, data):
                _unpack(archive, prefix, manifest, data, folder)
                _make_room(cache, folder)
            with suppress(OSError):  # a cache on a read-only disk keeps no times
                os.utime(folder)  # used now; see `_make_room`
            return folder
    except (BundleError, OutputError):
        raise
    except zipfile.BadZipFile as error:
        raise BundleError(
            f"{path.name} is not a bundle: neither a folder nor a whole zip file ({error}); copy "
            "it again, or export it again"
        ) from error
    except Exception as error:  # zipfile and zlib raise a dozen types on damaged archives
        if isinstance(error, OSError) and is_disk_error(error):
            raise output_error(error, cache / digest) from error
        raise BundleError(
            f"{path.name} is damaged ({type(error).__name__}: {error}); copy it again, or export "
            "it again"
        ) from error


def _read_manifest(archive: zipfile.ZipFile, path: Path) -> tuple[Manifest, str, bytes]:
    """The manifest, the folder it stands in inside the zip ("" or "NAME/"), and its bytes."""
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    found = [n for n in names if n == MANIFEST or n.split("/")[1:] == [MANIFEST]]
    if len(found) != 1:
        raise BundleError(
            f"{path.name} is a zip file but no bundle: it has {len(found) or 'no'} {MANIFEST}; "
            "make a bundle with 'samedge export ... --zip'"
        )
    prefix = found[0].removesuffix(MANIFEST)
    for name in names:
        if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            raise BundleError(
                f"{path.name} wants to write outside its folder ({name!r}): it is not safe to "
                "unpack. Do not use it"
            )
    if len(set(names)) != len(names):
        raise BundleError(f"{path.name} holds a file twice; export the bundle again")
    if archive.getinfo(found[0]).file_size > MANIFEST_BYTES.most:
        raise BundleError(f"{path.name}: {MANIFEST} is too large; export the bundle again")
    data = archive.read(found[0])
    manifest = parse_manifest(data)
    size = manifest.size
    if size > max(SMALL_BYTES, BUNDLE_TIMES.most * path.stat().st_size):
        raise BundleError(
            f"{path.name} would unpack to {size} bytes, which no bundle of its size does; "
            "export it again"
        )
    return manifest, prefix, data


def _unpack(
    archive: zipfile.ZipFile, prefix: str, manifest: Manifest, data: bytes, folder: Path
) -> None:
    with WorkFolder(folder.parent) as work:
        for name, entry in manifest.files.items():
            target = work.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _unpack_file(archive, prefix + name, target, entry)
        (work.path / MANIFEST).write_bytes(data)
        shutil.rmtree(folder, ignore_errors=True)  # an incomplete one
        try:
            work.path.rename(folder)
        except OSError:
            if not _is_complete(folder, manifest, data):  # else another process was faster
                raise


def _unpack_file(archive: zipfile.ZipFile, name: str, target: Path, entry: FileEntry) -> None:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise BundleError(f"the zipped bundle lacks {name}; copy or export it again") from None
    digest = hashlib.sha256()
    left = entry.bytes
    with archive.open(info) as source, open(target, "xb") as file:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                break
            digest.update(chunk)
            file.write(chunk)
    if left != 0 or digest.hexdigest() != entry.sha256:
        raise BundleError(
            f"{name} in the zipped bundle is not what its manifest says; copy it again, or "
            "export it again"
        )


def _make_room(cache: Path, keep: Path) -> None:
    """Remove unpacked bundles that nobody opened for long, and the longest unused ones until the
    rest is within its limit. One that was opened lately may still be in use, and stays."""
    now, total, old = time.time(), 0, []
    for folder in cache.iterdir():
        with suppress(OSError):  # another process may be making room as well
            if COPY_NAME.fullmatch(folder.name) and folder != keep:
                size = sum(p.lstat().st_size for p in folder.rglob("*"))
                old.append((folder.lstat().st_mtime, size, folder))
                total += size
    for used, size, folder in sorted(old):
        idle = now - used
        if idle > UNUSED_S or (total > LIMIT_BYTES and idle > IN_USE_S):
            with claimed(folder) as free:
                if free:
                    shutil.rmtree(folder, ignore_errors=True)
                    total -= size


def _is_complete(folder: Path, manifest: Manifest, data: bytes) -> bool:
    """Whether an earlier unpacking is still whole. Hashes are checked when a file is used."""
    try:
        return (folder / MANIFEST).read_bytes() == data and all(
            (folder / name).lstat().st_size == entry.bytes for name, entry in manifest.files.items()
        )
    except OSError:
        return False


def copies_folder() -> Path:
    """Where unpacked bundles are kept, whether or not it is there."""
    chosen = os.environ.get(CACHE_ENV)
    base = chosen or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "samedge")
    return Path(base).expanduser() / "bundles"


def cache_folder() -> Path:
    """The private folder of unpacked bundles: `$SAMEDGE_CACHE/bundles` or the user's cache.

    Raises:
        OutputError: it cannot be made, or others could write into it.
    """
    folder = copies_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = folder.lstat()
    except OSError as error:
        raise OutputError(
            f"zipped bundles are unpacked into {folder}, which cannot be made: {error.strerror}; "
            f"set {CACHE_ENV} to a folder of yours, or unzip the bundle yourself"
        ) from error
    foreign = info.st_uid != os.geteuid() or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(info.st_mode) or foreign:
        raise OutputError(
            f"the cache {folder} is not a private folder of yours; remove it, or set {CACHE_ENV} "
            "to a folder that only you can write to"
        )
    return folder
