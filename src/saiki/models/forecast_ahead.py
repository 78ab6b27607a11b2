"""Forecasts of what comes after the last row: histories and covariates known ahead in, a table out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from saiki.core.errors import DataError, OptionError
from saiki.data import Table, check_complete
from saiki.models.forecast_model import Learned, answer_windows, in_units
from saiki.models.forecast_network import ForecastNetwork
from saiki.models.forecast_paths import Answer
from saiki.models.forecast_table import Columns, Raw, check_table, make_panel, read_raw, rows_to_come
from saiki.models.forecast_windows import Array, Panel, WindowSource


def history(table: Table, columns: Columns, missing: str) -> list[Raw]:
    """The rows of a table to forecast from, its columns and gaps checked.

    Where covariates are known ahead, rows at the end without a single target are rows to come, and their
    targets and past covariates are not missing.
    """
    check_table(table, columns, "mask" if columns.future else missing)
    raws = read_raw(table, columns)
    if columns.future and missing == "error":
        kept = np.concatenate([np.arange(len(raw)) < end_of(raw, columns) for raw in raws])
        cells = {name: values[kept] for name, values in table.columns.items()}
        check_complete(
            replace(table, columns=cells, lines=table.lines[kept]), [*columns.targets, *columns.past]
        )
    return raws


def end_of(raw: Raw, columns: Columns) -> int:
    """One past the last row that is no row to come."""
    if not columns.future:
        return len(raw)
    seen = np.flatnonzero(~np.isnan(raw.numbers[:, : len(columns.targets)]).all(axis=1))
    return int(seen[-1]) + 1 if len(seen) else 0


def contexts(raws: Sequence[Raw], learned: Learned) -> list[Raw]:
    """The last C rows of each history.

    Raises:
        DataError: a history is shorter.
    """
    found = []
    for raw in raws:
        end = end_of(raw, learned.columns)
        if end < learned.context:
            what = f"series {raw.id!r}" if learned.columns.id is not None else "the series"
            raise DataError(
                f"{what} has {end} rows, but a forecast looks at the last {learned.context}.",
                "Bring a longer history.",
            )
        found.append(raw.rows(slice(end - learned.context, end)))
    return found


def covariates_ahead(raws: Sequence[Raw], columns: Columns, steps: int, future: Table | None) -> list[Array]:
    """(H, F) covariates known ahead for each id, not yet scaled: numbers, then levels.

    Args:
        raws: the histories, whose rows to come serve where no table is given.
        columns: the roles.
        steps: H.
        future: a table of rows to come, or None.

    Raises:
        DataError: they do not reach far enough, or have gaps.
        OptionError: a table was given and the model knows no such covariate.
    """
    if not columns.future:
        if future is not None:
            raise OptionError("future was given, but the model knows no covariate ahead.", "Leave it out.")
        return [np.zeros((steps, 0)) for _ in raws]
    given: dict[str, Raw] = {}
    if future is not None:
        check_table(future, columns, "mask", future=True)
        given = {raw.id: raw for raw in read_raw(rows_to_come(future, columns), columns)}
    first = len(columns.numbers) - len(columns.plain(columns.future))
    found = []
    for raw in raws:
        end = end_of(raw, columns)
        rest = raw.rows(slice(end, len(raw)))
        if raw.id in given:
            rest = _after(given[raw.id], raw, end)
        if len(rest) < steps:
            what = f" of series {raw.id!r}" if columns.id is not None else ""
            names = ", ".join(repr(name) for name in columns.future)
            raise DataError(
                f"a forecast of {steps} steps needs the covariates {names}{what} for as "
                f"many steps to come, but {len(rest)} were given.",
                "Give future=TABLE with one row a step, or add such rows at the end of the data.",
            )
        part = np.concatenate([rest.numbers[:steps, first:], rest.future_levels[:steps]], axis=1)
        if np.isnan(part).any():
            raise DataError(
                f"the covariates known ahead ({', '.join(columns.future)}) have missing values.",
                "Fill them in.",
            )
        found.append(part)
    return found


def _after(given: Raw, raw: Raw, end: int) -> Raw:
    """The rows given that come after the history, which they must follow at once."""
    if given.times is None or raw.times is None or end == 0:
        return given
    later = given.times > raw.times[end - 1]
    return given.rows(slice(int(np.argmax(later)) if later.any() else len(given), len(given)))


def extended(raws: Sequence[Raw], ahead: Sequence[Array], learned: Learned, steps: int) -> Panel:
    """The contexts as a panel with the rows to come, as many as the network answers at least."""
    columns, H = learned.columns, max(steps, learned.framing.horizon)
    panel = make_panel(raws, columns, learned.scaling)
    plain = len(columns.plain(columns.future))
    first = len(columns.numbers) - plain
    known = np.zeros((panel.series, H, panel.known.shape[1]))
    scaler = learned.scaling.numbers
    for place, (raw, part) in enumerate(zip(raws, ahead)):
        index = scaler.index(raw.id)
        z = (part[:, :plain] - scaler.center[index, first:]) / scaler.scale[index, first:]
        z = np.concatenate([z, part[:, plain:]], axis=1)
        # what lies beyond the steps asked for is cut off after; it only has to be a number
        z = np.concatenate([z, np.repeat(z[-1:], H - steps, axis=0)])
        known[place * learned.copies : (place + 1) * learned.copies] = z
    return panel.extended(H, known)


def last_windows(longer: Panel, learned: Learned, network: ForecastNetwork) -> WindowSource:
    """The window of each series whose context is the one it has.

    Raises:
        DataError: a context has no observed value.
    """
    like = next(network.parameters())
    origins = longer.starts[:-1] + learned.context
    windows = WindowSource(
        longer, origins, np.arange(longer.series), learned.framing, like.dtype, like.device
    )
    unseen = np.isnan(windows.shown()[..., : longer.targets]).all(axis=1)
    if unseen.any():
        series = int(np.argwhere(unseen)[0, 0])
        name = learned.columns.known_series[series] if series < len(learned.columns.known_series) else series
        raise DataError(
            f"series {name!r} has no observed value in its last {learned.context} rows.",
            "Bring a history with values in it.",
        )
    return windows


def beyond(
    network: ForecastNetwork, learned: Learned, raws: Sequence[Raw], ahead: Sequence[Array], steps: int
) -> Answer:
    """Forecasts after each context, (S, steps, K) in the table's units.

    Args:
        network: the trained one.
        learned: the rest, with a scaling for every id.
        raws: contexts of C rows.
        ahead: (steps, F) covariates known ahead of each, not yet scaled.
        steps: how many.
    """
    windows = last_windows(extended(raws, ahead, learned, steps), learned, network)
    found = answer_windows(network, learned, windows, steps)
    return in_units(found, *learned.scaling.maps(raws, learned.columns))


def as_columns(learned: Learned, raws: Sequence[Raw], found: Answer, steps: int) -> dict[str, Array]:
    """The forecasts as columns: time, id, and for each target its point and its quantiles."""
    columns = learned.columns
    out: dict[str, list[Array]] = {}
    K = len(columns.targets)
    for place, raw in enumerate(raws):
        if columns.time is not None and raw.times is not None and columns.frequency is not None:
            out.setdefault(columns.time, []).append(columns.frequency.following(raw.times[-1], steps))
        if columns.id is not None:
            out.setdefault(columns.id, []).append(np.array([raw.value] * steps))
        for k, target in enumerate(columns.targets):
            series, column = (place, k) if columns.mode == "joint" else (place * K + k, 0)
            out.setdefault(target, []).append(found.point[series, :, column])
            for j, level in enumerate(learned.spread.levels if found.quantiles is not None else ()):
                assert found.quantiles is not None
                out.setdefault(f"{target}_q{level:g}", []).append(found.quantiles[series, :, column, j])
    return {name: np.concatenate(parts) for name, parts in out.items()}
