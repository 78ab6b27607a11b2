"""SequenceRegressor: how much, for a sequence or for each of its steps; several outputs allowed.

    x_1 … x_T → recurrent layers → h_T (or [h_T^→ ; h_1^←]) → ŷ = W h + b
    loss = mean over outputs of (ŷ - y)²            squared, one value a sequence (or step)

The network learns targets scaled to mean 0 and deviation 1 on the training rows; predictions are scaled back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, final

import numpy as np
import torch
from sklearn.base import RegressorMixin
from torch import Tensor

from saiki import metrics
from saiki.core.errors import DTypeError, OptionError, ShapeError
from saiki.core.names import unknown
from saiki.data.missing import Missing
from saiki.data.running import RunningScaler
from saiki.data.scaling import Scaler
from saiki.learning import Training
from saiki.losses import RowLoss, get_loss
from saiki.models.options import Array, CommonOptions, Layer, RandomState, Rule
from saiki.models.sequence import Part, Scaling, SequenceEstimator, SequenceOptions
from saiki.models.sequence_features import FeaturesFile, restore_scaler
from saiki.models.sequence_input import Layout
from saiki.models.sequence_rows import Rows
from saiki.models.sequence_targets import Targets, as_found

if TYPE_CHECKING:
    from saiki.insight import Metric, Picture

LOSSES = ("auto", "squared", "absolute", "huber", "gaussian")


@dataclass(frozen=True, kw_only=True)
class RegressorOptions(SequenceOptions):
    """The regressor's options, as config.json keeps them."""

    unit: str


@dataclass(frozen=True, kw_only=True)
class RegressorFitted:
    """What the regressor learned beside tensors, as config.json keeps it."""

    n_targets: int
    flat: bool
    n_features_in: int
    per_step: bool
    tokens: bool
    feature_names: list[str] | None
    features: FeaturesFile


