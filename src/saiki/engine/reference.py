"""The reference engine: the cell's own `step`, looped over the live rows of a packed batch, under autograd.

    forward: t = 1 … T    at each step a prefix of the rows goes on; those that ended keep their last state
    reverse: t = T … 1    each sequence starts at its own last step from its initial state, so rows join

It is the oracle for every other engine: any cell, device and floating type. Rows never meet, so what one
sequence holds (NaN, say) reaches no other sequence's outputs or input gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from saiki.cells import Cell
from saiki.core.errors import ShapeError
from saiki.engine.base import Engine, Job, Run


class Reference(Engine):
    """Loops `cell.step`; slow, right, and never unavailable."""

    name: ClassVar[str] = "reference"

    def obstacle(
        self, cell: Cell[Any, Any], device: torch.device, dtype: torch.dtype, *, trace: bool, grad: bool
    ) -> str | None:
        """There is none."""
        return None

    def run(self, job: Job) -> list[Run]:
        """Run each direction by itself."""
        sizes = job.batch_sizes.tolist() or [
            0
        ]  # no steps at all: one step of no rows, so that every name is there
        xs = job.data.split(sizes)
        unroll = {"forward": _forward, "reverse": _reverse}
        return [
            unroll[direction](job.cell, job.cell.params(tensors), xs, state, job.trace)
            for direction, tensors, state in zip(job.directions, job.tensors, job.states)
        ]


def _forward(cell: Cell[Any, Any], params: Any, xs: Sequence[Tensor], state: Any, trace: bool) -> Run:  # noqa: ANN401
    steps, ended = _Steps(cell, params, trace), []
    for x in xs:
        running = len(x)
        if running < len(state[0]):
            ended.append([s[running:] for s in state])
            state = cell.state_type(*(s[:running] for s in state))
        state = steps.advance(state, x)
    last = cell.state_type(*(torch.cat(parts) for parts in zip(state, *reversed(ended))))
    return steps.collect(last, in_time=True)


def _reverse(cell: Cell[Any, Any], params: Any, xs: Sequence[Tensor], state: Any, trace: bool) -> Run:  # noqa: ANN401
    steps, initial = _Steps(cell, params, trace), state
    state = cell.state_type(*(s[:0] for s in initial))
    for x in reversed(xs):
        joined, running = len(state[0]), len(x)
        if joined < running:
            state = cell.state_type(*(torch.cat([s, s0[joined:running]]) for s, s0 in zip(state, initial)))
        state = steps.advance(state, x)
    return steps.collect(state, in_time=False)


class _Steps:
    """Takes the steps and keeps what they leave, in the order in which they were taken."""

    def __init__(self, cell: Cell[Any, Any], params: Any, trace: bool) -> None:  # noqa: ANN401
        self.cell, self.params, self.trace = cell, params, trace
        self.outputs: list[Tensor] = []
        self.traces: list[dict[str, Tensor]] = []

    def advance(self, state: Any, x: Tensor) -> Any:  # noqa: ANN401
        if self.trace:
            state, gates = self.cell.step_with_gates(self.params, state, x)
            self.traces.append({**gates, **dict(zip(self.cell.states, state))})
        else:
            state = self.cell.step(self.params, state, x)
        if not self.outputs:
            self._check(state, len(x))
        self.outputs.append(getattr(state, self.cell.output))
        return state

    def collect(self, last: Any, *, in_time: bool) -> Run:  # noqa: ANN401
        order = 1 if in_time else -1
        trace = {
            name: torch.cat([step[name] for step in self.traces[::order]])
            for name in (self.traces[0] if self.traces else ())
        }
        return Run(torch.cat(self.outputs[::order]), last, trace)

    def _check(self, state: Any, rows: int) -> None:  # noqa: ANN401
        """A cell of one's own may return anything; once a run is enough."""
        expected = [(rows, size) for size in self.cell.state_sizes]
        came = [tuple(s.shape) for s in state]
        if came != expected:
            raise ShapeError(
                f"{type(self.cell).__name__}.step returned shapes {came} but must return {expected}:",
                f"one row a running sequence, widths as state_sizes says for {', '.join(self.cell.states)}.",
            )
