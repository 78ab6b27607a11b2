"""Tokenizers: a text into tokens and back; with a vocabulary, into numbers and back.

    text --split--> tokens --encode--> ids          ids --decode--> tokens --join--> text

`characters` and `sentencepiece` give back the text they split. `words` forgets case and spacing, and
`whitespace` forgets spacing; their `join` writes what a reader expects.
"""

from __future__ import annotations

import io
import json
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np

from saiki.core.checks import require_bool, require_int
from saiki.core.errors import DataError, DTypeError, OptionError, SchemaError, UsageError
from saiki.core.extras import require
from saiki.core.names import choose
from saiki.core.schema import read_json, strict
from saiki.data.times import Array
from saiki.data.vocabulary import END, START, UNKNOWN, Vocabulary, is_encodable

__all__ = [
    "TOKENIZERS",
    "Characters",
    "SentencePiece",
    "TextCodec",
    "Tokenizer",
    "Whitespace",
    "Words",
    "get_tokenizer",
    "require_texts",
]

MAX_VOCABULARY_FILE = 256 << 20  # bytes of vocabulary.json; a million words take some 15 MB

# A word, with what joins its parts inside (don't, well-known, 3.14); or a single sign.
WORD = r"\w+(?:['’.,-]\w+)*|[^\w\s]"
_NO_BLANK_BEFORE = frozenset(".,;:!?%)]}»”’…")
_NO_BLANK_AFTER = frozenset("([{«“‘$€£#@")


def require_texts(texts: object, name: str = "texts") -> list[str]:
    """A list of texts out of a list, a tuple, an array or a column of a data frame.

    Raises:
        DTypeError: one text alone, or an entry that is no text; its place is named.
        DataError: a text that no file can hold, because it was decoded wrongly.
    """
    if isinstance(texts, str | bytes):
        raise DTypeError(
            f"{name} is one text, {_short(texts)}, but must be a list of them.", f"Use [{name}]."
        )
    if not isinstance(texts, Iterable):
        raise DTypeError(f"{name} is {_short(texts)} but must be a list of texts.")
    found = list(texts)
    for number, text in enumerate(found):
        if not isinstance(text, str):
            raise DTypeError(
                f"{name}[{number}] is {_short(text)} ({type(text).__name__}) but must be a text.",
                "Fill in or drop missing texts first."
                if text is None or isinstance(text, float) or type(text).__name__ == "NAType"
                else None,
            )
        if not is_encodable(text):
            raise DataError(
                f"{name}[{number}] holds half of a surrogate pair, which no text has: {_short(text)}.",
                "It was decoded wrongly; read the file as UTF-8.",
            )
    return [str(text) for text in found]


