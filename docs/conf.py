"""Sphinx settings of the handbook. Pictures and the reference are made from the library at each build."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import saiki  # noqa: E402

project = "Saiki"
author = "The Saiki developers"
copyright = "2026, The Saiki developers"
version = release = saiki.__version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_pictures"]
myst_enable_extensions = ["deflist", "attrs_inline"]
myst_heading_anchors = 3
highlight_language = "none"
nitpicky = False
python_display_short_literal_types = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "Saiki"
html_static_path = ["_static"]
html_css_files = ["saiki.css"]
html_copy_source = False
html_show_sphinx = False


def _make(app: object) -> None:
    """Draw the pictures and write the reference before the sources are read."""
    import pictures
    import reference

    pictures.draw_all(HERE / "_pictures")
    reference.write_all(HERE / "api")


def setup(app: object) -> dict[str, bool]:
    """Hook the generators in."""
    app.connect("builder-inited", _make)  # type: ignore[attr-defined]
    return {"parallel_read_safe": True, "parallel_write_safe": True}
