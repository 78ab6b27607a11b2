"""Windows over series: a context to look at and a horizon to predict, as indices and views, never as
copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from saiki.core.checks import require_int
from saiki.core.errors import DataError, OptionError, ShapeError
from saiki.data.times import Array

if TYPE_CHECKING:
    from torch import Tensor

A = TypeVar("A", Array, "Tensor")


@dataclass(frozen=True, eq=False)
class Windows:
    """Where each window lies in series laid end to end (as in a `Table`): three integers a window, no data.

    The window with origin o, context C and horizon H has the past rows o - C ... o - 1 and the future rows
    o ... o + H - 1, all inside one series. Windows are in order of the time of their origin.

    Attributes:
        context: C, at least 1.
        horizon: H, at least 0.
        origin: (W,) row of the first future step, counted over all series.
        series: (W,) index of the series.
        starts: first row of each series.
        lengths: rows of each series.
    """

    context: int
    horizon: int
    origin: Array = field(repr=False)
    series: Array = field(repr=False)
    starts: tuple[int, ...] = field(repr=False)
    lengths: tuple[int, ...] = field(repr=False)

    @classmethod
    def over(
        cls,
        lengths: Sequence[int],
        context: int,
        horizon: int,
        *,
        stride: int = 1,
        times: Array | None = None,
        names: Sequence[str] | None = None,
        short: str = "error",
    ) -> Windows:
        """Every window that fits.

        Args:
            lengths: rows of each series, as they lie end to end.
            context: steps to look at.
            horizon: steps to predict; 0 for windows of past alone (then the last origin is just past
                the end).
            stride: rows from one origin to the next within a series.
            times: (N,) time of every row, by which the windows of several series are put in order; by
                default by the row within the series.
            names: names of the series, for messages.
            short: `error` for a series that holds no window, or `skip`.
        Raises:
            DataError: a series is shorter than context + horizon (or all are, with `skip`).
            OptionError: `short` is unknown.
            ValueRangeError, DTypeError: context, horizon or stride is no whole number in range.
            ShapeError: times are not one a row.
        """
        context = require_int(context, "context", 1)
        horizon = require_int(horizon, "horizon", 0)
        stride = require_int(stride, "stride", 1)
        sizes = tuple(require_int(int(length), "a length", 0) for length in lengths)
        starts = (0, *np.cumsum(sizes).tolist())[:-1] if sizes else ()
        total = sum(sizes)
        if times is not None and len(times) != total:
            raise ShapeError(
                f"times has {len(times)} entries but the series have {total} rows.",
                hint="Give one time a row.",
            )
        if short not in ("error", "skip"):
            raise OptionError(f"short={short!r} is unknown.", hint="Use 'error' or 'skip'.")
        need = context + horizon
        too_short = [index for index, length in enumerate(sizes) if length < need]
        if not sizes or len(too_short) == len(sizes) or (too_short and short == "error"):
            raise _too_short(sizes, names, too_short, context, horizon)
        origins, owners = [], []
        for index, (start, length) in enumerate(zip(starts, sizes, strict=True)):
            if length >= need:
                # The last origin is always among them: it holds the newest data.
                found = np.arange(length - horizon, context - 1, -stride)[::-1] + start
                origins.append(found)
                owners.append(np.full(len(found), index, dtype=np.int64))
        origin = np.concatenate(origins).astype(np.int64)
        series = np.concatenate(owners)
        if len(sizes) > 1:
            step = np.arange(total) - np.repeat(starts, sizes) if times is None else times
            # Past the end there is no time; such an origin (horizon 0) is sorted by its last past row.
            order = np.lexsort((series, step[origin - 1]))
            origin, series = origin[order], series[order]
        return cls(context, horizon, origin, series, starts, sizes)

    @classmethod
    def latest(cls, lengths: Sequence[int], context: int, *, names: Sequence[str] | None = None) -> Windows:
        """The last context of each series, in their order, with nothing after it: what a forecast starts
        from.
        """
        windows = cls.over(lengths, context, 0, names=names)
        starts = np.array(windows.starts, dtype=np.int64)
        sizes = np.array(windows.lengths, dtype=np.int64)
        return replace(windows, origin=starts + sizes, series=np.arange(len(sizes)))

    def __len__(self) -> int:
        return len(self.origin)

    @property
    def step(self) -> Array:
        """(W,) origin counted within its series."""
        return np.asarray(self.origin - np.array(self.starts, dtype=np.int64)[self.series])

    def select(self, which: Array | Sequence[int]) -> Windows:
        """Some of the windows, by indices or a mask of W truth values."""
        which = np.asarray(which)
        if which.size == 0:
            which = which.astype(np.int64)
        return replace(self, origin=self.origin[which], series=self.series[which])

    def within(self, spans: Sequence[slice]) -> Windows:
        """The windows whose whole future lies in their series' span; their past may reach back before it.

        Args:
            spans: one slice of rows a series, counted within it, as `split_in_time` gives them.
        Raises:
            ShapeError: not one span a series.
        """
        if len(spans) != len(self.lengths):
            raise ShapeError(
                f"{len(spans)} spans were given for {len(self.lengths)} series.",
                hint="Give one span a series.",
            )
        bounds = np.array(
            [span.indices(length)[:2] for span, length in zip(spans, self.lengths, strict=True)]
        )
        step = self.step
        inside = (step >= bounds[self.series, 0]) & (step + self.horizon <= bounds[self.series, 1])
        return self.select(inside)

    def past_rows(self, which: Array | Sequence[int] | slice = slice(None)) -> Array:
        """(B, C) rows of the contexts of some windows."""
        return np.asarray(self.origin[which][:, None] + np.arange(-self.context, 0))

    def future_rows(self, which: Array | Sequence[int] | slice = slice(None)) -> Array:
        """(B, H) rows of the horizons of some windows."""
        return np.asarray(self.origin[which][:, None] + np.arange(self.horizon))

    def past(self, values: A, which: Array | Sequence[int] | slice = slice(None)) -> A:
        """(B, C, ...) contexts of some windows, gathered from (N, ...) values; only this batch is copied."""
        self._check(values)
        return values[self.past_rows(which)]

    def future(self, values: A, which: Array | Sequence[int] | slice = slice(None)) -> A:
        """(B, H, ...) horizons of some windows, gathered from (N, ...) values; only this batch is copied."""
        self._check(values)
        return values[self.future_rows(which)]

    def views(self, values: Array, series: int = 0) -> tuple[Array, Array]:
        """All windows of one series as read-only views into `values`, whatever was selected.

        Args:
            values: (N, ...) the series laid end to end.
            series: index of the series.
        Returns:
            past (n, C, ...) and future (n, H, ...), n = length - C - H + 1; no data is copied.
        """
        self._check(values)
        start, length = self.starts[series], self.lengths[series]
        part = values[start : start + length]
        count = max(length - self.context - self.horizon + 1, 0)
        return _slide(part, self.context, 0, count), _slide(part, self.horizon, self.context, count)

    def _check(self, values: Array | Tensor) -> None:
        total = sum(self.lengths)
        if values.ndim < 1 or values.shape[0] != total:
            raise ShapeError(
                f"values are {tuple(values.shape)} but the series have {total} rows.",
                hint="Lay the series end to end, one row a step.",
            )


def _slide(part: Array, width: int, first: int, count: int) -> Array:
    shape = (count, width, *part.shape[1:])
    if not width or not count:
        empty = np.empty(shape, dtype=part.dtype)
        empty.flags.writeable = False
        return empty
    windows = np.lib.stride_tricks.sliding_window_view(part[first:], width, axis=0)[:count]
    return np.moveaxis(windows, -1, 1)


def _too_short(
    sizes: Sequence[int], names: Sequence[str] | None, too_short: Sequence[int], context: int, horizon: int
) -> DataError:
    if not sizes:
        return DataError("there are no series to take windows from.", hint="Give at least one series.")
    first = too_short[0]
    name = names[first] if names is not None and names[first] else ""
    words = (
        f"series {name!r}"
        if name
        else "the series"
        if len(sizes) == 1
        else f"series {first} (counted from 0)"
    )
    more = f", and {len(too_short) - 1} more are too short" if len(too_short) > 1 else ""
    rows = "1 row" if sizes[first] == 1 else f"{sizes[first]:,} rows"
    need = (
        f"context + horizon = {context} + {horizon} = {context + horizon}"
        if horizon
        else f"context = {context}"
    )
    return DataError(
        f"{words} has {rows}, but a window needs {need}{more}.",
        hint="Use a shorter context or horizon, bring longer series, or leave the short ones out.",
    )