class Tokenizer(ABC):
    """How a text comes apart. Frozen: `fit` returns the tokenizer that has learned."""

    name: ClassVar[str]

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """The tokens of a text, in order; an empty text has none."""

    @abstractmethod
    def join(self, tokens: Sequence[str]) -> str:
        """A text of these tokens."""

    def fit(self, texts: Iterable[str]) -> Tokenizer:
        """The tokenizer after learning from texts; the same one where there is nothing to learn."""
        return self

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The options as plain JSON values, without the name."""

    def files(self) -> dict[str, bytes]:
        """What it has learned that does not go into JSON, by file name."""
        return {}

    @classmethod
    @abstractmethod
    def from_json(cls, options: Mapping[str, Any], files: Mapping[str, bytes], where: str) -> Self:
        """The tokenizer out of what `to_json` and `files` gave.

        Raises:
            SchemaError: an option is unknown, missing or of the wrong type, or a file is missing or broken.
        """


@dataclass(frozen=True)
class Characters(Tokenizer):
    """One token a character (Unicode code point), blanks among them.

    Args:
        lower: fold to lower case first; the text is then not given back as it was.
    """

    lower: bool = False

    name: ClassVar[str] = "characters"

    def __post_init__(self) -> None:
        require_bool(self.lower, "lower")

    def split(self, text: str) -> list[str]:
        """The characters of the text."""
        return list(text.lower() if self.lower else text)

    def join(self, tokens: Sequence[str]) -> str:
        """The characters in a row."""
        return "".join(tokens)

    def to_json(self) -> dict[str, Any]:
        """The options."""
        return {"lower": self.lower}

    @classmethod
    def from_json(cls, options: Mapping[str, Any], files: Mapping[str, bytes], where: str) -> Self:
        """The tokenizer out of its options."""
        return strict(cls, options, where)


@dataclass(frozen=True)
class Whitespace(Tokenizer):
    """The text cut at blanks, tabs and line ends, and nowhere else: for text that is split already.

    Args:
        lower: fold to lower case first.
    """

    lower: bool = False

    name: ClassVar[str] = "whitespace"

    def __post_init__(self) -> None:
        require_bool(self.lower, "lower")

    def split(self, text: str) -> list[str]:
        """What stands between blanks."""
        return (text.lower() if self.lower else text).split()

    def join(self, tokens: Sequence[str]) -> str:
        """The tokens with one blank between them."""
        return " ".join(tokens)

    def to_json(self) -> dict[str, Any]:
        """The options."""
        return {"lower": self.lower}

    @classmethod
    def from_json(cls, options: Mapping[str, Any], files: Mapping[str, bytes], where: str) -> Self:
        """The tokenizer out of its options."""
        return strict(cls, options, where)


@dataclass(frozen=True)
class Words(Tokenizer):
    """What a regular expression finds: words and single signs. Text is composed (NFC) first, so that an
    accent written apart belongs to its letter.

    Args:
        lower: fold to lower case first.
        pattern: a Python regular expression; what it matches is a token, what it does not is dropped.
    """

    lower: bool = True
    pattern: str = WORD

    name: ClassVar[str] = "words"

    def __post_init__(self) -> None:
        require_bool(self.lower, "lower")
        if not isinstance(self.pattern, str):
            raise DTypeError(f"pattern is {self.pattern!r} but must be the text of a regular expression.")
        try:
            re.compile(self.pattern)
        except (re.error, OverflowError) as error:
            raise OptionError(f"pattern={self.pattern!r} is no regular expression: {error}.") from error

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def split(self, text: str) -> list[str]:
        """What the expression matches, from left to right."""
        composed = unicodedata.normalize("NFC", text.lower() if self.lower else text)
        return [found.group() for found in self._compiled.finditer(composed) if found.group()]

    def join(self, tokens: Sequence[str]) -> str:
        """The tokens with a blank between them, but none before a comma or after a bracket opens."""
        parts: list[str] = []
        for token in tokens:
            tight = not parts or token in _NO_BLANK_BEFORE or parts[-1] in _NO_BLANK_AFTER
            parts.extend([token] if tight else [" ", token])
        return "".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The options."""
        return {"lower": self.lower, "pattern": self.pattern}

    @classmethod
    def from_json(cls, options: Mapping[str, Any], files: Mapping[str, bytes], where: str) -> Self:
        """The tokenizer out of its options."""
        return strict(cls, options, where)


