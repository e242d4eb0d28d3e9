"""Fixtures: the models of `tests.export.engine`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from samedge.export.graphs.decoder import decoder_graph
from samedge.export.graphs.encoder import encoder_graph
from samedge.fold import FoldedModel
from tests.export.engine import Engine, folded_model, open_graph


@pytest.fixture(scope="session")
def engines() -> Callable[[str], Engine]:
    """Name of a model -> its engine, made once."""
    made: dict[str, Engine] = {}

    def get(name: str) -> Engine:
        if name not in made:
            folded = folded_model(name)
            graphs = encoder_graph(folded), decoder_graph(folded)
            made[name] = Engine(folded, *(open_graph(g.model()) for g in graphs))
        return made[name]

    return get


@pytest.fixture(
    params=["sam", "medsam", "samed", "msa", "volume", "samus", "autosamus", "litemedsam"]
)
def folded(request: pytest.FixtureRequest) -> FoldedModel:
    return folded_model(request.param)
