"""Quantile (pinball) loss: one output a quantile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from saiki.core.errors import OptionError
from saiki.losses.rows import hide, require_pair, row_mean


def quantile(
    outputs: Tensor, targets: Tensor, quantiles: Sequence[float], mask: Tensor | None = None
) -> Tensor:
    """Pinball loss of each row, averaged over its quantiles and observed targets.

        ℓ(y_q, t) = max(q (t - y_q), (q - 1) (t - y_q))

    Its best constant answer for q is the q-quantile of the targets; for q = ½ it is half the absolute error.

    Args:
        outputs: (N, …, Q) a prediction y_q for each quantile, in the order of `quantiles`.
        targets: (N, …) truths t.
        quantiles: Q levels, each in (0, 1), ascending.
        mask: (N, …) bool, True where t was observed; what is False is ignored, NaN included.
    Returns:
        (N,) in units of the target; 0 where nothing was observed.
    Raises:
        OptionError: the levels are not ascending numbers between 0 and 1.
        ShapeError: the shapes do not match (nothing is broadcast).
        DTypeError: not floating point, or two dtypes.
    Source: Koenker & Bassett 1978.
    """
    levels = _require_levels(quantiles)
    require_pair(outputs, targets, mask, trailing=len(levels))
    wide = None if mask is None else mask.unsqueeze(-1).expand_as(outputs)
    e = hide(targets, mask).unsqueeze(-1) - hide(outputs, wide)  # (N, …, Q)
    q = torch.tensor(levels, dtype=outputs.dtype, device=outputs.device)
    return row_mean(torch.maximum(q * e, (q - 1) * e), wide)


def _require_levels(quantiles: Sequence[float]) -> tuple[float, ...]:
    levels = tuple(quantiles)
    ascending = all(a < b for a, b in pairwise(levels))
    if not levels or not ascending or not all(isinstance(q, (int, float)) and 0 < q < 1 for q in levels):
        raise OptionError(
            f"quantiles is {levels!r} but must be ascending numbers between 0 and 1.",
            hint="For example (0.1, 0.5, 0.9).",
        )
    return levels


@dataclass(frozen=True)
class Quantile:
    """`quantile` as a value."""

    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    name: ClassVar[str] = "quantile"

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantiles", _require_levels(self.quantiles))

    def __call__(self, outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `quantile`."""
        return quantile(outputs, targets, self.quantiles, mask)
