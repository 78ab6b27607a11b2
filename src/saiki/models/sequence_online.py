"""`partial_fit` of the sequence tasks: learning from streams, row by row, with the state kept.

    rows → scaled by what was seen so far → network, state carried → learned from when a chunk is full

A model that was fitted goes on with the scaling that `fit` learned. One that begins with `partial_fit` scales
inputs and targets by the rows seen up to each row (`saiki.data.RunningScaler`), because there is nothing
else; so rows in blocks of any size give the same bits as rows one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from torch import Tensor

from saiki.core.checks import require_bool
from saiki.core.errors import OptionError, SaikiError, SchemaError, UsageError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.core.record import FitRecord
from saiki.data.categories import Categories
from saiki.data.missing import Missing
from saiki.data.running import RunningScaler
from saiki.learning import BPTT, Batch, TruncatedBPTT, get_rule
from saiki.learning.online import Online
from saiki.losses import RowLoss
from saiki.models.base import Estimator
from saiki.models.options import Array
from saiki.models.sequence_features import Features, embeds, tokens
from saiki.models.sequence_rows import UNTOUCHED, Rows, read_row_targets, read_rows
from saiki.models.sequence_targets import Targets
from saiki.models.sizing import parameter_note

ONLINE = TruncatedBPTT(window=32, stride=1)  # what partial_fit learns with where no rule was chosen
_STREAM = ("stream_", "running_", "running_targets_")
_FRESH = ("network_", "record_", "metrics_", "baselines_", "details_", "layers_", "n_features_in_")


class OnlineSequences(Estimator):
    """Abstract: what a sequence task needs to learn from streams. The task says what its targets are."""

    _labels: ClassVar[bool]

    scaling: Literal["standard", "minmax"] | None
    columns: Sequence[str] | None
    missing: Missing

    per_step_: bool
    feature_names_: tuple[str, ...] | None
    outputs_: int
    categories_: tuple[Categories, ...]
    features_: Features
    tokens_: bool
    stream_: Online
    running_: RunningScaler | None  # None: the scaling is fit's
    running_targets_: RunningScaler | None

    # ---- what a task brings --------------------------------------------------------------------------------

    def _check_reading(self) -> None:
        raise NotImplementedError

    def _begin_stream_targets(self, targets: Array, classes: object) -> None:
        """Learn from the first rows what y is; sets `outputs_`."""
        raise NotImplementedError

    def _stream_targets(self, targets: Array, rows: Rows) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
        """Targets as the loss wants them, where they were observed, and the attributes that moved on."""
        raise NotImplementedError

    def _check_classes(self, classes: object) -> None:
        """Refuse classes that differ from those of the first call."""

    def _row_loss(self, train: Targets) -> RowLoss:
        raise NotImplementedError

    # ---- learn ---------------------------------------------------------------------------------------------

    def _begin(self, checkpoint: str | Path | None, resume: bool) -> None:
        super()._begin(checkpoint, resume)
        for name in _STREAM:
            if hasattr(self, name):
                delattr(self, name)

    def _partial_fit(self, X: object, y: object, classes: object = None, learn: bool = True) -> Self:
        """See `partial_fit` of the task. All or nothing: where this raises, the model is as it was."""
        fresh = not hasattr(self, "network_")
        if fresh and not require_bool(learn, "learn"):
            raise NotFittedError(
                f"this {type(self).__name__} has learned nothing yet; call fit or partial_fit"
            )
        if not fresh:
            self._check_classes(classes)
            self._require_steps()
        rows = self._read_rows(X, fresh)
        targets = read_row_targets(y, rows, labels=self._labels, gaps=self.missing == "mask")
        if not fresh:
            self._learn(rows, targets, learn)
            return self
        try:
            self._begin_stream(rows, targets, classes)
            self._learn(rows, targets, learn)
        except BaseException:
            for name in (*_FRESH, *_STREAM):
                if hasattr(self, name):
                    delattr(self, name)
            raise
        return self

    def _read_rows(self, X: object, fresh: bool) -> Rows:
        return read_rows(
            X,
            features=None if fresh else self.n_features_in_,
            columns=self.columns,
            gaps=self.missing == "mask" and (fresh or bool(self.features_.masked)),
            known=None if fresh else self.feature_names_,
        )

    def _begin_stream(self, rows: Rows, targets: Array, classes: object) -> None:
        """Build the network for the first rows of a stream."""
        self._begin(None, False)
        self._check_reading()
        if self.missing == "interpolate":
            raise OptionError(
                "missing='interpolate' needs the value behind a gap, and in a stream it is not there yet.",
                "Use missing='mask', or fill the rows in.",
            )
        if self.hidden_size == "auto" and self.network is None:
            raise OptionError(
                "hidden_size='auto' counts the training values, and a stream has no end to count to.",
                "Give a number of units.",
            )
        if not sum(rows.lengths):
            raise UsageError("the first call of partial_fit came without a row.", "Give at least one.")
        self.n_features_in_ = rows.arrays[0].shape[1]
        self.feature_names_ = rows.columns
        self.categories_ = ()
        self.per_step_ = True
        self._begin_stream_targets(targets, classes)
        width = self.n_features_in_
        names = [f"column {k}" for k in range(width)] if rows.columns is None else list(rows.columns)
        self.running_ = RunningScaler.start(width, self.scaling)
        self.features_ = Features(
            width=width,
            missing=self.missing,
            scaler=self.running_.fixed(names),
            masked=tuple(range(width)) if self.missing == "mask" else (),
            categories=(),
            coded=(),
        )
        layers = self._layers(values=0, input_size=self.features_.size, output_size=self.outputs_, after=[])
        self.tokens_ = embeds(layers)
        network = self._build(layers, self.features_.size, self.outputs_)
        parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
        self.network_ = network.eval()
        self.record_ = FitRecord(parameters=parameters, seed=self.seed_, clip_norm=self._training().clip_norm)
        self.metrics_, self.baselines_, self.details_ = {}, [], {}
        self.parameter_note_ = parameter_note(parameters, 0, len(rows.arrays))
        self._open_stream(len(rows.arrays))

    def _open_stream(self, streams: int) -> None:
        training = self._training()
        if self.rule is None and isinstance(get_rule(training.rule), BPTT):
            training = replace(training, rule=ONLINE)
        for name in ("running_", "running_targets_"):
            if not hasattr(self, name):
                setattr(self, name, None)
        none = Targets(values=np.zeros(0), per_step=True)
        self.stream_ = Online(
            self.network_, self._row_loss(none), training=training, lr=float(self.lr), streams=streams
        )

    def _learn(self, rows: Rows, targets: Array, learn: bool) -> None:
        if not hasattr(self, "stream_"):
            self._open_stream(len(rows.arrays))
        self._require_streams(rows)
        if not sum(rows.lengths):
            return
        inputs, running = self._stream_inputs(rows)
        values, mask, moved = self._stream_targets(targets, rows)
        batch = Batch(
            Ragged.from_list(inputs),
            Ragged.from_list(list(values.split(rows.lengths))).data,
            None if mask is None else Ragged.from_list(list(mask.split(rows.lengths))).data,
            per_step=True,
        )
        device = next(self.network_.parameters()).device
        batch = replace(
            batch,
            inputs=batch.inputs.to(device),
            targets=batch.targets.to(device),
            mask=None if batch.mask is None else batch.mask.to(device),
        )
        begun = time.monotonic()
        made = self.stream_.learn(batch, weights=learn)
        if running is not None:
            self.running_ = running
            names = self.features_.scaler.columns
            self.features_ = replace(self.features_, scaler=running.fixed(names))
            seen = self.stream_.rows
            for update in made if learn else ():
                self.record_.add_update(*update)
            self.record_ = replace(
                self.record_,
                seconds=self.record_.seconds + time.monotonic() - begun,
                training_values=seen * self.n_features_in_,
                training_sequences=self.stream_.streams,
            )
            self.parameter_note_ = parameter_note(
                self.record_.parameters, seen * self.n_features_in_, self.stream_.streams
            )
        for name, value in moved.items():
            setattr(self, name, value)

    def _stream_inputs(self, rows: Rows) -> tuple[list[Tensor], RunningScaler | None]:
        """The network's inputs, one tensor a stream, and the scaling after these rows if it moves."""
        if self.tokens_:
            return [torch.from_numpy(tokens(a)) for a in rows.arrays], self.running_
        arrays, features, running = rows.arrays, self.features_, self.running_
        if running is not None and sum(rows.lengths) > 0:
            flat, order = np.concatenate(arrays), rows.in_time()
            scaled = np.empty_like(flat)
            scaled[order], running = running.advance(flat[order])
            arrays = rows.split(scaled)
        if running is not None:
            width, names = features.width, features.scaler.columns
            features = replace(features, scaler=RunningScaler.start(width, None).fixed(names))
        dtype = self._torch_dtype()
        inputs = [torch.from_numpy(features.encode(a, f"stream {b}")).to(dtype) for b, a in enumerate(arrays)]
        for b, x in enumerate(inputs):
            if not bool(torch.isfinite(x).all()):
                raise ValueRangeError(
                    f"stream {b} reaches {np.nanmax(np.abs(rows.arrays[b])):.3g}, which after scaling is too "
                    f"large for {self.dtype}.",
                    UNTOUCHED,
                )
        return inputs, running

    # ---- answer, end ---------------------------------------------------------------------------------------

    def _stream_outputs(self, X: object) -> tuple[Array, Rows]:
        """(N, outputs) network outputs at the rows that come next, stream after stream; nothing moves."""
        self._require_fitted()
        self._require_steps()
        rows = self._read_rows(X, fresh=False)
        if not hasattr(self, "stream_"):
            self._open_stream(len(rows.arrays))
        self._require_streams(rows)
        inputs, _ = self._stream_inputs(rows)
        device = next(self.network_.parameters()).device
        said = self.stream_.answer(Ragged.from_list(inputs).to(device))
        return torch.cat(said.to_list()).cpu().numpy(), rows

    def end_stream(self, streams: Sequence[int] | None = None, *, learn: bool = True) -> Self:
        """The sequences of the stream end here: what waits is learned from, and the next rows begin anew.

        Weights, optimiser and scaling stay.

        Args:
            streams: numbers of the streams that end; None: all.
            learn: False drops the rows that wait for their chunk to be full.
        """
        self._require_fitted()
        if hasattr(self, "stream_"):
            self.stream_.end(streams, learn=require_bool(learn, "learn"))
        return self

    def _stream_notes(self) -> list[str]:
        """What a report says of the stream."""
        if not hasattr(self, "stream_"):
            return []
        rows = self.stream_.rows
        if self.running_ is None:
            return [f"The figures are of the network as it was fitted; {rows:,} rows of a stream came after."]
        rule = self.stream_.rule
        return [] if self.rule is not None else [str(getattr(rule, "sentence", f"Learned with {rule!r}."))]

    def _require_streams(self, rows: Rows) -> None:
        if len(rows.arrays) != self.stream_.streams:
            raise UsageError(
                f"rows of {len(rows.arrays)} streams came, but this model learns from "
                f"{self.stream_.streams}: every call brings all of them, one without new rows as an empty "
                "array.",
                UNTOUCHED,
            )

    def _require_steps(self) -> None:
        if not self.per_step_:
            raise UsageError(
                "this model answers once a sequence, and partial_fit learns from a target a row.",
                "Fit it with one target a step, or begin a new model with partial_fit.",
            )
        if self.categories_:
            raise OptionError(
                "this model reads categories, and rows of a stream are numbers.",
                "Encode them as numbers before fitting.",
            )

    # ---- files ---------------------------------------------------------------------------------------------

    def _stream_tensors(self) -> dict[str, Array]:
        if not hasattr(self, "stream_"):
            return {}
        tensors = {name: value.cpu().numpy() for name, value in self.stream_.tensors().items()}
        tensors["streams"] = np.array([self.stream_.streams])
        for what, scaler in (("inputs", self.running_), ("targets", self.running_targets_)):
            if scaler is not None:
                tensors |= {f"running/{what}/{name}": value for name, value in scaler.tensors().items()}
        return tensors

    def _restore_running_targets(self, tensors: Mapping[str, Array]) -> RunningScaler:
        """The running scaling of the targets, of a task that has one."""
        raise SchemaError(f"the targets of a {self.task} are not scaled.")

    def _restore_stream(self, tensors: Mapping[str, Array]) -> None:
        left = dict(tensors)
        streams = left.pop("streams", np.zeros(0))
        if streams.shape != (1,) or streams.dtype.kind != "i" or not 1 <= int(streams[0]) <= 1_000_000:
            raise SchemaError("streams must be one whole number of at least 1.")
        self._require_steps()
        self.running_ = self.running_targets_ = None
        found = {
            what: {name.rpartition("/")[2]: left.pop(name) for name in list(left) if name.startswith(prefix)}
            for what, prefix in (("inputs", "running/inputs/"), ("targets", "running/targets/"))
        }
        if found["inputs"]:
            self.running_ = RunningScaler.restore(
                self.scaling or "none", found["inputs"], self.n_features_in_
            )
        if found["targets"]:
            self.running_targets_ = self._restore_running_targets(found["targets"])
        try:
            self._open_stream(int(streams[0]))
            self.stream_.load({name: torch.from_numpy(value) for name, value in left.items()})
        except SchemaError:
            raise
        except SaikiError as error:
            raise SchemaError(f"the stream does not fit the model: {error}") from error
