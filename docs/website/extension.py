"""What the site adds to Sphinx: alternative texts, names of toggles, no icon font, files made for this build."""

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from coursekit.teaching.alt_texts import describe_figures
from coursekit.teaching.catalogue import Lesson

# The theme's icons are a script of 1.5 MB; course.css draws the dozen we see.
_ICON_SCRIPT = re.compile(r"\s*<script[^>]*scripts/fontawesome\.js[^>]*></script>")
_SEARCH_SCRIPTS = re.compile(
    r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>'
)
# A page with pages under it, in the navigation, and the toggle that unfolds them, which the theme gives no name
_TOGGLE = re.compile(r"(<a class=\"[^\"]*\" href=\"[^\"]*\">)(.*?)(</a><details[^>]*><summary)>")


class FigureTexts(SphinxPostTransform):
    """Give every figure of a lesson its alternative text."""

    default_priority = 1  # before the images of outputs are chosen, while their cells can be told

    def run(self, **_: object) -> None:
        """Walk the cells of the page and name their pictures."""
        path = Path(self.env.doc2path(self.env.docname))
        if path.suffix != ".ipynb":
            return
        texts = iter(describe_figures(Lesson(path).notebook).values())
        for output in self.document.findall(_is_output):
            pictures = [image for image in output.findall(nodes.image) if image["uri"].endswith(".png")]
            if pictures:
                text = next(texts)
                for image in pictures:
                    image["alt"] = text


def _is_output(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code_output"


def without_icon_script(html: str) -> str:
    """Return the head of a page without the script that draws icons."""
    return _ICON_SCRIPT.sub("", html)


def without_search_scripts(html: str) -> str:
    """Return the head of a page without the search index, which only the page of results needs."""
    return _SEARCH_SCRIPTS.sub("", html)


def with_named_toggles(html: str) -> str:
    """Return the navigation with a name, for screen readers, on every toggle."""
    return _TOGGLE.sub(r'\1\2\3 aria-label="Pages under \2">', html)


def _add_filters(app: Sphinx) -> None:
    environment = getattr(app.builder.templates, "environment", None)
    if environment is not None:
        for edit in (without_icon_script, without_search_scripts, with_named_toggles):
            environment.filters[edit.__name__] = edit


def _add_made_files(app: Sphinx, config: object) -> None:
    config.html_static_path.append(str(Path(app.srcdir) / "generated" / "static"))
    config.html_extra_path.append(str(Path(app.srcdir) / "generated" / "extra"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register all of it."""
    app.add_post_transform(FigureTexts)
    app.connect("config-inited", _add_made_files)
    app.connect("builder-inited", _add_filters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
