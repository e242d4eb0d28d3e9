"""From the JSON of a manifest to a `Manifest`: every key that samedge reads is checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from samedge.bundle.manifest import (
    GRAPHS,
    MANIFEST,
    SCHEMA,
    FileEntry,
    GraphEntry,
    Manifest,
    ParityRow,
    Source,
    TensorEntry,
    Variant,
)
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
from samedge.files.limits import CHANNELS, LOW_RES, NETWORK_MASKS, NETWORK_SIDE, NETWORK_VALUES

AGAIN = "; the bundle is damaged or was changed: export it again"

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TOKEN = re.compile(r"[a-z0-9_]{1,32}", re.ASCII)
_CHOICES: dict[str, tuple[str, ...]] = {  # fields of a family record
    "resize": RESIZE_RULES,
    "interpolation": INTERPOLATIONS,
    "normalisation": NORMALISATIONS,
    "mask_values": MASK_VALUES,
    "mask_interpolation": MASK_INTERPOLATIONS,
    "pad_point": ("always", "no_box"),
}
_LARGEST = 1e300  # of a number in a parity row; a JSON integer may be longer than any float


def manifest_from_json(document: Any) -> Manifest:
    """The manifest that a JSON value holds. Keys that are not known are left alone: they stay in
    `Manifest.as_mapping`.

    Raises:
        BundleError: names the first key that is missing or wrong.
    """
    check_schema(document)
    top = _Node(document, "")
    head = {key: top.text(key) for key in ("samedge", "title", "intended_use")}
    family = family_from_json(top.get("family"))
    variant = _variant(top.node("variant"))
    files = _files(top.node("files"))
    graphs = top.node("graphs")
    found = {name: _graph(graphs.node(name), files) for name in GRAPHS}
    manifest = Manifest(
        title=head["title"],
        family=family,
        variant=variant,
        graphs=found,
        source=_source(top.node("source")),
        tools=_tools(top.node("tools")),
        fold_report=top.node("fold_report").data,
        parity=parity_from_json(top.data),
        calibration=_record(document, "calibration"),
        overflow=_record(document, "overflow"),
        intended_use=head["intended_use"],
        files=files,
        samedge=head["samedge"],
    )
    return manifest.read_from(document)


def _variant(node: _Node) -> Variant:
    vit, width = node.text("vit"), node.data.get("prompt_dim")
    sizes = {
        "input_size": node.count("input_size", 1, NETWORK_SIDE.most),
        "low_res": node.count("low_res", 1, LOW_RES.most),
        "grid": node.count("grid", 1, LOW_RES.most),
        "channels": node.count("channels", 1, CHANNELS.most),
    }
    return Variant(vit, **sizes, prompt_dim=width if type(width) is int else 0)


def _source(node: _Node) -> Source:
    kind, digests = node.text("format"), node.items("sha256")
    for at, digest in enumerate(digests):
        node.need(_is_hex(digest), f"sha256[{at}]", "64 hexadecimal digits", digest)
    questions = node.items("questions") if "questions" in node.data else []
    for at, question in enumerate(questions):
        fine = isinstance(question, str) and question.isprintable() and len(question) <= 2000
        node.need(fine, f"questions[{at}]", "one line of printable text", question)
    return Source(tuple(digests), kind, tuple(questions))


def _tools(node: _Node) -> dict[str, str]:
    return {key: node.text(key) for key in node.data}


def _record(document: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """A record that samedge shows and does not compute with."""
    found = document.get(key)
    return found if isinstance(found, dict) else None


def parity_from_json(document: Mapping[str, Any]) -> tuple[ParityRow, ...]:
    """The rows of the parity gate in a manifest or an engine's record.

    Args:
        document: with the list "parity".

    Raises:
        BundleError: it has none, or a row is none.
    """
    rows = []
    for at, row in enumerate(_Node(document, "").items("parity")):
        entry = _Node(row, f"parity[{at}]")
        backend, precision = entry.text("backend"), entry.text("precision")
        entry.need(type(row.get("passed")) is bool, "passed", "true or false", row.get("passed"))
        said = {key: row[key] for key in ParityRow.NUMBERS if _is_finite(row.get(key))}
        counted = {key: row[key] for key in ParityRow.COUNTS if type(row.get(key)) is int}
        rows.append(
            ParityRow(backend=backend, precision=precision, passed=row["passed"], **said, **counted)
        )
    return tuple(rows)


def family_from_json(data: Any) -> Family:
    """The family that a manifest's record says. A missing field takes its default if it has one.

    Raises:
        BundleError: fields are missing, unknown, or of the wrong type or value.
    """
    node = _Node(Family.completed(_Node(data, "family").data), "family")
    for key in ("name", "title"):
        node.text(key)
    for key in ("input_size", "upscale_size", "stride"):
        node.count(key, 1, NETWORK_SIDE.most)
    node.count("via", 0, NETWORK_SIDE.most)
    node.count("single_mask", 0, 255)
    node.count("slices", 1, max(1, NETWORK_VALUES.most // node.data["input_size"] ** 2))
    node.choice("channels", (1, 3))
    for key, choices in _CHOICES.items():
        node.choice(key, choices)
    for key in ("exclusive", "whole_volume", "whole_boxes"):
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
    masks = node.items("multi_masks")
    node.need(
        len(masks) <= NETWORK_MASKS.most,
        "multi_masks",
        f"at most {NETWORK_MASKS.most} masks",
        f"{len(masks)} masks",
    )
    for mask in masks:
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
            raise BundleError(f"{MANIFEST} has no '{self.at(key)}'{AGAIN}")
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


def check_schema(document: Any) -> None:
    """Refuse a manifest of another schema.

    Raises:
        BundleError: not an object, or newer, or no schema at all.
    """
    schema = _Node(document, "").get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise BundleError(
            f"the bundle has schema {schema}; this version of samedge reads schema {SCHEMA}: "
            "install a newer samedge, or export the bundle again with this one"
        )
    if type(schema) is not int or schema != SCHEMA:
        raise BundleError(f"the bundle has schema {schema!r}, expected {SCHEMA}{AGAIN}")


def _files(files: _Node) -> dict[str, FileEntry]:
    found: dict[str, FileEntry] = {}
    seen: dict[str, str] = {}
    for name in files.data:
        checked_name(name)
        folded = name.lower()  # two names that are one on some disks
        reserved = folded == MANIFEST or folded.split("/")[0] == ENGINES
        if reserved or folded in seen:
            other = seen.get(folded, "the names that samedge keeps for itself")
            raise BundleError(f"the bundle's file {name!r} collides with {other}{AGAIN}")
        seen[folded] = repr(name)
        entry = files.node(name)
        size, digest = entry.count("bytes", 0, 1 << 48), entry.get("sha256")
        entry.need(_is_hex(digest), "sha256", "64 hexadecimal digits", digest)
        found[name] = FileEntry(digest, size)
    for folded, name in seen.items():
        if any(folder in seen for folder in _folders(folded)):
            raise BundleError(f"the bundle's file {name} stands below another file{AGAIN}")
    return found


def _folders(name: str) -> list[str]:
    """All folders of a relative name: a, a/b of a/b/c."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _graph(graph: _Node, files: Mapping[str, FileEntry]) -> dict[str, GraphEntry]:
    graph.need(bool(graph.data), "fp32", "at least one precision", "none")
    found = {}
    for precision in graph.data:
        graph.need(bool(_TOKEN.fullmatch(precision)), precision, "a precision's name", precision)
        entry = graph.node(precision)
        name = entry.text("file")
        entry.need(name in files, "file", "a name that is listed in 'files'", name)
        digest = entry.get("sha256")
        entry.need(digest == files[name].sha256, "sha256", "the hash given in 'files'", digest)
        inputs, outputs = (_tensors(entry, side) for side in ("inputs", "outputs"))
        found[precision] = GraphEntry(name, inputs, outputs, digest)
    return found


def _tensors(entry: _Node, side: str) -> tuple[TensorEntry, ...]:
    listed = enumerate(entry.items(side))
    return tuple(_tensor(_Node(tensor, f"{entry.at(side)}[{at}]")) for at, tensor in listed)


def _tensor(tensor: _Node) -> TensorEntry:
    name, dtype, shape = tensor.text("name"), tensor.text("dtype"), tensor.items("shape")
    for side in shape:
        fixed = type(side) is int and side >= 0
        named = isinstance(side, str) and side.isprintable()
        tensor.need(fixed or named, "shape", "sizes or names of dynamic sizes", side)
    return TensorEntry(name, dtype, tuple(shape))


def _is_hex(value: Any) -> bool:
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e12  # neither NaN nor infinity is


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _LARGEST


def _fail(where: str, wanted: str, got: Any) -> NoReturn:
    shown = repr(got)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    raise BundleError(f"{MANIFEST}: '{where}' is {shown}, expected {wanted}{AGAIN}")
