"""What the looks inside share: one curve a sequence, its quartiles over them, and numbers for JSON."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from saiki.core.errors import ShapeError

Floats = NDArray[np.float64]

_HUGE = 1e303  # what is within a factor of a thousand of it counts as infinite


@final
@dataclass(frozen=True, eq=False)
class Curve:
    """One number a sequence and point, and its median and quartiles over the sequences.

    Args:
        values: (sequences, points), NaN where a sequence has none.
    Raises:
        ShapeError: not two axes.
    """

    values: Floats

    def __post_init__(self) -> None:
        if np.ndim(self.values) != 2:
            raise ShapeError(
                f"the values of a curve are {np.shape(self.values)} but must be (sequences, points)."
            )

    def __len__(self) -> int:
        return int(self.values.shape[1])

    @cached_property
    def median(self) -> Floats:
        """(points,) NaN where no sequence has a value."""
        return self._quantile(0.5)

    @cached_property
    def lower(self) -> Floats:
        """(points,) a quarter of the sequences lie below."""
        return self._quantile(0.25)

    @cached_property
    def upper(self) -> Floats:
        """(points,) a quarter of the sequences lie above."""
        return self._quantile(0.75)

    @cached_property
    def count(self) -> NDArray[np.int64]:
        """(points,) sequences that have a value."""
        known: NDArray[np.int64] = (~np.isnan(self.values)).sum(axis=0)
        return known

    def _quantile(self, level: float) -> Floats:
        if not self.values.shape[0]:
            return np.full(len(self), np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a point that no sequence has is NaN
            # between two infinities the interpolation would be NaN
            found = np.nanquantile(np.clip(self.values, -_HUGE, _HUGE), level, axis=0)
        return np.where(np.abs(found) > _HUGE / 1e3, np.copysign(np.inf, found), found)

    def to_json(self) -> dict[str, Any]:
        """Median, quartiles and count as lists; None for what is not a finite number."""
        return {
            "median": numbers(self.median),
            "lower": numbers(self.lower),
            "upper": numbers(self.upper),
            "count": self.count.tolist(),
        }


def numbers(values: NDArray[Any]) -> Any:  # noqa: ANN401
    """An array as nested lists, None where JSON has no number for it (NaN, infinities)."""
    if values.ndim == 0:
        return number(float(values))
    return [numbers(row) for row in values]


def number(value: float | None) -> float | None:
    """The number, or None where JSON has none for it."""
    return None if value is None or not math.isfinite(value) else float(value)
