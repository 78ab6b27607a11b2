"""A stack taken apart for a rule that goes forward in time: recurrent levels, and what feeds each.

    input -> front of level 0 -> level 0 -> front of level 1 -> level 1 -> … -> tail -> loss

A level is one recurrent layer; a module with num_layers > 1 is several, with its dropout in front of all but
the first. A front is a chain of layers that treat each step by itself. Its parameters φ reach the state of
their level through x_t alone:

    ∂s_t/∂φ_j = C_j ∂y_j/∂φ_j,     C_last = G_t = ∂s_t/∂x_t,     C_{j-1} = C_j ∂y_j/∂y_{j-1}

with y_j what layer j of the chain gives at this step; a layer's dropout mask of a step is part of the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saiki.cells import Cell
from saiki.core.activations import get_activation
from saiki.core.ragged import Ragged
from saiki.nn import Dense, Embedding, LayerNorm, Stack
from saiki.nn.flow import dropout_mask
from saiki.nn.recurrent import RecurrentLayer

Feed = Callable[[Ragged], Any]  # a layer, or the dropout between two layers of one module


class Level(NamedTuple):
    """One recurrent layer of a stack."""

    name: str  # such as "lstm_l0"
    module: str  # the stack's name of the layer
    layer: RecurrentLayer
    number: int  # which of the module's layers
    front: tuple[Feed, ...]  # from the level below, or the input, to this one

    @property
    def cell(self) -> Cell[Any, Any]:
        """What it runs."""
        cell: Cell[Any, Any] = self.layer.cells[self.number]
        return cell

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """The cell's parameters by the cell's names."""
        return {name: getattr(self.layer, f"{name}_l{self.number}") for name in self.cell.parameter_shapes()}

    def initial(self) -> list[torch.nn.Parameter]:
        """The learned initial states in the order of the cell's states; none if they are zeros."""
        if not self.layer.learn_initial_state:
            return []
        return [getattr(self.layer, f"{name}0_l{self.number}") for name in self.cell.states]

    def learns(self) -> bool:
        """Whether any of its own parameters is to be trained."""
        return any(p.requires_grad for p in (*self.parameters().values(), *self.initial()))


def take_apart(stack: Stack) -> tuple[list[Level], list[torch.nn.Module]]:
    """The recurrent levels from below, and the layers behind the last."""
    levels: list[Level] = []
    front: list[Feed] = []
    for name, layer in stack.layers.items():
        if not isinstance(layer, RecurrentLayer):
            front.append(layer)
            continue
        for index in range(layer.num_layers):
            if index > 0:
                front = [_between(layer)] if layer.dropout > 0.0 else []
            levels.append(Level(f"{name}_l{index}", name, layer, index, tuple(front)))
        front = []
    return levels, [layer for layer in front if isinstance(layer, torch.nn.Module)]


def _between(layer: RecurrentLayer) -> Feed:
    """The dropout between two layers of one module."""

    def drop(x: Ragged) -> Ragged:
        if not layer.training:
            return x
        return x.with_data(x.data * dropout_mask(tuple(x.data.shape), layer.dropout, layer.generator, x.data))

    return drop


