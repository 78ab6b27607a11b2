"""Rows of a stream as a network reads them, one after another, from the past alone.

    x_t = (v_t - l_t) / (s_t a)        shown     v: the row; a gap is the value before it, or 0 and a flag
    y_k = (v_{t+k} - o_t) / (s_t b)    asked     k in [1, H]
    ŷ_k = (out_k b) s_t + o_t          a forecast in the table's units

`window_scaling` takes a level away: l is the running mean of about C rows, and forecasts stand on it, too
("mean": o = l), or on the last value ("last": o_t = v_t). Without it both are the scaling's center. Scaling
is fixed (the training rows') or running:

    m_t = m_{t-1} + a_t (v_t - m_{t-1})      a_t = 1 / min(t, R)
    q_t = (1 - a_t) (q_{t-1} + a_t (v_t - m_{t-1})²)        center m_t, scale √q_t

which is the mean and the variance of all rows so far while t ≤ R, and forgets exponentially after. a and b
are spreads measured once, on the training rows. Nothing at t depends on a later row, so a stream read row by
row and one read at once give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from saiki.data import WindowScaling
from saiki.models.forecast_table import Columns, Raw, Scaling, identity
from saiki.models.forecast_windows import Array

WARM = 10  # observed values before a running scale is believed; targets before are not learned
_MEMORY = 10  # contexts that running scaling looks back on
_LEAST = 100  # rows that it looks back on at least


@dataclass(frozen=True, eq=False, kw_only=True)
class StreamFraming:
    """How rows are shown and what is asked at each.

    Attributes:
        horizon: H, rows asked for.
        context: C, rows of the running mean.
        window_scaling: what is taken away: "last", "mean" or None.
        level: show what was taken away as one more feature.
        mask: gaps are 0 with a flag; else the value before is carried on.
        running: scaling moves with the stream.
        shown: (K,) a.
        asked: (K,) b.
    """

    horizon: int
    context: int
    window_scaling: WindowScaling
    level: bool
    mask: bool
    running: bool
    shown: Array
    asked: Array

    @property
    def memory(self) -> int:
        """R, rows that running scaling looks back on."""
        return max(_MEMORY * self.context, _LEAST)

    def features(self, columns: Columns) -> int:
        """Features a row that the network is given."""
        K, past = columns.panel_targets, columns.past_size
        flags = K + past if self.mask else 0
        told = {None: 0, "embed": 1, "one_hot": len(columns.known_series)}[columns.id_mode]
        known = (self.horizon + 1) * columns.future_size
        return K + past + flags + known + columns.static_size + told + (K if self.level else 0)


@dataclass(frozen=True, eq=False)
class Reader:
    """What has to be remembered of one id's rows to read the next; N scaled columns, K of them targets.

    Attributes:
        last: (N,) the last observed values, NaN before there was one.
        count: (N,) observed values so far.
        mean: (N,) m.
        square: (N,) q.
        level: (K,) the running mean of about C rows, NaN before there was a value.
    """

    last: Array
    count: Array
    mean: Array
    square: Array
    level: Array

    @classmethod
    def fresh(cls, columns: Columns) -> Reader:
        """Before the first row."""
        N, K = len(columns.numbers), len(columns.targets)
        return cls(np.full(N, np.nan), np.zeros(N), np.zeros(N), np.zeros(N), np.full(K, np.nan))


@dataclass(frozen=True, eq=False)
class Reading:
    """Rows of one of the panel's series, read; n of them.

    Attributes:
        inputs: (n, ·) what is shown of the row itself: targets, past covariates, flags.
        constant: (D,) static values and what tells the series.
        level: (n, K) o after scaling.
        center: (n, K) of the scaling.
        scale: (n, K) of the scaling.
        ready: (n, K) whether anything can be asked: a value was seen, the scale is believed.
        truth: (n, K) the row's own values in the table's units, NaN where missing.
        known: (m, F) covariates known ahead, not scaled, of these rows and of those to come: m ≥ n.
        known_center: (n, F) their map at each row; 0 for 0/1 columns.
        known_scale: (n, F) likewise; 1 for 0/1 columns.
    """

    inputs: Array
    constant: Array
    level: Array
    center: Array
    scale: Array
    ready: Array
    truth: Array
    known: Array
    known_center: Array
    known_scale: Array

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, first: int, stop: int) -> Reading:
        """Some of the rows, with the covariates that are known beyond them."""
        cut = {f.name: getattr(self, f.name)[first:stop] for f in fields(self) if f.name in _BY_ROW}
        return replace(self, **cut, known=self.known[first:])

    def followed_by(self, other: Reading) -> Reading:
        """These rows and then those."""
        both = {
            f.name: np.concatenate([getattr(self, f.name), getattr(other, f.name)])
            for f in fields(self)
            if f.name in _BY_ROW
        }
        return replace(other, **both, known=np.concatenate([self.known[: len(self)], other.known]))

    def whole(self, horizon: int) -> int:
        """How many rows can be shown: all, or those whose next H rows' known covariates are there."""
        if not self.known.shape[1]:
            return len(self)
        return max(0, min(len(self), len(self.known) - horizon))

    def features(self, framing: StreamFraming, first: int, stop: int) -> Array:
        """(stop - first, F) what the network is given at these rows."""
        n = stop - first
        parts = [self.inputs[first:stop]]
        if self.known.shape[1]:
            rows = np.arange(first, stop)[:, None] + np.arange(framing.horizon + 1)
            z = (self.known[rows] - self.known_center[first:stop, None]) / self.known_scale[first:stop, None]
            parts.append(z.reshape(n, -1))
        parts.append(np.repeat(self.constant[None], n, axis=0))
        if framing.level:
            parts.append(self.level[first:stop])
        return np.concatenate(parts, axis=1)

    def targets(self, framing: StreamFraming, first: int, stop: int) -> Array:
        """(stop - first, H, K) what is asked at these rows, in the network's units; NaN where missing, not
        yet there, or not to be asked.
        """
        H = framing.horizon
        rows = np.arange(first, stop)[:, None] + np.arange(1, H + 1)
        there = rows < len(self)
        truth = np.where(there[..., None], self.truth[np.minimum(rows, len(self) - 1)], np.nan)
        z = (truth - self.center[first:stop, None]) / self.scale[first:stop, None]
        y = (z - self.level[first:stop, None]) / framing.asked
        return np.where(self.ready[first:stop, None], y, np.nan)


