"""samedge/train/data/preparation.py and items.py: samples as each family's network takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from samedge import models as m
from samedge.bench.contenders.eager import network_input
from samedge.errors import ModelError, NotSupportedError, PromptError, SourceError
from samedge.geometry.frame_geometry import frame_geometry
from samedge.train.data import open_dataset
from samedge.train.data.augmentation import MEDSAM, SAMUS
from samedge.train.data.items import PreparedItems
from samedge.train.data.label_files import read_label
from samedge.train.data.preparation import Preparation, decoder_prompts, usual_prompt
from samedge.train.data.reading import read_pixels
from samedge.train.data.samples import Sample
from samedge.train.loop.batches import load
from tests.golden.cases import VECTORS, read_cases
from tests.train.data.layouts import disc, picture, us30k

CONFIGS = {
    "sam": m.tiny(m.SamConfig),
    "medsam": m.tiny(m.MedsamConfig),
    "samed": m.tiny(m.SamedConfig),
    "msa": m.tiny(m.MsaConfig),
    "msa structures": m.tiny(m.MsaConfig, classes=("cup", "disc")),
    "samus": m.tiny(m.SamusConfig),
    "autosamus": m.tiny(m.AutosamusConfig),
}


def sample_of(height: int, width: int, class_id: int = 1, colour: bool = False) -> Sample:
    label = np.maximum(disc(height, width, (20, 30), 9), disc(height, width, (40, 14), 8, 2))
    image = picture(label)
    if colour:
        image = np.stack([image, image // 2, 255 - image], axis=-1)
    return Sample(image, label, "set/case", class_id)


def test_the_golden_dataset_case() -> None:
    """SAMUS's own dataset class on a PNG pair: image, click and box to the bit."""
    (case,) = (c for c in read_cases(VECTORS) if c.id == "seed1_dataset_synthetic")
    folder = case.folder / "images"
    said: list[str] = []
    image = read_pixels(folder / case.images[0], "image of the case", said.append)
    label = read_label(folder / case.label, "label of the case", None, said.append)
    assert said == []
    prepared = Preparation(m.samus_config(), "click")(Sample(image, label, "case", 1))
    reference = case.reference
    assert torch.equal(
        prepared["image"], torch.from_numpy(reference["network_input_u8"][0]).float() / 255
    )
    assert prepared["points"].tolist() == reference["point_coords"][0].tolist()
    assert prepared["point_labels"].tolist() == reference["point_labels"][0].tolist()
    assert prepared["box"].tolist() == reference["bbox"][0].tolist()
    if "label" in reference:
        assert np.array_equal(prepared["mask"], reference["label"].reshape(256, 256))


@pytest.mark.parametrize(("side", "colour"), [(None, False), ((61, 75), True), ((90, 64), False)])
@pytest.mark.parametrize("name", CONFIGS)
def test_image_is_what_the_eager_model_takes(
    name: str, side: tuple[int, int] | None, colour: bool
) -> None:
    config = CONFIGS[name]
    height, width = side or (config.img_size, config.img_size)
    sample = sample_of(height, width, colour=colour)
    prepared = Preparation(config)(sample)
    geometry = frame_geometry(config.family, height, width, None, config.img_size, config.low_res)
    assert torch.equal(
        prepared["image"][None], network_input(sample.image, geometry, config.family)
    )
    model = m.build_model(config)
    with torch.inference_mode():
        prompts = decoder_prompts(
            {k: v[None] for k, v in prepared.items() if k != "name"}, Preparation(config).prompt
        )
        low_res, _ = model.decode(model.encode(prepared["image"][None]), **prompts)
    assert low_res[0].shape == prepared["target"].shape


@pytest.mark.parametrize("name", CONFIGS)
def test_shapes_and_dtypes(name: str) -> None:
    config = CONFIGS[name]
    p = Preparation(config)(sample_of(61, 75))
    s, low = config.img_size, config.low_res
    names = len(config.family.classes) or 1
    assert {k: (v.dtype, tuple(v.shape)) for k, v in p.items() if k != "name"} == {
        "image": (torch.float32, (config.family.channels, s, s)),
        "target": (torch.float32, (names, low, low)),
        "mask": (torch.uint8, (s, s)),
        "points": (torch.float32, (1, 2)),
        "point_labels": (torch.int64, (1,)),
        "box": (torch.float32, (4,)),
    }
    assert p["name"] == "set/case"


def test_classes() -> None:
    sample = sample_of(128, 128, class_id=0)
    samed = Preparation(CONFIGS["samed"])(sample)
    assert np.array_equal(samed["mask"], sample.label)
    assert torch.equal(samed["target"].sum(0), torch.ones(32, 32))  # every pixel has one class
    structures = Preparation(CONFIGS["msa structures"])(sample)
    small = sample.label[2::4, 2::4]
    assert np.array_equal(structures["target"], np.stack([small == 1, small == 2]))
    assert torch.equal(structures["mask"], samed["mask"])
    with pytest.raises(ModelError, match="set/case: the label has class 4; the model has 3"):
        Preparation(CONFIGS["samed"])(Sample(sample.image, sample.label * 2, "set/case"))


