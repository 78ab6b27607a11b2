"""Transcriber: what is said when, from recordings or frames, without knowing where each label lies.

    recording → features x_1 … x_T → (convolution) → recurrent layers → a_t = W h_t + b → p_t = softmax(a_t)
    loss = -ln Σ_π Π_t p_t(π_t)         over the paths that collapse to the transcript (CTC), one an utterance

The classes are the labels and, last, the blank. Decoding is greedy, or a prefix beam search with a language
model and a lexicon.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, final

import numpy as np
import torch
from torch import Tensor

from saiki.core.errors import DTypeError, OptionError, SchemaError, ShapeError, ValueRangeError
from saiki.core.schema import plain, strict
from saiki.data.audio_features import AudioFeatures
from saiki.decoding import Hypothesis, ctc_greedy
from saiki.learning import Observer, Training
from saiki.losses import CTC
from saiki.models.base import Estimator, inside_search
from saiki.models.options import Array, Layer, RandomState, TrainingOptions
from saiki.models.sequence_targets import read_weights
from saiki.models.transcriber_data import (
    Kind,
    Utterances,
    UtteranceSource,
    choose_features,
    read_answers,
    read_utterances,
    require_said,
)
from saiki.models.transcriber_parts import (
    SCALINGS,
    Part,
    Scaling,
    as_convolution,
    front,
    held_out,
    pace,
    require_room,
    run,
    scaled,
    statistics,
)
from saiki.models.transcripts import Labels, Transcript, figures, transcript
from saiki.models.translator_options import Tokens, tokenizer_mapping, tokenizer_of
from saiki.nn import ConvolutionConfig, Stack

if TYPE_CHECKING:
    from saiki.decoding import PrefixBeam

logger = logging.getLogger("saiki")


@dataclass(frozen=True, kw_only=True)
class TranscriberOptions(TrainingOptions):
    """The transcriber's options, as config.json keeps them."""

    network: list[dict[str, Any]] | None
    cell: str
    hidden_size: int | str
    num_layers: int
    bidirectional: bool
    dropout: float
    features: str | dict[str, Any] | None
    rate_hz: int | None
    convolution: dict[str, Any] | None
    units: str | dict[str, Any]
    scaling: str | None
    validation: float | str | None
    beam_width: int


@dataclass(frozen=True, kw_only=True)
class TranscriberFitted:
    """What the transcriber learned beside tensors and vocabulary, as config.json keeps it."""

    n_features_in: int
    audio: dict[str, Any] | None
    kind: Literal["text", "int", "str"]


