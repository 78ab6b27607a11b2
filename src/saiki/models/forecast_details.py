"""What a report shows of a forecaster's fit, as JSON: parts of the data, errors by horizon, one forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from saiki.data import Windows as WindowIndex
from saiki.data import show_time
from saiki.models.forecast_model import Learned
from saiki.models.forecast_network import ForecastNetwork
from saiki.models.forecast_scores import Backtest, Forecasts, by_origin
from saiki.models.forecast_table import Raw
from saiki.models.forecast_windows import Array, WindowSource
from saiki.models.reporting import ATTENTION_SHOWN
from saiki.nn import AttentionPool

OURS = "this model"
_ERRORS = 1_000  # errors of a stream that are kept for the report


def part_of(
    name: str, learned: Learned, index: WindowIndex, raws: Sequence[Raw], spans: Sequence[slice]
) -> dict[str, Any]:
    """What served for what, as JSON: windows, from when to when, missing values."""
    K = len(learned.columns.targets)
    rows = [raw.rows(span) for raw, span in zip(raws, spans[:: learned.copies])]
    ends = [raw.times[[0, -1]] for raw in rows if raw.times is not None and len(raw)]
    span = ""
    if ends:
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)
        span = f"{show_time(low)} to {show_time(high)}"
    return {
        "name": "training" if name == "train" else name,
        "windows": len(index.within(spans)),
        "span": span,
        "missing": sum(int(np.isnan(raw.numbers[:, :K]).sum()) for raw in rows),
    }


def details_of(what: str, learned: Learned, found: Backtest, raws: Sequence[Raw]) -> dict[str, Any]:
    """What was measured, as JSON for the report."""
    return {
        "measured_on": what,
        "origins": len(found.forecasts),
        "levels": list(learned.spread.levels),
        "by_horizon": [
            dict(zip(row, plain_numbers(np.array(list(row.values()))))) for row in found.by_horizon
        ],
        "baselines_by_horizon": {
            name: plain_numbers(values) for name, values in found.baselines_by_horizon.items()
        },
        "fan": _last_forecast(learned, found.forecasts, raws),
    }


def online_details(before: Mapping[str, Any] | None, found: Backtest | None) -> dict[str, Any] | None:
    """What the forecasts since fit came to, as JSON for the report.

    Args:
        before: what the updates so far came to.
        found: what the last one found.
    Returns:
        How many forecasts were compared with what came, the sum of their errors, and the last 1,000 errors,
        of the model and of the simple models that the report draws.
    """
    if found is None:
        return None if before is None else dict(before)
    errors = {OURS: by_origin(found.forecasts)}
    names = [str(row["name"]) for row in found.baselines]
    errors |= {name: found.baselines_by_origin[name] for name in names[:1]}  # the naive one
    errors |= {name: found.baselines_by_origin[name] for name in names if name.startswith("ridge")}
    seen = ~np.isnan(errors[OURS])
    old: Mapping[str, Any] = before or {"count": 0, "sums": {}, "errors": {}}
    sums, kept = old["sums"], old["errors"]
    return {
        "count": int(old["count"]) + int(seen.sum()),
        "sums": {name: sums.get(name, 0.0) + float(each[seen].sum()) for name, each in errors.items()},
        "errors": {
            name: [*kept.get(name, []), *each[seen].tolist()][-_ERRORS:] for name, each in errors.items()
        },
    }


def attention_of(network: ForecastNetwork, windows: WindowSource) -> dict[str, Any]:
    """What each AttentionPool looked at in the last windows measured, as JSON; {} where there is none."""
    if not any(isinstance(layer, AttentionPool) for layer in network.modules()):
        return {}
    last = windows.select(np.arange(max(0, len(windows) - ATTENTION_SHOWN), len(windows)))
    with torch.inference_mode():
        weights = network.attention(last.inputs()[0])
    return {
        "attention": [
            {"layer": name, "weights": [row.cpu().tolist() for row in found.to_list()]}
            for name, found in weights.items()
        ]
    }


def _last_forecast(learned: Learned, forecasts: Forecasts, raws: Sequence[Raw]) -> dict[str, Any]:
    """The last forecast of the first series beside what came."""
    at = int(np.flatnonzero(forecasts.series == forecasts.series.min())[-1])
    raw = raws[int(forecasts.series[at]) // learned.copies]
    target = int(forecasts.series[at]) % learned.copies
    origin, H = int(forecasts.origins[at]), learned.horizon
    past = raw.rows(slice(max(0, origin - learned.context), origin))
    quantiles = forecasts.point[at, :, :1]
    if forecasts.quantiles is not None:
        quantiles = forecasts.quantiles[at, :, 0]
    return {
        "name": learned.columns.targets[target],
        "levels": list(forecasts.levels) or [0.5],
        "times": plain_times(raw.rows(slice(origin, origin + H)).times, origin, H),
        "quantiles": quantiles.T.tolist(),
        "truth": plain_numbers(forecasts.truth[at, :, 0]),
        "past_times": plain_times(past.times, origin - len(past), len(past)),
        "past": plain_numbers(past.numbers[:, target]),
    }


def plain_numbers(values: Array) -> list[float | None]:
    """Numbers for JSON: None for what is missing."""
    return [None if np.isnan(value) else float(value) for value in values]


def plain_times(times: Array | None, first: int, count: int) -> list[Any]:
    """Times for JSON: text for dates, numbers otherwise, row numbers where there are none."""
    if times is None:
        return [float(row) for row in range(first, first + count)]
    chosen = times[:count]
    if chosen.dtype.kind == "M":
        return [str(time) for time in chosen.astype("datetime64[s]")]
    return [float(time) for time in chosen]
