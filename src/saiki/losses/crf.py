"""A linear-chain conditional random field: log-likelihood of a path, partition function, marginals.

    p(y | x) = exp(Σ_t ψ_t(y_{t-1}, y_t)) / Z          Z = Σ over all K^T paths
    α_t(j) = ln Σ_i exp(α_{t-1}(i) + ψ_t(i, j))        forward: everything that ends in j at t
    β_t(i) = ln Σ_j exp(ψ_{t+1}(i, j) + β_{t+1}(j))    backward: everything that follows i at t
    ln Z = ln Σ_j exp(α_T(j))
    p_t(i, j) = exp(α_{t-1}(i) + ψ_t(i, j) + β_t(j) - ln Z) = ∂ ln Z / ∂ψ_t(i, j)

Both recursions cost O(T K²). The last line is the whole gradient, so nothing is kept for automatic
differentiation but α. Potentials come from `saiki.nn.CRF`, or from whatever makes a (K, K) table a step; at
the first step of a sequence, where nothing stands before, row 0 counts. A potential of -inf forbids.

Sources: Lafferty, McCallum & Pereira 2001; Rabiner 1989, section III (the recursions).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from saiki.core.errors import DTypeError, LabelError, LengthError, ShapeError
from saiki.core.ragged import Ragged


def crf(potentials: Ragged, targets: Ragged) -> Tensor:
    """Negative log-likelihood of each path.

        ℓ = ln Z - Σ_t ψ_t(y_{t-1}, y_t)

    Args:
        potentials: B sequences, data (N, K, K), entry (i, j) for label i before label j; row 0 counts at a
            first step.
        targets: B sequences of the same lengths, data (N,) integer labels y in [0, K).
    Returns:
        (B,) nats a sequence, unreduced; 0 for an empty one; `inf`, with zero gradient, for a path that a
        potential of -inf forbids.
    Raises:
        LabelError: a label outside [0, K); its sequence and step are named.
        LengthError: potentials and targets differ in their sequences.
        ShapeError, DTypeError: something has another form.
    Source: Lafferty, McCallum & Pereira 2001, section 3.
    """
    K = _require_potentials(potentials)
    y = _require_labels(potentials, targets, K)
    value = _Likelihood.apply(potentials.data, potentials.batch_sizes, _before(potentials, y), y)
    return _as_given(potentials, value)


def crf_score(potentials: Ragged, targets: Ragged) -> Tensor:
    """Σ_t ψ_t(y_{t-1}, y_t), the unnormalised log-score of each path.

    Args:
        potentials: B sequences, data (N, K, K).
        targets: B sequences of the same lengths, data (N,) integer labels in [0, K).
    Returns:
        (B,) nats; 0 for an empty sequence.
    Raises:
        As `crf`.
    """
    K = _require_potentials(potentials)
    y = _require_labels(potentials, targets, K)
    picked = potentials.data.flatten(1).gather(1, (_before(potentials, y) * K + y).unsqueeze(1)).squeeze(1)
    return potentials.sequence_sum(picked)


def crf_log_partition(potentials: Ragged) -> Tensor:
    """ln Z of each sequence, by the forward recursion; its gradient are the pairs' probabilities.

    Args:
        potentials: B sequences, data (N, K, K).
    Returns:
        (B,) nats; 0 for an empty sequence, which has one path; -inf where every path is forbidden.
    Raises:
        ShapeError, DTypeError: no table of K × K floating numbers a step.
    """
    _require_potentials(potentials)
    return _as_given(potentials, _LogPartition.apply(potentials.data, potentials.batch_sizes))


def crf_marginals(potentials: Ragged) -> Ragged:
    """The probability of each label at each step, given the whole sequence.

        p_t(j) = exp(α_t(j) + β_t(j) - ln Z)

    Args:
        potentials: B sequences, data (N, K, K).
    Returns:
        The same sequences with data (N, K), rows that sum to 1; zeros where every path is forbidden. No
        gradient.
    Raises:
        ShapeError, DTypeError: no table of K × K floating numbers a step.
    Source: Rabiner 1989, eq. 27.
    """
    _require_potentials(potentials)
    with torch.no_grad():
        ran = _forward_backward(potentials.data, potentials.batch_sizes)
        log_z = ran.log_z[_places(potentials.batch_sizes, potentials.device)].unsqueeze(1)
        p = torch.where(torch.isneginf(log_z), 0, torch.exp(ran.log_alpha + ran.log_beta - log_z))
    return potentials.with_data(p)


@dataclass(frozen=True)
class CRF:
    """`crf` as a value: a loss of whole sequences for a network that ends in `saiki.nn.CRF`."""

    name: ClassVar[str] = "crf"
    whole_sequence: ClassVar[bool] = True

    def __call__(self, outputs: Ragged, targets: Ragged) -> Tensor:
        """See `crf`."""
        return crf(outputs, targets)


class _Ran(NamedTuple):
    log_alpha: Tensor  # (N, K)
    log_beta: Tensor  # (N, K)
    log_z: Tensor  # (live,) longest first


def _forward(potentials: Tensor, batch_sizes: Tensor) -> tuple[Tensor, Tensor]:
    """α (N, K) packed, and ln Z (live,) longest first."""
    N, K, _ = potentials.shape
    sizes = batch_sizes.tolist()
    log_alpha = potentials.new_empty((N, K))
    log_z = potentials.new_empty(sizes[0] if sizes else 0)
    row, alpha = 0, potentials[:0, 0]
    for t, running in enumerate(sizes):
        psi = potentials[row : row + running]
        if t == 0:
            alpha = psi[:, 0]
        else:
            alpha = torch.logsumexp(alpha[:running].unsqueeze(2) + psi, dim=1)
        log_alpha[row : row + running] = alpha
        row += running
        still = sizes[t + 1] if t + 1 < len(sizes) else 0
        if still < running:
            log_z[still:running] = torch.logsumexp(alpha[still:], dim=1)
    return log_alpha, log_z


def _backward(potentials: Tensor, batch_sizes: Tensor) -> Tensor:
    """β (N, K) packed; 0 at the last step of each sequence."""
    N, K, _ = potentials.shape
    sizes = batch_sizes.tolist()
    log_beta = potentials.new_zeros((N, K))
    end = N
    for t in range(len(sizes) - 1, 0, -1):
        start, running, before = end - sizes[t], sizes[t], sizes[t - 1]
        follows = potentials[start:end] + log_beta[start:end].unsqueeze(1)  # (running, K, K)
        first = start - before
        log_beta[first : first + running] = torch.logsumexp(follows, dim=2)
        end = start
    return log_beta


def _forward_backward(potentials: Tensor, batch_sizes: Tensor) -> _Ran:
    log_alpha, log_z = _forward(potentials, batch_sizes)
    return _Ran(log_alpha, _backward(potentials, batch_sizes), log_z)


def _places(batch_sizes: Tensor, device: torch.device) -> Tensor:
    """(N,) place of each packed row's sequence among the longest-first ones."""
    starts = batch_sizes.cumsum(0) - batch_sizes
    rows = torch.arange(int(batch_sizes.sum()))
    return (rows - torch.repeat_interleave(starts, batch_sizes)).to(device)


