"""Engines as files: which one fits this model, this library and this GPU, and why another does not.

    encoder.fp16.tensorrt-10.3.0.sm87.engine       the library's own format: trtexec reads it
    encoder.fp16.tensorrt-10.3.0.sm87.json         what it was built from and for, and its SHA-256

They lie in the folder `engines` of a bundle, or in the user's cache. An engine is code, so it is
loaded only from a place that no other user can write to, if its hash is the one in its record, and
if every part of the record fits. Otherwise the reason is kept, in words.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samedge.bundle import Bundle
from samedge.bundle.names import ENGINES
from samedge.errors import DeviceError
from samedge.files.whole import output_error
from samedge.runtime.engines.cache import (
    LIMIT_BYTES,
    Mapped,
    check_private,
    default_folder,
    write_atomically,
)
from samedge.runtime.tensorrt.layer_report import LayerReport

SCHEMA = 1
MAX_RECORD_BYTES = 64 * 2**20
AMPERE = 80  # oldest compute capability of hardware compatible engines


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine has to fit.

    Attributes:
        graph: "encoder" or "decoder".
        precision: of the graph's file: "fp32", "fp16" or "int8".
        graph_sha256: of the graph's file and its weights, see `graph_digest`.
        backend: "tensorrt" or "tensorrt_rtx".
        version: of that library, "10.3.0".
        compute_capability: of the GPU, 86 for 8.6.
        gpu: the GPU's name; None for an engine that was built elsewhere.
    """

    graph: str
    precision: str
    graph_sha256: str
    backend: str
    version: str
    compute_capability: int
    gpu: str | None = None

    @property
    def stem(self) -> str:
        """Name of the file without its ending."""
        gpu = f"sm{self.compute_capability}"
        return f"{self.graph}.{self.precision}.{self.backend}-{self.version}.{gpu}"


@dataclass(frozen=True)
class StoredEngine:
    """An engine that may be loaded: its bytes, mapped and checked, and its record."""

    path: Path
    mapped: Mapped
    record: dict[str, Any]


@dataclass
class EngineStore:
    """Where the engines of one bundle are.

    Attributes:
        folders: where to look, best first.
        notes: why engines that lie there were not taken, in words for the user.
    """

    folders: list[Path]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, bundle: Bundle) -> EngineStore:
        """The bundle's own folder, if the bundle is a folder, and the user's cache."""
        own = [bundle.path / ENGINES] if bundle.path == bundle.root else []
        return cls([*own, default_folder() / "nvidia" / _model_digest(bundle)[:16]])

    @property
    def cache(self) -> Path:
        """The folder in the user's cache."""
        return self.folders[-1]

    def find(self, key: EngineKey) -> StoredEngine | None:
        """The engine for `key`; None if there is none that fits (`notes` may say why)."""
        for folder in self.folders:
            for path in self._candidates(folder, key):
                reason = self._reason_against(path, key)
                if isinstance(reason, StoredEngine):
                    return reason
                self.notes.append(f"the engine {path.name} is not used: {reason}")
        return None

    def save(
        self,
        key: EngineKey,
        data: memoryview,
        options: dict[str, Any],
        report: LayerReport | None = None,
        folder: Path | None = None,
    ) -> Path:
        """Write an engine and its record, the record last.

        Args:
            key: what it is for.
            data: the engine.
            options: how it was built.
            report: what the builder says about its kernels.
            folder: default: the user's cache.

        Returns:
            the engine's path.

        Raises:
            OutputError: it cannot be written; nothing is left behind.
        """
        target = (self.cache if folder is None else folder) / f"{key.stem}.engine"
        record = {
            "schema": SCHEMA,
            "engine": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)},
            **key.__dict__,
            "options": options,
            "parity": [],
            "report": None if report is None else report.to_json(),
        }
        text = memoryview(json.dumps(record, indent=1).encode())
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            record_path(target).unlink(missing_ok=True)  # it belongs to the engine before
            write_atomically(target, data)
            write_atomically(record_path(target), text)
        except OSError as error:
            remove_engine(target)
            raise output_error(error, target) from error
        if folder is None:
            self._prune(target)
        return target

    def _prune(self, keep: Path) -> None:
        """Remove the engines that were stored longest ago until all bundles' engines in the cache
        are within its limit."""
        try:
            found = [(p.stat(), p) for p in self.cache.parent.glob("*/*.engine") if p != keep]
            total = keep.stat().st_size + sum(info.st_size for info, _ in found)
            for info, path in sorted(found, key=lambda entry: entry[0].st_mtime):
                if total <= LIMIT_BYTES:
                    return
                total -= info.st_size
                remove_engine(path)
        except (OSError, DeviceError) as error:  # another process may be pruning as well
            self.notes.append(f"old engines in {self.cache.parent} were not removed: {error}")

    def passed(self, key: EngineKey, precision: str) -> bool | None:
        """Whether the engine for `key` passed the parity gate on this device, in `precision`; None
        if it was not tried, or there is no such engine. Its bytes are not looked at."""
        for folder in self.folders:
            for path in self._candidates(folder, key):
                try:
                    check_private(path.parent)
                    record = read_record(path)
                except (OSError, ValueError):
                    continue
                for row in record["parity"] if mismatch(record, key) is None else ():
                    if row.get("precision") == precision:
                        return bool(row.get("passed"))
        return None

    def _candidates(self, folder: Path, key: EngineKey) -> list[Path]:
        """Engines of the same graph, precision and library; the one with the right name first."""
        try:
            found = sorted(folder.glob(f"{key.graph}.{key.precision}.{key.backend}-*.engine"))
        except OSError:
            return []
        return sorted(found, key=lambda path: path.stem != key.stem)

    def _reason_against(self, path: Path, key: EngineKey) -> StoredEngine | str:
        """The engine, or why it must not be loaded."""
        try:
            for place in (path.parent, path):
                check_private(place)
            record = read_record(path)
        except (OSError, ValueError) as error:
            return str(error)
        different = mismatch(record, key)
        if different is not None:
            return different
        mapped = Mapped(path)
        if mapped.sha256() != record["engine"]["sha256"]:
            return (
                "its SHA-256 is not the one in its record: it was changed or damaged; build it "
                "again with `samedge build`"
            )
        return StoredEngine(path, mapped, record)


