"""What `Forecaster(mode="stream")` does in fit, update and forecast; the estimator is in forecaster.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from saiki.core.errors import DataError, ShapeError, UsageError
from saiki.core.random import generator
from saiki.data import Table, embedding_size, show_time
from saiki.learning import get_rule
from saiki.models.base import inside_search
from saiki.models.forecast_ahead import covariates_ahead, end_of, history
from saiki.models.forecast_model import Learned
from saiki.models.forecast_online import Online, Stream, advance, begin, latest, online_rule
from saiki.models.forecast_options import loss_of
from saiki.models.forecast_paths import Answer
from saiki.models.forecast_rows import Reader, Reading, StreamFraming
from saiki.models.forecast_scores import Backtest, Forecasts
from saiki.models.forecast_stream import (
    StreamLoss,
    StreamSource,
    answered,
    build_stack,
    fit_stream_spread,
    measured_spreads,
    ragged_of,
    read_all,
    require_rows,
    run_stream,
    split_ahead,
    start_at_level,
    stream_forecasts,
    stream_of,
)
from saiki.models.forecast_table import Columns, Raw, make_panel
from saiki.models.forecast_windows import Array, WindowSource
from saiki.nn import EmbeddingConfig, Stack

if TYPE_CHECKING:
    from saiki.models.forecaster import Forecaster


# ---- fit ---------------------------------------------------------------------------------------------------


def fit_stream(
    model: Forecaster,
    learned: Learned,
    raws: Sequence[Raw],
    spans: Sequence[Any],
    loss: Any,  # noqa: ANN401  a callable of outputs and targets
    **training: Any,  # noqa: ANN401  checkpoint, resume, every_minutes, observers
) -> None:
    """Train on the training part, each series read from its first row, and stand at the end of the table.

    Args:
        model: its options; gets its fitted attributes.
        learned: sizes and scaling.
        raws: the rows of each id.
        spans: how each id is split.
        loss: of a row of forecasts.
        training: for the trainer.
    """
    columns = learned.columns
    cut = [split_ahead(raw, columns, end_of(raw, columns)) for raw in raws]
    raws = [raw for raw, _ in cut]
    ahead = [rest for _, rest in cut]
    K, H = columns.panel_targets, learned.horizon
    learned = replace(
        learned,
        tail=[raw.rows(slice(len(raw) - learned.context, len(raw))) for raw in raws],
        stream=StreamFraming(
            horizon=H,
            context=learned.context,
            window_scaling=model.window_scaling,
            level=model.level,
            mask=model.missing == "mask",
            running=model.scaling == "running",
            shown=np.ones(K),
            asked=np.ones(K),
        ),
    )
    parts = {
        name: [
            slice(getattr(span, name).start, min(getattr(span, name).stop, len(raw)))
            for span, raw in zip(spans, raws)
            for _ in range(learned.copies)
        ]
        for name in ("train", "validation", "test")
    }
    readings, readers = read_all(learned, raws, ahead)
    require_rows(readings, columns.known_series)
    learned, readings = measured_spreads(learned, readings, parts["train"])
    framing = stream_of(learned)
    train_rows = [raw.rows(span.train) for raw, span in zip(raws, spans)]
    values = sum(int(np.isfinite(raw.numbers[:, : len(columns.targets)]).sum()) for raw in train_rows)
    network = _network(model, learned, values)
    like = next(network.parameters())

    def source(spans_of: Sequence[slice]) -> StreamSource:
        return StreamSource(readings, spans_of, framing, like.dtype, like.device)

    train = source(parts["train"])
    asked = np.concatenate(
        [_asked(reading, span, framing) for reading, span in zip(readings, parts["train"])]
    )
    if not np.isfinite(asked).any():
        raise DataError(
            "the training part holds no row with a whole horizon of observed values after it.",
            "Hold out less, use a shorter horizon, or bring a longer series.",
        )
    start_at_level(network, learned.shape, asked)
    validation = everything = None
    if model.validation:
        validation = source(parts["validation"])
        if model._refits():
            both = zip(parts["train"], parts["validation"])
            everything = source([slice(first.start, last.stop) for first, last in both])
    model.learned_ = learned
    model.n_features_in_ = K + columns.past_size + columns.future_size
    model._train(
        network,
        StreamLoss(loss, learned.shape),
        train,
        validation,
        everything=everything,
        values=values,
        sequences=len(train),
        **training,
    )
    honest = validation is not None and not model._refits()
    learned = fit_stream_spread(
        network,
        learned,
        readings,
        parts["validation" if honest else "train"],
        honest=honest,
        calibrate=model.calibrate,
    )
    model.learned_ = learned
    panel = make_panel(raws, columns, learned.scaling)

    def forecasts(windows: WindowSource) -> Forecasts:
        return stream_forecasts(network, learned, readings, windows, learned.seasonal)

    model._judge(panel, raws, parts, forecasts)
    model.stream_ = begin(online_of(model), readings, readers, raws)
    model.online_ = None


def _asked(reading: Reading, span: slice, framing: StreamFraming) -> Array:
    rows = reading.rows(0, span.stop)
    return rows.targets(framing, max(0, span.start - 1), max(0, span.stop - framing.horizon))


def _network(model: Forecaster, learned: Learned, values: int) -> Stack:
    columns, shape = learned.columns, learned.shape
    features = stream_of(learned).features(columns)
    layers = model._layers(
        values=values,
        input_size=features,
        output_size=shape.horizon * shape.targets * shape.parameters,
        after=[],
    )
    if columns.id_mode == "embed":
        series = len(columns.known_series)
        place = features - (columns.panel_targets if model.level else 0) - 1
        layers.insert(0, EmbeddingConfig(num_embeddings=series, size=embedding_size(series), column=place))
    model.layers_ = layers
    return build_stack(
        layers,
        features,
        shape,
        source=generator(model.seed_, "weights"),
        dtype=model._torch_dtype(),
        device=model._device(),
    )


def online_of(model: Forecaster) -> Online:
    """How the fitted model learns from new rows."""
    training = model._training().checked()
    return Online(
        network=model.network_,
        learned=model.learned_,
        loss=StreamLoss(loss_of(model), model.learned_.shape),
        rule=online_rule(get_rule(training.rule), model.learned_.context),
        training=training,
        lr=float(model.lr),
    )


# ---- new rows ----------------------------------------------------------------------------------------------


def update_stream(model: Forecaster, table: Table, *, learn: bool) -> tuple[Stream, Learned, Backtest | None]:
    """Read new rows; see `Forecaster.update`. Nothing of the model but its weights is changed here.

    Raises:
        DataError, ShapeError: the rows do not go on from where the stream stands.
    """
    columns, stream = model.columns_, _stream(model)
    _require_width(table, columns, model.targets is None)
    # few rows cannot tell the step between rows; the model knows it
    raws = history(replace(table, frequency=columns.frequency), columns, model.missing)
    new: dict[int, Raw] = {}
    ahead: dict[int, Array] = {}
    for raw in raws:
        if raw.id not in columns.ids:
            raise DataError(
                f"series {raw.id!r} is not among those that fit saw ({', '.join(columns.ids[:5])}"
                f"{', …' if len(columns.ids) > 5 else ''}); a stream goes on with the series it knows.",
                "Leave it out, or fit on data that has it.",
            )
        place = columns.ids.index(raw.id)
        measured, rest = split_ahead(raw, columns, end_of(raw, columns))
        if len(measured):
            _require_static(measured, stream.tails[place])
            new[place] = _going_on(measured, stream.tails[place], columns, model._gaps())
            ahead[place] = rest
    return advance(
        online_of(model), stream, new, ahead, learn=learn, baselines=model.baselines and not inside_search()
    )


def plain_rows(data: object) -> object:
    """A number or a list of rows, as a program has them at hand, as an array; anything else as it is.

    Raises:
        DataError: a list that holds something other than numbers, or rows of different widths.
    """
    if not isinstance(data, (int, float, list, tuple)):
        return data
    try:
        return np.atleast_1d(np.asarray(data, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(
            "a list of new rows must hold numbers, as many in each row; nothing was read.",
            "Give [3.2, 3.3] for one column, [[3.2, 1.0]] for several, or a table.",
        ) from error


def _stream(model: Forecaster) -> Stream:
    if not hasattr(model, "stream_"):
        raise UsageError(
            "this model comes from a run that had not finished, so it stands at no row of the stream.",
            "Fit with resume=True to finish it.",
        )
    return model.stream_


def _require_width(table: Table, columns: Columns, every: bool) -> None:
    """An array's columns have no names, so that their number must be right."""
    if table.form.kind != "array" or columns.form.kind != "array":
        return
    names = [*columns.targets, *columns.past, *columns.future, *columns.static]
    if any(name not in table.columns for name in names) or (every and len(table.names) != len(names)):
        width = len(names) if every else max(int(name[1:] or 0) for name in names) + 1
        raise ShapeError(
            f"rows of {len(table.names)} numbers came, but the stream has {width} a row; nothing was read.",
            f"Give rows as (rows, {width}).",
        )


