"""Real data, found offline first: images, labels, splits and minibatches as tensors.

`mnist`, `fashion_mnist`, `jets`, `jet_particles`, `names` and `czech_marks` return the three splits of a data set, and
say in one line where it came from; `laser` returns a series, `plays` a text, `printed_letters` draws letters.
"""

from coursekit.data.search import SOURCES
from coursekit.data.sets.fashion_mnist import GARMENTS, fashion_mnist
from coursekit.data.sets.jets import JET_FEATURES, JETS, jet_particles, jets, particle_table
from coursekit.data.sets.laser import laser
from coursekit.data.sets.mnist import DIGITS, mnist
from coursekit.data.sets.names import LANGUAGES, LETTERS, MARKS, czech_marks, names
from coursekit.data.sets.plays import plays
from coursekit.data.sets.printed import PRINTED, printed_letters
from coursekit.data.shipped import shipped
from coursekit.data.splits import Batches, Split, Splits

__all__ = [
    "DIGITS", "GARMENTS", "JETS", "JET_FEATURES", "LANGUAGES", "LETTERS", "MARKS", "PRINTED", "SOURCES", "Batches",
    "Split", "Splits", "czech_marks", "fashion_mnist", "jet_particles", "jets", "laser", "mnist", "names",
    "particle_table", "plays", "printed_letters", "shipped",
]  # fmt: skip
