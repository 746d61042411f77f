"""One training loop for every network of the course, and the record it leaves.

`fit` and `evaluate` work with any iterable of (x, y) batches, `Split.batches` or a DataLoader, and with any objective:
a function `(model, x, y) -> dict` whose "loss" is minimised and whose other entries are averaged and plotted.
"""

from coursekit.train.averages import evaluate
from coursekit.train.history import History
from coursekit.train.inputs import Batch, Objective
from coursekit.train.loop import fit
from coursekit.train.objectives import classification
from coursekit.train.progress import ProgressBar

__all__ = ["Batch", "History", "Objective", "ProgressBar", "classification", "evaluate", "fit"]