def _require_static(raw: Raw, tail: Raw) -> None:
    if not np.array_equal(raw.static, tail.static, equal_nan=True):
        raise DataError(
            f"the static covariates of series {raw.id!r} are not those that the stream began with; nothing "
            "was read.",
            "A static covariate has one value a series; declare one that changes as past or future.",
        )


def _going_on(raw: Raw, tail: Raw, columns: Columns, gaps: str) -> Raw:
    """The new rows of an id, absent ones added, if they follow the last one read.

    Raises:
        DataError: they do not come after it, or rows are absent between.
    """
    if raw.times is None or tail.times is None:
        return raw
    what = f" of series {raw.id!r}" if columns.id is not None else ""
    times = np.concatenate([tail.times[-1:], raw.times])
    shown = [show_time(time, columns.style) for time in times[:2]]
    if times[1] <= times[0]:
        raise DataError(
            f"the first new row{what} is of {shown[1]}, but the stream has been read up to {shown[0]}; "
            "nothing was read.",
            "Give the rows that come after it, each once.",
        )
    if columns.frequency is None or gaps == "keep":
        return raw
    steps = columns.frequency.steps(times)
    whole = np.rint(steps).astype(np.int64)
    odd = np.flatnonzero((np.abs(steps - whole) > 0.01) | (whole < 1))
    if len(odd):
        at = show_time(times[odd[0] + 1], columns.style)
        raise DataError(
            f"the new row of {at}{what} does not stand a whole number of steps ({columns.frequency.name}) "
            "after the one before; nothing was read.",
            "Bring the rows to the step of the training data, or fit with gaps='keep'.",
        )
    absent = int((whole - 1).sum())
    if not absent:
        return raw
    if gaps == "error" or columns.future:
        at = show_time(times[int(np.argmax(whole > 1)) + 1], columns.style)
        why = " and their covariates known ahead are not there" if columns.future else ""
        raise DataError(
            f"{absent} row{'' if absent == 1 else 's'}{what} {'is' if absent == 1 else 'are'} absent before "
            f"the new row of {at}, at a step of {columns.frequency.name}{why}; nothing was read.",
            "Give every row, or fit with missing='mask' or 'interpolate' and gaps='complete'.",
        )
    place = np.cumsum(whole) - 1
    count = int(place[-1]) + 1

    def spread(values: Array, blank: float) -> Array:
        found = np.full((count, *values.shape[1:]), blank, dtype=values.dtype)
        found[place] = values
        return found

    grid = columns.frequency.following(times[0], count)
    grid[place] = raw.times
    return replace(
        raw,
        times=grid,
        numbers=spread(raw.numbers, np.nan),
        past_levels=spread(raw.past_levels, 0.0),
        future_levels=spread(raw.future_levels, 0.0),
    )


