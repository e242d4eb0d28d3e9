"""What can go wrong with a message or with the one who sends it."""

from __future__ import annotations

from samedge.errors import SourceError


class ProtocolError(SourceError):
    """A message is none, or asks for more than is taken. No text of a message stands in it."""


class PeerGone(ProtocolError):
    """The other side closed the connection, or stays silent in the middle of a message."""


class PeerStalled(PeerGone):
    """The other side takes nothing any more."""
