"""The readers of outside bytes, by their public entry points."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from samedge.bundle import Bundle
from samedge.bundle.graphs.check import check_graph
from samedge.bundle.sealing import parse_manifest, seal
from samedge.bundle.selftest import SelfTest
from samedge.cli import run
from samedge.openigtlink.address import Address
from samedge.openigtlink.connection import Connection
from samedge.openigtlink.crc64 import crc64
from samedge.openigtlink.problems import PeerGone
from samedge.openigtlink.sockets import Wake
from samedge.prompts.file import read_prompts
from samedge.runtime.engines.records import read_record
from samedge.runtime.triton.engine_file import read_engine
from samedge.sources.openigtlink import IgtlSettings, OpenIgtLinkSource, Sender
from samedge.sources.opening import open_source
from samedge.stream.live.controls import Points, check
from samedge.stream.live.settings import LiveSettings
from tests.fuzz import seeds
from tests.fuzz.watching import Reader

_FRAMES = 40  # that are read of a source
_SEND_S = 10.0
_SUFFIXES = (".pth", ".safetensors", ".ckpt")


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        read: reads a file; returns what a user is told.
        seeds: whole files.
        suffix: of the file.
        tokens: words of the format.
        close: makes a damaged file pass the outermost check (a hash of itself).
        quick: damaged files in `make test`.
        most: bytes of a damaged file.
    """

    read: Reader
    seeds: seeds.Seeds
    suffix: str
    tokens: tuple[bytes, ...] = ()
    close: Callable[[bytes], bytes] | None = None
    quick: int = 300
    most: int = 1 << 16


def _variant(path: Path, count: int) -> int:
    """Which of several ways to read a file: by its bytes, so that it is always the same."""
    return zlib.crc32(path.read_bytes()) % count


@contextmanager
def _called(path: Path, name: str) -> Iterator[Path]:
    """The file under another name, for a while."""
    other = path.rename(path.with_name(name))
    try:
        yield other
    finally:
        other.rename(path)


def _source(path: Path) -> list[str]:
    """Frames, in one of several ways."""
    options: tuple[dict[str, Any], ...] = ({}, {"deep": True}, {"window": (-5.0, 90.5)}, {})
    variant = _variant(path, 4)
    source = open_source(path, **options[variant])
    with source:
        for frame in islice(source, _FRAMES):
            assert frame.pixels.dtype in (np.uint8, np.uint16), frame.pixels.dtype
            assert frame.pixels.shape[2:] in ((), (3,)), frame.pixels.shape
            assert frame.name
    return [*source.warnings, json.dumps(source.describe()), run_quietly("inspect", path)]


def _dicom(path: Path) -> list[str]:
    """A file, or the same as two slices of a series."""
    if _variant(path, 5):
        return _source(path)
    folder = path.with_suffix("")
    folder.mkdir()
    try:
        shutil.copy(path, folder / "2.dcm")
        other = seeds.dicoms()[0]
        (folder / "1.dcm").write_bytes(other)
        return _source_of_folder(folder)
    finally:
        shutil.rmtree(folder)


def _source_of_folder(folder: Path) -> list[str]:
    source = open_source(folder)
    for _ in islice(source, _FRAMES):
        pass
    return source.warnings


def _volume(path: Path) -> list[str]:
    """An array along any axis, in space or time."""
    variant = _variant(path, 5)
    if variant >= 2:
        return _source(path)
    source = open_source(path, axis=variant, time=bool(variant))
    for _ in islice(source, _FRAMES):
        pass
    layout = source.layout
    if layout is not None:
        depth, height, width = layout.frames
        layout.array(np.zeros((depth, height, width), np.uint8))
    return source.warnings


def _label(path: Path) -> list[str]:
    from samedge.train.data.label_files import read_label

    said: list[str] = []
    read_label(path, "label of set/file", (None, 3)[_variant(path, 2)], said.append)
    return said


