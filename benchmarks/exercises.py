"""How long a verdict takes: the solution, and the slowest of the wrong answers, on one core.

python benchmarks/exercises.py
"""

import importlib
import os
import time
from pathlib import Path

import torch

from coursekit.checks import CodeExercise


def seconds(exercise: CodeExercise, attempt: object) -> float:
    helpers = [helper.reference for helper in exercise.helpers]
    started = time.perf_counter()
    exercise(*helpers, attempt)
    return time.perf_counter() - started


def main() -> None:
    torch.set_num_threads(1)
    os.environ["COURSEKIT_PROGRESS"] = "off"
    print("| exercise | right answer (ms) | slowest wrong answer (ms) | mistakes known |")
    print("|---|---|---|---|")
    folder = Path(__file__).parents[1] / "coursekit" / "exercises"
    for path in sorted(folder.glob("lesson[0-9][0-9].py")):
        lesson = importlib.import_module(f"coursekit.exercises.{path.stem}").lesson
        for name, exercise in lesson.exercises.items():
            if isinstance(exercise, CodeExercise):
                right = min(seconds(exercise, exercise.reference) for _ in range(3))
                wrong = max(seconds(exercise, mistake.attempt) for mistake in exercise.known)
                print(f"| {name} | {1e3 * right:.0f} | {1e3 * wrong:.0f} | {len(exercise.known)} |")


if __name__ == "__main__":
    main()
