"""Files -> Checkpoint: family, sizes and tensors, detected from tensor names and shapes.

    checkpoint = open_checkpoint("samus.pth")
    print(checkpoint.describe())
    model = checkpoint.build()

`reader` opens files, `records` tells families and sizes apart, `opening` checks and combines.
"""

from __future__ import annotations

from samedge._optional import importing

with importing("torch", extra="export", what="reading checkpoints"):
    from samedge.checkpoint.checkpoint import Checkpoint
    from samedge.checkpoint.lora_file import LoraFile
    from samedge.checkpoint.opening import checkpoint_from_tensors, examine, open_checkpoint
    from samedge.checkpoint.reader import SourceFile
    from samedge.checkpoint.records import Variant

__all__ = [
    "Checkpoint",
    "LoraFile",
    "SourceFile",
    "Variant",
    "checkpoint_from_tensors",
    "examine",
    "open_checkpoint",
]
