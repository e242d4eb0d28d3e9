"""No bundle, and nobody who can write to one, decides what an engine of another bundle computes."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import samedge
from samedge.bundle import Bundle, reader
from samedge.errors import BundleError
from samedge.export.graphs import file as onnx_file
from samedge.export.graphs.model import OnnxGraph
from samedge.runtime.engines.keys import graph_digest
from tests.bundle.other_network import other_network, with_graphs

FRAME = np.random.default_rng(0).integers(0, 255, (80, 100), np.uint8)
GRAPHS = ("encoder", "decoder")
FILE = "encoder.fp32.onnx"


def answer(bundle: Path | Bundle, **options: Any) -> NDArray[np.float32]:
    with samedge.load(bundle, "openvino", precision="fp32", threads=1, **options) as session:
        return session.segment(FRAME, points=[(50, 40)]).low_res_logits


@pytest.fixture(scope="module")
def genuine(tiny_bundle: Path) -> NDArray[np.float32]:
    return answer(tiny_bundle, cache=False)


@pytest.fixture
def victim(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "victim.samedge"))


def in_a_subfolder(folder: Path) -> Bundle:
    """Its graphs are called like the victim's, which lie beside them."""
    for name in GRAPHS:
        other_network(folder / f"{name}.fp32.onnx", folder / "g" / f"{name}.fp32.onnx")
    return with_graphs(folder, {name: f"g/{name}.fp32.onnx" for name in GRAPHS})


def called_the_same(folder: Path) -> Bundle:
    for name in GRAPHS:
        path = folder / f"{name}.fp32.onnx"
        other_network(path, path)
    return with_graphs(folder, {name: f"{name}.fp32.onnx" for name in GRAPHS})


def weights_of_the_other(folder: Path) -> Bundle:
    """The victim's graph is listed as a file of weights beside one of the attacker's."""
    for name in GRAPHS:
        path = folder / "g" / f"{name}.fp32.onnx"
        other_network(folder / f"{name}.fp32.onnx", path)
        shutil.move(folder / f"{name}.fp32.onnx", f"{path}.data")
    return with_graphs(folder, {name: f"g/{name}.fp32.onnx" for name in GRAPHS})


@pytest.mark.parametrize("make", [in_a_subfolder, called_the_same, weights_of_the_other])
def test_a_bundle_poisons_no_other(
    victim: Path, tmp_path: Path, genuine: Any, make: Callable[[Path], Bundle]
) -> None:
    evil = Path(shutil.copytree(victim, tmp_path / "evil.samedge"))
    try:
        bundle = make(evil)
    except BundleError:  # a manifest that lists what is not there
        bundle = None
    if bundle is not None:
        for name in GRAPHS:
            assert graph_digest(bundle, name, "fp32") != graph_digest(
                Bundle.open(victim), name, "fp32"
            )
        assert np.abs(answer(bundle) - genuine).max() > 1
    np.testing.assert_array_equal(answer(victim), genuine)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_to_another_graph(
    victim: Path, tmp_path: Path, genuine: Any, link: Callable[[Path, Path], None]
) -> None:
    """A symbolic link is refused; a hard link is a file like any other, found out by its hash."""
    other_network(victim / FILE, tmp_path / FILE)
    (victim / FILE).rename(tmp_path / "kept.onnx")
    link(tmp_path / FILE, victim / FILE)
    with pytest.raises(BundleError, match=r"not a plain file|was changed or damaged|has .* bytes"):
        answer(victim)
    (victim / FILE).unlink()
    (tmp_path / "kept.onnx").rename(victim / FILE)
    np.testing.assert_array_equal(answer(victim), genuine)


