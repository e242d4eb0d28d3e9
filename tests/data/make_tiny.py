"""Writes tests/data/tiny.samedge, a bundle of a tiny SAMUS with weights from the formula.

    python tests/data/make_tiny.py

The smoke test of the built wheel runs it in an environment without torch. Write it again whenever
the graphs or the manifest change.
"""

from __future__ import annotations

from pathlib import Path

from samedge.export import export
from samedge.fold import fold
from samedge.models import tiny_samus_config
from samedge.models.synthetic_samus import SyntheticSamus

TARGET = Path(__file__).with_name("tiny.samedge")


def main() -> None:
    model = SyntheticSamus(tiny_samus_config()).build()
    bundle = export(fold(model), TARGET, overwrite=True).bundle
    print(f"wrote {TARGET.name}: {bundle.manifest.title}")


if __name__ == "__main__":
    main()
