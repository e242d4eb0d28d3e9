"""What a file may ask for, in one table: readers check what a file declares before they believe it.

Files come from strangers, and a few bytes can declare gigabytes. No file under 10 MB may cost more
than 1 GB or 10 s. What is asked is checked here before anything is allocated; docs/security.md
shows the same table (docs/make_security.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from samedge.errors import SamEdgeError

_MB = 10**6


@dataclass(frozen=True)
class Limit:
    """The most that a file may ask for.

    Attributes:
        what: is limited, in plural ("points of a prompt").
        most: the largest number that is read.
        unit: "bytes", "px", or empty for a plain number.
        why: what real files need, or what more would cost.
    """

    what: str
    most: int
    unit: str
    why: str

    def check(self, asked: float, name: str, error: type[SamEdgeError]) -> None:
        """Refuse what asks for more.

        Args:
            asked: what the file declares.
            name: of the file, for the message.

        Raises:
            error: it is more than `most`.
        """
        if asked > self.most:
            raise error(
                f"{name}: {self.what}: {self.text(asked)}; at most {self.text(self.most)} are read"
            )

    def text(self, number: float) -> str:
        """A number of this unit, for people."""
        if self.unit == "bytes":
            return f"{number / _MB:,.4g} MB" if number < 10**12 else f"{number / 1e12:,.4g} TB"
        return f"{number:,.0f} {self.unit}".rstrip()


PICKLE_BYTES = Limit(
    "bytes of a checkpoint's pickle",
    16 * _MB,
    "bytes",
    "names and sizes, without the numbers: 0.2 MB for SAM ViT-H",
)
PICKLE_STEPS = Limit(
    "steps of a checkpoint's pickle",
    500_000,
    "",
    "30 for each tensor; ViT-H with its optimiser's state has 70,000",
)
PICKLE_DEPTH = Limit(
    "containers of a checkpoint inside each other",
    64,
    "",
    "training scripts nest 5",
)
UNPACKED_TIMES = Limit(
    "times that a compressed checkpoint grows",
    4,
    "",
    "torch.save does not compress, and weights shrink by a tenth; looked at beyond 64 MB",
)
NAMED_TIMES = Limit(
    "times that a checkpoint names the numbers it holds",
    8,
    "",
    "tied and averaged weights are named twice; looked at beyond 64 MB",
)
# Below this, growth is not looked at: a small file of zeros shrinks a thousandfold.
SMALL_BYTES = 64 * _MB

LIMITS = tuple(value for value in tuple(globals().values()) if isinstance(value, Limit))
