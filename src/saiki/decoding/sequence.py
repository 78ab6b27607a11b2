"""Decoding one symbol after another: greedy, beam and sampling, over any network that can take a step.

    step(tokens, state) -> (scores of the next symbol (R, V), the state after)

A network hands in its step and the state from which it goes on, one row a sequence; what a state is, it alone
knows. Here it is only carried, and cut to rows by `state.select(rows)`; where it says what it looked at
(`state.attention`, (R, S)), that is kept with the symbol.

    greedy    the likeliest symbol at each step
    beam      the `width` likeliest beginnings at each step;  score = Σ ln p / n^α over n symbols
    sample    a symbol drawn from softmax(a / τ), perhaps among the likeliest k alone

A sequence ends with the end symbol, which counts in ln p and in n, and is left out of the tokens; or after
`max_steps` symbols, and then `ended` is False. Sequences do not touch one another: each gives what it gives
alone. Nothing has a gradient.

Sources: Sutskever, Vinyals & Le 2014, section 3.2 (beam); Jean et al. 2015 and Wu et al. 2016, section 7 (the
score by length); Fan, Lewis & Dauphin 2018 (the likeliest k).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self, TypeVar, final

import torch
from torch import Tensor

from saiki.core.checks import require_int, require_number, require_tensor
from saiki.core.errors import DTypeError, NonFiniteError, ShapeError, ValueRangeError
from saiki.core.random import generator as make_generator


class StepState(Protocol):
    """What a network remembers of R sequences between two steps."""

    def select(self, rows: Tensor, /) -> Self:
        """The state of these rows (R',) int64, in this order; a row may come several times."""
        ...


S = TypeVar("S", bound=StepState)
Step = Callable[[Tensor, S], tuple[Tensor, S]]


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """A state of plain tensors with one row a sequence: a tensor, or tuples and dicts of them.

    Args:
        value: the tensors, in whatever nesting.
        axis: which axis of each counts the sequences; 1 for what `Stack.run` returns.
    """

    value: Any
    axis: int = 0

    def select(self, rows: Tensor) -> Rows:
        """See `StepState.select`."""
        return Rows(_nested(self.value, lambda v: v.index_select(self.axis, rows.to(v.device))), self.axis)


def _nested(value: Any, change: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401 - as deep as it is
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: _nested(part, change) for name, part in value.items()}
    parts = [_nested(part, change) for part in value]
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


@final
@dataclass(frozen=True, eq=False)
class Decoded:
    """A sequence that was found.

    Attributes:
        tokens: its symbols, without the end symbol.
        log_probability: Σ ln p of its symbols, the end symbol among them if it ended; nats.
        score: what it was ranked by: the same over n^α in a beam, else `log_probability` itself.
        ended: whether the end symbol came; False where it was cut off after `max_steps`.
        attention: (n, S) what was looked at for each of the n symbols, the end symbol's row last; None where
            the state does not say.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float
    ended: bool
    attention: Tensor | None = None


def greedy(
    step: Step[S], state: S, start: Tensor, *, end: int | None, max_steps: int | Sequence[int]
) -> list[Decoded]:
    """Take the likeliest symbol at each step.

    Args:
        step: the network's step.
        state: of B sequences.
        start: (B,) int64: the symbol before the first, one a sequence.
        end: the symbol that ends a sequence; None: all go on to `max_steps`.
        max_steps: the most symbols, the end symbol counted; one number, or one a sequence.
    Returns:
        One `Decoded` a sequence. Of equal scores the smaller id is taken.
    Raises:
        NonFiniteError: a score is NaN.
        ShapeError, DTypeError, ValueRangeError: an argument does not fit.
    """

    def likeliest(scores: Tensor, _: Tensor, __: int) -> Tensor:
        if scores.is_cpu and scores.dtype in (torch.float32, torch.float64):  # numpy's is many times faster
            return torch.from_numpy(scores.numpy().argmax(axis=-1))
        return scores.argmax(dim=-1)

    return _one_by_one(step, state, start, end, max_steps, likeliest)


def sample(
    step: Step[S],
    state: S,
    start: Tensor,
    *,
    end: int | None,
    max_steps: int | Sequence[int],
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | int | None = None,
) -> list[Decoded]:
    """Draw each symbol from softmax(a / τ).

    Args:
        step: the network's step.
        state: of B sequences.
        start: (B,) int64: the symbol before the first, one a sequence.
        end: the symbol that ends a sequence; None: all go on to `max_steps`.
        max_steps: the most symbols, the end symbol counted; one number, or one a sequence.
        temperature: τ ≥ 0: under 1 sharper, over 1 flatter; 0 is `greedy`.
        top_k: only the k likeliest symbols can come; None: all.
        generator: where the randomness comes from, or a seed. A sequence's draws do not depend on when its
            neighbours end.
    Returns:
        One `Decoded` a sequence; its `log_probability` is that of the network, at temperature 1.
    Raises:
        NonFiniteError: a score is NaN.
        ShapeError, DTypeError, ValueRangeError: an argument does not fit.
    """
    tau = require_number(temperature, "temperature", 0.0)
    k = None if top_k is None else require_int(top_k, "top_k", 1)
    if tau == 0.0:
        return greedy(step, state, start, end=end, max_steps=max_steps)
    start, limits = _checked(start, end, max_steps)
    source = make_generator(generator)
    uniform = torch.rand((len(start), max(limits, default=0)), generator=source, dtype=torch.float64)

    def drawn(scores: Tensor, rows: Tensor, t: int) -> Tensor:
        return draw(scores, uniform[rows.cpu(), t].to(scores.device), temperature=tau, top_k=k)

    return _one_by_one(step, state, start, end, limits, drawn)


def draw(scores: Tensor, uniform: Tensor, *, temperature: float = 1.0, top_k: int | None = None) -> Tensor:
    """The symbols that uniform numbers stand for: the inverse of the distribution function.

    Args:
        scores: (R, V) before the softmax.
        uniform: (R,) in [0, 1).
        temperature: τ > 0.
        top_k: only the k likeliest; None: all.
    Returns:
        (R,) int64.
    """
    kept = scores.shape[-1] if top_k is None else min(top_k, scores.shape[-1])
    values, symbols = scores.double().topk(kept, dim=-1)
    reached = torch.softmax(values / temperature, dim=-1).cumsum(dim=-1)
    whole = reached[:, -1:]  # which rounding may leave beside 1
    place = torch.searchsorted(reached, uniform.double()[:, None] * whole, right=True)
    last = (reached < whole).sum(dim=-1, keepdim=True)  # the last one that can come at all
    return symbols.gather(-1, torch.minimum(place, last)).squeeze(-1)


@torch.no_grad()
def beam(
    step: Step[S],
    state: S,
    start: Tensor,
    *,
    end: int,
    max_steps: int | Sequence[int],
    width: int = 5,
    n_best: int = 1,
    length_power: float = 1.0,
) -> list[list[Decoded]]:
    """Follow the likeliest `width` beginnings of each sequence and return its best endings.

        score = (Σ ln p) / n^α        n symbols, the end symbol counted

    A search stops when no beginning it still follows can end better than the `n_best` that it has. With a
    width of V^max_steps it is exhaustive.

    Args:
        step: the network's step.
        state: of B sequences.
        start: (B,) int64: the symbol before the first, one a sequence.
        end: the symbol that ends a sequence.
        max_steps: the most symbols, the end symbol counted; one number, or one a sequence.
        width: beginnings followed at a time; 1 is greedy but for where it stops.
        n_best: endings to return.
        length_power: α ≥ 0. 0 ranks by probability, which favours the short; 1 by the mean a symbol.
    Returns:
        For each sequence at most `n_best`, best first; those that `max_steps` cut off come after all that
        ended, and only where fewer than `n_best` ended.
    Raises:
        NonFiniteError: a score is NaN.
        ShapeError, DTypeError, ValueRangeError: an argument does not fit.
    """
    start, limits = _checked(start, end, max_steps)
    width = require_int(width, "width", 1)
    n_best = require_int(n_best, "n_best", 1)
    alpha = require_number(length_power, "length_power", 0.0)
    search = _Beam(len(start), width, n_best, alpha, limits)
    rows = search.begin(start.device)
    if not len(rows):
        return [[] for _ in limits]
    state, tokens = state.select(rows), start[rows]
    while len(rows):
        scores, state = step(tokens, state)
        rows, tokens = search.extend(_log_probabilities(scores, end), end, getattr(state, "attention", None))
        if len(rows):
            state = state.select(rows)
    return search.found()


class _Beam:
    """The beams of B sequences side by side, as tensors; sequences that are done leave."""

    def __init__(self, B: int, width: int, n_best: int, alpha: float, limits: list[int]) -> None:
        self.width, self.n_best, self.alpha = width, n_best, alpha
        self.limits = torch.tensor(limits, dtype=torch.int64)
        self.active = torch.arange(B)  # (A,) the sequences still searched
        self.slots = 1  # beginnings of each in the state: one at first
        self.history: list[tuple[Tensor, Tensor, Tensor]] = []  # sequence (A,), parent (A, w), token (A, w)
        self.looked: list[tuple[Tensor, Tensor | None]] = []  # sequence (A,), weights (A, w, S)
        self.total = torch.zeros(B, 1, dtype=torch.float64)  # Σ ln p; -inf where there is no beginning
        self.pool_score = torch.full((B, n_best), -torch.inf, dtype=torch.float64)
        self.pool_total = torch.full((B, n_best), -torch.inf, dtype=torch.float64)
        self.pool_step = torch.zeros(B, n_best, dtype=torch.int64)  # how many symbols
        self.pool_slot = torch.zeros(B, n_best, dtype=torch.int64)  # the parent's slot, or the own if cut
        self.pool_ended = torch.zeros(B, n_best, dtype=torch.bool)

    def begin(self, device: torch.device) -> Tensor:
        """The rows that take a first step: sequences that may have a symbol at all."""
        self.device = device
        for name in ("limits", "active", "total", *(n for n in vars(self) if n.startswith("pool_"))):
            setattr(self, name, getattr(self, name).to(device))
        self.active = self.active[self.limits > 0]
        self.total = self.total[self.active]
        return self.active

    def extend(self, log_p: Tensor, end: int, attention: Tensor | None) -> tuple[Tensor, Tensor]:
        """Take the next symbol's ln p (A·w, V); the rows of the state to go on with, and their symbols."""
        A, V = len(self.active), log_p.shape[-1]
        t = len(self.history) + 1
        self.looked.append(
            (self.active, None if attention is None else attention.view(A, self.slots, attention.shape[-1]))
        )
        self._keep(self.total + log_p[:, end].view(A, self.slots).double(), t, ended=True)
        log_p[:, end] = -torch.inf
        # what is among the best of a sequence is among the best of its beginning: so few are added up
        values, tokens = log_p.topk(min(self.width, V), dim=-1)
        grown = (self.total[:, :, None] + values.view(A, self.slots, -1).double()).flatten(1)
        width = min(self.width, grown.shape[1])
        best, place = grown.topk(width, dim=-1)
        parent, token = place.div(values.shape[1], rounding_mode="floor"), tokens.view(A, -1).gather(1, place)
        self.history.append((self.active, parent, token))
        last = self.limits[self.active] == t
        if bool(last.any()):
            own = torch.full_like(best, -torch.inf)
            own[last] = best[last]
            self._keep(own, t, ended=False)
        # ln p only falls, and a longer end divides by more: what a beginning can still reach
        power = self.limits[self.active].double() ** self.alpha
        reach = best[:, 0] / power
        worst = torch.where(self.pool_ended[self.active], self.pool_score[self.active], -torch.inf).amin(-1)
        on = ~last & (reach > worst) & (best[:, 0] > -torch.inf)
        rows = (torch.arange(A, device=best.device)[:, None] * self.slots + parent)[on].reshape(-1)
        self.active, self.total, self.slots = self.active[on], best[on], width
        return rows, token[on].reshape(-1)

    def _keep(self, total: Tensor, t: int, *, ended: bool) -> None:
        """Put endings (A, w) of t symbols among the best of their sequences."""
        here = self.active
        score = total / float(t) ** self.alpha
        slot = torch.arange(total.shape[1], device=total.device).expand_as(total)
        known = {"score": score, "total": total, "slot": slot}
        known["step"] = torch.full_like(slot, t)
        known["ended"] = (score > -torch.inf) & ended
        both = {name: torch.cat((getattr(self, f"pool_{name}")[here], new), 1) for name, new in known.items()}
        # those that ended come first, whatever the score of those cut off
        rank = torch.argsort(both["score"], dim=1, descending=True, stable=True)
        cut = (~both["ended"]).gather(1, rank).to(torch.int64)
        rank = rank.gather(1, torch.argsort(cut, dim=1, stable=True))[:, : self.n_best]
        for name, values in both.items():
            getattr(self, f"pool_{name}")[here] = values.gather(1, rank)

    def found(self) -> list[list[Decoded]]:
        """What each sequence found, best first."""
        places: list[dict[int, int]] = [
            {b: k for k, b in enumerate(active.tolist())} for active, _, _ in self.history
        ]
        parents = [parent.cpu() for _, parent, _ in self.history]
        tokens = [token.cpu() for _, _, token in self.history]
        return [
            [
                self._trace(b, j, places, parents, tokens)
                for j in range(self.n_best)
                if float(self.pool_score[b, j]) > -float("inf")
            ]
            for b in range(len(self.pool_score))
        ]

    def _trace(
        self, b: int, j: int, places: list[dict[int, int]], parents: list[Tensor], tokens: list[Tensor]
    ) -> Decoded:
        """Follow an ending back to its beginning."""
        t, slot = int(self.pool_step[b, j]), int(self.pool_slot[b, j])
        ended = bool(self.pool_ended[b, j])
        found: list[int] = []
        seen: list[Tensor] = []
        for k in range(t - 1, -1, -1):
            place = places[k][b]
            if not (ended and k == t - 1):  # the end symbol's slot is its parent's already
                found.append(int(tokens[k][place, slot]))
                slot = int(parents[k][place, slot])
            weights = self.looked[k][1]
            if weights is not None:
                seen.append(weights[place, slot])
        attention = torch.stack(seen[::-1]) if seen else None
        total, score = float(self.pool_total[b, j]), float(self.pool_score[b, j])
        return Decoded(tuple(found[::-1]), total, score, ended, attention)


@torch.no_grad()
def _one_by_one(
    step: Step[S],
    state: S,
    start: Tensor,
    end: int | None,
    max_steps: int | Sequence[int],
    pick: Callable[[Tensor, Tensor, int], Tensor],
) -> list[Decoded]:
    """One symbol a step and sequence, chosen by `pick(scores, sequences, t)`; those that end leave."""
    start, limits = _checked(start, end, max_steps)
    B, device = len(start), start.device
    ended = torch.zeros(B, dtype=torch.bool, device=device)
    alive = torch.tensor([b for b, most in enumerate(limits) if most > 0], dtype=torch.int64, device=device)
    tokens = start
    if len(alive) < B:
        state, tokens = state.select(alive), start[alive]
    said: list[_Said] = []
    soonest = min((most for most in limits if most > 0), default=0)  # the next step after which one must stop
    while len(alive):
        scores, state = step(tokens, state)
        log_p = _log_probabilities(scores, end)
        tokens = pick(log_p, alive, len(said))
        gained = log_p.gather(-1, tokens[:, None])[:, 0]
        said.append(_Said(alive, tokens, gained, getattr(state, "attention", None)))
        stop = tokens == end if end is not None else torch.zeros_like(tokens, dtype=torch.bool)
        if len(said) < soonest and not bool(stop.any()):
            continue
        ended[alive[stop]] = True
        left = torch.tensor([limits[b] for b in alive.tolist()], device=device)
        rows = (~stop & (left > len(said))).nonzero()[:, 0]
        if len(rows) < len(alive):
            alive, tokens = alive[rows], tokens[rows]
            soonest = min((limits[b] for b in alive.tolist()), default=0)
            if len(rows):
                state = state.select(rows)
    return _collected(said, ended)


class _Said(NamedTuple):
    """One step of those that are still going."""

    alive: Tensor  # (R,) their numbers; the same object until one stops
    tokens: Tensor  # (R,)
    gained: Tensor  # (R,) ln p
    weights: Tensor | None  # (R, S)


def _collected(said: list[_Said], ended: Tensor) -> list[Decoded]:
    """Each sequence's own, out of the steps."""
    B, T = len(ended), len(said)
    tokens = torch.zeros((B, T), dtype=torch.int64, device=ended.device)
    total = torch.zeros(B, dtype=torch.float64, device=ended.device)
    steps = torch.zeros(B, dtype=torch.int64, device=ended.device)
    looked: Tensor | None = None
    first = 0
    for _, run in itertools.groupby(said, key=lambda one: id(one.alive)):
        together = list(run)
        alive, span = together[0].alive, slice(first, first + len(together))
        tokens[alive, span] = torch.stack([one.tokens for one in together], dim=1)
        total[alive] += torch.stack([one.gained for one in together], dim=1).double().sum(dim=1)
        steps[alive] = first = span.stop
        weights = [one.weights for one in together if one.weights is not None]
        if weights:
            stacked = torch.stack(weights, dim=1)
            looked = stacked.new_zeros((B, T, stacked.shape[-1])) if looked is None else looked
            looked[alive, span] = stacked
    told = zip(tokens.tolist(), steps.tolist(), ended.tolist(), total.tolist())
    return [
        Decoded(
            tokens=tuple(symbols[: n - stop]),
            log_probability=log_p,
            score=log_p,
            ended=stop,
            attention=None if looked is None or n == 0 else looked[b, :n],
        )
        for b, (symbols, n, stop, log_p) in enumerate(told)
    ]


def _checked(start: object, end: int | None, max_steps: int | Sequence[int]) -> tuple[Tensor, list[int]]:
    """The start symbols as int64, and the most steps of each sequence."""
    tokens = require_tensor(start, "start", ndim=1, floating=False)
    if tokens.dtype.is_floating_point or tokens.dtype == torch.bool:
        raise DTypeError(f"start holds {tokens.dtype} but must hold symbols, whole numbers.")
    if end is not None:
        require_int(end, "end", 0)
    if isinstance(max_steps, Sequence):
        limits = [require_int(one, "max_steps", 0) for one in max_steps]
        if len(limits) != len(tokens):
            raise ShapeError(f"max_steps has {len(limits)} numbers for {len(tokens)} sequences.")
    else:
        limits = [require_int(max_steps, "max_steps", 0)] * len(tokens)
    return tokens.long(), limits


def _log_probabilities(scores: Tensor, end: int | None) -> Tensor:
    """ln softmax of scores (R, V); -inf is a symbol that cannot come.

    Raises:
        NonFiniteError: NaN among them.
        ValueRangeError: the end symbol is none of the V.
    """
    if end is not None and end >= scores.shape[-1]:
        raise ValueRangeError(f"end is {end} but the symbols run from 0 to {scores.shape[-1] - 1}.")
    log_p = torch.log_softmax(scores, dim=-1)
    if bool(log_p[:, 0].isnan().any()):  # one NaN makes the whole row NaN
        row = int(log_p[:, 0].isnan().nonzero()[0])
        raise NonFiniteError(
            f"the scores of row {row} are not numbers: {scores[row, :4].tolist()}…",
            "Were the weights trained to NaN? Look at the training record.",
        )
    return log_p
