"""The interface of a learning rule: how the loss of a batch becomes gradients.

A rule is a frozen value; what it remembers between calls is a value too. `BPTT` is in `bptt.py`; a rule
that learns while the sequence runs gives several chunks for a batch, and the trainer updates after each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from saiki.core.errors import DTypeError, ShapeError
from saiki.core.ragged import Ragged
from saiki.learning.sources import Batch
from saiki.losses import Loss, SequenceLoss, observed_share


@final
@dataclass(frozen=True)
class RuleState:
    """What a rule carries from one chunk to the next: tensors by name, first axis the sequences of a batch.

    Args:
        tensors: carried states, influences; none for BPTT.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def to_tensors(self) -> dict[str, Tensor]:
        """The state as flat tensors, copied, for a checkpoint."""
        return {name: value.detach().clone() for name, value in self.tensors.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> RuleState:
        """The state that `to_tensors` gave."""
        return cls({name: value.detach().clone() for name, value in tensors.items()})

    def reset(self, rows: Tensor) -> RuleState:
        """The state with some sequences back at zero.

        Args:
            rows: (B,) bool, or indices of sequences.
        """
        fresh = self.to_tensors()
        for value in fresh.values():
            value[rows.to(value.device)] = 0  # steps are counted on the CPU, states live with the weights
        return RuleState(fresh)


@runtime_checkable
class LearningRule(Protocol):
    """How a network's gradient is found; the trainer takes any.

    A rule that learns while a sequence runs has two more attributes: `every`, the steps an update (None: the
    whole of it), by which `Online` cuts streams, and `sentence`, what a report says of it.
    """

    type: ClassVar[str]

    def start(self, network: torch.nn.Module, batch_size: int) -> RuleState:
        """What is remembered when `batch_size` new sequences begin."""
        ...

    def chunks(self, batch: Batch) -> Iterable[Batch]:
        """The batch in pieces, at least one, in the order of time; the weights are updated after each."""
        ...

    def updates(self, steps: int) -> int:
        """How many chunks a batch has whose longest sequence has `steps` steps, targets a step; a batch with
        targets once a sequence has one.
        """
        ...

    def gradient(
        self, network: torch.nn.Module, loss: Loss, batch: Batch, state: RuleState
    ) -> tuple[Tensor, dict[str, Tensor], RuleState]:
        """Loss and gradient of one chunk.

        The gradient is that of the objective Σ w m ℓ / Σ w m over the chunk's rows: ℓ the row's loss, m the
        observed share of its targets, w its sequence's weight.

        Args:
            network: takes `batch.inputs`; parameters that require no gradient are skipped.
            loss: one value a row; or one a sequence, from a `SequenceLoss`, which only a rule that sees whole
                sequences can take.
            batch: the chunk.
            state: from `start` or from the chunk before.
        Returns:
            (B,) the mean loss of each sequence over its observed rows, detached; 0 where nothing was
            observed. Gradients by parameter name; a parameter that the loss does not reach is absent.
            `.grad` stays untouched. The state for the next chunk.
        """
        ...


class Objective(NamedTuple):
    """The parts of Σ w m ℓ / Σ w m for one batch."""

    value: Tensor  # () differentiable
    losses: Tensor  # (B,) mean loss of each sequence over what was observed; 0 where nothing was; detached
    weights: Tensor  # (B,) Σ w m over each sequence's rows: value = Σ weights losses / Σ weights


def objective(loss: Loss, outputs: Tensor | Ragged, batch: Batch) -> Objective:
    """The objective of a batch, and the share of each sequence in it.

    Args:
        loss: one value a row, or one a sequence.
        outputs: what the network gave: (B, …), or a `Ragged` for a target a step.
        batch: targets, mask and weights.
    Raises:
        ShapeError: the network answers once a sequence where targets are one a step, or the other way round.
    """
    if isinstance(loss, SequenceLoss):
        return _of_sequences(loss, outputs, batch)
    if isinstance(outputs, Ragged) != batch.per_step:
        came = "at every step" if isinstance(outputs, Ragged) else "once a sequence"
        wanted = "one row a step" if batch.per_step else "one row a sequence"
        raise ShapeError(
            f"the network answers {came}, but the targets have {wanted}.",
            "Add or leave out Last, Mean, Max or AttentionPool before the head.",
        )
    rows = outputs.data if isinstance(outputs, Ragged) else outputs
    value = loss(rows, batch.rows, batch.mask)  # (N,) or (B,)
    weight = observed_share(batch.mask, len(value), value)
    if isinstance(outputs, Ragged):
        if batch.weights is not None:
            weight = weight * batch.weights.to(value)[outputs.row_sequence]
        weights = outputs.sequence_sum(weight)
        sums = outputs.sequence_sum((weight * value).detach())
    else:
        if batch.weights is not None:
            weight = weight * batch.weights.to(value)
        weights, sums = weight, (weight * value).detach()
    total = weight.sum()
    # a batch in which nothing was observed has objective 0 and gradient 0
    return Objective(
        (weight * value).sum() / torch.where(total > 0, total, torch.ones_like(total)),
        torch.where(weights > 0, sums / torch.where(weights > 0, weights, 1), 0),
        weights,
    )


def _of_sequences(loss: SequenceLoss, outputs: Tensor | Ragged, batch: Batch) -> Objective:
    """Σ w ℓ / Σ w over the sequences, ℓ the loss of a whole one."""
    if not isinstance(outputs, Ragged):
        raise ShapeError(
            f"{type(loss).__name__} needs an answer at every step, but the network pools over time.",
            "Leave out Last, Mean, Max or AttentionPool.",
        )
    if not isinstance(batch.targets, Ragged):
        raise DTypeError(
            f"{type(loss).__name__} needs target sequences, but the targets are single rows.",
            "Give the batch targets that are a Ragged.",
        )
    value = loss(outputs, batch.targets)  # (B,)
    weights = torch.ones_like(value) if batch.weights is None else batch.weights.to(value)
    total = weights.sum()
    return Objective(
        (weights * value).sum() / torch.where(total > 0, total, torch.ones_like(total)),
        torch.where(weights > 0, value.detach(), 0),
        weights,
    )


def sequence_weights(batch: Batch) -> Tensor:
    """(B,) float64 on the CPU: each sequence's share Σ w m in the objective, without running the network."""
    if isinstance(batch.targets, Ragged):
        ones = torch.ones(batch.B, dtype=torch.float64)
        return ones if batch.weights is None else ones * batch.weights.cpu().double()
    mask = None if batch.mask is None else batch.mask.cpu()
    weight = observed_share(mask, batch.targets.shape[0], torch.empty(0, dtype=torch.float64))
    weight = batch.inputs.sequence_sum(weight) if batch.per_step else weight
    return weight if batch.weights is None else weight * batch.weights.cpu().double()
