"""`fit` and `evaluate` under torchrun: real processes, one of them killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests import torchrun_runs

RUNS = Path(torchrun_runs.__file__)
PROJECT = RUNS.parents[1]


def torchrun(name, folder, processes=2):
    """Make a run of torchrun_runs.py; return what torchrun did, and what each process left and printed."""
    logs = folder / "logs"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT), "PYTHONFAULTHANDLER": "1"}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
    ]
    done = subprocess.run(
        [*command, "--redirects", "3", "--log-dir", logs, RUNS, name, folder],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
    )
    ranks = range(processes)
    left = [torch.load(path) if (path := folder / f"{rank}.pt").exists() else None for rank in ranks]
    printed = [
        "".join(
            path.read_text(encoding="utf-8") for path in sorted(logs.glob(f"*/attempt_0/{rank}/std*.log"))
        )
        for rank in ranks
    ]
    return done, left, printed


def close(one, other):
    """Whether all numbers agree to 1e-5 of the largest."""
    return all(
        one[name].shape == other[name].shape
        and (one[name] - other[name]).abs().max() <= 1e-5 * one[name].abs().max()
        for name in one
    )


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """What two processes left of many runs, and what they printed."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "taken_up").mkdir()
    torchrun_runs.fitted(
        torchrun_runs.seeded(torchrun_runs.network), epochs=2, checkpoint=folder / "taken_up" / "other.pt"
    )
    done, left, printed = torchrun("many", folder)
    assert done.returncode == 0, done.stderr + "".join(printed)
    return left, printed


def of_both(many, run):
    return [left[run] for left in many[0]]


@pytest.mark.parametrize("name", torchrun_runs.ALIKE)
def test_two_processes_end_as_one(many, name):
    first, second = (left[name] for left in of_both(many, "alike"))
    assert torch.equal(first["weights"], second["weights"])
    assert torch.equal(first["valid"], second["valid"])
    assert close(torchrun_runs.ALIKE[name](), first)


def test_dropout_differs_from_process_to_process_and_weights_do_not(many):
    first, second = of_both(many, "noisy")
    assert torch.equal(first["weights"], second["weights"])
    assert not any(
        torch.equal(one, other) for one, other in zip(first["masks"], second["masks"], strict=True)
    )
    assert len(first["masks"].unique(dim=0)) == len(first["masks"])


def test_checkpoint_goes_on_bit_for_bit_on_as_many_processes(many):
    first, second = of_both(many, "kept")
    assert torch.equal(first["resumed"]["weights"], first["whole"]["weights"])
    assert torch.equal(first["resumed"]["weights"], second["resumed"]["weights"])
    assert "run.pt: going on after epoch 2 of 4" in many[1][0]


def test_checkpoint_goes_on_on_another_number_of_processes_and_says_what_changes(many):
    first, _ = of_both(many, "taken_up")
    whole = torchrun_runs.fitted(torchrun_runs.seeded(torchrun_runs.network), epochs=4)
    assert close(whole, first)
    assert "other.pt: trained by 1 process so far, by 2 from here on" in many[1][0]


def test_what_cannot_be_shared_is_refused_in_all_processes(many):
    for said in of_both(many, "refused"):
        assert "a batch of 1 cannot be shared by 2 processes" in said["too small"]
        assert "pass `model.module`" in said["wrapped"]
        assert "process 1 was given another run than process 0" in said["other data"]
        assert "training data" in said["other data"]
        assert "- epochs: 1 there, 2 here" in said["other settings"]


def test_sampler_that_shares_out_is_left_to_do_so(many):
    first, second = of_both(many, "shared_out")
    assert len(first["seen"]) == len(second["seen"]) == 257  # half of 513, rounded up
    assert len(torch.cat([first["seen"], second["seen"]]).unique(dim=0)) == 513


def test_only_process_0_prints_and_saves(tmp_path):
    _, (first, second), printed = torchrun("started", tmp_path)
    assert "seed 0" in printed[0]
    assert printed[1] == ""
    assert (tmp_path / "run.pt").exists()
    assert torch.equal(first["weights"], second["weights"])


def test_evaluate_in_one_process_alone_is_an_error(tmp_path):
    _, (first, _), _ = torchrun("alone", tmp_path)
    assert "evaluate was called in process 0, but not in all 2" in first["said"]


def test_process_that_dies_ends_the_others_and_the_same_call_goes_on(tmp_path):
    began = time.monotonic()
    done, left, printed = torchrun("killed", tmp_path)
    assert time.monotonic() - began < 60  # the start, an epoch, and at most 30 s
    assert done.returncode != 0
    assert left == [None, None]
    assert "lost each other" in printed[0] or "Signal 9 (SIGKILL)" in done.stderr
    done, (first, _), printed = torchrun("killed", tmp_path)
    assert done.returncode == 0, done.stderr + "".join(printed)
    assert "going on after epoch" in printed[0]
    assert close(torchrun_runs.ALIKE["Adam"](), first)
