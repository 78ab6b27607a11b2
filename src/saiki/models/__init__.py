"""Tasks with scikit-learn's face: each file is one task's network, loss, metrics and fit/predict.

Exports: Forecaster (with Covariates and Backtest), SequenceClassifier (with Text), SequenceRegressor,
SequenceTagger, Transcriber (with Transcript), Translator, LanguageModel, Answerer, TASKS, load, save,
suggest_size, searching.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saiki.models.answerer import Answerer
    from saiki.models.base import Estimator, searching
    from saiki.models.classifier import SequenceClassifier
    from saiki.models.files import TASKS, load, save
    from saiki.models.forecast_scores import Backtest
    from saiki.models.forecast_table import Covariates
    from saiki.models.forecaster import Forecaster
    from saiki.models.language_model import LanguageModel
    from saiki.models.regressor import SequenceRegressor
    from saiki.models.sequence_text import Text
    from saiki.models.sizing import SizeSuggestion, suggest_size
    from saiki.models.tagger import SequenceTagger
    from saiki.models.transcriber import Transcriber
    from saiki.models.transcripts import Transcript
    from saiki.models.translator import Translator

# public name -> its file; loaded on first use, so that one task does not pay for the others
_HOME = {
    "Answerer": "answerer",
    "Backtest": "forecast_scores",
    "Covariates": "forecast_table",
    "Estimator": "base",
    "Forecaster": "forecaster",
    "LanguageModel": "language_model",
    "SequenceClassifier": "classifier",
    "SequenceRegressor": "regressor",
    "SequenceTagger": "tagger",
    "SizeSuggestion": "sizing",
    "TASKS": "files",
    "Text": "sequence_text",
    "Transcriber": "transcriber",
    "Transcript": "transcripts",
    "Translator": "translator",
    "load": "files",
    "save": "files",
    "searching": "base",
    "suggest_size": "sizing",
}

__all__ = [
    "TASKS",
    "Answerer",
    "Backtest",
    "Covariates",
    "Estimator",
    "Forecaster",
    "LanguageModel",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "SizeSuggestion",
    "Text",
    "Transcriber",
    "Transcript",
    "Translator",
    "load",
    "save",
    "searching",
    "suggest_size",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(f"saiki.models.{_HOME[name]}"), name)
    raise AttributeError(f"module 'saiki.models' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
