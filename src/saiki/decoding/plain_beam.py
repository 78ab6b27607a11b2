"""Prefix beam search as the papers write it: the twin of csrc/beam.cpp, which must give the same answers.

Of every prefix l in the beam two sums over its alignments up to frame t are kept, those that end in a blank
and those that end in l's last label c:

    blank_t(l) = p_t(blank) · (blank_{t-1}(l) + label_{t-1}(l))
    label_t(l) = p_t(c) · (label_{t-1}(l) + blank_{t-1}(l') + [c ≠ last(l')] · label_{t-1}(l'))    l = l' c

The same recursion with max for + gives the best alignment, and from it the frames of each label. After each
frame the `width` prefixes of the highest scores stay. Of equal scores the one wins whose parent stood higher
in the beam before the frame; then a prefix that stays before one that grows, then the lower label.

Sources: Graves 2012, section 7.5.3 (prefix search); Hannun et al. 2014, algorithm 1 (in this form, with a
language model).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from saiki.decoding.hypothesis import Hypothesis
from saiki.decoding.language import Fusion
from saiki.decoding.lexicon import Lexicon

__all__ = ["PlainSearch", "Settings"]

Span = tuple[int, int]


@dataclass(frozen=True)
class Settings:
    """What both searches are told, checked by `PrefixBeam`.

    Args:
        width: prefixes that stay after each frame.
        blank: class index of the blank.
        log_skip: a frame whose blank is at least so probable counts as a blank; +inf: none.
        floor: less probable classes are impossible, the frame's best aside; -inf: none.
        margin: nats below the best prefix at which others are dropped; +inf: none.
        fusion: the language model, its weight and bonus.
        lexicon: which label sequences may be.
    """

    width: int
    blank: int
    log_skip: float
    floor: float
    margin: float
    fusion: Fusion | None
    lexicon: Lexicon | None


@dataclass
class _Entry:
    prefix: tuple[int, ...]
    lexicon: int
    language: float  # nats added so far
    blank: float = -math.inf  # ln of the sum over alignments that end in a blank
    label: float = -math.inf  # and in the last label
    best_blank: float = -math.inf  # ln of the best of them
    best_label: float = -math.inf
    spans_blank: tuple[Span, ...] = ()  # the frames of all labels in the best that ends in a blank
    spans_label: tuple[Span, ...] = ()  # and of all but the last in the best that ends in it,
    start: int = 0  # which began here

    @property
    def total(self) -> float:
        return _add(self.blank, self.label)

    @property
    def score(self) -> float:
        return self.total + self.language


class PlainSearch:
    """One utterance.

    Args:
        settings: the options.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._beam = [_Entry((), 0, 0.0, blank=0.0, best_blank=0.0)]
        self._frame = 0
        self._added: dict[tuple[int, ...], npt.NDArray[np.float64]] = {}  # what next labels add, by prefix

    def advance(self, rows: Any) -> None:  # noqa: ANN401
        """Read more frames, (T, K) log-probabilities."""
        for row in np.asarray(rows, dtype=np.float64):
            self._step(row)
            self._frame += 1

    def hypotheses(self, count: int, final: bool) -> list[Hypothesis]:
        """The best, at most `count`; `final`: whole words alone, and with what the end adds."""
        s = self._settings
        found = []
        for rank, entry in enumerate(self._beam):
            language = entry.language
            if final:
                if s.lexicon is not None and not s.lexicon.accepting[entry.lexicon]:
                    continue
                if s.fusion is not None:
                    language += s.fusion.finished(entry.prefix)
            if language == -math.inf:
                continue
            spans = entry.spans_blank
            if entry.best_label > entry.best_blank:
                spans = (*entry.spans_label, (entry.start, self._frame))
            starts, ends = tuple(a for a, _ in spans), tuple(b for _, b in spans)
            reading = Hypothesis(entry.prefix, starts, ends, entry.total, language)
            found.append((-reading.score, rank, reading))
        return [reading for _, _, reading in sorted(found, key=lambda item: item[:2])[:count]]

    def _step(self, row: npt.NDArray[np.float64]) -> None:
        s = self._settings
        if row[s.blank] >= s.log_skip:
            for entry in self._beam:
                self._add_blank(entry, entry, float(row[s.blank]))
                entry.label = entry.best_label = -math.inf
            return
        best = int(row.argmax())
        allowed = row >= s.floor
        allowed[best] = True
        values = [float(value) if ok else -math.inf for value, ok in zip(row, allowed)]
        self._ask(len(values))
        stays = {entry.prefix: self._staying(entry, values) for entry in self._beam}
        candidates: list[tuple[float, int, int, _Entry]] = []
        for rank, entry in enumerate(self._beam):
            for label, value in enumerate(values):
                if label == s.blank or value == -math.inf:
                    continue
                self._grow(entry, label, value, stays, rank, candidates)
        for rank, entry in enumerate(self._beam):
            candidates.append((-stays[entry.prefix].score, rank, -1, stays[entry.prefix]))
        candidates = sorted((c for c in candidates if c[0] < math.inf), key=lambda c: c[:3])[: s.width]
        self._beam = [entry for score, _, _, entry in candidates if -score >= -candidates[0][0] - s.margin]
        alive = {entry.prefix for entry in self._beam}
        self._added = {prefix: added for prefix, added in self._added.items() if prefix in alive}

    def _staying(self, entry: _Entry, values: list[float]) -> _Entry:
        """The same prefix after a blank, or after one more frame of its last label."""
        new = _Entry(entry.prefix, entry.lexicon, entry.language)
        self._add_blank(entry, new, values[self._settings.blank])
        if entry.prefix:
            value = values[entry.prefix[-1]]
            new.label = entry.label + value
            new.best_label = entry.best_label + value
            new.spans_label, new.start = entry.spans_label, entry.start
        return new

    def _add_blank(self, entry: _Entry, new: _Entry, value: float) -> None:
        from_label = entry.best_label > entry.best_blank
        if from_label:
            new.spans_blank = self._ended(entry)
        elif new is not entry:
            new.spans_blank = entry.spans_blank
        best = max(entry.best_blank, entry.best_label) + value
        new.blank, new.best_blank = entry.total + value, best

    def _grow(
        self,
        entry: _Entry,
        label: int,
        value: float,
        stays: dict[tuple[int, ...], _Entry],
        rank: int,
        candidates: list[tuple[float, int, int, _Entry]],
    ) -> None:
        """The prefix with one label more: joined with what is in the beam already, or a new candidate."""
        s = self._settings
        repeated = bool(entry.prefix) and entry.prefix[-1] == label  # then a blank must stand between
        total = (entry.blank if repeated else entry.total) + value
        if repeated or entry.best_blank >= entry.best_label:
            best, spans = entry.best_blank + value, entry.spans_blank
        else:
            best, spans = entry.best_label + value, self._ended(entry)
        prefix = (*entry.prefix, label)
        child = stays.get(prefix)
        if child is not None:
            child.label = _add(child.label, total)
            if best > child.best_label:
                child.best_label, child.spans_label, child.start = best, spans, self._frame
            return
        state = 0 if s.lexicon is None else s.lexicon.step(entry.lexicon, label)
        if state < 0 or total == -math.inf:
            return
        added = 0.0 if s.fusion is None else float(self._added[entry.prefix][label])
        child = _Entry(prefix, state, entry.language + added, label=total)
        child.best_label, child.spans_label, child.start = best, spans, self._frame
        candidates.append((-child.score, rank, label, child))

    def _ended(self, entry: _Entry) -> tuple[Span, ...]:
        return (*entry.spans_label, (entry.start, self._frame))

    def _ask(self, K: int) -> None:
        """Ask the language model about the prefixes that are new."""
        if self._settings.fusion is None:
            return
        new = [entry.prefix for entry in self._beam if entry.prefix not in self._added]
        if new:
            self._added.update(zip(new, self._settings.fusion.added(new, K)))


def _add(a: float, b: float) -> float:
    """ln(e^a + e^b)."""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