def _checkpoint(path: Path) -> list[str]:
    from samedge.checkpoint import examine

    suffix = _SUFFIXES[_variant(path, len(_SUFFIXES))]
    with _called(path, f"fuzz{suffix}") as file:
        found = examine(file)
    json.dumps(found.summary())
    return [found.describe()]


def _bundle(path: Path) -> list[str]:
    """Opened, hashes checked, self-tests read; what was unpacked is whole and goes away."""
    cache = Path(os.environ["SAMEDGE_CACHE"]) / "bundles"
    try:
        bundle = Bundle.open(path)
        for name in bundle.manifest.files:
            bundle.verify_file(name)
        bundle.selftest()
        json.dumps(bundle.manifest.to_json())
    finally:
        left = [p.name for p in cache.iterdir() if len(p.name) != 64] if cache.exists() else []
        shutil.rmtree(cache, ignore_errors=True)
    assert not left, left
    return [bundle.manifest.title]


def _manifest(path: Path) -> list[str]:
    manifest = parse_manifest(path.read_bytes())
    assert parse_manifest(seal(manifest.to_json())) == manifest
    return [json.dumps(manifest.to_json())]


def _sealed(data: bytes) -> bytes:
    """A manifest whose hash is right, so that what it says is looked at."""
    try:
        document = json.loads(data)
        return seal(document) if isinstance(document, dict) else data
    except Exception:
        return data


def _sealed_inside(data: bytes) -> bytes:
    """A zipped bundle whose manifest tells the truth of the damaged files beside it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        manifest = json.loads(parts["manifest.json"])
        for name, entry in manifest["files"].items():
            import hashlib

            entry["bytes"] = len(parts[name])
            entry["sha256"] = hashlib.sha256(parts[name]).hexdigest()
        parts["manifest.json"] = seal(manifest)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in parts.items():
                archive.writestr(zipfile.ZipInfo(name), content)
        return file.getvalue()
    except Exception:
        return data


def _graph(path: Path) -> list[str]:
    check_graph(path)
    return []


def _selftest(path: Path) -> list[str]:
    test = SelfTest.from_bytes("test", path.read_bytes())
    assert SelfTest.from_bytes("test", test.to_bytes()).masks.shape == test.masks.shape
    return []


def _record(path: Path) -> list[str]:
    """The record itself, and what `inspect` makes of it."""
    engine = path.with_suffix(".engine")
    engine.write_bytes(b"ftrt" + bytes(3))
    try:
        found = read_record(engine)
        digest = hashlib.sha256(engine.read_bytes()).hexdigest()
        said = found.dump().decode().replace(found.sha256, digest) if found.sha256 else ""
        path.write_text(said)
        return [run_quietly("inspect", engine), run_quietly("inspect", engine, "--layers")]
    finally:
        engine.unlink()


def _engine(path: Path) -> list[str]:
    """An engine file, and what `inspect` makes of it."""
    read_engine(path)
    return [run_quietly("inspect", path), run_quietly("inspect", path, "--layers")]


def _plan(path: Path) -> list[str]:
    """A plan inside of an engine file that is whole."""
    engine = path.with_suffix(".engine")
    engine.write_bytes(seeds.with_plan(path.read_bytes()))
    try:
        return _engine(engine)
    finally:
        engine.unlink()


def _with_digest(data: bytes) -> bytes:
    """The digest at the end of an engine file is right."""
    return data[:-32] + hashlib.sha256(data[:-32]).digest()


def _prompts(path: Path) -> list[str]:
    found = read_prompts(path)
    found.check_size(1 << 20, 1 << 20)
    return []


def _list(path: Path) -> list[str]:
    """class.json and train.txt of a data set, one behind the other."""
    from samedge.train.data import open_dataset, splits

    head, _, tail = path.read_bytes().partition(b"\n\n")
    root = path.with_suffix("")
    (root / "MainPatient").mkdir(parents=True)
    (root / "MainPatient" / "class.json").write_bytes(head)
    (root / "MainPatient" / "train.txt").write_bytes(tail)
    try:
        splits(root)
        found = open_dataset(root)
        return [found.name(index) for index in range(min(len(found), 20))]
    finally:
        shutil.rmtree(root)


def _config(path: Path) -> list[str]:
    from samedge.train.start import make_config, read_config

    suffix = "json" if path.read_bytes()[:1] == b"{" else "toml"
    with _called(path, f"config.{suffix}") as file:
        said = read_config(file)
    family = said.pop("family", "samus")
    return [repr(make_config(family, said))]


def _run(path: Path) -> list[str]:
    """`train --resume` of a folder with this record."""
    folder = path.with_suffix("")
    folder.mkdir()
    try:
        shutil.copy(path, folder / "run.json")
        data = seeds.data_set(folder / "data")
        return [run_quietly("train", data, "--resume", "-o", folder)]
    finally:
        shutil.rmtree(folder)


def _state(path: Path) -> list[str]:
    from samedge.train.loop.state import STATE, State

    with _called(path, STATE) as file:
        State.load(file.parent)
    return []


def _openigtlink(path: Path) -> list[str]:
    """All that a sender sends, until it closes the connection; frames and marks are taken."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    source = OpenIgtLinkSource(Address("127.0.0.1", 1), settings=IgtlSettings(images=("*",)))
    source.on_points = lambda points, _: check(Points(points))
    wake = Wake()
    connection = Connection(ours, source.name, wake, note=source.warn)
    sending = threading.Thread(target=_send_all, args=(theirs, path.read_bytes()), daemon=True)
    sending.start()
    try:
        for frame in islice(Sender(source, connection).frames(), _FRAMES):
            assert frame.pixels.dtype == np.uint8
            assert frame.pixels.shape[2:] in ((), (3,)), frame.pixels.shape
    except PeerGone as gone:
        if "middle" in str(gone):
            raise
    finally:
        connection.hang_up()
        sending.join(_SEND_S)
        connection.close()
        theirs.close()
        wake.close()
        source.close()
    return [*source.warnings, json.dumps(source.describe())]


