"""What a tagger knows of language: its words, characters, tags and labels, and their file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saiki.core.checks import listed
from saiki.core.errors import LabelError, SchemaError
from saiki.core.schema import read_json, strict
from saiki.data.tokens import MAX_VOCABULARY_FILE
from saiki.data.vocabulary import UNKNOWN, Vocabulary
from saiki.models.options import Array

VOCABULARY = "vocabulary.json"


@dataclass(frozen=True)
class _Written:
    """vocabulary.json."""

    words: dict[str, Any]
    characters: dict[str, Any] | None
    tags: list[str]
    labels: list[str] | None


@dataclass(frozen=True)
class Codes:
    """The vocabularies of a tagger.

    Attributes:
        words: `<unk>` first; lower-cased where `lower`.
        characters: `<unk>` first; None where words are read whole.
        tags: all there are.
        labels: of whole sentences; None where there are none.
        lower: whether words are looked up in lower case. Characters keep theirs.
    """

    words: Vocabulary
    characters: Vocabulary | None
    tags: Vocabulary
    labels: Vocabulary | None
    lower: bool

    @classmethod
    def of(
        cls,
        words: Sequence[Sequence[str]],
        tags: Sequence[Sequence[str]],
        labels: Sequence[str] | None,
        *,
        lower: bool,
        min_count: int,
        spelled: bool,
    ) -> Codes:
        """Learn the vocabularies.

        Args:
            words: of the sentences that are learned.
            tags: all that can come.
            labels: likewise; None where sentences have none.
            lower: fold words to lower case.
            min_count: words seen less often are unknown.
            spelled: whether characters are read.
        Raises:
            LabelError: a single tag, or a single label: there is nothing to tell apart.
        """
        key = str.lower if lower else str
        folded = ([key(word) for word in sentence] for sentence in words)
        forms = sorted({word for sentence in words for word in sentence})
        tag_codes = Vocabulary.of(tags, specials=())
        if len(tag_codes) < 2:
            raise LabelError(
                f"y has one tag only ({tag_codes.tokens[0]!r}), so there is nothing to learn.",
                "Give sentences with at least two different tags.",
            )
        label_codes = None if labels is None else Vocabulary.of([labels], specials=())
        if label_codes is not None and len(label_codes) < 2:
            raise LabelError(
                f"labels has one label only ({label_codes.tokens[0]!r}), so there is nothing to learn.",
                "Leave labels out.",
            )
        return cls(
            words=Vocabulary.of(folded, min_count=min_count),
            characters=Vocabulary.of(map(list, forms)) if spelled else None,
            tags=tag_codes,
            labels=label_codes,
            lower=lower,
        )

    def key(self, word: str) -> str:
        """A word as the vocabulary has it."""
        return word.lower() if self.lower else word

    def tag_ids(self, tags: Sequence[str], sentence: int) -> Array:
        """(T,) ids of tags.

        Raises:
            LabelError: a tag that was not there in training; its sentence is named.
        """
        for tag in tags:
            if tag not in self.tags:
                raise LabelError(
                    f"the tag {tag!r} in sentence {sentence} is not among the {len(self.tags)} tags of the "
                    f"training part: {listed(map(repr, self.tags.tokens), 10)}.",
                    "Give training sentences that have it, or leave these out.",
                )
        return self.tags.encode(tags)

    def label_id(self, label: str, sentence: int) -> int:
        """The id of a label of a whole sentence.

        Raises:
            LabelError: one that was not there in training.
        """
        assert self.labels is not None
        if label not in self.labels:
            raise LabelError(
                f"the label {label!r} of sentence {sentence} is not among those of the training part: "
                f"{listed(map(repr, self.labels.tokens), 10)}.",
                "Give training sentences that have it, or leave these out.",
            )
        return self.labels.id(label)

    def documents(self) -> dict[str, bytes]:
        """The file of a model folder that keeps them."""
        content = {
            "words": self.words.to_json(),
            "characters": None if self.characters is None else self.characters.to_json(),
            "tags": list(self.tags.tokens),
            "labels": None if self.labels is None else list(self.labels.tokens),
        }
        return {VOCABULARY: json.dumps(content, indent=0, ensure_ascii=False).encode() + b"\n"}

    @classmethod
    def of_documents(cls, documents: Mapping[str, bytes], lower: bool) -> Codes:
        """The vocabularies out of what `documents` gave.

        Raises:
            SchemaError: the file is missing or broken.
        """
        if VOCABULARY not in documents:
            raise SchemaError(f"{VOCABULARY} is missing, without which the tagger knows no word.")
        mapping = read_json(documents[VOCABULARY], VOCABULARY, MAX_VOCABULARY_FILE)
        written = strict(_Written, mapping, VOCABULARY)

        def read(what: str, content: Mapping[str, Any]) -> Vocabulary:
            found = Vocabulary.from_json(content, f"{VOCABULARY}: {what}")
            if found.specials and found.unknown != 0:
                raise SchemaError(f"{VOCABULARY}: {what} must begin with {UNKNOWN}.")
            return found

        return cls(
            words=read("words", written.words),
            characters=None if written.characters is None else read("characters", written.characters),
            tags=read("tags", {"tokens": written.tags, "specials": []}),
            labels=None
            if written.labels is None
            else read("labels", {"tokens": written.labels, "specials": []}),
            lower=lower,
        )
