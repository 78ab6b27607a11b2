"""The simple models beside the transcriber: what is said most often, and what the nearest recording says."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from saiki.models.options import Array
from saiki.models.transcriber_data import Answer

PARTS = 6  # of an utterance, whose mean frames are compared
MOST = 20_000  # training utterances that are compared with; more are thinned evenly


def transcripts_baseline(
    train: Sequence[Array],
    answers: Sequence[Answer],
    test: Sequence[Array],
    measure: Callable[[list[Any]], dict[str, float]],
) -> list[dict[str, Any]]:
    """The commonest answer, and the answer of the nearest training utterance.

    Nearest by the Euclidean distance of (mean frame of each sixth of the utterance ; its length), each number
    standardised over the training part.

    Args:
        train: n utterances, (T_i, F).
        answers: theirs.
        test: utterances to measure on.
        measure: figures out of an answer for each of them.
    Returns:
        One dict a model: its name and its figures.
    """
    commonest = Counter(_key(answer) for answer in answers).most_common(1)[0][0]
    chosen = np.unique(np.linspace(0, len(train) - 1, min(len(train), MOST)).round().astype(np.int64))
    known = np.stack([pooled(train[int(i)]) for i in chosen])
    center, scale = known.mean(axis=0), known.std(axis=0)
    scale[scale == 0] = 1.0
    known = (known - center) / scale
    found: list[Any] = []
    for frames in test:
        distance = ((known - (pooled(frames) - center) / scale) ** 2).sum(axis=1)
        found.append(answers[int(chosen[int(distance.argmin())])])
    return [
        {"name": "the commonest answer", **measure([_answer(commonest)] * len(test))},
        {"name": "the nearest training utterance's answer", **measure(found)},
    ]


def pooled(frames: Array) -> Array:
    """(PARTS · F + 1,) the mean frame of each part, and the logarithm of the length."""
    if not len(frames):
        return np.zeros(PARTS * frames.shape[1] + 1)
    edges = np.linspace(0, len(frames), PARTS + 1)
    means = []
    for start, end in itertools.pairwise(edges):
        first = min(int(start), len(frames) - 1)
        means.append(frames[first : max(int(np.ceil(end)), first + 1)].mean(axis=0))
    return np.concatenate([*means, [np.log(len(frames))]])


def _key(answer: Answer) -> str | tuple[Any, ...]:
    return answer if isinstance(answer, str) else tuple(answer)


def _answer(key: str | tuple[Any, ...]) -> Answer:
    return key if isinstance(key, str) else list(key)
