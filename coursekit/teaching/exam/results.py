"""The results of an exam: what was handed in is scored, ranked, and the notebooks are run again."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.stats import spearmanr
from tqdm.auto import tqdm

from coursekit.files import atomic_write
from coursekit.teaching import commands
from coursekit.teaching.exam import predictions, scores
from coursekit.teaching.exam.rerun import Rerun
from coursekit.teaching.exam.scores import Score
from coursekit.teaching.marking import handed_in
from coursekit.teaching.marking.handed_in import Submission

OURS = ("baseline", "reference")  # files of the teacher's folder that are scored beside the submissions
TOLERANCE = 0.02  # between probabilities that are called the same
COLUMNS = (
    *("name", "id", "rank", "rank from", "rank to", "auc", "auc error", "pions", "pions error"),
    *("remark", "protection"),
)
_ITS_OWN = [f"predictions{kind}" for kind in predictions.KINDS]  # what lies at the top of a student's folder
_COPIES = ("train", "test")  # of the students' data, which disturb nobody


@dataclass
class Result:
    """A student's score, or the reason why there is none; `remark` is what else is to be said."""

    name: str
    identity: str = ""  # the number that Moodle or Canvas knows the student by
    score: Score | None = None
    remark: str = ""
    place: tuple[int, int, int] | None = None
    protection: str = ""  # that was in force when the notebook was run again

    def row(self) -> list[str]:
        """Return the entries of `COLUMNS`."""
        place = ["", "", ""] if self.place is None else [str(rank) for rank in self.place]
        one = self.score
        numbers = [one.auc, one.auc_error, one.pions, one.pions_error] if one else []
        shown = [f"{value:.4f}" for value in numbers] or [""] * 4
        return [self.name, self.identity, *place, *shown, self.remark, self.protection]


def score_all(source: Path, teacher: Path, *, rerun: Rerun | None = None) -> list[Result]:
    """Return the results of a class, or of one student, best first, those without a score at the end.

    `source` is a folder or a zip of predictions and notebooks, also as schools export them, or one file of predictions.
    With `rerun`, every notebook is run again, and the remark says whether it makes the predictions that were handed in;
    if not, which score its own have and how alike the two order the events.
    Raises ValueError where nothing was handed in, or a folder is not what it should be.
    """
    ids, label = scores.labels(teacher)
    results = []
    for name, files in tqdm(_of_students(source), desc="scoring", unit="submission"):
        result = Result(name, files[0].identity)
        handed = _score(result, _predictions(files), ids, label)
        if rerun:
            result.protection = rerun.protection
            notebooks = [one for one in files if one.file.endswith(".ipynb")]
            remarks = [result.remark, _compared(rerun, notebooks, handed, ids, label)]
            result.remark = "; ".join(filter(None, remarks))
        result.remark = _printable(result.remark)
        results.append(result)
    good = [result for result in results if result.score]
    for result, place in zip(good, scores.places([one.score for one in good]), strict=True):
        result.place = place
    return sorted(results, key=lambda one: (one.place is None, one.place, one.name))


def ours(teacher: Path) -> list[Result]:
    """Return the scores of the baseline and the reference solution, which have no place."""
    ids, label = scores.labels(teacher)
    results = [Result(name) for name in OURS]
    for result in results:
        file = teacher / f"{result.name}.csv"
        _score(result, [Submission(result.name, file.name, file.read_bytes())], ids, label)
    return results


def write(path: Path, results: list[Result]) -> None:
    """Write a table as CSV, in one step. Names cannot become formulas of a spreadsheet."""
    commands.check_writable("exam", "-o", path.parent)
    text = io.StringIO()
    rows = [result.row() for result in results]
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *(map(commands.inert, row) for row in rows)])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def table(results: list[Result]) -> str:
    """Return a table to print, a line each."""
    width = max(len(result.name) for result in results)
    lines = []
    for result in results:
        place = ""
        if result.place:
            rank, low, high = result.place
            place = f"{rank} ({low}–{high})" if low < high else str(rank)
        said = [str(result.score or ""), result.remark]
        lines.append(f"{place:>9}  {result.name:<{width}}  {' · '.join(filter(None, said))}")
    return "\n".join(lines)


def _of_students(source: Path) -> list[tuple[str, list[Submission]]]:
    """Return the name and the files of every student, or of the one whose folder or zip this is."""
    found = handed_in.of_students("exam", source, {*predictions.KINDS, ".ipynb"})
    files = [one for of_one in found for one in of_one]
    if any(one.file.removeprefix(f"{source.stem}/") in _ITS_OWN for one in files):
        return [(_printable(source.stem), files)]
    # what lies in folders below a student's predictions is the student's own business
    owned = {PurePosixPath(one.file).parent for one in files if "predictions" in one.file} - {PurePosixPath()}
    return [
        (_printable(of_one[0].student), of_one)
        for of_one in found
        if not all(owned & set(PurePosixPath(one.file).parents[1:]) for one in of_one)
    ]


def _predictions(files: list[Submission]) -> list[Submission]:
    """Return the files of predictions among those of a student: those that are called so, else any that could be."""
    paths = [(PurePosixPath(one.file), one) for one in files]
    able = [
        (path, one) for path, one in paths if path.suffix in predictions.KINDS and path.stem not in _COPIES
    ]
    return [one for path, one in able if "predictions" in path.stem] or [one for _, one in able]


def _score(result: Result, files: list[Submission], ids: np.ndarray, label: np.ndarray) -> np.ndarray | None:
    """Add the score of a student's predictions to the result, or why there is none; return what is scored."""
    if len(files) != 1:
        names = f": {', '.join(one.file for one in files)}" if files else ""
        result.remark = f"one predictions.csv or predictions.npz is needed, not {len(files)}{names}"
        return None
    (file,) = files
    try:
        if file.reason:
            raise ValueError(file.reason)
        given, probability = predictions.parsed(file.file, file.content)
    except ValueError as error:
        result.remark = str(error)
        return None
    if found := predictions.problems(given, probability, ids):
        result.remark = "; ".join(found)
        return None
    result.score = scores.measure(label, probability)
    if result.score.auc < 0.4:
        result.remark = "better than chance the other way round: probabilities of a pion?"
    return probability


def _compared(
    rerun: Rerun, notebooks: list[Submission], handed: np.ndarray | None, ids: np.ndarray, label: np.ndarray
) -> str:
    """Return what is to be said of a student's notebook, run again."""
    if len(notebooks) != 1:
        return "one notebook is needed to run it again"
    if notebooks[0].reason:
        return f"its notebook: {notebooks[0].reason}"
    try:
        given, probability = rerun.predictions(notebooks[0].content)
    except ValueError as error:
        return str(error)
    if predictions.problems(given, probability, ids):
        return "its notebook writes predictions of another form"
    if handed is None:
        return ""
    if np.abs(probability - handed).max() <= TOLERANCE:
        return "its notebook makes these predictions"
    alike = spearmanr(probability, handed).statistic
    area = scores.auc(label, probability)
    return f"its notebook makes other predictions: ROC AUC {area:.4f}, rank correlation {alike:.2f}"


def _printable(text: str) -> str:
    """Return what a student wrote as one line that changes nothing in a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in commands.plain(text))
