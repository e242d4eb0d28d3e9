"""Session on toy bundles: every result follows from numpy."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest

from samedge.errors import DeviceError, FrameError, NotSupportedError, PromptError, SessionError
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.mask_values import mask_values
from samedge.geometry.network_input import resize_frame
from samedge.runtime import buffers, load
from samedge.runtime.backend import LoadOptions, both_graphs
from samedge.runtime.openvino.backend import OPENVINO
from samedge.runtime.result import STAGES
from samedge.runtime.session import Session
from tests.bundle.manifests import parity_row
from tests.runtime.watched import Watched

SIDE, LOW_RES = 32, 16
OPTIONS = LoadOptions(cache=False)


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
    assert tuple(timing) == STAGES
    assert STAGES == (
        "copy_in", "preprocess", "encode", "prompt", "decode", "post", "copy_out", "total",
    )  # fmt: skip
    for one in (timing, later):
        parts = sum(one[stage] for stage in STAGES[:-1])
        assert 0 < parts <= one["total"] + 1e-6
    assert min(timing[stage] for stage in ("copy_in", "decode", "post", "copy_out")) > 0
    assert later["encode"] == later["preprocess"] == later["copy_in"] == 0.0
    assert (timing.total, timing.encode) == (timing["total"], timing["encode"])
    assert dict(timing) == {**timing} == timing
    assert timing.get("read") is None
    with pytest.raises(AttributeError):
        timing.total = 0.0


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
    """The engines get the very arrays that they are set up for."""
    watched = Watched(OPENVINO)
    with Session(samus_toy, watched, OPTIONS, "test") as session:
        session.segment(frame, points=[(3, 4)])
        session.segment(255 - frame, points=[(5, 6)])
    first, second = watched.runs[:2], watched.runs[2:]
    assert [graph for graph, *_ in first] == ["encoder", "decoder"]
    for one, other in zip(first, second, strict=True):
        for before, after in zip(one[1:], other[1:], strict=True):
            assert before.keys() == after.keys()
            assert all(before[name] is after[name] for name in before)


def test_geometry_is_made_once_per_size(
    samus_toy: Any, frame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    make = buffers.geometry_of_crop
    monkeypatch.setattr(
        buffers, "geometry_of_crop", lambda *args: (made.append(args), make(*args))[1]
    )
    with load(samus_toy, threads=1) as session:
        for pixels in (frame, frame[:20], frame, 255 - frame, frame[:20]):
            session.segment(pixels, points=[(3, 4)])
        for crop in ((0, 0, 30, 30), [0, 0, 30, 30], (0, 0, 56, 40)):
            session.set_frame(frame, crop=crop)  # type: ignore[arg-type]
    assert [args[1:4] for args in made] == [
        (40, 56, (0, 0, 56, 40)),
        (20, 56, (0, 0, 56, 20)),
        (40, 56, (0, 0, 30, 30)),
    ]


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
    entered, leave = threading.Event(), threading.Event()

    def wait(_graph: str) -> None:
        entered.set()
        assert leave.wait(20)

    session = Session(samus_toy, Watched(OPENVINO, wait), OPTIONS, "test")
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


def test_sessions_of_one_bundle_do_not_mix(samus_toy: Any, frame: Any) -> None:
    with load(samus_toy, threads=1) as one, load(samus_toy, threads=1) as two:
        first = one.segment(frame, points=[(1, 2)])
        two.segment(255 - frame, points=[(1, 2)])
        again = one.predict(points=[(1, 2)])
    np.testing.assert_array_equal(first.low_res_logits, again.low_res_logits)


def test_describe(samus_toy: Any) -> None:
    with load(samus_toy, threads=1) as session:
        about = session.describe()
    assert about["backend"] == "openvino"
    assert about["precision"] == "fp32"
    assert "fp32: " in about["why"]  # of the rest the machine's arithmetic is part
    assert about["threads"] == 1
    assert about["device"]


@pytest.mark.parametrize("passed", [True, False])
def test_auto_takes_bf16_only_where_it_is_native_and_passed(
    samus_toy: Any, monkeypatch: pytest.MonkeyPatch, passed: bool
) -> None:
    monkeypatch.setattr(OPENVINO, "precisions", lambda: ("fp32", "bf16"))
    samus_toy.tell(parity=(parity_row("openvino", "bf16", passed),))
    with load(samus_toy, threads=1) as session:
        assert session.describe()["precision"] == ("bf16" if passed else "fp32")


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
    monkeypatch.setattr(OPENVINO, "unavailable", lambda: "openvino is not installed")
    with pytest.raises(NotSupportedError, match="openvino: openvino is not installed"):
        load(samus_toy)
    with pytest.raises(NotSupportedError, match="does not run here"):
        load(samus_toy, backend="openvino")


def test_encoder_is_freed_if_the_decoder_fails(samus_toy: Any) -> None:
    watched = Watched(OPENVINO)
    engines = watched.open(samus_toy, OPTIONS)

    def failing(graph: str) -> Any:
        if graph == "decoder":
            raise NotSupportedError("no decoder today")
        return engines.encoder

    with pytest.raises(NotSupportedError, match="no decoder today"):
        both_graphs(failing)
    assert watched.closed == ["encoder"]


def test_a_session_without_memory_frees_its_engines(
    samus_toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_name: str) -> Any:
        raise DeviceError("out of memory")

    watched = Watched(OPENVINO)
    engines = watched.open(samus_toy, OPTIONS)
    monkeypatch.setattr(engines.encoder, "buffer", full)
    monkeypatch.setattr(watched, "open", lambda *_: engines)
    with pytest.raises(DeviceError, match="out of memory"):
        Session(samus_toy, watched, OPTIONS, "test")
    assert watched.closed == ["encoder", "decoder"]


def test_session_is_exported() -> None:
    import samedge

    assert samedge.load is load
    assert Session.__module__ == "samedge.runtime.session"


def test_a_session_says_what_it_is_in_one_line(samus_toy: Any) -> None:
    with load(samus_toy, precision="fp32", threads=1) as session:
        assert repr(session) == "Session(toy SAMUS, openvino fp32)"
    assert repr(session) == "Session(toy SAMUS, openvino fp32, closed)"


@pytest.mark.parametrize("away", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_session_stays_in_its_process(samus_toy: Any, away: Any) -> None:
    with (
        load(samus_toy, threads=1) as session,
        pytest.raises(SessionError, match=r"cannot be pickled or copied.*samedge\.load"),
    ):
        away(session)
