"""Whether `saiki._native`, the C++ extension, is here."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def native() -> ModuleType | str:
    """The extension, or why it is not here."""
    module = sys.modules.get("saiki._native")  # looked up at every call of a layer
    if module is not None:
        return module
    try:
        return importlib.import_module("saiki._native")
    except ImportError as error:
        return f"the native extension was not built ({error}); reinstall with a C++20 compiler to have it"
