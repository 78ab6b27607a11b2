"""How the rows of streams come in to `partial_fit`: one stream or several, a row at a time or a block.

    one stream       (T, F), a data frame of T rows, or a list of T rows; y (T,) or (T, K)
    several streams  a list of B arrays (T_b, F), (B, T, F), a Ragged; y a list of B arrays, or (B, T)

A stream without new rows is an empty array. Every call brings the same streams in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from saiki.core.errors import DataError, DTypeError, LabelError, LengthError, ShapeError, ValueRangeError
from saiki.core.names import unknown
from saiki.core.ragged import Ragged
from saiki.models.options import Array
from saiki.models.sequence_features import read_numbers
from saiki.models.sequence_input import _open_frame, is_frame, is_missing, of_one_kind, to_numpy

UNTOUCHED = "Nothing of this call was learned; the stream stands where it stood."


@dataclass(frozen=True, eq=False)
class Rows:
    """New rows of B streams.

    Attributes:
        arrays: B arrays (T_b, F) of floats.
        single: they came as one stream, not as a list of one.
        columns: names of the features where a frame gave them.
    """

    arrays: list[Array]
    single: bool
    columns: tuple[str, ...] | None = None

    @property
    def lengths(self) -> list[int]:
        """Rows of each stream."""
        return [len(a) for a in self.arrays]

    def in_time(self) -> Array:
        """(N,) places of the rows, laid one stream after another, in the order of time: step by step."""
        lengths = self.lengths
        step = np.concatenate([np.arange(n) for n in lengths])
        return np.lexsort((np.repeat(np.arange(len(lengths)), lengths), step))

    def split(self, values: Array) -> list[Array]:
        """Values a row, stream after stream, as one array a stream."""
        return np.split(values, np.cumsum(self.lengths)[:-1])

    def as_came(self, values: Array) -> Array | list[Array]:
        """Values a row in the form in which the rows came."""
        return values if self.single else self.split(values)


def read_rows(
    X: object,
    *,
    features: int | None = None,
    columns: Sequence[str] | None = None,
    gaps: bool = False,
    known: Sequence[str] | None = None,
) -> Rows:
    """Read new rows.

    Args:
        X: in one of the forms at the head of this file.
        features: F that the stream has; None at its first row.
        columns: of a frame, the feature columns wanted; None takes all.
        gaps: NaN may stand for a missing number.
        known: the columns that the model reads, from its first rows.

    Raises:
        ShapeError: no rows, or another width than before.
        DTypeError: not numbers.
        ValueRangeError: NaN (without `gaps`) or infinity; stream, row and feature are named.
    """
    names: tuple[str, ...] | None = None
    single = True
    if is_frame(X):
        names, array = _frame(X, known or columns, gaps)
        arrays = [array]
    elif isinstance(X, (Ragged, PackedSequence)) or (isinstance(X, Tensor) and X.is_nested):
        arrays, single = [to_numpy(part) for part in Ragged.of(X).to_list()], False
    else:
        arrays, single = _plain(X)
    arrays = [_floats(array, b, single) for b, array in enumerate(arrays)]
    widths = {a.shape[1] for a in arrays if len(a)} or {a.shape[1] for a in arrays}
    width = next(iter(widths))
    if len(widths) > 1 or width == 0:
        raise ShapeError(
            f"the streams have rows of {sorted(widths)} features, but all must have as many, at least 1.",
            UNTOUCHED,
        )
    if features is not None and width != features:
        raise ShapeError(
            f"a row has {width} features, but X has {features} features in this stream and this model is "
            f"expecting {features} features as input: a stream's width cannot change.",
            UNTOUCHED,
        )
    arrays = [a if len(a) else a.reshape(0, width) for a in arrays]
    for b, array in enumerate(arrays):
        bad = np.isinf(array) if gaps else ~np.isfinite(array)
        if bad.any():
            row, feature = np.argwhere(bad)[0].tolist()
            what = "NaN" if np.isnan(array[row, feature]) else "infinity (inf)"
            of = "" if single else f" of stream {b}"
            fill = "" if gaps else "Fill it in, or use missing='mask'. "
            raise ValueRangeError(f"row {row}{of} holds {what} in feature {feature}.", fill + UNTOUCHED)
    return Rows(arrays, single, names)


def _plain(X: object) -> tuple[list[Array], bool]:
    if hasattr(X, "toarray") or hasattr(X, "tocsr"):
        raise DTypeError("X is a sparse matrix, but must be a dense array.", "Use X.toarray().")
    if isinstance(X, (list, tuple)) and X and all(np.ndim(_array(part)) == 2 for part in X):
        return [_array(part) for part in X], False
    array = _array(X)
    if array.ndim == 3:
        return list(array), False
    if array.ndim != 2:
        raise ShapeError(
            f"Expected 2D array, got {array.ndim}D array instead: X is {array.shape}, new rows are (T, F).",
            "Reshape your data using X[None] if it is one row, or X[:, None] if it is one feature.",
        )
    return [array], True


def _array(part: object) -> Array:
    if isinstance(part, Tensor):
        return to_numpy(part)
    try:
        return np.asarray(part)
    except (ValueError, TypeError) as error:
        raise ShapeError(f"X cannot be read as rows: {error}.", "Give (T, F), or a list of such.") from error


def _floats(array: Array, b: int, single: bool) -> Array:
    if array.ndim == 1 and not len(array):
        array = array.reshape(0, 0)
    if array.ndim != 2:
        raise ShapeError(f"stream {b} is {array.shape} but must be (T, F).", UNTOUCHED)
    if array.dtype.kind == "c":
        raise ValueRangeError(f"Complex data not supported: X holds {array.dtype}.")
    if array.dtype.kind not in "biuf":
        try:
            array = array.astype(np.float64) if array.dtype.kind == "O" else _refuse(array)
        except (ValueError, TypeError) as error:
            whose = "X" if single else f"stream {b}"
            raise DTypeError(f"{whose} holds {array.dtype}: {error}", UNTOUCHED) from error
    return array.astype(np.float64)


def _refuse(array: Array) -> Array:
    raise TypeError(f"rows must be numbers, not {array.dtype}.")


def _frame(X: object, wanted: Sequence[str] | None, gaps: bool) -> tuple[tuple[str, ...], Array]:
    names, column, _ = _open_frame(X)
    chosen = tuple(names if wanted is None else wanted)
    for name in chosen:
        if name not in names:
            raise DataError(f"X lacks a column that this model reads: {unknown(name, names, 'column')}")
    values = [
        read_numbers(column(name), name, lambda row: f"row {row} of X", "mask" if gaps else "error")
        for name in chosen
    ]
    return chosen, np.stack(values, axis=1)


def read_row_targets(y: object, rows: Rows, *, labels: bool, gaps: bool = False) -> Array:
    """(N,) or (N, K) targets, stream after stream: one for each row.

    Args:
        y: (T,) or (T, K) for one stream; a list of such, or (B, T) or (B, T, K), for several.
        rows: as read.
        labels: whether y holds labels.
        gaps: a number may be NaN where it was not observed.

    Raises:
        LengthError, LabelError: not one for each row; a label is missing.
        ValueRangeError, ShapeError, DTypeError: not finite numbers, rows of unequal width.
    """
    Wrong = LabelError if labels else LengthError
    if y is None:
        raise Wrong("partial_fit requires y to be passed, but the target y is None.", "Give one row a step.")
    if isinstance(y, Ragged):
        y = [to_numpy(part) for part in y.to_list()]
    parts: list[Any] = [y] if rows.single else list(y)  # type: ignore[call-overload]
    if len(parts) != len(rows.arrays):
        raise Wrong(f"y has {len(parts)} entries but there are {len(rows.arrays)} streams.", UNTOUCHED)
    found: list[Array] = []
    for b, (part, length) in enumerate(zip(parts, rows.lengths)):
        values = to_numpy(part) if isinstance(part, torch.Tensor) else np.asarray(part)
        if values.ndim == 0 or len(values) != length:
            came = "a single value" if values.ndim == 0 else f"{len(values)} rows"
            whose = "X" if rows.single else f"stream {b}"
            raise Wrong(
                f"y has {came} but {whose} has {length}: inconsistent numbers of samples; partial_fit learns "
                "from a target a row.",
                UNTOUCHED,
            )
        found.append(of_one_kind(values) if values.ndim == 1 else values)
    full = [v for v in found if len(v)]
    if not full:
        return np.zeros(0)
    if len({v.shape[1:] for v in full}) > 1:
        raise ShapeError("the entries of y differ in their number of outputs.", UNTOUCHED)
    values = np.concatenate(full)
    return _checked_labels(values) if labels else _checked_numbers(values, gaps)


def _checked_labels(values: Array) -> Array:
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise LabelError(f"y is {values.shape} but must hold one label a row.", UNTOUCHED)
    if is_missing(values).any():
        row = int(np.argmax(is_missing(values)))
        raise LabelError(f"y contains NaN or None in row {row}, but every row needs a label.", UNTOUCHED)
    return values


def _checked_numbers(values: Array, gaps: bool) -> Array:
    if values.dtype.kind not in "biuf":
        try:
            values = values.astype(np.float64)
        except (ValueError, TypeError) as error:
            raise DTypeError(f"y holds {values.dtype} but must hold numbers: {error}.", UNTOUCHED) from None
    values = values.astype(np.float64)
    if values.ndim > 2 or (values.ndim == 2 and not values.shape[1]):
        raise ShapeError(f"y has rows of shape {values.shape[1:]}, not a number or K numbers.", UNTOUCHED)
    bad = np.isinf(values) if gaps else ~np.isfinite(values)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        hint = "" if gaps else "missing='mask' learns from the other rows. "
        raise ValueRangeError(f"y contains NaN or infinity in row {row}.", hint + UNTOUCHED)
    return values