def _pairs(potentials: Tensor, sizes: Tensor, log_alpha: Tensor, log_z: Tensor, upstream: Tensor) -> Tensor:
    """(N, K, K) p_t(i, j) times a factor (live,) a sequence; 0 where every path is forbidden."""
    log_beta = _backward(potentials, sizes)
    places = _places(sizes, potentials.device)
    live = int(sizes[0]) if len(sizes) else 0
    p = potentials + (log_beta - log_z[places].unsqueeze(1)).unsqueeze(1)
    p[:live, 1:] = float("-inf")
    if live < len(potentials):
        starts = (sizes.cumsum(0) - sizes).to(places.device)
        step = torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(places.device)[live:]
        p[live:] += log_alpha[starts[step - 1] + places[live:]].unsqueeze(2)  # α of the step before
    p.exp_()
    impossible = torch.isneginf(log_z)
    if bool(impossible.any()):
        p[impossible[places]] = 0  # -inf - (-inf) is NaN; there is nothing to move towards
    return p.mul_(upstream[places][:, None, None])


class _LogPartition(torch.autograd.Function):
    """ln Z with the probability of each pair as its gradient."""

    @staticmethod
    def forward(ctx: Any, potentials: Tensor, batch_sizes: Tensor) -> Tensor:  # noqa: ANN401  torch's own
        log_alpha, log_z = _forward(potentials, batch_sizes)
        ctx.save_for_backward(potentials, log_alpha, log_z)
        ctx.batch_sizes = batch_sizes
        return log_z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]  # noqa: ANN401
        potentials, log_alpha, log_z = ctx.saved_tensors
        return _pairs(potentials, ctx.batch_sizes, log_alpha, log_z, upstream), None


