"""A search over settings that several processes share: an Optuna study in a file or in a database.

Optuna brings samplers, pruners and storage (Akiba et al., Optuna, KDD 2019). This opens the place, keeps the studies of
different problems apart, and lets every process work until enough trials are finished, whoever finished them.
"""

import contextlib
import json
import numbers
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from coursekit.train import ProgressBar

if TYPE_CHECKING:
    import optuna

_JOURNAL_BEGINS = b'{"op_code":'
_LONGEST = 512  # characters of a study's name in a database
_ELSEWHERE = "Give this search another place; or, to start afresh, delete what is there"


def open_study(
    place: str | Path,
    problem: str | dict[str, Any],
    *,
    direction: str = "minimize",
    sampler: "optuna.samplers.BaseSampler | None" = None,
    pruner: "optuna.pruners.BasePruner | None" = None,
) -> "optuna.Study":
    """Return the study that `place` holds, or begin it there.

    `place` is the path of a journal file, or the URL of a database ("sqlite:///search.db", "postgresql://…"). It holds
    one study, which any number of processes may begin or open at the same moment. `problem` says what is searched, in
    which data, with which network, in words or as a dict of what JSON holds, in 512 characters at most: it is the name
    of the study. `direction`, of the objective's value, is "minimize" or "maximize". Sampler and pruner are not stored:
    every process brings its own; None is Optuna's default.

    Raises ValueError for a place that holds the study of another problem or another direction, or no study at all; it
    is left as it is. Raises TypeError for a `problem` that JSON cannot hold, OSError for a file that cannot be opened,
    ImportError without Optuna.
    """
    optuna, name = _optuna(), _name(problem)
    if direction not in ("minimize", "maximize"):
        raise ValueError(f"open_study: `direction` must be 'minimize' or 'maximize', not {direction!r}")
    with _quiet():
        storage = _database(str(place)) if "://" in str(place) else _journal(place)
        if not optuna.get_all_study_names(storage):
            optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
        held = optuna.get_all_study_names(storage)[0]  # of two begun at the same moment the first counts
        if held != name:
            raise ValueError(
                f"{_shown(place)} holds the study of another problem and is left as it is\n- there: {held}\n"
                f"- here:  {name}\n{_ELSEWHERE}"
            )
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler, pruner=pruner)
    there = ", ".join(one.name.lower() for one in study.directions)
    if there != direction:
        raise ValueError(
            f"{_shown(place)} holds the study of this problem with direction {there!r}, not {direction!r}, and is left "
            f"as it is. {_ELSEWHERE}"
        )
    return study


def work(study: "optuna.Study", objective: Callable[["optuna.Trial"], float], trials: int) -> None:
    """Run trials of `study` in this process until `trials` are finished, complete or pruned, by whichever process.

    A bar counts the finished trials of all processes and shows the best value. The other processes may each be in the
    middle of a trial when the last one is finished, and end it: with n processes there are up to n − 1 more. A process
    that is killed costs the trial it was in, and the others half a minute if it was writing; the same call goes on.

    The process that begins a study draws with the seed of its sampler; all others, and all later calls, draw anew, so
    that samplers of the same seed do not try the same points twice. So a search can be repeated point by point if one
    call in one process makes it.

    An exception in the objective marks its trial as failed and is raised; the study stays as it is and can be worked
    on. Raises ValueError for an objective that returned no number, TypeError or ValueError for arguments it cannot use.
    While it works, Optuna's log keeps to warnings.
    """
    _check_work(study, objective, trials)

    def count(study: "optuna.Study", trial: "optuna.trial.FrozenTrial") -> None:
        _check_value(trial)
        with contextlib.suppress(ValueError):  # all were pruned
            bar.set_postfix_str(f"best {study.best_value:.4g}", refresh=False)
        bar.update(min(_finished(study), trials) - bar.n)
        if bar.n == trials:
            study.stop()

    done = _finished(study)
    if done >= trials:
        return
    # the delay leaves it to `refresh` to show the bar, so that it is taken away again in a notebook
    settings = {"total": trials, "initial": done, "unit": "trial", "leave": False, "delay": 1e-9}
    with _quiet(), ProgressBar(**settings) as bar:
        bar.refresh()
        study.optimize(_apart(study, objective), callbacks=[count])


def _finished(study: "optuna.Study") -> int:
    """Return how many trials are finished; one that is RUNNING may be that of a process that was killed."""
    return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in study.get_trials(deepcopy=False))


