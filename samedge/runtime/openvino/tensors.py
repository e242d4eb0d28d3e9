"""Values of graphs in OpenVINO, by their ONNX names, outside of any session.

`named_outputs` gives tensors from inside a bundle's graph as a session would compute them, and
`read_values` what each is computed from (`samedge.runtime.parity.drift`). `GraphRunner`
computes any ONNX file in plain float32, value by value: the oracle behind probes and gates. There
nothing is cached, rewritten or bound: what it computes is what the file says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._openvino import ops, ov
from samedge.bundle import Bundle
from samedge.bundle.graph_names import NETWORK_INPUT, operation_of
from samedge.errors import BundleError, DeviceError
from samedge.machine.cpu import physical_cores
from samedge.machine.memory import ran_out, release_memory
from samedge.runtime.backend import Arrays, LoadOptions
from samedge.runtime.openvino import compile as compiling
from samedge.runtime.openvino.compile import DEVICE
from samedge.runtime.openvino.rewrites.dense import optimise
from samedge.runtime.openvino.weights import halve_weights
from samedge.runtime.parity.graph_values import GraphValue, GraphValues

Values = dict[str, NDArray[Any]]


def read_values(path: Path) -> GraphValues:
    """The named values of the graph at `path`, and what they are computed from.

    Raises:
        BundleError: OpenVINO cannot read it.
    """
    model = compiling.open_model(path)
    found: list[GraphValue] = []
    # What a consumer of an output is computed from: the output's names; of one that has none, since
    # OpenVINO made several operations of one, the names of what that is computed from.
    known: dict[tuple[str, int], tuple[str, ...]] = {}
    for node in model.get_ordered_ops():
        sources = [(id_of(value.get_node()), value.get_index()) for value in node.input_values()]
        inputs = tuple(dict.fromkeys(name for key in sources for name in known.get(key, ())))
        for port in node.outputs():
            names = tuple(sorted(port.get_names(), key=_operation_first))
            if node.get_type_name() != "Constant":
                known[id_of(node), port.get_index()] = names or inputs
            if node.get_type_name() not in ("Constant", "Parameter", "Result"):
                kind = str(node.get_type_name())
                found += [GraphValue(name, operation_of(name) or kind, inputs) for name in names]
    ends = [
        tuple(name for port in side for name in port.get_names())
        for side in (model.inputs, model.outputs)
    ]
    return GraphValues(tuple(found), *ends)


def _operation_first(name: str) -> tuple[bool, str]:
    """Of several names of one value, the one that says what makes it comes first."""
    return operation_of(name) is None, name


def named_outputs(
    bundle: Bundle,
    graph: str,
    file: str,
    options: LoadOptions,
    names: Sequence[str],
    cases: Sequence[Arrays],
    device: str = DEVICE,
    plain: bool = False,
) -> list[Values]:
    """Compute tensors of `graph` by their names, in the precision that `options` ask for.

    The graph is rewritten, cut and compiled as a session's would be; only the tensors asked for are
    given out as well, so what OpenVINO would fuse across them it computes apart.

    Args:
        bundle, options: as for `Backend.open`.
        graph: "encoder" or "decoder".
        file: which of its files, a key of the manifest's.
        names: of tensors; in the encoder, of the network input and what is computed from it.
        cases: one or more sets of the graph's inputs.
        device: OpenVINO's name of it.
        plain: leave out the rewrites for OpenVINO: the graph as it was exported.

    Returns:
        For each case, name -> array. Names that OpenVINO's form of the graph does not have are
        missing, and so are those in front of the cut.

    Raises:
        BundleError: the file was changed, or is not a graph of ours.
        DeviceError: OpenVINO failed.
    """
    rest = compiling.rest_of(bundle, options.precision, device)
    with bundle.opened_graph(graph, file) as path:
        model = compiling.read_model(path)
    try:
        if graph == "encoder":
            parts = _encoder(model, names, options.precision, rest, device, plain)
            engines = [
                _engine(parts[0], "fp32", options, DEVICE),
                _engine(parts[1], rest, options, device),
            ]
        else:
            _add_results(model, names, {id_of(node) for node in model.get_ordered_ops()})
            engines = [_engine(model, "fp32", options, device)]
        del model
        release_memory()
        return [_run(engines, case, set(names)) for case in cases]
    except RuntimeError as error:
        raise DeviceError(f"OpenVINO failed with tensors of the {graph}: {error}") from error


def _encoder(
    model: ov.Model, names: Sequence[str], precision: str, rest: str, device: str, plain: bool
) -> tuple[ov.Model, ov.Model]:
    """Pre-processing and network, cut at the network input; the latter with more results."""
    cuts = [
        n
        for n in model.get_ordered_ops()
        if any(NETWORK_INPUT in p.get_names() for p in n.outputs())
    ]
    behind = set().union(*(_behind(node) for node in cuts))
    _add_results(model, [name for name in names if name != NETWORK_INPUT], behind)
    first, second = compiling.split_encoder(model)
    if device == DEVICE and not plain:
        second = optimise(second, precision)
    if rest != "fp32":
        halve_weights(second, compiling.TYPES[rest])
    return first, second


def id_of(node: Any) -> str:
    """What tells a node from all others of its model."""
    return str(node.get_name())


def _behind(node: Any) -> set[str]:
    """Nodes that depend on `node`."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        for output in waiting.pop().outputs():
            for target in output.get_target_inputs():
                consumer = target.get_node()
                if id_of(consumer) not in found:
                    found.add(id_of(consumer))
                    waiting.append(consumer)
    return found


