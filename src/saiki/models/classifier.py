"""SequenceClassifier: which class a sequence, or each of its steps, belongs to.

    x_1 … x_T → recurrent layers → h_T (or [h_T^→ ; h_1^←]) → a = W h + b → p = softmax(a)
    loss = -ln p_y                              cross-entropy, one value a sequence (or step)

With two directions the head reads each direction where it has read the whole sequence: the forward one at the
last step, the backward one at the first. With `text=` a sequence is a text: its tokens are the steps, and an
embedding gives each its vector (`sequence_text.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, final

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from torch import Tensor

from saiki import metrics
from saiki.core.checks import listed
from saiki.core.errors import DTypeError, LabelError, OptionError, SchemaError, UsageError
from saiki.core.names import unknown
from saiki.data.missing import Missing
from saiki.data.tokens import TextCodec
from saiki.learning import Training
from saiki.losses import RowLoss, get_loss
from saiki.models import sequence_text
from saiki.models.options import Array, CommonOptions, Layer, RandomState, Rule
from saiki.models.sequence import Part, Scaling, SequenceEstimator, SequenceOptions
from saiki.models.sequence_features import FeaturesFile
from saiki.models.sequence_input import Layout, Sequences, of_one_kind
from saiki.models.sequence_rows import Rows
from saiki.models.sequence_targets import Targets, as_found
from saiki.models.sequence_text import Learned, Text, TextFitted, as_text
from saiki.nn import Embedding, EmbeddingConfig, Stack

if TYPE_CHECKING:
    from saiki.insight import Fact, Metric, Picture

LOSSES = ("auto", "cross_entropy")


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(SequenceOptions):
    """The classifier's options, as config.json keeps them."""

    class_weight: str | list[list[str | int | float | bool]] | None  # pairs (label, weight)
    text: dict[str, Any] | None = None  # model folders older than the option lack it


@dataclass(frozen=True, kw_only=True)
class ClassifierFitted:
    """What the classifier learned beside tensors, as config.json keeps it."""

    classes: list[str] | list[bool] | list[int] | list[float]
    classes_dtype: str
    n_features_in: int
    per_step: bool
    tokens: bool
    feature_names: list[str] | None
    features: FeaturesFile
    text: TextFitted | None = None


