"""Pickles -> plain values and tensors, by an interpreter of our own that can do nothing else.

It knows the opcodes and constructors that state dicts and what training scripts save beside them
are made of, by name: nothing is imported and nothing of the file is called. Dictionaries have texts
and whole numbers as keys, so no hash runs away; attributes that a file sets on its dictionaries and
tensors are left out, so they cannot take the place of methods; what values refer to is counted.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import torch
from torch import Tensor

from samedge.files.limits import PICKLE_DEPTH, PICKLE_STEPS

_INT64 = 1 << 63
_ITEMS = 1 << 48  # more values than any machine's memory
_DIMS = 25  # torch itself stops at 64
_MARK = object()
_STORAGES = {
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Float": torch.float32,
    "Double": torch.float64,
    "Bool": torch.bool,
    "Byte": torch.uint8,
    "Char": torch.int8,
    "Short": torch.int16,
    "Int": torch.int32,
    "Long": torch.int64,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Untyped": torch.uint8,
    # Quantised tensors are refused by name; their bytes are never looked at.
    "QInt8": torch.uint8,
    "QUInt8": torch.uint8,
    "QInt32": torch.int32,
    "QUInt4x2": torch.uint8,
    "QUInt2x4": torch.uint8,
}


class PickleError(ValueError):
    """A pickle that is damaged, or that asks for something no checkpoint needs."""


class ForeignClass(PickleError):
    """A pickle that wants a class or function of another project; `args[0]` is its name."""


@dataclass(frozen=True)
class Storage:
    """A row of numbers that a pickle refers to; it lies elsewhere in the file.

    Attributes:
        key: its name in the file.
        dtype: of its numbers; uint8 for bytes that a tensor gives a type.
        size: how many there are, as the pickle says.
    """

    key: str
    dtype: torch.dtype
    size: int

    @property
    def nbytes(self) -> int:
        """Bytes that it should have."""
        return self.size * self.dtype.itemsize


class Numbers(Protocol):
    """Gives the bytes of a storage; what it was asked for is checked by it."""

    def __call__(self, storage: Storage) -> torch.UntypedStorage:
        """Exactly `storage.nbytes` bytes on the CPU.

        Raises:
            PickleError: the file does not hold them.
        """


@dataclass(frozen=True)
class Unplain:
    """A tensor that is no plain array; `why` ("is sparse") is for the message that names it."""

    why: str


@dataclass(frozen=True)
class Left:
    """An object that only says something about the training run, such as its arguments."""

    name: str


@dataclass(frozen=True)
class _Global:
    """A name that a pickle gave, and what a call of it makes."""

    name: str
    make: Callable[[tuple[Any, ...]], Any]


def unpickle(stream: BinaryIO, numbers: Numbers | None = None, most: int = 0) -> Any:
    """The value of one pickle; leaves the stream behind it.

    Args:
        stream: in memory: it is read in small pieces, and as far as a length in it says.
        numbers: where storages come from; None: there must be none.
        most: bytes of all tensors together, each as often as it is named.

    Returns:
        dict (also for ordered ones), list, tuple, set, text, bytes, number, None, dtype, Tensor
        (without gradient), `Unplain` and `Left`. No value holds itself, and walking through all
        of it, repeats included, takes at most `PICKLE_STEPS`.

    Raises:
        ForeignClass: it wants to run other code.
        PickleError: damaged, too long, nested too deeply, names more than `most`, or not made as
            torch.save makes it.
    """
    value = _Interpreter(numbers).run(stream)
    _check_tree(value, most)
    return value


class _Interpreter:
    def __init__(self, numbers: Numbers | None) -> None:
        self.numbers = numbers
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.views: dict[tuple[Any, ...], Tensor] = {}
        self.count = 0
        self.steps: dict[str, Callable[[Any], None]] = {
            "PROTO": self._nothing,
            "FRAME": self._nothing,
            "STOP": self._nothing,
            "NONE": lambda _: self.stack.append(None),
            "NEWTRUE": lambda _: self.stack.append(True),
            "NEWFALSE": lambda _: self.stack.append(False),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "EMPTY_TUPLE": lambda _: self.stack.append(()),
            "EMPTY_SET": lambda _: self.stack.append(set()),
            "MARK": lambda _: self.stack.append(_MARK),
            "TUPLE": lambda _: self.stack.append(tuple(self._to_mark())),
            "TUPLE1": lambda _: self._tuple(1),
            "TUPLE2": lambda _: self._tuple(2),
            "TUPLE3": lambda _: self._tuple(3),
            "APPEND": lambda _: self._extend([self._pop()]),
            "APPENDS": lambda _: self._extend(self._to_mark()),
            "SETITEM": lambda _: self._set_items(self._last(2)),
            "SETITEMS": lambda _: self._set_items(self._to_mark()),
            "ADDITEMS": lambda _: self._add_items(self._to_mark()),
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "MEMOIZE": lambda _: self._put(len(self.memo)),
            "BINGET": self._get,
            "LONG_BINGET": self._get,
            "GLOBAL": lambda argument: self._global(*argument.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self._global(*self._last(2)),
            "REDUCE": lambda _: self._call(),
            "NEWOBJ": lambda _: self._call(),
            "BUILD": lambda _: self._build(),
            "BINPERSID": lambda _: self._persistent(),
        }
        for name in ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"):
            self.steps[name] = self.stack.append
        for name in ("SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "BINBYTES"):
            self.steps[name] = self.stack.append
        for name in ("SHORT_BINBYTES", "BYTEARRAY8"):
            self.steps[name] = lambda argument: self.stack.append(bytes(argument))

    def run(self, stream: BinaryIO) -> Any:
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                step = self.steps.get(opcode.name)
                if step is None:
                    raise PickleError(f"opcode {opcode.name}, which torch.save does not write")
                step(argument)
                self.charge(1)
        except PickleError:
            raise
        # genops on damaged bytes (ValueError), a stack or a memo that lacks something,
        # arguments of another number or type, sizes that torch cannot have.
        except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as error:
            raise PickleError("invalid pickle") from error
        if len(self.stack) != 1 or self.stack[0] is _MARK:
            raise PickleError("invalid pickle")
        return self.stack[0]

    def charge(self, steps: int) -> None:
        """Count work; one value named a thousand times may be copied a thousand times."""
        self.count += steps
        if self.count > PICKLE_STEPS.most:
            raise PickleError(f"more than {PICKLE_STEPS.most:,} steps")

    def _nothing(self, argument: Any) -> None:
        """Says how it is written, not what."""

    def _pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise PickleError("invalid pickle")
        return value

    def _last(self, count: int) -> list[Any]:
        return [self._pop() for _ in range(count)][::-1]

    def _to_mark(self) -> list[Any]:
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _tuple(self, count: int) -> None:
        self.stack.append(tuple(self._last(count)))

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise PickleError("appends to something that is no list")
        self.stack[-1].extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise PickleError("sets items of something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def _add_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not set:
            raise PickleError("adds to something that is no set")
        self.stack[-1].update(map(_key, items))

    def _put(self, index: Any) -> None:
        if self.stack[-1] is _MARK:
            raise PickleError("invalid pickle")
        self.memo[index] = self.stack[-1]

    def _get(self, index: Any) -> None:
        self.stack.append(self.memo[index])

    def _global(self, module: Any, name: Any) -> None:
        self.stack.append(_named(f"{module}.{name}", self))

    def _call(self) -> None:
        function, arguments = self._last(2)
        if not isinstance(function, _Global) or type(arguments) is not tuple:
            raise PickleError("calls something that is no class")
        self.charge(sum(map(_length, arguments)))
        self.stack.append(function.make(arguments))

    def _build(self) -> None:
        """Attributes, which are left out: of a dictionary they are versions of torch's modules."""
        target = self._last(2)[0]
        if not isinstance(target, dict | Left):
            raise PickleError("sets attributes of something that has none")
        self.stack.append(target)

    def _persistent(self) -> None:
        """`("storage", type, key, device, size)`, in older files with a part of it behind."""
        kind, numbers, key, _, size, *rest = self._pop()
        dtype = numbers.make(()) if isinstance(numbers, _Global) else None
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(key) not in (str, int):
            raise PickleError("refers to something that is no storage")
        found = Storage(str(key), dtype, _whole(size))
        part = rest[0] if rest else None
        self.stack.append((found, 0, found.size) if part is None else (found, *_part(part)))

    def tensor(self, arguments: Sequence[Any], dtype: torch.dtype | None = None) -> Any:
        """`(storage, offset, shape, strides)` -> Tensor; the same view twice is the same object."""
        (storage, begin, length), offset, shape, strides = arguments[:4]
        if self.numbers is None or not isinstance(storage, Storage):
            raise PickleError("holds a tensor where none belongs")
        size, stride, offset = _shape(shape), _shape(strides), _whole(offset)
        dtype = dtype or storage.dtype
        if len(size) != len(stride):
            raise PickleError("a tensor of impossible shape")
        held = (length * storage.dtype.itemsize) // dtype.itemsize
        if begin + length > storage.size or not _inside(size, stride, offset, held):
            raise PickleError("a tensor that reaches beyond its storage")
        key = (storage, begin, dtype, offset, size, stride)
        if key not in self.views:
            whole = self.numbers(storage)
            first = begin * storage.dtype.itemsize
            part = whole[first : first + length * storage.dtype.itemsize]
            self.views[key] = torch.empty(0, dtype=dtype).set_(part, offset, size, stride)
        return self.views[key]

    def typed(self, arguments: tuple[Any, ...]) -> Any:
        """`_rebuild_tensor_v3`: bytes, and the type at the end."""
        if not isinstance(arguments[6], torch.dtype):
            raise PickleError("a tensor of no type")
        return self.tensor(arguments, arguments[6])

    def subclass(self, arguments: tuple[Any, ...]) -> Any:
        """`_rebuild_from_type_v2`: a plain tensor with attributes, which are left out."""
        function, kind, inner, _ = arguments
        if not isinstance(function, _Global) or getattr(kind, "name", "") not in _PLAIN:
            raise PickleError("a tensor of another class")
        return function.make(inner)


