"""How far a sequence of labels is from the right one: edit distance, and the error rates made of it.

    d(i, j) = min( d(i-1, j-1) + [r_i ≠ h_j],  d(i-1, j) + 1,  d(i, j-1) + 1 ),   d(i, 0) = i, d(0, j) = j

r the reference, h the hypothesis; the three are a substitution (or a hit), a deletion and an insertion. An
error rate is Σ d / Σ |r| over all sequences: long ones count more, and it can exceed 1.

Source: Levenshtein 1966; Wagner & Fischer 1974.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from saiki.core.errors import DataError, DTypeError, LengthError
from saiki.metrics.score import Array, Score

Pair = tuple[Any, Any]  # (label of the reference or None, label of the hypothesis or None)


@final
@dataclass(frozen=True)
class Edits:
    """What turns a reference into a hypothesis, at the least number of edits.

    Attributes:
        pairs: the two side by side, in order: (a, a) a hit, (a, b) a substitution, (a, None) a deletion,
            (None, b) an insertion.
    """

    pairs: tuple[Pair, ...]

    @property
    def substitutions(self) -> int:
        """Labels taken for another."""
        return sum(r is not None and h is not None and r != h for r, h in self.pairs)

    @property
    def deletions(self) -> int:
        """Labels of the reference that the hypothesis lacks."""
        return sum(h is None for _, h in self.pairs)

    @property
    def insertions(self) -> int:
        """Labels that only the hypothesis has."""
        return sum(r is None for r, _ in self.pairs)

    @property
    def distance(self) -> int:
        """Substitutions, deletions and insertions together."""
        return sum(r != h for r, h in self.pairs)


def edit_distance(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """The least number of substitutions, deletions and insertions between two sequences.

    Args:
        reference: labels that can be hashed; a text is a sequence of characters.
        hypothesis: likewise.
    """
    if len(reference) < len(hypothesis):  # the distance is symmetric, and rows are the cheap direction
        reference, hypothesis = hypothesis, reference
    r, h = _codes(reference, hypothesis)
    across = np.arange(len(h) + 1)
    row = across.copy()
    for i, label in enumerate(r, start=1):
        row = _next_row(row, i, label, h, across)
    return int(row[-1])


def edits(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> Edits:
    """The two sequences side by side, at the least number of edits.

    Where several ways are equally short, a substitution is preferred to a deletion, and a deletion to an
    insertion, seen from the end. Memory is |r| · |h| numbers.
    """
    r, h = _codes(reference, hypothesis)
    across = np.arange(len(h) + 1)
    table = np.empty((len(r) + 1, len(h) + 1), dtype=np.int64)
    table[0] = across
    for i, label in enumerate(r, start=1):
        table[i] = _next_row(table[i - 1], i, label, h, across)
    i, j, pairs = len(r), len(h), list[Pair]()
    while i or j:
        here = table[i, j]
        if i and j and here == table[i - 1, j - 1] + (r[i - 1] != h[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((reference[i], hypothesis[j]))
        elif i and here == table[i - 1, j] + 1:
            i -= 1
            pairs.append((reference[i], None))
        else:
            j -= 1
            pairs.append((None, hypothesis[j]))
    return Edits(tuple(reversed(pairs)))


def label_error_rate(
    references: Sequence[Sequence[Hashable]], hypotheses: Sequence[Sequence[Hashable]]
) -> Score:
    """Edits a label of the references: Σ d(r, h) / Σ |r|.

    Args:
        references: the right sequences.
        hypotheses: what was said, one each, in the same order.
    Returns:
        The rate, with the number of labels behind it as `count`.
    Raises:
        LengthError: not one hypothesis a reference.
        DataError: the references hold no label at all.
    """
    if len(references) != len(hypotheses):
        raise LengthError(
            f"there are {len(references)} references but {len(hypotheses)} hypotheses.",
            "Give one hypothesis, perhaps an empty one, for each reference.",
        )
    labels = sum(len(reference) for reference in references)
    if labels == 0:
        raise DataError(
            "the references hold no label, so there is no error rate.", "Give at least one that is not empty."
        )
    total = sum(edit_distance(r, h) for r, h in zip(references, hypotheses))
    return Score(total / labels, labels)


def wer(references: Sequence[str], hypotheses: Sequence[str]) -> Score:
    """Word error rate: edits a word of the references; words are what white space separates.

    Args:
        references: the right texts.
        hypotheses: what was said, one each.
    Raises:
        DTypeError: something that is no text. Others as in `label_error_rate`.

    Example:
        >>> float(wer(["one two three"], ["one too three four"]))
        0.6666666666666666
    """
    _require_texts(references, "references")
    _require_texts(hypotheses, "hypotheses")
    return label_error_rate([text.split() for text in references], [text.split() for text in hypotheses])


def cer(references: Sequence[str], hypotheses: Sequence[str]) -> Score:
    """Character error rate: edits a character of the references, spaces between words counted.

    White space at the ends is left out, and several in a row count as one.

    Args:
        references: the right texts.
        hypotheses: what was said, one each.
    Raises:
        As in `wer`.
    """
    _require_texts(references, "references")
    _require_texts(hypotheses, "hypotheses")
    plain = [[" ".join(text.split()) for text in texts] for texts in (references, hypotheses)]
    return label_error_rate(*plain)


def _next_row(above: Array, i: int, label: int, h: Array, across: Array) -> Array:
    """Row i of the table d, from the row above it."""
    best = np.minimum(above[1:] + 1, above[:-1] + (h != label))
    # d(i, j) = min_{k ≤ j} (best_k + j - k): insertions to the right, as a running minimum
    return np.minimum.accumulate(np.concatenate(([i], best)) - across) + across


def _codes(*sequences: Sequence[Hashable]) -> list[Array]:
    """Each sequence as whole numbers, the same number for the same label."""
    numbers: dict[Hashable, int] = {}
    return [
        np.fromiter((numbers.setdefault(label, len(numbers)) for label in sequence), dtype=np.int64)
        for sequence in sequences
    ]


def _require_texts(texts: Sequence[str], name: str) -> None:
    if isinstance(texts, str):
        raise DTypeError(f"{name} is one text but must be a list of texts.", f"Write [{name}].")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise DTypeError(
                f"{name}[{place}] is {type(text).__name__} but must be text.",
                "For other labels use label_error_rate.",
            )
