"""How the documents become a site: `make docs`."""

from __future__ import annotations

import sys
from importlib.metadata import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

about = metadata("dagcelery")
project = "dagcelery"
author = "The dagcelery authors"
copyright = author
version = release = about["Version"]

extensions = [
    "myst_parser",
    "reference",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx_click",
    "sphinx_copybutton",
]
root_doc = "index"
source_suffix = {".md": "markdown"}
exclude_patterns = ["_*"]
default_role = "code"  # docstrings write names as Markdown does
nitpicky = False  # annotations name what has no page of its own, such as TypeVars

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"

# Celery's own names. The copy is what Celery 5.6.3's documents make, so that a build needs no network.
intersphinx_mapping = {"celery": ("https://docs.celeryq.dev/en/stable", str(HERE / "_inventories/celery.inv"))}
intersphinx_disabled_reftypes = ["std:doc"]

copybutton_prompt_text = "$ "

html_theme = "furo"
html_title = f"dagcelery {release}"
html_baseurl = "https://dagcelery.readthedocs.io/en/stable/"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_theme_options = {"source_edit_link": ""}
html_show_sourcelink = False

# Only what lies on this machine is checked: pages of others come and go, and CI may have no network.
linkcheck_ignore = [r"https?://"]
