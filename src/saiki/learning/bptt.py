"""Back-propagation through time, over whole sequences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from saiki.learning.rules import RuleState, objective
from saiki.learning.sources import Batch
from saiki.losses import Loss


@final
@dataclass(frozen=True)
class BPTT:
    """Unroll the network over whole sequences and differentiate the sum of the losses once.

        ∂L/∂θ = Σ_t (∂L/∂s_t) ∂⁺s_t/∂θ,        ∂L/∂s_t = ∂⁺L/∂s_t + (∂L/∂s_{t+1}) D_{t+1}

    One update follows after the sum over t. Memory grows with the length of the sequences, O(T) states;
    time is O(T H²) for a layer of H units. Nothing is carried between batches.

    Source: Werbos 1990.
    """

    type: ClassVar[str] = "bptt"

    def start(self, network: torch.nn.Module, batch_size: int) -> RuleState:
        """See `LearningRule.start`: nothing to remember."""
        return RuleState()

    def chunks(self, batch: Batch) -> Iterable[Batch]:
        """See `LearningRule.chunks`: the whole batch."""
        return (batch,)

    def updates(self, steps: int) -> int:
        """See `LearningRule.updates`: one."""
        return 1

    def gradient(
        self, network: torch.nn.Module, loss: Loss, batch: Batch, state: RuleState
    ) -> tuple[Tensor, dict[str, Tensor], RuleState]:
        """See `LearningRule.gradient`."""
        parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
        value, losses, _ = objective(loss, network(batch.inputs), batch)
        gradients: tuple[Tensor | None, ...] = (None,) * len(parameters)
        if value.requires_grad:  # an empty batch reaches no parameter
            gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
        reached = {name: g for name, g in zip(parameters, gradients) if g is not None}
        return losses, reached, state
