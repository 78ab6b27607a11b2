"""Answerer: a question about a story, answered out of a memory of its sentences.

    story, question → words → memory network, read in hops → one of the answers that training had

The memory network is `saiki.nn.memory.MemoryNetwork`, whose file has the equations. What each hop looked at
is part of the answer: `attention`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, final

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from torch import Tensor

from saiki import metrics
from saiki.core.checks import require_int
from saiki.core.errors import LabelError, LengthError, OptionError, SchemaError
from saiki.core.names import choose
from saiki.core.ragged import Ragged
from saiki.core.random import generator
from saiki.data.splits import split_sequences
from saiki.data.tokens import TOKENIZERS, TextCodec
from saiki.data.worlds import Story
from saiki.learning import Observer, RaggedSource, Training
from saiki.losses import get_loss
from saiki.models.answerer_data import Reader, read_stories
from saiki.models.base import Estimator, inside_search
from saiki.models.options import Array, Layer, RandomState, TrainingOptions
from saiki.nn.memory import MEMORIES, SHARINGS, MemoryNetwork

if TYPE_CHECKING:
    from saiki.insight import Metric

PREDICT_BATCH = 256  # stories at once
SHOWN = 6  # stories in the report


@dataclass(frozen=True, kw_only=True)
class AnswererOptions(TrainingOptions):
    """The answerer's options, as config.json keeps them."""

    size: int
    hops: int
    memory: str
    sharing: str
    position: bool
    time: int
    tokens: str
    min_count: int
    validation: float | str | None


@dataclass(frozen=True, kw_only=True)
class AnswererFitted:
    """What the answerer learned beside tensors and vocabulary, as config.json keeps it."""

    answers: list[str]
    words: list[int]  # of the vocabulary, one an answer
    vocabulary: int  # words in it


