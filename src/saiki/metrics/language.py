"""Figures of language models: perplexity and bits a character, of the probabilities a model gave."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from saiki.core.checks import require_int
from saiki.core.errors import ShapeError, ValueRangeError

LARGEST = 700.0  # nats a token; e^709 is the largest float


def perplexity(log_probabilities: ArrayLike) -> float:
    """Among how many equally likely tokens the model was left to guess, on average.

        perplexity = exp(-(1/n) Σ_t ln p_t)

    Args:
        log_probabilities: (n,) ln p of each token that came, nats, at most 0; -inf for one held impossible.
    Returns:
        At least 1; e^700 where the mean is above 700 nats.
    Raises:
        ShapeError: not (n,) with n ≥ 1.
        ValueRangeError: NaN, or above 0 by more than rounding.
    Source: Jelinek, Mercer, Bahl & Baker 1977.
    """
    return math.exp(min(-float(_checked(log_probabilities).mean()), LARGEST))


def bits_per_character(log_probabilities: ArrayLike, characters: int) -> float:
    """How many bits a character of the text the model would need to write it down.

        bits = -(1/C) Σ_t log₂ p_t

    It compares models of characters, pieces and words of one text, as long as none of it is unknown.

    Args:
        log_probabilities: (n,) ln p of each token, nats.
        characters: C ≥ 1, those of the text that the tokens make.
    Raises:
        As `perplexity`.
    """
    total = -float(_checked(log_probabilities).sum())
    return total / math.log(2) / require_int(characters, "characters", low=1)


def _checked(log_probabilities: ArrayLike) -> np.ndarray:
    found = np.asarray(log_probabilities, dtype=np.float64)
    if found.ndim != 1 or not len(found):
        raise ShapeError(f"log_probabilities is {found.shape} but must be (n,), one a token, at least one.")
    if np.isnan(found).any() or (found > 1e-5).any():
        raise ValueRangeError(
            f"log_probabilities reaches {np.max(found):.3g} but a logarithm of a probability is at most 0.",
            "Give natural logarithms of probabilities, not losses.",
        )
    return found
