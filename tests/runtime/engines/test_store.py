"""The engine store: private, checked, written whole; taken if every part fits, else left with the
part that does not."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.bundle import Bundle
from samedge.errors import OutputError, SourceError
from samedge.runtime.engines import store as store_module
from samedge.runtime.engines.keys import (
    CalibrationKey,
    KernelsKey,
    Key,
    NvidiaKey,
    OpenVinoKey,
    graph_digest,
)
from samedge.runtime.engines.mapped import MappedFile
from samedge.runtime.engines.records import EngineRecord, read_record, record_path
from samedge.runtime.engines.store import (
    EngineStore,
    NoEngine,
    StoredEngine,
    add_parity,
    cache_folder,
    load_or_build,
    move_engine,
    remove_engine,
)
from samedge.runtime.tensorrt.layer_report import EngineLayer, LayerReport

NVIDIA = NvidiaKey("encoder", "fp16", "a" * 64, "tensorrt", "10.3.0", 87, "Orin")
PART = OpenVinoKey(
    graph="a" * 64, part="encoder", precision="bf16", computes="bf16", threads=2, profile=False,
    hint="latency", device="CPU", openvino="2026.4", rewrites="1", machine="x86_64", cpu="Xeon",
    features=("BF16", "FP32"),
)  # fmt: skip
KERNELS = KernelsKey("b" * 64, "1.7.1", 0, "13.0")
STATISTICS = CalibrationKey(1, "c" * 64, "d" * 64)
KEYS = (NVIDIA, PART, KERNELS, STATISTICS)
DATA = memoryview(b"compiled engine")
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX modes and links")


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore((tmp_path / "engines",))


@pytest.fixture(params=KEYS, ids=lambda key: key.kind)
def key(request: pytest.FixtureRequest) -> Key:
    """One of each kind."""
    return request.param


def found(store: EngineStore, key: Key) -> StoredEngine:
    engine = store.find(key)
    assert isinstance(engine, StoredEngine)
    return engine


def reasons(store: EngineStore, key: Key) -> tuple[str, ...]:
    nothing = store.find(key)
    assert isinstance(nothing, NoEngine)
    return nothing.reasons


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_found(store: EngineStore, key: Key) -> None:
    assert reasons(store, key) == ()
    report = LayerReport(
        (EngineLayer("conv", "gemm", ("int8",), ("float16",), ("a/Conv",)),), 7, None
    )
    kept = store.save(key, DATA, {"workspace_mb": 3}, report)
    assert kept.path.read_bytes() == DATA  # plain, so that trtexec reads it
    engine = found(EngineStore(store.folders), key)
    assert engine.file.array().tobytes() == DATA
    engine.file.drop_pages()
    assert engine.file.array().tobytes() == DATA
    assert engine.record == kept.record
    assert (engine.record.key, engine.record.report) == (key, report)
    assert engine.record.options == {"workspace_mb": 3}
    assert files(store.target) == sorted([kept.path.name, record_path(kept.path).name])


def test_names_tell_what_a_file_is(store: EngineStore) -> None:
    names = [store.save(key, DATA).path.name for key in KEYS]
    assert names[0] == "encoder.fp16.tensorrt-10.3.0.sm87.engine"
    starts = ("openvino-encoder-", "tensorrt_rtx-kernels-", "calibration-")
    assert all(name.startswith(start) for name, start in zip(names[1:], starts, strict=True))


@pytest.mark.parametrize("part", [f.name for f in fields(OpenVinoKey)])
def test_an_exact_key_fits_itself_alone(store: EngineStore, part: str) -> None:
    store.save(PART, DATA)
    value = getattr(PART, part)
    other: Any = {str: f"{value}x", int: 7, bool: True, tuple: ("FP32",)}[type(value)]
    assert reasons(store, replace(PART, **{part: other})) == ()
    found(store, PART)


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
    store.save(NVIDIA, DATA)
    (note,) = reasons(store, replace(NVIDIA, **change))
    assert "samedge build" in note
    assert re.search(words, note)
    found(store, NVIDIA)  # it stays for the machine that it is for


def test_another_graph_is_not_even_looked_at(store: EngineStore) -> None:
    store.save(NVIDIA, DATA)
    for change in ({"graph": "decoder"}, {"precision": "fp32"}, {"backend": "tensorrt_rtx"}):
        assert reasons(store, replace(NVIDIA, **change)) == ()


def test_a_renamed_engine_is_found_out(store: EngineStore) -> None:
    path = store.save(NVIDIA, DATA).path
    decoder = path.with_name("decoder" + path.name[7:])
    path.rename(decoder)
    record_path(path).rename(record_path(decoder))
    (note,) = reasons(store, replace(NVIDIA, graph="decoder"))
    assert "its record says that it is encoder, not decoder" in note


def test_version_and_hardware_compatible_engines(store: EngineStore) -> None:
    store.save(NVIDIA, DATA, {"version_compatible": True, "hardware_compatible": True})
    found(store, replace(NVIDIA, version="10.9.1", compute_capability=120, gpu="x"))
    for change in ({"version": "11.0.0"}, {"version": "10.2.0"}, {"compute_capability": 75}):
        assert reasons(store, replace(NVIDIA, **change))


def test_rtx_engines_fit_any_gpu_of_their_kind(store: EngineStore) -> None:
    key = replace(NVIDIA, backend="tensorrt_rtx", gpu=None)
    store.save(key, DATA)
    found(store, replace(key, gpu="RTX 4090"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("flip", "SHA-256 is not the one in its record"),
        ("empty", "cannot be read"),
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"schema": 2}', "is damaged"),
        ("old", "is damaged"),  # as earlier versions wrote them
    ],
)
def test_damaged_engines_are_not_taken(
    store: EngineStore, key: Key, damage: str, words: str
) -> None:
    path = store.save(key, DATA).path
    if damage == "flip":
        path.write_bytes(b"Compiled engine")
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "old":
        about = {"sha256": found(store, key).record.sha256, "key": key.to_json()}
        record_path(path).write_text(json.dumps(about))
    else:
        record_path(path).write_text(damage)
    (note,) = reasons(store, key)
    assert words in note
    assert path.name in note
    # What fits one key alone is of no use to anybody; an engine that was built is its owner's.
    assert path.exists() is not key.exact
    assert record_path(path).exists() is not key.exact
    assert ("thrown away" in note) is key.exact


def test_an_engine_without_a_record_is_not_taken(store: EngineStore, key: Key) -> None:
    """Another process may be about to write it."""
    path = store.save(key, DATA).path
    record_path(path).unlink()
    told = reasons(store, key)
    assert path.exists()
    assert bool(told) is not key.exact
    assert all("has no record" in why for why in told)
    store.save(key, DATA)
    found(store, key)


def test_several_at_once(store: EngineStore, key: Key) -> None:
    """What is found is whole, whoever writes at the same time."""
    datas = [memoryview(bytes([number]) * 5000) for number in range(4)]
    seen: list[bytes] = []

    def work(data: memoryview) -> None:
        for _ in range(5):
            with suppress(OutputError):
                store.save(key, data)
            engine = store.find(key)
            if isinstance(engine, StoredEngine):
                seen.append(engine.file.array().tobytes())

    with ThreadPoolExecutor(len(datas)) as pool:
        list(pool.map(work, datas))
    assert set(seen) <= {bytes(data) for data in datas}
    store.save(key, DATA)
    assert found(store, key).file.array().tobytes() == DATA
    assert len(files(store.target)) == 2


def test_engines_that_were_exchanged_are_found_out(store: EngineStore) -> None:
    one = store.save(PART, DATA).path
    other = store.save(replace(PART, threads=9), memoryview(b"foreign engine!")).path
    os.replace(other, one)
    assert "SHA-256" in reasons(store, PART)[0]
    record_path(store.save(PART, DATA).path).write_bytes(record_path(other).read_bytes())
    assert "belongs to another engine" in reasons(store, PART)[0]


def test_what_was_checked_is_what_is_loaded(store: EngineStore) -> None:
    """Whatever takes the file's name after that."""
    engine = store.save(PART, DATA)
    (store.target / "other").write_bytes(b"another engine!")
    os.replace(store.target / "other", engine.path)
    assert engine.file.array().tobytes() == DATA


