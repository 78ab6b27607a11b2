"""How y comes in to the sequence tasks, told by its shape, and how predictions go back as X came.

n rows are one row a sequence; a list of n arrays as long as the sequences, (n, T) for sequences of T steps,
or one row for each step of all of them are one row a step. What fits both readings is an error that asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch import Tensor

from saiki.core.checks import listed, require_finite
from saiki.core.errors import DTypeError, LabelError, LengthError, OptionError, ShapeError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.models.sequence_input import Array, Sequences, is_missing, of_one_kind, to_numpy


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What came as y.

    Attributes:
        values: (n,) or (n, K) one row a sequence, or (N,) or (N, K) one row a step, sequence after sequence.
        per_step: which of both.
    """

    values: Array
    per_step: bool

    def select(self, indices: Array, lengths: Array) -> Targets:
        """The targets of some sequences."""
        if not self.per_step:
            return Targets(values=self.values[indices], per_step=False)
        ends = np.cumsum(lengths)
        parts = [self.values[ends[i] - lengths[i] : ends[i]] for i in indices]
        return Targets(values=np.concatenate(parts), per_step=True)


def read_targets(
    y: object,
    sequences: Sequences,
    *,
    labels: bool,
    per_step: bool | None = None,
    gaps: bool = False,
    name: str = "y",
) -> Targets:
    """Read y, one row a sequence or one row a step, told by its shape.

    Args:
        y: an array, a list, a list of one array a sequence (with a frame, in the order in which the ids
            appear);
            or the name(s) of the frame's column(s), which hold one row a step unless every sequence holds a
            single value.
        sequences: X as read.
        labels: whether y holds labels (a 2-d y then is one row a step) or numbers.
        per_step: settles what the shape leaves open; None lets the shape tell.
        gaps: numbers may be NaN where they were not observed.
        name: the argument's name for messages.

    Raises:
        LabelError: wrong length or a missing label, for labels.
        ShapeError, LengthError, DTypeError, ValueRangeError: the same for numbers.
        OptionError: the shape fits both readings and per_step is None.
    """
    found = _read(y, sequences, labels, per_step, name)
    if not labels:
        values = np.where(np.isnan(found.values), 0, found.values) if gaps else found.values
        try:
            require_finite(values, name, ("row", "output"))
        except ValueRangeError as error:
            if not np.isnan(values).any() or np.isinf(values).any():
                raise
            raise ValueRangeError(
                error.message, "Leave it out, or use missing='mask', which learns from the others."
            ) from None
        if np.isnan(found.values).all():
            raise ValueRangeError(f"{name} has no value at all.", "Give at least one number.")
    return found


def _read(y: object, sequences: Sequences, labels: bool, per_step: bool | None, name: str) -> Targets:
    Wrong = LabelError if labels else LengthError
    n, lengths = len(sequences), sequences.lengths
    total = int(lengths.sum())
    if y is None:
        raise Wrong(f"requires y to be passed, but the target {name} is None.", "Give one row a sequence.")
    if sequences.target is not None and (isinstance(y, str) or _is_names(y, sequences)):
        return _frame_targets(sequences, lengths, labels, per_step, name)
    if isinstance(y, Ragged):
        y = [to_numpy(part) for part in y.to_list()]
    if isinstance(y, Tensor):
        y = to_numpy(y)
    if isinstance(y, (str, bytes, Mapping, set)) or not (hasattr(y, "__len__") or hasattr(y, "__array__")):
        raise DTypeError(f"{name} is {type(y).__name__} but must be an array or a list, one row a sequence.")
    array, parts = _target_array(y, name)
    if parts is not None:
        return _one_array_each(parts, sequences, labels, per_step, name)
    assert array is not None
    if array.ndim == 0:
        raise ShapeError(f"{name} is a single number, but must be one row a sequence or one row a step.")
    if sequences.rows is not None and len(array) == total != n:
        array = array[sequences.rows]  # the frame's rows, brought into the order of the sequences
    return _one_array(array, sequences, labels, per_step, name)


