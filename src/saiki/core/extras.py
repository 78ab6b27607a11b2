"""Optional packages: ask for one by module, and be told which extra brings it."""

from __future__ import annotations

import importlib
from types import ModuleType

from saiki.core.errors import ExtraError

__all__ = ["require"]


def require(module: str, extra: str, why: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: what to import; written in our source, never read from a file.
        extra: the extra of Saiki that installs it.
        why: what needs it, for the message ("reading a Parquet file").
    Raises:
        ExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise  # the package is there, something inside it is broken: do not hide that
        raise ExtraError(
            f"{why} needs the package {module.split('.')[0]!r}, which is not installed.",
            f"Install it with: pip install 'saiki[{extra}]'",
        ) from error
