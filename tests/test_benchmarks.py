"""The benchmarks: contestants learn, tables say what was measured. No test looks at a time."""

import importlib.util
import os
import sys

import pytest

from coursekit.teaching import catalogue

sys.path.insert(0, str(catalogue.REPOSITORY / "benchmarks"))

import busy_machine
import side_by_side
import time_to_accuracy
import training_loops
from side_by_side import Run

MISSING = {
    build for library, build in training_loops.NEEDS.items() if importlib.util.find_spec(library) is None
}
AT_HAND = [
    name
    for name, build in training_loops.CONTESTANTS.items()
    if build not in MISSING and "workers" not in name
]


@pytest.mark.parametrize("kind", training_loops.MODELS)
@pytest.mark.parametrize("name", AT_HAND)
def test_every_contestant_trains_the_network_it_is_given(name, kind):
    run = training_loops.measure(name, 0, kind, "sample")
    assert run.seconds > 0
    assert run.facts["valid accuracy"] > 0.6  # an untrained one guesses a tenth


@pytest.mark.parametrize("name", time_to_accuracy.CONTESTANTS["dense"])
def test_time_to_accuracy_ends_at_the_first_epoch_that_reaches_the_goal(name, monkeypatch):
    monkeypatch.setitem(time_to_accuracy.GOALS, "dense", 0.8)
    run = time_to_accuracy.measure(name, 0, "dense", "sample")
    assert run.facts["epochs"] <= 4
    assert run.facts["valid accuracy"] >= 0.8
    assert run.facts["test accuracy"] > 0.7


@pytest.mark.parametrize(("kind", "spins"), [(busy_machine.DEFAULT, "None"), (busy_machine.SETTING, "3000")])
def test_threads_of_the_busy_machine_wait_as_they_are_said_to(kind, spins, monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")  # of whoever runs the benchmark
    set_to, seconds = busy_machine.epoch(kind, 1, "sample")
    assert set_to == spins
    assert seconds > 0


def test_busy_loops_run_until_the_measurement_is_over():
    with busy_machine.busy(2) as loops:
        assert [loop.poll() for loop in loops] == [None, None]
    assert None not in [loop.poll() for loop in loops]


def test_the_default_is_measured_before_and_after_the_setting(monkeypatch):
    seconds = iter([4.0, 1.0, 6.0])
    kinds = []
    monkeypatch.setattr(busy_machine, "epoch", lambda kind, *_: (kinds.append(kind), next(seconds)))
    assert busy_machine.measure(busy_machine.SETTING, 0, 0, 1, "sample") == Run(1.0, beside=5.0)
    assert kinds == [busy_machine.DEFAULT, busy_machine.SETTING, busy_machine.DEFAULT]


def test_table_shows_medians_their_spread_and_ratios_to_the_first(capsys, monkeypatch):
    monkeypatch.setattr(side_by_side.torch.cuda, "is_available", lambda: False)

    def runs(*seconds):
        return [Run(one, mebibytes=100 + one, facts={"accuracy": one / 10}) for one in seconds]

    side_by_side.table("loop", {"floor": runs(3.0, 1.0, 2.0), "other": runs(5.0, 4.0, 9.0)})
    rows = [line for line in capsys.readouterr().out.splitlines() if line]
    assert rows == [
        "| loop | s (min–max) | × the first (min–max) | peak MiB | accuracy |",
        "|---|---|---|---|---|",
        "| floor | 2.00 (1.00–3.00) | 1.00 (0.50–1.50) | 103 | 0.2 |",
        "| other | 5.00 (4.00–9.00) | 2.50 (2.00–4.50) | 109 | 0.6 |",
    ]


def test_times_are_divided_by_what_was_measured_beside_them(capsys, monkeypatch):
    monkeypatch.setattr(side_by_side.torch.cuda, "is_available", lambda: False)
    slow_machine = [Run(6.0, beside=3.0), Run(2.2, beside=1.0), Run(2.1, beside=1.0)]
    side_by_side.table("loop", {"floor": [Run(1.0, beside=1.0)] * 3, "other": slow_machine})
    assert "| other | 2.20 (2.10–6.00) | 2.10 (2.00–2.20) |" in capsys.readouterr().out


def test_the_first_contestant_is_timed_before_and_after(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(side_by_side.time, "perf_counter", lambda: clock[0])
    first = iter([3.0, 1.0])

    def pass_time(seconds):
        clock[0] += seconds

    assert side_by_side.timed_beside(lambda: pass_time(next(first)), lambda: pass_time(7.0)) == (7.0, 2.0)


def test_rounds_run_everyone_as_often_each_in_a_process_of_its_own():
    results = side_by_side.rounds(process_number, ["a", "b"], 2)
    assert {name: len(runs) for name, runs in results.items()} == {"a": 2, "b": 2}
    numbers = [run.facts["process"] for runs in results.values() for run in runs]
    assert len(set(numbers)) == 4
    assert all(run.mebibytes > 10 for runs in results.values() for run in runs)


def test_only_the_first_run_is_heard(capfd):
    side_by_side.rounds(talkative, ["a"], 2)
    assert capfd.readouterr().out == "55,000 digits\n"


def talkative(name: str, _: int) -> Run:
    print("55,000 digits")
    return Run(1.0)


def process_number(name: str, _: int) -> Run:
    return Run(1.0, facts={"process": os.getpid()})
