"""SequenceTagger: a tag for every word of a sentence, and a label for the sentence where there is one.

    words and characters → recurrent layers in both directions → scores of tags → softmax a step, or a CRF
    loss = -(ln p(tags | words) + ln p(label | words)) / words          nats a word

The network is in `tagger_network.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, cast, final

import numpy as np
import torch
from annotated_types import Ge, Le

from saiki.core.checks import require_bool, require_int, require_number
from saiki.core.errors import LengthError, OptionError, SchemaError, ShapeError, ValueRangeError
from saiki.core.names import choose
from saiki.core.ragged import Ragged
from saiki.core.random import generator
from saiki.data.splits import split_sequences
from saiki.data.vocabulary import Vocabulary
from saiki.decoding import viterbi
from saiki.learning import Observer, Training
from saiki.losses import crf_marginals
from saiki.models.base import Estimator, inside_search
from saiki.models.inside import kept
from saiki.models.options import Array, Layer, RandomState, TrainingOptions
from saiki.models.sequence import BestWeights
from saiki.models.sequence_targets import read_weights
from saiki.models.tagger_codes import VOCABULARY, Codes
from saiki.models.tagger_input import (
    Part,
    SentenceSource,
    read_labels,
    read_sentences,
    read_tags,
)
from saiki.models.tagger_network import Answer, CharacterNetwork, TaggerNetwork, TaggerShape, TagLoss, answer
from saiki.models.tagger_scores import baselines, details, figures, spans_in
from saiki.nn import DropoutConfig

PREDICT_BATCH = 128  # sentences run at once when predicting; changes speed only
MOST_CHAINED = 256  # tags of a chain: a quarter of a megabyte a word, a gigabyte for a batch of evaluation
MOST = 10_000_000  # entries of a vocabulary, and units of a vector, from a file


@dataclass(frozen=True, kw_only=True)
class TaggerOptions(TrainingOptions):
    """The tagger's options, as config.json keeps them."""

    network: list[dict[str, Any]] | None
    cell: str
    hidden_size: int | str
    num_layers: int
    bidirectional: bool
    dropout: float
    word_size: int
    lower: bool
    min_count: int
    unknown: float
    characters: str | None
    character_size: int
    crf: bool
    validation: float | str | None


Count = Annotated[int, Ge(0), Le(MOST)]


@dataclass(frozen=True, kw_only=True)
class TaggerFitted:
    """What the tagger learned beside tensors and vocabularies, as config.json keeps it."""

    words: Count
    word_size: Count
    characters: Count
    character_network: CharacterNetwork
    character_size: Count
    tags: Count
    labels: Count
    chain: bool


