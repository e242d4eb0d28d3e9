"""What every command-line module of this package does with its result and its errors."""

from __future__ import annotations

import sys
from collections.abc import Callable

from samedge.errors import SamEdgeError


def run(main: Callable[[], int]) -> None:
    """Run `main` and exit with its code, or with an error's message and code."""
    try:
        raise SystemExit(main())
    except SamEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
