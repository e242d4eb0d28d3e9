"""A small engine by hand: four kernels that fit the graphs of a bundle, and what they compute."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np

from samedge.bundle import Bundle, Manifest
from samedge.runtime.triton.engine_file import Blob
from samedge.runtime.triton.plan import (
    Argument,
    EnginePlan,
    KernelCode,
    Port,
    Program,
    Resources,
    Step,
    Target,
    Weight,
)
from samedge.runtime.triton.sizes import Size, cdiv, named, product

BLOCK = 128
MOST = {"height": 512, "width": 512, "frame_channels": 3, "objects": 16, "points": 8}
SYMBOLS = {"grey": "ppiii", "embed": "pppi", "tokens": "ppppii", "answer": "pppppiii"}


def port(tensor: Any) -> Port:
    """As the manifest has it."""
    shape = tuple(named(s) if isinstance(s, str) else s for s in tensor.shape)
    return Port(tensor.name, tensor.dtype, shape)


def cubins(capability: int) -> dict[str, bytes]:
    """What the stand-in takes for machine code of a kernel."""
    return {s: f"\x7fELF sm_{capability} {s} ".encode() * 3 for s in SYMBOLS}


def small_plan(
    manifest: Manifest, capabilities: tuple[int, ...] = (86,), precision: str = "fp16"
) -> tuple[EnginePlan, bytes, bytes]:
    """A plan for the graphs of a bundle, its constants and its code."""
    constants, code = Blob(), Blob()
    table = np.arange(8, dtype=np.float32)
    file = manifest.graphs["encoder"]["fp32"].file
    weights = (
        Weight("table", "", constants.add(table.tobytes()), "fp32", (8,), (1,), 0.5, "fp32", 0),
        Weight("kernel", file, 64, "fp32", (4, 2), (1, 4), 1.0, "fp16", 256),
    )
    targets = {}
    for capability in capabilities:
        kernels = []
        for symbol, data in cubins(capability).items():
            sha = hashlib.sha256(data).hexdigest()
            found = Resources(40, 0 if symbol != "embed" else 65536, 0, 16, 3)
            place = code.add(data)
            kernels.append(
                KernelCode(
                    f"{symbol}.fp16", symbol, place, len(data), sha, BLOCK, SYMBOLS[symbol], found
                )
            )
        programs = (_encoder(manifest), _decoder(manifest))
        targets[capability] = Target(capability, tuple(kernels), programs)
    files = {file: manifest.files[file].sha256}
    plan = EnginePlan("0.1.0", "tiny.samedge", precision, files, weights, 512, targets)
    return plan, constants.bytes(), code.bytes()


def _encoder(manifest: Manifest) -> Program:
    entry = manifest.graphs["encoder"]["fp32"]
    height, width, channels = map(named, ("height", "width", "frame_channels"))
    pixels = product(height, width)
    count = int(np.prod(entry.outputs[0].shape))
    steps = (
        Step(
            "encoder.frame", 0, (cdiv(pixels, BLOCK), 1, 1),
            (Argument("port", port="frame"), Argument("arena", 0), Argument("size", height),
             Argument("size", width), Argument("size", channels)),
            pixels, product(pixels, channels), product(pixels, 4),
        ),
        Step(
            "encoder.embed", 1, (cdiv(count, BLOCK), 1, 1),
            (Argument("arena", 0), Argument("weight", 0),
             Argument("port", port="image_embedding"), Argument("size", pixels)),
            2 * count, product(pixels, 4), 4 * count,
        ),
    )  # fmt: skip
    limits = {name: MOST[name] for name in ("height", "width", "frame_channels")}
    arena = product(cdiv(product(pixels, 4), 256), 256)
    ports = tuple(map(port, entry.inputs)), tuple(map(port, entry.outputs))
    return Program("encoder", limits, *ports, arena, steps)


def _decoder(manifest: Manifest) -> Program:
    entry = manifest.graphs["decoder"]["fp32"]
    height, width, objects, points = map(named, ("height", "width", "objects", "points"))
    per_object: Size = product(objects, 4)
    steps = (
        Step(
            "decoder.tokens", 2, (objects, 1, 1),
            (Argument("port", port="point_coords"), Argument("port", port="point_labels"),
             Argument("weight", 256), Argument("arena", 256), Argument("size", objects),
             Argument("size", points)),
            per_object, per_object, per_object,
        ),
        Step(
            "decoder.answer", 3, (cdiv(product(height, width), BLOCK), objects, 1),
            (Argument("port", port="image_embedding"), Argument("arena", 256),
             Argument("port", port="masks"), Argument("port", port="scores"),
             Argument("port", port="low_res_logits"), Argument("size", objects),
             Argument("size", height), Argument("size", width)),
            per_object, per_object, product(objects, height, width),
        ),
    )  # fmt: skip
    limits = {name: MOST[name] for name in ("objects", "points", "height", "width")}
    arena = 256 + product(cdiv(per_object, 256), 256)
    ports = tuple(map(port, entry.inputs)), tuple(map(port, entry.outputs))
    return Program("decoder", limits, *ports, arena, steps)


def changed_step(plan: EnginePlan, graph: str, at: int, **changes: Any) -> EnginePlan:
    """The plan with one launch of every target changed."""
    targets = {}
    for number, target in plan.targets.items():
        programs = tuple(
            replace(program, steps=_with(program.steps, at, changes))
            if program.graph == graph
            else program
            for program in target.programs
        )
        targets[number] = replace(target, programs=programs)
    return replace(plan, targets=targets)


def _with(steps: tuple[Step, ...], at: int, changes: dict[str, Any]) -> tuple[Step, ...]:
    return (*steps[:at], replace(steps[at], **changes), *steps[at + 1 :])


def of_bundle(bundle: Bundle, *more: Any) -> tuple[EnginePlan, bytes, bytes]:
    """`small_plan` of an open bundle."""
    return small_plan(bundle.manifest, *more)
