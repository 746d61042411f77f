"""Run the notebooks of an exam again: foreign code, which gets the students' data and nothing else of the teacher's."""

import base64
import json
from pathlib import Path

import numpy as np

from coursekit.teaching.exam import predictions
from coursekit.teaching.marking import handed_in, process
from coursekit.teaching.marking.process import Process

SECONDS = 1200  # for a notebook that takes 10 minutes on a laptop
_MODULE = "coursekit.teaching.exam.runner"
_CORES = 8  # that a notebook may use on average, by the limit on processor time


class Rerun:
    """Runs notebooks beside copies of the data in the students' folder, shut in as in marking.

    `protection` says how. Raises ValueError for what is no students' folder, RuntimeError where nothing can be run.
    """

    def __init__(
        self, students: Path, *, sandbox: str = "auto", image: str = "", seconds: float = SECONDS
    ) -> None:
        process.check("exam", sandbox, image)
        try:
            files = {name: (students / name).read_bytes() for name in ("train.npz", "test.npz")}
        except OSError as error:
            raise ValueError(
                f"exam: {str(students)!r} is no students' folder: name it with --students"
            ) from error
        self._files = {name: base64.b64encode(content).decode() for name, content in files.items()}
        self._sandbox, self._image, self._seconds = sandbox, image, seconds
        self._start()

    def predictions(self, notebook: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids (N,) and probabilities (N,) that a notebook writes; ValueError says why there are none."""
        try:
            cells = handed_in.code_cells(notebook)
        except ValueError as error:
            raise ValueError(f"its notebook {error}") from error
        sources = [(cell.source, "raises-exception" in cell.metadata.get("tags", [])) for cell in cells]
        name, content = self._written(sources)
        try:
            return predictions.parsed(name, content)
        except ValueError as error:
            raise ValueError(f"the predictions that its notebook writes: {error}") from error

    def close(self) -> None:
        """End the process that runs notebooks."""
        self._process.close()

    def _start(self) -> None:
        # Not the course's data: the rules say so, and in their folder the teacher's may lie
        try:
            self._process = Process(_MODULE, sandbox=self._sandbox, image=self._image, data=False)
        except RuntimeError as error:
            raise RuntimeError(f"exam: notebooks can't be run here: {error}") from error
        self.protection = self._process.protection

    def _written(self, sources: list[tuple[str, bool]]) -> tuple[str, bytes]:
        """Return the file of predictions that cells write: its name and content. What arrives can be anything."""
        request = {
            "files": self._files, "cells": sources, "seconds": [self._seconds],
            "processor": int(_CORES * self._seconds),
        }  # fmt: skip
        answers = list(self._process.ask(request))
        if self._image or not answers or answers[-1][0] != process.END:  # a container serves one only
            self.close()
            self._start()
        if len(answers) < 2:
            reason = answers[0][1].decode() if answers else "The process that runs notebooks died with it."
            raise ValueError(f"its notebook was stopped: {reason}")
        try:
            said = {str(name): str(value) for name, value in json.loads(answers[0][1]).items()}
            content = base64.b64decode(said.get("content", ""))
        except (ValueError, AttributeError, RecursionError) as error:
            raise ValueError("its notebook meddles with the process that runs it") from error
        if "error" in said:
            raise ValueError(f"its notebook stops: {said['error'].strip().splitlines()[0][:120]}")
        if "file" not in said:
            raise ValueError("its notebook writes no predictions")
        return said["file"], content
