"""Colours (R, G, B): of text and paper, of objects and classes."""

from __future__ import annotations

Colour = tuple[int, int, int]

INK: Colour = (238, 238, 240)
FAINT: Colour = (150, 152, 158)
PAPER: Colour = (20, 21, 24)
ALERT: Colour = (255, 190, 60)

# Okabe and Ito's palette, told apart under the common kinds of colour blindness; those first that
# stand out from grey. The other half was found by a search for the colours farthest from all before
# them in OKLab, also as protanopes, deuteranopes and tritanopes see them (G. Machado et al., "A
# Physiologically-based Model for Simulation of Color Vision Deficiency", 2009), and light enough
# for dark images. A test measures the distances.
PALETTE: tuple[Colour, ...] = (
    (86, 180, 233),  # sky blue
    (230, 159, 0),  # orange
    (0, 190, 140),  # bluish green, a little lighter than theirs for dark images
    (240, 228, 66),  # yellow
    (204, 121, 167),  # reddish purple
    (213, 94, 0),  # vermillion
    (140, 70, 255),  # violet
    (130, 250, 250),  # pale cyan
    (165, 75, 180),  # magenta
    (160, 225, 165),  # pale green
    (160, 130, 255),  # lavender
    (245, 250, 200),  # cream
)


def colour_of(index: int) -> Colour:
    """Colour of object or class `index`, from 0; they repeat after the twelfth."""
    return PALETTE[index % len(PALETTE)]
