"""Who may come in: the host that was asked for, the page that asks, and the token."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from samedge.stream.viewer.address import Address

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:/\[\]@?#]+))(?::\d{1,5})?")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Admission:
    """Says no to whoever was not meant.

    A page from elsewhere that a user of this machine has open can send requests here, too. Its
    `Origin` gives it away; and if its own name was made to point here (DNS rebinding), the `Host`
    does: names other than this machine's are not answered to. The token keeps out those who reach
    the port by themselves.
    """

    def __init__(self, where: Address) -> None:
        self._token = where.token.encode() if where.token else None
        self._only_here = where.is_loopback
        own = socket.gethostname().lower()
        self._names = {where.host.lower(), *where.names, *_LOOPBACK}
        if not self._only_here:
            self._names |= {own, f"{own}.local"}

    def refusal(
        self, headers: Mapping[str, str], query: bytes, needs_token: bool = True
    ) -> str | None:
        """What speaks against a request: "host", "origin", "token"; None: nothing.

        Args:
            headers: of the request; names in lower case.
            query: what follows the question mark of its path.
            needs_token: False: for what holds no secrets.
        """
        host = headers.get("host", "").lower()
        if not self._knows(host):
            return "host"
        origin = headers.get("origin")
        if origin is not None and not _same_place(origin.lower(), host):
            return "origin"
        if needs_token and not self._has_token(query):
            return "token"
        return None

    def _knows(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1] or found[2]
        return name in self._names or (not self._only_here and _is_number(name))

    def _has_token(self, query: bytes) -> bool:
        if self._token is None:
            return True
        try:
            given = parse_qs(query.decode("ascii"), max_num_fields=8).get("token", [])
        except ValueError:  # not ASCII, or too many fields
            return False
        # In constant time: how long it takes must not tell how much of it was right.
        return len(given) == 1 and hmac.compare_digest(given[0].encode(), self._token)


def _same_place(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc == host


def _is_number(name: str) -> bool:
    """An IP address: no name that somebody could make point elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
