"""The influence of parameters on the state, carried forward through a chunk of time.

    M_t = D_t M_{t-1} + F_t,    M_t = ds_t/dθ,    D_t = ∂s_t/∂s_{t-1},    F_t = ∂⁺s_t/∂θ
    dL/dθ = Σ_t δ_t M_t[rows of the output],    δ_t = ∂L/∂y_t of step t's own loss

for one recurrent layer and its own parameters (`scan`), and one step of it for parameters of layers in front
(`advance`). This is the plain form in tensor code, for every cell; `saiki.learning.influence_native` has the
same functions in the kernels.

| `approximation` | influence of a chunk's sequences | D_t |
|---|---|---|
| "exact" | (B, S, P) | whole |
| "snap1" | (B, K, P): of each parameter on its own unit's K states | the block within a unit, R_jj in it |
| "eprop" | the same | the block within a unit, no path through R |

S numbers of state, in the order of `cell.states`; P numbers of parameters, flattened and laid end to end in
the order of `cell.parameter_shapes()`. K is 2 for an LSTM (rows h, c), 1 for the others. In the short form
what a parameter does to other units within a step (the reset gate of a GRU that resets before the product;
the output of a Jordan network) counts in that step and is then forgotten. A cell whose derivatives are not
written down here (one's own, or one with an activation of one's own) does not say which unit a parameter
belongs to: its "snap1" keeps (B, S, P), with the block of D_t within a unit, and it has no "eprop".

Sources: Williams & Zipser 1989 (exact); Menick et al. 2020, "A practical sparse approximation for real time
recurrent learning" (SnAp-1); Bellec et al. 2020, "A solution to the learning dilemma for recurrent networks
of spiking neurons" (e-prop).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, product
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from saiki.cells import Cell
from saiki.engine import run_layer
from saiki.learning.jacobians import (
    Factor,
    Jacobians,
    Local,
    Steps,
    Units,
    parameter_count,
    parameter_starts,
    state_slices,
)
from saiki.learning.linearise import known, linearise, localise, unit_states

Approximation = Literal["exact", "snap1", "eprop"]

_PIECE = 1 << 21  # numbers of D that may lie about at once: 16 MiB in float64


class Unrolled(NamedTuple):
    """What one layer's run over a chunk leaves behind; rows packed and time-major, all without gradients."""

    steps: Steps  # all N rows
    batch_sizes: Tensor  # (T,) int64 on the CPU: sequences still running at each step, a prefix of the batch
    last: Any  # the cell's state tuple after each sequence's last step, (B, size) each

    @property
    def output(self) -> Tensor:
        """(N, K) the layer's output."""
        output: Tensor = getattr(self.steps.after, self.steps.cell.output)
        return output


def unroll(
    cell: Cell[Any, Any],
    params: Mapping[str, Tensor],
    x: Tensor,
    batch_sizes: Tensor,
    first: Sequence[Tensor],
    *,
    engine: str | None = None,
) -> Unrolled:
    """Run a layer forward over a chunk and keep what its derivatives need.

    Args:
        cell: the recurrence.
        params: its parameters by name.
        x: (N, I) packed and time-major.
        batch_sizes: (T,) int64 on the CPU, never rising.
        first: the state before the chunk, (B, size) each, B = batch_sizes[0].
        engine: for the twin in the kernels. Here it is always the reference engine, which alone tells gates.
    """
    values = {name: value.detach() for name, value in params.items()}
    with torch.no_grad():
        ran = run_layer(cell, [values], x.detach(), batch_sizes, [first], engine="reference", trace=True)
    trace = ran.traces[0]
    after = cell.state_type(*(trace[name] for name in cell.states))
    sizes = batch_sizes.tolist()
    kept = sum(sizes[1:])  # rows that have a step before them in the chunk
    earlier = [torch.arange(0)] if not kept else []
    place = 0
    for now, then in pairwise(sizes):
        earlier.append(torch.arange(place, place + then))
        place += now
    index = torch.cat(earlier).to(x.device)
    before = cell.state_type(*(torch.cat([s.detach(), a[index]]) for s, a in zip(first, after)))
    gates = {name: value for name, value in trace.items() if name not in cell.states}
    return Unrolled(
        Steps(cell, cell.params(values), x.detach(), before, after, gates), batch_sizes, ran.states[0]
    )


def influence_rows(cell: Cell[Any, Any], approximation: Approximation) -> int:
    """How many rows of state the influence of a layer's own parameters has: S, or K of the short form."""
    if approximation == "exact" or not known(cell):
        return sum(cell.state_sizes)
    return 2 if "c" in cell.states else 1


