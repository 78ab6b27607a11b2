"""LanguageModel: which character or word comes next, and text written by it.

    p(x_1 … x_n) = Π_t p(x_t | x_1 … x_{t-1})           h_t reads the past, softmax says p
    loss         = -(1/n) Σ_t ln p(x_t | …)             nats a token;  perplexity = e^loss
    bits a character = Σ_t -log₂ p(x_t | …) / characters

The text is cut into parallel streams that are read window by window, the state carried along.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np
import torch

from saiki.core.checks import require_int, require_number
from saiki.core.errors import DTypeError, LengthError, OptionError, SchemaError
from saiki.core.log import logger
from saiki.core.random import generator
from saiki.data.tokens import TextCodec, Tokenizer
from saiki.learning import BPTT, Observer, RaggedSource, Training, TruncatedBPTT, get_rule
from saiki.learning.options import mapping_of, named
from saiki.models.base import inside_search
from saiki.models.language_model_network import (
    SOFTMAXES,
    SoftmaxOption,
    VocabularyLoss,
    build,
    head_of,
    layers_of,
    start_from_shares,
)
from saiki.models.language_model_sampling import (
    SHOWN,
    TEMPERATURES,
    entropy,
    tempered,
)
from saiki.models.language_model_speaking import LanguageSpeaker, figures
from saiki.models.language_model_text import (
    FORMS,
    SPECIALS,
    Corpus,
    encode,
    learn_codec,
    part,
    read_documents,
    start_token,
    stream_count,
    streams,
    validation_count,
)
from saiki.models.language_model_watch import Divergence
from saiki.models.options import Array, Layer, RandomState, TrainingOptions, as_layer
from saiki.models.translator_options import Tokens, tokenizer_mapping, tokenizer_of
from saiki.nn import Stack

SAMPLE = 240  # tokens of each sample in a report
CONTEXTS = 512  # places of the text at which a report measures the entropy, at most
SCORES = 1 << 23  # numbers that it looks at for that: 64 MB


@dataclass(frozen=True, kw_only=True)
class LanguageModelOptions(TrainingOptions):
    """The language model's options, as config.json keeps them."""

    tokenizer: str | dict[str, Any]
    vocabulary_size: int | None
    min_count: int | str
    network: list[dict[str, Any]] | None
    cell: str
    hidden_size: int
    num_layers: int
    embedding_size: int | None
    dropout: float
    tied: bool | None
    softmax: str | dict[str, Any]
    initial: float | None
    window: int
    validation: float | str | None


@dataclass(frozen=True, kw_only=True)
class LanguageModelFitted:
    """What the language model learned beside tensors, as config.json keeps it."""

    form: str
    vocabulary: int
    streams: int
    characters: int


