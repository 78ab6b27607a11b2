"""Absolute error: the loss whose best constant answer is the median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from saiki.losses.rows import hide, require_pair, row_mean


def absolute(outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
    """Absolute error of each row, averaged over its observed targets.

        ℓ_n = (1/J) Σ_j |y_nj - t_nj|

    It learns the conditional median of the targets. The gradient at y = t is 0.

    Args:
        outputs: (N, …) predictions y.
        targets: (N, …) truths t, the same shape.
        mask: (N, …) bool, True where t was observed; what is False is ignored, NaN included.
    Returns:
        (N,) in units of the target; 0 where nothing was observed.
    Raises:
        ShapeError: the shapes differ (nothing is broadcast).
        DTypeError: not floating point, or two dtypes.
    Source: Laplace 1774; Bishop 2006, exercise 1.27 (the conditional median).
    """
    require_pair(outputs, targets, mask)
    return row_mean((hide(outputs, mask) - hide(targets, mask)).abs(), mask)


@dataclass(frozen=True)
class Absolute:
    """`absolute` as a value."""

    name: ClassVar[str] = "absolute"

    def __call__(self, outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `absolute`."""
        return absolute(outputs, targets, mask)
