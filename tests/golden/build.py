"""One checkpoint on its way to a bundle; the stages share what they have in common.

    checkpoint -> model -> folded model -> bundle

Each is made when it is first asked for. A model is let go once its successor exists, so that a
run holds no more than two of them at a time.
"""

from __future__ import annotations

from pathlib import Path

import torch

from samedge import export, fold
from samedge.bundle import Bundle
from samedge.checkpoint import Checkpoint
from samedge.fold import FoldedModel
from samedge.models import PromptableModel


class Build:
    """Model, folded model and bundle of one checkpoint.

    Args:
        checkpoint: as read from its files.
        channels: of the network input, for `fold`; None: the family's own.
        folder: an empty folder that outlives this object, for the bundle.
    """

    def __init__(self, checkpoint: Checkpoint, channels: int | None, folder: Path) -> None:
        self.checkpoint, self.folder = checkpoint, folder
        self._channels = channels
        self._model: PromptableModel | None = None
        self._folded: FoldedModel | None = None
        self._bundle: Bundle | None = None
        self._no_mask: torch.Tensor | None = None

    def model(self) -> PromptableModel:
        """The unfolded model, in eval mode."""
        if self._model is None:
            built = self.checkpoint.build()
            assert isinstance(built, PromptableModel)
            self._model = built
        return self._model

    def folded(self) -> FoldedModel:
        """The folded model."""
        if self._folded is None:
            self._folded = fold(self.model(), channels=self._channels)
            self._no_mask = self._folded.no_mask
            self._model = None
        return self._folded

    def bundle(self) -> Bundle:
        """The bundle, exported as for a user: behind the parity gate."""
        if self._bundle is None:
            self._bundle = export(self.folded(), self.folder / "model.samedge").bundle
            self._folded = None
        return self._bundle

    def no_mask(self) -> torch.Tensor:
        """[P] what folded models add to the image embedding: the no-mask embedding, or zero."""
        if self._no_mask is None:
            self.folded()
        assert self._no_mask is not None
        return self._no_mask
