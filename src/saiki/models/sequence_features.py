"""From the features of a step, as X brings them, to what the network of a sequence task reads.

    x_t = [ numbers, scaled, gaps filled ; 1 observed, 0 missing ; levels as 0/1 ; codes, for an embedding ]

A category (a text column of a frame) is a whole number in `Sequences.arrays`, its level's place; a missing
number is NaN there. `Features` learns the rest on the training rows and is saved with the model.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from saiki.core.errors import DataError, DTypeError, SchemaError, ShapeError
from saiki.data.categories import Categories, as_labels, embedding_size, require_few_levels
from saiki.data.missing import Missing, affected, interpolate, mask, require_missing_option
from saiki.data.scaling import Scaler
from saiki.data.times import Array
from saiki.models.options import Layer
from saiki.nn import EmbeddingConfig

_TO_COMPLETE = "Fill them in, or use missing='interpolate', or missing='mask' to tell the network where."


@dataclass(frozen=True, kw_only=True)
class FeaturesFile:
    """How features become the network's inputs, as config.json keeps it."""

    missing: str
    masked: list[int]
    categories: list[dict[str, Any]]
    coded: list[int]


@dataclass(frozen=True, eq=False, kw_only=True)
class Features:
    """The map from a step's features to the network's inputs, learned on the training part.

    Attributes:
        width: features a step as X has them.
        missing: what to do with missing numbers.
        scaler: of the numbers.
        masked: which numbers get a channel of 0 and 1; those with gaps in the training part.
        categories: mappings of the categories.
        coded: (of each) its place among the features.
    """

    width: int
    missing: Missing
    scaler: Scaler
    masked: tuple[int, ...]
    categories: tuple[Categories, ...]
    coded: tuple[int, ...]

    @classmethod
    def fit(
        cls,
        arrays: Sequence[Array],
        scaling: str | None,
        *,
        missing: str = "error",
        columns: Sequence[str] | None = None,
        categories: Sequence[Categories] = (),
    ) -> Features:
        """Learn the scaling, and which numbers have gaps.

        Args:
            arrays: the training sequences, (T_i, F) each, NaN where a number is missing.
            scaling: "standard", "minmax" or None.
            missing: "error", "interpolate" or "mask".
            columns: names of the features, where they have any.
            categories: of the columns that hold codes.
        """
        width = arrays[0].shape[1]
        names = [f"column {k}" for k in range(width)] if columns is None else list(columns)
        coded = tuple(names.index(category.column) for category in categories)
        plain = [k for k in range(width) if k not in coded]
        rows = [array[:, plain] for array in arrays] if coded else list(arrays)
        gaps = affected(np.concatenate(rows)) if missing == "mask" else ()
        return cls(
            width=width,
            missing=require_missing_option(missing),
            scaler=Scaler.fit(rows, scaling, columns=[names[k] for k in plain]),
            masked=gaps,
            categories=tuple(categories),
            coded=coded,
        )

    @property
    def plain(self) -> list[int]:
        """The places of the numbers among the features."""
        return [k for k in range(self.width) if k not in self.coded]

    @property
    def size(self) -> int:
        """Inputs a step."""
        return self.width - len(self.coded) + len(self.masked) + sum(c.width for c in self.categories)

    def embeddings(self) -> list[EmbeddingConfig]:
        """The layers that turn the codes into vectors, for the front of the network.

        A category's vector has `saiki.data.embedding_size` numbers.
        """
        place = self.size - sum(c.encoding == "embed" for c in self.categories)
        return [
            EmbeddingConfig(num_embeddings=c.size, size=embedding_size(c.size), column=place)
            for c in self.categories
            if c.encoding == "embed"
        ]

    def encode(self, array: Array, what: str = "X", *, embed: bool = True) -> Array:
        """(T, F) features of one sequence to (T, size) inputs.

        Args:
            array: NaN where a number is missing, codes where a category stands.
            what: the sequence, for messages.
            embed: False writes out as 0/1 the categories that an embedding would read; for other models.

        Raises:
            DataError: a number is missing that cannot be filled, or where the training data had none.
        """
        values = self.scaler.transform(array[:, self.plain] if self.coded else array)
        if self.missing == "interpolate" and len(values):
            values = interpolate(values)
            empty = np.isnan(values).all(axis=0)
            if empty.any():
                raise DataError(
                    f"{self.scaler.columns[int(np.argmax(empty))]} of {what} has no value at all, so nothing "
                    "can be interpolated.",
                    "Leave the sequence out, or use missing='mask'.",
                )
        elif self.missing == "mask":
            values = self._masked(values, what)
        if not self.categories:
            return values
        flags, codes = [], []
        for place, category in zip(self.coded, self.categories):
            code = array[:, place].astype(np.int64)
            if embed and category.encoding == "embed":
                codes.append(code[:, None].astype(np.float64))
            else:
                flags.append(np.eye(len(category.levels) + 1)[code][:, :-1])  # a missing one is all zeros
        return np.concatenate([values, *flags, *codes], axis=1)

    def _masked(self, values: Array, what: str) -> Array:
        gaps = np.isnan(values).any(axis=0)
        strange = [k for k in np.flatnonzero(gaps) if k not in self.masked]
        if strange:
            raise DataError(
                f"{self.scaler.columns[strange[0]]} of {what} has a missing value in step "
                f"{int(np.argmax(np.isnan(values[:, strange[0]])))}, but the training data had none there.",
                "Fill it in, or train on data that has gaps in this feature.",
            )
        return mask(values, self.masked)

    def to_file(self) -> FeaturesFile:
        """As config.json keeps it."""
        return FeaturesFile(
            missing=self.missing,
            masked=list(self.masked),
            categories=[c.to_config() for c in self.categories],
            coded=list(self.coded),
        )

    @classmethod
    def restore(
        cls,
        stored: FeaturesFile,
        scaling: str | None,
        tensors: Mapping[str, Array],
        width: int,
        columns: Sequence[str] | None,
    ) -> Features:
        """The features that gave `to_file` and the scaler's tensors.

        Raises:
            SchemaError: the parts do not fit each other.
        """
        categories = []
        for entry in stored.categories:
            if set(entry) != {"column", "levels", "encoding", "missing"}:
                raise SchemaError(
                    f"a category has {sorted(entry)}, but column, levels, encoding, missing are it."
                )
            categories.append(Categories.restore(entry))
        if (
            len(stored.coded) != len(categories)
            or len(set(stored.coded)) < len(stored.coded)
            or any(not 0 <= k < width for k in stored.coded)
            or any(not 0 <= k < width - len(categories) for k in stored.masked)
        ):
            raise SchemaError(f"the categories and masks do not fit {width} features.")
        names = [f"column {k}" for k in range(width)] if columns is None else list(columns)
        plain = [name for k, name in enumerate(names) if k not in stored.coded]
        return cls(
            width=width,
            missing=require_missing_option(stored.missing),
            scaler=restore_scaler(tensors, "scaler", scaling or "none", plain),
            masked=tuple(stored.masked),
            categories=tuple(categories),
            coded=tuple(stored.coded),
        )


