"""A recorded stream played again gives the same masks; another model, or a change, does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from samedge.errors import SourceError
from samedge.sources.live_opening import open_live_source
from samedge.sources.replay import ROWS
from samedge.stream.live.controls import Click, Hold, Remove
from samedge.stream.live.stream import LiveStream
from samedge.stream.sinks.opening import open_sink
from tests.stream.live.parts import Collect, Model, Script, picture


class Asked(Model):
    """Its mask depends on all that is asked: points, labels and logits."""

    def predict(self, **prompts: Any) -> Any:
        answer = super().predict(**prompts)
        for k, (points, labels) in enumerate(
            zip(prompts["points"], prompts["labels"], strict=True)
        ):
            for (x, y), label in zip(points, labels, strict=True):
                answer.masks[k, int(y), :] = label
                answer.masks[k, :, int(x)] = label
        answer.low_res_logits[:] = self.predictions
        if prompts.get("mask") is not None:
            answer.masks[:, int(prompts["mask"].max()) % 40 + 2, ::3] ^= 1
        return answer


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Of a stream in which much was said."""
    folder, sink = tmp_path / "rec", Collect()
    steps = [s for i in range(4000) for s in (0.004, picture(i))]
    stream = LiveStream(
        Asked(),
        Script(steps),
        [(30.0, 20.0)],
        sinks=[open_sink(f"folder:{folder}"), sink],
        track=True,
    ).start()
    item = sink.wait_for(lambda i: i.has_masks and i.is_new)
    stream.controls.send(Click(20.0, 30.0))
    item = sink.wait_for(lambda i: len(i.objects) == 2 and i.is_new, after=item)
    stream.controls.send(Hold(True))
    stream.controls.send(Click(25.0, 31.0, object=2))
    item = sink.wait_for(lambda i: not i.is_new and bool(i.commands), after=item)
    stream.controls.send(Click(26.0, 12.0))
    item = sink.wait_for(lambda i: len(i.objects) == 3, after=item)
    stream.controls.send(Hold(False))
    item = sink.wait_for(lambda i: i.is_new, after=item)
    stream.controls.send(Remove(1))
    item = sink.wait_for(lambda i: i.is_new and len(i.objects) == 2, after=item)
    sink.wait_for(lambda i: i.number > item.number + 10)
    stream.finish()
    return folder


def replayed(folder: Path, model: Model) -> dict[str, Any]:
    source = open_live_source(f"replay:{folder}?fast=yes")
    record = LiveStream(model, source).run()
    (told,) = (s["details"] for s in record.sinks if s["details"].get("kind") == "replay")
    assert record.counts["captured"] == record.counts["accounted"] == len(source.steps)
    return told


def test_the_same_model_gives_the_same_masks(recording: Path) -> None:
    told = replayed(recording, Asked())
    assert told["equal"] > 5
    assert (told["different"], told["first_different"]) == (0, None)


def test_another_model_is_noticed(recording: Path) -> None:
    told = replayed(recording, Model())
    assert told["different"] > 0


def test_what_was_said_matters(recording: Path) -> None:
    rows = [json.loads(line) for line in (recording / ROWS).read_text().splitlines()]
    for row in rows[1:]:
        row["commands"] = [c for c in row.get("commands", ()) if c["command"] != "click"]
    (recording / ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert replayed(recording, Asked())["different"] > 0


def test_a_picture_that_was_changed_is_refused(recording: Path) -> None:
    frame = sorted((recording / "frames").iterdir())[3]
    frame.write_bytes(sorted((recording / "frames").iterdir())[2].read_bytes())
    with pytest.raises(SourceError, match="is not what was recorded"):
        replayed(recording, Asked())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda row: row | {"frame": "../../etc/passwd"}, "is no delivery"),
        (lambda row: row | {"shape": [48]}, "is no delivery"),
        (lambda row: row | {"shape": [10**9, 10**9]}, "is no delivery"),
        (lambda row: row | {"clock_s": "now"}, "is no delivery"),
        (lambda row: row | {"clock_s": 10**400}, "is no delivery"),
        (lambda row: row | {"number": float("inf")}, "is no JSON"),
        (lambda _: {"is_new": True}, "is no delivery"),
        (lambda row: row | {"commands": [{"command": "rm"}]}, "a command that is none"),
    ],
)
def test_damaged_recordings(recording: Path, change: Any, text: str) -> None:
    rows = [json.loads(line) for line in (recording / ROWS).read_text().splitlines()]
    place = next(i for i, row in enumerate(rows) if row.get("is_new"))
    rows[place] = change(rows[place])
    (recording / ROWS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SourceError, match=text):
        replayed(recording, Asked())


def test_cut_off_and_empty(recording: Path, tmp_path: Path) -> None:
    text = (recording / ROWS).read_bytes()
    (recording / ROWS).write_bytes(text[: len(text) // 2])
    source = open_live_source(f"replay:{recording}")
    assert any("cut off" in warning for warning in source.warnings)
    (recording / ROWS).write_bytes(text.split(b"\n")[0] + b"\n")
    with pytest.raises(SourceError, match="holds no frame"):
        open_live_source(f"replay:{recording}")
    with pytest.raises(SourceError, match="holds no recording"):
        open_live_source(f"replay:{tmp_path}")
