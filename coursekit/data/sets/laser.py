"""A chaotic laser, simulated."""

import torch
from torch import Tensor

from coursekit.data.shipped import shipped


def laser() -> Tensor:
    """Return the intensity of a chaotic laser at 6,000 times, (6000,) float32, in arbitrary units.

    It rises in growing pulses and collapses at irregular times. Simulated by the equations of Lorenz, which are those
    of a single-mode laser (H. Haken, Physics Letters A 53 (1975) 77); data/README.md says how.

    Prints one line.
    """
    intensity = torch.from_numpy(shipped("laser.npz")["intensity"])
    print(f"Laser: {len(intensity):,} intensities, from the sample that ships with the course")
    return intensity
