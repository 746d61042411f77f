"""Run notebooks of an exam, each in a process of its own beside copies of the students' data: what `rerun` asks.

python -m coursekit.teaching.exam.runner auto    serves requests, see `coursekit.teaching.marking.apart`
"""

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path

from coursekit.teaching.exam.predictions import KINDS, LARGEST
from coursekit.teaching.marking import apart

_TEXT = 4000  # letters of an error
_DISK = 256 * 2**20  # bytes: the data, and what a notebook keeps of its training


def main(shut_in: str) -> None:
    """Serve requests until standard input ends; `shut_in` is "auto" or, in a container, "none"."""
    apart.Server(shut_in, _DISK).serve(_run)


def _run(request: dict, answer: Callable[[bytes], None]) -> None:
    """Run a notebook's cells, in the child, and answer with the file of predictions that they write."""
    here, said = Path.cwd(), {}
    for name, content in request["files"].items():
        (here / name).write_bytes(base64.b64decode(content))
    shell = apart.shell()
    for source, may_fail in request["cells"]:
        result = shell.run_cell(source)
        error = result.error_before_exec or result.error_in_exec
        if error and not may_fail:
            said = {"error": f"{type(error).__name__}: {error}"[:_TEXT]}
            break
    for path in (here / f"predictions{kind}" for kind in KINDS):
        if not said and path.is_file():
            with path.open("rb") as file:
                content = file.read(LARGEST + 1)
            said = {"file": path.name, "content": base64.b64encode(content).decode()}
    answer(json.dumps(said).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
