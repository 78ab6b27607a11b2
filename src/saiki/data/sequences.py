"""Sequences with labels: from a long table, and from archives of sequences laid end to end."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from saiki.core.checks import explain_channels_first
from saiki.core.errors import DataError, OptionError
from saiki.core.names import nearest
from saiki.data.datasets import Dataset
from saiki.data.table import Table
from saiki.data.times import Array


def sequences_from_table(
    table: Table, columns: Sequence[str] | None = None, target: str | None = None
) -> tuple[list[Array], Array | None]:
    """The series of a long table as a list of arrays, and one label or number a series.

    Args:
        table: read with id=, one series a sequence.
        columns: number columns to take; by default all that are no targets.
        target: column that is constant within each series: text becomes labels, numbers stay numbers.
    Returns:
        n arrays (T_i, F), each a view of one block, in order of first appearance; and (n,) targets or None.
    Raises:
        DataError: the table has no id column, a column is unknown or holds text, the target changes
            within a series or is missing in one.
    """
    if table.id is None:
        raise DataError(
            "the table has no id column, so it cannot be cut into sequences.", hint="Name it with id=."
        )
    if columns is None:
        columns = [name for name in table.numbers if name != target and name not in table.targets]
    if not columns:
        raise DataError(
            f"{table.form.source} has no number column to use as a feature; its columns are "
            f"{', '.join(table.names)}.",
            hint="Name the features with columns=.",
        )
    values = table.values(columns)
    arrays = [values[series.rows] for series in table.series]
    if target is None:
        return arrays, None
    table.require(target, what="target column")
    found = table.constant(target)
    for series, value in zip(table.series, found, strict=True):
        if value is None:
            raise DataError(
                f"series {series.name!r} has no value in the target column {target!r}.",
                hint="Fill it in, or leave the series out.",
            )
    if table.kinds[target] == "number":
        return arrays, np.array(found, dtype=np.float64)
    return arrays, np.array([str(value) for value in found])


def load_npz(path: str | os.PathLike[str], part: str = "train") -> Dataset:
    """Read one part of an archive of sequences.

    The archive holds `x_PART` (N, F) with all sequences laid end to end and `len_PART` (n,) their lengths,
    or `x_PART` (n, T, F) without lengths; `y_PART` (n,) integer classes or numbers; and optionally
    `classes`, their names.

    Args:
        path: of the .npz file; nothing in it is unpickled.
        part: `train`, `test`, or another part the archive has.
    Raises:
        DataError: no such file or part, or the arrays do not fit each other.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {
                name: archive[name]
                for name in archive.files
                if name.endswith(f"_{part}") or name == "classes"
            }
            parts = sorted(name[2:] for name in archive.files if name.startswith("x_"))
    except FileNotFoundError as error:
        raise DataError(f"there is no file at {str(path)!r}.", hint="Check the path.") from error
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path.name} is no .npz archive of plain arrays: {error}.", hint="Write it with numpy.savez."
        ) from error
    if part not in parts:
        guess = nearest(part, parts)
        raise DataError(
            f"{path.name} has no part {part!r}; its parts are {', '.join(parts) or 'none'}.",
            hint=f"Did you mean {guess!r}?" if guess else "Name one of these.",
        )
    x = arrays[f"x_{part}"]
    lengths = arrays.get(f"len_{part}")
    y = arrays.get(f"y_{part}")
    if x.dtype.kind not in "iufb":
        raise DataError(f"x_{part} of {path.name} holds {x.dtype}; expected numbers.", hint="Write numbers.")
    if lengths is None:
        if x.ndim != 3:
            raise DataError(
                f"x_{part} of {path.name} is {x.shape} without len_{part}; expected (n, T, F).",
                hint="Add the lengths, or give three axes.",
            )
        sequences = tuple(x.astype(np.float64))
    else:
        sequences = _cut(x, lengths, path.name, part)
    if y is not None and (y.ndim < 1 or len(y) != len(sequences)):
        raise DataError(
            f"y_{part} of {path.name} is {y.shape} but there are {len(sequences)} sequences.",
            hint="Give one label a sequence.",
        )
    classes = tuple(str(name) for name in arrays["classes"].tolist()) if "classes" in arrays else ()
    if classes and y is not None and (y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= len(classes)):
        raise DataError(
            f"y_{part} of {path.name} must hold codes from 0 to {len(classes) - 1}, one for each of "
            "its classes.",
            hint="Number the classes from 0.",
        )
    return Dataset(
        name=path.stem,
        description=f"{len(sequences)} sequences of {path.name}, part {part}",
        source=path.name,
        licence="not stated in the file",
        task="classify" if y is None or y.dtype.kind in "iu" else "regress",
        sequences=sequences,
        targets=y,
        classes=classes,
    )


def _cut(x: Array, lengths: Array, name: str, part: str) -> tuple[Array, ...]:
    if (
        x.ndim != 2
        or lengths.ndim != 1
        or lengths.dtype.kind not in "iu"
        or (len(lengths) and lengths.min() < 0)
    ):
        raise DataError(
            f"x_{part} and len_{part} of {name} are {x.shape} and {lengths.shape} of {lengths.dtype}; "
            "expected (N, F) rows "
            "and whole lengths of at least 0.",
            hint="Lay the sequences end to end and give each one's length.",
        )
    if int(lengths.sum()) != len(x):
        raise DataError(
            f"len_{part} of {name} adds up to {int(lengths.sum())} but x_{part} has {len(x)} rows.",
            hint="Write the lengths of the sequences that are there.",
        )
    return tuple(np.split(x.astype(np.float64), np.cumsum(lengths)[:-1])) if len(lengths) else ()


def steps_first(x: Array, layout: str = "auto", name: str = "X") -> Array:
    """A (n, T, F) array, whichever of its last two axes is time.

    Args:
        x: (n, T, F), or (n, F, T) with `channels_first`.
        layout: `steps_first`, `channels_first`, or `auto`, which refuses an array that looks channels-first.
        name: what messages call it.
    Raises:
        DataError: not three axes, or `auto` and the array looks channels-first; the message shows both
            readings.
        OptionError: the layout is unknown.
    """
    if layout not in ("auto", "steps_first", "channels_first"):
        raise OptionError(
            f"layout={layout!r} is unknown.", hint="Use 'auto', 'steps_first' or 'channels_first'."
        )
    if x.ndim != 3:
        raise DataError(
            f"{name} is {x.shape}; expected (n, T, F).", hint="Give sequences, steps and features."
        )
    if layout == "channels_first":
        return np.swapaxes(x, 1, 2)
    explanation = explain_channels_first(x.shape, name) if layout == "auto" else None
    if explanation is not None:
        raise DataError(explanation, hint="If it is right as it is, use layout='steps_first'.")
    return x
