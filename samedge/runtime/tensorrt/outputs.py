"""Tensors of an engine by their names, in numpy: for `samedge.runtime.parity.drift`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.runtime.backend import Arrays, GraphIO
from samedge.runtime.gpu.driver import Device, Stream
from samedge.runtime.tensorrt.engine import Engine
from samedge.runtime.tensorrt.plan import Plan, Scratch

Values = dict[str, NDArray[Any]]


def named_outputs(
    engine: Engine,
    record: Mapping[str, Any],
    inside: Sequence[str],
    device: Device,
    names: Sequence[str],
    cases: Sequence[Arrays],
) -> list[Values]:
    """Run an engine and give its inputs and outputs called `names`.

    Args:
        engine: loaded.
        record: of its graph, from the manifest.
        inside: tensors that are outputs of this engine and not of the graph.
        device: the calling thread's.
        names: of tensors.
        cases: one or more sets of the graph's inputs.

    Returns:
        For each case, name -> array, float16 ones as float32; names that the engine does not give
        are missing.

    Raises:
        DeviceError: TensorRT or the GPU failed.
        NotSupportedError: an input is larger than the engine was built for.
    """
    # The sizes of tensors from inside are known when the inputs' are.
    further = [{"name": name, "shape": ()} for name in inside]
    io = engine.io(record["inputs"], [*record["outputs"], *further])
    return [_run(engine, io, device, case, set(names)) for case in cases]


def _run(engine: Engine, io: GraphIO, device: Device, case: Arrays, wanted: set[str]) -> Values:
    inputs = {spec.name: np.ascontiguousarray(case[spec.name]) for spec in io.inputs}
    found: Values = {name: array for name, array in inputs.items() if name in wanted}
    stream, scratch = Stream(), Scratch(device)
    try:
        plan = Plan(engine, io, device, stream, scratch, inputs, {})
        try:
            plan.run(inputs, {})
            for spec in io.outputs:
                if spec.name in wanted:
                    array = plan.device_output(spec).copy()
                    half = array.dtype == np.float16
                    found[spec.name] = array.astype(np.float32) if half else array
        finally:
            plan.close()
    finally:
        scratch.close()
        stream.close()
    return found
