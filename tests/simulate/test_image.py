"""Single images: truth, determinism, every kind and size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.errors import FrameError
from samedge.simulate import KINDS, simulate_image


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_one_compact_object_in_view(kind: str) -> None:
    import cv2

    for seed in range(6):
        made = simulate_image(seed, kind=kind)
        assert made.image.shape == made.label.shape == (256, 256)
        assert made.image.dtype == made.label.dtype == np.uint8
        assert made.kind == kind
        assert set(np.unique(made.label)) == {0, 1}
        assert not made.label[~made.sector].any(), "a label where no beam goes"
        assert 0.003 < made.label.mean() < 0.5
        parts, _ = cv2.connectedComponents(made.label)
        assert parts == 2, "background and one piece"


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**40),
    height=st.integers(64, 330),
    width=st.integers(64, 330),
    kind=st.sampled_from(KINDS),
)
def test_any_size_and_seed(seed: int, height: int, width: int, kind: str) -> None:
    if max(height, width) > 2.5 * min(height, width):
        width = height
    made = simulate_image(seed, (height, width), kind)
    assert made.image.shape == (height, width)
    assert made.label.any()
    assert not made.label[~made.sector].any()
    # The click that SAMUS tests with: the middle one of the object's pixels, row by row.
    y, x = np.argwhere(made.label)[np.count_nonzero(made.label) // 2]
    assert made.sector[y, x]
    assert made.spacing[0] > 0
    assert made.spacing[1] > 0


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    one, same, other = simulate_image(5), simulate_image(5), simulate_image(6)
    assert one.image.tobytes() == same.image.tobytes()
    assert one.label.tobytes() == same.label.tobytes()
    assert one.image.tobytes() != other.image.tobytes()


def test_objects_differ_from_image_to_image() -> None:
    labels = [simulate_image(seed, kind="apical") for seed in range(12)]
    areas = {int(made.label.sum()) for made in labels}
    assert len(areas) == 12
    assert len({made.target for made in labels}) > 1, "the click decides which chamber is meant"


def test_most_of_a_picture_outside_of_the_beams_is_black() -> None:
    shares = []
    for seed in range(10):
        made = simulate_image(seed, kind="apical")
        outside = made.image[~made.sector]
        shares.append(np.mean(outside < 16))
    assert np.median(shares) > 0.9


@pytest.mark.parametrize("kind", ["cyst", "apical", "short-axis", "vessel", "bladder"])
def test_cavities_are_darker_than_what_is_around_them(kind: str) -> None:
    import cv2

    darker = []
    for seed in range(12):
        made = simulate_image(seed, kind=kind)
        near = cv2.dilate(made.label, np.ones((25, 25), np.uint8)) & ~made.label & made.sector
        darker.append(made.image[made.label == 1].mean() < made.image[near == 1].mean())
    assert np.mean(darker) >= 0.8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1}, "seed -1"),
        ({"seed": 1, "size": (8, 256)}, "from 32 to 2048"),
        ({"seed": 1, "size": (4000, 256)}, "from 32 to 2048"),
        ({"seed": 1, "size": (256, 700)}, "differ by a factor"),
        ({"seed": 1, "kind": "kidney"}, "'kidney' is unknown; expected one of cyst"),
    ],
)
def test_bad_input_is_explained(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(FrameError, match=words):
        simulate_image(**arguments)  # type: ignore[arg-type]
