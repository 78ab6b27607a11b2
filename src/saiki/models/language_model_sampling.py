"""Writing with a language model: temperature, the k most likely tokens, and how uncertain that makes it.

p_τ(k) = p(k)^{1/τ} / Σ_j p(j)^{1/τ}        τ → 0: the most likely token; τ = 1: as learned; τ → ∞: any token
H(p_τ) = -Σ_k p_τ(k) ln p_τ(k)              rises with τ
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from saiki.core.checks import require_int, require_number
from saiki.decoding.sequence import Rows, sample
from saiki.models.language_model_network import Reader
from saiki.models.options import Array

TEMPERATURES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # at which a report draws the entropy
SHOWN = (0.0, 0.5, 1.0, 1.5)  # at which it shows samples


def require_sampling(length: object, temperature: object, top_k: object) -> tuple[int, float, int | None]:
    """The options of a sample, checked.

    Raises:
        DTypeError, ValueRangeError: one is no number, or out of range.
    """
    return (
        require_int(length, "length", low=0),
        require_number(temperature, "temperature", low=0),
        None if top_k is None else require_int(top_k, "top_k", low=1),
    )


def tempered(log_p: Array, temperature: float, top_k: int | None = None) -> Array:
    """ln p_τ of each row, with all but the k most likely tokens left out.

    Args:
        log_p: (B, V) ln p, nats; -inf where a token must not come.
        temperature: τ ≥ 0; at 0 the most likely token (the first of several) has it all.
        top_k: None: every token stays. Of several that are equal at the border all stay.
    Returns:
        (B, V) ln p_τ, nats.
    Source: Ackley, Hinton & Sejnowski 1985 (temperature); Fan, Lewis & Dauphin 2018 (top k).
    """
    if temperature == 0:
        found = np.full_like(log_p, -np.inf)
        found[np.arange(len(log_p)), log_p.argmax(axis=1)] = 0.0
        return found
    if top_k is not None and top_k < log_p.shape[1]:
        border = np.partition(log_p, -top_k, axis=1)[:, -top_k, None]
        log_p = np.where(log_p >= border, log_p, -np.inf)
    a = (log_p - log_p.max(axis=1, keepdims=True)) / temperature
    return np.asarray(a - np.log(np.exp(a).sum(axis=1, keepdims=True)))


def entropy(log_p: Array) -> Array:
    """(B,) -Σ p ln p of each row of ln p, nats."""
    p = np.exp(log_p)
    return np.asarray(-np.where(p > 0, p * np.where(p > 0, log_p, 0), 0).sum(axis=1))


def write(
    reader: Reader,
    prompts: Sequence[Array],
    length: int,
    *,
    temperatures: Sequence[float],
    top_k: int | None,
    generator: torch.Generator,
    forbidden: Sequence[int] = (),
    end: int | None = None,
) -> list[list[int]]:
    """Go on with several texts, side by side.

    Args:
        reader: of the network.
        prompts: B arrays of tokens, the start token in front, at least one token each.
        length: tokens to write at most.
        temperatures: τ of each text.
        top_k: see `tempered`.
        generator: of chance.
        forbidden: tokens that are never written.
        end: the token that ends a text, which is not given; None: all are written to their length.
    Returns:
        The tokens written of each.
    """
    if not prompts:
        return []

    def step(tokens: Tensor, state: Rows) -> tuple[Tensor, Rows]:
        before, tau = state.value
        log_p, after = reader.step(tokens.cpu().numpy(), before)
        log_p[:, list(forbidden)] = -np.inf
        each = [tempered(row[None], float(t), top_k) for row, t in zip(log_p, tau[0])]
        return torch.from_numpy(np.concatenate(each)), Rows((after, tau), axis=1)

    begun = reader.states([prompt[:-1] for prompt in prompts])
    tau = torch.tensor(
        [temperatures], dtype=torch.float64
    )  # (1, B), so that rows are chosen with the states'
    start = torch.tensor([int(prompt[-1]) for prompt in prompts])
    found = sample(step, Rows((begun, tau), axis=1), start, end=end, max_steps=length, generator=generator)
    return [list(text.tokens) for text in found]
