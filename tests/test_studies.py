"""Searches that several processes share: real processes, some of them killed; and the figure of their trials."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from matplotlib.colors import to_hex
from optuna.samplers import RandomSampler
from optuna.trial import TrialState, create_trial

from coursekit import plots, studies
from tests import studies_runs

RUNS = Path(studies_runs.__file__)


@contextlib.contextmanager
def running(folder, **runs):
    """Run processes by their names, each a run of studies_runs.py; none outlives the block."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(RUNS.parents[1])}
    processes = {}
    try:
        for who, run in runs.items():
            with (folder / f"{who}.log").open("wb") as log:
                command = [sys.executable, RUNS, run, folder, who]
                processes[who] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def left(process, folder, who):
    """What a process has left, once it has ended well."""
    status = process.wait(timeout=60)
    assert status == 0, (folder / f"{who}.log").read_text(encoding="utf-8")
    return json.loads((folder / f"{who}.json").read_text(encoding="utf-8"))


def kill_in_trial(process, mark):
    """Kill a process, with SIGKILL where there is one, once it is in the trial that never ends."""
    until = time.monotonic() + 60
    while not mark.exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    process.wait()


def states(study):
    return [trial.state.name for trial in study.trials]


def finished(study):
    return sum(state in ("COMPLETE", "PRUNED") for state in states(study))


def x_of(study):
    return [trial.params["x"] for trial in study.trials]


def uniform(trial):
    return trial.suggest_float("x", 0, 1)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "search.journal"


# Processes ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The studies that two processes began and worked on together, and the numbers of each one's trials."""
    folder = tmp_path_factory.mktemp("shared")
    with running(folder, one="shared", two="shared") as processes:
        mine = [left(process, folder, who) for who, process in processes.items()]
    return studies_runs.opened(folder / "search.journal"), mine


def test_two_processes_that_begin_at_the_same_moment_work_on_one_study(shared):
    study, (one, two) = shared
    assert one["file"]
    assert two["file"]
    assert sorted(one["file"] + two["file"]) == list(range(len(study.trials)))


def test_finished_trials_are_counted_whoever_finished_them(shared):
    study, _ = shared
    assert 12 <= finished(study) <= 13  # the other process may end the one it was in
    assert {"COMPLETE", "PRUNED"} == set(states(study))


def test_samplers_of_the_same_seed_draw_no_point_twice(shared):
    study, _ = shared
    assert len(set(x_of(study))) == len(study.trials)


