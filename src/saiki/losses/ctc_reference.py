"""CTC in plain tensor code: the twin that the kernels are checked against, and what runs where they cannot.

The target l_1 … l_L is interleaved with blanks, l' = (␣, l_1, ␣, l_2, …, l_L, ␣), S = 2L + 1 states. With
p_t(k) = softmax(a_t)_k, and the jump over a blank allowed where it stands between different labels,

    α_t(s) = p_t(l'_s) (α_{t-1}(s) + α_{t-1}(s-1) + [l'_s ≠ ␣, l'_s ≠ l'_{s-2}] α_{t-1}(s-2))

    P = α_T(S) + α_T(S-1)        loss = -ln P

Everything is in logarithms. The backward variables are left to autograd: ∂ ln P / ∂ ln p_t(l'_s) is the share
of P that goes through state s at step t, which is α_t(s) β_t(s) / P.

Source: Graves et al. 2006, section 4.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saiki.losses.ctc_case import Case

LEAST = -1e6  # a class so far below its step's largest logit has probability 0; see csrc/ctc.h
NONE = float("-inf")


def loss(case: Case) -> Tensor:
    """(B,) -ln P of each utterance, inf where it is 0; differentiable as often as one likes."""
    return -_log_likelihood(case, _emissions(case, _log_probabilities(case)))


def posteriors(case: Case) -> list[Tensor]:
    """For each utterance (T_b, 2 L_b + 1), the share of P that goes through each state; 0 where P is."""
    with torch.enable_grad():
        emissions = _emissions(case, _log_probabilities(case).detach()).requires_grad_()
        (share,) = torch.autograd.grad(_log_likelihood(case, emissions).sum(), emissions)
    sizes = zip(case.lengths.tolist(), case.target_lengths.tolist())
    return [share[:T, b, : 2 * L + 1] for b, (T, L) in enumerate(sizes)]


def best_paths(case: Case) -> list[tuple[Tensor, Tensor]]:
    """For each utterance its likeliest path: (T_b,) states, and (T_b,) ln p of what is said at each step."""
    emissions = _emissions(case, _log_probabilities(case).detach().double())
    jumps = _jumps(case).to(emissions.device)
    found = []
    for b, (T, L) in enumerate(zip(case.lengths.tolist(), case.target_lengths.tolist())):
        e, S = emissions[:T, b, : 2 * L + 1], 2 * L + 1
        score = torch.full((S,), NONE, dtype=torch.float64, device=e.device)
        score[0] = 0  # as if a blank had been said before the first step
        back = []
        for t in range(T):
            ways = torch.stack((score, _shifted(score, 1), _shifted(score, 2).where(jumps[b, :S], NONE)))
            score, step = ways.max(dim=0)  # of equal ways the first: it stays where it is
            score = score + e[t]
            back.append(step)
        state = S - 1 if L == 0 or score[S - 1] >= score[S - 2] else S - 2
        states = []
        for step in reversed(back):
            states.append(state)
            state -= int(step[state])
        path = torch.tensor(states[::-1], dtype=torch.int64, device=e.device)
        found.append((path, e.gather(1, path[:, None])[:, 0]))
    return found


def _log_probabilities(case: Case) -> Tensor:
    """(T, B, K) ln p."""
    logits = case.padded()
    logits = torch.where(logits - logits.detach().amax(dim=-1, keepdim=True) < LEAST, NONE, logits)
    return logits.log_softmax(dim=-1)


def _states(case: Case) -> Tensor:
    """(B, S) classes of l'; what stands past an utterance's own states is the blank."""
    labels = case.labels.clone()
    labels[torch.arange(labels.shape[1]) >= case.target_lengths[:, None]] = case.blank
    states = torch.full((case.B, 2 * labels.shape[1] + 1), case.blank)
    states[:, 1::2] = labels
    return states


def _jumps(case: Case) -> Tensor:
    """(B, S) where a state may follow the one before the last."""
    states = _states(case)
    before = torch.full_like(states, case.blank)
    before[:, 2:] = states[:, :-2]
    return (states != case.blank) & (states != before) & (torch.arange(states.shape[1]) > 1)


def _emissions(case: Case, log_p: Tensor) -> Tensor:
    """(T, B, S) ln p_t(l'_s)."""
    states = _states(case).to(log_p.device)
    return log_p.gather(2, states.expand(log_p.shape[0], -1, -1))


def _log_likelihood(case: Case, emissions: Tensor) -> Tensor:
    """(B,) ln P."""
    _, B, S = emissions.shape
    jumps = _jumps(case).to(emissions.device)
    none = torch.full((B, S), NONE, dtype=emissions.dtype, device=emissions.device)
    before = none.clone()
    before[:, 0] = 0  # as if a blank had been said before the first step
    steps = [before]
    for emission in emissions.unbind():
        jumped = torch.where(jumps, _shifted(before, 2), none)
        before = emission + _log_add(torch.stack((before, _shifted(before, 1), jumped)))
        steps.append(before)
    log_alpha = torch.stack(steps)  # (T + 1, B, S), the start first
    b = torch.arange(B, device=emissions.device)
    lengths, last = case.lengths.to(emissions.device), 2 * case.target_lengths.to(emissions.device)
    ends = torch.stack((log_alpha[lengths, b, last], log_alpha[lengths, b, (last - 1).clamp(min=0)]))
    ends = torch.stack((ends[0], torch.where(last > 0, ends[1], NONE)))
    return _log_add(ends)


def _shifted(x: Tensor, by: int) -> Tensor:
    """x[..., s - by], -∞ before the first."""
    return torch.nn.functional.pad(x, (by, 0), value=NONE)[..., : x.shape[-1]]


def _log_add(terms: Tensor) -> Tensor:
    """ln Σ e^x over the first axis; where all are -∞ so is the sum, and the gradient is 0, not NaN."""
    largest = terms.detach().amax(dim=0)
    largest = torch.where(largest == NONE, 0.0, largest)
    total = (terms - largest).exp().sum(dim=0)
    none = total == 0
    return torch.where(none, NONE, torch.where(none, 1.0, total).log() + largest)
