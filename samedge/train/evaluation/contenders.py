"""What is evaluated: a checkpoint in eager PyTorch, or a bundle on some engine in some precision.

Both take frames and prompts in frame px, and answer with masks at the frame's size and low-res
logits, by the same geometry: their scores can be compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samedge._optional import require
from samedge.errors import NotSupportedError, SessionError, SourceError
from samedge.families import Family
from samedge.files.paths import kind_at
from samedge.geometry.frame_geometry import FrameGeometry, frame_geometry
from samedge.geometry.mask_values import decide, mask_values
from samedge.prompts.prompt import Prompt

if TYPE_CHECKING:
    from samedge.models import PromptableModel
    from samedge.runtime.session import Session

EAGER = "eager"
JOINED = "+"  # between the files of one checkpoint


@dataclass(frozen=True)
class Answer:
    """Masks of one prompt.

    Attributes:
        masks: uint8 `[K, H, W]`, 0 or 1, at the frame's size; K is 1, or one per class.
        low_res: float32 `[K, L, L]`, logits.
    """

    masks: NDArray[np.uint8]
    low_res: NDArray[np.float32]


class Contender(Protocol):
    """A model that is evaluated.

    Attributes:
        name: the file's, with engine and precision.
        engine: "eager", or a backend's name.
        precision: "fp32", "bf16", "fp16", "int8".
        family: its record.
        input_size, low_res: sides of the network input and of its logits, px.
    """

    name: str
    engine: str
    precision: str
    family: Family
    input_size: int
    low_res: int

    def set_frame(self, image: NDArray[np.uint8]) -> None: ...

    def answer(self, prompt: Prompt) -> Answer: ...


class EagerContender:
    """The original network in float32; see `Contender`.

    Args:
        model: of `Checkpoint.build`, on any device; it is put into eval mode.
        name: to print.
    """

    def __init__(self, model: PromptableModel, name: str) -> None:
        require("torch", extra="export", what="evaluating a checkpoint")
        self._model = model.eval()
        self._device = next(model.parameters()).device
        self.name, self.engine, self.precision = f"{name} ({EAGER} fp32)", EAGER, "fp32"
        self.family = model.family
        self.input_size, self.low_res = model.config.img_size, model.config.low_res
        self._current: tuple[FrameGeometry, Any] | None = None

    def set_frame(self, image: NDArray[np.uint8]) -> None:
        """Encode `[H, W]` or `[H, W, 3]` RGB."""
        import torch

        from samedge.fold.probes import eager_input, network_pixels

        height, width = image.shape[:2]
        family = self.family
        geometry = frame_geometry(family, height, width, None, self.input_size, self.low_res)
        with torch.inference_mode():
            x = eager_input(network_pixels(image, family, geometry), family)
            self._current = geometry, self._model.encode(x.to(self._device))

    def answer(self, prompt: Prompt) -> Answer:
        """Decode one object's prompt on the frame.

        Raises:
            SessionError: there is no frame yet.
        """
        import torch

        from samedge.fold.probes import unfolded_prompts

        if self._current is None:
            raise SessionError("there is no frame to prompt; call set_frame(image) first")
        geometry, embedding = self._current
        points, labels = (
            None if value is None else np.asarray(value) for value in (prompt.points, prompt.labels)
        )
        given = unfolded_prompts(geometry, points, labels, prompt.box)
        with torch.inference_mode():
            moved = {name: tensor.to(self._device) for name, tensor in given.items()}
            low_res = self._model.decode(embedding, **moved)[0][0].float().cpu().numpy()
        masks = decide(mask_values(low_res, geometry, self.family), self.family)
        return Answer(masks, low_res)


class SessionContender:
    """A bundle, as a device runs it; see `Contender`.

    Args:
        session: open; whoever opened it closes it.
        name: to print.
    """

    def __init__(self, session: Session, name: str) -> None:
        about = session.describe()
        self._session = session
        self.engine, self.precision = str(about["backend"]), str(about["precision"])
        self.name = f"{name} ({self.engine} {self.precision})"
        self.family = session.family
        variant = session.bundle.manifest.variant
        self.input_size, self.low_res = variant.input_size, variant.low_res

    def set_frame(self, image: NDArray[np.uint8]) -> None:
        """Encode `[H, W]` or `[H, W, 3]` RGB."""
        self._session.set_frame(image)

    def answer(self, prompt: Prompt) -> Answer:
        """Decode one object's prompt on the frame."""
        result = self._session.predict(**prompt.arguments())
        return Answer(result.masks, result.low_res_logits)


@contextmanager
def open_contenders(
    models: Sequence[str],
    *,
    backend: str = "auto",
    precisions: Sequence[str] = ("auto",),
    threads: int | None = None,
    says: dict[str, Any] | None = None,
) -> Iterator[list[Contender]]:
    """Open checkpoints and bundles; they are closed when the block ends.

    Args:
        models: paths; the files of a checkpoint that comes in two are joined by "+".
        backend: for bundles.
        precisions: each bundle is a contender in each of them; "backend:precision" names the
            engine of one ("emulation:fp16").
        threads: CPU threads; default: the physical cores.
        says: what `open_checkpoint` has to be told about checkpoints.

    Raises:
        SamEdgeError: of `open_checkpoint` and `samedge.load`.
        NotSupportedError: a model of volumes.
    """
    with ExitStack() as stack:
        contenders: list[Contender] = []
        for model in models:
            if _is_bundle(Path(model)):
                contenders += [
                    _session(stack, Path(model), backend, precision, threads)
                    for precision in precisions
                ]
            else:
                contenders.append(_eager(model, threads, says or {}))
        for contender in contenders:
            if contender.family.slices > 1:
                raise NotSupportedError(
                    f"{contender.name} takes {contender.family.slices} slices of a volume at once; "
                    "only models of images are evaluated"
                )
        yield contenders


def _is_bundle(path: Path) -> bool:
    """A folder or zip file with a manifest; whatever else it is, `open_checkpoint` will say."""
    return kind_at(path, SourceError) == "folder" or path.suffix == ".samedge"


def _session(
    stack: ExitStack, path: Path, backend: str, precision: str, threads: int | None
) -> Contender:
    from samedge.runtime import load

    named, _, said = precision.rpartition(":")
    session = stack.enter_context(load(path, named or backend, said, threads))
    return SessionContender(session, path.name)


def _eager(model: str, threads: int | None, says: dict[str, Any]) -> Contender:
    torch = require("torch", extra="export", what="evaluating a checkpoint")

    from samedge.checkpoint import open_checkpoint

    files = model.split(JOINED)
    if len(files) > 1 and os.path.exists(model):  # a file whose own name has a plus
        files = [model]
    built: Any = open_checkpoint(*files, **says).build(copy=False)
    if threads is not None:
        torch.set_num_threads(threads)
    return EagerContender(built, JOINED.join(Path(file).name for file in files))
