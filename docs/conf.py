"""How the pages in this folder become a site: `make docs`."""

from spectraldyn import __version__

project = "spectraldyn"
author = "the authors of spectraldyn"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

default_role = "py:obj"
autodoc_typehints = "none"  # the docstrings say it in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"spectraldyn {release}"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
templates_path = ["_templates"]
