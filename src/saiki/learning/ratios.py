"""Update-to-weight ratios: how far one update moves each parameter, beside how large the parameter is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def held_weights(network: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of each trainable parameter, by name, as it is before an update.

    Args:
        network: parameters that require no gradient are left out.
    """
    return {name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad}


def update_ratios(before: Mapping[str, Tensor], network: torch.nn.Module) -> list[float]:
    """How far each parameter has moved, in shares of its own size.

        r = ‖w - w_0‖₂ / max(‖w‖₂, ‖w_0‖₂)        0 where the parameter is zero before and after

    The larger of the two norms, because a bias starts at 0 and its first update would be infinitely large:
    so r lies in [0, 2]; 2 stands for a norm beyond float64 as well. About 0.001 is what a network in good
    health usually shows; a tenth means that ten updates could replace all that was learned.

    Args:
        before: what `held_weights` gave.
        network: the same network after the update.
    Returns:
        One ratio a parameter, in the order of `before`.
    Source: a rule of thumb in common use; no paper is behind the 0.001.
    """
    if not before:
        return []
    after = dict(network.named_parameters())
    old, new = list(before.values()), [after[name].detach() for name in before]
    # Apple's GPUs have no float64; one call for all parameters, because most of them are small
    wide = None if any(w.device.type == "mps" for w in new) else torch.float64
    norms = torch._foreach_norm([*torch._foreach_sub(new, old), *new, *old], 2, wide)
    moved, new_norm, old_norm = torch.stack([n.double().cpu() for n in norms]).view(3, -1)
    size = torch.maximum(new_norm, old_norm)
    ratio = torch.where(size > 0, moved / size, 0.0).nan_to_num(nan=2.0, posinf=2.0)
    found: list[float] = ratio.tolist()
    return found