def _report(path: Path) -> list[str]:
    """A benchmark's report, and all that is made of one."""
    from samedge.bench.compare import compare
    from samedge.bench.report import Report, render
    from samedge.bench.report.lines import to_csv
    from samedge.bench.report.page import page

    report = Report.read(path)
    assert Report.from_json(json.loads(report.to_text())).modes == report.modes
    json.dumps(compare(report, report).to_json(), allow_nan=False)
    for text in (render(report, 80), page(report), to_csv(report)):
        text.encode(errors="backslashreplace")
    return []


def _send_all(sock: socket.socket, data: bytes) -> None:
    sock.settimeout(_SEND_S)
    with suppress(OSError):  # the reader has hung up
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)


def _with_checksums(data: bytes) -> bytes:
    """The checksums of all messages that are whole are right."""
    found, at = bytearray(data), 0
    while at + 58 <= len(data):
        size = int.from_bytes(data[at + 42 : at + 50], "big")
        body = data[at + 58 : at + 58 + size]
        if len(body) == size:
            found[at + 50 : at + 58] = crc64(body).to_bytes(8, "big")
        at += 58 + size
    return bytes(found)


def _recording(path: Path) -> list[str]:
    """A recorded stream, up to where its frames go to the network."""
    from samedge.sources.replay import ReplaySource
    from samedge.stream.live.replay import Script

    folder = path.with_suffix("")
    (folder / "frames").mkdir(parents=True)
    try:
        shutil.copy(path, folder / "stream.jsonl")
        for name, data in seeds.recorded_frames().items():
            (folder / "frames" / name).write_bytes(data)
        source = ReplaySource(folder, fast=True)
        Script(source)
        LiveSettings().replaying(source.settings)
        frames = list(islice(source, _FRAMES))
        return [*source.warnings, *(frame.name for frame in frames)]
    finally:
        shutil.rmtree(folder)


