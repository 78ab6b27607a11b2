"""Spans that tags mark (names, slots, chunks): precision, recall and F1, counted as conlleval counts.

A tag is O, or a prefix and a kind: B-PER begins a person, I-PER goes on with one; E and S (or L and U) end
one and stand alone in the schemes that have them. Tags need not be well-formed, a network's seldom are. With
O before and after each sentence,

    a span begins     where the tag is not O, and the tag before is O, or of another kind, or ends a span
                      (E S L U), or this tag begins one (B S U)
    and goes on       to the step before the next O or the next beginning

so I-PER after O begins a span, as in IOB1. A span is right if one of the same kind, start and end was marked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from saiki.core.errors import DTypeError, LabelError, LengthError
from saiki.metrics.score import Score

_TAG = re.compile(r"([BIESLU])(?:-(.*))?", re.DOTALL)
_BEGINS, _ENDS = frozenset("BSU"), frozenset("ESLU")


class Span(NamedTuple):
    """Steps `start` up to, not including, `stop`, marked as a `kind`."""

    kind: str
    start: int
    stop: int


class SpanCounts(NamedTuple):
    """How many spans there were and how many were found.

    Attributes:
        true: spans of the targets.
        found: spans of the predictions.
        right: found ones that are true.
    """

    true: int
    found: int
    right: int

    @property
    def precision(self) -> float:
        """Share of the found spans that are right; 0 where none was found."""
        return self.right / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Share of the true spans that were found; 0 where there is none."""
        return self.right / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """2 P R / (P + R); 0 where nothing is right."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def is_span_tag(tag: str) -> bool:
    """Whether a tag is O, or a prefix with a kind: B-PER, I-loc, E-x, S-x."""
    found = _TAG.fullmatch(tag)
    return tag == "O" or (found is not None and found[2] is not None)


def marks_spans(tags: Iterable[str]) -> bool:
    """Whether these are the tags of a scheme of spans: all are O or PREFIX-KIND, and some are no O."""
    seen = set(tags)
    return all(is_span_tag(tag) for tag in seen) and bool(seen - {"O"})


def spans(tags: Sequence[str]) -> list[Span]:
    """The spans that the tags of one sentence mark, from left to right.

    Args:
        tags: one a step, in any of the schemes IOB1, IOB2, IOE, BIOES, BILOU, well-formed or not.
    Raises:
        LabelError: a tag is neither O nor PREFIX-KIND with a prefix of B I E S L U.
    """
    found: list[Span] = []
    kind, start, before = "", -1, "O"  # start < 0: no span is open
    for step, tag in enumerate(tags):
        prefix, now = _parts(tag, step)
        begins = prefix != "O" and (before == "O" or before in _ENDS or prefix in _BEGINS or now != kind)
        if start >= 0 and (begins or prefix == "O"):
            found.append(Span(kind, start, step))
            start = -1
        if begins:
            start = step
        kind, before = now, prefix
    if start >= 0:
        found.append(Span(kind, start, len(tags)))
    return found


def span_counts(
    targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> dict[str, SpanCounts]:
    """Spans true, found and right, kind by kind; the kinds in alphabetical order.

    Args:
        targets: the true tags of each sentence.
        predictions: as many tags of each.
    Raises:
        LengthError: not as many sentences, or not as many tags of one.
        LabelError, DTypeError: a tag of no scheme of spans.
    """
    _require_pairs(targets, predictions)
    true: Counter[str] = Counter()
    found: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for wanted, said in zip(targets, predictions):
        mine, theirs = spans(said), spans(wanted)
        true.update(span.kind for span in theirs)
        found.update(span.kind for span in mine)
        right.update(span.kind for span in set(mine) & set(theirs))
    return {kind: SpanCounts(true[kind], found[kind], right[kind]) for kind in sorted({*true, *found})}


def total(counts: Iterable[SpanCounts]) -> SpanCounts:
    """The counts of all kinds together."""
    columns = list(zip(*counts)) or [(0,), (0,), (0,)]
    return SpanCounts(*(sum(column) for column in columns))


def span_f1(targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> Score:
    """F1 of the spans, over all kinds together: 2 P R / (P + R).

        P = right spans / found spans        R = right spans / true spans

    Args:
        targets: the true tags of each sentence.
        predictions: as many tags of each.
    Returns:
        0 to 1, over the true spans.
    Raises:
        LengthError, LabelError, DTypeError: see `span_counts`.
    Source: Tjong Kim Sang & Buchholz 2000, section 4 (the CoNLL-2000 shared task).
    """
    counts = total(span_counts(targets, predictions).values())
    return Score(counts.f1, counts.true)


def _parts(tag: object, step: int) -> tuple[str, str]:
    """Prefix and kind of a tag; ("O", "") outside."""
    if not isinstance(tag, str):
        raise DTypeError(f"the tag at step {step} is {tag!r} ({type(tag).__name__}) but must be text.")
    if tag == "O":
        return "O", ""
    found = _TAG.fullmatch(tag)
    if found is None:
        raise LabelError(
            f"the tag {tag!r} at step {step} marks no span: it is neither O nor a prefix with a kind.",
            "Write it as B-KIND, I-KIND (E-, S-, L-, U- too).",
        )
    return found[1], found[2] or ""


def _require_pairs(targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> None:
    for name, given in (("targets", targets), ("predictions", predictions)):
        if isinstance(given, str) or any(isinstance(tags, str) for tags in given):
            raise DTypeError(f"{name} must be one list of tags a sentence, but holds text.")
    if len(targets) != len(predictions):
        raise LengthError(
            f"predictions have {len(predictions)} sentences but targets {len(targets)}; they must be alike."
        )
    for number, (wanted, said) in enumerate(zip(targets, predictions)):
        if len(wanted) != len(said):
            raise LengthError(
                f"sentence {number} has {len(said)} predicted tags but {len(wanted)} true ones; "
                "give one a step."
            )