@posix
def test_folder_and_files_are_private(tmp_path: Path, key: Key) -> None:
    store = EngineStore((tmp_path / "a" / "engines",))
    path = store.save(key, DATA).path
    assert stat.S_IMODE(store.target.stat().st_mode) == 0o700
    for file in (path, record_path(path)):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0


@posix
def test_places_that_others_can_write_to_are_not_trusted(store: EngineStore, key: Key) -> None:
    path = store.save(key, DATA).path
    path.chmod(0o666)
    (note,) = reasons(store, key)
    assert "writable by other users" in note
    path.chmod(0o644)
    store.target.chmod(0o777)
    (note,) = reasons(store, key)
    assert "writable by other users" in note
    with pytest.raises(OutputError, match=r"writable by other users .*; set SAMEDGE_CACHE"):
        store.save(key, DATA)
    store.target.chmod(0o755)
    found(store, key)  # it was not touched


@posix
def test_links_are_not_followed(store: EngineStore, tmp_path: Path) -> None:
    path = store.save(NVIDIA, DATA).path
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert "is a link" in reasons(store, NVIDIA)[0]
    (tmp_path / "link").symlink_to(store.target)
    with pytest.raises(OutputError, match="is a link"):
        EngineStore((tmp_path / "link",)).save(PART, DATA)


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("not a folder")
    store = EngineStore((tmp_path / "engines",))
    assert reasons(store, PART) == ()
    with pytest.raises(OutputError, match="is not used: File exists"):
        store.save(PART, DATA)


def test_a_failed_write_leaves_nothing(store: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    renames: list[Any] = []
    rename = os.replace

    def full(*names: Any) -> None:
        renames.append(names)
        if len(renames) == 2:  # the engine is there, its record is not
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename(*names)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="no space left"):
        store.save(NVIDIA, DATA)
    assert len(renames) == 2
    assert files(store.target) == []


