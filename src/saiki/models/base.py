"""What every task shares: scikit-learn's parameter rules, building the network, the training call, saving.

A task (`forecaster.py`, `classifier.py`, `regressor.py`) is a final class under `Estimator`. It brings

    task            its name in config.json and in TASKS
    OptionsFile     a frozen dataclass, one field a constructor argument: the closed schema of its options
    FittedFile      a frozen dataclass: the closed schema of what fit learned beside the tensors
    _fitted()       -> FittedFile, what fit learned (classes, sizes, names)
    _tensors()      -> the arrays fit learned besides the network's (scaling), by name
    _restore(fitted, tensors)   the way back

and calls, inside its own fit, `_begin`, `_layers`, `_build` and `_train`, in this order. A task whose network
is no `Stack` makes it in a method of its own and in `_assemble`, sets `layers_`, and leaves `_build` out.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from torch import Tensor

from saiki.core.errors import DTypeError, OptionError, SchemaError
from saiki.core.names import choose
from saiki.core.random import generator, seed_from
from saiki.core.record import FitRecord
from saiki.learning import BPTT, Observer, ProgressBar, Source, Trainer, Training, get_rule
from saiki.losses import Loss
from saiki.models.options import (
    CELL_LAYERS,
    DTYPES,
    Array,
    Layer,
    RandomState,
    Rule,
    TrainingOptions,
    as_layer,
    did_you_mean,
    plain_option,
    recurrent_layer,
)
from saiki.models.sizing import parameter_note, suggest_size
from saiki.nn import (
    DropoutConfig,
    Stack,
)

if TYPE_CHECKING:
    from saiki.learning import LRRange
    from saiki.models.inside import Kept
    from saiki.nn import Summary

logger = logging.getLogger("saiki")

# Arguments that change neither the data nor a single weight; a run may be resumed with others.
_TALK = ("verbose", "baselines", "unit")

STREAM = "stream.safetensors"  # what a model carries from row to row of a stream, beside its weights

_searching: ContextVar[bool] = ContextVar("saiki_searching", default=False)


@contextmanager
def searching() -> Iterator[None]:
    """Switch baselines off for the fits inside: `with saiki.models.searching(): study.optimize(...)`.

    A search fits the same data many times and needs its baselines once. scikit-learn's own searches and
    cross-validations are noticed without this.
    """
    token = _searching.set(True)
    try:
        yield
    finally:
        _searching.reset(token)


def inside_search() -> bool:
    """Whether this fit is one of many on the same data: under `searching()`, or a fold of scikit-learn's.

    scikit-learn gives an estimator no sign that it is being searched over, in this process or a worker, so
    the call stack is asked: every fold of GridSearchCV, cross_val_score and their kin is fitted by
    `_fit_and_score`. The final refit of the best parameters is not, and measures its baselines.
    """
    if _searching.get():
        return True
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "_fit_and_score" and frame.f_globals.get("__name__", "").startswith(
            "sklearn."
        ):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


class Estimator(BaseEstimator):
    """The common face of all tasks; abstract, a task is a final class under it.

    Constructor arguments every task takes (each task writes them out in its own `__init__`, which only
    stores them, as scikit-learn's rules say):

    Args (a task whose network has one form only leaves out those from network to loss that it has no use
    for, and rule):
        network: layer configs (or mappings with a "type"), the head left out or given; None builds the
            shorthand below.
        cell: "elman", "jordan", "lstm", "elementwise_lstm" or "gru".
        hidden_size: units a layer, or "auto": as many as ten training values a parameter allow.
        num_layers: recurrent layers.
        bidirectional: run each layer in both directions of time.
        dropout: share of the units dropped after each recurrent layer, in [0, 1).
        loss: "auto", a name of saiki.losses, or a differentiable callable.
        lr: learning rate.
        max_epochs: epochs at most.
        batch_size: sequences (windows) an update; "all" takes the whole training part.
        patience: evaluations without a new best before training stops; None never stops early.
        training: `saiki.learning.Training`, everything else about how the network learns; its fields are
            parameters too: `set_params(training__clip_norm=0.5)`.
        rule: the learning rule, by name ("bptt"), as a mapping ({"type": "truncated_bptt", "window": 50}) or
            as a value of `saiki.learning`; None takes `training`'s, which is BPTT unless it says otherwise.
        baselines: measure simple models on the same split; never inside a search (`inside_search`).
        random_state: seed; the same seed, data and machine give the same bits.
        device: "cpu", "cuda", "cuda:1" or "auto".
        dtype: "float32" or "float64".
        engine: name of the recurrent engine; None lets saiki choose.
        verbose: progress bar; None shows it where stderr is a terminal.

    Attributes:
        network_: the trained network, a `saiki.nn.Stack` or a module of the task's own.
        record_: `FitRecord`, what the training run left behind.
        baselines_: one dict a simple model: its name and its figures on the validation part.
        metrics_: this model's figures on the validation part.
        details_: what the report shows besides, as JSON.
        parameter_note_: parameters beside training values, in a sentence.
        n_features_in_: features a step.
        seed_: the seed in use.
    """

    task: ClassVar[str]
    OptionsFile: ClassVar[type[TrainingOptions]]
    FittedFile: ClassVar[type]

    network: Sequence[Layer | Mapping[str, Any]] | None
    cell: str
    hidden_size: int | str
    num_layers: int
    bidirectional: bool
    dropout: float
    loss: str | Callable[..., Tensor]
    lr: float
    max_epochs: int
    batch_size: int | str
    patience: int | None
    training: Training | None
    rule: Rule
    baselines: bool
    random_state: RandomState
    device: str
    dtype: str
    engine: str | None
    verbose: bool | None

    network_: torch.nn.Module
    record_: FitRecord
    baselines_: list[dict[str, Any]]
    metrics_: dict[str, float]
    details_: dict[str, Any]
    layers_: list[Layer]
    parameter_note_: str
    n_features_in_: int
    seed_: int
    _kept: Kept | None  # some sequences as the network is given them, for the report's look inside

    # ---- scikit-learn's parameters -------------------------------------------------------------------------

    def set_params(self, **params: Any) -> Self:  # noqa: ANN401  scikit-learn's signature
        """Set arguments by name; `training__NAME` replaces one field of `training`.

        Raises:
            OptionError: unknown name; the nearest known one is offered.
        """
        plain: dict[str, Any] = {}
        inner: dict[str, Any] = {}
        known = self.get_params(deep=False)
        for name, value in params.items():
            head, _, tail = name.partition("__")
            if head not in known or (tail and head != "training"):
                raise OptionError(
                    f"unknown parameter {name!r} of {type(self).__name__}{did_you_mean(head, known)}. "
                    f"Valid parameters are: {sorted(known)}"
                )
            (inner if tail else plain)[tail or name] = value
        for name, value in plain.items():
            setattr(self, name, value)
        if inner:
            training = self.training if self.training is not None else Training()
            names = [field.name for field in fields(Training)]
            for name in inner:
                if name not in names:
                    raise OptionError(
                        f"unknown parameter 'training__{name}'{did_you_mean(name, names)}. "
                        f"Training has: {sorted(names)}"
                    )
            self.training = replace(training, **inner)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def _require_fitted(self) -> None:
        if not hasattr(self, "network_"):
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted yet; call fit first, or saiki.load(folder)"
            )

    # ---- what fit does, in order ---------------------------------------------------------------------------

    def _begin(self, checkpoint: str | Path | None, resume: bool) -> None:
        """Check the options of the shorthand and settle the seed; the first thing a task's fit does."""
        given = self.get_params(deep=False)
        if "cell" in given:
            choose(self.cell, CELL_LAYERS, "cell")
        choose(self.dtype, DTYPES, "dtype")
        self._device()
        hidden_size = given.get("hidden_size", 1)
        if not (hidden_size == "auto" or _is_int(hidden_size, 1)):
            raise OptionError(
                f"hidden_size is {hidden_size!r} but must be a whole number from 1 on, or 'auto'"
            )
        for name in ("num_layers", "max_epochs"):
            if not _is_int(given.get(name, 1), 1):
                raise OptionError(f"{name} is {given[name]!r} but must be a whole number from 1 on")
        if self.batch_size != "all" and not _is_int(self.batch_size, 1):
            raise OptionError(
                f"batch_size is {self.batch_size!r} but must be a whole number from 1 on, or 'all'"
            )
        if self.patience is not None and not _is_int(self.patience, 1):
            raise OptionError(f"patience is {self.patience!r} but must be a whole number from 1 on, or None")
        if not (_is_number(self.lr) and 0 < self.lr < float("inf")):
            raise OptionError(f"lr is {self.lr!r} but must be a positive number; try 0.001")
        dropout = given.get("dropout", 0)
        if not (_is_number(dropout) and 0 <= dropout < 1):
            raise OptionError(f"dropout is {dropout!r} but must be a share from 0 up to, not including, 1")
        if self.training is not None and not isinstance(self.training, Training):
            raise DTypeError(
                f"training is {type(self.training).__name__} but must be saiki.learning.Training(...) or None"
            )
        self._training()
        loss = given.get("loss", "auto")
        if not isinstance(loss, str) and not callable(loss):
            raise DTypeError(f"loss is {type(loss).__name__} but must be a name or a callable")
        if resume and checkpoint is None:
            raise OptionError("resume=True needs checkpoint=FOLDER, the folder the earlier run wrote to")
        self.seed_ = self._settle_seed(checkpoint, resume)
        made = ("network_", "record_", "baselines_", "metrics_", "details_", "parameter_note_", "_kept")
        for name in made:
            if hasattr(self, name):
                delattr(self, name)

    def _training(self) -> Training:
        """`training` with the rule of this estimator.

        Raises:
            OptionError: an unknown rule, or `rule` and `training` name two.
        """
        training = self.training if self.training is not None else Training()
        own: Rule = getattr(self, "rule", None)
        if own is None:
            return training
        rule, other = get_rule(own), get_rule(training.rule)
        if other not in (BPTT(), rule):
            raise OptionError(
                f"rule is {rule!r} but training has another, {other!r}.", "Leave one of the two out."
            )
        return replace(training, rule=rule)

    def _settle_seed(self, checkpoint: str | Path | None, resume: bool) -> int:
        state = self.random_state
        if state is None:
            if resume and checkpoint is not None:
                from saiki.models.files import stored_seed

                stored = stored_seed(checkpoint)
                if stored is not None:
                    return stored
            return int(np.random.default_rng().integers(2**31))
        return seed_from(state)

    def _device(self) -> torch.device:
        """The torch device; "auto" takes CUDA where there is one."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
        except (RuntimeError, TypeError) as error:
            raise OptionError(
                f"device is {self.device!r} but must be 'cpu', 'cuda', 'cuda:N' or 'auto'"
            ) from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise OptionError(
                "device is 'cuda' but torch sees no CUDA device here; use device='cpu' or 'auto'"
            )
        return device

    def _torch_dtype(self) -> torch.dtype:
        return choose(self.dtype, DTYPES, "dtype")

    def _layers(
        self, *, values: int, input_size: int, output_size: int, after: Sequence[Layer]
    ) -> list[Layer]:
        """The layer configs of this fit: `network` as given, or the shorthand followed by `after` (pooling).

        Args:
            values: training values, for hidden_size="auto".
            input_size: features a step that reach the network.
            output_size: outputs of the head.
            after: configs after the recurrent layers when the shorthand is used.
        """
        if self.network is not None:
            if isinstance(self.network, (str, Mapping)) or not isinstance(self.network, Sequence):
                raise DTypeError(
                    f"network is {type(self.network).__name__} but must be a list of layer configs, "
                    "for instance [LSTMConfig(hidden_size=64), LastConfig()]"
                )
            if len(self.network) == 0:
                raise OptionError("network is an empty list; give at least one layer, or network=None")
            return [as_layer(entry, line) for line, entry in enumerate(self.network, start=1)]
        hidden_size = self.hidden_size
        if hidden_size == "auto":
            self.size_ = suggest_size(
                self.cell,
                values,
                input_size,
                output_size,
                num_layers=self.num_layers,
                bidirectional=self.bidirectional,
            )
            hidden_size = self.size_.hidden_size
            logger.info("hidden_size='auto': %s", self.size_)
        layers: list[Layer] = []
        for _ in range(self.num_layers):
            layers.append(recurrent_layer(self.cell, int(hidden_size), self.bidirectional, self.engine))
            if self.dropout > 0:
                layers.append(DropoutConfig(p=float(self.dropout)))
        return [*layers, *after]

    def _build(self, layers: Sequence[Layer], input_size: int, output_size: int) -> Stack:
        """Build the network with weights drawn from the seed; keeps the configs as `layers_`."""
        self.layers_ = list(layers)
        return Stack.build(
            layers,
            input_size,
            output_size,
            generator=generator(self.seed_, "weights"),
            dtype=self._torch_dtype(),
            device=self._device(),
        )

    def _train(
        self,
        network: torch.nn.Module,
        loss: Callable[..., Tensor] | Loss,
        train: Source,
        validation: Source | None,
        *,
        everything: Source | None = None,
        values: int,
        sequences: int,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        every_minutes: float | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Train `network`; sets `network_`, `record_` and `parameter_note_`.

        Whatever `_fitted` and `_tensors` read must be set before this is called: every checkpoint holds it
        beside the weights, so that a run that is killed leaves something `saiki.load` can read.

        Args:
            network: the network to train, left with its best weights.
            loss: one value a row (`saiki.losses.get_loss`), or one a sequence (`saiki.losses.SequenceLoss`).
            train: what the network learns from.
            validation: what early stopping watches; None watches nothing.
            everything: training and validation part together, for training's refit="all".
            values: training values, for the note on parameters.
            sequences: training sequences (windows).
            checkpoint: folder for checkpoints, or None.
            resume: go on from the newest good checkpoint.
            every_minutes: minutes between checkpoints; None writes one an epoch.
            observers: told of updates, validations and checkpoints; cannot change the result.
        """
        parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
        self.parameter_note_ = parameter_note(parameters, values, sequences)
        logger.info("%s", self.parameter_note_)
        show = self.verbose if self.verbose is not None else sys.stderr.isatty()
        training = self._training()
        get_rule(training.rule).start(network, 1)  # a network that the rule cannot train is refused here
        trainer = Trainer(
            training=training,
            lr=float(self.lr),
            max_epochs=int(self.max_epochs),
            batch_size=self.batch_size,  # type: ignore[arg-type]  # checked in _begin
            patience=self.patience,
            seed=self.seed_,
        )
        from saiki.models.inside import keep

        self._kept = keep(train, "training") if validation is None else keep(validation, "validation")
        files: dict[str, bytes] = {}
        if checkpoint is not None:
            from saiki.models.files import checkpoint_files

            files = checkpoint_files(self, network)
        record = trainer.fit(
            network,
            loss,
            train,
            validation,
            all_data=everything,
            observers=[*([ProgressBar()] if show else []), *observers],
            checkpoint=checkpoint,
            every_minutes=every_minutes,
            resume=resume,
            fingerprint=self._fingerprint(),
            files=files,
        )
        self.record_ = replace(
            record,
            parameters=parameters,
            training_values=int(values),
            training_sequences=int(sequences),
            notes=[*record.notes, self.parameter_note_],
        )
        network.eval()
        self.network_ = network

    def _fingerprint(self) -> str:
        """SHA-256 of the options that shape the result; the trainer adds the data's."""
        options = {name: value for name, value in self._options().items() if name not in _TALK}
        options["seed"] = self.seed_
        return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()

    # ---- files ---------------------------------------------------------------------------------------------

    def _options(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {name: self._option(name, value) for name, value in self.get_params(deep=False).items()}

    def _option(self, name: str, value: Any) -> Any:  # noqa: ANN401  JSON out
        """One constructor argument as JSON; a task with arguments of other kinds extends this."""
        return plain_option(name, value)

    def _fitted(self) -> object:
        """What fit learned beside tensors, an instance of `FittedFile`."""
        raise NotImplementedError

    def _tensors(self) -> dict[str, Array]:
        """The arrays fit learned besides the network's weights, by name."""
        raise NotImplementedError

    @classmethod
    def _arguments(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Constructor arguments out of the options that were read; the way back from `_options`."""
        return options

    def _assemble(
        self,
        layers: Sequence[Layer],
        input_size: int,
        output_size: int,
        fitted: Any,  # noqa: ANN401  a FittedFile
        *,
        source: torch.Generator,
        dtype: torch.dtype,
    ) -> torch.nn.Module:
        """The network of a model folder before its weights are put in; a task whose network is more than a
        stack of layers extends this.

        Args:
            layers: the configs that were read.
            input_size: features a step.
            output_size: of the network.
            fitted: what `_fitted` gave.
            source: for the weights, which are replaced at once.
            dtype: of the parameters.
        """
        del fitted
        return Stack.build(layers, input_size, output_size, generator=source, dtype=dtype)

    def _restore(self, fitted: Any, tensors: Mapping[str, Array]) -> None:  # noqa: ANN401  a FittedFile
        """Set the fitted attributes from what `_fitted` and `_tensors` gave."""
        raise NotImplementedError

    def _documents(self) -> dict[str, bytes]:
        """Further files of the model folder by name, such as vocabulary.json; {} where there are none."""
        return {}

    def _restore_documents(self, documents: Mapping[str, bytes]) -> None:
        """Take up what `_documents` gave; called after `_restore`.

        Raises:
            SchemaError: a file is missing, or does not fit the model.
        """
        if documents:
            raise SchemaError(f"a {self.task} has no file {min(documents)}.")

    def _stream_tensors(self) -> dict[str, Array]:
        """What a model that learns from a stream carries from row to row, for stream.safetensors; {} for one
        that carries nothing.
        """
        return {}

    def _restore_stream(self, tensors: Mapping[str, Array]) -> None:
        """Take up what `_stream_tensors` gave; called after `network_` and the fitted attributes are set.

        Raises:
            SchemaError: names or shapes do not fit the model.
        """
        raise SchemaError(f"the folder has a {STREAM}, but a {self.task} of these options carries nothing.")

    def save(self, folder: str | Path, force: bool = False) -> Path:
        """Write the model folder: model.safetensors, config.json, metrics.json, report.html, and
        stream.safetensors where the model carries a state from row to row.

        Args:
            folder: made if absent.
            force: replace a model that is already there.

        Returns:
            The folder.

        Raises:
            ModelFolderError: the folder already holds a model and force is False.
            DiskError: the disk is full or refuses.
        """
        from saiki.models.files import save

        self._require_fitted()
        return save(self, folder, force=force)

    def report(self) -> str | None:
        """The report as one self-contained HTML page; None where a task has none."""
        return None

    def lr_range(self, *data: Any, low: float = 1e-6, high: float = 10.0, steps: int = 100) -> LRRange:  # noqa: ANN401
        """Find a learning rate for these data and options; nothing is fitted, and this object stays as it is.

        Args:
            data: what `fit` takes: a table, or X and y.
            low: the lowest rate tried.
            high: the highest.
            steps: updates.
        Returns:
            The curves, and the rate that is suggested: `found.suggested`, `found.sentence()`.
        Raises:
            What `fit` raises of data and options, and `saiki.learning.lr_range_test` of the rates.
        """
        from saiki.models.range_test import lr_range

        return lr_range(self, *data, low=low, high=high, steps=steps)

    def summary(self, steps: int | None = None) -> Summary:
        """The table of layers, output shapes and parameters; `print` it."""
        self._require_fitted()
        network: Any = self.network_
        table: Summary = network.summary(steps)
        return table


def _is_int(value: object, low: int) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= low


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
