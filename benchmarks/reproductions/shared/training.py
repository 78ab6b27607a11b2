"""Training on batches that are drawn anew for each update, as the tasks of the literature are stated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saiki.core.ragged import Ragged
from saiki.core.random import generator, seed_from
from saiki.data import Dataset
from saiki.learning import BPTT, Adam, Batch, LearningRule, Optimizer, Updater, clip_by_norm
from saiki.losses import RowLoss
from saiki.nn import Stack
from saiki.nn.stack import Line


class Learned(NamedTuple):
    """How a training went."""

    updates: int  # made
    solved: int | None  # the update at which the measure said so; None: never
    curve: list[list[float]]  # [update, what was measured]


def network(lines: Sequence[Line], input_size: int, output_size: int, seed: int) -> Stack:
    """A stack with a head, its weights drawn from this seed."""
    return Stack.build(lines, input_size, output_size, generator=generator(seed, "weights"))


def parameters(net: torch.nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def data_seed(seed: int, update: int) -> int:
    """The seed of the batch of one update: of this run alone, and of no test set."""
    return seed_from(generator(seed, f"data {update}"))


def batch_of(data: Dataset) -> Batch:
    """All sequences of a set as one batch; targets a sequence, or a step where they are lists."""
    inputs = Ragged.from_list([torch.as_tensor(s, dtype=torch.float32) for s in data.sequences])
    if isinstance(data.targets, list):
        rows = Ragged.from_list([torch.as_tensor(t) for t in data.targets]).data
        return Batch(inputs, _target(rows), per_step=True)
    return Batch(inputs, _target(torch.as_tensor(data.targets)))


def _target(rows: Tensor) -> Tensor:
    return rows[:, None].float() if rows.is_floating_point() else rows


def learn(
    net: Stack,
    loss: RowLoss,
    draw: Callable[[int], Batch],
    *,
    updates: int,
    lr: float,
    clip: float | None,
    every: int,
    measure: Callable[[], tuple[float, bool]],
    optimizer: Optimizer | None = None,
    rule: LearningRule | None = None,
) -> Learned:
    """Make updates until the measure says that the task is solved, or as many as there may be.

    A rule that learns while the sequence runs makes several updates of a batch; measured is between batches.

    Args:
        net: changed in place.
        loss: one value a row.
        draw: a batch, by the number of the first update that it makes, counted from 1.
        updates: at most so many.
        lr: learning rate.
        clip: of the gradient's norm; None: not clipped.
        every: updates between two measurements, at least; the first is before the first update.
        measure: a number for the curve, and whether the task is solved.
        optimizer: Adam if not given.
        rule: BPTT over whole sequences if not given.
    """
    rule = BPTT() if rule is None else rule
    updater = Updater(Adam() if optimizer is None else optimizer, net, lr=lr)
    curve: list[list[float]] = []
    update = due = 0
    while True:
        if update >= min(due, updates):
            with torch.no_grad():
                value, solved = measure()
            curve.append([update, value])
            due = update + every
            if solved or update >= updates:
                return Learned(update, update if solved else None, curve)
        batch = draw(update + 1)
        state = rule.start(net, batch.B)
        for chunk in rule.chunks(batch):
            _, gradients, state = rule.gradient(net, loss, chunk, state)
            updater.step(gradients if clip is None else clip_by_norm(gradients, clip))
            update += 1


def median(values: Sequence[float]) -> float:
    """Of the runs with several seeds."""
    return float(np.median(values))


def short(curve: Sequence[Sequence[float]]) -> list[list[float]]:
    """A curve with three digits a value, for a file that people read."""
    return [[int(update), float(f"{value:.3g}")] for update, value in curve]
