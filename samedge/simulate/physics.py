"""Images by wave physics, for a check on images that training has not seen the like of.

The scenes and their truth are those of the fast simulator. Their scatterers are insonified and
heard by the elements of an array (pymust's SIMUS: Garcia, Comput. Methods Programs Biomed. 218,
2022), demodulated, delayed and summed, log-compressed and scan-converted. So beams, side lobes,
grating lobes and the texture of speckle come from waves. The array is small and the frequency low,
to keep an image at some seconds; shadows and enhancement are still those of straight beams.

pymust multiplies many small matrices, which BLAS spreads over threads that wait for each other;
`write_dataset` gives it processes with one thread each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge._optional import require
from samedge.simulate.beamform import SOUND_SPEED, tissue_amplitude
from samedge.simulate.display import Converter, compress
from samedge.simulate.draws import Draws, Field
from samedge.simulate.image import SPECKLE, Setup, SimulatedImage, draws_of, setup_of, shown
from samedge.simulate.medium import Medium
from samedge.simulate.probe import Probe

require("pymust", extra="physics", what="rendering by wave physics")

SCATTERERS = 9000
_DEEP = {"linear": 105.0, "convex": 125.0, "sector": 135.0}  # wavelengths in the depth
_ELEMENTS = {"linear": 68, "convex": 60, "sector": 48}
_TILTS = {"linear": (-0.12, 0.0, 0.12), "convex": (-0.15, 0.0, 0.15), "sector": (-0.3, 0.0, 0.3)}
_SAMPLES, _LINES = 230, 96
_NEAR = 2.0  # mm; the model does not hold right at the elements


def render(path: tuple[int, ...], size: tuple[int, int], kind: str) -> SimulatedImage:
    """One image by pymust, with the truth of the scene that `draw_image` makes of the same numbers.

    Args:
        path: seed and further numbers.
        size: height and width, px.
        kind: one of `samedge.simulate.KINDS`.
    """
    setup, time = setup_of(path, size, kind)
    scene = setup.scene
    medium = scene.medium(time)
    envelope = _envelope(_Array.of(scene.probe), setup, medium, draws_of(path, SPECKLE))
    grid = replace(scene.probe, samples=_SAMPLES, lines=_LINES)
    converter = Converter.of(grid, setup.placement)
    return shown(path, setup, time, converter, compress(envelope, setup.look))


@dataclass(frozen=True)
class _Array:
    """A transducer in pymust's terms: metres, seconds, Hz; z from the chord of its elements.

    Attributes:
        param: what pymust wants to know.
        lift: m, how far the middle of the surface stands out from the chord.
        delays: s, `[transmits][1, elements]`.
    """

    param: Any
    lift: float
    delays: list[NDArray[np.float64]]

    @classmethod
    def of(cls, probe: Probe) -> _Array:
        """A coarse array for a probe: few elements, long waves."""
        from pymust.utils import Param

        count = _ELEMENTS[probe.kind]
        wavelength = probe.depth / _DEEP[probe.kind] * 1e-3
        param = Param()
        param.c, param.fc = 1000 * SOUND_SPEED, 1000 * SOUND_SPEED / wavelength
        param.radius = np.inf
        param.Nelements, param.bandwidth, param.fnumber = count, 60, 1.2
        if probe.kind == "linear":
            param.pitch = 2 * probe.half * 1e-3 / count
        elif probe.kind == "convex":
            param.pitch = 2 * probe.half * probe.radius * 1e-3 / count
            param.radius = probe.radius * 1e-3
        else:
            param.pitch, param.fnumber = wavelength / 2, 0
        param.kerf = 0.1 * param.pitch
        param.fs = 4 * param.fc
        x, _, _, depth = param.getElementPositions()
        lift = float(param.radius - np.ravel(depth)[0]) if probe.kind == "convex" else 0.0
        tilts = _TILTS[probe.kind]
        return cls(param, lift, [_delays(probe, np.ravel(x), param, tilt) for tilt in tilts])


def _delays(probe: Probe, x: NDArray[np.float64], param: Any, tilt: float) -> NDArray[np.float64]:
    """Delays of a tilted plane wave; for a sector, of a wave from a point behind the array."""
    along = (np.arange(len(x)) - (len(x) - 1) / 2) * param.pitch
    if probe.kind == "sector":
        behind = along[-1] / np.tan(probe.half * 0.8)
        delay = np.hypot(x + behind * np.sin(tilt), behind * np.cos(tilt)) / param.c
    else:
        delay = along * np.sin(tilt) / param.c
    return np.asarray(delay - delay.min())[None]


def _envelope(array: _Array, setup: Setup, medium: Medium, draws: Draws) -> Field:
    """Envelope `[_SAMPLES, _LINES]`; average tissue has power 1."""
    from pymust import dasmtx, rf2iq, simus
    from pymust.utils import Options

    probe = setup.scene.probe
    x, z, echo = _scatterers(setup, medium, draws)
    grid = replace(probe, samples=_SAMPLES, lines=_LINES)
    at_x, at_z = (np.asarray(m, np.float64) * 1e-3 for m in grid.beams())
    options = Options()
    options.dBThresh, options.ElementSplitting = -20, 1
    total = np.zeros((_SAMPLES, _LINES), np.complex128)
    for delays in array.delays:
        # float32 in, or pymust computes in double precision at several times the cost.
        place = x * np.float32(1e-3), z * np.float32(1e-3) + np.float32(array.lift)
        rf, _ = simus(*place, echo, delays.copy(), array.param, options)
        iq = rf2iq(rf, array.param.fs, array.param.fc)
        size = 1j * np.asarray(iq.shape)
        matrix = dasmtx(size, at_x, at_z + array.lift, delays.copy(), array.param)
        total += (matrix @ iq.ravel(order="F")).reshape(total.shape, order="F")
    return _levelled(np.abs(total).astype(np.float32), setup, draws)


def _scatterers(setup: Setup, medium: Medium, draws: Draws) -> tuple[Field, Field, Field]:
    """x and z in mm of random scatterers in the beams, and their echo amplitudes."""
    probe = setup.scene.probe
    u, v = draws.rng.random((2, SCATTERERS))
    if probe.kind == "linear":
        x, z = (2 * u - 1) * probe.half, _NEAR + v * (probe.depth - _NEAR)
    else:
        low, high = probe.radius + _NEAR, probe.radius + probe.depth
        far, angle = np.sqrt(low**2 + v * (high**2 - low**2)), (2 * u - 1) * probe.half
        x, z = far * np.sin(angle), far * np.cos(angle) - probe.radius
    x, z = x.astype(np.float32), z.astype(np.float32)
    column, row = probe.place(x, z)
    tissue, mirror = tissue_amplitude(medium, setup.chain)
    echo = draws.white(SCATTERERS) * _looked_up(tissue, column, row)
    return x, z, np.asarray(echo + _looked_up(mirror, column, row), np.float32)


def _looked_up(field: Field, column: Field, row: Field) -> Field:
    found = cv2.remap(field, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32).reshape(column.shape)


def _levelled(envelope: Field, setup: Setup, draws: Draws) -> Field:
    """Undo the spreading of the waves with a time-gain fitted to the echoes, and add noise."""
    rows = np.log(np.quantile(envelope, 0.6, axis=1) + 1e-30)
    start = _SAMPLES // 20
    depth = np.linspace(-1, 1, _SAMPLES)
    gain = np.polyval(np.polyfit(depth[start:], rows[start:], 2), depth)
    level = envelope / np.exp(gain)[:, None].astype(np.float32)
    level /= np.float32(np.sqrt(np.mean(np.square(np.minimum(level, 6)))))
    noise = 10 ** (min(setup.chain.noise + 20, -25) / 20)
    noisy = np.hypot(level, np.float32(noise) * np.abs(draws.white(*level.shape)))
    return np.asarray(noisy, np.float32)
