"""Writes signatures.json: what the libraries' own bindings say about every call that samedge makes.

    python tests/runtime/stand_in/make_signatures.py FOLDER ...

Each folder holds an unpacked wheel of bindings (`pip download --no-deps
tensorrt_cu12_bindings==10.3.0`, a zip file). They are imported without the libraries behind them: a
library of empty functions, made with the system's C compiler, takes their place. Versions that are
in the file already stay there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("signatures.json")

# Everything of the modules that samedge/runtime uses.
USED = """
Builder.__init__ Builder.build_serialized_network Builder.create_builder_config
Builder.create_network Builder.create_optimization_profile
BuilderFlag.REFIT BuilderFlag.REQUIRE_USER_ALLOCATION BuilderFlag.TF32
BuilderFlag.VERSION_COMPATIBLE
ComputeCapability.SM75 ComputeCapability.SM80 ComputeCapability.SM86 ComputeCapability.SM89
ComputeCapability.SM120
DataType.FLOAT DataType.HALF
Dims.__init__
DynamicShapesKernelSpecializationStrategy.EAGER
ElementWiseOperation.PROD ElementWiseOperation.SUM
EngineInspector.get_engine_information
ExecutionContextAllocationStrategy.USER_MANAGED
HardwareCompatibilityLevel.AMPERE_PLUS
IBuilderConfig.add_optimization_profile IBuilderConfig.clear_flag
IBuilderConfig.create_timing_cache IBuilderConfig.get_timing_cache
IBuilderConfig.hardware_compatibility_level IBuilderConfig.num_compute_capabilities
IBuilderConfig.profiling_verbosity IBuilderConfig.progress_monitor
IBuilderConfig.set_compute_capability IBuilderConfig.set_flag
IBuilderConfig.set_memory_pool_limit IBuilderConfig.set_timing_cache
IConvolutionLayer.bias IConvolutionLayer.kernel IConvolutionLayer.kernel_size_nd
IConvolutionLayer.num_groups IConvolutionLayer.num_output_maps IConvolutionLayer.pre_padding
IConvolutionLayer.stride_nd
ICudaEngine.create_engine_inspector ICudaEngine.create_execution_context
ICudaEngine.create_runtime_config ICudaEngine.get_tensor_dtype ICudaEngine.get_tensor_location
ICudaEngine.get_tensor_mode ICudaEngine.get_tensor_name ICudaEngine.get_tensor_profile_shape
ICudaEngine.num_io_tensors
IExecutionContext.execute_async_v3 IExecutionContext.get_tensor_shape
IExecutionContext.infer_shapes IExecutionContext.is_stream_capturable
IExecutionContext.set_device_memory IExecutionContext.set_input_shape
IExecutionContext.set_tensor_address IExecutionContext.update_device_memory_size_for_shapes
ILogger.__init__ ILogger.log
IMatrixMultiplyLayer.op0 IMatrixMultiplyLayer.op1
INetworkDefinition.add_cast INetworkDefinition.add_constant INetworkDefinition.add_elementwise
INetworkDefinition.add_reduce INetworkDefinition.add_shuffle INetworkDefinition.add_slice
INetworkDefinition.get_layer INetworkDefinition.mark_output INetworkDefinition.num_layers
INetworkDefinition.unmark_output
IOptimizationProfile.set_shape
IProgressMonitor.__init__ IProgressMonitor.phase_finish IProgressMonitor.phase_start
IProgressMonitor.step_complete
IRuntimeCache.deserialize IRuntimeCache.serialize
IRuntimeConfig.create_runtime_cache IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy
IRuntimeConfig.set_execution_context_allocation_strategy IRuntimeConfig.set_runtime_cache
IShuffleLayer.reshape_dims IShuffleLayer.second_transpose
ISliceLayer.mode
ITensor.allowed_formats ITensor.dtype ITensor.is_network_output ITensor.is_shape_tensor
ITensor.name ITensor.shape
ITimingCache.serialize
LayerInformationFormat.JSON
LayerType.CONVOLUTION LayerType.MATRIX_MULTIPLY
MatrixOperation.NONE
MemoryPoolType.WORKSPACE
NetworkDefinitionCreationFlag.STRONGLY_TYPED
OnnxParser.__init__ OnnxParser.get_error OnnxParser.num_errors OnnxParser.parse
ParserError.desc ParserError.node ParserError.node_name ParserError.node_operator
Permutation.__init__
ProfilingVerbosity.DETAILED
ReduceOperation.SUM
Runtime.__init__ Runtime.deserialize_cuda_engine Runtime.engine_host_code_allowed
SampleMode.FILL
TensorFormat.LINEAR
TensorIOMode.INPUT TensorIOMode.OUTPUT
TensorLocation.DEVICE
""".split()  # noqa: SIM905
_LAYERS = ("I", "ICast", "IConstant", "IConvolution", "IElementWise", "IMatrixMultiply", "IReduce",
           "IShuffle", "ISlice")  # fmt: skip
USED += [
    f"{kind}Layer.{name}"
    for kind in _LAYERS
    for name in "get_input get_output name num_inputs num_outputs set_input type".split()  # noqa: SIM905
]

IMPORT = """
import importlib.util, json, sys
from pathlib import Path
sys.path.insert(0, {here!r})
import make_signatures
spec = importlib.util.spec_from_file_location({name!r}, {file!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(json.dumps(make_signatures.describe(module)))
"""


def describe(module: Any) -> dict[str, Any]:
    """Name -> "value" (of an enumeration), "property", or the arguments of each overload as
    [names, number of those without a default]; a name that the module lacks is left out."""
    table: dict[str, Any] = {}
    for name in USED:
        owner, attribute = name.split(".")
        item = getattr(getattr(module, owner, None), attribute, None)
        if item is None:
            continue
        if attribute.isupper() or re.fullmatch(r"SM\d+", attribute):
            table[name] = "value"
        elif isinstance(item, property):
            table[name] = "property"
        else:
            table[name] = _overloads(item.__doc__ or "", attribute)
    return table


def _overloads(text: str, function: str) -> list[list[Any]]:
    found = []
    for line in text.splitlines():
        match = re.match(rf"(?:\d+\. )?{re.escape(function)}\((self: .*)\) -> ", line)
        if match:
            # Types have commas in brackets; default values have none.
            plain = re.sub(r"\[[^][]*\]", "", re.sub(r"\[[^][]*\]", "", match.group(1)))
            plain = re.sub(r"<[^>]*>", "x", plain)
            parts = [part.strip() for part in plain.split(",")][1:]
            names = [part.partition(":")[0] for part in parts]
            found.append([names, sum("=" not in part for part in parts)])
    return found


def read_wheel(folder: Path) -> tuple[str, dict[str, Any]]:
    """("tensorrt 10.3.0", its table)."""
    (file,) = folder.glob("*_bindings/*.so")
    text = (file.parent / "__init__.py").read_text()
    version = re.search(r'__version__ = "([^"]+)"', text)
    assert version is not None
    with tempfile.TemporaryDirectory() as libraries:
        _write_empty_libraries(file, Path(libraries))
        code = IMPORT.format(here=str(Path(__file__).parent), name=file.stem, file=str(file))
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LD_LIBRARY_PATH": libraries},
        )
    return f"{file.stem} {version.group(1)}", json.loads(done.stdout)


def _write_empty_libraries(file: Path, folder: Path) -> None:
    """Stand-ins for the libraries that the bindings are linked to."""
    dynamic = subprocess.run(["readelf", "-d", file], capture_output=True, text=True, check=True)
    needed = re.findall(r"\[(lib(?:nv|tensorrt)[^]]*)\]", dynamic.stdout)
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", file], capture_output=True, text=True, check=True
    )
    names = re.findall(r" U ((?:create|get|initLib)\w+)$", symbols.stdout, re.MULTILINE)
    source = "".join(f"void {name}(void) {{}}\n" for name in names)
    for index, library in enumerate(needed):
        subprocess.run(
            ["cc", "-w", "-shared", "-fPIC", "-x", "c", "-", "-o", folder / library],
            input=source if index == 0 else "int nothing;",
            text=True,
            check=True,
        )


def main() -> None:
    """See the module."""
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    for argument in sys.argv[1:]:
        name, found = read_wheel(Path(argument))
        table[name] = found
        print(f"{name}: {len(found)} of {len(USED)} names")
    versions = []
    for version, entries in sorted(table.items()):
        lines = ",\n".join(f"  {json.dumps(n)}: {json.dumps(e)}" for n, e in entries.items())
        versions.append(f" {json.dumps(version)}: {{\n{lines}\n }}")
    TABLE.write_text("{\n" + ",\n".join(versions) + "\n}\n")


if __name__ == "__main__":
    main()
