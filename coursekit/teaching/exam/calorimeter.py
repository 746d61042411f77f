"""Showers of photons and neutral pions in a segmented calorimeter of lead tungstate.

A photon starts a shower of electrons, positrons and photons. Its profile in depth is a gamma distribution (E. Longo and
I. Sestili, *Nucl. Instrum. Methods* 128 (1975) 283); how its parameters depend on the energy and fluctuate from shower
to shower, and how wide it is at which depth, is the parametrization for homogeneous media of G. Grindhammer and
S. Peters, arXiv:hep-ex/0001020, with the constants of Geant4's GFlash. A neutral pion decays into two photons before it
gets far (R. L. Workman et al. (Particle Data Group), *Prog. Theor. Exp. Phys.* 2022, 083C01: masses, constants of the
material).

Energies are in GeV, depths t in radiation lengths, radii in Molière radii, everything else in cm.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

PION_MASS = 0.13498  # GeV
CRITICAL_ENERGY = 0.00964  # GeV
RADIATION_LENGTH, MOLIERE_RADIUS = 0.890, 1.959  # cm
Z = 68.4  # the mean atomic number of lead tungstate, by weight
CONVERSION_DEPTH = 9 / 7  # radiation lengths that a photon flies on average before it becomes a pair
SPOTS_PER_GEV = 50  # a shower's energy comes in portions: the resolution is 1 / √(50 E), 14 % at 1 GeV

LAYERS = (0.0, 6.0, 11.0, 22.0)  # where layers begin and end, in radiation lengths
CELLS, CELL = 16, 1.0  # cells along each side of a layer, and their width in cm
SHAPE = (len(LAYERS) - 1, CELLS, CELLS)


@dataclass(frozen=True)
class Photons:
    """Photons that arrive at the calorimeter: arrays (P,), and the event each belongs to."""

    event: np.ndarray
    energy: np.ndarray  # GeV
    x: np.ndarray  # cm, where it enters, seen from the centre of the face
    y: np.ndarray
    slope_x: np.ndarray  # dx/dz, z along the axis of the calorimeter
    slope_y: np.ndarray

    @classmethod
    def from_pions(cls, pions: "Photons", distance: float, random: Generator) -> "Photons":
        """Return the two photons of every pion, which decayed `distance` cm before the calorimeter.

        In the frame of the pion they leave back to back, in any direction alike. With θ* its angle to the flight, they
        share the energy as (1 ± β cos θ*) / 2, and have the transverse momentum m/2 sin θ*.
        """
        forward = random.uniform(-1, 1, len(pions.event))
        around = random.uniform(0, 2 * np.pi, len(pions.event))
        beta = np.sqrt(1 - (PION_MASS / pions.energy) ** 2)
        transverse = PION_MASS / 2 * np.sqrt(1 - forward**2)
        halves = []
        for sign in (1, -1):
            energy = pions.energy * (1 + sign * beta * forward) / 2
            tangent = sign * transverse / np.sqrt(np.maximum(energy**2 - transverse**2, 1e-12))
            along_x, along_y = tangent * np.cos(around), tangent * np.sin(around)
            where = (pions.x + distance * along_x, pions.y + distance * along_y)
            halves.append((pions.event, energy, *where, pions.slope_x + along_x, pions.slope_y + along_y))
        return cls(*map(np.concatenate, zip(*halves, strict=True)))

    def join(self, other: "Photons") -> "Photons":
        """Return these photons and others."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Photons(*map(np.concatenate, pairs))


@dataclass(frozen=True)
class Profiles:
    """The longitudinal profiles of showers, arrays (P,): dE/dt ∝ (βt)^(α−1) e^(−βt), with its maximum at T."""

    alpha: np.ndarray
    maximum: np.ndarray  # T in radiation lengths, counted from where the photon became a pair

    @property
    def beta(self) -> np.ndarray:
        """The rate β of the fall, from T = (α − 1) / β."""
        return (self.alpha - 1) / self.maximum

    @classmethod
    def draw(cls, energy: np.ndarray, random: Generator) -> "Profiles":
        """Return profiles that fluctuate: ln T and ln α are normal, and correlated.

        Below 20 critical energies, 0.2 GeV, the formulas no longer hold, and the shape stays as it is there.
        """
        log_y = np.log(np.maximum(energy / CRITICAL_ENERGY, 20))
        correlation = 0.705 - 0.023 * log_y
        common, own = random.standard_normal((2, len(energy)))
        own = correlation * common + np.sqrt(1 - correlation**2) * own
        log_maximum = np.log(log_y - 0.812) + common / (-1.4 + 1.26 * log_y)
        log_alpha = np.log(0.81 + (0.458 + 2.26 / Z) * log_y) + own / (-0.58 + 0.86 * log_y)
        return cls(np.maximum(np.exp(log_alpha), 1.1), np.exp(log_maximum))


def radii(tau: np.ndarray, energy: np.ndarray, random: Generator) -> np.ndarray:
    """Return distances (S,) from the axis, in Molière radii, of spots at the depths `tau` = t / T.

    A narrow core and a wide tail, each with the density 2 r R² / (r² + R²)²; both get wider with depth.
    """
    log_energy = np.log(energy)
    core = 0.0251 + 0.00319 * log_energy + (0.1162 - 0.000381 * Z) * tau
    late = np.minimum(tau, 10) - 0.645
    tail = (0.659 - 0.00309 * Z) * (np.exp(-2.59 * late) + np.exp((0.3585 + 0.0412 * log_energy) * late))
    inner = ((0.401 + 0.00187 * Z) - tau) / (1.313 - 0.0686 * log_energy)
    in_core = random.random(len(tau)) < (2.632 - 0.00094 * Z) * np.exp(inner - np.exp(inner))
    u = random.random(len(tau))
    return np.where(in_core, core, tail) * np.sqrt(u / (1 - u))  # the inverse of r² / (r² + R²)


def deposits(photons: Photons, events: int, random: Generator) -> np.ndarray:
    """Return the energies (events, layers, 16, 16) in GeV, float64, that photons leave in the cells."""
    profiles = Profiles.draw(photons.energy, random)
    conversion = random.exponential(CONVERSION_DEPTH, len(photons.energy))
    of = np.repeat(np.arange(len(photons.energy)), random.poisson(SPOTS_PER_GEV * photons.energy))
    along = random.gamma(profiles.alpha[of]) / profiles.beta[of]
    radius = radii(along / profiles.maximum[of], photons.energy[of], random) * MOLIERE_RADIUS
    around = random.uniform(0, 2 * np.pi, len(of))
    depth = along + conversion[of]
    z = depth * RADIATION_LENGTH
    x = photons.x[of] + photons.slope_x[of] * z + radius * np.cos(around)
    y = photons.y[of] + photons.slope_y[of] * z + radius * np.sin(around)
    column, row = (np.floor(place / CELL).astype(np.int64) + CELLS // 2 for place in (x, y))
    layer = np.searchsorted(LAYERS, depth, side="right") - 1
    inside = (layer < SHAPE[0]) & (column >= 0) & (column < CELLS) & (row >= 0) & (row < CELLS)
    places = np.ravel_multi_index(
        (photons.event[of][inside], layer[inside], row[inside], column[inside]), (events, *SHAPE)
    )
    hits = np.bincount(places, minlength=events * np.prod(SHAPE))
    return hits.reshape(events, *SHAPE) / SPOTS_PER_GEV
