"""Saiki (再帰, "recurrence"): recurrent sequence models you can train, look inside, stream and ship.

The public names load their room on first use, so `import saiki` is quick and never loads torch by itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# public name -> the module that defines it
_HOME: dict[str, str] = {}
_ROOMS = ("core", "cells", "engine", "nn", "losses", "metrics", "data", "learning", "insight", "models")

__all__ = ["__version__", *_ROOMS, *_HOME]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return importlib.import_module(f"saiki.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'saiki' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
