"""Pooling over time: one row a sequence out of a ragged batch, or, for Segment, one row a piece.

Only a sequence's own steps count; there is no padding to leak. A sequence without steps gives a row of zeros.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final, overload

import torch
from torch import Tensor

from saiki.core.checks import require_bool, require_int
from saiki.core.initialisers import initialise
from saiki.core.ragged import Ragged
from saiki.core.random import generator as make_generator
from saiki.engine import product
from saiki.nn.flow import Flow, Layer, require_dtype, require_features, require_ragged

MAX_SEGMENT = 65_536  # steps of a piece; a size from a file is checked before anything is allocated


def _door(x: object, layer: str, size: int | None = None, like: Tensor | None = None) -> Ragged:
    ragged = require_ragged(x, layer)
    require_features(ragged, size, like, layer)
    return ragged


@final
class Last(Layer):
    """The last step of each sequence.

        y = h_T                     both_ends=False
        y = [h_T^→ ; h_1^←]         both_ends=True: each half where its direction has read the whole sequence

    Args:
        both_ends: for the output of a bidirectional layer. Its backward half has seen only one step at the
            end of the sequence, and all of it at the start; `both_ends` takes the first half of the features
            from the last step and the second half from the first step.
    Shapes:
        Ragged (N, F) in, (B, F) out in the user's order; zeros for a sequence without steps.
    """

    over_time: ClassVar[bool] = True
    pools: ClassVar[bool] = True

    def __init__(self, *, both_ends: bool = False) -> None:
        super().__init__()
        self.both_ends = require_bool(both_ends, "both_ends")

    def forward(self, x: Flow) -> Tensor:
        """Take the last step; see the class."""
        ragged = _door(x, "Last")
        last = ragged.last()
        if not self.both_ends:
            return last
        half = last.shape[-1] // 2
        alive = ragged.order[: ragged.live].to(ragged.device)
        first = ragged.data[: ragged.live]  # packed: the first rows are step 0, longest sequence first
        return torch.cat(
            [last[:, :half], torch.zeros_like(last).index_copy(0, alive, first)[:, half:]], dim=-1
        )

    def extra_repr(self) -> str:
        """Options for print()."""
        return f"both_ends={self.both_ends}"


@final
class Mean(Layer):
    """The mean over each sequence's own steps: y = (1/T) Σ_t h_t.

    Shapes:
        Ragged (N, F) in, (B, F) out in the user's order; zeros for a sequence without steps.
    """

    over_time: ClassVar[bool] = True
    pools: ClassVar[bool] = True

    def forward(self, x: Flow) -> Tensor:
        """Take the mean over time; see the class."""
        ragged = _door(x, "Mean")
        steps = ragged.lengths.clamp(min=1).to(ragged.device, ragged.dtype)
        return ragged.sequence_sum(ragged.data) / steps[:, None]


@final
class Max(Layer):
    """The largest value of each feature over each sequence's own steps: y_k = max_t h_{t,k}.

    Where several steps tie, they share the gradient evenly.

    Shapes:
        Ragged (N, F) in, (B, F) out in the user's order; zeros for a sequence without steps.
    """

    over_time: ClassVar[bool] = True
    pools: ClassVar[bool] = True

    def forward(self, x: Flow) -> Tensor:
        """Take the maximum over time; see the class."""
        ragged = _door(x, "Max")
        index = ragged.row_sequence[:, None].expand_as(ragged.data)
        zeros = ragged.data.new_zeros((ragged.B, ragged.data.shape[-1]))
        return zeros.scatter_reduce(0, index, ragged.data, "amax", include_self=False)


@final
class AttentionPool(Layer):
    """A weighted mean over time whose weights the layer learns.

        e_t = q · tanh(W h_t + b)              score of step t
        α_t = exp(e_t) / Σ_s exp(e_s)          softmax over the sequence's own steps
        y   = Σ_t α_t h_t

    With `last`, where to look depends on where the sequence stands, and that is handed on as well:

        e_t = q · tanh(W h_t + U h_T + b)
        y   = [h_T ; Σ_t α_t h_t]

    Args:
        input_size: F, features a step.
        size: A, units of the score; `input_size` if not given.
        last: score against the last step, and give it beside the mean.
        both_ends: with `last`, after a bidirectional layer: h_T is what `Last(both_ends=True)` gives.
        generator: for the initial W and q (Glorot uniform); b starts at zero.
        device: where the parameters live.
        dtype: of the parameters; torch's default if not given.
    Shapes:
        Ragged (N, F) in, (B, F) out in the user's order, with `last` (B, 2F); zeros for a sequence without
        steps. Parameters: `weight` (A, F), `bias` (A,), `query` (A,), with `last` also `weight_last` (A, F).
    Source: Yang et al. 2016, "Hierarchical attention networks", eqs. 5-7; with `last` the additive score of
        Bahdanau et al. 2015, section A.1.2, with h_T in the decoder's place.
    """

    over_time: ClassVar[bool] = True
    pools: ClassVar[bool] = True

    def __init__(
        self,
        input_size: int,
        size: int | None = None,
        *,
        last: bool = False,
        both_ends: bool = False,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size = require_int(input_size, "input_size", 1)
        self.size = self.input_size if size is None else require_int(size, "size", 1)
        self.last = require_bool(last, "last")
        self.both_ends = require_bool(both_ends, "both_ends")
        self._end = Last(both_ends=both_ends) if last else None
        source = make_generator(generator)
        dtype = require_dtype(dtype)
        weight = initialise(
            "glorot_uniform", (self.size, self.input_size), source, dtype=dtype, device=device
        )
        query = initialise("glorot_uniform", (1, self.size), source, dtype=dtype, device=device)
        self.weight = torch.nn.Parameter(weight)
        self.bias = torch.nn.Parameter(torch.zeros(self.size, dtype=dtype, device=device))
        self.query = torch.nn.Parameter(query[0].clone())
        if last:
            end = initialise(
                "glorot_uniform", (self.size, self.input_size), source, dtype=dtype, device=device
            )
            self.weight_last = torch.nn.Parameter(end)

    def width(self, input_size: int) -> int:
        """Features out: F, or 2F with `last`."""
        return input_size * (1 + self.last)

    @overload
    def forward(self, x: Flow, return_weights: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, x: Flow, return_weights: Literal[True]) -> tuple[Tensor, Ragged]: ...
    def forward(self, x: Flow, return_weights: bool = False) -> Tensor | tuple[Tensor, Ragged]:
        """Pool; with `return_weights` also give the α_t as a Ragged with data (N,), each sequence summing to
        1.
        """
        ragged = _door(x, "AttentionPool", self.input_size, self.weight)
        end = None if self._end is None else self._end(ragged)  # (B, F)
        alpha = self._weights(ragged, end)
        pooled = ragged.sequence_sum(alpha[:, None] * ragged.data)
        if end is not None:
            pooled = torch.cat([end, pooled], dim=-1)
        return (pooled, ragged.with_data(alpha)) if return_weights else pooled

    def _weights(self, x: Ragged, end: Tensor | None) -> Tensor:
        """(N,) softmax of the scores over each sequence's own steps."""
        sequence = x.row_sequence
        units = product.linear(x.data, self.weight, self.bias)  # (N, A)
        if end is not None:
            units = units + product.linear(end, self.weight_last)[sequence]
        scores = torch.tanh(units) @ self.query  # (N,)
        with torch.no_grad():  # a shift that the softmax does not see; keeps exp from overflowing
            largest = scores.new_zeros(x.B).scatter_reduce(0, sequence, scores, "amax", include_self=False)
        exps = torch.exp(scores - largest[sequence])
        return exps / x.sequence_sum(exps)[sequence]

    def extra_repr(self) -> str:
        """Options for print()."""
        last = f", last=True{', both_ends=True' if self.both_ends else ''}" if self.last else ""
        return f"{self.input_size}, size={self.size}{last}"


