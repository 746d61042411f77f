"""Five plays by Shakespeare, as text."""

from typing import NamedTuple

from coursekit.data.shipped import shipped


class Text(NamedTuple):
    """A text in three parts."""

    train: str
    valid: str
    test: str


def plays() -> Text:
    """Return what is spoken in five plays by Shakespeare, 602,253 characters of 63 kinds, in three parts.

    `train` is A Midsummer Night's Dream, Romeo and Juliet, Macbeth and Hamlet (492,695 characters); `valid` and `test`
    are the halves of Julius Caesar (54,779 each). A speech is the name of its speaker with a colon, its lines, and an
    empty line.

    Prints one line.
    """
    parts = Text(**{part: letters.tobytes().decode() for part, letters in shipped("plays.npz").items()})
    sizes = " / ".join(f"{len(text):,}" for text in parts)
    print(f"Plays: {sizes} characters (train / valid / test), from the sample that ships with the course")
    return parts