def test_an_interrupted_write_leaves_nothing(
    store: EngineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.save(PART, DATA)
    assert files(store.target) == []


def test_what_the_gate_said_is_kept(store: EngineStore) -> None:
    path = store.save(NVIDIA, DATA).path
    path.chmod(0o644)
    record_path(path).chmod(0o644)
    assert store.passed(NVIDIA, "fp16") is None
    rows = [
        {"backend": "tensorrt", "precision": "fp16", "passed": True},
        {"backend": "tensorrt", "precision": "int8", "passed": False},
    ]
    add_parity(path, rows)
    assert stat.S_IMODE(record_path(path).stat().st_mode) == 0o644  # a service reads it
    assert store.passed(NVIDIA, "fp16") is True
    assert store.passed(NVIDIA, "int8") is False
    assert store.passed(replace(NVIDIA, compute_capability=86), "fp16") is None
    remove_engine(path)
    remove_engine(path)
    assert store.passed(NVIDIA, "fp16") is None


def test_an_engine_that_moves_takes_its_record_along(store: EngineStore, tmp_path: Path) -> None:
    path = store.save(NVIDIA, DATA).path
    (tmp_path / "place").mkdir()
    move_engine(path, tmp_path / "place")
    assert files(store.target) == []
    found(EngineStore((tmp_path / "place",)), NVIDIA)
    with pytest.raises(OutputError):
        move_engine(tmp_path / "place" / path.name, tmp_path / "nowhere")


def test_folders(tiny_bundle: Path, tmp_path: Path, private_cache: Path) -> None:
    opened = Bundle.open(tiny_bundle)
    store = EngineStore.of_bundle(opened)
    assert store.folders == (tiny_bundle / "engines", store.target)
    assert store.target.parent == private_cache / "nvidia"
    zipped = Bundle(tmp_path / "tiny.samedge", opened.root, opened.manifest)
    assert EngineStore.of_bundle(zipped).folders == (store.target,)
    assert EngineStore.of_user().folders == (private_cache,)
    digests = {graph_digest(opened, name, "fp32") for name in ("encoder", "decoder")}
    assert len(digests) == 2


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "engines"
    monkeypatch.delenv("SAMEDGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "samedge" / "engines"


def test_old_engines_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all bundles and all kinds together; what is being written is left alone."""
    monkeypatch.setattr(store_module, "LIMIT_BYTES", 2 * len(DATA))
    tmp_path.joinpath("engines").mkdir(mode=0o700)
    draft = tmp_path / "engines" / ".openvino.part.engine"
    draft.write_bytes(b"x" * 100)
    handle = draft.open("rb")
    fcntl.flock(handle, fcntl.LOCK_EX)  # as who writes it
    folders = [tmp_path / "engines" / "nvidia" / str(number) for number in range(3)]
    for number, folder in enumerate([*folders, tmp_path / "engines"]):
        key = PART if number == 3 else NVIDIA
        path = EngineStore((folder,), tmp_path / "engines").save(key, DATA).path
        os.utime(path, (number, number))
    left = sorted(path.parent.name for path in tmp_path.rglob("*.json"))
    assert left == ["2", "engines"]
    assert draft.exists()
    handle.close()
    EngineStore((tmp_path / "mine",)).save(NVIDIA, DATA)  # a folder of the user's own
    assert len(list(tmp_path.rglob("*.json"))) == 3


def test_an_engine_the_library_refuses_is_built_anew(store: EngineStore) -> None:
    store.save(PART, memoryview(b"old"))

    def read(file: MappedFile) -> bytes:
        if file.array().tobytes() == b"old":
            raise RuntimeError("blob version 1\ndetails")
        return file.array().tobytes()

    first = load_or_build(store, PART, read, lambda: b"new", memoryview)
    assert (first.engine, first.stored) == (b"new", False)
    assert first.file is not None
    assert "refused it (blob version 1)" in first.notes[0]
    again = load_or_build(store, PART, read, lambda: b"?", memoryview)
    assert (again.engine, again.stored, again.notes) == (b"new", True, ())


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just({}) | st.just([])


@given(data=st.data(), key=st.sampled_from(KEYS), value=VALUES)
def test_a_record_is_right_or_refused(
    data: st.DataObject, key: Key, value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("records") / "a.engine"
    about = EngineRecord(key, "0" * 64, 3).to_json()
    about[data.draw(st.sampled_from(sorted(about)))] = value
    record_path(path).write_text(json.dumps(about))
    with suppress(SourceError):  # and nothing else
        record = read_record(path)
        assert EngineRecord.from_json(json.loads(record.dump())) == record


def test_what_a_killed_process_left_is_swept_up(store: EngineStore, key: Key) -> None:
    store.target.mkdir(mode=0o700)
    for name in (".old.part.engine", ".old.0123abcd.part.engine"):
        (store.target / name).write_bytes(b"half")
    held = store.target / ".now.part.engine"
    held.write_bytes(b"half")
    (store.target / ".other").write_bytes(b"")
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as a process that is writing it
        kept = store.save(key, DATA)
    assert files(store.target) == sorted(
        [".now.part.engine", ".other", kept.path.name, record_path(kept.path).name]
    )
