"""The problem of an exam: photon or pion? What a seed chooses, and the records it leads to.

Every seed has a detector of its own: how far away the decays happen, how energetic the particles are, how much its
electronics drift from run to run, how rare the photons are, and what is broken. What makes a problem hard is held, so
that all are about equally hard: how many cells the two photons are apart, the noise, and no dead cell in the middle.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from tqdm.auto import tqdm

from coursekit.teaching.exam import calorimeter
from coursekit.teaching.exam.calorimeter import SHAPE, Photons

STEP = 0.01  # GeV: what one count of the readout is worth
FULL_SCALE = 163.83  # GeV: the largest count of 14 bits, which no shower reaches
TRAIN_RUNS, TEST_RUNS = 9, 6
PHOTON, PION = 1, 0
_CHUNK = 250  # events simulated at once, 100 MB


@dataclass(frozen=True)
class Settings:
    """What the seed chooses: the physics, the drift of the electronics, and how much is broken (fractions)."""

    distance: float  # cm from the decay to the calorimeter
    lowest_energy: float  # GeV
    highest_energy: float
    largest_tilt: float  # degrees
    photons: float  # fraction
    scale_spread: float  # standard deviation of the energy scale, from run to run
    pedestal_spread: float  # GeV, likewise of the pedestal
    noise: float  # GeV in each cell
    with_nan: float
    hot: float
    empty: float
    without_tilt: float
    duplicated: float

    @classmethod
    def draw(cls, random: Generator) -> "Settings":
        """Return settings drawn from their ranges, those that decide how hard a problem is held together.

        The energies follow from the distance, so that the two photons of a pion are as many cells apart in every
        problem. They grow a little faster than the distance, since a shower of more energy shows more of its shape. The
        noise is always the same: it moves simple features more than anything else.
        """
        distance = random.uniform(200, 300)
        lowest = 50 * (distance / 250) ** 1.17
        return cls(
            distance=distance,
            lowest_energy=lowest,
            highest_energy=4 * lowest,
            largest_tilt=random.uniform(6, 12),
            photons=random.uniform(0.15, 0.3),
            scale_spread=random.uniform(0.03, 0.06),
            pedestal_spread=random.uniform(0.03, 0.06),
            noise=0.035,
            with_nan=random.uniform(0.005, 0.015),
            hot=random.uniform(0.005, 0.015),
            empty=random.uniform(0.003, 0.01),
            without_tilt=random.uniform(0.003, 0.01),
            duplicated=random.uniform(0.02, 0.05),
        )


@dataclass(frozen=True)
class Records:
    """What the detector wrote, a row for each event, and the labels that the students do not have."""

    energy: np.ndarray  # (N, 3, 16, 16) float32, GeV
    tilt: np.ndarray  # (N,) float32, degrees
    run: np.ndarray  # (N,) int64
    label: np.ndarray  # (N,) int64, 1 for a photon

    def __len__(self) -> int:
        return len(self.label)

    def rows(self, order: np.ndarray) -> "Records":
        """Return these rows, in this order."""
        return Records(*(values[order] for values in vars(self).values()))


@dataclass(frozen=True)
class Problem:
    """Training and test records and what they were made from."""

    settings: Settings
    train: Records
    test: Records

    def as_dict(self) -> dict[str, float]:
        """Return the settings by name."""
        return asdict(self.settings)


def make(seed: int, *, train: int = 6000, test: int = 4000) -> Problem:
    """Return the problem of a seed, with so many training and test records; a progress bar counts them.

    Runs 1 to 9 are for training, 10 to 15 for the test. Raises ValueError for a seed that is no integer from 0 on, and
    for fewer than 200 records of a kind.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"exam: the seed must be an integer from 0 on, such as 2027, not {seed!r}")
    if min(train, test) < 200:
        raise ValueError(f"exam: {min(train, test)} events are too few to learn from: take 200 at least")
    for_settings, *streams = (default_rng(stream) for stream in SeedSequence(seed).spawn(3))
    settings = Settings.draw(for_settings)
    dead = dead_cell(for_settings)
    with tqdm(total=train + test, desc="simulating", unit="event") as bar:
        parts = [
            _simulate(settings, count, runs, random, bar)
            for count, runs, random in (
                (train, np.arange(1, TRAIN_RUNS + 1), streams[0]),
                (test, np.arange(TRAIN_RUNS + 1, TRAIN_RUNS + TEST_RUNS + 1), streams[1]),
            )
        ]
    broken = [
        _broken(records, settings, dead, random) for records, random in zip(parts, streams, strict=True)
    ]
    return Problem(settings, _with_duplicates(broken[0], settings, streams[0]), broken[1])


