"""Checkpoint files -> named tensors in float32. Nothing in a file is ever executed.

Reads what torch.save writes (zip and legacy; by an interpreter of its own, memory-mapped where
possible) and safetensors; finds the state dict in a training checkpoint; strips the prefixes that
wrappers leave on every name.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samedge.checkpoint.layouts import official_names
from samedge.checkpoint.pickles import Left, Unplain
from samedge.checkpoint.torch_files import load_legacy, load_zip, one_line
from samedge.errors import CheckpointError, MissingDependencyError
from samedge.files.numbers import parse_json
from samedge.files.paths import kind_at, shown

# Where training scripts keep the model's tensors, most specific first.
WRAPPERS = ("model_state_dict", "state_dict", "model_state", "model", "net", "network", "weights")
# What data-parallel training and torch.compile put before every name.
PREFIXES = ("module.", "_orig_mod.")
# What all names of a network begin with, behind what the class that holds it (a Lightning module,
# SAMed's) puts before them.
_PARTS = re.compile(
    r"(?:[A-Za-z_]\w*\.){1,3}?"
    r"(?=(?:image_encoder|vision_encoder|shared_image_embedding|prompt_encoder|mask_decoder)\.)"
)
# Types that torch converts to float32.
FLOATS = frozenset(
    (
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.float8_e4m3fn,
        torch.float8_e4m3fnuz,
        torch.float8_e5m2,
        torch.float8_e5m2fnuz,
    )
)
# What counters and tables of indices are stored as.
_BYTES = frozenset((torch.int8, torch.uint8))
_WHOLE = frozenset((torch.bool, torch.int16, torch.int32, torch.int64)) | _BYTES
CONFIG_ENTRY = "samedge_config"  # sizes that shapes do not show, as written by samedge's trainer

_CHUNK = 1 << 20
_DEPTH = 3  # wrappers in wrappers


@dataclass(frozen=True)
class SourceFile:
    """What one file held and how it was read.

    Attributes:
        name: file name, without its folder.
        sha256: hex digest of the whole file.
        size: bytes.
        format: "torch", "torch (legacy)" or "safetensors".
        tensors: float32, on the CPU; names without wrapper prefixes. Memory-mapped where the file
            allows: do not change the file in place while they are in use.
        passed_over: name -> dtype of tensors of whole numbers that no network here needs: counters
            of normalisation layers and of averaged weights, tables of indices.
        wrapper: entries that led to the tensors ("state_dict"), outermost first.
        prefixes: prefixes that were stripped from names.
        names_of: whose names the tensors had, before they got the official ones; "" if they have
            those in the file.
        ignored: other entries of the file (optimizer state, epoch, ...).
        converted: number of tensors by their dtype before conversion to float32.
        config: sizes recorded by samedge's trainer; usually empty.
    """

    name: str
    sha256: str
    size: int
    format: str
    tensors: dict[str, Tensor]
    wrapper: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    names_of: str = ""
    ignored: tuple[str, ...] = ()
    converted: dict[str, int] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def without_tensors(self) -> SourceFile:
        """The same, to be kept: it holds no memory."""
        return replace(self, tensors={})

    def summary(self) -> dict[str, Any]:
        """How it was read, as plain JSON values."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "bytes": self.size,
            "format": self.format,
            "wrapper": list(self.wrapper),
            "prefixes": list(self.prefixes),
            "names_of": self.names_of,
            "ignored": list(self.ignored),
            "converted": dict(self.converted),
            "passed_over": dict(self.passed_over),
        }


def read_file(path: str | PathLike[str]) -> SourceFile:
    """Read one checkpoint file.

    Raises:
        CheckpointError: missing, not a file, empty, truncated, no checkpoint, wants to run code,
            holds no tensors, or holds tensors that are not finite floating-point numbers.
    """
    file = Path(fspath(path))
    try:
        return _read(file)
    except OSError as error:
        raise CheckpointError(f"{file.name}: cannot be read: {error.strerror or error}") from error


def _read(file: Path) -> SourceFile:
    kind = sniff(file)
    load = {"safetensors": _load_safetensors, "torch": load_zip, "torch (legacy)": load_legacy}
    content = load[kind](file)
    config = content.get(CONFIG_ENTRY) if isinstance(content, Mapping) else None
    found = find_tensors(content, file.name)
    stripped, prefixes = strip_prefixes(found.tensors, file.name)
    numbers, passed_over = without_counters(stripped, file.name)
    floats, converted = to_float32(numbers, file.name)
    tensors, names_of = official_names(floats, file.name)
    return SourceFile(
        name=file.name,
        sha256=sha256(file),
        size=file.stat().st_size,
        format=kind,
        tensors=tensors,
        wrapper=found.wrapper,
        prefixes=prefixes,
        names_of=names_of,
        ignored=tuple(i for i in found.ignored if i != CONFIG_ENTRY),
        converted=converted,
        passed_over=passed_over,
        config=dict(config) if isinstance(config, Mapping) else {},
    )


