"""`HOST[:PORT]` of a source's or sink's name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from samedge.errors import SamEdgeError

LOOPBACK = "127.0.0.1"

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^:/@\[\]]*))(?::(?P<port>\d+))?/?")


@dataclass(frozen=True)
class Address:
    """Where to connect or listen.

    Attributes:
        host: a name or a number.
        port: 0 lets the system choose one to listen at.
    """

    host: str
    port: int


def parse_address(where: str, port: int, text: str, error: type[SamEdgeError]) -> Address:
    """An address from what stands behind a scheme; the loopback address where no host is named.

    Args:
        where: `HOST`, `HOST:PORT`, `[IPv6]:PORT`, `:PORT` or nothing.
        port: where none is named.
        text: the whole name, for the message.
        error: what is raised.
    """
    found = _ADDRESS.fullmatch(where.strip())
    number = int(found["port"]) if found and found["port"] else port
    if not found or number > 65535:
        raise error(f"{text}: '{where}' is no address; expected HOST or HOST:PORT, as in {port}")
    return Address(found["v6"] or found["host"] or LOOPBACK, number)
