"""The simple models beside the sequence tasks, fitted and measured on the same split.

One row a sequence: the majority class or the mean, then logistic (softmax) or linear and ridge regression on
features pooled over time. One row a step: the same on each step's own features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from saiki.models.baselines import Array, logistic, majority, pooled_features, ridge

MOST_ROWS = 20_000  # steps that a regression is fitted on; more are thinned evenly, so that it takes seconds


def classify_baseline(
    train: Sequence[Array],
    labels: Array,
    test: Sequence[Array],
    truth: Array,
    *,
    per_step: bool,
    classes: int,
    measure: Callable[[Array, Array], dict[str, float]],
    sample_weight: Array | None = None,
) -> list[dict[str, Any]]:
    """The majority class, and logistic (two classes) or softmax regression.

    Args:
        train: n sequences (T_i, F).
        labels: class numbers in [0, K), one a sequence or one a step.
        test: sequences to measure on.
        truth: their class numbers.
        per_step: one label a step.
        classes: K.
        measure: figures out of (truth, probabilities (rows, K)).
        sample_weight: (n,) weights of the training sequences.

    Returns:
        One dict a model: its name and its figures.
    """
    known = np.arange(classes)
    x, y, weight = _rows(train, labels, per_step, sample_weight)
    new = _features(test, per_step)
    share = majority(y, known, weight)
    probabilities = {
        "majority class": np.tile(share, (len(new), 1)),
        f"{'logistic' if classes == 2 else 'softmax'} regression on {_what(per_step)}": logistic(
            x, y, new, known, sample_weight=weight
        ),
    }
    return [{"name": name, **measure(truth, p)} for name, p in probabilities.items()]


def regress_baseline(
    train: Sequence[Array],
    targets: Array,
    test: Sequence[Array],
    truth: Array,
    *,
    per_step: bool,
    measure: Callable[[Array, Array], dict[str, float]],
    sample_weight: Array | None = None,
) -> list[dict[str, Any]]:
    """The mean, and linear and ridge regression.

    Args:
        train: n sequences (T_i, F).
        targets: (n, K) or (N, K), one row a sequence or one a step; rows with NaN are left out.
        test: sequences to measure on.
        truth: their targets.
        per_step: one row a step.
        measure: figures out of (truth, predictions (rows, K)).
        sample_weight: (n,) weights of the training sequences.

    Returns:
        One dict a model: its name and its figures.
    """
    from sklearn.linear_model import LinearRegression
    from sklearn.preprocessing import StandardScaler

    x, y, weight = _rows(train, targets, per_step, sample_weight)
    seen = np.isfinite(y).all(axis=1)
    if not seen.any():
        return []
    x, y, weight = x[seen], y[seen], None if weight is None else weight[seen]
    new = _features(test, per_step)
    scaler = StandardScaler().fit(x)
    linear = LinearRegression().fit(scaler.transform(x), y, sample_weight=weight)
    mean = np.average(y, axis=0, weights=weight)
    what = _what(per_step)
    predictions = {
        "mean": np.tile(mean, (len(new), 1)),
        f"linear regression on {what}": linear.predict(scaler.transform(new)).reshape(len(new), -1),
        f"ridge regression on {what}": ridge(x, y, new, sample_weight=weight),
    }
    return [{"name": name, **measure(truth, p)} for name, p in predictions.items()]


def _what(per_step: bool) -> str:
    return "each step's features" if per_step else "pooled features"


def _features(sequences: Sequence[Array], per_step: bool) -> Array:
    if not per_step:
        return pooled_features(sequences)
    return np.concatenate([np.asarray(x, dtype=np.float64) for x in sequences])


def _rows(
    sequences: Sequence[Array], targets: Array, per_step: bool, sample_weight: Array | None
) -> tuple[Array, Array, Array | None]:
    """Training rows with their targets and weights, thinned evenly where they are many."""
    x, weight = _features(sequences, per_step), sample_weight
    if per_step and weight is not None:
        weight = np.repeat(weight, [len(s) for s in sequences])
    if len(x) > MOST_ROWS:
        kept = np.linspace(0, len(x) - 1, MOST_ROWS).astype(np.int64)
        x, targets, weight = x[kept], targets[kept], None if weight is None else weight[kept]
    return x, targets, weight
