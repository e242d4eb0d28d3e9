"""What the libraries below do on files from elsewhere: raise anything, and write to the terminal.

Damaged files make parsers raise anything; a user gets one kind of error. cv2 prints its own
lines beside it. pydicom's and nibabel's messages quote what is in the file, which may be a
patient's: those must reach no log.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

from samedge.errors import SamEdgeError, SourceError


@contextmanager
def quiet_cv2() -> Iterator[None]:
    """No messages from cv2 while the block runs."""
    log = cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(level)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """No log lines and no warnings from pydicom while the block runs."""
    with _quiet("pydicom"):
        yield


@contextmanager
def quiet_nibabel() -> Iterator[None]:
    """No log lines and no warnings from nibabel while the block runs."""
    with _quiet("nibabel.global"):
        yield


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


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
