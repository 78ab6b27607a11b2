"""What a transcriber says: labels to numbers and back, transcripts with times, and how right they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from saiki import metrics
from saiki.core.errors import LabelError, SchemaError
from saiki.data.tokens import TextCodec, Tokenizer, Whitespace, get_tokenizer
from saiki.data.vocabulary import Vocabulary
from saiki.decoding import Hypothesis
from saiki.models.options import Array
from saiki.models.transcriber_data import Answer, Kind

BLANK = "<blank>"  # what the blank's place among the tokens holds; it is never said


@final
@dataclass(frozen=True)
class Labels:
    """The labels of a model: what an answer is made of, and each label's class.

    Attributes:
        kind: "text" (cut into units by a tokenizer), "int" or "str" (labels as they came).
        codec: tokenizer and vocabulary; of labels as they came, the vocabulary alone is used.
    """

    kind: Kind
    codec: TextCodec

    @classmethod
    def learn(cls, answers: Sequence[Answer], kind: Kind, units: str | Tokenizer) -> Labels:
        """The labels that some answers hold; their classes follow the order of the labels.

        Args:
            answers: texts, or sequences of labels.
            kind: of the answers.
            units: how a text is cut, by name or as a tokenizer.
        """
        if kind == "text":
            tokenizer = get_tokenizer(units).fit([str(answer) for answer in answers])
            tokens = sorted({token for answer in answers for token in tokenizer.split(str(answer))})
        else:
            tokenizer = Whitespace()
            tokens = [str(label) for label in sorted({label for answer in answers for label in answer})]
        return cls(kind, TextCodec(tokenizer, Vocabulary(tuple(tokens))))

    def __len__(self) -> int:
        return len(self.codec)

    @property
    def blank(self) -> int:
        """The blank's class: the last, after all labels."""
        return len(self)

    @property
    def tokens(self) -> tuple[str, ...]:
        """What each of the K classes stands for, the blank's place included."""
        return (*self.codec.vocabulary.tokens, BLANK)

    @property
    def unit(self) -> str:
        """One label in words: a character, a word, a label."""
        names = {"characters": "character", "words": "word", "whitespace": "word", "sentencepiece": "piece"}
        return names.get(self.codec.tokenizer.name, "label") if self.kind == "text" else "label"

    def split(self, answer: Answer) -> list[str]:
        """An answer in tokens."""
        if self.kind == "text":
            return self.codec.tokenizer.split(str(answer))
        return [str(label) for label in answer]

    def ids(self, answer: Answer, name: str) -> Array:
        """An answer in classes, (L,) int64.

        Raises:
            LabelError: the utterance and the label that training did not have.
        """
        try:
            return self.codec.vocabulary.encode(self.split(answer))
        except LabelError as error:
            raise LabelError(f"the transcript of {name}: {error.message}", error.hint) from error

    def answer(self, ids: Iterable[int]) -> Any:  # noqa: ANN401  a text or an array of labels
        """Classes as the answers of `fit` were: a text, or an array of labels."""
        tokens = self.codec.vocabulary.decode(list(ids))
        if self.kind == "text":
            return self.codec.tokenizer.join(tokens)
        return np.array(
            [self.label(token) for token in tokens], dtype=np.int64 if self.kind == "int" else "U"
        )

    def label(self, token: str) -> str | int:
        """A token as the label it stands for."""
        return int(token) if self.kind == "int" else token

    def documents(self) -> dict[str, bytes]:
        """Files for the model folder."""
        return self.codec.documents()

    @classmethod
    def of_documents(cls, documents: Mapping[str, bytes], kind: Kind) -> Labels:
        """The labels out of what `documents` gave.

        Raises:
            SchemaError: a file is missing or broken, or does not fit the kind.
        """
        codec = TextCodec.of_documents(documents)
        if kind == "int":
            for token in codec.vocabulary.tokens:
                if token != str(_whole(token)):
                    raise SchemaError(f"vocabulary.json: the label {token!r} must be a whole number.")
        return cls(kind, codec)


