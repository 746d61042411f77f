"""Extract the course's names: `python make_names.py names.npz` takes them from the CLDR through Babel.

Needs Babel==2.19.0, which the course itself does not. Names of countries and regions, languages, scripts and currencies
in eight languages that write in Latin letters, as the Unicode Common Locale Data Repository has them (Unicode licence,
LICENSE.unicode beside the file). Two runs with the same version write the same names.
"""

import argparse

import numpy as np
from babel import Locale

LANGUAGES = ("cs", "de", "es", "fi", "fr", "it", "pl", "tr")
KINDS = ("territories", "languages", "scripts", "currencies")
LONGEST = 20  # letters


def names(language: str) -> list[tuple[str, str]]:
    """Return (what is named, its name) in lower case: the names of letters, spaces, hyphens and apostrophes alone."""
    locale, found = Locale(language), []
    for kind in KINDS:
        for code, name in sorted(getattr(locale, kind).items()):
            name = name.lower().replace("i̇", "i")  # Turkish İ has a dot of its own
            name = name.translate(dict.fromkeys(map(ord, "’ʼʻ"), "'"))
            if len(name) <= LONGEST and all(letter.isalpha() or letter in " -'" for letter in name):
                found.append((f"{kind} {code}", name))
    return found


def main() -> None:
    """Write name, language and concept (N,), such as "dánsko", 0 and "territories DK", to one file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    options = parser.parse_args()
    rows = [(concept, name, number) for number, code in enumerate(LANGUAGES) for concept, name in names(code)]
    np.savez_compressed(
        options.file,
        name=np.array([name for _, name, _ in rows]),
        language=np.array([language for _, _, language in rows], np.uint8),
        concept=np.array([concept for concept, _, _ in rows]),
    )
    print(f"{len(rows)} names of {len({concept for concept, _, _ in rows})} things")


if __name__ == "__main__":
    main()
