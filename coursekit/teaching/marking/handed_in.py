"""What was handed in: a folder or a zip, of files or as Moodle, Canvas and nbgrader export it."""

import io
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import nbformat
from nbformat import NotebookNode

LARGEST = 20 * 2**20  # bytes of a file
_UNPACKED = 5 * LARGEST  # bytes of all files in a zip that a student handed in
_MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_")  # begins a student's folder, or file
_CANVAS = re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<id>\d+)_\d+_.+")  # a student's file
_IGNORED = re.compile(r"(^|/)(\.|__MACOSX/|Thumbs\.db$|desktop\.ini$)|-checkpoint\.ipynb$")


@dataclass(frozen=True)
class Submission:
    """A file that a student handed in, as bytes; or the `reason` why it can't be used."""

    student: str
    file: str
    content: bytes = b""
    reason: str = ""
    identity: str = ""  # the number that Moodle or Canvas knows the student by
    assignment: str = ""  # of nbgrader


def collect(source: Path, assignment: str = "", otherwise: str = "") -> list[Submission]:
    """Return what lies in a folder or a zip, a submission for every student, in order of their names.

    It is the student's only notebook, or says why there is none to be marked. Where nbgrader has collected several
    assignments, only `assignment` counts; if it is not given, `otherwise`. Raises ValueError as `of_students`, and for
    an assignment that isn't there.
    """
    return [_only_notebook(files) for files in of_students("mark", source, {".ipynb"}, assignment, otherwise)]


def of_students(
    function: str, source: Path, kinds: set[str], assignment: str = "", otherwise: str = ""
) -> list[list[Submission]]:
    """Return the files of every student in a folder or a zip, or one file, in order of the students' names.

    A zip within is one that a student handed in: what it holds is the student's. Of the files, only those that end in
    one of `kinds` have content. Nothing is unpacked to disk. Raises ValueError, naming the function, where there is
    nothing, and for a zip that can't be read.
    """
    if not source.exists():
        raise ValueError(f"{function}: there is no folder or zip {str(source)!r}")
    if source.is_dir():
        found = list(_in_folder(source, kinds))
    elif source.suffix in kinds:
        found = [_read(source, source.name, source)]
    elif zipfile.is_zipfile(source):
        try:
            with zipfile.ZipFile(source) as archive:
                found = list(_in_zip(archive, source, kinds))
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(
                f"{function}: {str(source)!r} is damaged ({error}): download it again"
            ) from error
    else:
        raise ValueError(f"{function}: {str(source)!r} is neither a folder nor a zip")
    if not found:
        raise ValueError(f"{function}: nothing was handed in: {str(source)!r} holds no files")
    of_student = defaultdict(list)
    for one in _of_assignment(found, assignment, otherwise):
        of_student[one.student, one.identity].append(one)
    return sorted(of_student.values(), key=lambda files: (files[0].student.casefold(), files[0].file))


def code_cells(content: bytes) -> list[NotebookNode]:
    """Return the code cells of a notebook; ValueError, with the reason, for what is none."""
    try:
        notebook = nbformat.reads(content.decode("utf-8"), as_version=4, capture_validation_error={})
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        for cell in cells:
            cell.source = "".join(cell.source)
    except Exception as error:  # nbformat raises many kinds of errors for files that are none
        raise ValueError(f"is no notebook ({type(error).__name__}: {str(error)[:100]})") from None
    return cells


def _in_folder(folder: Path, kinds: set[str]) -> Iterator[Submission]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if _IGNORED.search(name):
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            yield _submission(name, folder, reason="a link, or another thing that is no file")
        elif path.is_dir():
            if not any(path.iterdir()):
                yield _submission(f"{name}/", folder, reason="is an empty folder")
        elif path.suffix == ".zip":
            yield from _in_students_zip(path, name, folder, kinds)
        elif path.suffix in kinds:
            yield _read(path, name, folder)
        else:
            yield _submission(name, folder)


def _read(path: Path, name: str, source: Path) -> Submission:
    try:
        if path.stat().st_size > LARGEST:
            return _too_large(name, source)
        return _submission(name, source, path.read_bytes())
    except OSError as error:
        return _submission(name, source, reason=f"can't be read ({error.strerror})")


