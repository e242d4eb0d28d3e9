"""Probabilities are what the masks were cut from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import samedge
from samedge.stream.live.probability import probability_map
from samedge.stream.live.settings import LiveSettings
from samedge.stream.live.stream import LiveStream
from tests.stream.live.parts import Collect, Script, picture

TINY = Path(__file__).parents[2] / "data" / "tiny.samedge"


def test_a_mask_ends_where_its_probability_is_a_half() -> None:
    sink = Collect()
    frames = [picture(i, 61, 83) for i in range(3)]
    with samedge.load(TINY, precision="fp32", threads=1) as session:
        LiveStream(
            session,
            Script(frames, live=False),
            [(40.0, 30.0)],
            sinks=[sink],
            settings=LiveSettings(every_frame=True, crop=(3, 4, 80, 60)),
        ).run()
    about = sink.about
    for item in sink.items:
        (one,) = item.objects
        assert one.mask is not None
        found = probability_map(item, about.family, about.input_size)
        outside = np.ones(found.shape, bool)
        outside[4:60, 3:80] = False
        assert not found[outside].any()
        clear = np.abs(found.astype(int) - 127.5) > 1
        assert np.array_equal((found > 127)[clear], (one.mask != 0)[clear])
        assert len(np.unique(found)) > 2
