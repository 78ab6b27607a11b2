"""Pairs of texts as the network reads them: split by source, encoded, and given out in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from saiki.core.errors import DataError, LabelError, LengthError, OptionError
from saiki.data.pairs import gathered, require_pairs
from saiki.data.splits import split_sequences
from saiki.data.tokens import TextCodec, Tokenizer
from saiki.data.vocabulary import END, START, UNKNOWN
from saiki.learning import Batch
from saiki.learning.sources import digest
from saiki.models.options import Array
from saiki.nn.encoder_decoder import EncoderDecoderInput


@final
@dataclass(frozen=True)
class Pairs:
    """Sources with their right answers, each source once.

    Attributes:
        sources: the texts.
        answers: for each the texts that are right.
    """

    sources: list[str]
    answers: list[list[str]]

    @classmethod
    def of(cls, X: object, y: object, names: tuple[str, str] = ("X", "y")) -> Pairs:
        """What a user gave, checked, lines of one source together.

        Raises:
            DTypeError, LengthError: see `saiki.data.pairs.require_pairs`.
        """
        return cls(*gathered(*require_pairs(X, y, names)))

    def __len__(self) -> int:
        return len(self.sources)

    def select(self, indices: Array) -> Pairs:
        """Those of these numbers."""
        return Pairs([self.sources[i] for i in indices], [self.answers[i] for i in indices])

    def flat(self) -> tuple[list[str], list[str]]:
        """One source and one target a pair, as the network learns them."""
        sources = [x for x, several in zip(self.sources, self.answers) for _ in several]
        return sources, [text for several in self.answers for text in several]

    def sample(self, count: int) -> Pairs:
        """At most so many, evenly taken."""
        if len(self) <= count:
            return self
        return self.select(np.linspace(0, len(self) - 1, count).round().astype(np.int64))


def split(
    pairs: Pairs, validation: float | tuple[object, object] | None, seed: int
) -> tuple[Pairs, Pairs | None]:
    """The training and the validation part; a source with all its answers is in one of them.

    Args:
        pairs: all there are.
        validation: share of the sources, (X, y), or None.
        seed: of the choice.
    Raises:
        OptionError: something else. DataError: a part would be empty.
    """
    if validation is None:
        return pairs, None
    if isinstance(validation, tuple | list):
        if len(validation) != 2:
            raise OptionError(
                f"validation is a {type(validation).__name__} of {len(validation)} but must be (X, y)."
            )
        return pairs, Pairs.of(*validation, names=("validation X", "validation y"))
    if isinstance(validation, bool) or not isinstance(validation, int | float) or not 0 < validation < 1:
        raise OptionError(
            f"validation is {validation!r} but must be a share between 0 and 1, (X, y) or None."
        )
    if len(pairs) < 2:
        raise DataError(
            "there is a single source, too few to keep a share for validation.",
            "Give more pairs, validation=(X, y), or validation=None.",
        )
    train, held = split_sequences(len(pairs), float(validation), seed=seed)
    return pairs.select(train), pairs.select(held)


def joined(first: Pairs, second: Pairs) -> Pairs:
    """Both parts together."""
    return Pairs(*gathered([*first.sources, *second.sources], [*first.answers, *second.answers]))


def fit_codecs(
    train: Pairs,
    validation: Pairs | None,
    tokenizers: tuple[Tokenizer, Tokenizer],
    sizes: tuple[int | None, int | None],
    min_count: int,
) -> tuple[TextCodec, TextCodec]:
    """Learn how sources and targets are cut and numbered, from the training part alone.

    A source has `<unk>` for whatever comes later. A target has it only where a token of either part is left
    out of its vocabulary: a network with no use for it need not learn to leave it out.

    Args:
        train: learned from.
        validation: only asked whether it needs `<unk>`.
        tokenizers: of sources and targets.
        sizes: of their vocabularies, at most; None: no limit.
        min_count: tokens seen less often are left out.
    Raises:
        DataError: no token is left.
    """
    sources, targets = train.flat()
    source = TextCodec.fit(
        sources, tokenizers[0], max_size=sizes[0], min_count=min_count, specials=(UNKNOWN,)
    )
    target = TextCodec.fit(
        targets, tokenizers[1], max_size=sizes[1], min_count=min_count, specials=(UNKNOWN, START, END)
    )
    seen = targets if validation is None else [*targets, *validation.flat()[1]]
    split = target.tokenizer.split
    if all(token in target.vocabulary for text in seen for token in split(text)):
        kept = [token for token in target.vocabulary.tokens if token != UNKNOWN]
        target = TextCodec(target.tokenizer, type(target.vocabulary)(tuple(kept), (START, END)))
    return source, target


def encoded(codec: TextCodec, texts: Sequence[str], name: str) -> list[Tensor]:
    """The ids of each text.

    Args:
        codec: of these texts.
        texts: none empty.
        name: the argument's name, for messages.
    Raises:
        LengthError: a text has no token; it is named.
    """
    found = []
    for text in texts:
        ids = codec.encode(text)
        if not len(ids):
            raise LengthError(
                f"a text of {name}, {text[:40]!r}, has no token as {codec.tokenizer.name} cut it.",
                "Leave it out, or take other tokens.",
            )
        found.append(torch.from_numpy(ids))
    return found


@final
class PairSource:
    """Pairs for the trainer: the decoder reads <s> y_1 … y_T and is to say y_1 … y_T </s>.

    Args:
        pairs: sources and their answers, one pair each.
        codecs: of sources and targets.
    """

    def __init__(self, pairs: Pairs, codecs: tuple[TextCodec, TextCodec]) -> None:
        sources, targets = pairs.flat()
        vocabulary = codecs[1].vocabulary
        self._unknown = vocabulary.unknown
        said = encoded(codecs[1], targets, "y")
        for text, ids in zip(targets, said):
            for mark in (START, END):
                if bool((ids == vocabulary.id(mark)).any()):
                    raise LabelError(
                        f"a text of y, {text[:40]!r}, has the token {mark}, which marks where a target "
                        "begins or ends.",
                        "Write it otherwise.",
                    )
        self._inputs, self._wanted = EncoderDecoderInput.of(
            encoded(codecs[0], sources, "X"),
            said,
            start=vocabulary.id(START),
            end=vocabulary.id(END),
        )

    def __len__(self) -> int:
        return self._inputs.B

    @property
    def lengths(self) -> Tensor:
        """(n,) steps of source and target together, which is what a pair costs."""
        return self._inputs.source.lengths + self._wanted.lengths

    @property
    def longest(self) -> int:
        """Tokens of the longest target, its end counted."""
        return self._wanted.T

    @property
    def targets(self) -> int:
        """Tokens to be said, ends counted."""
        return self._wanted.N

    def batch(self, indices: Tensor) -> Batch:
        """See `Source.batch`. What the vocabulary does not know is no target: it is never to be said, and of
        the validation part it would decide the loss alone, as training never shows it.
        """
        targets = self._wanted.select(indices).data
        mask = None if self._unknown is None else targets != self._unknown
        return Batch(inputs=self._inputs.select(indices), targets=targets, mask=mask, per_step=True)

    def fingerprint(self) -> str:
        """SHA-256 over lengths and ids of both sides."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        parts: list[Any] = [self._inputs.source, self._wanted]
        return digest([tensor for part in parts for tensor in (part.lengths, part.data)])
