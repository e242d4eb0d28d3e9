"""Which graph serves which precision, and what `auto` takes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.bundle import Manifest
from samedge.errors import NotSupportedError
from samedge.runtime.backend import STRONGLY_TYPED, Backend
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.precision import PRECISIONS, choose_precision, graph_key, runnable
from tests.bundle.manifests import parity_row, small_manifest


def manifest(encoder: str, decoder: str = "fp32", **parity: bool) -> Manifest:
    """Graphs by name ("fp32 int8"), and parity rows of OpenVINO by precision."""
    rows = tuple(parity_row("openvino", name, passed) for name, passed in parity.items())
    return small_manifest(encoder, decoder, parity=rows, calibration={"source": "folder"})


def bundle(*args: Any, **parity: bool) -> Any:
    return SimpleNamespace(manifest=manifest(*args, **parity))


class Native(Backend):
    """A backend that computes `native`."""

    def __init__(
        self, *native: str, name: str = "openvino", slower: str = "", doubtful: str = ""
    ) -> None:
        self.name, self._native, self._slower = name, native, frozenset(slower.split())
        self._doubtful = dict.fromkeys(doubtful.split(), "it rains")
        self.graphs = OPENVINO.graphs if name.startswith("openvino") else STRONGLY_TYPED

    def unavailable(self) -> str | None:
        return None

    def precisions(self) -> tuple[str, ...]:
        return self._native

    def open(self, _bundle: Any, _options: Any) -> Any:
        raise AssertionError("nothing is opened")

    def slower_than_float32(self) -> frozenset[str]:
        return self._slower

    def doubtful(self) -> dict[str, str]:
        return self._doubtful


def key_of(data: dict[str, Any], name: str, graph: str, precision: str) -> str:
    """The graph that the backend called `name` takes."""
    return graph_key(data, name, graph, precision, Native(name=name).graphs)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_openvino_takes_the_exact_weights_where_it_can(precision: str) -> None:
    both = manifest("fp32 fp16", "fp32 fp16")
    half = manifest("fp16", "fp16")
    for graph in ("encoder", "decoder"):
        assert key_of(both, "openvino", graph, precision) == "fp32"
        assert key_of(half, "openvino_gpu", graph, precision) == "fp16"


def test_int8_is_the_encoder_alone() -> None:
    data = manifest("fp32 fp16 int8", "fp32 fp16")
    assert key_of(data, "openvino", "encoder", "int8") == "int8"
    assert key_of(data, "openvino", "decoder", "int8") == "fp32"
    assert key_of(data, "tensorrt", "encoder", "int8") == "int8"
    assert key_of(data, "tensorrt_rtx", "decoder", "int8") == "fp16"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_typed_engines_take_the_graph_of_that_name(precision: str) -> None:
    data = manifest("fp32 fp16", "fp32 fp16")
    assert key_of(data, "tensorrt", "encoder", precision) == precision


def test_a_missing_graph_names_what_there_is_and_the_command() -> None:
    with pytest.raises(NotSupportedError) as caught:
        key_of(manifest("fp32 fp16", "fp32"), "openvino", "encoder", "int8")
    text = str(caught.value)
    for words in ("int8 encoder", "encoder fp32, encoder fp16, decoder fp32"):
        assert words in text
    assert "samedge export BUNDLE -o NEW --precision fp32,fp16,int8" in text


@pytest.mark.parametrize(("name", "precision"), [("tensorrt", "bf16"), ("openvino", "fp8")])
def test_a_precision_that_a_backend_does_not_have(name: str, precision: str) -> None:
    with pytest.raises(NotSupportedError, match=r"use one of: .*fp32"):
        key_of(manifest("fp32 fp16 int8"), name, "encoder", precision)


def test_runnable_is_native_and_in_the_bundle() -> None:
    native = Native("fp32", "bf16", "int8")
    assert runnable(bundle("fp32"), native) == ("fp32", "bf16")
    assert runnable(bundle("fp32 int8"), native) == ("fp32", "bf16", "int8")
    # The engine's decoder would have to be fp16, and there is none.
    assert runnable(bundle("fp32 int8"), Native("fp32", "int8", name="tensorrt")) == ("fp32",)


ALL = Native("fp32", "bf16", "fp16", "int8")


@pytest.mark.parametrize(
    ("graphs", "parity", "expected"),
    [
        ("fp32 int8", {"fp32": True, "bf16": True, "int8": True}, "int8"),
        ("fp32 int8", {"fp32": True, "bf16": True, "int8": False}, "bf16"),
        ("fp32", {"fp32": True, "bf16": True, "int8": True}, "bf16"),
        ("fp32", {"bf16": False, "fp16": True}, "fp16"),
        ("fp32", {"bf16": False}, "fp32"),
        ("fp32 int8", {}, "fp32"),
    ],
)
def test_auto_is_the_fastest_that_passed(
    graphs: str, parity: dict[str, bool], expected: str
) -> None:
    assert choose_precision(bundle(graphs, **parity), ALL, "auto")[0] == expected


@pytest.mark.parametrize("calibration", [None, {"source": "self-test"}, {}])
def test_auto_takes_int8_only_with_frames_of_the_users_own(calibration: Any) -> None:
    synthetic = bundle("fp32 int8", bf16=True, int8=True)
    synthetic.manifest = replace(synthetic.manifest, calibration=calibration)
    chosen, why = choose_precision(synthetic, ALL, "auto")
    assert chosen == "bf16"
    assert "int8 was not calibrated with frames of your own" in why
    assert choose_precision(synthetic, ALL, "int8") == ("int8", "asked for")


def test_auto_takes_only_what_is_native() -> None:
    proven = bundle("fp32 int8", bf16=True, int8=True)
    assert choose_precision(proven, Native("fp32"), "auto") == (
        "fp32",
        "no faster precision is native here",
    )


def test_auto_says_what_it_passed_over() -> None:
    _, why = choose_precision(bundle("fp32", fp16=False), ALL, "auto")
    assert "no int8 graph" in why
    assert "no bf16 row" in why
    assert "samedge export BUNDLE -o NEW here adds it" in why
    assert "fp16 did not pass" in why


def test_auto_without_float32_and_without_proof_is_an_error() -> None:
    half = bundle("fp16", "fp16")
    with pytest.raises(NotSupportedError, match="samedge verify"):
        choose_precision(half, Native("fp16", name="tensorrt"), "auto")


def test_rows_of_another_backend_do_not_count() -> None:
    other = bundle("fp32", bf16=True)
    assert choose_precision(other, Native("fp32", "bf16", name="openvino_gpu"), "auto")[0] == (
        "fp32"
    )


def test_asked_for_says_what_the_parity_table_says() -> None:
    tried = bundle("fp32 int8", int8=False)
    assert choose_precision(tried, ALL, "int8")[1].endswith("did not pass the bundle's parity gate")
    assert "samedge verify" in choose_precision(tried, ALL, "bf16")[1]
    assert choose_precision(tried, ALL, "fp32") == ("fp32", "asked for")


def test_asked_for_and_not_here() -> None:
    with pytest.raises(NotSupportedError, match=r"does not run here .*auto, fp32"):
        choose_precision(bundle("fp32"), Native("fp32"), "bf16")
    with pytest.raises(NotSupportedError, match="none that samedge knows"):
        choose_precision(bundle("fp32"), Native("fp32"), "fp8")
    with pytest.raises(NotSupportedError, match="int8 encoder"):
        choose_precision(bundle("fp32"), ALL, "int8")


@given(
    st.sets(st.sampled_from(["fp32", "fp16", "int8"]), min_size=1),
    st.sets(st.sampled_from(["fp32", "fp16"]), min_size=1),
    st.sampled_from(["openvino", "openvino_gpu", "tensorrt", "tensorrt_rtx"]),
    st.sampled_from(PRECISIONS),
)
def test_a_key_is_always_one_of_the_bundles(
    encoder: set[str], decoder: set[str], name: str, precision: str
) -> None:
    data = manifest(" ".join(encoder), " ".join(decoder))
    for graph in ("encoder", "decoder"):
        there = data.graphs[graph]
        assert _answer(data, name, graph, precision) in (*there, "remedy")


def _answer(data: Manifest, name: str, graph: str, precision: str) -> str:
    try:
        return key_of(data, name, graph, precision)
    except NotSupportedError as error:
        named = "use one of" in str(error) or "samedge export" in str(error)
        return "remedy" if named else str(error)


def test_auto_leaves_out_what_is_slower_than_float32() -> None:
    proven = bundle("fp32", fp16=True)
    native = Native("fp32", "fp16", slower="fp16")
    assert choose_precision(proven, native, "auto")[0] == "fp32"
    assert choose_precision(proven, native, "fp16")[0] == "fp16"


def test_auto_leaves_out_what_may_answer_otherwise_here() -> None:
    proven = bundle("fp32", fp16=True)
    native = Native("fp32", "fp16", doubtful="fp16")
    assert choose_precision(proven, native, "auto") == ("fp32", "fp16 is left out: it rains")
    assert choose_precision(proven, native, "fp16") == ("fp16", "asked for, though it rains")


@pytest.mark.parametrize(
    ("machine", "features", "doubtful"),
    [
        ("x86_64", ["avx2", "avx512"], True),
        ("x86_64", ["avx512_vnni"], False),
        ("AMD64", ["avx_vnni"], False),
        ("aarch64", [], False),
    ],
)
def test_int8_is_doubtful_where_its_sums_saturate(
    monkeypatch: pytest.MonkeyPatch, machine: str, features: list[str], doubtful: bool
) -> None:
    from samedge.runtime.openvino import backend as module

    monkeypatch.setattr(module.platform, "machine", lambda: machine)
    monkeypatch.setattr(module, "cpu", lambda: {"features": features})
    assert ("int8" in module.OPENVINO.doubtful()) is doubtful


@pytest.mark.parametrize(
    ("machine", "features", "slower"),
    [("x86_64", ["avx512_fp16"], True), ("x86_64", ["amx_fp16"], False), ("aarch64", [], False)],
)
def test_fp16_pays_only_with_matrix_units_for_it(
    monkeypatch: pytest.MonkeyPatch, machine: str, features: list[str], slower: bool
) -> None:
    from samedge.runtime.openvino import backend as module

    monkeypatch.setattr(module.platform, "machine", lambda: machine)
    monkeypatch.setattr(module, "cpu", lambda: {"features": features})
    assert ("fp16" in module.OPENVINO.slower_than_float32()) is slower
