"""What a translator is measured beside: copying, the most frequent answer, the nearest source, a dictionary.

Each learns on the training pairs alone and says one text a source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from saiki.data.tokens import TextCodec
from saiki.models.options import Array

Measure = Callable[[list[str]], Mapping[str, float]]

PAIRINGS = 20_000_000  # source token × target token of a pair, that the dictionary is learned from at most
ROUNDS = 5  # of expectation and maximisation; Brown et al. 1993 use as many
ROWS = 64  # of the similarity matrix at a time: 64 × 100,000 training pairs take 50 MB


def translation_baselines(
    train: tuple[Sequence[str], Sequence[str]],
    sources: Sequence[str],
    codecs: tuple[TextCodec, TextCodec],
    measure: Measure,
) -> list[dict[str, Any]]:
    """The simple methods' figures.

    Args:
        train: sources and targets that were learned from.
        sources: to be translated.
        codecs: of sources and targets.
        measure: texts, one a source, to figures by name.
    Returns:
        One mapping a method: its name and its figures.
    """
    methods: list[tuple[str, list[str]]] = [
        ("the source itself", list(sources)),
        ("the most frequent target", [Counter(train[1]).most_common(1)[0][0]] * len(sources)),
        ("the nearest source's target", nearest_target(train, sources)),
        ("token for token (IBM model 1)", token_for_token(train, sources, codecs)),
    ]
    return [{"name": name, **measure(said)} for name, said in methods]


def nearest_target(train: tuple[Sequence[str], Sequence[str]], sources: Sequence[str]) -> list[str]:
    """The target of the training source that is most like each source.

    Likeness is the cosine of the counts of two, three and four characters in a row (a blank at either end),
    weighted by rarity (tf-idf); of several that are alike the first.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    space = TfidfVectorizer(
        analyzer="char",
        ngram_range=(2, 4),
        preprocessor=lambda text: f" {text} ",
        sublinear_tf=True,
        dtype=np.float32,
    )
    known = space.fit_transform(train[0]).T.tocsr()
    asked = space.transform(sources)
    said = []
    for start in range(0, len(sources), ROWS):
        likeness = (asked[start : start + ROWS] @ known).toarray()
        said += [train[1][int(k)] for k in likeness.argmax(axis=1)]
    return said


def token_for_token(
    train: tuple[Sequence[str], Sequence[str]],
    sources: Sequence[str],
    codecs: tuple[TextCodec, TextCodec],
) -> list[str]:
    """Each token of a source by its likeliest target token, in the order of the source; no order is learned.

        p(t | s) from the pairs alone:  count(s, t) ← Σ p(t | s) / Σ_s' p(t | s')  over the pairs' tokens,
                                        p(t | s) ← count(s, t) / Σ_t count(s, t)

    A source token may stand for nothing: the empty token is in every source, and what it explains better is
    not laid at another's door. A token that no training source has is left out.

    Source: Brown, Della Pietra, Della Pietra & Mercer 1993, model 1.
    """
    encoder, decoder = codecs
    pairs = _even(len(train[0]), PAIRINGS, lambda k: (len(train[0][k]) + 1) * len(train[1][k]))
    left = [encoder.encode(train[0][k]) for k in pairs]
    right = [decoder.encode(train[1][k]) for k in pairs]
    best = likeliest(left, right, len(encoder), len(decoder))
    said = []
    for text in sources:
        found = best[encoder.encode(text)]
        said.append(decoder.decode(found[found >= 0]))
    return said


def likeliest(left: Sequence[Array], right: Sequence[Array], size: int, outputs: int) -> Array:
    """The likeliest target token of each source token by IBM model 1; -1 where it was never seen.

    Args:
        left: source ids of each pair, below `size`.
        right: target ids of each pair, below `outputs`.
        size: of the source vocabulary.
        outputs: of the target vocabulary.
    """
    s, t, place = [], [], []
    places = 0
    for a, b in zip(left, right):
        with_empty = np.append(a, size)  # the empty token has the id behind the last
        s.append(np.tile(with_empty, len(b)))
        t.append(np.repeat(b, len(with_empty)))
        place.append(np.repeat(np.arange(places, places + len(b)), len(with_empty)))
        places += len(b)
    keys, key = np.unique(np.concatenate(s) * outputs + np.concatenate(t), return_inverse=True)
    at = np.concatenate(place)
    source = keys // outputs
    p = np.full(len(keys), 1.0 / outputs)
    for _ in range(ROUNDS):
        share = p[key]
        share /= np.bincount(at, weights=share, minlength=places)[at]
        counts = np.bincount(key, weights=share, minlength=len(keys))
        p = counts / np.bincount(source, weights=counts)[source]
    best = np.full(size, -1, dtype=np.int64)
    order = np.lexsort((-p, source))  # of each source the likeliest first
    first = order[np.unique(source[order], return_index=True)[1]]
    real = first[source[first] < size]
    best[source[real]] = keys[real] % outputs
    return best


def _even(count: int, budget: int, cost: Callable[[int], int]) -> list[int]:
    """All of `count` indices, or as many as the budget affords, evenly taken."""
    total = sum(cost(k) for k in range(count))
    if total <= budget:
        return list(range(count))
    taken = max(1, count * budget // total)
    return [int(k) for k in np.linspace(0, count - 1, taken).round()]
