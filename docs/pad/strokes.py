"""Ones with a flag or a foot and sevens with a bar, drawn as straight strokes: MNIST, from America, has few of them."""

import torch
from torch import Tensor

SIDE = 28  # pixels


def ones_and_sevens(N: int) -> tuple[Tensor, Tensor]:
    """Return N pictures (N, 1, 28, 28), half of them ones and half sevens, no two alike, and their labels (N,)."""
    strokes = torch.cat([_ones(N - N // 2), _sevens(N // 2)])  # (N, 3, 2, 2)
    y = torch.tensor([1] * (N - N // 2) + [7] * (N // 2))
    strokes = strokes + 0.02 * torch.randn(strokes.shape)  # nobody's hand is steady
    return drawn(4 + 20 * strokes, radius=_between(0.7, 1.9, N)), y


def _ones(N: int) -> Tensor:
    """Return strokes (N, 3, 2, 2), from and to (x, y) in a unit square: stem, flag and foot, where it has them."""
    lean, slope, length = _between(-0.03, 0.22, N), _between(0.55, 1.6, N), _between(0.12, 0.55, N)
    top, bottom = _point(0.5 + lean / 2, 0), _point(0.5 - lean / 2, 1)
    left = top + length[:, None] * _point(-1, slope) / (1 + slope**2).sqrt()[:, None]
    half = _point(_between(0.1, 0.3, N), 0)
    has_flag, has_foot = torch.rand(N, 1) < 0.85, torch.rand(N, 1) < 0.4
    flag = [torch.where(has_flag, left, top), top]
    foot = [torch.where(has_foot, bottom - half, bottom), torch.where(has_foot, bottom + half, bottom)]
    return _strokes([top, bottom], flag, foot)


def _sevens(N: int) -> Tensor:
    """Return strokes (N, 3, 2, 2): the roof, the stem, and the bar across it, where there is one."""
    width, tilt = _between(0.4, 0.7, N), _between(-0.06, 0.04, N)
    left, right = _point(0.5 - width / 2, tilt), _point(0.5 + width / 2, 0)
    bottom = _point(0.5 - width * _between(0, 0.45, N), 1)
    middle = right + _between(0.4, 0.6, N)[:, None] * (bottom - right)
    half = _point(_between(0.1, 0.25, N), 0)
    has_bar = torch.rand(N, 1) < 0.6
    bar = [torch.where(has_bar, middle - half, middle), torch.where(has_bar, middle + half, middle)]
    return _strokes([left, right], [right, bottom], bar)


def drawn(strokes: Tensor, *, radius: Tensor) -> Tensor:
    """Return pictures (N, 1, 28, 28) of straight strokes (N, S, 2, 2), in pixels, with a round pen of a radius (N,)."""
    start, way = strokes[:, :, 0], strokes[:, :, 1] - strokes[:, :, 0]  # (N, S, 2)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    pixels = torch.stack([columns, rows], dim=-1).view(1, 1, -1, 2)  # (x, y)
    from_start = pixels - start[:, :, None]  # (N, S, 784, 2)
    along = (from_start * way[:, :, None]).sum(-1) / (way**2).sum(-1, keepdim=True).clamp(min=1e-6)
    distance = (from_start - along.clamp(0, 1)[..., None] * way[:, :, None]).norm(dim=-1).amin(dim=1)
    return (radius[:, None] + 0.5 - distance).clamp(0, 1).view(-1, 1, SIDE, SIDE)


def _between(low: float, high: float, N: int) -> Tensor:
    return low + (high - low) * torch.rand(N)


def _point(x: Tensor | float, y: Tensor | float) -> Tensor:
    return torch.stack(torch.broadcast_tensors(torch.as_tensor(x), torch.as_tensor(y)), dim=-1).float()


def _strokes(*ends: list[Tensor]) -> Tensor:
    return torch.stack([torch.stack(pair, dim=1) for pair in ends], dim=1)
