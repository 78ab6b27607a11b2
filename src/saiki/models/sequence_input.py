"""How X comes in to the sequence tasks; y is read in `sequence_targets.py`.

X, n sequences, may be

    a list of (T_i, F) arrays, or an object array of them; a (T_i,) array is one feature
    a 3-d array (n, T, F), with lengths=(n,) where sequences end earlier (what lies behind is ignored)
    a 2-d array (n, T): n sequences of T steps with one feature, the form of the UCR archive
    a Ragged, a PackedSequence, a jagged nested tensor
    a long data frame, one row a step, with the columns named by id= and (optionally) time=
"""

from __future__ import annotations

import logging
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from saiki.core.checks import explain_channels_first, listed, require_finite, require_lengths
from saiki.core.errors import (
    DataError,
    DTypeError,
    LengthError,
    OptionError,
    ShapeError,
    ValueRangeError,
)
from saiki.core.names import unknown
from saiki.core.ragged import Ragged
from saiki.data.categories import Categories
from saiki.data.table import Table
from saiki.models.sequence_features import is_text, read_category, read_codes, read_numbers

Array: TypeAlias = NDArray[Any]
Layout: TypeAlias = Literal["auto", "steps_first", "channels_first"]
logger = logging.getLogger("saiki")

LAYOUTS = ("auto", "steps_first", "channels_first")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Which columns of a long data frame mean what.

    Attributes:
        id: column that tells the sequences apart.
        time: column that orders the steps; None takes the rows as they come.
        columns: feature columns; None takes every other column.
        target: columns that y names; never features.
        categories: feature columns to be read as categories; None takes those that hold text.
        encoding: "one_hot" or "embed", of the categories.
        known: the categories of a fitted model; None learns them.
    """

    id: str | None = None
    time: str | None = None
    columns: Sequence[str] | None = None
    target: tuple[str, ...] = ()
    categories: Sequence[str] | None = None
    encoding: str = "one_hot"
    known: tuple[Categories, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Sequences as they were read, of one width.

    Attributes:
        arrays: n arrays (T_i, F), in the user's order; finite, but NaN where a number is missing and may be.
        form: how they came: "list", "array" (2-d or 3-d, all lengths equal), "frame" or "ragged".
        columns: names of the features where a frame gave them.
        ids: the frame's ids, one a sequence.
        rows: (N,) row of the frame for each step, sequence after sequence.
        target: the frame's target columns, (N,) or (N, K), sequence after sequence.
        categories: of the frame's category columns, whose codes stand in `arrays`.
    """

    arrays: list[Array]
    form: str
    columns: tuple[str, ...] | None = None
    ids: Array | None = None
    rows: Array | None = None
    target: Array | None = None
    categories: tuple[Categories, ...] = ()

    @property
    def lengths(self) -> Array:
        """(n,) steps of each sequence."""
        return np.array([len(a) for a in self.arrays], dtype=np.int64)

    @property
    def features(self) -> int:
        """Features a step."""
        return int(self.arrays[0].shape[1])

    def __len__(self) -> int:
        return len(self.arrays)

    def select(self, indices: Array) -> list[Array]:
        """The arrays of some sequences."""
        return [self.arrays[int(i)] for i in indices]


def read_sequences(
    X: object,
    *,
    lengths: object = None,
    frame: Frame | None = None,
    layout: Layout = "auto",
    features: int | None = None,
    columns: Sequence[str] | None = None,
    missing: str = "error",
    name: str = "X",
) -> Sequences:
    """Read X in any of its forms; see the head of this file.

    Args:
        X: the sequences.
        lengths: (n,) steps in use of a 3-d or 2-d array.
        frame: which columns mean what, where X is a data frame.
        layout: axes of a 3-d array: "steps_first" (n, T, F), "channels_first" (n, F, T), which is turned
            round, or "auto": (n, T, F), and an error where it looks channels-first (four times as many
            features as steps or more), because guessing would train on nonsense.
        features: the width a fitted model expects; None at fit.
        columns: the feature columns a fitted model expects of a frame.
        missing: "error" refuses missing numbers; otherwise they are NaN in what comes back.
        name: the argument's name for messages.

    Raises:
        ShapeError, LengthError, DTypeError, ValueRangeError, DataError: what is wrong, where, and what to do.
    """
    if layout not in LAYOUTS:
        raise OptionError(unknown(layout, LAYOUTS, "layout"))
    if is_frame(X):
        if lengths is not None:
            raise LengthError(
                f"lengths came with {name}, a data frame, whose id column gives them.", "Drop it."
            )
        return _read_frame(
            X, frame or Frame(), features=features, columns=columns, missing=missing, name=name
        )
    if isinstance(X, (PackedSequence, Ragged)) or (isinstance(X, Tensor) and X.is_nested):
        if lengths is not None:
            raise LengthError(f"lengths came with {name}, which carries its own.", "Drop lengths.")
        parts = [to_numpy(part) for part in Ragged.of(X).to_list()]
        form = "ragged"
    else:
        parts, form = _read_plain(X, lengths, layout, features, name)
    arrays = [_steps_features(part, index, name) for index, part in enumerate(parts)]
    if not arrays:
        raise LengthError(f"Found array with 0 sample(s): {name} holds no sequence.", "Give at least one.")
    arrays = _one_width(arrays, features, name)
    return Sequences(arrays=_floats(arrays, name, missing), form=form)