def run_quietly(*arguments: str | Path) -> str:
    """One command in this process; what it printed. Raises where the command line sees a fault."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        code = run([str(argument) for argument in arguments])
    if code not in (0, *range(2, 7)):
        raise RuntimeError(f"samedge {arguments[0]}: exit code {code}: {out.getvalue()}")
    return out.getvalue()


_PNG = (b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"eXIf", b"IEND", b"acTL", b"fcTL", b"fdAT", b"gAMA")
_JPEG = tuple(bytes([0xFF, marker]) for marker in (*range(0xC0, 0xE2), 0xEE, 0xFE))
_TIFF = tuple(
    order + tag.to_bytes(2, way) + kind.to_bytes(2, way)
    for order, way in ((b"", "little"), (b"", "big"))
    for tag in (256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 284, 317, 320, 322, 338, 339)
    for kind in (3, 4)
)
_DICOM = (
    b"MONOCHROME1", b"PALETTE COLOR ", b"YBR_FULL_422", b"SIGMOID ", b"LINEAR_EXACT",
    b"nan ", b"1e999 ", b"-0", b"1\\2", b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0", b"SQ\0\0",
    b"OB\0\0", b"UN\0\0", b"DS", b"IS", b"US", b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.1.99",
    b"\x28\x00\x02\x00", b"\x28\x00\x08\x00", b"\x28\x00\x10\x00", b"\x28\x00\x00\x01",
    b"\x28\x00\x03\x01", b"\x28\x00\x50\x10", b"\x18\x00\x65\x10", b"\xe0\x7f\x10\x00",
)  # fmt: skip
_NIFTI = (b"n+1\0", b"n+2\0", b"ni1\0", b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\x80", b"\x5c\x01\0\0")
_NPY = (b"'descr': ", b"'|O'", b"'<f8'", b"'<c16'", b"'>u2'", b"'<f2'", b"'|b1'", b"'<i8'",
        b"'fortran_order': True", b"'shape': (", b"()", b"(-1,)", b"(0, 0)", b"(16, 16, 3)",
        b"10**9", b"[('a','<f4')]", b"'<U9'", b"'|V3'", b"'<M8[s]'", b"\x02\0")  # fmt: skip
_PICKLE = (
    b"cbuiltins\neval\n", b"cbuiltins\nbytearray\n", b"ctorch\nstorage\n", b"R", b"b",
    b"}", b"\x85", b"\x86", b"u.", b"s", b"(", b"t", b"Q", b"\x8aNNN",
    b"ccollections\nOrderedDict\n",
    b"X\x04\0\0\0sam.", b"K\x05", b"N", b"\x88", b"state_dict", b"samedge_config",
)  # fmt: skip
_VIDEO = (
    b"moov", b"mdat", b"ftyp", b"free", b"skip", b"uuid", b"stsd", b"stts", b"stco", b"trak",
    b"avc1", b"mjpg", b"RIFF", b"LIST", b"idx1", b"movi", b"00dc", b"strf", b"rmra",
    b"\x1aE\xdf\xa3", b"\0\0\x01\xb3", b"\0\0\x01\xba", b"\0\0\0\x01", b"cmov", b"dref", b"url ",
)  # fmt: skip
_JSON = (b"null", b"true", b"NaN", b"1e999", b"-1", b'"\\ud800"', b"\xc2\xb2", b"[]", b"{}", b'""',
         b"9" * 5000, b"[" * 2000, b"\xef\xbb\xbf", b"\xff")  # fmt: skip
_TEXT = (b",", b";", b"\n", b"\r", b'"', b"\0", b"\xef\xbb\xbf", b"\xc2\xb2", b"\xd9\xa3", b"-1",
         b"1e999", b"nan", b"inf", b"0x1", b"1_0", b"9" * 50, b"frame", b"object", b"label", b"x0",
         b"../", b"/", b"\\", b"\xe2\x80\xa8", b"\x0b", b"\x85", b"'", b"99999999999")  # fmt: skip

_ONNX = (b"Relu", b"Conv", b"Reshape", b"MatMul", b"Gather", b"Concat", b"Split", b"Pad", b"axis",
         b"perm", b"to", b"\x70\x01", b"\xff" * 9 + b"\x01", b"\x08\x00", b"\x10\x07", b"\x10\x0a",
         b"\x2a\x02\x10\x01", b"\xa0\x01\x02", b"\x7a\x00", b"\xff")  # fmt: skip

_SIZES = (b'["+",1,2]', b'["/","height",0]', b'["*",99999999999,"width"]', b'"height"', b'"depth"',
          b'["null"]', b'["arena",16]', b'["port",0,"frame"]', b'["size",-1]')  # fmt: skip

_IGTL = (b"IMAGE\0\0", b"TRANSFORM", b"POINT\0", b"STRING", b"GET_STATUS", b"Image_Image\0",
         b"\x7f\xc0\0\0", b"\x7f\x80\0\0", b"\xff" * 8, b"\0\2", b"\0\x0c\0\2")  # fmt: skip

TARGETS: dict[str, Target] = {
    "png": Target(_source, seeds.pngs, ".png", _PNG, quick=250),
    "jpeg": Target(_source, seeds.jpegs, ".jpg", _JPEG, quick=250),
    "bmp": Target(_source, seeds.bmps, ".bmp", quick=250),
    "tiff": Target(_source, seeds.tiffs, ".tif", _TIFF, quick=250),
    "animation": Target(_source, seeds.animations, ".gif", (*_PNG, b"VP8X", b"ANIM"), quick=200),
    "label": Target(_label, lambda: [*seeds.pngs(), *seeds.tiffs(), *seeds.bmps(), *seeds.jpegs()],
                    ".png", (*_PNG, *_TIFF), quick=400),
    "dicom": Target(_dicom, seeds.dicoms, ".dcm", _DICOM, quick=120),
    "nifti": Target(_volume, seeds.niftis, ".nii.gz", _NIFTI, quick=250),
    "numpy": Target(_volume, seeds.arrays, ".npy", _NPY, quick=250),
    "video": Target(_source, seeds.videos, ".mp4", _VIDEO, quick=60),
    "checkpoint": Target(_checkpoint, seeds.checkpoints, ".pth", _PICKLE, quick=60, most=1 << 20),
    "bundle": Target(_bundle, seeds.bundles, ".samedge", _JSON, _sealed_inside, 25, 1 << 21),
    "manifest": Target(_manifest, seeds.manifests, ".json", _JSON, _sealed, 400),
    "graph": Target(_graph, seeds.graphs, ".onnx", _ONNX, quick=150, most=1 << 18),
    "selftest": Target(_selftest, seeds.selftests, ".npz", _NPY, quick=300),
    "record": Target(_record, seeds.records, ".json", _JSON, quick=100),
    "engine": Target(_engine, seeds.engines, ".engine", _JSON, _with_digest, 150),
    "plan": Target(_plan, seeds.plans, ".json", (*_JSON, *_SIZES), quick=300),
    "prompts": Target(_prompts, seeds.prompts, ".csv", _TEXT, quick=600),
    "list": Target(_list, seeds.lists, ".txt", (*_TEXT, *_JSON), quick=250),
    "config": Target(_config, seeds.configs, ".json", (*_JSON, *_TEXT), quick=600),
    "run": Target(_run, seeds.runs, ".json", _JSON, quick=40),
    "openigtlink": Target(_openigtlink, seeds.openigtlink, ".igtl", _IGTL, _with_checksums, 400),
    "benchmark": Target(_report, seeds.benchmarks, ".json", _JSON, quick=150),
    "state": Target(_state, seeds.states, ".pt", _PICKLE, quick=200),
    "recording": Target(_recording, seeds.recordings, ".jsonl", _JSON, quick=200),
}  # fmt: skip
