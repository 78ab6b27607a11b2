"""What a decoder answers: a label sequence, how probable it is, and when each label was spoken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from saiki.core.errors import LabelError

__all__ = ["Hypothesis", "Word"]


@dataclass(frozen=True)
class Word:
    """A word and the frames it takes, from the first of its first label up to, not including, `end`."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Hypothesis:
    """One reading of an utterance.

        score = log_probability + language

    A time stamp counts frames of the decoder's input from 0. Label u is spoken in the frames
    starts[u] ≤ t < ends[u] of the most probable alignment, blanks not counted.

    Args:
        labels: L class indices, without blanks.
        starts: L first frames.
        ends: L frames after the last.
        log_probability: nats. Greedy: ln of the most probable path. Beam: ln of the sum over those alignments
            whose beginnings stayed in the beam, so at most ln p(labels | input).
        language: nats that the language model and its bonus added; 0 without one.
    """

    labels: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    log_probability: float
    language: float = 0.0

    @property
    def score(self) -> float:
        """What hypotheses are ranked by."""
        return self.log_probability + self.language

    def text(self, tokens: Sequence[str]) -> str:
        """The labels as text.

        Args:
            tokens: what each of the K classes stands for; the blank's entry is not looked at.
        Raises:
            LabelError: there are fewer tokens than classes.
        """
        return "".join(_token(tokens, label) for label in self.labels)

    def words(self, tokens: Sequence[str], separator: str = " ") -> tuple[Word, ...]:
        """The words between separators, with their frames.

        Args:
            tokens: what each of the K classes stands for.
            separator: the token between words; several in a row count as one.
        Raises:
            LabelError: there are fewer tokens than classes.
        """
        found: list[Word] = []
        text, start, end = "", 0, 0
        for label, first, after in zip(self.labels, self.starts, self.ends):
            token = _token(tokens, label)
            if token == separator:
                if text:
                    found.append(Word(text, start, end))
                text = ""
                continue
            if not text:
                start = first
            text += token
            end = after
        if text:
            found.append(Word(text, start, end))
        return tuple(found)


def _token(tokens: Sequence[str], label: int) -> str:
    if label >= len(tokens):
        raise LabelError(
            f"tokens has {len(tokens)} entries, but a label is {label}.",
            "Give one token for each class, the blank's place included.",
        )
    return tokens[label]
