"""How much: errors of numbers, of quantiles and of intervals. Missing (NaN) targets are left out and not
counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saiki.core.checks import require_int
from saiki.core.errors import DataError, ShapeError, ValueRangeError
from saiki.metrics.score import Array, Score, as_array, observed, require_same_shape


def mae(targets: object, forecasts: object) -> Score:
    """Mean absolute error: mean |y - f|, in the unit of the targets.

    Args:
        targets: any shape, NaN where missing.
        forecasts: the same shape.
    Raises:
        ShapeError, DTypeError, ValueRangeError, DataError: see `saiki.metrics.score`.
    """
    from sklearn.metrics import mean_absolute_error

    y, f = _pair(targets, forecasts)
    return Score(mean_absolute_error(y, f), len(y))


def mse(targets: object, forecasts: object) -> Score:
    """Mean squared error: mean (y - f)². Arguments and errors as in `mae`."""
    from sklearn.metrics import mean_squared_error

    y, f = _pair(targets, forecasts)
    return Score(mean_squared_error(y, f), len(y))


def rmse(targets: object, forecasts: object) -> Score:
    """Root of the mean squared error, in the unit of the targets. Arguments and errors as in `mae`."""
    value = mse(targets, forecasts)
    return Score(float(value) ** 0.5, value.count)


def r2(targets: object, forecasts: object) -> Score:
    """Share of the variance explained: 1 - Σ(y - f)² / Σ(y - ȳ)².

    NaN for a single observed target; for targets that do not vary 1 where all are met, else 0 (scikit-
    learn's rule). Arguments and errors as in `mae`.
    """
    from sklearn.metrics import r2_score

    y, f = _pair(targets, forecasts)
    return Score(r2_score(y, f) if len(y) > 1 else float("nan"), len(y))


def smape(targets: object, forecasts: object) -> Score:
    """Symmetric mean absolute percentage error, in percent from 0 to 200.

        mean 200 |y - f| / (|y| + |f|)      0 where both are 0

    Arguments and errors as in `mae`. Source: the form of the M4 competition.
    """
    y, f = _pair(targets, forecasts)
    size = np.abs(y) + np.abs(f)
    return Score(
        200.0 * np.mean(np.divide(np.abs(y - f), size, out=np.zeros_like(size), where=size > 0)), len(y)
    )


def seasonal_scale(history: object, season: int = 1) -> float:
    """Mean |y_t - y_{t-m}| over the training part of one series: what MASE divides by.

    Args:
        history: (T,) training values, NaN where missing.
        season: m, at least 1.
    Raises:
        DataError: no pair of observed values one season apart, or the history repeats exactly, so the
            scale is 0.
    """
    values = as_array(history, "history")
    if values.ndim != 1:
        raise ShapeError(
            f"history is {values.shape} but must be (T,), one series.", "Take the scale series by series."
        )
    season = require_int(season, "season", 1)
    differences = np.abs(values[season:] - values[:-season]) if len(values) > season else np.empty(0)
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        raise DataError(
            f"the history of {len(values)} values has no two observed values {season} steps apart.",
            "Give a longer history or a shorter season.",
        )
    scale = float(differences.mean())
    if not 0 < scale < float("inf"):
        raise DataError(
            f"the seasonal differences of the history average {scale}, so MASE is not defined.",
            "Use another season, or another metric, for a history that repeats itself exactly.",
        )
    return scale


def mase(targets: object, forecasts: object, scale: object) -> Score:
    """Mean absolute scaled error: mean |y - f| / scale; below 1 is better than the seasonal-naive forecast
    in training.

    Args:
        targets: any shape, NaN where missing.
        forecasts: the same shape.
        scale: one number (see `seasonal_scale`), or (S,) one for each entry of the first axis (the series).
    Raises:
        ShapeError: scale is neither.
        ValueRangeError: a scale is not finite and above 0.
        DTypeError, DataError: see `saiki.metrics.score`.
    Source: Hyndman & Koehler 2006.
    """
    y, f = as_array(targets, "targets"), as_array(forecasts, "forecasts")
    require_same_shape(f, "forecasts", y, "targets")
    scales = as_array(scale, "scale")
    if scales.ndim > 1 or (scales.ndim == 1 and (y.ndim < 1 or len(scales) != len(y))):
        raise ShapeError(
            f"scale is {scales.shape} but targets are {y.shape}.",
            "Give one number, or one for each series (first axis).",
        )
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise ValueRangeError("scale must be finite and above 0.", "Take it with seasonal_scale().")
    seen = observed(y, forecasts=f)
    scaled = np.abs(y - f) / (scales.reshape(-1, *[1] * (y.ndim - 1)) if scales.ndim else scales)
    return Score(scaled[seen].mean(), int(seen.sum()))


def quantile_loss(targets: object, forecasts: object, quantiles: Sequence[float]) -> Score:
    """Mean pinball loss over all targets and quantiles, in the unit of the targets.

        mean max(q (y - f), (q - 1) (y - f))

    Args:
        targets: (...) NaN where missing.
        forecasts: (..., Q).
        quantiles: Q levels between 0 and 1.
    Raises:
        ShapeError: the shapes do not fit. ValueRangeError: a level is not between 0 and 1.
        DTypeError, DataError: see `saiki.metrics.score`.
    """
    y, f = as_array(targets, "targets"), as_array(forecasts, "forecasts")
    q = as_array(list(quantiles), "quantiles")
    if not len(q) or not ((q > 0) & (q < 1)).all():
        raise ValueRangeError(
            f"quantiles are {list(quantiles)} but must lie between 0 and 1.", "Give e.g. (.1, .5, .9)."
        )
    if f.shape != (*y.shape, len(q)):
        raise ShapeError(
            f"forecasts are {f.shape} but must be (..., Q) = {(*y.shape, len(q))}.",
            "Put the quantiles on the last axis.",
        )
    seen = observed(y, forecasts=f)
    error = y[seen][:, None] - f[seen]
    return Score(np.maximum(q * error, (q - 1) * error).mean(), int(seen.sum()))


def crps_quantiles(targets: object, forecasts: object, quantiles: Sequence[float]) -> Score:
    """Continuous ranked probability score, estimated from quantiles: twice the mean pinball loss.

        CRPS = 2 ∫ pinball_q dq ≈ 2 mean over the quantiles, exact in the limit of evenly spread levels

    With the median alone it is the mean absolute error. Arguments and errors as in `quantile_loss`.
    Source: Laio & Tamea 2007.
    """
    value = quantile_loss(targets, forecasts, quantiles)
    return Score(2 * float(value), value.count)


def coverage(targets: object, low: object, high: object) -> Score:
    """Share of the targets inside their interval, ends included: near 0.8 for the 10 % and 90 % quantiles.

    Args:
        targets: any shape, NaN where missing.
        low: the same shape, lower ends.
        high: the same shape, upper ends, none below its lower end.
    Raises:
        ValueRangeError: an upper end is below its lower end. Others as in `mae`.
    """
    y, a, b, seen = _interval(targets, low, high)
    return Score(float(np.mean((a[seen] <= y[seen]) & (y[seen] <= b[seen]))), int(seen.sum()))


def interval_width(targets: object, low: object, high: object) -> Score:
    """Mean width of the intervals where the target is observed, in its unit. Arguments and errors as in
    `coverage`.
    """
    _, a, b, seen = _interval(targets, low, high)
    return Score(float(np.mean(b[seen] - a[seen])), int(seen.sum()))


def _pair(targets: object, forecasts: object) -> tuple[Array, Array]:
    y, f = as_array(targets, "targets"), as_array(forecasts, "forecasts")
    require_same_shape(f, "forecasts", y, "targets")
    seen = observed(y, forecasts=f)
    return y[seen], f[seen]


def _interval(targets: object, low: object, high: object) -> tuple[Array, Array, Array, Array]:
    y, a, b = as_array(targets, "targets"), as_array(low, "low"), as_array(high, "high")
    require_same_shape(a, "low", y, "targets")
    require_same_shape(b, "high", y, "targets")
    seen = observed(y, low=a, high=b)
    crossed = seen & (b < a)
    if crossed.any():
        place = tuple(int(index) for index in np.argwhere(crossed)[0])
        raise ValueRangeError(
            f"high[{', '.join(map(str, place))}] is {b[place]}, below low there, {a[place]}.",
            "Swap low and high.",
        )
    return y, a, b, seen
