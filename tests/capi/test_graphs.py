"""Graphs in a bundle: libsamedge refuses what no exporter writes, exactly as Python does."""

from __future__ import annotations

import ctypes
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.bundle import Bundle
from samedge.bundle.graphs.check import check_graph
from samedge.bundle.graphs.operators import RULES
from samedge.errors import BundleError
from tests.bundle.graphs import test_check as python
from tests.bundle.graphs.test_check import outside, parsed
from tests.bundle.other_network import with_graphs
from tests.capi.bundles import BUNDLE, Inside, Refused, tried
from tests.runtime.cases import CONFIGS, Case

TINY = Path("tests/data/tiny.samedge")
MANIFEST = (TINY / "manifest.json").read_bytes()
GRAPHS = {name: (TINY / f"{name}.fp32.onnx").read_bytes() for name in ("encoder", "decoder")}
DECODER = GRAPHS["decoder"]
EXAMPLES = 4000 if settings.get_current_profile_name() == "thorough" else 60
_ = outside  # a fixture


@pytest.fixture(scope="module")
def inside(internals: ctypes.CDLL) -> Inside:
    return Inside(internals)


@pytest.fixture
def tiny_bundle() -> Path:
    return TINY


def refused(inside: Inside, data: bytes, words: str, graph: str = "decoder") -> None:
    with pytest.raises(Refused, match=words) as caught:
        inside.graph(MANIFEST, graph, data)
    assert caught.value.status == BUNDLE
    assert f"{graph}.fp32.onnx is no graph that samedge writes" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", [TINY, Path("samedge/data/samus-demo.samedge")])
def test_what_is_exported_passes(inside: Inside, path: Path) -> None:
    inside.bundle(path, graphs=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_all_families_pass(
    inside: Inside, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    case = Case.of(name, tmp_path)
    case.session.close()
    inside.bundle(case.bundle.path, graphs=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (python.operator("Loop"), "no operator that samedge's graphs have"),
        (python.operator("Gelù"), "no operator"),
        (python.operator(""), "no operator"),
        (python.add_attribute(axis=1), "the attribute 'axis', which samedge never writes"),
        (python.add_attribute(t=onnx.helper.make_tensor("x", 1, [1], [0.0])), "part .number 5."),
        (python.add_attribute(text="x"), "part .number 4."),
        (python.own_domain, "not ONNX's own"),
        (python.other_opset, "opset 20"),
        (python.second_opset, "part .number 8. twice"),
        (python.a_function, "part .number 25."),
        (python.too_few_inputs, "takes 0 inputs, expected 1"),
        (python.huge, "elements|do not go together"),
        (python.unknown_input, "nothing before it makes its input 'nobody makes this'"),
        (python.backwards, "nothing before it makes"),
        (python.made_twice, "is made twice"),
        (python.output_as_float, "its output 'masks' is not computed in the shape"),
        (python.output_wider, "its output 'low_res_logits' is not computed"),
        (python.no_such_output, "nothing computes its output 'score'"),
        (python.typed_weight, "part .number 4. that samedge never writes"),
        (python.short_weight, "bytes, its shape says"),
        (python.sparse_weight, "part .number 15."),
        (python.strings, "no type and shape that weights have"),
        (python.newline, "cannot be printed"),
        (python.escape, "cannot be printed"),
        (python.endless_name, "a name has 10000 bytes"),
    ],
)
def test_what_no_exporter_writes(inside: Inside, change: Callable[[Any], None], words: str) -> None:
    model = parsed(DECODER)
    change(model)
    refused(inside, model.SerializeToString(), words)


def test_a_name_that_is_no_text(inside: Inside) -> None:
    for odd in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x80"):
        old = b"decoder.layers.1/Relu"
        refused(inside, DECODER.replace(old, old[: -len(odd)] + odd), "a name is no UTF-8")


def test_parts_that_stand_twice(inside: Inside) -> None:
    graph = parsed(DECODER).graph.SerializeToString()
    size = len(graph)
    varint = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    refused(inside, DECODER + b"\x3a" + varint + graph, "part .number 7. twice")


@pytest.mark.parametrize("data", [b"", b"\x00", b"not an ONNX file", b"\x08\x0a", b"\xff" * 40])
def test_other_files(inside: Inside, data: bytes) -> None:
    refused(inside, data, "no graph that samedge writes: .")


def test_a_file_of_a_million_parts_is_given_up_early(inside: Inside) -> None:
    refused(inside, b"\x72\x04\x0a\x00\x12\x00" * 3_000_000, "more parts than any graph")


def test_the_manifest_and_the_graph_agree(inside: Inside) -> None:
    refused(inside, DECODER, "says otherwise of its inputs", graph="encoder")


@pytest.mark.parametrize(("graph", "name", "operator"), python.CRASHES)
def test_what_ended_the_process(inside: Inside, graph: str, name: str, operator: str) -> None:
    model = parsed(GRAPHS[graph])
    python.node(model, name).op_type = operator
    refused(inside, model.SerializeToString(), f"node '{name}' \\({operator}\\)", graph)


class Both:
    """Shows graphs to Python and to the library, which have to agree."""

    def __init__(self, inside: Inside, folder: Path) -> None:
        self.inside, self.folder, self.manifest = inside, folder, Bundle.open(TINY).manifest
        self.taken = self.refused = 0

    def agree(self, graph: str, data: bytes) -> None:
        path = self.folder / f"{graph}.fp32.onnx"
        path.write_bytes(data)
        reason = None
        try:
            check_graph(path, self.manifest.graphs[graph]["fp32"])
        except BundleError as error:
            reason = str(error)
        refused = tried(lambda: self.inside.graph(MANIFEST, graph, data))
        assert (refused is None) == (reason is None), f"Python: {reason}; the library: {refused}"
        if refused is None:
            self.taken += 1
        else:
            assert refused.status == BUNDLE
            self.refused += 1


@given(data=st.data())
def test_any_bytes(data: Any, inside: Inside, tmp_path_factory: pytest.TempPathFactory) -> None:
    broken = bytearray(GRAPHS["decoder"])
    start = data.draw(st.integers(0, 20_000))  # nodes stand in front of the weights
    for value in data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=4)):
        broken[start + value] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(broken), start + 300]))
    Both(inside, tmp_path_factory.getbasetemp()).agree("decoder", bytes(broken[:end]))


