"""Hand the students' pages back: in the folders, and under the names, in which the notebooks came."""

import shutil
import zipfile
from pathlib import Path, PurePosixPath

from coursekit.files import atomic_write
from coursekit.teaching.marking import handed_in, pages
from coursekit.teaching.marking.marker import Marks

_OF_NBGRADER = ("timestamp.txt", "submission_secret.txt")  # by these nbgrader finds the student again


def write(all_marks: list[Marks], folder: Path, source: Path, destination: Path) -> None:
    """Write the pages that lie in `folder` to a zip, if `destination` is called so, or to a folder.

    Moodle takes the zip as feedback files, Canvas as submissions that come back; the folder is nbgrader's `feedback`.
    """
    page_of = {_name(marks, source): (folder / pages.page_of(marks)).read_bytes() for marks in all_marks}
    try:
        if destination.suffix == ".zip":
            with (
                atomic_write(destination) as file,
                zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
            ):
                for name, page in page_of.items():
                    archive.writestr(name.encode("utf-8", "replace").decode(), page)
            return
        for name, page in page_of.items():
            with atomic_write(destination / name) as file:
                file.write(page)
        for marks in all_marks:
            _copy_what_nbgrader_needs(source / marks.file, destination / _name(marks, source))
    except OSError as error:
        raise ValueError(
            f"mark: the pages can't be written to {str(destination)!r} ({error.strerror}). The marks are kept"
        ) from error


def _copy_what_nbgrader_needs(submission: Path, page: Path) -> None:
    for name in _OF_NBGRADER:
        kept = submission.with_name(name)
        if kept.is_file() and not kept.is_symlink():
            shutil.copyfile(kept, page.with_name(name))


def _name(marks: Marks, source: Path) -> str:
    """Return where a page belongs, below the folder or in the zip."""
    below = handed_in.in_nbgrader(marks.file, source)
    return str(PurePosixPath(*(below or (marks.file,))).with_suffix(".html"))