def _in_zip(
    archive: zipfile.ZipFile, source: Path, kinds: set[str], within: str = ""
) -> Iterator[Submission]:
    """Yield the files of a zip; with `within`, the name of a zip that a student handed in, they are the student's."""
    for entry in archive.infolist():
        name = entry.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:", name):
            reason = f"leads out of the zip: {name!r}"
            yield _submission(PurePosixPath(name).name, source, reason=reason, within=within)
        elif entry.is_dir() or _IGNORED.search(name):
            continue
        elif name.endswith(".zip") and not within:
            inner = _unpacked(archive, entry, name, source)
            yield from (
                [inner] if inner.reason else _in_students_zip(io.BytesIO(inner.content), name, source, kinds)
            )
        elif PurePosixPath(name).suffix in kinds:
            yield _unpacked(archive, entry, name, source, within)
        else:
            yield _submission(name, source, within=within)


def _in_students_zip(file: Path | BinaryIO, name: str, source: Path, kinds: set[str]) -> Iterator[Submission]:
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _UNPACKED:
                yield _submission(name, source, reason=f"unpacks to more than {_UNPACKED // 2**20} MB")
            else:
                yield from _in_zip(archive, source, kinds, within=name)
    except (zipfile.BadZipFile, OSError) as error:
        yield _submission(name, source, reason=f"is a damaged zip ({error})")


def _unpacked(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, source: Path, within: str = ""
) -> Submission:
    if entry.file_size > LARGEST:
        return _too_large(name, source, within)
    try:
        with archive.open(entry) as file:
            content = file.read(LARGEST + 1)  # a zip may say less than it holds
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        return _submission(name, source, reason=f"is damaged in the zip ({error})", within=within)
    if len(content) > LARGEST:
        return _too_large(name, source, within)
    return _submission(name, source, content, within=within)


def _too_large(name: str, source: Path, within: str = "") -> Submission:
    advice = ": clear its outputs" if name.endswith(".ipynb") else ""
    return _submission(name, source, reason=f"larger than {LARGEST // 2**20} MB{advice}", within=within)


def _submission(
    name: str, source: Path, content: bytes = b"", reason: str = "", within: str = ""
) -> Submission:
    outer = within or name
    student, identity, assignment = _student(f"{source.stem}/{outer}" if "/" not in outer else outer, source)
    file = f"{within}/{name}" if within else name
    return Submission(student, file, content, reason, identity, assignment)


def _student(name: str, source: Path) -> tuple[str, str, str]:
    """Return the name of the student a path belongs to, their number and the assignment where it holds them."""
    *folders, file = name.split("/")
    for part in (*folders, file):
        if found := _MOODLE.match(part):
            return found["name"], found["id"], ""
    if found := in_nbgrader(name, source):
        return found[0], "", found[1]
    stem = PurePosixPath(file).stem
    if found := _CANVAS.fullmatch(stem):
        return found["name"], found["id"], ""
    own = [folder for folder in folders if folder != source.stem]
    return (own[-1] if own else stem), "", ""


def in_nbgrader(name: str, source: Path) -> tuple[str, ...]:
    """Return the parts of a path below nbgrader's folder `submitted`: student, assignment, file; () elsewhere."""
    parts = (source.resolve().name, *name.split("/"))
    below = parts[parts.index("submitted") + 1 :] if "submitted" in parts else ()
    return below if len(below) > 2 else ()


def _of_assignment(found: list[Submission], assignment: str, otherwise: str) -> list[Submission]:
    there = sorted({one.assignment for one in found} - {""})
    if not there:
        return found
    chosen = assignment or (otherwise if otherwise in there else there[0])
    if chosen not in there or (not assignment and chosen != otherwise and len(there) > 1):
        raise ValueError(f"mark: name the assignment with --assignment; there are {', '.join(there)}")
    return [one for one in found if one.assignment == chosen]


def _only_notebook(files: list[Submission]) -> Submission:
    """Return a student's only notebook, else the reason why there is none."""
    notebooks = [one for one in files if one.file.endswith(".ipynb")]
    if len(notebooks) > 1:
        names = " and ".join(one.file for one in notebooks)
        return replace(
            notebooks[0], content=b"", reason=f"is one of {len(notebooks)} notebooks: {names}. Keep one"
        )
    (one, *_) = notebooks or files
    return one if notebooks else replace(one, reason=one.reason or "is no notebook")
