"""What was handed in: a folder or a zip, of files or as Moodle, Canvas and nbgrader export it."""

import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

LARGEST = 20 * 2**20  # bytes of a notebook
_MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_")  # begins a student's folder, or file
_CANVAS = re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<id>\d+)_\d+_.+")  # a student's file
_IGNORED = re.compile(r"(^|/)(\.|__MACOSX/|Thumbs\.db$|desktop\.ini$)|-checkpoint\.ipynb$")


@dataclass(frozen=True)
class Submission:
    """A notebook that a student handed in, as bytes; or the `reason` why there is none to be marked."""

    student: str
    file: str
    content: bytes = b""
    reason: str = ""
    identity: str = ""  # the number that Moodle or Canvas knows the student by
    assignment: str = ""  # of nbgrader


def collect(source: Path, assignment: str = "", otherwise: str = "") -> list[Submission]:
    """Return what lies in a folder or a zip, a submission for every student, in order of their names.

    Where nbgrader has collected several assignments, only `assignment` counts; if it is not given, `otherwise`. Raises
    ValueError where there is nothing, or no such assignment, or the zip can't be read. Nothing is unpacked to disk.
    """
    if not source.exists():
        raise ValueError(f"mark: there is no folder or zip {str(source)!r}")
    if source.is_dir():
        found = list(_in_folder(source))
    elif zipfile.is_zipfile(source):
        try:
            found = list(_in_zip(source))
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(f"mark: {str(source)!r} is damaged ({error}): download it again") from error
    else:
        raise ValueError(f"mark: {str(source)!r} is neither a folder nor a zip")
    if not found:
        raise ValueError(f"mark: nothing was handed in: {str(source)!r} holds no files")
    found = _of_assignment(found, assignment, otherwise)
    return sorted(_one_each(found), key=lambda one: (one.student.casefold(), one.file))


def _in_folder(folder: Path) -> Iterator[Submission]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if _IGNORED.search(name) or path.is_dir():
            continue
        if path.is_symlink() or not path.is_file():
            yield _submission(name, folder, reason="a link, or another thing that is no file")
        elif path.stat().st_size > LARGEST:
            yield _too_large(name, folder)
        else:
            try:
                yield _submission(name, folder, path.read_bytes())
            except OSError as error:
                yield _submission(name, folder, reason=f"can't be read ({error.strerror})")


def _in_zip(path: Path) -> Iterator[Submission]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name = entry.filename.replace("\\", "/")
            if name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:", name):
                yield _submission(PurePosixPath(name).name, path, reason=f"leads out of the zip: {name!r}")
            elif not entry.is_dir() and not _IGNORED.search(name):
                yield _unpacked(archive, entry, name, path)


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, path: Path) -> Submission:
    if entry.file_size > LARGEST:
        return _too_large(name, path)
    try:
        with archive.open(entry) as file:
            content = file.read(LARGEST + 1)  # a zip may say less than it holds
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        return _submission(name, path, reason=f"is damaged in the zip ({error})")
    return _too_large(name, path) if len(content) > LARGEST else _submission(name, path, content)


def _too_large(name: str, source: Path) -> Submission:
    return _submission(name, source, reason=f"larger than {LARGEST // 2**20} MB: clear its outputs")


def _submission(name: str, source: Path, content: bytes = b"", reason: str = "") -> Submission:
    student, identity, assignment = _student(f"{source.stem}/{name}" if "/" not in name else name, source)
    if not reason and not name.endswith(".ipynb"):
        reason = "is no notebook"
    return Submission(student, name, b"" if reason else content, reason, identity, assignment)


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


def _one_each(found: list[Submission]) -> Iterator[Submission]:
    """Yield a submission for every student: with their only notebook, else with the reason why not."""
    of_student = defaultdict(list)
    for one in found:
        of_student[one.student, one.identity].append(one)
    for all_of_one in of_student.values():
        notebooks = [one for one in all_of_one if one.file.endswith(".ipynb")]
        if len(notebooks) > 1:
            names = " and ".join(one.file for one in notebooks)
            yield replace(notebooks[0], content=b"", reason=f"{len(notebooks)} notebooks: {names}. Keep one")
        else:
            yield (notebooks or all_of_one)[0]
