"""Categories: the levels of a text column, learned once, saved, and turned into numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from saiki.core.errors import DataError, OptionError, SchemaError
from saiki.core.names import nearest
from saiki.data.table import Table
from saiki.data.times import Array

Encoding = Literal["one_hot", "embed"]
MOST_LEVELS = 1_000  # of a category; a column with more holds names or texts
_SHOWN = 12  # levels a message lists


def require_few_levels(column: str, levels: Sequence[str]) -> None:
    """Refuse a column of names that was taken for a category.

    Raises:
        DataError: it has more than `MOST_LEVELS` levels.
    """
    if len(levels) > MOST_LEVELS:
        raise DataError(
            f"the column {column!r} has {len(levels):,} levels; at most {MOST_LEVELS:,} make sense.",
            hint="Leave it out, or put rare levels together.",
        )


def embedding_size(levels: int) -> int:
    """Numbers in the vector of a category with so many levels: 1 + √levels, at most 16."""
    return min(16, 1 + math.ceil(math.sqrt(levels)))


@dataclass(frozen=True)
class Categories:
    """The levels of one column and their codes.

    Attributes:
        column: name of the column.
        levels: known levels, sorted; the code of a level is its place here.
        encoding: `one_hot` (one 0/1 column a level) or `embed` (the code, for an embedding layer).
        missing: whether missing cells were met in training and are therefore understood: all zeros in
            one-hot, a code of their own (the last) for an embedding.
    """

    column: str
    levels: tuple[str, ...]
    encoding: Encoding = "one_hot"
    missing: bool = False

    @classmethod
    def fit(
        cls,
        column: str,
        values: Array | Sequence[object],
        encoding: str = "one_hot",
        *,
        missing: Literal["error", "interpolate", "mask"] = "error",
    ) -> Categories:
        """Learn the levels.

        Args:
            column: name of the column.
            values: (N,) labels, None where missing.
            encoding: `one_hot` or `embed`.
            missing: `mask` accepts missing cells; otherwise they are an error, for nothing lies between
                two levels.
        Raises:
            OptionError: the encoding is unknown.
            DataError: no level at all, or missing cells without `mask`.
        """
        labels = [None if value is None else str(value) for value in values]
        levels = tuple(sorted({label for label in labels if label is not None}))
        if not levels:
            raise DataError(f"category column {column!r} has no value at all.", hint="Leave the column out.")
        absent = labels.count(None)
        if absent and missing != "mask":
            raise DataError(
                f"category column {column!r} has {absent} missing "
                f"{'cell' if absent == 1 else 'cells'}, the first in row "
                f"{labels.index(None)} (counted from 0); a category cannot be interpolated.",
                hint="Fill it in, or use missing='mask', which treats missing as a level.",
            )
        return cls(column, levels, _encoding(encoding), bool(absent))

    @property
    def size(self) -> int:
        """How many codes there are: the levels, and one more where missing cells are understood."""
        return len(self.levels) + self.missing

    @property
    def width(self) -> int:
        """How many input columns the category becomes: one a level for one-hot, one code for an embedding."""
        return len(self.levels) if self.encoding == "one_hot" else 1

    @property
    def names(self) -> tuple[str, ...]:
        """Names of those columns: `city=Oslo`, ... or `city`."""
        if self.encoding == "embed":
            return (self.column,)
        return tuple(f"{self.column}={level}" for level in self.levels)

    def codes(self, values: Array | Sequence[object], place: Callable[[int], str] | None = None) -> Array:
        """(N,) labels to (N,) int64 codes in [0, size).

        Args:
            values: labels, None where missing.
            place: row to words for messages, such as `Table.place`; by default `row 3 (counted from 0)`.
        Raises:
            DataError: a level, or a missing cell, that training did not have.
        """
        place = place or (lambda row: f"row {row} (counted from 0)")
        index = {level: code for code, level in enumerate(self.levels)}
        codes = np.empty(len(values), dtype=np.int64)
        for row, value in enumerate(values):
            if value is None:
                if not self.missing:
                    raise DataError(
                        f"category column {self.column!r} has no value in {place(row)}; the training "
                        "data had one in every "
                        "row.",
                        hint="Fill it in, or train on data with missing cells and missing='mask'.",
                    )
                codes[row] = len(self.levels)
                continue
            code = index.get(str(value))
            if code is None:
                raise self._unseen(str(value), place(row))
            codes[row] = code
        return codes

    def encode(self, values: Array | Sequence[object], place: Callable[[int], str] | None = None) -> Array:
        """(N,) labels to (N, width) float64: 0/1 columns, or the codes. Raises as `codes` does."""
        codes = self.codes(values, place)
        if self.encoding == "embed":
            return codes[:, None].astype(np.float64)
        return np.eye(len(self.levels) + 1)[codes][:, :-1]  # the row of a missing cell is all zeros

    def decode(self, codes: Array | Sequence[int]) -> Array:
        """Codes to labels, None for the code of a missing cell."""
        labels = np.array([*self.levels, None], dtype=object)
        return np.asarray(labels[np.asarray(codes, dtype=np.int64)])

    def to_config(self) -> dict[str, Any]:
        """The mapping as plain JSON values."""
        return {
            "column": self.column,
            "levels": list(self.levels),
            "encoding": self.encoding,
            "missing": self.missing,
        }

    @classmethod
    def restore(cls, config: Mapping[str, Any]) -> Categories:
        """The categories that gave `to_config`.

        Raises:
            SchemaError: a level is no text, occurs twice, or there is none.
        """
        levels = tuple(config["levels"])
        if (
            not levels
            or len(set(levels)) < len(levels)
            or not all(isinstance(level, str) for level in levels)
        ):
            raise SchemaError(
                f"the levels of column {config['column']!r} must be different texts, at least one."
            )
        return cls(str(config["column"]), levels, _encoding(config["encoding"]), bool(config["missing"]))

    def _unseen(self, level: str, where: str) -> DataError:
        shown = ", ".join(self.levels[:_SHOWN]) + (
            f", ... ({len(self.levels)} in all)" if len(self.levels) > _SHOWN else ""
        )
        guess = nearest(level, self.levels)
        return DataError(
            f"column {self.column!r} holds {level!r} in {where}, a level the training data did not "
            f"have; known: {shown}.",
            hint=(f"Did you mean {guess!r}? " if guess is not None else "")
            + "Correct the cell, or train on data that has this level.",
        )


def fit_categories(
    table: Table,
    names: Sequence[str] | None = None,
    encoding: str = "one_hot",
    *,
    missing: Literal["error", "interpolate", "mask"] = "error",
) -> tuple[Categories, ...]:
    """The categories of a table: all its category columns, or those named (a number column is read as
    labels).

    Raises:
        DataError: a column is unknown, is the time column, or has missing cells without `mask`.
        OptionError: the encoding is unknown.
    """
    chosen = table.categories if names is None else tuple(names)
    table.require(*chosen, what="category column")
    return tuple(Categories.fit(name, labels(table, name), encoding, missing=missing) for name in chosen)


def labels(table: Table, name: str) -> Array:
    """(N,) labels of a column as text, None where missing; a number 3.0 is called 3.

    Raises:
        DataError: the column is unknown, or is the time column.
    """
    values = table[name]
    kind = table.kinds[name]
    if kind == "time":
        raise DataError(
            f"column {name!r} is the time column and cannot be a category.", hint="Name another column."
        )
    return values if values.dtype == object else as_labels(values)


def as_labels(values: Array) -> Array:
    """(N,) values of any kind as text, None where missing; a number 3.0 is called 3."""
    found = np.empty(len(values), dtype=object)
    found[:] = [_label(value) for value in values.tolist()]
    return found


def _label(value: object) -> str | None:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # pandas' own words for missing
        return None
    if isinstance(value, float):
        if value != value:
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _encoding(name: str) -> Encoding:
    known: tuple[Encoding, ...] = ("one_hot", "embed")
    for option in known:
        if name == option:
            return option
    guess = nearest(str(name), known)
    raise OptionError(
        f"encoding={name!r} is unknown" + (f"; did you mean {guess!r}?" if guess else "."),
        hint="Known: 'one_hot', 'embed'.",
    )
