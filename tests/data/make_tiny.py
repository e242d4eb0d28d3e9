"""Writes tests/data/tiny.samedge, a bundle of a tiny SAMUS with weights from the formula.

    python tests/data/make_tiny.py

The smoke test of the built wheel runs it in an environment without torch. Write it again whenever
the graphs or the manifest change.
"""

from __future__ import annotations

from pathlib import Path

import torch

from samedge.export import export
from samedge.fold import fold
from samedge.models import build_samus, tiny_samus_config
from samedge.models.synthetic import synthetic_tensor

TARGET = Path(__file__).with_name("tiny.samedge")


def main() -> None:
    config = tiny_samus_config()
    shapes = {name: tuple(t.shape) for name, t in build_samus(config).state_dict().items()}
    tensors = {name: torch.from_numpy(synthetic_tensor(name, s, 1)) for name, s in shapes.items()}
    bundle = export(fold(build_samus(config, tensors)), TARGET, overwrite=True)
    print(f"wrote {TARGET.name}: {bundle.manifest['title']}")


if __name__ == "__main__":
    main()