_BY_ROW = ("inputs", "level", "center", "scale", "ready", "truth", "known_center", "known_scale")


def read_rows(
    raw: Raw, reader: Reader, framing: StreamFraming, columns: Columns, scaling: Scaling, ahead: Array
) -> tuple[list[Reading], Reader]:
    """Read the next rows of one id.

    Args:
        raw: the rows.
        reader: after the rows before.
        framing: how they are shown.
        columns: the roles.
        scaling: the fixed maps.
        ahead: (·, F) covariates known of the rows to come, not scaled: numbers, then levels.
    Returns:
        One reading for each of the panel's series of this id, and what to remember.
    """
    K, N = len(columns.targets), len(columns.numbers)
    past = len(columns.plain(columns.past))
    numbers = raw.numbers
    seen = ~np.isnan(numbers)
    filled = _carried(numbers, reader.last)  # (n, N)
    after = replace(
        reader, last=filled[-1] if len(filled) else reader.last, count=reader.count + seen.sum(axis=0)
    )
    counts = reader.count + np.cumsum(seen, axis=0)
    if framing.running:
        center, scale, mean, square = _running(numbers, seen, counts, reader, framing.memory)
        after = replace(after, mean=mean, square=square)
        ready = counts[:, :K] >= WARM
    else:
        place = scaling.numbers.index(raw.id)
        center = np.repeat(scaling.numbers.center[place][None], len(numbers), axis=0)
        scale = np.repeat(scaling.numbers.scale[place][None], len(numbers), axis=0)
        ready = counts[:, :K] > 0
    level, shown, last = _levels(numbers, filled, center, reader, framing, K)
    after = replace(after, level=last)
    shown = shown / scale[:, :K]
    level = np.where(ready, (level - center[:, :K]) / scale[:, :K], 0.0)
    helping = (filled[:, K : K + past] - center[:, K : K + past]) / scale[:, K : K + past]
    static = scaling.static.transform(raw.static[None])[0]
    known = np.concatenate([numbers[:, K + past :], raw.future_levels], axis=1)
    known = np.concatenate([known, ahead]) if known.shape[1] else np.zeros((len(numbers), 0))
    plain = N - K - past
    flat = known.shape[1] - plain
    found = []
    names = columns.series_names([raw.id])
    for copy, name in enumerate(names):
        at = slice(0, K) if columns.mode == "joint" else slice(copy, copy + 1)
        values = np.concatenate([shown[:, at] / framing.shown, helping, raw.past_levels], axis=1)
        values = np.nan_to_num(values, nan=0.0)  # nothing seen so far
        if framing.mask:
            there = np.concatenate(
                [seen[:, at], seen[:, K : K + past], np.ones_like(raw.past_levels, dtype=bool)], axis=1
            )
            values = np.concatenate([np.where(there, values, 0.0), there.astype(np.float64)], axis=1)
        found.append(
            Reading(
                inputs=values,
                constant=np.concatenate([static, identity(name, columns)]),
                level=level[:, at],
                center=center[:, at],
                scale=scale[:, at],
                ready=ready[:, at],
                truth=numbers[:, at],
                known=known,
                known_center=np.concatenate([center[:, K + past :], np.zeros((len(numbers), flat))], axis=1),
                known_scale=np.concatenate([scale[:, K + past :], np.ones((len(numbers), flat))], axis=1),
            )
        )
    return found, after


