"""The parts that a step's derivatives come in, as the influence of real-time recurrent learning takes them.

    D_t = ∂s_t/∂s_{t-1}        F_t = ∂⁺s_t/∂θ, s_{t-1} held        G_t = ∂s_t/∂x_t

s is the whole state, its parts one after another as `cell.states` names them (S numbers); θ the parameters of
the cell, flattened, one after another as `cell.parameter_shapes()` names them (P numbers).

| part | form |
|---|---|
| D_t | full columns for the states that go through R; diagonal blocks for the rest (an LSTM's c) |
| F_t | a factor for each parameter: its row r acts on the states by `left`, times `right` |
| G_t | full, S × I |

In most cells row r of a parameter belongs to one unit (r modulo H) and reaches that unit's states alone, so
that `left` is a diagonal. The reset gate of a GRU that resets before the product reaches every unit, and so
do the rows of a Jordan network, through the output: there `left` is a matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any, NamedTuple

from torch import Tensor

from saiki.cells import Cell


class Steps(NamedTuple):
    """R rows of one layer's run, each a step of some sequence, with all that a step has seen and made."""

    cell: Cell[Any, Any]
    params: Any  # the cell's parameter tuple
    x: Tensor  # (R, I)
    before: Any  # s_{t-1}, the cell's state tuple, (R, size) each
    after: Any  # s_t
    gates: Mapping[str, Tensor]  # (R, H) each, as `step_with_gates` returns them; {} if the cell tells none

    def rows(self, start: int, stop: int) -> Steps:
        """Some of the rows."""
        state = self.cell.state_type
        return self._replace(
            x=self.x[start:stop],
            before=state(*(s[start:stop] for s in self.before)),
            after=state(*(s[start:stop] for s in self.after)),
            gates={name: gate[start:stop] for name, gate in self.gates.items()},
        )


class Factor(NamedTuple):
    """F_t for some rows of one parameter: ∂s/∂θ[r, q] = left[:, r] · right[q]."""

    parameter: str
    start: int  # the first of the parameter's rows that are meant; all in `left` follow it
    left: tuple[
        Tensor | None, ...
    ]  # a state each: None, (R, rows) for unit r mod size alone, or (R, size, rows)
    right: Tensor | None  # (R, columns); None stands for 1: one number a row
    units: int = 0  # which of `Local.units` the rows belong to

    def rows(self, start: int, stop: int) -> Factor:
        """Some of the R rows."""
        left = tuple(_cut(value, start, stop) for value in self.left)
        return self._replace(left=left, right=_cut(self.right, start, stop))


@dataclass(frozen=True)
class Jacobians:
    """D_t, F_t and G_t of R rows."""

    states: tuple[int, ...]  # the size of each state
    dense: Tensor  # (R, S, Q): the first Q columns of D
    diagonal: tuple[tuple[int, int, Tensor], ...]  # (to, from, (R, size)): the blocks of D's other columns
    inputs: Tensor  # (R, S, I): G
    factors: tuple[Factor, ...]  # F
    full: Tensor | None = None  # (R, S, P): F as a matrix, for a cell that says nothing of its form

    def rows(self, start: int, stop: int) -> Jacobians:
        """Some of the R rows."""
        return Jacobians(
            self.states,
            self.dense[start:stop],
            tuple((to, source, block[start:stop]) for to, source, block in self.diagonal),
            self.inputs[start:stop],
            tuple(factor.rows(start, stop) for factor in self.factors),
            _cut(self.full, start, stop),
        )


class Units(NamedTuple):
    """Units that have states to themselves, and the block of D_t within each of them."""

    states: tuple[int, ...]  # which of the cell's states they are, K of them
    block: Tensor  # (R, K, K, size): [to, from, unit]
    through: Tensor | None = (
        None  # (R, output, size): ∂output/∂(the first of them) where that is not the output
    )


@dataclass(frozen=True)
class Local:
    """What stays within a unit from step to step, and F_t."""

    units: tuple[Units, ...]
    factors: tuple[Factor, ...]

    def rows(self, start: int, stop: int) -> Local:
        """Some of the R rows."""
        units = tuple(
            unit._replace(block=unit.block[start:stop], through=_cut(unit.through, start, stop))
            for unit in self.units
        )
        return Local(units, tuple(factor.rows(start, stop) for factor in self.factors))


def parameter_starts(cell: Cell[Any, Any]) -> dict[str, int]:
    """Where each parameter begins among the P numbers."""
    starts, place = {}, 0
    for name, shape in cell.parameter_shapes().items():
        starts[name] = place
        place += prod(shape)
    return starts


def parameter_count(cell: Cell[Any, Any]) -> int:
    """P."""
    return sum(prod(shape) for shape in cell.parameter_shapes().values())


def state_slices(sizes: Sequence[int]) -> list[slice]:
    """Where each state lies among the S numbers."""
    ends = list(accumulate(sizes))
    return [slice(end - size, end) for end, size in zip(ends, sizes)]


def _cut(value: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if value is None else value[start:stop]
