"""Missing values: refuse them, fill them, or mask them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from saiki.core.errors import DataError, OptionError, ShapeError
from saiki.data.table import Table
from saiki.data.times import Array

Missing = Literal["error", "interpolate", "mask"]
MISSING_OPTIONS: tuple[Missing, ...] = ("error", "interpolate", "mask")


def require_missing_option(how: str) -> Missing:
    """`how` if it is one of `error`, `interpolate`, `mask`.

    Raises:
        OptionError: it is not.
    """
    for option in MISSING_OPTIONS:
        if how == option:
            return option
    raise OptionError(f"missing={how!r} is unknown.", hint="Use 'error', 'interpolate' or 'mask'.")


def check_complete(table: Table, names: Sequence[str]) -> None:
    """Refuse missing values in number and category columns of a table.

    Raises:
        DataError: cells are missing; the first place, the count and the choices are named.
    """
    found: list[tuple[int, str]] = []
    total = 0
    for name in names:
        values = table[name]
        absent = np.array([value is None for value in values]) if values.dtype == object else np.isnan(values)
        if absent.any():
            total += int(absent.sum())
            found.append((int(np.flatnonzero(absent)[0]), name))
    if not found:
        return
    row, name = min(found)
    several = f" in {len(found)} columns" if len(found) > 1 else ""
    word = "1 value is" if total == 1 else f"{total:,} values are"
    raise DataError(
        f"{word} missing{several}, the first in column {name!r}, {table.place(row)}; missing='error' "
        "takes none.",
        hint=(
            "Use missing='interpolate' to fill them in, or missing='mask' to tell the network where they are."
        ),
    )


def interpolate(values: Array, axis: int = 0) -> Array:
    """Fill missing values on a straight line between their neighbours in time, the ends with the nearest
    value.

        y_t = y_a + (y_b - y_a) (t - a) / (b - a)      a and b the nearest observed steps before and after t

    Each column is filled by itself. Where nothing is observed the values stay NaN. Applied to windows of
    context alone, nothing from after the origin gets in.

    Args:
        values: any shape, NaN where missing.
        axis: the time axis.
    Returns:
        A new array of the same shape.
    """
    steps_last = np.moveaxis(np.asarray(values, dtype=np.float64), axis, -1)
    T = steps_last.shape[-1]
    seen = ~np.isnan(steps_last)
    if T == 0 or seen.all():
        return np.array(values, dtype=np.float64)
    steps = np.broadcast_to(np.arange(T), steps_last.shape)
    before = np.maximum.accumulate(np.where(seen, steps, -1), axis=-1)  # -1: nothing observed so far
    after = np.minimum.accumulate(np.where(seen, steps, T)[..., ::-1], axis=-1)[
        ..., ::-1
    ]  # T: nothing to come
    a = np.where(before < 0, np.minimum(after, T - 1), before)
    b = np.where(after >= T, np.maximum(before, 0), after)
    y_a = np.take_along_axis(steps_last, a, axis=-1)
    y_b = np.take_along_axis(steps_last, b, axis=-1)
    span = np.maximum(b - a, 1)
    share = (steps - a) / span
    # the weighted mean, not y_a + share (y_b - y_a): that overflows between values of opposite sign near
    # the limits
    filled = np.where(b > a, y_a * (1 - share) + y_b * share, y_a)
    return np.moveaxis(np.where(seen, steps_last, filled), -1, axis)


def interpolate_series(table: Table, names: Sequence[str]) -> Array:
    """(N, F) values of number columns with every series filled by `interpolate`.

    Raises:
        DataError: a series has no value at all in a column.
    """
    values = table.values(names)
    for series in table.series:
        part = interpolate(values[series.rows])
        empty = np.flatnonzero(np.isnan(part).all(axis=0)) if len(part) else np.empty(0, dtype=np.int64)
        if len(empty):
            of = f" of series {series.name!r}" if table.id is not None else ""
            raise DataError(
                f"column {names[int(empty[0])]!r}{of} has no value at all, so nothing can be interpolated.",
                hint="Leave the column out with columns=, leave the series out, or use missing='mask'.",
            )
        values[series.rows] = part
    return values


def mask(values: Array, columns: Sequence[int]) -> Array:
    """Zero for what is missing, and one channel of 0 and 1 more for each affected column.

    Meant for scaled values, where 0 is the mean. The columns that get a channel are fixed on the training
    data, so that the network's input size does not depend on what happens to be missing later.

    Args:
        values: (..., F), NaN where missing.
        columns: indices of the columns that get a channel: 1 where the value is there, 0 where it is missing.
    Returns:
        (..., F + len(columns)) without NaN.
    Raises:
        DataError: a value is missing in a column that has no channel.
    """
    values = np.asarray(values)
    if values.ndim < 1 or any(not 0 <= column < values.shape[-1] for column in columns):
        raise ShapeError(
            f"values are {values.shape}, but mask channels are wanted for columns {list(columns)}.",
            hint="Give (..., F) values and column indices below F.",
        )
    seen = ~np.isnan(values)
    others = [column for column in range(values.shape[-1]) if column not in columns]
    unexpected = [column for column in others if not seen[..., column].all()]
    if unexpected:
        raise DataError(
            f"a value is missing in column {unexpected[0]}, which had none missing when the model was "
            "trained.",
            hint="Fill it in, or train on data that has gaps in this column.",
        )
    flags = seen[..., list(columns)].astype(values.dtype)
    return np.concatenate([np.where(seen, values, 0), flags], axis=-1)


def affected(values: Array) -> tuple[int, ...]:
    """Indices of the columns of (..., F) values in which something is missing."""
    absent = np.isnan(values).reshape(-1, values.shape[-1]).any(axis=0)
    return tuple(np.flatnonzero(absent).tolist())
