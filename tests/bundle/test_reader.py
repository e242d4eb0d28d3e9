"""A bundle that was written is read back; a changed one is refused, with words."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from samedge.bundle import Bundle, SelfTest
from samedge.bundle import reader as reader_module
from samedge.errors import BundleError
from samedge.families import SAMUS


def test_round_trip(bundle: Bundle, selftest: SelfTest) -> None:
    again = Bundle.open(str(bundle.path))
    assert again.family == SAMUS
    assert again.manifest == bundle.manifest
    assert again.manifest.samedge
    assert again.manifest.parity[0].dice == 1.0
    assert sorted(again.manifest.files) == [
        "decoder.fp32.onnx",
        "encoder.fp32.onnx",
        "encoder.fp32.onnx.data",
        "selftest/noise-0.npz",
    ]
    graph = again.graph("encoder", "fp32")
    assert graph.read_bytes() == b"encoder graph"
    entry = again.manifest.graphs["encoder"]["fp32"]
    assert entry.sha256 == again.manifest.files["encoder.fp32.onnx"].sha256
    (test,) = again.selftest()
    assert test.name == selftest.name
    for name in ("frame", "points", "labels", "low_res_logits", "masks", "scores"):
        np.testing.assert_array_equal(getattr(test, name), getattr(selftest, name))
    assert test.box is None


@pytest.mark.parametrize("name", ["encoder.fp32.onnx", "encoder.fp32.onnx.data"])
def test_one_changed_byte_in_a_graph(bundle: Bundle, name: str) -> None:
    file = bundle.path / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} was changed"):
        Bundle.open(bundle.path).graph("encoder", "fp32")
    Bundle.open(bundle.path).graph("decoder", "fp32")


def test_one_changed_byte_in_a_selftest(bundle: Bundle) -> None:
    file = bundle.path / "selftest" / "noise-0.npz"
    data = bytearray(file.read_bytes())
    data[100] ^= 128
    file.write_bytes(data)
    with pytest.raises(BundleError, match="noise-0"):
        bundle.selftest()


def test_one_changed_byte_in_the_manifest(bundle: Bundle) -> None:
    file = bundle.path / "manifest.json"
    text = file.read_text()
    for old, new in [("very small", "very Small"), ('"count": 12', '"count": 13')]:
        assert old in text
        file.write_text(text.replace(old, new))
        with pytest.raises(BundleError, match="does not match its own digest"):
            Bundle.open(bundle.path)


def test_unchanged_files_are_hashed_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []

    def count(path: Path) -> str:
        hashed.append(path.name)
        return original(path)

    original = reader_module.sha256_file
    monkeypatch.setattr(reader_module, "sha256_file", count)
    opened = Bundle.open(bundle.path)
    for _ in range(3):
        opened.verify_file("decoder.fp32.onnx")
    assert hashed == ["decoder.fp32.onnx"]
    # Same size, same contents, but touched: it is hashed again, and a change is found.
    file = bundle.path / "decoder.fp32.onnx"
    os.utime(file, ns=(1, 1))
    opened.verify_file("decoder.fp32.onnx")
    assert hashed == ["decoder.fp32.onnx"] * 2
    file.write_bytes(b"decoder grapH")
    with pytest.raises(BundleError, match="changed"):
        opened.verify_file("decoder.fp32.onnx")
    Bundle.open(bundle.path)  # a new object knows nothing of the old one's checks
    assert len(hashed) == 3


def test_names_that_the_manifest_does_not_list(bundle: Bundle) -> None:
    (bundle.path / "stray.bin").write_bytes(b"x")
    for name in ("stray.bin", "../x", "/etc/passwd", "manifest.json", ""):
        with pytest.raises(BundleError, match="lists no file"):
            Bundle.open(bundle.path).verify_file(name)


def test_engines_are_not_part_of_the_manifest(bundle: Bundle) -> None:
    (bundle.path / "engines").mkdir()
    (bundle.path / "engines" / "openvino.blob").write_bytes(b"x")
    assert Bundle.open(bundle.path).manifest == bundle.manifest


def test_missing_graph_names_what_is_there(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="only: encoder fp32, decoder fp32"):
        bundle.graph("encoder", "int8")
    with pytest.raises(BundleError, match="no fp32 prompt"):
        bundle.graph("prompt", "fp32")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        Bundle.open(tmp_path / "none.samedge")
    with pytest.raises(BundleError, match="is no path"):
        Bundle.open("nul\0byte")


def test_a_folder_without_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("data", [b"text", b"", b"PK\x03\x04 but no zip", bytes(1000)])
def test_a_file_that_is_no_zip(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.samedge").write_bytes(data)
    with pytest.raises(BundleError, match="neither a folder nor a whole zip"):
        Bundle.open(tmp_path / "x.samedge")


def test_a_missing_file(bundle: Bundle) -> None:
    (bundle.path / "encoder.fp32.onnx").unlink()
    with pytest.raises(BundleError, match=r"encoder\.fp32\.onnx is missing"):
        Bundle.open(bundle.path)


def test_a_shortened_file(bundle: Bundle) -> None:
    os.truncate(bundle.path / "encoder.fp32.onnx.data", 100)
    with pytest.raises(BundleError, match="100 bytes, the manifest says 7000"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("name", ["manifest.json", "encoder.fp32.onnx", "selftest"])
def test_symlinks_are_refused(bundle: Bundle, name: str) -> None:
    inside = bundle.path / name
    moved = bundle.path.parent / "elsewhere"
    inside.rename(moved)
    inside.symlink_to(moved)
    with pytest.raises(BundleError, match="not a plain file"):
        Bundle.open(bundle.path)


def test_a_link_to_the_bundle_is_the_users_own(bundle: Bundle) -> None:
    link = bundle.path.parent / "current.samedge"
    link.symlink_to(bundle.path)
    assert Bundle.open(link).graph("decoder", "fp32").read_bytes() == b"decoder graph"


def test_pipes_and_folders_instead_of_files(bundle: Bundle) -> None:
    file = bundle.path / "encoder.fp32.onnx"
    file.unlink()
    os.mkfifo(file)  # reading it would hang for ever
    with pytest.raises(BundleError, match="not a plain file"):
        Bundle.open(bundle.path)
    file.unlink()
    file.mkdir()
    with pytest.raises(BundleError, match="not a plain file"):
        Bundle.open(bundle.path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files(bundle: Bundle) -> None:
    (bundle.path / "encoder.fp32.onnx").chmod(0)
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.open(bundle.path).graph("encoder", "fp32")


def test_a_copy_is_as_good(bundle: Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle.path, copy)
    assert Bundle.open(copy).graph("encoder", "fp32").parent == copy
