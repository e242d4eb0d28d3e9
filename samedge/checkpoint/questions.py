"""What a file leaves open and only its user knows, where another answer gives other masks."""

from __future__ import annotations

from samedge.checkpoint.messages import OFFICIAL_SAM
from samedge.checkpoint.options import CheckpointOptions
from samedge.checkpoint.reader import SourceFile
from samedge.checkpoint.records import Record, Variant, size_is_open

_PROMPTED = ("sam", "medsam", "mobile_sam", "litemedsam")
SAM_TOKENS = 4  # mask tokens of SAM: a single mask, and three answers to an ambiguous prompt


def official_sam(file: SourceFile) -> str:
    """Which official release of SAM a file is, by its hash: "vit_b" and so on; empty: none."""
    return next((v for v, begins in OFFICIAL_SAM.items() if file.sha256.startswith(begins)), "")


def questions(
    file: SourceFile, found: Record, variant: Variant, said: CheckpointOptions
) -> tuple[str, ...]:
    """What was decided on the user's behalf, each as a question with the option that answers it.

    Args:
        file: as it was read.
        found: what it was recognised as.
        variant: its sizes.
        said: by the user; what was said is no question.
    """
    asked = []
    live = file.format == "memory"  # a module with a class of its own: it is no file of MedSAM's
    if found.name == "sam" and said.family is None and not live and not official_sam(file):
        asked.append(
            "is the checkpoint MedSAM, or trained from it? Its tensors are SAM's, and it was "
            "opened as SAM, which prepares images in another way. If this is MedSAM or trained "
            "from it, say so (family='medsam', --family medsam); if not, --family sam"
        )
    config = variant.config
    if found.name == "msa_earlier" and said.input_size is None and size_is_open(config):
        asked.append(
            "for which input size was the checkpoint trained? Its version of Medical SAM Adapter "
            "stored the same tables for all sizes, and it was opened for "
            f"{variant.input_size} px, for which they are. If its image_size was another, as 256, "
            "say input_size=256 (--input-size 256)"
        )
    tokens = variant.masks
    if said.classes is not None:
        return tuple(asked)
    plain = found.name in _PROMPTED and not config.get("classes")
    if plain and tokens not in (1, SAM_TOKENS):
        asked.append(
            f"what are the {tokens} masks of the checkpoint? SAM has {SAM_TOKENS} mask tokens, and "
            f"it {tokens}, which usually means that it was trained for as many classes. As it was "
            "opened, an answer is the first one alone. To get all of them, say "
            f"their number or names (classes={tokens}, --classes {tokens}); if the first one is "
            "what you want, classes=1 (--classes 1)"
        )
    if found.layout_of in ("samed", "samed_s") and tokens == SAM_TOKENS:
        asked.append(
            f"what are the {tokens} masks of the checkpoint? It was opened as SAMed, with the "
            f"background and {tokens - 1} classes. SAM has {SAM_TOKENS} mask tokens, too: if its "
            "branches were trained with a decoder of SAM's, this is wrong; add them to the weights "
            f"where it was trained, and open it as SAM. If it is SAMed, say classes={tokens - 1} "
            f"(--classes {tokens - 1})"
        )
    return tuple(asked)
