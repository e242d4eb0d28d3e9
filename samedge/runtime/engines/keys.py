"""What a stored engine has to fit: one key for each kind of thing that is kept.

A key knows the name of its file, whether another one fits it, and what a library of another version
or another processor makes of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from samedge.bundle import Bundle
from samedge.runtime.triton.plan import FORMAT

AMPERE = 80  # oldest compute capability of hardware compatible engines
# Engines under keys of another scheme are not taken: before "2" a bundle could have one compiled
# under the key of another bundle's graph.
_SCHEME = "samedge graph 2"
_AGAIN = "build one for it with `samedge build`"
OPENVINO_FORMAT = 1  # of engines for CPUs, see `samedge.runtime.openvino.engine_file`


@dataclass(frozen=True)
class Installed:
    """What this machine runs engines with.

    Attributes:
        openvino: its version; None if it is not installed.
        processors: OpenVINO's devices and their names, {"CPU": "Intel(R) ..."}.
        libraries: "tensorrt" and "tensorrt_rtx" with their versions; None: not installed.
    """

    openvino: str | None
    processors: Mapping[str, str]
    libraries: Mapping[str, str | None]


@dataclass(frozen=True)
class Key:
    """Everything that something stored depends on.

    Class attributes:
        kind: names the class in a record.
        exact: nothing but the very same key fits. What does not is of no use to anybody and is
            thrown away; otherwise it stays, and the reason is told.
        runs: it is an engine; `samedge doctor` counts it.
    """

    kind: ClassVar[str] = ""
    exact: ClassVar[bool] = True
    runs: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """Start of the file's name, for people who look into the folder."""
        return self.kind

    @property
    def stem(self) -> str:
        """Name of the file without its ending."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return f"{self.label}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    @property
    def pattern(self) -> str:
        """Glob pattern of the files that may fit."""
        return f"{self.stem}.engine"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def mismatch(self, stored: Key, options: Mapping[str, Any]) -> str | None:
        """Why what was stored for another key does not fit this one; None if it does.

        Args:
            stored: the other key.
            options: how that was built.
        """
        return None if stored == self else "its record belongs to another engine"

    def stale(self, here: Installed) -> str | None:
        """Why no session of this machine will load what is stored for this key; None: one may."""
        return None


@dataclass(frozen=True)
class OpenVinoKey(Key):
    """Of a compiled part of a graph in OpenVINO.

    Attributes:
        graph: digest, see `graph_digest`.
        part: "preprocess", "encoder" or "decoder".
        precision: "fp32", "bf16", "fp16" or "int8".
        computes: OpenVINO's type for what is not quantised, "bf16".
        threads: CPU threads.
        profile: with counters for each layer.
        hint: "latency" or "throughput".
        device: "CPU", "GPU" or "GPU.1".
        openvino: its version.
        rewrites: version of our rewrites of the graph; "" for a part that none touches.
        machine: "x86_64".
        cpu: full name of the device.
        features: what the device can compute.
    """

    kind: ClassVar[str] = "openvino"
    runs: ClassVar[bool] = True

    graph: str
    part: str
    precision: str
    computes: str
    threads: int
    profile: bool
    hint: str
    device: str
    openvino: str
    rewrites: str
    machine: str
    cpu: str
    features: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"{self.kind}-{self.part}"

    def stale(self, here: Installed) -> str | None:
        name = here.processors.get(self.device)
        if name not in (None, self.cpu):
            return f"it was compiled for another processor ({self.cpu})"
        return _other_version("OpenVINO", self.openvino, here.openvino)


@dataclass(frozen=True)
class NvidiaKey(Key):
    """Of an engine of TensorRT or TensorRT-RTX.

    Attributes:
        graph: "encoder" or "decoder".
        precision: of the graph's file: "fp32", "fp16" or "int8".
        graph_sha256: of the graph's file and its weights, see `graph_digest`.
        backend: "tensorrt" or "tensorrt_rtx".
        version: of that library, "10.3.0".
        compute_capability: of the GPU, 86 for 8.6.
        gpu: the GPU's name; None for an engine that was built elsewhere.
    """

    kind: ClassVar[str] = "nvidia"
    exact: ClassVar[bool] = False
    runs: ClassVar[bool] = True

    graph: str
    precision: str
    graph_sha256: str
    backend: str
    version: str
    compute_capability: int
    gpu: str | None = None

    @property
    def stem(self) -> str:
        gpu = f"sm{self.compute_capability}"
        return f"{self.graph}.{self.precision}.{self.backend}-{self.version}.{gpu}"

    @property
    def pattern(self) -> str:
        return f"{self.graph}.{self.precision}.{self.backend}-*.engine"

    def mismatch(self, stored: Key, options: Mapping[str, Any]) -> str | None:
        if not isinstance(stored, NvidiaKey):
            return "its record belongs to another kind of engine"
        for part in ("graph", "precision", "backend"):
            said, asked = getattr(stored, part), getattr(self, part)
            if said != asked:
                return f"its record says that it is {said}, not {asked}; {_AGAIN}"
        if stored.graph_sha256 != self.graph_sha256:
            return f"it was built from another model than this bundle's {self.graph}; {_AGAIN}"
        if stored.version != self.version and not (
            options.get("version_compatible") and _older(stored.version, self.version)
        ):
            return (
                f"it was built by {self.backend} {stored.version}, and here is {self.version}; "
                f"{_AGAIN}"
            )
        return self._other_gpu(stored, bool(options.get("hardware_compatible")))

    def _other_gpu(self, stored: NvidiaKey, hardware_compatible: bool) -> str | None:
        built, here = stored.compute_capability, self.compute_capability
        anywhere = hardware_compatible and here >= AMPERE
        if built != here and not anywhere:
            return f"it is for a GPU of sm_{built}, and this one has sm_{here}; {_AGAIN}"
        # TensorRT tunes for one model of GPU; TensorRT-RTX compiles on the device.
        tuned = self.backend == "tensorrt" and not anywhere
        if tuned and None not in (stored.gpu, self.gpu) and stored.gpu != self.gpu:
            return (
                f"it was tuned on another GPU ({stored.gpu}) than this one ({self.gpu}); {_AGAIN}"
            )
        return None

    def stale(self, here: Installed) -> str | None:
        return _other_version(self.backend, self.version, here.libraries.get(self.backend))


@dataclass(frozen=True)
class TritonKey(Key):
    """Of an engine of samedge's own, which holds encoder and decoder for several kinds of GPU.

    Attributes:
        precision: "fp32", "fp16", "bf16" or "int8".
        graphs_sha256: of the graphs that it stands for, see `graphs_digest`.
        format: of the engine file.
        capabilities: compute capabilities of the GPUs, "87" for 8.7, in order.
    """

    kind: ClassVar[str] = "triton"
    exact: ClassVar[bool] = False
    runs: ClassVar[bool] = True

    precision: str
    graphs_sha256: str
    format: int
    capabilities: tuple[str, ...]

    @property
    def stem(self) -> str:
        return f"{self.kind}.{self.precision}.sm{'-'.join(self.capabilities)}"

    @property
    def pattern(self) -> str:
        return f"{self.kind}.{self.precision}.sm*.engine"

    def mismatch(self, stored: Key, options: Mapping[str, Any]) -> str | None:
        if not isinstance(stored, TritonKey):
            return "its record belongs to another kind of engine"
        if stored.precision != self.precision:
            return f"its record says that it is {stored.precision}, not {self.precision}; {_AGAIN}"
        if stored.graphs_sha256 != self.graphs_sha256:
            return f"it was built from another model than this bundle's; {_AGAIN}"
        if stored.format != self.format:
            return (
                f"it has format {stored.format}, and this version of samedge reads format "
                f"{self.format}; {_AGAIN}"
            )
        missing = [number for number in self.capabilities if number not in stored.capabilities]
        if missing:
            there, here = (
                ", ".join(f"sm_{number}" for number in numbers)
                for numbers in (stored.capabilities, missing)
            )
            return f"it is for {there}, and wanted is {here}; {_AGAIN}"
        return None

    def stale(self, here: Installed) -> str | None:
        if self.format == FORMAT:
            return None
        return f"it was built by another version of samedge (format {self.format}, here {FORMAT})"


@dataclass(frozen=True)
class OpenVinoGraphsKey(Key):
    """Of an engine of `samedge build --target openvino`: the graphs that a session on a CPU
    compiles, for any CPU. What they are compiled to depends on the machine, and is in no key.

    Attributes:
        precision: "fp32", "fp16", "bf16" or "int8".
        graphs_sha256: of the graphs that they were made from, see `graphs_digest`.
        format: of the engine file.
        rewrites: version of our rewrites of the encoder.
        openvino: version that wrote the graphs, or that is to read them: "2026.4.1".
    """

    kind: ClassVar[str] = "openvino_graphs"
    exact: ClassVar[bool] = False
    runs: ClassVar[bool] = True

    precision: str
    graphs_sha256: str
    format: int
    rewrites: int
    openvino: str

    @property
    def stem(self) -> str:
        return f"openvino.{self.precision}"

    def mismatch(self, stored: Key, options: Mapping[str, Any]) -> str | None:
        if not isinstance(stored, OpenVinoGraphsKey):
            return "its record belongs to another kind of engine"
        if stored.precision != self.precision:
            return f"its record says that it is {stored.precision}, not {self.precision}; {_AGAIN}"
        if stored.graphs_sha256 != self.graphs_sha256:
            return f"it was built from another model than this bundle's; {_AGAIN}"
        if (stored.format, stored.rewrites) != (self.format, self.rewrites):
            return (
                "it was built by another version of samedge (format "
                f"{stored.format}.{stored.rewrites}, here {self.format}.{self.rewrites}); {_AGAIN}"
            )
        if _numbers(stored.openvino) > _numbers(self.openvino):
            return (
                f"it was written by OpenVINO {stored.openvino}, and here is {self.openvino}, which "
                f"is older; {_AGAIN}"
            )
        return None

    def stale(self, here: Installed) -> str | None:
        if self.format == OPENVINO_FORMAT:
            return None
        return (
            f"it was built by another version of samedge (format {self.format}, here "
            f"{OPENVINO_FORMAT})"
        )


@dataclass(frozen=True)
class KernelsKey(Key):
    """Of the kernels that TensorRT-RTX compiled for one engine on this device.

    Attributes:
        engine_sha256: of the engine.
        version: of TensorRT-RTX.
        device: number of the GPU.
        driver: CUDA version that the driver is for, "12.4".
    """

    kind: ClassVar[str] = "tensorrt_rtx-kernels"

    engine_sha256: str
    version: str
    device: int
    driver: str


@dataclass(frozen=True)
class CalibrationKey(Key):
    """Of the activation statistics of a graph.

    Attributes:
        version: of the way in which they are measured and stored.
        graph: digest of the graph.
        frames: digest of the calibration frames.
    """

    kind: ClassVar[str] = "calibration"

    version: int
    graph: str
    frames: str


KINDS: dict[str, type[Key]] = {
    cls.kind: cls
    for cls in (
        OpenVinoKey,
        NvidiaKey,
        TritonKey,
        OpenVinoGraphsKey,
        KernelsKey,
        CalibrationKey,
    )
}


def parse_key(data: Mapping[str, Any]) -> Key:
    """The key in a record.

    Args:
        data: JSON values: "kind", and the key's fields beside it.

    Raises:
        ValueError: a field is missing, or of another type; the kind is not known.
    """
    # Records of NVIDIA engines are older than the other kinds and name none.
    kind = data.get("kind", NvidiaKey.kind)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"it is of an unknown kind {kind!r}")
    values = {}
    for field in fields(KINDS[kind]):
        value = data.get(field.name)
        if field.type == "tuple[str, ...]" and isinstance(value, list):
            value = tuple(value)
        if not _CHECKS[str(field.type)](value):
            raise ValueError(f"'{field.name}' is {value!r}")
        values[field.name] = value
    return KINDS[kind](**values)


def graph_digest(bundle: Bundle, graph: str, key: str) -> str:
    """What a graph of a bundle is: SHA-256 over the hashes of its file and of the file with its
    weights, if there is one. Files are known by their whole names in the manifest.

    Args:
        bundle: open.
        graph: "encoder" or "decoder".
        key: of the graph's entry in the manifest, "fp16".
    """
    files = bundle.manifest.files
    hashes = [files[name].sha256 for name in bundle.graph_files(graph, key)]
    return hashlib.sha256("\n".join((_SCHEME, *hashes)).encode()).hexdigest()


def graphs_digest(bundle: Bundle, keys: Mapping[str, str]) -> str:
    """What several graphs of a bundle are: SHA-256 over their digests.

    Args:
        bundle: open.
        keys: graph -> key of its entry in the manifest.
    """
    digests = (f"{graph} {graph_digest(bundle, graph, key)}" for graph, key in keys.items())
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def model_digest(bundle: Bundle) -> str:
    """SHA-256 over all graphs of a bundle: names the bundle's folder in the cache."""
    entries = bundle.manifest.entries()
    digests = [graph_digest(bundle, graph, key) for graph, key, _ in entries]
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: value is None or isinstance(value, str),
    "int": _is_number,
    "bool": lambda value: isinstance(value, bool),
    "tuple[str, ...]": lambda value: (
        isinstance(value, tuple) and all(isinstance(each, str) for each in value)
    ),
}


def _other_version(title: str, built: str, here: str | None) -> str | None:
    if here is None:
        return f"{title} is not installed any more"
    # TensorRT's packages have a build number behind what the library says of itself.
    if here != built and not here.startswith(f"{built}."):
        return f"it was built by {title} {built}, here is {here}"
    return None


def _older(built: str, here: str) -> bool:
    """Whether a version compatible engine of version `built` loads in version `here`."""
    one, other = ([int(n) for n in v.split(".")[:2] if n.isdigit()] for v in (built, here))
    return one[:1] == other[:1] and one <= other


def _numbers(version: str) -> list[int]:
    """[2026, 4, 1] of "2026.4.1-22982"."""
    return [int(n) for n in version.partition("-")[0].split(".") if n.isdigit()]