_PLAIN = ("torch._tensor.Tensor", "torch.Tensor", "torch.nn.parameter.Parameter")
_UNPLAIN = {
    "_rebuild_sparse_tensor": "is sparse",
    "_rebuild_qtensor": "is quantised",
    "_rebuild_meta_tensor_no_storage": "has no data",
    "_rebuild_nested_tensor": "is a nest of tensors of different shapes",
    "_rebuild_wrapper_subclass": "is of a class of its own",
    "_rebuild_device_tensor_from_numpy": "was saved on a device of another kind",
    "_rebuild_device_tensor_from_cpu_tensor": "was saved on a device of another kind",
}
# What training scripts save beside their tensors, and what of the run nobody needs.
_LEFT = (
    "argparse.Namespace",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "torch.device",
    "torch.serialization._get_layout",
)
_NAMES = {str(v): v for v in vars(torch).values() if isinstance(v, torch.dtype | torch.qscheme)}
_STORAGE = re.compile(r"torch\.(?:cuda\.|storage\.)?(\w+)Storage")


def _named(name: str, into: _Interpreter) -> Any:
    """What a name in a pickle stands for.

    Raises:
        ForeignClass: nothing that is known.
    """
    known: dict[str, Callable[[tuple[Any, ...]], Any]] = {
        "collections.OrderedDict": _pairs,
        "collections.Counter": _pairs,
        "torch.Size": lambda given: _shape(*given),
        "torch._utils._rebuild_tensor": into.tensor,
        "torch._utils._rebuild_tensor_v2": into.tensor,
        "torch._utils._rebuild_tensor_v3": into.typed,
        "torch._utils._rebuild_parameter": _first_tensor,
        "torch._utils._rebuild_parameter_with_state": _first_tensor,
        "torch.nn.parameter.Parameter": _first_tensor,
        "torch._tensor._rebuild_from_type_v2": into.subclass,
        "_codecs.encode": _encoded,
        "builtins.bytearray": _encoded,
        "__builtin__.bytearray": _encoded,
        "builtins.set": _scalars,
        "__builtin__.set": _scalars,
        "builtins.getattr": _method,
        "__builtin__.getattr": _method,
        "builtins.complex": lambda given: complex(*map(float, given)),
        "__builtin__.complex": lambda given: complex(*map(float, given)),
    }
    module, _, last = name.rpartition(".")
    if name in known:
        return _Global(name, known[name])
    if module == "torch._utils" and last in _UNPLAIN:
        return _Global(name, lambda _: Unplain(_UNPLAIN[last]))
    if (kind := _STORAGE.fullmatch(name)) and kind[1] in _STORAGES:
        return _Global(name, lambda _: _STORAGES[kind[1]])
    if name in _NAMES:
        return _NAMES[name]
    if name in _LEFT or name in _PLAIN:
        return _Global(name, lambda _: Left(name))
    raise ForeignClass(re.sub(r"[^\w.<>-]", "?", name)[:80])


