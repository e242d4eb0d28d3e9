"""`samedge build`: engines behind the gate, with the stand-in and with TensorRT-RTX itself."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.cli import run
from samedge.machine import jetson
from samedge.runtime.engines.records import read_record
from samedge.runtime.gpu import replay as gpu_replay
from tests.runtime.quantised import with_int8
from tests.runtime.stand_in.install import VERSIONS, installed
from tests.runtime.test_int8 import first_inputs

REAL = importlib.util.find_spec("tensorrt_rtx") is not None


@pytest.fixture(params=VERSIONS)
def library(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    with installed(request.param) as module:
        yield module
        module.world.driver.assert_clean()


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))


def build(bundle: Path, library: ModuleType, *arguments: Any) -> int:
    target = library.__name__.replace("_", "-")
    return run(["build", str(bundle), "--target", target, *map(str, arguments)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_on_the_device(
    library: ModuleType, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(tiny_bundle, library, "-o", tmp_path / "engines", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["passed"]
    assert said["unchecked"] is None
    (row,) = said["parity"]
    assert (row["backend"], row["precision"], row["passed"]) == (library.__name__, "fp32", True)
    version = f"{library.__name__}-{library.__version__}"
    wanted = [f"{graph}.fp32.{version}.sm86" for graph in ("decoder", "encoder")]
    assert names(tmp_path / "engines") == sorted(
        f"{stem}.{ending}" for stem in wanted for ending in ("engine", "json")
    )
    assert [engine["state"] for engine in said["engines"]] == ["built", "built"]
    record = read_record(tmp_path / "engines" / f"{wanted[1]}.engine")
    assert record.to_json()["gpu"] == "Stand-in GPU"
    assert record.passed("fp32") is True


def test_what_fits_is_kept_and_force_builds_again(
    library: ModuleType, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, states, builds in (
        ((), {"built"}, 2),
        ((), {"kept"}, 2),
        (("--force",), {"built"}, 4),
        (("--workspace", 500), {"built"}, 6),  # another way to build is another engine
    ):
        assert build(tiny_bundle, library, "-o", tmp_path / "e", "--json", *arguments) == 0
        said = json.loads(capsys.readouterr().out)
        assert {engine["state"] for engine in said["engines"]} == states
        assert library.world.builds == builds
        assert said["parity"]


def test_a_session_takes_what_was_built(
    library: ModuleType, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = _copied(tiny_bundle, tmp_path)
    assert build(bundle, library, "--quiet") == 0
    builds = library.world.builds
    assert len(names(bundle / "engines")) == 4
    with samedge.load(bundle, library.__name__) as session:
        assert session.describe()["notes"] == []
        assert session.describe()["precision"] == "fp32"
    assert library.world.builds == builds


def test_a_failed_gate_leaves_no_engine(
    library: ModuleType,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "engines"
    assert build(tiny_bundle, library, "-o", folder, "--quiet") == 0
    copy = np.copyto

    def wrong(target: Any, source: Any) -> None:
        copy(target, source)
        if target.ndim == 4 and target.dtype == np.float32:
            target += 1

    monkeypatch.setattr(gpu_replay.np, "copyto", wrong)
    assert build(tiny_bundle, library, "-o", folder) == 5
    out, err = capsys.readouterr()
    assert "refused" in out
    assert "no engine of that precision was stored" in err
    assert names(folder) == []


def test_a_failed_build_leaves_nothing(
    library: ModuleType, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library.world.fail_build = True
    assert build(tiny_bundle, library, "-o", tmp_path / "engines") == 6
    assert "no tactic" in capsys.readouterr().err
    assert names(tmp_path / "engines") == []


def test_a_zipped_bundles_engines_go_to_the_cache(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Bundle.open(tiny_bundle)
    zipped = Bundle(tmp_path / "tiny.samedge", opened.root, opened.manifest)
    from samedge.runtime.tensorrt.bundle_engines import build_engines

    with installed(VERSIONS[0]):
        result = build_engines(zipped, "tensorrt")
    assert result.folder.is_relative_to(tmp_path / "cache")
    assert len(names(result.folder)) == 4


def test_ahead_of_time_on_a_machine_with_another_gpu(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with installed(VERSIONS[2]) as library:
        assert build(tiny_bundle, library, "--sm", "89,120", "-o", tmp_path / "e", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert {engine["compute_capability"] for engine in said["engines"]} == {89, 120}
    assert said["unchecked"] == "the GPU here (Stand-in GPU) has sm_86"
    assert said["parity"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--precision", "fp16"), 4, "--precision fp32,fp16"),
        (("--precision", "bf16"), 2, "expected auto, or some of"),
        (("--sm", "eight"), 2, "expected compute capabilities"),
        (("--device", "3"), 4, "no GPU number 3"),
        (("--workspace", "0"), 2, "workspace"),
    ],
)
def test_what_is_refused(
    tiny_bundle: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with installed(VERSIONS[0]) as library:
        assert build(tiny_bundle, library, "-o", tmp_path / "e", *arguments) == code
    assert words in capsys.readouterr().err


def test_without_library_or_gpu(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with installed(VERSIONS[2]) as library:  # the other library is not there
        other = ["build", str(tiny_bundle), "--target", "tensorrt", "-o", str(tmp_path / "e")]
        assert run(other) == 4
        assert "pip install -e '.[tensorrt]'" in capsys.readouterr().err
        library.world.driver.devices = 0
        assert build(tiny_bundle, library, "-o", tmp_path / "e") == 4
        assert "name its GPU: --sm 86" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["tensorrt", "tensorrt_rtx"])
def test_on_a_jetson_the_library_comes_from_jetpack(
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    library: str,
) -> None:
    (tmp_path / "release").write_text("# R36 (release), REVISION: 4.7\n")
    monkeypatch.setattr(jetson, "_RELEASE", tmp_path / "release")
    with installed(VERSIONS[2] if library == "tensorrt" else VERSIONS[0]):  # the other one
        target = library.replace("_", "-")
        assert run(["build", str(tiny_bundle), "--target", target, "-o", str(tmp_path / "e")]) == 4
    assert jetson.how_to_install(library, 6) in " ".join(capsys.readouterr().err.split())


def test_a_folder_that_cannot_be_made(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with installed(VERSIONS[0]) as library:
        assert build(tiny_bundle, library, "-o", tmp_path / "file" / "engines") == 6
    assert "cannot be written" in capsys.readouterr().err


def test_auto_is_what_passed_on_this_gpu(
    half_bundle: Path, tmp_path: Path, library: ModuleType
) -> None:
    bundle = _copied(half_bundle, tmp_path)
    with samedge.load(bundle, library.__name__) as session:
        assert session.describe()["precision"] == "fp32"  # nothing is proven here
    assert build(bundle, library, "--quiet") == 0
    assert len(names(bundle / "engines")) == 8
    with samedge.load(bundle, library.__name__) as session:
        assert session.describe()["precision"] == "fp16"
    with samedge.load(bundle, "openvino", threads=1) as session:
        assert session.describe()["backend"] == "openvino"


@pytest.fixture(scope="module")
def int8_bundle(half_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with an int8 encoder, quantised in the plainest way."""
    folder = _copied(half_bundle, tmp_path_factory.mktemp("int8"))
    with_int8(folder, first_inputs(Bundle.open(folder)))
    return folder


