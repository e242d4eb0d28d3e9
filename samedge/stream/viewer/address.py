"""Where the page is: host, port and, for others than this machine, a token."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace

from samedge.errors import OutputError, SamEdgeError
from samedge.sources.uri import Uri

HOST, PORT = "127.0.0.1", 8000
_WHERE = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^:/\[\]]*))(?::(?P<port>\d+))?/?")
_NAME = re.compile(r"[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,9}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{8,128}")
_ELSEWHERE = ("192.0.2.1", 9)  # an address for examples; nothing is sent to it


@dataclass(frozen=True)
class Address:
    """Where a viewer listens.

    Attributes:
        host: name or IP address of the interface.
        port: 0: any that is free.
        token: what a browser has to bring along; None: nothing, on this machine only.
        names: further names that browsers may know this place by: a proxy's, say.
    """

    host: str = HOST
    port: int = PORT
    token: str | None = None
    names: tuple[str, ...] = ()

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def page(self) -> str:
        """URL of the page without the token."""
        host = _reachable(self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    @property
    def url(self) -> str:
        """URL of the page, with the token where there is one."""
        return self.page + (f"?token={self.token}" if self.token else "")


def address(
    host: str = HOST, port: int = PORT, token: str | None = None, names: Sequence[str] = ()
) -> Address:
    """A checked address; one for other machines without a token gets a random one.

    Raises:
        OutputError: the port, the token or a name cannot be.
    """
    if not 0 <= port <= 65535:
        raise OutputError(f"viewer: port {port}; expected 0 (any free one) to 65535")
    if token is not None and not _TOKEN.fullmatch(token):
        raise OutputError(
            "viewer: the token does not fit; expected 8 to 128 letters, digits, '-' and '_'"
        )
    for name in names:
        if not _NAME.fullmatch(name):
            raise OutputError(
                f"viewer: '{name}' is no host name; expected one such as cart.example"
            )
    made = Address(host or HOST, port, token, tuple(name.lower() for name in names))
    if made.token is None and (made.names or not made.is_loopback):
        made = replace(made, token=secrets.token_urlsafe(16))
    return made


def address_of(uri: Uri) -> Address:
    """The address behind `viewer:`, `viewer://HOST:PORT` and `viewer://HOST:PORT?token=...&name=...`
    (several names with commas between).

    Raises:
        OutputError: it is none.
    """
    uri.check_options(("token", "name"), OutputError)
    found = _WHERE.fullmatch(uri.where)
    if found is None:
        shown = uri.text.partition("?")[0]  # the token is nobody's business
        raise OutputError(
            f"{shown}: expected viewer: or viewer://HOST:PORT, such as viewer://:8001"
        )
    port = int(found["port"]) if found["port"] else PORT
    names = uri.options["name"].split(",") if "name" in uri.options else ()
    return address(found["six"] or found["host"] or HOST, port, uri.options.get("token"), names)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listening_socket(where: Address) -> socket.socket:
    """A bound socket that does not listen yet.

    Raises:
        OutputError: the port is in use, or the host is not of this machine.
    """
    host = HOST if where.host.lower() == "localhost" else where.host
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(where, error) from error
    try:
        # Else a new stream could not begin for a minute after the last one ended.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(target)
    except OSError as error:
        made.close()
        raise _cannot_listen(where, error) from error
    return made


def _cannot_listen(where: Address, error: Exception) -> SamEdgeError:
    reason = getattr(error, "strerror", None) or str(error)
    return OutputError(
        f"the viewer cannot listen on {where.host}, port {where.port}: {reason}. Choose another "
        "place, such as viewer://127.0.0.1:8001, or viewer://127.0.0.1:0 for any free port."
    )


def _reachable(host: str) -> str:
    """An address that a browser can open: the wildcards are none."""
    if host not in ("0.0.0.0", "::"):
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
            return str(probe.getsockname()[0])
        except OSError:
            return HOST