def no_influence(
    cell: Cell[Any, Any],
    approximation: Approximation,
    batch_size: int,
    like: Tensor,
    *,
    initial: bool = False,
) -> Tensor:
    """The influence before the first step, (B, rows, P): none.

    Args:
        cell: of the layer.
        approximation: which form.
        batch_size: B.
        like: gives dtype and device.
        initial: with S columns more, for an initial state that is learned: they are the identity.
    """
    rows, P, S = influence_rows(cell, approximation), parameter_count(cell), sum(cell.state_sizes)
    M = like.new_zeros(batch_size, rows, P + S if initial else P)
    if initial:
        M[:, :, P:] = initial_columns(cell, approximation, like)
    return M


def initial_columns(cell: Cell[Any, Any], approximation: Approximation, like: Tensor) -> Tensor:
    """(rows, S): the influence of the initial state on itself."""
    S = sum(cell.state_sizes)
    if approximation == "exact" or not known(cell):
        return torch.eye(S, dtype=like.dtype, device=like.device)
    columns = like.new_zeros(influence_rows(cell, approximation), S)
    places = state_slices(cell.state_sizes)
    for group in unit_states(cell):
        for k, state in enumerate(group):
            columns[k, places[state]] = 1
    return columns


def scan(
    run: Unrolled, influence: Tensor, d_output: Tensor, approximation: Approximation = "exact"
) -> tuple[Tensor, Tensor]:
    """Carry the influence of a layer's own parameters through a chunk, and read the gradient off each step.

    Args:
        run: the layer's run over the chunk, B ≥ 1 sequences at its first step.
        influence: (B, rows, P) before the chunk, sequences in packed order; it is not written to. S columns
            more are those of the initial state, see `no_influence`.
        d_output: (N, K) ∂L/∂y of each row's own loss. For a short form of a layer below others: with what
            comes down through the layers above within the same step.
        approximation: which paths are kept.
    Returns:
        (P,) the gradient, summed over rows, a number a column; the influence after each sequence's last step.
    """
    cell = run.steps.cell
    M = influence.clone()
    gradient = M.new_zeros(M.shape[2])
    short = approximation != "exact" and known(cell)
    out = output_slice(cell)
    for start, stop, sizes in pieces(run.batch_sizes, numbers_of(cell, short)):
        piece = run.steps.rows(start, stop)
        some: Jacobians | Local
        if short:
            some = localise(piece, self_path=approximation == "eprop")
        else:
            some = linearise(piece)
            some = within_units(some) if approximation == "snap1" else some
        at = 0
        for live in sizes:
            step, delta = some.rows(at, at + live), d_output[start + at : start + at + live]
            if isinstance(step, Local):
                gradient += _advance_units(M[:live], step, cell, delta)
            else:
                M[:live] = advance(step, M[:live], cell=cell)
                if bool(delta.any()):
                    gradient += torch.einsum("bk,bkp->p", delta, M[:live, out])
            at += live
    return gradient, M


def advance(
    step: Jacobians, influence: Tensor, *, cell: Cell[Any, Any] | None = None, driven: Tensor | None = None
) -> Tensor:
    """One step of the exact influence, M_t = D_t M_{t-1} + F_t.

    Args:
        step: of this step's B rows.
        influence: (B, S, P) M_{t-1} of these rows.
        cell: given where the parameters are the cell's own, which adds F_t.
        driven: (B, I, P) dx_t/dθ, for parameters further down: adds G_t dx_t/dθ.
    Returns:
        (B, S, P) M_t.
    """
    Q = step.dense.shape[2]
    if driven is None:
        after = torch.bmm(step.dense, influence[:, :Q])
    else:
        left = torch.cat([step.dense, step.inputs], dim=2)
        after = torch.bmm(left, torch.cat([influence[:, :Q], driven], dim=1))
    places = state_slices(step.states)
    for to, source, block in step.diagonal:
        after[:, places[to]] += block[:, :, None] * influence[:, places[source]]
    if cell is not None:
        if step.full is not None:
            after[:, :, : step.full.shape[2]] += step.full
        starts = parameter_starts(cell)
        for factor in step.factors:
            _add_factor(after, factor, starts, places)
    return after


def pieces(batch_sizes: Tensor, numbers: int) -> Iterator[tuple[int, int, list[int]]]:
    """Cut a chunk so that derivatives can be taken for many steps at once and still take little memory.

    Args:
        batch_sizes: (T,) sequences running at each step.
        numbers: how many a row needs.
    Yields:
        The piece's first row and the row behind its last, and its steps' numbers of rows.
    """
    sizes: list[int] = batch_sizes.tolist()
    t = place = 0
    while t < len(sizes):
        stop, rows = t + 1, sizes[t]
        while stop < len(sizes) and (rows + sizes[stop]) * numbers <= _PIECE:
            rows += sizes[stop]
            stop += 1
        yield place, place + rows, sizes[t:stop]
        place, t = place + rows, stop


