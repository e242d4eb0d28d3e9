"""`samedge build --target triton` and `samedge inspect` of what it builds."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.cli import run
from samedge.errors import DeviceError
from samedge.runtime.engines.records import read_record
from samedge.runtime.gpu import replay as gpu_replay
from samedge.runtime.triton import compiling
from samedge.runtime.triton.engine_file import write_engine
from tests.runtime.stand_in.driver import Driver
from tests.runtime.stand_in.install import installed
from tests.runtime.triton.plans import kernels, small_plan


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A compiler that gives the small engine; what it was asked for."""
    calls: list[Any] = []

    def build_engine_file(
        bundle: Bundle, precision: str, numbers: tuple[int, ...], target: Path, *,
        max_side: int, progress: Any,
    ) -> None:  # fmt: skip
        calls.append((precision, numbers, max_side))
        write_engine(target, *small_plan(bundle.manifest, numbers, precision))

    monkeypatch.setattr(compiling, "NEEDED", ())
    monkeypatch.setattr(
        sys.modules[__name__], "build_engine_file", build_engine_file, raising=False
    )
    monkeypatch.setattr(compiling, "COMPILER", f"{__name__}:build_engine_file")
    return calls


@pytest.fixture
def driver(tiny_bundle: Path) -> Iterator[Driver]:
    with installed() as module:
        found: Driver = module.world.driver
        found.gpu.code.update(kernels(Bundle.open(tiny_bundle), found))
        yield found
        found.assert_clean()