ODD = (
    -(1 << 63),
    -129,
    -3,
    -2,
    -1,
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    16,
    32,
    63,
    64,
    65,
    1 << 31,
    1 << 36,
    1 << 62,
    (1 << 63) - 1,
)


@pytest.mark.parametrize("graph", ["encoder", "decoder"])
def test_changed_graphs(inside: Inside, tmp_path: Path, graph: str) -> None:
    """Every kind of node with other operators, inputs, attributes and lists of numbers."""
    both = Both(inside, tmp_path)
    rng = random.Random(3)
    model = parsed(GRAPHS[graph])
    operators = sorted({node.op_type for node in model.graph.node})
    by_operator: dict[str, list[Any]] = {}  # so that rare ones are seen as often as the others
    for node in model.graph.node:
        by_operator.setdefault(node.op_type, []).append(node)
    lists = {w.name for w in model.graph.initializer if w.data_type == 7 and len(w.dims) < 2}
    values = [
        *(w.name for w in model.graph.initializer),
        *(o for n in model.graph.node for o in n.output),
    ]
    whole = model.SerializeToString()
    for _ in range(EXAMPLES):
        changed = parsed(whole)
        kind = rng.randrange(6)
        like = rng.choice(by_operator[rng.choice(operators)])
        one = python.node(changed, like.name)
        if kind == 0:
            one.op_type = rng.choice((*operators, *RULES))
        elif kind == 1 and one.input:
            one.input[rng.randrange(len(one.input))] = rng.choice(values)
        elif kind == 2 and (near := lists & {*one.input}):
            found = python.weight(changed, rng.choice(sorted(near)))
            numbers = np.frombuffer(found.raw_data, "<i8").copy()
            if numbers.size:
                numbers[rng.randrange(numbers.size)] = rng.choice(ODD)
                found.raw_data = numbers.tobytes()
        elif kind == 3 and one.attribute:
            attribute = rng.choice(one.attribute)
            if attribute.type == onnx.AttributeProto.INT:
                attribute.i = rng.choice(ODD)
            elif attribute.ints:
                attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(ODD)
        elif kind == 4 and one.attribute:
            del one.attribute[rng.randrange(len(one.attribute))]
        elif kind == 5:
            found = rng.choice(changed.graph.initializer)
            if found.dims:
                found.dims[rng.randrange(len(found.dims))] = rng.choice(ODD)
        both.agree(graph, changed.SerializeToString())
    assert both.taken > EXAMPLES // 50
    assert both.refused > EXAMPLES // 2


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("location", "weights.bin", "'weights.bin'; weights outside of the graph are only taken"),
        ("location", python.MAGIC, "lies in another file"),
        ("location", "../encoder.fp32.onnx.data", "lies in another file"),
        ("location", "./encoder.fp32.onnx.data", "lies in another file"),
        ("location", "", "lies in another file"),
        ("offset", "1000000000", "its place in encoder.fp32.onnx.data is 1000000000"),
        ("offset", "999999999999999999", "its place in encoder.fp32.onnx.data is"),
        ("offset", "-1", "without a plain name, offset and length"),
        ("offset", "²", "without a plain name"),
        ("offset", "9" * 30, "without a plain name"),
        ("length", "8", "bytes, and its place"),
        ("length", "0", "bytes, and its place"),
        ("length", "", "without a plain name"),
    ],
)
def test_weights_outside(inside: Inside, outside: Path, key: str, value: str, words: str) -> None:
    weights = outside.with_name(f"{outside.name}.data").read_bytes()
    inside.graph(MANIFEST, "encoder", outside.read_bytes(), weights)
    for part in (None, b"", weights[:4096]):
        with pytest.raises(Refused, match=r"lies in another file|its place in"):
            inside.graph(MANIFEST, "encoder", outside.read_bytes(), part)
    model = onnx.load(outside, load_external_data=False)
    tensor = next(one for one in model.graph.initializer if one.external_data)
    next(entry for entry in tensor.external_data if entry.key == key).value = value
    with pytest.raises(Refused, match=words):
        inside.graph(MANIFEST, "encoder", model.SerializeToString(), weights)


def test_copies_for_readers_of_files(
    inside: Inside, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files side by side, in a folder of one's own that goes again."""
    folder = tmp_path / "with-weights.samedge"
    shutil.copytree(TINY, folder)
    for name in (outside.name, f"{outside.name}.data"):
        shutil.copy(outside.with_name(name), folder / name)
    with_graphs(folder, {"encoder": outside.name})
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    sizes = [
        f"{name} {(folder / name).stat().st_size}"
        for name in (outside.name, f"{outside.name}.data")
    ]
    assert inside.graph_copy(folder, "encoder") == sizes
    assert inside.graph_copy(folder, "decoder") == [f"decoder.fp32.onnx {len(DECODER)}"]
    assert not list(temporary.iterdir())
