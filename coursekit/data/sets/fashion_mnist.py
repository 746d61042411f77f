"""Fashion-MNIST: images of garments."""

from pathlib import Path

from coursekit.data import search
from coursekit.data.idx import IdxDataset, full_splits
from coursekit.data.splits import Splits

GARMENTS = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
FILES = IdxDataset(
    "FashionMNIST",
    {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    system_folder=Path("/usr/share/datasets/fashion-mnist"),  # Debian's package dataset-fashion-mnist
)


def fashion_mnist(source: str | None = None) -> Splits:
    """Return Zalando's images of garments, in the shapes and splits of the full MNIST.

    There is no sample: "auto" and "full" mean the same, whatever `$COURSEKIT_SOURCE` says. Prints one line. Raises
    FileNotFoundError where the files cannot be had, saying how to get them. Source: Xiao, Rasul & Vollgraf,
    arXiv:1708.07747 (2017).
    """
    if source == "sample":
        raise ValueError(
            "fashion_mnist: `source` 'sample' does not exist, there is only 'full'; mnist() has a sample"
        )
    search.checked_source("fashion_mnist", source)
    files, origin = search.find(FILES)
    return search.announce("Fashion-MNIST", full_splits(files, GARMENTS), origin)
