"""An exam on data no lesson used: photons and pions in a calorimeter, a new problem for every seed.

python -m coursekit.teaching.exam -o exam                 make one, with a secret seed
python -m coursekit.teaching.exam --seed 2027 -o exam     make the one of a seed
python -m coursekit.teaching.exam score HANDED_IN --teacher exam/teacher
"""

from coursekit.teaching.exam.folders import build
from coursekit.teaching.exam.rerun import Rerun
from coursekit.teaching.exam.results import Result, score_all
from coursekit.teaching.exam.scores import Score, score

__all__ = ["Rerun", "Result", "Score", "build", "score", "score_all"]
