"""The value of a metric with the number of values behind it, and the checks that all metrics share."""

from __future__ import annotations

from typing import Any

import numpy as np

from saiki.core.errors import DataError, DTypeError, ShapeError, ValueRangeError

Array = np.ndarray[Any, np.dtype[Any]]


class Score(float):
    """A float that knows how many observed targets it was taken over (`count`)."""

    __slots__ = ("count",)
    count: int

    def __new__(cls, value: float, count: int) -> Score:
        """`value` taken over `count` targets."""
        score = super().__new__(cls, value)
        score.count = int(count)
        return score

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (float(self), self.count)


def as_array(x: object, name: str) -> Array:
    """An array, a tensor or a list of numbers as a numpy array of float64.

    Raises:
        DTypeError: it holds something else, or cannot be an array.
    """
    if hasattr(x, "detach"):
        x = x.detach().cpu().numpy()
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise ShapeError(f"{name} is ragged and cannot be an array.", "Give one array of numbers.") from error
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)  # None becomes NaN
        except (TypeError, ValueError) as error:
            raise DTypeError(f"{name} holds objects that are no numbers.", "Give numbers.") from error
    if array.dtype.kind not in "iufb":
        raise DTypeError(f"{name} holds {array.dtype} but must hold numbers.", "Give numbers.")
    return array.astype(np.float64)


def require_same_shape(x: Array, name: str, y: Array, other: str) -> None:
    """Refuse two arrays of different shapes; nothing is broadcast, for that hides mistakes.

    Raises:
        ShapeError: the shapes differ.
    """
    if x.shape != y.shape:
        raise ShapeError(
            f"{name} is {x.shape} but {other} is {y.shape}; they must be alike.",
            "Reshape or cut one of them; (n, 1) and (n,) are different.",
        )


def observed(targets: Array, **others: Array) -> Array:
    """Mask of the targets that are there (not NaN), after checking that the other arrays are finite in
    those places.

    Args:
        targets: any shape.
        others: arrays whose first axes are those of the targets, by the name messages call them.
    Raises:
        DataError: no target is observed.
        ValueRangeError: a target is infinite, or another array is not finite where the target is observed.
    """
    seen = ~np.isnan(targets)
    if not seen.any():
        raise DataError(
            f"targets hold no observed value ({targets.size} in all, the rest missing), so there is "
            "nothing to measure.",
            "Give at least one target that is not NaN.",
        )
    for name, array in {"targets": targets, **others}.items():
        bad = ~np.isfinite(array)
        bad &= seen.reshape(seen.shape + (1,) * (array.ndim - seen.ndim))
        if bad.any():
            place = tuple(int(index) for index in np.argwhere(bad)[0])
            raise ValueRangeError(
                f"{name}[{', '.join(map(str, place))}] is {array[place]} where the target is "
                f"observed; {int(bad.sum())} "
                "such values in all.",
                "Give finite numbers.",
            )
    return seen
