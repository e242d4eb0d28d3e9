"""The account of what engines start and move: limits at true sizes, and the page that shows it."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from samedge.bench import ops
from samedge.bench.account.engine import fits, part_of
from samedge.bench.account.report import LABEL, Account, markdown, rows, sheet
from samedge.bench.families import configs
from samedge.bundle import Bundle
from samedge.errors import ModelError, NotSupportedError
from samedge.runtime.triton.plan import Program
from tests.packaging.tree import ROOT

MOST_LAUNCHES = {True: 9, False: 15}  # of a windowed and of a global block
# Where a volume has a depth branch, an attention, a product and an adapter come on top of it.
WITH_DEPTH = {True: 10, False: 15}
TIMES_LEAST = 1.5  # bytes of a block, at most
PAGE = ROOT / "docs" / "kernels.md"
MAKER = runpy.run_path(str(ROOT / "docs" / "make_kernels.py"))
QUICK = ("sam", "msa", "samus")
SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in MAKER["NETWORKS"] if n not in QUICK]
SOME = (*QUICK, *SLOW)


@pytest.fixture(scope="module")
def account() -> Callable[[str], Account]:
    """The account of a network of true size, once for all tests."""
    return cache(ops.account_of_family)


@pytest.mark.parametrize("name", SOME)
def test_limits_of_every_block(name: str, account: Callable[[str], Account]) -> None:
    made = account(name)
    parts = made.ours.parts()
    most = WITH_DEPTH if name == "msa_3d" else MOST_LAUNCHES
    assert len(made.windowed) == 12
    assert any(made.windowed)
    assert not all(made.windowed)
    for windowed in (True, False):
        for block in made.blocks(windowed):
            assert parts[block].launches <= most[windowed], block
            assert made.times_least(block) <= TIMES_LEAST, block
            assert made.times_least(block) > 1, block
            # Padding is gone, and what a depth branch computed twice; nothing else.
            assert 0.3 < parts[block].flops / made.eager["fp32"].parts()[block].flops < 1.1


@pytest.mark.parametrize("name", QUICK)
def test_far_below_eager(name: str, account: Callable[[str], Account]) -> None:
    made = account(name)
    for windowed in (True, False):
        for block in made.blocks(windowed):
            ours = made.ours.parts()[block]
            eager = made.eager["half"].parts()[block]
            assert ours.launches * 3 < eager.launches
            assert ours.moved < eager.moved


def test_networks_on_the_page(account: Callable[[str], Account]) -> None:
    text, titles = PAGE.read_text(), configs()
    for name in QUICK:
        for line in markdown({titles[name][0]: account(name)}).splitlines():
            assert line + "\n" in text, "run: python docs/make_kernels.py"
    assert MAKER["bias_work"]() in text, "run: python docs/make_kernels.py"


@pytest.mark.slow
def test_the_page_is_current(account: Callable[[str], Account]) -> None:
    made = {name: account(name) for name in MAKER["NETWORKS"]}
    text = PAGE.read_text()
    assert text == MAKER["document"](text, made), "run: python docs/make_kernels.py"


def test_text_and_json(account: Callable[[str], Account]) -> None:
    made = account("samus")
    text = sheet(made).render()
    assert text.startswith(LABEL)
    assert "window_attention" in text
    assert "_softmax" in text
    report = json.loads(json.dumps(sheet(made).to_json()))
    assert report["head"][0] == LABEL
    assert sum(part["launches"] for part in report["parts"].values()) == made.ours.total().launches
    block = report["parts"]["blocks.0"]
    assert set(block["eager"]) == {"fp32", "half"}
    assert block["least_bytes"] < block["bytes_read"] + block["bytes_written"]
    names = [row[0] for row in rows(made)]
    assert "each of 8 windowed blocks" in names
    assert names[-1] == "with the frame's ends"


def test_a_bundle(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No official sizes, no eager column; everything else is there."""
    assert ops.main(["--account", str(tiny_bundle), "--frame", "120x90"]) == 0
    text = capsys.readouterr().out
    assert "no eager column" in text
    assert "frame of 120 x 90 px" in text
    made = ops.account_of_bundle(Bundle.open(tiny_bundle))
    assert made.ours.total().launches > 0
    assert set(made.least) <= set(made.ours.parts())


def test_tiles_do_not_change_bytes(tiny_bundle: Path) -> None:
    one, other = (ops.account_of_bundle(Bundle.open(tiny_bundle), arch=sm) for sm in (80, 120))
    assert {k: v.writes for k, v in one.ours.parts().items() if k != "decoder"} == {
        k: v.writes for k, v in other.ours.parts().items() if k != "decoder"
    }


def test_what_cannot_be_counted() -> None:
    with pytest.raises(ModelError, match="there is no system 'sm'; known: sam, medsam"):
        ops.account_of_family("sm")
    with pytest.raises(NotSupportedError, match="decided when a bundle is calibrated"):
        ops.account_of_family("sam", "int8")


@pytest.mark.parametrize(
    ("label", "part"),
    [
        ("encoder.blocks.11.attn.qkv", "blocks.11"),
        ("encoder.cnn.convs.0.norm", "cnn"),
        ("encoder.patch_embed", "patch_embed"),
        ("encoder.neck.conv", "neck"),
        ("decoder.layers.0.to_image", "decoder"),
        ("preprocess.bands", "preprocess"),
        ("postprocess", "postprocess"),
    ],
)
def test_parts(label: str, part: str) -> None:
    assert part_of(label) == part


def test_a_program_fits() -> None:
    program = Program("decoder", {"points": 11, "objects": 16}, (), (), 0, ())
    assert fits(program, {"points": 11, "objects": 1, "height": 9000})
    assert not fits(program, {"points": 12, "objects": 1})


def test_tiny_vit_has_no_kernels_to_count() -> None:
    with pytest.raises(NotSupportedError, match="LiteMedSAM has a TinyViT encoder"):
        ops.account_of_family("litemedsam")
