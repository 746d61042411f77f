"""The machinery of the exercises: each one judges an attempt, gives hints and shows a solution.

The module of a lesson makes one `ExerciseSet`, whose methods make its exercises:

- `@lesson.exercise(...)` above a solution, a function or a class, makes an exercise that compares what an attempt
  does with what the solution does; `@softmax.mistake("sentence")` above a wrong solution names a classic mistake;
- `@lesson.trained_model(...)` above a function that trains makes one that scores a model on data kept back;
- `lesson.quiz(...)` and `lesson.prediction(...)` ask for letters, numbers and shapes.

CONTRIBUTING.md shows a whole exercise. With the environment variable COURSEKIT_STRICT=1 every verdict other than
"correct" raises ExerciseError.

What was reached is remembered from kernel to kernel in a file of the student's own: `coursekit.checks.memory`.
"""

from coursekit.checks.base import Exercise, replace_lines
from coursekit.checks.compare import difference, show
from coursekit.checks.confirm import borne_out, evidence
from coursekit.checks.exercise_set import ExerciseSet, NamedFunction, normal
from coursekit.checks.functions import CodeExercise
from coursekit.checks.isolation import pinned
from coursekit.checks.memory import Reached, remembered, whereabouts
from coursekit.checks.models import ModelExercise
from coursekit.checks.questions import Prediction, Question, Quiz
from coursekit.checks.reports import Report, in_words
from coursekit.checks.verdicts import ExerciseError, UnknownExerciseError, Verdict, printable

__all__ = [
    "CodeExercise", "Exercise", "ExerciseError", "ExerciseSet", "ModelExercise", "NamedFunction", "Prediction",
    "Question", "Quiz", "Reached", "Report", "UnknownExerciseError", "Verdict", "borne_out", "difference",
    "evidence", "in_words", "normal", "pinned", "printable", "remembered", "replace_lines", "show", "whereabouts",
]  # fmt: skip
