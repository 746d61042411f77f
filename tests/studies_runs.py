"""Searches that tests make in several processes.

python tests/studies_runs.py NAME FOLDER WHO leaves what this process did in FOLDER/WHO.json.
"""

import json
import sys
import time
from pathlib import Path

import optuna

from coursekit import studies

PROBLEM = {"searched": "x from 0 to 1", "data": "none", "network": "none"}


def opened(place, seed=0):
    """The study at a place; all processes give their samplers the same seed."""
    return studies.open_study(place, PROBLEM, sampler=optuna.samplers.RandomSampler(seed=seed))


def meet(folder, who, where, processes=2):
    """Wait until so many processes have come here, with all that they need imported."""
    opened(folder / f"{who}.journal")
    opened(f"sqlite:///{(folder / f'{who}.db').as_posix()}")
    (folder / f"{where}.{who}").touch()
    until = time.monotonic() + 60
    while len(list(folder.glob(f"{where}.*"))) < processes:
        assert time.monotonic() < until, "the others did not come"
        time.sleep(0.001)


def worked(place, trials, stuck=None):
    """Work on a study; return the numbers of this process's trials. It never ends its trial of index `stuck`."""
    mine = []

    def objective(trial):
        mine.append(trial.number)
        x = trial.suggest_float("x", 0, 1)
        if len(mine) - 1 == stuck:
            place.with_suffix(".stuck").touch()
            time.sleep(300)
        time.sleep(0.1)
        if trial.number % 4 == 3:
            raise optuna.TrialPruned
        return x

    studies.work(opened(place), objective, trials)
    return mine


def shared(folder, who):
    """Two processes begin a study at the same moment, in a file and in a database."""
    meet(folder, who, "file")
    in_file = worked(folder / "search.journal", 12)
    meet(folder, who, "database")
    return {"file": in_file, "database": worked(f"sqlite:///{(folder / 'search.db').as_posix()}", 4)}


def pair(folder, who):
    """Two processes, of which "first" has to be killed in its first trial."""
    meet(folder, who, "begin")
    return worked(folder / "pair.journal", 8, stuck=0 if who == "first" else None)


def alone(folder, who):
    """A process that has to be killed in its third trial."""
    return worked(folder / "alone.journal", 5, stuck=2)


if __name__ == "__main__":
    name, folder, who = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    (folder / f"{who}.json").write_text(json.dumps(globals()[name](folder, who)), encoding="utf-8")