def is_frame(X: object) -> bool:
    """Whether X is a data frame: a saiki Table, pandas, polars, or anything else with named columns.

    A pandas frame whose columns are numbers is a plain array with row labels.
    """
    if isinstance(getattr(X, "columns", None), Iterable) and hasattr(X, "iloc"):
        return not all(isinstance(c, (int, np.integer)) for c in X.columns)  # type: ignore[attr-defined]
    return isinstance(X, Table) or (
        hasattr(X, "columns") and (hasattr(X, "iloc") or hasattr(X, "get_column") or hasattr(X, "schema"))
    )


def _read_plain(
    X: object, lengths: object, layout: Layout, features: int | None, name: str
) -> tuple[list[Array], str]:
    """Lists and arrays, as a list of arrays of any rank."""
    if hasattr(X, "toarray") or hasattr(X, "tocsr"):
        raise DTypeError(
            f"{name} is a sparse matrix, but sparse input is not supported.", f"Use {name}.toarray()."
        )
    if isinstance(X, Tensor):
        X = to_numpy(X)
    if X is None or isinstance(X, (str, bytes, Mapping, set, numbers.Number)):
        raise DTypeError(
            f"{name} is {type(X).__name__} but must be sequences.", "Give a list of (T_i, F) arrays."
        )
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim != 1:
        X = _numbers(X, name)  # only a row of objects is a list of sequences
    if not isinstance(X, np.ndarray) and not isinstance(X, Iterable):
        if not hasattr(X, "__array__"):
            raise DTypeError(
                f"{name} is {type(X).__name__} but must be sequences.", "Give a list of (T_i, F) arrays."
            )
        X = np.asarray(X)
    if (isinstance(X, np.ndarray) and X.dtype != object) or (hasattr(X, "__array__") and not _is_list(X)):
        array = np.asarray(X)
        if array.ndim == 2:
            if features is not None and features > 1:
                alone = (
                    f" For one sequence of {array.shape[0]} steps, put it in a list: [{name}]."
                    if array.shape[1] == features
                    else ""
                )
                raise ShapeError(
                    f"{name} is {array.shape}, read as {array.shape[0]} sequences with 1 feature, but this "
                    f"model was fitted on {features} features a step.{alone}",
                    "Give a list of (T_i, F) arrays or (n, T, F).",
                )
            array = array[:, :, None]
        elif array.ndim == 3:
            if layout == "channels_first":
                array = array.transpose(0, 2, 1)
            elif layout == "auto":
                explained = explain_channels_first(array.shape, name, features)
                if explained is not None:
                    raise ShapeError(
                        explained,
                        "layout='channels_first' turns it round; layout='steps_first' says it is right.",
                    )
        else:
            raise ShapeError(
                f"Expected 2D or 3D array, got {array.ndim}D array instead: {name} is {array.shape}, but "
                "must be (n, T, F), or (n, T) for one feature.",
                "Reshape your data using X.reshape(1, -1) if it is one sequence of one feature.",
            )
        if lengths is None:
            return list(array), "array"
        n, steps = array.shape[:2]
        used = require_lengths(lengths, steps, n).tolist()
        return [row[:length] for row, length in zip(array, used)], (
            "array" if all(length == steps for length in used) else "list"
        )
    if lengths is not None:
        raise LengthError(
            f"lengths came with {name}, a list of sequences, which have their own lengths.", "Drop lengths."
        )
    parts = []
    for index, part in enumerate(X):  # type: ignore[arg-type]
        if isinstance(part, (numbers.Number, str, bytes)) or part is None:
            if isinstance(part, numbers.Number):
                raise ShapeError(
                    f"{name} is a list of numbers, but must be a list of sequences.",
                    "Reshape your data: [X] is one sequence of one feature.",
                )
            raise DTypeError(
                f"sequence {index} of {name} is {type(part).__name__} but must be a (T, F) array."
            )
        parts.append(
            to_numpy(part) if isinstance(part, Tensor) else _numbers(part, f"sequence {index} of {name}")
        )
    return parts, "list"


