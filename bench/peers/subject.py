"""The model that all peers run: an official checkpoint file, and samedge's bundle of it.

Weights come from the formula of the reference vectors: speed does not depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bench.contenders.eager import require_torch
from samedge.bench.contenders.int8_bundle import with_int8
from samedge.bench.frames import Footage
from samedge.bundle import Bundle
from samedge.errors import NotSupportedError
from samedge.progress import Progress, Step
from samedge.runtime import load
from samedge.runtime.openvino.backend import OPENVINO

FAMILIES = ("sam", "samus", "medsam")
SEED = 1


@dataclass(frozen=True)
class Subject:
    """One model.

    Attributes:
        family: one of `FAMILIES`.
        vit: "vit_b", "vit_l", "vit_h", or "tiny" for a quick look at the tool.
        config: its sizes, a `SamConfig`.
        checkpoint: its file, in the official layout.
        bundle: of that file, on the CPU in every precision that is worth it.
        clip: frames and prompt, without a crop.
        threads: of every contender.
        work: folder for files of peers.
    """

    family: str
    vit: str
    config: Any
    checkpoint: Path
    bundle: Bundle
    clip: Footage
    threads: int
    work: Path

    @cached_property
    def own_mask(self) -> NDArray[np.uint8]:
        """What samedge makes of the first frame in float32: uint8 [H, W]."""
        with load(self.bundle, "openvino", "fp32", self.threads) as session:
            prompts = self.clip.prompts(session.family)
            masks: NDArray[np.uint8] = session.segment(self.clip.frame(0), **prompts).masks
            mask: NDArray[np.uint8] = masks[0]
        return mask


def precisions() -> tuple[str, ...]:
    """That this CPU computes natively, and in less time than float32, and float32."""
    slower = OPENVINO.slower_than_float32()
    return tuple(p for p in OPENVINO.precisions() if p not in slower)


def make_subject(
    family: str, vit: str, clip: Footage, threads: int, work: Path, progress: Progress
) -> Subject:
    """Write the checkpoint and the bundle to `work`, or use what is there.

    Args:
        family, vit: as for `Subject`.
        clip: frames; a crop is cut out, so that all see the same.
        threads: of every contender.
        work: folder; SAM ViT-B takes 2 GB.
        progress: told each step.

    Raises:
        NotSupportedError: there is no such family.
        ModelError: there is no such size.
    """
    require_torch().set_num_threads(threads)
    config = _config(family, vit)
    checkpoint = work / f"{family}-{vit}.pth"
    if not checkpoint.exists():
        progress(Step("writing a checkpoint"))
        _write_checkpoint(config, checkpoint)
    path = work / f"{family}-{vit}-fp32.samedge"
    if not path.exists():
        progress(Step("folding and exporting it"))
        _write_bundle(family, checkpoint, path)
    bundle, clip = Bundle.open(path), cropped(clip)
    if "int8" in precisions():
        quantised = work / f"{family}-{vit}.samedge"
        if not quantised.exists():
            progress(Step("quantising it"))
            with_int8(bundle, [clip.frame(0)], quantised, threads)
        bundle = Bundle.open(quantised)
    return Subject(family, vit, config, checkpoint, bundle, clip, threads, work)


def cropped(clip: Footage) -> Footage:
    """The same with frames that are what was inside the crop."""
    if clip.crop is None:
        return clip
    x0, y0, x1, y1 = clip.crop
    return replace(clip, frames=[frame[y0:y1, x0:x1].copy() for frame in clip.frames], crop=None)


def _config(family: str, vit: str) -> Any:
    from samedge import models as m

    kinds = {"sam": m.SamConfig, "samus": m.SamusConfig, "medsam": m.MedsamConfig}
    if family not in kinds:
        raise NotSupportedError(
            f"the family '{family}' came; peers are compared on: {', '.join(FAMILIES)}"
        )
    return m.tiny(kinds[family]) if vit == "tiny" else m.preset(kinds[family], vit)


def _write_checkpoint(config: Any, path: Path) -> None:
    from samedge.models.build import model_shapes
    from samedge.models.synthetic import synthetic_state_dict

    torch = require_torch()
    arrays = synthetic_state_dict(model_shapes(config), SEED)
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)


def _write_bundle(family: str, checkpoint: Path, path: Path) -> None:
    from samedge.checkpoint import open_checkpoint
    from samedge.export import export
    from samedge.fold import fold

    export(fold(open_checkpoint(checkpoint, family=family).build()), path)
