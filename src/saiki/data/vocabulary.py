"""Vocabularies: the tokens a model knows, each with its number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from saiki.core.checks import require_int
from saiki.core.errors import DTypeError, LabelError, OptionError, SchemaError, ValueRangeError
from saiki.core.names import nearest, unknown
from saiki.core.schema import strict
from saiki.data.times import Array

__all__ = ["END", "START", "UNKNOWN", "Vocabulary"]

UNKNOWN = "<unk>"  # stands for every token that the vocabulary does not have
START = "<s>"  # before the first token of a sequence
END = "</s>"  # after the last

_FEW = 12  # tokens a message lists


@dataclass(frozen=True)
class _Written:
    """A vocabulary as JSON holds it."""

    tokens: list[str]
    specials: list[str]


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their numbers: the id of a token is its place, and ids run over [0, V).

    There is no padding symbol, because a batch is ragged. A token of the data that reads like a special one
    is that special one (the Penn Treebank writes its rare words as `<unk>`).

    Attributes:
        tokens: all of them in the order of their ids, the special ones among them.
        specials: those that stand for no text: of `<unk>`, `<s>` (start), `</s>` (end), or others.
    """

    tokens: tuple[str, ...]
    specials: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for token in self.tokens:
            if not isinstance(token, str):
                raise DTypeError(f"a token is {token!r} ({type(token).__name__}) but must be text.")
            if not is_encodable(token):
                raise LabelError(
                    f"the token {token!r} holds half of a surrogate pair, which no text has.",
                    "The text was decoded wrongly; read the file as UTF-8.",
                )
        if len(self._ids) < len(self.tokens):
            twice = next(token for token, count in Counter(self.tokens).items() if count > 1)
            raise LabelError(f"the token {twice!r} stands twice in the vocabulary; each has one id.")
        for special in self.specials:
            if special not in self._ids:
                raise LabelError(f"the special token {special!r} is not among the tokens.")

    @classmethod
    def of(
        cls,
        sequences: Iterable[Iterable[str]],
        max_size: int | None = None,
        min_count: int = 1,
        specials: Sequence[str] = (UNKNOWN,),
    ) -> Vocabulary:
        """The vocabulary of some sequences of tokens: the special ones, then the others by falling count.

        Args:
            sequences: of tokens; tokens with equal counts come in the order of their characters.
            max_size: at most so many tokens, the special ones counted; the rarest are left out.
            min_count: tokens seen less often are left out.
            specials: put first, whether seen or not.
        Raises:
            DTypeError: a token is no text, or a text came where a sequence of tokens must be.
            ValueRangeError: no room is left beside the special tokens.
            OptionError: tokens are left out and there is no `<unk>` to stand for them.
            LabelError: a special token is given twice.
        """
        require_int(min_count, "min_count", 1)
        if max_size is not None and require_int(max_size, "max_size", 1) <= len(specials):
            raise ValueRangeError(
                f"max_size is {max_size}, which the {len(specials)} special tokens fill alone; "
                f"it must be at least {len(specials) + 1}."
            )
        counts: Counter[str] = Counter()
        for number, sequence in enumerate(sequences):
            if isinstance(sequence, str):
                raise DTypeError(
                    f"sequence {number} is the text {_short(sequence)} but must be a sequence of tokens.",
                    "Split it with a tokenizer first.",
                )
            counts.update(sequence)
        for token in counts:
            if not isinstance(token, str):
                raise DTypeError(f"a token is {token!r} ({type(token).__name__}) but must be text.")
        for special in specials:
            counts.pop(special, None)
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        kept = [token for token in ranked if counts[token] >= min_count]
        if max_size is not None:
            kept = kept[: max_size - len(specials)]
        if len(kept) < len(ranked) and UNKNOWN not in specials:
            lost = ranked[len(kept)] if kept == ranked[: len(kept)] else ranked[-1]
            raise OptionError(
                f"{len(ranked) - len(kept)} tokens, such as {lost!r}, are left out by max_size or min_count, "
                f"and no special token stands for them.",
                f"Add {UNKNOWN!r} to the specials.",
            )
        return cls((*specials, *kept), tuple(specials))

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    @property
    def unknown(self) -> int | None:
        """The id of `<unk>`, or None where every token must be known."""
        return self._ids.get(UNKNOWN) if UNKNOWN in self.specials else None

    def id(self, token: str) -> int:
        """The id of one token, special or not; never that of `<unk>` in its stead.

        Raises:
            LabelError: the vocabulary does not have it.
        """
        found = self._ids.get(token)
        if found is None:
            raise LabelError(unknown(token, self.tokens[:_FEW], "token"))
        return found

    def encode(self, tokens: Iterable[str]) -> Array:
        """Tokens to their ids, (n,) int64; a token that the vocabulary does not have becomes `<unk>`.

        Raises:
            LabelError: a token is not in the vocabulary and there is no `<unk>`.
            DTypeError: one text came where a sequence of tokens must be.
        """
        if isinstance(tokens, str):
            raise DTypeError(
                f"tokens is the text {_short(tokens)} but must be a sequence of tokens.",
                "Split it with a tokenizer first.",
            )
        other = self.unknown
        if other is not None:
            return np.array([self._ids.get(token, other) for token in tokens], dtype=np.int64)
        found = []
        for place, token in enumerate(tokens):
            number = self._ids.get(token)
            if number is None:
                raise self._unseen(token, place)
            found.append(number)
        return np.array(found, dtype=np.int64)

    def decode(self, ids: Iterable[int] | Array) -> list[str]:
        """Ids to their tokens, the special ones among them.

        Raises:
            LabelError: an id is not in [0, V).
        """
        numbers = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))
        if numbers.size == 0:
            return []
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise DTypeError(
                f"ids are {numbers.dtype} of shape {numbers.shape} but must be (n,) whole numbers."
            )
        wrong = (numbers < 0) | (numbers >= len(self))
        if wrong.any():
            place = int(wrong.argmax())
            raise LabelError(
                f"id {int(numbers[place])} at place {place} is outside the vocabulary, whose {len(self)} "
                f"tokens have the ids 0 to {len(self) - 1}."
            )
        return [self.tokens[number] for number in numbers.tolist()]

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as plain JSON values."""
        return {"tokens": list(self.tokens), "specials": list(self.specials)}

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any], where: str = "vocabulary") -> Vocabulary:
        """The vocabulary out of what `to_json` gave.

        Raises:
            SchemaError: a key is unknown or missing, a token is no text or occurs twice.
        """
        written = strict(_Written, mapping, where)
        try:
            return cls(tuple(written.tokens), tuple(written.specials))
        except LabelError as error:
            raise SchemaError(f"{where}: {error.message}", error.hint) from error

    def _unseen(self, token: object, place: int) -> LabelError:
        plain = [known for known in self.tokens if known not in self.specials]
        shown = ", ".join(repr(known) for known in plain[:_FEW])
        shown += f", ... ({len(plain):,} in all)" if len(plain) > _FEW else ""
        guess = nearest(token, plain) if isinstance(token, str) and len(plain) < 50_000 else None
        return LabelError(
            f"token {_short(token)} at place {place} is not in the vocabulary, which has no {UNKNOWN} to "
            f"stand for it; known: {shown}.",
            f"Did you mean {guess!r}?" if guess is not None else None,
        )


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can write the text; it cannot write half of a surrogate pair."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"