@final
class SequenceTagger(Estimator):
    """Tag every word of sentences; label whole sentences as well where `labels` are given.

    Tags are text of any kind: parts of speech, or spans marked in IOB and its kin, for which precision,
    recall and F1 of spans are measured as conlleval does.

    Args:
        network: layer configs or mappings between the words' vectors and the scores, one row a step out; None
            builds dropout and `num_layers` of `cell`.
        cell: "elman", "jordan", "lstm", "elementwise_lstm" or "gru".
        hidden_size: units a layer (and direction), or "auto" (ten training values a parameter).
        num_layers: recurrent layers.
        bidirectional: both directions of time.
        dropout: share of the numbers dropped before and after each recurrent layer, in [0, 1).
        word_size: width of a word's vector.
        lower: look words up in lower case; characters keep theirs.
        min_count: words seen less often have no vector of their own, only their characters.
        unknown: α ≥ 0: a word seen n times is read as unknown with probability α / (n + α) in training.
        characters: what reads the characters of a word: "lstm" (both directions), "convolution", or None.
        character_size: width of what it says, even for "lstm".
        crf: tags are a linear chain, decoded by Viterbi; False scores each step by itself.
        validation: share of the sentences kept aside; (X, y) or (X, y, labels); or None, which trains for all
            of `max_epochs` and measures nothing.
        lr: learning rate.
        max_epochs: epochs at most.
        batch_size: sentences an update; "all" takes the whole training part.
        patience: evaluations without a new best before training stops; None never stops early.
        training: everything else about how the network learns; `set_params(training__clip_norm=0.5)` works.
        baselines: also measure the most frequent tag of each word, and logistic regression on the words for
            labels, on the same split; never inside a search or cross-validation.
        random_state: seed; the same seed, data and machine give the same bits.
        device: "cpu", "cuda", "cuda:1" or "auto".
        dtype: "float32" or "float64".
        engine: name of the recurrent engine; None lets saiki choose.
        verbose: progress bar; None shows it where stderr is a terminal.

    Attributes:
        tags_: (K,) tags, the most frequent first.
        labels_: (C,) labels of whole sentences, the most frequent first; None where fit was given none.
        codes_: the vocabularies.
        network_, record_, metrics_, baselines_, details_, parameter_note_, seed_: see `Estimator`.

    Example:
        >>> model = SequenceTagger(hidden_size=8, max_epochs=5, validation=None, patience=None)
        >>> model.fit(["she sleeps", "he sings"] * 8, ["PRON VERB", "PRON VERB"] * 8)  # doctest: +SKIP
        >>> model.predict(["she sings"])  # doctest: +SKIP
        [['PRON', 'VERB']]
    """

    task: ClassVar[str] = "tagger"
    OptionsFile: ClassVar[type[TrainingOptions]] = TaggerOptions
    FittedFile: ClassVar[type] = TaggerFitted

    network_: TaggerNetwork
    codes_: Codes
    shape_: TaggerShape
    tags_: tuple[str, ...]
    labels_: tuple[str, ...] | None

    def __init__(
        self,
        *,
        network: Sequence[Layer | Mapping[str, Any]] | None = None,
        cell: str = "lstm",
        hidden_size: int | str = 100,
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.3,
        word_size: int = 100,
        lower: bool = True,
        min_count: int = 1,
        unknown: float = 0.25,
        characters: CharacterNetwork | None = "lstm",
        character_size: int = 64,
        crf: bool = True,
        validation: float | tuple[object, ...] | None = 0.1,
        lr: float = 3e-3,
        max_epochs: int = 30,
        batch_size: int | str = 32,
        patience: int | None = 5,
        training: Training | None = None,
        baselines: bool = True,
        random_state: RandomState = None,
        device: str = "cpu",
        dtype: str = "float32",
        engine: str | None = None,
        verbose: bool | None = None,
    ) -> None:
        self.network = network
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.word_size = word_size
        self.lower = lower
        self.min_count = min_count
        self.unknown = unknown
        self.characters = characters
        self.character_size = character_size
        self.crf = crf
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
        X: object,
        y: object = None,
        labels: object = None,
        *,
        sample_weight: object = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        every_minutes: float | None = None,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """Train on sentences.

        Args:
            X: n sentences, each a list of words or a text that is split at blanks.
            y: n lists of tags, one a word.
            labels: n labels of whole sentences, learned jointly; None where there are none.
            sample_weight: (n,) weights of the sentences.
            checkpoint: folder for checkpoints, written before the first update and after every epoch.
            resume: go on from the newest good checkpoint in that folder, bit for bit.
            every_minutes: minutes between checkpoints instead of epochs.
            observers: `saiki.learning.Observer`s, told of what happens.

        Returns:
            self.

        Raises:
            LabelError, LengthError, ShapeError, DTypeError, OptionError, ValueRangeError: what is wrong with
                the data or the options, before any training starts.
            NonFiniteError: the loss or a gradient became infinite or NaN.
            CheckpointError, DiskError: the checkpoint belongs to another run, or the disk refuses.
        """
        self._begin(checkpoint, resume)
        self._check()
        words = read_sentences(X)
        everything = Part(
            words=words,
            tags=read_tags(y, words),
            labels=None if labels is None else read_labels(labels, len(words)),
            weights=read_weights(sample_weight, len(words)),
        )
        train, validation = self._split(everything)
        self._learn_codes(train, everything)
        source = self._source(train)
        held = None if validation is None else self._source(validation)
        layers = self._layers(
            values=train.steps * self.shape_.input_size,
            input_size=self.shape_.input_size,
            output_size=self.shape_.tags,
            after=[],
        )
        if self.network is None and self.dropout > 0:
            layers = [DropoutConfig(p=float(self.dropout)), *layers]
        self.layers_ = layers
        network = TaggerNetwork(
            self.shape_,
            layers,
            generator=generator(self.seed_, "weights"),
            dtype=self._torch_dtype(),
            device=self._device(),
        )
        self._check_network(network)
        network.set_unknown(self._counts(train), float(self.unknown))
        refits = validation is not None and self.training is not None and self.training.refit == "all"
        honest = BestWeights(cast("Any", network), checkpoint if resume else None) if refits else None
        self._train(
            network,
            TagLoss(self.shape_),
            source,
            held,
            everything=self._source(train.followed_by(validation)) if refits and validation else None,
            values=train.steps,
            sequences=len(train),
            checkpoint=checkpoint,
            resume=resume,
            every_minutes=every_minutes,
            observers=observers if honest is None else [honest, *observers],
        )
        self._keep(source if held is None else held, "training" if held is None else "validation")
        self._judge(train, validation, honest)
        return self

    def _check(self) -> None:
        """Check the options that are the tagger's own."""
        for name in ("word_size", "character_size", "min_count"):
            require_int(getattr(self, name), name, 1, MOST)
        for name in ("lower", "crf", "bidirectional"):
            require_bool(getattr(self, name), name)
        require_number(self.unknown, "unknown", low=0)
        if self.characters is not None:
            choose(self.characters, {"lstm": 0, "convolution": 0}, "characters")
            if self.characters == "lstm" and self.character_size % 2:
                raise OptionError(
                    f"character_size is {self.character_size} but must be even for characters='lstm', whose "
                    "two directions have half each."
                )

    def _split(self, everything: Part) -> tuple[Part, Part | None]:
        """Training and validation part, apart by whole sentences."""
        validation = self.validation
        if validation is None:
            return everything, None
        if isinstance(validation, tuple):
            if len(validation) not in (2, 3):
                raise OptionError(
                    f"validation is a tuple of {len(validation)} but must be (X, y) or (X, y, labels)."
                )
            words = read_sentences(validation[0], "validation X")
            tags = read_tags(validation[1], words, "validation y")
            given = validation[2] if len(validation) == 3 else None
            if (given is None) != (everything.labels is None):
                raise OptionError(
                    "labels were given for training but not for validation, or the other way round.",
                    "Write validation=(X, y, labels), or leave labels out of both.",
                )
            named = None if given is None else read_labels(given, len(words), "validation labels")
            return everything, Part(words, tags, named)
        if isinstance(validation, bool) or not isinstance(validation, int | float) or not 0 < validation < 1:
            raise OptionError(
                f"validation is {validation!r} but must be a share between 0 and 1, (X, y) or None."
            )
        if len(everything) < 2:
            raise LengthError(
                f"X has n_samples=1 sentence, too few to keep a share of {validation} for validation.",
                "Give more sentences, validation=(X, y), or validation=None.",
            )
        strata = len(everything) if everything.labels is None else everything.labels
        parts = [
            everything.select(chosen)
            for chosen in split_sequences(strata, float(validation), seed=self.seed_)
        ]
        for part in parts:
            if part.weights is not None and not part.weights.any():
                raise LengthError(
                    "all sentences of the training or of the validation part have sample_weight zero.",
                    "Use validation=None or validation=(X, y).",
                )
        return parts[0], parts[1]

    def _learn_codes(self, train: Part, everything: Part) -> None:
        """Vocabularies of the training part; of tags and labels, all that X came with."""
        codes = Codes.of(
            train.words,
            everything.tags,
            everything.labels,
            lower=bool(self.lower),
            min_count=int(self.min_count),
            spelled=self.characters is not None,
        )
        if self.crf and len(codes.tags) > MOST_CHAINED:
            raise OptionError(
                f"y has {len(codes.tags)} different tags, and a chain over K tags keeps K² numbers a word: "
                f"crf=True takes at most {MOST_CHAINED}.",
                "Use crf=False, which scores each word by itself.",
            )
        self._set_codes(codes)
        self.shape_ = TaggerShape(
            words=len(codes.words),
            word_size=int(self.word_size),
            characters=0 if codes.characters is None else len(codes.characters),
            character_network=self.characters or "lstm",
            character_size=int(self.character_size),
            tags=len(codes.tags),
            labels=0 if codes.labels is None else len(codes.labels),
            chain=bool(self.crf),
        )

    def _set_codes(self, codes: Codes) -> None:
        self.codes_ = codes
        self.tags_ = codes.tags.tokens
        self.labels_ = None if codes.labels is None else codes.labels.tokens
        self.n_features_in_ = 1

    def _counts(self, train: Part) -> list[int]:
        """How often each word of the vocabulary stands in the training part, in the order of ids."""
        seen = Counter(self.codes_.key(word) for sentence in train.words for word in sentence)
        return [seen[word] for word in self.codes_.words.tokens]

    def _check_network(self, network: TaggerNetwork) -> None:
        if network.stack.pooled:
            raise ShapeError(
                "network pools over time, but there is one tag a step.", "Leave the pooling layer out."
            )

    def _source(self, part: Part) -> SentenceSource:
        return SentenceSource(part.words, self.codes_, part.tags, part.labels, part.weights)

    def _keep(self, source: SentenceSource, what: str) -> None:
        """Some sentences as the recurrent layers are given them, for the report's look inside."""
        chosen = torch.from_numpy(np.linspace(0, len(source) - 1, 8).round().astype(np.int64)).unique()
        batch = source.batch(chosen).to(self._device())
        with torch.no_grad():
            self._kept = kept(self.network_.embedded(batch.inputs), f"{what} ")

    def _judge(self, train: Part, validation: Part | None, honest: BestWeights | None) -> None:
        """Our figures, and the simple methods', on the validation part."""
        self.metrics_, self.baselines_ = {}, []
        parts = {"training": train, "validation": validation}
        self.details_ = {
            "splits": [
                {"name": name, "sentences": len(part), "words": part.steps}
                for name, part in parts.items()
                if part is not None
            ]
        }
        final_weights = None
        if honest is not None:
            note = "The figures are those of the network before it was trained again on all sentences."
            if honest.weights is None:
                validation = None
                note = "Resumed while training again on all sentences, so nothing was left to measure on."
            else:
                final_weights = {n: w.clone() for n, w in self.network_.state_dict().items()}
                self.network_.load_state_dict(honest.weights)
            self.record_ = replace(self.record_, notes=[*self.record_.notes, note])
        if validation is not None:
            tags, labels = self._answers(validation.words)
            spans = spans_in(self.codes_, validation)
            self.metrics_ = figures(validation, tags, labels, self.codes_, spans=spans)
            self.details_.update(details(validation, tags, labels, spans=spans))
            if self.baselines and not inside_search():
                self.baselines_ = baselines(train, validation, self.codes_, spans=spans, seed=self.seed_)
        if final_weights is not None:
            self.network_.load_state_dict(final_weights)

    # ---- answers -------------------------------------------------------------------------------------------

    def _run(self, words: Sequence[Sequence[str]]) -> Iterator[tuple[Array, Answer]]:
        """The network's answers batch by batch: which sentences, and what it said of them."""
        self._require_fitted()
        source = SentenceSource(words, self.codes_)
        device = next(p.device for p in self.network_.parameters())
        order = torch.argsort(source.lengths, stable=True)
        with torch.inference_mode():
            for chosen in order.split(PREDICT_BATCH):
                batch = source.batch(chosen).to(device)
                outputs = self.network_(batch.inputs)
                if not bool(torch.isfinite(outputs.data).all()):
                    raise ValueRangeError("the network's answer is not finite; its weights are no good.")
                yield chosen.numpy(), answer(outputs, self.shape_)

    def _answers(self, words: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[str] | None]:
        """The best tags of each sentence, and its best label."""
        tags: list[list[str]] = [[] for _ in words]
        labels = [""] * len(words) if self.labels_ is not None else None
        for chosen, said in self._run(words):
            best = viterbi(said.tags).labels if self.shape_.chain else said.tags.map(lambda e: e.argmax(1))
            for number, row in zip(chosen, best.to_list()):
                tags[int(number)] = [self.tags_[k] for k in row.tolist()]
            if labels is not None and said.labels is not None and self.labels_ is not None:
                for number, k in zip(chosen, said.labels.argmax(dim=1).tolist()):
                    labels[int(number)] = self.labels_[k]
        return tags, labels

    def predict(self, X: object) -> list[list[str]]:
        """The most probable tags of each sentence: of the whole path with a CRF, step by step without.

        Args:
            X: sentences, each a list of words or a text that is split at blanks.

        Returns:
            n lists of tags, one a word.
        """
        self._require_fitted()
        return self._answers(read_sentences(X))[0]

    def predict_labels(self, X: object) -> list[str]:
        """The most probable label of each sentence as a whole.

        Args:
            X: sentences in the form that `predict` takes.

        Returns:
            n labels.

        Raises:
            OptionError: the tagger was fitted without labels.
        """
        self._require_fitted()
        found = self._answers(read_sentences(X))[1]
        if found is None:
            raise OptionError(
                "this tagger was fitted without labels of whole sentences.", "Use fit(X, y, labels)."
            )
        return found

    def predict_proba(self, X: object) -> list[Array]:
        """The probability of each tag at each word; with a CRF given the whole sentence.

        Args:
            X: sentences in the form that `predict` takes.

        Returns:
            n arrays (T_i, K), columns in the order of `tags_`, rows that sum to 1.
        """
        self._require_fitted()
        words = read_sentences(X)
        found: list[Array] = [np.empty(0)] * len(words)
        for chosen, said in self._run(words):
            scores = said.tags.map(torch.Tensor.double)  # so that rows sum to 1 within rounding
            p: Ragged = crf_marginals(scores) if self.shape_.chain else scores.map(lambda e: e.softmax(1))
            for number, rows in zip(chosen, p.to_list()):
                found[int(number)] = rows.cpu().numpy()
        return found

    def score(self, X: object, y: object, sample_weight: object = None) -> float:
        """Share of the words whose tag is right.

        Args:
            X: sentences in the form that fit takes.
            y: their tags.
            sample_weight: weights of the sentences.
        """
        self._require_fitted()
        words = read_sentences(X)
        truth = read_tags(y, words)
        weights = read_weights(sample_weight, len(words))
        said, _ = self._answers(words)
        right = [a == b for wanted, found in zip(truth, said) for a, b in zip(wanted, found)]
        each = None if weights is None else np.repeat(weights, [len(sentence) for sentence in words])
        return float(np.average(right, weights=each))

    def evaluate(self, X: object, y: object = None, labels: object = None) -> dict[str, float]:
        """The figures on sentences with known answers; a tag never seen in training counts as a mistake.

        Args:
            X: sentences in the form that fit takes.
            y: their tags.
            labels: their labels, where fit was given some.

        Returns:
            Figure by name, the same as `metrics_` holds for the validation part.
        """
        self._require_fitted()
        words = read_sentences(X)
        named = None if labels is None else read_labels(labels, len(words))
        truth = Part(words, read_tags(y, words), named)
        said, found = self._answers(words)
        return figures(truth, said, found, self.codes_, spans=spans_in(self.codes_, truth))

    # ---- report --------------------------------------------------------------------------------------------

    def report(self) -> str | None:
        """The report as one self-contained HTML page."""
        from saiki.models.tagger_report import page_of

        self._require_fitted()
        return page_of(self)

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

    def _fitted(self) -> TaggerFitted:
        shape = self.shape_
        return TaggerFitted(**{name: getattr(shape, name) for name in TaggerShape.__dataclass_fields__})

    def _tensors(self) -> dict[str, Array]:
        return {}

    def _documents(self) -> dict[str, bytes]:
        return self.codes_.documents()

    def _restore_documents(self, documents: Mapping[str, bytes]) -> None:
        codes = Codes.of_documents(documents, bool(self.lower))
        for name in ("words", "characters", "tags", "labels"):
            vocabulary: Vocabulary | None = getattr(codes, name)
            size, wanted = 0 if vocabulary is None else len(vocabulary), getattr(self.shape_, name)
            if size != wanted:
                raise SchemaError(f"{VOCABULARY} has {size} {name}, but the network was made for {wanted}.")
        self._set_codes(codes)

    def _assemble(
        self,
        layers: Sequence[Layer],
        input_size: int,
        output_size: int,
        fitted: TaggerFitted,
        *,
        source: torch.Generator,
        dtype: torch.dtype,
    ) -> torch.nn.Module:
        shape = TaggerShape(**{name: getattr(fitted, name) for name in TaggerShape.__dataclass_fields__})
        if (shape.input_size, shape.tags + shape.labels) != (input_size, output_size):
            raise SchemaError(
                f"the network is of {input_size} features and {output_size} outputs, but what was fitted has "
                f"{shape.input_size} and {shape.tags + shape.labels}."
            )
        return TaggerNetwork(shape, layers, generator=source, dtype=dtype)

    def _restore(self, fitted: TaggerFitted, tensors: Mapping[str, Array]) -> None:
        self.shape_ = TaggerShape(
            **{name: getattr(fitted, name) for name in TaggerShape.__dataclass_fields__}
        )
