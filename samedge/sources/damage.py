"""Damaged files make parsers raise anything; a user gets one kind of error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from samedge.errors import SamEdgeError, SourceError


@contextmanager
def damaged(words: str) -> Iterator[None]:
    """Turn whatever a parser of foreign bytes raises in this block into a SourceError.

    Only the kind of the parser's error gets through: its text may quote a patient's data.

    Args:
        words: the message, for instance "a.nii is damaged: its header cannot be read".

    Raises:
        SourceError: `words` and the kind of error. SamEdgeErrors pass as they are.
    """
    try:
        yield
    except SamEdgeError:
        raise
    except Exception as error:
        raise SourceError(f"{words} ({type(error).__name__})") from None
