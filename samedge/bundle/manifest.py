"""The manifest: what a bundle says about itself, and the check that it says it in full."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from samedge.bundle.names import ENGINES, checked_name
from samedge.errors import BundleError
from samedge.families import (
    INTERPOLATIONS,
    MASK_INTERPOLATIONS,
    MASK_VALUES,
    NORMALISATIONS,
    PROMPTS,
    RESIZE_RULES,
    Family,
)

SCHEMA = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 16 * 2**20
MAX_DEPTH = 32
GRAPHS = ("encoder", "decoder")
INTENDED_USE = (
    "Research use only. Not a medical device; not for diagnosis, treatment or any other clinical "
    "decision."
)

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TOKEN = re.compile(r"[a-z0-9_]{1,32}", re.ASCII)
_DIGEST = re.compile(rb'"digest": "([0-9a-f]{64})"')
_NO_DIGEST = b'"digest": "' + b"0" * 64 + b'"'
_MAX_SIDE = 1 << 16
_MAX_SLICES = 4096
_CHOICES: dict[str, tuple[str, ...]] = {  # fields of a family record
    "resize": RESIZE_RULES,
    "interpolation": INTERPOLATIONS,
    "normalisation": NORMALISATIONS,
    "mask_values": MASK_VALUES,
    "mask_interpolation": MASK_INTERPOLATIONS,
    "pad_point": ("always", "no_box"),
}
_AGAIN = "; the bundle is damaged or was changed: export it again"


def dump_manifest(manifest: dict[str, Any]) -> bytes:
    """The manifest as it stands on disk, sealed with the hash of its own text.

    Raises:
        BundleError: a value is not plain JSON (NaN and infinity are not).
    """
    sealed = {key: value for key, value in manifest.items() if key != "digest"}
    sealed["digest"] = "0" * 64
    try:
        text = json.dumps(sealed, indent=1, ensure_ascii=False, allow_nan=False, default=_plain)
    except (ValueError, TypeError) as error:
        raise BundleError(f"the manifest cannot be written as JSON: {error}") from error
    data = text.encode() + b"\n"
    head, mark, tail = data.rpartition(_NO_DIGEST)  # the last key, so the last occurrence
    assert mark
    return head + _NO_DIGEST.replace(b"0" * 64, _seal(data)) + tail


def parse_manifest(data: bytes) -> dict[str, Any]:
    """The validated manifest behind `dump_manifest`.

    Raises:
        BundleError: not JSON, another schema, changed since it was written, or incomplete.
    """
    try:
        manifest = json.loads(
            data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_duplicates
        )
        _check_depth(manifest, MAX_DEPTH)
        json.dumps(manifest, ensure_ascii=False).encode()  # lone surrogates cannot be printed
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{MANIFEST} is not valid JSON ({error}){_AGAIN}") from error
    _check_schema(manifest)
    seals = list(_DIGEST.finditer(data))
    if not seals:
        raise BundleError(f"{MANIFEST} has no 'digest'{_AGAIN}")
    start, end = seals[-1].span()
    if _seal(data[:start] + _NO_DIGEST + data[end:]) != seals[-1].group(1):
        raise BundleError(f"{MANIFEST} does not match its own digest{_AGAIN}")
    return validate_manifest(manifest)


def validate_manifest(manifest: Any) -> dict[str, Any]:
    """`manifest`, after checking every key that samedge reads. Unknown keys are left alone.

    Raises:
        BundleError: names the first key that is missing or wrong.
    """
    _check_schema(manifest)
    top = _Node(manifest, "")
    for key in ("samedge", "title", "intended_use"):
        top.text(key)
    family_record(manifest)
    variant = top.node("variant")
    variant.text("vit")
    for key in ("input_size", "low_res", "grid", "channels"):
        variant.count(key, 1, _MAX_SIDE)
    _check_files(top.node("files"))
    graphs = top.node("graphs")
    for name in GRAPHS:
        _check_graph(graphs.node(name), manifest["files"])
    source = top.node("source")
    source.text("format")
    for at, digest in enumerate(source.items("sha256")):
        source.need(_is_hex(digest), f"sha256[{at}]", "64 hexadecimal digits", digest)
    for at, question in enumerate(source.items("questions") if "questions" in source.data else ()):
        fine = isinstance(question, str) and question.isprintable() and len(question) <= 2000
        source.need(fine, f"questions[{at}]", "one line of printable text", question)
    tools = top.node("tools")
    for key in tools.data:
        tools.text(key)
    top.node("fold_report")
    for at, row in enumerate(top.items("parity")):
        entry = _Node(row, f"parity[{at}]")
        entry.text("backend")
        entry.text("precision")
        entry.need(type(row.get("passed")) is bool, "passed", "true or false", row.get("passed"))
    return top.data


def family_record(manifest: dict[str, Any]) -> Family:
    """The manifest's Family.

    Raises:
        BundleError: fields are missing, unknown, or of the wrong type or value.
    """
    node = _Node(manifest, "").node("family")
    for key in ("name", "title"):
        node.text(key)
    for key in ("input_size", "upscale_size", "stride"):
        node.count(key, 1, _MAX_SIDE)
    node.count("via", 0, _MAX_SIDE)
    node.count("single_mask", 0, 255)
    node.count("slices", 1, _MAX_SLICES)
    node.choice("channels", (1, 3))
    for key, choices in _CHOICES.items():
        node.choice(key, choices)
    for key in ("exclusive", "whole_volume"):
        node.need(type(node.data.get(key)) is bool, key, "true or false", node.data.get(key))
    for key in ("value_scale", "threshold"):
        node.need(_is_number(node.data.get(key)), key, "a number", node.data.get(key))
    for key in ("mean", "std"):
        values = node.items(key)
        fits = len(values) in (node.data["channels"], 3) and all(map(_is_number, values))
        node.need(fits, key, "one number per channel", values)
    node.need(node.data["value_scale"] > 0, "value_scale", "a positive number")
    node.need(all(v > 0 for v in node.data["std"]), "std", "positive numbers")
    for prompt in node.items("prompts"):
        node.need(prompt in PROMPTS, "prompts", "point, box or mask", prompt)
    for mask in node.items("multi_masks"):
        node.need(type(mask) is int and 0 <= mask < 256, "multi_masks", "mask numbers", mask)
    names = node.items("classes")
    node.need(len(names) <= 256, "classes", "at most 256 names", f"{len(names)} names")
    for name in names:
        fits = isinstance(name, str) and name.isprintable() and 0 < len(name) <= 100
        node.need(fits, "classes", "printable names", name)
    node.need(len(names) > 1 or not node.data["exclusive"], "exclusive", "false without classes")
    return Family.from_json(node.data)


class _Node:
    """An object of the manifest and where it stands, for messages."""

    def __init__(self, data: Any, where: str) -> None:
        self.where = where
        if not isinstance(data, dict):
            _fail(where or MANIFEST, "an object", data)
        self.data: dict[str, Any] = data

    def at(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def need(self, fine: bool, key: str, wanted: str, got: Any = "something else") -> None:
        if not fine:
            _fail(self.at(key), wanted, got)

    def get(self, key: str) -> Any:
        if key not in self.data:
            raise BundleError(f"{MANIFEST} has no '{self.at(key)}'{_AGAIN}")
        return self.data[key]

    def node(self, key: str) -> _Node:
        return _Node(self.get(key), self.at(key))

    def text(self, key: str) -> str:
        value = self.get(key)
        # Only printable text: it goes to terminals and logs.
        fine = isinstance(value, str) and value.isprintable() and 0 < len(value) <= 2000
        self.need(fine, key, "one line of printable text", value)
        return str(value)

    def count(self, key: str, low: int, high: int) -> int:
        value = self.get(key)
        self.need(type(value) is int and low <= value <= high, key, f"{low} to {high}", value)
        return int(value)

    def choice(self, key: str, choices: tuple[Any, ...]) -> None:
        value = self.get(key)
        fine = any(type(value) is type(choice) and value == choice for choice in choices)
        self.need(fine, key, "one of " + ", ".join(map(str, choices)), value)

    def items(self, key: str) -> list[Any]:
        value = self.get(key)
        self.need(isinstance(value, list), key, "a list", value)
        return list(value)


def _check_schema(manifest: Any) -> None:
    schema = _Node(manifest, "").get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise BundleError(
            f"the bundle has schema {schema}; this version of samedge reads schema {SCHEMA}: "
            "install a newer samedge, or export the bundle again with this one"
        )
    if type(schema) is not int or schema != SCHEMA:
        raise BundleError(f"the bundle has schema {schema!r}, expected {SCHEMA}{_AGAIN}")


def _check_files(files: _Node) -> None:
    seen: dict[str, str] = {}
    for name in files.data:
        checked_name(name)
        folded = name.lower()  # two names that are one on some disks
        reserved = folded == MANIFEST or folded.split("/")[0] == ENGINES
        if reserved or folded in seen:
            other = seen.get(folded, "the names that samedge keeps for itself")
            raise BundleError(f"the bundle's file {name!r} collides with {other}{_AGAIN}")
        seen[folded] = repr(name)
        entry = files.node(name)
        entry.count("bytes", 0, 1 << 48)
        digest = entry.get("sha256")
        entry.need(_is_hex(digest), "sha256", "64 hexadecimal digits", digest)
    for folded, name in seen.items():
        if any(folder in seen for folder in _folders(folded)):
            raise BundleError(f"the bundle's file {name} stands below another file{_AGAIN}")


def _folders(name: str) -> list[str]:
    """All folders of a relative name: a, a/b of a/b/c."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _check_graph(graph: _Node, files: dict[str, Any]) -> None:
    graph.need(bool(graph.data), "fp32", "at least one precision", "none")
    for precision in graph.data:
        graph.need(bool(_TOKEN.fullmatch(precision)), precision, "a precision's name", precision)
        entry = graph.node(precision)
        name = entry.text("file")
        entry.need(name in files, "file", "a name that is listed in 'files'", name)
        digest = entry.get("sha256")
        entry.need(digest == files[name]["sha256"], "sha256", "the hash given in 'files'", digest)
        for side in ("inputs", "outputs"):
            for at, tensor in enumerate(entry.items(side)):
                _check_tensor(_Node(tensor, f"{entry.at(side)}[{at}]"))


def _check_tensor(tensor: _Node) -> None:
    tensor.text("name")
    tensor.text("dtype")
    for side in tensor.items("shape"):
        fixed = type(side) is int and side >= 0
        named = isinstance(side, str) and side.isprintable()
        tensor.need(fixed or named, "shape", "sizes or names of dynamic sizes", side)


def strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


def _check_depth(value: Any, left: int) -> None:
    """So that nothing that walks or prints the manifest meets Python's recursion limit."""
    if left == 0:
        raise ValueError(f"more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, left - 1)


def _seal(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _plain(value: Any) -> Any:
    """numpy scalars and arrays as JSON values."""
    convert: Callable[[], Any] | None = getattr(value, "tolist", None)
    if convert is None:
        raise TypeError(f"{type(value).__name__} is no JSON value")
    return convert()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _is_hex(value: Any) -> bool:
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e12  # neither NaN nor infinity is


def _fail(where: str, wanted: str, got: Any) -> NoReturn:
    shown = repr(got)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    raise BundleError(f"{MANIFEST}: '{where}' is {shown}, expected {wanted}{_AGAIN}")