def test_one_object_of_several_classes() -> None:
    prepare = Preparation(CONFIGS["sam"], "click")
    sample = sample_of(128, 128, class_id=2)
    assert np.array_equal(prepare(sample)["mask"], sample.label == 2)
    sample = sample_of(128, 128, class_id=0)
    assert np.array_equal(prepare(sample)["mask"], sample.label == 1)
    seen = set()
    for seed in range(8):
        mask = prepare(sample, np.random.default_rng(seed))["mask"].numpy().astype(bool)
        seen.add(int(sample.label[mask].max()))
    assert seen == {1, 2}


def test_padding_is_background_and_prompts_are_in_network_px() -> None:
    config = m.tiny(m.SamConfig)
    sample = sample_of(64, 128)  # padded below
    p = Preparation(config, "click")(sample)
    assert not p["mask"][64:].any()
    assert np.array_equal(p["mask"][:64], sample.label == 1)
    x, y = (int(v) for v in p["points"][0])
    assert sample.label[y, x] == 1
    rows, columns = np.nonzero(sample.label == 1)
    assert p["box"].tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]


def test_empty_label() -> None:
    sample = Sample(np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8), "set/case", 1)
    p = Preparation(CONFIGS["samus"])(sample)
    assert not p["target"].any()
    assert p["point_labels"].tolist() == [0]
    assert p["points"].tolist() == [[0, 32]]
    assert p["box"].tolist() == [0, 0, 64, 64]


def test_modes() -> None:
    usual = {name: usual_prompt(config.family) for name, config in CONFIGS.items()}
    assert usual["samus"] == usual["sam"] == usual["msa"] == "random_click"
    assert usual["medsam"] == "box"
    assert usual["samed"] == usual["autosamus"] == "none"
    for name, mode in (("medsam", "click"), ("samus", "box"), ("samed", "click")):
        with pytest.raises(PromptError, match="takes no"):
            Preparation(CONFIGS[name], mode)
    with pytest.raises(PromptError, match="needs a prompt"):
        Preparation(CONFIGS["samus"], "none")
    with pytest.raises(PromptError, match="there is no prompt mode 'dot'"):
        Preparation(CONFIGS["samus"], "dot")
    with pytest.raises(NotSupportedError, match="4 slices"):
        Preparation(m.tiny(m.MsaConfig, slices=4, chunk=4))


@pytest.mark.parametrize("workers", [0, 2])
def test_random_numbers_depend_on_seed_epoch_and_index_only(tmp_path: Path, workers: int) -> None:
    samples = open_dataset(us30k(tmp_path / "data"))
    preparation = Preparation(CONFIGS["samus"])
    data = PreparedItems(samples, preparation, SAMUS, seed=3)
    for epoch in (0, 1, 4):
        batches = list(load(data, epoch, [[0, 1, 2], [3, 4, 5], [6, 7]], workers))
        images = torch.cat([batch["image"] for batch in batches])
        points = torch.cat([batch["points"] for batch in batches])
        alone = PreparedItems(samples, preparation, SAMUS, seed=3)
        for index in (7, 2, 0):
            assert torch.equal(alone.item(epoch, index)["image"], images[index])
            assert torch.equal(alone.item(epoch, index)["points"], points[index])
    other = PreparedItems(samples, preparation, SAMUS, seed=4)
    assert not all(torch.equal(other.item(4, i)["image"], images[i]) for i in range(8))
    still = PreparedItems(samples, preparation)
    assert torch.equal(still.item(0, 3)["image"], still.item(1, 3)["image"])


def test_box_jitter_of_the_recipe(tmp_path: Path) -> None:
    samples = open_dataset(us30k(tmp_path / "data"))
    data = PreparedItems(samples, Preparation(CONFIGS["medsam"]), MEDSAM, seed=0)
    boxes = []
    for epoch in range(6):
        p = data.item(epoch, 0)
        rows, columns = np.nonzero(p["mask"].numpy())
        grown = p["box"].numpy() - [columns.min(), rows.min(), columns.max(), rows.max()]
        assert np.abs(grown).max() <= 3  # 20 of 1024 px are 2.5 of 128
        boxes.append(tuple(grown.tolist()))
    assert len(set(boxes)) > 1


def test_an_error_in_a_worker_is_the_samples_own(tmp_path: Path) -> None:
    root = us30k(tmp_path / "data")
    (root / "Nodule" / "label" / "n0.png").unlink()
    data = PreparedItems(open_dataset(root), Preparation(CONFIGS["samus"]))
    with pytest.raises(SourceError, match="the label of Nodule/n0 is missing"):
        next(load(data, 0, [[0]], workers=1))
