"""The exam: the physics of its events, what its folders hold and hide, and what a submission is told."""

import contextlib
import csv
import json
import os
import re
import shutil
import socket
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from scipy.stats import gamma
from sklearn.metrics import roc_auc_score

from coursekit.teaching import exam, prose
from coursekit.teaching.catalogue import REPOSITORY
from coursekit.teaching.exam import __main__ as command
from coursekit.teaching.exam import calorimeter, folders, predictions, problem, results, scores, solutions
from coursekit.teaching.exam.calorimeter import (
    CONVERSION_DEPTH,
    CRITICAL_ENERGY,
    PION_MASS,
    Photons,
    Profiles,
)
from coursekit.teaching.exam.rerun import Rerun
from coursekit.teaching.execute import execute
from coursekit.teaching.marking.process import PROTECTION

SEED = 86420975318642097531
TEXTS = REPOSITORY / "coursekit" / "teaching" / "exam"


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An exam of 400 and 300 events."""
    folder = tmp_path_factory.mktemp("made") / "exam"
    exam.build(folder, SEED, train=400, test=300)
    return folder


@pytest.fixture(scope="module")
def labels(made):
    return scores.labels(made / "teacher")[1]


def photons(count, energy, x=0.0):
    """`count` photons that arrive straight on, one an event."""
    zeros = np.zeros(count)
    return Photons(np.arange(count), np.full(count, float(energy)), zeros + x, zeros, zeros, zeros)


def guesses(labels, noise, seed=1):
    """Probabilities that know the labels, up to noise."""
    return 1 / (1 + np.exp(-(2 * labels - 1 + np.random.default_rng(seed).normal(0, noise, len(labels)))))


# The physics


@pytest.mark.parametrize("energy", [5, 20, 100])
def test_photon_showers_peak_where_the_particle_data_group_has_it(random, energy):
    profiles = Profiles.draw(np.full(20_000, float(energy)), random)
    depth = profiles.maximum.mean() + CONVERSION_DEPTH
    assert depth == pytest.approx(np.log(energy / CRITICAL_ENERGY) + 0.5, abs=0.1)


def test_layers_get_the_fractions_of_the_gamma_distribution(random):
    drawn = Profiles.draw(np.full(20_000, 50.0), random)
    begin = random.exponential(CONVERSION_DEPTH, 20_000)
    borders = [
        gamma.cdf(np.maximum(depth - begin, 0) * drawn.beta, drawn.alpha).mean()
        for depth in calorimeter.LAYERS
    ]
    layers = calorimeter.deposits(photons(400, 50), 400, random).sum(axis=(0, 2, 3)) / (400 * 50)
    assert layers == pytest.approx(np.diff(borders), abs=0.02)


def test_about_nine_tenths_of_a_shower_are_within_one_moliere_radius(random):
    drawn = Profiles.draw(np.full(100_000, 50.0), random)
    tau = random.gamma(drawn.alpha) / drawn.beta / drawn.maximum
    radius = calorimeter.radii(tau, np.full(100_000, 50.0), random)
    assert 0.86 < (radius < 1).mean() < 0.92
    assert (radius < 3.5).mean() > 0.97


@pytest.mark.parametrize("energy", [5, 50])
def test_energy_of_a_photon_is_found_in_the_cells(random, energy):
    total = calorimeter.deposits(photons(300, energy), 300, random).sum(axis=(1, 2, 3)) / energy
    assert 0.95 < total.mean() < 1
    assert total.std() > 0.9 / np.sqrt(50 * energy)  # fluctuating leakage adds to the portions


def test_two_photons_of_a_pion_have_its_mass_and_its_energy(random):
    pions = photons(500, 40)
    pair = Photons.from_pions(pions, 200.0, random)
    one, two = pair.energy[:500], pair.energy[500:]
    along = np.stack([pair.slope_x, pair.slope_y, np.ones(1000)], axis=1)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    cosine = (along[:500] * along[500:]).sum(axis=1)
    assert np.sqrt(2 * one * two * (1 - cosine)) == pytest.approx(np.full(500, PION_MASS), rel=1e-4)
    assert one + two == pytest.approx(np.full(500, 40))
    assert np.arccos(cosine).min() == pytest.approx(2 * PION_MASS / 40, rel=0.02)  # the closest they get
    assert np.hypot(pair.x, pair.y)[:500] == pytest.approx(200 * np.hypot(pair.slope_x, pair.slope_y)[:500])


def test_a_shower_that_enters_two_cells_away_is_two_cells_away(random):
    column = calorimeter.deposits(photons(50, 50, x=2.5), 50, random).sum(axis=(0, 1, 2))
    assert column.argmax() == 10


def test_energies_do_not_tell_the_kinds_apart(random):
    settings = problem.Settings.draw(random)
    single = problem.particles(settings, np.ones(20_000, bool), np.zeros(20_000), random)
    pairs = problem.particles(settings, np.zeros(20_000, bool), np.zeros(20_000), random)
    assert np.log(pairs.energy[:20_000] + pairs.energy[20_000:]).mean() == pytest.approx(
        np.log(single.energy).mean(), abs=0.02
    )


def test_every_seed_has_photons_as_far_apart_and_the_same_noise():
    drawn = [problem.Settings.draw(np.random.default_rng(seed)) for seed in range(50)]
    distance, lowest = np.array([(one.distance, one.lowest_energy) for one in drawn]).T
    assert {one.noise for one in drawn} == {0.035}
    assert distance.max() / distance.min() > 1.4
    assert np.ptp(2 * PION_MASS * distance / lowest) < 0.1  # cm, of 1.35


# The records


def test_every_fault_is_in_the_data_and_only_training_events_stand_twice(made):
    settings = json.loads((made / "teacher" / "exam.json").read_text(encoding="utf-8"))["settings"]
    for name, count in (("train", 400), ("test", 300)):
        arrays = np.load(made / "students" / f"{name}.npz")
        energy = arrays["energy"].reshape(count, -1)
        assert np.isnan(energy).any()
        assert (energy > 160).any()
        assert (energy == 0).all(axis=1).any()
        assert (arrays["tilt"] == -999).any()
        seen = energy[~(energy == 0).all(axis=1)]
        copies = len(seen) - len({row.tobytes() for row in seen})
        expected = round(settings["duplicated"] * count)
        assert (copies in range(expected - 2, expected + 1)) if name == "train" else copies == 0
        assert len(arrays["id"]) == count


def test_a_dead_cell_stays_dead_for_a_third_of_the_runs():
    records = problem.make(3, train=200, test=200).train
    fine = ~(records.energy == 0).all(axis=(1, 2, 3))
    dead = {run: (records.energy[fine & (records.run == run)] == 0).all(axis=0).sum() for run in range(1, 10)}
    assert sorted(dead.values()) == [0] * 6 + [1] * 3


def test_no_dead_cell_is_where_all_showers_are(random):
    places = np.array([problem.dead_cell(random)[1:] for _ in range(300)]) - 7.5
    assert np.abs(places).max(axis=1).min() == 2.5
    assert np.abs(places).max() == 3.5


def test_test_events_come_from_runs_of_their_own(made):
    train, test = (np.load(made / "students" / f"{name}.npz")["run"] for name in ("train", "test"))
    assert not set(train) & set(test)


def test_rows_in_use_are_neither_empty_nor_second_copies(made):
    arrays = dict(np.load(made / "students" / "train.npz"))
    rows = solutions.usable(arrays)
    assert len({arrays["energy"][row].tobytes() for row in rows}) == len(rows) < 400
    assert (arrays["energy"][rows] != 0).any(axis=(1, 2, 3)).all()


def test_cleaning_takes_off_the_pedestal_and_whatever_is_no_energy():
    energy = np.full((1, 3, 16, 16), 0.5, dtype=np.float32)
    energy[0, 0, 8, 8], energy[0, 1, 2, 2], energy[0, 2, 3, 3] = 10.5, np.nan, problem.FULL_SCALE
    clean = solutions.clean(energy)
    assert clean[0, 0, 8, 8] == 10
    assert clean.sum() == 10


# What is secret


def test_test_data_hold_no_labels_and_their_order_says_nothing(made, labels):
    test = np.load(made / "students" / "test.npz")
    assert set(test.files) == {"id", "energy", "tilt", "run"}
    assert np.array_equal(test["id"], np.arange(300))
    for clue in (test["id"], test["run"], np.abs(test["tilt"])):
        area = roc_auc_score(labels, clue)
        assert abs(area - 0.5) < 0.15  # 3 standard errors


def test_students_folder_tells_neither_seed_nor_settings(made, tmp_path):
    students = made / "students"
    assert sorted(path.name for path in students.iterdir()) == [
        "README.md",
        "exam.ipynb",
        "test.npz",
        "train.npz",
    ]
    for path in students.iterdir():
        assert str(SEED).encode() not in path.read_bytes()
        assert str(made).encode() not in path.read_bytes()
    exam.build(tmp_path / "other", 1, train=400, test=300)
    for name in ("README.md", "exam.ipynb"):  # nothing in them depends on the seed
        assert (tmp_path / "other" / "students" / name).read_bytes() == (students / name).read_bytes()
    for name in ("train.npz", "test.npz"):
        assert (tmp_path / "other" / "students" / name).read_bytes() != (students / name).read_bytes()


def test_same_seed_gives_the_same_bytes(made, tmp_path):
    exam.build(tmp_path / "again", SEED, train=400, test=300)
    files = [path.relative_to(made) for path in made.rglob("*") if path.is_file()]
    assert len(files) == 11
    for file in files:
        assert (tmp_path / "again" / file).read_bytes() == (made / file).read_bytes(), file


# Making one


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seed", "next year"], "the seed must be an integer from 0 on, such as 2027, not 'next year'"),
        (["--seed=-1"], "the seed must be an integer from 0 on, such as 2027, not -1"),
        (["--events", "20"], "20 events are too few to learn from"),
    ],
)
def test_what_makes_no_exam_is_one_line_and_leaves_nothing(tmp_path, capsys, arguments, words):
    assert command.main([*arguments, "-o", str(tmp_path / "exam")]) == 1
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_not_empty_stays_as_it_is(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    assert command.main(["--seed", "1", "-o", str(tmp_path)]) == 1
    assert "is there already, and not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_exam_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("the disk is full")

    monkeypatch.setattr(folders, "_write_teacher", fail)
    with pytest.raises(ValueError, match="disk is full"):
        exam.build(tmp_path / "exam", 1, train=200, test=200)
    assert list(tmp_path.iterdir()) == []


def test_seed_that_can_be_guessed_is_said_and_one_that_cannot_is_drawn(tmp_path, monkeypatch, capsys):
    seeds = []
    score = scores.measure(np.array([0, 1] * 100), np.linspace(0, 1, 200))
    monkeypatch.setattr(folders, "build", lambda place, seed, **_: seeds.append(seed) or (score, score))
    assert command.main(["--seed", "2027", "-o", str(tmp_path)]) == 0
    assert "The seed 2027 can be guessed, and" in capsys.readouterr().out
    assert command.main(["-o", str(tmp_path)]) == 0
    assert "can be guessed, and" not in capsys.readouterr().out
    assert seeds[1] >= 2**64


def test_students_notebook_runs_as_it_is_and_its_check_speaks(made, tmp_path):
    for name in ("train.npz", "test.npz"):
        shutil.copy(made / "students" / name, tmp_path)
    run = execute(made / "students" / "exam.ipynb", folder=tmp_path)
    assert run.error == ""
    assert "all probabilities are the same" in run.notebook.cells[-1].outputs[0].data["text/plain"]


def test_texts_are_whole_and_the_questions_go_over_all_lessons(made):
    for name in ("marking.md", "questions.md"):
        text = (made / "teacher" / name).read_text(encoding="utf-8")
        assert "{" not in text
        assert list(prose.never_right(text)) == []
    assert list(prose.never_right((TEXTS / "task.md").read_text(encoding="utf-8"))) == []
    questions = (TEXTS / "questions.md").read_text(encoding="utf-8")
    assert questions.count("*A good answer:*") == 20
    assert [int(number) for number in re.findall(r"^(\d+)\. ", questions, re.MULTILINE)] == list(range(1, 21))
    assert set(map(int, re.findall(r"\(Lesson (\d+)\)", questions))) == set(range(17))


# Scoring


def table(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_area_under_the_curve_is_that_of_scikit_learn(random):
    label, probability = random.integers(0, 2, 500), random.random(500).round(2)  # with ties
    assert scores.auc(label, probability) == pytest.approx(roc_auc_score(label, probability))


def test_pions_are_counted_above_the_cut_that_keeps_nine_of_ten_photons():
    label = np.array([1] * 10 + [0] * 4)
    probability = np.array([0.1, *np.linspace(0.5, 0.9, 9), 0.2, 0.4, 0.5, 0.95])
    assert scores.pions_accepted(label, probability) == 0.5  # the cut is 0.5


def test_bootstrap_error_is_the_spread_over_new_test_data(random):
    def draw():
        label = (random.random(300) < 0.3).astype(int)
        return label, label + random.normal(0, 1, 300)

    spread = np.std([scores.auc(*draw()) for _ in range(300)])
    assert scores.measure(*draw()).auc_error == pytest.approx(spread, rel=0.3)


def test_equals_share_a_place_and_the_best_by_far_is_first():
    label = np.array([0, 1] * 200)
    best, other = (scores.measure(label, guesses(label, noise)) for noise in (0.3, 3))
    assert scores.places([other, best, other]) == [(2, 2, 2), (1, 1, 1), (2, 2, 2)]


def test_places_that_luck_decided_come_with_a_range():
    label = np.array([0, 1] * 200)
    alike = [scores.measure(label, guesses(label, 3, seed)) for seed in (3, 5)]
    assert [(low, high) for _, low, high in scores.places(alike)] == [(1, 2), (1, 2)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ids, p: (ids[:-2], p[:-2]), "2 of 300 rows are missing, the first with id 298"),
        (lambda ids, p: (ids + 1, p), "1 ids are not in the test data, the first is 300"),
        (lambda ids, p: (np.r_[ids, 0], np.r_[p, 0.5]), "1 ids stand there more than once"),
        (lambda ids, p: (ids[::-1], p), "the rows are not in the order of test.npz"),
        (lambda ids, p: (ids, np.r_[np.nan, p[1:]]), "1 probabilities are nan or infinite"),
        (lambda ids, p: (ids, p * 4 - 2), "probabilities must lie between 0 and 1, but go from -"),
        (lambda ids, p: (ids, p.round()), "these are labels, only 0 and 1"),
        (lambda ids, p: (ids, p * 0 + 0.5), "all probabilities are the same"),
    ],
    ids=["missing", "unknown", "twice", "order", "nan", "logits", "labels", "constant"],
)
@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_bad_predictions_are_one_clear_line(made, labels, tmp_path, change, words, kind):
    ids, probability = change(np.arange(300), guesses(labels, 1))
    file = tmp_path / f"predictions.{kind}"
    if kind == "csv":
        predictions.write(file, ids, probability)
    else:
        np.savez(file, id=ids, probability=probability)
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        exam.score(file, made / "teacher")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "contents", "words"),
    [
        ("a.csv", b"", "must begin with the line id,probability"),
        ("a.csv", b"event;p\n0;1\n", "must begin with the line id,probability"),
        ("a.csv", b"id,probability\n0,high\n", "line 2 is no id and probability: '0,high'"),
        ("a.csv", b"id,probability\n99999999999999999999,0.5\n", "ids too large"),
        ("a.csv", b"\xff\xfe\x00", "is no CSV file in UTF-8"),
        ("a.npz", b"PK", "is no npz file"),
    ],
)
def test_file_that_cannot_be_read_says_why(made, tmp_path, name, contents, words):
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(ValueError, match=re.escape(words)):
        exam.score(tmp_path / name, made / "teacher")


def test_pickles_and_bombs_are_refused(made, tmp_path):
    np.savez(tmp_path / "pickle.npz", id=np.arange(300), probability=np.array([{}] * 300, dtype=object))
    np.savez_compressed(tmp_path / "bomb.npz", id=np.arange(3), probability=np.zeros(3_000_000))
    with pytest.raises(ValueError, match="allow_pickle"):
        exam.score(tmp_path / "pickle.npz", made / "teacher")
    with pytest.raises(ValueError, match="unpacks to more"):
        exam.score(tmp_path / "bomb.npz", made / "teacher")


def test_archive_cut_short_or_changed_anywhere_is_scored_or_refused(made, labels, tmp_path):
    file = tmp_path / "a.npz"
    np.savez_compressed(file, id=np.arange(300), probability=guesses(labels, 1))
    whole = file.read_bytes()
    for place in range(0, len(whole), 97):
        for damaged in (whole[:place], whole[:place] + b"\xa5\x5a" + whole[place + 2 :]):
            file.write_bytes(damaged)
            with contextlib.suppress(ValueError):  # nothing else may come out
                exam.score(file, made / "teacher")


def test_a_class_is_scored_and_nothing_that_is_wrong_with_one_stops_the_others(
    made, labels, tmp_path, capsys
):
    ids, hand_in = np.arange(300), tmp_path / "handed_in"
    predictions.write(hand_in / "good.csv", ids, guesses(labels, 0.5))
    predictions.write(hand_in / "fair" / "predictions.csv", ids, guesses(labels, 3))
    (hand_in / "fair" / "train.npz").write_bytes(b"a copy of the data disturbs nobody")
    predictions.write(hand_in / "swapped.csv", ids, 1 - guesses(labels, 0.5))
    predictions.write(hand_in / "short.csv", ids[:9], guesses(labels, 1)[:9])
    (hand_in / "empty").mkdir()
    assert (
        command.main(
            [
                "score",
                str(hand_in),
                "--teacher",
                str(made / "teacher"),
                "-o",
                str(tmp_path / "scores.csv"),
            ]
        )
        == 0
    )
    rows = table(tmp_path / "scores.csv")
    assert [row["name"] for row in rows] == [
        *("good", "fair", "swapped"),
        *("empty", "short"),
        *("baseline", "reference"),
    ]
    assert [row["rank"] for row in rows[:3]] == ["1", "2", "3"]
    assert float(rows[0]["auc"]) == pytest.approx(roc_auc_score(labels, guesses(labels, 0.5)), abs=1e-3)
    shown = capsys.readouterr().out
    assert "291 of 300 rows are missing" in shown
    assert "one predictions.csv or predictions.npz is needed, not 0" in shown
    assert "better than chance the other way round" in shown


@pytest.mark.parametrize("place", ["fair", "fair/predictions.csv"])
def test_one_student_alone_is_scored_too(made, labels, tmp_path, place):
    predictions.write(tmp_path / "fair" / "predictions.csv", np.arange(300), guesses(labels, 3))
    (only,) = results.score_all(tmp_path / place, made / "teacher")
    assert only.place == (1, 1, 1)
    assert only.name == Path(place).stem
    expected = roc_auc_score(labels, guesses(labels, 3))
    assert exam.score(tmp_path / "fair" / "predictions.csv", made / "teacher").auc == pytest.approx(
        expected, abs=1e-3
    )


def test_names_cannot_become_formulas(made, labels, tmp_path):
    predictions.write(tmp_path / "=1+1.csv", np.arange(300), guesses(labels, 1))
    found = results.score_all(tmp_path, made / "teacher")
    results.write(tmp_path / "out" / "scores.csv", found)
    assert "\n'=1+1," in (tmp_path / "out" / "scores.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("place", "teacher", "words"),
    [
        ("empty", "teacher", "nothing was handed in"),
        ("nowhere", "teacher", "there is no folder or zip"),
        ("empty", "students", "is no teacher's folder"),
    ],
)
def test_folders_that_are_not_what_they_should_be_are_named(made, tmp_path, capsys, place, teacher, words):
    (tmp_path / "empty").mkdir()
    assert command.main(["score", str(tmp_path / place), "--teacher", str(made / teacher)]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("paths", "name", "identity"),
    [
        (["Ada Lovelace_12_assignsubmission_file_/predictions.csv"], "Ada Lovelace", "12"),
        (["adalovelace_47_98_exam.ipynb", "adalovelace_47_99_predictions-1.csv"], "adalovelace", "47"),
        (["ada/predictions.csv", "ada/train.npz", "ada/notes/loss.csv"], "ada", ""),
        (["all/predictions.csv"], "all", ""),
    ],
    ids=["Moodle", "Canvas", "folder", "alone"],
)
def test_predictions_are_found_in_what_schools_export(made, labels, tmp_path, paths, name, identity):
    predictions.write(tmp_path / "good.csv", np.arange(300), guesses(labels, 1))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in paths:
            archive.writestr(path, (tmp_path / "good.csv").read_bytes() if "predictions" in path else b"{")
    (only,) = results.score_all(tmp_path / "all.zip", made / "teacher")
    assert (only.name, only.identity, only.place) == (name, identity, (1, 1, 1))


def test_student_may_hand_in_a_zip_and_two_files_of_predictions_are_a_reason(made, labels, tmp_path):
    predictions.write(tmp_path / "in" / "bob.csv", np.arange(300), guesses(labels, 1))
    shutil.copy(tmp_path / "in" / "bob.csv", tmp_path / "in" / "bob.npz")
    with zipfile.ZipFile(tmp_path / "in" / "ada.zip", "w") as archive:
        archive.write(tmp_path / "in" / "bob.csv", "my exam/predictions.csv")
        archive.writestr("../../climbs.csv", "out of it")
    (tmp_path / "in" / "eve.zip").write_bytes(b"PK")
    found = {result.name: result for result in results.score_all(tmp_path / "in", made / "teacher")}
    assert found["ada"].place == (1, 1, 1)
    assert "not 2: bob.csv, bob.npz" in found["bob"].remark
    assert found["eve"].place is None
    assert len(found) == 3


# Notebooks, run again

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="submissions are run in forks")
WRITES = (
    "import numpy as np\nnp.savez('predictions.npz', id=np.arange(300), probability=np.linspace(0, 1, 300))"
)


def hand_in(folder, labels, source):
    """A student's folder: predictions, and a notebook of one cell, or what should be one."""
    predictions.write(folder / "predictions.csv", np.arange(300), guesses(labels, 1))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    (folder / "mine.ipynb").write_text(nbformat.writes(notebook) if source else "{", encoding="utf-8")


