"""The runner itself, in all stages, on a folder of tiny models: whatever a folder may hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from samedge.errors import SourceError
from tests.golden.cases import FULL, read_cases
from tests.golden.engines import STAGES
from tests.golden.run import main
from tests.golden.tiny_folder import TinyFolder, tiny_folder

ONE_THREAD = ("--threads", "1")  # tests run in as many processes as there are cores


def written_shapes(out: Path, file: str) -> dict[str, tuple[int, ...]]:
    with np.load(out / file) as arrays:
        return {name: arrays[name].shape for name in arrays.files}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyFolder:
    return tiny_folder(tmp_path_factory.mktemp("tiny") / "golden")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> TinyFolder:
    """Its outputs are those of the eager stage."""
    folder = tmp_path_factory.mktemp("reference")
    tiny, out = tiny_folder(folder / "golden"), folder / "eager"
    assert main([str(tiny.root), str(out), *ONE_THREAD]) == 0
    for case in tiny.cases:
        if case["system"] != "yolo":
            (tiny.root / case["file"]).write_bytes((out / case["file"]).read_bytes())
    return tiny


@pytest.mark.usefixtures("fewer_proofs")
def test_all_stages_agree(
    reference: TinyFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--stage", "all", "--compare", *ONE_THREAD]
    assert main([str(reference.root), str(tmp_path), *options]) == 0
    printed = capsys.readouterr().out
    assert "skipped  yolo/other: system 'yolo' is unknown" in printed
    # Only the product refuses a click outside the frame; the network is asked all the same.
    assert printed.count("decoded below the Session, which refuses the prompt: the point") == 2
    for stage in STAGES:
        for case in read_cases(reference.root):
            if case.system != "yolo":
                assert written_shapes(tmp_path / stage, case.file) == case.arrays, case.id


def test_one_changed_value_fails(
    reference: TinyFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(reference.root, tmp_path / "copy")
    path = copy / "samus" / "objects.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["low_res_logits"][0, 0, 0, 0] += 1e-3
    np.savez(path, **arrays)
    assert main([str(copy), str(tmp_path), "--compare", "--case", "objects"]) == 5
    assert "1 of 2 arrays fail: eager objects/low_res_logits" in capsys.readouterr().err


def test_files_that_hold_prompts_only_are_traced_as_usual() -> None:
    traced = [case for case in read_cases(FULL) if "trace_names" in case.arrays]
    assert traced
    for case in traced:
        stored = case.trace_names
        case.__dict__["reference"] = case.prompts  # as if the outputs were not there
        assert case.trace_names == stored


@pytest.mark.parametrize("stage", ["eager", "folded", "onnx"])
def test_other_precisions_are_refused(stage: str, tiny: TinyFolder, tmp_path: Path) -> None:
    options = ["--case", "objects", "--stage", stage, "--precision", "bf16"]
    assert main([str(tiny.root), str(tmp_path), *options]) == 4


def test_dataset_sample(tiny: TinyFolder, tmp_path: Path) -> None:
    assert main([str(tiny.root), str(tmp_path), "--case", "dataset"]) == 0
    with np.load(tmp_path / "samus" / "dataset.npz") as arrays:
        x0, y0, x1, y1 = arrays["bbox"][0]
    # rows 30..44 of 90 and columns 17..34 of 70, at 64 x 64
    assert (y0, y1) == (21, 31)
    assert (x0, x1) == (16, 31)


def test_an_image_that_does_not_fit(tmp_path: Path) -> None:
    tiny = tiny_folder(tmp_path / "golden")
    tiny.image("a.png", 32, 64)
    assert main([str(tiny.root), str(tmp_path), "--case", "objects"]) == 3


def test_no_such_case(tiny: TinyFolder, tmp_path: Path) -> None:
    assert main([str(tiny.root), str(tmp_path), "--case", "nothing"]) == 3


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"expected index\.json"):
        read_cases(tmp_path)
