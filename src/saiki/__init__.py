"""Saiki (再帰, "recurrence"): recurrent sequence models you can train, look inside, stream and ship.

The public names load their room on first use, so `import saiki` is quick and never loads torch by itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saiki import cells, core, data, decoding, engine, insight, learning, losses, metrics, models, nn
    from saiki.core.errors import SaikiError, SaikiWarning
    from saiki.core.ragged import Ragged
    from saiki.learning import Training
    from saiki.models.answerer import Answerer
    from saiki.models.classifier import SequenceClassifier
    from saiki.models.files import load
    from saiki.models.forecaster import Forecaster
    from saiki.models.language_model import LanguageModel
    from saiki.models.regressor import SequenceRegressor
    from saiki.models.sizing import suggest_size
    from saiki.models.tagger import SequenceTagger
    from saiki.models.transcriber import Transcriber
    from saiki.models.translator import Translator
    from saiki.nn import Stack

__version__ = "0.1.0"

# public name -> the module that defines it
_HOME: dict[str, str] = {
    "Answerer": "saiki.models.answerer",
    "Forecaster": "saiki.models.forecaster",
    "LanguageModel": "saiki.models.language_model",
    "Ragged": "saiki.core.ragged",
    "SaikiError": "saiki.core.errors",
    "SaikiWarning": "saiki.core.errors",
    "SequenceClassifier": "saiki.models.classifier",
    "SequenceRegressor": "saiki.models.regressor",
    "SequenceTagger": "saiki.models.tagger",
    "Stack": "saiki.nn",
    "Training": "saiki.learning",
    "Transcriber": "saiki.models.transcriber",
    "Translator": "saiki.models.translator",
    "load": "saiki.models.files",
    "suggest_size": "saiki.models.sizing",
}
_ROOMS = (
    "core",
    "cells",
    "engine",
    "nn",
    "losses",
    "metrics",
    "decoding",
    "data",
    "learning",
    "insight",
    "models",
)

__all__ = [
    "Answerer",
    "Forecaster",
    "LanguageModel",
    "Ragged",
    "SaikiError",
    "SaikiWarning",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "Stack",
    "Training",
    "Transcriber",
    "Translator",
    "__version__",
    "cells",
    "core",
    "data",
    "decoding",
    "engine",
    "insight",
    "learning",
    "load",
    "losses",
    "metrics",
    "models",
    "nn",
    "suggest_size",
]


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return importlib.import_module(f"saiki.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'saiki' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
