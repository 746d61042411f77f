"""Letters in the manner of MNIST: what a classifier of digits has never seen."""

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import torch

from coursekit.data.splits import Split

PRINTED = "ACDEFHJKLMNPQRTUVWXYabdefhkmnprtuvwxy"  # none that could pass for a digit, such as O, l, Z or g
_FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmss10", "cmtt10", "cmb10"),
)
_ROUNDS = 2  # how often each letter in each font may occur


def printed_letters(count: int = 1000, *, seed: int = 0) -> Split:
    """Return `count` printed letters, x (count, 1, 28, 28) in [0, 1], and y (count,), their places in `PRINTED`.

    37 letters in the 16 fonts that come with matplotlib, each turned at random by a few degrees (a normal distribution
    of 8°), scaled to a box of 20 × 20 pixels and centred by its mass, as MNIST is (LeCun et al., 1998). The same seed
    gives the same letters. Raises ValueError for a count outside of 1 to 1,184.
    """
    kinds = list(itertools.product(range(len(PRINTED)), _FONTS)) * _ROUNDS
    if not 1 <= count <= len(kinds):
        raise ValueError(f"printed_letters: `count` must be from 1 to {len(kinds)}, not {count}")
    rng = np.random.default_rng(seed)
    chosen = [kinds[place] for place in rng.permutation(len(kinds))[:count]]
    images = [_drawn(PRINTED[letter], font, rng.normal(0, 8)) for letter, font in chosen]
    return Split(torch.tensor(np.stack(images))[:, None], torch.tensor([letter for letter, _ in chosen]))


def _drawn(letter: str, font: str, degrees: float) -> np.ndarray:
    """Return a letter (28, 28) in [0, 1], white on black."""
    from PIL import Image, ImageDraw  # like matplotlib, slow to import: only where letters are drawn

    canvas = Image.new("L", (200, 200))
    ImageDraw.Draw(canvas).text((100, 100), letter, font=_font(font), fill=255, anchor="mm")
    turned = canvas.rotate(degrees, resample=Image.Resampling.BILINEAR)
    tight = turned.crop(turned.getbbox())
    size = [max(1, round(20 * side / max(tight.size))) for side in tight.size]
    ink = np.asarray(tight.resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
    ink /= ink.max()
    centre = [(place * ink).sum() / ink.sum() for place in np.indices(ink.shape)]
    top, left = (
        int(np.clip(round(13.5 - middle), 0, 28 - side))
        for middle, side in zip(centre, ink.shape, strict=True)
    )
    image = np.zeros((28, 28), dtype=np.float32)
    image[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return image


@cache
def _font(name: str) -> object:
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf"), 80)