def _one_array(array: Array, sequences: Sequences, labels: bool, per_step: bool | None, name: str) -> Targets:
    """(n, ...) one row a sequence, (N, ...) one row a step, or (n, T, ...) where all have T steps."""
    Wrong = LabelError if labels else LengthError
    n, lengths = len(sequences), sequences.lengths
    total, rows = int(lengths.sum()), len(array)
    if array.ndim > 3:
        raise ShapeError(f"{name} is {array.shape} but must be one row a sequence or one row a step.")
    fits_steps = array.ndim >= 2 and rows == n and bool((lengths == array.shape[1]).all())
    column = array.ndim == 2 and array.shape[1] == 1 and per_step is not True
    if array.ndim == 3 or (fits_steps and not column and (labels or per_step)):
        if not fits_steps:
            raise Wrong(
                f"{name} is {array.shape}, read as one row a step, but X has {n} sequences of "
                f"{_span(lengths)} steps."
            )
        if per_step is False:
            raise Wrong(
                f"{name} is {array.shape}, one row a step, but per_step=False asks for one a sequence."
            )
        return _checked(array.reshape(total, *array.shape[2:]), True, labels, name)
    if fits_steps and not column and per_step is None:
        raise OptionError(
            f"{name} is {array.shape}: {array.shape[1]} outputs a sequence, or one number for each of the "
            f"{array.shape[1]} steps?",
            "Say per_step=True or per_step=False.",
        )
    if rows == n and per_step is not True:
        return _checked(array, False, labels, name)
    if rows == total and per_step is not False:
        return _checked(array, True, labels, name)
    raise Wrong(
        f"{name} has {rows} rows but X has {n} sequences ({total} steps in all): inconsistent numbers of "
        f"samples.",
        "Give one row a sequence, or one row a step.",
    )


def _one_array_each(
    parts: list[Array], sequences: Sequences, labels: bool, per_step: bool | None, name: str
) -> Targets:
    """n arrays as long as the sequences: one row a step; n rows of K numbers: K outputs a sequence."""
    Wrong = LabelError if labels else LengthError
    n, lengths = len(sequences), sequences.lengths
    if len(parts) != n:
        raise Wrong(f"{name} has {len(parts)} entries but X has {n} sequences.", "Give one entry a sequence.")
    odd = [i for i, (part, length) in enumerate(zip(parts, lengths)) if len(part) != length]
    alike = len({part.shape for part in parts}) == 1
    outputs = alike and parts[0].ndim == 1 and not labels
    if outputs and (odd or per_step is False) and per_step is not True:
        return _checked(np.stack(parts), False, labels, name)
    if odd:
        i = odd[0]
        raise Wrong(
            f"entry {i} of {name} has {len(parts[i])} rows but sequence {i} has {int(lengths[i])} steps.",
            "Give one row a step, or one row a sequence.",
        )
    if per_step is False:
        raise Wrong(f"{name} has one row a step, but per_step=False asks for one a sequence.")
    if outputs and per_step is None and len(parts[0]) != 1:
        raise OptionError(
            f"{name} is a list of {n} rows of {len(parts[0])} numbers: {len(parts[0])} outputs a "
            f"sequence, or one "
            "number a step?",
            "Say per_step=True or per_step=False.",
        )
    if len({part.shape[1:] for part in parts}) > 1:
        raise ShapeError(f"the entries of {name} differ in their number of outputs: all must have as many.")
    return _checked(np.concatenate(parts), True, labels, name)


def _is_names(y: object, sequences: Sequences) -> bool:
    return sequences.form == "frame" and isinstance(y, (list, tuple)) and all(isinstance(v, str) for v in y)


def _frame_targets(
    sequences: Sequences, lengths: Array, labels: bool, per_step: bool | None, name: str
) -> Targets:
    """A target column: one value a sequence where each holds a single one, one a step otherwise."""
    values = sequences.target
    assert values is not None
    firsts = np.cumsum(lengths) - lengths
    repeated = np.repeat(values[firsts], lengths, axis=0)
    alike = repeated == values
    if values.dtype.kind == "f":
        alike |= np.isnan(repeated) & np.isnan(values)
    single = bool(alike.all())
    if per_step is False and not single:
        raise LabelError(f"per_step=False, but the column {name} changes inside a sequence.")
    if single and per_step is not True:
        return _checked(values[firsts], False, labels, name)
    return _checked(values, True, labels, name)


def _target_array(y: object, name: str) -> tuple[Array | None, list[Array] | None]:
    """y as one array, or as a list of one array a sequence."""
    if hasattr(y, "toarray") or hasattr(y, "tocsr"):
        raise DTypeError(f"{name} is a sparse matrix, but must be a dense array.")
    objects = isinstance(y, np.ndarray) and y.dtype == object and y.ndim > 0
    if not objects and not isinstance(y, (list, tuple)):
        array = np.asarray(y.to_numpy() if hasattr(y, "to_numpy") else y)
        return (of_one_kind(array) if array.ndim == 1 else array), None
    entries = list(cast("Sequence[Any]", y))
    if entries and all(isinstance(entry, (list, tuple, np.ndarray, Tensor)) for entry in entries):
        parts = [_entry(entry, index, name) for index, entry in enumerate(entries)]
        if all(part.ndim >= 1 for part in parts):
            return None, [of_one_kind(part) if part.ndim == 1 else part for part in parts]
    try:
        array = np.asarray([_plain(entry) for entry in entries])
        if array.dtype.kind in "US" and not all(isinstance(e, (str, bytes)) for e in entries):
            raise ValueError("text and numbers are mixed")  # numpy would turn the numbers into text
    except (ValueError, TypeError) as error:
        if "mixed" not in str(error):
            raise ShapeError(
                f"{name} mixes rows of unequal shapes, but must be one row, or one array, a sequence."
            ) from error
        array = np.empty(len(entries), dtype=object)
        array[:] = entries
    return (of_one_kind(array) if array.ndim == 1 else array), None


