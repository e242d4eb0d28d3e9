"""samedge/train/evaluation: scores of models whose answers are known, reports and pictures."""

from __future__ import annotations

import csv
import io
import json
from math import isnan
from pathlib import Path

import numpy as np
import pytest

from samedge import models as m
from samedge.cli.terminal.printing import plain
from samedge.errors import ModelError, SessionError
from samedge.families import SAMED, SAMUS, Family
from samedge.progress import Step
from samedge.prompts.prompt import Prompt
from samedge.train.data import open_dataset
from samedge.train.evaluation import (
    Contender,
    EagerContender,
    Evaluation,
    Row,
    Rules,
    evaluate,
)
from samedge.train.evaluation.contenders import Answer
from samedge.train.evaluation.reporting import csv_text, report, summary_rows, table_rows
from samedge.train.evaluation.sheet import TRUTH, draw_case, worst_sheet
from tests.fold.oracle import random_model
from tests.train.data.layouts import us30k


class Known:
    """A contender whose mask is a disc about the click, or for SAMed the same class everywhere."""

    engine, precision = "known", "fp32"

    def __init__(self, name: str, radius: float, family: Family = SAMUS) -> None:
        self.name, self.family, self.radius = name, family, radius
        self.input_size, self.low_res = family.input_size, family.input_size // family.stride * 4
        self.shape = (0, 0)

    def set_frame(self, image: np.ndarray) -> None:
        self.shape = image.shape[:2]

    def answer(self, prompt: Prompt) -> Answer:
        y, x = np.mgrid[: self.shape[0], : self.shape[1]]
        if self.family.classes:
            masks = np.zeros((len(self.family.classes), *self.shape), np.uint8)
            masks[2] = 1
            return Answer(masks, np.zeros((1, 1, 1), np.float32))
        (at,) = np.asarray(prompt.points)[0]
        inside = (x - at[0]) ** 2 + (y - at[1]) ** 2 <= self.radius**2
        return Answer(inside[None].astype(np.uint8), np.zeros((1, 1, 1), np.float32))


@pytest.fixture
def known(tmp_path: Path) -> Evaluation:
    """Two models on two sets: one knows the discs of the nodules, the other's are smaller."""
    samples = open_dataset(us30k(tmp_path / "data"), "train")
    contenders: list[Contender] = [Known("twelve", 12), Known("nine", 9)]
    steps: list[Step] = []
    result = evaluate(contenders, samples, Rules(worst=3), progress=steps.append)
    count = len(samples)
    assert steps == [Step("2 models", done, count) for done in range(1, count + 1)]
    return result


def test_scores(known: Evaluation) -> None:
    assert len(known.rows) == 2 * 8
    by = {(row.model, row.name): row for row in known.rows}
    assert by[0, "Nodule/n0"].scores.dice == 1
    assert by[1, "Nodule/n0"].scores.dice == pytest.approx(2 * 81 / (81 + 144), abs=0.01)
    assert by[1, "Heart/h2"].scores.dice == 1
    assert by[0, "Nodule/n0"].equal == 1
    assert by[1, "Nodule/n0"].equal == pytest.approx(1 - np.pi * (144 - 81) / 6300, abs=0.002)
    assert by[1, "Nodule/n0"].scores.hd95 == pytest.approx(3, abs=0.5)


def test_summaries(known: Evaluation) -> None:
    found = {(s["model"], s["class"], s["set"]): s for s in summary_rows(known)}
    assert set(found) == {
        (model, name, part)
        for model in (0, 1)
        for name, part in [
            ("all", "all"), ("class 1", "all"), ("class 2", "all"), ("all", "Nodule"),
            ("all", "Heart"),
        ]
    }  # fmt: skip
    best = found[0, "class 1", "all"]
    assert (best["images"], best["dice"]["mean"], best["dice"]["std"]) == (4, 1.0, 0.0)
    assert best["equal_to_first"] == {"mean": 1.0, "min": 1.0}
    both = [row.scores.dice for row in known.rows if row.model == 1]
    assert found[1, "all", "all"]["dice"]["mean"] == pytest.approx(np.mean(both))


def test_csv_and_table(known: Evaluation) -> None:
    lines = list(csv.DictReader(io.StringIO(csv_text(known))))
    assert len(lines) == 16
    assert lines[0]["model"] == "twelve"
    assert lines[0]["image"] == "Nodule/n0"
    assert float(lines[1]["dice"]) == pytest.approx(known.rows[1].scores.dice, abs=1e-5)
    document = report(known, {"data": "data"})
    json.dumps(plain(document), allow_nan=False)
    assert document["images"] == 8
    assert [model["prompt"] for model in document["models"]] == ["point", "point"]
    assert any("100.0000%" in row for row in table_rows(document))


