"""The best path through a linear chain of labels.

δ_t(j) = max_i δ_{t-1}(i) + ψ_t(i, j)          score of the best path that ends in j
b_t(j) = argmax_i …                            the label it came from
y_T = argmax_j δ_T(j),   y_{t-1} = b_t(y_t)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from saiki.core.errors import DTypeError, ShapeError
from saiki.core.ragged import Ragged


class BestPath(NamedTuple):
    """The best path of each sequence.

    Attributes:
        labels: the sequences with data (N,) int64, the label at each step.
        scores: (B,) Σ_t ψ_t along it, nats, unnormalised; 0 for an empty sequence.
    """

    labels: Ragged
    scores: Tensor


def viterbi(potentials: Ragged) -> BestPath:
    """The most probable path of each sequence, exactly, in O(T K²); of equals the one with the lowest labels
    from the end backwards.

    Args:
        potentials: B sequences, data (N, K, K), entry (i, j) for label i before label j; row 0 counts at a
            first step. `saiki.nn.CRF` makes them. -inf forbids.
    Returns:
        The paths and their scores, without a gradient.
    Raises:
        ShapeError, DTypeError: no table of K × K floating numbers a step.
    Source: Viterbi 1967; Forney 1973.
    """
    if not isinstance(potentials, Ragged) or not potentials.data.is_floating_point():
        came = (
            f"a Ragged of {potentials.dtype}" if isinstance(potentials, Ragged) else type(potentials).__name__
        )
        raise DTypeError(f"potentials is {came} but must be a Ragged of floating numbers, data (N, K, K).")
    shape = potentials.feature_shape
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 1:
        raise ShapeError(
            f"each step of potentials is {shape} but must be (K, K), label before and label now."
        )
    with torch.no_grad():
        return _best(potentials)


def _best(potentials: Ragged) -> BestPath:
    data, sizes = potentials.data, potentials.batch_sizes.tolist()
    came_from = torch.zeros(data.shape[:2], dtype=torch.int64, device=data.device)
    scores = data.new_zeros(potentials.live)
    last = torch.zeros(potentials.live, dtype=torch.int64, device=data.device)
    row, delta = 0, data[:0, 0]
    for t, running in enumerate(sizes):
        psi = data[row : row + running]
        if t == 0:
            delta = psi[:, 0]
        else:
            delta, came_from[row : row + running] = (delta[:running].unsqueeze(2) + psi).max(dim=1)
        row += running
        still = sizes[t + 1] if t + 1 < len(sizes) else 0
        if still < running:
            scores[still:running], last[still:running] = delta[still:].max(dim=1)
    labels = torch.zeros(potentials.N, dtype=torch.int64, device=data.device)
    end, now = potentials.N, last[:0]
    for t in range(len(sizes) - 1, -1, -1):
        start, running = end - sizes[t], sizes[t]
        now = torch.cat([now, last[len(now) : running]])  # those whose last step this is
        labels[start:end] = now
        if t > 0:
            now = came_from[start:end].gather(1, now.unsqueeze(1)).squeeze(1)
        end = start
    total = data.new_zeros(potentials.B)
    total[potentials.order[: potentials.live].to(data.device)] = scores
    return BestPath(potentials.with_data(labels), total)