@dataclass(frozen=True)
class MeanAndScale:
    """The Gaussian loss on a head of 2 K outputs: K means and K log-scales, interleaved."""

    loss: RowLoss

    def __call__(self, outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """ℓ of outputs (N, 2 K) read as (N, K, 2)."""
        return self.loss(outputs.reshape(*targets.shape, 2), targets, mask)


@final
class SequenceRegressor(RegressorMixin, SequenceEstimator):  # type: ignore[misc]
    """Regress numbers on sequences, or on every step of them.

    A y of (n,) or (n, K) is one row a sequence, a list of n arrays (T_i,) or (T_i, K) one row a step.

    Args:
        network: layer configs or mappings; None builds `num_layers` of `cell`, then Last.
        cell: "elman", "jordan", "lstm", "elementwise_lstm" or "gru".
        hidden_size: units a layer, or "auto" (ten training values a parameter).
        num_layers: recurrent layers.
        bidirectional: both directions of time; the head reads each direction's own end.
        dropout: share of units dropped after each recurrent layer, in [0, 1).
        loss: "auto" (squared), "absolute", "huber", "gaussian" (`predict(X, return_std=True)`), or a
            differentiable callable of (outputs (N, K), targets (N, K)), both scaled, one value a row.
        unit: of y, such as "ppm"; the report writes it behind the numbers.
        scaling: "standard" or "minmax", learned on the training rows and saved with the model; None reads the
            features as they are.
        validation: share of the sequences kept aside; (X, y); or None, which trains for all of `max_epochs`
            and measures nothing.
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
            each feature that has gaps in the training part, and leaves NaN in y out of loss and figures.
        lr: learning rate.
        max_epochs: epochs at most.
        batch_size: sequences an update; "all" takes the whole training part.
        patience: evaluations without a new best before training stops; None never stops early.
        training: everything else about how the network learns; `set_params(training__clip_norm=0.5)` works.
        rule: the learning rule, by name, as a mapping or as a value: "bptt", {"type": "truncated_bptt",
            "window": 50}, …; None is BPTT in `fit`, and in `partial_fit` truncated BPTT over 32 steps with an
            update a step. See `saiki.learning`.
        baselines: also measure the mean, linear and ridge regression on pooled features on the same split;
            never inside a search or cross-validation.
        random_state: seed; the same seed, data and machine give the same bits.
        device: "cpu", "cuda", "cuda:1" or "auto".
        dtype: "float32" or "float64".
        engine: name of the recurrent engine; None lets saiki choose.
        verbose: progress bar; None shows it where stderr is a terminal.

    Attributes:
        network_, record_, metrics_, baselines_, parameter_note_, n_features_in_, seed_: see `Estimator`.
    """

    task: ClassVar[str] = "regressor"
    OptionsFile: ClassVar[type[CommonOptions]] = RegressorOptions
    FittedFile: ClassVar[type] = RegressorFitted
    _labels: ClassVar[bool] = False

    unit: str
    n_targets_: int
    flat_: bool  # y was (n,), not (n, K)
    target_scaler_: Scaler

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
        unit: str = "",
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
        self.unit = unit
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

    # ---- what the regressor brings to fit ------------------------------------------------------------------

    def _check_targets(self, targets: Targets) -> None:
        if not isinstance(self.unit, str):
            raise DTypeError(f"unit is {type(self.unit).__name__} but must be text such as 'ppm'.")

    def _learn_targets(self, train: Targets) -> None:
        values = _table(train.values)
        self.flat_ = train.values.ndim == 1
        self.n_targets_ = values.shape[1]
        self.outputs_ = self.n_targets_ * (2 if self.loss == "gaussian" else 1)
        self.target_scaler_ = Scaler.fit(values, "standard", columns=self._target_names())

    def _target_names(self) -> list[str]:
        return ["y"] if self.n_targets_ == 1 else [f"y {k}" for k in range(self.n_targets_)]

    def _encode(self, targets: Targets) -> Tensor:
        values = _table(targets.values)
        if values.shape[1] != self.n_targets_:
            raise ShapeError(
                f"y has {values.shape[1]} outputs a row but the training part has {self.n_targets_}."
            )
        scaled = np.nan_to_num(self.target_scaler_.transform(values))  # 0 where the mask hides it
        return torch.from_numpy(scaled).to(self._torch_dtype())

    def _observed(self, targets: Targets) -> Tensor | None:
        gaps = np.isnan(_table(targets.values))
        return torch.from_numpy(~gaps) if gaps.any() else None

    def _begin_stream_targets(self, targets: Array, classes: object) -> None:
        self._check_targets(Targets(values=targets, per_step=True))
        self.flat_ = targets.ndim == 1
        self.n_targets_ = _table(targets).shape[1]
        self.outputs_ = self.n_targets_ * (2 if self.loss == "gaussian" else 1)
        self.running_targets_ = RunningScaler.start(self.n_targets_, "standard")
        self.target_scaler_ = self.running_targets_.fixed(self._target_names())

    def _stream_targets(self, targets: Array, rows: Rows) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
        values, order = _table(targets), rows.in_time()
        # rows that wait for a chunk are put together, so whether there is a mask may not depend on the rows
        seen = torch.from_numpy(~np.isnan(values)) if self.missing == "mask" else None
        if self.running_targets_ is None:
            return self._encode(Targets(values=targets, per_step=True)), seen, {}
        if values.shape[1] != self.n_targets_:
            raise ShapeError(f"y has {values.shape[1]} outputs a row but the stream has {self.n_targets_}.")
        scaled = np.empty_like(values)
        scaled[order], running = self.running_targets_.advance(values[order])
        moved = {"running_targets_": running, "target_scaler_": running.fixed(self._target_names())}
        return torch.from_numpy(np.nan_to_num(scaled)).to(self._torch_dtype()), seen, moved

    def _row_loss(self, train: Targets) -> RowLoss:
        if isinstance(self.loss, str) and self.loss not in LOSSES:
            raise OptionError(unknown(self.loss, LOSSES, "loss of a regressor"))
        if self.loss == "gaussian":
            return MeanAndScale(get_loss("gaussian"))
        return get_loss("squared" if self.loss == "auto" else self.loss)

    def _stratify(self, targets: Targets) -> Array | None:
        return None

    def _means(self, outputs: Array) -> Array:
        """(rows, K) predictions in the user's units."""
        means = outputs.reshape(len(outputs), self.n_targets_, -1)[:, :, 0].astype(np.float64)
        return np.asarray(self.target_scaler_.inverse(means))

    def _measure(self, outputs: Array, targets: Targets) -> dict[str, float]:
        return figures(_table(targets.values), self._means(outputs))

    def _baselines(self, train: Part, validation: Part) -> list[dict[str, Any]]:
        from saiki.models.baselines_pooled import regress_baseline

        return regress_baseline(
            train.arrays,
            _table(train.targets.values),
            validation.arrays,
            _table(validation.targets.values),
            per_step=self.per_step_,
            measure=figures,
            sample_weight=train.weights,
        )

    def _details(self, outputs: Array, validation: Part) -> dict[str, Any]:
        truth, found = _table(validation.targets.values), self._means(outputs)
        whole = np.isfinite(truth).all(axis=1)
        truth, found = truth[whole], found[whole]
        step = max(1, len(truth) // 500)  # enough points for a picture
        return {"truth": truth[::step].tolist(), "predicted": found[::step].tolist()}

    def _figures_shown(self) -> list[tuple[str, Metric]]:
        from saiki.insight import Metric

        return [
            ("rmse", Metric(name="root mean squared error", unit=self.unit)),
            ("mae", Metric(name="mean absolute error", unit=self.unit)),
            ("r2", Metric(name="R²", lower_is_better=False)),
        ]

    def _pictures(self) -> list[Picture]:
        from saiki.insight import figures as draw
        from saiki.insight import picture

        if not self.details_.get("truth"):
            return []
        truth, found = (np.array(self.details_[name]) for name in ("truth", "predicted"))
        what = "steps" if self.per_step_ else "sequences"
        names = ["y"] if truth.shape[1] == 1 else [f"output {k}" for k in range(truth.shape[1])]
        return [
            picture(
                f"Predicted beside true{'' if len(names) == 1 else f', {name}'}",
                f"Validation {what}, a dot each (at most 500): on the diagonal both agree.",
                lambda width, k=k: draw.agreement(truth[:, k], found[:, k], unit=self.unit, width=width),  # type: ignore[misc]
                width=520,
            )
            for k, name in enumerate(names[:4])
        ]

    def _loss_shown(self) -> str:
        name = "squared" if self.loss == "auto" else self.loss
        return f"{name} loss, scaled targets" if isinstance(name, str) else "loss"

    # ---- streams -------------------------------------------------------------------------------------------

    def partial_fit(self, X: object, y: object, *, learn: bool = True) -> Self:
        """Learn from the next rows of a stream; the network's state is kept from call to call.

        An update follows every so many rows, as `rule` says, counted from where the stream begins: rows in
        blocks of any size give the same bits as rows one at a time. After `fit` its scaling stays; a model
        that begins here scales inputs and targets by what was seen up to each row. Validation, epochs and
        batches have no meaning here. All or nothing: where this raises, the model is as it was.

        Args:
            X: new rows: (T, F), or one array a stream for several streams.
            y: a target for each row, (T,) or (T, K), or one array a stream. With missing="mask" NaN stands
                for one that is not known.
            learn: False reads the rows and moves the state (and running scaling) on, but changes no weight.

        Returns:
            self.

        Raises:
            ShapeError, LengthError, DTypeError, ValueRangeError: what is wrong with the rows.
            OptionError, UsageError: the rule carries nothing, the network reads backwards or looks at other
                steps, the model answers once a sequence, or other streams than before.
            NonFiniteError: the loss or a gradient became infinite or NaN.
        """
        return self._partial_fit(X, y, learn=learn)

    def predict_stream(self, X: object) -> Array | list[Array]:
        """The expected numbers at the rows that come next in the stream; nothing moves on.

        Args:
            X: the next rows, in the form that `partial_fit` takes.

        Returns:
            (T,) or (T, K), or one array a stream.
        """
        outputs, rows = self._stream_outputs(X)
        return rows.as_came(self._shaped(self._means(outputs)))

    # ---- predict -------------------------------------------------------------------------------------------

    def predict(
        self, X: object, lengths: object = None, *, return_std: bool = False
    ) -> Array | list[Array] | tuple[Array | list[Array], Array | list[Array]]:
        """The expected numbers, in the units of y.

        Args:
            X: sequences in any form fit takes.
            lengths: steps in use of a padded array.
            return_std: also give the standard deviation; the model must have learned it (loss="gaussian").

        Returns:
            (n,) or (n, K); for one row a step one (T_i,) or (T_i, K) array a sequence, in the form X came.

        Raises:
            OptionError: return_std on a model of another loss.
        """
        self._require_fitted()
        if return_std and self.loss != "gaussian":
            raise OptionError(
                f"return_std=True needs a model fitted with loss='gaussian', but this one has "
                f"loss={self.loss!r}."
            )
        sequences = self._read(X, lengths)
        outputs = self._run(sequences.arrays)
        means = as_found(self._shaped(self._means(outputs)), sequences, self.per_step_)
        if not return_std:
            return means
        from saiki.losses import gaussian_parameters

        pairs = torch.from_numpy(outputs.astype(np.float64)).reshape(len(outputs), self.n_targets_, 2)
        std = self.target_scaler_.inverse_width(gaussian_parameters(pairs)[1].numpy())
        return means, as_found(self._shaped(std), sequences, self.per_step_)

    def _shaped(self, values: Array) -> Array:
        return values[:, 0] if self.flat_ else values

    def score(self, X: object, y: object, sample_weight: object = None, lengths: object = None) -> float:
        """R², the share of the variance explained, averaged over outputs.

        Args:
            X: sequences in any form fit takes.
            y: numbers in any form fit takes.
            sample_weight: weights of the sequences (or steps).
            lengths: steps in use of a padded array.
        """
        from sklearn.metrics import r2_score

        self._require_fitted()
        sequences = self._read(X, lengths, y)
        truth = _table(self._read_targets(y, sequences, self.per_step_).values)
        found = self._means(self._run(sequences.arrays))
        whole = np.isfinite(truth).all(axis=1)
        weights = None if sample_weight is None else np.asarray(sample_weight)[whole]
        return float(r2_score(truth[whole], found[whole], sample_weight=weights))

    # ---- files ---------------------------------------------------------------------------------------------

    def _fitted(self) -> RegressorFitted:
        return RegressorFitted(
            n_targets=self.n_targets_,
            flat=self.flat_,
            n_features_in=self.n_features_in_,
            per_step=self.per_step_,
            tokens=self.tokens_,
            feature_names=None if self.feature_names_ is None else list(self.feature_names_),
            features=self.features_.to_file(),
        )

    def _tensors(self) -> dict[str, Array]:
        return {
            **super()._tensors(),
            **{f"target.{name}": values for name, values in self.target_scaler_.tensors().items()},
        }

    def _restore_running_targets(self, tensors: Mapping[str, Array]) -> RunningScaler:
        return RunningScaler.restore("standard", tensors, self.n_targets_)

    def _restore(self, fitted: RegressorFitted, tensors: Mapping[str, Array]) -> None:
        self.n_targets_ = fitted.n_targets
        self.flat_ = fitted.flat
        self.outputs_ = self.n_targets_ * (2 if self.loss == "gaussian" else 1)
        self.n_features_in_ = fitted.n_features_in
        self.per_step_ = fitted.per_step
        self.tokens_ = fitted.tokens
        self.feature_names_ = None if fitted.feature_names is None else tuple(fitted.feature_names)
        self._restore_features(fitted.features, tensors)
        self.target_scaler_ = restore_scaler(tensors, "target", "standard", self._target_names())


def _table(values: Array) -> Array:
    return values[:, None] if values.ndim == 1 else values


def figures(truth: Array, found: Array) -> dict[str, float]:
    """Errors over all rows and outputs in the units of y, and R² averaged over outputs."""
    return {
        "mae": float(metrics.mae(truth, found)),
        "rmse": float(metrics.rmse(truth, found)),
        "r2": float(np.mean([metrics.r2(truth[:, k], found[:, k]) for k in range(truth.shape[1])])),
    }
