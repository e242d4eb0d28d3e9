"""How each family is fine-tuned: what is trained, on which loss, by which optimiser.

One frozen record per recipe. The numbers are those of the original projects where they publish
them; `Recipe.source` says where from.
"""

from __future__ import annotations

from dataclasses import dataclass

from samedge._wording import did_you_mean
from samedge.errors import TrainingError

OPTIMISERS = ("adam", "adamw")
SCHEDULES = ("constant", "poly", "cosine", "halving")


@dataclass(frozen=True)
class Loss:
    """Weights of the loss on low-res logits.

    Attributes:
        dice: of the Dice loss; its denominator has squares.
        cross_entropy: of the binary ("binary") or categorical ("classes") cross-entropy.
        kind: "binary": every mask by itself, sigmoid; "classes": masks exclude each other, softmax.
        score: of the squared error of the predicted IoU.
        positive: weight of a pixel inside the mask, in the binary cross-entropy.
        over_batch: Dice of all pixels of a batch; otherwise the mean over its images.
    """

    dice: float
    cross_entropy: float
    kind: str = "binary"
    positive: float = 1.0
    score: float = 0.0
    over_batch: bool = True


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    Attributes:
        name: on the command line.
        title: name to print.
        families: names of the families that it trains; the first is the usual one.
        trained: regular expressions; a parameter that one of them is found in is trained...
        frozen: ... unless one of these is found in it.
        global_tables: relative-position tables of the encoder's global blocks are trained as well.
        loss: what is minimised.
        optimiser: "adam" or "adamw".
        lr: learning rate after warm-up.
        weight_decay: of the optimiser.
        decay_all: also of biases, norms and tokens; otherwise of matrices and kernels only.
        warmup: steps of linear warm-up.
        schedule: what follows: "constant", "poly" (power 0.9), "cosine" (to 0) or "halving" (by 2
            every ten epochs).
        prompt: "random_click", "mixed", "box" or "none": what the model is trained with
            (`samedge.train.data.preparation`).
        augment: name of the augmentation (`samedge.train.data.augmentation`).
        batch: images per step.
        epochs: passes over the data.
        clip: largest norm of the gradient; 0: not clipped.
        about: one sentence on what is trained.
        source: where the numbers come from.
    """

    name: str
    title: str
    families: tuple[str, ...]
    trained: tuple[str, ...]
    loss: Loss
    optimiser: str
    lr: float
    prompt: str
    augment: str
    batch: int
    epochs: int
    about: str
    source: str
    frozen: tuple[str, ...] = ()
    global_tables: bool = False
    weight_decay: float = 0.0
    decay_all: bool = True
    warmup: int = 0
    schedule: str = "constant"
    clip: float = 0.0


_SAMUS_LOSS = Loss(dice=0.8, cross_entropy=0.2, positive=2.0)
_LORA = r"\.linear_[ab]_[qv]\."

SAMUS = Recipe(
    name="samus",
    title="SAMUS",
    families=("samus",),
    trained=(r"^image_encoder\.(cnn_embed|post_pos_embed)\.", r"^image_encoder\..*Adapter\."),
    global_tables=True,
    loss=_SAMUS_LOSS,
    optimiser="adam",
    lr=1e-4,
    warmup=250,
    schedule="poly",
    prompt="random_click",
    augment="samus",
    batch=8,
    epochs=400,
    about="CNN branch, adapters and the tables of global blocks; SAM's own weights stay",
    source="xianlin7/SAMUS: modeling/samus.py, train.py, utils/loss_functions/sam_loss.py",
)

AUTOSAMUS = Recipe(
    name="autosamus",
    title="AutoSAMUS",
    families=("autosamus",),
    trained=(r"^prompt_generator\.", r"^feature_adapter\."),
    loss=_SAMUS_LOSS,
    optimiser="adam",
    lr=1e-4,
    warmup=250,
    schedule="poly",
    prompt="none",
    augment="samus",
    batch=8,
    epochs=400,
    about="the prompt generator and the feature adapter; the whole SAMUS stays",
    source="xianlin7/SAMUS: segment_anything_samus_autoprompt/modeling/samus.py, train.py",
)

SAMED = Recipe(
    name="samed",
    title="SAMed",
    families=("samed",),
    trained=(_LORA, r"^prompt_encoder\.", r"^mask_decoder\."),
    loss=Loss(dice=0.8, cross_entropy=0.2, kind="classes"),
    optimiser="adamw",
    lr=0.005,
    weight_decay=0.1,
    warmup=250,
    schedule="poly",
    prompt="none",
    augment="samed",
    batch=12,
    epochs=200,
    about="low-rank branches of query and value, prompt encoder, mask decoder",
    source="hitachinsk/SAMed: sam_lora_image_encoder.py, trainer.py, train.py (--warmup --AdamW)",
)

SAMED_S = Recipe(
    name="samed_s",
    title="SAMed_s",
    families=("samed",),
    trained=(_LORA, r"\.w_[ab]\.", r"^prompt_encoder\.", r"^mask_decoder\.(?!transformer\.)"),
    loss=SAMED.loss,
    optimiser="adamw",
    lr=0.005,
    weight_decay=0.1,
    warmup=250,
    schedule="poly",
    prompt="none",
    augment="samed",
    batch=12,
    epochs=200,
    about="low-rank branches in encoder and decoder, the decoder without its transformer",
    source="hitachinsk/SAMed: what its LoRA file for SAMed_s holds; numbers as SAMed's",
)

MSA = Recipe(
    name="msa",
    title="Medical SAM Adapter",
    families=("msa",),
    trained=(r"^image_encoder\..*Adapter\.", r"^mask_decoder\.", r"\.lora_[AB]$"),
    loss=Loss(dice=0.0, cross_entropy=1.0, positive=2.0),
    optimiser="adam",
    lr=1e-4,
    schedule="halving",
    prompt="random_click",
    augment="none",
    batch=2,
    epochs=100,
    about="the adapters (or low-rank branches) of the encoder, and the mask decoder",
    source="Wu et al. 2023 (paper); loss as SAMUS trains it for comparison (sam_loss.py)",
)

MEDSAM = Recipe(
    name="medsam",
    title="MedSAM",
    families=("medsam",),
    trained=(r"^image_encoder\.", r"^mask_decoder\."),
    loss=Loss(dice=1.0, cross_entropy=1.0, over_batch=False),
    optimiser="adamw",
    lr=1e-4,
    weight_decay=0.01,
    prompt="box",
    augment="medsam",
    batch=2,
    epochs=1000,
    about="image encoder and mask decoder; the prompt encoder stays",
    source="bowang-lab/MedSAM: train_one_gpu.py",
)

LITEMEDSAM = Recipe(
    name="litemedsam",
    title="LiteMedSAM",
    families=("litemedsam",),
    trained=(r"",),
    loss=Loss(dice=1.0, cross_entropy=1.0, score=1.0, over_batch=False),
    optimiser="adamw",
    lr=5e-5,
    weight_decay=0.01,
    prompt="box",
    augment="medsam",
    batch=4,
    epochs=10,
    about="all parameters, and the running statistics of BatchNorm",
    source="bowang-lab/MedSAM, branch LiteMedSAM: train_one_gpu.py; its rate falls by a tenth "
    "where the loss stays",
)

MOBILE_SAM = Recipe(
    name="mobile_sam",
    title="MobileSAM",
    families=("mobile_sam",),
    trained=MEDSAM.trained,
    loss=MEDSAM.loss,
    optimiser="adamw",
    lr=1e-4,
    weight_decay=0.01,
    prompt="box",
    augment="medsam",
    batch=2,
    epochs=1000,
    about="image encoder with its running statistics, and mask decoder; the prompt encoder stays",
    source="as MedSAM fine-tunes SAM; MobileSAM publishes no fine-tuning of its own",
)

FULL = Recipe(
    name="full",
    title="everything",
    families=("samus", "sam", "medsam", "autosamus", "msa", "mobile_sam", "litemedsam"),
    trained=(r"",),
    loss=Loss(dice=0.8, cross_entropy=0.2, score=0.1, over_batch=False),
    optimiser="adamw",
    lr=1e-3,
    weight_decay=0.02,
    decay_all=False,
    warmup=500,
    schedule="cosine",
    prompt="mixed",
    augment="strong",
    batch=16,
    epochs=40,
    clip=1.0,
    about="all parameters; for small networks that start from scratch",
    source="samedge's own, for its demo model",
)

RECIPES: dict[str, Recipe] = {
    r.name: r for r in (SAMUS, AUTOSAMUS, SAMED, SAMED_S, MSA, MEDSAM, MOBILE_SAM, LITEMEDSAM, FULL)
}


def recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        TrainingError: there is none.
    """
    if name not in RECIPES:
        raise TrainingError(
            f"unknown recipe '{name}'; expected one of {', '.join(RECIPES)}"
            f"{did_you_mean(name, RECIPES)}"
        )
    return RECIPES[name]
