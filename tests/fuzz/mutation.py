"""Damage to files that is more than noise: checksums, archives and JSON stay whole around it.

A flipped bit in a PNG fails its checksum, and one in an archive its own; the code behind such gates
is reached only by those who open them. So a container is taken apart, one part of it is changed,
and it is closed again as its writer would have closed it.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

PNG = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 1 << 21  # of a mutated file
_UNPACKED = 1 << 22  # of a part of an archive, so that damage stays quick
_NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 17, 24, 32, 64, 127, 128, 255, 256, 512, 4096, 4097, 32767,
            32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**64 - 1)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 16, 255, 4097, 65536, 2**31, 2**63, 10**30, 10**400, 1.5, -0.0, 1e308),
    *(float("nan"), float("inf"), True, False, None, "", "a", "0", "\u00b2", "\u0663", "\ud800"),
    *("\n", "x" * 300, "../x", "/", [], [1, 2], ["a"], [[]], {}, {"a": 1}),
)


def mutated(data: bytes, chance: Random, tokens: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """A damaged copy of a file.

    Args:
        data: the file.
        chance: decides everything.
        tokens: words of its format.
        others: other files of its kind, for parts to be taken from.
    """
    damage = _Damage(chance, tokens, others)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        data = damage.file(data)
    return data[:MAX_BYTES]


class _Damage:
    """Operations on bytes, and on what is inside of containers."""

    def __init__(self, chance: Random, tokens: Sequence[bytes], others: Sequence[bytes]) -> None:
        self._chance, self._tokens, self._others = chance, tokens, others

    def file(self, data: bytes) -> bytes:
        """Damage inside of the container, if it is one that can be opened, or to the bytes."""
        if self._chance.random() < 0.75:
            for mark, inside in (
                (b"PK\x03\x04", self._zip),
                (b"\x1f\x8b", self._gzip),
                (PNG, self._png),
                (b"{", self._json),
            ):
                if data.startswith(mark):
                    try:
                        return inside(data)
                    except (
                        ValueError,
                        OSError,
                        EOFError,
                        RuntimeError,
                        RecursionError,
                        KeyError,
                        NotImplementedError,
                        struct.error,
                        zlib.error,
                        zipfile.BadZipFile,
                    ):
                        break  # damaged already # fmt: skip
        return self.plain(data)

    def plain(self, data: bytes) -> bytes:
        """One operation on bytes."""
        operations: tuple[Callable[[bytearray], bytes], ...] = (
            self._truncate, self._flip, self._flip, self._set_number, self._set_number,
            self._delete, self._repeat, self._token, self._token, self._splice, self._fill,
        )  # fmt: skip
        return self._chance.choice(operations)(bytearray(data))

    def _at(self, data: bytearray, room: int = 0) -> int:
        """A place; mostly near the ends, where headers and tables of contents stand."""
        last = max(len(data) - room, 0)
        near = min(last, self._chance.choice((32, 256, 1024, last)))
        place = self._chance.randint(0, near)
        return last - place if self._chance.random() < 0.2 else place

    def _truncate(self, data: bytearray) -> bytes:
        return bytes(data[: self._at(data)])

    def _flip(self, data: bytearray) -> bytes:
        for _ in range(self._chance.choice((1, 1, 2, 4, 16)) if data else 0):
            data[self._at(data, 1)] ^= 1 << self._chance.randrange(8)
        return bytes(data)

    def _set_number(self, data: bytearray) -> bytes:
        """A number that lengths, sizes and counts do not expect."""
        size, value = self._chance.choice((1, 2, 4, 8)), self._chance.choice(_NUMBERS)
        order = self._chance.choice(("little", "big"))
        number = (value % (1 << 8 * size)).to_bytes(size, order)
        at = self._at(data, size)
        data[at : at + size] = number
        return bytes(data)

    def _delete(self, data: bytearray) -> bytes:
        at = self._at(data)
        del data[at : at + self._chance.choice((1, 2, 4, 16, 64))]
        return bytes(data)

    def _repeat(self, data: bytearray) -> bytes:
        at, length = self._at(data), self._chance.choice((1, 4, 16, 64, 1024))
        piece = data[at : at + length] * self._chance.choice((1, 1, 2, 16, 256))
        return bytes(data[:at] + piece[: 1 << 18] + data[at:])

    def _token(self, data: bytearray) -> bytes:
        if not self._tokens:
            return self._flip(data)
        token, at = self._chance.choice(self._tokens), self._at(data)
        data[at : at + self._chance.choice((0, len(token)))] = token
        return bytes(data)

    def _splice(self, data: bytearray) -> bytes:
        if not self._others:
            return self._repeat(data)
        other = self._chance.choice(self._others)
        at, there = self._at(data), self._at(bytearray(other))
        length = self._chance.choice((8, 64, 512, len(other)))
        return bytes(data[:at]) + other[there : there + length] + bytes(data[at + length :])

    def _fill(self, data: bytearray) -> bytes:
        at, length = self._at(data), self._chance.choice((1, 2, 4, 8, 32))
        data[at : at + length] = bytes([self._chance.choice((0, 255, 0x80, 0x20))]) * length
        return bytes(data)

    def _zip(self, data: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if not infos or sum(info.file_size for info in infos) > _UNPACKED:
                raise ValueError  # nothing to take apart, or too much
            parts = [(info.filename, archive.read(info)) for info in infos]
        # Pickles, headers and manifests rather than weights: small files decide.
        weights = [1 / (200 + len(content)) for _, content in parts]
        (hit,) = self._chance.choices(range(len(parts)), weights)
        name, content = parts[hit]
        how = self._chance.random()
        if how < 0.85:
            parts[hit] = name, self.file(content)
        elif how < 0.9:
            del parts[hit]
        elif how < 0.95:
            parts.append((self._chance.choice((name, name + "x", "../" + name)), content))
        else:
            parts[hit] = self._chance.choice(parts)[0], content
        packed = self._chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", packed) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a name that stands twice is meant to
            for name, content in parts:
                archive.writestr(zipfile.ZipInfo(name), content, packed)
        return out.getvalue()

    def _gzip(self, data: bytes) -> bytes:
        inside = zlib.decompressobj(wbits=31).decompress(data, _UNPACKED)
        return gzip.compress(self.file(inside), 1, mtime=0)

    def _png(self, data: bytes) -> bytes:
        chunks, at = [], len(PNG)
        while at + 12 <= len(data):
            (length,) = struct.unpack(">I", data[at : at + 4])
            chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
            at += 12 + length
        hit = self._chance.randrange(len(chunks))
        name, body = chunks[hit]
        how = self._chance.random()
        if how < 0.2 and name == b"IDAT":
            chunks[hit] = name, zlib.compress(self.plain(zlib.decompress(body)))
        elif how < 0.8:
            chunks[hit] = name, self.plain(body)
        elif how < 0.9:
            chunks.insert(self._chance.randrange(len(chunks)), chunks[hit])
        else:
            del chunks[hit]
        return PNG + b"".join(
            struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b))
            for n, b in chunks
        )

    def _json(self, data: bytes) -> bytes:
        document = json.loads(data)
        for _ in range(self._chance.choice((1, 1, 2))):
            self._value(document)
        return json.dumps(document, indent=1).encode()

    def _value(self, document: Any) -> None:
        """Replace, drop or rename something somewhere below."""
        while isinstance(document, dict | list) and document:
            keys = list(document) if isinstance(document, dict) else range(len(document))
            key = self._chance.choice(keys)
            inner = document[key]
            if isinstance(inner, dict | list) and inner and self._chance.random() < 0.8:
                document = inner
                continue
            how = self._chance.random()
            if how < 0.75:
                document[key] = self._chance.choice((*_VALUES, document[self._chance.choice(keys)]))
            elif how < 0.9 or isinstance(document, list):
                del document[key]
            else:
                document[self._chance.choice((key + "x", key.upper(), ""))] = document.pop(key)
            return
