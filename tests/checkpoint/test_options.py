"""What a user says about a checkpoint: what applies, what contradicts the tensors, and nonsense."""

from __future__ import annotations

from typing import Any

import pytest

from samedge import open_checkpoint
from tests.checkpoint.tiny_files import Files, Refused

ODD_OPTIONS = [
    ("samus", {"classes": 2}, "nothing to choose as 'classes'; leave it out"),
    ("sam", {"slices": 4}, "nothing to choose as 'slices'; it takes: classes"),
    ("sam", {"rank": 4}, "nothing to choose as 'rank'"),
    ("autosamus", {"chunk": 4}, "nothing to choose as 'chunk'"),
    ("samed", {"slices": 4}, "nothing to choose as 'slices'; it takes: classes, rank, input_size"),
    ("samed_s", {"chunk": 4}, "nothing to choose as 'chunk'"),
    ("msa", {"rank": 4}, "nothing to choose as 'rank'; it takes: classes, slices, chunk"),
    ("msa_lora", {"slices": 4}, "nothing to choose as 'slices'; it takes: classes, rank"),
    ("sam", {"input_size": 256}, "are for an input of 128 px, not input_size=256; leave it out"),
    ("samus", {"input_size": 256}, "are for an input of 64 px, not input_size=256"),
    ("msa", {"input_size": 256}, "are for an input of 128 px, not input_size=256"),
    ("samed", {"input_size": 100}, "must be a multiple of 16; got img_size=100$"),
    ("msa", {"family": "msa_3d"}, "family='msa_3d' is for volumes: say .*chunk=4 .*slices=N"),
    ("msa", {"family": "msa_3d", "slices": 1}, "family='msa_3d' is for volumes: say "),
    ("msa_lora", {"family": "msa_3d"}, "no depth adapters.*open it as family='msa'$"),
    ("msa", {"chunk": 1}, "chunk=1 leaves slices alone, without depth"),
    ("msa", {"slices": 4, "chunk": 1}, "chunk=1 leaves slices alone, without depth"),
    ("msa", {"chunk": 0}, "chunk=0 relates all slices of a volume: say slices=N"),
    ("msa", {"slices": 6, "chunk": 4}, "be a multiple of chunk; got slices=6, chunk=4$"),
    ("msa", {"slices": 1, "chunk": 4}, "be a multiple of chunk; got slices=1, chunk=4$"),
    ("msa", {"classes": 9}, "there are more classes than num_mask_tokens; got num_mask_tokens=4"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "says"), ODD_OPTIONS)
def test_options_that_do_not_apply(
    kind: str, options: dict[str, Any], says: str, files: Files, refused: Refused
) -> None:
    paths = [files["sam"], files[kind]] if kind.startswith("samed") else [files[kind]]
    refused(*paths, says=(rf"^{kind}\.pth: looks like ", says), **options)


NONSENSE = [
    *({name: value} for name in ("input_size", "rank", "slices", "chunk")
      for value in (-1, 1.5, "4", True, [4], 10**9, float("nan"))),
    {"input_size": 0}, {"input_size": 15}, {"input_size": 4097}, {"rank": 0}, {"slices": 0},
    *({"classes": value} for value in (
        0, -1, 256, 1.5, True, "organs", "", [], [""], ["a", "a"], ["a", 1], ["a\n"], ["x" * 101],
        {"a"}, {"a": 1}, b"ab", object, [["a"]], ["a", None],
    )),
]  # fmt: skip


@pytest.mark.parametrize("options", NONSENSE, ids=str)
def test_nonsense(options: dict[str, Any], files: Files, refused: Refused) -> None:
    (name,) = options
    for path in (files["msa"], files["sam"]):
        refused(path, says=(f"^{name}=.* came; expected ",), **options)


def test_long_nonsense_is_shortened(files: Files, refused: Refused) -> None:
    message = refused(files["msa"], classes=["a"] * 1000, says=("^classes=.* came; expected",))
    assert len(message) < 300


def test_a_volume(files: Files) -> None:
    for options, slices, chunk in (
        ({"chunk": 4}, 4, 4),
        ({"slices": 8, "chunk": 2}, 8, 2),
        ({"slices": 5}, 5, 0),
        ({"slices": 5, "chunk": 0}, 5, 0),
    ):
        for family in (None, "msa", "msa_3d"):
            checkpoint = open_checkpoint(files["msa"], family=family, **options)
            assert checkpoint.family.name == "msa_3d"
            assert (checkpoint.family.slices, checkpoint.family.whole_volume) == (slices, not chunk)
            assert checkpoint.build().config.chunk == chunk
            assert "idle" not in checkpoint.describe()
    for options in ({}, {"slices": 1}, {"slices": 1, "chunk": 0}):
        images = open_checkpoint(files["msa"], **options)
        assert images.family.name == "msa"
        assert "depth adapters are idle" in images.describe()


def test_structures_of_medical_sam_adapter(files: Files) -> None:
    names = {2: ("structure 1", "structure 2"), 1: (), None: ()}
    for said, classes in names.items():
        assert open_checkpoint(files["msa"], classes=said).family.classes == classes
    named = open_checkpoint(files["msa"], classes=["disc", "cup"])
    assert named.family.classes == ("disc", "cup")
    assert named.variant.classes == 2
    assert "structures 2: disc, cup" in named.describe()
