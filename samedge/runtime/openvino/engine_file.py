"""The engine file of OpenVINO graphs: what a session on a CPU compiles, the rewrites already done.

    header      64 bytes: magic, format, number of parts, bytes of each part's graph and weights
    parts       preprocess, encoder, decoder: its graph as OpenVINO's XML, then its weights

Zeros fill each up to a multiple of 64 bytes. A record with the file's SHA-256 lies beside it
(`samedge.runtime.engines.records`): nothing of a file is used before its hash is right.

libsamedge, the C API, reads the same files: so the rewrites are written down once, in Python.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from samedge._openvino import ov
from samedge.errors import SourceError
from samedge.files.limits import ENGINE_PLAN_BYTES
from samedge.runtime.engines.keys import OPENVINO_FORMAT

MAGIC = b"samedge\x1b"
PARTS = ("preprocess", "encoder", "decoder")
ALIGNMENT = 64
_HEADER = struct.Struct("<8sII6Q")
_AGAIN = "build it again with `samedge build`"


@dataclass(frozen=True)
class GraphPart:
    """One part in an engine file.

    Attributes:
        graph: OpenVINO's XML.
        start, size: where in the file its weights are, which the graph's constants point into.
    """

    graph: bytes
    start: int
    size: int


def engine_bytes(models: Mapping[str, ov.Model], scratch: Path) -> bytearray:
    """An engine file.

    Args:
        models: the three parts, by their names.
        scratch: folder for what OpenVINO writes meanwhile.

    Raises:
        SourceError: a graph is larger than readers take.
    """
    pieces = [piece for name in PARTS for piece in _serialised(models[name], name, scratch)]
    data = bytearray(_HEADER.pack(MAGIC, OPENVINO_FORMAT, len(PARTS), *map(len, pieces)))
    for piece in pieces:
        data += piece
        data += bytes(-len(data) % ALIGNMENT)
    return data


def parse_engine(data: memoryview, name: str) -> dict[str, GraphPart]:
    """The parts of an engine file, by their names.

    Args:
        data: all bytes of the file, whose hash was checked.
        name: of the file, for messages.

    Raises:
        SourceError: it is no such file, of another format, or truncated.
    """
    if not is_engine_file(bytes(data[: len(MAGIC)])):
        _refuse(name, "holds no graphs of OpenVINO's (it begins otherwise)")
    if len(data) < _HEADER.size:
        _refuse(name, f"is truncated: it has {len(data)} bytes, its header {_HEADER.size}")
    _, version, count, *sizes = _HEADER.unpack_from(data)
    if (version, count) != (OPENVINO_FORMAT, len(PARTS)):
        _refuse(name, f"has format {version} with {count} parts; this version of samedge reads "
                f"format {OPENVINO_FORMAT} with {len(PARTS)}")  # fmt: skip
    expected = _HEADER.size + sum(_aligned(size) for size in sizes)
    if len(data) != expected:
        what = "is truncated" if len(data) < expected else "is longer than it says"
        _refuse(name, f"{what}: it has {len(data)} bytes, its header says {expected}")
    starts = [_HEADER.size]
    for size in sizes:
        starts.append(starts[-1] + _aligned(size))
    parts = {}
    for index, part in enumerate(PARTS):
        text, weights = 2 * index, 2 * index + 1
        ENGINE_PLAN_BYTES.check(sizes[text], name, SourceError)
        graph = bytes(data[starts[text] : starts[text] + sizes[text]])
        parts[part] = GraphPart(graph, starts[weights], sizes[weights])
    return parts


def is_engine_file(head: bytes) -> bool:
    """Whether a file that begins with these bytes is one."""
    return head.startswith(MAGIC)


def _serialised(model: ov.Model, name: str, scratch: Path) -> tuple[bytes, bytes]:
    """XML and weights. The names of the files that OpenVINO writes do not stand in them."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        graph, weights = Path(folder, "graph.xml"), Path(folder, "graph.bin")
        ov.serialize(model, graph, weights)
        text = graph.read_bytes()
        ENGINE_PLAN_BYTES.check(len(text), f"the {name} part", SourceError)
        return text, weights.read_bytes()


def _aligned(size: int) -> int:
    return size + -size % ALIGNMENT


def _refuse(name: str, why: str) -> NoReturn:
    raise SourceError(f"{name} {why}; {_AGAIN}")
