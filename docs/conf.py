"""How `make docs` builds these pages: Sphinx, furo, MyST; offline, and any warning is an error."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import zoo

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
REPOSITORY = "https://github.com/transfer-zoo/transfer-zoo"
sys.path.insert(0, str(HERE))  # for extensions/

project = "transfer-zoo"
author = "transfer-zoo maintainers"
version = release = zoo.__version__
project_copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "extensions.zoo_help"]
exclude_patterns = ["_build"]
default_role = "literal"  # docstrings put `code` between single backticks
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"transfer-zoo {version}"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["narrow.css"]
html_theme_options = {"source_repository": REPOSITORY, "source_branch": "main", "source_directory": "docs/"}


def link_outside(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Let links to files outside docs/ lead to the repository: they are relative, for who reads there."""
    source[0] = re.sub(r"\]\(\.\./([^)]+)\)", rf"]({REPOSITORY}/blob/main/\1)", source[0])


def setup(app: Sphinx) -> None:
    app.connect("source-read", link_outside)
