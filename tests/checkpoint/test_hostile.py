"""Checkpoints made to hang, to crash or to fill the memory; and whole ones, which open."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from samedge.checkpoint.reader import read_file
from samedge.errors import CheckpointError
from tests.bounded import MEMORY, SECONDS, open_bounded

GB = 10**9
SETUP = """
import torch
from samedge.checkpoint.reader import read_file

def opens(path):
    return sorted(read_file(path).tensors)

torch.aminmax(torch.zeros(9, dtype=torch.float8_e4m3fn).float())
"""


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def whole(value: int) -> bytes:
    return b"\x8a\x08" + value.to_bytes(8, "little", signed=True)


def sizes(*numbers: int) -> bytes:
    return b"(" + b"".join(map(whole, numbers)) + b"t"


def tensor(*shape: int, stored: int = 0, strides: tuple[int, ...] = (1,)) -> bytes:
    """A tensor in the storage "0", which is said to have `stored` values, or as many as needed."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    storage += whole(stored or shape[0]) + b"tQ"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + sizes(*shape)
        + sizes(*strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def named(name: str, value: bytes) -> bytes:
    return b"}" + text(name) + value + b"s"


def archive(
    path: Path, pickled: bytes, data: bytes = b"", method: int = zipfile.ZIP_STORED
) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("archive/data.pkl", b"\x80\x02" + pickled + b".")
        file.writestr("archive/data/0", data)


def legacy(path: Path, pickled: bytes) -> None:
    """The older format: magic number, version and system before the pickle, storages behind."""
    buffer = io.BytesIO()
    torch.save({}, buffer, _use_new_zipfile_serialization=False)
    before = buffer.getvalue().removesuffix(b"\x80\x02}q\x00.\x80\x02]q\x00.")
    path.write_bytes(before + b"\x80\x02" + pickled + b".\x80\x02]X\x01\x00\x00\x000a.")


def zeros(path: Path, entry: str, size: int, pickled: bytes = b"}") -> None:
    """An entry of zeros, deflated to a thousandth."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        if entry != "data.pkl":
            file.writestr("archive/data.pkl", b"\x80\x02" + pickled + b".")
        with file.open(f"archive/{entry}", "w", force_zip64=True) as out:
            for _ in range(size >> 24):
                out.write(bytes(1 << 24))


def tuples(depth: int) -> bytes:
    """(1, 1), then a pair of that twice, and so on: 2^depth leaves in a few bytes."""
    pairs = (b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(depth))
    return b"K\x01\x85" + b"".join(pairs)


def repeated(call: bytes, argument: bytes, times: int) -> bytes:
    """A call with one large argument, again and again."""
    return b"(" + argument + b"q\x00" + (call + b"h\x00\x85R") * times + b"t"


def fp8(path: Path, names: int) -> None:
    base = torch.randn(4_000_000).to(torch.float8_e4m3fn)
    torch.save({f"image_encoder.blocks.{i}.w": base for i in range(names)}, path)


def transposed(path: Path, names: int, zipped: bool) -> None:
    base = torch.ones(1000, 1000)
    content = {f"t{i}": base.T for i in range(names)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)


OPENED = "opened: "
ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "hash of a graph of tuples": (
        lambda p: archive(p, b"}" + tuples(75) + b"K\x01s"),
        "a key of type tuple",
    ),
    "the same in a set": (
        lambda p: archive(p, b"cbuiltins\nset\n(]" + tuples(75) + b"atR"),
        "a key of type tuple",
    ),
    "the same as a value": (
        lambda p: archive(p, named("samedge_config", named("classes", tuples(60)))),
        "more than 500,000 steps",
    ),
    "the same in the older format": (
        lambda p: legacy(p, b"}" + tuples(75) + b"K\x01s"),
        "a key of type tuple",
    ),
    "a key nested deeply": (
        lambda p: archive(p, b"}K\x01" + b"\x85" * 3_000_000 + b"K\x01s"),
        "more than 500,000 steps",
    ),
    "values nested deeply": (
        lambda p: archive(p, named("x", b"K\x01" + b"\x85" * 100_000)),
        "more than 64 containers",
    ),
    "lists nested deeply": (
        lambda p: legacy(p, b"]" * 90_000 + b"a" * 89_999),
        "more than 64 containers",
    ),
    "a float as a key": (
        lambda p: archive(p, b"}G" + bytes(8) + b"K\x01s"),
        "a key of type float",
    ),
    "bytes of a length": (
        lambda p: archive(p, named("x", b"cbuiltins\nbytearray\n" + whole(7 * GB) + b"\x85R")),
        "bytes that are no text",
    ),
    "the same, bare": (
        lambda p: p.write_bytes(b"\x80\x02cbuiltins\nbytearray\n" + whole(7 * GB) + b"\x85R."),
        "bytes that are no text",
    ),
    "one text, encoded again and again": (
        lambda p: archive(
            p,
            b"(" + text("x" * 9_000_000) + text("latin1") + b"\x86q\x00"
            + b"c_codecs\nencode\nh\x00R" * 9000 + b"t",
        ),
        "more than 500,000 steps",
    ),
    "one dictionary, copied again and again": (
        lambda p: archive(
            p,
            repeated(
                b"ccollections\nOrderedDict\n",
                b"}(" + b"".join(whole(i) + b"N" for i in range(50_000)) + b"u",
                9000,
            ),
        ),
        "more than 500,000 steps",
    ),
    "one shape, read again and again": (
        lambda p: archive(p, repeated(b"ctorch\nSize\n", b"(" + b"K\x01" * 100_000 + b"t", 9000)),
        "more than",
    ),
    "a pickle of gigabytes": (lambda p: zeros(p, "data.pkl", 1 << 28), "holds .* when unpacked"),
    "a storage of gigabytes": (
        lambda p: zeros(p, "data/0", 1 << 28, named("x", tensor(1 << 26))),
        "holds .* when unpacked",
    ),
    "a storage that is not there": (
        lambda p: archive(p, named("x", tensor(5 * GB)), bytes(8)),
        "not all there",
    ),
    "the same in the older format ": (
        lambda p: legacy(p, named("x", tensor(5 * GB))),
        "not all there",
    ),
    "a tensor beyond its storage": (
        lambda p: archive(p, named("x", tensor(10**9, stored=2)), bytes(8)),
        "beyond its storage",
    ),
    "a tensor of a product that overflows": (
        lambda p: archive(
            p, named("x", tensor(1 << 40, 1 << 40, stored=2, strides=(0, 0))), bytes(8)
        ),
        "beyond its storage",
    ),
    "a tensor of impossible strides": (
        lambda p: archive(p, named("x", tensor(2, 2, stored=2, strides=(1,))), bytes(8)),
        "a tensor of impossible shape",
    ),
    "a tensor that begins before its storage": (
        lambda p: archive(p, named("x", tensor(-2, stored=2)), bytes(8)),
        "a size that is no whole number",
    ),
    "8-bit floats of many names": (lambda p: fp8(p, 400), "name 1,600 MB"),
    "transposed weights of many names": (lambda p: transposed(p, 900, True), "name 3,600 MB"),
    "the same, older": (lambda p: transposed(p, 900, False), "name 3,600 MB"),
    "8-bit floats of some names": (lambda p: fp8(p, 7), OPENED),
    "a dictionary whose get is a number": (
        lambda p: archive(
            p,
            b"ccollections\nOrderedDict\n)R" + text("x") + tensor(2) + b"s"
            + named("get", b"K\x01") + text("items") + b"K\x01sb",
            bytes(8),
        ),
        OPENED + r"\['x'\]",
    ),
    "a tensor whose detach is a number": (
        lambda p: archive(
            p,
            named(
                "x",
                b"ctorch._utils\n_rebuild_parameter_with_state\n(" + tensor(2)
                + b"\x89ccollections\nOrderedDict\n)R" + named("detach", b"K\x01") + b"tR",
            ),
            bytes(8),
        ),
        OPENED + r"\['x'\]",
    ),
    "attributes of a class": (
        lambda p: archive(p, b"ccollections\nOrderedDict\n" + named("get", b"K\x01") + b"b"),
        "sets attributes of something that has none",
    ),
    "a module of torch's that is loaded late": (
        lambda p: archive(p, named("x", b"ctorch\nonnx\n")),
        r"wants to run code \('torch.onnx'\)",
    ),
    "a name that forges a line": (
        lambda p: archive(p, b"\x8c\x02os\x8c\x0csystem\nalert\x93"),
        r"wants to run code \('os.system\?alert'\)",
    ),
}  # fmt: skip


def test_attacks(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.pth" for number in range(len(ATTACKS))]
    for path, (write, _) in zip(paths, ATTACKS.values(), strict=True):
        write(path)
        assert path.stat().st_size < 10_000_000
    wrong = []
    for name, outcome in zip(ATTACKS, open_bounded(SETUP, paths), strict=True):
        expected = ATTACKS[name][1]
        kind = "" if expected.startswith(OPENED) else "CheckpointError: .*"
        right = re.match(kind + expected, outcome.said)
        if not right or outcome.memory > MEMORY or outcome.seconds > SECONDS:
            wrong.append(f"{name}: {outcome}")
    assert not wrong, "\n".join(wrong)


class Small(nn.Module):
    """Layers of every kind that checkpoints of SAM's family have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.embed = nn.Embedding(4, 6)
        self.tied = nn.Linear(6, 4, bias=False)
        self.tied.weight = self.embed.weight


def training_run() -> dict[str, Any]:
    """What training scripts save: a model, its optimiser in the middle, and all sorts of notes."""
    torch.manual_seed(0)
    model = Small()
    optimiser = torch.optim.AdamW(model.parameters())
    model.norm(model.conv(torch.randn(2, 3, 8, 8))).sum().backward()
    optimiser.step()
    rest = torch.randn(4, 6)
    model_state = model.state_dict()
    model_state.update(
        {
            "half": torch.randn(3).half(),
            "bfloat16": torch.randn(3).bfloat16(),
            "float64": torch.randn(3).double(),
            "float8": torch.randn(3).to(torch.float8_e4m3fn),
            "parameter": nn.Parameter(torch.randn(2, 3)),
            "gradient": torch.randn(2, requires_grad=True),
            "number": torch.tensor(2.5),
            "nothing": torch.zeros(0, 4),
            "turned": rest.T,
            "part": rest[1:3, ::2],
        }
    )
    return {
        "epoch": 7,
        "iteration": 10**12,
        "state_dict": model_state,
        "optimizer": optimiser.state_dict(),
        "scheduler": {"milestones": Counter({30: 1}), "last_lr": [1e-4], "after": None},
        "args": Namespace(lr=1e-4, name="µ", sizes=(1, 2), nested=Namespace(x=1)),
        "best": np.float64(0.93),
        "best_tol": float("inf"),
        "shape": torch.Size([1, 2]),
        "type": torch.bfloat16,
        "device": torch.device("cuda:0"),
        "random": torch.get_rng_state(),
        "flags": {"a", "b"},
        "bytes": b"\x00\xff",
        "more": bytearray(b"abc"),
        "complex": 1 + 2j,
        "layout": OrderedDict(a=[True, False, (), {}]),
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_files_of_training_scripts(zipped: bool, protocol: int, tmp_path: Path) -> None:
    """They open, in both formats and every protocol, with the numbers that were saved."""
    path, content = tmp_path / "run.pth", training_run()
    torch.save(content, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    source = read_file(path)
    saved = content["state_dict"]
    assert source.passed_over == {"norm.num_batches_tracked": "int64"}
    assert set(source.tensors) == set(saved) - set(source.passed_over)
    assert set(source.ignored) == set(content) - {"state_dict"}
    for name, tensor in source.tensors.items():
        assert torch.equal(tensor, saved[name].detach().float()), name
        assert not tensor.requires_grad
        assert tensor.is_contiguous()
    assert source.tensors["tied.weight"] is source.tensors["embed.weight"]


def test_what_another_packer_made_of_it(tmp_path: Path) -> None:
    """Unpacked and packed again: compressed, or stored where no number is aligned."""
    path, content = tmp_path / "run.pth", training_run()["state_dict"]
    torch.save(content, path)
    expected = read_file(path).tensors
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        again = tmp_path / "again.pth"
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(again, "w", method) as new:
            for entry in old.namelist():
                new.writestr(entry, old.read(entry))
        for name, tensor in read_file(again).tensors.items():
            assert torch.equal(tensor, expected[name])


def test_a_file_of_a_big_endian_machine(tmp_path: Path) -> None:
    path, turned = tmp_path / "run.pth", tmp_path / "turned.pth"
    torch.save({"w": torch.tensor([1.0, 2.5])}, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(turned, "w") as new:
        for entry in old.namelist():
            data = old.read(entry)
            if entry.endswith("/byteorder"):
                data = b"big"
            elif entry.endswith("/data/0"):
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            new.writestr(entry, data)
    assert read_file(turned).tensors["w"].tolist() == [1.0, 2.5]


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (torch.eye(3).to_sparse(), "is sparse"),
        (torch.zeros(3, device="meta"), "has no data"),
    ],
)
def test_tensors_that_are_no_arrays(tensor: torch.Tensor, match: str, tmp_path: Path) -> None:
    path = tmp_path / "run.pth"
    torch.save({"a": torch.ones(2), "b": tensor}, path)
    with pytest.raises(CheckpointError, match=f"tensor 'b' {match}; expected plain"):
        read_file(path)


def test_a_quantised_tensor(tmp_path: Path) -> None:
    path = tmp_path / "run.pth"
    archive(
        path, named("a", tensor(2)) + text("b") + b"ctorch._utils\n_rebuild_qtensor\n)Rs", bytes(8)
    )
    with pytest.raises(CheckpointError, match="tensor 'b' is quantised; expected plain"):
        read_file(path)


def test_a_tar_archive_of_the_first_torch(tmp_path: Path) -> None:
    import tarfile

    path = tmp_path / "old.pth"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    with pytest.raises(CheckpointError, match="is a tar archive, as torch wrote before"):
        read_file(path)
