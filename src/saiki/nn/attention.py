"""Attention: a query looks back over the steps of a sequence and takes their weighted mean.

    e_ts = score(q_t, m_s)                      one number for each query t and each step s of the source
    α_ts = exp(e_ts) / Σ_s' exp(e_ts')          softmax over the source's own steps
    c_t  = Σ_s α_ts m_s                         context

    additive   e = v · tanh(W_q q + W_m m + b)
    general    e = q · W m
    dot        e = q · m                        no parameters; q and m of one width

The steps m_s are read once (`Attention.memory`), and whatever of the score does not depend on the query is
computed then. Sources of different lengths lie side by side with a mask: what stands behind a sequence's end
weighs exactly 0, and the weights over a source without steps are all 0, as is its context.

Sources: Bahdanau, Cho & Bengio 2015, section 3.1 and appendix A.1.2 (additive); Luong, Pham & Manning 2015,
section 3.1 (dot, general).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from saiki.core.checks import require_int, require_tensor
from saiki.core.errors import LengthError, OptionError, ShapeError
from saiki.core.initialisers import initialise
from saiki.core.names import choose
from saiki.core.ragged import Ragged
from saiki.core.random import generator as make_generator
from saiki.engine import product
from saiki.nn.basic import MAX_SIZE
from saiki.nn.flow import require_dtype, require_features, require_like, require_ragged

Score = Literal["additive", "general", "dot"]
SCORES = {"additive": "additive", "general": "general", "dot": "dot"}

_KEEP = 16_000_000
"""Numbers of tanh(…) that one call may keep for its backward pass, 64 MB in float32; from there on pieces of
that size are computed a second time on the way back, so memory no longer grows with T·S·A."""


@final
@dataclass(frozen=True, eq=False)
class Memory:
    """The steps of B sources as a query finds them.

    A row is a query: without `group` there is one a source; with `group` w there are w beside one another for
    each, as a beam has them, and they share what is stored here.

    Attributes:
        keys: (G, S, A) what the score multiplies.
        values: (G, S, M) the steps themselves.
        mask: (G, S) bool, True at the sources' own steps; None where all have S.
        group: w, rows a source; G·w rows in all.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor | None
    group: int = 1

    @property
    def rows(self) -> int:
        """G·w, the queries at a time."""
        return self.keys.shape[0] * self.group

    @property
    def steps(self) -> int:
        """S, steps of the longest source."""
        return self.keys.shape[1]

    def first(self, count: int) -> Memory:
        """Those of the first `count` rows, without copying; for `group` 1."""
        mask = None if self.mask is None else self.mask[:count]
        return replace(self, keys=self.keys[:count], values=self.values[:count], mask=mask)

    def select(self, rows: Tensor) -> Memory:
        """The memory of these rows, in this order.

        Args:
            rows: (R,) int64 in [0, rows), each as often as wanted.
        """
        rows = rows.to(self.keys.device)
        source, counts = torch.unique_consecutive(
            rows.div(self.group, rounding_mode="floor"), return_counts=True
        )
        group = int(counts[0]) if len(counts) else 1
        if len(counts) and not bool((counts == group).all()):  # no common number: one copy a row
            source, group = rows.div(self.group, rounding_mode="floor"), 1
        if torch.equal(source, torch.arange(self.keys.shape[0], device=source.device)):
            return replace(self, group=group)
        mask = None if self.mask is None else self.mask.index_select(0, source)
        return Memory(self.keys.index_select(0, source), self.values.index_select(0, source), mask, group)


