"""What a language model must beat: n-grams with interpolated Kneser-Ney smoothing, of the same text.

    p_n(w | h) = max(c(h w) - D_n(c), 0) / c(h) + γ_n(h) p_{n-1}(w | h')       h' is h without its first token
    γ_n(h)     = Σ_w min(D_n(c), c(h w)) / c(h),  so that it sums to 1
    p_0(w)     = 1 / V

For the longest n c is the count; below, it is the number of different tokens seen before (h w). D takes one
of three values, for counts of 1, 2 and 3 or more, found from how many n-grams occur once to four times.

Sources: Kneser & Ney 1995; Chen & Goodman 1999, section 3 (modified, interpolated).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ORDERS = {"characters": 7}  # longest n-gram by tokenizer
ORDER = 5  # of words and pieces
COUNTED = 20_000_000  # tokens counted at most, the last ones: as many rows a table


@dataclass(frozen=True)
class _Table:
    """The n-grams of one length.

    Attributes:
        keys: sorted, context number · V + token; the place is the n-gram's number.
        share: of each n-gram, its discounted count over that of its context.
        left: of each context, what the discounts leave to the shorter n-grams; 1 for an unseen context.
    """

    keys: Ints
    share: Floats
    left: Floats


class NGramModel:
    """Counts of a text, as probabilities.

    Args:
        ids: (n,) tokens of the training text.
        vocabulary: V.
        order: n ≥ 1, tokens of the longest n-gram; the text's length where that is shorter.
    """

    def __init__(self, ids: Ints, vocabulary: int, order: int) -> None:
        self.vocabulary = vocabulary
        ids = np.asarray(ids, dtype=np.int64)[-COUNTED:]
        self.order = max(1, min(order, len(ids)))
        keys, counts, first = _counted(ids, vocabulary, self.order)
        self._tables: list[_Table] = []
        contexts = np.zeros(1, dtype=np.int64)
        for n in range(1, self.order + 1):
            used = counts[n - 1] if n == self.order else _continuations(keys[n], first[n], len(keys[n - 1]))
            self._tables.append(_table(keys[n - 1], used, vocabulary, len(contexts)))
            contexts = keys[n - 1]

    def log_probabilities(self, ids: Ints, past: Ints | None = None) -> Floats:
        """(n,) ln p of each token given those before it, nats.

        Args:
            ids: (n,) tokens.
            past: tokens before the first one.
        """
        before = np.zeros(0, np.int64) if past is None else np.asarray(past, np.int64)[-(self.order - 1) :]
        before = before if self.order > 1 else before[:0]
        whole = np.concatenate([before, np.asarray(ids, dtype=np.int64)])
        p = np.full(len(whole), 1.0 / self.vocabulary)
        number = np.zeros(
            len(whole), dtype=np.int64
        )  # of the context of n - 1 tokens before each; -1: unseen
        for n, table in enumerate(self._tables, start=1):
            key = number * self.vocabulary + whole
            place = np.searchsorted(table.keys, key).clip(max=len(table.keys) - 1)
            seen = (number >= 0) & (table.keys[place] == key)
            known = number >= 0
            left = np.where(known, table.left[number.clip(min=0)], 1.0)
            p = np.where(seen, table.share[place], 0.0) + left * p
            # the n-gram that ends one token earlier is the next context
            number = np.concatenate([[-1], np.where(seen, place, -1)[:-1]])
            if n == len(self._tables):
                break
        return np.asarray(np.log(p[len(before) :]))


def _counted(ids: Ints, vocabulary: int, order: int) -> tuple[list[Ints], list[Ints], list[Ints]]:
    """For each length n: the n-grams' keys, their counts, and each one's last n - 1 tokens as an n-gram."""
    keys: list[Ints] = []
    counts: list[Ints] = []
    shorter: list[Ints] = []
    number = np.zeros(len(ids), dtype=np.int64)  # of the context before each token
    held: Ints | None = None  # number of the (n - 1)-gram that ends at each token
    valid = np.ones(len(ids), dtype=bool)
    for _ in range(order):
        key = number * vocabulary + ids
        found, inverse, count = np.unique(key[valid], return_inverse=True, return_counts=True)
        place = np.full(len(ids), -1, dtype=np.int64)
        place[valid] = inverse
        first = np.zeros(len(found), dtype=np.int64)
        if held is not None:
            first[inverse] = held[valid]
        keys.append(found)
        counts.append(count.astype(np.int64))
        shorter.append(first)
        held = place
        number = np.concatenate([[-1], place[:-1]])
        valid = number >= 0
    return keys, counts, shorter


def _continuations(longer: Ints, first: Ints, size: int) -> Ints:
    """How many different tokens come before each n-gram, by the (n + 1)-grams that end in it; 1 at least,
    since an n-gram at the text's start has none before it.
    """
    return np.maximum(np.bincount(first, minlength=size), 1).astype(np.int64) if len(longer) else first


def _table(keys: Ints, counts: Ints, vocabulary: int, contexts: int) -> _Table:
    discounts = _discounts(counts)[np.minimum(counts, 3)]
    context = keys // vocabulary
    total = np.bincount(context, weights=counts, minlength=contexts)
    lost = np.bincount(context, weights=discounts, minlength=contexts)
    safe = np.where(total > 0, total, 1.0)
    return _Table(
        keys=keys,
        share=(counts - discounts) / safe[context],
        left=np.where(total > 0, lost / safe, 1.0),
    )


def _discounts(counts: Ints) -> Floats:
    """(4,) D for counts 0, 1, 2, ≥ 3: D_k = k - (k + 1) Y n_{k+1} / n_k, Y = n_1 / (n_1 + 2 n_2)."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    found = np.array([0.0, 0.5, 0.75, 0.9])  # where a text is too small for the estimate
    if n1 and n2:
        Y = n1 / (n1 + 2 * n2)
        for k, (here, above) in enumerate(((n1, n2), (n2, n3), (n3, n4)), start=1):
            if here and above:
                found[k] = min(max(k - (k + 1) * Y * above / here, 0.05), k - 0.05)
    return found
