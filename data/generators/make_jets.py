"""Generate the course's jets: `python make_jets.py jets.npz` writes 5,000 jets of each of five kinds.

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
CONSTITUENTS = 60  # the hardest ones, of the groomed jet, that enter the energy correlators
FEATURES = (
    "sum z ln z", "C1 b=0", "C1 b=1", "C1 b=2", "C2 b=1", "C2 b=2", "D2 b=1", "D2 b=2", "D2 a=1 b=2",
    "M2 b=1", "M2 b=2", "N2 b=1", "N2 b=2", "groomed mass", "multiplicity",
)  # fmt: skip


def jets(kind: str, seed: int) -> Iterator[tuple[int, list[float]]]:
    """Yield (event number, features) of one jet after the other, without end."""
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
                    yield event, values


def nearest(jet: fastjet.PseudoJet, partons: list[tuple[float, float, int]]) -> int | None:
    """Return the identity of the parton nearest to the jet's axis, None if none is closer than 0.4."""
    distance, identity = min(
        (np.hypot(jet.rap() - y, turn(jet.phi() - phi)), name) for y, phi, name in partons
    )
    return identity if distance < 0.4 else None


def turn(angle: np.ndarray | float) -> np.ndarray | float:
    """Return an angle between −π and π."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


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


def generate(kind: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features (count, 15) and event numbers (count,)."""
    events, rows = zip(*itertools.islice(jets(kind, seed), count), strict=True)
    print(f"{kind}: {count} jets of {events[-1] + 1} events", flush=True)
    return np.array(rows, np.float32), np.array(events, np.int32)


def main() -> None:
    """Generate all kinds and write x (N, 15), y (N,), event (N,) to one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--count", type=int, default=5000, help="jets of each kind (default: 5000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first kind (default: 1)")
    options = parser.parse_args()
    jobs = [(kind, options.count, options.seed + number) for number, kind in enumerate(KINDS)]
    with multiprocessing.get_context("spawn").Pool() as pool:
        parts = pool.starmap(generate, jobs, chunksize=1)
    x = np.concatenate([rows for rows, _ in parts])
    y = np.repeat(np.arange(len(KINDS), dtype=np.uint8), options.count)
    event = np.concatenate([number * 10_000_000 + events for number, (_, events) in enumerate(parts)])
    np.savez_compressed(options.file, x=x, y=y, event=event.astype(np.int32))


if __name__ == "__main__":
    main()
