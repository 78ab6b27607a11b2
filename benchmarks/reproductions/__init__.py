"""Published results beside ours: one file a task, found by its name.

A module here is a task: `gru_lstm.py` is `python -m benchmarks.reproduce gru-lstm`. Its docstring is its
help, and it has

    run(options) -> dict        print the table, return what `--json` shall hold
    arguments(parser)           options beyond --data, --quick and --json; may be left out

`options` holds `data` (a folder, or None), `quick`, `json` (a file, or None) and the task's own. What tasks
share is in the folder `shared`: runs that are kept one by one, training on drawn batches, pictures.
"""

from __future__ import annotations

import ast
import pkgutil
from importlib import import_module
from pathlib import Path
from types import ModuleType


def names() -> list[str]:
    """The tasks, in order."""
    return sorted(found.name.replace("_", "-") for found in pkgutil.iter_modules(__path__) if not found.ispkg)


def task(name: str) -> ModuleType:
    """The module of a task."""
    return import_module(f"{__name__}.{name.replace('-', '_')}")


def title(name: str) -> str:
    """The first line of a task's help, without importing it."""
    file = Path(__path__[0]) / f"{name.replace('-', '_')}.py"
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
