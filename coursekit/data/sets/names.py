"""Names of countries, languages, scripts and currencies in eight languages, as rows of letters."""

import unicodedata
from collections import Counter

import numpy as np

from coursekit.data import search
from coursekit.data.shipped import shipped
from coursekit.data.splits import Splits, splits_by_group

LANGUAGES = ("Czech", "German", "Spanish", "Finnish", "French", "Italian", "Polish", "Turkish")
LETTERS = "· '-abcdefghijklmnopqrstuvwxyz"  # what the numbers of a row stand for; 0 is padding
MARKS = ("", "\N{COMBINING ACUTE ACCENT}", "\N{COMBINING CARON}", "\N{COMBINING RING ABOVE}",
         "\N{COMBINING DIAERESIS}", "\N{COMBINING TILDE}", "\N{COMBINING CEDILLA}")  # fmt: skip
_PLAIN = str.maketrans({"ł": "l", "ı": "i", "ß": "ss", "đ": "d", "ø": "o", "æ": "ae", "œ": "oe", "ŧ": "t"})
_LONGEST_NAME, _LONGEST_CZECH = 16, 20


def names() -> Splits:
    """Return names without accents: x (N, 16) int64, the letters; y (N,) int64, the language.

    A letter is its place in `LETTERS`; zeros fill a row up, so `x > 0` tells which are real. The names are those of
    countries, regions and languages, in lower case and up to 16 letters long. Names that two of the languages share
    are left out, and what is named (Denmark, say) is in one part only, in all its languages; one name in a hundred
    stands for two things, as a country and its language, and counts for one of them. `classes` names the languages.

    Prints one line.
    """
    stored = shipped("names.npz")
    kind = np.char.partition(stored["concept"], " ")[:, 0]
    bare = np.array([_plain(name) for name in stored["name"]])
    of_language = dict.fromkeys(zip(bare.tolist(), stored["language"].tolist(), strict=True))
    languages = Counter(name for name, _ in of_language)
    kept = np.isin(kind, ("territories", "languages")) & (np.char.str_len(bare) <= _LONGEST_NAME)
    kept &= np.array([languages[name] == 1 for name in bare])
    rows = np.flatnonzero(kept)
    rows = rows[np.unique(bare[rows], return_index=True)[1]]  # each name once
    x, y = _rows(bare[rows], _LONGEST_NAME), stored["language"][rows]
    splits = splits_by_group(x, y, stored["concept"][rows], classes=LANGUAGES, source="sample")
    return search.announce("Names", splits, "the sample that ships with the course")


def czech_marks() -> Splits:
    """Return Czech names: x (N, 20) int64, the letters without marks; y (N, 20) int64, the mark of each letter.

    Letters as in `names`; a mark is its place in `MARKS`, 0 for none, and 0 where x is padding. What is named is in one
    part only.

    Prints one line.
    """
    stored = shipped("names.npz")
    rows = np.flatnonzero(stored["language"] == LANGUAGES.index("Czech"))
    rows = rows[np.unique(stored["name"][rows], return_index=True)[1]]
    split_up = [[unicodedata.normalize("NFD", letter) for letter in name] for name in stored["name"][rows]]
    x = _rows(["".join(letter[0] for letter in name) for name in split_up], _LONGEST_CZECH)
    y = np.zeros_like(x)
    for row, name in zip(y, split_up, strict=True):
        row[: len(name)] = [MARKS.index(letter[1:]) for letter in name]
    splits = splits_by_group(x, y, stored["concept"][rows], classes=MARKS, source="sample")
    return search.announce("Czech names", splits, "the sample that ships with the course")


def _plain(name: str) -> str:
    """Return a name without accents."""
    apart = unicodedata.normalize("NFD", name.translate(_PLAIN))
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


def _rows(texts: list[str] | np.ndarray, width: int) -> np.ndarray:
    """Return texts as rows (N, width) of places in LETTERS."""
    rows = np.zeros((len(texts), width), np.int64)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = [LETTERS.index(letter) for letter in text]
    return rows
