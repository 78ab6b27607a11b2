"""Measuring a forecaster beside simple models, on windows it did not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from saiki.data import Windows as WindowIndex
from saiki.models.baselines import MOST_WINDOWS, LagRegression, fit_lag_regressions, seasonal_naive
from saiki.models.forecast_model import Learned
from saiki.models.forecast_scores import Backtest, Forecasts, by_horizon, by_origin, figures
from saiki.models.forecast_table import Raw, show
from saiki.models.forecast_windows import Array, Panel, WindowSource, fill_gaps, observed_windows

_MOST_VALUES = 20_000_000  # lags and targets a simple model is fitted on at most, 160 MB


def fit_simple(learned: Learned, panel: Panel, index: WindowIndex) -> list[list[LagRegression]]:
    """Lag regressions: one set for all series of a shared model, one a target for a joint one.

    Args:
        learned: sizes and framing.
        panel: the series.
        index: the training windows, asked for H steps.
    """
    index = observed_windows(panel, index)
    if not len(index):
        return []
    H = learned.horizon
    most = min(MOST_WINDOWS, _MOST_VALUES // (learned.context + H))
    some = index.select(np.unique(np.linspace(0, len(index) - 1, most).astype(np.int64)))
    windows = WindowSource(panel, some.origin, some.series, replace(learned.framing, horizon=H))
    lags, truth = windows.filled(), windows.truth()
    return [
        fit_lag_regressions(lags[..., k], truth[..., k], gap=H, order=some.step) for k in range(panel.targets)
    ]


def naive(learned: Learned, windows: WindowSource) -> Array:
    """(n, H, K) the last season again, or the last value where there is no whole season before."""
    step = windows.origins - windows.panel.starts[windows.owner]
    width = learned.season or 1
    rows = windows.origins[:, None] + np.arange(-width, 0)
    rows = np.where((step >= width)[:, None], rows, windows.origins[:, None] - 1)
    K = windows.panel.targets
    history = fill_gaps(windows.panel.values[rows][..., :K])
    each = [seasonal_naive(history[..., k], learned.horizon, learned.season) for k in range(K)]
    return np.stack(each, axis=-1)


def simple_forecasts(learned: Learned, windows: WindowSource) -> dict[str, Array]:
    """(n, H, K) forecasts of each simple model by its name, after the table's scaling."""
    found = {"seasonal-naive" if learned.season else "naive (last value)": naive(learned, windows)}
    if learned.simple and all(learned.simple):
        lags = windows.filled()
        for place, model in enumerate(learned.simple[0]):
            each = [models[place].predict(lags[..., k]) for k, models in enumerate(learned.simple)]
            found[model.name] = np.stack(each, axis=-1)
    return found


def measure(
    forecasts: Forecasts, learned: Learned, windows: WindowSource, raws: Sequence[Raw], baselines: bool
) -> Backtest:
    """The figures of the model's forecasts and, where wanted, of the simple models on the same windows.

    Args:
        forecasts: the model's, one a window.
        learned: what it learned.
        windows: asked for H steps.
        raws: the ids of the windows' panel.
        baselines: whether to measure the simple models.
    """
    center, scale = learned.scaling.maps(raws, learned.columns)
    rows: list[dict[str, Any]] = []
    ahead: dict[str, Array] = {}
    each: dict[str, Array] = {}
    for name, z in (simple_forecasts(learned, windows) if baselines else {}).items():
        point = z * scale[windows.owner][:, None] + center[windows.owner][:, None]
        simple = forecasts.with_point(point)
        rows.append({"name": name, **figures(simple)})
        ahead[name] = np.array([row["mae"] for row in by_horizon(simple)])
        each[name] = by_origin(simple)
    return Backtest(
        metrics=figures(forecasts),
        by_horizon=by_horizon(forecasts),
        baselines=rows,
        baselines_by_horizon=ahead,
        baselines_by_origin=each,
        forecasts=forecasts,
        names=learned.columns.series_names([raw.id for raw in raws]),
        times=_origin_times(learned, forecasts, raws),
    )


def skill(forecasts: Forecasts, learned: Learned, windows: WindowSource, raws: Sequence[Raw]) -> float:
    """1 - MAE / MAE of the naive forecast; NaN where that one is never wrong."""
    center, scale = learned.scaling.maps(raws, learned.columns)
    point = naive(learned, windows) * scale[windows.owner][:, None] + center[windows.owner][:, None]
    simple = figures(forecasts.with_point(point))["mae"]
    return float(1 - figures(forecasts)["mae"] / simple) if simple > 0 else float("nan")


def _origin_times(learned: Learned, forecasts: Forecasts, raws: Sequence[Raw]) -> list[str]:
    found = []
    for series, row in zip(forecasts.series, forecasts.origins):
        times = raws[int(series) // learned.copies].times
        found.append(str(int(row)) if times is None else show(times[int(row)], learned.columns))
    return found
