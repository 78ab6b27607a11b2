"""Gaussian negative log-likelihood: the network says how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from saiki.losses.rows import hide, require_pair, row_mean

LOG_SCALE_LIMIT = 10.0
"""|ln σ| is held to this. Targets are scaled to unit size, so σ between e^-10 = 4.5e-5 and e^10 = 22,026
covers every use; in float32 neither 1/σ² = 4.9e8 nor its product with a squared error of 1e29 overflows."""


def gaussian_parameters(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale that an output speaks of; the one place where the limits of the scale are applied.

        μ = outputs[…, 0]        σ = exp(clip(outputs[…, 1], -10, 10))

    Args:
        outputs: (N, …, 2).
    Returns:
        (N, …) mean μ and (N, …) standard deviation σ > 0.
    """
    mean, log_scale = outputs.unbind(-1)
    return mean, log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT).exp()


def gaussian(outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
    """Negative log-likelihood of each row under normal distributions, averaged over its observed targets.

        ℓ = ln σ + ½ ((t - μ)/σ)² + ½ ln 2π        μ = outputs[…, 0],  ln σ = clip(outputs[…, 1], -10, 10)

    Outside ±10 the log-scale gets no gradient, the mean still does.

    Args:
        outputs: (N, …, 2) mean and log-scale of each target.
        targets: (N, …) truths t.
        mask: (N, …) bool, True where t was observed; what is False is ignored, NaN included.
    Returns:
        (N,) nats a target (negative where σ is small and the target close); 0 where nothing was observed.
    Raises:
        ShapeError: the shapes do not match (nothing is broadcast).
        DTypeError: not floating point, or two dtypes.
    Source: Nix & Weigend 1994.
    """
    require_pair(outputs, targets, mask, trailing=2)
    wide = None if mask is None else mask.unsqueeze(-1).expand_as(outputs)
    mean, log_scale = hide(outputs, wide).unbind(-1)
    log_scale = log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)
    z = (hide(targets, mask) - mean) * (-log_scale).exp()
    return row_mean(log_scale + 0.5 * z.square() + 0.5 * math.log(2 * math.pi), mask)


@dataclass(frozen=True)
class Gaussian:
    """`gaussian` as a value."""

    name: ClassVar[str] = "gaussian"

    def __call__(self, outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `gaussian`."""
        return gaussian(outputs, targets, mask)