@final
class Answerer(ClassifierMixin, Estimator):  # type: ignore[misc]
    """Answer questions about stories with an end-to-end memory network.

    Args:
        size: d, numbers of a word's vector.
        hops: how often the memory is read before the answer.
        memory: "sentences", a slot a sentence; "key_value", a slot a word, found by the rest of its sentence.
        sharing: "adjacent" (each hop finds by what the last one gave) or "layer" (all hops alike).
        position: the place of a word in its sentence counts.
        time: how many ages a sentence may have, counted from the newest; older ones have the last. 0: when a
            sentence came does not count.
        tokens: "words", "whitespace", "characters" or "sentencepiece".
        min_count: words seen less often in training count as unknown.
        validation: share of the stories kept aside; (stories, questions, answers), or (stories,) that hold
            theirs; or None, which trains for all of `max_epochs` and measures nothing.
        lr: learning rate.
        max_epochs: epochs at most.
        batch_size: stories an update; "all" takes the whole training part.
        patience: evaluations without a new best before training stops; None never stops early.
        training: everything else about how the network learns; `set_params(training__clip_norm=0.5)` works.
        baselines: also measure the most frequent answer, softmax regression on the words, and an LSTM that
            reads the whole story, on the same split; never inside a search.
        random_state: seed; the same seed, data and machine give the same bits.
        device: "cpu", "cuda", "cuda:1" or "auto".
        dtype: "float32" or "float64".
        engine: of the LSTM among the baselines; None lets saiki choose.
        verbose: progress bar; None shows it where stderr is a terminal.

    Attributes:
        classes_: (K,) the answers, sorted.
        reader_: vocabulary and answers.
        network_, record_, metrics_, baselines_, details_, parameter_note_, seed_: see `Estimator`.

    Example:
        >>> from saiki.data.worlds import worlds
        >>> model = Answerer(random_state=0).fit(worlds(1000))
        >>> model.predict([["Anna went to the attic.", "Bela took the ball."]], ["Where is Anna?"])
        ... # doctest: +SKIP
        array(['attic'], dtype='<U7')
    """

    task: ClassVar[str] = "answerer"
    OptionsFile: ClassVar[type[TrainingOptions]] = AnswererOptions
    FittedFile: ClassVar[type] = AnswererFitted

    reader_: Reader
    _answers: AnswererFitted  # between reading config.json and vocabulary.json
    classes_: Array

    def __init__(
        self,
        *,
        size: int = 32,
        hops: int = 3,
        memory: Literal["sentences", "key_value"] = "sentences",
        sharing: Literal["adjacent", "layer"] = "adjacent",
        position: bool = True,
        time: int = 50,
        tokens: str = "words",
        min_count: int = 1,
        validation: float | tuple[object, ...] | None = 0.1,
        lr: float = 1e-2,
        max_epochs: int = 100,
        batch_size: int | str = 32,
        patience: int | None = 20,
        training: Training | None = None,
        baselines: bool = True,
        random_state: RandomState = None,
        device: str = "cpu",
        dtype: str = "float32",
        engine: str | None = None,
        verbose: bool | None = None,
    ) -> None:
        self.size = size
        self.hops = hops
        self.memory = memory
        self.sharing = sharing
        self.position = position
        self.time = time
        self.tokens = tokens
        self.min_count = min_count
        self.validation = validation
        self.lr = lr
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.patience = patience
        self.training = training
        self.baselines = baselines
        self.random_state = random_state
        self.device = device
        self.dtype = dtype
        self.engine = engine
        self.verbose = verbose

    # ---- fit -----------------------------------------------------------------------------------------------

    def fit(
        self,
        stories: object,
        questions: object = None,
        answers: object = None,
        *,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        every_minutes: float | None = None,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """Train on stories with questions and answers.

        Args:
            stories: a list of `Story`, which hold their questions and answers; or of lists of sentences; or
                of texts.
            questions: one text a story.
            answers: one text a story.
            checkpoint: folder for checkpoints, written before the first update and after every epoch.
            resume: go on from the newest good checkpoint in that folder, bit for bit.
            every_minutes: minutes between checkpoints instead of epochs.
            observers: `saiki.learning.Observer`s, told of what happens.
        Returns:
            self.
        Raises:
            DTypeError, LengthError, DataError, LabelError, OptionError, ValueRangeError: what is wrong with
                the stories or the options, before any training starts.
            NonFiniteError: the loss or a gradient became infinite or NaN.
            CheckpointError, DiskError: the checkpoint belongs to another run, or the disk refuses.
        """
        self._begin(checkpoint, resume)
        self._check_options()
        everything = read_stories(stories, questions, answers, wanted=True)
        train, validation = self._split(everything)
        self.reader_ = Reader.fit(train, self.tokens, self.min_count)
        self.classes_ = np.array(self.reader_.answers)
        self.layers_: list[Layer] = []  # its parts follow from the options
        network = self._network(self._fitted(), generator(self.seed_, "weights"), self._torch_dtype())
        network.to(self._device())
        learned = self._source(train)
        held = None if validation is None else self._source(validation)
        self._train(
            network,
            get_loss("cross_entropy"),
            learned,
            held,
            values=int(learned.lengths.sum()),
            sequences=len(train),
            checkpoint=checkpoint,
            resume=resume,
            every_minutes=every_minutes,
            observers=observers,
        )
        self._judge(train, validation)
        return self

    def _check_options(self) -> None:
        for name, low in (("size", 1), ("hops", 1), ("time", 0), ("min_count", 1)):
            require_int(getattr(self, name), name, low)
        choose(self.memory, dict.fromkeys(MEMORIES, 0), "memory")
        choose(self.sharing, dict.fromkeys(SHARINGS, 0), "sharing")
        choose(self.tokens, TOKENIZERS, "tokenizer")
        if self.validation is not None and self._training().refit == "all":
            raise OptionError(
                "training has refit='all', which an answerer does not know.",
                "Leave refit out, or use validation=None, which trains on everything.",
            )

    def _split(self, everything: list[Story]) -> tuple[list[Story], list[Story] | None]:
        validation = self.validation
        if validation is None:
            return everything, None
        if isinstance(validation, tuple):
            if len(validation) not in (1, 3):
                raise OptionError(
                    f"validation is a tuple of {len(validation)} but must be (stories, questions, answers)."
                )
            given = validation if len(validation) == 3 else (validation[0], None, None)
            return everything, read_stories(*given, wanted=True)
        if isinstance(validation, bool) or not isinstance(validation, int | float) or not 0 < validation < 1:
            raise OptionError(
                f"validation is {validation!r} but must be a share between 0 and 1, (stories, questions, "
                "answers) or None."
            )
        if len(everything) < 2:
            raise LengthError(
                f"there is 1 story, too few to keep a share of {validation} for validation.",
                "Give more stories, or validation=None.",
            )
        labels = np.unique([story.answer for story in everything], return_inverse=True)[1]
        first, second = split_sequences(labels, float(validation), seed=self.seed_)
        if not len(second):
            first, second = split_sequences(len(everything), float(validation), seed=self.seed_)
        return [everything[i] for i in first], [everything[i] for i in second]

    def _source(self, stories: Sequence[Story]) -> RaggedSource:
        return RaggedSource(
            [self.reader_.rows(story) for story in stories], torch.from_numpy(self.reader_.classes(stories))
        )

    def _network(self, fitted: AnswererFitted, source: torch.Generator, dtype: torch.dtype) -> MemoryNetwork:
        return MemoryNetwork(
            fitted.vocabulary,
            int(self.size),
            fitted.words,
            hops=int(self.hops),
            sharing=self.sharing,
            position=self.position,
            ages=int(self.time),
            memory=self.memory,
            generator=source,
            dtype=dtype,
        )

    # ---- figures -------------------------------------------------------------------------------------------

    def _judge(self, train: list[Story], validation: list[Story] | None) -> None:
        self.metrics_, self.baselines_ = {}, []
        parts = {"training": train, "validation": validation}
        self.details_ = {
            "splits": [
                {"name": name, "stories": len(part)} for name, part in parts.items() if part is not None
            ]
        }
        if validation is None:
            return
        scores, looked = self._run(validation)
        self.metrics_ = self._figures(validation, scores)
        from saiki.models.answerer_report import details_of

        self.details_.update(details_of(self.reader_, validation, scores, looked))
        if self.baselines and not inside_search():
            from saiki.models.baselines_answers import answer_baselines

            self.baselines_ = answer_baselines(self, train, validation)

    def _figures(self, stories: Sequence[Story], scores: Array) -> dict[str, float]:
        truth = self.reader_.classes(stories)
        return {
            "accuracy": float(metrics.accuracy(truth, scores.argmax(axis=1))),
            "log_loss": float(metrics.log_loss(truth, softmax(scores))),
        }

    def _figures_shown(self) -> list[tuple[str, Metric]]:
        from saiki.insight import Metric

        return [
            ("accuracy", Metric(name="accuracy", lower_is_better=False, percent=True)),
            ("log_loss", Metric(name="log loss", unit="nats")),
        ]

    def report(self) -> str | None:
        """The report as one self-contained HTML page."""
        from saiki.models.answerer_report import report_of

        self._require_fitted()
        return report_of(self)

    # ---- answer --------------------------------------------------------------------------------------------

    def _run(self, stories: Sequence[Story]) -> tuple[Array, list[Array]]:
        """(n, K) scores, and for each story what each hop looked at, (hops, S)."""
        network = self.network_
        assert isinstance(network, MemoryNetwork)
        device = next(network.parameters()).device
        scores: list[Tensor] = []
        looked: list[Array] = []
        with torch.inference_mode():
            for start in range(0, len(stories), PREDICT_BATCH):
                chunk = stories[start : start + PREDICT_BATCH]
                batch = Ragged.from_list([self.reader_.rows(story) for story in chunk]).to(device)
                scores.append(network(batch).cpu())
                looked += [weights.cpu().numpy() for weights in network.attention(batch)]
        return torch.cat(scores).numpy(), looked

    def predict_proba(self, stories: object, questions: object = None) -> Array:
        """(n, K) probability of each answer, columns in the order of `classes_`.

        Args:
            stories: in any form fit takes; answers in them are not looked at.
            questions: one a story, unless the stories hold theirs.
        """
        self._require_fitted()
        return softmax(self._run(read_stories(stories, questions, None, wanted=False))[0])

    def predict(self, stories: object, questions: object = None) -> Array:
        """(n,) the most probable answers; see `predict_proba`."""
        best = self.predict_proba(stories, questions).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def attention(self, stories: object, questions: object = None) -> list[Array]:
        """What each hop looked at: for each story (hops, S), each hop summing to 1.

        Sentences stand as they came; one without a word is in no memory and has no column.
        """
        self._require_fitted()
        return self._run(read_stories(stories, questions, None, wanted=False))[1]

    def evaluate(self, stories: object, questions: object = None, answers: object = None) -> dict[str, float]:
        """The figures on stories with known answers, the same as `metrics_` holds for the validation part."""
        self._require_fitted()
        found = read_stories(stories, questions, answers, wanted=True)
        return self._figures(found, self._run(found)[0])

    def score(self, stories: object, questions: object = None, answers: object = None) -> float:
        """Share of right answers."""
        return self.evaluate(stories, questions, answers)["accuracy"]

    # ---- files ---------------------------------------------------------------------------------------------

    def _option(self, name: str, value: Any) -> Any:  # noqa: ANN401  JSON out
        if name == "validation" and isinstance(value, tuple):
            return "given"  # the data itself is no part of a model
        return super()._option(name, value)

    @classmethod
    def _arguments(cls, options: dict[str, Any]) -> dict[str, Any]:
        if options["validation"] == "given":
            options = {**options, "validation": None}
        return super()._arguments(options)

    def _fitted(self) -> AnswererFitted:
        reader = self.reader_
        return AnswererFitted(
            answers=list(reader.answers), words=reader.answer_ids(), vocabulary=len(reader.codec)
        )

    def _tensors(self) -> dict[str, Array]:
        return {}

    def _documents(self) -> dict[str, bytes]:
        return self.reader_.codec.documents()

    def _assemble(
        self,
        layers: Sequence[Layer],
        input_size: int,
        output_size: int,
        fitted: AnswererFitted,
        *,
        source: torch.Generator,
        dtype: torch.dtype,
    ) -> MemoryNetwork:
        del layers, input_size, output_size
        return self._network(fitted, source, dtype)

    def _restore(self, fitted: AnswererFitted, tensors: Mapping[str, Array]) -> None:
        if tensors:
            raise SchemaError(f"an answerer has no tensor {min(tensors)}.")
        if len(fitted.answers) < 2 or len(set(fitted.answers)) < len(fitted.answers):
            raise SchemaError("answers must hold at least two texts, each once.")
        if len(fitted.words) != len(fitted.answers):
            raise SchemaError(f"there are {len(fitted.words)} words for {len(fitted.answers)} answers.")
        self._answers = fitted
        self.classes_ = np.array(fitted.answers)

    def _restore_documents(self, documents: Mapping[str, bytes]) -> None:
        codec, fitted = TextCodec.of_documents(documents), self._answers
        if len(codec) != fitted.vocabulary:
            raise SchemaError(
                f"vocabulary.json has {len(codec)} tokens but the network was built for {fitted.vocabulary}."
            )
        self.reader_ = Reader(codec, tuple(fitted.answers))
        try:
            known = self.reader_.answer_ids()
        except LabelError as error:
            raise SchemaError(f"vocabulary.json lacks an answer: {error.message}") from error
        if known != list(fitted.words):
            raise SchemaError("the words of the answers are others in vocabulary.json.")


def softmax(scores: Array) -> Array:
    """exp(a_k) / Σ_j exp(a_j) over the last axis, in float64."""
    a = scores.astype(np.float64)
    e = np.exp(a - a.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))
