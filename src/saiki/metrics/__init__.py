"""Figures of merit for forecasts, classes and text.

Every metric takes (targets, what was said about them), leaves missing targets out, checks shapes, and gives
a `Score`: a float with the `count` of targets behind it. scikit-learn computes those it has.
"""

from saiki.metrics.classes import Confusion, accuracy, confusion, f1, log_loss
from saiki.metrics.edits import Edits, cer, edit_distance, edits, label_error_rate, wer
from saiki.metrics.forecasts import (
    coverage,
    crps_quantiles,
    interval_width,
    mae,
    mase,
    mse,
    quantile_loss,
    r2,
    rmse,
    seasonal_scale,
    smape,
)
from saiki.metrics.language import bits_per_character, perplexity
from saiki.metrics.score import Score
from saiki.metrics.spans import Span, SpanCounts, span_counts, span_f1, spans
from saiki.metrics.translation import bleu, exact_match

__all__ = [
    "Confusion",
    "Edits",
    "Score",
    "Span",
    "SpanCounts",
    "accuracy",
    "bits_per_character",
    "bleu",
    "cer",
    "confusion",
    "coverage",
    "crps_quantiles",
    "edit_distance",
    "edits",
    "exact_match",
    "f1",
    "interval_width",
    "label_error_rate",
    "log_loss",
    "mae",
    "mase",
    "mse",
    "perplexity",
    "quantile_loss",
    "r2",
    "rmse",
    "seasonal_scale",
    "smape",
    "span_counts",
    "span_f1",
    "spans",
    "wer",
]
