"""The trainer: it owns no rule, optimiser, schedule or stopping of its own, it composes them.

One update:

    losses, g, state = rule.gradient(network, loss, chunk, state)      refuse what is not finite
    g ← clip(g)
    w ← optimiser(w, g, η_0 · schedule(t))                             then validate, stop, checkpoint where
    due

Everything that decides the result is in the state of a checkpoint or a pure function of (seed, epoch), so a
run that was killed and resumed ends in the same bits as one that was not: on the same kind of machine, with
the same versions and number of threads.
"""

from __future__ import annotations

import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

import saiki
from saiki.core import random
from saiki.core.checks import require_int, require_number, require_positive
from saiki.core.errors import (
    CheckpointError,
    DataError,
    DTypeError,
    NonFiniteError,
    OptionError,
    SaikiError,
    SchemaError,
    UsageError,
)
from saiki.core.log import logger
from saiki.core.ragged import Ragged
from saiki.core.record import EpochRecord, FitRecord
from saiki.core.schema import strict
from saiki.learning.batching import BatchSize, batches, resolve_batch_size
from saiki.learning.checkpoints import (
    Checkpoint,
    has_checkpoints,
    newest_verified,
    next_number,
    remove_strays,
    save_checkpoint,
)
from saiki.learning.clipping import clipped, global_norm
from saiki.learning.observers import (
    CheckpointEvent,
    EndEvent,
    Observer,
    StartEvent,
    UpdateEvent,
    ValidationEvent,
)
from saiki.learning.optimisers import Optimizer, Updater, frozen_names
from saiki.learning.ratios import held_weights, update_ratios
from saiki.learning.rules import LearningRule, RuleState, objective, sequence_weights
from saiki.learning.schedules import Schedule, ScheduleState, checked_state
from saiki.learning.sources import Batch, Source
from saiki.learning.stopping import EarlyStopping, Stopping
from saiki.learning.training import Training
from saiki.losses import Custom, Loss, SequenceLoss, get_loss

EVALUATION_BATCH = (
    256  # sequences at a time where no gradient is kept: enough to fill the machine, little memory
)
LONG_RUN = 10.0  # seconds; below, nobody minds how long checkpoints take
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # in the repr of a user's own object; another in each process


