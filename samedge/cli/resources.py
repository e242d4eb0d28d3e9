"""Memory and disk space that an export will take: looked at before the work begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samedge.cli.filetype import size_text
from samedge.machine import memory
from samedge.machine.memory import Need, Room

if TYPE_CHECKING:
    from samedge.checkpoint import Checkpoint


@dataclass(frozen=True)
class Resources:
    """What the way from an open checkpoint to a bundle will take.

    Attributes:
        what: the work, for messages.
        smaller: what would need less, for messages.
        needs: memory of the steps.
        size: bytes of the bundle.
        here: memory there is room for now; None if this system does not tell.
    """

    what: str
    smaller: str
    needs: list[Need]
    size: int
    here: Room | None

    @classmethod
    def of(cls, checkpoint: Checkpoint, precisions: Sequence[str] = ()) -> Resources:
        """Told from sizes alone; nothing is computed."""
        from samedge.fold.work import about, pipeline_needs, work_of
        from samedge.machine.needs import bundle_bytes

        work = work_of(checkpoint.config, checkpoint.parameters)
        variant = checkpoint.variant
        what, smaller = about("exporting", checkpoint.family, variant.vit, variant.input_size)
        return cls(
            what, smaller, pipeline_needs(work, precisions), bundle_bytes(work), memory.room()
        )

    def require(self, output: Path, as_zip: bool, ignore_memory: bool) -> str:
        """Refuse what does not fit.

        Returns:
            A note for the user; empty if there is none.

        Raises:
            NotSupportedError: too little memory, unless that is to be ignored.
            OutputError: too little room on the disk.
        """
        from samedge.bundle import check_space

        check_space(output, self.size, as_zip)
        if not ignore_memory:
            memory.require_room(self.needs, self.what, self.smaller)
        elif self.here is not None and self.most.bytes > self.here.bytes:
            return f"Going on as asked (--ignore-memory), although {self._sentence()}"
        return ""

    @property
    def most(self) -> Need:
        """The step that takes most memory."""
        return max(self.needs, key=lambda need: need.bytes)

    def _sentence(self) -> str:
        there = "" if self.here is None else f"; {size_text(self.here.bytes)} {self.here.where}"
        return f"'{self.most.step}' needs about {size_text(self.most.bytes)} of memory{there}"

    def rows(self) -> list[tuple[str, str]]:
        """(step, memory) for a table, and what there is."""
        rows = [(need.step, f"about {size_text(need.bytes)}") for need in self.needs]
        if self.here is not None:
            rows.append((self.here.where, size_text(self.here.bytes)))
        return rows

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values, in bytes."""
        return {
            "needs": {need.step: need.bytes for need in self.needs},
            "available": None if self.here is None else self.here.bytes,
            "bundle": self.size,
        }
