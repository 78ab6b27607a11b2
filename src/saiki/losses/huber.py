"""Huber's loss: squared near the target, absolute far from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from saiki.core.errors import OptionError
from saiki.losses.rows import hide, require_pair, row_mean


def huber(outputs: Tensor, targets: Tensor, mask: Tensor | None = None, *, delta: float = 1.0) -> Tensor:
    """Huber's loss of each row, averaged over its observed targets.

        ℓ(e) = ½ e²            where |e| ≤ δ,        e = y - t
             = δ (|e| - δ/2)   elsewhere

    A few wild targets pull with a bounded force, δ, whereas under the squared error they pull in proportion
    to their distance.

    Args:
        outputs: (N, …) predictions y.
        targets: (N, …) truths t, the same shape.
        mask: (N, …) bool, True where t was observed; what is False is ignored, NaN included.
        delta: δ > 0, in units of the target.
    Returns:
        (N,) in squared units of the target; 0 where nothing was observed.
    Raises:
        OptionError: delta is not a positive finite number.
        ShapeError: the shapes differ (nothing is broadcast).
        DTypeError: not floating point, or two dtypes.
    Source: Huber 1964.
    """
    _require_delta(delta)
    require_pair(outputs, targets, mask)
    e = (hide(outputs, mask) - hide(targets, mask)).abs()
    return row_mean(torch.where(e <= delta, 0.5 * e.square(), delta * (e - 0.5 * delta)), mask)


def _require_delta(delta: float) -> None:
    if isinstance(delta, bool) or not isinstance(delta, (int, float)) or not 0 < delta < float("inf"):
        raise OptionError(f"delta is {delta!r} but must be a positive number, in units of the target.")


@dataclass(frozen=True)
class Huber:
    """`huber` as a value."""

    delta: float = 1.0
    name: ClassVar[str] = "huber"

    def __post_init__(self) -> None:
        _require_delta(self.delta)

    def __call__(self, outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `huber`."""
        return huber(outputs, targets, mask, delta=self.delta)