def _whole(token: str) -> int | None:
    try:
        return int(token)
    except ValueError:
        return None


@final
@dataclass(frozen=True)
class TimedLabel:
    """One label and when it was said.

    Attributes:
        label: as in the answers: a character, a word, a number.
        start, end: seconds from the start of the recording; for a model of frames, frames of its input.
        score: mean probability that the network gave it there, 0 to 1.
    """

    label: str | int
    start: float
    end: float
    score: float


@final
@dataclass(frozen=True)
class Transcript:
    """What was said in one utterance.

    Attributes:
        answer: a text, or the labels in order.
        labels: each with its times.
        log_probability: nats; of greedy decoding that of the best path, of a beam that of the labels.
        seconds: whether times are seconds (recordings) or frames.
    """

    answer: Any
    labels: tuple[TimedLabel, ...]
    log_probability: float
    seconds: bool

    def words(self) -> tuple[TimedLabel, ...]:
        """The words of a text of characters, each from the start of its first to the end of its last one; of
        other answers the labels as they are.
        """
        if not isinstance(self.answer, str) or any(len(str(one.label)) > 1 for one in self.labels):
            return self.labels
        found: list[TimedLabel] = []
        waiting: list[TimedLabel] = []
        for one in (*self.labels, None):
            if one is not None and one.label != " ":
                waiting.append(one)
            elif waiting:
                text = "".join(str(each.label) for each in waiting)
                mean = float(np.mean([each.score for each in waiting]))
                found.append(TimedLabel(text, waiting[0].start, waiting[-1].end, mean))
                waiting = []
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """The transcript as plain values."""
        return {
            "answer": self.answer.tolist() if isinstance(self.answer, np.ndarray) else self.answer,
            "labels": [
                {"label": one.label, "start": one.start, "end": one.end, "score": one.score}
                for one in self.labels
            ],
            "log_probability": self.log_probability,
            "unit": "s" if self.seconds else "frames",
        }


def transcript(
    found: Hypothesis, log_p: Array, labels: Labels, *, step: float, before: float, seconds: bool
) -> Transcript:
    """A decoder's hypothesis with labels and times.

    Args:
        found: what the decoder gave.
        log_p: (T, K) log-probabilities it was decoded from.
        labels: of the model.
        step: from one output of the network to the next, in seconds or frames.
        before: how far an output's time lies before its frame: half a step.
        seconds: the times' unit.
    """
    timed = []
    for label, start, end in zip(found.labels, found.starts, found.ends):
        score = float(np.exp(log_p[start:end, label].astype(np.float64)).mean()) if end > start else 0.0
        timed.append(
            TimedLabel(
                labels.label(labels.tokens[label]),
                round(max(0.0, start * step - before), 6),
                round(max(0.0, end * step - before), 6),
                round(score, 6),
            )
        )
    return Transcript(labels.answer(found.labels), tuple(timed), found.log_probability, seconds)


def figures(references: Sequence[Answer], hypotheses: Sequence[Any], labels: Labels) -> dict[str, float]:
    """Error rates of what was said.

    Args:
        references: the right answers.
        hypotheses: what was said, in the form of `Labels.answer`.
        labels: of the model.
    Returns:
        `label_error_rate` over the model's own units; for texts `cer` and `wer` too; `exact`, the share of
        utterances that are right as a whole.
    Raises:
        DataError: no reference holds a label.
    """
    said = [h if isinstance(h, str) else list(h) for h in hypotheses]
    right, ours = [labels.split(r) for r in references], [labels.split(h) for h in said]
    found = {"label_error_rate": float(metrics.label_error_rate(right, ours))}
    if labels.kind == "text":
        join = labels.codec.tokenizer.join  # so that what the units do not tell apart counts for neither
        texts, answers = [join(tokens) for tokens in right], [join(tokens) for tokens in ours]
        found |= {"wer": float(metrics.wer(texts, answers)), "cer": float(metrics.cer(texts, answers))}
    found["exact"] = float(np.mean([a == b for a, b in zip(right, ours)]))
    return found