def test_database_is_begun_by_two_processes_too(shared):
    _, (one, two) = shared
    numbers = sorted(one["database"] + two["database"])
    assert numbers in (list(range(4)), list(range(5)))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A folder of two studies: of one both processes were killed, of the other one of two."""
    folder = tmp_path_factory.mktemp("killed")
    with running(folder, first="pair", second="pair", third="alone") as processes:
        kill_in_trial(processes["first"], folder / "pair.stuck")
        kill_in_trial(processes["third"], folder / "alone.stuck")
        return folder, left(processes["second"], folder, "second")


def test_process_that_is_killed_costs_its_trial_only(killed):
    folder, second = killed
    study = studies_runs.opened(folder / "pair.journal")
    assert finished(study) == len(second) == 8
    assert states(study).count("RUNNING") == 1
    assert len(study.trials) == 9


def test_same_call_goes_on_after_all_were_killed(killed):
    folder, _ = killed
    study = studies_runs.opened(folder / "alone.journal")
    assert states(study) == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert studies_runs.worked(folder / "alone.journal", 5) == [3, 4, 5]
    assert finished(study) == 5
    assert len(set(x_of(study))) == 6  # and does not repeat what was tried


# The study of a place ----------------------------------------------------------------------------------


def test_place_holds_its_study(place):
    study = studies.open_study(place, {"searched": "x", "data": [1, 2]})
    studies.work(study, uniform, 3)
    again = studies.open_study(str(place), {"data": [1, 2], "searched": "x"})
    assert x_of(again) == x_of(study)


def test_study_of_another_problem_is_refused_and_left_as_it_is(place):
    studies.open_study(place, "x, on digits")
    before = place.read_bytes()
    with pytest.raises(
        ValueError,
        match=r"search\.journal holds .* another problem(.|\n)*x, on digits(.|\n)*x, on jets(.|\n)*another",
    ):
        studies.open_study(place, "x, on jets")
    assert place.read_bytes() == before


def test_study_begun_by_somebody_else_is_refused_too(place):
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(place)))
    optuna.create_study(storage=storage, study_name="theirs")
    with pytest.raises(ValueError, match="another problem"):
        studies.open_study(place, "ours")


def test_of_two_problems_at_the_same_moment_the_first_has_the_place(place, monkeypatch):
    create_study = optuna.create_study

    def beaten(**settings):
        create_study(storage=settings["storage"], study_name="theirs")
        return create_study(**settings)

    monkeypatch.setattr(optuna, "create_study", beaten)
    with pytest.raises(ValueError, match="there: theirs"):
        studies.open_study(place, "ours")
    assert studies.open_study(place, "theirs").trials == []


def test_other_direction_is_refused(place):
    studies.open_study(place, "x", direction="maximize")
    with pytest.raises(ValueError, match=r"search\.journal .* 'maximize', not 'minimize'"):
        studies.open_study(place, "x")
    with pytest.raises(ValueError, match="`direction` must be 'minimize' or 'maximize', not 'up'"):
        studies.open_study(place, "x", direction="up")


def journal(place):
    studies.work(studies.open_study(place, "x"), uniform, 1)
    return place.read_bytes()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda whole: b"hello", "no journal of Optuna"),
        (lambda whole: b"7\n8\n", "no journal of Optuna"),
        (lambda whole: b"\n" + whole, "no journal of Optuna"),
        (lambda whole: whole[:-5], "its last line is cut off: delete that line"),
        (lambda whole: whole.replace(b'"study_name"', b'"study', 1), "is damaged"),
        (lambda whole: whole.replace(b'"directions"', b'"direction"', 1), r"is damaged.*KeyError"),
        (lambda whole: whole.replace(b'"x"', b'"\xff"', 1), "is damaged"),
    ],
)
def test_file_that_is_no_journal_is_refused_and_left_as_it_is(place, spoil, words):
    spoilt = spoil(journal(place))
    place.write_bytes(spoilt)
    with pytest.raises(ValueError, match=rf"search\.journal .*{words}"):
        studies.open_study(place, "x")
    assert place.read_bytes() == spoilt
    assert [path.name for path in place.parent.iterdir()] == ["search.journal"]  # no lock is left


def test_place_that_cannot_be_a_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="is a folder: name a file in it"):
        studies.open_study(tmp_path, "x")
    with pytest.raises(FileNotFoundError, match=r"missing.* does not exist: make it first"):
        studies.open_study(tmp_path / "missing" / "search.journal", "x")
    with pytest.raises(TypeError, match="`place` must be the name of a file"):
        studies.open_study("", "x")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_what_is_no_database_is_refused_and_no_password_is_printed(tmp_path, monkeypatch):
    monkeypatch.setattr(studies.time, "sleep", lambda seconds: None)
    (tmp_path / "search.db").write_bytes(b"hello, hello" * 100)
    with pytest.raises(ValueError, match=r"search\.db cannot be opened .*file is not a database"):
        studies.open_study(f"sqlite:///{(tmp_path / 'search.db').as_posix()}", "x")
    with pytest.raises(ValueError, match="cannot be opened") as error:
        studies.open_study("sqlite://me:secret@host/search.db", "x")
    assert "me:***@host" in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("problem", ["", "  ", {}])
def test_problem_must_be_said(place, problem):
    with pytest.raises(ValueError, match="`problem` is empty"):
        studies.open_study(place, problem)
    assert not place.exists()


def test_problem_must_be_one_that_can_be_stored(place):
    with pytest.raises(TypeError, match=r"`problem` must hold numbers, words.*Path"):
        studies.open_study(place, {"data": place})
    with pytest.raises(TypeError, match="`problem` must be words or a dict, not 3"):
        studies.open_study(place, 3)
    with pytest.raises(ValueError, match="takes 600 characters, and 512"):
        studies.open_study(place, "x" * 600)


# Work --------------------------------------------------------------------------------------------------


def test_error_of_the_objective_is_raised_and_the_study_stays_usable(place):
    study = studies.open_study(place, "x")

    def broken(trial):
        if trial.number == 1:
            raise RuntimeError("out of memory")
        return uniform(trial)

    with pytest.raises(RuntimeError, match="out of memory"):
        studies.work(study, broken, 3)
    assert states(study) == ["COMPLETE", "FAIL"]
    studies.work(study, broken, 3)
    assert states(study) == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]


@pytest.mark.parametrize("value", [None, float("nan")])
def test_objective_without_a_number_ends_the_work(place, value):
    def valueless(trial):
        assert trial.number == 0, "it goes on and on"
        return value

    with pytest.raises(ValueError, match="trial 0 failed, since its objective returned no number"):
        studies.work(studies.open_study(place, "x"), valueless, 2)


def test_enough_trials_are_enough(place):
    study = studies.open_study(place, "x")
    studies.work(study, uniform, 3)
    studies.work(study, uniform, 3)
    studies.work(study, uniform, 2)
    assert len(study.trials) == 3


def test_arguments_of_work_are_checked(place):
    study = studies.open_study(place, "x")
    with pytest.raises(TypeError, match="`study` must be what open_study returns"):
        studies.work(uniform, study, 2)
    with pytest.raises(TypeError, match="`objective` must be a function"):
        studies.work(study, 0.5, 2)
    with pytest.raises(ValueError, match="`trials` must be an integer of at least 1, not 0"):
        studies.work(study, uniform, 0)


def test_search_of_one_call_can_be_repeated_point_by_point(tmp_path):
    one, two = (
        studies.open_study(tmp_path / name, "x", sampler=RandomSampler(seed=3)) for name in ("one", "two")
    )
    two.enqueue_trial({"x": 0.5})
    studies.work(one, uniform, 3)
    studies.work(two, uniform, 4)
    assert x_of(two) == [0.5, *x_of(one)]


def test_later_call_draws_anew_before_its_first_point(place):
    events = []

    class Noted(RandomSampler):
        def reseed_rng(self):
            events.append("anew")
            super().reseed_rng()

        def before_trial(self, study, trial):  # where GridSampler draws
            events.append("asked")

    study = studies.open_study(place, "x", sampler=Noted(seed=0))
    studies.work(study, uniform, 2)
    assert events == ["asked", "asked"]
    studies.work(study, uniform, 4)
    assert events[2:4] == ["anew", "asked"]


def test_second_of_two_calls_at_the_same_moment_draws_anew(place, monkeypatch):
    first, second = (studies.open_study(place, "x", sampler=RandomSampler(seed=0)) for _ in range(2))
    optimize = second.optimize

    def beaten(*arguments, **settings):
        studies.work(first, uniform, 1)
        optimize(*arguments, **settings)

    monkeypatch.setattr(second, "optimize", beaten)
    studies.work(second, uniform, 2)
    assert len(set(x_of(second))) == 2


@pytest.mark.parametrize(("before", "within"), [(optuna.logging.INFO, 30), (optuna.logging.ERROR, 40)])
def test_log_keeps_to_warnings_and_is_put_back(place, monkeypatch, before, within):
    usual = optuna.logging.get_verbosity()
    seen = []

    def objective(trial):
        seen.append(optuna.logging.get_verbosity())
        if trial.number == 1:
            raise KeyError
        return uniform(trial)

    try:
        optuna.logging.set_verbosity(before)
        study = studies.open_study(place, "x")
        with pytest.raises(KeyError):
            studies.work(study, objective, 2)
        assert seen == [within, within]
        assert optuna.logging.get_verbosity() == before
    finally:
        optuna.logging.set_verbosity(usual)


def test_bar_counts_the_trials_of_all_and_says_the_best(place, monkeypatch):
    bars, texts = [], []

    class Kept(studies.ProgressBar):
        def __init__(self, **settings):
            super().__init__(**settings)
            bars.append(self)

        def update(self, n=1):
            texts.append((self.n + n, self.postfix))
            return super().update(n)

    monkeypatch.setattr(studies, "ProgressBar", Kept)
    studies.work(studies.open_study(place, "x"), lambda trial: 0.5, 2)
    here, elsewhere = studies.open_study(place, "x"), studies.open_study(place, "x")
    texts.clear()

    def objective(trial):
        if trial.number == 2:
            elsewhere.tell(elsewhere.ask(), 0.25)
        return 1.0

    studies.work(here, objective, 5)
    assert (bars[1].initial, bars[1].total) == (2, 5)
    assert texts == [(4, "best 0.25"), (5, "best 0.25")]


# The figure --------------------------------------------------------------------------------------------


def study_of(*trials, direction="minimize"):
    study = optuna.create_study(direction=direction)
    for trial in trials:
        study.add_trial(trial)
    return study


def done(value, *reported):
    return create_trial(value=value, intermediate_values=dict(enumerate(reported, start=1)))


def pruned(*reported):
    return create_trial(state=TrialState.PRUNED, intermediate_values=dict(enumerate(reported, start=1)))


def labelled(ax):
    """The lines of an axis by their label, those without one left out."""
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


CURVES = [
    done(0.5, 0.9, 0.5),
    pruned(2.0),
    done(0.2, 0.8, 0.2),
    pruned(3.0, 2.5),
    create_trial(state=TrialState.FAIL, intermediate_values={1: 9.0}),
    create_trial(state=TrialState.RUNNING, intermediate_values={1: 9.0}),
]


def test_trials_are_learning_curves_with_the_best_on_top():
    ax = plots.trials(study_of(*CURVES))
    lines = labelled(ax)
    assert list(lines) == ["2 stopped early", "2 finished", "the best, trial 2"]
    assert len(ax.lines) == 5
    best = lines["the best, trial 2"]
    assert list(best.get_xdata()) == [1, 2]
    assert list(best.get_ydata()) == [0.8, 0.2]
    assert best.get_linewidth() > 2 * lines["2 finished"].get_linewidth()
    assert to_hex(best.get_color()) == to_hex("C2")
    assert {line.get_linestyle() for line in ax.lines[:2]} == {"--"}
    assert {line.get_linestyle() for line in ax.lines[2:]} == {"-"}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "validation loss (nats)")
    assert ax.get_yscale() == "log"


def test_the_best_trial_is_the_highest_where_more_is_better():
    ax = plots.trials(study_of(*CURVES, direction="maximize"), label="accuracy")
    assert "the best, trial 0" in labelled(ax)
    assert ax.get_ylabel() == "accuracy"


def test_values_that_are_not_positive_have_a_linear_axis():
    assert plots.trials(study_of(done(0.0, 1.0, 0.0))).get_yscale() == "linear"


def test_search_in_which_all_were_stopped_has_no_best():
    assert list(labelled(plots.trials(study_of(pruned(1.0), pruned(2.0))))) == ["2 stopped early"]


def test_trials_without_reports_are_values_with_the_best_so_far():
    ax = plots.trials(study_of(done(0.5), pruned(), done(0.7), done(0.2)))
    points, best = ax.lines
    assert list(points.get_xdata()) == list(best.get_xdata()) == [0, 2, 3]
    assert list(points.get_ydata()) == [0.5, 0.7, 0.2]
    assert list(best.get_ydata()) == [0.5, 0.5, 0.2]
    assert list(labelled(ax)) == ["3 finished", "the best so far"]
    assert ax.get_xlabel() == "trial"
    highest = plots.trials(study_of(done(0.5), done(0.7), done(0.2), direction="maximize")).lines[1]
    assert list(highest.get_ydata()) == [0.5, 0.7, 0.7]


@pytest.mark.parametrize("trials", [[], CURVES[4:], [pruned()]])
def test_study_with_nothing_to_draw_is_an_error(trials):
    with pytest.raises(ValueError, match=f"none of the {len(trials)} trials"):
        plots.trials(study_of(*trials))


def test_trials_are_drawn_where_they_are_asked_to_be():
    ax = plots.trials(study_of(*CURVES))
    assert plots.trials(study_of(done(0.5)), ax=ax) is ax
