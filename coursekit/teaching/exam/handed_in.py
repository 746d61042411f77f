"""What was handed in: found, scored, ranked, and the notebooks run again."""

import csv
import io
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from coursekit.files import atomic_write
from coursekit.teaching import commands
from coursekit.teaching.exam import predictions, scores
from coursekit.teaching.exam.scores import Score
from coursekit.teaching.execute import execute

_KINDS = (".csv", ".npz")
OURS = ("baseline", "reference")  # files of the teacher's folder that are scored beside the submissions
TOLERANCE = 0.02  # between probabilities of two machines
COLUMNS = ("name", "rank", "rank from", "rank to", "auc", "auc error", "pions", "pions error", "remark")


@dataclass
class Submission:
    """A file of predictions with its score, or the reason why it has none; `remark` is what else is to be said."""

    name: str
    file: Path | None
    notebook: Path | None = None
    score: Score | None = None
    remark: str = ""
    place: tuple[int, int, int] | None = None

    def row(self) -> list[str]:
        """Return the entries of `COLUMNS`."""
        place = ["", "", ""] if self.place is None else [str(rank) for rank in self.place]
        one = self.score
        numbers = [one.auc, one.auc_error, one.pions, one.pions_error] if one else []
        return [self.name, *place, *([f"{value:.4f}" for value in numbers] or [""] * 4), self.remark]


def score_all(handed_in: Path, teacher: Path, *, students: Path | None = None) -> list[Submission]:
    """Return the submissions of a class, or of one student, best first, those without a score at the end.

    A submission is a file, .csv or .npz, or a folder of one such file and a notebook. With `students`, the students'
    folder, every notebook is run again beside a copy of its data, and the remark says whether it makes the predictions
    that were handed in. Raises ValueError where nothing was handed in, or a folder is not what it should be.
    """
    ids, label = scores.labels(teacher)
    found = _find(handed_in)
    for submission in tqdm(found, desc="scoring", unit="submission"):
        _score(submission, ids, label)
        if students:
            remarks = [submission.remark, _rerun(submission, students, ids)]
            submission.remark = "; ".join(filter(None, remarks))
    good = [submission for submission in found if submission.score]
    for submission, place in zip(good, scores.places([one.score for one in good]), strict=True):
        submission.place = place
    return sorted(found, key=lambda one: (one.place is None, one.place, one.name))


def ours(teacher: Path) -> list[Submission]:
    """Return the scores of the baseline and the reference solution, which have no place."""
    ids, label = scores.labels(teacher)
    found = [Submission(name, teacher / f"{name}.csv") for name in OURS]
    for submission in found:
        _score(submission, ids, label)
    return found


def write(path: Path, submissions: list[Submission]) -> None:
    """Write a table as CSV, in one step. Names cannot become formulas of a spreadsheet."""
    commands.check_writable("exam", "-o", path.parent)
    text = io.StringIO()
    rows = [submission.row() for submission in submissions]
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *(map(commands.inert, row) for row in rows)])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def table(submissions: list[Submission]) -> str:
    """Return a table to print, a line each."""
    width = max(len(submission.name) for submission in submissions)
    lines = []
    for submission in submissions:
        place = ""
        if submission.place:
            rank, low, high = submission.place
            place = f"{rank} ({low}–{high})" if low < high else str(rank)
        said = [str(submission.score or ""), submission.remark]
        lines.append(f"{place:>9}  {submission.name:<{width}}  {' · '.join(filter(None, said))}")
    return "\n".join(lines)


def _find(handed_in: Path) -> list[Submission]:
    if handed_in.is_file():
        return [Submission(handed_in.stem, handed_in)]
    if not handed_in.is_dir():
        raise ValueError(f"exam: there is no file or folder {str(handed_in)!r}")
    if _predictions_in(handed_in):
        return [_in_folder(handed_in)]
    found = []
    for path in sorted(handed_in.iterdir()):
        if path.name.startswith((".", "__")):
            continue
        if path.is_dir():
            found.append(_in_folder(path))
        elif path.suffix in _KINDS:
            found.append(Submission(path.stem, path))
    if not found:
        raise ValueError(f"exam: nothing was handed in to {str(handed_in)!r}: no .csv, no .npz, no folders")
    names = [submission.name for submission in found]
    for submission in found:
        if names.count(submission.name) > 1:
            submission.name, submission.remark = str(submission.file.name), "handed in more than once"
    return found


def _in_folder(folder: Path) -> Submission:
    files = _predictions_in(folder)
    notebooks = sorted(folder.glob("*.ipynb"))
    submission = Submission(folder.name, files[0] if len(files) == 1 else None)
    submission.notebook = notebooks[0] if len(notebooks) == 1 else None
    if len(files) != 1:
        names = f": {', '.join(path.name for path in files)}" if files else ""
        submission.remark = f"one predictions.csv or predictions.npz is needed, not {len(files)}{names}"
    return submission


def _predictions_in(folder: Path) -> list[Path]:
    return [folder / f"predictions{kind}" for kind in _KINDS if (folder / f"predictions{kind}").is_file()]


def _score(submission: Submission, ids: np.ndarray, label: np.ndarray) -> None:
    if submission.file is None:
        return
    try:
        given, probability = predictions.read(submission.file)
    except ValueError as error:
        submission.remark = str(error)
        return
    if found := predictions.problems(given, probability, ids):
        submission.remark = "; ".join(found)
        return
    submission.score = scores.measure(label, probability)
    if submission.score.auc < 0.4:
        submission.remark = "better than chance the other way round: probabilities of a pion?"


def _rerun(submission: Submission, students: Path, ids: np.ndarray) -> str:
    """Return what is to be said of a submission's notebook, run beside a copy of the students' data."""
    if submission.notebook is None:
        return "one notebook is needed to run it again"
    with tempfile.TemporaryDirectory() as place:
        for name in ("train.npz", "test.npz"):
            shutil.copy(students / name, place)
        try:
            error = execute(submission.notebook, folder=Path(place)).error
        except Exception as problem:  # whatever is wrong with a foreign file
            error = f"is no notebook: {type(problem).__name__}"
        if error:
            return f"its notebook stops: {commands.plain(error).splitlines()[-1][:120]}"
        made = _predictions_in(Path(place))
        if not made:
            return "its notebook writes no predictions"
        if submission.score is None:
            return ""
        try:
            given, probability = predictions.read(made[0])
        except ValueError as problem:
            return f"the predictions that its notebook writes: {problem}"
    if predictions.problems(given, probability, ids):
        return "its notebook writes predictions of another form"
    apart = np.abs(probability - predictions.read(submission.file)[1]).max()
    if apart <= TOLERANCE:
        return "its notebook makes these predictions"
    return f"its notebook makes other predictions, up to {apart:.2f} apart"
