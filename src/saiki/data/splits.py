"""Splits: series in time order, sequences by chance and class by class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saiki.core.checks import require_int
from saiki.core.errors import DataError, DTypeError, ShapeError, ValueRangeError
from saiki.data.times import TIME_DTYPE, Array, parse_times

Part = float | int | str | np.datetime64 | None


@dataclass(frozen=True)
class TimeSplit:
    """Rows of one series, counted within it: training first, then validation, then test.

    A part that was not asked for is empty. Rows of the gaps between the parts are in none of them.
    """

    train: slice
    validation: slice
    test: slice


def split_in_time(
    rows: int | Array,
    *,
    validation: Part = 0.2,
    test: Part = None,
    gap: int = 0,
    name: str = "",
) -> TimeSplit:
    """Cut one series in time order.

    Args:
        rows: number of rows, or the (T,) times of the series, which a date needs.
        validation: share of all rows (float below 1), number of rows (int), first time of the part (a
            date as text, a datetime64, or for a column of numbers a float of at least 1), or None for none.
        test: the same for the last part.
        gap: rows left out before the validation part and before the test part.
        name: name of the series, for messages.
    Raises:
        DataError: no row is left for training, or for a part that was asked for.
        DTypeError, ValueRangeError: a part or the gap is out of range, or a date without times.
    """
    times = rows if isinstance(rows, np.ndarray) else None
    T = len(times) if times is not None else require_int(rows, "rows", 0)
    gap = require_int(gap, "gap", 0)
    end = T
    test_start = _first_row(test, "test", T, end, times)
    before = test_start - gap if test_start < end else end
    validation_start = _first_row(validation, "validation", T, before, times)
    train_stop = validation_start - gap if validation_start < before else before
    of = f" of series {name!r}" if name else ""
    for part, start, stop, asked in (
        ("test", test_start, end, test),
        ("validation", validation_start, before, validation),
        ("training", 0, train_stop, True),
    ):
        if asked is not None and not (isinstance(asked, int | float) and asked == 0) and stop <= start:
            raise DataError(
                f"no row{of} is left for {part}: {T} rows with validation={validation!r}, "
                f"test={test!r}, gap={gap}.",
                hint="Hold out less, or bring more rows.",
            )
    return TimeSplit(slice(0, train_stop), slice(validation_start, before), slice(test_start, end))


def _first_row(part: Part, name: str, T: int, end: int, times: Array | None) -> int:
    """First row of a part that ends at row `end`."""
    if part is None:
        return end
    if isinstance(part, bool):
        raise DTypeError(f"{name} is {part!r} but must be a share, a number of rows, a date or None.")
    if isinstance(part, int | np.integer):
        return end - require_int(int(part), name, 0)
    if isinstance(part, float) and (times is None or times.dtype.kind == "M" or part < 1):
        if not 0 <= part < 1:
            raise ValueRangeError(
                f"{name} is {part!r} but a share of the rows must be at least 0 and below 1.",
                hint=f"Write {name}=0.2 for a fifth of the rows, or a whole number for so many rows.",
            )
        return end - round(part * T)
    if times is None:
        raise DTypeError(
            f"{name} is {part!r}, but without a time column a part is a share or a number of rows."
        )
    if times.dtype.kind == "M":
        if isinstance(part, float):
            raise DTypeError(f"{name} is {part!r} but the times are dates.", hint="Write it as '2001-12-29'.")
        return min(int(np.searchsorted(times, _date(part, name))), end)
    try:
        first = float(part)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise DTypeError(f"{name} is {part!r}, but the times are numbers.", hint="Give a number.") from error
    return min(int(np.searchsorted(times, first)), end)


def _date(part: str | np.datetime64, name: str) -> np.datetime64:
    if isinstance(part, np.datetime64):
        return part.astype(TIME_DTYPE)
    parsed = parse_times([f"{part}-01" if re.fullmatch(r"\d{4}", str(part)) else part])
    if not isinstance(parsed, tuple) or parsed[1].kind == "number":
        raise DTypeError(f"{name} is {part!r}, which is no date.", hint="Write it as '2001-12-29'.")
    return np.datetime64(parsed[0][0])


def split_sequences(
    labels: int | Array | Sequence[object], held_out: float | int = 0.2, *, seed: int | None = 0
) -> tuple[Array, Array]:
    """Choose sequences to hold out: by chance, and where labels are given each class in proportion.

    A sequence goes to one side as a whole. A class of one sequence stays in training. The same seed gives
    the same split.

    Args:
        labels: (n,) one label a sequence, to be stratified by; or the number of sequences.
        held_out: share of the sequences (float) or their number (int).
        seed: of the choice; None for another one each time.
    Returns:
        Indices for training and held out, each in rising order.
    Raises:
        DataError: one side would be empty.
        ValueRangeError, DTypeError, ShapeError: an argument is out of range.
    """
    if isinstance(labels, int | np.integer):
        n = require_int(int(labels), "labels", 0)
        codes = np.zeros(n, dtype=np.int64)
    else:
        array = np.asarray(labels)
        if array.ndim != 1:
            raise ShapeError(
                f"labels are {array.shape} but must be (n,), one a sequence.", hint="Give one label each."
            )
        n = len(array)
        codes = np.unique(array, return_inverse=True)[1]
    if isinstance(held_out, bool) or not isinstance(held_out, int | float | np.integer | np.floating):
        raise DTypeError(f"held_out is {held_out!r} but must be a share or a number of sequences.")
    if isinstance(held_out, int | np.integer):
        count = require_int(int(held_out), "held_out", 0)
    elif 0 <= held_out < 1:
        count = max(1, round(float(held_out) * n)) if held_out else 0
    else:
        raise ValueRangeError(
            f"held_out is {held_out!r} but a share must be at least 0 and below 1.",
            hint="Write 0.2 for a fifth.",
        )
    if n - count < 1:
        raise DataError(
            f"{count} of {n} sequences are to be held out, so none is left for training.",
            hint="Hold out fewer, or bring more sequences.",
        )
    from saiki.core.random import generator  # brings torch, which reading a table does not need

    chosen = _quota(np.bincount(codes), count)
    rng = np.random.default_rng(int(generator(seed, "split").initial_seed()))
    held = [rng.permutation(np.flatnonzero(codes == code))[:take] for code, take in enumerate(chosen)]
    mask = np.zeros(n, dtype=bool)
    mask[np.concatenate(held)] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def _quota(sizes: Array, count: int) -> list[int]:
    """How many of each class to hold out: in proportion by largest remainder, at least one of each left
    behind.
    """
    room = np.maximum(sizes - 1, 0) if len(sizes) > 1 else sizes
    share = sizes * (count / max(int(sizes.sum()), 1))
    quota = np.minimum(np.floor(share).astype(np.int64), room)
    remainder = share - quota
    while quota.sum() < count:
        free = np.flatnonzero(quota < room)
        if not len(free):
            break
        best = free[np.argmax(remainder[free])]
        quota[best] += 1
        remainder[best] -= 1
    return [int(value) for value in quota]
