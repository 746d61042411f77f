"""Sphinx's settings. The pages it builds are put together by docs/build.py; see CONTRIBUTING.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from coursekit.teaching.catalogue import repository_url

project = "Deep learning, by hand and by machine"
author = "the authors of the course"
copyright = "the authors · code MIT, text and figures CC BY 4.0"
language = "en_GB"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "website.extension"]
exclude_patterns = ["included/*", "generated/*"]

# The lessons come with the outputs of their recorded run, so nothing is executed here.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
default_role = "code"  # docstrings quote code in single backticks
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r".*")]  # types of torch and matplotlib, whose pages are not on this site

mathjax_path = "vendor/mathjax/tex-chtml.js"
mathjax3_config = {"options": {"enableMenu": False}}

templates_path = ["_templates"]
html_static_path = ["_static"]
html_theme = "sphinx_book_theme"
html_title = project
html_css_files = ["course.css", "print.css"]
html_js_files = ["course.js", "print.js"]
html_favicon = "_static/favicon.svg"
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "repository_url": repository_url(),
    "use_download_button": False,  # every lesson has its own buttons, below its title
    "use_fullscreen_button": False,
    "use_repository_button": False,
    "home_page_in_toc": False,
    "navbar_persistent": [],
    "show_navbar_depth": 1,
    "show_toc_level": 1,
    "back_to_top_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