def test_int8_takes_the_half_decoder(
    int8_bundle: Path,
    library: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "engines"
    arguments = ("--precision", "int8,fp16", "-o", folder, "--json")
    code = build(int8_bundle, library, *arguments)
    said = json.loads(capsys.readouterr().out)
    assert [row["precision"] for row in said["parity"]] == ["int8", "fp16"]
    files = {engine["file"].split(".tensorrt")[0]: engine for engine in said["engines"]}
    assert set(files) == {"encoder.int8", "encoder.fp16", "decoder.fp16"}
    assert files["decoder.fp16"]["precisions"] == ["int8", "fp16"]
    # What serves a precision that passed stays, whatever else failed.
    failed = {row["precision"] for row in said["parity"] if not row["passed"]}
    assert code == (5 if failed else 0)
    assert "fp16" not in failed
    assert files["decoder.fp16"]["state"] == "built"
    assert files["encoder.int8"]["state"] == ("refused" if "int8" in failed else "built")


@pytest.mark.skipif(not REAL, reason="needs TensorRT-RTX")
def test_int8_in_the_real_library(int8_bundle: Path, tmp_path: Path) -> None:
    arguments = ["--target", "tensorrt-rtx", "--sm", "86", "--precision", "int8", "--quiet"]
    assert run(["build", str(int8_bundle), *arguments, "-o", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("encoder.int8.*.engine")
    report = read_record(path).report
    assert report is not None
    assert len(report.products["int8"]) > 10
    assert list(tmp_path.glob("decoder.fp16.*.engine"))


@pytest.mark.skipif(not REAL, reason="needs TensorRT-RTX")
def test_half_precision_in_the_real_library(half_bundle: Path, tmp_path: Path) -> None:
    """Attention is fused and products are half, in the kernels that the library makes."""
    arguments = ["--target", "tensorrt-rtx", "--sm", "86", "--precision", "fp16", "--quiet"]
    assert run(["build", str(half_bundle), *arguments, "-o", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("encoder.fp16.*.engine")
    report = read_record(path).report
    assert report is not None
    fused, all_of_them = report.attentions
    assert fused == all_of_them > 0
    inside = report.without(("preprocess", "postprocess"))
    assert set(inside.products) == {"float16"}


@pytest.mark.skipif(not REAL, reason="needs TensorRT-RTX")
def test_the_real_library_ahead_of_time(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--target", "tensorrt-rtx", "--sm", "86,120", "-o", str(tmp_path), "--json"]
    assert run(["build", str(tiny_bundle), *arguments]) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["engines"]) == 4
    assert all(engine["kernels"] > 10 for engine in said["engines"])
    assert said["unchecked"]


def _copied(bundle: Path, folder: Path) -> Path:
    import shutil

    return Path(shutil.copytree(bundle, folder / "copy.samedge"))
