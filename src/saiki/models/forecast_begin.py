"""How a forecaster's fit begins: which rows serve for what, and all that is settled before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from saiki.core.checks import require_int
from saiki.core.errors import DataError, DTypeError, ValueRangeError
from saiki.data import Table, TimeSplit, split_in_time
from saiki.models.forecast_model import Learned
from saiki.models.forecast_network import ForecastShape
from saiki.models.forecast_options import Part, kind_of, levels_of
from saiki.models.forecast_paths import Spread
from saiki.models.forecast_table import Columns, Raw, Scaling
from saiki.models.forecast_windows import Framing

if TYPE_CHECKING:
    from saiki.models.forecaster import Forecaster


def used_rows(raw: Raw, until: int | str | None) -> Raw:
    """The rows up to `until`, a number of rows or the last time."""
    if until is None:
        return raw
    if isinstance(until, int) and not isinstance(until, bool):
        return raw.rows(slice(0, require_int(until, "until", 1)))
    if not isinstance(until, str):
        raise DTypeError(f"until is {until!r} but must be a number of rows, a time as text, or None.")
    first = first_row(raw, until, "until")
    assert raw.times is not None  # else the line above has refused the text
    if first < len(raw) and raw.times[first] == raw.times.dtype.type(until):
        first += 1  # the time itmodel is used
    return raw.rows(slice(0, first))


def first_row(raw: Raw, part: Part, name: str) -> int:
    """The first row of a part that reaches to the end, given as `split_in_time` takes it."""
    rows = len(raw) if raw.times is None else raw.times
    try:
        first: int = split_in_time(rows, validation=None, test=part, name=raw.id).test.start
    except (DTypeError, ValueRangeError) as error:  # it speaks of the argument under its own name for it
        raise type(error)(error.message.replace("test is", f"{name} is", 1), error.hint) from error
    return first


def split_rows(model: Forecaster, raw: Raw) -> TimeSplit:
    """The training, validation and test rows of one id."""
    rows = len(raw) if raw.times is None else raw.times
    return split_in_time(rows, validation=model.validation, test=model.test, name=raw.id)


def check_room(model: Forecaster, learned: Learned, spans: Sequence[TimeSplit]) -> None:
    """A series must hold a window in its training rows."""
    columns, context, asked = learned.columns, learned.context, learned.shape.horizon
    need = context + asked
    for name, span in zip(columns.ids, spans):
        if span.train.stop < need:
            what = f"series {name!r}" if columns.id is not None else "the series"
            kept = "" if model.validation is None and model.test is None else " for training"
            raise DataError(
                f"{what} has {span.train.stop:,} rows{kept}, but a window needs context + horizon = "
                f"{context} + {asked} = {need}.",
                "Use a shorter context or horizon, hold out less, or bring a longer series.",
            )


def begun(model: Forecaster, table: Table, columns: Columns, train_rows: Sequence[Raw]) -> Learned:
    """Sizes, scaling and framing; what training adds is filled in as it comes."""
    season = model.season
    if season is None and table.frequency is not None:
        season = table.frequency.season
    context = model.context if model.context is not None else max(2 * (season or 1), model.horizon)
    K, levels = columns.panel_targets, levels_of(model)
    kind, quantiles = kind_of(model)
    shape = ForecastShape(
        horizon=1 if model.strategy == "recursive" else model.horizon,
        targets=K,
        kind=kind,
        quantiles=quantiles,
        known=columns.future_size,
        lags=context if model.highway and model.mode == "window" else 0,
        level=model.level,
    )
    framing = Framing(
        context=context,
        horizon=shape.horizon,
        window_scaling=model.window_scaling,
        level=model.level,
        masked=tuple(range(K + columns.past_size)) if model.missing == "mask" else (),
        spread=np.ones(K),
    )
    own = model.scaling in ("series", "running")  # beside running scaling, for the simple models
    learned = Learned(
        columns=columns,
        horizon=model.horizon,
        strategy=model.strategy,
        seed=model.seed_,
        context=context,
        season=None if season is None or season <= 1 else int(season),
        framing=framing,
        shape=shape,
        scaling=Scaling.fit(
            train_rows,
            columns,
            "standard" if own else model.scaling,
            per_series=own and columns.id is not None,
        ),
        spread=Spread(levels=levels, stretch=np.ones(shape.parameters), residuals=None),
        tail=[],
        seasonal=np.full((len(columns.known_series), K), np.nan),
        simple=[],
    )
    return replace(learned, seasonal=learned.seasonal_of(train_rows))
