"""The reference engine: the cell's own `step`, looped over the live rows of a packed batch, under autograd.

It is the oracle for every other engine: any cell, device and floating type. Rows never meet, so what one
sequence holds (NaN, say) reaches no other sequence's outputs or input gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from saiki.cells import Cell
from saiki.core.errors import ShapeError
from saiki.engine.base import Direction, Engine, Job, Run
from saiki.engine.walk import walk


class Reference(Engine):
    """Loops `cell.step`; slow, right, and never unavailable."""

    name: ClassVar[str] = "reference"
    needs_steps: ClassVar[bool] = False

    def obstacle(
        self, cell: Cell[Any, Any], device: torch.device, dtype: torch.dtype, *, trace: bool, grad: bool
    ) -> str | None:
        """There is none."""
        return None

    def run(self, job: Job) -> list[Run]:
        """Run each direction by itself."""
        live = job.batch_sizes.tolist() or [
            0
        ]  # no steps at all: one step of no rows, so that every name is there
        xs = job.data.split(live)
        return [
            _unroll(job.cell, tensors, state, xs, live, direction, job.trace)
            for direction, tensors, state in zip(job.directions, job.tensors, job.states)
        ]


def _unroll(
    cell: Cell[Any, Any],
    tensors: Mapping[str, Tensor],
    initial: Any,  # noqa: ANN401 - the cell's state tuple
    xs: Sequence[Tensor],
    live: Sequence[int],
    direction: Direction,
    trace: bool,
) -> Run:
    params = cell.params(tensors)
    outputs: list[Tensor] = []  # in the order in which the steps are taken
    told: list[dict[str, Tensor]] = []

    def advance(state: Any, x: Tensor, rows: int) -> Any:  # noqa: ANN401
        if trace:
            state, gates = cell.step_with_gates(params, state, x)
            told.append({**gates, **dict(zip(cell.states, state))})
        else:
            state = cell.step(params, state, x)
        if not outputs:
            _check(cell, state, rows)
        outputs.append(getattr(state, cell.output))
        return state

    last = walk(cell, initial, xs, live, direction, advance)
    in_time = 1 if direction == "forward" else -1
    names = told[0] if told else ()
    return Run(
        torch.cat(outputs[::in_time]),
        last,
        {name: torch.cat([step[name] for step in told[::in_time]]) for name in names},
    )


def _check(cell: Cell[Any, Any], state: Any, rows: int) -> None:  # noqa: ANN401
    """A cell of one's own may return anything; looking once a run is enough."""
    expected = [(rows, size) for size in cell.state_sizes]
    came = [tuple(s.shape) for s in state]
    if came != expected:
        raise ShapeError(
            f"{type(cell).__name__}.step returned shapes {came} but must return {expected}:",
            f"one row a running sequence, widths as state_sizes says for {', '.join(cell.states)}.",
        )