@final
class Segment(Layer):
    """Cut each sequence into pieces of `length` steps; each piece becomes one step of length·F features.

        y_k = [x_{kL+1} ; … ; x_{kL+L}]      counted so that the last piece ends with the last step

    Where T is no multiple of L, the oldest piece is the incomplete one: the sequence's first step is repeated
    in front of it. A stream cut into chunks is therefore cut alike only if each chunk is a multiple of L.

    Args:
        length: L, steps a piece.
    Shapes:
        Ragged (N, F) with lengths T_b in; Ragged with lengths ⌈T_b / L⌉ and L·F features a step out, oldest
        first within a piece. A sequence without steps stays without.
    Source: Lin et al. 2023, "SegRNN: segment recurrent neural network for long-term time series forecasting".
    """

    over_time: ClassVar[bool] = True

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = require_int(length, "length", 1, MAX_SEGMENT)

    def forward(self, x: Flow) -> Ragged:
        """Cut; see the class."""
        ragged = _door(x, "Segment")
        L, F = self.length, ragged.data.shape[-1]
        if ragged.B == 0:
            return Ragged.from_padded(ragged.data.new_zeros((0, 0, L * F)))
        pieces = (ragged.lengths + (L - 1)) // L  # (B,)
        slots = pieces * L
        sequence = torch.repeat_interleave(
            torch.arange(ragged.B), slots
        )  # sequence after sequence, oldest first
        first = slots.cumsum(0) - slots
        step = torch.arange(sequence.numel()) - (first + slots - ragged.lengths)[sequence]
        starts = ragged.batch_sizes.cumsum(0) - ragged.batch_sizes  # (T,) first packed row of each step
        place = torch.empty_like(ragged.order)
        place[ragged.order] = torch.arange(ragged.B)
        rows = starts[step.clamp(min=0)] + place[sequence]
        cut = ragged.data.index_select(0, rows.to(ragged.device)).reshape(int(pieces.sum()), L * F)
        return Ragged.from_list(list(cut.split(pieces.tolist())))

    def width(self, input_size: int) -> int:
        """Features out: L·F."""
        return self.length * super().width(input_size)

    def extra_repr(self) -> str:
        """Options for print()."""
        return f"{self.length}"