@final
class Transcriber(Estimator):
    """Turn recordings, or sequences of frames, into text or labels, by connectionist temporal classification.

    Args:
        network: layer configs or mappings; None builds the convolution and `num_layers` of `cell`.
        cell: "elman", "jordan", "lstm", "elementwise_lstm" or "gru".
        hidden_size: units a layer and direction, or "auto" (ten training values a parameter).
        num_layers: recurrent layers.
        bidirectional: both directions of time; False for a model that is to run on a stream.
        dropout: share of units dropped after each recurrent layer, in [0, 1).
        features: what is heard of recordings: "log_mel", "mfcc" (13 coefficients with slopes and the slopes'
            slopes), or `saiki.data.AudioFeatures`; None where X is frames; "auto": log-mel of recordings.
        rate_hz: samples a second of what is heard, to which every recording is brought; None takes the first
            recording's rate. Rows of samples without a rate of their own are taken to have it.
        convolution: a `ConvolutionConfig` (or a mapping of its options) in front of the recurrent layers,
            followed by a rectifier; with a stride it makes the sequence shorter.
        units: how texts are cut: "characters", "words", "whitespace", "sentencepiece", a mapping with a
            "type" and options, or a `saiki.data.tokens.Tokenizer`. Labels that are no texts stay as they are.
        scaling: "standard" (each feature, over the training part), "utterance" (each feature, over each
            utterance by itself: takes out microphone and loudness), or None.
        validation: share of the utterances kept aside; (X, y); or None, which trains for all of `max_epochs`
            and measures nothing.
        beam_width: prefixes of the decoder's beam; 1 decodes greedily.
        lr: learning rate.
        max_epochs: epochs at most.
        batch_size: utterances an update; "all" takes the whole training part.
        patience: evaluations without a new best before training stops; None never stops early.
        training: everything else about how the network learns; `set_params(training__clip_norm=0.5)` works.
        baselines: also measure the commonest answer and the nearest training utterance's; never inside a
            search.
        random_state: seed; the same seed, data and machine give the same bits.
        device: "cpu", "cuda", "cuda:1" or "auto".
        dtype: "float32" or "float64".
        engine: name of the recurrent engine; None lets saiki choose.
        verbose: progress bar; None shows it where stderr is a terminal.

    Attributes:
        labels_: the labels, their classes, and how texts are cut (`saiki.models.transcripts.Labels`).
        tokens_: what each of the K classes stands for, the blank last: what a `Lexicon` or a language model
            is built with.
        audio_: `AudioFeatures` that recordings are heard by; None for a model of frames.
        notes_: what was done to the recordings of fit on the way in.
        network_, record_, metrics_, baselines_, parameter_note_, n_features_in_, seed_: see `Estimator`.

    Example:
        >>> model = Transcriber(features="mfcc", units="words", random_state=0)
        >>> model.fit(["a.wav", "b.wav"], ["one two", "three"]).predict(["c.wav"])  # doctest: +SKIP
    """

    task: ClassVar[str] = "transcriber"
    OptionsFile: ClassVar[type[TrainingOptions]] = TranscriberOptions
    FittedFile: ClassVar[type] = TranscriberFitted

    network_: Stack
    labels_: Labels
    audio_: AudioFeatures | None
    notes_: tuple[str, ...]
    center_: Array
    scale_: Array

    def __init__(
        self,
        *,
        network: Sequence[Layer | Mapping[str, Any]] | None = None,
        cell: str = "lstm",
        hidden_size: int | str = 128,
        num_layers: int = 2,
        bidirectional: bool = True,
        dropout: float = 0.0,
        features: Literal["auto", "log_mel", "mfcc"] | AudioFeatures | None = "auto",
        rate_hz: int | None = None,
        convolution: ConvolutionConfig | Mapping[str, Any] | None = None,
        units: Tokens = "characters",
        scaling: Scaling | None = "standard",
        validation: float | tuple[object, object] | None = 0.1,
        beam_width: int = 1,
        lr: float = 1e-3,
        max_epochs: int = 100,
        batch_size: int | str = 16,
        patience: int | None = 10,
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
        self.features = features
        self.rate_hz = rate_hz
        self.convolution = convolution
        self.units = units
        self.scaling = scaling
        self.validation = validation
        self.beam_width = beam_width
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
        groups: object = None,
        *,
        sample_weight: object = None,
        lengths: object = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        every_minutes: float | None = None,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """Train on utterances and what was said in each.

        Args:
            X: n recordings: files, `saiki.data.Audio`, or rows of samples (with `rate_hz`); or n sequences of
                frames, (T_i, F) each, in any form the other tasks take.
            y: n texts; or n sequences of labels (whole numbers or words); a whole number is a sequence of
                one.
            groups: (n,) whose utterance each is; no group is in both parts of the split.
            sample_weight: (n,) weights of the utterances.
            lengths: (n,) steps in use of padded frames.
            checkpoint: folder for checkpoints, written before the first update and after every epoch.
            resume: go on from the newest good checkpoint in that folder, bit for bit.
            every_minutes: minutes between checkpoints instead of epochs.
            observers: `saiki.learning.Observer`s, told of what happens.

        Returns:
            self.

        Raises:
            LengthError: a transcript longer than the utterance's frames allow; the utterance is named.
            LabelError: an empty transcript, or answers of several kinds; the utterance is named.
            DataError: a file that is missing, cut short, or no sound; it is named.
            ShapeError, DTypeError, ValueRangeError, OptionError: what is wrong with data or options.
            NonFiniteError: the loss or a gradient became infinite or NaN.
            CheckpointError, DiskError: the checkpoint belongs to another run, or the disk refuses.
        """
        self._begin(checkpoint, resume)
        self._check_reading()
        self.audio_ = choose_features(X, self.features, self.rate_hz)
        utterances = read_utterances(X, self.audio_, lengths=lengths)
        for note in utterances.notes:
            logger.info("%s", note)
        answers, kind = read_answers(y, utterances.names)
        require_said(answers, utterances.names)
        self.notes_ = utterances.notes
        self.n_features_in_ = utterances.frames[0].shape[1]
        self.labels_ = Labels.learn(answers, kind, tokenizer_of(self.units, "units"))
        everything = Part(
            utterances=utterances, answers=answers, weights=read_weights(sample_weight, len(utterances))
        )
        train, validation = self._split(everything, kind, groups)
        values = int(train.utterances.lengths.sum()) * self.n_features_in_
        network = self._build(
            [*front(self.convolution), *self._recurrent(values)], self.n_features_in_, len(self.labels_) + 1
        )
        if network.pooled:
            raise ShapeError(
                "network pools over time, but a transcriber answers at every step.",
                "Leave the pooling layer out.",
            )
        for part in (train, validation):
            if part is not None:
                ids = [self.labels_.ids(a, name) for a, name in zip(part.answers, part.utterances.names)]
                require_room(network, part.utterances, ids, seconds=self.seconds_a_frame)
        self.center_, self.scale_ = statistics(train.utterances.frames, self.scaling)
        if validation is not None and self._training().refit == "all":
            raise OptionError(
                "training's refit='all' trains again on the validation part, whose figures a transcriber "
                "keeps.",
                "Use validation=None with max_epochs of the best epoch.",
            )
        self._train(
            network,
            CTC(blank=self.labels_.blank),
            self._source(train),
            None if validation is None else self._source(validation),
            values=values,
            sequences=len(train.utterances),
            checkpoint=checkpoint,
            resume=resume,
            every_minutes=every_minutes,
            observers=observers,
        )
        self._judge(train, validation)
        return self

    def _check_reading(self) -> None:
        """Check the options of how X and y are read."""
        if self.scaling not in SCALINGS:
            raise OptionError(f"scaling is {self.scaling!r} but must be 'standard', 'utterance' or None.")
        width = self.beam_width
        if isinstance(width, bool) or not isinstance(width, (int, np.integer)) or width < 1:
            raise OptionError(f"beam_width is {width!r} but must be a whole number from 1 on.")
        if self.network is not None and self.convolution is not None:
            raise OptionError(
                "network and convolution are both given.",
                "Put the convolution into network as its first line.",
            )
        tokenizer_of(self.units, "units")
        as_convolution(self.convolution)

    def _recurrent(self, values: int) -> list[Layer]:
        return self._layers(
            values=values, input_size=self.n_features_in_, output_size=len(self.labels_) + 1, after=[]
        )

    def _split(self, everything: Part, kind: Kind, groups: object) -> tuple[Part, Part | None]:
        """Training and validation part, apart by whole utterances, or by whole groups of them."""
        validation = self.validation
        if isinstance(validation, tuple):
            if len(validation) != 2:
                raise OptionError(f"validation is a tuple of {len(validation)} but must be (X, y).")
            utterances = read_utterances(validation[0], self.audio_, width=self.n_features_in_)
            answers, _ = read_answers(validation[1], utterances.names, kind)
            require_said(answers, utterances.names)
            return everything, Part(utterances=utterances, answers=answers, weights=None)
        if validation is None:
            return everything, None
        train, held = held_out(len(everything.utterances), validation, groups, self.seed_)
        return everything.select(train), everything.select(held)

    def _inputs(self, utterances: Utterances) -> list[Tensor]:
        """Scaled frames in the network's dtype, on the CPU."""
        dtype = self._torch_dtype()
        found = []
        for frames, name in zip(utterances.frames, utterances.names):
            x = torch.from_numpy(scaled(frames, self.scaling, self.center_, self.scale_)).to(dtype)
            if not bool(torch.isfinite(x).all()):
                raise ValueRangeError(
                    f"{name} reaches {np.abs(frames).max():.3g}, which after scaling ({self.scaling}) is too "
                    f"large for {self.dtype}.",
                    "Check the units, use another scaling, or dtype='float64'.",
                )
            found.append(x)
        return found

    def _source(self, part: Part) -> UtteranceSource:
        weights = None if part.weights is None else torch.from_numpy(part.weights).to(self._torch_dtype())
        ids = [self.labels_.ids(a, name) for a, name in zip(part.answers, part.utterances.names)]
        return UtteranceSource(self._inputs(part.utterances), ids, weights)

    def _judge(self, train: Part, validation: Part | None) -> None:
        """Our figures, and the simple models', on the validation part; what the report draws of it."""
        from saiki.models.transcriber_report import details

        self.metrics_, self.baselines_ = {}, []
        parts = {"training": train, "validation": validation}
        self.details_ = {
            "splits": [
                {"name": name, "utterances": len(p.utterances), "frames": int(p.utterances.lengths.sum())}
                for name, p in parts.items()
                if p is not None
            ],
            "notes": list(self.notes_),
        }
        if validation is None:
            return
        outputs = self._outputs(validation.utterances)
        said = [self.labels_.answer(h[0].labels) for h in self._decode(outputs, None)]
        self.metrics_ = figures(validation.answers, said, self.labels_)
        self.details_.update(details(self, validation, outputs, said))
        if self.baselines and not inside_search():
            from saiki.models.baselines_transcripts import transcripts_baseline

            self.baselines_ = transcripts_baseline(
                train.utterances.frames,
                train.answers,
                validation.utterances.frames,
                lambda answers: figures(validation.answers, answers, self.labels_),
            )

    # ---- predict -------------------------------------------------------------------------------------------

    @property
    def tokens_(self) -> tuple[str, ...]:
        """What each of the K classes stands for, the blank last."""
        return self.labels_.tokens

    @property
    def seconds_a_frame(self) -> float | None:
        """From one frame of the input to the next; None for a model of frames."""
        return None if self.audio_ is None else self.audio_.seconds

    def _read(self, X: object, lengths: object = None) -> Utterances:
        self._require_fitted()
        found = read_utterances(X, self.audio_, lengths=lengths, width=self.n_features_in_)
        for note in found.notes:
            logger.info("%s", note)
        return found

    def _outputs(self, utterances: Utterances) -> list[Array]:
        """(T', K) log-probabilities of each utterance."""
        return run(self.network_, self._inputs(utterances), utterances.names, self._device())

    def _decode(self, outputs: Sequence[Array], decoder: PrefixBeam | None) -> list[list[Hypothesis]]:
        """The hypotheses of each utterance, the best first; an utterance may have none under a lexicon."""
        if decoder is None and self.beam_width == 1:
            blank, batch = self.labels_.blank, [torch.from_numpy(rows) for rows in outputs]
            return [[found] for found in ctc_greedy(batch, blank=blank, normalized=True)]
        from saiki.decoding import PrefixBeam

        if decoder is None:
            decoder = PrefixBeam(width=int(self.beam_width))
        if not isinstance(decoder, PrefixBeam):
            raise DTypeError(
                f"decoder is {type(decoder).__name__} but must be a saiki.decoding.PrefixBeam or None."
            )
        # the blank's class is the model's business; what it is given are log-probabilities
        mine = replace(decoder, blank=self.labels_.blank, normalized=True)
        found = mine.decode([torch.from_numpy(rows) for rows in outputs])
        nothing = Hypothesis((), (), (), float("-inf"))
        return [each if each else [nothing] for each in found]

    def predict(self, X: object, decoder: PrefixBeam | None = None, *, lengths: object = None) -> list[Any]:
        """What is said in each utterance.

        Args:
            X: utterances in the form that fit took.
            decoder: of `decoder()`, or a `saiki.decoding.PrefixBeam` built with `tokens_`, whose `blank` is
                set. None decodes with `beam_width`.
            lengths: (n,) steps in use of padded frames.

        Returns:
            n texts, or n arrays of labels: the form that y had.
        """
        outputs = self._outputs(self._read(X, lengths))
        return [self.labels_.answer(each[0].labels) for each in self._decode(outputs, decoder)]

    def decoder(
        self,
        width: int = 25,
        *,
        language: object = None,
        weight: float = 0.5,
        bonus: float = 0.0,
        words: Iterable[str] | None = None,
        blank_skip: float | None = None,
    ) -> PrefixBeam:
        """A beam over this model's labels, for `predict`, `transcribe` and `evaluate`.

        Args:
            width: prefixes that stay after each frame.
            language: an ARPA file, a `saiki.decoding.NGram`, a fitted `LanguageModel`, or an object with
                `score(prefix)`.
            weight: how much the language model counts.
            bonus: nats a unit of the language model, against its liking for short answers.
            words: the only words that may be said, for models of characters.
            blank_skip: frames whose blank has at least this probability are passed over quickly.

        Raises:
            DTypeError, OptionError, LabelError, DataError: an option, or what the language model or the words
                lack of the labels.
        """
        from saiki.models.transcriber_decoder import beam

        self._require_fitted()
        return beam(
            self.labels_,
            width=width,
            language=language,
            weight=weight,
            bonus=bonus,
            words=words,
            blank_skip=blank_skip,
        )

    def transcribe(
        self, X: object, decoder: PrefixBeam | None = None, *, lengths: object = None
    ) -> list[Transcript]:
        """What is said in each utterance, with the time and the probability of each label.

        Args:
            X, decoder, lengths: as in `predict`.

        Returns:
            A `Transcript` an utterance; times in seconds for recordings, in frames for frames. Greedily, a
            label's time is its run of frames in the best path; it tends to be short and late.
        """
        utterances = self._read(X, lengths)
        outputs = self._outputs(utterances)
        step = pace(self.network_) * (self.seconds_a_frame or 1.0)
        return [
            transcript(
                found[0],
                rows,
                self.labels_,
                step=step,
                before=step / 2 if self.audio_ is not None else 0.0,
                seconds=self.audio_ is not None,
            )
            for found, rows in zip(self._decode(outputs, decoder), outputs)
        ]

    def predict_proba(self, X: object, *, lengths: object = None) -> list[Array]:
        """(T', K) probability of each class at each step of the network's output, the blank last."""
        return [np.exp(rows) for rows in self._outputs(self._read(X, lengths))]

    def evaluate(
        self, X: object, y: object = None, decoder: PrefixBeam | None = None, *, lengths: object = None
    ) -> dict[str, float]:
        """Error rates on utterances whose transcripts are known.

        Args:
            X, decoder, lengths: as in `predict`.
            y: what was said, in the form that fit took; labels that training did not have count as errors.

        Returns:
            `label_error_rate` over the model's units; for texts `cer` and `wer`; `exact`, the share of
            utterances that are right as a whole.
        """
        utterances = self._read(X, lengths)
        answers, _ = read_answers(y, utterances.names, self.labels_.kind)
        found = self._decode(self._outputs(utterances), decoder)
        return figures(answers, [self.labels_.answer(each[0].labels) for each in found], self.labels_)

    def score(self, X: object, y: object, *, lengths: object = None) -> float:
        """One less the label error rate: 1 is right, and much that is inserted makes it negative."""
        return 1.0 - self.evaluate(X, y, lengths=lengths)["label_error_rate"]

    # ---- report and files ----------------------------------------------------------------------------------

    def report(self) -> str | None:
        """The report as one self-contained HTML page."""
        from saiki.models.transcriber_report import page_of

        self._require_fitted()
        return page_of(self)

    def _option(self, name: str, value: Any) -> Any:  # noqa: ANN401  JSON out
        if name == "validation" and isinstance(value, tuple):
            return "given"  # the data itself is no part of a model
        if name == "features" and isinstance(value, AudioFeatures):
            return asdict(value)
        if name == "convolution" and value is not None:
            config = as_convolution(value)
            return None if config is None else plain(asdict(config))
        if name == "units":
            return tokenizer_mapping(value)
        return super()._option(name, value)

    @classmethod
    def _arguments(cls, options: dict[str, Any]) -> dict[str, Any]:
        changed = dict(options)
        if changed["validation"] == "given":
            changed["validation"] = None
        if isinstance(changed["features"], Mapping):
            changed["features"] = strict(AudioFeatures, changed["features"], "options: features")
        return super()._arguments(changed)

    def _fitted(self) -> TranscriberFitted:
        return TranscriberFitted(
            n_features_in=self.n_features_in_,
            audio=None if self.audio_ is None else asdict(self.audio_),
            kind=self.labels_.kind,
        )

    def _tensors(self) -> dict[str, Array]:
        return {"scaler.center": self.center_, "scaler.scale": self.scale_}

    def _documents(self) -> dict[str, bytes]:
        return self.labels_.documents()

    def _restore(self, fitted: TranscriberFitted, tensors: Mapping[str, Array]) -> None:
        self.n_features_in_ = fitted.n_features_in
        self.audio_ = None if fitted.audio is None else strict(AudioFeatures, fitted.audio, "audio")
        if self.audio_ is not None and self.audio_.size != self.n_features_in_:
            raise SchemaError(
                f"audio gives {self.audio_.size} features a frame, but n_features_in is "
                f"{self.n_features_in_}."
            )
        for name in ("scaler.center", "scaler.scale"):
            values = tensors.get(name)
            if values is None or values.shape != (self.n_features_in_,) or not np.isfinite(values).all():
                raise SchemaError(f"{name} must be ({self.n_features_in_},) finite numbers.")
        self.center_, self.scale_ = tensors["scaler.center"], tensors["scaler.scale"]
        if not (self.scale_ > 0).all():
            raise SchemaError("scaler.scale must be positive.")
        self._kind = fitted.kind
        self.notes_ = ()

    def _restore_documents(self, documents: Mapping[str, bytes]) -> None:
        self.labels_ = Labels.of_documents(documents, self._kind)
        if len(self.labels_) + 1 != self.network_.output_size:
            raise SchemaError(
                f"vocabulary.json has {len(self.labels_)} labels but the network has outputs for "
                f"{self.network_.output_size - 1}."
            )