@dataclass(frozen=True)
class SentencePiece(Tokenizer):
    """Pieces of words learned from text, by the package sentencepiece (extra `text`). Nothing is normalised:
    `join(split(text))` is the text.

    Args:
        size: how many pieces to learn; fewer where the text has not as many.
        kind: "unigram" (Kudo 2018) or "bpe" (byte-pair encoding; Sennrich et al. 2016).
        model: the learned model, a sentencepiece file; None before `fit`.
    """

    size: int = 8_000
    kind: Literal["unigram", "bpe"] = "unigram"
    model: bytes | None = field(default=None, repr=False)

    name: ClassVar[str] = "sentencepiece"
    FILE: ClassVar[str] = "units.model"

    def __post_init__(self) -> None:
        require_int(self.size, "size", 2, 1_000_000)
        if self.kind not in ("unigram", "bpe"):
            raise OptionError(f"kind={self.kind!r} is unknown.", "Known: 'unigram', 'bpe'.")

    @cached_property
    def _processor(self) -> Any:  # noqa: ANN401 (the package is optional)
        package = require("sentencepiece", "text", "The tokenizer 'sentencepiece'")
        if self.model is None:
            raise UsageError("the sentencepiece tokenizer has not learned yet.", "Call fit(texts) first.")
        try:
            return package.SentencePieceProcessor(model_proto=self.model)
        except RuntimeError as error:
            raise SchemaError(f"{self.FILE} is no sentencepiece model: {_first_line(error)}.") from error

    def fit(self, texts: Iterable[str]) -> SentencePiece:
        """Learn the pieces from texts.

        Raises:
            ExtraError: the package is not installed.
            DataError: there is no text to learn from, or too little.
        """
        package = require("sentencepiece", "text", "The tokenizer 'sentencepiece'")
        lines = [line for text in texts for line in text.splitlines() if line.strip()]
        if not lines:
            raise DataError("sentencepiece needs text to learn from, and every text is empty.")
        characters = {" ", *(character for line in lines for character in line)}
        if self.size <= len(characters):
            raise DataError(
                f"size={self.size} is too small: the texts have {len(characters)} different characters, "
                "each of which is a piece, and one piece stands for the unknown.",
                f"Use at least {len(characters) + 1}.",
            )
        package.set_min_log_level(2)
        try:
            model = self._train(package, lines, self.size)
        except RuntimeError as error:
            # byte-pair encoding has no soft limit, but names the most it could learn
            most = re.search(r"value <= (\d+)", str(error))
            if most is None:
                raise DataError(
                    f"sentencepiece could not learn {self.size} pieces from {len(lines)} lines: "
                    f"{_first_line(error)}."
                ) from error
            model = self._train(package, lines, int(most[1]))
        return SentencePiece(self.size, self.kind, model)

    def _train(self, package: Any, lines: list[str], size: int) -> bytes:  # noqa: ANN401
        written = io.BytesIO()
        package.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=written,
            vocab_size=size,
            model_type=self.kind,
            hard_vocab_limit=self.kind == "bpe",
            character_coverage=1.0,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            max_sentence_length=1 << 24,  # bytes; a longer sentence would be dropped without a word
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            num_threads=1,  # sums over threads depend on their number
            minloglevel=2,
        )
        return written.getvalue()

    def split(self, text: str) -> list[str]:
        """The pieces of the text; ▁ in a piece is a blank."""
        clean = text if is_encodable(text) else text.encode("utf-8", "replace").decode()
        return list(self._processor.encode(clean, out_type=str))

    def join(self, tokens: Sequence[str]) -> str:
        """The text of the pieces."""
        return str(self._processor.decode(list(tokens)))

    @property
    def pieces(self) -> list[str]:
        """All pieces that were learned, without the unknown one."""
        processor = self._processor
        return [processor.id_to_piece(number) for number in range(1, processor.get_piece_size())]

    def to_json(self) -> dict[str, Any]:
        """The options; the model is a file of its own."""
        return {"size": self.size, "kind": self.kind}

    def files(self) -> dict[str, bytes]:
        """The sentencepiece model, `units.model`."""
        return {} if self.model is None else {self.FILE: self.model}

    @classmethod
    def from_json(cls, options: Mapping[str, Any], files: Mapping[str, bytes], where: str) -> Self:
        """The tokenizer out of its options and its model file."""
        if cls.FILE not in files:
            raise SchemaError(f"{where}: {cls.FILE} is missing, the learned pieces of sentencepiece.")
        made = strict(_PieceOptions, options, where)
        found = cls(made.size, made.kind, files[cls.FILE])
        _ = found._processor  # a broken file is told of now, not at the first text
        return found


@dataclass(frozen=True)
class _PieceOptions:
    size: int
    kind: Literal["unigram", "bpe"]


TOKENIZERS: dict[str, type[Tokenizer]] = {
    kind.name: kind for kind in (Characters, Words, Whitespace, SentencePiece)
}


def get_tokenizer(which: str | Tokenizer) -> Tokenizer:
    """A tokenizer by name (`characters`, `words`, `whitespace`, `sentencepiece`), or the one given.

    Raises:
        OptionError: the name is unknown; the nearest one is offered.
        DTypeError: neither a name nor a tokenizer.
    """
    if isinstance(which, Tokenizer):
        return which
    if not isinstance(which, str):
        raise DTypeError(
            f"the tokenizer is {_short(which)} but must be a name or a Tokenizer.",
            f"Known names: {', '.join(TOKENIZERS)}.",
        )
    return choose(which, TOKENIZERS, "tokenizer")()


