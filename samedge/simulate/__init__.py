"""Synthetic B-mode ultrasound with its truth. Needs no torch.

from samedge.simulate import simulate_image

picture = simulate_image(seed=7, kind="apical")
picture.image, picture.label  # uint8 [256, 256] each; label is 1 inside the object
"""

from samedge.simulate.cine import CINE_KINDS, Beat, SimulatedCine, simulate_beat, simulate_cine
from samedge.simulate.dataset import SETS, write_dataset
from samedge.simulate.image import KINDS, SimulatedImage, simulate_image

__all__ = [
    "CINE_KINDS",
    "KINDS",
    "SETS",
    "Beat",
    "SimulatedCine",
    "SimulatedImage",
    "simulate_beat",
    "simulate_cine",
    "simulate_image",
    "write_dataset",
]
