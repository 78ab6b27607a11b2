"""The influence of parameters carried through a chunk by the native kernels, where they can be had.

The functions stand for those of the same names in `saiki.learning.influence`, the plain form in tensor code:

    unroll(cell, params, x, batch_sizes, first)                   a layer's run over a chunk
    scan(run, influence, d_output, approximation)                 gradient, influence after it

A built-in cell with named activations, in float32 or float64 on the CPU, is run by `saiki._native`: forward
as a training layer is, then

    M_t = D_t M_{t-1} + F_t,    dL/dθ = Σ_t δ_t M_t[rows of the output]

in one call for the whole chunk. M is cut into panels of parameters; each goes through several steps in the
first-level cache, and its part of the gradient is read off there. The result does not depend on the number of
threads. Any other cell, type or device goes the plain way, and so do all where `saiki._native` was not built.

FLOPs of the exact form, a step and sequence, with P columns (those of D M alone, 2 a multiply-add):

    Elman, GRU  2 H² P        LSTM  4 H² P: R's columns on c and on h        Jordan  2 (H (H + K) + K H) P

Sources: those of `saiki.learning.influence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor

from saiki.cells import Cell
from saiki.core.errors import ShapeError
from saiki.engine import run_layer
from saiki.engine.cpu import NativeCPU
from saiki.engine.dispatch import selected
from saiki.engine.operators import plan_of, run_forward, text_of
from saiki.learning import influence as plain
from saiki.learning.influence import Approximation, Unrolled
from saiki.learning.jacobians import Steps

_ENGINE = NativeCPU()


@dataclass(frozen=True)
class NativeRun:
    """What the kernels' run of one layer over a chunk leaves behind; has what `influence.Unrolled` has.

    Args:
        cell: the recurrence.
        params: its parameters by name, without gradients.
        x: (N, I) packed and time-major.
        batch_sizes: (T,) int64 sequences still running at each step, a prefix of the batch.
        first: the state before the chunk, (B, size) each.
        output: (N, K) the layer's output.
        last: the cell's state tuple after each sequence's last step.
        saved: (N, columns) what the kernels keep of the gates, in an order of their own.
    """

    cell: Cell[Any, Any]
    params: dict[str, Tensor]
    x: Tensor
    batch_sizes: Tensor
    first: tuple[Tensor, ...]
    output: Tensor
    last: Any
    saved: Tensor

    @cached_property
    def steps(self) -> Steps:
        """All N rows with the states and gates that each has seen and made."""
        cell, H = self.cell, self.cell.hidden_size
        lanes = plan_of(text_of(cell)).kernel(self.x.dtype).lanes
        G, padded = len(cell.gates), -(-H // lanes) * lanes
        gates: dict[str, Tensor] = {}
        if cell.name in ("lstm", "gru"):  # block by block of units, and in a block gate by gate
            kept = self.saved[:, : G * padded].unflatten(1, (padded // lanes, G, lanes))
            gates = {gate: kept[:, :, g].flatten(1)[:, :H] for g, gate in enumerate(cell.gates)}
        second = self.saved[:, -padded:][:, :H]  # c of an LSTM, h of a Jordan network
        after: tuple[Tensor, ...]
        match cell.name:
            case "lstm":
                after = (self.output, second)
            case "jordan":
                after = (second, self.output)
            case _:
                after = (self.output,)
        sizes = self.batch_sizes.tolist()
        starts = [0]
        for live in sizes:
            starts.append(starts[-1] + live)
        earlier = [torch.arange(start, start + live) for start, live in zip(starts, sizes[1:])]
        rows = torch.cat(earlier) if earlier else torch.arange(0)
        before = tuple(torch.cat([s, a[rows]]) for s, a in zip(self.first, after))
        state = cell.state_type
        return Steps(cell, cell.params(self.params), self.x, state(*before), state(*after), gates)


def unroll(
    cell: Cell[Any, Any],
    params: Mapping[str, Tensor],
    x: Tensor,
    batch_sizes: Tensor,
    first: Sequence[Tensor],
    *,
    engine: str | None = None,
) -> NativeRun | Unrolled:
    """Run a layer forward over a chunk and keep what `scan` needs.

    Args:
        cell: the recurrence.
        params: its parameters by name.
        x: (N, I) packed and time-major.
        batch_sizes: (T,) int64 on the CPU, never rising.
        first: the state before the chunk, (B, size) each, B = batch_sizes[0].
        engine: "cpu" for the kernels, another of `saiki.engine.engine` for the plain way; None: the kernels
            where they can be had and no other engine was asked for.
    Raises:
        EngineError: "cpu" was asked for and cannot be had.
    """
    asked = engine or selected()
    if asked not in ("auto", "cpu") or not can_run(cell, x):
        return plain.unroll(cell, params, x, batch_sizes, first, engine=engine)
    values = {name: value.detach().contiguous() for name, value in params.items()}
    x, before = x.detach().contiguous(), tuple(s.detach().contiguous() for s in first)
    text = text_of(cell)
    try:
        ordered = [values[name] for name in plan_of(text).names]
        output, last, saved = run_forward(x, batch_sizes, ordered, before, text, (False,), True)
    except (KeyError, TypeError, ValueError):
        run_layer(cell, [values], x, batch_sizes, [before])  # says in the library's words what does not fit
        raise
    return NativeRun(cell, values, x, batch_sizes, before, output, cell.state_type(*last), saved[0])


def scan(
    run: NativeRun | Unrolled, influence: Tensor, d_output: Tensor, approximation: Approximation = "exact"
) -> tuple[Tensor, Tensor]:
    """Carry the influence of a layer's own parameters through a chunk, and read the gradient off each step.

    Args:
        run: from `unroll`.
        influence: (B, rows, P) before the chunk, sequences in packed order; it is not written to. S columns
            more are those of the initial state.
        d_output: (N, K) ∂L/∂y of each row's own loss.
        approximation: which paths are kept.
    Returns:
        (P,) the gradient, a number a column; the influence after each sequence's last step.
    Raises:
        ShapeError: the influence has other rows or columns.
    """
    if isinstance(run, Unrolled):
        return plain.scan(run, influence, d_output, approximation)
    return scan_(run, influence.clone(memory_format=torch.contiguous_format), d_output, approximation)


def scan_(
    run: NativeRun, influence: Tensor, d_output: Tensor, approximation: Approximation = "exact"
) -> tuple[Tensor, Tensor]:
    """`scan` that brings a contiguous influence up to date where it lies: nothing is copied."""
    layout = _layout(run.cell)
    plan, P, S, rows = layout.plan, layout.P, layout.S, plain.influence_rows(run.cell, approximation)
    B, columns = run.first[0].shape[0], influence.shape[-1]
    if influence.shape[:2] != (B, rows) or columns not in (P, P + S):
        raise ShapeError(
            f"influence is {tuple(influence.shape)} but must be {(B, rows, P)}, or {(B, rows, P + S)} with "
            f"the initial state: {run.cell.label!r} under {approximation!r}.",
            "Begin with no_influence(cell, approximation, B, like).",
        )
    gradient = influence.new_empty(columns)
    if not run.x.shape[0]:
        return gradient.zero_(), influence
    whole = influence.view(B * rows, columns)
    sizes = layout.sizes if columns == P else (*layout.sizes, S)
    blocks, sums = torch.split_with_sizes(whole, sizes, 1), torch.split_with_sizes(gradient, sizes)
    plan.kernel(run.x.dtype).influence(
        run.x,
        run.batch_sizes.contiguous(),
        (
            plan.slots([*(run.params[name] for name in plan.names), None]),
            run.first,
            run.output,
            run.saved,
            d_output.detach().contiguous(),
        ),
        layout.slots(blocks, columns > P),
        layout.slots(sums, columns > P),
        approximation,
        torch.get_num_threads(),
    )
    return gradient, influence


class _Layout:
    """Where a cell's parameters stand among the columns, and the kernels' order of them."""

    def __init__(self, cell: Cell[Any, Any]) -> None:
        self.plan = plan_of(text_of(cell))
        shapes = cell.parameter_shapes()
        self.sizes = tuple(prod(shape) for shape in shapes.values())
        self.P, self.S = sum(self.sizes), sum(cell.state_sizes)
        names = list(shapes)
        self._order = [names.index(name) for name in self.plan.names]

    def slots(self, parts: Sequence[Tensor], initial: bool) -> tuple[Tensor | None, ...]:
        """Parts by parameter, and one for the initial state, as the kernels take them."""
        taken: tuple[Tensor | None, ...] = self.plan.slots([*(parts[k] for k in self._order), None])
        return (*taken, parts[-1] if initial else None)


_layout = lru_cache(maxsize=1024)(_Layout)


def can_run(cell: Cell[Any, Any], x: Tensor) -> bool:
    """Whether the kernels have this cell, type and device."""
    return _ENGINE.obstacle(cell, x.device, x.dtype, trace=False, grad=True) is None
