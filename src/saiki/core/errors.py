"""Every error and warning of Saiki: one family, each member also the standard error a caller would expect.

A message says what came, what was expected and why; `hint` says what to do. `str(error)` gives both, so a
traceback is enough to act on; the command line prints `message` and `hint` on lines of their own.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CheckpointError",
    "DTypeError",
    "DataError",
    "DiskError",
    "EngineError",
    "ExtraError",
    "LabelError",
    "LengthError",
    "ModelFolderError",
    "NonFiniteError",
    "OptionError",
    "SaikiError",
    "SaikiWarning",
    "SchemaError",
    "ShapeError",
    "UsageError",
    "ValueRangeError",
]


class SaikiError(Exception):
    """The family: `except SaikiError` catches every error that Saiki raises on purpose.

    Args:
        message: what came, what was expected, and why.
        hint: what to do about it; None where the message says it already.
    """

    message: str
    hint: str | None

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} {self.hint}"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would hand `args` alone to the class and lose the hint on the way to another process.
        return type(self), (self.message, self.hint)


class SaikiWarning(UserWarning):
    """Something worth knowing that did not stop the work."""


class ShapeError(SaikiError, ValueError):
    """An array has the wrong rank or the wrong sizes."""


class LengthError(SaikiError, ValueError):
    """Lengths of sequences are missing, negative, too long, or do not fit the data."""


class DTypeError(SaikiError, TypeError):
    """A value has the wrong type or an array the wrong element type."""


class ValueRangeError(SaikiError, ValueError):
    """A number is NaN, infinite or outside its range."""


class LabelError(SaikiError, ValueError):
    """A label is unknown, missing or does not fit the data."""


class OptionError(SaikiError, ValueError):
    """A name or an option is not among the known ones; the nearest known one is offered."""


class DataError(SaikiError, ValueError):
    """A table cannot be used as it is: columns, times, missing or repeated values."""


class SchemaError(SaikiError, ValueError):
    """A configuration (config.json, TOML) does not follow its schema."""


class ModelFolderError(SaikiError, OSError):
    """A model folder is missing, cut short, changed, or in the way."""


class CheckpointError(SaikiError, OSError):
    """A checkpoint cannot be read, or belongs to other data or other options."""


class DiskError(SaikiError, OSError):
    """The disk refused: full, read-only, failing. The file that was there before is untouched."""


class NonFiniteError(SaikiError, ArithmeticError):
    """A loss or a gradient became NaN or infinite during training."""


class ExtraError(SaikiError, ImportError):
    """An optional package is needed and not installed."""


class EngineError(SaikiError, RuntimeError):
    """No engine can run what was asked, or the engine asked for is not there."""


class UsageError(SaikiError, RuntimeError):
    """A call came at the wrong time or in a combination that makes no sense (predict before fit)."""
