"""Cross-entropy: the loss for "which"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from saiki.core.errors import DTypeError, LabelError, OptionError, ShapeError
from saiki.losses.rows import require_mask, require_outputs, row_mean


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    mask: Tensor | None = None,
    *,
    class_weight: Sequence[float] | Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Negative log-probability of the true class of each row, averaged over its observed targets.

        ℓ_n = -v_t ln softmax(a_n)_t                            t the true class, v its weight
        ℓ_n = -v_t [(1 - ε) ln p_t + (ε/K) Σ_k ln p_k]          with smoothing ε, p = softmax(a_n)

    Smoothing keeps the network from being ever surer of what it has learned: the best it can answer is 1 - ε
    + ε/K for the true class and ε/K for each other, and its loss is then the entropy of that, not 0.
    The weight multiplies the row's value and does not enter the divisor of the caller's mean (torch divides
    by the weights' sum; weights that average 1 over the training rows make the two agree).

    Args:
        logits: (N, …, K) scores a before the softmax, which is taken inside.
        targets: (N, …) integer classes t in [0, K).
        mask: (N, …) bool, True where t was observed; what is False is ignored, whatever number stands there.
        class_weight: K weights v ≥ 0; None: all 1.
        smoothing: ε in [0, 1), the share of a target that is spread evenly over all K classes.
    Returns:
        (N,) nats a target; 0 where nothing was observed.
    Raises:
        LabelError: a class outside [0, K). torch would read and write at a wrong address.
        DTypeError: targets that are not integers.
        ShapeError: the shapes do not match (nothing is broadcast).
        OptionError: class_weight is not K finite numbers ≥ 0, or smoothing is not in [0, 1).
    Source: Good 1952 (logarithmic score); Bishop 2006, eq. 4.108; Szegedy et al. 2016, section 7 (smoothing).
    """
    _require_smoothing(smoothing)
    require_outputs(logits)
    if logits.ndim < 2 or logits.shape[-1] < 1:
        raise ShapeError(
            f"logits is {tuple(logits.shape)} but must be (N, …, K), a score for each of K classes."
        )
    if not isinstance(targets, Tensor) or targets.dtype not in _INTEGERS:
        came = targets.dtype if isinstance(targets, Tensor) else type(targets).__name__
        raise DTypeError(
            f"targets is {came} but must be integer classes.", hint="Convert it with targets.long()."
        )
    if targets.shape != logits.shape[:-1]:
        raise ShapeError(
            f"targets is {tuple(targets.shape)} but must be {tuple(logits.shape[:-1])} to go with logits "
            f"{tuple(logits.shape)}.",
            hint="Targets are class numbers, not one-hot rows.",
        )
    require_mask(mask, targets)
    classes = logits.shape[-1]
    targets = targets.long()
    if mask is not None:
        targets = torch.where(mask, targets, torch.zeros_like(targets))
        logits = torch.where(mask.unsqueeze(-1), logits, torch.zeros_like(logits))
    if targets.numel():
        low, high = (int(v) for v in targets.aminmax())
        if low < 0 or high >= classes:
            raise LabelError(
                f"targets holds class {low if low < 0 else high} but the {classes} classes are "
                f"0 to {classes - 1}.",
                hint="Number the classes from 0, and give the network one output a class.",
            )
    # torch's, for it makes one pass over the K scores where logsumexp and its derivative make several
    value = torch.nn.functional.cross_entropy(
        logits.reshape(-1, classes), targets.reshape(-1), reduction="none", label_smoothing=smoothing
    ).view(targets.shape)
    if class_weight is not None:
        value = value * _weights(class_weight, logits)[targets]
    return row_mean(value, mask)


_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def _require_smoothing(smoothing: float) -> None:
    if isinstance(smoothing, bool) or not isinstance(smoothing, (int, float)) or not 0 <= smoothing < 1:
        raise OptionError(
            f"smoothing is {smoothing!r} but must be a number of at least 0 and under 1.",
            hint="0.1 is usual.",
        )


def _weights(class_weight: Sequence[float] | Tensor, logits: Tensor) -> Tensor:
    weight = torch.as_tensor(class_weight, dtype=logits.dtype, device=logits.device)
    if weight.shape != logits.shape[-1:] or not bool((torch.isfinite(weight) & (weight >= 0)).all()):
        raise OptionError(
            f"class_weight is {weight.tolist()!r} but must be "
            f"{logits.shape[-1]} finite numbers of at least 0, one a class."
        )
    return weight


@dataclass(frozen=True)
class CrossEntropy:
    """`cross_entropy` as a value."""

    class_weight: tuple[float, ...] | None = None
    smoothing: float = 0.0
    name: ClassVar[str] = "cross_entropy"

    def __post_init__(self) -> None:
        _require_smoothing(self.smoothing)

    def __call__(self, outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `cross_entropy`."""
        return cross_entropy(outputs, targets, mask, class_weight=self.class_weight, smoothing=self.smoothing)
