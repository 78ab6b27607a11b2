"""Translator: a text in, another text out, in characters, words or pieces of words.

    x_1 … x_S → encoder → h_1 … h_S        y_1 … y_T ← decoder with attention on h      `nn.encoder_decoder`
    loss = -ln p(y_t | y_1 … y_{t-1}, x)   cross-entropy, one value a target token, the end </s> among them

Training shows the decoder the true token before (teacher forcing). To translate, a beam keeps the likeliest
beginnings; its score is the mean log-probability a token, in the sense that `normalisation` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, final

import torch

from saiki import metrics
from saiki.core.checks import require_int, require_number
from saiki.core.errors import OptionError, SchemaError
from saiki.core.extras import require
from saiki.core.names import choose
from saiki.core.random import generator
from saiki.data.pairs import require_full
from saiki.data.tokens import TextCodec, Tokenizer
from saiki.data.vocabulary import END, START
from saiki.learning import Observer, Training
from saiki.losses import CrossEntropy
from saiki.metrics.translation import TOKENIZATIONS
from saiki.models.base import Estimator, inside_search
from saiki.models.options import Array, Layer, RandomState, TrainingOptions
from saiki.models.sequence import BestWeights
from saiki.models.translator_data import Pairs, PairSource, fit_codecs, joined, split
from saiki.models.translator_decode import Draw, Search, Translation, decode
from saiki.models.translator_measure import figures_of
from saiki.models.translator_options import (
    Tokens,
    TranslatorFitted,
    TranslatorOptions,
    tokenizer_mapping,
    tokenizer_of,
)
from saiki.nn.encoder_decoder import EncoderDecoder, EncoderDecoderConfig

MEASURED = 1000  # sources of the validation part that are translated for the figures, at most
MAX_BEAM = 1000
SOURCE, TARGET = "source_", "target_"  # before the names of the vocabularies' files


@final
class Translator(Estimator):
    """Learn to turn texts into other texts, from pairs.

    Args:
        cell: "elman", "jordan", "lstm", "elementwise_lstm" or "gru", for encoder and decoder.
        hidden_size: units of each layer of the decoder, and of each direction of the encoder unless
            `encoder_size` says otherwise.
        num_layers: recurrent layers of the encoder, and of the decoder.
        bidirectional: the encoder reads in both directions.
        encoder_size: units of each direction of the encoder; None: `hidden_size`.
        embedding_size: width of the tokens' vectors; None: unit vectors, which have no parameters.
        dropout: share dropped on embeddings, between layers and before the head, in [0, 1).
        context: what the decoder knows of the source: "attention" (it looks back at each step), "initial"
            (one vector, told once) or "every_step" (the same vector at each step).
        attention: how it looks: "general", "dot" or "additive".
        context_from: the source as one vector: "last", "mean" or "both_ends"; None: "both_ends" of a
            bidirectional encoder, else "last".
        input_feeding: show the decoder where it looked last; training then runs step by step.
        feed_previous: show the decoder the token before; False needs context="every_step".
        scheduled_sampling: probability that training shows the network's own last token in place of the true
            one.
        sampling_updates: updates over which that probability rises from 0; 0: it is there from the start.
        smoothing: share of the target's probability that is spread over all tokens, in [0, 1).
        source_tokens: how sources are cut: "characters", "words", "whitespace" (already cut),
            "sentencepiece", a mapping such as {"type": "sentencepiece", "size": 4000, "kind": "bpe"}, or a
            Tokenizer.
        target_tokens: the same for targets.
        source_size: tokens of the source vocabulary at most; None: no limit.
        target_size: the same for targets.
        min_count: tokens seen less often in training are not in the vocabularies.
        beam: beginnings that are followed at once when translating; 1: the likeliest token at each step.
        normalisation: α of a translation's score Σ ln p / T^α: 0 prefers short ones, 1 is the mean a token.
        max_length: tokens a translation has at most; None: half as many again as the longest target learned.
        bleu: how BLEU cuts words: "13a", "blanks", "intl", "char"; "auto": "13a" for words and
            sentencepiece, "blanks" for whitespace, no BLEU for characters; None: no BLEU.
        validation: share of the sources kept aside, all answers of a source together; (X, y); or None, which
            trains for all of `max_epochs` and measures nothing.
        lr: learning rate.
        max_epochs: epochs at most.
        batch_size: pairs an update; "all" takes the whole training part.
        patience: evaluations without a new best before training stops; None never stops early.
        training: everything else about how the network learns; `set_params(training__clip_norm=0.5)` works.
        baselines: also measure simple methods on the same split; never inside a search.
        random_state: seed; the same seed, data and machine give the same bits.
        device: "cpu", "cuda", "cuda:1" or "auto".
        dtype: "float32" or "float64".
        engine: name of the recurrent engine; None lets saiki choose.
        verbose: progress bar; None shows it where stderr is a terminal.

    Attributes:
        source_, target_: `saiki.data.TextCodec`, how text becomes numbers and back.
        network_, record_, metrics_, baselines_, details_, parameter_note_, seed_: see `Estimator`. Figures:
            `exact` (share of translations that equal a right answer), `token_error_rate` (edits a token of
            the nearest right answer), `bleu` (0 to 100).

    Example:
        >>> from saiki.data import load
        >>> sums = load("addition", n=20_000)
        >>> model = Translator(hidden_size=128, max_epochs=30, random_state=0)
        >>> model.fit(sums.X, sums.y).predict(["123+45"])  # doctest: +SKIP
        ['168']
    """

    task: ClassVar[str] = "translator"
    OptionsFile: ClassVar[type[TrainingOptions]] = TranslatorOptions
    FittedFile: ClassVar[type] = TranslatorFitted

    source_: TextCodec
    target_: TextCodec
    longest_: int

    def __init__(
        self,
        *,
        cell: str = "lstm",
        hidden_size: int = 256,
        num_layers: int = 1,
        bidirectional: bool = True,
        encoder_size: int | None = None,
        embedding_size: int | None = 128,
        dropout: float = 0.0,
        context: str = "attention",
        attention: str = "general",
        context_from: str | None = None,
        input_feeding: bool = False,
        feed_previous: bool = True,
        scheduled_sampling: float = 0.0,
        sampling_updates: int = 0,
        smoothing: float = 0.0,
        source_tokens: Tokens = "characters",
        target_tokens: Tokens = "characters",
        source_size: int | None = None,
        target_size: int | None = None,
        min_count: int = 1,
        beam: int = 4,
        normalisation: float = 1.0,
        max_length: int | None = None,
        bleu: str | None = "auto",
        validation: float | tuple[object, object] | None = 0.1,
        lr: float = 1e-3,
        max_epochs: int = 50,
        batch_size: int | str = 64,
        patience: int | None = 5,
        training: Training | None = None,
        baselines: bool = True,
        random_state: RandomState = None,
        device: str = "cpu",
        dtype: str = "float32",
        engine: str | None = None,
        verbose: bool | None = None,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.encoder_size = encoder_size
        self.embedding_size = embedding_size
        self.dropout = dropout
        self.context = context
        self.attention = attention
        self.context_from = context_from
        self.input_feeding = input_feeding
        self.feed_previous = feed_previous
        self.scheduled_sampling = scheduled_sampling
        self.sampling_updates = sampling_updates
        self.smoothing = smoothing
        self.source_tokens = source_tokens
        self.target_tokens = target_tokens
        self.source_size = source_size
        self.target_size = target_size
        self.min_count = min_count
        self.beam = beam
        self.normalisation = normalisation
        self.max_length = max_length
        self.bleu = bleu
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

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401  scikit-learn's own class
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        return tags

    # ---- fit -----------------------------------------------------------------------------------------------

    def fit(
        self,
        X: object,
        y: object = None,
        *,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        every_minutes: float | None = None,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """Train on pairs of texts.

        Args:
            X: n sources. One may come several times, with several right answers.
            y: n targets, each a text, or a list of texts that are all right.
            checkpoint: folder for checkpoints, written before the first update and after every epoch.
            resume: go on from the newest good checkpoint in that folder, bit for bit.
            every_minutes: minutes between checkpoints instead of epochs.
            observers: `saiki.learning.Observer`s, told of what happens.
        Returns:
            self.
        Raises:
            DTypeError, LengthError, DataError, OptionError, ValueRangeError: what is wrong with the texts or
                the options, before any training starts.
            ExtraError: sentencepiece tokens or BLEU were asked for and the package is not installed.
            NonFiniteError: the loss or a gradient became infinite or NaN.
            CheckpointError, DiskError: the checkpoint belongs to another run, or the disk refuses.
        """
        self._begin(checkpoint, resume)
        loss = CrossEntropy(smoothing=self.smoothing)
        tokenizers = self._check_options()
        train, validation = split(Pairs.of(X, y), self.validation, self.seed_)
        codecs = fit_codecs(
            train, validation, tokenizers, (self.source_size, self.target_size), self.min_count
        )
        self.source_, self.target_ = codecs
        learned = PairSource(train, codecs)
        held = None if validation is None else PairSource(validation, codecs)
        self.longest_ = learned.longest
        self.layers_ = []  # its layers follow from the options
        network = EncoderDecoder(
            self._config(len(self.source_), len(self.target_)),
            generator=generator(self.seed_, "weights"),
            dtype=self._torch_dtype(),
            device=self._device(),
        )
        refits = validation is not None and self._training().refit == "all"
        honest = BestWeights(network, checkpoint if resume else None) if refits else None
        everything = (
            None if validation is None or not refits else PairSource(joined(train, validation), codecs)
        )
        self._train(
            network,
            loss,
            learned,
            held,
            everything=everything,
            values=learned.targets,
            sequences=len(learned),
            checkpoint=checkpoint,
            resume=resume,
            every_minutes=every_minutes,
            observers=observers if honest is None else [honest, *observers],
        )
        if honest is None:
            self._judge(train, validation)
        else:
            self._judge_before_refit(train, validation, honest)
        return self

    def _check_options(self) -> tuple[Tokenizer, Tokenizer]:
        """Check what the network does not check itself; the tokenizers of sources and targets."""
        require_int(self.hidden_size, "hidden_size", 1)
        self._config(1, 1)
        for name in ("source_size", "target_size", "max_length"):
            if getattr(self, name) is not None:
                require_int(getattr(self, name), name, 1)
        require_int(self.min_count, "min_count", 1)
        require_int(self.beam, "beam", 1, MAX_BEAM)
        require_number(self.normalisation, "normalisation", low=0)
        tokenizers = (
            tokenizer_of(self.source_tokens, "source_tokens"),
            tokenizer_of(self.target_tokens, "target_tokens"),
        )
        if self.bleu not in (None, "auto"):
            choose(self.bleu, TOKENIZATIONS, "BLEU tokenization")
            require("sacrebleu", "text", f"bleu={self.bleu!r}")
        return tokenizers

    def _config(self, source_size: int, target_size: int) -> EncoderDecoderConfig:
        return EncoderDecoderConfig(
            source_size=source_size,
            target_size=target_size,
            hidden_size=int(self.hidden_size),
            cell=self.cell,
            num_layers=int(self.num_layers),
            bidirectional=self.bidirectional,
            encoder_size=self.encoder_size,
            embedding_size=self.embedding_size,
            dropout=self.dropout,
            context=self.context,
            summary=self.context_from,
            score=self.attention,
            input_feeding=self.input_feeding,
            feed_previous=self.feed_previous,
            scheduled_sampling=self.scheduled_sampling,
            sampling_updates=self.sampling_updates,
            engine=self.engine,
        )

    # ---- figures -------------------------------------------------------------------------------------------

    def _judge(self, train: Pairs, validation: Pairs | None) -> None:
        """Our figures, and the simple methods', on the validation part."""
        self.metrics_, self.baselines_ = {}, []
        parts = {"training": train, "validation": validation}
        self.details_ = {
            "splits": [
                {"name": name, "sources": len(part), "pairs": len(part.flat()[0])}
                for name, part in parts.items()
                if part is not None
            ]
        }
        if validation is None:
            return
        asked = validation.sample(MEASURED)
        said = self.predict(asked.sources)
        self.metrics_ = self._figures(asked, said)
        from saiki.models.translator_report import details_of

        self.details_.update(measured=len(asked), **details_of(self, asked, said))
        if self.baselines and not inside_search():
            from saiki.models.baselines_translation import translation_baselines

            self.baselines_ = translation_baselines(
                train.flat(),
                asked.sources,
                (self.source_, self.target_),
                lambda texts: self._figures(asked, texts),
            )

    def _judge_before_refit(self, train: Pairs, validation: Pairs | None, honest: BestWeights) -> None:
        """Measure with the weights that had not seen the validation part, then put the final ones back."""
        if honest.weights is None:
            self._judge(train, None)
            note = "Resumed while training again on all pairs, so nothing was left to measure on."
        else:
            final = {name: value.clone() for name, value in self.network_.state_dict().items()}
            self.network_.load_state_dict(honest.weights)
            self._judge(train, validation)
            self.network_.load_state_dict(final)
            note = "The figures are those of the network before it was trained again on all pairs."
        self.record_ = replace(self.record_, notes=[*self.record_.notes, note])

    def _figures(self, asked: Pairs, said: Sequence[str]) -> dict[str, float]:
        return figures_of(asked, said, self.target_.tokenizer, self.bleu)

    def evaluate(self, X: object, y: object = None) -> dict[str, float]:
        """The figures on pairs with known answers.

        Args:
            X: sources; one that comes several times has several right answers and is asked once.
            y: a text each, or a list of texts that are all right.
        Returns:
            Figure by name, the same as `metrics_` holds for the validation part.
        """
        self._require_fitted()
        pairs = Pairs.of(X, y)
        return self._figures(pairs, self.predict(pairs.sources))

    def score(self, X: object, y: object) -> float:
        """Share of translations that equal a right answer."""
        self._require_fitted()
        pairs = Pairs.of(X, y)
        return float(metrics.exact_match(pairs.answers, self.predict(pairs.sources)))

    def report(self) -> str | None:
        """The report as one self-contained HTML page."""
        from saiki.models.translator_report import report_of

        self._require_fitted()
        return report_of(self)

    # ---- translate -----------------------------------------------------------------------------------------

    def predict(self, X: object) -> list[str]:
        """The best translation of each text."""
        return [best[0].text for best in self.translate(X)]

    def translate(
        self,
        X: object,
        *,
        beam: int | None = None,
        n_best: int = 1,
        attention: bool = False,
        normalisation: float | None = None,
        max_length: int | None = None,
    ) -> list[list[Translation]]:
        """The best translations of each text, the best first.

        Args:
            X: texts, none empty.
            beam: beginnings that are followed at once; None: the estimator's own, and at least `n_best`.
            n_best: how many translations of each text.
            attention: also give the weights with which each token looked at the source's.
            normalisation: α of the score Σ ln p / T^α; None: the estimator's own.
            max_length: tokens at most; None: the estimator's own.
        Returns:
            For each text at most `n_best` translations.
        Raises:
            DTypeError, LengthError: X is no list of texts, or one is empty.
            OptionError: attention is asked of a network that has none, or n_best is above beam.
        """
        self._require_fitted()
        require_int(n_best, "n_best", 1, MAX_BEAM)
        width = max(self.beam, n_best) if beam is None else require_int(beam, "beam", 1, MAX_BEAM)
        if n_best > width:
            raise OptionError(
                f"n_best is {n_best} but beam is {width}: a beam holds as many beginnings as it is wide.",
                f"Take beam={n_best}.",
            )
        return self._decode(
            require_full(X, "X"),
            Search(
                beam=width,
                n_best=n_best,
                normalisation=self.normalisation if normalisation is None else normalisation,
                max_length=self._max_length(max_length),
            ),
            attention,
        )

    def sample(
        self,
        X: object,
        *,
        count: int = 1,
        temperature: float = 1.0,
        top_k: int | None = None,
        random_state: int | None = None,
        max_length: int | None = None,
    ) -> list[list[Translation]]:
        """Translations drawn from the network's own probabilities.

        Args:
            X: texts, none empty.
            count: drawn of each text.
            temperature: τ of softmax(a / τ): below 1 bolder, above 1 more varied; 0 takes the likeliest.
            top_k: draw among the k likeliest tokens only.
            random_state: seed; the estimator's own if not given.
            max_length: tokens at most; None: the estimator's own.
        Returns:
            For each text `count` translations, in the order in which they were drawn.
        """
        self._require_fitted()
        seed = self.seed_ if random_state is None else random_state
        return self._decode(
            require_full(X, "X"),
            Draw(
                count=count,
                temperature=temperature,
                top_k=top_k,
                generator=generator(seed, "sampling"),
                max_length=self._max_length(max_length),
            ),
            False,
        )

    def _decode(self, texts: list[str], how: Search | Draw, attention: bool) -> list[list[Translation]]:
        network = self.network_
        assert isinstance(network, EncoderDecoder)
        return decode(network, (self.source_, self.target_), texts, how, attention=attention)

    def _max_length(self, asked: int | None) -> int:
        if asked is not None:
            return require_int(asked, "max_length", 1)
        return self.max_length if self.max_length is not None else self.longest_ + self.longest_ // 2

    # ---- files ---------------------------------------------------------------------------------------------

    def _option(self, name: str, value: Any) -> Any:  # noqa: ANN401  JSON out
        if name in ("source_tokens", "target_tokens"):
            return tokenizer_mapping(value)
        if name == "validation" and isinstance(value, tuple | list):
            return "given"  # the data itself is no part of a model
        return super()._option(name, value)

    @classmethod
    def _arguments(cls, options: dict[str, Any]) -> dict[str, Any]:
        if options["validation"] == "given":
            options = {**options, "validation": None}
        return super()._arguments(options)

    def _fitted(self) -> TranslatorFitted:
        return TranslatorFitted(
            source_size=len(self.source_), target_size=len(self.target_), longest=self.longest_
        )

    def _tensors(self) -> dict[str, Array]:
        return {}

    def _documents(self) -> dict[str, bytes]:
        return {**self.source_.documents(SOURCE), **self.target_.documents(TARGET)}

    def _assemble(
        self,
        layers: Sequence[Layer],
        input_size: int,
        output_size: int,
        fitted: TranslatorFitted,
        *,
        source: torch.Generator,
        dtype: torch.dtype,
    ) -> EncoderDecoder:
        del layers, input_size, output_size
        return EncoderDecoder(
            self._config(fitted.source_size, fitted.target_size), generator=source, dtype=dtype
        )

    def _restore(self, fitted: TranslatorFitted, tensors: Mapping[str, Array]) -> None:
        if tensors:
            raise SchemaError(f"a translator has no tensor {min(tensors)}.")
        if fitted.longest < 1:
            raise SchemaError(f"longest is {fitted.longest} but must be at least 1.")
        self.longest_ = fitted.longest

    def _restore_documents(self, documents: Mapping[str, bytes]) -> None:
        self.source_ = TextCodec.of_documents(documents, SOURCE)
        self.target_ = TextCodec.of_documents(documents, TARGET)
        network = self.network_
        assert isinstance(network, EncoderDecoder)
        for name, codec, size in (
            ("source", self.source_, network.config.source_size),
            ("target", self.target_, network.config.target_size),
        ):
            if len(codec) != size:
                raise SchemaError(
                    f"{name}_vocabulary.json has {len(codec)} tokens but the network was built for {size}."
                )
        for special in (START, END):
            if special not in self.target_.vocabulary.specials:
                raise SchemaError(
                    f"target_vocabulary.json lacks {special}, with which a target begins or ends."
                )