def mismatch(record: dict[str, Any], key: EngineKey) -> str | None:
    """Which part of an engine's record does not fit, and what to do; None if all do."""
    flags = record["options"]
    again = "build one for it with `samedge build`"
    for part in ("graph", "precision", "backend"):
        if record[part] != getattr(key, part):
            return f"its record says that it is {record[part]}, not {getattr(key, part)}; {again}"
    if record["graph_sha256"] != key.graph_sha256:
        return f"it was built from another model than this bundle's {key.graph}; {again}"
    if record["version"] != key.version and not (
        flags.get("version_compatible") and _older(record["version"], key.version)
    ):
        return (
            f"it was built by {key.backend} {record['version']}, and here is {key.version}; {again}"
        )
    built, here = record["compute_capability"], key.compute_capability
    anywhere = bool(flags.get("hardware_compatible")) and here >= AMPERE
    if built != here and not anywhere:
        return f"it is for a GPU of sm_{built}, and this one has sm_{here}; {again}"
    # TensorRT tunes for one model of GPU; TensorRT-RTX compiles on the device.
    named = record["gpu"], key.gpu
    if key.backend == "tensorrt" and not anywhere and None not in named and named[0] != named[1]:
        return f"it was tuned on another GPU ({named[0]}) than this one ({named[1]}); {again}"
    return None


def read_record(engine: Path) -> dict[str, Any]:
    """The record beside an engine.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is damaged.
    """
    path = record_path(engine)
    try:
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise ValueError(f"its record {path.name} is too large")
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise OSError(
            f"it has no record {path.name} that says what it is for; build it with `samedge build`"
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"its record {path.name} is damaged ({error})") from error
    if not _is_record(record):
        raise ValueError(f"its record {path.name} is damaged, or of another version of samedge")
    return dict(record)


def add_parity(engine: Path, rows: list[dict[str, Any]]) -> None:
    """Note in an engine's record what the parity gate said.

    Raises:
        OutputError: the record cannot be written.
    """
    if rows:
        path = record_path(engine)
        try:
            record = read_record(engine) | {"parity": rows}
            write_atomically(path, memoryview(json.dumps(record, indent=1).encode()))
        except OSError as error:
            raise output_error(error, path) from error


def record_path(engine: Path) -> Path:
    """Where an engine's record lies."""
    return engine.with_name(engine.name.removesuffix(".engine") + ".json")


def remove_engine(engine: Path) -> None:
    """Remove an engine and its record, as far as they are there.

    Raises:
        DeviceError: a file is there and cannot be removed.
    """
    for path in (record_path(engine), engine):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise DeviceError(
                f"{path} cannot be removed ({error.strerror}); remove it by hand: it must not be "
                "used"
            ) from error


def graph_digest(bundle: Bundle, graph: str, key: str) -> str:
    """SHA-256 over the hashes of a graph's file and of the file with its weights, if there is one.

    Args:
        bundle: open.
        graph: "encoder" or "decoder".
        key: of the graph's entry in the manifest, "fp16".
    """
    files = bundle.manifest["files"]
    name = bundle.manifest["graphs"][graph][key]["file"]
    hashes = [files[file]["sha256"] for file in (name, f"{name}.data") if file in files]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _model_digest(bundle: Bundle) -> str:
    """SHA-256 over all graphs of a bundle: names the bundle's folder in the cache."""
    graphs = bundle.manifest["graphs"]
    digests = [graph_digest(bundle, name, key) for name in sorted(graphs) for key in graphs[name]]
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _older(built: str, here: str) -> bool:
    """Whether a version compatible engine of version `built` loads in version `here`."""
    one, other = ([int(n) for n in v.split(".")[:2] if n.isdigit()] for v in (built, here))
    return one[:1] == other[:1] and one <= other


_KINDS: dict[str, type | tuple[type, ...]] = {
    "graph": str,
    "precision": str,
    "graph_sha256": str,
    "backend": str,
    "version": str,
    "compute_capability": int,
    "gpu": (str, type(None)),
    "options": dict,
    "parity": list,
    "report": (dict, type(None)),
}


def _is_record(record: Any) -> bool:
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        return False
    engine = record.get("engine")
    return (
        isinstance(engine, dict)
        and isinstance(engine.get("sha256"), str)
        and all(name in record and isinstance(record[name], kind) for name, kind in _KINDS.items())
    )
