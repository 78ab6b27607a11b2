"""Those who watch a training run: what they are told, and the observers that come with the library.

An observer gets numbers, never the network, so it cannot change the result: the random generators are put
back after each call, and one that fails is named in the log and hears no more.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from saiki.core.extras import require
from saiki.core.record import EpochRecord, FitRecord

Phase = Literal["fit", "refit"]


@final
@dataclass(frozen=True)
class StartEvent:
    """Training begins, or goes on.

    Args:
        phase: "fit", or "refit" where all data are learned for the best number of updates.
        update: updates made already; more than 0 where a run is resumed.
        updates: updates of the whole phase, at most.
        epochs: epochs of the whole phase, at most.
        parameters: numbers that are trained.
        sequences: training sequences.
    """

    phase: Phase
    update: int
    updates: int
    epochs: int
    parameters: int
    sequences: int


@final
@dataclass(frozen=True)
class UpdateEvent:
    """The weights have been changed once.

    Args:
        phase: "fit" or "refit".
        epoch: counted from 1.
        update: counted from 1.
        loss: objective of the batch, before the update.
        gradient_norm: ‖g‖₂ before clipping.
        clipped: whether the gradient was clipped by norm.
        lr: η_t, that of parameters in no group of their own.
        seconds: since the start of training, earlier runs included.
    """

    phase: Phase
    epoch: int
    update: int
    loss: float
    gradient_norm: float
    clipped: bool
    lr: float
    seconds: float


@final
@dataclass(frozen=True)
class ValidationEvent:
    """The validation error has been taken.

    Args:
        epoch: counted from 1.
        update: updates made.
        loss: mean over the validation set.
        best: the smallest so far, this one included.
        is_best: whether this one is it.
        waited: evaluations since the best.
    """

    epoch: int
    update: int
    loss: float
    best: float
    is_best: bool
    waited: int


@final
@dataclass(frozen=True)
class CheckpointEvent:
    """A checkpoint is durable.

    Args:
        number: counted from 0.
        path: its folder.
        update: updates made.
    """

    number: int
    path: Path
    update: int


@final
@dataclass(frozen=True)
class EndEvent:
    """Training has ended.

    Args:
        reason: why, in a few words.
        error: True if it was an error or an interruption.
        record: what the run left behind, as JSON; None after an error.
    """

    reason: str
    error: bool
    record: Mapping[str, Any] | None


class Observer:
    """Override what you want to hear of; everything else is ignored."""

    def on_start(self, event: StartEvent) -> None:
        """Training, or its second phase, begins or goes on."""

    def on_update(self, event: UpdateEvent) -> None:
        """The weights have been changed once."""

    def on_validation(self, event: ValidationEvent) -> None:
        """The validation error has been taken."""

    def on_epoch(self, event: EpochRecord) -> None:
        """An epoch has ended."""

    def on_checkpoint(self, event: CheckpointEvent) -> None:
        """A checkpoint is durable."""

    def on_end(self, event: EndEvent) -> None:
        """Training has ended, well or not."""


@final
class History(Observer):
    """Keeps everything it hears, in lists.

    Attributes:
        updates, validations, epochs, checkpoints: the events in order.
        end: the last event, or None.
    """

    def __init__(self) -> None:
        self.updates: list[UpdateEvent] = []
        self.validations: list[ValidationEvent] = []
        self.epochs: list[EpochRecord] = []
        self.checkpoints: list[CheckpointEvent] = []
        self.end: EndEvent | None = None

    def on_update(self, event: UpdateEvent) -> None:
        """See `Observer`."""
        self.updates.append(event)

    def on_validation(self, event: ValidationEvent) -> None:
        """See `Observer`."""
        self.validations.append(event)

    def on_epoch(self, event: EpochRecord) -> None:
        """See `Observer`."""
        self.epochs.append(event)

    def on_checkpoint(self, event: CheckpointEvent) -> None:
        """See `Observer`."""
        self.checkpoints.append(event)

    def on_end(self, event: EndEvent) -> None:
        """See `Observer`."""
        self.end = event


@final
class ProgressBar(Observer):
    """A bar on stderr with loss and time left (at most: early stopping may end sooner).

    Args:
        force: True draws it even where stderr is no terminal; None only on a terminal; False never.
    """

    def __init__(self, force: bool | None = None) -> None:
        self._shown = sys.stderr.isatty() if force is None else force
        self._force = bool(force)
        self._bar: Any = None
        self._task: Any = None
        self._epochs = 0
        self._losses: dict[str, str] = {}

    def on_start(self, event: StartEvent) -> None:
        """See `Observer`."""
        if not self._shown:
            return
        self._stop()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._epochs = event.epochs
        self._losses = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[losses]}"),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True, force_terminal=True if self._force else None),
            refresh_per_second=5,
        )
        word = "training" if event.phase == "fit" else "training on all data"
        self._task = self._bar.add_task(word, total=event.updates, completed=event.update, losses="")
        self._bar.start()

    def on_update(self, event: UpdateEvent) -> None:
        """See `Observer`."""
        if self._bar is None:
            return
        word = "epoch" if event.phase == "fit" else "all data, epoch"
        self._losses["loss"] = f"loss {event.loss:.4g}"
        self._draw(completed=event.update, description=f"{word} {event.epoch}/{self._epochs}")

    def on_validation(self, event: ValidationEvent) -> None:
        """See `Observer`."""
        if self._bar is not None:
            self._losses["validation"] = f"validation {event.loss:.4g} (best {event.best:.4g})"
            self._draw()

    def on_end(self, event: EndEvent) -> None:
        """See `Observer`."""
        self._stop()

    def _draw(self, **changes: Any) -> None:  # noqa: ANN401
        self._bar.update(self._task, losses="  ".join(self._losses.values()), **changes)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@final
class TensorBoard(Observer):
    """Writes loss, gradient norm, rate and validation loss for TensorBoard.

    Args:
        folder: where the event file goes.
    Raises:
        ExtraError: tensorboard is not installed.
    """

    def __init__(self, folder: Path | str) -> None:
        require("tensorboard", "tensorboard", "writing TensorBoard events")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def on_update(self, event: UpdateEvent) -> None:
        """See `Observer`."""
        self._writer.add_scalar(f"{event.phase}/loss", event.loss, event.update)
        self._writer.add_scalar(f"{event.phase}/gradient_norm", event.gradient_norm, event.update)
        self._writer.add_scalar(f"{event.phase}/lr", event.lr, event.update)

    def on_validation(self, event: ValidationEvent) -> None:
        """See `Observer`."""
        self._writer.add_scalar("validation/loss", event.loss, event.update)

    def on_end(self, event: EndEvent) -> None:
        """See `Observer`."""
        self._writer.flush()
        self._writer.close()


__all__ = [
    "CheckpointEvent",
    "EndEvent",
    "EpochRecord",
    "FitRecord",
    "History",
    "Observer",
    "ProgressBar",
    "StartEvent",
    "TensorBoard",
    "UpdateEvent",
    "ValidationEvent",
]