def numbers_of(cell: Cell[Any, Any], short: bool = False) -> int:
    """How many numbers the derivatives of one row take."""
    S = sum(cell.state_sizes)
    if short:
        return 8 * S
    return S * (S + cell.input_size + (0 if known(cell) else parameter_count(cell)))


def within_units(step: Jacobians) -> Jacobians:
    """The same with D's block within a unit alone; unit j has the j-th number of each state of one size."""
    sizes, places = step.states, state_slices(step.states)
    kept = torch.zeros_like(step.dense[0], dtype=torch.bool)
    for to, source in product(range(len(sizes)), repeat=2):
        if sizes[to] == sizes[source]:
            kept[places[to], places[source]].fill_diagonal_(True)
    return replace(step, dense=step.dense * kept)


def _add_factor(M: Tensor, factor: Factor, starts: Mapping[str, int], places: Sequence[slice]) -> None:
    """M += F for the rows of one factor, in place."""
    columns = 1 if factor.right is None else factor.right.shape[1]
    rows = next(left.shape[-1] for left in factor.left if left is not None)
    begin = starts[factor.parameter] + factor.start * columns
    block = M[:, :, begin : begin + rows * columns].unflatten(2, (rows, columns))  # (B, S, rows, columns)
    right = None if factor.right is None else factor.right[:, None, None]
    for left, place in zip(factor.left, places):
        if left is None:
            continue
        if left.ndim == 3:
            block[:, place] += left[..., None] if right is None else left[..., None] * right
            continue
        size = place.stop - place.start
        own = block[:, place].unflatten(2, (rows // size, size)).diagonal(dim1=1, dim2=3)
        by_unit = left.unflatten(1, (rows // size, 1, size))  # (B, G, 1, size) beside (B, G, columns, size)
        own += by_unit if right is None else by_unit * right.transpose(2, 3)


def _advance_units(M: Tensor, step: Local, cell: Cell[Any, Any], delta: Tensor) -> Tensor:
    """One step of the short form, in place; returns the step's gradient, a number a column."""
    gradient = M.new_zeros(M.shape[2])
    starts = parameter_starts(cell)
    errors = [
        delta if unit.through is None else torch.einsum("bo,bon->bn", delta, unit.through)
        for unit in step.units
    ]
    for factor in step.factors:
        unit, error = step.units[factor.units], errors[factor.units]
        columns = 1 if factor.right is None else factor.right.shape[1]
        left = [factor.left[state] for state in unit.states]
        rows = next(value.shape[-1] for value in left if value is not None)
        size = unit.block.shape[-1]
        begin = starts[factor.parameter] + factor.start * columns
        place = slice(begin, begin + rows * columns)
        new = _within(unit, M[:, : len(left), place], size, columns)
        right = None if factor.right is None else factor.right[:, None, None]
        for k, value in enumerate(left):
            if value is None:
                continue
            own = value.unflatten(-1, (rows // size, size))
            if value.ndim == 3:
                own = own.diagonal(dim1=1, dim2=3)
                # what the row does to the other units' states counts now and is forgotten
                others = torch.einsum("bo,bor->br", error, value) - (error[:, None] * own).flatten(1)
                gradient[place] += (
                    others.sum(0) if factor.right is None else (others.T @ factor.right).flatten()
                )
            new[:, k] += own[..., None] if right is None else own[..., None] * right
        M[:, : len(left), place] = new.flatten(2)
        gradient[place] += (error[:, None, :, None] * new[:, 0]).sum(0).flatten()
    begin = parameter_count(cell)
    if M.shape[2] > begin:  # the initial state: nothing is added to what it once was
        places = [slice(begin + p.start, begin + p.stop) for p in state_slices(cell.state_sizes)]
        for unit, error in zip(step.units, errors):
            for state in unit.states:
                place = places[state]
                new = _within(unit, M[:, : len(unit.states), place], unit.block.shape[-1], 1)
                M[:, : len(unit.states), place] = new.flatten(2)
                gradient[place] += (error[:, None, :, None] * new[:, 0]).sum(0).flatten()
    return gradient


def _within(unit: Units, M: Tensor, size: int, columns: int) -> Tensor:
    """D_t's block within the units times some columns of the short form: (B, K, G, size, columns)."""
    old = M.unflatten(2, (-1, size, columns))
    moved: Tensor = (unit.block[:, :, :, None, :, None] * old[:, None]).sum(2)
    return moved


def output_slice(cell: Cell[Any, Any]) -> slice:
    """Where the output lies among the S numbers of the state."""
    return state_slices(cell.state_sizes)[cell.states.index(cell.output)]