def _key(key: Any) -> Any:
    """A key that hashes at once: hashes of tuples count their parts again and again."""
    if type(key) is str or (type(key) is int and -_INT64 <= key < _INT64):
        return key
    raise PickleError(f"a key of type {type(key).__name__}; expected texts and whole numbers")


def _whole(number: Any) -> int:
    if type(number) is not int or not 0 <= number < _ITEMS:
        raise PickleError("a size that is no whole number of values")
    return number


def _shape(sizes: Any) -> tuple[int, ...]:
    if len(sizes) > _DIMS:
        raise PickleError(f"a tensor of more than {_DIMS} dimensions")
    return tuple(map(_whole, sizes))


def _length(argument: Any) -> int:
    """What copying an argument costs, in steps; there are 16 bytes to each."""
    if isinstance(argument, str | bytes):
        return len(argument) >> 4
    return len(argument) if isinstance(argument, dict | list | tuple) else 0


def _part(part: Any) -> tuple[int, int]:
    """`(key, offset, size)` of an older file."""
    _, offset, size = part
    return _whole(offset), _whole(size)


def _inside(size: tuple[int, ...], stride: tuple[int, ...], offset: int, held: int) -> bool:
    """Whether all of a view lies in `held` values."""
    values = 1
    for n in size:
        values *= max(n, 1)
    if 0 in size:
        return values < _ITEMS
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    return values < _ITEMS and last < held


