"""Learning-rate range test: one short run under a rate that grows from update to update.

    η_k = η_low (η_high / η_low)^(k / (n - 1))             k = 0 … n-1

While η is too small nothing happens; then the loss falls; then it turns and rises. A good rate is where the
loss falls fastest, well below the rate at which it turns.

Sources: Smith 2017, section 3.3 (the test); reading off the steepest descent is common practice since.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saiki.core import random
from saiki.core.checks import require_int, require_positive
from saiki.core.errors import DataError, DTypeError, OptionError
from saiki.learning.batching import BatchSize, batches
from saiki.learning.clipping import clipped, global_norm
from saiki.learning.optimisers import Optimizer, Updater, frozen_names
from saiki.learning.rules import LearningRule, RuleState, sequence_weights
from saiki.learning.sources import Batch, Source
from saiki.learning.training import Training
from saiki.losses import Loss, SequenceLoss, get_loss

Floats = NDArray[np.float64]

MARGIN = 10.0  # a rate this far below the turn is safe even where the steepest point lies closer to it
BEGUN = 0.1  # share of the whole fall after which it has begun
FALL = 0.02  # share of the first loss that counts as a fall at all
NOISE = 3.0  # times what the smoothed curve wavers by: likewise


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LRRange:
    """What a range test measured.

    Attributes:
        lr: (n,) the rate of each update, rising.
        loss: (n,) loss of the batch before that update.
        smoothed: (n,) the same, averaged over neighbours on both sides: the curve does not lag behind.
        gradient_norm: (n,) ‖g‖₂ before clipping.
        start: the smoothed loss at the lowest rates.
        lowest: the rate at which the smoothed loss was lowest, where it turns.
        steepest: the rate at which it fell fastest; None where it never fell.
        suggested: the steepest, but no higher than a tenth of the lowest; None where it never fell.
        stopped: why the test ended: "high reached", "diverged" or "not finite".
    """

    lr: Floats
    loss: Floats
    smoothed: Floats
    gradient_norm: Floats
    start: float
    lowest: float
    steepest: float | None
    suggested: float | None
    stopped: str

    def sentence(self) -> str:
        """What was found, with the numbers."""
        fell = f"from {self.start:.4g} to {float(self.smoothed.min()):.4g}"
        if self.suggested is None:
            ended = {"diverged": f" It diverged at {self.lr[-1]:.2g}.", "high reached": ""}
            return (
                f"Between {self.lr[0]:.1g} and {self.lr[-1]:.1g} the loss never fell by more than the noise "
                f"of the batches: it began at {self.start:.4g}, and {self.smoothed.min():.4g} was the lowest."
                f"{ended.get(self.stopped, '')} More steps or larger batches would tell more."
            )
        ends = {
            "high reached": f"and had not diverged at {self.lr[-1]:.2g}, the highest rate tried",
            "diverged": f"and diverged at {self.lr[-1]:.2g}",
            "not finite": f"and was no longer finite after {self.lr[-1]:.2g}",
        }
        return (
            f"Try lr = {self.suggested:.2g}. The loss fell {fell}, fastest at {self.steepest:.2g}, turned at "
            f"{self.lowest:.2g} {ends[self.stopped]}."
        )

    def to_json(self) -> dict[str, Any]:
        """Everything as plain numbers, lists and text."""
        return {
            "suggested": self.suggested,
            "steepest": self.steepest,
            "lowest": self.lowest,
            "start": self.start,
            "stopped": self.stopped,
            "sentence": self.sentence(),
            "lr": self.lr.tolist(),
            "loss": self.loss.tolist(),
            "smoothed": self.smoothed.tolist(),
            "gradient_norm": self.gradient_norm.tolist(),
        }


def lr_range_test(
    network: torch.nn.Module,
    loss: str | Callable[..., Tensor] | Loss,
    source: Source,
    *,
    training: Training | None = None,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    batch_size: BatchSize = 32,
    lr: float = 1e-3,
    seed: int = 0,
) -> LRRange:
    """Train a copy of the network for `steps` updates under a rate that grows from `low` to `high`.

    Optimiser, clipping, penalties and learning rule are those of `training`; its schedule is not in use. The
    test ends before `high` where the loss has risen as far above its start as it had fallen below (or by
    half), or is no longer finite.

    Args:
        network: takes `batch.inputs`; neither its weights nor its generators change.
        loss: a name, a value of `saiki.losses`, or a callable.
        source: the sequences to learn; after the last one it starts again in another order.
        training: the options of the training to come.
        low: η_low > 0.
        high: η_high > low.
        steps: n, updates at most; at least 10.
        batch_size: sequences a batch, as in training: noise shifts where the loss turns.
        lr: the rate that parameter groups with a rate of their own are relative to.
        seed: of the order of the sequences.
    Returns:
        The curves, and the rates read off them.
    Raises:
        OptionError: `high` is not above `low`.
        ValueRangeError, DTypeError: an option out of range.
        DataError: no sequence, or the loss is not finite before anything was learned.
    """
    require_positive(low, "low")
    require_positive(high, "high")
    require_positive(lr, "lr")
    require_int(steps, "steps", low=10)
    require_int(seed, "seed", low=0)
    if high <= low:
        raise OptionError(f"high is {high!r} but must be above low, {low!r}.", "For example 1e-6 and 10.")
    if not isinstance(network, torch.nn.Module):
        raise DTypeError(f"network is {type(network).__name__} but must be a torch.nn.Module.")
    if len(source) == 0:
        raise DataError("the source holds no sequence.", "A range test needs at least one.")
    options = (training or Training()).checked()
    tried = copy.deepcopy(network).train()
    for name in frozen_names((name for name, _ in tried.named_parameters()), options.groups):
        tried.get_parameter(name).requires_grad_(False)
    assert isinstance(options.optimizer, Optimizer)
    assert isinstance(options.rule, LearningRule)
    updater = Updater(
        options.optimizer,
        tried,
        lr=lr,
        weight_decay=options.weight_decay,
        l1=options.l1,
        groups=options.groups,
    )
    rates = np.geomspace(low, high, steps)
    losses: list[float] = []
    norms: list[float] = []
    stopped = "high reached"
    ambient = torch.random.get_rng_state()
    torch.manual_seed(random.generator(seed, "lr range").initial_seed() % 2**63)
    try:
        row_loss = loss if isinstance(loss, SequenceLoss) else get_loss(loss)
        rule = options.rule
        state = RuleState()
        for rate, (chunk, first) in zip(rates, _chunks(tried, rule, source, batch_size, options, seed)):
            if first:
                state = rule.start(tried, chunk.B)
            each, gradients, state = rule.gradient(tried, row_loss, chunk, state)
            value, norm = _mean(each, chunk), global_norm(gradients)
            if not (math.isfinite(value) and math.isfinite(norm)):
                stopped = "not finite"
                break
            losses.append(value)
            norms.append(norm)
            if _diverged(losses):
                stopped = "diverged"
                break
            gradients, _ = clipped(gradients, options.clip_value, options.clip_norm, norm)
            updater.step(gradients, float(rate) / lr)
    finally:
        torch.random.set_rng_state(ambient)
    if not losses:
        raise DataError(
            "the loss or its gradient is not finite before anything was learned.",
            "Look for NaN and very large numbers in the data, or lower the initial weights.",
        )
    return read_off(rates[: len(losses)], np.array(losses), np.array(norms), stopped)


def read_off(lr: Floats, loss: Floats, gradient_norm: Floats, stopped: str) -> LRRange:
    """Smooth the curve of a range test and read the rates off it.

    Args:
        lr: (n,) rising.
        loss: (n,) finite.
        gradient_norm: (n,).
        stopped: why the test ended.
    """
    smoothed = smooth(loss)
    start, _, beginning = _beginning(loss)
    lowest = int(smoothed.argmin())
    fall = start - float(smoothed[lowest])
    # what the smoothed curve wavers by: the batches' noise, averaged over about 3.5 widths of the weights
    rest = (loss - smoothed)[: lowest + 1]
    with np.errstate(over="ignore"):  # a loss near the end of its type
        noise = NOISE * float(np.sqrt(np.mean(rest**2) / (3.5 * _width(len(loss)))))
    steepest = suggested = None
    if lowest >= beginning and fall > max(FALL * abs(start), noise):
        # what wavers at the low end is the batches' noise: the fall begins where the start is left for good
        above = np.flatnonzero(smoothed[:lowest] >= start - BEGUN * fall)
        begun = int(above[-1]) if len(above) else 0
        slope = np.gradient(smoothed, np.log(lr))
        steepest = float(lr[begun + int(slope[begun : lowest + 1].argmin())])
        suggested = min(steepest, float(lr[lowest]) / MARGIN)
    return LRRange(
        lr=lr,
        loss=loss,
        smoothed=smoothed,
        gradient_norm=gradient_norm,
        start=start,
        lowest=float(lr[lowest]),
        steepest=steepest,
        suggested=suggested,
        stopped=stopped,
    )


def smooth(values: Floats) -> Floats:
    """A Gaussian average over neighbours on both sides, of a width of 3 % of the points and at least one.

    Args:
        values: (n,) finite.
    """
    place = np.arange(len(values))
    weights = np.exp(-0.5 * ((place[:, None] - place) / _width(len(values))) ** 2)
    averaged: Floats = (weights @ values) / weights.sum(axis=1)
    return averaged


def _width(n: int) -> float:
    """Standard deviation of the weights of a smoothed curve of n points."""
    return max(1.0, 0.03 * n)


def _beginning(loss: Floats) -> tuple[float, float, int]:
    """The mean of the first tenth of the losses, at least five, the error of that mean, and their number."""
    first = loss[: max(5, len(loss) // 10)]
    with np.errstate(over="ignore"):  # a loss near the end of its type
        return float(first.mean()), float(first.std() / math.sqrt(len(first))), len(first)


def _diverged(losses: list[float]) -> bool:
    """Whether the last losses have risen above the start as far as the best had fallen below, or by half."""
    if len(losses) < 8:
        return False
    start, noise, _ = _beginning(np.array(losses))
    recent = np.array([np.median(losses[max(0, k - 2) : k + 1]) for k in range(len(losses))])
    fallen = start - float(recent.min())
    return bool(recent[-1] > start + max(fallen, 0.5 * abs(start), 10 * noise))


def _chunks(
    network: torch.nn.Module,
    rule: LearningRule,
    source: Source,
    batch_size: BatchSize,
    options: Training,
    seed: int,
) -> Iterator[tuple[Batch, bool]]:
    """Chunk after chunk without end, and whether a batch begins with it."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    epoch = 0
    while True:
        epoch += 1
        order = batches(
            source.lengths,
            batch_size,
            seed=seed,
            epoch=epoch,
            shuffle=options.shuffle,
            bucket=options.bucket,
        )
        for part in order:
            for place, chunk in enumerate(rule.chunks(source.batch(part).to(device))):
                yield chunk, place == 0


def _mean(losses: Tensor, chunk: Batch) -> float:
    """Σ w m ℓ / Σ w m over the chunk's sequences."""
    weights = sequence_weights(chunk).cpu()
    total = float(weights.sum())
    each = torch.where(weights > 0, weights * losses.detach().cpu().double(), 0.0)
    return float(each.sum()) / total if total > 0 else 0.0
