"""A loop over time under autograd whose weight gradients are one product at the end.

Where step follows step, as with input feeding, every step uses the same W, and autograd adds up as many
matrices of W's size as there are steps:

    ∂L/∂W = Σ_t δ_tᵀ x_t        δ_t = ∂L/∂a_t,  a_t = W x_t + b

That is more memory to write than arithmetic to do when a step has few rows. Here the steps see W as a
constant, and b as rows of their own, one a sequence and step: the gradient of such a row is δ_t. When all of
them have come, the sum is one product of all δ with all x, which were kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from saiki.cells import GRU, LSTM, Cell, Elman
from saiki.engine import product

Kept = list[Tensor]


def defers(cell: Cell[Any, Any]) -> bool:
    """Whether all of a cell's W and R act through a_t = W x_t + R h_{t-1} + b, as `DeferredCell` needs it."""
    return type(cell) in (Elman, LSTM) or (type(cell) is GRU and cell.reset == "after")


class _Rows(torch.autograd.Function):
    """b once for every row; going back, ∂L/∂W and ∂L/∂b out of the rows' gradients."""

    @staticmethod
    def forward(ctx: Any, kept: Kept, rows: int, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ANN401
        ctx.kept = kept
        return weight.new_zeros(rows, weight.shape[0]) if bias is None else bias.repeat(rows, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (delta,) = gradients
        _, _, wants_weight, wants_bias = ctx.needs_input_grad
        d_weight = product.linear(delta.t(), torch.cat(ctx.kept).t()) if wants_weight else None
        return None, None, d_weight, delta.sum(0) if wants_bias else None


class _CellRows(torch.autograd.Function):
    """The same for a cell: W sees x, R sees h_{t-1}, and a GRU's candidate has a bias b_hn of its own."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,  # noqa: ANN401
        kept: tuple[Kept, Kept],
        rows: int,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor | None,
        bias_hn: Tensor | None,
        candidate: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.kept, ctx.candidate = kept, candidate
        first = weight_ih.new_zeros(rows, weight_ih.shape[0]) if bias is None else bias.repeat(rows, 1)
        H = weight_hh.shape[1] if candidate else 0
        second = weight_ih.new_zeros(rows, H) if bias_hn is None else bias_hn.repeat(rows, 1)
        return first, second

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        delta, delta_q = gradients
        _, _, wants_ih, wants_hh, wants_bias, wants_hn, _ = ctx.needs_input_grad
        x, h = ctx.kept
        through_h = delta
        if ctx.candidate:  # R_n h_{t-1} + b_hn goes through the reset gate first
            through_h = torch.cat((delta[:, : -delta_q.shape[1]], delta_q), dim=1)
        return (
            None,
            None,
            product.linear(delta.t(), torch.cat(x).t()) if wants_ih else None,
            product.linear(through_h.t(), torch.cat(h).t()) if wants_hh else None,
            delta.sum(0) if wants_bias else None,
            delta_q.sum(0) if wants_hn else None,
            None,
        )


@final
class DeferredLinear:
    """y_t = W x_t + b for the steps of one pass.

    Args:
        weight: W (K, F).
        bias: b (K,), or None.
        sizes: rows of each step, in the order of the calls.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, sizes: Sequence[int]) -> None:
        self._kept: Kept = []
        self._weight = weight.detach()
        self._rows = _Rows.apply(self._kept, sum(sizes), weight, bias).split(list(sizes))

    def __call__(self, x: Tensor) -> Tensor:
        """The next step: (R, F) to (R, K)."""
        rows = self._rows[len(self._kept)]
        self._kept.append(x.detach())
        return torch.addmm(rows, x, self._weight.t())


@final
class DeferredCell:
    """The steps of a cell for one pass.

    Args:
        cell: one that `defers`.
        params: its parameters by name.
        sizes: rows of each step, in the order of the calls.
    """

    def __init__(self, cell: Cell[Any, Any], params: Mapping[str, Tensor], sizes: Sequence[int]) -> None:
        self._cell = cell
        self._kept: tuple[Kept, Kept] = ([], [])
        candidate = isinstance(cell, GRU)
        first, second = _CellRows.apply(
            self._kept,
            sum(sizes),
            params["weight_ih"],
            params["weight_hh"],
            params.get("bias"),
            params.get("bias_hn"),
            candidate,
        )
        # split, not slices: going back it is one copy, where every slice would be a matrix of zeros
        self._rows, self._rows_hn = first.split(list(sizes)), second.split(list(sizes))
        rest = {name: params.get(name) for name in cell.params_type._fields}
        self._rest = rest | {name: params[name].detach() for name in ("weight_ih", "weight_hh")}
        self._candidate = candidate

    def __call__(self, x: Tensor, state: Any) -> Any:  # noqa: ANN401 - the cell's state tuple
        """The next step: x (R, I) and the state before it to the state after."""
        t = len(self._kept[0])
        self._kept[0].append(x.detach())
        self._kept[1].append(state.h.detach())
        own = self._rest | {"bias": self._rows[t]}
        if self._candidate:
            own["bias_hn"] = self._rows_hn[t]
        return self._cell.step(self._cell.params_type(**own), state, x)
