"""Back-propagation through time, cut off after a window of steps, with the state carried on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from saiki.core.checks import require_int
from saiki.core.errors import OptionError
from saiki.core.ragged import Ragged
from saiki.learning.carried import (
    canonical,
    fresh_states,
    remembered_inputs,
    require_batch,
    require_carrying,
    rows_between,
    stack_state,
    state_tensors,
)
from saiki.learning.rules import RuleState, objective, sequence_weights
from saiki.learning.sources import Batch
from saiki.losses import Loss
from saiki.nn import Stack


@final
@dataclass(frozen=True)
class TruncatedBPTT:
    """Back-propagation through a window of steps that moves along the sequence, the state carried along.

        ∂L_t/∂θ ≈ Σ_k (∂L_t/∂s_k) ∂⁺s_k/∂θ        k from the window's first step to t

    An update follows every `stride` steps. The window that belongs to it ends with these steps and begins
    `window - stride` steps before them: those are read again, with the weights of the day, from the state
    that stood before them, and their losses are not counted again. So each target counts once, and its
    gradient reaches back `window - stride` steps at least, `window - 1` at most. What lies before the window
    is held constant: a dependence over a longer lag is not learned, and the gradient is biased for it.

    Memory is O(window), whatever the length of the sequence; time a step is that of BPTT times
    window / stride. With `window` at least the sequence's length the gradient is that of BPTT.

    With targets once a sequence, a chunk is the whole of it: what lies before its last `window` steps is run
    without a gradient, and the returned state is that of sequences that begin.

    The network must be a `saiki.nn.Stack` of unidirectional layers in which no layer looks at other steps.

    Args:
        window: steps that a gradient reaches back, the step itself included; at least 1.
        stride: new steps an update, 1 to `window`; None: `window`, windows side by side.
    Source: Williams & Peng 1990, BPTT(h; h'): h is our window, h' our stride.
    """

    window: int
    stride: int | None = None
    type: ClassVar[str] = "truncated_bptt"

    def __post_init__(self) -> None:
        require_int(self.window, "window", low=1)
        if self.stride is not None:
            require_int(self.stride, "stride", low=1)
            if self.stride > self.window:
                raise OptionError(
                    f"stride is {self.stride} but must be at most window={self.window}: the steps between "
                    "would be learned by no window.",
                    "Give a smaller stride, or a longer window.",
                )

    @property
    def every(self) -> int:
        """Steps an update."""
        return self.window if self.stride is None else self.stride

    @property
    def sentence(self) -> str:
        """What the rule does, for a report."""
        often = "step" if self.every == 1 else f"{self.every} steps"
        apart = "" if self.every == self.window else f", an update every {often}"
        cut = f"cut off after {self.window} step{'' if self.window == 1 else 's'}{apart}"
        return f"Back-propagation through time, {cut}; the state is carried on."

    def start(self, network: torch.nn.Module, batch_size: int) -> RuleState:
        """See `LearningRule.start`: states at zero; the inputs are remembered from the first chunk on.

        Raises:
            OptionError: the network cannot be read chunk by chunk.
        """
        return RuleState(fresh_states(require_carrying(network, type(self).__name__), batch_size))

    def chunks(self, batch: Batch) -> Iterable[Batch]:
        """See `LearningRule.chunks`: `stride` steps each; the whole batch for targets once a sequence."""
        if not batch.per_step:
            return (batch,)
        pieces = self.updates(batch.inputs.T)
        return tuple(rows_between(batch, k * self.every, (k + 1) * self.every) for k in range(pieces))

    def updates(self, steps: int) -> int:
        """See `LearningRule.updates`."""
        return max(1, math.ceil(steps / self.every))

    def gradient(
        self, network: torch.nn.Module, loss: Loss, batch: Batch, state: RuleState
    ) -> tuple[Tensor, dict[str, Tensor], RuleState]:
        """See `LearningRule.gradient`; a chunk of more than `stride` steps is read stride by stride.

        Raises:
            OptionError: the network cannot be read chunk by chunk.
            ShapeError, UsageError: the state is not of these sequences.
        """
        stack = require_carrying(network, type(self).__name__)
        require_batch(batch, state, type(self).__name__)
        parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
        if not batch.per_step:
            outputs = self._last_window(stack, batch.inputs, state)
            value, losses, _ = objective(loss, outputs, batch)
            return losses, _gradients(value, parameters), self.start(network, batch.B)
        batch = canonical(batch)
        pieces = list(self.chunks(batch))
        if len(pieces) == 1:
            outputs, state = self._advance(stack, batch.inputs, state)
            value, losses, _ = objective(loss, outputs, batch)
            return losses, _gradients(value, parameters), state
        total = float(sequence_weights(batch).sum())
        gradients: dict[str, Tensor] = {}
        sums = counts = torch.zeros(batch.B)
        for piece in pieces:
            outputs, state = self._advance(stack, piece.inputs, state)
            value, losses, weights = objective(loss, outputs, piece)
            share = float(weights.sum()) / total if total > 0 else 0.0
            for name, found in _gradients(value, parameters).items():
                gradients[name] = share * found + gradients[name] if name in gradients else share * found
            sums, counts = sums.to(losses) + weights * losses, counts.to(weights) + weights
        return torch.where(counts > 0, sums / torch.where(counts > 0, counts, 1), 0), gradients, state

    def _advance(self, stack: Stack, inputs: Ragged, state: RuleState) -> tuple[Ragged | Tensor, RuleState]:
        """Outputs of the new rows, with a gradient through the window, and the state after them."""
        tensors = state.tensors
        again = self.window - self.every  # steps that are read again with the next ones
        steps = tensors["steps"].cpu()
        moved = inputs.lengths > 0
        before = remembered_inputs(tensors, moved) if again else None
        kept = torch.zeros_like(steps) if before is None else before.lengths
        state_before = stack_state(stack, tensors, steps <= again)
        full = inputs if before is None else before.followed_by(inputs)
        if not again:
            outputs, after = stack.run(full, state_before)
            return outputs, _moved_on(state, stack, after, inputs)
        cut = (full.lengths - again).clamp(min=0)
        early, late = full.between(0, cut), full.between(cut)
        after = state_before
        if early.N:
            first, after = stack.run(early, state_before)
            second, _ = stack.run(late, after)
            assert isinstance(first, Ragged) and isinstance(second, Ragged)
            outputs = first.followed_by(second)
        else:
            outputs, _ = stack.run(late, after)
        if isinstance(outputs, Ragged):
            outputs = outputs.between(kept)
        inputs_kept = late.detach().to_padded(batch_first=True, steps=again)
        if "inputs" in tensors:
            still = ~moved.to(inputs_kept.device)[(...,) + (None,) * (inputs_kept.ndim - 1)]
            inputs_kept = torch.where(still, tensors["inputs"], inputs_kept)
        return outputs, _moved_on(state, stack, after, inputs, {"inputs": inputs_kept})

    def _last_window(self, stack: Stack, inputs: Ragged, state: RuleState) -> Ragged | Tensor:
        """Outputs of whole sequences, with a gradient through the last `window` steps of each."""
        before = remembered_inputs(state.tensors)
        kept = torch.zeros(inputs.B, dtype=torch.int64) if before is None else before.lengths
        after = stack_state(stack, state.tensors, state.tensors["steps"].cpu() <= kept)
        full = inputs if before is None else before.followed_by(inputs)
        cut = (full.lengths - self.window).clamp(min=0)
        early = full.between(0, cut)
        if bool((cut > 0).any()):
            with torch.no_grad():
                _, reached = stack.run(early, after)
            # a sequence shorter than the window keeps its start, and that start its gradient
            rows = (cut > 0).to(full.device)[None, :, None]
            after = tuple(
                tuple(torch.where(rows, new, old) for new, old in zip(news, olds))
                for news, olds in zip(reached, after)
            )
        return stack.run(full.between(cut), after)[0]


def _moved_on(
    state: RuleState,
    stack: Stack,
    after: tuple[tuple[Tensor, ...], ...],
    inputs: Ragged,
    more: Mapping[str, Tensor] | None = None,
) -> RuleState:
    steps = state.tensors["steps"] + inputs.lengths.to(state.tensors["steps"].device)
    return RuleState({**state_tensors(stack, after), "steps": steps, **(more or {})})


def _gradients(value: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """∂value/∂parameter by name; a parameter that it does not reach is absent."""
    if not value.requires_grad:  # an empty batch reaches no parameter
        return {}
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    return {name: g for name, g in zip(parameters, found) if g is not None}
