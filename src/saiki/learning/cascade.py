"""Influence through a stack: how the parameters of one level reach the levels above it, step by step.

    M^{k→k}_t = D^k_t M^{k→k}_{t-1} + F^k_t                                   level k's own parameters
    M^{k→k}_t = D^k_t M^{k→k}_{t-1} + G^k_t ∂x^k_t/∂φ                         those of its front
    M^{k→m}_t = D^m_t M^{k→m}_{t-1} + C^m_t M^{k→m-1}_t[rows of the output]   either, on a level m above

with C^m = G^m times the Jacobian of the front of level m. The state of the whole stack would be one long s;
as a level sees the ones below it alone, D is block triangular, and these are the blocks that are not zero.

The short forms keep no influence across levels: the error of a step goes down through the levels within the
step, and meets there the influence of each level's parameters on their own units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from saiki.cells import Cell
from saiki.learning.influence import (
    Approximation,
    Unrolled,
    advance,
    influence_rows,
    no_influence,
    numbers_of,
    output_slice,
    pieces,
)
from saiki.learning.influence_native import NativeRun, scan
from saiki.learning.jacobians import Jacobians
from saiki.learning.levels import Level, Link, trained_of, whole_jacobian
from saiki.learning.linearise import known, linearise


class Way(NamedTuple):
    """One level over one block of time: what fed it, and its run."""

    level: Level
    links: list[Link]
    run: Unrolled | NativeRun


class Reach(NamedTuple):
    """The influence of a source on one level."""

    name: str  # of the tensor
    level: int
    shape: tuple[int, int]  # rows of state, columns of parameters


class Source(NamedTuple):
    """Parameters whose influence is carried: a level's own, or those of its front."""

    own: bool
    parameters: tuple[torch.nn.Parameter, ...]  # in the order of the columns; own ones count the frozen, too
    reached: tuple[Reach, ...]  # its own level first

    @property
    def name(self) -> str:
        """The name of the influence on its own level."""
        return self.reached[0].name

    @property
    def level(self) -> int:
        """Its own level."""
        return self.reached[0].level


def sources(levels: Sequence[Level], approximation: Approximation) -> list[Source]:
    """What influence a network needs, for the parameters that are to be trained.

    Names: `influence.lstm_l0` (a level's own parameters), `influence.lstm_l0.on.lstm_l1` (on a level above),
    `influence.front.lstm_l0` (those of the layers in front of it).
    """
    exact = approximation == "exact"
    found = []
    for k, level in enumerate(levels):
        own = (*level.parameters().values(), *level.initial()) if level.learns() else ()
        front = tuple(p for feed in level.front for p in trained_of(feed)) if exact else ()
        for name, parameters in ((level.name, own), (f"front.{level.name}", front)):
            if not parameters:
                continue
            P = sum(p.numel() for p in parameters)
            rows = influence_rows(level.cell, approximation)
            reached = [Reach(f"influence.{name}", k, (rows, P))]
            for m in range(k + 1, len(levels)) if exact else ():
                above = levels[m]
                reached.append(
                    Reach(f"influence.{name}.on.{above.name}", m, (sum(above.cell.state_sizes), P))
                )
            found.append(Source(parameters is own, parameters, tuple(reached)))
    return found


def fresh_influence(
    source: Source, levels: Sequence[Level], approximation: Approximation, batch_size: int
) -> dict[str, Tensor]:
    """The influence of a source before the first step, by name, (B, rows, columns) each."""
    like, level = source.parameters[0].detach(), levels[source.level]
    found = {reach.name: like.new_zeros(batch_size, *reach.shape) for reach in source.reached}
    if source.own and level.initial():
        found[source.name] = no_influence(level.cell, approximation, batch_size, like, initial=True)
    return found


