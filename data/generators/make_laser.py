"""Simulate the course's laser: `python make_laser.py laser.npz` writes 6,000 intensities.

Haken showed that the equations of a single-mode laser are those of Lorenz (H. Haken, "Analogy between higher
instabilities in fluids and lasers", Physics Letters A 53 (1975) 77): the intensity is the square of x in

    x' = 10 (y - x),   y' = x (28 - z) - y,   z' = x y - 8/3 z.

They are integrated by the classical Runge-Kutta method in steps of 0.01; every eighth step after the first 1,000 is
kept. The motion is chaotic, so another rounding ends in another series: the file is the data set, not this script.
"""

import argparse

import numpy as np

STEP, EVERY, SKIPPED, COUNT = 0.01, 8, 1000, 6000


def change(state: np.ndarray) -> np.ndarray:
    """Return the time derivative of (x, y, z)."""
    x, y, z = state
    return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


def runge_kutta(state: np.ndarray) -> np.ndarray:
    """Return the state one step later."""
    first = change(state)
    second = change(state + STEP / 2 * first)
    third = change(state + STEP / 2 * second)
    fourth = change(state + STEP * third)
    return state + STEP / 6 * (first + 2 * second + 2 * third + fourth)


def main() -> None:
    """Write intensity (6000,) float32."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    options = parser.parse_args()
    state, intensity = np.array([1.0, 1.0, 1.0]), []
    for step in range(SKIPPED + EVERY * COUNT):
        state = runge_kutta(state)
        if step >= SKIPPED and (step - SKIPPED) % EVERY == 0:
            intensity.append(state[0] ** 2)
    np.savez_compressed(options.file, intensity=np.array(intensity, np.float32))


if __name__ == "__main__":
    main()