def _carried(numbers: Array, last: Array) -> Array:
    """(n, N) rows with each gap filled by the last value before it; NaN before there was one."""
    whole = np.concatenate([last[None], numbers])
    steps = np.arange(len(whole))[:, None]
    place = np.maximum.accumulate(np.where(np.isnan(whole), 0, steps), axis=0)
    filled: Array = np.take_along_axis(whole, place, axis=0)[1:]
    return filled


def _running(
    numbers: Array, seen: Array, counts: Array, reader: Reader, memory: int
) -> tuple[Array, Array, Array, Array]:
    """(n, N) center and scale after each row, and the last m and q."""
    mean, square = reader.mean, reader.square
    center, spread = np.empty_like(numbers), np.empty_like(numbers)
    share = 1 / np.clip(counts, 1, memory)
    for t, x in enumerate(numbers):  # row by row, so that a block and its rows give the same bits
        away = np.where(seen[t], x - mean, 0.0)
        a = np.where(seen[t], share[t], 0.0)
        mean = mean + a * away
        square = (1 - a) * (square + a * away * away)
        center[t], spread[t] = mean, square
    scale = np.sqrt(spread)
    # a column that varies by rounding alone is constant, as in a fixed scaling
    constant = (scale <= 1e-12 * np.abs(center)) | (scale < np.finfo(np.float64).tiny)
    return center, np.where(constant, 1.0, scale), mean, square


def _levels(
    numbers: Array,
    filled: Array,
    center: Array,
    reader: Reader,
    framing: StreamFraming,
    K: int,
) -> tuple[Array, Array, Array]:
    """(n, K) o_t, (n, K) v_t less what is taken away, in the table's units, and the last running mean."""
    targets = filled[:, :K]
    if framing.window_scaling is None:
        return center[:, :K], targets - center[:, :K], reader.level
    level = reader.level
    count = reader.count[:K].copy()
    levels = np.empty_like(targets)
    for t, x in enumerate(numbers[:, :K]):
        seen = ~np.isnan(x)
        count = count + seen
        away = np.where(seen & ~np.isnan(level), x - level, 0.0)
        level = np.where(seen & np.isnan(level), x, level + away / np.clip(count, 1, framing.context))
        levels[t] = level
    return targets if framing.window_scaling == "last" else levels, targets - levels, level


def spreads(readings: Sequence[Reading], spans: Sequence[slice], framing: StreamFraming) -> StreamFraming:
    """The framing with a and b as root mean squares over the training rows; 1 where nothing varies.

    Args:
        readings: made with a = b = 1.
        spans: (series) rows of each that are trained on.
        framing: the rest.
    """
    K = framing.shown.shape[0]
    if framing.window_scaling is None:
        return framing
    shown = np.concatenate(
        [r.inputs[span, :K][r.ready[span].all(axis=1)] for r, span in zip(readings, spans)]
    )
    asked = [
        r.rows(0, span.stop).targets(framing, *_thinned(span)).reshape(-1, K)
        for r, span in zip(readings, spans)
    ]
    return replace(framing, shown=_size(shown), asked=_size(np.concatenate(asked)))


def _thinned(span: slice) -> tuple[int, int]:
    """The last rows of a span, 20,000 at most: more would not change the second digit."""
    return max(span.start, span.stop - 20_000), span.stop


def _size(values: Array) -> Array:
    count = (~np.isnan(values)).sum(axis=0)
    square = np.nansum(values**2, axis=0) / np.maximum(count, 1)
    size: Array = np.sqrt(square)
    return np.where(size > 1e-12, size, 1.0)


def scaled_inputs(readings: Sequence[Reading], framing: StreamFraming) -> list[Reading]:
    """Readings made with a = 1, as if read with the framing's a."""
    K = framing.shown.shape[0]

    def one(reading: Reading) -> Reading:
        inputs = np.concatenate([reading.inputs[:, :K] / framing.shown, reading.inputs[:, K:]], axis=1)
        return replace(reading, inputs=inputs)

    return [one(reading) for reading in readings]


def arrays_of(value: Any) -> dict[str, Array]:  # noqa: ANN401  a Reader or a Reading
    """The arrays of a reader or a reading by name."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
