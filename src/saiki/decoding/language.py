"""What a language model says of the labels so far, and how much of it counts.

A beam ranks a prefix by

    score(prefix) = ln p(prefix | input) + weight · Σ ln p_LM(unit | units before) + bonus · units

A unit is a label, or a word for `WordNGram`. Any object with `score(prefix) -> log-probabilities` will do.

Source: Hannun, Maas, Jurafsky & Ng 2014, section 2.2 (the same, with |words|^β for the bonus).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from saiki.core.checks import require_number
from saiki.core.errors import DTypeError, LabelError, OptionError, ShapeError, ValueRangeError
from saiki.decoding.lexicon import Lexicon
from saiki.decoding.ngram import NGram

__all__ = ["Fusion", "LabelNGram", "LanguageScorer", "WordNGram"]

Floats = npt.NDArray[np.float64]


@runtime_checkable
class LanguageScorer(Protocol):
    """What a language model must be able to do.

    Besides `score` it may have

        score_batch(prefixes) -> (n, K)    the same for n prefixes at once, and preferred
        end(prefix) -> float               ln p(the sequence ends | prefix), added when decoding ends
    """

    def score(self, prefix: Sequence[int]) -> Any:  # noqa: ANN401
        """(K,) ln p(k | prefix) of each class that may come next, nats; -inf forbids, the blank's is ignored.

        Args:
            prefix: the labels so far, class indices without blanks.
        """
        ...


@dataclass(frozen=True, eq=False)
class LabelNGram:
    """An n-gram model whose words are labels (characters, phonemes).

    Args:
        model: the n-gram model.
        tokens: what each of the K classes stands for. A class the model does not know has the probability of
            <unk>, or 0 without one; that is right for the blank, and seldom for others.
        renamed: tokens that the model calls otherwise, such as {" ": "<space>"}.
    Raises:
        LabelError: the model knows none of the tokens.
    """

    model: NGram
    tokens: Sequence[str]
    renamed: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Find each class's number in the model."""
        renamed = dict(self.renamed or {})
        known = set(self.model.words)
        called = [renamed.get(token, token) for token in self.tokens]
        if not known.intersection(called):
            raise LabelError(
                f"the n-gram model knows none of the {len(called)} tokens; its words begin with "
                f"{', '.join(map(repr, self.model.words[:5]))}.",
                "Is it a model over words? Use WordNGram. Or say what it calls the tokens with renamed={…}.",
            )
        numbers = np.array([self.model.index(token) for token in called], dtype=np.int64)
        object.__setattr__(self, "numbers", numbers)

    numbers: npt.NDArray[np.int64] = field(init=False, repr=False)  # (K,) class -> word of the model

    def score(self, prefix: Sequence[int]) -> Floats:
        """(K,) ln p(k | <s> prefix), nats."""
        scores = np.append(self.model.scores(self._state(prefix)), -np.inf)  # the last is for -1
        chosen: Floats = scores[self.numbers]
        return chosen

    def end(self, prefix: Sequence[int]) -> float:
        """ln p(</s> | <s> prefix); 0 where the model has no </s>."""
        return 0.0 if self.model.end < 0 else self.model.step(self._state(prefix), self.model.end)[0]

    def _state(self, prefix: Sequence[int]) -> int:
        state = self.model.start
        for label in prefix:
            state = self.model.step(state, int(self.numbers[label]))[1]
        return state


@dataclass(frozen=True, eq=False)
class WordNGram:
    """An n-gram model over words, asked whenever a word is complete.

    Args:
        model: the n-gram model.
        spelling: how its words are spelled in labels, with a separator; see `WordNGram.of`. A word that is no
            word of it has the probability of <unk>, or 0 where the model has none.
    Raises:
        OptionError: a spelling without a separator.
    """

    model: NGram
    spelling: Lexicon

    def __post_init__(self) -> None:
        """Find each spelling's number in the model."""
        if self.spelling.separator < 0:
            raise OptionError(
                "a model over words needs to see where words end, but the spelling has no separator.",
                "Build the lexicon with separator=…, or use a model over labels.",
            )
        numbers = np.array([self.model.index(word) for word in self.spelling.words] + [-1], dtype=np.int64)
        of_state = numbers[self.spelling.word]
        of_state[self.spelling.word < 0] = self.unknown
        object.__setattr__(self, "numbers", of_state)

    numbers: npt.NDArray[np.int64] = field(init=False, repr=False)  # (S,) state -> word of the model

    @classmethod
    def of(cls, model: NGram, tokens: Sequence[str], *, separator: str = " ") -> WordNGram:
        """Spell every word of the model that can be spelled letter by letter in the tokens.

        Args:
            model: the n-gram model.
            tokens: what each of the K classes stands for.
            separator: the token between words.
        Raises:
            LabelError: no word can be spelled, or the separator is no token.
        """
        letters = set(tokens) - {separator, ""}
        words = [word for word in model.words if word and letters.issuperset(word)]
        if not words:
            raise LabelError(
                f"none of the model's {len(model.words)} words can be spelled in the tokens; they begin with "
                f"{', '.join(map(repr, model.words[:5]))}.",
                "Do upper and lower case agree?",
            )
        return cls(model, Lexicon.of(words, tokens, separator=separator))

    @property
    def unknown(self) -> int:
        """The number of <unk> in the model; -1 where it has none."""
        return self.model.index("<unk>")

    def score(self, prefix: Sequence[int]) -> Floats:
        """(K,) ln p(word | words before) at the separator that completes it, 0 elsewhere, nats."""
        state, open_word = self._state(prefix)
        scores = np.zeros(self.spelling.classes)
        if open_word is not None:
            scores[self.spelling.separator] = self.model.step(state, open_word)[0]
        return scores

    def end(self, prefix: Sequence[int]) -> float:
        """ln p(the last word, if it is still open) + ln p(</s>), where the model has one."""
        state, open_word = self._state(prefix)
        total = 0.0
        if open_word is not None:
            total, state = self.model.step(state, open_word)
        return total + (0.0 if self.model.end < 0 else self.model.step(state, self.model.end)[0])

    def is_open(self, prefix: Sequence[int]) -> bool:
        """Whether the prefix ends inside a word."""
        return len(prefix) > 0 and prefix[-1] != self.spelling.separator

    def _state(self, prefix: Sequence[int]) -> tuple[int, int | None]:
        """The model's state after the whole words, and the number of the word that is open, if one is."""
        state, spelled = self.model.start, 0
        for label in prefix:
            if label != self.spelling.separator:
                spelled = self.spelling.step(spelled, label)
            elif spelled != 0:
                state = self.model.step(state, self._number(spelled))[1]
                spelled = 0
        return state, None if spelled == 0 else self._number(spelled)

    def _number(self, spelled: int) -> int:
        return self.unknown if spelled < 0 else int(self.numbers[spelled])