@final
@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Trains a network on a source of sequences.

    Args:
        training: the options; see `Training`.
        lr: η_0 > 0.
        max_epochs: at least 1.
        batch_size: sequences a batch; 1 for single-sample learning, None or "all" for the whole set at once.
        patience: evaluations without a new best that end the training; None: never.
        seed: of the shuffle, and of torch's own generator for layers that draw from it.
    """

    training: Training = field(default_factory=Training)
    lr: float = 1e-3
    max_epochs: int = 100
    batch_size: BatchSize = 32
    patience: int | None = 10
    seed: int = 0

    def fit(
        self,
        network: torch.nn.Module,
        loss: str | Callable[..., Tensor] | Loss,
        train: Source,
        validation: Source | None = None,
        *,
        all_data: Source | None = None,
        observers: Sequence[Observer] = (),
        checkpoint: Path | str | None = None,
        every_minutes: float | None = None,
        resume: bool = False,
        fingerprint: str = "",
        files: Mapping[str, bytes] | None = None,
    ) -> FitRecord:
        """Train, and leave the network with the best weights, in evaluation mode.

        Without validation there is no early stopping and the last weights stay. With `refit="all"` the
        network is trained once more, from the same initial weights and dropout masks, on `all_data`, for as
        many updates as gave the best validation error and at the same rates; without validation there is
        nothing to refit.

        Args:
            network: takes `batch.inputs`, gives (B, …) or, for a target a step, a `Ragged`.
            loss: a name, a value of `saiki.losses`, or a callable.
            train: the sequences to learn.
            validation: the sequences that choose when to stop.
            all_data: both together, for `refit="all"`.
            observers: told what happens; they cannot change it.
            checkpoint: a folder for checkpoints: one before the first update, then one an epoch.
            every_minutes: a checkpoint every so many minutes instead, at the next update.
            resume: go on from the newest checkpoint that verifies.
            fingerprint: whatever else decides the result and the trainer cannot see, such as an estimator's
                options.
            files: put beside the weights in every checkpoint, by plain name, such as an estimator's
                configuration.
        Returns:
            The record of the run.
        Raises:
            NonFiniteError: a loss, a gradient or a weight became NaN or infinite; the message says at which
                update, which one, and what to try. The weights are those before that update, the last
                checkpoint is kept.
            CheckpointError: nothing to resume; other data or other options than the checkpoint's;
                checkpoints in the way of a new run.
            DiskError: a checkpoint could not be written; the one before it is intact.
            OptionError: an option that does not make sense.
            KeyboardInterrupt: passed on, after a checkpoint if there is a folder for one.
        """
        run = _Run(
            trainer=self,
            network=network,
            loss=loss if isinstance(loss, SequenceLoss) else get_loss(loss),
            train=train,
            validation=validation,
            all_data=all_data,
            observers=_Observers(observers),
            folder=None if checkpoint is None else Path(checkpoint),
            every_minutes=every_minutes,
            fingerprint=fingerprint,
            files=dict(files or {}),
        )
        return run.fit(resume)


def evaluate(
    network: torch.nn.Module, loss: Loss, source: Source, *, batch_size: int = EVALUATION_BATCH
) -> float:
    """The objective Σ w m ℓ / Σ w m over all sequences, in evaluation mode, without gradients.

    Args:
        network: its training flags are put back afterwards.
        loss: one value a row.
        source: the sequences.
        batch_size: sequences at a time.
    Raises:
        DataError: no target was observed.
    """
    total = weight = 0.0
    device = _device(network)
    flags = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            for indices in torch.argsort(source.lengths, stable=True, descending=True).split(batch_size):
                batch = source.batch(indices).to(device)
                parts = objective(loss, network(batch.inputs), batch)
                weights = sequence_weights(batch).cpu()
                # 0 · inf is NaN: a sequence of weight 0 must not decide
                total += float(torch.where(weights > 0, weights * parts.losses.cpu().double(), 0).sum())
                weight += float(weights.sum())
    finally:
        for module, flag in flags.items():
            module.training = flag
    if weight == 0:
        raise DataError(
            "the data to evaluate on hold no observed target.",
            "Choose other validation data, or fill the gaps.",
        )
    return total / weight


@dataclass(frozen=True)
class _Position:
    """Where a run stands: everything before it is done, everything after it is a function of the rest."""

    phase: str = "fit"  # "fit", "refit" or "done"
    epoch: int = 1
    batch: int = 0  # batches of this epoch that are done
    chunk: int = 0  # chunks of the next batch that are done
    update: int = 0
    validated: int = 0  # the update at which the validation error was last taken
    recorded: int = 0  # the update of the last entry of the record
    loss_sum: float = 0.0  # over this epoch: Σ w m ℓ
    weight_sum: float = 0.0  # over this epoch: Σ w m
    target: int = 0  # in "refit": how many updates to make


class _Observers:
    """Tells the observers, and sees to it that none of them changes or ends the run."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._listening = list(observers)
        self.ambient: dict[str, torch.Generator] = {}

    def tell(self, name: str, event: object) -> None:
        if not self._listening:
            return
        before = {key: g.get_state() for key, g in self.ambient.items()}
        gradients = torch.is_grad_enabled()
        try:
            for observer in tuple(self._listening):
                try:
                    getattr(observer, name)(event)
                except Exception:
                    self._listening.remove(observer)
                    kind = type(observer).__name__
                    logger.exception(
                        "observer %s failed in %s and hears no more; training goes on", kind, name
                    )
        finally:
            torch.set_grad_enabled(gradients)
            for key, generator in self.ambient.items():
                generator.set_state(before[key])


