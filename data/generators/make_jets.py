"""Generate the course's jets: `python make_jets.py jets.npz jet_particles.npz` writes 5,000 jets of each of five kinds.

The first file holds features of the jets, the second the hardest particles of the same jets, row by row.

Needs pythia8mc==8.317.2 and fastjet==3.5.2.0, which the course itself does not. Two runs with the same seed and
versions write the same jets.

Proton-proton collisions at 13 TeV with a hard scattering of 950 to 1100 GeV transverse momentum (Pythia 8, its
default tune, no pile-up, no detector). Visible final particles with |η| < 4 are clustered by anti-kT with R = 0.8.
The two hardest jets of an event are taken where 800 < pT < 1200 GeV and |y| < 2.4, and named after the parton of the
hard process closer than 0.4: gluon, quark (u, d, s, c or b), W, Z (both decaying to quarks) or top.

Features follow J. Duarte et al., "Fast inference of deep neural networks in FPGAs for particle physics",
JINST 13 (2018) P07027; energy correlators: A. Larkoski, G. Salam, J. Thaler, JHEP 06 (2013) 108, and I. Moult,
L. Necib, J. Thaler, JHEP 12 (2016) 153; groomer mMDT: M. Dasgupta et al., JHEP 09 (2013) 029.
"""

import argparse
import functools
import itertools
import multiprocessing
from collections.abc import Iterator

import fastjet
import numpy as np
import pythia8mc

KINDS = {
    "gluon": (["HardQCD:gg2gg = on", "HardQCD:qqbar2gg = on"], {21}),
    "quark": (["HardQCD:qq2qq = on", "HardQCD:qqbar2qqbarNew = on"], {1, 2, 3, 4, 5}),
    "W": (["WeakDoubleBoson:ffbar2WW = on"], {24}),
    "Z": (["WeakDoubleBoson:ffbar2gmZgmZ = on", "WeakZ0:gmZmode = 2"], {23}),
    "top": (["Top:gg2ttbar = on", "Top:qqbar2ttbar = on"], {6}),
}
HADRONIC = [f"{boson}:{setting}" for boson in (23, 24) for setting in ("onMode = off", "onIfAny = 1 2 3 4 5")]
ANTI_KT = fastjet.JetDefinition(fastjet.antikt_algorithm, 0.8)
CAMBRIDGE_AACHEN = fastjet.JetDefinition(fastjet.cambridge_algorithm, 1.5)
PARTICLES = 30  # the hardest ones, of the whole jet, that are stored
PT_UNIT, ANGLE_UNIT = 0.1, 0.002  # GeV and radians: what the whole numbers in the file of particles count
CONSTITUENTS = 60  # the hardest ones, of the groomed jet, that enter the energy correlators
FEATURES = (
    "sum z ln z", "C1 b=0", "C1 b=1", "C1 b=2", "C2 b=1", "C2 b=2", "D2 b=1", "D2 b=2", "D2 a=1 b=2",
    "M2 b=1", "M2 b=2", "N2 b=1", "N2 b=2", "groomed mass", "multiplicity",
)  # fmt: skip


def jets(kind: str, seed: int) -> Iterator[tuple[int, list[float], np.ndarray, float]]:
    """Yield (event number, features, hardest particles, pT) of one jet after the other, without end."""
    settings, identities = KINDS[kind]
    pythia = pythia8mc.Pythia("", False)
    for line in [
        "Print:quiet = on", "Beams:eCM = 13000", "PhaseSpace:pTHatMin = 950", "PhaseSpace:pTHatMax = 1100",
        "Random:setSeed = on", f"Random:seed = {seed}", *HADRONIC, *settings,
    ]:  # fmt: skip
        assert pythia.readString(line), line
    assert pythia.init()
    for event in itertools.count():
        if not pythia.next():
            continue
        particles, partons = [], []
        for particle in pythia.event:
            if particle.isFinal() and particle.isVisible() and abs(particle.eta()) < 4:
                momentum = particle.px(), particle.py(), particle.pz(), particle.e()
                particles.append(fastjet.PseudoJet(*momentum))
            elif particle.status() in (-22, -23):  # outgoing from the hard process, or its resonance
                partons.append((particle.y(), particle.phi(), abs(particle.id())))
        sequence = fastjet.ClusterSequence(particles, ANTI_KT)
        hardest = sorted(sequence.inclusive_jets(500.0), key=lambda jet: -jet.pt())[:2]
        for jet in hardest:
            if 800 < jet.pt() < 1200 and abs(jet.rap()) < 2.4 and nearest(jet, partons) in identities:
                values = features(jet)
                if values is not None:
                    yield event, values, hardest_particles(jet), jet.pt()


def nearest(jet: fastjet.PseudoJet, partons: list[tuple[float, float, int]]) -> int | None:
    """Return the identity of the parton nearest to the jet's axis, None if none is closer than 0.4."""
    distance, identity = min(
        (np.hypot(jet.rap() - y, turn(jet.phi() - phi)), name) for y, phi, name in partons
    )
    return identity if distance < 0.4 else None


def turn(angle: np.ndarray | float) -> np.ndarray | float:
    """Return an angle between −π and π."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def hardest_particles(jet: fastjet.PseudoJet) -> np.ndarray:
    """Return (PARTICLES, 3), hardest first, rows of 0 at the end: pT in GeV, Δy and Δφ from the jet's axis."""
    particles = sorted(jet.constituents(), key=lambda particle: -particle.pt())[:PARTICLES]
    rows = [(p.pt(), p.rap() - jet.rap(), turn(p.phi() - jet.phi())) for p in particles]
    return np.pad(np.array(rows), ((0, PARTICLES - len(rows)), (0, 0)))