def test_worst_cases(known: Evaluation) -> None:
    assert [len(cases) for cases in known.worst] == [3, 3]
    lowest = sorted(row.scores.dice for row in known.rows if row.model == 1)[:3]
    assert [case.row.scores.dice for case in known.worst[1]] == lowest
    sheet = worst_sheet(known, 1, "data")
    assert sheet.dtype == np.uint8
    assert sheet.shape[1:] == (1600, 3)
    picture = draw_case(known.worst[1][0])
    on_line = (picture == TRUTH).all(-1)
    assert on_line.sum() > 100  # the outline of the truth is there


def test_a_model_with_classes(tmp_path: Path) -> None:
    samples = open_dataset(us30k(tmp_path / "data"), "test")
    result = evaluate([Known("samed", 0, SAMED)], samples, Rules())
    # Test lists ask for class 1; this model finds class 2 everywhere.
    assert {row.class_id for row in result.rows} == {1}
    assert {row.scores.dice for row in result.rows} == {0.0}
    assert all(isnan(row.scores.hd95) for row in result.rows)
    (only,) = [s for s in summary_rows(result) if s["class"] == "class 1"]
    assert (only["hd95"]["missing"], only["empty_prediction"], only["empty_truth"]) == (8, 8, 0)
    assert any("-" in row for row in table_rows(report(result, {})))


def test_a_model_without_the_datas_classes(tmp_path: Path) -> None:
    samples = open_dataset(us30k(tmp_path / "data"), "train")
    model = EagerContender(m.build_model(m.tiny(m.SamedConfig, num_mask_tokens=2)), "two")
    with pytest.raises(ModelError, match=r"two \(eager fp32\) has 1 classes, the data 2"):
        evaluate([model], samples, Rules())


CONFIGS = {
    "sam": m.tiny(m.SamConfig),
    "medsam": m.tiny(m.MedsamConfig),
    "samed": m.tiny(m.SamedConfig),
    "structures": m.tiny(m.MsaConfig, classes=("cup", "disc")),
    "samus": m.tiny(m.SamusConfig),
    "autosamus": m.tiny(m.AutosamusConfig),
}


@pytest.mark.parametrize("at", ["frame", "network"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_in_eager(name: str, at: str, tmp_path: Path) -> None:
    samples = open_dataset(us30k(tmp_path / "data", count=1), "train")
    contender = EagerContender(random_model(CONFIGS[name]), name)
    rules = Rules(at=at, jitter=3.0)
    result = evaluate([contender], samples, rules)
    assert len(result.rows) == 2
    assert all(0 <= row.scores.dice <= 1 for row in result.rows)
    side = CONFIGS[name].img_size
    shape = (70, 90) if at == "frame" else (side, side)
    assert result.worst[0][0].predicted.shape == shape
    assert result.worst[0][0].image.shape[:2] == shape


def test_one_seed_one_result(tmp_path: Path) -> None:
    samples = open_dataset(us30k(tmp_path / "data", count=1), "train")
    contender = EagerContender(random_model(CONFIGS["samus"]), "samus")
    first, same, other = (
        evaluate([contender], samples, Rules(jitter=9.0, seed=seed)).rows for seed in (1, 1, 2)
    )
    assert csv_of(first) == csv_of(same)
    assert csv_of(first) != csv_of(other)


def csv_of(rows: list[Row]) -> str:
    """As text: NaN are equal there."""
    return "\n".join(map(str, rows))


def test_scoring_at_network_size_is_samus_own_way(tmp_path: Path) -> None:
    """On an image that already has the network's size both ways are the same."""
    samples = open_dataset(us30k(tmp_path / "data", count=2, size=(64, 64)), "train")
    contender = EagerContender(random_model(m.tiny(m.SamusConfig)), "samus")
    at_frame = evaluate([contender], samples, Rules())
    at_network = evaluate([contender], samples, Rules(at="network"))
    assert csv_of(at_frame.rows) == csv_of(at_network.rows)


def test_a_prompt_without_a_frame() -> None:
    with pytest.raises(SessionError, match="no frame"):
        EagerContender(m.build_model(m.tiny(m.SamusConfig)), "samus").answer(Prompt())
