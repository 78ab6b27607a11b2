"""What a training run left behind: curves, sizes, seed, versions, machine. Plain values, no tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saiki.core.schema import plain, strict

__all__ = ["FIRST_RATIOS", "MAX_RATIOS", "MAX_UPDATES", "EpochRecord", "FitRecord"]

MAX_UPDATES = 2000  # points of the per-update curve that are kept
MAX_RATIOS = 128  # updates whose update-to-weight ratios are kept; only these cost anything
FIRST_RATIOS = 16  # of them the first of the run, kept whatever its length: a rate too high shows at once


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One evaluation during training.

    Args:
        epoch: epochs finished, from 1 (0 is the untrained network).
        updates: updates of the weights so far.
        loss: mean training loss of the epoch.
        validation_loss: loss on the validation part; None where there is none.
        lr: learning rate of the last update.
        seconds: wall-clock time of training so far.
    """

    epoch: int
    updates: int
    loss: float
    validation_loss: float | None = None
    lr: float
    seconds: float


@dataclass(kw_only=True)
class FitRecord:
    """The record of one fit; it grows while training runs and is read only after.

    Args:
        epochs: one entry an evaluation.
        updates: (update, loss, gradient norm) of every `update_stride`-th update, at most `MAX_UPDATES`.
        update_stride: every how many updates a point is kept; it doubles when the curve is full.
        clipped: the updates among these whose gradient was clipped by its norm.
        updates_made: all updates, kept or not.
        updates_clipped: how many of them had their gradient clipped by its norm.
        clip_norm: the norm above which gradients were clipped; None where they were not.
        ratios: (update, ratios) of the first `FIRST_RATIOS` and every `ratio_stride`-th update, at most
            `MAX_RATIOS`: ‖Δw‖ / ‖w‖ of each parameter, in the order of `ratio_names`.
        ratio_names: the parameters of `ratios`.
        ratio_stride: every how many updates the ratios are taken; it doubles when `MAX_RATIOS` are there.
        best_epoch: the epoch whose weights were kept; None where none was better than another.
        stopped_because: in plain words, such as "max_epochs reached".
        parameters: trainable numbers in the network.
        training_values: numbers it was trained on: rows times features, of a forecaster the values observed.
        training_sequences: sequences or windows it was trained on.
        seed: the seed of the run.
        versions: package -> version.
        machine: what it ran on: processor, cores, threads, system.
        seconds: wall-clock time of the whole fit.
        notes: sentences for the reader.
    """

    epochs: list[EpochRecord] = field(default_factory=list)
    updates: list[tuple[int, float, float]] = field(default_factory=list)
    update_stride: int = 1
    clipped: list[int] = field(default_factory=list)
    updates_made: int = 0
    updates_clipped: int = 0
    clip_norm: float | None = None
    ratios: list[tuple[int, list[float]]] = field(default_factory=list)
    ratio_names: list[str] = field(default_factory=list)
    ratio_stride: int = 1
    best_epoch: int | None = None
    stopped_because: str = ""
    parameters: int = 0
    training_values: int = 0
    training_sequences: int = 0
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str | int | float] = field(default_factory=dict)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def add_update(self, update: int, loss: float, gradient_norm: float, clipped: bool = False) -> None:
        """Keep a point of the per-update curve, thinning it when it is full.

        A point is kept if its number is a multiple of the stride, so that what is kept depends on the numbers
        alone: a resumed run keeps the same points as one that never stopped.

        Args:
            update: counted from 1.
            loss: of the batch, before the update.
            gradient_norm: before clipping.
            clipped: whether the gradient was clipped by its norm.
        """
        self.updates_made += 1
        self.updates_clipped += clipped
        if update % self.update_stride:
            return
        self.updates.append((int(update), float(loss), float(gradient_norm)))
        if clipped:
            self.clipped.append(int(update))
        while len(self.updates) > MAX_UPDATES:
            self.update_stride *= 2
            self.updates = [point for point in self.updates if point[0] % self.update_stride == 0]
            self.clipped = [number for number in self.clipped if number % self.update_stride == 0]

    def wants_ratios(self, update: int) -> bool:
        """Whether the ratios of this update will be kept; the others need not be computed."""
        return update <= FIRST_RATIOS or update % self.ratio_stride == 0

    def add_ratios(self, update: int, ratios: Sequence[float]) -> None:
        """Keep the ratios of an update, thinned as `add_update` thins; four digits of each.

        Args:
            update: counted from 1; `wants_ratios` has said yes.
            ratios: one a parameter, in the order of `ratio_names`.
        """
        self.ratios.append((int(update), [float(f"{ratio:.4g}") for ratio in ratios]))
        while len(self.ratios) > MAX_RATIOS:
            self.ratio_stride *= 2
            self.ratios = [point for point in self.ratios if self.wants_ratios(point[0])]

    def to_json(self) -> dict[str, Any]:
        """The record as plain dicts, lists, numbers and text.

        Raises:
            SchemaError: a number is NaN or infinite, which JSON cannot hold.
        """
        made = plain(self)
        assert isinstance(made, dict)
        return made

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any], where: str = "record") -> FitRecord:
        """The record out of what `to_json` gave.

        Raises:
            SchemaError: a key is unknown or missing, or a value has the wrong type.
        """
        return strict(cls, mapping, where)
