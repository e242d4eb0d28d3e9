"""A bundle's graphs read back: written again they are the same, to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samedge.export.graphs.decoder import decoder_graph
from samedge.export.graphs.encoder import encoder_graph
from samedge.export.graphs.model import OnnxGraph
from samedge.export.triton.refold import refold_decoder, refold_encoder
from samedge.fold import FoldedModel
from tests.export.engine import VITS, folded_model


@pytest.mark.parametrize("name", VITS)
def test_written_again_the_graphs_are_the_same(name: str, tmp_path: Path) -> None:
    folded = folded_model(name)
    for graph, kind in ((encoder_graph(folded), "encoder"), (decoder_graph(folded), "decoder")):
        graph.save(tmp_path / f"{kind}.onnx")
    read = [OnnxGraph.read(tmp_path / f"{kind}.onnx") for kind in ("encoder", "decoder")]
    again = FoldedModel(
        folded.family,
        folded.variant,
        refold_encoder(read[0]),
        refold_decoder(read[1]),
        folded.no_mask,
    )
    for before, after in ((encoder_graph, "encoder"), (decoder_graph, "decoder")):
        expected, found = before(folded), before(again)
        assert found.model().SerializeToString() == expected.model().SerializeToString(), after
    known = folded.state_dict()
    assert {*again.state_dict()} == {*known}
    for key, tensor in again.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), known[key].numpy(), err_msg=key)