def _apart(study: "optuna.Study", objective: Callable) -> Callable:
    """Return the objective of a process that draws anew, unless it is the one that begins the study.

    Anew both before its first trial, since some samplers draw as soon as they are asked for one, and in it.
    """
    if any(trial.state.name != "WAITING" for trial in study.get_trials(deepcopy=False)):  # those are enqueued
        study.sampler.reseed_rng()
    firsts = iter([True])

    def apart(trial: "optuna.Trial") -> float:
        if next(firsts, False) and trial.number > 0:  # another process began at the same moment
            study.sampler.reseed_rng()
        return objective(trial)

    return apart


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let Optuna log no more than warnings in the block."""
    from optuna import logging

    before = logging.get_verbosity()
    logging.set_verbosity(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.set_verbosity(before)


# Places ------------------------------------------------------------------------------------------------


def _journal(place: str | Path) -> "optuna.storages.JournalStorage":
    """Return the storage of a journal file, which is made if it is not there."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    path = _checked(place)
    lock = JournalFileOpenLock(
        str(path)
    )  # works where there are no links, on Windows and mounted drives, too
    _check_journal(path, lock)
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except OSError:
        raise
    except Exception as error:  # whatever a damaged file makes of the reader
        raise ValueError(
            f"{place} is damaged, or written by another version of Optuna ({type(error).__name__}: {error}), and is "
            f"left as it is. {_ELSEWHERE}"
        ) from None


def _check_journal(path: Path, lock: "optuna.storages.journal.JournalFileOpenLock") -> None:
    """Raise ValueError for a file that Optuna would take for a journal, and spoil with the next line it writes."""
    lock.acquire()  # no other process is in the middle of a line
    try:
        with path.open("a+b") as file:
            file.seek(0)
            start = file.read(len(_JOURNAL_BEGINS))
            file.seek(-min(1, len(start)), os.SEEK_END)
            end = file.read()
    finally:
        lock.release()
    if start not in (b"", _JOURNAL_BEGINS):
        raise ValueError(f"{path} is no journal of Optuna, and is left as it is: choose another name")
    if end not in (b"", b"\n"):
        raise ValueError(f"{path} is damaged, its last line is cut off: delete that line, and it can be read")


def _database(url: str) -> "optuna.storages.RDBStorage":
    """Return the storage of a database, whose tables are made if they are not there."""
    from optuna.storages import RDBStorage

    for wait in (0.1, 0.3, 0.9, 0):  # seconds; two processes that make the tables stand in each other's way
        try:
            return RDBStorage(url)
        except ImportError:
            raise
        except Exception as error:  # those of any database
            problem = " ".join(str(error).split("\n[SQL")[0].split())
            time.sleep(wait)
    raise ValueError(
        f"{_shown(url)} cannot be opened as a database of Optuna ({_shown(problem)}). Check the address; or give the "
        "path of a journal file, such as 'search.journal', which needs no database"
    )


def _shown(place: str | Path) -> str:
    """Return a place as it may be printed: without the password."""
    return re.sub(r"(://[^/@\s]*:)[^/@\s]*@", r"\1***@", str(place))


# Arguments ---------------------------------------------------------------------------------------------


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise ImportError('a search of coursekit.studies needs Optuna: pip install "optuna>=4.3"') from None
    return optuna


def _name(problem: str | dict[str, Any]) -> str:
    """Return the name of the study of a problem: the same for the same words, or the same entries in any order."""
    if not isinstance(problem, str | dict):
        raise TypeError(f"open_study: `problem` must be words or a dict, not {problem!r}")
    try:
        name = (
            problem if isinstance(problem, str) else json.dumps(problem, ensure_ascii=False, sort_keys=True)
        )
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"open_study: `problem` must hold numbers, words, and lists and dicts of them, as JSON does: {error}"
        ) from None
    if not problem or not name.strip():
        raise ValueError(
            "open_study: `problem` is empty: say what is searched, in which data, with which network, so that no other "
            "search can be taken for this one"
        )
    if len(name) > _LONGEST:
        raise ValueError(
            f"open_study: `problem` takes {len(name)} characters, and {_LONGEST} can be stored: say it more briefly"
        )
    return name


def _checked(place: str | Path) -> Path:
    """Return the absolute path of a file that may be a journal."""
    if not isinstance(place, str | Path) or not str(place).strip():
        raise TypeError(
            f"open_study: `place` must be the name of a file such as 'search.journal', or the URL of a database, not "
            f"{place!r}"
        )
    path = Path(place).expanduser().resolve()
    if path.is_dir():
        raise ValueError(
            f"open_study: `place` {str(place)!r} is a folder: name a file in it, such as search.journal"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"open_study: `place` {str(place)!r} lies in a folder that does not exist: make it first (in Colab, mount "
            "the drive first: from google.colab import drive; drive.mount('/content/drive'))"
        )
    return path


def _check_work(study: object, objective: object, trials: object) -> None:
    if not isinstance(study, _optuna().Study):
        raise TypeError(f"work: `study` must be what open_study returns, not {study!r}")
    if not callable(objective):
        raise TypeError(f"work: `objective` must be a function trial -> number, not {objective!r}")
    if not isinstance(trials, numbers.Integral) or trials < 1:
        raise ValueError(f"work: `trials` must be an integer of at least 1, not {trials!r}")


def _check_value(trial: "optuna.trial.FrozenTrial") -> None:
    if trial.state.name == "FAIL":
        raise ValueError(
            f"work: trial {trial.number} failed, since its objective returned no number, but None, nan or several: "
            "return the loss; of a training that diverged, raise optuna.TrialPruned()"
        )