@dataclass(frozen=True, eq=False)
class Fusion:
    """How much a language model counts beside the network.

    Args:
        model: `LabelNGram`, `WordNGram`, or any `LanguageScorer`.
        weight: factor of its log-probabilities, at least 0.
        bonus: nats a unit (a label, or a word for `WordNGram`), against the model's liking for short answers.
    Raises:
        DTypeError: the model has no method `score`.
        ValueRangeError: weight or bonus out of range.
    """

    model: LanguageScorer
    weight: float = 0.5
    bonus: float = 0.0

    def __post_init__(self) -> None:
        """Check the parts."""
        if not callable(getattr(self.model, "score", None)):
            raise DTypeError(
                f"model is {type(self.model).__name__} but must have a method score(prefix).",
                "An NGram goes in a LabelNGram or WordNGram, which know what the classes stand for."
                if isinstance(self.model, NGram)
                else None,
            )
        if isinstance(self.model, NGram):
            raise DTypeError(
                "model is an NGram, which knows words but not the classes that stand for them.",
                "Use LabelNGram(model, tokens) or WordNGram.of(model, tokens).",
            )
        require_number(self.weight, "weight", low=0)
        require_number(self.bonus, "bonus")

    def added(self, prefixes: Sequence[tuple[int, ...]], K: int) -> Floats:
        """(n, K) nats that each next class adds to the score of each of n prefixes.

        Raises:
            ShapeError: the model's answer is not (K,), or (n, K) from `score_batch`.
            ValueRangeError: it holds NaN or +inf.
        """
        if isinstance(self.model, WordNGram):
            separator, rows = self.model.spelling.separator, np.zeros((len(prefixes), K))
            for row, prefix in zip(rows, prefixes):
                if self.model.is_open(prefix):
                    row[separator] = self._weighted(self.model.score(prefix)[separator]) + self.bonus
            return rows
        batch = getattr(self.model, "score_batch", None)
        if batch is not None:
            scores = _checked(batch(prefixes), (len(prefixes), K), "score_batch(prefixes)", prefixes)
        else:
            scores = np.stack([_checked(self.model.score(p), (K,), "score(prefix)", p) for p in prefixes])
        added: Floats = self._weighted(scores) + self.bonus
        return added

    def finished(self, prefix: tuple[int, ...]) -> float:
        """Nats that the end of the sequence adds."""
        end = getattr(self.model, "end", None)
        if end is None:
            return 0.0
        value = float(end(prefix))
        if math.isnan(value) or value == math.inf:
            raise ValueRangeError(f"end({_shown(prefix)}) gave {value} but must be a log-probability.")
        added = float(self._weighted(value))
        if isinstance(self.model, WordNGram) and self.model.is_open(prefix):
            added += self.bonus
        return added

    def _weighted(self, scores: Any) -> Any:  # noqa: ANN401
        # 0 · -inf is no number: what a model without weight forbids is not forbidden
        return scores * self.weight if self.weight > 0 else np.zeros_like(scores)


def _checked(value: Any, shape: tuple[int, ...], what: str, asked: object) -> Floats:  # noqa: ANN401
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    scores = np.asarray(value, dtype=np.float64)
    if scores.shape != shape:
        raise ShapeError(
            f"{what} gave {scores.shape} but must give {shape}, a log-probability for each class.",
            f"It was asked for {_shown(asked)}. The blank has a place too; its number is ignored.",
        )
    if np.isnan(scores).any() or (scores == np.inf).any():
        raise ValueRangeError(
            f"{what} gave NaN or +inf for {_shown(asked)}, where a log-probability must be."
        )
    return scores


def _shown(asked: object) -> str:
    text = repr(asked)
    return text if len(text) <= 60 else text[:60] + "…"
