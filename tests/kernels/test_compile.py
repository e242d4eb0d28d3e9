"""Machine code for GPUs that are not here: what it depends on, what it holds, what is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from samedge.errors import DeviceError, NotSupportedError
from samedge.kernels.compile import (
    Signature,
    compile_all,
    compile_for_engine,
    compile_one,
    signature_of,
    translated,
)
from samedge.kernels.launch import Array, Launch, Tile
from samedge.progress import Step
from samedge.runtime.triton.sizes import named
from tests.kernels.samples import product_kernel, product_signature

TREE = Path(__file__).parents[2]


def launch(**changes: object) -> Launch:
    """Of the sample product."""
    a = Array(None, "fp16", (64, 128), (128, 1))
    bias = Array(None, "fp32", (128,), (1,))
    arguments = {"a_ptr": a, "b_ptr": a, "bias_ptr": bias, "c_ptr": a, "depth": 4}
    sizes = {"BLOCK_M": 32, "BLOCK_N": 32, "BLOCK_K": 32}
    constants = {"N": 128, "K": 128, **sizes, "HAS_BIAS": True}
    made = Launch(product_kernel, (2, 4, 1), arguments, constants, ("c_ptr",), Tile(sizes, 4, 2))
    return replace(made, **changes)  # type: ignore[arg-type]


def test_signature_says_everything_that_code_depends_on() -> None:
    assert signature_of(launch()) == product_signature()
    other = launch(tile=Tile({}, 8, 2))
    for tile in (other.tile, Tile({}, 4, 2, registers=128)):
        assert signature_of(launch(tile=tile)) != signature_of(launch())
    assert len({signature_of(launch()), product_signature(), signature_of(other)}) == 2
    assert pickle.loads(pickle.dumps(product_signature())) == product_signature()


def test_values_of_sizes_do_not_matter() -> None:
    arguments = dict(launch().arguments)
    for depth in (1, 16, named("height") * 2):
        same = launch(arguments=arguments | {"depth": depth})
        assert signature_of(same) == signature_of(launch())


def test_parameters() -> None:
    assert product_signature().parameters == "ppppi"
    assert product_signature(bias=False).parameters == "pppi"
    assert product_signature().name == "product_kernel (fp16, fp16, fp32, fp16)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arguments": {"a_ptr": None}}, "each parameter once"),
        ({"constants": {**launch().constants, "depth": 3}}, "each parameter once"),
        ({"arguments": {**launch().arguments, "depth": 2**31}}, "depth is 2147483648"),
    ],
)
def test_launches_that_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        signature_of(launch(**change))


def test_pointers_are_aligned() -> None:
    a = launch().arrays()["a_ptr"]
    with pytest.raises(DeviceError, match="begins 2 bytes behind a multiple of 16"):
        signature_of(launch(arguments={**launch().arguments, "a_ptr": replace(a, offset=34)}))


def test_compiled_code() -> None:
    compiled = compile_one(product_signature(), 87)
    assert (compiled.symbol, compiled.threads, compiled.parameters) == (
        "product_kernel",
        128,
        "ppppi",
    )
    needs = compiled.resources
    assert needs.shared == compiled.shared > 0
    assert 0 < needs.registers < 256
    assert needs.spilled == 0
    assert needs.blocks >= 2
    assert needs.tensor_core == compiled.ptx.count("mma.sync") > 0
    assert compiled.code.count("async_copy") > 0


def test_null_pointers_are_compiled_in() -> None:
    with_bias, without = (compile_one(product_signature(bias=b), 87) for b in (True, False))
    assert without.parameters == "pppi"
    assert without.ptx.count(".param .u64") == with_bias.ptx.count(".param .u64") - 1


def test_code_is_the_same_every_time_and_says_nothing_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name in ("a", "b"):
        monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / name))
        found.append(compile_one(product_signature(), 87))
    assert found[0].cubin == found[1].cubin
    assert (tmp_path / "a").is_dir()
    secrets = (str(TREE), str(tmp_path), "/tmp", "samples.py", str(Path.home()) + "/")
    assert [s for s in secrets if s.encode() in found[0].cubin] == []
    # with line information, which the tests ask for, it does hold them
    told = translated(product_signature(), 87, line_info=True).asm
    assert b"samples.py" in told["cubin"]
    assert "samples.py" in told["ptx"]
    assert "samples.py" not in found[0].ptx


@pytest.mark.parametrize("arch", [70, 75, 100, 101])
def test_other_gpus_are_refused(arch: int) -> None:
    for build in (compile_one, lambda s, a: compile_all([s], a)):
        with pytest.raises(NotSupportedError, match=f"no Triton kernels for sm_{arch}") as refused:
            build(product_signature(), arch)
        assert ("tensorrt" in str(refused.value)) == (arch < 80)


def test_too_much_shared_memory_is_refused() -> None:
    """Triton compiles it without a word; only the launch on a GPU would fail."""
    large = product_signature(tile=(128, 128, 64), warps=8, stages=5)
    with pytest.raises(DeviceError, match=r"131072 bytes of shared memory .* at most 101376"):
        compile_one(large, 86)
    assert compile_one(large, 87).resources.blocks == 1


def test_spills_are_refused() -> None:
    with pytest.raises(DeviceError, match=r"spills \d+ bytes"):
        compile_one(product_signature(tile=(128, 256, 32), warps=4), 87)


def test_an_engine_takes_what_spills_with_fewer_stages() -> None:
    """A size that nobody tried must not keep a user from an engine: stages go first, then it is
    taken and said."""
    asked = product_signature(tile=(128, 256, 32), warps=4)
    compiled = compile_for_engine(asked, 87)
    assert compiled.resources.spilled > 0
    assert compiled.resources.blocks > 0
    assert compile_for_engine(product_signature(), 87).signature == product_signature()


def test_what_triton_refuses_is_an_error_of_ours() -> None:
    odd = product_signature(tile=(24, 32, 32))
    with pytest.raises(DeviceError, match=r"product_kernel .* does not compile for sm_87"):
        compile_one(odd, 87)


def test_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from a process that interprets kernels; each signature once, in order."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    wanted = [product_signature(), product_signature("bf16"), product_signature()]
    steps: list[Step] = []
    found = compile_all(wanted, 87, 1, steps.append)
    assert list(found) == wanted[:2]
    assert [(s.done, s.of) for s in steps] == [(0, 2), (1, 2), (2, 2)]
    monkeypatch.delenv("TRITON_INTERPRET")
    assert found[wanted[1]].cubin == compile_one(wanted[1], 87).cubin
    assert compile_all([], 87) == {}


def test_a_process_that_ends_is_an_error_of_ours() -> None:
    deadly = Signature("tests.kernels.ending_process:kernel", (), (), 4, 1)
    with pytest.raises(DeviceError, match=r"ended its process .* sm_87, at kernel"):
        compile_all([deadly], 87)
