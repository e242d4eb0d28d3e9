"""`python -m samedge` is the same as the command `samedge`."""

from __future__ import annotations

from samedge.cli import main

if __name__ == "__main__":
    main()
