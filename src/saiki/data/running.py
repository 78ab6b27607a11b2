"""Scaling learned while the rows arrive: each row is scaled by what was seen up to it and no later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from saiki.core.errors import DataError, OptionError, SchemaError, ShapeError
from saiki.data.scaling import Scaler, ScalingKind
from saiki.data.times import Array

_PARTS = ("count", "first", "second")


@final
@dataclass(frozen=True, eq=False)
class RunningScaler:
    """An affine map a column that moves with every row.

        n_t = n_{t-1} + 1        m_t = m_{t-1} + (x_t - m_{t-1}) / n_t
        q_t = q_{t-1} + (x_t - m_{t-1}) (x_t - m_t)              standard: center m_t, scale √(q_t / n_t)
        l_t = min(l_{t-1}, x_t),  u_t = max(u_{t-1}, x_t)        minmax: center l_t, scale u_t - l_t

    Row t is scaled by the map after row t and stays as it is when the map moves on. As in `Scaler`, a column
    that has not varied has scale 1, and NaN stays NaN and moves nothing. Rows one at a time and rows in
    blocks give the same bits.

    Attributes:
        kind: `standard`, `minmax` or `none`.
        count: (F,) float64, rows seen.
        first: (F,) float64, m or l.
        second: (F,) float64, q or u.

    Source: Welford 1962.
    """

    kind: ScalingKind
    count: Array
    first: Array
    second: Array

    @classmethod
    def start(cls, features: int, kind: str | None = "standard") -> RunningScaler:
        """The map before the first row: center 0, scale 1."""
        chosen = "none" if kind is None else kind
        if chosen not in ("standard", "minmax", "none"):
            raise OptionError(f"scaling={kind!r} is unknown.", "Known: 'standard', 'minmax', None.")
        return cls(chosen, *(np.zeros(features) for _ in _PARTS))  # type: ignore[arg-type]

    def advance(self, rows: Array) -> tuple[Array, RunningScaler]:
        """Scale (T, F) rows, each by the map after it, and give the map after the last.

        Raises:
            ShapeError: not F columns.
            DataError: a value is infinite.
        """
        F = len(self.count)
        if rows.ndim != 2 or rows.shape[1] != F:
            raise ShapeError(f"rows are {rows.shape} but must be (T, {F}).")
        if np.isinf(rows).any():
            row, column = np.argwhere(np.isinf(rows))[0].tolist()
            raise DataError(f"column {column} holds an infinite value in row {row}.", "Leave the row out.")
        values = rows.astype(np.float64)
        if self.kind == "none" or not len(values):
            return values, replace(self, count=self.count + (~np.isnan(values)).sum(axis=0))
        scaled, here = np.empty_like(values), self
        for t, x in enumerate(values):
            here = here._after(x)
            center, scale = here._map()
            scaled[t] = (x - center) / scale
        return scaled, here

    def _after(self, x: Array) -> RunningScaler:
        seen = ~np.isnan(x)
        value = np.where(seen, x, 0.0)
        count = self.count + seen
        if self.kind == "minmax":
            begun = self.count > 0
            low = np.where(begun, np.minimum(self.first, value), value)
            high = np.where(begun, np.maximum(self.second, value), value)
            return replace(
                self,
                count=count,
                first=np.where(seen, low, self.first),
                second=np.where(seen, high, self.second),
            )
        away = np.where(seen, value - self.first, 0.0)
        mean = self.first + away / np.maximum(count, 1)
        square = self.second + away * np.where(seen, value - mean, 0.0)
        return replace(self, count=count, first=mean, second=square)

    def _map(self) -> tuple[Array, Array]:
        if self.kind == "minmax":
            scale = self.second - self.first
        elif self.kind == "standard":
            scale = np.sqrt(self.second / np.maximum(self.count, 1))
        else:
            return np.zeros_like(self.first), np.ones_like(self.first)
        constant = (scale <= 1e-12 * np.abs(self.first)) | (scale < np.finfo(np.float64).tiny)
        return self.first, np.where(constant, 1.0, scale)

    def fixed(self, columns: Sequence[str]) -> Scaler:
        """The map as it stands now, for whole sequences."""
        center, scale = self._map()
        return Scaler(self.kind, center[None].copy(), scale[None].copy(), tuple(columns))

    def tensors(self) -> dict[str, Array]:
        """`count`, `first` and `second`, float64."""
        return {"count": self.count, "first": self.first, "second": self.second}

    @classmethod
    def restore(cls, kind: str | None, tensors: Mapping[str, Array], features: int) -> RunningScaler:
        """The scaler that gave `tensors`.

        Raises:
            SchemaError: a part is missing, of another shape, or no number that it can be.
        """
        parts = []
        for name in _PARTS:
            value = np.asarray(tensors.get(name, np.zeros(0)), dtype=np.float64)
            if value.shape != (features,) or not np.isfinite(value).all():
                raise SchemaError(f"the running scaler's {name} is {value.shape} but must be ({features},).")
            parts.append(value)
        if (parts[0] < 0).any() or (kind == "standard" and (parts[2] < 0).any()):
            raise SchemaError("the running scaler counts fewer rows than none.")
        return replace(cls.start(features, kind), count=parts[0], first=parts[1], second=parts[2])