def _is_list(X: object) -> bool:
    return isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.dtype == object)


def to_numpy(x: Tensor) -> Array:
    """A plain tensor of real numbers as an array; half precision becomes float32."""
    if x.layout is not torch.strided or x.is_complex() or x.is_quantized:
        raise DTypeError(f"X is a {x.layout} {x.dtype} tensor but must be a plain one of real numbers.")
    x = x.detach().cpu()
    return np.asarray((x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).numpy())


def _numbers(part: object, name: str) -> Array:
    """One array-like as an array of numbers; objects that are all numbers are turned into them."""
    if is_frame(part):
        part = part.to_numpy()  # type: ignore[attr-defined]
    try:
        array = np.asarray(part)
    except (ValueError, TypeError, OverflowError) as error:
        raise ShapeError(
            f"{name} cannot be read as an array: {error}.", "Each sequence is one (T, F) array."
        ) from error
    if array.dtype == object:
        for value in array.flat:
            if value is not None and not isinstance(value, (numbers.Number, str, bytes, np.generic)):
                if isinstance(value, (list, tuple, np.ndarray)):
                    raise ShapeError(f"{name} holds arrays of unequal lengths, but must be one (T, F) array.")
                raise DTypeError(
                    f"{name} holds {type(value).__name__}: argument must be a string or a number, and of "
                    "these only numbers."
                )
        try:
            return array.astype(np.float64)
        except (ValueError, TypeError) as error:
            raise DTypeError(f"{name} holds objects that are not numbers: {error}.") from error
    return array


def _steps_features(array: Array, index: int, name: str) -> Array:
    if array.ndim == 1:
        return array[:, None]
    if array.ndim != 2:
        raise ShapeError(
            f"sequence {index} of {name} is {array.shape} but must be (T, F), steps by features.",
            "A list of sequences holds one 2-d array each.",
        )
    return array


def _one_width(arrays: list[Array], features: int | None, name: str) -> list[Array]:
    """All sequences of one width; an empty one written [] takes the width of the others."""
    widths = {a.shape[1] for a in arrays if len(a)} or {a.shape[1] for a in arrays}
    if len(widths) > 1:
        first = arrays[next(i for i, a in enumerate(arrays) if len(a))]
        odd = next(i for i, a in enumerate(arrays) if len(a) and a.shape[1] != first.shape[1])
        heights = {a.shape[0] for a in arrays}
        hint = (
            f"All have {heights.pop()} rows: if these are the channels, transpose each sequence to (T, F)."
            if len(heights) == 1
            else "Each sequence is (T, F): steps by features."
        )
        raise ShapeError(
            f"sequence {odd} of {name} has {arrays[odd].shape[1]} features but the first has "
            f"{first.shape[1]}; all must have as many.",
            hint,
        )
    width = widths.pop()
    if width == 0:
        raise ShapeError(
            f"0 feature(s) (shape=({len(arrays)}, {max(map(len, arrays))}, 0)) while a minimum of 1 is "
            f"required: {name} has steps without a number in them."
        )
    if features is not None and width != features:
        turned = all(a.shape[0] == features for a in arrays)
        raise ShapeError(
            f"{name} has {width} features, but this model is expecting {features} features as input.",
            f"{name} seems to have its channels first: transpose each sequence to (T, {features})."
            if turned
            else f"Each sequence is (T, {features}).",
        )
    if sum(map(len, arrays)) == 0:
        # a 2-d array (n, 0) is n sequences of no step: for scikit-learn's tools, no feature
        raise LengthError(
            f"0 feature(s) (shape=({len(arrays)}, 0)) while a minimum of 1 is required: all {len(arrays)} "
            f"sequences of {name} are empty.",
            "Give at least one step.",
        )
    return [a if a.shape[1] == width else a.reshape(0, width) for a in arrays]


