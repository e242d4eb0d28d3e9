"""Scatterers seen through the point-spread function of the beams.

What a beam receives from a depth is a sum over scatterers, each weighted by the pulse-echo
response: a Gaussian pulse along the beam and a Gaussian beam across, narrowest at the focus.
Demodulated, many scatterers per resolution cell are circular complex noise (Wagner et al., IEEE
Trans. Sonics Ultrason. 30, 1983), so white complex noise is convolved with the envelope of that
response. This gives the Rayleigh statistics of fully developed speckle, without a carrier to be
sampled finely.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from samedge.simulate.draws import Draws, Field
from samedge.simulate.medium import SOFT_TISSUE, Medium
from samedge.simulate.probe import Probe

SOUND_SPEED = 1.54  # mm per microsecond
_LEVELS = 3  # lateral widths that are computed; rows between them are blended


@dataclass(frozen=True)
class Pulse:
    """The point-spread function, in samples and lines.

    Attributes:
        axial: standard deviation along the beam, samples.
        lateral: standard deviation across the beams per row, lines, `[samples]`.
    """

    axial: float
    lateral: Field


@dataclass(frozen=True)
class Chain:
    """What happens to the echoes on their way, besides the pulse.

    Attributes:
        gain: dB per row after attenuation: focus, and a time-gain that is not quite right.
        contact: dB per line: hair, air, a rib at the edge of the probe.
        noise: dB of the electronic noise at the surface, before time-gain.
        haze: dB of the side lobes' and multiple scattering's power relative to what is around.
        reverberation: dB of the second echo of what lies near the probe.
        repeat: rows between an echo and its second echo.
        near: clutter of the chest wall or skin: dB at the surface, and mm in which it falls 10 dB.
    """

    gain: Field
    contact: Field
    noise: float
    haze: float
    reverberation: float
    repeat: int
    near: tuple[float, float]


def draw_pulse(draws: Draws, probe: Probe) -> Pulse:
    """A pulse for a probe: sharper for high frequencies, wider away from the focus."""
    wavelength = SOUND_SPEED / probe.frequency
    axial = max(wavelength * draws.between(0.35, 0.75) / probe.pitch, 0.8)
    at = draws.between(0.25, 0.8)
    place = np.abs(np.linspace(0, 1, probe.samples, dtype=np.float32) - at)
    # A phased array is small, so its beams are wide.
    narrow = draws.between(0.8, 2.2) if probe.kind == "sector" else draws.between(0.7, 1.4)
    return Pulse(axial, np.asarray(narrow * (1 + draws.between(0.6, 2.4) * place), np.float32))


def draw_chain(draws: Draws, probe: Probe, dark: bool = False) -> Chain:
    """Gains, noise and clutter of one examination; `dark` as in `Scene`."""
    depth = np.linspace(0, 1, probe.samples, dtype=np.float32)
    focus = draws.between(0, 3) * np.exp(-(((depth - draws.between(0.3, 0.8)) / 0.25) ** 2))
    wrong = draws.between(0.5, 3) * draws.curve(probe.samples, 3) + draws.between(-7, 4) * depth
    contact = np.minimum(draws.curve(probe.lines, draws.between(3, 9)) * draws.between(0.5, 3), 2)
    if draws.chance(0.45):
        contact -= _edges(draws, probe.lines)
    return Chain(
        np.asarray(focus + wrong, np.float32),
        np.asarray(contact, np.float32),
        draws.between(-75, -42),
        draws.between(-40, -17),
        draws.between(-40, -16),
        round(draws.between(0.04, 0.15) * probe.samples),
        (draws.between(-34, 4 if dark else -6), probe.depth * draws.between(0.1, 0.4)),
    )


def _edges(draws: Draws, lines: int) -> Field:
    """Loss towards the outer beams, dB."""
    side = np.linspace(-1, 1, lines, dtype=np.float32) + np.float32(draws.normal(0.2))
    start = draws.between(0.35, 0.9)
    return np.asarray(
        draws.between(6, 30) * np.maximum(np.abs(side) - start, 0) / (1.2 - start), np.float32
    )


def tissue_amplitude(medium: Medium, chain: Chain) -> tuple[Field, Field]:
    """Amplitudes of scatterers and mirrors after attenuation and time-gain.

    Time-gain undoes the loss of average tissue, so what lies behind something that loses more is
    dark (shadow), and what lies behind something that loses less is bright (enhancement).
    """
    probe = medium.probe
    two_way = np.float32(2 * probe.frequency * probe.pitch / 10)
    surplus = np.cumsum(medium.loss - np.float32(SOFT_TISSUE), axis=0) * two_way
    gain = chain.gain[:, None] + chain.contact[None] - surplus
    # What the time-gain can add back has an end.
    np.clip(gain, -70, 14, out=gain)
    return _amplitude(medium.echo + gain), medium.mirror * _amplitude(gain)


def clutter_power(medium: Medium, chain: Chain, tissue: Field, mirror: Field) -> Field:
    """Power of what does not belong where it is shown: haze, second echoes, noise."""
    probe = medium.probe
    power = tissue * tissue + mirror * mirror
    small = cv2.resize(power, (probe.lines // 8, probe.samples // 8), interpolation=cv2.INTER_AREA)
    wide = cv2.GaussianBlur(small, (0, 0), 3.0, borderType=cv2.BORDER_REFLECT)
    haze = cv2.resize(wide, (probe.lines, probe.samples), interpolation=cv2.INTER_LINEAR)
    total = np.asarray(haze, np.float32) * np.float32(10 ** (chain.haze / 10))
    early = power[: probe.samples // 2] * np.float32(10 ** (chain.reverberation / 10))
    for times in (1, 2):
        end = min(probe.samples, chain.repeat * times + len(early))
        total[chain.repeat * times : end] += early[: end - chain.repeat * times] * (
            0.2 ** (times - 1)
        )
    depth = (np.arange(probe.samples, dtype=np.float32) + 0.5) * np.float32(probe.pitch / 10)
    # Noise is amplified by the time-gain, which follows the depth until it reaches its limit.
    noise = chain.noise + np.minimum(2 * SOFT_TISSUE * probe.frequency * depth, 48)
    near = chain.near[0] - 100 * depth / chain.near[1]
    total += np.power(np.float32(10), np.minimum(noise, -6) / 10)[:, None]
    total += np.power(np.float32(10), near / 10)[:, None]
    return np.asarray(total, np.float32)


def through_pulse(field: Field, pulse: Pulse) -> Field:
    """Convolve a complex field `[samples, lines, 2]` with the pulse.

    The result is scaled so that white noise keeps its power.
    """
    widths = np.linspace(pulse.lateral.min(), pulse.lateral.max(), _LEVELS)
    if widths[-1] - widths[0] < 0.05:
        widths = widths[-1:]
    along = cv2.GaussianBlur(
        field,
        (1, _taps(pulse.axial)),
        sigmaX=0.1,
        sigmaY=pulse.axial,
        borderType=cv2.BORDER_REFLECT,
    )
    blurred = [
        cv2.GaussianBlur(along, (_taps(w), 1), sigmaX=w, sigmaY=0.1, borderType=cv2.BORDER_REFLECT)
        for w in widths
    ]
    axial_power = 1 / (2 * np.sqrt(np.pi) * pulse.axial)
    if len(blurred) == 1:
        lateral_power = 1 / (2 * np.sqrt(np.pi) * widths[0])
        return np.asarray(blurred[0], np.float32) * np.float32(
            (axial_power * lateral_power) ** -0.5
        )
    return _blend(blurred, widths, pulse.lateral, axial_power)


def _blend(blurred: list[cv2.typing.MatLike], widths: Field, wanted: Field, axial: float) -> Field:
    """Each row from its two nearest widths, at the power that white noise had before."""
    step = widths[1] - widths[0]
    place = np.clip((wanted - widths[0]) / step, 0, len(widths) - 1)
    shares = np.maximum(1 - np.abs(place[None] - np.arange(len(widths))[:, None]), 0)
    # Power of a sum of Gaussians: their products' integrals.
    cross = 1 / np.sqrt(2 * np.pi * (widths[:, None] ** 2 + widths[None] ** 2))
    power = np.einsum("ir,jr,ij->r", shares, shares, cross) * axial
    scaled = (shares / np.sqrt(power)).astype(np.float32)
    total = np.asarray(blurred[0], np.float32) * scaled[0][:, None, None]
    for share, part in zip(scaled[1:], blurred[1:], strict=True):
        total += part * share[:, None, None]
    return np.asarray(total, np.float32)


def envelope(field: Field) -> Field:
    """Magnitude of a complex field `[samples, lines, 2]`."""
    return np.asarray(cv2.magnitude(field[..., 0], field[..., 1]), np.float32)


def _amplitude(decibel: Field) -> Field:
    return np.asarray(np.exp(decibel * np.float32(np.log(10) / 20)), np.float32)


def _taps(sigma: float) -> int:
    """Odd number of filter taps that holds three standard deviations on both sides."""
    return 2 * max(1, int(np.ceil(3 * sigma))) + 1