def _entry(entry: object, index: int, name: str) -> Array:
    try:
        return np.asarray(_plain(entry))
    except (ValueError, TypeError, OverflowError) as error:
        raise ShapeError(
            f"entry {index} of {name} cannot be read as an array: {error}.", "Give one array a sequence."
        ) from error


def _plain(entry: object) -> Any:  # noqa: ANN401  whatever came, tensors as arrays
    return to_numpy(entry) if isinstance(entry, Tensor) else entry


def _checked(values: Array, per_step: bool, labels: bool, name: str) -> Targets:
    if labels:
        if values.ndim == 2 and values.shape[1] == 1:
            _warn_column(name)
            values = values[:, 0]
        if values.ndim != 1:
            raise LabelError(f"{name} is {values.shape} but must hold one label a sequence or a step.")
        if values.dtype.kind == "S" or (
            values.dtype.kind == "O" and any(isinstance(v, bytes) for v in values)
        ):
            raise LabelError(
                f"{name} holds bytes, but a label is text, a number or a boolean.", "Decode them."
            )
        missing = is_missing(values)
        if missing.any():
            raise LabelError(
                f"{name} contains NaN or None: {int(missing.sum())} labels are missing, the first in row "
                f"{int(np.argmax(missing))}.",
                "Leave these sequences out.",
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise LabelError(f"{name} contains infinity (inf), which is no label.")
        if values.dtype.kind == "O" and len({type(v) for v in values}) > 1:
            kinds = sorted({type(v).__name__ for v in values})
            raise LabelError(
                f"{name} mixes labels of several types ({listed(kinds)}).", "Make them all one type."
            )
        return Targets(values=values, per_step=per_step)
    if values.dtype.kind == "c":
        raise DTypeError(f"Complex data not supported: {name} holds {values.dtype}.")
    if values.dtype.kind not in "biuf":
        try:
            values = values.astype(np.float64)
        except (ValueError, TypeError) as error:
            raise DTypeError(f"{name} holds {values.dtype} but must hold numbers: {error}.") from None
    values = values.astype(np.float64)
    if values.ndim == 2 and values.shape[1] == 0:
        raise ShapeError(f"{name} is {values.shape}: it has no output column.")
    if values.ndim > 2:
        raise ShapeError(
            f"{name} has rows of shape {values.shape[1:]} but a row must be a number or K numbers."
        )
    return Targets(values=values, per_step=per_step)


def _warn_column(name: str) -> None:
    import warnings

    from sklearn.exceptions import DataConversionWarning

    warnings.warn(
        f"A column-vector {name} was passed when a 1d array was expected. Please change the shape of {name} "
        "to (n_samples,), for example using ravel().",
        DataConversionWarning,
        stacklevel=5,
    )


def _span(lengths: Array) -> str:
    low, high = int(lengths.min()), int(lengths.max())
    return str(low) if low == high else f"{low} to {high}"


# ---- weights, splits, predictions ------------------------------------------------------------


def read_weights(sample_weight: object, n: int) -> Array | None:
    """(n,) weights of the sequences, or None.

    Raises:
        ShapeError, DTypeError, ValueRangeError: not n finite weights, negative ones, or all of them zero.
    """
    if sample_weight is None:
        return None
    try:
        weights = np.asarray(sample_weight, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DTypeError(f"sample_weight cannot be read as numbers: {error}.") from error
    if weights.ndim == 0:
        weights = np.full(n, float(weights))
    if weights.shape != (n,):
        raise ShapeError(
            f"sample_weight.shape == {weights.shape}, expected {(n,)}!", "Give one weight a sequence."
        )
    require_finite(weights, "sample_weight", ("sequence",))
    if (weights < 0).any():
        raise ValueRangeError(f"sample_weight of sequence {int(np.argmax(weights < 0))} is negative.")
    if not weights.any():
        raise ValueRangeError("sample_weight is zero for every sequence, so there is nothing to learn from.")
    return weights


def as_found(rows: Array, sequences: Sequences, per_step: bool) -> Array | list[Array]:
    """Per-step results in the form X came in; per-sequence results as they are.

    A 2-d or 3-d array of whole sequences gives (n, T, ...), a frame one row a row of the frame, anything else
    one array a sequence.
    """
    if not per_step:
        return rows
    if sequences.form == "frame" and sequences.rows is not None:
        out = np.empty_like(rows)
        out[sequences.rows] = rows
        return out
    lengths = sequences.lengths
    if sequences.form == "array" and (lengths == lengths[0]).all():
        return rows.reshape(len(sequences), int(lengths[0]), *rows.shape[1:])
    return np.split(rows, np.cumsum(lengths)[:-1])