def source_from_tensors(tensors: Mapping[str, Tensor], name: str) -> SourceFile:
    """The same for tensors that are in memory already: names, types and values are checked.

    Raises:
        CheckpointError: as `read_file`.
    """
    found = find_tensors(tensors, name)
    stripped, prefixes = strip_prefixes(found.tensors, name)
    # Tensors without data cannot be moved; they are refused with all others that are no numbers.
    here = {k: v.detach() if v.is_meta else v.detach().cpu() for k, v in stripped.items()}
    numbers, passed_over = without_counters(here, name)
    floats, converted = to_float32(numbers, name)
    named, names_of = official_names(floats, name)
    return SourceFile(
        name=name,
        sha256="",
        size=0,
        format="memory",
        tensors=named,
        wrapper=found.wrapper,
        prefixes=prefixes,
        names_of=names_of,
        ignored=found.ignored,
        converted=converted,
        passed_over=passed_over,
    )


def sha256(file: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sniff(file: Path) -> str:
    """ "torch", "torch (legacy)" or "safetensors", by content and not by suffix.

    Raises:
        CheckpointError: anything else; says what it looks like.
    """
    found = kind_at(file, CheckpointError)
    if found == "folder":
        raise CheckpointError(
            f"{file.name}: is a folder; expected a .pth, .pt or .safetensors file"
        )
    if found == "missing":
        raise CheckpointError(f"{shown(file.name)}: no such file")
    if found == "other":
        raise CheckpointError(f"{file.name}: is not a regular file")
    size = file.stat().st_size
    if size == 0:
        raise CheckpointError(f"{file.name}: is empty; expected a checkpoint")
    with file.open("rb") as stream:
        head = stream.read(512)
    if head[:4] == b"PK\x03\x04":
        return "torch"
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return "safetensors"
    if head[:1] == b"\x80" and len(head) > 1 and 2 <= head[1] <= pickle.HIGHEST_PROTOCOL:
        return "torch (legacy)"
    raise CheckpointError(
        f"{file.name}: is not a checkpoint ({_what_it_is(head, file.suffix)}); expected a file "
        "written by torch.save or safetensors, whole"
    )


def _what_it_is(head: bytes, suffix: str) -> str:
    for magic, what in (
        (b"\x89PNG", "it is a PNG image"),
        (b"\xff\xd8\xff", "it is a JPEG image"),
        (b"\x1f\x8b", "it is gzip-compressed: unpack it first"),
        (b"version https://git-lfs", "it is a Git LFS pointer: fetch the file itself"),
        (b"\x08", "it may be an ONNX graph, which holds no training checkpoint"),
    ):
        if head.startswith(magic):
            return what
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it is a web page, as a failed download leaves it: download it again"
    if head[257:262] == b"ustar":
        return (
            "it is a tar archive, as torch wrote before version 0.1.10: unpack it, or load it with "
            "torch and save it anew"
        )
    if all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return "it is a text file"
    if suffix.lower() == ".safetensors":
        return "a .safetensors file that is damaged or cut short"
    return f"it begins with the bytes {head[:8].hex(' ')}"


def _load_safetensors(file: Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as error:
        raise MissingDependencyError("safetensors", "export", f"reading {file.name}") from error
    if str(file).encode(errors="replace") != os.fsencode(file):
        raise CheckpointError(
            f"{file.name}: this name, or that of a folder above it, is no UTF-8, and safetensors "
            "opens no such files; give it another name"
        )
    try:
        with safe_open(file, framework="pt", device="cpu") as archive:
            content: dict[str, Any] = {key: archive.get_tensor(key) for key in archive.keys()}  # noqa: SIM118
            recorded = (archive.metadata() or {}).get(CONFIG_ENTRY)
        if recorded is not None:
            content[CONFIG_ENTRY] = parse_json(recorded)
    except OSError:
        raise
    except (SafetensorError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file.name}: is a damaged or truncated safetensors file ({one_line(error)}); "
            "copy or download it again"
        ) from error
    return content


@dataclass(frozen=True)
class _StateDict:
    tensors: dict[str, Tensor]
    wrapper: tuple[str, ...]
    ignored: tuple[str, ...]


def find_tensors(content: Any, name: str, wrapper: tuple[str, ...] = ()) -> _StateDict:
    """The state dict inside what a file held; looks into the usual wrappers.

    Raises:
        CheckpointError: there is none.
    """
    if not isinstance(content, Mapping):
        kind = content.name if isinstance(content, Left) else type(content).__name__
        raise CheckpointError(f"{name}: holds a {kind}; expected a dictionary of tensors")
    for entry in WRAPPERS:
        inner = content.get(entry)
        left = _DEPTH - len(wrapper)
        if isinstance(inner, Mapping) and left and _has_tensors(inner, left):
            found = find_tensors(inner, name, (*wrapper, entry))
            others = tuple(str(k) for k in content if k != entry)
            return _StateDict(found.tensors, found.wrapper, others + found.ignored)
    for key, value in content.items():
        if isinstance(value, Unplain):
            raise _not_plain(name, str(key), value.why)
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        entries = ", ".join(str(k) for k in list(content)[:8]) or "nothing"
        raise CheckpointError(
            f"{name}: holds no tensors where a model's are expected; it holds: {entries}. Expected "
            f"tensors at the top level or under one of: {', '.join(WRAPPERS)}"
        )
    ignored = tuple(str(k) for k in content if k not in tensors)
    return _StateDict(tensors, wrapper, ignored)


def _has_tensors(content: Mapping[Any, Any], depth: int) -> bool:
    """Whether there are tensors in it, or `depth` wrappers down; a dictionary may hold itself."""
    if any(isinstance(v, Tensor) for v in content.values()):
        return True
    inner = [v for k, v in content.items() if k in WRAPPERS and isinstance(v, Mapping)]
    return depth > 1 and any(_has_tensors(v, depth - 1) for v in inner)


def strip_prefixes(
    tensors: dict[str, Tensor], name: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Names without `module.` and the like, wherever a name has them, and what was stripped.

    What a class that holds the network puts before its names (`sam.`, `model.`, `net.`) goes only
    where all names have it.

    Raises:
        CheckpointError: two names become one.
    """
    stripped: list[str] = []
    for _ in range(len(PREFIXES)):
        for prefix in PREFIXES:
            if not any(k.startswith(prefix) for k in tensors):
                continue
            shorter = {k.removeprefix(prefix): v for k, v in tensors.items()}
            if len(shorter) != len(tensors):
                raise CheckpointError(
                    f"{name}: holds tensors both with and without '{prefix}' before their names; "
                    "cannot tell which are meant"
                )
            tensors = shorter
            stripped.append(prefix)
    holder = _holder(tensors)
    if holder:
        tensors = {k.removeprefix(holder): v for k, v in tensors.items()}
        stripped.append(holder)
    return tensors, tuple(stripped)


def _holder(tensors: Mapping[str, Tensor]) -> str:
    """What stands before all names; "" if that is nothing, or not the same before each."""
    found = _PARTS.match(next(iter(tensors), ""))
    holder = found.group() if found else ""
    return holder if holder and all(k.startswith(holder) for k in tensors) else ""


def without_counters(
    tensors: dict[str, Tensor], name: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors without those of whole numbers that cannot be weights, and the latter's dtypes.

    Every BatchNorm saves how many batches it saw, averaged weights how many they are the mean of,
    windowed attention its table of indices. Eight bits are how quantised weights are stored, so
    arrays of those stay, and are refused with all others that are no floating-point numbers.

    Raises:
        CheckpointError: there is nothing else.
    """
    odd = {k: str(v.dtype).removeprefix("torch.") for k, v in tensors.items() if _is_counter(v)}
    rest = {k: v for k, v in tensors.items() if k not in odd}
    if not rest:
        first, dtype = next(iter(odd.items()))
        raise CheckpointError(
            f"{name}: holds only tensors of whole numbers ('{first}' is of type {dtype}); expected "
            "a network's weights, which are floating-point numbers"
        )
    return rest, odd


def _is_counter(tensor: Tensor) -> bool:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype not in _WHOLE:
        return False
    return tensor.numel() <= 1 or tensor.dtype not in _BYTES


def to_float32(
    tensors: Mapping[str, Tensor], name: str
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """All tensors in float32, checked to be finite; and how many came in another dtype.

    A tensor of two names is converted once.

    Raises:
        CheckpointError: a tensor that is no plain floating-point array, or is not finite.
    """
    converted: dict[str, int] = {}
    out: dict[str, Tensor] = {}
    done: dict[int, Tensor] = {}
    for key, tensor in tensors.items():
        if id(tensor) in done:
            out[key] = done[id(tensor)]
            continue
        _check_plain(key, tensor, name)
        if tensor.dtype != torch.float32:
            dtype = str(tensor.dtype).removeprefix("torch.")
            converted[dtype] = converted.get(dtype, 0) + 1
        value = tensor.detach().to(torch.float32).contiguous()
        # The extremes are NaN or infinite exactly if some value is; no mask is allocated.
        if value.numel() and not torch.stack(torch.aminmax(value)).isfinite().all():
            count = int((~value.isfinite()).sum())
            raise CheckpointError(
                f"{name}: tensor '{key}' has {count} values that are NaN or infinite; the training "
                "run diverged or the file is damaged: use an earlier checkpoint"
            )
        out[key] = done[id(tensor)] = value
    return out, converted


def _not_plain(name: str, key: str, what: str) -> CheckpointError:
    return CheckpointError(f"{name}: tensor '{key}' {what}; expected plain floating-point numbers")


def _check_plain(key: str, tensor: Tensor, name: str) -> None:
    checks: tuple[tuple[bool, Callable[[], str]], ...] = (
        (tensor.layout != torch.strided, lambda: f"is sparse ({tensor.layout})"),
        (tensor.is_quantized, lambda: "is quantised"),
        (tensor.device.type != "cpu", lambda: f"has no data (device '{tensor.device}')"),
        (tensor.dtype not in FLOATS, lambda: f"is of type {tensor.dtype}"),
    )
    for failed, what in checks:
        if failed:
            raise _not_plain(name, key, what())
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise CheckpointError(
            f"{name}: tensor '{key}' claims {tensor.numel()} values but stores fewer: the file is "
            "damaged"
        )