# ---- what a user asks --------------------------------------------------------------------------------------


def stream_beyond(
    model: Forecaster, table: Table | None, future: Table | None, steps: int
) -> tuple[Learned, list[Raw], Answer]:
    """The histories, and the forecasts after each, (S, steps, K) in the table's units.

    Args:
        model: fitted.
        table: rows to read from the first, with the weights as they are; None goes on from the stream.
        future: covariates known of the rows to come.
        steps: H at most.
    """
    columns, learned = model.columns_, model.learned_
    if table is None:
        stream = _stream(model)
        ahead = [reading.known[len(reading) :] for reading in stream.pending]
        if future is not None or any(len(rest) < learned.horizon for rest in ahead):
            each = covariates_ahead(stream.tails, columns, learned.horizon, future)
            ahead = [rest for rest in each for _ in range(learned.copies)]
        point, around = latest(online_of(model), stream, [rest[: learned.horizon] for rest in ahead])
        found = Answer(point, around if around.shape[-1] else None)
        raws: list[Raw] = list(stream.tails)
    else:
        learned, raws, readings, _ = _read(model, table, future)
        wanted = [np.array([len(reading) - 1]) for reading in readings]
        network = model.network_
        found = answered(learned, readings, wanted, run_stream(network, learned, readings, wanted))
    quantiles = None if found.quantiles is None else found.quantiles[:, :steps]
    return learned, raws, Answer(found.point[:, :steps], quantiles)


def _read(
    model: Forecaster, table: Table, future: Table | None
) -> tuple[Learned, list[Raw], list[Reading], list[Reader]]:
    """A table read from its first row, with covariates known for a whole horizon after it."""
    columns = model.columns_
    raws = history(table, columns, model.missing)
    ahead = covariates_ahead(raws, columns, model.horizon, future)
    cut = [raw.rows(slice(0, end_of(raw, columns))) for raw in raws]
    learned = model.learned_.admitting(cut)
    readings, readers = read_all(learned, cut, ahead)
    names = columns.series_names([raw.id for raw in raws])
    require_rows(readings, names)
    return learned, cut, readings, readers


def stream_origins(
    model: Forecaster, learned: Learned, raws: Sequence[Raw], windows: WindowSource, seasonal: Array
) -> Forecasts:
    """Forecasts at the origins of a backtest, each table read from its first row, nothing learned."""
    empty = [np.zeros((0, model.columns_.future_size)) for _ in raws]
    readings, _ = read_all(learned, raws, empty)
    return stream_forecasts(model.network_, learned, readings, windows, seasonal)


@torch.inference_mode()
def stream_hidden(model: Forecaster, table: Table) -> Array:
    """(series, D) what goes into the head at each series' last row."""
    columns = model.columns_
    raws = history(table, columns, model.missing)
    cut = [raw.rows(slice(0, end_of(raw, columns))) for raw in raws]
    learned = model.learned_.admitting(cut)
    blank = [np.zeros((model.horizon, columns.future_size)) for _ in raws]
    readings, _ = read_all(learned, cut, blank)
    network = model.network_
    like = next(network.parameters())
    rows = [reading.features(stream_of(learned), 0, len(reading)) for reading in readings]
    hidden = network.hidden(ragged_of(rows, like.dtype, like.device))
    last: Tensor = hidden.last()  # type: ignore[union-attr]  # a stream's layers answer every row
    found: Array = last.cpu().numpy()
    return found