@needs_fork
def test_notebook_run_again_is_compared_with_what_was_handed_in(made, labels, tmp_path):
    """The reference solution does as it says; another writes other predictions; a third stops; a fourth is none."""
    for name, source in (
        ("other", WRITES),
        ("stops", "1 / 0"),
        ("broken", ""),
        ("silent", "1"),
        ("honest", ""),
    ):
        hand_in(tmp_path / name, labels, source)
    shutil.copy(made / "teacher" / "reference.csv", tmp_path / "honest" / "predictions.csv")
    shutil.copy(made / "teacher" / "reference.ipynb", tmp_path / "honest" / "mine.ipynb")
    with contextlib.closing(Rerun(made / "students")) as rerun:
        found = results.score_all(tmp_path, made / "teacher", rerun=rerun)
    remarks = {result.name: result.remark for result in found}
    assert remarks["honest"] == "its notebook makes these predictions"
    area = roc_auc_score(labels, np.arange(300))
    assert remarks["other"].startswith(f"its notebook makes other predictions: ROC AUC {area:.4f}, rank")
    assert remarks["stops"] == "its notebook stops: ZeroDivisionError: division by zero"
    assert remarks["broken"].startswith("its notebook is no notebook")
    assert remarks["silent"] == "its notebook writes no predictions"
    assert all(result.score and result.protection for result in found)