@final
class LanguageModel(LanguageSpeaker):
    """Learn which token comes next in a text, and write on.

    Args:
        tokenizer: "characters", "words", "whitespace" (for text that is split already), "sentencepiece", a
            mapping with a "type" and options, or a `saiki.data.tokens.Tokenizer`. One text of words is read
            line by line, with </s> at each line's end.
        vocabulary_size: tokens at most, <unk> and </s> counted; None: all.
        min_count: tokens seen less often in training become <unk>; "auto": 2 for words, else 1.
        network: layer configs between embedding and softmax; None builds `num_layers` of `cell`, with locked
            dropout on their inputs and outputs.
        cell: "elman", "jordan", "lstm", "elementwise_lstm" or "gru".
        hidden_size: units a layer.
        num_layers: recurrent layers.
        embedding_size: width of a token's vector; None: hidden_size.
        dropout: share of features dropped, one mask a stream and window, in [0, 1).
        tied: the tokens' vectors are the softmax's weights as well; None: where the sizes agree.
        softmax: "full"; for large vocabularies "adaptive" ({"type": "adaptive", "cutoffs": [2000, 10000]}) or
            "sampled" ({"type": "sampled", "samples": 1024}), which learns from drawn tokens.
        initial: every weight starts uniform in ±initial; None: as each layer does, and the softmax's b at the
            logarithm of each token's share.
        window: tokens that a gradient reaches back, and tokens a stream an update.
        validation: share of the text kept aside, its end; a text; or None, which trains for all of
            `max_epochs` and measures nothing.
        lr: learning rate.
        max_epochs: epochs at most.
        batch_size: streams the text is cut into; fewer where it is short, so that each has 16 windows.
        patience: evaluations without a new best before training stops; None never stops early.
        training: everything else about how the network learns; a rule that carries the state goes here, else
            it is `TruncatedBPTT(window)`.
        baselines: also measure unigrams and Kneser-Ney n-grams of the same text; never inside a search.
        random_state: seed; the same seed, data and machine give the same bits.
        device: "cpu", "cuda", "cuda:1" or "auto".
        dtype: "float32" or "float64".
        engine: name of the recurrent engine; None lets saiki choose.
        verbose: progress bar; None shows it where stderr is a terminal.

    Attributes:
        vocabulary_: `saiki.data.Vocabulary`, learned on the training part.
        codec_: `TextCodec`, text to numbers and back.
        form_: "text", "lines" or "documents": where </s> stands.
        metrics_: loss (nats a token), perplexity, bits_per_character on the validation part.
        network_, record_, baselines_, parameter_note_, seed_: see `Estimator`.

    Example:
        >>> model = LanguageModel(hidden_size=128, max_epochs=10, random_state=0)
        >>> model.fit(text).generate("The ", temperature=0.7, random_state=0)  # doctest: +SKIP
    """

    task: ClassVar[str] = "language_model"
    OptionsFile: ClassVar[type[TrainingOptions]] = LanguageModelOptions
    FittedFile: ClassVar[type] = LanguageModelFitted

    streams_: int
    characters_: int

    def __init__(
        self,
        *,
        tokenizer: Tokens = "characters",
        vocabulary_size: int | None = None,
        min_count: int | str = "auto",
        network: Sequence[Layer | Mapping[str, Any]] | None = None,
        cell: str = "lstm",
        hidden_size: int = 256,
        num_layers: int = 2,
        embedding_size: int | None = None,
        dropout: float = 0.2,
        tied: bool | None = None,
        softmax: str | Mapping[str, Any] = "full",
        initial: float | None = None,
        window: int = 64,
        validation: float | str | Sequence[str] | None = 0.1,
        lr: float = 3e-3,
        max_epochs: int = 50,
        batch_size: int = 32,
        patience: int | None = 3,
        training: Training | None = None,
        baselines: bool = True,
        random_state: RandomState = None,
        device: str = "cpu",
        dtype: str = "float32",
        engine: str | None = None,
        verbose: bool | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.vocabulary_size = vocabulary_size
        self.min_count = min_count
        self.network = network
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.embedding_size = embedding_size
        self.dropout = dropout
        self.tied = tied
        self.softmax = softmax
        self.initial = initial
        self.window = window
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
        X: str | Sequence[str],
        y: object = None,
        *,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        every_minutes: float | None = None,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """Learn from a text.

        Args:
            X: a text, or a list of texts, each a document by itself.
            y: ignored: a text is its own answer.
            checkpoint: folder for checkpoints, written before the first update and after every epoch.
            resume: go on from the newest good checkpoint in that folder, bit for bit.
            every_minutes: minutes between checkpoints instead of epochs.
            observers: `saiki.learning.Observer`s, told of what happens.

        Returns:
            self.

        Raises:
            DTypeError, DataError, LengthError, OptionError: what is wrong with the text or the options,
                before any training starts.
            NonFiniteError: the loss or a gradient became infinite or NaN.
            CheckpointError, DiskError: the checkpoint belongs to another run, or the disk refuses.
        """
        self._begin(checkpoint, resume)
        softmax = self._check_options()
        tokenizer = tokenizer_of(self.tokenizer, "tokenizer")
        self.form_, documents = read_documents(X, tokenizer)
        first, last = self._parts(documents, tokenizer)
        self.codec_ = learn_codec(first, tokenizer, self.vocabulary_size, self.min_count)
        train = encode(first, self.codec_, self.form_)
        valid = None if last is None else encode(last, self.codec_, self.form_)
        if len(train) < 2 or (valid is not None and len(valid) == 0):
            raise LengthError(
                f"the text has {len(train)} tokens to learn from and "
                f"{0 if valid is None else len(valid)} to validate on, too few for a language model.",
                "Give more text.",
            )
        self.streams_ = stream_count(len(train), int(self.batch_size), self.window)
        self.characters_ = train.characters
        self.n_features_in_ = 1
        network = self._network(softmax)
        if self.initial is None:
            start_from_shares(network, train.ids)
        diverged = Divergence(len(self.codec_), float(self.lr))
        self._train(
            network,
            VocabularyLoss(head_of(network)),
            self._source(train, self.streams_),
            None if valid is None else self._source(valid, validation_count(len(valid))),
            values=len(train),
            sequences=self.streams_,
            checkpoint=checkpoint,
            resume=resume,
            every_minutes=every_minutes,
            observers=[diverged, *observers],
        )
        if diverged.said:
            self.record_ = replace(self.record_, notes=[*self.record_.notes, diverged.said])
        self._judge(train, valid)
        return self

    def _check_options(self) -> SoftmaxOption:
        require_int(self.hidden_size, "hidden_size", low=1)
        require_int(self.batch_size, "batch_size", low=1)
        if self.embedding_size is not None:
            require_int(self.embedding_size, "embedding_size", low=1)
        if self.vocabulary_size is not None:
            require_int(self.vocabulary_size, "vocabulary_size", low=len(SPECIALS) + 1)
        if not isinstance(self.min_count, str):
            require_int(self.min_count, "min_count", low=1)
        if self.initial is not None:
            require_number(self.initial, "initial", above=0)
        if self.tied is not None and not isinstance(self.tied, bool):
            raise OptionError(f"tied is {self.tied!r} but must be True, False or None.")
        if self.training is not None and self.training.refit is not None:
            raise OptionError(
                "refit='all' would train a second network, on the validation part too, and the figures of a "
                "language model would be those of the first.",
                "Leave it out, or give validation=None to learn from the whole text.",
            )
        return self._softmax()

    def _softmax(self) -> SoftmaxOption:
        return named(self.softmax, SOFTMAXES, SoftmaxOption, "softmax")

    def _training(self) -> Training:
        """The training options with the rule that carries the state, the streams in their order."""
        training = super()._training()
        rule = get_rule(training.rule)
        if isinstance(rule, BPTT):
            rule = TruncatedBPTT(require_int(self.window, "window", low=1))
        return replace(training, rule=rule, shuffle=False, bucket=False)

    def _tied(self) -> bool | None:
        """`tied`, as far as the learning rule can learn weights that stand in two places."""
        rule = get_rule(self._training().rule)
        if isinstance(rule, TruncatedBPTT):
            return self.tied
        if self.tied:
            raise OptionError(
                f"{type(rule).__name__} finds the gradient layer by layer, and tied weights are in two.",
                "Use tied=False, or leave the rule out.",
            )
        return False

    def _parts(self, documents: list[str], tokenizer: Tokenizer) -> tuple[list[str], list[str] | None]:
        """The documents to learn from and those to validate on."""
        validation = self.validation
        if validation is None:
            return documents, None
        if isinstance(validation, bool) or not isinstance(validation, int | float):
            form, last = read_documents(validation, tokenizer, "validation")
            if form != self.form_:
                raise DTypeError(
                    "validation is a list of texts but X is one text, or the other way round.",
                    "Give both in the same form.",
                )
            return documents, last
        if not 0 < validation < 1:
            raise OptionError(
                f"validation is {validation!r} but must be a share between 0 and 1, a text or None."
            )
        return part(documents, float(validation))

    def _network(self, softmax: SoftmaxOption) -> Stack:
        given = None
        if self.network is not None:
            if isinstance(self.network, str | Mapping) or not isinstance(self.network, Sequence):
                raise DTypeError(
                    f"network is {type(self.network).__name__} but must be a list of layer configs, for "
                    "instance [LSTMConfig(hidden_size=64)]"
                )
            given = [as_layer(entry, line) for line, entry in enumerate(self.network, start=1)]
            if not given:
                raise OptionError("network is an empty list; give at least one layer, or network=None")
        self.layers_ = layers_of(
            len(self.codec_),
            cell=self.cell,
            hidden_size=int(self.hidden_size),
            num_layers=self.num_layers,
            embedding_size=self.embedding_size,
            dropout=float(self.dropout),
            engine=self.engine,
            network=given,
        )
        return build(
            self.layers_,
            len(self.codec_),
            tied=self._tied(),
            softmax=softmax,
            initial=self.initial,
            generator=generator(self.seed_, "weights"),
            dtype=self._torch_dtype(),
            device=self._device(),
        )

    def _source(self, corpus: Corpus, count: int) -> RaggedSource:
        return RaggedSource(*streams(corpus.ids, start_token(self.codec_, self.form_), count))

    # ---- measured ------------------------------------------------------------------------------------------

    def _judge(self, train: Corpus, valid: Corpus | None) -> None:
        """Our figures and the n-grams' on the validation part, and what the report shows of the model."""
        self.metrics_, self.baselines_ = {}, []
        parts = {"training": train, "validation": valid}
        self.details_ = {
            "parts": [
                {"name": name, "tokens": len(c), "characters": c.characters, "unknown": c.unknown}
                for name, c in parts.items()
                if c is not None
            ]
        }
        if valid is not None:
            best = min(e.validation_loss for e in self.record_.epochs if e.validation_loss is not None)
            self.metrics_ = figures(np.full(len(valid), -best), valid.characters)
            if self.metrics_["loss"] > math.log(len(self.codec_)):
                note = (
                    f"The model is worse than one that says all {len(self.codec_)} tokens equally often "
                    f"(perplexity {self.metrics_['perplexity']:.4g}): it has learned nothing, or diverged. "
                    f"Try a lower rate (lr is {self.lr:g})."
                )
                logger.warning(note)
                self.record_ = replace(self.record_, notes=[*self.record_.notes, note])
            if self.baselines and not inside_search():
                self.baselines_ = self._baselines(train, valid)
        self.details_ |= self._shown(train if valid is None else valid)

    def _baselines(self, train: Corpus, valid: Corpus) -> list[dict[str, Any]]:
        from saiki.models.baselines_language import ORDER, ORDERS, NGramModel

        found = []
        longest = ORDERS.get(self.codec_.tokenizer.name, ORDER)
        for order, name in ((1, "unigrams"), (longest, f"Kneser-Ney {longest}-grams")):
            counts = NGramModel(train.ids, len(self.codec_), order)
            log_p = counts.log_probabilities(valid.ids, past=train.ids[-longest:])
            found.append({"name": name, **figures(log_p, valid.characters)})
        return found

    def _shown(self, corpus: Corpus) -> dict[str, Any]:
        """Samples and entropies at several temperatures, as JSON."""
        texts = self._write([""] * len(SHOWN), SAMPLE, SHOWN, None, self.seed_)
        ids = corpus.ids[: 4 * CONTEXTS]
        read = np.concatenate([[start_token(self.codec_, self.form_)], ids[:-1]]).astype(np.int64)
        count = min(len(read), CONTEXTS, max(8, SCORES // len(self.codec_)))
        places = np.unique(np.linspace(0, len(read) - 1, count).round().astype(np.int64))
        log_p = self._next(read, places)
        return {
            "samples": [{"temperature": t, "text": text} for t, text in zip(SHOWN, texts)],
            "entropy": [
                {"temperature": t, "bits": float(entropy(tempered(log_p, t)).mean() / math.log(2))}
                for t in TEMPERATURES
            ],
        }

    # ---- report and files ----------------------------------------------------------------------------------

    def report(self) -> str | None:
        """The report as one self-contained HTML page."""
        from saiki.models.language_model_report import report

        self._require_fitted()
        return report(self)

    def _option(self, name: str, value: Any) -> Any:  # noqa: ANN401  JSON out
        if name == "validation" and value is not None and not isinstance(value, int | float):
            return "given"  # the text itself is no part of a model
        if name == "tokenizer":
            return tokenizer_mapping(value)
        if name == "softmax":
            return (
                mapping_of(value)
                if is_dataclass(value)
                else dict(value)
                if isinstance(value, Mapping)
                else value
            )
        return super()._option(name, value)

    @classmethod
    def _arguments(cls, options: dict[str, Any]) -> dict[str, Any]:
        if options["validation"] == "given":
            options = {**options, "validation": None}
        return super()._arguments(options)

    def _fitted(self) -> LanguageModelFitted:
        return LanguageModelFitted(
            form=self.form_,
            vocabulary=len(self.codec_),
            streams=self.streams_,
            characters=self.characters_,
        )

    def _tensors(self) -> dict[str, Array]:
        return {}

    def _assemble(
        self,
        layers: Sequence[Layer],
        input_size: int,
        output_size: int,
        fitted: LanguageModelFitted,
        *,
        source: torch.Generator,
        dtype: torch.dtype,
    ) -> Stack:
        return build(
            layers,
            fitted.vocabulary,
            tied=self._tied(),
            softmax=self._softmax(),
            initial=self.initial,
            generator=source,
            dtype=dtype,
        )

    def _restore(self, fitted: LanguageModelFitted, tensors: Mapping[str, Array]) -> None:
        if fitted.form not in FORMS:
            raise SchemaError(f"form is {fitted.form!r} but must be one of {', '.join(FORMS)}.")
        self.form_ = fitted.form  # type: ignore[assignment]
        self.streams_, self.characters_ = fitted.streams, fitted.characters
        self.n_features_in_ = 1
        self._size = fitted.vocabulary

    def _documents(self) -> dict[str, bytes]:
        return self.codec_.documents()

    def _restore_documents(self, documents: Mapping[str, bytes]) -> None:
        self.codec_ = TextCodec.of_documents(documents)
        for special in SPECIALS:
            if special not in self.codec_.vocabulary.specials:
                raise SchemaError(f"vocabulary.json lacks the special token {special}.")
        if len(self.codec_) != self._size:
            raise SchemaError(
                f"vocabulary.json has {len(self.codec_)} tokens but the network was made for {self._size}."
            )
