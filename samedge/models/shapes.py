"""Names and shapes of tensors, and what is said of differences between two sets of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Shapes = Mapping[str, tuple[int, ...]]

_NAMED = 4  # tensors named in a message


def some(names: Sequence[str]) -> str:
    """The first few names and how many more there are."""
    shown = [name if len(name) <= 100 else name[:97] + "..." for name in names[:_NAMED]]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shown) + more


def differences(expected: Shapes, found: Shapes, extra: str = "extra") -> str:
    """What is missing, extra and misshapen, first names only; empty if nothing is.

    Args:
        expected, found: names and shapes.
        extra: what to call tensors that are not expected.
    """
    missing = [key for key in expected if key not in found]
    more = [key for key in found if key not in expected]
    wrong = [
        f"{key} {list(found[key])} instead of {list(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    parts = (("missing", missing), (extra, more), ("of another shape", wrong))
    return "; ".join(f"{what}: {some(names)}" for what, names in parts if names)
