"""Session on toy bundles: every result follows from numpy."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from samedge.errors import FrameError, NotSupportedError, PromptError, SessionError
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.mask_values import mask_values
from samedge.geometry.network_input import resize_frame
from samedge.runtime import load
from samedge.runtime.session import Session

SIDE, LOW_RES = 32, 16


def expected_logits(bundle: Any, frame: Any, tokens: Any, labels: Any) -> Any:
    """float32 [4, L, L], the toy network in numpy."""
    grey = frame if frame.ndim == 2 else frame.max(axis=2)
    geometry = frame_geometry(bundle.family, *grey.shape, None, SIDE, LOW_RES)
    network = resize_frame(grey, geometry, bundle.family).astype(np.float32)
    if any(bundle.family.mean):
        network -= np.outer(geometry.valid_rows, geometry.valid_cols)
    pooled = network.reshape(4, 8, 4, 8).mean(axis=(1, 3)) / 255
    copies = np.stack([pooled * scale for scale in (1, 2, 3, 4)])
    up = copies.repeat(4, axis=1).repeat(4, axis=2)
    return up + np.sum(tokens) / 1000 + np.sum(np.abs(labels)) - 1.5, geometry


def test_segment_matches_numpy(samus_toy: Any, frame: Any) -> None:
    with load(samus_toy, precision="fp32", threads=1) as session:
        result = session.segment(frame, points=[(10, 20)], labels=[1])
    geometry = frame_geometry(samus_toy.family, 40, 56, None, SIDE, LOW_RES)
    xy = geometry.to_network([(10, 20)])
    logits, _ = expected_logits(samus_toy, frame, xy, [1, -1])
    np.testing.assert_allclose(result.low_res_logits, logits[:1], atol=1e-5)
    full = mask_values(result.low_res_logits, geometry, samus_toy.family)
    sure = np.abs(full) > 1e-4
    np.testing.assert_array_equal(result.masks[sure], (full > 0)[sure])
    assert result.masks.dtype == np.uint8
    assert result.masks.shape == (1, 40, 56)
    np.testing.assert_allclose(result.scores, logits[:1].mean(axis=(1, 2)), atol=1e-5)
    assert result.object_index.tolist() == [0]


def test_timing_has_every_stage(samus_toy: Any, frame: Any) -> None:
    with load(samus_toy, threads=1) as session:
        timing = session.segment(frame, points=[(10, 20)]).timing_ms
        later = session.predict(points=[(3, 4)]).timing_ms
    assert set(timing) == {"preprocess", "encode", "prompt", "decode", "total"}
    parts = sum(timing[k] for k in ("preprocess", "encode", "prompt", "decode"))
    assert 0 < parts <= timing["total"] + 1e-6
    assert later["encode"] == later["preprocess"] == 0.0


def test_rgb_grey_views_and_read_only_frames_agree(samus_toy: Any, frame: Any) -> None:
    frozen = frame.copy()
    frozen.setflags(write=False)
    wide = np.zeros((40, 112), np.uint8)
    wide[:, ::2] = frame
    variants = [frame, frame[:, :, None], np.dstack([frame] * 3), frozen, wide[:, ::2]]
    with load(samus_toy, precision="fp32", threads=1) as session:
        results = [session.segment(v, points=[(10, 20)]).low_res_logits for v in variants]
    for logits in results[1:]:
        np.testing.assert_array_equal(logits, results[0])


@pytest.mark.parametrize("size", [(16, 16), (16, 333), (517, 31), (4096, 17)])
def test_frame_sizes(samus_toy: Any, size: tuple[int, int]) -> None:
    frame = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
    with load(samus_toy, precision="fp32", threads=1) as session:
        result = session.segment(frame, points=[(3, 4)])
    logits, geometry = expected_logits(samus_toy, frame, 0, 0)
    logits = logits + geometry.to_network([(3, 4)]).sum() / 1000 + 2
    np.testing.assert_allclose(result.low_res_logits, logits[:1], atol=1e-5)
    assert result.masks.shape == (1, *size)


def test_frame_size_may_change_and_come_back(samus_toy: Any, frame: Any) -> None:
    with load(samus_toy, precision="fp32", threads=1) as session:
        first = session.segment(frame, points=[(3, 4)])
        other = session.segment(frame[:20, :30], points=[(3, 4)])
        again = session.segment(frame, points=[(3, 4)])
    assert other.masks.shape == (1, 20, 30)
    np.testing.assert_array_equal(first.low_res_logits, again.low_res_logits)


def test_results_belong_to_the_caller(samus_toy: Any, frame: Any) -> None:
    with load(samus_toy, threads=1) as session:
        first = session.segment(frame, points=[(3, 4)])
        kept = first.low_res_logits.copy()
        session.segment(255 - frame, points=[(30, 30)])
        np.testing.assert_array_equal(first.low_res_logits, kept)


def test_nothing_is_allocated_for_a_second_frame(samus_toy: Any, frame: Any) -> None:
    with load(samus_toy, threads=1) as session:
        session.segment(frame, points=[(3, 4)])
        buffers = session._frame
        bound = {n: id(b[0]) for p in session._encoder._parts.values() for n, b in p._bound.items()}
        session.segment(255 - frame, points=[(5, 6)])
        assert session._frame is buffers
        again = {n: id(b[0]) for p in session._encoder._parts.values() for n, b in p._bound.items()}
        assert bound == again


def test_several_objects_keep_their_order(samus_toy: Any, frame: Any) -> None:
    objects = [[(1, 2), (3, 4)], [(30, 35)], [(9, 9), (20, 30)]]
    with load(samus_toy, precision="fp32", threads=1) as session:
        together = session.segment(frame, points=objects)
        alone = [session.predict(points=p) for p in objects]
    assert together.object_index.tolist() == [0, 1, 2]
    for index, single in enumerate(alone):
        np.testing.assert_array_equal(together.low_res_logits[index], single.low_res_logits[0])
        np.testing.assert_array_equal(together.masks[index], single.masks[0])


def test_multimask_boxes_and_masks(sam_toy: Any, frame: Any) -> None:
    rgb = np.dstack([frame, frame // 2, frame // 3])
    with load(sam_toy, precision="fp32", threads=1) as session:
        multi = session.segment(rgb, points=[[(1, 2)], [(3, 4)]], multimask=True)
        assert multi.masks.shape == (6, 40, 56)
        assert multi.object_index.tolist() == [0, 0, 0, 1, 1, 1]
        assert multi.best(1) in (3, 4, 5)
        single = session.predict(box=[1, 2, 30, 31])
        assert single.masks.shape == (1, 40, 56)
        geometry = frame_geometry(sam_toy.family, 40, 56, None, SIDE, LOW_RES)
        corners = geometry.to_network([(1, 2), (30, 31)])
        logits, _ = expected_logits(sam_toy, rgb, corners, [2, 3])
        np.testing.assert_allclose(single.low_res_logits, logits[:1], atol=1e-4)
        shifted = session.predict(box=[1, 2, 30, 31], mask=np.ones((LOW_RES, LOW_RES)))
        np.testing.assert_allclose(shifted.low_res_logits, single.low_res_logits + 1, atol=1e-5)
        alone = session.predict(mask=multi.low_res_logits[:2])
        assert alone.object_index.tolist() == [0, 1]


def test_multimask_is_refused_where_there_is_one(samus_toy: Any, frame: Any) -> None:
    with load(samus_toy, threads=1) as session, pytest.raises(PromptError, match="one mask"):
        session.segment(frame, points=[(1, 2)], multimask=True)


def test_predict_needs_a_frame(samus_toy: Any, frame: Any) -> None:
    with load(samus_toy, threads=1) as session:
        with pytest.raises(SessionError, match="set_frame"):
            session.predict(points=[(1, 2)])
        session.set_frame(frame)
        session.predict(points=[(1, 2)])
        with pytest.raises(FrameError):
            session.set_frame(frame.astype(float))
        with pytest.raises(SessionError, match="set_frame"):
            session.predict(points=[(1, 2)])


def test_a_bad_prompt_leaves_the_frame(samus_toy: Any, frame: Any) -> None:
    with load(samus_toy, threads=1) as session:
        with pytest.raises(PromptError):
            session.segment(frame, points=[(1000, 2)])
        assert session.predict(points=[(1, 2)]).masks.shape == (1, 40, 56)


def test_closed_sessions_say_so(samus_toy: Any, frame: Any) -> None:
    session = load(samus_toy, threads=1)
    session.close()
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.segment(frame, points=[(1, 2)])


def test_two_threads_are_refused(samus_toy: Any, frame: Any) -> None:
    session = load(samus_toy, threads=1)
    entered, leave = threading.Event(), threading.Event()
    run = session._encoder.run

    def slow(inputs: Any, outputs: Any) -> None:
        entered.set()
        assert leave.wait(20)
        run(inputs, outputs)

    session._encoder.run = slow  # type: ignore[method-assign]
    results: list[Any] = []
    thread = threading.Thread(
        target=lambda: results.append(session.segment(frame, points=[(1, 2)]))
    )
    thread.start()
    assert entered.wait(20)
    try:
        for call in (lambda: session.segment(frame, points=[(1, 2)]), session.close):
            with pytest.raises(SessionError, match="another thread"):
                call()
    finally:
        leave.set()
        thread.join(20)
    assert len(results) == 1
    session.close()


def test_sessions_of_one_bundle_share_weights(samus_toy: Any, frame: Any) -> None:
    with load(samus_toy, threads=1) as one, load(samus_toy, threads=1) as two:
        shared = [s._encoder._parts["encoder"]._compiled for s in (one, two)]
        assert shared[0] is shared[1]
        del shared
        first = one.segment(frame, points=[(1, 2)])
        two.segment(255 - frame, points=[(1, 2)])
        again = one.predict(points=[(1, 2)])
    np.testing.assert_array_equal(first.low_res_logits, again.low_res_logits)


def test_describe(samus_toy: Any) -> None:
    with load(samus_toy, threads=1) as session:
        about = session.describe()
    assert about["backend"] == "openvino"
    assert about["precision"] == "fp32"
    assert "parity table" in about["why"] or "no faster precision" in about["why"]
    assert about["threads"] == 1
    assert about["device"]


@pytest.mark.parametrize("passed", [True, False])
def test_auto_takes_bf16_only_where_it_is_native_and_passed(
    samus_toy: Any, monkeypatch: pytest.MonkeyPatch, passed: bool
) -> None:
    from samedge.runtime.openvino.backend import OpenVinoBackend

    monkeypatch.setattr(OpenVinoBackend, "precisions", staticmethod(lambda: ("fp32", "bf16")))
    samus_toy.manifest["parity"] = [{"backend": "openvino", "precision": "bf16", "passed": passed}]
    with load(samus_toy, threads=1) as session:
        assert session.describe()["precision"] == ("bf16" if passed else "fp32")


def test_bf16_keeps_preprocessing_and_decoder_exact(samus_toy: Any, frame: Any) -> None:
    from samedge.runtime.openvino.backend import OpenVinoBackend

    if "bf16" not in OpenVinoBackend.precisions():
        pytest.skip("this CPU has no native bf16")
    with load(samus_toy, precision="bf16", threads=1) as session:
        session.set_frame(frame)
        part = session._encoder._parts["encoder"]
        geometry = frame_geometry(samus_toy.family, 40, 56, None, SIDE, LOW_RES)
        network = part._bound["network_input"][0]
        expected = resize_frame(frame, geometry, samus_toy.family)
        np.testing.assert_array_equal(network[0, 0], expected)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"backend": "torch"}, "not in this version"),
        ({"backend": "cuda"}, "there is no backend"),
        ({"precision": "int8"}, "int8 encoder"),
        ({"precision": "fp8"}, "use one of"),
        ({"device": 3}, "device 0"),
        ({"threads": 0}, "threads"),
        ({"hint": "speed"}, "expected one of: latency, throughput"),
    ],
)
def test_what_is_not_supported(samus_toy: Any, kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(NotSupportedError, match=words):
        load(samus_toy, **kwargs)


def test_nothing_works_lists_reasons(samus_toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from samedge.runtime.openvino.backend import OpenVinoBackend

    monkeypatch.setattr(
        OpenVinoBackend, "unavailable", staticmethod(lambda: "openvino is not installed")
    )
    with pytest.raises(NotSupportedError, match="openvino: openvino is not installed"):
        load(samus_toy)
    with pytest.raises(NotSupportedError, match="does not run here"):
        load(samus_toy, backend="openvino")


def test_encoder_is_freed_if_the_decoder_fails(
    samus_toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samedge.runtime.openvino.backend import OpenVinoBackend

    closed = []
    load_graph = OpenVinoBackend.load

    def failing(bundle: Any, graph: str, options: Any) -> Any:
        if graph == "decoder":
            raise NotSupportedError("no decoder today")
        engine = load_graph(bundle, graph, options)
        monkeypatch.setattr(engine, "close", lambda: closed.append(graph))
        return engine

    monkeypatch.setattr(OpenVinoBackend, "load", failing)
    with pytest.raises(NotSupportedError, match="no decoder today"):
        load(samus_toy, threads=1)
    assert closed == ["encoder"]


def test_session_is_exported() -> None:
    import samedge

    assert samedge.load is load
    assert Session.__module__ == "samedge.runtime.session"
