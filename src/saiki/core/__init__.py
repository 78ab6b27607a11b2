"""Ground floor: errors, ragged batches, activations, initialisers, generators, files, the schema of a model.

Importing this package loads nothing heavy: a name loads its module on first use, and only `activations`,
`initialisers`, `random` and `ragged` load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saiki.core.activations import ACTIVATIONS, Activation, get_activation
    from saiki.core.errors import SaikiError, SaikiWarning
    from saiki.core.initialisers import INITIALISERS, initialise
    from saiki.core.ragged import Ragged
    from saiki.core.random import generator, permutation
    from saiki.core.record import EpochRecord, FitRecord

_MODULES = (
    "activations",
    "checks",
    "custom",
    "errors",
    "extras",
    "files",
    "initialisers",
    "log",
    "names",
    "ragged",
    "random",
    "record",
    "schema",
)
_HOME = {
    "ACTIVATIONS": "activations",
    "INITIALISERS": "initialisers",
    "Activation": "activations",
    "EpochRecord": "record",
    "FitRecord": "record",
    "Ragged": "ragged",
    "SaikiError": "errors",
    "SaikiWarning": "errors",
    "generator": "random",
    "get_activation": "activations",
    "initialise": "initialisers",
    "permutation": "random",
}

__all__ = [
    "ACTIVATIONS",
    "INITIALISERS",
    "Activation",
    "EpochRecord",
    "FitRecord",
    "Ragged",
    "SaikiError",
    "SaikiWarning",
    "generator",
    "get_activation",
    "initialise",
    "permutation",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"saiki.core.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"saiki.core.{_HOME[name]}"), name)
    raise AttributeError(f"module 'saiki.core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
