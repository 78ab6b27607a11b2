"""The translator's options: what config.json keeps of them, and how text is cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from saiki.core.errors import DTypeError, OptionError
from saiki.core.names import choose
from saiki.data.tokens import TOKENIZERS, SentencePiece, Tokenizer, get_tokenizer
from saiki.learning.options import refuse_unknown
from saiki.models.options import TrainingOptions

Tokens = str | Mapping[str, Any] | Tokenizer

_LEARNED = "model"  # what a sentencepiece tokenizer learns, and nobody gives


@dataclass(frozen=True, kw_only=True)
class TranslatorOptions(TrainingOptions):
    """The translator's options, as config.json keeps them."""

    cell: str
    hidden_size: int
    num_layers: int
    bidirectional: bool
    encoder_size: int | None
    embedding_size: int | None
    dropout: float
    context: str
    attention: str
    context_from: str | None
    input_feeding: bool
    feed_previous: bool
    scheduled_sampling: float
    sampling_updates: int
    smoothing: float
    source_tokens: str | dict[str, Any]
    target_tokens: str | dict[str, Any]
    source_size: int | None
    target_size: int | None
    min_count: int
    beam: int
    normalisation: float
    max_length: int | None
    bleu: str | None
    validation: float | str | None


@dataclass(frozen=True, kw_only=True)
class TranslatorFitted:
    """What the translator learned beside tensors and vocabularies, as config.json keeps it."""

    source_size: int
    target_size: int
    longest: int


def tokenizer_of(value: Tokens, name: str) -> Tokenizer:
    """A tokenizer by name, from a mapping with a `type`, or as it is.

        tokenizer_of("words", "source_tokens")
        tokenizer_of({"type": "sentencepiece", "size": 4000, "kind": "bpe"}, "source_tokens")

    Args:
        value: which.
        name: the argument's name, for messages.
    Raises:
        OptionError: an unknown tokenizer or option; the nearest one is offered.
        DTypeError: something else.
    """
    if isinstance(value, Mapping):
        options = dict(value)
        kind = options.pop("type", None)
        if not isinstance(kind, str):
            raise OptionError(f"{name} has no 'type'.", f"Give one of: {', '.join(TOKENIZERS)}.")
        made = choose(kind, TOKENIZERS, "tokenizer")
        known = [field.name for field in fields(made) if field.name != _LEARNED]  # type: ignore[arg-type]
        refuse_unknown(options, known, f"option of the tokenizer {kind!r}")
        return made(**options)
    if not isinstance(value, str | Tokenizer):
        raise DTypeError(
            f"{name} is {type(value).__name__} but must be a tokenizer's name, a mapping with a 'type', or a "
            "Tokenizer."
        )
    return get_tokenizer(value)


def tokenizer_mapping(value: Tokens) -> str | dict[str, Any]:
    """A tokenizer as config.json keeps it: a name, or a mapping with a `type`."""
    if isinstance(value, Tokenizer):
        return {"type": value.name, **value.to_json()}
    return dict(value) if isinstance(value, Mapping) else value


def bleu_tokenization(option: str | None, tokenizer: Tokenizer) -> str | None:
    """How BLEU cuts words: the option, or for "auto" what fits the target's tokens; None: no BLEU.

    Text that is cut at blanks only is tokenised already, and characters make no words that were learned.
    """
    if option != "auto":
        return option
    if tokenizer.name == "whitespace":
        return "blanks"
    return "13a" if tokenizer.name in ("words", SentencePiece.name) else None
