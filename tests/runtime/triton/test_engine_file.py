"""The engine file: written and read back; whatever is wrong in it is found and named."""

from __future__ import annotations

import copy
import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samedge.bundle import Bundle
from samedge.errors import SourceError
from samedge.runtime.triton.engine_file import (
    MAGIC,
    Blob,
    engine_bytes,
    read_engine,
    write_engine,
)
from samedge.runtime.triton.plan import Argument, EnginePlan
from samedge.runtime.triton.plan_json import plan_to_json
from samedge.runtime.triton.sizes import Expr, cdiv, named, product
from tests.runtime.triton.plans import changed_step, cubins, small_plan

TINY = Path(__file__).resolve().parents[2] / "data" / "tiny.samedge"
HEIGHT = named("height")


@pytest.fixture(scope="module")
def parts() -> tuple[EnginePlan, bytes, bytes]:
    return small_plan(Bundle.open(TINY).manifest, (86, 87))


@pytest.fixture(scope="module")
def whole(parts: tuple[EnginePlan, bytes, bytes]) -> bytes:
    return b"".join(engine_bytes(*parts))


def sealed(document: Any, constants: bytes, code: bytes) -> bytes:
    """An engine file whose digest is right, whatever stands in its plan."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    head = struct.pack("<8sIIQQQ216x", MAGIC, 1, 0, len(text), len(constants), len(code))
    data = head + b"".join(part + bytes(-len(part) % 256) for part in (text, constants, code))
    return data + hashlib.sha256(data).digest()


def refused(data: bytes, folder: Path) -> str:
    path = folder / "x.engine"
    path.write_bytes(data)
    with pytest.raises(SourceError) as caught:
        read_engine(path)
    assert "samedge build" in str(caught.value) or "at most" in str(caught.value)
    return str(caught.value)


def test_what_was_written_is_read(parts: tuple[EnginePlan, bytes, bytes], tmp_path: Path) -> None:
    plan, constants, code = parts
    write_engine(tmp_path / "a.engine", plan, constants, code)
    found = read_engine(tmp_path / "a.engine")
    assert found.plan == plan
    assert bytes(found.constants) == constants
    assert bytes(found.data) == (tmp_path / "a.engine").read_bytes()
    for number, target in found.plan.targets.items():
        assert [found.cubin(kernel) for kernel in target.kernels] == [*cubins(number).values()]
    assert [path.name for path in tmp_path.iterdir()] == ["a.engine"]


def test_the_same_plan_gives_the_same_bytes(
    parts: tuple[EnginePlan, bytes, bytes], whole: bytes
) -> None:
    assert b"".join(engine_bytes(*copy.deepcopy(parts))) == whole


def test_a_blob_has_each_piece_once() -> None:
    blob = Blob()
    assert [blob.add(b"a"), blob.add(b"b" * 300), blob.add(b"a"), blob.add(b"c")] == [
        0,
        256,
        0,
        768,
    ]
    data = blob.bytes()
    assert len(data) == blob.size == 1024
    assert data[256:556] == b"b" * 300


def test_every_changed_byte_is_found(whole: bytes, tmp_path: Path) -> None:
    for at in (*range(40), 256, 300, len(whole) // 2, len(whole) - 33, len(whole) - 1):
        data = bytearray(whole)
        data[at] ^= 4
        refused(bytes(data), tmp_path)


@pytest.mark.parametrize("size", [0, 5, 40, 255, 256, 300, -1, -32, -300])
def test_truncated(whole: bytes, size: int, tmp_path: Path) -> None:
    said = refused(whole[:size], tmp_path)
    assert any(word in said for word in ("truncated", "empty", "begins otherwise"))


def test_longer_than_it_says(whole: bytes, tmp_path: Path) -> None:
    assert "longer" in refused(whole + b"\0", tmp_path)


def test_another_format(whole: bytes, tmp_path: Path) -> None:
    said = refused(whole[:8] + b"\7\0\0\0" + whole[12:], tmp_path)
    for words in ("format 7", "reads format 1", "another version of samedge"):
        assert words in said


def test_something_else(tmp_path: Path) -> None:
    assert "no engine of samedge's own" in refused(b"ftrt" * 100, tmp_path)
    with pytest.raises(SourceError, match="cannot be read"):
        read_engine(tmp_path / "none.engine")


def test_a_plan_that_is_too_long(whole: bytes, tmp_path: Path) -> None:
    text = b" " * 16_000_001
    assert "at most 16 MB" in refused(sealed(text, b"", b""), tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[]", b"[" * 100_000, b'{"a": NaN}', b"1"])
def test_no_plan(text: bytes, tmp_path: Path) -> None:
    refused(sealed(text, b"", b""), tmp_path)


def test_a_sealed_file_is_read(parts: tuple[EnginePlan, bytes, bytes], tmp_path: Path) -> None:
    """The control of what follows: `sealed` makes files that are right."""
    plan, constants, code = parts
    document = {**plan_to_json(plan), "constants": hashlib.sha256(constants).hexdigest()}
    (tmp_path / "x.engine").write_bytes(sealed(document, constants, code))
    assert read_engine(tmp_path / "x.engine").plan == plan


def test_constants_and_code_have_hashes_of_their_own(
    parts: tuple[EnginePlan, bytes, bytes], tmp_path: Path
) -> None:
    plan, constants, code = parts
    document = {**plan_to_json(plan), "constants": hashlib.sha256(constants).hexdigest()}
    other = bytes([constants[0] ^ 1]) + constants[1:]
    assert "constants" in refused(sealed(document, other, code), tmp_path)
    other = bytes([code[0] ^ 1]) + code[1:]
    assert "the SHA-256 of its code" in refused(sealed(document, constants, other), tmp_path)


def test_every_value_of_the_plan_is_checked(
    parts: tuple[EnginePlan, bytes, bytes], tmp_path: Path
) -> None:
    """Each value exchanged by several that no plan has, each key left out or added."""
    plan, constants, code = parts
    document = {**plan_to_json(plan), "constants": hashlib.sha256(constants).hexdigest()}
    text = json.dumps(document)
    places = list(_places(json.loads(text)))
    assert len(places) > 200
    for place in places:
        for value in (None, True, -(1 << 40), 1.5, ["+", 1], "\n"):
            if place[-1] == "scale" and value in (1.5, -(1 << 40)):
                continue  # factors like others
            changed = json.loads(text)
            _set(changed, place, value)
            refused(sealed(changed, constants, code), tmp_path)
        changed = json.loads(text)
        if isinstance(place[-1], str) and place[-2:-1] not in (("limits",), ("files",)):
            _set(changed, (*place[:-1], "other"), 1)
            refused(sealed(changed, constants, code), tmp_path)


def _places(value: Any, where: tuple[Any, ...] = ()) -> Any:
    """Keys to the values of the first target; of lists the first and the last item."""
    if where:
        yield where
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = [*value.items()]
    elif isinstance(value, list):
        items = [(n, value[n]) for n in sorted({0, len(value) - 1}) if value]
    for key, inner in items:
        if (*where, key)[:2] != ("targets", 1):
            yield from _places(inner, (*where, key))


def _set(document: Any, place: tuple[Any, ...], value: Any) -> None:
    for key in place[:-1]:
        document = document[key]
    document[place[-1]] = value


def _weight(**changes: Any) -> Callable[[EnginePlan], EnginePlan]:
    return lambda plan: replace(
        plan, weights=(replace(plan.weights[0], **changes), plan.weights[1])
    )


def _kernel(**changes: Any) -> Callable[[EnginePlan], EnginePlan]:
    def change(plan: EnginePlan) -> EnginePlan:
        target = plan.targets[86]
        kernels = (replace(target.kernels[0], **changes), *target.kernels[1:])
        return replace(plan, targets={86: replace(target, kernels=kernels)})

    return change


def _program(**changes: Any) -> Callable[[EnginePlan], EnginePlan]:
    def change(plan: EnginePlan) -> EnginePlan:
        target = plan.targets[86]
        programs = (replace(target.programs[0], **changes), *target.programs[1:])
        return replace(plan, targets={86: replace(target, programs=programs)})

    return change


def _argument(at: int, argument: Argument) -> Callable[[EnginePlan], EnginePlan]:
    def change(plan: EnginePlan) -> EnginePlan:
        before = plan.targets[86].programs[0].steps[0].arguments
        return changed_step(
            plan, "encoder", 0, arguments=(*before[:at], argument, *before[at + 1 :])
        )

    return change


def _step(**changes: Any) -> Callable[[EnginePlan], EnginePlan]:
    return lambda plan: changed_step(plan, "encoder", 0, **changes)


WRONG: dict[str, tuple[Callable[[EnginePlan], EnginePlan], str]] = {
    "weight not aligned": (_weight(offset=16), "multiple of 256"),
    "weights overlap": (_weight(shape=(160,), strides=(0,)), "from 320 on"),
    "weight outside": (lambda p: replace(p, weights_size=256), "within the 256 bytes"),
    "weight of an unknown file": (_weight(file="else.onnx"), "hash of"),
    "weight outside of the constants": (_weight(strides=(99,)), "bytes of the constants"),
    "weight of whole numbers scaled": (_weight(stored="i32", dtype="i32"), "factor 1"),
    "weight of whole numbers converted": (_weight(stored="i32", scale=1.0), "floating-point"),
    "weight with scale 0": (_weight(scale=0.0), "not 0"),
    "code outside": (_kernel(position=1 << 20), "bytes of code"),
    "code not aligned": (_kernel(position=8), "multiple of 256"),
    "half a warp": (_kernel(threads=48), "multiple of 32"),
    "one parameter more": (_kernel(parameters="ppiiip"), "6 arguments"),
    "another parameter": (_kernel(parameters="ppiip"), "a pointer"),
    "parameter of no kind": (_kernel(parameters="ppiif"), r"\[pi\]"),
    "symbol with a blank": (_kernel(symbol="a b"), "expected"),
    "no limit": (_program(limits={"height": 5, "width": 5}), "limits of"),
    "limit of nothing": (
        _program(limits={"height": 5, "width": 5, "frame_channels": 3, "depth": 2}),
        "limits of",
    ),
    "small arena": (_program(arena=0), "below 0 bytes"),
    "arena of an unknown size": (_program(arena=named("depth")), "sizes of the inputs"),
    "no steps": (_program(steps=()), "1 values or more"),
    "kernel that is not there": (_step(kernel=4), "one of 4 kernels"),
    "grid of 0": (_step(grid=(0, 1, 1)), "blocks"),
    "grid of 0 for small frames": (_step(grid=(Expr("*", (HEIGHT, 0)), 1, 1)), "blocks"),
    "grid too large": (_step(grid=(1, HEIGHT * 512, 1)), "65535 blocks"),
    "grid of an unknown size": (_step(grid=(named("points"), 1, 1)), "sizes of the inputs"),
    "number too large": (_argument(2, Argument("size", product(HEIGHT, 1 << 23))), "at most 2147"),
    "pointer for a number": (_argument(2, Argument("arena", 0)), "a size"),
    "number for a pointer": (_argument(0, Argument("size", 0)), "a pointer"),
    "arena exceeded": (_argument(1, Argument("arena", 1 << 20)), "below 786432 bytes"),
    "arena not aligned": (_argument(1, Argument("arena", 8)), "multiple of 16"),
    "weights exceeded": (_argument(1, Argument("weight", 512)), "below 512 bytes"),
    "weights of no fixed place": (_argument(1, Argument("weight", HEIGHT * 16)), "fixed place"),
    "port that is not there": (_argument(0, Argument("port", port="mask")), "input or output"),
    "port not aligned": (_argument(0, Argument("port", 4, "frame")), "multiple of 16"),
    "a giant": (_step(flops=product(*[HEIGHT] * 12)), "less than"),
    "quotient by a size": (_step(flops=cdiv(100, HEIGHT)), "quotient"),
    "deep": (_step(flops=product(*[HEIGHT] * 40)), "inside each other"),
    "no targets": (lambda p: replace(p, targets={}), "1 values or more"),
    "no decoder": (
        lambda p: replace(
            p, targets={86: replace(p.targets[86], programs=p.targets[86].programs[:1])}
        ),
        "one of the decoder",
    ),
    "no precision": (lambda p: replace(p, precision="fp8"), "one of fp32"),
}


@pytest.mark.parametrize("case", WRONG)
def test_parts_that_do_not_fit_each_other(
    parts: tuple[EnginePlan, bytes, bytes], case: str, tmp_path: Path
) -> None:
    plan, constants, code = parts
    change, words = WRONG[case]
    changed = change(plan)
    document = {**plan_to_json(changed), "constants": hashlib.sha256(constants).hexdigest()}
    refused(sealed(document, constants, code), tmp_path)
    with pytest.raises(SourceError, match=words):
        write_engine(tmp_path / "y.engine", changed, constants, code)
    assert not (tmp_path / "y.engine").exists()


def test_two_programs_of_one_graph_have_the_same_ports(
    parts: tuple[EnginePlan, bytes, bytes],
) -> None:
    plan, constants, code = parts
    target = plan.targets[86]
    encoder, decoder = target.programs
    small = replace(encoder, limits=dict.fromkeys(encoder.limits, 3))
    both = replace(plan, targets={86: replace(target, programs=(small, encoder, decoder))})
    list(engine_bytes(both, constants, code))
    other = replace(small, outputs=(replace(encoder.outputs[0], dtype="float16"),))
    both = replace(plan, targets={86: replace(target, programs=(other, encoder, decoder))})
    with pytest.raises(SourceError, match="ports of the other encoder"):
        list(engine_bytes(both, constants, code))