def _floats(arrays: list[Array], name: str, missing: str) -> list[Array]:
    """float32 or float64 arrays without infinity, and without NaN unless it may be missing; the first bad
    value is named.
    """
    out = []
    for index, array in enumerate(arrays):
        kind = array.dtype.kind
        if kind == "c":
            raise ValueRangeError(
                f"Complex data not supported: sequence {index} of {name} holds {array.dtype}.",
                "Give the real and the imaginary part as two features.",
            )
        if kind in "US":
            raise DTypeError(f"sequence {index} of {name} holds text but must hold numbers.")
        if kind not in "biuf":
            raise DTypeError(f"sequence {index} of {name} holds {array.dtype} but must hold numbers.")
        if np.ma.isMaskedArray(array):
            raise DTypeError(f"sequence {index} of {name} is a masked array, whose mask would be lost.")
        if kind != "f" or array.dtype.itemsize not in (4, 8) or not array.dtype.isnative:
            array = array.astype(np.float64)
        _require_finite(array, index, name, missing)
        out.append(array)
    return out


def _require_finite(array: Array, index: int, name: str, missing: str) -> None:
    if np.isfinite(array).all():
        return
    what = f"{name}, sequence {index}"
    if missing != "error":
        require_finite(np.where(np.isnan(array), 0, array), what, ("step", "feature"))
        return
    gone: Array = np.atleast_1d(np.isnan(array).all(axis=1))
    tail = len(array) - int(np.argmin(gone[::-1])) if bool(gone[-1]) and not bool(gone.all()) else None
    try:
        require_finite(array, what, ("step", "feature"))
    except ValueRangeError as error:
        if tail is not None and not np.isnan(array[:tail]).any():
            raise ValueRangeError(
                error.message,
                f"It is padded with NaN from step {tail} on: cut each sequence, or give lengths=.",
            ) from None
        if np.isnan(array).any() and not np.isinf(array).any():
            raise ValueRangeError(
                error.message,
                "Fill it in, or use missing='interpolate', or missing='mask' to tell the network where.",
            ) from None
        raise


# ---- long data frames ------------------------------------------------------------


def _read_frame(
    X: object,
    frame: Frame,
    *,
    features: int | None,
    columns: Sequence[str] | None,
    missing: str,
    name: str,
) -> Sequences:
    names, column, rows_total = _open_frame(X)
    if isinstance(X, Table):
        frame = replace(frame, id=frame.id or X.id, time=frame.time or X.time)
    if frame.id is None:
        raise DataError(
            f"{name} is a data frame but no id column is named, so its sequences cannot be told apart.",
            f"Give id=, one of: {listed(names, 8)}. A wide table, one sequence a row, is {name}.to_numpy().",
        )
    for wanted, what in ((frame.id, "id"), (frame.time, "time")):
        if wanted is not None and wanted not in names:
            raise DataError(f"{what} names a column that is not there: {unknown(wanted, names, 'column')}")
    for wanted in (*(frame.columns or ()), *(columns or ()), *(frame.categories or ())):
        if wanted not in names:
            raise DataError(
                f"{name} lacks a column that this model reads: {unknown(wanted, names, 'column')}"
                if columns is not None
                else unknown(wanted, names, "column")
            )
    if rows_total == 0:
        raise DataError(
            f"{name} has a header but no rows; Found array with 0 sample(s).", "Give at least one row."
        )
    aside = {frame.id, frame.time, *frame.target}
    chosen = list(columns or frame.columns or [c for c in names if c not in aside])
    if not chosen:
        raise DataError(f"{name} has no feature column beside {listed(sorted(c for c in aside if c))}.")
    ids = of_one_kind(column(frame.id))
    nameless = is_missing(ids)
    if nameless.any():
        raise DataError(f"column {frame.id!r} of {name} has no id in row {int(np.argmax(nameless))}.")
    if ids.dtype.kind == "O":  # mixed kinds have no order of their own
        ids = ids.astype(str)
    keys, groups = np.unique(ids, return_inverse=True)
    first = np.full(len(keys), len(groups))
    np.minimum.at(first, groups, np.arange(len(groups)))
    place = np.argsort(np.argsort(first))  # sequences in the order in which their ids appear
    groups = place[groups]
    keys = keys[np.argsort(first)]
    rows = np.argsort(groups, kind="stable")
    if frame.time is not None:
        times = _times(column(frame.time), frame.time, name)
        came = rows if not isinstance(X, Table) else np.lexsort((X.lines, groups))
        rows = np.lexsort((times, groups))
        moved = int((rows != came).sum())
        if moved:
            logger.warning(
                "%s: %d rows did not stand in the order of their times in column %r; each sequence was "
                "put in order.",
                name,
                moved,
                frame.time,
            )
        same = (times[rows][1:] == times[rows][:-1]) & (groups[rows][1:] == groups[rows][:-1])
        if same.any():
            at = int(np.argmax(same))
            raise DataError(
                f"{name} has the time {times[rows][at]} twice for {frame.id}={str(keys[groups[rows][at]])!r} "
                f"(rows {rows[at]} and {rows[at + 1]}).",
                "Drop or average the repeated rows.",
            )
    categories = _categories(X, frame, chosen, column, missing)
    where = X.place if isinstance(X, Table) else (lambda row: f"row {row} of {name}")
    parts = [
        read_codes(column(c), categories[c], where)
        if c in categories
        else read_numbers(column(c), c, where, missing)
        for c in chosen
    ]
    values = np.stack(parts, axis=1)[rows]
    counts = np.bincount(groups, minlength=len(keys))
    arrays = np.split(values, np.cumsum(counts)[:-1])
    if features is not None and values.shape[1] != features:
        raise ShapeError(
            f"{name} has {values.shape[1]} features, but this model is expecting {features} features."
        )
    target = None
    if frame.target:
        for wanted in frame.target:
            if wanted not in names:
                raise DataError(f"y names a column that is not there: {unknown(wanted, names, 'column')}")
        picked = [of_one_kind(column(c)) for c in frame.target]
        target = (picked[0] if len(picked) == 1 else np.stack(picked, axis=1))[rows]
    return Sequences(
        arrays=list(arrays),
        form="frame",
        columns=tuple(chosen),
        ids=keys,
        rows=rows,
        target=target,
        categories=tuple(categories[c] for c in chosen if c in categories),
    )


