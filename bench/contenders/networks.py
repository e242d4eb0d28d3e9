"""What a user without samedge runs a network in: torch, ONNX Runtime, OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samedge.bench.contenders.eager import require_torch
from samedge.bench.contenders.plain import OUTPUT
from samedge.bench.contenders.whole_frames import Floats
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.errors import MissingDependencyError
from samedge.runtime.backend import LoadOptions

if TYPE_CHECKING:
    from torch import Tensor

Arrays = Mapping[str, NDArray[Any]]
Runner = Callable[[Arrays], list[Floats]]


class TorchNetwork:
    """The two halves of a torch model, or what `torch.compile` made of them; see `Network`.

    Args:
        encode, decode: of a `PromptableModel`.
        threads: of torch.
    """

    def __init__(
        self, encode: Callable[..., Any], decode: Callable[..., Any], threads: int
    ) -> None:
        self._torch = require_torch()
        self._encode, self._decode, self._threads = encode, decode, threads

    def encode(self, x: Tensor) -> Any:
        """As `Network.encode`."""
        self._torch.set_num_threads(self._threads)  # others in this process may have changed it
        with self._torch.inference_mode():
            return self._encode(x)

    def decode(self, embedding: Any, prompts: Mapping[str, Tensor]) -> tuple[Floats, Floats]:
        """As `Network.decode`."""
        with self._torch.inference_mode():
            low_res, scores = self._decode(embedding, **prompts)
        return low_res.numpy(), scores.numpy()


class GraphNetwork:
    """The two graphs of `export_plain_network`, each in whatever runs it; see `Network`."""

    def __init__(self, encoder: Runner, decoder: Runner) -> None:
        self._encoder, self._decoder = encoder, decoder

    def encode(self, x: Tensor) -> Any:
        """As `Network.encode`."""
        (embedding,) = self._encoder({NETWORK_INPUT: x.numpy()})
        return embedding

    def decode(self, embedding: Any, prompts: Mapping[str, Tensor]) -> tuple[Floats, Floats]:
        """As `Network.decode`."""
        given = {name: tensor.numpy() for name, tensor in prompts.items()}
        low_res, scores = self._decoder({OUTPUT: embedding, **given})
        return low_res, scores


def onnxruntime_session(path: Path, threads: int) -> Any:
    """An inference session on the CPU with this many threads.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
    """
    try:
        runtime = import_module("onnxruntime")
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "test", "this baseline") from error
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def in_onnxruntime(path: Path, threads: int) -> Runner:
    """A graph in ONNX Runtime."""
    session = onnxruntime_session(path, threads)

    def run(arrays: Arrays) -> list[Floats]:
        outputs: list[Floats] = session.run(None, dict(arrays))
        return outputs

    return run


def openvino_model(path: Path, threads: int, precision: str) -> Any:
    """A graph that OpenVINO compiled with the options that samedge uses: only the graph differs."""
    from samedge.runtime.openvino.compile import DEVICE, core, engine_config

    config = engine_config(precision, LoadOptions(threads=threads))
    return core().compile_model(str(path), DEVICE, config)


def in_openvino(path: Path, threads: int, precision: str) -> Runner:
    """A graph in OpenVINO; see `openvino_model`."""
    from samedge._openvino import ov

    compiled = openvino_model(path, threads, precision)
    request = compiled.create_infer_request()
    count = len(compiled.outputs)

    def run(arrays: Arrays) -> list[Floats]:
        for name, array in arrays.items():
            request.set_tensor(name, ov.Tensor(np.ascontiguousarray(array), shared_memory=True))
        request.infer()
        return [np.array(request.get_output_tensor(i).data) for i in range(count)]

    return run
