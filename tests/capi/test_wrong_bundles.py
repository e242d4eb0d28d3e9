"""Bundles that are damaged, that change or go away under an open model."""

from __future__ import annotations

import ctypes
import shutil
import zipfile
from ctypes import byref
from pathlib import Path

import numpy as np
import pytest

from samedge.capi import library as binding
from samedge.capi import structs as s
from samedge.capi.library import Library
from samedge.capi.session import NativeModel
from tests.capi.calls import (
    BUNDLE,
    HANDLE,
    Call,
    message,
    picture,
)

pytestmark = pytest.mark.usefixtures("silent")


@pytest.mark.parametrize("path", [b"", b"/nowhere", b"\xff\xfe", b"x" * 70000, b"a\nb\x1b[2J"])
def test_paths(path: bytes, library: Library) -> None:
    opened = ctypes.c_void_p(77)
    assert library.samedge_model_open(path, None, byref(opened)) == BUNDLE
    assert opened.value is None
    said = library.samedge_last_error().decode("utf-8")
    assert said
    assert len(said) < 2000
    assert not any(ord(letter) < 32 for letter in said)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_truncated_bundles(kind: str, library: Library, tiny_bundle: Path, tmp_path: Path) -> None:
    opened = ctypes.c_void_p()

    def refused(path: Path, what: str) -> None:
        assert library.samedge_model_open(str(path).encode(), None, byref(opened)) == BUNDLE, what
        assert opened.value is None
        message(library)

    if kind == "zip":
        whole = zipped(tiny_bundle, tmp_path / "whole.samedge").read_bytes()
        short = tmp_path / "short.samedge"
        for part in range(40):
            short.write_bytes(whole[: len(whole) * part // 40])
            refused(short, f"{part}/40")
        short.write_bytes(whole[:-1])
        refused(short, "one byte")
        return
    copy = tmp_path / "copy.samedge"
    shutil.copytree(tiny_bundle, copy)
    for path in sorted(p for p in copy.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        for part in range(40):
            path.write_bytes(whole[: len(whole) * part // 40])
            refused(copy, f"{path.name} {part}/40")
        path.unlink()
        refused(copy, path.name)
        path.write_bytes(whole)
    library.check(library.samedge_model_open(str(copy).encode(), None, byref(opened)))
    library.check(library.samedge_model_close(opened))


def zipped(bundle: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(p for p in bundle.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(bundle).as_posix())
    return target


@pytest.mark.parametrize("how", ["deleted", "changed", "emptied"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_bundle_that_goes_away(
    how: str, kind: str, library: Library, tiny_bundle: Path, tmp_path: Path
) -> None:
    """What is open goes on, with new sessions and the self-test; it cannot be opened again."""
    copy = tmp_path / "copy.samedge"
    if kind == "zip":
        zipped(tiny_bundle, copy)
    else:
        shutil.copytree(tiny_bundle, copy)
    with NativeModel(library, copy, threads=1) as model:
        session = model.session()
        before = session.segment(picture(), points=[(20, 15)])
        files = [copy] if kind == "zip" else [p for p in copy.rglob("*") if p.is_file()]
        for path in files:
            if how == "deleted":
                path.unlink()
            else:
                path.write_bytes(b"" if how == "emptied" else b"x" * path.stat().st_size)
        other = model.session()
        for one in (session, other):
            after = one.segment(picture(), points=[(20, 15)])
            assert np.array_equal(after.masks, before.masks)
            assert np.array_equal(after.low_res_logits, before.low_res_logits)
            one.close()
        assert model.self_test().frames == 2
        opened = ctypes.c_void_p()
        assert library.samedge_model_open(str(copy).encode(), None, byref(opened)) == BUNDLE


def test_sessions_outlive_their_model(library: Library, tiny_bundle: Path) -> None:
    model = NativeModel(library, tiny_bundle, threads=1)
    session = model.session()
    model.close()
    call = Call()
    assert call.segment(session) == s.OK
    with pytest.raises(binding.LibraryError) as caught:
        model.close_again = library.check(library.samedge_model_close(None)) or model.session()
    assert caught.value.status == HANDLE
    session.close()


def test_trackers_outlive_their_session(library: Library, model: NativeModel) -> None:
    session, call, tracker = model.session(), Call(), ctypes.c_void_p()
    asked = byref(call.prompts)
    library.check(library.samedge_tracker_create(session.handle, asked, None, byref(tracker)))
    library.check(library.samedge_session_destroy(session.handle))
    verdicts = (ctypes.c_int32 * 1)()
    frame, result = byref(call.frame), byref(call.result)
    assert library.samedge_track(tracker, frame, 0.0, result, verdicts, 1) == s.OK
    library.check(library.samedge_tracker_destroy(tracker))
    assert library.samedge_track(tracker, frame, 0.1, result, verdicts, 1) == HANDLE
