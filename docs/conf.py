"""Sphinx: `tox run -e docs` builds the site from the Markdown of this folder, offline.

Pages of the reference are generated from the code before they are read (tools/make_reference.py), into `made`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import lcrbench

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_site"), str(HERE.parent / "tools")]

import make_reference  # noqa: E402

project, author = "lcrbench", "the lcrbench developers"
version = release = lcrbench.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click", "sphinx_gallery.gen_gallery", "docstrings"]
exclude_patterns = ["_site", "examples"]
nitpicky = True

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "ignore_pattern": "my_plugins",
    # The first one is charged with the imports, so it is one that trains nothing.
    "within_subsection_order": "FileNameSortKey",
    "gallery_dirs": "made/examples",
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
}

html_theme = "furo"
html_title = "lcrbench"
html_static_path = ["_site/static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {
    "source_repository": "",
    "light_css_variables": {"font-stack": "system-ui, sans-serif", "font-stack--monospace": "ui-monospace, monospace"},
}

myst_enable_extensions = ["deflist", "attrs_inline", "colon_fence"]
myst_heading_anchors = 4

# In docstrings `x` is code, and a block that is indented is a formula.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True}


def setup(app: object) -> None:
    """Write the generated pages before any is read."""
    make_reference.write(HERE / "made" / "reference")
