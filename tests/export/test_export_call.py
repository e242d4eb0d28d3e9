"""`samedge.export`: a whole bundle that passed the parity gate, or nothing at all."""

from __future__ import annotations

import errno
import json
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import samedge
from samedge.bundle import INTENDED_USE, Bundle
from samedge.bundle import writer as writer_module
from samedge.bundle.manifest import Source
from samedge.errors import (
    BundleError,
    ModelError,
    NotSupportedError,
    OutputError,
    ParityError,
)
from samedge.export import exporting
from samedge.export.graphs import file as onnx_file
from samedge.fold import FoldedModel
from samedge.progress import Progress, Step
from samedge.runtime.openvino.backend import OPENVINO
from tests.bundle.manifests import parity_row
from tests.export.engine import folded_model, open_graph, random_frame

STEPS = 4


@pytest.fixture(scope="module", params=["sam", "medsam", "samed", "volume", "samus", "autosamus"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: Any) -> tuple[FoldedModel, Bundle]:
    folded = folded_model(request.param)
    return folded, samedge.export(
        folded, tmp_path_factory.mktemp("bundles") / "tiny.samedge"
    ).bundle


@pytest.fixture
def ungated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the parity gate, which takes most of the time, where it is not what is tested."""
    row = parity_row("openvino", "fp32", True)
    monkeypatch.setattr(exporting, "gate", lambda _bundle: [row])


def only_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gate one precision only, to save time."""
    monkeypatch.setattr(OPENVINO, "precisions", lambda: ("fp32",))


def test_manifest(exported: tuple[FoldedModel, Bundle]) -> None:
    folded, bundle = exported
    manifest, v = bundle.manifest, folded.variant
    assert manifest.samedge == samedge.__version__
    assert manifest.family == folded.family
    assert manifest.variant == v
    assert manifest.fold_report == folded.report.to_json()
    assert manifest.source == Source((), "torch module")
    assert {"torch", "onnx", "numpy", "openvino", "python"} <= set(manifest.tools)
    assert manifest.intended_use == INTENDED_USE
    assert manifest.calibration is None


def test_a_session_shows_the_manifest(exported: tuple[FoldedModel, Bundle]) -> None:
    bundle = exported[1]
    with samedge.load(bundle, precision="fp32", threads=1) as session:
        assert session.manifest["family"] == bundle.family.to_json()
        assert dict(session.manifest) == json.loads((bundle.path / "manifest.json").read_text())
        with pytest.raises(TypeError):
            session.manifest["title"] = "another"  # type: ignore[index]


def test_manifest_lists_the_graphs_as_they_are(exported: tuple[FoldedModel, Bundle]) -> None:
    bundle = exported[1]
    assert set(bundle.manifest.graphs) == {"encoder", "decoder"}
    for name, precisions in bundle.manifest.graphs.items():
        assert set(precisions) == {"fp32"}
        session = open_graph(bundle.graph(name, "fp32"))
        entry = precisions["fp32"]
        for listed, values in (
            (entry.inputs, session.get_inputs()),
            (entry.outputs, session.get_outputs()),
        ):
            assert [x.name for x in listed] == [x.name for x in values]
            for ours, theirs in zip(listed, values, strict=True):
                kind = {"float32": "float"}.get(ours.dtype, ours.dtype)
                assert f"tensor({kind})" == theirs.type
                assert list(ours.shape) == theirs.shape


def test_parity_rows(exported: tuple[FoldedModel, Bundle]) -> None:
    """One for each precision that this CPU has; float32 passed."""
    rows = exported[1].manifest.parity
    assert [row.precision for row in rows] == [
        name for name in OPENVINO.precisions() if name != "int8"
    ]
    best = next(row for row in rows if row.precision == "fp32")
    assert best.passed
    assert best.margin >= 1
    assert 0 < best.max_logit_error <= best.limit
    assert best.frames == len(exported[0].selftests)


def test_selftests_are_those_of_the_fold(exported: tuple[FoldedModel, Bundle]) -> None:
    folded, bundle = exported
    stored = bundle.selftest()
    made = sorted(folded.selftests, key=lambda test: test.name)
    assert [test.name for test in stored] == [test.name for test in made]
    for ours, theirs in zip(stored, made, strict=True):
        np.testing.assert_array_equal(ours.frame, theirs.frame)
        np.testing.assert_array_equal(ours.low_res_logits, theirs.low_res_logits)
        np.testing.assert_array_equal(ours.masks, theirs.masks)


def test_the_bundle_serves(exported: tuple[FoldedModel, Bundle]) -> None:
    folded, bundle = exported
    family = folded.family
    given: dict[str, Any] = {"points": [[40, 30]]} if "point" in family.prompts else {}
    if "point" not in family.prompts and "box" in family.prompts:
        given = {"box": [10, 12, 60, 50]}
    with samedge.load(bundle.path, precision="fp32", threads=1) as session:
        volume = np.stack([random_frame(70, 90, 3, seed) for seed in range(family.slices)])
        result = session.segment_volume(volume, **given)
    assert result.masks.shape == (max(len(family.classes), 1), family.slices, 70, 90)
    assert session.family == family


def test_class_names_come_through(exported: tuple[FoldedModel, Bundle]) -> None:
    folded, bundle = exported
    assert bundle.manifest.family.classes == folded.family.classes
    listed = [output.name for output in bundle.manifest.graphs["decoder"]["fp32"].outputs]
    assert ("class_map" in listed) == folded.family.exclusive


@pytest.mark.usefixtures("ungated")
def test_the_same_model_gives_the_same_files(tmp_path: Path, folded: FoldedModel) -> None:
    bundles = [samedge.export(folded, tmp_path / f"{i}.samedge").bundle for i in (1, 2)]
    first, second = (bundle.manifest.files for bundle in bundles)
    assert first == second
    assert {"encoder.fp32.onnx", "decoder.fp32.onnx"} <= set(first)


@pytest.mark.usefixtures("ungated")
def test_export_does_not_change_the_model(tmp_path: Path, folded: FoldedModel) -> None:
    before = {k: v.clone() for k, v in folded.state_dict().items()}
    samedge.export(folded, tmp_path / "a.samedge")
    assert all(torch.equal(v, before[k]) for k, v in folded.state_dict().items())


@pytest.mark.usefixtures("ungated")
def test_steps_are_told(tmp_path: Path) -> None:
    steps: list[Step] = []
    result = samedge.export(folded_model("samus"), tmp_path / "a.samedge", progress=steps.append)
    assert len(steps) == STEPS
    assert all(step.name and step.of == 0 for step in steps)
    assert result.bundle.path == tmp_path / "a.samedge"
    assert (result.precisions, dict(result.refused)) == (("fp32",), {})
    assert [p.name for p in tmp_path.iterdir()] == ["a.samedge"]


def test_weights_beside_the_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for models beyond 2 GB: gate, session and hashes cover the second file."""
    monkeypatch.setattr(onnx_file, "EXTERNAL_ABOVE", 0)
    only_float32(monkeypatch)
    bundle = samedge.export(folded_model("sam"), tmp_path / "a.samedge").bundle
    weights = bundle.path / "encoder.fp32.onnx.data"
    assert weights.name in bundle.manifest.files
    assert bundle.manifest.parity[0].passed
    open_graph(bundle.path / "encoder.fp32.onnx")
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BundleError, match=r"encoder\.fp32\.onnx\.data"):
        samedge.load(bundle.path, precision="fp32", threads=1)


SABOTAGED = [
    "encoder.patch_embed.pos_embed",
    "decoder.prompt.labels",
    "decoder.head.hyper.0.2.bias",
    "decoder.head.iou.2.bias",
]


@pytest.mark.parametrize("key", SABOTAGED)
def test_a_graph_that_is_wrong_is_not_written(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_float32(monkeypatch)
    folded = deepcopy(folded_model("samus"))
    folded.state_dict()[key].view(-1)[::3] += 0.3
    with pytest.raises(ParityError, match="nothing was written") as caught:
        samedge.export(folded, tmp_path / "a.samedge")
    assert caught.value.exit_code == 5
    assert not list(tmp_path.iterdir())


def test_a_wrong_graph_does_not_replace_a_good_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_float32(monkeypatch)
    target = tmp_path / "a.samedge"
    good = samedge.export(folded_model("samus"), target).bundle.manifest
    folded = deepcopy(folded_model("samus"))
    folded.state_dict()["decoder.head.hyper.0.2.bias"] += 1
    with pytest.raises(ParityError):
        samedge.export(folded, target, overwrite=True)
    assert Bundle.open(target).manifest == good
    assert [p.name for p in tmp_path.iterdir()] == ["a.samedge"]


@pytest.mark.parametrize("precisions", [("fp32", "int4"), (), ("bf16",), "fp8"])
def test_precisions_that_are_not_there(precisions: Any, tmp_path: Path) -> None:
    with pytest.raises(NotSupportedError, match="fp32") as caught:
        samedge.export(folded_model("samus"), tmp_path / "a.samedge", precisions=precisions)
    assert caught.value.exit_code == 4
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("ungated")
def test_a_single_precision_may_be_a_word(tmp_path: Path) -> None:
    samedge.export(folded_model("samus"), tmp_path / "a.samedge", "fp32")


@pytest.mark.parametrize("thing", [None, "model.pth", torch.nn.Linear(2, 2)])
def test_things_that_are_not_folded(thing: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"samedge\.fold"):
        samedge.export(thing, tmp_path / "a.samedge")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("ungated")
@pytest.mark.parametrize("zipped", [False, True])
def test_overwrite(zipped: bool, tmp_path: Path) -> None:
    target = tmp_path / "a.samedge"
    samedge.export(folded_model("samus"), target)
    with pytest.raises(OutputError, match="exists already"):
        samedge.export(folded_model("sam"), target, zip=zipped)
    assert Bundle.open(target).family.name == "samus"
    samedge.export(folded_model("sam"), target, overwrite=True, zip=zipped)
    assert target.is_file() == zipped
    assert Bundle.open(target).family.name == "sam"
    assert [p.name for p in tmp_path.iterdir()] == ["a.samedge"]


@pytest.mark.usefixtures("ungated")
def test_a_zip_serves(tmp_path: Path) -> None:
    bundle = samedge.export(folded_model("samus"), tmp_path / "a.samedge", zip=True).bundle
    with samedge.load(bundle.path, precision="fp32", threads=1) as session:
        assert session.segment(random_frame(64, 50, 1), points=[[9, 9]]).masks.shape == (1, 64, 50)


def interrupt_at(step: int) -> Progress:
    left = iter(range(STEPS + 1))

    def progress(_step: Step, /) -> None:
        if next(left) == step:
            raise KeyboardInterrupt

    return progress


@pytest.mark.usefixtures("ungated")
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("step", range(STEPS))
def test_ctrl_c_leaves_nothing(step: int, zipped: bool, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        samedge.export(
            folded_model("samus"),
            tmp_path / "a.samedge",
            zip=zipped,
            progress=interrupt_at(step),
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("ungated")
@pytest.mark.parametrize("step", range(STEPS))
def test_ctrl_c_leaves_the_bundle_that_was_there(step: int, tmp_path: Path) -> None:
    target = tmp_path / "a.samedge"
    before = samedge.export(folded_model("samus"), target).bundle.manifest
    with pytest.raises(KeyboardInterrupt):
        samedge.export(folded_model("sam"), target, overwrite=True, progress=interrupt_at(step))
    assert Bundle.open(target).manifest == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.samedge"]


def test_ctrl_c_in_the_parity_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: Any, **_kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "verify", interrupted)
    with pytest.raises(KeyboardInterrupt):
        samedge.export(folded_model("samus"), tmp_path / "a.samedge")
    assert not list(tmp_path.iterdir())


def disk_full(*_args: Any, **_kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.usefixtures("ungated")
@pytest.mark.parametrize(
    ("module", "name"),
    [
        (onnx_file, "save"),
        (writer_module, "sync_tree"),
        (writer_module, "move_into_place"),
        (Path, "write_bytes"),
    ],
)
def test_a_full_disk_leaves_nothing(
    module: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded = folded_model("samus")
    monkeypatch.setattr(module, name, disk_full)
    with pytest.raises(OutputError, match="no space left") as caught:
        samedge.export(folded, tmp_path / "a.samedge")
    assert caught.value.exit_code == 6
    assert not list(tmp_path.iterdir())


def test_no_folder_to_write_into(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no folder"):
        samedge.export(folded_model("samus"), tmp_path / "missing" / "a.samedge")