def features(jet: fastjet.PseudoJet) -> list[float] | None:
    """Return the values of FEATURES; None for a jet that grooming leaves with fewer than three particles."""
    every = jet.constituents()
    z = np.array([particle.pt() for particle in every]) / jet.pt()
    groomed = groom(every)
    kept = sorted(groomed.constituents(), key=lambda particle: -particle.pt())[:CONSTITUENTS]
    if len(kept) < 3:
        return None
    correlators = energy_correlators(np.array([[p.pt(), p.rap(), p.phi()] for p in kept]))
    return [float((z * np.log(z)).sum()), *correlators, groomed.m(), len(every)]


def groom(particles: list[fastjet.PseudoJet], cut: float = 0.1) -> fastjet.PseudoJet:
    """Return the jet without its soft parts: undo the clustering until both branches carry more than `cut` of pT."""
    groom.sequence = fastjet.ClusterSequence(
        list(particles), CAMBRIDGE_AACHEN
    )  # must outlive the jet it returns
    jet = max(groom.sequence.inclusive_jets(), key=lambda candidate: candidate.pt())
    first, second = fastjet.PseudoJet(), fastjet.PseudoJet()
    while jet.has_parents(first, second):
        softer, harder = sorted((first, second), key=lambda branch: branch.pt())
        if softer.pt() > cut * (softer.pt() + harder.pt()):
            break
        jet = fastjet.PseudoJet(harder)
        first, second = fastjet.PseudoJet(), fastjet.PseudoJet()
    return jet


@functools.cache
def combinations(count: int, size: int) -> np.ndarray:
    """Return the indices of all subsets (subsets, size) of `count` things."""
    return np.array(list(itertools.combinations(range(count), size)))


def energy_correlators(particles: np.ndarray) -> list[float]:
    """Return C1, C2, D2, M2 and N2 in the order of FEATURES, of particles (n, 3): pT, rapidity, azimuth.

    With pT fractions z and distances R, e2(β) = Σ z z R^β over pairs, e3(β) = Σ z z z (R R R)^β over triples;
    1e3 and 2e3 take the smallest, or the two smallest, of a triple's three distances.
    """
    pt, y, phi = particles.T
    z = pt / pt.sum()
    distance = np.hypot(y[:, None] - y, turn(phi[:, None] - phi))
    i, j = combinations(len(z), 2).T
    pair_weight, pair_distance = z[i] * z[j], distance[i, j]
    i, j, k = combinations(len(z), 3).T
    triple_weight = z[i] * z[j] * z[k]
    sides = np.sort(np.stack([distance[i, j], distance[i, k], distance[j, k]]), axis=0)  # (3, triples)

    e2 = {beta: (pair_weight * pair_distance**beta).sum() for beta in (0, 1, 2)}
    e3 = {beta: (triple_weight * (sides**beta).prod(axis=0)).sum() for beta in (1, 2)}
    smallest = {beta: (triple_weight * sides[0] ** beta).sum() for beta in (1, 2)}
    two_smallest = {beta: (triple_weight * (sides[0] * sides[1]) ** beta).sum() for beta in (1, 2)}
    return [
        e2[0], e2[1], e2[2],
        e3[1] / e2[1] ** 2, e3[2] / e2[2] ** 2,
        e3[1] / e2[1] ** 3, e3[2] / e2[2] ** 3, e3[1] / e2[2] ** 1.5,
        smallest[1] / e2[1], smallest[2] / e2[2],
        two_smallest[1] / e2[1] ** 2, two_smallest[2] / e2[2] ** 2,
    ]  # fmt: skip


def generate(kind: str, count: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the arrays of both files for one kind."""
    events, rows, particles, jet_pt = zip(*itertools.islice(jets(kind, seed), count), strict=True)
    print(f"{kind}: {count} jets of {events[-1] + 1} events", flush=True)
    number = list(KINDS).index(kind)
    of_jets = {
        "x": np.array(rows, np.float32),
        "y": np.full(count, number, np.uint8),
        "event": np.array(events, np.int32) + number * 10_000_000,
    }
    return of_jets, in_whole_numbers(np.array(particles), np.array(jet_pt))


def in_whole_numbers(particles: np.ndarray, jet_pt: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of the file of particles (N, PARTICLES, 3), which rounding makes a tenth as large."""
    pt = np.rint(particles[..., 0].astype(np.float32) / PT_UNIT).astype(np.uint16)
    angles = np.where(pt[..., None] > 0, np.rint(particles[..., 1:].astype(np.float32) / ANGLE_UNIT), 0)
    dy, dphi = np.moveaxis(angles.astype(np.int16), -1, 0)
    return {
        "pt": pt,
        "dy": dy,
        "dphi": dphi,
        "jet_pt": np.rint(jet_pt.astype(np.float32) / PT_UNIT).astype(np.uint16),
    }


def main() -> None:
    """Generate all kinds and write the two files: features, kind and event of the jets, and their particles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("jets")
    parser.add_argument("particles")
    parser.add_argument("--count", type=int, default=5000, help="jets of each kind (default: 5000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first kind (default: 1)")
    options = parser.parse_args()
    jobs = [(kind, options.count, options.seed + number) for number, kind in enumerate(KINDS)]
    with multiprocessing.get_context("spawn").Pool() as pool:
        parts = pool.starmap(generate, jobs, chunksize=1)
    for file, of_kinds in zip((options.jets, options.particles), zip(*parts, strict=True), strict=True):
        arrays = {name: np.concatenate([of_kind[name] for of_kind in of_kinds]) for name in of_kinds[0]}
        np.savez_compressed(file, **arrays)


if __name__ == "__main__":
    main()
