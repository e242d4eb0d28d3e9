"""A bundle on a device: `load` gives a `Session`, which turns frames and prompts into masks."""

from __future__ import annotations

from samedge.runtime.loading import load
from samedge.runtime.parity.verify import verify
from samedge.runtime.result import Result
from samedge.runtime.session import Session
from samedge.runtime.volumes import VolumeResult

__all__ = ["Result", "Session", "VolumeResult", "load", "verify"]