class _Likelihood(torch.autograd.Function):
    """ln Z minus a path's score; its gradient are the pairs' probabilities minus the pairs of the path."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,  # noqa: ANN401  torch's own
        potentials: Tensor,
        batch_sizes: Tensor,
        before: Tensor,
        y: Tensor,
    ) -> Tensor:
        log_alpha, log_z = _forward(potentials, batch_sizes)
        rows = torch.arange(len(y), device=y.device)
        picked = potentials[rows, before, y]
        score = torch.zeros_like(log_z).index_add_(0, _places(batch_sizes, y.device), picked)
        possible = ~torch.isneginf(score)
        ctx.save_for_backward(potentials, log_alpha, log_z, before, y, possible)
        ctx.batch_sizes = batch_sizes
        return torch.where(possible, log_z - score, float("inf"))

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any,  # noqa: ANN401  torch's own
        upstream: Tensor,
    ) -> tuple[Tensor, None, None, None]:
        potentials, log_alpha, log_z, before, y, possible = ctx.saved_tensors
        sizes: Tensor = ctx.batch_sizes
        upstream = torch.where(possible, upstream, 0)
        p = _pairs(potentials, sizes, log_alpha, log_z, upstream)
        p[torch.arange(len(y), device=y.device), before, y] -= upstream[_places(sizes, y.device)]
        return p, None, None, None


def _as_given(potentials: Ragged, values: Tensor) -> Tensor:
    """(live,) values, longest first, as (B,) in the user's order; 0 for empty sequences."""
    place = torch.empty_like(potentials.order)
    place[potentials.order] = torch.arange(potentials.B)
    empty = values.new_zeros(potentials.B - potentials.live)
    return torch.cat([values, empty])[place.to(values.device)]


def _before(potentials: Ragged, y: Tensor) -> Tensor:
    """(N,) the label one step earlier in the same sequence; 0 at a first step."""
    before = torch.zeros_like(y)
    rest = torch.arange(potentials.live, potentials.N, device=y.device)
    if rest.numel():
        starts = (potentials.batch_sizes.cumsum(0) - potentials.batch_sizes).to(y.device)
        step = potentials.row_step[rest]
        before[rest] = y[rest - starts[step] + starts[step - 1]]
    return before


def _require_potentials(potentials: object) -> int:
    if not isinstance(potentials, Ragged):
        raise DTypeError(
            f"potentials is {type(potentials).__name__} but must be a Ragged with data (N, K, K).",
            "saiki.nn.CRF(K) makes one of a Ragged of scores (N, K).",
        )
    if not potentials.data.is_floating_point():
        raise DTypeError(f"potentials hold {potentials.dtype} but must hold floating numbers.")
    shape = potentials.feature_shape
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 1:
        raise ShapeError(
            f"each step of potentials is {shape} but must be a table (K, K) of label before and label now.",
            "saiki.nn.CRF(K) makes one of a Ragged of scores (N, K).",
        )
    return shape[0]


def _require_labels(potentials: Ragged, targets: object, K: int) -> Tensor:
    """(N,) the labels in the order of the potentials' rows."""
    if not isinstance(targets, Ragged):
        raise DTypeError(f"targets is {type(targets).__name__} but must be a Ragged of labels.")
    y = targets.data
    if y.dtype == torch.bool or y.is_floating_point() or y.is_complex():
        raise DTypeError(f"targets hold {y.dtype} but must hold integer labels.", "Use targets.long().")
    if targets.feature_shape != ():
        raise ShapeError(f"each step of targets is {targets.feature_shape} but must be one label.")
    if targets.B != potentials.B or not torch.equal(targets.lengths, potentials.lengths):
        raise LengthError(f"{_unlike(potentials, targets)}; a chain has one label a step.")
    if not torch.equal(targets.order, potentials.order):
        y = _in_order_of(potentials, targets)
    strange = (y < 0) | (y >= K)
    if bool(strange.any()):
        row = int(strange.nonzero()[0])
        raise LabelError(
            f"target {int(y[row])} of sequence {int(potentials.row_sequence[row])} at step "
            f"{int(potentials.row_step[row])} is not in [0, {K}), the labels that the potentials know."
        )
    return y.long()


def _unlike(potentials: Ragged, targets: Ragged) -> str:
    if targets.B != potentials.B:
        return f"targets have {targets.B} sequences but potentials {potentials.B}"
    b = int((targets.lengths != potentials.lengths).nonzero()[0])
    there, here = int(potentials.lengths[b]), int(targets.lengths[b])
    return f"sequence {b} has {here} targets but {there} steps of potentials"


def _in_order_of(potentials: Ragged, targets: Ragged) -> Tensor:
    """(N,) labels whose equally long sequences were packed in another order."""
    place = torch.empty_like(targets.order)
    place[targets.order] = torch.arange(targets.B)
    starts = (targets.batch_sizes.cumsum(0) - targets.batch_sizes).to(targets.device)
    rows = starts[potentials.row_step] + place.to(targets.device)[potentials.row_sequence]
    return targets.data[rows]
