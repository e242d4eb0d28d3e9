"""The text of a manifest: JSON that carries the hash of itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

from samedge.bundle.manifest import MANIFEST, Manifest
from samedge.bundle.parsing import AGAIN, check_schema, manifest_from_json
from samedge.errors import BundleError
from samedge.files.limits import MANIFEST_DEPTH, MANIFEST_VALUES
from samedge.files.numbers import parse_json

_DIGEST = re.compile(rb'"digest": "([0-9a-f]{64})"')
_NO_DIGEST = b'"digest": "' + b"0" * 64 + b'"'


def dump_manifest(manifest: Manifest) -> bytes:
    """The manifest as it stands on disk.

    Raises:
        BundleError: a value is not plain JSON (NaN and infinity are not).
    """
    return seal(manifest.to_json())


def seal(document: Mapping[str, Any]) -> bytes:
    """A manifest's JSON, whatever it holds, as text with the hash of its own text.

    Raises:
        BundleError: a value is not plain JSON (NaN and infinity are not).
    """
    sealed = {key: value for key, value in document.items() if key != "digest"}
    sealed["digest"] = "0" * 64
    try:
        text = json.dumps(sealed, indent=1, ensure_ascii=False, allow_nan=False, default=_plain)
    except (ValueError, TypeError) as error:
        raise BundleError(f"the manifest cannot be written as JSON: {error}") from error
    data = text.encode() + b"\n"
    head, mark, tail = data.rpartition(_NO_DIGEST)  # the last key, so the last occurrence
    assert mark
    return head + _NO_DIGEST.replace(b"0" * 64, _hash(data)) + tail


def parse_manifest(data: bytes) -> Manifest:
    """The validated manifest behind `dump_manifest`.

    Raises:
        BundleError: not JSON, another schema, changed since it was written, or incomplete.
    """
    try:
        document = parse_json(data.decode("utf-8"), object_pairs_hook=_no_duplicates)
        _check_values(document)
        json.dumps(document, ensure_ascii=False).encode()  # lone surrogates cannot be printed
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{MANIFEST} is not valid JSON ({error}){AGAIN}") from error
    check_schema(document)
    seals = list(_DIGEST.finditer(data))
    if not seals:
        raise BundleError(f"{MANIFEST} has no 'digest'{AGAIN}")
    start, end = seals[-1].span()
    if _hash(data[:start] + _NO_DIGEST + data[end:]) != seals[-1].group(1):
        raise BundleError(f"{MANIFEST} does not match its own digest{AGAIN}")
    return manifest_from_json(document)


def _check_values(document: Any) -> None:
    """So that nothing that walks or prints the manifest meets Python's recursion limit, or takes
    more than a moment."""
    level, count = [document], 0
    for _ in range(MANIFEST_DEPTH.most):
        count += len(level)
        if count > MANIFEST_VALUES.most:
            raise ValueError(f"more than {MANIFEST_VALUES.most} values")
        inner = (
            v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)
        )
        level = list(chain.from_iterable(inner))
        if not level:
            return
    raise ValueError(f"more than {MANIFEST_DEPTH.most} levels deep")


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _plain(value: Any) -> Any:
    """numpy scalars and arrays as JSON values."""
    convert: Callable[[], Any] | None = getattr(value, "tolist", None)
    if convert is None:
        raise TypeError(f"{type(value).__name__} is no JSON value")
    return convert()


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result