@dataclass(frozen=True)
class _Written:
    """vocabulary.json."""

    tokenizer: str
    options: dict[str, Any]
    tokens: list[str]
    specials: list[str]


@dataclass(frozen=True)
class TextCodec:
    """A tokenizer and a vocabulary: text to numbers and back.

    Attributes:
        tokenizer: one that has learned.
        vocabulary: of its tokens.
    """

    tokenizer: Tokenizer
    vocabulary: Vocabulary

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        tokenizer: str | Tokenizer = "words",
        *,
        max_size: int | None = None,
        min_count: int = 1,
        specials: Sequence[str] = (UNKNOWN,),
    ) -> TextCodec:
        """Learn tokenizer and vocabulary from texts.

        Args:
            texts: to learn from.
            tokenizer: by name, or a value.
            max_size: of the vocabulary, as `Vocabulary.of` takes it.
            min_count: tokens seen less often become `<unk>`.
            specials: special tokens of the vocabulary.
        Raises:
            DTypeError: an entry is no text.
            DataError: no text has a token.
        """
        known = require_texts(texts)
        learned = get_tokenizer(tokenizer).fit(known)
        vocabulary = Vocabulary.of((learned.split(text) for text in known), max_size, min_count, specials)
        if len(vocabulary) == len(specials):
            raise DataError(
                f"no token is left of {len(known)} texts, so there is nothing to learn."
                + (f" Each is rarer than min_count={min_count}." if min_count > 1 else "")
            )
        return cls(learned, vocabulary)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str, *, start: bool = False, end: bool = False) -> Array:
        """A text to its ids, (n,) int64.

        Args:
            text: any; an empty one has no ids.
            start: put `<s>` before.
            end: put `</s>` after.
        Raises:
            DTypeError: it is no text.
            LabelError: a token is not in the vocabulary and there is no `<unk>`.
        """
        if not isinstance(text, str):
            raise DTypeError(f"text is {_short(text)} ({type(text).__name__}) but must be a text.")
        ids = self.vocabulary.encode(self.tokenizer.split(text))
        before = [self.vocabulary.id(START)] if start else []
        after = [self.vocabulary.id(END)] if end else []
        return np.concatenate([np.array(before, np.int64), ids, np.array(after, np.int64)])

    def decode(self, ids: Iterable[int] | Array) -> str:
        """Ids to a text; `<s>` and `</s>` are left out, and `<unk>` is written.

        Raises:
            LabelError: an id is outside the vocabulary.
        """
        edges = {START, END}.intersection(self.vocabulary.specials)
        return self.tokenizer.join([token for token in self.vocabulary.decode(ids) if token not in edges])

    def documents(self, prefix: str = "") -> dict[str, bytes]:
        """Files for the model folder: `vocabulary.json`, and `units.model` for sentencepiece.

        Args:
            prefix: put before the names, where a model has several ("source_").
        """
        content = {
            "tokenizer": self.tokenizer.name,
            "options": self.tokenizer.to_json(),
            **self.vocabulary.to_json(),
        }
        written = json.dumps(content, indent=0, ensure_ascii=False).encode() + b"\n"
        return {f"{prefix}vocabulary.json": written} | {
            f"{prefix}{name}": data for name, data in self.tokenizer.files().items()
        }

    @classmethod
    def of_documents(cls, documents: Mapping[str, bytes], prefix: str = "") -> TextCodec:
        """The codec out of what `documents` gave.

        Raises:
            SchemaError: a file is missing or broken, or the tokenizer is unknown.
        """
        where = f"{prefix}vocabulary.json"
        if where not in documents:
            raise SchemaError(f"{where} is missing, without which the model cannot read text.")
        written = strict(_Written, read_json(documents[where], where, MAX_VOCABULARY_FILE), where)
        vocabulary = Vocabulary.from_json({"tokens": written.tokens, "specials": written.specials}, where)
        try:
            kind = choose(written.tokenizer, TOKENIZERS, "tokenizer")
            files = {
                name.removeprefix(prefix): data for name, data in documents.items() if name.startswith(prefix)
            }
            return cls(kind.from_json(written.options, files, where), vocabulary)
        except (OptionError, DTypeError) as error:
            raise SchemaError(f"{where}: {error.message}", error.hint) from error


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].rstrip(".")
