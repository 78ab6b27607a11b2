"""The forecaster's report: what was measured, beside simple models, step by step ahead, and as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from saiki.insight import Fact, HorizonErrors, Metric, Picture, Split, figures, picture
from saiki.insight.figures_online import running_error
from saiki.models.forecast_ahead import beyond
from saiki.models.forecast_details import OURS, plain_numbers, plain_times
from saiki.models.forecast_network import ForecastNetwork
from saiki.models.forecast_streaming import stream_beyond
from saiki.models.forecast_windows import Array
from saiki.models.reporting import attention_pictures, compare, model_name, page

if TYPE_CHECKING:
    from saiki.models.forecaster import Forecaster

_LEAST_ERRORS = 20  # errors of a stream that make a line worth drawing
_CURVES = 4  # simple models drawn in the picture of errors by horizon: the naive one and the best others


def report_of(model: Forecaster) -> str:
    """The report of a fitted forecaster as one HTML page."""
    details, columns = model.details_, model.columns_
    unit = step_name(model)
    ours = model_name(model)
    series = len(model.series_names_)
    what = model.series_names_[0] if series == 1 else f"{series:,} series"
    notes = []
    if "coverage" in model.metrics_ and len(details.get("levels", [])) > 1:
        meant = details["levels"][-1] - details["levels"][0]
        notes.append(
            f"{100 * model.metrics_['coverage']:.1f} % of the truth lay in the interval meant for "
            f"{100 * meant:.0f} %."
        )
    told = _online_note(model)
    if told is not None:
        notes.append(told)
    return page(
        model,
        title=f"Forecast of {what}",
        summary=_summary(model, unit),
        comparison=compare(
            [(key, metric) for key, metric in _metrics(model.unit) if key in model.metrics_],
            model.metrics_,
            model.baselines_,
            name=ours,
            measured_on=measured_on(model),
        ),
        horizon=_by_horizon(model, ours, unit),
        pictures=_pictures(model, unit),
        data=[
            Fact(name="series", value=float(series)),
            Fact(name="step between rows", value="" if columns.frequency is None else columns.frequency.name),
            Fact(name="season", value=float(model.season_ or 1), unit=f"{unit}s"),
            Fact(name="targets", value=", ".join(columns.targets)),
            *(
                Fact(name=f"{role} covariates", value=", ".join(names))
                for role, names in (
                    ("past", columns.past),
                    ("future", columns.future),
                    ("static", columns.static),
                )
                if names
            ),
        ],
        splits=[
            Split(
                name=part["name"],
                count=part["windows"],
                unit="windows" if model.mode == "window" else "origins",
                span=part["span"],
                missing=part["missing"],
            )
            for part in details.get("splits", [])
        ],
        loss={"quantile": "quantile loss", "gaussian": "negative log-likelihood"}.get(
            model.learned_.shape.kind, "loss"
        )
        + " of scaled targets",
        notes=notes,
    )


def _summary(model: Forecaster, unit: str) -> str:
    if model.mode == "stream":
        return (
            f"The next {model.horizon} {unit}s at every {unit}, from all that was read since the first "
            "row; no window, the state is carried on."
        )
    how = "all at once." if model.strategy == "direct" else f"{unit} by {unit}."
    return f"The next {model.horizon} {unit}s from the last {model.context_}, {how}"


def _online_note(model: Forecaster) -> str | None:
    """What the updates since fit came to, in a sentence."""
    if model.mode != "stream" or not hasattr(model, "stream_") or not model.stream_.rows:
        return None
    rows, updates = model.stream_.rows, model.stream_.updates
    told = f"Since fit, {rows:,} row{'' if rows == 1 else 's'} were read and {updates:,} updates made."
    found = model.details_.get("online")
    if found and found["count"]:
        mean = {name: total / found["count"] for name, total in found["sums"].items()}
        others = "; ".join(f"{name} {value:.4g}" for name, value in mean.items() if name != OURS)
        told += (
            f" The {found['count']:,} forecasts whose targets came since, each made before they were seen, "
            f"had a mean absolute error of {mean[OURS]:.4g}" + (f" ({others})." if others else ".")
        )
    return told


def _metrics(unit: str) -> tuple[tuple[str, Metric], ...]:
    return (
        ("mae", Metric(name="mean absolute error", unit=unit)),
        ("rmse", Metric(name="root mean squared error", unit=unit)),
        ("mase", Metric(name="MASE")),
        ("smape", Metric(name="sMAPE", unit="%")),
        ("mse_scaled", Metric(name="scaled squared error")),
    )


def step_name(model: Forecaster) -> str:
    """What one step is, in the singular: "week", or "step" where it has no name."""
    frequency = model.columns_.frequency
    if frequency is None:
        return "step"
    count, _, word = frequency.name.partition(" ")
    return word if count == "1" and word else "step"


def measured_on(model: Forecaster) -> str:
    """The data of the comparison, in words."""
    details = model.details_
    if "origins" not in details:
        return ""
    part = next((p for p in details["splits"] if p["name"] == details["measured_on"]), {"span": ""})
    span = f", {part['span']}" if part["span"] else ""
    words = {"test": "test part (nothing was learned from it)", "validation": "validation part"}
    part_words = words[details["measured_on"]]
    return f"{details['origins']:,} origins of {model.horizon} steps in the {part_words}{span}"


def _by_horizon(model: Forecaster, ours: str, unit: str) -> HorizonErrors | None:
    rows = model.details_.get("by_horizon", [])
    if len(rows) < 2:
        return None
    errors: dict[str, Array] = {ours: _numbers([row["mae"] for row in rows])}
    simple = model.details_["baselines_by_horizon"]
    mean = {name: float(np.nanmean(_numbers(values))) for name, values in simple.items()}
    naive = next(iter(simple), None)
    chosen = [name for name in sorted(mean, key=mean.__getitem__) if name != naive][: _CURVES - 1]
    for name in simple:
        if name == naive or name in chosen:
            errors[name] = _numbers(simple[name])
    return HorizonErrors(errors=errors, model=ours, step=unit, unit=model.unit)


def _numbers(values: Sequence[float | None]) -> Array:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _pictures(model: Forecaster, unit: str) -> list[Picture]:
    found = []
    fan = model.details_.get("fan")
    if fan is not None:
        found.append(
            _fan(
                "A forecast and what came",
                f"The last origin of the {model.details_['measured_on']} part: {model.horizon} {unit}s of "
                f"{fan['name']} ahead, with what was measured afterwards.",
                fan,
                model.unit,
            )
        )
    standing = model.mode == "window" or hasattr(model, "stream_")
    if (
        standing and not model.columns_.future
    ):  # else covariates of the steps to come are needed, and a report has none
        caption = f"The next {model.horizon} {unit}s after the data."
        found.append(_fan("What comes next", caption, next_fan(model), model.unit))
    found += _online_picture(model)
    windows = f"windows, the last of the {model.details_.get('measured_on')} part"
    return [*found, *attention_pictures(model.details_.get("attention", []), windows)]


def _online_picture(model: Forecaster) -> list[Picture]:
    """The error of the forecasts since fit, where there are enough for a line."""
    online = model.details_.get("online")
    if model.mode != "stream" or not online or len(online["errors"][OURS]) < _LEAST_ERRORS:
        return []
    n = len(online["errors"][OURS])
    errors = {name: _numbers(values) for name, values in online["errors"].items() if len(values) == n}
    window = max(_LEAST_ERRORS // 2, n // 10)

    def draw(width: int) -> str:
        first = online["count"] - n
        return running_error(errors, window=window, rows=first + np.arange(n), unit=model.unit, width=width)

    caption = (
        f"Mean absolute error of the last {window} forecasts, each made before its targets came, for the "
        f"last {n:,} since fit. The simple models stay as they were fitted."
    )
    return [picture("Error on the way", caption, draw)]


def _fan(title: str, caption: str, fan: Mapping[str, Any], unit: str) -> Picture:
    def draw(width: int) -> str:
        return figures.forecast_fan(
            times_of(fan["times"]),
            {float(level): _numbers(values) for level, values in zip(fan["levels"], fan["quantiles"])},
            truth=_numbers(fan["truth"]) if fan.get("truth") is not None else None,
            past_times=times_of(fan["past_times"]),
            past=_numbers(fan["past"]),
            name=fan["name"],
            unit=unit,
            width=width,
        )

    return picture(title, caption, draw)


def times_of(times: Sequence[str] | Sequence[float]) -> Array:
    """Times as JSON has them, back as an array."""
    if times and isinstance(times[0], str):
        return np.array(times, dtype="datetime64[us]")
    return np.array(times, dtype=np.float64)


def next_fan(model: Forecaster) -> dict[str, Any]:
    """The forecast after the end of the first series, as `_fan` takes it."""
    learned, columns = model.learned_, model.columns_
    raw = learned.tail[0]
    if model.mode == "stream":
        _, _, found = stream_beyond(model, None, None, model.horizon)
    else:
        ahead_of = [np.zeros((model.horizon, 0)) for _ in learned.tail]
        found = beyond(
            cast("ForecastNetwork", model.network_), learned, learned.tail, ahead_of, model.horizon
        )
    quantiles = found.point[0, :, :1] if found.quantiles is None else found.quantiles[0, :, 0]
    H = len(quantiles)
    ahead = None
    if raw.times is not None and columns.frequency is not None:
        ahead = columns.frequency.following(raw.times[-1], H)
    return {
        "name": columns.targets[0],
        "levels": [0.5] if found.quantiles is None else list(learned.spread.levels),
        "times": plain_times(ahead, len(raw), H),
        "quantiles": quantiles.T.tolist(),
        "past_times": plain_times(raw.times, 0, len(raw)),
        "past": plain_numbers(raw.numbers[:, 0]),
    }
