"""Real-time recurrent learning: the gradient of every step's loss, known at that step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from saiki.core.checks import require_int, require_positive
from saiki.core.errors import OptionError, UsageError
from saiki.core.names import choose
from saiki.core.ragged import Ragged
from saiki.learning.carried import fresh_states, require_batch, require_carrying, stack_state, state_tensors
from saiki.learning.cascade import Source, Way, fresh_influence, local_gradients, sources, whole_gradients
from saiki.learning.influence import Approximation, initial_columns
from saiki.learning.influence_native import unroll
from saiki.learning.jacobians import parameter_count
from saiki.learning.levels import Level, run_front, take_apart
from saiki.learning.linearise import known
from saiki.learning.memory import GIB, free_memory
from saiki.learning.rules import RuleState, objective, sequence_weights
from saiki.learning.sources import Batch
from saiki.losses import Loss
from saiki.nn import Dropout, Stack
from saiki.nn.flow import require_features

APPROXIMATIONS: dict[str, Approximation] = {"exact": "exact", "snap1": "snap1", "eprop": "eprop"}

_STEPS = 64  # steps whose states are kept at once, whatever the length of a chunk


@final
@dataclass(frozen=True)
class RTRL:
    """Carry the influence of the parameters on the state forward, and read each step's gradient off at once.

        M_t = D_t M_{t-1} + F_t,    M_t = ds_t/dθ,    D_t = ∂s_t/∂s_{t-1},    F_t = ∂⁺s_t/∂θ
        dL_t/dθ = (∂L_t/∂s_t) M_t

    s is the state of all recurrent layers, θ the parameters up to the last of them (those of an Embedding or
    Dense layer in front act through x_t); the layers behind get their gradient directly. With fixed weights
    the gradient is that of BPTT, and what is stored does not grow with the length of a sequence: nothing has
    to be kept of the past but s and M. Cut into chunks, the sum of the chunks' gradients is the whole.

    | `approximation` | what is dropped | numbers a sequence | products a step |
    |---|---|---|---|
    | "exact" | nothing | S·P | S·H·P |
    | "snap1" | from step to step: all paths but a unit's to itself; | K·P | K·K·P |
    | | from layer to layer: all paths but those within a step | | |
    | "eprop" | besides: the paths through R | K·P | K·K·P |

    S numbers of state, P parameters, H units, K states a unit. "snap1" is exact for one layer whose units do
    not see each other (the elementwise LSTM, R diagonal, H = 1) with nothing to train in front; "eprop" where
    R = 0; both where a sequence has one step (and no learned initial state behind it).

    With learning between the chunks (`every`), M mixes derivatives at the weights of the past steps, as in
    all online use of the rule: good while the weights move little in the time that the network remembers.

    A step's dropout mask is part of the step: M has passed through the masks that its steps had.

    Args:
        approximation: "exact", "snap1" or "eprop".
        every: steps an update; None: one update, after the whole sequence.
        memory_limit: GiB that the influence may take; None: half of what is free.
    Raises:
        OptionError, ValueRangeError, DTypeError: an option is unknown or out of range.
    Sources: Williams & Zipser 1989; Menick et al. 2020 (SnAp-1); Bellec et al. 2020 (e-prop); Irie,
    Gopalakrishnan & Schmidhuber 2023 (recurrence element by element).
    """

    approximation: str = "exact"
    every: int | None = None
    memory_limit: float | None = None
    type: ClassVar[str] = "rtrl"

    def __post_init__(self) -> None:
        choose(self.approximation, APPROXIMATIONS, "approximation")
        if self.every is not None:
            require_int(self.every, "every", low=1)
        if self.memory_limit is not None:
            require_positive(self.memory_limit, "memory_limit")

    @property
    def sentence(self) -> str:
        """What the rule does, for a report."""
        how = {
            "exact": "exact",
            "snap1": "snap1: a unit's own state alone is followed from step to step",
            "eprop": "eprop: no path through the recurrent weights is followed",
        }[self.approximation]
        often = "after each sequence" if self.every is None else f"every {self.every} steps"
        return f"Real-time recurrent learning ({how}), an update {often}; the influence is carried on."

    def start(self, network: torch.nn.Module, batch_size: int) -> RuleState:
        """See `LearningRule.start`: states and influence at zero.

        Raises:
            OptionError: the network cannot be read forward in time, or its influence needs more memory than
                the limit; the message states how much.
        """
        stack = require_carrying(network, "RTRL")
        levels, _ = take_apart(stack)
        found = self._sources(levels)
        self._require_memory(found, levels, batch_size)
        tensors = fresh_states(stack, batch_size)
        for source in found:
            tensors.update(fresh_influence(source, levels, self._way, batch_size))
        return RuleState(tensors)

    def chunks(self, batch: Batch) -> Iterable[Batch]:
        """See `LearningRule.chunks`: `every` steps each; the whole batch for targets once a sequence."""
        if self.every is None or not batch.per_step:
            return (batch,)
        return tuple(
            _between(batch, k * self.every, (k + 1) * self.every) for k in range(self.updates(batch.inputs.T))
        )

    def updates(self, steps: int) -> int:
        """See `LearningRule.updates`."""
        return 1 if self.every is None else max(1, math.ceil(steps / self.every))

    def gradient(
        self, network: torch.nn.Module, loss: Loss, batch: Batch, state: RuleState
    ) -> tuple[Tensor, dict[str, Tensor], RuleState]:
        """See `LearningRule.gradient`. The states of 64 steps at most are kept at once.

        With targets once a sequence the loss is taken at the last step of each in this chunk.

        Raises:
            OptionError: the network cannot be read forward in time.
            ShapeError, UsageError: the state is not of these sequences, or of another network or rule.
        """
        stack = require_carrying(network, "RTRL")
        require_batch(batch, state, "RTRL")
        return _Pass(self, stack, loss, batch, state).run()

    @property
    def _way(self) -> Approximation:
        return APPROXIMATIONS[self.approximation]

    def _sources(self, levels: list[Level]) -> list[Source]:
        if self._way == "eprop":
            for level in levels:
                if not known(level.cell):
                    raise OptionError(
                        f"approximation='eprop' leaves out the paths through R, and {level.cell.label!r} "
                        f"(layer {level.name!r}) does not say which of its paths those are: it is a cell of "
                        "your own, or has an activation of your own.",
                        "Use approximation='snap1' or 'exact'.",
                    )
        return sources(levels, self._way)

    def _require_memory(self, found: list[Source], levels: list[Level], batch_size: int) -> None:
        device = levels[0].layer._weight.device
        limit = self.memory_limit
        if limit is None:
            free = free_memory(device)
            limit = math.inf if free is None else free / 2 / GIB
        needed = _gibibytes(found, batch_size)
        if needed <= limit:
            return
        whose = "memory_limit" if self.memory_limit is not None else "half of what is free"
        hint = "Use fewer units, or fewer sequences at once."
        if self._way == "exact":
            short = _gibibytes(sources(levels, "snap1"), batch_size)
            hint = (
                f"RTRL(approximation='snap1') needs {short:.3g} GiB; or use fewer units or sequences at once."
            )
        raise OptionError(
            f"RTRL(approximation={self.approximation!r}) needs {needed:.3g} GiB for the influence of "
            f"{sum(s.reached[0].shape[1] for s in found)} parameters on the state of {batch_size} "
            f"sequences, more than {whose}, {limit:.3g} GiB.",
            hint,
        )


def _gibibytes(found: list[Source], batch_size: int) -> float:
    """The influence before and after a chunk, and its largest part once more while it moves on."""
    sizes = [
        batch_size * reach.shape[0] * reach.shape[1] * source.parameters[0].element_size()
        for source in found
        for reach in source.reached
    ]
    return (2 * sum(sizes) + max(sizes, default=0)) / GIB


class _Part(NamedTuple):
    """A block of a chunk: all its steps, and the sequences and targets whose loss is taken in it."""

    inputs: Ragged
    asked: Batch | None  # its inputs are not used; None: no loss in this block
    ending: Tensor | None  # for targets once a sequence: which sequences end here


class _Pass:
    """One call of `gradient`."""

    def __init__(self, rule: RTRL, stack: Stack, loss: Loss, batch: Batch, state: RuleState) -> None:
        self.rule, self.stack, self.loss, self.batch = rule, stack, loss, batch
        self.way = rule._way
        self.levels, self.tail = take_apart(stack)
        self.sources = rule._sources(self.levels)
        self.names = {id(p): name for name, p in stack.named_parameters() if p.requires_grad}
        self.gradients: dict[str, Tensor] = {}
        self.steps = state.tensors["steps"]
        fresh = self.steps == 0
        parts = stack_state(stack, state.tensors, fresh.cpu())
        of_module = dict(zip(dict.fromkeys(level.module for level in self.levels), parts))
        self.states = [tuple(s[v.number].detach() for s in of_module[v.module]) for v in self.levels]
        self.influence = self._influence(state, fresh)
        B = batch.inputs.B
        weight = self.levels[0].layer._weight
        self.sums, self.counts = weight.new_zeros(B), weight.new_zeros(B)

    def run(self) -> tuple[Tensor, dict[str, Tensor], RuleState]:
        several = self.batch.inputs.T > _STEPS
        total = float(sequence_weights(self.batch).sum()) if several else None
        locked = [m for m in self.stack.modules() if isinstance(m, Dropout) and m.locked and m.training]
        masks = [m.generator.get_state() for m in locked] if several else []
        for part in _blocks(self.batch):
            for module, mask in zip(locked, masks):
                module.generator.set_state(mask)  # one mask a sequence for the whole call
            self._block(part, total)
        losses = torch.where(self.counts > 0, self.sums / torch.where(self.counts > 0, self.counts, 1), 0)
        return losses, self.gradients, self._after()

    def _influence(self, state: RuleState, fresh: Tensor) -> dict[str, Tensor]:
        """The influence by name; that of sequences which begin here as it is at their beginning."""
        found = {}
        B = len(self.steps)
        for source in self.sources:
            for reach in source.reached:
                value = state.tensors.get(reach.name)
                if value is None or tuple(value.shape) != (B, *reach.shape):
                    came = "missing" if value is None else f"{tuple(value.shape)}"
                    raise UsageError(
                        f"{reach.name} is {came} but must be {(B, *reach.shape)}: the state is of another "
                        "network or approximation, or other parameters were frozen.",
                        "Begin with rule.start(network, B).",
                    )
                found[reach.name] = value
            cell = self.levels[source.level].cell
            if source.own and self.levels[source.level].initial() and bool(fresh.any()):
                M = found[source.name].clone()
                M[fresh.to(M.device), :, parameter_count(cell) :] = initial_columns(cell, self.way, M)
                found[source.name] = M
        return found

    def _block(self, part: _Part, total: float | None) -> None:
        x, order = part.inputs, part.inputs.order[: part.inputs.live].to(part.inputs.device)
        everyone = x.live == x.B and bool(torch.equal(x.order, torch.arange(x.B)))
        ways: list[Way] = []
        if x.N:
            for k, level in enumerate(self.levels):
                x, links = run_front(level.front, x)
                require_features(x, level.cell.input_size, level.layer._weight, level.name)
                states = self.states[k]
                first = states if everyone else tuple(s.index_select(0, order) for s in states)
                run = unroll(
                    level.cell,
                    level.parameters(),
                    x.data,
                    x.batch_sizes,
                    first,
                    engine=level.layer.engine,
                )
                ways.append(Way(level, links, run))
                x = x.with_data(run.output)
                self.states[k] = (
                    tuple(run.last)
                    if everyone
                    else tuple(s.index_copy(0, order, last) for s, last in zip(states, run.last))
                )
        else:
            x = x.with_data(self.states[-1][0].new_zeros(0, self.levels[-1].cell.output_size))
        d_output = self._ask(part, x, total)
        if not ways or (not self.sources and self.way == "exact"):
            return
        M = {
            name: value if everyone else value.index_select(0, order)
            for name, value in self.influence.items()
        }
        if self.way == "exact":
            flat = whole_gradients(ways, self.sources, M, d_output)
        else:
            flat, direct = local_gradients(ways, self.sources, M, d_output, self.way)
            for parameter, gradient in direct:
                self._add(parameter, gradient)
        for source in self.sources:
            sizes = [p.numel() for p in source.parameters]
            for parameter, gradient in zip(source.parameters, flat[source.name].split(sizes)):
                self._add(parameter, gradient.view_as(parameter))
        for name, value in M.items():
            self.influence[name] = value if everyone else self.influence[name].index_copy(0, order, value)

    def _ask(self, part: _Part, y: Ragged, total: float | None) -> Tensor:
        """Take the loss; returns ∂L/∂y (N, K) of the last level's output, and keeps the tail's gradients."""
        d_output = torch.zeros_like(y.data)
        if part.asked is None:
            return d_output
        top = y.data.detach().requires_grad_()
        with torch.enable_grad():
            flow: Ragged | Tensor = y.with_data(top)
            if part.ending is not None:
                flow = y.with_data(top).select(part.ending)
            for layer in self.tail:
                flow = layer(flow)
            value, losses, weights = objective(self.loss, flow, part.asked)
            if total is not None:
                value = value * (float(weights.sum()) / total if total > 0 else 0.0)
        where = torch.arange(len(self.sums)) if part.ending is None else part.ending
        where = where.to(self.sums.device)
        self.sums.index_add_(0, where, (weights * losses).detach().to(self.sums))
        self.counts.index_add_(0, where, weights.detach().to(self.counts))
        trained = [p for layer in self.tail for p in layer.parameters() if p.requires_grad]
        if not value.requires_grad:
            return d_output
        found = torch.autograd.grad(value, [top, *trained], allow_unused=True)
        for parameter, gradient in zip(trained, found[1:]):
            if gradient is not None:
                self._add(parameter, gradient)
        return d_output if found[0] is None else found[0]

    def _add(self, parameter: Tensor, gradient: Tensor) -> None:
        name = self.names.get(id(parameter))
        if name is not None:
            self.gradients[name] = self.gradients[name] + gradient if name in self.gradients else gradient

    def _after(self) -> RuleState:
        of_module: dict[str, list[tuple[Tensor, ...]]] = {}
        for level, states in zip(self.levels, self.states):
            of_module.setdefault(level.module, []).append(states)
        whole = tuple(tuple(torch.stack(parts) for parts in zip(*states)) for states in of_module.values())
        steps = self.steps + self.batch.inputs.lengths.to(self.steps.device)
        return RuleState({**state_tensors(self.stack, whole), "steps": steps, **self.influence})


def _blocks(batch: Batch) -> Iterator[_Part]:
    """The chunk in blocks of steps."""
    inputs: Ragged = batch.inputs
    for start in range(0, max(inputs.T, 1), _STEPS):
        stop = start + _STEPS
        if batch.per_step:
            piece = batch if inputs.T <= _STEPS else _between(batch, start, stop)
            yield _Part(piece.inputs, piece, None)
            continue
        here = inputs if inputs.T <= _STEPS else inputs.between(start, stop)
        lengths = inputs.lengths
        ends = (lengths > start) & (lengths <= stop) | (lengths == 0) & (start == 0)
        which = ends.nonzero()[:, 0]
        on = which.to(batch.rows.device)
        asked = replace(
            batch,
            targets=batch.rows[on],
            mask=None if batch.mask is None else batch.mask[on],
            weights=None if batch.weights is None else batch.weights[on],
        )
        yield _Part(here, asked if len(which) else None, which)


def _between(batch: Batch, start: int, stop: int) -> Batch:
    """The steps from `start` to `stop` of a batch of targets a step."""
    inputs: Ragged = batch.inputs
    return replace(
        batch,
        inputs=inputs.between(start, stop),
        targets=inputs.with_data(batch.rows).between(start, stop).data,
        mask=None if batch.mask is None else inputs.with_data(batch.mask).between(start, stop).data,
    )
