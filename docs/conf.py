"""How the pages in this folder become a site: `make docs`."""

import shutil
from pathlib import Path

from spectraldyn import __version__

# Sphinx shows nothing from outside its folder.
shutil.rmtree(Path(__file__).parent / "notebooks", ignore_errors=True)
shutil.copytree(
    Path(__file__).parents[1] / "analysis" / "notebooks",
    Path(__file__).parent / "notebooks",
    ignore=shutil.ignore_patterns("*.py", "__pycache__", ".ipynb_checkpoints"),
)

project = "spectraldyn"
author = "the authors of spectraldyn"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are stored as they ran

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