@final
class Attention(torch.nn.Module):
    """Weights over the steps of a source, and their weighted mean; for the equations see the module.

    Args:
        query_size: Q, features of a query.
        memory_size: M, features of a step of the source.
        score: "additive", "general" or "dot".
        size: A, units of the additive score; `query_size` if not given.
        generator: for the initial W_q, W_m, W and v (Glorot uniform); b starts at zero.
        device: where the parameters live.
        dtype: of the parameters; torch's default if not given.
    Shapes:
        Parameters of "additive": `weight_query` (A, Q), `weight_memory` (A, M), `bias` (A,), `vector` (A,);
        of "general": `weight` (Q, M).
    Raises:
        OptionError: an unknown score, or a size that it has no use for.
        ShapeError: "dot" of a query and steps of different widths.

    Example:
        attention = Attention(query_size=64, memory_size=128, score="general")
        memory = attention.memory(Ragged.from_list(sources))
        contexts, weights = attention(queries, memory)  # (B, T, 64) -> (B, T, 128), (B, T, S)
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        score: str = "additive",
        size: int | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.query_size = require_int(query_size, "query_size", 1, MAX_SIZE)
        self.memory_size = require_int(memory_size, "memory_size", 1, MAX_SIZE)
        self.score = choose(score, SCORES, "score")
        if size is not None and self.score != "additive":
            raise OptionError(
                f"size is {size} but score={self.score!r} has no units of its own.",
                "Leave it out, or take score='additive'.",
            )
        if self.score == "dot" and self.query_size != self.memory_size:
            raise ShapeError(
                f"score='dot' multiplies the query with the steps, but the query has {self.query_size} "
                f"features and a step {self.memory_size}.",
                "Make them equal (half as many units in each direction of the encoder), or take 'general'.",
            )
        self.size = self.query_size if size is None else require_int(size, "size", 1, MAX_SIZE)
        source, dtype = make_generator(generator), require_dtype(dtype)

        def drawn(rows: int, columns: int) -> torch.nn.Parameter:
            shape = (rows, columns)
            return torch.nn.Parameter(initialise("glorot_uniform", shape, source, dtype=dtype, device=device))

        if self.score == "additive":
            self.weight_query = drawn(self.size, self.query_size)
            self.weight_memory = drawn(self.size, self.memory_size)
            self.bias = torch.nn.Parameter(torch.zeros(self.size, dtype=dtype, device=device))
            self.vector = torch.nn.Parameter(drawn(1, self.size)[0].detach().clone())
        elif self.score == "general":
            self.weight = drawn(self.query_size, self.memory_size)

    def memory(self, source: Ragged) -> Memory:
        """Read the sources once, for any number of queries.

        Args:
            source: B sequences with data (N, M); one may be without steps.
        Raises:
            DTypeError, ShapeError, ValueRangeError: it does not fit.
        """
        source = require_ragged(source, "Attention")
        require_features(source, self.memory_size, next(self.parameters(), None), "Attention")
        values = source.to_padded(batch_first=True)
        if self.score == "dot":
            keys = values
        else:  # on the rows that there are; padding costs nothing here
            keys = source.map(self._key).to_padded(batch_first=True)
        lengths = source.lengths
        if source.B == 0 or bool((lengths == source.T).all()):
            return Memory(keys, values, None)
        return Memory(keys, values, (torch.arange(source.T)[None] < lengths[:, None]).to(source.device))

    def _key(self, rows: Tensor) -> Tensor:
        if self.score == "general":
            return product.linear(rows, self.weight)
        return product.linear(rows, self.weight_memory, self.bias)

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            query: (R, T, Q), T queries for each of the memory's R rows; T must be 1 where its group is not.
            memory: from `memory`.
        Returns:
            context (R, T, M) and the weights α (R, T, S), which sum to 1 over each source's own steps.
        Raises:
            ShapeError, DTypeError, ValueRangeError: the query does not fit.
        """
        query = require_tensor(query, "query", ndim=3)
        R, T, Q = query.shape
        if self.query_size != Q or memory.rows != R or (memory.group > 1 and T != 1):
            raise ShapeError(
                f"query is {tuple(query.shape)} but must be (R, T, Q) = ({memory.rows}, T, {self.query_size})"
                f"{', with T = 1 in a beam' if memory.group > 1 else ''}."
            )
        require_like(query, memory.values, "query", "the memory")
        return self.look(query, memory)

    def look(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """`forward` without its checks, for a caller that takes many steps."""
        R, T, Q = query.shape
        if memory.group > 1:
            query = query.view(-1, memory.group, Q)
        weights = masked_softmax(self._scores(query, memory.keys), memory.mask)
        context = torch.bmm(weights, memory.values)
        if memory.group == 1:
            return context, weights
        return context.reshape(R, T, self.memory_size), weights.reshape(R, T, memory.steps)

    def attend(self, queries: Ragged, source: Ragged) -> tuple[Ragged, list[Tensor]]:
        """Attend from every step of B sequences to the steps of B others.

        Args:
            queries: B sequences with data (N, Q).
            source: B sequences with data (N', M), in the same order.
        Returns:
            The contexts, one a query, data (N, M); and for each sequence its weights (T_b, S_b), whose rows
            sum to 1 (to 0 where the source has no steps).
        Raises:
            LengthError: not the same number of sequences.
        """
        queries = require_ragged(queries, "Attention")
        if require_ragged(source, "Attention").B != queries.B:
            raise LengthError(f"there are {queries.B} sequences of queries but {source.B} sources.")
        context, weights = self(queries.to_padded(batch_first=True), self.memory(source))
        return from_padded_rows(context, queries), cut(weights, queries.lengths, source.lengths)

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """e (G, T, S) of queries (G, T, Q) and keys (G, S, A)."""
        if self.score != "additive":
            return torch.bmm(query, keys.mT)
        query = product.linear(query, self.weight_query)
        G, T, A = query.shape
        keep = torch.is_grad_enabled() and G * T * keys.shape[1] * A > _KEEP
        at_once = max(1, _KEEP // max(1, G * keys.shape[1] * A))  # queries whose tanh(…) is there together
        pieces = [
            checkpoint(_additive, piece, keys, self.vector, use_reentrant=False)
            if keep
            else _additive(piece, keys, self.vector)
            for piece in query.split(at_once, dim=1)
        ]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)

    def extra_repr(self) -> str:
        """Options for print()."""
        size = f", size={self.size}" if self.score == "additive" else ""
        return f"{self.query_size}, {self.memory_size}, score={self.score!r}{size}"


def _additive(query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """v · tanh(q_t + k_s): (G, T, A) and (G, S, A) to (G, T, S)."""
    return torch.tanh(query[:, :, None] + keys[:, None]) @ vector


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last axis, 0 where the mask is False; all 0 where a row has nothing to look at.

    Args:
        scores: (B, T, S).
        mask: (B, S) bool; None: everything counts.
    """
    if mask is None:
        return torch.softmax(scores, dim=-1)
    live = mask[:, None]
    # the lowest number, not -inf: a source without steps would give 0/0, and its gradient is NaN for good
    low = torch.finfo(scores.dtype).min
    return torch.softmax(scores.masked_fill(~live, low), dim=-1) * live


def from_padded_rows(padded: Tensor, like: Ragged) -> Ragged:
    """The rows (B, T, F) of a padded tensor, in the user's order, that are steps of `like`."""
    B, T = padded.shape[:2]
    rows = like.row_sequence * T + like.row_step
    return like.with_data(padded.reshape(B * T, padded.shape[2]).index_select(0, rows))


def cut(weights: Tensor, queries: Tensor, sources: Tensor) -> list[Tensor]:
    """Each sequence's own weights (T_b, S_b) out of (B, T, S).

    Args:
        weights: (B, T, S).
        queries: (B,) lengths T_b.
        sources: (B,) lengths S_b.
    """
    lengths: Sequence[tuple[int, int]] = list(zip(queries.tolist(), sources.tolist()))
    return [one[:T, :S] for one, (T, S) in zip(weights, lengths)]
