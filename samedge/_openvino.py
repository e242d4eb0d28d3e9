"""OpenVINO, imported so that it contacts nobody. All of samedge imports it from here.

`import openvino` also loads its model converter, which reports the import to Intel through the
package `openvino_telemetry`: it writes a client id into the home folder and looks up an analytics
host in a process of its own. A device for patients contacts nobody. Where that package is missing
the converter takes its own stub instead, so for the time of the import it is missing here. OpenVINO
itself, the C++ libraries, opens no connection.

A program that imports openvino before samedge has loaded the telemetry already; the command
`opt_in_out --opt_out` turns it off for a user.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TELEMETRY = "openvino_telemetry"


@contextmanager
def _missing(package: str) -> Iterator[None]:
    """Inside the block importing `package` fails, as if it were not installed."""
    loaded = sys.modules.get(package)
    sys.modules[package] = None  # type: ignore[assignment]  # Python's own mark for "not there"
    try:
        yield
    finally:
        if loaded is None:
            sys.modules.pop(package, None)
        else:
            sys.modules[package] = loaded


with _missing(_TELEMETRY):
    import openvino as ov
    import openvino.opset13 as ops

__all__ = ["ops", "ov"]
