"""The Intel GPU backend, with a core that pretends to have one: there is none to try it on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samedge._openvino import ov
from samedge.errors import NotSupportedError
from samedge.runtime import load
from samedge.runtime.choice import choose_backend
from samedge.runtime.openvino import compile as openvino_compile
from samedge.runtime.openvino.backend import OPENVINO_GPU
from tests.bundle.manifests import parity_row


class PretendedCore:
    """OpenVINO's core with Intel GPUs, whose work the CPU does."""

    def __init__(self, gpus: tuple[str, ...]) -> None:
        self._core = ov.Core()
        self.available_devices = ["CPU", *gpus]
        self.compiled: list[tuple[str, dict[str, Any]]] = []

    def get_property(self, device: str, name: str) -> Any:
        if device.startswith("GPU"):
            assert device == "GPU" or device in self.available_devices  # GPU is GPU.0
            return {
                "FULL_DEVICE_NAME": f"Intel Arc ({device})",
                "OPTIMIZATION_CAPABILITIES": ["FP32", "FP16", "INT8", "EXPORT_IMPORT"],
            }[name]
        return self._core.get_property(device, name)

    def read_model(self, path: Any) -> Any:
        return self._core.read_model(path)

    def compile_model(self, model: Any, device: str, config: dict[str, Any]) -> Any:
        self.compiled.append((device, dict(config)))
        if device.startswith("GPU"):
            assert "INFERENCE_NUM_THREADS" not in config  # the GPU plugin refuses it
        return self._core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def import_model(self, tensor: Any, device: str, config: dict[str, Any]) -> Any:
        return self._core.import_model(tensor, "CPU", {})


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(*gpus: str) -> PretendedCore:
        core = PretendedCore(gpus)
        monkeypatch.setattr(openvino_compile, "core", lambda: core)
        return core

    return make


def test_without_a_gpu_it_says_what_to_install(pretend: Any) -> None:
    pretend()
    reason = OPENVINO_GPU.unavailable()
    assert reason is not None
    assert "intel-opencl-icd" in reason
    with pytest.raises(NotSupportedError, match="no Intel GPU"):
        choose_backend("openvino_gpu")


def test_auto_never_takes_it(pretend: Any) -> None:
    pretend("GPU")
    taken, why = choose_backend("auto")
    assert taken.name == "openvino"
    assert "gpu" not in why.lower()


def test_precisions_are_the_gpus(pretend: Any) -> None:
    pretend("GPU")
    assert OPENVINO_GPU.precisions() == ("fp32", "fp16", "int8")
    assert not OPENVINO_GPU.slower_than_float32()


def test_the_network_runs_there_and_preprocessing_here(
    pretend: Any, samus_toy: Any, frame: Any
) -> None:
    with load(samus_toy, precision="fp32", threads=1, cache=False) as session:
        expected = session.segment(frame, points=[(3, 4)])
    core = pretend("GPU")
    options: dict[str, Any] = {"precision": "fp16", "threads": 1, "cache": False}
    with load(samus_toy, backend="openvino_gpu", **options) as session:
        about = session.describe()
        result = session.segment(frame, points=[(3, 4)])
    assert (about["backend"], about["precision"]) == ("openvino_gpu", "fp16")
    assert about["device"] == "Intel Arc (GPU)"
    hints = [(device, c["INFERENCE_PRECISION_HINT"]) for device, c in core.compiled]
    assert hints == [("CPU", "f32"), ("GPU", "f16"), ("GPU", "f32")]
    np.testing.assert_allclose(result.low_res_logits, expected.low_res_logits, atol=1e-2)


def test_of_several_gpus_one_is_chosen_by_number(pretend: Any, samus_toy: Any) -> None:
    core = pretend("GPU.0", "GPU.1")
    with load(samus_toy, "openvino_gpu", "fp32", threads=1, device=1) as session:
        assert session.describe()["device"] == "Intel Arc (GPU.1)"
    assert {device for device, _ in core.compiled} == {"CPU", "GPU.1"}
    with pytest.raises(NotSupportedError, match="has 2 GPUs here"):
        load(samus_toy, "openvino_gpu", "fp32", threads=1, device=2)


def test_its_parity_rows_are_its_own(pretend: Any, samus_toy: Any) -> None:
    pretend("GPU")
    samus_toy.tell(parity=(parity_row("openvino", "fp16", True),))
    with load(samus_toy, "openvino_gpu", threads=1) as session:
        assert session.describe()["precision"] == "fp32"
    samus_toy.tell(parity=(parity_row("openvino_gpu", "fp16", True),))
    with load(samus_toy, "openvino_gpu", threads=1) as session:
        assert session.describe()["precision"] == "fp16"
