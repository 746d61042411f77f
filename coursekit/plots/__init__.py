"""The figures of the course. Each takes `ax` and returns it, or returns a Figure where it is a grid.

Nothing is shown, except by `explore`, or saved: a notebook shows what its cell ends on (end the line with `;` to keep
the returned object itself from being printed). Colours are Okabe and Ito's, and never the only carrier of meaning.
"""

from coursekit.plots.classifiers import confusion_matrix, decision_regions, reliability, roc, scatter_classes
from coursekit.plots.images import DIVERGING, most_confident_mistakes, pictures, weights
from coursekit.plots.jets import jet
from coursekit.plots.networks import network
from coursekit.plots.sliders import explore
from coursekit.plots.spikes import membrane, raster
from coursekit.plots.studies import trials
from coursekit.plots.training import history

__all__ = [
    "DIVERGING", "confusion_matrix", "decision_regions", "explore", "history", "jet", "membrane",
    "most_confident_mistakes", "network", "pictures", "raster", "reliability", "roc", "scatter_classes", "trials",
    "weights",
]  # fmt: skip
