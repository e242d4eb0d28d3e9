"""The choice of backend and precision: libsamedge takes what Python takes, for the same reasons."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samedge
from samedge.bundle import Bundle
from samedge.bundle.sealing import parse_manifest, seal
from samedge.capi import structs
from samedge.capi.library import Library, LibraryError
from samedge.capi.session import NativeModel
from samedge.errors import NotSupportedError
from samedge.machine.cpu import physical_cores
from samedge.runtime.backend import STRONGLY_TYPED, Backend, Engines, GraphKeys, LoadOptions
from samedge.runtime.openvino.backend import GRAPHS
from samedge.runtime.openvino.building import build_engines
from samedge.runtime.precision import PRECISIONS, choose_precision
from tests.bundle.manifests import parity_row, small_manifest
from tests.capi.bundles import NOT_SUPPORTED, Inside, Refused

TINY = "tests/data/tiny.samedge"
DEMO = "samedge/data/samus-demo.samedge"


@pytest.fixture(scope="module")
def inside(internals: ctypes.CDLL) -> Inside:
    return Inside(internals)


class Toy(Backend):
    """A backend that says what a test wants it to say."""

    name = "openvino"

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said
        self.graphs: GraphKeys = said["graphs"]

    def unavailable(self) -> str | None:
        return None

    def precisions(self) -> tuple[str, ...]:
        return tuple(self.said["precisions"])

    def open(self, bundle: Bundle, options: LoadOptions) -> Engines:
        raise NotImplementedError

    def slower_than_float32(self) -> frozenset[str]:
        return frozenset(self.said["slower"])

    def doubtful(self) -> Mapping[str, str]:
        return dict(self.said["doubtful"])

    def proven(
        self, bundle: Bundle, precision: str, device: int = 0, engines: Sequence[Path] = ()
    ) -> bool | None:
        return dict(self.said["proven"]).get(precision)

    def ready(self, bundle: Bundle, engines: Sequence[Path], device: int = 0) -> tuple[str, ...]:
        return tuple(self.said["ready"])


some = st.lists(st.sampled_from(PRECISIONS), unique=True)
toys = st.fixed_dictionaries(
    {
        "name": st.just("openvino"),
        "graphs": st.sampled_from((GRAPHS, STRONGLY_TYPED)),
        "precisions": some,
        "slower": some,
        "doubtful": st.dictionaries(
            st.sampled_from(PRECISIONS), st.just("it saturates"), max_size=2
        ),
        "proven": st.dictionaries(st.sampled_from(PRECISIONS), st.booleans()),
        "ready": some.filter(bool),
    }
)
keys = st.lists(st.sampled_from(("fp32", "fp16", "int8")), unique=True, min_size=1)
rows = st.lists(
    st.builds(
        parity_row,
        st.sampled_from(("openvino", "triton")),
        st.sampled_from(PRECISIONS),
        st.booleans(),
    ),
    max_size=6,
)
records = st.sampled_from((None, {}, {"source": None}, {"source": "self-test"}, {"source": "mine"}))


def written(encoder: list[str], decoder: list[str], parity: list[Any], record: Any) -> bytes:
    manifest = small_manifest(
        " ".join(encoder), " ".join(decoder), parity=tuple(parity), calibration=record, samedge="0"
    )
    document = manifest.to_json()
    for entries in document["graphs"].values():
        for entry in entries.values():
            entry["sha256"] = "1" * 64
            document["files"][entry["file"]] = {"sha256": "1" * 64, "bytes": 7}
    return seal(document)


@settings(max_examples=300)
@given(
    toy=toys, encoder=keys, decoder=keys, parity=rows, record=records,
    asked=st.sampled_from(("auto", "auto", *PRECISIONS)), engines=st.booleans(),
)  # fmt: skip
def test_same_precision_and_why(
    inside: Inside, toy: dict[str, Any], encoder: list[str], decoder: list[str], parity: list[Any],
    record: Any, asked: str, engines: bool,
) -> None:  # fmt: skip
    data = written(encoder, decoder, parity, record)
    bundle: Any = SimpleNamespace(manifest=parse_manifest(data))
    folders = (Path("named"),) if engines else ()
    wanted, reason = None, ""
    try:
        wanted = choose_precision(bundle, Toy(toy), asked, engines=folders)
    except NotSupportedError as error:
        reason = str(error)
    if wanted is None:
        with pytest.raises(Refused) as refused:
            inside.precision(data, toy, asked, engines)
        assert refused.value.status == NOT_SUPPORTED
        assert str(refused.value) == reason
    else:
        assert inside.precision(data, toy, asked, engines) == wanted


@pytest.mark.parametrize("path", [TINY, DEMO])
@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16", "int8"])
def test_loaded_alike(library: Library, path: str, precision: str) -> None:
    """The choice as a program meets it, with OpenVINO."""
    try:
        wanted = samedge.load(path, backend="openvino", precision=precision, threads=1)
    except NotSupportedError as error:
        with pytest.raises(NotSupportedError, match=re.escape(str(error))):
            NativeModel(library, path, "openvino", precision, threads=1)
        return
    with wanted, NativeModel(library, path, "openvino", precision, threads=1) as model:
        said = wanted.describe()
        assert model.info.why.decode() == said["why"]


def test_auto(library: Library) -> None:
    """The first backend that works, with what is wrong with those before it."""
    with NativeModel(library, TINY, threads=1) as model:
        why = model.info.why.decode()
    assert re.match(
        r"openvino: first backend that works here \(.*tensorrt.*: .*\); (fp32|bf16): ", why
    )


def test_backends_that_are_not_there(library: Library) -> None:
    for name in ("tensorrt", "triton"):
        with pytest.raises(NotSupportedError) as refused:
            NativeModel(library, TINY, name)
        assert re.search(r"-DSAMEDGE_\w+=ON|does not run here: ", str(refused.value))


def test_unknown_numbers(library: Library) -> None:
    handle = ctypes.c_void_p()
    for field in ("backend", "precision"):
        for number in (-1, 4 if field == "backend" else 5, 2**31 - 1):
            options = structs.ModelOptions(**{field: number})
            status = library.samedge_model_open(
                os.fsencode(TINY), ctypes.byref(options), ctypes.byref(handle)
            )
            assert status == -1
            assert not handle
            with pytest.raises(LibraryError, match=f"{field} is {number}; expected"):
                library.check(status)


def test_engines_that_are_none(library: Library, tmp_path: Path) -> None:
    for folder, match in ((tmp_path / "no", "there is no folder"), (tmp_path, "holds no engine")):
        with pytest.raises(LibraryError, match=match):
            NativeModel(library, TINY, engines=folder)


def test_named_engines(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of engines decides which backend, and which precisions there are."""
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "engines"
    build_engines(Bundle.open(TINY), ("fp32",), folder)
    for asked in ("auto", "fp32"):
        with (
            samedge.load(TINY, precision=asked, threads=1, engines=folder) as wanted,
            NativeModel(library, TINY, precision=asked, threads=1, engines=folder) as model,
        ):
            assert model.info.why.decode() == wanted.describe()["why"]
    with pytest.raises(NotSupportedError, match=r"no engine in .* fits|not run here"):
        NativeModel(library, TINY, precision="bf16", threads=1, engines=folder)
    with pytest.raises(NotSupportedError, match=r"(?s)no backend takes .*openvino: "):
        NativeModel(library, DEMO, threads=1, engines=folder)


# --- Cores.


def test_same_cores(inside: Inside) -> None:
    assert inside.physical_cores() == physical_cores()
    before = os.sched_getaffinity(0)
    try:
        for cpu in sorted(before)[:4]:
            os.sched_setaffinity(0, {cpu})
            assert inside.physical_cores() == physical_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
