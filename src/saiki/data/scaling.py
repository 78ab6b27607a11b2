"""Scaling: bring every column to a like size, by training rows alone, and give the numbers back after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from saiki.core.errors import DataError, OptionError, SchemaError, ShapeError
from saiki.core.names import nearest
from saiki.data.times import Array

if TYPE_CHECKING:
    from torch import Tensor

ScalingKind = Literal["standard", "minmax", "none"]
WindowScaling = Literal["mean", "last"] | None
A = TypeVar("A", Array, "Tensor")


@dataclass(frozen=True, eq=False)
class Scaler:
    """An affine map a column, one for all series or one for each.

        z = (x - center) / scale        standard: center the mean, scale the standard deviation (divided by n)
                                        minmax:   center the smallest value, scale the range
                                        none:     0 and 1

    A column that does not vary has scale 1, so it becomes 0 and comes back as it was. NaN stays NaN.

    Attributes:
        kind: `standard`, `minmax` or `none`.
        center: (S, F) float64; S is 1 where all series share one map.
        scale: (S, F) float64, above 0.
        columns: F names.
        series: S names where each series has a map of its own, else empty.
    """

    kind: ScalingKind
    center: Array = field(repr=False)
    scale: Array = field(repr=False)
    columns: tuple[str, ...]
    series: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        values: Array | Sequence[Array],
        kind: str | None = "standard",
        *,
        per_series: bool = False,
        columns: Sequence[str] | None = None,
        series: Sequence[str] | None = None,
    ) -> Scaler:
        """Learn the maps. Give training rows only: what is measured here leaks into everything after.

        Args:
            values: (T, F) rows, or a list with one such array a series; NaN where missing.
            kind: `standard`, `minmax`, or `none` (None means the same).
            per_series: one map for each array of the list.
            columns: names of the columns, for messages.
            series: names of the series, needed to find a series' map again.
        Raises:
            OptionError: the kind is unknown.
            ShapeError: the arrays are not all (T, F) of one F.
            DataError: a column holds an infinite value, or no value at all.
        """
        chosen = _kind(kind)
        arrays = [values] if isinstance(values, np.ndarray) else list(values)
        if not arrays:
            raise DataError("there are no rows to fit a scaler on.", hint="Give at least one series.")
        arrays = [np.asarray(array, dtype=np.float64) for array in arrays]
        for array in arrays:
            if array.ndim != 2 or array.shape[1] != arrays[0].shape[1]:
                raise ShapeError(
                    "a scaler is fitted on (T, F) arrays of one F, but got "
                    f"{[array.shape for array in arrays[:4]]}.",
                    hint="Give one row a time step and one column a feature.",
                )
        names = (
            tuple(columns) if columns is not None else tuple(f"column {i}" for i in range(arrays[0].shape[1]))
        )
        labels = tuple(series) if series is not None else tuple(str(i) for i in range(len(arrays)))
        if len(names) != arrays[0].shape[1] or (per_series and len(labels) != len(arrays)):
            raise ShapeError(
                f"{len(names)} column names and {len(labels)} series names were given for "
                f"{len(arrays)} arrays of "
                f"{arrays[0].shape[1]} columns.",
                hint="Give one name each.",
            )
        groups = arrays if per_series else [np.concatenate(arrays)]
        maps = [
            _fit_one(group, chosen, names, f" of series {label!r}" if per_series else "")
            for group, label in zip(groups, labels if per_series else [""], strict=True)
        ]
        center, scale = (np.stack(part) for part in zip(*maps, strict=True))
        return cls(chosen, center, scale, names, labels if per_series else ())

    @property
    def per_series(self) -> bool:
        """Whether each series has a map of its own."""
        return bool(self.series)

    def index(self, name: str) -> int:
        """The row of a series' map; 0 where all share one.

        Raises:
            DataError: the series was not there when the scaler was fitted.
        """
        if not self.series:
            return 0
        if name in self.series:
            return self.series.index(name)
        guess = nearest(name, self.series)
        raise DataError(
            f"series {name!r} was not among the training series, so it has no scaling of its own"
            + (f"; did you mean {guess!r}?" if guess else "."),
            hint="Use a scaling shared by all series, or fit on data that has this series.",
        )

    def with_series(self, name: str, values: Array) -> Scaler:
        """The scaler with a map for one more series, fitted on its (T, F) values."""
        if not self.series:
            return self
        center, scale = _fit_one(
            np.asarray(values, dtype=np.float64), self.kind, self.columns, f" of series {name!r}"
        )
        return replace(
            self,
            center=np.concatenate([self.center, center[None]]),
            scale=np.concatenate([self.scale, scale[None]]),
            series=(*self.series, name),
        )

    def select(self, columns: Sequence[str | int]) -> Scaler:
        """The scaler of some of the columns, by name or index, in the order given."""
        at = [column if isinstance(column, int) else self.columns.index(column) for column in columns]
        names = tuple(self.columns[i] for i in at)
        return replace(self, center=self.center[:, at], scale=self.scale[:, at], columns=names)

    def transform(self, x: A, series: int | Sequence[int] | Array = 0, axis: int = -1) -> A:
        """Original units to scaled ones.

        Args:
            x: a numpy array or a tensor with the F columns on `axis`.
            series: row of the map (see `index`), or (B,) rows for an x whose first axis is B.
            axis: the axis of the columns; the last by default.
        """
        center, scale = self._like(x, series, axis)
        z: A = (x - center) / scale
        return z

    def inverse(self, z: A, series: int | Sequence[int] | Array = 0, axis: int = -1) -> A:
        """Scaled units to original ones; see `transform`."""
        center, scale = self._like(z, series, axis)
        x: A = z * scale + center
        return x

    def inverse_width(self, z: A, series: int | Sequence[int] | Array = 0, axis: int = -1) -> A:
        """A distance (an error, a standard deviation) in scaled units to original ones: z · scale."""
        _, scale = self._like(z, series, axis)
        width: A = z * scale
        return width

    def to_config(self) -> dict[str, Any]:
        """Options as plain JSON values; the numbers are in `tensors`."""
        return {"kind": self.kind, "columns": list(self.columns), "series": list(self.series)}

    def tensors(self) -> dict[str, Array]:
        """`center` and `scale`, float64."""
        return {"center": self.center, "scale": self.scale}

    @classmethod
    def restore(cls, config: dict[str, Any], tensors: dict[str, Array]) -> Scaler:
        """The scaler that gave `to_config` and `tensors`.

        Raises:
            SchemaError: names and numbers do not fit each other, or a number is no scale.
        """
        columns, series = tuple(config["columns"]), tuple(config["series"])
        shape = (max(1, len(series)), len(columns))
        arrays = [np.asarray(tensors[name], dtype=np.float64) for name in ("center", "scale")]
        for name, array in zip(("center", "scale"), arrays, strict=True):
            if array.shape != shape:
                raise SchemaError(f"the scaler's {name} is {array.shape} but its names need {shape}.")
            if not np.isfinite(array).all():
                raise SchemaError(f"the scaler's {name} holds a number that is not finite.")
        if not (arrays[1] > 0).all():
            raise SchemaError("the scaler's scale holds a number that is not above 0.")
        return cls(_kind(config["kind"]), arrays[0], arrays[1], columns, series)

    def _like(self, x: Array | Tensor, series: int | Sequence[int] | Array, axis: int) -> tuple[Any, ...]:
        """Center and scale, shaped to broadcast against x and of its kind."""
        if not -x.ndim <= axis < x.ndim or x.shape[axis] != len(self.columns):
            raise ShapeError(
                f"the array is {tuple(x.shape)} but the scaler has {len(self.columns)} columns on "
                f"axis {axis}.",
                hint="Give the columns the scaler was fitted on, or use select().",
            )
        axis %= x.ndim
        rows = np.asarray(series)
        if rows.ndim > 1 or (rows.ndim == 1 and (axis == 0 or len(rows) != x.shape[0])):
            raise ShapeError(
                f"series is {rows.shape} but the array is {tuple(x.shape)}.",
                hint="Give one series for all, or one for each entry of the first axis.",
            )
        if not self.series:
            rows = np.zeros_like(rows)
        shape = [1] * x.ndim
        shape[axis] = len(self.columns)
        if rows.ndim == 1:
            shape[0] = len(rows)
        center, scale = (part[rows].reshape(shape) for part in (self.center, self.scale))
        if isinstance(x, np.ndarray):
            dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
            return center.astype(dtype), np.maximum(scale, np.finfo(dtype).tiny).astype(dtype)
        import torch

        scale = np.maximum(scale, torch.finfo(x.dtype).tiny)  # a float64 scale may be 0 in float32
        return tuple(torch.as_tensor(part, dtype=x.dtype, device=x.device) for part in (center, scale))


def _kind(kind: str | None) -> ScalingKind:
    known: tuple[ScalingKind, ...] = ("standard", "minmax", "none")
    for option in known:
        if (kind or "none") == option:
            return option
    guess = nearest(str(kind), known)
    raise OptionError(
        f"scaling={kind!r} is unknown" + (f"; did you mean {guess!r}?" if guess else "."),
        hint="Known: 'standard', 'minmax', None.",
    )


def _fit_one(values: Array, kind: ScalingKind, names: Sequence[str], of: str) -> tuple[Array, Array]:
    if np.isinf(values).any():
        row, column = np.argwhere(np.isinf(values))[0].tolist()
        raise DataError(
            f"column {names[column]!r}{of} holds an infinite value in row {row} (counted from 0).",
            hint="Correct it, or mark it as missing.",
        )
    F = values.shape[1]
    if kind == "none":
        return np.zeros(F), np.ones(F)
    empty = np.isnan(values).all(axis=0)  # True where there are no rows, too
    if empty.any():
        raise DataError(
            f"column {names[int(np.flatnonzero(empty)[0])]!r}{of} has no value in the training rows, "
            "so it cannot be scaled.",
            hint="Leave the column out, or train on rows that have values in it.",
        )
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    # Divided by a power of two (exact) first, so that no sum of squares overflows.
    size = np.ldexp(1.0, np.frexp(np.maximum(np.abs(low), np.abs(high)))[1] - 1)
    size = np.maximum(size, np.finfo(np.float64).tiny)
    unit = values / size
    if kind == "minmax":
        center, spread = low, high / 2 - low / 2
        scale = np.minimum(spread, np.finfo(np.float64).max / 4) * 2
    else:
        center = np.nanmean(unit, axis=0) * size
        scale = np.nanstd(unit, axis=0) * size
    # A column that varies by rounding alone is constant: dividing by its spread would blow noise up.
    constant = (high == low) | (scale <= 1e-12 * np.abs(center)) | (scale < np.finfo(np.float64).tiny)
    return np.where(constant, low, center), np.where(constant, 1.0, scale)


def window_level(context: A, how: WindowScaling) -> A:
    """The level of each window, to be taken away from it and given back to its forecast.

        mean: the mean of the observed steps      last: the last observed value      None: 0

    Args:
        context: (..., T, F) windows, NaN where missing; a numpy array or a tensor.
        how: `mean`, `last` or None.
    Returns:
        (..., 1, F); 0 where a window has nothing observed in a column. context - level is the window the
        network sees, forecast + level what it says.
    Raises:
        OptionError: `how` is unknown.
        ShapeError: the windows have no time axis or no steps.
    """
    if how not in ("mean", "last", None):
        raise OptionError(f"window_scaling={how!r} is unknown.", hint="Use 'mean', 'last' or None.")
    if context.ndim < 2 or context.shape[-2] < 1:
        raise ShapeError(
            f"windows are {tuple(context.shape)} but must be (..., T, F) with at least one step.",
            hint="Give a context of at least 1.",
        )
    if isinstance(context, np.ndarray):
        return _numpy_level(context, how)
    return _torch_level(context, how)


def _numpy_level(context: Array, how: WindowScaling) -> Array:
    if how is None:
        return np.zeros_like(context[..., :1, :])
    seen = ~np.isnan(context)
    if how == "mean":
        count = np.maximum(seen.sum(axis=-2, keepdims=True), 1)
        return np.asarray(np.where(seen, context, 0).sum(axis=-2, keepdims=True) / count, dtype=context.dtype)
    T = context.shape[-2]
    last = T - 1 - np.argmax(seen[..., ::-1, :], axis=-2, keepdims=True)
    level = np.take_along_axis(context, last, axis=-2)
    return np.where(np.isnan(level), 0, level).astype(context.dtype)


def _torch_level(context: Tensor, how: WindowScaling) -> Tensor:
    import torch

    if how is None:
        return torch.zeros_like(context[..., :1, :])
    seen = ~torch.isnan(context)
    if how == "mean":
        count = seen.sum(-2, keepdim=True).clamp(min=1)
        return torch.where(seen, context, torch.zeros_like(context)).sum(-2, keepdim=True) / count
    T = context.shape[-2]
    steps = torch.arange(T, device=context.device)[:, None].expand(context.shape)
    last = torch.where(seen, steps, torch.zeros_like(steps)).amax(-2, keepdim=True)
    level = torch.gather(context, -2, last)
    return torch.where(torch.isnan(level), torch.zeros_like(level), level)