@dataclass(kw_only=True)
class _Run:
    """One call of `fit`: what changes while it runs."""

    trainer: Trainer
    network: torch.nn.Module
    loss: Loss
    train: Source
    validation: Source | None
    all_data: Source | None
    observers: _Observers
    folder: Path | None
    every_minutes: float | None
    fingerprint: str
    files: dict[str, bytes]

    def __post_init__(self) -> None:
        self.options = self.trainer.training.checked()
        require_positive(self.trainer.lr, "lr")
        require_int(self.trainer.max_epochs, "max_epochs", low=1)
        require_int(self.trainer.seed, "seed", low=0)
        resolve_batch_size(self.trainer.batch_size, 1)
        self.stopper = EarlyStopping(self.trainer.patience)
        if self.every_minutes is not None:
            require_number(self.every_minutes, "every_minutes", low=0)
        if not isinstance(self.network, torch.nn.Module):
            raise DTypeError(f"network is {type(self.network).__name__} but must be a torch.nn.Module.")
        for name, source in (
            ("train", self.train),
            ("validation", self.validation),
            ("all_data", self.all_data),
        ):
            if source is not None and len(source) == 0:
                raise DataError(f"{name} holds no sequence.", "Training needs at least one.")
        if self.options.refit == "all" and self.validation is not None and self.all_data is None:
            raise OptionError(
                "refit='all' needs the data to train on again.",
                "Give all_data, training and validation together.",
            )
        self.device = _device(self.network)
        assert isinstance(self.options.optimizer, Optimizer)
        assert isinstance(self.options.schedule, Schedule)
        assert isinstance(self.options.rule, LearningRule)
        self.optimizer: Optimizer = self.options.optimizer
        self.rule: LearningRule = self.options.rule
        self.schedule: Schedule = self.options.schedule.resolved(
            self._updates_of(self.train, self.trainer.max_epochs)
        )
        self.at = _Position()
        self.stopping = Stopping()
        self.schedule_state: ScheduleState = self.schedule.start()
        self.rule_state = RuleState()
        self.best: dict[str, Tensor] | None = None
        self.initial: dict[str, Tensor] = {}
        self.before: dict[str, Tensor] | None = None  # generators and buffers as an update began
        self.whole = True  # False while an update is half done, when nothing may be saved
        self.record = FitRecord()
        self.started = time.monotonic()
        self.seconds_before = 0.0
        self.saved_at = time.monotonic()
        self.saving = 0.0  # seconds spent on checkpoints

    # ---------------------------------------------------------------- the course of a run

    def fit(self, resume: bool) -> FitRecord:
        with self._frozen(), self._ambient():
            self._prepare(resume)
            try:
                self._train()
            except BaseException as error:
                self._interrupted(error)
                raise
            self.observers.tell("on_end", EndEvent(self.record.stopped_because, False, self.record.to_json()))
        self.network.eval()
        return self.record

    def _prepare(self, resume: bool) -> None:
        self.updater = self._new_updater()
        self.generators = {**_generators(self.network), **self.observers.ambient}
        if self.folder is not None:
            remove_strays(self.folder)
        if resume:
            if self.folder is None:
                raise OptionError("resume needs a folder of checkpoints.", "Give checkpoint=FOLDER.")
            self._take_up(newest_verified(self.folder))
            return
        if self.folder is not None and has_checkpoints(self.folder):
            raise CheckpointError(
                f"{self.folder} already holds checkpoints of another run.",
                "Give resume=True to go on with it, or name another folder.",
            )
        self.record = FitRecord(
            parameters=sum(p.numel() for p in self.network.parameters() if p.requires_grad),
            training_sequences=len(self.train),
            seed=self.trainer.seed,
            clip_norm=self.options.clip_norm,
            ratio_names=[name for name, p in self.network.named_parameters() if p.requires_grad],
            versions=_versions(),
            machine=_machine(self.device),
        )
        if self.options.refit == "all" and self.validation is not None:
            self.initial = {
                **_prefixed("network", {name: w.clone() for name, w in self._weights().items()}),
                **_prefixed("generator", {name: g.get_state() for name, g in self.generators.items()}),
            }
        if self.validation is None and self.trainer.patience is not None:
            self.record.notes.append(
                "No validation data: training did not stop early and the last weights were kept."
            )
        self._save()

    def _train(self) -> None:
        if self.at.phase == "fit":
            self._start("fit", self.train, self.trainer.max_epochs)
            self._epochs(self.train, self.trainer.max_epochs)
            self._finish_fit()
        if self.at.phase == "refit":
            assert self.all_data is not None
            per_epoch = max(self._updates_of(self.all_data, 1), 1)
            self._start("refit", self.all_data, math.ceil(self.at.target / per_epoch))
            self._epochs(self.all_data, sys.maxsize)
            self._finish_refit()

    def _epochs(self, source: Source, last: int) -> None:
        self.network.train()
        while self.at.epoch <= last and not self._stopped():
            order = self._batches(source, self.at.epoch)
            for number in range(self.at.batch, len(order)):
                batch = source.batch(order[number]).to(self.device)
                if self.at.chunk == 0:
                    self.rule_state = self.rule.start(self.network, batch.B)
                chunks = list(self.rule.chunks(batch))
                if not chunks:
                    raise UsageError(
                        f"the learning rule {self.rule!r} gave no chunk for a batch of {batch.B} sequences.",
                        "A rule gives at least one, even where every sequence is empty.",
                    )
                for chunk in range(self.at.chunk, len(chunks)):
                    self._validate_if_due()
                    if self._stopped():
                        break
                    done = chunk + 1 == len(chunks)
                    after = (number + 1, 0) if done else (number, chunk + 1)
                    self._update(chunks[chunk], order[number], after)
                    self._save_if_due()
                if self._stopped():
                    break
            self._end_epoch(complete=self.at.batch == len(order))

    def _end_epoch(self, complete: bool) -> None:
        entry = None
        if self.at.phase == "fit":
            self._validate_if_due(end_of_epoch=complete)
            self.whole = False
            if self.validation is None and complete:  # plateau then watches the training loss of the epoch
                self._observe_schedule(self._epoch_loss())
            if self.at.recorded != self.at.update:
                entry = self._enter(None)
        self._require_finite_weights()
        if complete:
            self.at = replace(
                self.at, epoch=self.at.epoch + 1, batch=0, chunk=0, loss_sum=0.0, weight_sum=0.0
            )
        self.whole = True
        if entry is not None:
            self.observers.tell("on_epoch", entry)
        if self.every_minutes is None and not self._stopped():
            self._save()

    def _stopped(self) -> bool:
        if self.at.phase == "refit":
            return self.at.update >= self.at.target
        return self.validation is not None and self.stopper.stops(self.stopping)

    def _finish_fit(self) -> None:
        if self.validation is not None and self.at.validated != self.at.update:
            self._validate()  # `every` may be longer than the run
        self.whole = False
        early = self._stopped()
        waited = f"{self.stopping.waited} evaluation{'s' if self.stopping.waited != 1 else ''}"
        self.record.stopped_because = f"no new best for {waited}" if early else "max_epochs reached"
        if self.best is not None:
            self.record.best_epoch = self.stopping.best_epoch
        if self.initial:
            self._begin_refit()
        else:
            if self.best is not None:
                self._load_weights(self.best, "the best weights")
                self.best = None
            self.at = replace(self.at, phase="done")
        self.whole = True
        self._finish() if self.at.phase == "done" else self._save()

    def _begin_refit(self) -> None:
        self._load_weights(_under("network", self.initial), "the initial weights")
        for name, state in _under("generator", self.initial).items():
            self.generators[name].set_state(state)
        self.updater = self._new_updater()
        self.at = _Position(phase="refit", target=self.stopping.best_update)

    def _finish_refit(self) -> None:
        self.whole = False
        self._require_finite_weights()
        assert self.all_data is not None
        self.record.notes.append(
            f"Trained again from the same initial weights on all {len(self.all_data)} sequences "
            f"for the best number of updates, {self.at.target}."
        )
        self.best = None
        self.initial = {}
        self.at = replace(self.at, phase="done")
        self.whole = True
        self._finish()

    def _finish(self) -> None:
        self.record.seconds = self._seconds()
        self._save()
        elapsed = time.monotonic() - self.started
        if elapsed > LONG_RUN and self.saving > elapsed / 2:
            logger.warning(
                "checkpoints took %.0f %% of the %.0f s: every_minutes=1 writes fewer of them",
                100 * self.saving / elapsed,
                elapsed,
            )

    def _interrupted(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt) and self.folder is not None and self.whole:
            # the forward pass may have drawn masks for an update that was not made
            if self.before is not None:
                self._put_back(self.before)
                self.before = None
            try:
                self._save()
            except SaikiError as failure:  # the interruption is what the caller must hear of
                logger.error("no checkpoint at the interruption: %s", failure)
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
        self.observers.tell("on_end", EndEvent(reason, True, None))

    # ---------------------------------------------------------------- one update

    def _update(self, chunk: Batch, indices: Tensor, after: tuple[int, int]) -> None:
        number = self.at.update + 1
        if self.folder is not None:
            self.before = self._fickle()
        losses, gradients, rule_state = self.rule.gradient(self.network, self.loss, chunk, self.rule_state)
        weights = sequence_weights(chunk).cpu()
        losses = torch.where(weights > 0, losses.detach().cpu().double(), 0)
        self._require_finite_losses(losses, indices, number)
        loss_sum, weight_sum = float((weights * losses).sum()), float(weights.sum())
        norm = global_norm(gradients)
        if not math.isfinite(norm):
            self._refuse_gradient(gradients, number)
        gradients, shortened = clipped(gradients, self.options.clip_value, self.options.clip_norm, norm)
        factor = self.schedule.factor(self.at.update, self.schedule_state)
        watched = self.at.phase == "fit" and self.record.wants_ratios(number)
        held = held_weights(self.network) if watched else {}
        self.whole = False
        self.updater.step(gradients, factor)
        self.rule_state = (
            rule_state if after[1] else RuleState()
        )  # a batch that is over leaves nothing behind
        self.at = replace(
            self.at,
            update=number,
            batch=after[0],
            chunk=after[1],
            loss_sum=self.at.loss_sum + loss_sum,
            weight_sum=self.at.weight_sum + weight_sum,
        )
        loss = loss_sum / weight_sum if weight_sum > 0 else 0.0
        if self.at.phase == "fit":
            self.record.add_update(number, loss, norm, shortened)
            if watched:
                self.record.add_ratios(number, update_ratios(held, self.network))
            if self.at.epoch == 1:
                self.record.training_values += _observed(chunk)
        self.before = None
        self.whole = True
        self.observers.tell(
            "on_update",
            UpdateEvent(
                phase="fit" if self.at.phase == "fit" else "refit",
                epoch=self.at.epoch,
                update=number,
                loss=loss,
                gradient_norm=norm,
                clipped=shortened,
                lr=self.trainer.lr * factor,
                seconds=self._seconds(),
            ),
        )

    # ---------------------------------------------------------------- validation

    def _validate_if_due(self, end_of_epoch: bool = False) -> None:
        if self.validation is None or self.at.phase != "fit" or self.at.update in (0, self.at.validated):
            return
        every = self.options.every
        if end_of_epoch if every == "epoch" else self.at.update % int(every) == 0:
            self._validate()

    def _validate(self) -> None:
        assert self.validation is not None
        size = max(resolve_batch_size(self.trainer.batch_size, len(self.validation)), EVALUATION_BATCH)
        value = evaluate(self.network, self.loss, self.validation, batch_size=size)
        if not math.isfinite(value):
            raise NonFiniteError(
                f"the validation loss is {value} after update {self.at.update}.", _advice(self.trainer.lr)
            )
        self.whole = False
        self.stopping = self.stopping.observe(value, self.at.update, self.at.epoch)
        is_best = self.stopping.best_update == self.at.update
        if is_best:
            self.best = {name: weight.clone() for name, weight in self._weights().items()}
        self._observe_schedule(value)
        entry = self._enter(value)
        self.whole = True
        assert self.stopping.best is not None
        self.observers.tell(
            "on_validation",
            ValidationEvent(
                epoch=self.at.epoch,
                update=self.at.update,
                loss=value,
                best=self.stopping.best,
                is_best=is_best,
                waited=self.stopping.waited,
            ),
        )
        self.observers.tell("on_epoch", entry)

    def _observe_schedule(self, value: float) -> None:
        self.schedule_state = self.schedule.observe(value, self.at.update, self.schedule_state)
        self.at = replace(self.at, validated=self.at.update)

    def _enter(self, validation_loss: float | None) -> EpochRecord:
        """Add an entry to the record."""
        last_factor = self.schedule.factor(max(self.at.update - 1, 0), self.schedule_state)
        entry = EpochRecord(
            epoch=self.at.epoch,
            updates=self.at.update,
            loss=self._epoch_loss(),
            validation_loss=validation_loss,
            lr=self.trainer.lr * last_factor,
            seconds=self._seconds(),
        )
        self.record.epochs.append(entry)
        self.at = replace(self.at, recorded=self.at.update)
        return entry

    def _epoch_loss(self) -> float:
        return self.at.loss_sum / self.at.weight_sum if self.at.weight_sum > 0 else 0.0

    # ---------------------------------------------------------------- what must not be

    def _require_finite_losses(self, losses: Tensor, indices: Tensor, update: int) -> None:
        if bool(torch.isfinite(losses).all()):
            return
        place = int((~torch.isfinite(losses)).nonzero()[0])
        raise NonFiniteError(
            f"the loss became {float(losses[place])} at update {update}, epoch {self.at.epoch}, first in "
            f"training sequence {int(indices[place])}; the weights are those before this update.",
            _advice(self.trainer.lr),
        )

    def _refuse_gradient(self, gradients: Mapping[str, Tensor], update: int) -> None:
        for name, gradient in gradients.items():
            bad = ~torch.isfinite(gradient)
            if bool(bad.any()):
                value = float(gradient[bad][0])
                raise NonFiniteError(
                    f"the gradient of {name} became {value} at update {update}, epoch {self.at.epoch} "
                    f"({int(bad.sum())} of {gradient.numel()} entries); the weights are those before it.",
                    _advice(self.trainer.lr),
                )
        raise NonFiniteError(
            f"the norm of the gradient overflowed at update {update}, epoch {self.at.epoch}; the weights are "
            "those before it.",
            _advice(self.trainer.lr),
        )

    def _require_finite_weights(self) -> None:
        for name, weight in self.network.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise NonFiniteError(
                    f"the parameter {name} is no longer finite after update {self.at.update}.",
                    _advice(self.trainer.lr),
                )

    # ---------------------------------------------------------------- checkpoints

    def _save_if_due(self) -> None:
        if self.every_minutes is not None and time.monotonic() - self.saved_at >= 60 * self.every_minutes:
            self._save()

    def _save(self) -> None:
        if self.folder is None:
            return
        self._require_finite_weights()
        current = self._weights()
        training = {
            **_prefixed("optimizer", self.updater.tensors()),
            **_prefixed("rule", self.rule_state.to_tensors()),
            **_prefixed("generator", {name: g.get_state() for name, g in self.generators.items()}),
            **_prefixed("initial", self.initial),
        }
        if self.best is not None:
            training.update(_prefixed("network", current))
        self.record.seconds = self._seconds()
        state = {
            "position": asdict(self.at),
            "schedule": dict(self.schedule_state),
            "stopping": asdict(self.stopping),
            "record": self.record.to_json(),
            "data": self._data,
            "options": self._options,
        }
        begin = time.monotonic()
        number = next_number(self.folder)
        path = save_checkpoint(
            self.folder,
            number,
            model=current if self.best is None else self.best,
            training=training,
            state=state,
            files=self.files,
        )
        self.saved_at = time.monotonic()
        self.saving += self.saved_at - begin
        self.observers.tell("on_checkpoint", CheckpointEvent(number, path, self.at.update))

    def _take_up(self, checkpoint: Checkpoint) -> None:
        state, path = checkpoint.state, checkpoint.path
        try:
            self._require_same(state["data"], self._data, path, "data")
            self._require_same(state["options"], self._options, path, "options")
            at = strict(_Position, state["position"], f"{path}: position")
            stopping = strict(Stopping, state["stopping"], f"{path}: stopping")
            record = FitRecord.from_json(state["record"], f"{path}: record")
            schedule_state = checked_state(self.schedule, state["schedule"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{path} lacks {error} in its state.") from error
        except SchemaError as error:
            raise CheckpointError(error.message, error.hint) from error
        for there in (record.versions, {k: str(v) for k, v in record.machine.items()}):
            now = (
                _versions()
                if there is record.versions
                else {k: str(v) for k, v in _machine(self.device).items()}
            )
            for key in sorted(set(there) | set(now)):
                if there.get(key) != now.get(key):
                    note = (
                        f"Resumed with {key} {now.get(key)} where it was {there.get(key)}: bits may differ."
                    )
                    logger.warning(note)
                    record.notes.append(note)
        tensors = checkpoint.training
        stored = _under("network", tensors)
        self._load_weights(stored or checkpoint.model, str(path))
        self.best = {n: w.to(self.device) for n, w in checkpoint.model.items()} if stored else None
        self.updater.load(_under("optimizer", tensors))
        self.rule_state = RuleState.from_tensors(
            {n: t.to(self.device) for n, t in _under("rule", tensors).items()}
        )
        self.initial = _under("initial", tensors)
        generators = _under("generator", tensors)
        if set(generators) != set(self.generators):
            raise CheckpointError(
                f"{path} has the random generators {sorted(generators)} but this run has "
                f"{sorted(self.generators)}."
            )
        for name, value in generators.items():
            self.generators[name].set_state(value)
        self.at, self.stopping, self.schedule_state, self.record = at, stopping, schedule_state, record
        self.seconds_before = record.seconds
        logger.info("resumed from checkpoint %s after %d updates", path, at.update)

    def _require_same(self, there: Mapping[str, Any], here: Mapping[str, Any], path: Path, what: str) -> None:
        if there == here:
            return
        differences = [
            _difference(key, there.get(key), here.get(key), what)
            for key in sorted(set(there) | set(here))
            if there.get(key) != here.get(key)
        ]
        raise CheckpointError(
            f"{path} was made with other {what}: {'; '.join(differences)}.",
            "Resume with the same, or train anew in another folder.",
        )

    @cached_property
    def _data(self) -> dict[str, str | None]:
        sources = {"training": self.train, "validation": self.validation, "refit": self.all_data}
        return {name: None if source is None else source.fingerprint() for name, source in sources.items()}

    @cached_property
    def _options(self) -> dict[str, Any]:
        trainer = self.trainer
        options = {f"training.{name}": value for name, value in self.options.to_mapping().items()}
        return {
            **options,
            "lr": float(trainer.lr),
            "max_epochs": int(trainer.max_epochs),
            "batch_size": trainer.batch_size,
            "patience": trainer.patience,
            "seed": int(trainer.seed),
            "loss": self.loss.name if isinstance(self.loss, Custom) else repr(self.loss),
            "network": _architecture(self.network),
            "fingerprint": self.fingerprint,
        }

    # ---------------------------------------------------------------- small parts

    def _start(self, phase: str, source: Source, epochs: int) -> None:
        self.observers.tell(
            "on_start",
            StartEvent(
                phase="fit" if phase == "fit" else "refit",
                update=self.at.update,
                updates=self.at.target if phase == "refit" else self._updates_of(source, epochs),
                epochs=epochs,
                parameters=self.record.parameters,
                sequences=len(source),
            ),
        )

    def _batches(self, source: Source, epoch: int) -> list[Tensor]:
        return batches(
            source.lengths,
            self.trainer.batch_size,
            seed=self.trainer.seed,
            epoch=epoch,
            shuffle=self.options.shuffle,
            bucket=self.options.bucket,
        )

    def _updates_of(self, source: Source, epochs: int) -> int:
        """Updates of so many epochs (for a rule that cuts sequences, later epochs may have more or fewer)."""
        assert isinstance(self.options.rule, LearningRule)
        one = self._batches(source, 1)
        if not one or not source.batch(one[0][:1]).per_step:  # no rule cuts a sequence with a single target
            return epochs * len(one)
        return epochs * sum(self.options.rule.updates(int(source.lengths[part].max())) for part in one)

    def _new_updater(self) -> Updater:
        return Updater(
            self.optimizer,
            self.network,
            lr=self.trainer.lr,
            weight_decay=self.options.weight_decay,
            l1=self.options.l1,
            groups=self.options.groups,
        )

    def _weights(self) -> dict[str, Tensor]:
        return {name: w.detach() for name, w in self.network.state_dict().items() if isinstance(w, Tensor)}

    def _load_weights(self, weights: Mapping[str, Tensor], where: str) -> None:
        own = self._weights()
        if set(weights) != set(own) or any(weights[n].shape != own[n].shape for n in own):
            raise CheckpointError(f"the weights of {where} are not those of this network.")
        with torch.no_grad():
            for name, weight in own.items():
                weight.copy_(weights[name])

    def _fickle(self) -> dict[str, Tensor]:
        """What a forward pass changes: generators, and buffers of the user's own layers."""
        return {
            **_prefixed("generator", {name: g.get_state() for name, g in self.generators.items()}),
            **_prefixed("buffer", {name: b.detach().clone() for name, b in self.network.named_buffers()}),
        }

    def _put_back(self, fickle: Mapping[str, Tensor]) -> None:
        for name, state in _under("generator", fickle).items():
            self.generators[name].set_state(state)
        buffers = dict(self.network.named_buffers())
        for name, value in _under("buffer", fickle).items():
            buffers[name].detach().copy_(value)

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        """Frozen parameters ask for no gradient while the run lasts."""
        names = frozen_names((name for name, _ in self.network.named_parameters()), self.options.groups)
        held = [p for name, p in self.network.named_parameters() if name in names and p.requires_grad]
        for parameter in held:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in held:
                parameter.requires_grad_(True)

    @contextmanager
    def _ambient(self) -> Iterator[None]:
        """torch's own generators start from our seed and are given back as they were.

        Our layers never draw from them; a user's `torch.nn.Dropout` does, and must resume bit for bit as
        well.
        """
        ambient = {"torch cpu": torch.default_generator}
        if self.device.type == "cuda":
            index = self.device.index if self.device.index is not None else torch.cuda.current_device()
            ambient["torch cuda"] = torch.cuda.default_generators[index]
        before = {name: g.get_state() for name, g in ambient.items()}
        for name, generator in ambient.items():
            generator.manual_seed(random.generator(self.trainer.seed, name).initial_seed())
        self.observers.ambient = ambient
        try:
            yield
        finally:
            for name, generator in ambient.items():
                generator.set_state(before[name])


def _advice(lr: float) -> str:
    return (
        f"Try a lower rate (lr is {lr:g}), clipping (clip_norm=1.0), or scaling inputs and targets to about "
        "unit size; the last good checkpoint, if any, is kept."
    )


def _observed(batch: Batch) -> int:
    if isinstance(batch.targets, Ragged):
        return batch.targets.data.numel()
    return batch.targets.numel() if batch.mask is None else int(batch.mask.sum())


def _device(network: torch.nn.Module) -> torch.device:
    first = next(network.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def _generators(network: torch.nn.Module) -> dict[str, torch.Generator]:
    """Every generator that a layer holds in an attribute, each once, by the place where it is first found."""
    found: dict[int, tuple[str, torch.Generator]] = {}
    for path, module in network.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, torch.Generator):
                found.setdefault(id(value), (f"{path}.{attribute}", value))
    return dict(found.values())


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = prefix + "/"
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _architecture(network: torch.nn.Module) -> list[str]:
    kinds = [
        f"{name}: {type(module).__qualname__}({_ADDRESS.sub('', module.extra_repr())})"
        for name, module in network.named_modules()
    ]
    sizes = [
        f"{name}: {tuple(p.shape)} {p.dtype}{'' if p.requires_grad else ' frozen'}"
        for name, p in network.named_parameters()
    ]
    return kinds + sizes


def _difference(key: str, there: object, here: object, what: str) -> str:
    if what == "data":
        return f"the {key} data are not the same"
    if key == "network" and isinstance(there, list) and isinstance(here, list):
        lines = [(new, old) for new, old in zip_longest(here, there) if new != old]
        return f"the network has {lines[0][0]!r} now and had {lines[0][1]!r} there"
    return f"{key} is {here!r} now and was {there!r} there"


def _versions() -> dict[str, str]:
    return {
        "saiki": saiki.__version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _machine(device: torch.device) -> dict[str, str | int | float]:
    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "device": str(device),
    }
