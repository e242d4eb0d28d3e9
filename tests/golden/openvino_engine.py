"""The product's own path: `samedge.load` and its Session, on OpenVINO.

What a Session has no words for (a frame at network scale with padding, input that no uint8 frame
can hold, prompts outside the frame, masks at network scale of a larger frame) runs on the same
compiled engines, one level below it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge import load
from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.errors import PromptError
from samedge.geometry.frame_geometry import FrameGeometry, frame_geometry
from samedge.geometry.mask_values import mask_values
from samedge.runtime.backend import LoadOptions
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.openvino.compile import DEVICE, compile_graph, core, engine_config
from samedge.runtime.openvino.engine import OpenVinoEngine as GraphEngine
from samedge.runtime.precision import graph_key
from tests.golden import graphs
from tests.golden.build import Build
from tests.golden.engines import (
    Decoded,
    Floats,
    OneByOne,
    Options,
    Prompt,
    dense_embedding,
    grey_levels,
    with_mean,
)
from tests.golden.images import CaseImage


class OpenVinoEngine(OneByOne):
    """A Session, and the backend below it for what a Session does not take."""

    def __init__(self, build: Build, options: Options) -> None:
        self.bundle = build.bundle()
        self.family = self.bundle.family
        self.traces: dict[str, Floats] = {}
        self.notes: list[str] = []
        self._no_mask: Floats = build.no_mask().numpy()
        self._options = LoadOptions(options.precision, options.threads, cache=False)
        self._session = load(
            self.bundle, "openvino", options.precision, options.threads, cache=False
        )
        self._current = ""  # key of the session's frame
        self._stacks = self.family.slices > 1

    def watch(self, names: list[str]) -> None:
        """A graph has no modules to compare with."""

    @cached_property
    def _parts(self) -> dict[str, Any]:
        """The session's compiled parts: they are shared within a process."""
        precision = self._options.precision
        key = graph_key(self.bundle.manifest, "openvino", "encoder", precision, OPENVINO.graphs)
        return compile_graph(self.bundle, "encoder", key, self._options)[0]

    @cached_property
    def _decoder(self) -> GraphEngine:
        return OPENVINO.open_graph(self.bundle, "decoder", self._options)

    @cached_property
    def _prompt_encoder(self) -> Any:
        model = core().read_model(graphs.prompt_encoder(self.bundle).SerializeToString())
        return core().compile_model(model, DEVICE, engine_config("fp32", self._options))

    def pixels_of(self, image: CaseImage) -> Floats:
        """Grey levels as the graph computes them."""
        assert image.geometry is not None
        return with_mean(self._preprocessed(image), self.family, image.geometry)

    def _preprocessed(self, image: CaseImage) -> Floats:
        return self._run_part("preprocess", graphs.frame_feeds(self.bundle, image))

    def _run_part(self, part: str, feeds: graphs.Arrays) -> Floats:
        request = self._parts[part].model.create_infer_request()
        known = {n: i for i, port in enumerate(request.model_inputs) for n in port.get_names()}
        request.infer({known[name]: array for name, array in feeds.items()})
        result: Floats = request.get_output_tensor(0).data.copy()
        return result

    def encode_one(self, image: CaseImage) -> Floats:
        """The embeddings of one run of the encoder."""
        if self._takes(image, image.geometry):
            self._show(image)
            whole = self._session.embedding()
        elif image.frame is None:
            whole = self._run_part("encoder", {NETWORK_INPUT: grey_levels(image, self.family)})
        else:
            whole = self._run_part("encoder", {NETWORK_INPUT: self._preprocessed(image)})
        embedding: Floats = whole - self._no_mask[:, None, None]
        return embedding

    def _takes_all(self, image: CaseImage, geometry: FrameGeometry) -> bool:
        """Whether a Session can answer: prompts in the frame of its only image."""
        if self._stacks or len(image.frames) > 1:
            return False
        return self._takes(image, geometry) and self._takes(image, image.geometry)

    def _takes(self, image: CaseImage, geometry: FrameGeometry | None) -> bool:
        """Whether a Session given the frame would work in this geometry."""
        if image.frame is None or geometry is None:
            return False
        height, width = image.frame.shape[1:3] if self._stacks else image.frame.shape[:2]
        own = frame_geometry(self.family, height, width)
        return own is geometry or _same(own, geometry)

    def _show(self, image: CaseImage) -> None:
        geometry = image.geometry
        assert geometry is not None
        if self._current != image.key:
            self._current = ""
            if self._stacks:
                # The embedding does not depend on what is asked of each slice.
                middle = {"points": [(geometry.width // 2, geometry.height // 2)]}
                self._session.segment_slices(image.frame, [middle] * self.family.slices)
            else:
                self._session.set_frame(image.frame)
            self._current = image.key

    def decode_one(
        self, image: CaseImage, embedding: Floats, prompt: Prompt, geometry: FrameGeometry
    ) -> Decoded:
        """Masks of N prompts on one embedding."""
        if self._takes_all(image, geometry):
            self._show(image)
            try:
                return self._predict(prompt, geometry)
            except PromptError as error:
                self.notes.append(f"decoded below the Session, which refuses the prompt: {error}")
        whole = embedding + self._no_mask[:, None, None]
        feeds = graphs.decoder_feeds(self.bundle, whole, prompt, geometry)
        side = int(self.bundle.manifest.variant.low_res)
        shape = (prompt.count, len(self.family.mask_tokens(prompt.multimask)))
        low_res, scores = np.zeros((*shape, side, side), np.float32), np.zeros(shape, np.float32)
        masks = np.zeros((*shape, geometry.height, geometry.width), np.uint8)
        outputs = {"masks": masks, "scores": scores, "low_res_logits": low_res}
        if self.family.exclusive:
            outputs["class_map"] = np.zeros((1, geometry.height, geometry.width), np.uint8)
        self._decoder.run(feeds, outputs)
        return Decoded(low_res, scores, mask_values(low_res, geometry, self.family), masks)

    def _predict(self, prompt: Prompt, geometry: FrameGeometry) -> Decoded:
        """The Session's own call, on the current frame."""
        masks = None if prompt.masks is None else prompt.masks[:, 0]
        result = self._session.predict(
            points=prompt.point_coords,
            labels=prompt.point_labels,
            box=prompt.boxes,
            mask=masks,
            multimask=prompt.multimask,
        )

        def by_prompt(array: NDArray[Any]) -> NDArray[Any]:
            return array.reshape(prompt.count, -1, *array.shape[1:])

        low_res = by_prompt(result.low_res_logits)
        full = mask_values(low_res, geometry, self.family)
        return Decoded(low_res, by_prompt(result.scores), full, by_prompt(result.masks))

    def prompt_embeddings(self, prompt: Prompt, geometry: FrameGeometry) -> tuple[Floats, Floats]:
        """What the decoder graph makes of a prompt."""
        feeds = graphs.prompt_feeds(self.bundle, prompt, geometry)
        feeds.pop("mask_index", None)
        results = self._prompt_encoder.create_infer_request().infer(feeds).to_tuple()
        grid = int(self.bundle.manifest.variant.grid)
        added = results[1].copy() if len(results) > 1 else None
        return results[0].copy(), dense_embedding(added, self._no_mask, prompt.count, grid)

    def close(self) -> None:
        """Free the engines."""
        self._session.close()
        if "_decoder" in self.__dict__:
            self._decoder.close()
        self.__dict__.clear()


def _same(a: FrameGeometry, b: FrameGeometry) -> bool:
    def record(g: FrameGeometry) -> tuple[Any, ...]:
        return g.height, g.width, g.crop, g.valid, g.rows_first

    arrays = ("rows", "cols", "mask_rows", "mask_cols")
    return record(a) == record(b) and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays
    )
