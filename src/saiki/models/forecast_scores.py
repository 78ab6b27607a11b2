"""How good forecasts were: figures over all windows, step by step ahead, and beside simple models.

Only observed values count. With n windows, H steps and K series at once:

    MAE, MSE, RMSE    over all of them, in the table's units
    scaled MAE, MSE   after the table's scaling, so that series of unlike size count alike
    MASE              |error| / mean |z_t - z_{t-m}| over the series' training rows, m the season
    sMAPE             200 |a - f| / (|a| + |f|), per cent
    CRPS              2 · mean pinball loss over the quantiles, in the table's units
    coverage, width   share of the truth from the lowest to the highest quantile, and their distance
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from saiki import metrics
from saiki.core.errors import DataError
from saiki.models.forecast_windows import Array


@dataclass(frozen=True, eq=False, kw_only=True)
class Forecasts:
    """What was forecast from n origins, in the table's units, and what came.

    Attributes:
        series: (n,) index of each window's series.
        origins: (n,) row within the series of the first step.
        point: (n, H, K).
        quantiles: (n, H, K, Q), or None for a model without.
        levels: the quantiles' levels.
        truth: (n, H, K), NaN where missing.
        scale: (n, K) the table's scale of each window's targets.
        seasonal: (n, K) mean |z_t - z_{t-m}| of the training rows, NaN where none.
    """

    series: Array
    origins: Array
    point: Array
    quantiles: Array | None
    levels: tuple[float, ...]
    truth: Array
    scale: Array
    seasonal: Array

    def __len__(self) -> int:
        return len(self.point)

    def with_point(self, point: Array) -> Forecasts:
        """The same windows, forecast by something that gives points alone."""
        return Forecasts(
            series=self.series,
            origins=self.origins,
            point=point,
            quantiles=None,
            levels=(),
            truth=self.truth,
            scale=self.scale,
            seasonal=self.seasonal,
        )


def figures(forecasts: Forecasts) -> dict[str, float]:
    """The figures of the file's head; MASE is NaN where no series has a seasonal difference."""
    with np.errstate(over="ignore"):  # squares of numbers beyond 1e154 are infinite, and said to be
        return _figures(forecasts)


def _figures(forecasts: Forecasts) -> dict[str, float]:
    y, f = forecasts.truth, forecasts.point
    scale = forecasts.scale[:, None]
    found: dict[str, float] = {
        "mae": metrics.mae(y, f),
        "mse": metrics.mse(y, f),
        "rmse": metrics.rmse(y, f),
        "mae_scaled": metrics.mae(y / scale, f / scale),
        "mse_scaled": metrics.mse(y / scale, f / scale),
        "smape": metrics.smape(y, f),
        "mase": _mase(forecasts),
    }
    if forecasts.quantiles is not None:
        q = forecasts.quantiles
        found["crps"] = metrics.crps_quantiles(y, q, forecasts.levels)
        if len(forecasts.levels) > 1:
            found["coverage"] = metrics.coverage(y, q[..., 0], q[..., -1])
            found["width"] = metrics.interval_width(y, q[..., 0], q[..., -1])
    return {name: float(value) for name, value in found.items()}


def _mase(forecasts: Forecasts) -> float:
    """MASE over the windows whose series has a seasonal difference."""
    rows = np.isfinite(forecasts.seasonal)  # (n, K)
    y = np.moveaxis(forecasts.truth, 1, 2)[rows]  # (windows and targets, H)
    if not rows.any() or np.isnan(y).all():
        return float("nan")
    f = np.moveaxis(forecasts.point, 1, 2)[rows]
    return float(metrics.mase(y, f, forecasts.seasonal[rows]))


def by_horizon(forecasts: Forecasts) -> list[dict[str, float]]:
    """One row a step ahead: step, mae, rmse and, with quantiles, coverage and the width of the interval.

    A step that was never observed has NaN.
    """
    rows = []
    for step in range(forecasts.point.shape[1]):
        y, f = forecasts.truth[:, step], forecasts.point[:, step]
        seen = not np.isnan(y).all()
        row = {"step": float(step + 1)}
        row["mae"] = float(metrics.mae(y, f)) if seen else float("nan")
        with np.errstate(over="ignore"):
            row["rmse"] = float(metrics.rmse(y, f)) if seen else float("nan")
        if forecasts.quantiles is not None and len(forecasts.levels) > 1:
            low, high = forecasts.quantiles[:, step, :, 0], forecasts.quantiles[:, step, :, -1]
            row["coverage"] = float(metrics.coverage(y, low, high)) if seen else float("nan")
            row["width"] = float(metrics.interval_width(y, low, high)) if seen else float("nan")
        rows.append(row)
    return rows


def by_origin(forecasts: Forecasts) -> Array:
    """(n,) mean absolute error of each forecast over what was observed, in the table's units, or NaN."""
    error = np.abs(forecasts.truth - forecasts.point).reshape(len(forecasts), -1)
    count = (~np.isnan(error)).sum(axis=1)
    return np.where(count > 0, np.nansum(error, axis=1) / np.maximum(count, 1), np.nan)


@dataclass(frozen=True, eq=False, kw_only=True)
class Backtest:
    """What `Forecaster.backtest` found.

    Attributes:
        metrics: figures of the model over all windows; see `saiki.models.forecast_scores`.
        by_horizon: one row a step ahead.
        baselines: one row a simple model: its name and the same figures.
        forecasts: every forecast and what came.
        names: of the series.
        times: time (or row) of each origin's first step, as text.
        baselines_by_horizon: (H,) mean absolute error of each simple model by its name.
        baselines_by_origin: (n,) likewise, NaN where nothing was observed.
    """

    metrics: Mapping[str, float]
    by_horizon: Sequence[Mapping[str, float]]
    baselines: Sequence[Mapping[str, Any]]
    forecasts: Forecasts
    names: Sequence[str]
    times: Sequence[str]
    baselines_by_horizon: Mapping[str, Array] = field(default_factory=dict)
    baselines_by_origin: Mapping[str, Array] = field(default_factory=dict)

    def __str__(self) -> str:
        rows = [{"name": "this model", **self.metrics}, *self.baselines]
        shown = [
            name for name in ("mae", "rmse", "mase", "smape") if np.isfinite(self.metrics.get(name, np.nan))
        ]
        width = max(len(str(row["name"])) for row in rows)
        lines = ["  ".join([" " * width, *(f"{name:>10}" for name in shown)])]
        for row in rows:
            cells = [f"{row.get(name, np.nan):>10.4g}" for name in shown]
            lines.append("  ".join([f"{row['name']:<{width}}", *cells]))
        count = f"{len(self.forecasts):,} origins, {self.forecasts.point.shape[1]} steps ahead"
        if "coverage" in self.metrics:
            levels = self.forecasts.levels
            count += (
                f"; {100 * self.metrics['coverage']:.1f} % of the truth in the interval meant for "
                f"{100 * (levels[-1] - levels[0]):.0f} %"
            )
        return "\n".join([*lines, count])


def seasonal_difference(values: Array, season: int | None) -> Array:
    """(K,) mean |z_t - z_{t-m}| of (T, K) training rows, the scale of MASE; NaN where there is none.

    A series that repeats itself exactly has no scale, and so no MASE.
    """
    found = []
    for column in values.T:
        try:
            found.append(metrics.seasonal_scale(column, season or 1))
        except DataError:  # too short, or it repeats itself
            found.append(float("nan"))
    return np.array(found)