@needs_fork
def test_hostile_notebook_gains_nothing_and_is_a_row_with_its_reason(made, labels, tmp_path):
    (tmp_path / "marks.txt").write_text("xyzzy", encoding="utf-8")
    secret, answers = str(tmp_path / "marks.txt"), str(made / "teacher" / "labels.npz")
    with socket.create_server(("127.0.0.1", 0)) as server:
        attacks = {
            "home": (f"raise RuntimeError(open({secret!r}).read())", "FileNotFoundError"),
            "labels": (f"import numpy as np\nnp.load({answers!r})", "FileNotFoundError"),
            "socket": (
                f"import socket\nsocket.create_connection({server.getsockname()!r}, 2)",
                "refused",
            ),  # by its own loopback
            "disk": ("for i in range(99): open(f'{i}', 'wb').write(bytes(10**7))", "No space left"),
            "file": (
                "file = open('a', 'wb')\nfor i in range(99): file.write(bytes(10**7))",
                "File too large|No space",
            ),
            "loops": ("while True: pass", "was stopped: It did not end in time"),
            "dies": ("import os\nos._exit(0)", "ended the process"),
            "forks": (
                "import subprocess\nfor _ in range(9): subprocess.Popen(['sleep', '98.764'], start_new_session=True)"
                f"\n{WRITES}",
                "other predictions",
            ),
            "letters": ("raise ValueError('\\x1b[2J\\ud800\\n=1+1')", r"stops: ValueError:  \[2J"),
            "forges": (
                "import os\nfrom coursekit.teaching.marking import apart\nfor target in range(3, 64):\n    try:\n"
                "        apart.send(target, b'A', b'[')\n    except OSError:\n        pass\nos._exit(0)",
                "meddles",
            ),
            "links": ("import os\nos.symlink('/dev/zero', 'predictions.csv')", "no predictions"),
            "prints": (f"for _ in range(1000): print('x' * 10**6)\n{WRITES}", "other predictions"),
        }
        for name, (source, _) in attacks.items():
            hand_in(tmp_path / "in" / name, labels, source)
        with contextlib.closing(Rerun(made / "students", seconds=8)) as rerun:
            if rerun.protection != PROTECTION["shut in"]:
                pytest.skip("this system offers no namespaces")
            found = results.score_all(tmp_path / "in", made / "teacher", rerun=rerun)
    results.write(tmp_path / "scores.csv", found)
    rows = {row["name"]: row for row in table(tmp_path / "scores.csv")}
    for name, (_, reason) in attacks.items():
        assert re.search(reason, rows[name]["remark"]), (name, rows[name]["remark"])
        assert "xyzzy" not in rows[name]["remark"]
        assert rows[name]["protection"] == PROTECTION["shut in"]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            assert b"98.764" not in path.read_bytes()


@needs_fork
def test_command_says_how_notebooks_were_shut_in(made, labels, tmp_path, capsys, monkeypatch):
    hand_in(tmp_path / "ada", labels, WRITES)
    how = ["--teacher", str(made / "teacher"), "--rerun", "--sandbox"]
    place = ["-o", str(tmp_path / "scores.csv")]
    assert command.main(["score", str(tmp_path / "ada"), *how, "none", *place]) == 0
    assert f"Protection: {PROTECTION['limits']}" in capsys.readouterr().out
    assert [row["protection"] for row in table(tmp_path / "scores.csv")] == [PROTECTION["limits"], "", ""]
    assert command.main(["score", str(tmp_path / "ada"), *how, "podman"]) == 1
    assert "--image" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is none
    assert command.main(["score", str(tmp_path / "ada"), *how, "docker", "--image", "x"]) == 1
    assert "exam: notebooks can't be run here: there is no 'docker'" in capsys.readouterr().err
    assert command.main(["score", str(tmp_path / "ada"), *how, "auto", "--students", str(tmp_path)]) == 1
    assert "is no students' folder" in capsys.readouterr().err
