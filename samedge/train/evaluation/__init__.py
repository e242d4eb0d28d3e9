"""Scores of checkpoints and bundles on a data set, side by side."""

from __future__ import annotations

from samedge.train.evaluation.contenders import (
    Contender,
    EagerContender,
    SessionContender,
    open_contenders,
)
from samedge.train.evaluation.running import Evaluation, Row, evaluate
from samedge.train.evaluation.tasks import Rules

__all__ = [
    "Contender",
    "EagerContender",
    "Evaluation",
    "Row",
    "Rules",
    "SessionContender",
    "evaluate",
    "open_contenders",
]
