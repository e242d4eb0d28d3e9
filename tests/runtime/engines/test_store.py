"""Stored engines: taken if every part fits, else left with the part that does not."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.bundle import Bundle
from samedge.errors import OutputError
from samedge.runtime.engines import store as engine_store
from samedge.runtime.engines.store import (
    EngineKey,
    EngineStore,
    add_parity,
    graph_digest,
    mismatch,
    read_record,
    record_path,
    remove_engine,
)

KEY = EngineKey("encoder", "fp16", "a" * 64, "tensorrt", "10.3.0", 87, "Orin")
DATA = memoryview(b"engine")


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore([tmp_path / "engines"])


def saved(store: EngineStore, key: EngineKey = KEY, **options: Any) -> Path:
    return store.save(key, DATA, options)


def test_what_is_saved_is_found(store: EngineStore) -> None:
    assert store.find(KEY) is None
    path = saved(store, workspace_mb=3)
    assert path.name == "encoder.fp16.tensorrt-10.3.0.sm87.engine"
    assert path.read_bytes() == DATA  # plain, so that trtexec reads it
    found = store.find(KEY)
    assert found is not None
    assert found.mapped.array().tobytes() == DATA
    assert found.record["options"] == {"workspace_mb": 3}
    assert store.notes == []
    assert {p.name for p in path.parent.iterdir()} == {path.name, record_path(path).name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"graph_sha256": "b" * 64}, "another model"),
        ({"version": "10.4.0"}, "built by tensorrt 10.3.0, and here is 10.4.0"),
        ({"compute_capability": 86}, "for a GPU of sm_87, and this one has sm_86"),
        ({"gpu": "Xavier"}, r"tuned on another GPU \(Orin\) than this one \(Xavier\)"),
    ],
)
def test_the_part_that_differs_is_named(
    store: EngineStore, change: dict[str, Any], words: str
) -> None:
    saved(store)
    wanted = replace(KEY, **change)
    assert store.find(wanted) is None
    (note,) = store.notes
    assert "samedge build" in note
    assert re.search(words, note)


def test_another_graph_is_not_even_looked_at(store: EngineStore) -> None:
    saved(store)
    assert store.find(replace(KEY, graph="decoder")) is None
    assert store.find(replace(KEY, precision="fp32")) is None
    assert store.find(replace(KEY, backend="tensorrt_rtx")) is None
    assert store.notes == []


def test_a_renamed_engine_is_found_out(store: EngineStore) -> None:
    path = saved(store)
    decoder = path.with_name("decoder" + path.name[7:])
    path.rename(decoder)
    record_path(path).rename(record_path(decoder))
    assert store.find(replace(KEY, graph="decoder")) is None
    assert "its record says that it is encoder, not decoder" in store.notes[0]


def test_version_and_hardware_compatible_engines(store: EngineStore) -> None:
    saved(store, version_compatible=True, hardware_compatible=True)
    assert store.find(replace(KEY, version="10.9.1", compute_capability=120, gpu="x")) is not None
    assert store.find(replace(KEY, version="11.0.0")) is None
    assert store.find(replace(KEY, version="10.2.0")) is None
    assert store.find(replace(KEY, compute_capability=75)) is None


def test_rtx_engines_fit_any_gpu_of_their_kind(store: EngineStore) -> None:
    key = replace(KEY, backend="tensorrt_rtx", gpu=None)
    saved(store, key)
    assert store.find(replace(key, gpu="RTX 4090")) is not None


@pytest.mark.parametrize("damage", ["engine", "record", "list", "schema", "no record", "kind"])
def test_damaged_engines_are_not_loaded(store: EngineStore, damage: str) -> None:
    path = saved(store)
    record = record_path(path)
    about = json.loads(record.read_text())
    if damage == "engine":
        path.write_bytes(b"Engine")
    elif damage == "no record":
        record.unlink()
    else:
        texts = {
            "record": "{",
            "list": "[]",
            "schema": json.dumps(about | {"schema": 2}),
            "kind": json.dumps(about | {"options": 3}),
        }
        record.write_text(texts[damage])
    assert store.find(KEY) is None
    words = {"engine": "changed or damaged", "no record": "has no record"}
    assert words.get(damage, "is damaged") in store.notes[0]


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_places_that_others_can_write_to_are_not_trusted(store: EngineStore) -> None:
    path = saved(store)
    path.chmod(0o666)
    assert store.find(KEY) is None
    path.chmod(0o644)
    path.parent.chmod(0o777)
    assert store.find(KEY) is None
    assert all("writable by other users" in note for note in store.notes)
    path.parent.chmod(0o755)
    assert store.find(KEY) is not None


def test_a_link_is_not_followed(store: EngineStore, tmp_path: Path) -> None:
    path = saved(store)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert store.find(KEY) is None
    assert "is a link" in store.notes[0]


def test_a_failed_write_leaves_nothing(store: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[Path] = []
    write = engine_store.write_atomically

    def full(path: Path, data: memoryview) -> None:
        writes.append(path)
        if len(writes) == 2:  # the engine is there, its record is not
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(engine_store, "write_atomically", full)
    with pytest.raises(OutputError, match="no space left"):
        saved(store)
    assert list(store.cache.iterdir()) == []


def test_what_the_gate_said_is_kept(store: EngineStore) -> None:
    path = saved(store)
    assert store.passed(KEY, "fp16") is None
    add_parity(
        path, [{"precision": "fp16", "passed": True}, {"precision": "int8", "passed": False}]
    )
    assert store.passed(KEY, "fp16") is True
    assert store.passed(KEY, "int8") is False
    assert store.passed(replace(KEY, compute_capability=86), "fp16") is None
    remove_engine(path)
    remove_engine(path)
    assert store.passed(KEY, "fp16") is None


def test_folders_of_a_bundle(tiny_bundle: Path, tmp_path: Path, private_cache: Path) -> None:
    folder = Bundle.open(tiny_bundle)
    store = EngineStore.of(folder)
    assert store.folders == [tiny_bundle / "engines", store.cache]
    assert store.cache.parent == private_cache / "nvidia"
    zipped = Bundle(tmp_path / "tiny.samedge", folder.root, folder.manifest)
    assert EngineStore.of(zipped).folders == [store.cache]
    digests = {graph_digest(folder, name, "fp32") for name in ("encoder", "decoder")}
    assert len(digests) == 2


def test_old_engines_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_store, "LIMIT_BYTES", 2 * len(DATA))
    for number in range(4):  # of four bundles
        path = EngineStore([tmp_path / "nvidia" / str(number)]).save(KEY, DATA, {})
        os.utime(path, (number, number))
    left = sorted(path.parent.name for path in tmp_path.rglob("*.engine"))
    assert left == ["2", "3"]
    assert len(list(tmp_path.rglob("*.json"))) == 2
    other = EngineStore([tmp_path / "nvidia" / "9"])
    other.save(KEY, DATA, {}, folder=tmp_path / "mine")  # a folder of the user's own
    assert len(list(tmp_path.rglob("*.engine"))) == 3


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just({}) | st.just([])


@given(field=st.sampled_from(sorted(engine_store._KINDS)), value=VALUES)
def test_a_record_is_right_or_refused(
    field: str, value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = EngineStore([tmp_path_factory.mktemp("records")])
    record = record_path(saved(store))
    record.write_text(json.dumps(json.loads(record.read_text()) | {field: value}))
    try:
        reason = mismatch(read_record(record.with_suffix(".engine")), KEY)
    except ValueError as error:
        reason = str(error)
    assert reason is None or "samedge" in reason or record.name in reason