class Link:
    """One layer of a front, run over a block of N rows."""

    def __init__(self, feed: Feed, x: Ragged) -> None:
        self.feed = feed
        self.before = x.data.detach()
        if self.before.is_floating_point():
            self.before.requires_grad_()
        with torch.enable_grad():
            self.flow: Ragged = feed(x.with_data(self.before))
        self.after = self.flow.data

    @cached_property
    def trained(self) -> list[torch.nn.Parameter]:
        """Its parameters that are to be trained."""
        return trained_of(self.feed)

    def pull(self, error: Tensor, need_input: bool) -> tuple[list[Tensor], Tensor | None]:
        """∂L/∂φ of each trained parameter, and ∂L/∂input if needed, from ∂L/∂output (N, K)."""
        wanted: list[Tensor] = [*self.trained, *([self.before] if need_input else [])]
        if not wanted:
            return [], None
        found: tuple[Tensor | None, ...] = (None,) * len(wanted)
        if self.after.requires_grad:
            found = torch.autograd.grad(self.after, wanted, error, allow_unused=True)
        filled = [torch.zeros_like(w) if g is None else g for g, w in zip(found, wanted)]
        return filled[: len(self.trained)], filled[-1] if need_input else None

    @cached_property
    def jacobian(self) -> Tensor:
        """(N, K, F): each row's ∂output/∂input."""
        if isinstance(self.feed, Dense):
            if self.slopes is None:
                return self.feed.weight.detach().expand(len(self.before), -1, -1)
            return self.slopes @ self.feed.weight.detach()
        return _row_jacobian(self.after, self.before)

    @cached_property
    def slopes(self) -> Tensor | None:
        """(N, K, K): a Dense layer's ∂y/∂(W x + b); None for the identity."""
        assert isinstance(self.feed, Dense)
        activation = self.feed.activation
        if activation == "identity":
            return None
        a = (
            torch.nn.functional.linear(self.before, self.feed.weight, self.feed.bias)
            .detach()
            .requires_grad_()
        )
        with torch.enable_grad():
            if activation == "softmax":
                y = torch.softmax(a, dim=-1)
            else:
                y = get_activation(activation).function(a)
        return _row_jacobian(y, a)

    def add(self, M: Tensor, left: Tensor, rows: slice) -> None:
        """M += C ∂y/∂φ for some rows, in place.

        Args:
            M: (R, S, P_j): the columns of this layer's trained parameters, in their order.
            left: (R, S, K) C.
            rows: which of the N rows.
        """
        for parameter, columns in zip(self.trained, M.split([p.numel() for p in self.trained], dim=2)):
            self._add_one(parameter, columns, left, rows)

    def _add_one(self, parameter: torch.nn.Parameter, M: Tensor, left: Tensor, rows: slice) -> None:
        feed = self.feed
        x = self.before.detach()[rows]
        if isinstance(feed, Dense):
            to_a = left if self.slopes is None else left @ self.slopes[rows]
            if parameter is feed.bias:
                M += to_a
            else:
                M.unflatten(2, tuple(parameter.shape)).add_(to_a[..., None] * x[:, None, None])
        elif isinstance(feed, Embedding):
            ids = (x.reshape(len(x)) if feed.column is None else x[:, feed.column]).long()
            vectors = M.unflatten(
                2, (feed.num_embeddings, feed.size)
            )  # the vector stands behind the features
            vectors[torch.arange(len(ids), device=ids.device), :, ids] += left[..., -feed.size :]
        elif isinstance(feed, LayerNorm):
            if parameter is feed.bias:
                M += left
            else:
                M += left * torch.nn.functional.layer_norm(x, (feed.input_size,), eps=feed.eps)[:, None]
        else:  # a layer of one's own
            after = self.after[rows]
            found = [
                [
                    torch.autograd.grad(value, parameter, retain_graph=True, allow_unused=True)[0]
                    for value in row
                ]
                for row in after
            ]
            zero = torch.zeros_like(parameter)
            flat = [torch.stack([(zero if g is None else g).flatten() for g in row]) for row in found]
            M += left @ torch.stack(flat)


def trained_of(feed: Feed) -> list[torch.nn.Parameter]:
    """The parameters of a layer that are to be trained."""
    if not isinstance(feed, torch.nn.Module):
        return []
    return [p for p in feed.parameters() if p.requires_grad]


def run_front(front: Sequence[Feed], x: Ragged) -> tuple[Ragged, list[Link]]:
    """Run a chain of layers, link by link."""
    links = []
    for feed in front:
        link = Link(feed, x)
        links.append(link)
        x = link.flow.detach()
    return x, links


def whole_jacobian(links: Sequence[Link]) -> Tensor | None:
    """(N, out, in) ∂(end of the chain)/∂(its beginning); None for an empty chain."""
    product: Tensor | None = None
    for link in reversed(links):
        product = link.jacobian if product is None else product @ link.jacobian
    return product


def _row_jacobian(after: Tensor, before: Tensor) -> Tensor:
    """(N, K, F) where row n of `after` depends on row n of `before` alone."""
    if not after.requires_grad:
        return after.new_zeros(len(after), after.shape[1], before.shape[1])
    rows = [
        torch.autograd.grad(after[:, k].sum(), before, retain_graph=True, allow_unused=True)[0]
        for k in range(after.shape[1])
    ]
    return torch.stack([torch.zeros_like(before) if g is None else g for g in rows], dim=1)
