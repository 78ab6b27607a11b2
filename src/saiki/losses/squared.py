"""Squared error: the loss whose best constant answer is the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from saiki.losses.rows import hide, require_pair, row_mean


def squared(outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
    """Squared error of each row, averaged over its observed targets.

        ℓ_n = (1/J) Σ_j (y_nj - t_nj)²

    There is no factor ½, so the value is the mean squared error that tables print. It learns the conditional
    mean of the targets.

    Args:
        outputs: (N, …) predictions y.
        targets: (N, …) truths t, the same shape.
        mask: (N, …) bool, True where t was observed; what is False is ignored, NaN included.
    Returns:
        (N,) in squared units of the target; 0 where nothing was observed.
    Raises:
        ShapeError: the shapes differ (nothing is broadcast).
        DTypeError: not floating point, or two dtypes.
    Source: Gauss 1809; Bishop 2006, section 1.5.5 (the conditional mean).
    """
    require_pair(outputs, targets, mask)
    return row_mean((hide(outputs, mask) - hide(targets, mask)).square(), mask)


@dataclass(frozen=True)
class Squared:
    """`squared` as a value."""

    name: ClassVar[str] = "squared"

    def __call__(self, outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `squared`."""
        return squared(outputs, targets, mask)
