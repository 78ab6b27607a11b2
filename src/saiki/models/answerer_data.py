"""How stories come in to the answerer, and how they become rows of numbers.

    stories     a list of `saiki.data.worlds.Story` (questions and answers inside), or of lists of sentences,
                or of texts, which are cut after each . ! ? and at line ends
    questions   one text a story
    answers     one text a story

A row is a word: its id, its sentence (0 the question, 1 the newest), its place, the words of its sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saiki.core.errors import DataError, DTypeError, LabelError, LengthError, UsageError
from saiki.data.tokens import TextCodec, Tokenizer, get_tokenizer, require_texts
from saiki.data.vocabulary import UNKNOWN, Vocabulary
from saiki.data.worlds import Story
from saiki.models.options import Array

_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")


def read_stories(stories: object, questions: object, answers: object, *, wanted: bool) -> list[Story]:
    """Stories in any of their forms, see the head of this file.

    Args:
        stories: as there.
        questions: None where the stories hold theirs.
        answers: None where the stories hold theirs, or none are wanted.
        wanted: whether answers are needed.
    Raises:
        DTypeError, LengthError, DataError, LabelError, UsageError: what is wrong, and where.
    """
    if isinstance(stories, str | bytes | Story) or not isinstance(stories, Iterable):
        raise DTypeError(
            f"stories is {type(stories).__name__} but must be a list of stories.", "For one story: [story]."
        )
    found = list(stories)
    if not found:
        raise LengthError("Found array with 0 sample(s): stories is empty.", "Give at least one.")
    if all(isinstance(story, Story) for story in found):
        if questions is not None or answers is not None:
            raise UsageError(
                "the stories hold their questions and answers, and others came beside them.",
                "Leave questions and answers out.",
            )
        made = found
    else:
        if questions is None:
            raise LengthError("questions are missing: one a story is needed.", "Give a list of texts.")
        asked = require_texts(questions, "questions")
        said = [""] * len(found)
        if answers is not None:
            said = require_texts(answers, "answers")
        elif wanted:
            raise LabelError("requires y to be passed, but answers is None.", "Give one a story.")
        for name, texts in (("questions", asked), ("answers", said)):
            if len(texts) != len(found):
                raise LengthError(
                    f"{name} has {len(texts)} entries but there are {len(found)} stories: inconsistent "
                    "numbers of samples.",
                    "Give one a story.",
                )
        made = [
            Story(_sentences(story, number), question, answer)
            for number, (story, question, answer) in enumerate(zip(found, asked, said))
        ]
    for number, story in enumerate(made):
        if not story.question.strip():
            raise DataError(f"the question of story {number} is empty.", "Leave the story out.")
        if wanted and not story.answer.strip():
            raise LabelError(f"the answer of story {number} is empty.", "Leave the story out.")
    return made


def _sentences(story: object, number: int) -> tuple[str, ...]:
    if isinstance(story, str):
        return tuple(part.strip() for part in _SENTENCE.findall(story) if part.strip())
    return tuple(require_texts(story, f"story {number}"))


@dataclass(frozen=True)
class Reader:
    """Words and answers that training taught.

    Attributes:
        codec: of the words.
        answers: the classes, sorted.
    """

    codec: TextCodec
    answers: tuple[str, ...]

    @classmethod
    def fit(cls, stories: Sequence[Story], tokenizer: str | Tokenizer, min_count: int) -> Reader:
        """Learn the words of stories and questions, and the answers.

        Raises:
            LabelError: there is one answer only.
            DataError: there is no word.
        """
        answers = tuple(sorted({story.answer for story in stories}))
        if len(answers) < 2:
            raise LabelError(
                f"every answer is {answers[0]!r}, so there is nothing to learn.",
                "Give stories with at least two answers.",
            )
        texts = [text for story in stories for text in (*story.sentences, story.question)]
        codec = TextCodec.fit(texts, get_tokenizer(tokenizer), min_count=min_count)
        known = codec.vocabulary
        extra = [word for word in _answer_words(codec, answers) if word not in known]
        vocabulary = Vocabulary((*known.tokens, *extra), known.specials)
        return cls(TextCodec(codec.tokenizer, vocabulary), answers)

    def answer_ids(self) -> list[int]:
        """(K,) the word of each answer."""
        return [self.codec.vocabulary.id(word) for word in _answer_words(self.codec, self.answers)]

    def rows(self, story: Story) -> Tensor:
        """(N, 4) int64, a row a word; see the file's head.

        Raises:
            DataError: the question has no word.
        """
        told = [words for words in map(self.codec.encode, story.sentences) if len(words)]
        question = self.codec.encode(story.question)
        if not len(question):
            raise DataError(f"the question {story.question[:60]!r} has no word.", "Ask with words.")
        parts = []
        for number, words in [(0, question), *((len(told) - k, words) for k, words in enumerate(told))]:
            J = len(words)
            parts.append(np.stack([words, np.full(J, number), np.arange(1, J + 1), np.full(J, J)], axis=1))
        return torch.from_numpy(np.concatenate(parts))

    def sentences(self, story: Story) -> list[str]:
        """The sentences that are in memory: those with a word."""
        return [text for text in story.sentences if self.codec.tokenizer.split(text)]

    def classes(self, stories: Sequence[Story]) -> Array:
        """(n,) number of each story's answer.

        Raises:
            LabelError: an answer that training did not have; the story is named.
        """
        index = {answer: number for number, answer in enumerate(self.answers)}
        for number, story in enumerate(stories):
            if story.answer not in index:
                raise LabelError(
                    f"the answer {story.answer!r} of story {number} is not among those of the training part: "
                    f"{', '.join(self.answers[:10])}{', …' if len(self.answers) > 10 else ''}.",
                    "Give training stories with it, or leave this one out.",
                )
        return np.array([index[story.answer] for story in stories], dtype=np.int64)

    def flat(self, story: Story) -> str:
        """Story and question as one text of words with blanks between, for models that read it in a row."""
        texts = (*story.sentences, story.question)
        return " ".join(word for text in texts for word in self.codec.tokenizer.split(text))


def _answer_words(codec: TextCodec, answers: Sequence[str]) -> list[str]:
    """A word for each answer: itself where it is one; the whole text where it is several, or where another
    answer has the word ("Yes" and "yes").
    """
    split = [codec.tokenizer.split(answer) for answer in answers]
    words = [parts[0] if len(parts) == 1 and parts[0] != UNKNOWN else "" for parts in split]
    return [
        word if word and words.count(word) == 1 else f"answer {answer}"
        for word, answer in zip(words, answers)
    ]
