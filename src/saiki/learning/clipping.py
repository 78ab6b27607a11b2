"""Gradient clipping, by norm and by value."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from saiki.core.checks import require_positive

BLOCK = 1 << 15  # numbers whose squares are added up in their own type, where there are more


def global_norm(gradients: Mapping[str, Tensor]) -> float:
    """‖g‖₂ over all gradients together, summed in float64 so that large float32 gradients do not overflow.

    Args:
        gradients: by parameter name.
    Returns:
        The norm; NaN or infinite if an entry is.
    """
    if not gradients:
        return 0.0
    # Apple's GPUs have no float64; there the sum is taken in the gradients' own type
    wide = torch.float64 if all(g.device.type != "mps" for g in gradients.values()) else None
    # torch widens a whole tensor before it sums; of a large one that copy takes longer than the sum
    large = {name for name, g in gradients.items() if g.is_cpu and g.numel() > 2 * BLOCK}
    norms = [torch.linalg.vector_norm(g, dtype=wide) for name, g in gradients.items() if name not in large]
    for name in sorted(large):
        blocks = [torch.linalg.vector_norm(block) for block in gradients[name].reshape(-1).split(BLOCK)]
        norms.append(torch.linalg.vector_norm(torch.stack(blocks), dtype=wide))
    norm = float(torch.linalg.vector_norm(torch.stack(norms)))
    if math.isinf(norm):  # the squares of a block may have overflowed
        norms = [torch.linalg.vector_norm(g, dtype=wide) for g in gradients.values()]
        norm = float(torch.linalg.vector_norm(torch.stack(norms)))
    return norm


def clip_by_norm(
    gradients: Mapping[str, Tensor], limit: float, norm: float | None = None
) -> dict[str, Tensor]:
    """Shorten the gradient as a whole to at most `limit`; its direction stays.

        g ← g · min(1, limit / ‖g‖)

    torch divides by ‖g‖ + 1e-6 instead; here (3, 4) clipped at 1 is (0.6, 0.8). Clipping the
    gradient equals clipping Δw for plain sgd only.

    Args:
        gradients: by parameter name.
        limit: > 0.
        norm: ‖g‖, where it is known already.
    Source: Pascanu, Mikolov & Bengio 2013.
    """
    require_positive(limit, "clip_norm")
    norm = global_norm(gradients) if norm is None else norm
    if norm <= limit:
        return dict(gradients)
    return {name: g * (limit / norm) for name, g in gradients.items()}


def clip_by_value(gradients: Mapping[str, Tensor], limit: float) -> dict[str, Tensor]:
    """Hold every entry to [-limit, limit]; this turns the gradient's direction.

    Args:
        gradients: by parameter name.
        limit: > 0.
    Source: Mikolov 2012.
    """
    require_positive(limit, "clip_value")
    return {name: g.clamp(-limit, limit) for name, g in gradients.items()}


def clipped(
    gradients: Mapping[str, Tensor], value: float | None, norm: float | None, length: float
) -> tuple[dict[str, Tensor], bool]:
    """The gradient as an update takes it: held entry by entry, then shortened as a whole.

    Args:
        gradients: by parameter name.
        value: `clip_value`; None: entries stay.
        norm: `clip_norm`; None: the length stays.
        length: ‖g‖ of these gradients.
    Returns:
        The gradients, and whether they were shortened as a whole.
    """
    taken = dict(gradients)
    if value is not None:
        taken = clip_by_value(taken, value)
        length = global_norm(taken)
    if norm is None:
        return taken, False
    return clip_by_norm(taken, norm, length), length > norm
