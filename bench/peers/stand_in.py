"""torchvision where it does not load: what peers import of it, and the two functions they call.

torchvision's usual wheels want the CUDA libraries of torch, so beside a CPU build of torch they
fail at import. segment-anything calls `to_pil_image` and `resize` of it, which for pictures are
Pillow's own functions; timm, which samexporter and LiteMedSAM take small helpers from, imports more
of it than it uses. Everything else that is asked for is a class that refuses to be made.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from samedge.errors import NotSupportedError

NAME = "torchvision"
NOTE = (
    "torchvision does not load here; its resize of pictures is Pillow's, which was called instead"
)


def loads() -> bool:
    """Whether torchvision itself can be imported."""
    try:
        import_module(NAME)
    except Exception:  # beside another build of torch it raises RuntimeError, OSError and others
        _forget()
        return False
    return True


@contextmanager
def importable() -> Iterator[bool]:
    """Imports of torchvision succeed inside the block; whether they get the stand-in.

    What was imported inside keeps what it got; later imports see no stand-in.
    """
    if loads():
        yield False
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield True
    finally:
        sys.meta_path.remove(finder)
        _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        ours = fullname.partition(".")[0] == NAME
        return ModuleSpec(fullname, self, is_package=True) if ours else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _FUNCTIONS.get(name) or _Absent(name, (_Nothing,), {})


class _Absent(type):
    """A class whose attributes, such as an enumeration's, are their names."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("_"):
            raise AttributeError(name)
        return f"{cls.__name__}.{name}"


class _Nothing(metaclass=_Absent):
    def __init__(self, *_: object, **__: object) -> None:
        raise NotSupportedError(
            f"{NAME}'s {type(self).__name__} was called, and {NAME} does not load here; install "
            "the one that fits this torch"
        )


def _to_pil_image(pixels: Any) -> Any:
    """As torchvision's for uint8 [H, W, 3]."""
    from PIL import Image

    return Image.fromarray(pixels)


def _resize(picture: Any, size: Sequence[int]) -> Any:
    """As torchvision's for a picture and (height, width)."""
    from PIL import Image

    return picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)


_FUNCTIONS = {"to_pil_image": _to_pil_image, "resize": _resize}
