"""A judge of generated digits: how many can be recognized, of how many kinds, and how near they are to real ones.

The judge is the network of lesson 4 with a hidden layer of 64 units, trained on digits that are in neither MNIST's test
set nor the sample, by data/generators/make_judge.py.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from coursekit.data import shipped

SURE = 0.9
RESAMPLES = 20  # bootstrap samples for an uncertainty


class Measured(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        digits = 2 if self.value < 10 else 0 if self.value >= 100 else 1
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"


class Score(NamedTuple):
    """What the judge says of a set of images; every entry has a `value` and an `error`."""

    sure: Measured
    smallest_class: Measured
    inception: Measured
    frechet: Measured

    def __str__(self) -> str:
        return (
            f"sure of {self.sure}, smallest class {self.smallest_class}, inception score {self.inception}, "
            f"Fréchet distance {self.frechet}"
        )


def untrained() -> nn.Sequential:
    """Return the network of the judge, from images (N, 1, 28, 28) to logits (N, 10), with random weights."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(512, 64), nn.ReLU()),
        nn.Linear(64, 10),
    )


@torch.no_grad()
def features(images: Tensor) -> Tensor:
    """Return the activations (N, 64) of the judge's hidden layer for images (N, 1, 28, 28) in [0, 1]."""
    layers = _network(str(_checked("features", images).device))[:-1]
    parts = images.float().split(200)  # that fit into the processor's cache: faster
    return torch.cat([layers(part) for part in parts])


@torch.no_grad()
def probabilities(images: Tensor) -> Tensor:
    """Return for images (N, 1, 28, 28) in [0, 1] the probabilities (N, 10) that they are a 0, 1, …, 9."""
    return _network(str(_checked("probabilities", images).device))[-1](features(images)).softmax(dim=1)


def score(images: Tensor, real: Tensor) -> Score:
    """Return how good generated digits `images` (N, 1, 28, 28) in [0, 1] are, each number with its standard error.

    - `sure`: the fraction of images that the judge gives a probability above 0.9 of being one of the digits;
    - `smallest_class`: the smallest of the fractions that it takes for a 0, for a 1, …, for a 9;
    - `inception`: the inception score with this judge, from 1 to 10 (Salimans et al., 2016);
    - `frechet`: the Fréchet distance of `images` and `real` (M, 1, 28, 28) in the judge's 64 features (Heusel et al.,
      2017). It falls with N and M, even where nothing else changes: compare values of equal N and M only.

    For many calls with the same `real`, hand over its features (M, 64) instead, computed once by `features`.

    A standard error is the standard deviation over 20 bootstrap samples of the images (always the same draws); it says
    nothing about the spread from one training to the next. Raises ValueError for other shapes, values outside of
    [0, 1], or fewer than 100 images.
    """
    seen, reference = _many(images, "images"), _Gaussian.of(_many(real, "real").double())
    judged, seen = _network("cpu")[-1](seen).softmax(dim=1).double(), seen.double()
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randint(len(images), (len(images),), generator=generator) for _ in range(RESAMPLES)]
    all_of_them = torch.arange(len(images))
    rows = torch.tensor([_numbers(judged[some], seen[some], reference) for some in (all_of_them, *draws)])
    return Score(*map(Measured, rows[0].tolist(), rows[1:].std(dim=0).tolist()))


def _many(given: Tensor, name: str) -> Tensor:
    """Return the features (N, 64) of at least 100 images on the CPU (not every device has float64)."""
    already = name == "real" and isinstance(given, Tensor) and given.ndim == 2 and given.shape[1] == 64
    if len(given if already else _checked("score", given, name)) < 100:
        raise ValueError(
            f"score: `{name}` has {len(given)} images; the scores need 100 at least, better 1,000"
        )
    return (given if already else features(given)).cpu()


class _Gaussian(NamedTuple):
    """Mean (K,) of a cloud of features (N, K), and a root (K, K) of its covariance: root @ rootᵀ."""

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, cloud: Tensor) -> "_Gaussian":
        values, axes = torch.linalg.eigh(torch.cov(cloud.T))
        return cls(cloud.mean(dim=0), axes * values.clamp(min=0).sqrt())

    def frechet_distance(self, cloud: Tensor) -> float:
        """Return |m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁C₂)^½) for another cloud (M, K), m its mean and C its covariance.

        It is the square of the 2-Wasserstein distance of two Gaussians (Dowson and Landau, 1982).
        """
        shift, spread = cloud.mean(dim=0) - self.mean, torch.cov(cloud.T)
        roots = torch.linalg.eigvalsh(self.root.T @ spread @ self.root).clamp(min=0).sqrt()
        return (shift.square().sum() + spread.trace() + self.root.square().sum() - 2 * roots.sum()).item()


def _numbers(judged: Tensor, seen: Tensor, reference: _Gaussian) -> tuple[float, ...]:
    """Return the four numbers of a score, from probabilities (N, 10) and features (N, 64)."""
    surest, kinds = judged.max(dim=1)
    smallest = kinds.bincount(minlength=10).min() / len(kinds)
    information = torch.special.xlogy(judged, judged / judged.mean(dim=0)).sum(dim=1).mean()
    sure = (surest > SURE).double().mean()
    return sure.item(), smallest.item(), information.exp().item(), reference.frechet_distance(seen)


@cache
def _network(device: str) -> nn.Sequential:
    network = untrained()
    network.load_state_dict(
        {name: torch.from_numpy(weight).float() for name, weight in shipped("judge.npz").items()}
    )
    return network.eval().requires_grad_(False).to(device)


def _checked(function: str, images: Tensor, name: str = "images") -> Tensor:
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1:] != (1, 28, 28):
        got = tuple(images.shape) if hasattr(images, "shape") else type(images).__name__
        raise ValueError(f"{function}: `{name}` must be a tensor (N, 1, 28, 28) of images, not {got}")
    if len(images) and not (images.min() >= 0 and images.max() <= 1):  # nan fails both
        low, high = images.min().item(), images.max().item()
        raise ValueError(
            f"{function}: `{name}` must lie in [0, 1], but go from {low:.3g} to {high:.3g}: logits need a "
            "`.sigmoid()`, values from −1 to 1 `(x + 1) / 2`"
        )
    return images