def _add_results(model: ov.Model, names: Sequence[str], allowed: set[str]) -> None:
    """Give out the tensors `names` of the nodes `allowed`; a result is known by its name."""
    ports: dict[str, Any] = {}
    for node in model.get_ordered_ops():
        if id_of(node) in allowed and node.get_type_name() not in ("Result", "Constant"):
            for port in node.outputs():
                ports.update(dict.fromkeys(port.get_names(), port))
    given = {name for port in model.outputs for name in port.get_names()}
    results = []
    for name in names:
        if name in ports and name not in given:
            result: Any = ops.result(ports[name])
            result.set_friendly_name(_MARK + name)
            results.append(result)
    model.add_results(results)


_MARK = "samedge: "  # no name that a graph has begins with it


def _engine(model: ov.Model, precision: str, options: LoadOptions, device: str) -> Any:
    config = compiling.engine_config(precision, options, device)
    ends = [_end(result) for result in model.get_results()]
    return compiling.core().compile_model(model, device, config).create_infer_request(), ends


def _end(result: Any) -> tuple[str, ...]:
    """The names under which a result's tensor is asked for."""
    own = str(result.get_friendly_name())
    if own.startswith(_MARK):
        return (own.removeprefix(_MARK),)
    return tuple(result.input_value(0).get_names())


def _run(engines: Sequence[Any], case: Arrays, wanted: set[str]) -> Values:
    values: Values = dict(case)
    found: Values = {}
    for request, ends in engines:
        for port in request.model_inputs:
            name = next(name for name in port.get_names() if name in values)
            request.set_tensor(port, ov.Tensor(np.ascontiguousarray(values[name])))
        request.infer()
        for port, names in zip(request.model_outputs, ends, strict=True):
            array = np.array(request.get_tensor(port).data)
            values.update(dict.fromkeys(names, array))
            found.update((name, array) for name in names if name in wanted)
    return found


class GraphRunner:
    """One ONNX file, compiled for the CPU.

    An encoder is cut at `network_input`: what stands behind it has fixed shapes, and OpenVINO plans
    memory for those. In one piece with what takes frames of any size every value has its own.

    Args:
        path: of the file.
        threads: for inference; default: the physical cores.

    Raises:
        BundleError: OpenVINO cannot read the file.
        DeviceError: OpenVINO cannot compile it.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        config = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads or physical_cores(),
            "NUM_STREAMS": "1",
        }
        try:
            model = compiling.core().read_model(path)
        except (RuntimeError, MemoryError) as error:
            if lack := ran_out(error, f"reading {path.name}", path.stat().st_size):
                raise lack from error
            raise BundleError(f"OpenVINO cannot read {path.name}: {error}") from error
        try:
            self._requests: list[Any] = [
                compiling.core().compile_model(part, DEVICE, config).create_infer_request()
                for part in _pieces(model)
            ]
        except (RuntimeError, MemoryError) as error:
            if lack := ran_out(error, f"compiling {path.name}"):
                raise lack from error
            raise DeviceError(f"OpenVINO cannot compile {path.name}: {error}") from error

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """All outputs for `inputs`, by every name they have; arrays of its own.

        Raises:
            DeviceError: OpenVINO failed.
        """
        known = dict(inputs)
        for request in self._requests:
            for port in request.model_inputs:
                array = next(known[name] for name in port.get_names() if name in known)
                request.set_tensor(port, ov.Tensor(np.ascontiguousarray(array)))
            try:
                request.infer()
            except (RuntimeError, MemoryError) as error:
                if lack := ran_out(error, "computing a graph"):
                    raise lack from error
                raise DeviceError(f"OpenVINO failed: {error}") from error
            for port in request.model_outputs:
                array = request.get_tensor(port).data.copy()
                known.update(dict.fromkeys(port.get_names(), array))
        return {name: array for name, array in known.items() if name not in inputs}

    def close(self) -> None:
        """Free the engine."""
        self._requests = []


def _pieces(model: ov.Model) -> Iterator[ov.Model]:
    """The model in the pieces that run one after the other; `model` is used up."""
    ports = (port for node in model.get_ordered_ops() for port in node.outputs())
    port = next((port for port in ports if NETWORK_INPUT in port.get_names()), None)
    if port is None or port.get_partial_shape().is_dynamic or not port.get_node().inputs():
        yield model
        return
    behind = _behind(port.get_node())
    results = model.get_results()
    first = [result for result in results if id_of(result) not in behind]
    entry = ops.parameter(port.get_shape(), port.get_element_type(), name=NETWORK_INPUT)
    for consumer in port.get_target_inputs():
        consumer.replace_source_output(entry.output(0))
    parameters = model.get_parameters()
    rest = [result for result in results if result not in first]
    yield ov.Model([*first, ops.result(port)], parameters, "preprocess")
    entry.output(0).get_tensor().set_names({NETWORK_INPUT})
    yield ov.Model(rest, [entry], "network")
