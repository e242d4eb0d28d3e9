"""The record beside a stored engine: what it is for, its hash, how it was built, what a gate said.

    encoder.fp16.tensorrt-10.3.0.sm87.engine       the library's own format: trtexec reads it
    encoder.fp16.tensorrt-10.3.0.sm87.json         the record

Reading is strict: a record is right in every part, or it is no record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samedge.bundle.parsing import parity_from_json
from samedge.errors import BundleError, DeviceError, SourceError
from samedge.files.limits import ENGINE_RECORD_BYTES
from samedge.files.numbers import parse_json
from samedge.files.paths import read_small
from samedge.runtime.engines.keys import Key, NvidiaKey, parse_key
from samedge.runtime.tensorrt.layer_report import LayerReport

SCHEMA = 1
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
ENDING = ".engine"


@dataclass(frozen=True)
class EngineRecord:
    """What is known of a stored engine.

    Attributes:
        key: everything that it depends on.
        sha256: of its file.
        size: of its file, in bytes.
        options: how it was built, beyond what the key says.
        parity: rows of the parity gate, as `samedge verify` gives them.
        report: what the builder told about its kernels; None if nothing.
        bundle: name of the bundle that it was first made for; "" if that is not known.
    """

    key: Key
    sha256: str
    size: int
    options: Mapping[str, Any] = field(default_factory=dict)
    parity: tuple[Mapping[str, Any], ...] = ()
    report: LayerReport | None = None
    bundle: str = ""

    def passed(self, precision: str) -> bool | None:
        """What the parity gate said in a precision; None if it was not tried."""
        for row in self.parity:
            if row.get("precision") == precision:
                return bool(row.get("passed"))
        return None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        kind = {} if isinstance(self.key, NvidiaKey) else {"kind": self.key.kind}
        return {
            "schema": SCHEMA,
            "engine": {"sha256": self.sha256, "bytes": self.size},
            **kind,
            **({"bundle": self.bundle} if self.bundle else {}),
            **self.key.to_json(),
            "options": dict(self.options),
            "parity": [dict(row) for row in self.parity],
            "report": None if self.report is None else self.report.to_json(),
        }

    def dump(self) -> bytes:
        """The record's file."""
        return json.dumps(self.to_json(), indent=1).encode()

    @classmethod
    def from_json(cls, data: Any) -> EngineRecord:
        """What `to_json` gave.

        Raises:
            ValueError: it is something else; with the part that is wrong.
        """
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise ValueError("it is of another version of samedge")
        engine, report = _object(data, "engine"), data.get("report")
        digest, size = engine.get("sha256"), engine.get("bytes")
        if not isinstance(digest, str) or not isinstance(size, int):
            raise ValueError("it does not say what its engine is")
        if not _HEX.fullmatch(digest) or size < 0:
            raise ValueError("what it says of its engine is neither a hash nor a size")
        try:
            parity = tuple(row.to_json() for row in parity_from_json(data))
        except BundleError as error:
            raise ValueError(f"'parity' is {data.get('parity')!r:.200}") from error
        if report is not None:
            try:
                report = LayerReport.from_json(_object(data, "report"))
            except DeviceError as error:
                raise ValueError(str(error)) from error
        options, bundle = _object(data, "options"), data.get("bundle", "")
        if not isinstance(bundle, str):
            raise ValueError(f"'bundle' is {bundle!r}")
        return cls(parse_key(data), digest, size, options, parity, report, bundle)


def record_path(engine: Path) -> Path:
    """Where an engine's record lies."""
    return engine.with_name(engine.name.removesuffix(ENDING) + ".json")


def read_record(engine: Path) -> EngineRecord:
    """The record beside an engine.

    Raises:
        SourceError: there is none, or it is damaged.
    """
    return parse_record(record_bytes(engine), record_path(engine).name)


def record_bytes(engine: Path) -> bytes:
    """The file of the record beside an engine.

    Raises:
        SourceError: there is none, or it is no small file.
    """
    path = record_path(engine)
    try:
        return read_small(path, ENGINE_RECORD_BYTES.most, SourceError)
    except FileNotFoundError as error:
        raise SourceError(
            f"it has no record {path.name} that says what it is for; build it with `samedge build`"
        ) from error


def parse_record(data: bytes, name: str) -> EngineRecord:
    """A record out of its file's bytes; `name` is the file's, for the message.

    Raises:
        SourceError: it is damaged.
    """
    try:
        return EngineRecord.from_json(parse_json(data.decode("utf-8")))
    except (ValueError, RecursionError) as error:  # no UTF-8 and no JSON are ValueErrors as well
        raise SourceError(f"its record {name} is damaged ({error})") from error


def _object(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"'{name}' is {value!r}")
    return value
