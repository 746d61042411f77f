"""What predictions are worth: ROC AUC with its uncertainty, and the place among all submissions."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from coursekit.teaching.exam import predictions

RESAMPLES = 400


@dataclass(frozen=True)
class Score:
    """What one set of predictions is worth.

    `auc` is the probability that a photon gets a higher value than a pion, with its standard error; `pions` the
    fraction of pions that are taken for photons by the cut that keeps 90 % of the photons, with its own.
    """

    auc: float
    auc_error: float
    pions: float
    pions_error: float
    resampled: np.ndarray  # (400,) the AUC of each bootstrap sample, the same samples for everyone

    def __str__(self) -> str:
        return (
            f"ROC AUC {self.auc:.4f} ± {self.auc_error:.4f}, at 90 % of the photons "
            f"{self.pions:.1%} ± {self.pions_error:.1%} of the pions"
        )


def auc(label: np.ndarray, probability: np.ndarray) -> float:
    """Return the area under the ROC curve, 0 to 1; a tie counts half."""
    photons = label == 1
    count = photons.sum()
    above = rankdata(probability)[photons].sum() - count * (count + 1) / 2
    return float(above / (count * (len(label) - count)))


def pions_accepted(label: np.ndarray, probability: np.ndarray) -> float:
    """Return the fraction of pions at or above the cut that keeps 90 % of the photons, 0 to 1."""
    photons = np.sort(probability[label == 1])
    cut = photons[len(photons) // 10]
    return float((probability[label == 0] >= cut).mean())


def measure(label: np.ndarray, probability: np.ndarray) -> Score:
    """Return the score of probabilities (N,) for labels (N,); errors are standard deviations over bootstrap samples."""
    random = np.random.default_rng(0)
    draws = [random.integers(len(label), size=len(label)) for _ in range(RESAMPLES)]
    areas = np.array([auc(label[rows], probability[rows]) for rows in draws])
    accepted = [pions_accepted(label[rows], probability[rows]) for rows in draws]
    return Score(
        auc(label, probability), areas.std(), pions_accepted(label, probability), np.std(accepted), areas
    )


def score(file: Path | str, teacher: Path | str) -> Score:
    """Return the score of a file of predictions, given the teacher's folder.

    Raises ValueError with one line for a file that cannot be scored, and for a folder that is no teacher's folder.
    """
    ids, label = labels(Path(teacher))
    given, probability = predictions.read(Path(file))
    if found := predictions.problems(given, probability, ids):
        raise ValueError("; ".join(found))
    return measure(label, probability)


def labels(teacher: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids (N,) and labels (N,) of the test data. Raises ValueError where they are not."""
    try:
        json.loads((teacher / "exam.json").read_text(encoding="utf-8"))
        with np.load(teacher / "labels.npz") as arrays:
            return arrays["id"], arrays["label"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"exam: {str(teacher)!r} is no teacher's folder of an exam") from error


def places(scores: list[Score]) -> list[tuple[int, int, int]]:
    """Return the place of each score by AUC, 1 the best, and its range in the middle 68 % of the bootstrap samples."""
    if not scores:
        return []
    areas = np.array([[one.auc, *one.resampled] for one in scores])  # (S, 1 + 400)
    ranks = rankdata(-areas, method="min", axis=0).astype(int)
    low, high = np.quantile(ranks[:, 1:], [0.16, 0.84], axis=1, method="nearest")
    return [(int(rank), int(a), int(b)) for rank, a, b in zip(ranks[:, 0], low, high, strict=True)]
