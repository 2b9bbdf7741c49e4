"""How the documentation is made: `make docs`, in which every warning is an error."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

project = "dj_queue"
author = "the dj_queue developers"
copyright = author  # noqa: A001  (Sphinx's own name)
release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "reference", "repository"]
exclude_patterns = ["_build", "_ext"]
nitpicky = True

# Headings get anchors that other pages, and GitHub, can name.
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]

html_theme = "furo"
html_title = f"dj_queue {release}"
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
