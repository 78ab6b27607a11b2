"""A beam for a transcriber: language models and word lists brought to its labels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from saiki.core.errors import DTypeError, OptionError
from saiki.decoding import Fusion, LabelNGram, LanguageScorer, Lexicon, NGram, PrefixBeam, WordNGram
from saiki.models.transcripts import Labels

SPECIAL = ("<s>", "</s>", "<unk>", "<space>")  # of an n-gram file, none of them a spoken word
SEPARATOR = " "


def beam(
    labels: Labels,
    *,
    width: int,
    language: object = None,
    weight: float,
    bonus: float,
    words: Iterable[str] | None = None,
    blank_skip: float | None = None,
) -> PrefixBeam:
    """The decoder that `Transcriber.decoder` gives; see there."""
    fusion = None if language is None else Fusion(scorer(labels, language), weight, bonus)
    lexicon = None if words is None else spelled(labels, words)
    return PrefixBeam(
        width=width,
        blank=labels.blank,
        blank_skip=blank_skip,
        language=fusion,
        lexicon=lexicon,
        normalized=True,
    )


def scorer(labels: Labels, language: Any) -> LanguageScorer:  # noqa: ANN401  whatever can score
    """A language model over the labels.

    Args:
        labels: of the model.
        language: an ARPA file, an `NGram` (over words or over labels, told by its longest word), a fitted
            `LanguageModel`, or anything with `score(prefix)`.
    Raises:
        DTypeError: none of these.
        LabelError: it knows none of the labels.
    """
    if isinstance(language, (str, Path)):
        language = NGram.read(language)
    if isinstance(language, NGram):
        spells = labels.kind == "text" and labels.unit == "character" and SEPARATOR in labels.tokens
        if spells and any(len(word) > 1 for word in language.words if word not in SPECIAL):
            return WordNGram.of(language, labels.tokens, separator=SEPARATOR)
        renamed = {SEPARATOR: "<space>"} if "<space>" in language.words else None
        return LabelNGram(language, labels.tokens, renamed)
    if callable(getattr(language, "scorer", None)):
        found: LanguageScorer = language.scorer(labels.tokens)
        return found
    if not isinstance(language, LanguageScorer):
        raise DTypeError(
            f"language is {type(language).__name__} but must be an ARPA file, an NGram, a LanguageModel or "
            "have a method score(prefix)."
        )
    return language


def spelled(labels: Labels, words: Iterable[str]) -> Lexicon:
    """The words that may be said, spelled in the labels; with blanks between them where blanks are labels.

    Raises:
        OptionError: the labels are words already, or no word was given.
        LabelError: a word has a letter that is no label.
    """
    if labels.kind != "text" or labels.unit not in ("character", "piece"):
        raise OptionError(
            f"a list of words restricts what is spelled, but this model's labels are {labels.unit}s.",
            "Leave words= out.",
        )
    if isinstance(words, str):
        raise DTypeError("words is one text but must be a list of words.", "Give [words].")
    separator = SEPARATOR if SEPARATOR in labels.tokens else None
    spellings = {word: labels.codec.tokenizer.split(word) for word in words}
    return Lexicon.of(spellings, labels.tokens, separator=separator)
