"""Simulated jets of the Large Hadron Collider."""

import numpy as np

from coursekit.data import search
from coursekit.data.download import socket_timeout
from coursekit.data.problems import PlaceError
from coursekit.data.shipped import shipped
from coursekit.data.splits import Splits, splits_by_group

JETS = ("gluon", "quark", "W", "Z", "top")
JET_FEATURES = (
    "Σ z ln z", "C₁ β=0", "C₁ β=1", "C₁ β=2", "C₂ β=1", "C₂ β=2", "D₂ β=1", "D₂ β=2", "D₂ α=1 β=2",
    "M₂ β=1", "M₂ β=2", "N₂ β=1", "N₂ β=2", "groomed mass (GeV)", "multiplicity",
)  # fmt: skip
# The same columns in the published set, whose sixteenth, d2_a1_b1_mmdt, repeats D₂ β=1
_PUBLISHED_FEATURES = (
    "zlogz", "c1_b0_mmdt", "c1_b1_mmdt", "c1_b2_mmdt", "c2_b1_mmdt", "c2_b2_mmdt", "d2_b1_mmdt", "d2_b2_mmdt",
    "d2_a1_b2_mmdt", "m2_b1_mmdt", "m2_b2_mmdt", "n2_b1_mmdt", "n2_b2_mmdt", "mass_mmdt", "multiplicity",
)  # fmt: skip


def jets(source: str = "sample") -> Splits:
    """Return simulated jets of the Large Hadron Collider: x (N, 15) float32, raw features; y (N,) int64, the kind.

    `classes` names the kinds, `JET_FEATURES` the columns; data/README.md defines them. "sample" is the 25,000 jets
    that ship with the course (Pythia 8; 1.5 MB in memory), about 60 % train, 15 % valid and 25 % test; the two jets of
    a collision are always in the same part. "published" fetches 830,000 jets (M. Pierini et al.,
    doi:10.5281/zenodo.3602260) from OpenML through scikit-learn, split at random in the same shares, since they do
    not tell which jets belong together.

    Prints one line. Raises ValueError for an unknown source, FileNotFoundError where OpenML or the cache cannot be
    reached.
    """
    if source == "sample":
        stored = shipped("jets.npz")
        x, y, event = stored["x"], stored["y"], stored["event"]
        origin = "the sample that ships with the course"
    elif source == "published":
        x, y = _published_jets()
        event, origin = np.arange(len(y)), "OpenML"
    else:
        raise ValueError(f"jets: `source` must be 'sample' or 'published', not {source!r}")
    return search.announce("Jets", splits_by_group(x, y, event, classes=JETS, source=source), origin)


def jet_particles() -> Splits:
    """Return the jets of `jets()` as their hardest particles: x (N, 30, 3) float32; y (N,) int64, the kind.

    A particle is z, the fraction of the jet's transverse momentum that it carries, and Δy and Δφ, how far it lies from
    the jet's axis in rapidity and in azimuth (radians). The hardest comes first, and rows of zeros fill a jet up to 30
    particles, so `x[..., 0] > 0` tells which are real. Row by row, and in the same parts, these are the jets of
    `jets()`; 9 MB in memory.

    Prints one line.
    """
    stored = shipped("jets.npz")
    x = particle_table(shipped("jet_particles.npz"))
    splits = splits_by_group(x, stored["y"], stored["event"], classes=JETS, source="sample")
    return search.announce("Jets as particles", splits, "the sample that ships with the course")


def particle_table(stored: dict[str, np.ndarray]) -> np.ndarray:
    """Return z, Δy, Δφ (N, 30, 3) float32 from the whole numbers of a stored file; its units are in data/README.md."""
    z = stored["pt"] / stored["jet_pt"][:, None]
    return np.stack([z, 0.002 * stored["dy"], 0.002 * stored["dphi"]], axis=-1).astype(np.float32)


def _published_jets() -> tuple[np.ndarray, np.ndarray]:
    table = _published_table()
    columns = [
        next(column for column, name in enumerate(table.feature_names) if name.endswith(ending))
        for ending in _PUBLISHED_FEATURES
    ]
    kinds = {"g": 0, "q": 1, "w": 2, "z": 3, "t": 4}
    return table.data[:, columns].astype(np.float32), np.array([kinds[kind] for kind in table.target])


def _published_table():
    from sklearn.datasets import fetch_openml

    choice = {"version": 1, "as_frame": False, "parser": "liac-arff"}
    try:
        with socket_timeout():
            return fetch_openml("hls4ml_lhc_jets_hlf", data_home=search.cache_folder(), **choice)
    except (PlaceError, PermissionError) as error:
        raise FileNotFoundError(
            f"jets: the cache cannot be used ({error}); source='sample' needs none"
        ) from error
    except OSError as error:
        raise FileNotFoundError(
            f"jets: OpenML cannot be reached ({error}); source='sample' needs no network"
        ) from error