def build(bundle: Path, folder: Path, *arguments: str) -> int:
    return run(["build", str(bundle), "--target", "triton", "-o", str(folder), *arguments])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_without_a_gpu(
    compiler: list[Any], tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ahead of time, for two kinds of GPU in one file."""
    folder = tmp_path / "e"
    assert build(tiny_bundle, folder, "--sm", "87,89", "--max-side", "1024", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert compiler == [("fp16", (87, 89), 1024)]
    assert names(folder) == ["triton.fp16.sm87-89.engine", "triton.fp16.sm87-89.json"]
    rows = [(row["compute_capability"], row["graph"], row["state"]) for row in said["engines"]]
    assert rows == [(87, "both", "built"), (89, "both", "built")]
    assert said["parity"] == []
    assert said["unchecked"]
    record = read_record(folder / "triton.fp16.sm87-89.engine")
    assert record.options == {"max_side": 1024}
    assert record.bundle == "tiny.samedge"
    assert build(tiny_bundle, folder, "--sm", "89", "--max-side", "1024") == 0  # it fits
    out = capsys.readouterr().out
    assert "kept" in out
    assert f"with --backend triton --engines {folder} on the device" in " ".join(out.split())
    assert len(compiler) == 1
    assert build(tiny_bundle, folder, "--sm", "87,89", "--max-side", "512", "--quiet") == 0
    assert build(tiny_bundle, folder, "--sm", "87,89", "--max-side", "512", "--force", "-q") == 0
    assert len(compiler) == 3


def test_on_the_device(
    driver: Driver,
    compiler: list[Any],
    tiny_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "e"
    assert build(tiny_bundle, folder, "--precision", "fp16,bf16", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["unchecked"] is None
    rows = [(row["backend"], row["precision"], row["passed"]) for row in said["parity"]]
    assert rows == [("triton", "fp16", True), ("triton", "bf16", True)]
    assert read_record(folder / "triton.fp16.sm86.engine").passed("fp16") is True
    with samedge.load(tiny_bundle, "triton", engines=folder) as session:
        assert session.describe()["precision"] in ("fp16", "bf16")


def test_a_failed_gate_leaves_no_engine(
    driver: Driver,
    compiler: list[Any],
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = np.copyto

    def wrong(target: Any, source: Any) -> None:
        copy(target, source)
        if target.ndim == 4 and target.dtype == np.float32:
            target += 1

    monkeypatch.setattr(gpu_replay.np, "copyto", wrong)
    assert build(tiny_bundle, tmp_path / "e", "--sm", "80,86") == 5
    out, err = capsys.readouterr()
    assert out.count("refused") == 2
    assert "no engine of that precision was stored" in err
    assert names(tmp_path / "e") == []


def test_a_failed_build_leaves_nothing(
    compiler: list[Any], tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise DeviceError("ptxas was killed")

    monkeypatch.setattr(sys.modules[__name__], "build_engine_file", failing)
    assert build(tiny_bundle, tmp_path / "e", "--sm", "87") == 6
    assert names(tmp_path / "e") == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--sm", "75"), 4, "--target tensorrt on the device"),
        ((), 4, "name those of your devices: --sm 87"),
        (("--sm", "87", "--precision", "int8"), 4, "--precision fp32,int8"),
        (("--sm", "87", "--workspace", "3"), 2, "an option of TensorRT, not of triton"),
        (("--sm", "87", "--refittable"), 2, "--refittable"),
    ],
)
def test_what_is_refused(
    compiler: list[Any],
    tiny_bundle: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert build(tiny_bundle, tmp_path / "e", *arguments) == code
    assert words in " ".join(capsys.readouterr().err.split())
    assert compiler == []


def test_without_the_compiler(
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(compiling, "NEEDED", ("torch", "a_compiler_that_is_not_here"))
    assert build(tiny_bundle, tmp_path / "e", "--sm", "87") == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "a_compiler_that_is_not_here not installed" in said
    assert "pip install -e '.[triton]'" in said


@pytest.fixture
def engine(compiler: list[Any], tiny_bundle: Path, tmp_path: Path) -> Path:
    assert build(tiny_bundle, tmp_path / "e", "--sm", "87,89", "--quiet") == 0
    return tmp_path / "e" / "triton.fp16.sm87-89.engine"


def test_inspect(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["inspect", str(engine), "--layers"]) == 0
    out = capsys.readouterr().out
    for words in ("an engine of samedge's own", "sm_87, sm_89", "never checked on a GPU",
                  "encoder.network", "65.5 kB", "launches by kind", "tiny.samedge",
                  "height 512", "width 512"):  # fmt: skip
        assert words in out
    assert run(["inspect", str(engine), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["kind"], said["engine"], said["precision"]) == ("engine", "triton", "fp16")
    first, second = said["targets"]
    assert (first["compute_capability"], second["compute_capability"]) == (87, 89)
    assert [row["graph"] for row in first["programs"]] == ["encoder", "decoder"]
    kinds = {(row["graph"], row["kind"]): row for row in first["kinds"]}
    size = 512 * 512  # the limits of the plan are below the usual sizes
    network = kinds["encoder", "encoder"]
    assert (network["launches"], network["flops"]) == (1, 2 * size)
    assert (network["reads"], network["writes"]) == (size, size)
    assert sum(row["launches"] for row in first["kinds"]) == len(first["launches"]) == 4
    kernel = next(row for row in first["kernels"] if row["name"] == "encoder.fp16")
    assert (kernel["registers"], kernel["shared"], kernel["blocks"]) == (40, 65536, 3)
    assert first["programs"][0]["arena"] == size


def test_inspect_of_a_damaged_engine(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(engine.read_bytes())
    data[700] ^= 1
    engine.write_bytes(data)
    capsys.readouterr()
    assert run(["inspect", str(engine)]) == 3
    assert "was changed or damaged" in capsys.readouterr().err
    engine.write_bytes(data[:-5])
    assert run(["inspect", str(engine)]) == 3
    assert "is truncated" in capsys.readouterr().err


def test_inspect_of_an_engine_in_anothers_place(
    engine: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_engine(engine, *small_plan(Bundle.open(tiny_bundle).manifest, (90,)))
    assert run(["inspect", str(engine)]) == 3
    assert "not the file that was built" in capsys.readouterr().err
    engine.with_suffix(".json").unlink()
    assert run(["inspect", str(engine)]) == 0
    assert "record" in capsys.readouterr().out


def test_the_cache_knows_what_it_is(
    engine: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from samedge.runtime.engines.contents import contents
    from samedge.runtime.engines.store import cache_folder

    folder = cache_folder() / "nvidia" / "x"
    folder.mkdir(mode=0o700, parents=True)
    for path in (engine, engine.with_suffix(".json")):
        (folder / path.name).write_bytes(path.read_bytes())
    (kept,) = (item for item in contents().kept if item.kind == "engine")
    assert kept.library == "triton"
    assert kept.bundle == "tiny.samedge"
