"""Engines built: by the stand-in in every version, by TensorRT-RTX itself where it is there."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest

from samedge.bundle import Bundle, reader
from samedge.bundle.manifest import TensorEntry
from samedge.bundle.sealing import seal
from samedge.errors import DeviceError, NotSupportedError
from samedge.families import SAM, SAMED
from samedge.progress import Step, silent
from samedge.runtime.engines.keys import graph_digest
from samedge.runtime.gpu import driver as cuda
from samedge.runtime.tensorrt.builder import BuildOptions, build_engine
from samedge.runtime.tensorrt.library import NVIDIA_LIBRARIES
from samedge.runtime.tensorrt.sizes import MAX_ELEMENTS, profile_shapes, ranges_for
from tests.runtime.quantised import with_graph
from tests.runtime.stand_in.install import VERSIONS, installed
from tests.runtime.stand_in.make_signatures import describe
from tests.runtime.stand_in.tensorrt import SIGNATURES

REAL = importlib.util.find_spec("tensorrt_rtx") is not None
needs_rtx = pytest.mark.skipif(not REAL, reason="needs TensorRT-RTX")


@pytest.fixture(params=SIGNATURES)
def library(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """Every version whose signatures are known."""
    with installed(request.param) as module:
        yield module


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


def build(library: ModuleType, bundle: Bundle, graph: str = "decoder", **options: Any) -> Any:
    progress = options.pop("progress", silent)
    found = NVIDIA_LIBRARIES[library.__name__]
    return build_engine(found, bundle, graph, "fp32", BuildOptions(**options), progress)


def test_every_version_has_every_call(library: ModuleType, bundle: Bundle, tmp_path: Path) -> None:
    """The stand-in refuses what is not in the bindings of its version."""
    steps: list[Step] = []
    options: dict[str, Any] = {"workspace_mb": 100, "timing_cache": tmp_path / "times"}
    if library.__name__ == "tensorrt":
        options |= {"version_compatible": True, "hardware_compatible": True, "refittable": True}
    else:
        options |= {"compute_capability": 86}
    for graph in ("encoder", "decoder"):
        built = build(library, bundle, graph, progress=steps.append, **options)
        assert bytes(built.data).startswith(b"stand-in")
        assert built.notes == ()
    for graph in ("encoder", "decoder"):
        assert Step(f"building the {graph}", 3, 3, "Building engine") in steps
    assert (tmp_path / "times").read_bytes() == b"timingstimings"


def test_the_oldest_versions_that_are_allowed_have_a_table() -> None:
    known = {tuple(name.replace(".", " ").split()[:3]) for name in SIGNATURES}
    for library in NVIDIA_LIBRARIES.values():
        assert (library.name, *map(str, library.minimum)) in known
    assert ("tensorrt", "11", "4") in known


@pytest.mark.parametrize("name", sorted(NVIDIA_LIBRARIES))
def test_the_installed_bindings_have_what_the_table_has(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs {name}")
    module = importlib.import_module(name)
    found, known = describe(module), SIGNATURES.get(f"{name} {module.__version__}")
    if known is not None:
        assert found == known
    oldest = next(table for version, table in SIGNATURES.items() if version.split()[0] == name)
    assert set(oldest) <= set(found)  # nothing that is used has gone


def test_a_timing_cache_of_another_gpu(library: ModuleType, bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "times"
    path.write_bytes(b"of another GPU")
    built = build(library, bundle, timing_cache=path)
    assert "of another GPU or version and was replaced" in built.notes[0]
    assert path.read_bytes() == b"timings"
    with pytest.raises(NotSupportedError, match="no regular file"):
        build(library, bundle, timing_cache=tmp_path)


def test_nodes_that_the_library_does_not_know(
    library: ModuleType, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library is older than what samedge may write by then."""
    monkeypatch.setattr(reader, "check_graph", lambda *_: None)
    folder = tmp_path / "tiny.samedge"
    shutil.copytree(tiny_bundle, folder)
    model = onnx.load(folder / "decoder.fp32.onnx")
    model.graph.node.append(onnx.helper.make_node("Det", ["x"], ["y"], name="head/Det"))
    onnx.save(model, folder / "decoder.fp32.onnx")
    changed = with_graph(folder, "decoder.fp32.onnx")
    words = r"cannot take .*onnx: .*node 'head/Det' \(Det\): no importer.*backend='openvino'"
    with pytest.raises(NotSupportedError, match=words):
        build(library, changed)


def test_options_that_do_not_fit(bundle: Bundle) -> None:
    with (
        installed("tensorrt 10.3.0") as library,
        pytest.raises(NotSupportedError, match="machine it"),
    ):
        build(library, bundle, compute_capability=86)
    with installed("tensorrt_rtx 1.7.1.116") as library:
        for option, words in (
            ({"compute_capability": 90}, "does not build for sm_90; it builds for: 75, 80"),
            ({"hardware_compatible": True}, "build one for each GPU"),
            ({"version_compatible": True}, "build one for each GPU"),
            ({"refittable": True, "compute_capability": 86}, "only on the GPU"),
        ):
            with pytest.raises(NotSupportedError, match=words):
                build(library, bundle, **option)


