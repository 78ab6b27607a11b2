"""How sentences come in to the tagger, and how the network is given them.

    ["play", "some", "jazz"]  or  "play some jazz"        a sentence: its words, or a text split at blanks
    one (N, 4) table          word id, form id, tag, label     of all sentences, packed as a Ragged
    forms                     the characters of each different word, once

A batch holds the characters of each different word in it once, however often it stands there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np
import torch
from torch import Tensor

from saiki.core.errors import DTypeError, LabelError, LengthError, ShapeError
from saiki.core.ragged import Ragged
from saiki.data.vocabulary import is_encodable
from saiki.learning import Batch
from saiki.learning.sources import digest
from saiki.models.options import Array
from saiki.models.tagger_codes import Codes

_WORD, _FORM, _TAG, _LABEL = range(4)


# ------------------------------------------------------------------------------------ what the user brings


def read_sentences(X: object, name: str = "X") -> list[list[str]]:
    """Sentences as lists of words.

    Args:
        X: a list (tuple, array) of sentences; each a list of words, or a text that is split at blanks.
        name: the argument's name, for messages.
    Raises:
        DTypeError: X is one text, or a word is none; sentence and word are named.
        ShapeError: there is no sentence.
        LengthError: a sentence or a word is empty.
        LabelError: a word holds half of a surrogate pair, which no text has.
    """
    sentences = [
        _words(sentence, f"{name}[{number}]", "word")
        for number, sentence in enumerate(_entries(X, name, "sentences"))
    ]
    if not sentences:
        raise ShapeError(f"{name} holds no sentence.", "Give a list of sentences, each a list of words.")
    for number, sentence in enumerate(sentences):
        if not sentence:
            raise LengthError(
                f"sentence {number} of {name} is empty; a sentence has at least one word.", "Leave it out."
            )
    return sentences


def read_tags(y: object, sentences: Sequence[Sequence[str]], name: str = "y") -> list[list[str]]:
    """One tag for each word of each sentence.

    Args:
        y: a list of n lists of tags (or texts that are split at blanks).
        sentences: the words.
        name: the argument's name, for messages.
    Raises:
        LabelError: no y, not as many sentences, or not as many tags as words; the sentence is named.
        DTypeError: a tag that is no text.
    """
    if y is None:
        raise LabelError(
            f"requires y to be passed, but the target {name} is None.", "Give one list of tags a sentence."
        )
    tags = [
        _words(entry, f"{name}[{number}]", "tag")
        for number, entry in enumerate(_entries(y, name, "lists of tags"))
    ]
    if len(tags) != len(sentences):
        raise LabelError(
            f"{name} has tags for {len(tags)} sentences but X has {len(sentences)}: inconsistent numbers of "
            "samples.",
            "Give one list of tags a sentence.",
        )
    for number, (mine, words) in enumerate(zip(tags, sentences)):
        if len(mine) != len(words):
            raise LabelError(
                f"sentence {number} has {len(words)} words but {name}[{number}] has {len(mine)} tags.",
                "Give one tag a word.",
            )
    return tags


def read_labels(labels: object, n: int, name: str = "labels") -> list[str]:
    """One label for each sentence as a whole.

    Raises:
        LabelError: not n of them, or one is empty. DTypeError: one is no text.
    """
    found = list(_entries(labels, name, "labels"))
    for number, label in enumerate(found):
        if not isinstance(label, str):
            raise DTypeError(
                f"{name}[{number}] is {label!r:.60} ({type(label).__name__}) but a label is text.",
                "Write it with str().",
            )
        if not label or not is_encodable(label):
            raise LabelError(f"{name}[{number}] is {label!r:.60}, which is no label.")
    if len(found) != n:
        raise LabelError(f"{name} has {len(found)} entries but X has {n} sentences.", "Give one a sentence.")
    return [str(label) for label in found]


def _entries(given: object, name: str, what: str) -> Iterable[object]:
    if isinstance(given, str | bytes):
        raise DTypeError(
            f"{name} is one text, {given!r:.60}, but must be a list of {what}.", f"Use [{name}]."
        )
    if isinstance(given, dict | set) or not (hasattr(given, "__iter__") and hasattr(given, "__len__")):
        raise DTypeError(f"{name} is {type(given).__name__} but must be a list of {what}.")
    if isinstance(given, np.ndarray) and given.ndim == 0:
        raise DTypeError(f"{name} is a single value but must be a list of {what}.")
    entries: Iterable[object] = given  # type: ignore[assignment]
    return entries


def _words(entry: object, name: str, what: str) -> list[str]:
    """The words (or tags) of one sentence."""
    if isinstance(entry, str):
        words: list[object] = list(entry.split())
    elif isinstance(entry, list | tuple) or (isinstance(entry, np.ndarray) and entry.ndim == 1):
        words = list(entry)
    else:
        raise DTypeError(
            f"{name} is {entry!r:.60} ({type(entry).__name__}) but must be a list of {what}s, or a text.",
            "Fill in or leave out missing sentences first." if entry is None or entry != entry else None,
        )
    for place, word in enumerate(words):
        if not isinstance(word, str):
            raise DTypeError(
                f"{what} {place} of {name} is {word!r:.60} ({type(word).__name__}) but must be text.",
                "Write it with str().",
            )
        if not word:
            raise LengthError(f"{what} {place} of {name} is empty.", "Leave it out.")
        if not is_encodable(word):
            raise LabelError(
                f"{what} {place} of {name} holds half of a surrogate pair, which no text has: {word!r:.60}.",
                "It was decoded wrongly; read the file as UTF-8.",
            )
    return [str(word) for word in words]


@dataclass(frozen=True)
class Part:
    """Sentences with their answers: the training or the validation part.

    Attributes:
        words: of each sentence.
        tags: as many of each.
        labels: one a sentence; None where sentences have none.
        weights: (n,) of the sentences; None: all 1.
    """

    words: list[list[str]]
    tags: list[list[str]]
    labels: list[str] | None = None
    weights: Array | None = None

    def __len__(self) -> int:
        return len(self.words)

    @property
    def steps(self) -> int:
        """Words in all."""
        return sum(map(len, self.words))

    def select(self, indices: Iterable[int]) -> Part:
        """Some of the sentences."""
        chosen = [int(i) for i in indices]
        return Part(
            words=[self.words[i] for i in chosen],
            tags=[self.tags[i] for i in chosen],
            labels=None if self.labels is None else [self.labels[i] for i in chosen],
            weights=None if self.weights is None else self.weights[chosen],
        )

    def followed_by(self, other: Part) -> Part:
        """The sentences of both."""
        weights = None
        if self.weights is not None or other.weights is not None:
            weights = np.concatenate(
                [np.ones(len(p)) if p.weights is None else p.weights for p in (self, other)]
            )
        labels = None if self.labels is None or other.labels is None else self.labels + other.labels
        return Part(self.words + other.words, self.tags + other.tags, labels, weights)


# ------------------------------------------------------------------------------------- what the network gets


@final
@dataclass(frozen=True)
class Sentences:
    """Some sentences as the tagger's network takes them.

    Attributes:
        words: B sequences of word ids, data (N,).
        forms: the characters of U different words, data of ids; None where words are read whole.
        place: (N,) which of them each packed word is; None likewise.
    """

    words: Ragged
    forms: Ragged | None
    place: Tensor | None

    @property
    def B(self) -> int:
        """Sentences."""
        return self.words.B

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.words.device

    @property
    def steps(self) -> Ragged:
        """What is read step by step: the words."""
        return self.words

    def to(self, device: torch.device | str) -> Sentences:
        """The same on another device."""
        return replace(
            self,
            words=self.words.to(device),
            forms=None if self.forms is None else self.forms.to(device),
            place=None if self.place is None else self.place.to(device),
        )

    def sequence_sum(self, per_row: Tensor) -> Tensor:
        """A value a word added up over each sentence."""
        return self.words.sequence_sum(per_row)


@final
class SentenceSource:
    """Sentences in memory, by number, for the trainer; a `saiki.learning.Source`.

    A sentence weighs as many as it has words, times its own weight: the loss is a mean over words.

    Args:
        words: of each sentence.
        codes: the vocabularies.
        tags: of each sentence; None where they are not known.
        labels: one a sentence; None likewise.
        weights: (n,); None: all 1.
    Raises:
        LabelError: a tag or label that the vocabularies do not have.
    """

    def __init__(
        self,
        words: Sequence[Sequence[str]],
        codes: Codes,
        tags: Sequence[Sequence[str]] | None = None,
        labels: Sequence[str] | None = None,
        weights: Array | None = None,
    ) -> None:
        numbers: dict[str, int] = {}
        rows = []
        for number, sentence in enumerate(words):
            table = np.zeros((len(sentence), 4), dtype=np.int64)
            table[:, _WORD] = codes.words.encode([codes.key(word) for word in sentence])
            table[:, _FORM] = [numbers.setdefault(word, len(numbers)) for word in sentence]
            if tags is not None:
                table[:, _TAG] = codes.tag_ids(tags[number], number)
            if labels is not None:
                table[:, _LABEL] = codes.label_id(labels[number], number)
            rows.append(table)
        self._rows = Ragged.from_list(rows)
        characters = codes.characters
        self._forms = None
        if characters is not None:
            self._forms = Ragged.from_list([characters.encode(list(form)) for form in numbers])
        steps = self._rows.lengths.to(torch.float64)
        self._weights = steps if weights is None else steps * torch.from_numpy(weights)

    def __len__(self) -> int:
        return self._rows.B

    @property
    def lengths(self) -> Tensor:
        """(n,) words of each sentence."""
        return self._rows.lengths

    def batch(self, indices: Tensor) -> Batch:
        """See `Source.batch`; the targets are sequences of (tag, label) pairs."""
        rows = self._rows.select(indices)
        forms = place = None
        if self._forms is not None:
            distinct, place = torch.unique(rows.data[:, _FORM], return_inverse=True)
            forms = self._forms.select(distinct)
        words = rows.with_data(rows.data[:, _WORD])
        return Batch(
            inputs=Sentences(words, forms, place),
            targets=rows.with_data(rows.data[:, _TAG:]),
            weights=self._weights[indices],
        )

    def fingerprint(self) -> str:
        """SHA-256 over all that the source gives."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        parts = [self._rows.lengths, self._rows.data, self._weights]
        parts += [] if self._forms is None else [self._forms.lengths, self._forms.data]
        return digest(parts)