def _categories(
    X: object, frame: Frame, chosen: Sequence[str], column: Callable[[str], Array], missing: str
) -> dict[str, Categories]:
    """The categories among the chosen columns: the model's own, or declared, or found by their text."""
    if frame.known is not None:
        return {c.column: c for c in frame.known}
    if frame.categories is not None:
        text = [c for c in chosen if c in frame.categories]
    elif isinstance(X, Table):
        text = [c for c in chosen if X.kinds[c] == "category"]
    else:
        text = [c for c in chosen if is_text(column(c))]
    return {c: read_category(column(c), c, frame.encoding, missing) for c in text}


def _open_frame(X: object) -> tuple[list[str], Callable[[str], Array], int]:
    """Names of the columns, the way to one column's values, and the number of rows."""
    if isinstance(X, Table):
        return list(X.names), X.__getitem__, len(X)
    import narwhals.stable.v2 as nw

    table = nw.from_native(X, eager_only=True)  # type: ignore[call-overload]
    return list(table.columns), lambda name: np.asarray(table.get_column(name).to_numpy()), len(table)


def _times(values: Array, column: str, name: str) -> Array:
    if values.dtype.kind == "O":
        try:
            values = (
                values.astype(np.float64) if all(map(_is_real, values)) else values.astype("datetime64[ns]")
            )
        except (TypeError, ValueError) as error:
            raise DataError(
                f"column {column!r} of {name} cannot be read as times: {error}.",
                "Give numbers, dates, or text like 2001-12-29.",
            ) from None
    if values.dtype.kind in "US":
        return _times(values.astype(object), column, name)
    missing = np.isnat(values) if values.dtype.kind in "Mm" else np.isnan(values.astype(np.float64))
    if missing.any():
        raise DataError(f"row {int(np.argmax(missing))} of column {column!r} in {name} has no time.")
    return values


def is_missing(values: Array) -> Array:
    """(n,) True where a label or an id is None or NaN."""
    return np.array(
        [v is None or (isinstance(v, (float, np.floating)) and np.isnan(v)) for v in values], bool
    )


def _is_real(value: object) -> bool:
    return value is None or (isinstance(value, (numbers.Real, np.number)) and not isinstance(value, bool))


def of_one_kind(values: Array) -> Array:
    """Labels or ids with one kind of element: numbers stay, anything else becomes text or stays an object."""
    if values.dtype.kind != "O":
        return values
    if all(isinstance(v, str) for v in values):
        return values.astype(str)
    if all(isinstance(v, (bool, np.bool_)) for v in values):
        return values.astype(bool)
    if all(isinstance(v, (numbers.Integral, np.integer)) and not isinstance(v, bool) for v in values):
        return values.astype(np.int64)
    if all(isinstance(v, (numbers.Real, np.number)) for v in values):
        return values.astype(np.float64)
    return values