def test_tensorrt_without_a_gpu_says_what_the_library_says(bundle: Bundle) -> None:
    words = "TensorRT 10.3.0 cannot build engines here: CUDA initialization failure"
    with (
        installed("tensorrt 10.3.0", devices=0) as library,
        pytest.raises(DeviceError, match=words),
    ):
        build(library, bundle)


def test_ctrl_c_stops_the_build(library: ModuleType, bundle: Bundle) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        build(library, bundle, progress=lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_error_in_the_progress_comes_out(library: ModuleType, bundle: Bundle) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("bar")

    with pytest.raises(ValueError, match="bar"):
        build(library, bundle, progress=broken)


def test_a_build_in_another_thread_leaves_signals_alone(
    library: ModuleType, bundle: Bundle
) -> None:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(build(library, bundle)))
    thread.start()
    thread.join()
    assert len(results) == 1


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        ({"devices": 0}, "finds no GPU"),
        (
            {"cuda_version": 12040},
            r"for CUDA 12\.4, and TensorRT needs one for CUDA 13\.0 or newer",
        ),
    ],
)
def test_machines_that_cannot_run_engines(driver: dict[str, int], words: str) -> None:
    with installed(VERSIONS[0], **driver):
        reason = cuda.problem(13, "TensorRT")
        assert reason is not None
        assert re.search(words, reason)


def test_a_driver_that_does_not_start() -> None:
    with installed(VERSIONS[0]) as library:
        library.world.driver.init_result = type(library.world.driver.init_result)(100)
        reason = cuda.problem()
        assert reason is not None
        assert "CUDA_ERROR_NO_DEVICE" in reason


def test_ranges_fit_the_family() -> None:
    class Some:
        family = SAM

    ranges = ranges_for(Some())  # type: ignore[arg-type]
    assert ranges["masks"] == (1, 1, len(SAM.multi_masks))
    for family in (SAM, SAMED):
        Some.family = family
        for side in (256, 1024, 4096):
            ranges = ranges_for(Some(), side)  # type: ignore[arg-type]
            assert ranges["height"][2] == side
            assert ranges["objects"][2] * ranges["masks"][2] * side * side <= MAX_ELEMENTS
            assert all(low <= usual <= high for low, usual, high in ranges.values())
    with pytest.raises(NotSupportedError, match="a size 'depth'"):
        profile_shapes([TensorEntry("x", "float32", ("depth", 3))], ranges)
    assert profile_shapes([TensorEntry("x", "float32", (2, 3))], ranges) == {}


@needs_rtx
@pytest.mark.parametrize("capability", [86, 120])
def test_real_engines_without_a_gpu(bundle: Bundle, capability: int) -> None:
    library = NVIDIA_LIBRARIES["tensorrt_rtx"]
    for graph in ("encoder", "decoder"):
        options = BuildOptions(compute_capability=capability)
        built = build_engine(library, bundle, graph, "fp32", options)
        assert len(built.data) > 10**5
        assert built.report is not None
        assert len(built.report.layers) > 10
        assert built.report.activations


@needs_rtx
def test_a_real_build_can_be_cancelled(bundle: Bundle) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_engine(
            NVIDIA_LIBRARIES["tensorrt_rtx"],
            bundle,
            "encoder",
            "fp32",
            BuildOptions(compute_capability=86),
            lambda *_: os.kill(os.getpid(), signal.SIGINT),
        )


@needs_rtx
def test_weights_in_a_file_of_their_own(bundle: Bundle, tmp_path: Path) -> None:
    """Graphs beyond 2 GB have them beside the ONNX file."""
    folder = tmp_path / "copy.samedge"
    shutil.copytree(bundle.root, folder)
    graph = onnx.load(folder / "decoder.fp32.onnx")
    data = {"location": "decoder.fp32.onnx.data", "size_threshold": 4096}
    onnx.save(graph, folder / "decoder.fp32.onnx", save_as_external_data=True, **data)
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("decoder.fp32.onnx", "decoder.fp32.onnx.data"):
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        manifest["files"][name] = {"bytes": len(content), "sha256": digest}
    graphs = manifest["graphs"]["decoder"]["fp32"]
    graphs["sha256"] = manifest["files"]["decoder.fp32.onnx"]["sha256"]
    (folder / "manifest.json").write_bytes(seal(manifest))
    library, options = NVIDIA_LIBRARIES["tensorrt_rtx"], BuildOptions(compute_capability=86)
    moved = build_engine(library, Bundle.open(folder), "decoder", "fp32", options)
    inside = build_engine(library, bundle, "decoder", "fp32", options)
    assert moved.report is not None
    assert inside.report is not None
    assert moved.report.weights == pytest.approx(inside.report.weights, rel=0.05)
    digests = [graph_digest(one, "decoder", "fp32") for one in (Bundle.open(folder), bundle)]
    assert digests[0] != digests[1]
