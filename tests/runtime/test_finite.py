"""NaN and infinity never become a mask, whichever output has them and whichever call asks."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import samedge
import samedge.bundle
from samedge.bundle.sealing import seal
from samedge.cli import run
from samedge.drawing.png import write_png
from samedge.errors import DeviceError, NonFiniteError, PromptError
from samedge.files.hashes import sha256_file
from samedge.runtime.backend import Backend, Engine, Engines, LoadOptions
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.parity.verify import verify_session
from samedge.runtime.session import Session

OPTIONS = LoadOptions(cache=False)
LOW = 16


class Spoilt(Backend):
    """OpenVINO, with one number of one output put in afterwards.

    Attributes:
        name: of the output; "" for none.
        value: the number.
    """

    def __init__(self, output: str = "", value: float = np.nan) -> None:
        self.name, self.graphs = OPENVINO.name, OPENVINO.graphs
        self.output, self.value = output, value

    def unavailable(self) -> str | None:
        return None

    def precisions(self) -> tuple[str, ...]:
        return ("fp32",)

    def open(self, bundle: Any, options: LoadOptions) -> Engines:
        opened = OPENVINO.open(bundle, options)
        encoder, decoder = _Spoilt(self, opened.encoder), _Spoilt(self, opened.decoder)
        return dataclasses.replace(opened, encoder=encoder, decoder=decoder)


class _Spoilt(Engine):
    def __init__(self, owner: Spoilt, engine: Engine) -> None:
        self._owner, self._engine = owner, engine

    def __getattribute__(self, name: str) -> Any:
        own = name.startswith("_") or name == "run"
        return super().__getattribute__(name) if own else getattr(self._engine, name)

    def run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        self._engine.run(inputs, outputs)
        if self._owner.output in outputs:
            outputs[self._owner.output].flat[-1] = self._owner.value


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.float32(3e38)])
@pytest.mark.parametrize("output", ["image_embedding", "low_res_logits", "scores"])
def test_no_mask_of_numbers_that_are_none(
    samus_toy: Any, frame: Any, output: str, value: float
) -> None:
    backend = Spoilt()
    with Session(samus_toy, backend, OPTIONS, "") as session:
        good = session.segment(frame, points=[(10, 20)])
        backend.output, backend.value = output, value
        for _ in range(2):
            with pytest.raises(NonFiniteError, match=f"{output}, computed in fp32"):
                session.segment(frame, points=[(10, 20)])
        backend.output = ""
        again = session.segment(frame, points=[(10, 20)])  # one bad frame harms no other
        np.testing.assert_array_equal(again.masks, good.masks)


def test_every_call_refuses(sam_toy: Any, frame: Any) -> None:
    backend = Spoilt()
    point = {"points": [(10, 20)]}
    with Session(sam_toy, backend, OPTIONS, "") as session:
        earlier = session.segment(frame, **point).low_res_logits[0]
        calls: list[Callable[[], object]] = [
            lambda: session.predict(**point),
            lambda: session.predict(points=[[(10, 20)], [(3, 4), (5, 6)]], multimask=True),
            lambda: session.predict(box=(2, 3, 20, 30), mask=earlier),
            lambda: session.segment(frame, **point, crop=(4, 4, 36, 36)),
            lambda: session.segment_slices(frame[None], [point]),
            lambda: session.segment_volume(np.stack([frame, frame]), **point),
        ]
        backend.output = "low_res_logits"
        for call in calls:
            with pytest.raises(NonFiniteError):
                call()


def test_a_frame_that_failed_is_not_prompted(samus_toy: Any, frame: Any) -> None:
    backend = Spoilt("image_embedding")
    with Session(samus_toy, backend, OPTIONS, "") as session:
        with pytest.raises(NonFiniteError):
            session.set_frame(frame)
        with pytest.raises(samedge.SessionError, match="no frame"):
            session.predict(points=[(10, 20)])


def test_the_parity_gate_counts_it_as_failed(tiny_bundle: Path) -> None:
    bundle = samedge.bundle.Bundle.open(tiny_bundle)
    with Session(bundle, Spoilt("scores"), OPTIONS, "") as session:
        row = verify_session(session, bundle.selftest())
    assert not row.passed


@pytest.mark.parametrize("value", [1e300, 1e20, -1e5, np.nan, -np.inf])
def test_mask_prompts_are_logits(sam_toy: Any, frame: Any, value: float) -> None:
    mask = np.zeros((LOW, LOW))
    mask[3, 4] = value
    with Session(sam_toy, OPENVINO, OPTIONS, "") as session:
        session.set_frame(frame)
        with pytest.raises(PromptError, match="low_res_logits of an earlier call"):
            session.predict(points=[(10, 20)], mask=mask)


@pytest.fixture
def overflowing(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle whose network gives NaN for bright frames, and is as it was for dark ones."""
    folder = tmp_path / "overflowing.samedge"
    shutil.copytree(tiny_bundle, folder)
    path = folder / "encoder.fp32.onnx"
    model = onnx.load(path)
    output = model.graph.output[0].name
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [f"{name}_before" if name == output else name for name in names]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(200), "level"))
    model.graph.initializer.append(numpy_helper.from_array(np.arange(4), "all"))
    model.graph.node.extend(
        helper.make_node(kind, inputs, [result], **attributes)
        for kind, inputs, result, attributes in (
            ("ReduceMean", ["network_input", "all"], "mean", {"keepdims": 0}),
            ("Sub", ["level", "mean"], "room", {}),
            ("Sqrt", ["room"], "root", {}),  # of a negative number
            ("Div", ["root", "root"], "one", {}),
            ("Mul", [f"{output}_before", "one"], output, {}),
        )
    )
    onnx.save(model, path)
    manifest = json.loads((folder / "manifest.json").read_text())
    digest = sha256_file(path)
    manifest["files"][path.name] = {"sha256": digest, "bytes": path.stat().st_size}
    manifest["graphs"]["encoder"]["fp32"]["sha256"] = digest
    (folder / "manifest.json").write_bytes(seal(manifest))
    return folder


def test_a_network_that_overflows_on_a_frame(
    overflowing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    dark, bright = (
        rng.integers(*levels, (90, 120, 3), np.uint8) for levels in ((0, 99), (240, 256))
    )
    with samedge.load(overflowing, precision="fp32", cache=False) as session:
        session.segment(dark, points=[(60, 40)])
        with pytest.raises(DeviceError, match="NaN or infinite"):
            session.segment(bright, points=[(60, 40)])
    write_png(tmp_path / "bright.png", bright)
    arguments = ["segment", str(overflowing), str(tmp_path / "bright.png"), "--point", "60,40"]
    out = tmp_path / "out"
    assert run([*arguments, "--precision", "fp32", "-o", str(out)]) == DeviceError.exit_code
    assert "there is no mask" in capsys.readouterr().err
    assert not list(out.rglob("*.png"))
