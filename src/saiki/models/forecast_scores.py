"""How good forecasts were: figures over all windows, step by step ahead, and beside simple models.

Only observed values count. With n windows, H steps and K series at once:

    MAE, MSE, RMSE    over all of them, in the table's units
    scaled MAE, MSE   after the table's scaling, so that series of unlike size count alike
    MASE              |error| / mean |z_t - z_{t-m}| over the series' training rows, m the season
    sMAPE             200 |a - f| / (|a| + |f|), per cent
    CRPS              2 · mean pinball loss over the quantiles, in the table's units
    coverage          share of the truth between the lowest and the highest quantile
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
    """The figures of the file's head; NaN where nothing was observed."""
    truth, point = forecasts.truth, forecasts.point
    seen = ~np.isnan(truth)
    error = np.where(seen, point - truth, 0.0)
    size = np.where(seen, np.abs(truth) + np.abs(point), 1.0)
    count = max(int(seen.sum()), 1) if seen.any() else np.nan
    scaled = error / forecasts.scale[:, None]
    mase = np.abs(error) / forecasts.seasonal[:, None]
    found = {
        "mae": np.abs(error).sum() / count,
        "mse": (error**2).sum() / count,
        "rmse": np.sqrt((error**2).sum() / count),
        "mae_scaled": np.abs(scaled).sum() / count,
        "mse_scaled": (scaled**2).sum() / count,
        "smape": 200 * np.divide(np.abs(error), size, out=np.zeros_like(size), where=size > 0).sum() / count,
        "mase": np.nan if np.isnan(mase[seen]).all() else np.nanmean(mase[seen]),
    }
    if forecasts.quantiles is not None:
        found.update(_quantile_figures(forecasts, seen))
    return {name: float(value) for name, value in found.items()}


def _quantile_figures(forecasts: Forecasts, seen: Array) -> dict[str, float]:
    assert forecasts.quantiles is not None
    e = (forecasts.truth[..., None] - forecasts.quantiles)[seen]  # (observed, Q)
    if not len(e):
        return {"crps": np.nan, "coverage": np.nan}
    q = np.array(forecasts.levels)
    found = {"crps": float(2 * np.maximum(q * e, (q - 1) * e).mean())}
    if len(q) > 1:
        found["coverage"] = float(((e[:, 0] >= 0) & (e[:, -1] <= 0)).mean())
    return found


def by_horizon(forecasts: Forecasts) -> list[dict[str, float]]:
    """One row a step ahead: step, mae, rmse and, with quantiles, coverage and the width of the interval."""
    rows = []
    for step in range(forecasts.point.shape[1]):
        truth, point = forecasts.truth[:, step], forecasts.point[:, step]
        seen = ~np.isnan(truth)
        error = (point - truth)[seen]
        row = {"step": float(step + 1), "mae": _mean(np.abs(error)), "rmse": float(np.sqrt(_mean(error**2)))}
        if forecasts.quantiles is not None and len(forecasts.levels) > 1:
            low, high = forecasts.quantiles[:, step, :, 0], forecasts.quantiles[:, step, :, -1]
            row["coverage"] = _mean(((low <= truth) & (truth <= high))[seen].astype(np.float64))
            row["width"] = _mean((high - low)[seen])
        rows.append(row)
    return rows


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else float("nan")


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
    """

    metrics: Mapping[str, float]
    by_horizon: Sequence[Mapping[str, float]]
    baselines: Sequence[Mapping[str, Any]]
    forecasts: Forecasts
    names: Sequence[str]
    times: Sequence[str]
    baselines_by_horizon: Mapping[str, Array] = field(default_factory=dict)

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
    m = season or 1
    K = values.shape[1]
    if len(values) <= m:
        return np.full(K, np.nan)
    difference = np.abs(values[m:] - values[:-m])
    out = np.full(K, np.nan)
    for k in range(K):
        seen = difference[:, k][~np.isnan(difference[:, k])]
        if seen.size and seen.mean() > 0:
            out[k] = seen.mean()
    return out