def _pairs(given: tuple[Any, ...]) -> dict[Any, Any]:
    """`OrderedDict()`, with its items behind; in files of Python 2 with `[[key, value], ...]`."""
    items = given[0] if given else ()
    pairs = items.items() if type(items) is dict else items
    return {_key(key): value for key, value in pairs}


def _first_tensor(given: tuple[Any, ...]) -> Any:
    if not isinstance(given[0], Tensor | Unplain):
        raise PickleError("a parameter that is no tensor")
    return given[0]


def _encoded(given: tuple[Any, ...]) -> bytes:
    """Bytes are text in latin-1 to protocol 2. `bytearray(10**10)` is a number, and refused."""
    if not given:
        return b""
    if type(given[0]) is bytes:
        return given[0]
    if type(given[0]) is not str or given[1:] not in (("latin1",), ("latin-1",)):
        raise PickleError("bytes that are no text in latin-1")
    return given[0].encode("latin-1")


def _method(given: tuple[Any, ...]) -> Left:
    """A method of what is left out, as mmengine's logs name theirs; nothing is looked up."""
    owner, name = given
    if not isinstance(owner, _Global) or owner.name not in _LEFT or type(name) is not str:
        raise ForeignClass("builtins.getattr")
    return Left(owner.name)


def _scalars(given: tuple[Any, ...]) -> set[Any]:
    return set(map(_key, *given)) if given else set()


def _check_tree(value: Any, most: int) -> None:
    """Count what a walk through all of it meets: one list named twice is walked through twice.

    Raises:
        PickleError: nested too deeply, too many steps, tensors of more than `most` bytes,
            or something that holds itself.
    """
    known: dict[int, tuple[int, int, int]] = {}  # finished: steps, bytes, depth
    opened: set[int] = set()
    todo = [value]
    while todo:
        this = todo[-1]
        inner = _inner(this) if id(this) not in known else []
        if id(this) in known or id(this) in opened:
            todo.pop()
            known.setdefault(id(this), _counted(inner, known))
            continue
        opened.add(id(this))
        if any(id(item) in opened and id(item) not in known for item in inner):
            raise PickleError("a container that holds itself")
        todo += [item for item in inner if isinstance(item, _CONTAINERS)]
    steps, held, depth = known[id(value)]
    if depth > PICKLE_DEPTH.most:
        raise PickleError(f"more than {PICKLE_DEPTH.most} containers inside each other")
    if steps > PICKLE_STEPS.most:
        raise PickleError(f"more than {PICKLE_STEPS.most:,} steps")
    if held > most:
        raise PickleError(
            f"its tensors name {held / 1e6:,.0f} MB of numbers, more than it can hold"
        )


_CONTAINERS = (dict, list, tuple)


def _inner(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []


def _counted(inner: list[Any], known: dict[int, tuple[int, int, int]]) -> tuple[int, int, int]:
    """Steps, bytes of tensors and depth of a container whose inner ones are known."""
    parts = [known[id(item)] for item in inner if isinstance(item, _CONTAINERS)]
    own = sum(
        min(item.numel() * item.element_size(), item.untyped_storage().nbytes())
        for item in inner
        if isinstance(item, Tensor)
    )
    return (
        1 + len(inner) + sum(part[0] for part in parts),
        own + sum(part[1] for part in parts),
        1 + max((part[2] for part in parts), default=0),
    )