def dead_cell(random: Generator) -> tuple[int, int, int]:
    """Return a cell (layer, row, column) near the middle; one in it would make the problem harder than others."""
    while True:
        layer, row, column = random.integers((0, 4, 4), (SHAPE[0], 12, 12))
        if max(abs(row - 7.5), abs(column - 7.5)) > 2:
            return layer, row, column


def particles(settings: Settings, is_photon: np.ndarray, tilt: np.ndarray, random: Generator) -> Photons:
    """Return the photons (P,) of events (N,): one of a photon, two of a pion; the energies do not depend on the kind.

    They come from a point in front of the calorimeter, tilted by `tilt` degrees in x, and aim near its centre.
    """
    count = len(is_photon)
    energy = np.exp(random.uniform(np.log(settings.lowest_energy), np.log(settings.highest_energy), count))
    x, y = random.uniform(-1.5, 1.5, (2, count))
    slope = np.tan(np.radians(tilt))
    x = x - slope * 8 * calorimeter.RADIATION_LENGTH  # so that the middle of the shower is near the middle
    arriving = Photons(np.arange(count), energy, x, y, slope, np.zeros(count))
    single, pions = (
        Photons(*(values[kind] for values in vars(arriving).values())) for kind in (is_photon, ~is_photon)
    )
    return single.join(Photons.from_pions(pions, settings.distance, random))


def _simulate(settings: Settings, count: int, runs: np.ndarray, random: Generator, bar: tqdm) -> Records:
    """Return records as the electronics write them, in random order; nothing is broken yet."""
    label = np.zeros(count, dtype=np.int64)
    label[: round(settings.photons * count)] = PHOTON
    label = random.permutation(label)
    tilt = random.uniform(-settings.largest_tilt, settings.largest_tilt, count)
    run = random.choice(runs, count)
    scale = random.normal(1, settings.scale_spread, runs.max() + 1)
    pedestal = random.normal(0, settings.pedestal_spread, runs.max() + 1)
    energy = np.empty((count, *SHAPE), dtype=np.float32)
    for start in range(0, count, _CHUNK):
        rows = slice(start, min(start + _CHUNK, count))
        photons = particles(settings, label[rows] == PHOTON, tilt[rows], random)
        true = calorimeter.deposits(photons, len(label[rows]), random)
        true *= scale[run[rows], None, None, None]
        true += pedestal[run[rows], None, None, None] + random.normal(0, settings.noise, true.shape)
        energy[rows] = np.minimum(np.rint(true / STEP), round(FULL_SCALE / STEP)) * STEP
        bar.update(len(label[rows]))
    return Records(energy, tilt.round(2).astype(np.float32), run, label)


def _broken(records: Records, settings: Settings, dead: tuple, random: Generator) -> Records:
    """Return the records with a dead cell in a third of the runs, cells that are nan or stuck at full scale, and so on.

    What is broken does not depend on the label.
    """
    energy, tilt = records.energy.copy(), records.tilt.copy()
    runs = np.unique(records.run)
    energy[(np.isin(records.run, random.choice(runs, len(runs) // 3, replace=False)), *dead)] = 0
    for fraction, value, cells in (
        (settings.with_nan, np.nan, 3),
        (settings.hot, FULL_SCALE, 1),
    ):
        for row in _some(records, fraction, random):
            energy[row].reshape(-1)[random.choice(energy[row].size, cells, replace=False)] = value
    energy[_some(records, settings.empty, random)] = 0
    tilt[_some(records, settings.without_tilt, random)] = -999
    return Records(energy, tilt, records.run, records.label)


def _with_duplicates(records: Records, settings: Settings, random: Generator) -> Records:
    """Return the records with some of them written twice, and as many others lost."""
    twice = _some(records, settings.duplicated, random)
    others = np.setdiff1d(np.arange(len(records)), twice)
    kept = random.permutation(others)[: len(others) - len(twice)]
    return records.rows(random.permutation(np.concatenate([twice, twice, kept])))


def _some(records: Records, fraction: float, random: Generator) -> np.ndarray:
    """Return the numbers of some rows, one at least."""
    return random.choice(len(records), max(1, round(fraction * len(records))), replace=False)