def restore_scaler(tensors: Mapping[str, Array], prefix: str, kind: str, columns: Sequence[str]) -> Scaler:
    """The scaler whose numbers are stored as `prefix`.center and `prefix`.scale.

    Raises:
        SchemaError: one is missing, of another shape, not finite or not positive.
    """
    parts = {}
    for name in ("center", "scale"):
        if f"{prefix}.{name}" not in tensors:
            raise SchemaError(f"the tensor {prefix}.{name} is missing.")
        parts[name] = tensors[f"{prefix}.{name}"]
    return Scaler.restore({"kind": kind, "columns": list(columns), "series": []}, parts)


# ---- ids


def embeds(layers: Sequence[Layer]) -> bool:
    """Whether the first layer looks tokens up, which are neither scaled nor turned into fractions."""
    first = layers[0][1] if isinstance(layers[0], tuple) else layers[0]
    return isinstance(first, EmbeddingConfig) and first.column is None


def tokens(array: Array) -> Array:
    """(T,) ids out of a (T, 1) array of whole numbers; ShapeError, DTypeError otherwise."""
    if array.shape[1] != 1:
        raise ShapeError(f"an embedding reads one token a step, but a step has {array.shape[1]} features.")
    ids = array[:, 0]
    if (ids != np.floor(ids)).any() or (np.abs(ids) > 2**53).any():
        raise DTypeError("an embedding reads whole numbers, but X holds fractions.")
    return ids.astype(np.int64)


# ---- one column of a frame ------------------------------------------------------------


def is_text(values: Array) -> bool:
    """Whether a column holds words: less than half of its present cells are numbers."""
    if values.dtype.kind in "US":
        values = values.astype(object)
    if values.dtype.kind != "O":
        return False
    present = [v for v in as_labels(values) if v is not None]
    return sum(map(_is_number, present)) * 2 < len(present)


def read_category(values: Array, column: str, encoding: str, missing: str) -> Categories:
    """The levels of one column of X.

    Raises:
        DataError: it has missing cells without missing="mask", or too many levels to be a category.
        OptionError: unknown encoding.
    """
    how = require_missing_option(missing)
    found = Categories.fit(column, as_labels(values), encoding, missing=how)
    require_few_levels(column, found.levels)
    return found


def read_codes(values: Array, category: Categories, place: Callable[[int], str] | None = None) -> Array:
    """(N,) codes of a column as floats, for `Sequences.arrays`. Raises as `Categories.codes` does."""
    return category.codes(as_labels(values), place).astype(np.float64)


def read_numbers(values: Array, column: str, place: Callable[[int], str], missing: str) -> Array:
    """(N,) a column of X as floats; NaN only where `missing` allows it.

    Raises:
        DataError: a cell is no number, infinite, or missing; row and column are named.
    """
    if values.dtype.kind == "O" or values.dtype.kind in "USMm":
        try:
            if values.dtype.kind in "Mm":
                raise TypeError
            values = np.array([np.nan if v is None else v for v in values]).astype(np.float64)
        except (TypeError, ValueError):
            row = next((i for i, v in enumerate(values) if not (v is None or _is_number(v))), 0)
            raise DataError(
                f"column {column!r} holds {values[row]!r} in {place(row)}, but a feature is a number.",
                "Correct the cell, leave the column out with columns=[...], or say categories=[...].",
            ) from None
    values = values.astype(np.float64) if values.dtype.kind != "f" else values
    bad = np.isinf(values) if missing != "error" else ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        gone = np.isnan(values[row])
        raise DataError(
            f"column {column!r} is {'missing (NaN)' if gone else 'infinite (inf)'} in {place(row)}; "
            f"{int(bad.sum())} such values in all.",
            _TO_COMPLETE if gone else "Correct or drop these rows.",
        )
    return values


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        try:
            return math.isfinite(float(value))
        except ValueError:
            return False
    return isinstance(value, (numbers.Real, np.number))
