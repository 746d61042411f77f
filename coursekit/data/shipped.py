"""The data files that are installed with the course."""

from importlib import resources

import numpy as np


def shipped(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file of data/, which is installed with the course."""
    with resources.as_file(resources.files("coursekit.datasets") / name) as path, np.load(path) as stored:
        return dict(stored)