def test_a_file_exchanged_after_it_was_hashed(
    victim: Path, tmp_path: Path, genuine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes that are compiled are hashed themselves, so what was hashed before is no matter."""
    other_network(victim / FILE, tmp_path / "evil.onnx")
    shutil.copy(victim / FILE, tmp_path / "kept.onnx")
    hashing = reader.sha256_file

    def exchanged(path: Path) -> str:
        digest = hashing(path)
        if path.name == FILE:
            os.replace(tmp_path / "evil.onnx", path)
        return digest

    with monkeypatch.context() as patch:
        patch.setattr(reader, "sha256_file", exchanged)
        with pytest.raises(BundleError, match="was changed or damaged"):
            answer(victim)
    os.replace(tmp_path / "kept.onnx", victim / FILE)
    np.testing.assert_array_equal(answer(victim), genuine)


def test_a_file_exchanged_while_it_is_compiled(
    victim: Path, tmp_path: Path, genuine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine reads a private copy: whatever happens to the bundle then comes too late."""
    from samedge.runtime.openvino import compile as compiling

    reading, seen = compiling.open_model, []

    def exchanged(path: Path) -> Any:
        seen.append(path)
        assert path.parent.stat().st_mode & 0o777 == 0o700
        for name in GRAPHS:
            other_network(tiny(name), victim / f"{name}.fp32.onnx")
        return reading(path)

    def tiny(name: str) -> Path:
        kept = tmp_path / f"{name}.fp32.onnx"
        if not kept.exists():
            shutil.copy(victim / kept.name, kept)
        return kept

    tiny("encoder"), tiny("decoder")
    decoder = Bundle.open(victim)
    with monkeypatch.context() as patch:
        patch.setattr(compiling, "open_model", exchanged)
        with pytest.raises(BundleError, match=r"decoder\.fp32\.onnx was changed"):
            answer(decoder)
    assert not any(path.exists() for path in seen)
    for name in GRAPHS:
        shutil.copy(tiny(name), victim / f"{name}.fp32.onnx")
    np.testing.assert_array_equal(answer(victim), genuine)


@pytest.fixture
def racing(victim: Path, tmp_path: Path) -> Iterator[Path]:
    """A bundle whose encoder is exchanged all the time."""
    files = {}
    other_network(victim / FILE, tmp_path / "evil.onnx")
    for name, path in (("good", victim / FILE), ("evil", tmp_path / "evil.onnx")):
        files[name] = path.read_bytes()
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            for name, data in files.items():
                (tmp_path / name).write_bytes(data)
                os.replace(tmp_path / name, victim / FILE)

    thread = threading.Thread(target=exchange)
    thread.start()
    yield victim
    stop.set()
    thread.join()


def test_a_race_is_never_won(racing: Path) -> None:
    bundle, refused = Bundle.open(racing), []
    wanted = bundle.manifest.files[FILE].sha256
    for _ in range(100):
        try:
            with bundle.opened_graph("encoder", "fp32") as path:
                assert hashlib.sha256(path.read_bytes()).hexdigest() == wanted
        except BundleError as error:
            refused.append(str(error))
    assert refused  # there was a race
    assert all("was changed or damaged" in words for words in refused)


def test_weights_beside_the_graph_are_exchanged(
    victim: Path, genuine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "EXTERNAL_ABOVE", 0)
    monkeypatch.setattr(onnx_file, "_OUTSIDE_FROM", 4096)
    OnnxGraph.read(victim / FILE).save(victim / FILE)
    bundle = with_graphs(victim, {"encoder": FILE})
    before = graph_digest(bundle, "encoder", "fp32")
    np.testing.assert_allclose(answer(bundle), genuine, atol=1e-5)
    data = victim / f"{FILE}.data"
    values = np.fromfile(data, "<f4")
    (-values).tofile(data)
    with pytest.raises(BundleError, match=r"encoder\.fp32\.onnx\.data was changed or damaged"):
        answer(victim)
    changed = with_graphs(victim, {"encoder": FILE})  # the attacker's own bundle
    assert graph_digest(changed, "encoder", "fp32") != before
    assert np.abs(answer(changed) - genuine).max() > 0.1


def test_weights_that_the_manifest_does_not_list(
    victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "EXTERNAL_ABOVE", 0)
    monkeypatch.setattr(onnx_file, "_OUTSIDE_FROM", 4096)
    OnnxGraph.read(victim / FILE).save(victim / FILE)
    kept = victim / f"{FILE}.data"
    data = kept.read_bytes()
    kept.unlink()
    with_graphs(victim, {"encoder": FILE})
    kept.write_bytes(data)
    with pytest.raises(BundleError, match="which the manifest lists"):
        answer(victim)


def test_an_unpacked_archive_altered_in_the_cache(
    victim: Path, tmp_path: Path, genuine: Any, private_cache: Path
) -> None:
    path = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", victim))
    np.testing.assert_array_equal(answer(path), genuine)
    shutil.rmtree(private_cache)  # the engines
    (unpacked,) = (private_cache.parent / "bundles").glob("*/")
    other_network(unpacked / FILE, tmp_path / "evil.onnx")
    data = (tmp_path / "evil.onnx").read_bytes()
    assert len(data) == (unpacked / FILE).stat().st_size
    (unpacked / FILE).write_bytes(data)
    with pytest.raises(BundleError, match="remove the unpacked copy"):
        answer(path)
    shutil.rmtree(unpacked)
    np.testing.assert_array_equal(answer(path), genuine)


def test_engines_altered_in_the_cache(
    victim: Path, tmp_path: Path, genuine: Any, private_cache: Path
) -> None:
    """One is another bundle's, one has another byte, one is cut off."""
    evil = called_the_same(Path(shutil.copytree(victim, tmp_path / "evil.samedge")))
    answer(evil)
    theirs = next(private_cache.glob("openvino-encoder-*.engine")).read_bytes()
    shutil.rmtree(private_cache)
    np.testing.assert_array_equal(answer(victim), genuine)
    for path in private_cache.glob("*.engine"):
        data = bytearray(path.read_bytes())
        if "encoder" in path.name:
            data = bytearray(theirs)
        elif "decoder" in path.name:
            data[len(data) // 2] ^= 1
        else:
            del data[len(data) // 2 :]
        path.write_bytes(data)
    np.testing.assert_array_equal(answer(victim), genuine)
