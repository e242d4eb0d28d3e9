"""What holds for every test: no shared caches, no unwritten memory, two threads in all."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from samedge.runtime.gpu.driver import problem

try:
    import torch
except ModuleNotFoundError:  # the tests of the runtime also run where a cart has no torch
    torch = None

ROOT = Path(__file__).resolve().parent.parent
TINY_BUNDLE = ROOT / "tests" / "data" / "tiny.samedge"
CORES = 2  # of the smallest machine on which the whole suite runs

# Nothing is timed and nothing is left to chance: a failing example fails on every machine.
settings.register_profile(
    "samedge",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("thorough", parent=settings.get_profile("samedge"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "samedge"))


def pytest_configure(config: pytest.Config) -> None:
    """As many threads as cores, or one in each worker of `-n`; Ctrl-C as in a terminal.

    Workers inherit the variable, so that it stands before any library of theirs reads it.
    """
    os.environ.pop("COLUMNS", None)  # xdist's; tables of commands would follow it
    workers = config.getoption("numprocesses", default=None)
    os.environ.setdefault("OMP_NUM_THREADS", "1" if workers else str(CORES))
    if torch is not None:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    # In the background of a script Ctrl-C is ignored, and processes of tests would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where there is no NVIDIA GPU."""
    if (torch is not None and torch.cuda.is_available()) or problem() is None:
        return
    skip = pytest.mark.skip(reason="needs an NVIDIA GPU")
    for item in items:
        if item.get_closest_marker("gpu") is not None:  # not a folder of that name
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Leave what imports made, which stays anyway, out of every collection of garbage from now on.

    Exports and engines collect often, which takes a fraction of a second each time with all tests,
    torch and hypothesis in memory.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def samedge_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of its own for the whole run: tests neither read nor fill the user's."""
    path = tmp_path_factory.mktemp("samedge-cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("SAMEDGE_CACHE", str(path))
    yield path
    patch.undo()


@pytest.fixture(scope="session", autouse=True)
def poison_torch_memory() -> Iterator[None]:
    """Fill every `torch.empty` with NaN, so that an output nobody wrote fails its test.

    After tests/conftest.py of flash-linear-attention (MIT).
    """
    if torch is None:
        yield
        return
    # `with torch.device(...)` knows the constructors by identity, from its first use on: let it
    # meet the real ones, or models meant for the meta device take real memory.
    with torch.device("meta"):
        torch.empty(0)
    patch = pytest.MonkeyPatch()
    for name in ("empty", "empty_like", "empty_strided"):
        patch.setattr(torch, name, _poisoned(getattr(torch, name)))
    patch.setattr(torch.Tensor, "new_empty", _poisoned(torch.Tensor.new_empty))
    yield
    patch.undo()


def _poisoned(allocate):
    def poisoned(*args, **kwargs):
        tensor = allocate(*args, **kwargs)
        # Only real memory: fake and meta tensors (torch.export, torch.compile) have none.
        if type(tensor) is torch.Tensor and tensor.is_floating_point() and not tensor.is_meta:
            with torch.no_grad():
                tensor.fill_(float("nan"))
        return tensor

    poisoned.__wrapped__ = allocate
    return poisoned


@pytest.fixture(scope="session")
def tiny_bundle() -> Path:
    """The prebuilt bundle of a very small model; read-only."""
    if not TINY_BUNDLE.exists():
        pytest.skip("tests/data/tiny.samedge is not there")
    return TINY_BUNDLE
