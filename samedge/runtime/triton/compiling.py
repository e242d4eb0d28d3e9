"""The way from the runtime to the compiler, which a device need not have.

The compiler is above the runtime in samedge's layers and needs torch and triton: it is named in a
table, as backends are, and imported when an engine is to be built.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from samedge._install import install_command
from samedge.bundle import Bundle
from samedge.errors import NotSupportedError, OutputError
from samedge.families import TINY_VIT
from samedge.files.whole import output_error
from samedge.progress import Progress
from samedge.runtime.engines.keys import TritonKey
from samedge.runtime.engines.records import ENDING

# "module:function": build_engine_file(bundle, precision, capabilities, target, *, max_side,
# progress) writes the engine file `target`.
COMPILER = "samedge.export.triton.build:build_engine_file"
MAX_SIDE = 4096  # px, of a frame that an engine takes unless it is said otherwise
NEEDED = ("torch", "triton")
NO_KERNELS = (
    "there are no Triton kernels for TinyViT encoders (LiteMedSAM, MobileSAM); use tensorrt, "
    "tensorrt-rtx or openvino"
)


def without_kernels(bundle: Bundle) -> str | None:
    """Why there are no engines of this bundle on any machine, in words; None if there are."""
    return NO_KERNELS if bundle.family.name in TINY_VIT else None


def cannot_compile() -> str | None:
    """Why no engine can be compiled here, in words; None if one can."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if not missing:
        return None
    return f"none can be compiled here ({' and '.join(missing)} not installed)"


@contextmanager
def compile_engine(
    bundle: Bundle, key: TritonKey, max_side: int, progress: Progress
) -> Iterator[Path]:
    """A new engine file, which is gone when the block is left.

    Args:
        bundle: open.
        key: what it is for.
        max_side: largest side of a frame, in px.
        progress: told how far it is.

    Raises:
        NotSupportedError: the compiler's packages are not installed, or it does not support one of
            the GPUs; with the remedy.
        BundleError: the bundle has no graph that an engine can be made from.
        DeviceError: the compiler failed.
        OutputError: no room.
    """
    lacking = cannot_compile()
    if lacking is not None:
        raise NotSupportedError(
            f"{lacking}; install them: {install_command('triton')}, or build the engine on a "
            "machine that has them: it needs no GPU"
        )
    module, _, name = COMPILER.partition(":")
    try:
        build = getattr(import_module(module), name)
    except ImportError as error:
        raise NotSupportedError(
            f"the compiler of engines cannot be imported ({error}); install it again: "
            f"{install_command('triton')}"
        ) from error
    try:
        folder = tempfile.TemporaryDirectory(prefix="samedge-engine-")
    except OSError as error:
        raise output_error(error, Path(tempfile.gettempdir())) from error
    with folder as place:
        target = Path(place) / f"{key.stem}{ENDING}"
        numbers = tuple(map(int, key.capabilities))
        build(bundle, key.precision, numbers, target, max_side=max_side, progress=progress)
        if not target.is_file():
            raise OutputError(f"the compiler wrote no {target.name}; report this")
        yield target