def whole_gradients(
    ways: Sequence[Way], found: Sequence[Source], M: dict[str, Tensor], d_output: Tensor
) -> dict[str, Tensor]:
    """The exact rule over one block.

    Args:
        ways: the levels' runs.
        found: from `sources`.
        M: the influence by name, sequences in packed order; replaced by that after the block.
        d_output: (N, K) ∂L/∂y of the last level.
    Returns:
        The gradient of each source, flat, by the source's name.
    """
    top = len(ways) - 1
    gradients, carried = {}, []
    for source in found:
        if source.own and source.level == top:
            gradients[source.name], M[source.name] = scan(ways[top].run, M[source.name], d_output)
            continue
        carried.append(source)
        gradients[source.name] = M[source.name].new_zeros(M[source.name].shape[2])
        M.update({reach.name: M[reach.name].clone() for reach in source.reached})
    if not carried:
        return gradients
    lowest = min(source.level for source in carried)
    through = {m: whole_jacobian(ways[m].links) for m in range(lowest + 1, top + 1)}
    numbers = sum(numbers_of(way.level.cell) for way in ways[lowest:])
    for start, stop, sizes in pieces(ways[0].run.batch_sizes, numbers):
        steps = {m: linearise(ways[m].run.steps.rows(start, stop)) for m in range(lowest, top + 1)}
        below = {  # ∂s_t/∂(output of the level below)
            m: steps[m].inputs if jacobian is None else steps[m].inputs @ jacobian[start:stop]
            for m, jacobian in through.items()
        }
        at = 0
        for live in sizes:
            now = {m: step.rows(at, at + live) for m, step in steps.items()}
            drives = {m: C[at : at + live] for m, C in below.items()}
            rows = slice(start + at, start + at + live)
            delta = d_output[rows]
            asked = bool(delta.any())
            for source in carried:
                reached = _advance(ways, source, now, drives, M, rows)
                if asked:
                    gradients[source.name] += torch.einsum("bk,bkp->p", delta, reached)
            at += live
    return gradients


def _advance(
    ways: Sequence[Way],
    source: Source,
    now: dict[int, Jacobians],
    drives: dict[int, Tensor],
    M: dict[str, Tensor],
    rows: slice,
) -> Tensor:
    """Take the influence of a source one step on, on every level; returns that on the last level's output."""
    live = rows.stop - rows.start
    output = M[source.name][:0]
    for reach in source.reached:
        way, before = ways[reach.level], M[reach.name][:live]
        cell, step = way.level.cell, now[reach.level]
        if reach.level > source.level:
            after = advance(replace(step, inputs=drives[reach.level]), before, driven=output)
        elif source.own:
            after = advance(step, before, cell=cell)
        else:
            after = advance(step, before)
            _add_front(after, way.links, step.inputs, rows)
        M[reach.name][:live] = after
        output = after[:, output_slice(cell)]
    return output


def _add_front(M: Tensor, links: Sequence[Link], left: Tensor, rows: slice) -> None:
    """M += G ∂x/∂φ for all parameters of a front, in place; `left` is G."""
    ends = M.shape[2]
    for link in reversed(links):
        count = sum(p.numel() for p in link.trained)
        if count:
            link.add(M[:, :, ends - count : ends], left, rows)
        ends -= count
        if ends == 0:
            break
        left = left @ link.jacobian[rows]


def local_gradients(
    ways: Sequence[Way],
    found: Sequence[Source],
    M: dict[str, Tensor],
    d_output: Tensor,
    approximation: Approximation,
) -> tuple[dict[str, Tensor], list[tuple[torch.nn.Parameter, Tensor]]]:
    """A short form over one block; arguments as of `whole_gradients`.

    Returns:
        The gradient of each source, flat, by its name; and of each parameter of a front, within the step.
    """
    by_level = {source.level: source for source in found}
    gradients: dict[str, Tensor] = {}
    direct: list[tuple[torch.nn.Parameter, Tensor]] = []
    error = d_output
    for m in reversed(range(len(ways))):
        way = ways[m]
        if m in by_level:
            name = by_level[m].name
            gradients[name], M[name] = scan(way.run, M[name], error, approximation)
        if m == 0 and not any(link.trained for link in way.links):
            break
        error = _input_error(way.run, error)
        for place in reversed(range(len(way.links))):
            link = way.links[place]
            taken, below = link.pull(error, need_input=m > 0 or place > 0)
            direct += zip(link.trained, taken)
            error = error if below is None else below
    return gradients, direct


def _input_error(run: Unrolled | NativeRun, error: Tensor) -> Tensor:
    """(N, I) ∂L/∂x_t of each row by way of the same step's output alone, from (N, K) ∂L/∂y_t."""
    cell, s = run.steps.cell, run.steps
    parts = {name: torch.zeros_like(value) for name, value in zip(cell.states, s.after)}
    parts[cell.output] = error
    dstate = cell.state_type(**parts)
    if known(cell):
        taken: Tensor = cell.step_backward(s.params, s.before, s.x, s.after, s.gates, dstate).x
        return taken
    # what every cell can do: differentiate its step
    return Cell.step_backward(cell, s.params, s.before, s.x, s.after, s.gates, dstate).x
