"""Bundles, folders and zip files: libsamedge reads and refuses what Python does."""

from __future__ import annotations

import ctypes
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.bundle import Bundle, SelfTest
from samedge.bundle.sealing import seal
from samedge.errors import BundleError
from tests.bundle.test_selftest import any_test, any_tests
from tests.capi.bundle_seeds import small_bundle
from tests.capi.bundles import BUNDLE, Inside, Refused, compared, tried
from tests.capi.test_manifests import read_as_python_does

TINY = Path("tests/data/tiny.samedge")
DEMO = Path("samedge/data/samus-demo.samedge")


@pytest.fixture(scope="module")
def inside(internals: ctypes.CDLL) -> Inside:
    return Inside(internals)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small bundle, to be harmed."""
    path = tmp_path / "small.samedge"
    path.mkdir()
    for name, data in small_bundle().items():
        (path / name).write_bytes(data)
    return path


def zipped(folder: Path, name: str = "zipped.samedge", prefix: str = "", **options: int) -> Path:
    path = folder.parent / name
    with zipfile.ZipFile(path, "w", **options) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, f"{prefix}{file.relative_to(folder).as_posix()}")
    return path


def refuse(inside: Inside, path: Path | str, match: str, python: bool = True) -> None:
    """Both refuse to open or to read a bundle, with a message."""
    with pytest.raises(Refused, match=match) as refused:
        inside.bundle(path)
    assert refused.value.status == BUNDLE
    if not python:
        return
    with pytest.raises(BundleError):
        read_in_python(path)


def read_in_python(path: Path | str) -> None:
    bundle = Bundle.open(path)
    for name in bundle.manifest.files:
        bundle.read_file(name)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))


def test_same_bundle_in_both_forms(inside: Inside) -> None:
    for path in (TINY, DEMO):
        bundle = Bundle.open(path)
        found = inside.bundle(path)
        expected = read_as_python_does(bundle.manifest)
        found["manifest"]["family"].pop("pad_point", None)
        expected["family"].pop("pad_point")
        assert found["manifest"] == expected
        assert found["name"] == path.name
        assert found["engines"] == (f"{TINY}/engines" if path == TINY else "")
        assert found["self_tests"] == [test.file for test in bundle.selftest()]
        for name in bundle.manifest.files:
            assert inside.read(path, name) == bundle.read_file(name)


@pytest.mark.parametrize("prefix", ["", "small.samedge/"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_files(inside: Inside, folder: Path, prefix: str, compression: int) -> None:
    path = zipped(folder, prefix=prefix, compression=compression)
    Bundle.open(path)
    assert inside.read(path, "encoder.fp32.onnx") == b"encoder"
    assert inside.bundle(f"{folder}/")["name"] == "small.samedge"


# --- What is no bundle.


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("a.pth", b"PK\x03\x04" + b"\0" * 26 + b"archive/data.pkl" + b"\0" * 500,
        "PyTorch checkpoint"),
        ("torn.pth", b"PK\x03\x04" + b"\0" * 100, "PyTorch checkpoint"),
        ("old.pt", b"\x80\x02\x8a\nl\xfc\x9cF", "PyTorch checkpoint"),
        ("a.safetensors", b"\x02\0\0\0\0\0\0\0{}" + b"\0" * 20, "PyTorch checkpoint"),
        ("my file.pt", b"\x80\x04x", "export '.*my file.pt' -o 'my file.samedge'"),
        ("a.onnx", b"\x08\x08\x12", "ONNX graph"),
        ("a.engine", b"ftrt" + b"\0" * 40, "this is an engine"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "this is a picture"),
        ("a.dcm", b"\0" * 128 + b"DICM" + b"\0" * 40, "this is a picture"),
        ("manifest.json", b'{"schema": 1}', "folder that its manifest.json stands in"),
        ("empty", b"", "not a whole zip file"),
        ("x", b"x" * 5000, "not a whole zip file"),
        ("half.zip", b"PK\x03\x04" + b"\0" * 100, "not a whole zip file"),
    ],
)  # fmt: skip
def test_other_files(inside: Inside, tmp_path: Path, name: str, data: bytes, match: str) -> None:
    (tmp_path / name).write_bytes(data)
    refuse(inside, tmp_path / name, match)


def test_other_places(inside: Inside, tmp_path: Path) -> None:
    refuse(inside, tmp_path / "nothing", "there is no bundle at .*samedge export")
    refuse(inside, tmp_path, "is a folder but no bundle")
    refuse(inside, tmp_path / ("x" * 300), "cannot be reached")
    refuse(inside, "", "there is no bundle", python=False)
    (tmp_path / "file").touch()
    refuse(inside, tmp_path / "file" / "inner", "there is no bundle")
    os.mkfifo(tmp_path / "pipe")
    refuse(inside, tmp_path / "pipe", "neither a folder nor a file")
    refuse(inside, "/dev/zero", "neither a folder nor a file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refuse(inside, tmp_path / "loop", "cannot be reached")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "manifest.json")
    refuse(inside, tmp_path / "folder", "not a plain file")
    evil = tmp_path / "\x1b[31mevil\x80"
    with pytest.raises(Refused) as refused:
        inside.bundle(evil)
    assert "\x1b" not in str(refused.value)


def test_link_to_a_bundle_is_followed(inside: Inside, folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert inside.read(link, "encoder.fp32.onnx") == b"encoder"


# --- Files that are not what they were.


def remove(folder: Path) -> None:
    (folder / "encoder.fp32.onnx").unlink()


def change(folder: Path) -> None:
    (folder / "encoder.fp32.onnx").write_bytes(b"Encoder")


def shorten(folder: Path) -> None:
    (folder / "encoder.fp32.onnx").write_bytes(b"encode")


def lengthen(folder: Path) -> None:
    (folder / "encoder.fp32.onnx").write_bytes(b"encoder ")


def link(folder: Path) -> None:
    moved = folder.parent / "moved"
    (folder / "encoder.fp32.onnx").rename(moved)
    (folder / "encoder.fp32.onnx").symlink_to(moved)


def pipe(folder: Path) -> None:
    remove(folder)
    os.mkfifo(folder / "encoder.fp32.onnx")


def into_folder(folder: Path) -> None:
    remove(folder)
    (folder / "encoder.fp32.onnx").mkdir()


HARMS = {
    "missing": remove, "SHA-256": change, "has 6 bytes": shorten, "has 8 bytes": lengthen,
    "a link": link, "a device": pipe,
    "or a folder": into_folder,
}  # fmt: skip


@pytest.mark.parametrize("match", HARMS)
def test_harmed_folder(inside: Inside, folder: Path, match: str) -> None:
    inside.bundle(folder)
    HARMS[match](folder)
    refuse(inside, folder, match)


@pytest.mark.parametrize("match", HARMS)
def test_harmed_after_it_was_opened(inside: Inside, folder: Path, match: str) -> None:
    opened = inside.open(folder)
    HARMS[match](folder)
    with pytest.raises(Refused, match=match) as refused:
        opened.read("encoder.fp32.onnx")
    assert refused.value.status == BUNDLE
    assert opened.read("decoder.fp32.onnx") == b"decoder"
    opened.close()


def test_unlisted_file(inside: Inside, folder: Path) -> None:
    (folder / "other").write_bytes(b"x")
    with pytest.raises(Refused, match="lists no file 'other'"):
        inside.read(folder, "other")
    with pytest.raises(Refused, match="lists no file"):
        inside.read(folder, "../secret")


def test_folder_inside_is_a_link(inside: Inside, tmp_path: Path) -> None:
    path = tmp_path / "tiny.samedge"
    shutil.copytree(TINY, path)
    inside.bundle(path)
    (path / "selftest").rename(tmp_path / "elsewhere")
    (path / "selftest").symlink_to(tmp_path / "elsewhere")
    refuse(inside, path, "not a plain file")


def test_folder_that_another_one_took_the_place_of(inside: Inside, folder: Path) -> None:
    opened = inside.open(folder)
    folder.rename(folder.parent / "moved")
    folder.mkdir()
    assert opened.read("encoder.fp32.onnx") == b"encoder"  # of the one that was opened
    shutil.rmtree(folder.parent / "moved")
    with pytest.raises(Refused, match="missing"):
        opened.read("encoder.fp32.onnx")
    opened.close()


def test_zip_that_is_cut(inside: Inside, folder: Path) -> None:
    path = zipped(folder)
    data = path.read_bytes()
    for end in range(0, len(data) - 1, max(len(data) // 60, 1)):
        path.write_bytes(data[:end])
        refuse(inside, path, "again", python=False)


def test_zip_that_changes_while_it_is_open(inside: Inside, folder: Path) -> None:
    path = zipped(folder)
    data = path.read_bytes()
    for end in (0, 30, len(data) // 2):
        path.write_bytes(data)
        opened = inside.open(path)
        with open(path, "r+b") as file:
            file.truncate(end)
        for name in ("encoder.fp32.onnx", "decoder.fp32.onnx"):
            refused = tried(partial(opened.read, name))
            if refused is None:
                assert opened.read(name) == name[:7].encode()
            else:
                assert refused.status == BUNDLE
        opened.close()
    path.write_bytes(data)
    opened = inside.open(path)
    path.unlink()
    assert opened.read("encoder.fp32.onnx") == b"encoder"
    opened.close()


def test_every_byte_of_a_zip(inside: Inside, folder: Path) -> None:
    """A changed one is refused, or was of no account."""
    path = zipped(folder, compression=zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    files = small_bundle()
    for at in range(0, len(data), 3):
        changed = bytearray(data)
        changed[at] ^= 0x55
        path.write_bytes(bytes(changed))
        refused = tried(partial(inside.bundle, path))
        if refused is None:
            assert inside.read(path, "encoder.fp32.onnx") == files["encoder.fp32.onnx"]
        else:
            assert refused.status == BUNDLE, str(refused)


def write(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"../out": b""}, "outside its folder"),
        ({"/out": b""}, "outside its folder"),
        ({"a\\b": b""}, "outside its folder"),
        ({"C:a": b""}, "outside its folder"),
        ({"other/manifest.json": b""}, "it has 2 manifest.json"),
        ({"encoder.fp32.onnx": b"Encoder"}, "SHA-256|is not what its manifest says"),
        ({"encoder.fp32.onnx": b"encode"}, "is not what its manifest says"),
        ({"manifest.json": b"{}"}, "schema"),
        ({"manifest.json": b" " * 5_000_000}, "too large"),
    ],
)
def test_zip_with_odd_entries(
    inside: Inside, tmp_path: Path, more: dict[str, bytes], match: str
) -> None:
    path = tmp_path / "odd.samedge"
    write(path, small_bundle() | more)
    refuse(inside, path, match)


def test_zip_without_a_file_or_a_manifest(inside: Inside, tmp_path: Path) -> None:
    path = tmp_path / "odd.samedge"
    for name, match in (
        ("encoder.fp32.onnx", "lacks encoder"),
        ("manifest.json", "it has no manifest.json"),
    ):
        files = small_bundle()
        del files[name]
        write(path, files)
        refuse(inside, path, match)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_with_a_file_twice(inside: Inside, tmp_path: Path) -> None:
    path = tmp_path / "odd.samedge"
    write(path, small_bundle())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("encoder.fp32.onnx", b"encoder")
    refuse(inside, path, "holds a file twice")


def test_zip_that_grows(inside: Inside, tmp_path: Path) -> None:
    """What its manifest says is not believed beyond 20 times its size, and nothing is allocated."""
    files = small_bundle()
    document = json.loads(files["manifest.json"])
    document["files"]["encoder.fp32.onnx"]["bytes"] = 1 << 40
    write(tmp_path / "odd.samedge", files | {"manifest.json": seal(document)})
    refuse(inside, tmp_path / "odd.samedge", "would unpack to more than")


def test_sparse_file_of_a_folder(inside: Inside, folder: Path) -> None:
    """A size that no memory has is refused, and the process lives."""
    document = json.loads((folder / "manifest.json").read_text())
    document["files"]["encoder.fp32.onnx"]["bytes"] = 1 << 43
    (folder / "manifest.json").write_bytes(seal(document))
    with open(folder / "encoder.fp32.onnx", "wb") as file:
        try:
            file.truncate(1 << 43)
        except OSError:
            pytest.skip("this disk has no files of that size")
    with pytest.raises(Refused):
        inside.read(folder, "encoder.fp32.onnx")


# --- Self-tests.


def same_test(inside: Inside, name: str, test: SelfTest, data: bytes) -> None:
    found = inside.self_test(name, data)
    assert (found["name"], found["multimask"], found["stack"]) == (
        test.name,
        test.multimask,
        test.stack,
    )
    for key, wanted in compared(test).items():
        np.testing.assert_array_equal(found[key], wanted, err_msg=key)


@pytest.mark.parametrize("path", [TINY, DEMO])
def test_self_tests_of_bundles(inside: Inside, path: Path) -> None:
    bundle = Bundle.open(path)
    tests = bundle.selftest()
    assert tests
    for test in tests:
        same_test(inside, test.file, test, bundle.read_file(test.file))


@settings(max_examples=60)
@given(test=any_tests)
def test_any_self_test(inside: Inside, test: SelfTest) -> None:
    same_test(inside, f"selftest/{test.name}.npz", test, test.to_bytes())


def edited(change: Callable[[dict[str, bytes]], None]) -> bytes:
    data = any_test(16, 17, 1, 1, 1).to_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def replacing(name: str, array: object) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        target = io.BytesIO()
        np.lib.format.write_array(target, np.asarray(array), version=(1, 0))
        files[f"{name}.npy"] = target.getvalue()

    return change


def patching(name: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        assert old in files[f"{name}.npy"]
        files[f"{name}.npy"] = files[f"{name}.npy"].replace(old, new)

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(lambda files, name=name: files.pop(f"{name}.npy") for name in ("frame", "points",
        "labels", "low_res_logits", "masks", "scores")),
        replacing("frame", np.zeros((16, 17), np.int32)),
        replacing("frame", np.zeros((16, 30), np.uint8)),
        replacing("frame", np.zeros((16, 17, 4), np.uint8)),
        replacing("frame", np.zeros(16, np.uint8)),
        replacing("frame", np.asfortranarray(np.zeros((16, 17), np.uint8))),
        replacing("points", np.zeros((1, 2, 2))),
        replacing("points", np.full((1, 1, 2), np.nan)),
        replacing("points", np.zeros((1, 1, 2), ">f8")),
        replacing("labels", np.zeros((1, 1))),
        replacing("labels", np.full((1, 1), 1 << 40)),
        replacing("box", np.zeros((2, 4))),
        replacing("box", np.full((1, 4), np.inf)),
        replacing("low_res_logits", np.zeros((1, 8, 9), np.float32)),
        replacing("low_res_logits", np.zeros((2, 8, 8), np.float32)),
        replacing("low_res_logits", np.full((1, 8, 8), np.nan, np.float32)),
        replacing("masks", np.zeros((1, 16, 4), np.uint8)),
        replacing("masks", np.zeros((1, 17, 3), np.uint8)),
        replacing("scores", np.zeros(2, np.float32)),
        replacing("scores", np.zeros((1, 1), np.float32)),
        replacing("multimask", np.zeros(2, bool)),
        replacing("stack", np.array(True)),
        patching("frame", b"(16, 17)", b"(16, 99)"),
        patching("frame", b"(16, 17)", b"(9999999999, 17)"),
        patching("frame", b"(16, 17)", b"(-6, 17)"),
        patching("frame", b"(16, 17)", b"(16, 1x)"),
        patching("frame", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00"),
        patching("frame", b"'descr'", b"'DESCR'"),
        patching("frame", b"'|u1'", b"'|O8'"),
        patching("frame", b"False", b"True "),
        patching("frame", b"'shape'", b"'descr'"),
        lambda files: files.update({"frame.npy": files["frame.npy"][:-1]}),
        lambda files: files.update({"frame.npy": files["frame.npy"] + b"x"}),
        lambda files: files.update({"frame.npy": files["frame.npy"][:50]}),
        lambda files: files.update({"frame.npy": b""}),
    ],
)  # fmt: skip
def test_odd_self_tests(inside: Inside, change: Callable[[dict[str, bytes]], None]) -> None:
    with pytest.raises(Refused, match="export the bundle again") as refused:
        inside.self_test("selftest/odd.npz", edited(change))
    assert refused.value.status == BUNDLE


def test_self_test_that_grows(inside: Inside) -> None:
    """Limits come before memory: 300 MB of masks in a file of 40 kB."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("masks.npy", bytes(40_000_000))
    with pytest.raises(Refused, match="more than any self-test"):
        inside.self_test("x", target.getvalue())


@settings(max_examples=200)
@given(at=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_damaged_self_tests(inside: Inside, at: int, flip: int) -> None:
    data = bytearray(any_test(16, 17, 1, 1, 1).to_bytes())
    data[at % len(data)] ^= flip
    refused = tried(lambda: inside.self_test("x", bytes(data)))
    assert refused is None or refused.status == BUNDLE


def test_names_of_self_tests(inside: Inside) -> None:
    data = any_test(16, 17, 1, 1, 1).to_bytes()
    assert inside.self_test("selftest/a.npz", data)["name"] == "a"
    for name in ("selftest/a/b.npz", "selftest/.npz", "selftest/.a.npz", ""):
        with pytest.raises(Refused, match="self-test's name"):
            inside.self_test(name, data)
