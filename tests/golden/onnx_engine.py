"""The bundle's ONNX files in ONNX Runtime: an engine that shares no code with the product's."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import onnx
import onnxruntime as ort

from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.geometry.frame_geometry import FrameGeometry
from samedge.geometry.mask_values import mask_values
from tests.golden import graphs
from tests.golden.build import Build
from tests.golden.engines import (
    Decoded,
    Floats,
    OneByOne,
    Options,
    Prompt,
    dense_embedding,
    fp32_only,
    grey_levels,
    with_mean,
)
from tests.golden.images import CaseImage


class OnnxEngine(OneByOne):
    """Encoder and decoder file, each loaded when it is first needed."""

    def __init__(self, build: Build, options: Options) -> None:
        fp32_only("onnx", options)
        self.bundle = build.bundle()
        self.family = self.bundle.family
        self.traces: dict[str, Floats] = {}
        self.notes: list[str] = []
        self._folder, self._threads = build.folder, options.threads
        self._no_mask: Floats = build.no_mask().numpy()

    def watch(self, names: list[str]) -> None:
        """A graph has no modules to compare with."""

    def _session(self, path: Path) -> ort.InferenceSession:
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = self._threads
        settings.log_severity_level = 3
        return ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])

    def _part(self, name: str, model: onnx.ModelProto) -> ort.InferenceSession:
        path = self._folder / f"{name}.onnx"
        # Weights beside it in any case: those of a ViT-H are too large for the file itself.
        onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")
        return self._session(path)

    @cached_property
    def _encoder(self) -> ort.InferenceSession:
        return self._session(self.bundle.graph("encoder", "fp32"))

    @cached_property
    def _decoder(self) -> ort.InferenceSession:
        return self._session(self.bundle.graph("decoder", "fp32"))

    @cached_property
    def _preprocessing(self) -> ort.InferenceSession:
        return self._part("preprocessing", graphs.preprocessing(self.bundle))

    @cached_property
    def _network(self) -> ort.InferenceSession:
        return self._part("network", graphs.network(self.bundle))

    @cached_property
    def _prompt_encoder(self) -> ort.InferenceSession:
        return self._part("prompt-encoder", graphs.prompt_encoder(self.bundle))

    def pixels_of(self, image: CaseImage) -> Floats:
        """Grey levels as the graph computes them."""
        assert image.geometry is not None
        pixels = self._preprocessing.run(None, graphs.frame_feeds(self.bundle, image))[0]
        return with_mean(pixels, self.family, image.geometry)

    def encode_one(self, image: CaseImage) -> Floats:
        """The embeddings of one run, from the frame, or past the pre-processing without one."""
        if image.frame is None:
            feeds: graphs.Arrays = {NETWORK_INPUT: grey_levels(image, self.family)}
            whole = self._network.run(None, feeds)[0]
        else:
            whole = self._encoder.run(None, graphs.frame_feeds(self.bundle, image))[0]
        embedding: Floats = whole - self._no_mask[:, None, None]
        return embedding

    def decode_one(
        self, image: CaseImage, embedding: Floats, prompt: Prompt, geometry: FrameGeometry
    ) -> Decoded:
        """Masks of N prompts."""
        whole = embedding + self._no_mask[:, None, None]
        feeds = graphs.decoder_feeds(self.bundle, whole, prompt, geometry)
        names = ["masks", "scores", "low_res_logits"]
        masks, scores, low_res = self._decoder.run(names, feeds)
        return Decoded(low_res, scores, mask_values(low_res, geometry, self.family), masks)

    def prompt_embeddings(self, prompt: Prompt, geometry: FrameGeometry) -> tuple[Floats, Floats]:
        """What the decoder graph makes of a prompt."""
        feeds = graphs.prompt_feeds(self.bundle, prompt, geometry)
        feeds.pop("mask_index", None)
        sparse, *added = self._prompt_encoder.run(None, feeds)
        grid = int(self.bundle.manifest.variant.grid)
        tokens = added[0] if added else None
        return sparse, dense_embedding(tokens, self._no_mask, prompt.count, grid)

    def close(self) -> None:
        """Let go of all sessions."""
        self.__dict__.clear()
