"""Where a run computes: one CPU, one GPU, several of them, several machines; and how exactly."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from samedge.errors import NotSupportedError


def make_fabric(precision: str = "32-true", accelerator: str = "auto", devices: int = 1) -> Fabric:
    """A launched Fabric.

    Args:
        precision: "32-true", "bf16-mixed" or "16-mixed".
        accelerator: "auto" (a GPU if there is one), "cpu" or "cuda".
        devices: processes on this machine. Under torchrun its own numbers count, also those of
            several machines.

    Raises:
        NotSupportedError: there are fewer GPUs, or the precision needs one.
    """
    nodes = 1
    if "TORCHELASTIC_RUN_ID" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    cuda = accelerator == "cuda" or (accelerator == "auto" and torch.cuda.is_available())
    if cuda and torch.cuda.device_count() < devices:
        raise NotSupportedError(
            f"{devices} GPUs were asked for, and {torch.cuda.device_count()} are there; take fewer "
            "devices, or --accelerator cpu"
        )
    if precision == "16-mixed" and not cuda:
        raise NotSupportedError(
            "16-mixed precision needs a GPU; on a CPU take bf16-mixed or 32-true"
        )
    strategy: Any = "auto"
    if devices * nodes > 1:
        # Parts of a network that a recipe trains may be idle: multimask heads, mask prompts.
        # Buffers are either constants or what `RunningStatistics` keeps equal.
        strategy = DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
    with _without_chatter():
        fabric = Fabric(
            accelerator="cuda" if cuda else "cpu",
            devices=devices,
            num_nodes=nodes,
            strategy=strategy,
            precision=precision,  # type: ignore[arg-type]
        )
        fabric.launch()
    if fabric.world_size > 1:
        atexit.register(_leave_group)
    return fabric


def is_first_process() -> bool:
    """Whether this process is the one of several that speaks; also before `make_fabric`."""
    return os.environ.get("RANK", "0") == "0" and os.environ.get("LOCAL_RANK", "0") == "0"


def _leave_group() -> None:
    """Before the interpreter ends: threads of a group that nobody left abort the process then."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Fabric tells on stderr what it was just told; a quiet command is quiet."""
    logger = logging.getLogger("lightning_fabric")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def exact_algorithms(wanted: bool) -> Iterator[None]:
    """Inside, torch uses algorithms that give the same bits every time.

    On a GPU a few have none (resizing tables while they are trained); torch warns of those.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    if wanted:
        # cuBLAS reads this when it starts, and refuses to be exact without.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
        # Nothing reads memory that nobody wrote: a test fills it with NaN. Zeros would cost time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