@dataclass(frozen=True)
class Weighted:
    """A loss times its row's class weight."""

    loss: RowLoss
    class_weight: tuple[float, ...]

    def __repr__(self) -> str:  # a checkpoint compares it, so no address of a function may be in it
        return f"Weighted({getattr(self.loss, 'name', self.loss)}, {self.class_weight})"

    def __call__(self, outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """v_t ℓ(outputs, targets), v_t the weight of the row's class."""
        weight = torch.as_tensor(self.class_weight, dtype=outputs.dtype, device=outputs.device)
        return self.loss(outputs, targets, mask) * weight[targets]


@final
class SequenceClassifier(ClassifierMixin, SequenceEstimator):  # type: ignore[misc]
    """Classify sequences, or every step of them.

    Labels may be numbers, text or booleans. A y of one label a sequence gives a network that pools over
    time, a y of one label a step one that answers at every step.

    Args:
        network: layer configs or mappings; None builds `num_layers` of `cell`, then Last.
        cell: "elman", "jordan", "lstm", "elementwise_lstm" or "gru".
        hidden_size: units a layer, or "auto" (ten training values a parameter).
        num_layers: recurrent layers.
        bidirectional: both directions of time; the head reads each direction's own end.
        dropout: share of units dropped after each recurrent layer, in [0, 1).
        loss: "auto" (cross-entropy), or a differentiable callable of (logits (N, K), classes (N,)) that gives
            one value a row.
        class_weight: {label: weight}, "balanced" (n / (K · n_k)), or None.
        text: X holds texts: a tokenizer's name ("words", "characters", "whitespace", "sentencepiece"), a
            `saiki.models.Text` with vocabulary and word vectors, or a mapping of its fields; None: X holds
            numbers.
        scaling: "standard" or "minmax", learned on the training rows and saved with the model; None reads the
            features as they are.
        validation: share of the sequences kept aside, every class in proportion; (X, y); or None, which
            trains for all of `max_epochs` and measures nothing.
        per_step: settles whether y is one row a step where its shape leaves that open.
        layout: axes of a 3-d X: "auto" is (n, T, F) and an error where it looks channels-first;
            "steps_first" is (n, T, F) for certain; "channels_first" is (n, F, T).
        id: frames: column that tells sequences apart.
        time: frames: column that orders the steps.
        columns: frames: feature columns; None takes all others.
        categories: frames: feature columns that hold categories; None takes those of text. The mapping is
            learned on X, saved with the model, and an unseen level is an error.
        encoding: of categories: "one_hot", or "embed" (a learned vector for each level).
        missing: missing numbers: "error" refuses them; "interpolate" fills them on a line between their
            neighbours in the same sequence; "mask" gives 0 after scaling and one channel of 0 and 1 more for
            each feature that has gaps in the training part.
        lr: learning rate.
        max_epochs: epochs at most.
        batch_size: sequences an update; "all" takes the whole training part.
        patience: evaluations without a new best before training stops; None never stops early.
        training: everything else about how the network learns; `set_params(training__clip_norm=0.5)` works.
        rule: the learning rule, by name, as a mapping or as a value: "bptt", {"type": "truncated_bptt",
            "window": 50}, …; None is BPTT in `fit`, and in `partial_fit` truncated BPTT over 32 steps with an
            update a step. See `saiki.learning`.
        baselines: also fit logistic or softmax regression on pooled features on the same split; never
            inside a search or cross-validation.
        random_state: seed; the same seed, data and machine give the same bits.
        device: "cpu", "cuda", "cuda:1" or "auto".
        dtype: "float32" or "float64".
        engine: name of the recurrent engine; None lets saiki choose.
        verbose: progress bar; None shows it where stderr is a terminal.

    Attributes:
        classes_: (K,) labels, sorted, of the type that y had.
        codec_: tokenizer and vocabulary, where X holds texts.
        network_, record_, metrics_, baselines_, parameter_note_, n_features_in_, seed_: see `Estimator`.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> digits = load_digits()
        >>> model = SequenceClassifier(hidden_size=32, max_epochs=20, random_state=0)
        >>> model.fit(digits.images, digits.target).score(digits.images, digits.target)  # doctest: +SKIP
    """

    task: ClassVar[str] = "classifier"
    OptionsFile: ClassVar[type[CommonOptions]] = ClassifierOptions
    FittedFile: ClassVar[type] = ClassifierFitted
    _labels: ClassVar[bool] = True

    classes_: Array
    class_weight_: tuple[float, ...] | None
    codec_: TextCodec
    _text_learned: Learned | None
    text_: TextFitted

    def __init__(
        self,
        *,
        network: Sequence[Layer | Mapping[str, Any]] | None = None,
        cell: str = "lstm",
        hidden_size: int | str = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        loss: str | Callable[..., Tensor] = "auto",
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        text: str | Text | Mapping[str, Any] | None = None,
        scaling: Scaling | None = "standard",
        validation: float | tuple[object, object] | None = 0.2,
        per_step: bool | None = None,
        layout: Layout = "auto",
        id: str | None = None,
        time: str | None = None,
        columns: Sequence[str] | None = None,
        categories: Sequence[str] | None = None,
        encoding: Literal["one_hot", "embed"] = "one_hot",
        missing: Missing = "error",
        lr: float = 3e-3,
        max_epochs: int = 200,
        batch_size: int | str = 32,
        patience: int | None = 20,
        training: Training | None = None,
        rule: Rule = None,
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
        self.loss = loss
        self.class_weight = class_weight
        self.text = text
        self.scaling = scaling
        self.validation = validation
        self.per_step = per_step
        self.layout = layout
        self.id = id
        self.time = time
        self.columns = columns
        self.categories = categories
        self.encoding = encoding
        self.missing = missing
        self.lr = lr
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.patience = patience
        self.training = training
        self.rule = rule
        self.baselines = baselines
        self.random_state = random_state
        self.device = device
        self.dtype = dtype
        self.engine = engine
        self.verbose = verbose

    # ---- texts ---------------------------------------------------------------------------------------------

    def _check_reading(self) -> None:
        super()._check_reading()
        for name in ("codec_", "text_"):
            if hasattr(self, name):
                delattr(self, name)
        if as_text(self.text) is None:
            return
        sequence_text.refuse_others(self)

    def _read(self, X: object, lengths: object, y: object = None, *, fitting: bool = False) -> Sequences:
        text = as_text(self.text)
        if text is None:
            return super()._read(X, lengths, y, fitting=fitting)
        if lengths is not None:
            raise OptionError("lengths came with texts, which have their own.", "Drop lengths.")
        return sequence_text.read_texts(X, text, getattr(self, "codec_", None), y=y)

    def _read_targets(
        self, y: object, sequences: Sequences, per_step: bool | None, name: str = "y"
    ) -> Targets:
        if as_text(self.text) is None:
            return super()._read_targets(y, sequences, per_step, name)
        if isinstance(y, str) and sequences.target is not None:
            y = sequences.target
        return super()._read_targets(y, sequences, False, name)

    def _split(self, everything: Part) -> tuple[Part, Part | None]:
        train, validation = super()._split(everything)
        text = as_text(self.text)
        if text is None:
            return train, validation
        self._text_learned = learned = sequence_text.learn(
            [sequence_text.text_of(array) for array in train.arrays], text
        )
        self.codec_ = learned.codec
        train = replace(train, arrays=sequence_text.encode(train.arrays, learned.codec, "training"))
        if validation is not None:
            validation = replace(
                validation, arrays=sequence_text.encode(validation.arrays, learned.codec, "validation")
            )
        self.text_ = TextFitted(
            found=None if learned.matrix is None else int(learned.matrix[1].sum()),
            unseen=None
            if validation is None
            else sequence_text.unseen_share(validation.arrays, learned.codec),
        )
        return train, validation

    def _embeddings(self) -> list[EmbeddingConfig]:
        text = as_text(self.text)
        if text is None:
            return super()._embeddings()
        assert self._text_learned is not None
        return [sequence_text.embedding(self.codec_, text, self._text_learned.size)]

    def _build(self, layers: Sequence[Layer], input_size: int, output_size: int) -> Stack:
        network = super()._build(layers, input_size, output_size)
        if as_text(self.text) is None:
            return network
        assert self._text_learned is not None
        first = next(iter(network.layers.values()))
        assert isinstance(first, Embedding)
        sequence_text.start(first, self._text_learned)
        self._text_learned = None  # the network has the vectors now
        return network

    # ---- what the classifier brings to fit -----------------------------------------------------------------

    def _check_targets(self, targets: Targets) -> None:
        from sklearn.utils.multiclass import check_classification_targets

        try:
            check_classification_targets(targets.values)
        except ValueError as error:
            raise LabelError(
                f"y does not hold labels: {error}", "For numbers, use SequenceRegressor."
            ) from error

    def _learn_targets(self, train: Targets) -> None:
        self.classes_ = np.unique(train.values)
        if len(self.classes_) < 2:
            raise LabelError(
                f"y has one class only ({_item(self.classes_[0])!r}): SequenceClassifier can't train when "
                "only one class is present in the training part.",
                "Give sequences of at least two classes.",
            )
        self.outputs_ = len(self.classes_)
        self.class_weight_ = self._weights(train.values)

    def _weights(self, values: Array) -> tuple[float, ...] | None:
        if self.class_weight is None:
            return None
        counts = np.array([(values == label).sum() for label in self.classes_], dtype=np.float64)
        if isinstance(self.class_weight, str):
            if self.class_weight != "balanced":
                raise OptionError(
                    f"class_weight is {self.class_weight!r} but must be 'balanced', a mapping of labels "
                    f"to weights, "
                    "or None."
                )
            return tuple(float(w) for w in len(values) / (len(counts) * counts))
        if not isinstance(self.class_weight, Mapping):
            raise DTypeError(
                f"class_weight is {type(self.class_weight).__name__} but must be 'balanced', a mapping or "
                f"None."
            )
        known = self.classes_.tolist()
        for label, weight in self.class_weight.items():
            if label not in known:
                raise OptionError(f"class_weight: {unknown(str(label), [str(k) for k in known], 'class')}")
            if not (isinstance(weight, (int, float, np.number)) and 0 <= weight < float("inf")):
                raise OptionError(
                    f"class_weight of {label!r} is {weight!r} but must be a number of at least 0."
                )
        given = {label: float(weight) for label, weight in self.class_weight.items()}
        if not any(given.get(label, 1.0) > 0 for label in known):
            raise OptionError("class_weight is zero for every class, so there is nothing to learn from.")
        return tuple(given.get(label, 1.0) for label in known)

    def _encode(self, targets: Targets) -> Tensor:
        values = targets.values
        if values.dtype.kind != self.classes_.dtype.kind and "U" in (
            values.dtype.kind,
            self.classes_.dtype.kind,
        ):
            raise LabelError(
                f"y holds labels like {_item(values[0])!r} but the classes are "
                f"{listed(map(repr, self.classes_.tolist()))}."
            )
        place = np.searchsorted(self.classes_, values).clip(max=len(self.classes_) - 1)
        strange = self.classes_[place] != values
        if strange.any():
            first = _item(values[int(np.argmax(strange))])
            raise LabelError(
                f"the label {first!r} is not among the classes of the training part: "
                f"{listed(map(repr, self.classes_.tolist()), 10)}.",
                "Give training sequences of that class, or leave these out.",
            )
        return torch.from_numpy(place.astype(np.int64))

    def _begin_stream_targets(self, targets: Array, classes: object) -> None:
        if classes is None:
            raise LabelError(
                "classes must be passed on the first call to partial_fit.",
                "A stream does not tell which labels are still to come: classes=['left', 'right'].",
            )
        self.classes_ = _unique(classes)
        if len(self.classes_) < 2:
            raise LabelError(f"classes has {len(self.classes_)} label, but there must be at least two.")
        if isinstance(self.class_weight, str):
            raise OptionError(
                "class_weight='balanced' counts the labels, and a stream has no end to count to.",
                "Give a mapping of labels to weights, or None.",
            )
        self.outputs_ = len(self.classes_)
        self.class_weight_ = self._weights(self.classes_)

    def _check_classes(self, classes: object) -> None:
        if classes is not None and not np.array_equal(_unique(classes), self.classes_):
            came, known = (listed(map(repr, c.tolist())) for c in (_unique(classes), self.classes_))
            raise LabelError(
                f"`classes={came}` is not the same as on last call to partial_fit, was: {known}.",
                "Leave classes out after the first call.",
            )

    def _stream_targets(self, targets: Array, rows: Rows) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
        return self._encode(Targets(values=targets, per_step=True)), None, {}

    def _row_loss(self, train: Targets) -> RowLoss:
        if isinstance(self.loss, str):
            if self.loss not in LOSSES:
                raise OptionError(unknown(self.loss, LOSSES, "loss of a classifier"))
            return get_loss("cross_entropy", class_weight=self.class_weight_)
        loss = get_loss(self.loss)
        return loss if self.class_weight_ is None else Weighted(loss, self.class_weight_)

    def _stratify(self, targets: Targets) -> Array | None:
        return None if targets.per_step else np.unique(targets.values, return_inverse=True)[1]

    def _measure(self, outputs: Array, targets: Targets) -> dict[str, float]:
        return figures(self._encode(targets).numpy(), softmax(outputs))

    def _baselines(self, train: Part, validation: Part) -> list[dict[str, Any]]:
        if as_text(self.text) is not None:
            truth = self._encode(validation.targets).numpy()
            return [
                {"name": name, **figures(truth, shares)}
                for name, shares in sequence_text.bag_of_tokens(
                    train.arrays,
                    self._encode(train.targets).numpy(),
                    validation.arrays,
                    size=len(self.codec_),
                    classes=self.outputs_,
                    sample_weight=train.weights,
                ).items()
            ]
        from saiki.models.baselines_pooled import classify_baseline

        return classify_baseline(
            train.arrays,
            self._encode(train.targets).numpy(),
            validation.arrays,
            self._encode(validation.targets).numpy(),
            per_step=self.per_step_,
            classes=self.outputs_,
            measure=figures,
            sample_weight=train.weights,
        )

    def _details(self, outputs: Array, validation: Part) -> dict[str, Any]:
        truth = self._encode(validation.targets).numpy()
        matrix = np.zeros((self.outputs_, self.outputs_), dtype=np.int64)
        np.add.at(matrix, (truth, outputs.argmax(axis=1)), 1)
        labels = [str(c) for c in self.classes_]
        details: dict[str, Any] = {"confusion": matrix.tolist(), "labels": labels}
        if as_text(self.text) is not None:
            details["texts"] = sequence_text.shown(
                self.codec_, validation.arrays, truth, softmax(outputs), labels
            )
        return details

    def _figures_shown(self) -> list[tuple[str, Metric]]:
        from saiki.insight import Metric

        return [
            ("accuracy", Metric(name="accuracy", lower_is_better=False, percent=True)),
            ("f1", Metric(name="mean F1 of the classes", lower_is_better=False)),
            ("log_loss", Metric(name="log loss", unit="nats")),
        ]

    def _facts(self) -> list[Fact]:
        from saiki.insight import Fact

        names = listed([str(c) for c in self.classes_], 12)
        facts = [Fact(name="classes", value=float(len(self.classes_)), note=names), *super()._facts()]
        text = as_text(self.text)
        return facts if text is None else [*facts, *sequence_text.facts(self.codec_, text, self.text_)]

    def _summary(self) -> str:
        if as_text(self.text) is None:
            return super()._summary()
        return f"One label a text, read as {self.codec_.tokenizer.name}, each with a vector of its own."

    def _pictures(self) -> list[Picture]:
        from saiki.insight import figures as draw
        from saiki.insight import picture

        if "confusion" not in self.details_:
            return []
        matrix, labels = np.array(self.details_["confusion"]), self.details_["labels"]
        what = "steps" if self.per_step_ else "sequences" if as_text(self.text) is None else "texts"
        drawn = [
            picture(
                "Confusion matrix",
                f"Validation {what}: rows are the true classes, columns what the model said.",
                lambda width: draw.confusion(matrix, labels, width=width),
                width=620,
            )
        ]
        if self.details_.get("texts"):
            drawn.append(sequence_text.samples_shown(self.details_["texts"]))
        return drawn

    def _loss_shown(self) -> str:
        return "cross-entropy, nats" if isinstance(self.loss, str) else "loss"

    # ---- streams -------------------------------------------------------------------------------------------

    def partial_fit(self, X: object, y: object, classes: object = None, *, learn: bool = True) -> Self:
        """Learn from the next rows of a stream; the network's state is kept from call to call.

        An update follows every so many rows, as `rule` says, counted from where the stream begins: rows in
        blocks of any size give the same bits as rows one at a time. After `fit` its scaling stays; a model
        that begins here scales the inputs by what was seen up to each row. Validation, epochs and batches
        have no meaning here. All or nothing: where this raises, the model is as it was.

        Args:
            X: new rows: (T, F), or one array a stream for several streams.
            y: a label for each row, (T,), or one array a stream.
            classes: all labels that can come; needed on the first call of a model that was not fitted.
            learn: False reads the rows and moves the state (and running scaling) on, but changes no weight.

        Returns:
            self.

        Raises:
            LabelError: no classes on the first call, others later, or a label that is none of them.
            ShapeError, DTypeError, ValueRangeError: what is wrong with the rows.
            OptionError, UsageError: the rule carries nothing, the network reads backwards or looks at other
                steps, the model answers once a sequence, or other streams than before.
            NonFiniteError: the loss or a gradient became infinite or NaN.
        """
        if as_text(self.text) is not None:
            raise UsageError(
                "a classifier of texts does not learn from a stream of rows.",
                "Fit it again on all texts.",
            )
        return self._partial_fit(X, y, classes, learn)

    def predict_stream(self, X: object) -> Array | list[Array]:
        """The most probable class at the rows that come next in the stream; nothing moves on.

        Args:
            X: the next rows, in the form that `partial_fit` takes.

        Returns:
            (T,) labels, or one array a stream.
        """
        outputs, rows = self._stream_outputs(X)
        return rows.as_came(self.classes_[outputs.argmax(axis=1)])

    def predict_proba_stream(self, X: object) -> Array | list[Array]:
        """Probability of each class at the rows that come next in the stream; nothing moves on.

        Args:
            X: the next rows, in the form that `partial_fit` takes.

        Returns:
            (T, K), or one array a stream; columns in the order of `classes_`.
        """
        outputs, rows = self._stream_outputs(X)
        return rows.as_came(softmax(outputs))

    # ---- predict -------------------------------------------------------------------------------------------

    def predict_proba(self, X: object, lengths: object = None) -> Array | list[Array]:
        """Probability of each class, columns in the order of `classes_`.

        Args:
            X: sequences in any form fit takes.
            lengths: steps in use of a padded array.

        Returns:
            (n, K); for one label a step one (T_i, K) array a sequence, in the form X came.
        """
        self._require_fitted()
        sequences = self._read(X, lengths)
        return as_found(softmax(self._run(sequences.arrays)), sequences, self.per_step_)

    def predict(self, X: object, lengths: object = None) -> Array | list[Array]:
        """The most probable class.

        Args:
            X: sequences in any form fit takes.
            lengths: steps in use of a padded array.

        Returns:
            (n,) labels; for one label a step one (T_i,) array a sequence, in the form X came.
        """
        self._require_fitted()
        sequences = self._read(X, lengths)
        labels = self.classes_[self._run(sequences.arrays).argmax(axis=1)]
        return as_found(labels, sequences, self.per_step_)

    def score(self, X: object, y: object, sample_weight: object = None, lengths: object = None) -> float:
        """Share of right answers, over sequences or over all their steps.

        Args:
            X: sequences in any form fit takes.
            y: labels in any form fit takes.
            sample_weight: weights of the sequences (or steps).
            lengths: steps in use of a padded array.
        """
        self._require_fitted()
        sequences = self._read(X, lengths, y)
        targets = self._read_targets(y, sequences, self.per_step_)
        right = self.classes_[self._run(sequences.arrays).argmax(axis=1)] == targets.values
        return float(np.average(right, weights=None if sample_weight is None else np.asarray(sample_weight)))

    # ---- files ---------------------------------------------------------------------------------------------

    def _option(self, name: str, value: Any) -> Any:  # noqa: ANN401  JSON out
        if name == "class_weight" and isinstance(value, Mapping):
            return [[_item(label), float(weight)] for label, weight in value.items()]
        if name == "text":
            text = as_text(value)
            return None if text is None else text.to_mapping()
        return super()._option(name, value)

    @classmethod
    def _arguments(cls, options: dict[str, Any]) -> dict[str, Any]:
        pairs = options["class_weight"]
        if isinstance(pairs, list):
            if any(len(pair) != 2 or not isinstance(pair[1], (int, float)) for pair in pairs):
                raise SchemaError("options: class_weight must hold pairs of a label and a weight.")
            options = {**options, "class_weight": dict(pairs)}
        return super()._arguments(options)

    def _fitted(self) -> ClassifierFitted:
        return ClassifierFitted(
            classes=[_item(c) for c in self.classes_.tolist()],
            classes_dtype=self.classes_.dtype.kind,
            n_features_in=self.n_features_in_,
            per_step=self.per_step_,
            tokens=self.tokens_,
            feature_names=None if self.feature_names_ is None else list(self.feature_names_),
            features=self.features_.to_file(),
            text=None if as_text(self.text) is None else self.text_,
        )

    def _documents(self) -> dict[str, bytes]:
        return {} if as_text(self.text) is None else self.codec_.documents()

    def _restore_documents(self, documents: Mapping[str, bytes]) -> None:
        if as_text(self.text) is None:
            super()._restore_documents(documents)
            return
        self.codec_ = TextCodec.of_documents(documents)
        first = self.layers_[0][1] if isinstance(self.layers_[0], tuple) else self.layers_[0]
        if not isinstance(first, EmbeddingConfig) or first.num_embeddings != len(self.codec_):
            raise SchemaError(
                f"vocabulary.json has {len(self.codec_)} tokens, which do not fit the network's first layer."
            )

    def _restore(self, fitted: ClassifierFitted, tensors: Mapping[str, Array]) -> None:
        if fitted.classes_dtype not in _KINDS:
            raise SchemaError(
                f"classes_dtype is {fitted.classes_dtype!r} but must be one of {listed(_KINDS)}."
            )
        self.classes_ = np.array(fitted.classes, dtype=_KINDS[fitted.classes_dtype])
        if len(self.classes_) < 2 or len(np.unique(self.classes_)) != len(self.classes_):
            raise SchemaError("classes must hold at least two labels, each once.")
        self.outputs_ = len(self.classes_)
        self.n_features_in_ = fitted.n_features_in
        self.per_step_ = fitted.per_step
        self.tokens_ = fitted.tokens
        self.feature_names_ = None if fitted.feature_names is None else tuple(fitted.feature_names)
        self._restore_features(fitted.features, tensors)
        if as_text(self.text) is not None:
            if fitted.text is None:
                raise SchemaError("fitted: text is missing, though the options say that texts are read.")
            self.text_ = fitted.text


_KINDS: dict[str, type] = {"U": str, "O": object, "b": bool, "i": np.int64, "u": np.int64, "f": np.float64}


def figures(truth: Array, probabilities: Array) -> dict[str, float]:
    """Accuracy, mean F1 of the classes, log loss in nats; of class numbers and (rows, K) probabilities."""
    found = probabilities.argmax(axis=1)
    return {
        "accuracy": float(metrics.accuracy(truth, found)),
        "f1": float(metrics.f1(truth, found)),
        "log_loss": float(metrics.log_loss(truth, probabilities)),
    }


def softmax(logits: Array) -> Array:
    """exp(a_k) / Σ_j exp(a_j) over the last axis, in float64 so that rows sum to 1 within rounding."""
    a = logits.astype(np.float64)
    e = np.exp(a - a.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _unique(classes: object) -> Array:
    """Labels, sorted, each once."""
    return np.unique(of_one_kind(np.asarray(classes)))


def _item(value: object) -> Any:  # noqa: ANN401  a label as JSON has it
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if isinstance(plain, (str, bool, int, float)) else str(plain)
