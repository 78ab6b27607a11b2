"""The kernels' own matrix product as an operator of torch, and where it is used instead of torch's.

    linear(x, weight, bias)      y = x Wᵀ + b

`saiki::linear` has a kernel for the CPU, a fake one, gradients and a rule for `torch.func.vmap`. Its
gradients are the same operator on transposed views (∂x = ∂y W, ∂W = ∂yᵀ x), so they can be differentiated in
turn. A row of y has the same bits alone and in any batch, and for any number of threads.

`linear()` picks by the sizes of W alone, or else a row's bits would depend on the batch again; reasons and
figures are in docs/decisions/0010-matrix-product.md.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from saiki.engine.native import native
from saiki.engine.operators import LIBRARY, applied, below, below_node, require_native, target, unobserved

SMALLEST = 16  # features in or out: a vector of the widest registers
LEAST = 1 << 16  # weights: below, what a call costs beside its work shows
_TYPES = (torch.float32, torch.float64)
_TENSORS = (Tensor, torch.nn.Parameter)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x Wᵀ + b, by the native product where it can be had and is worth it, by torch's elsewhere.

    Shapes:
        x (..., F), weight (K, F), bias (K,) or None in; (..., K) out.
    """
    if suits(*weight.shape) and _can_run(x, weight) and not _elsewhere():
        return native_linear(x, weight, bias)
    return torch.nn.functional.linear(x, weight, bias)


def suits(units: int, features: int) -> bool:
    """Whether a layer of these sizes is worth the native product."""
    return min(units, features) >= SMALLEST and units * features >= LEAST


def native_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The native product whatever the sizes; float32 and float64 on the CPU."""
    y: Tensor
    if not unobserved(x, weight, bias):
        y = _LINEAR(x, weight, bias)
    elif torch.is_grad_enabled() and torch._C._any_requires_grad(x, weight, bias):
        y = _Linear.apply(None, x, weight, bias)
    else:
        y = _run(x, weight, bias)
    return y


def _can_run(x: Tensor, weight: Tensor) -> bool:
    return (
        type(x) in _TENSORS
        and type(weight) in _TENSORS
        and weight.is_cpu
        and x.is_cpu
        and weight.dtype in _TYPES
        and x.dtype is weight.dtype
        and not isinstance(native(), str)
    )


def _elsewhere() -> bool:
    """Whether torch must see its own operator: tracers, autocast, forward-mode derivatives."""
    return torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu") or forward_ad._current_level >= 0


# --- on the CPU ---------------------------------------------------------------------------------------------


def _lies_dense(m: Tensor) -> bool:
    """Whether the kernel can read a matrix where it lies: rows or columns dense, and none over another."""
    rows, columns = m.shape
    across, along = m.stride()
    return (along == 1 and across >= columns) or (across == 1 and along >= rows)


def _run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if x.dtype not in _TYPES:
        return torch.nn.functional.linear(x, weight, bias)
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    if not _lies_dense(rows):
        rows = rows.contiguous()
    if not _lies_dense(weight):
        weight = weight.contiguous()
    if bias is not None:
        bias = bias.contiguous()
    y = rows.new_empty((rows.shape[0], weight.shape[0]))
    try:
        require_native().matmul(rows, weight.t(), bias, y, False, torch.get_num_threads())
    except ValueError:
        target()  # says in our words that SAIKI_ISA names nothing that runs here
        raise
    return y if x.ndim == 2 else y.view(*x.shape[:-1], weight.shape[0])


# --- without numbers ----------------------------------------------------------------------------------------


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


# --- gradients ----------------------------------------------------------------------------------------------


class _Linear(torch.autograd.Function):
    """x Wᵀ + b as a node."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        keyset: torch._C.DispatchKeySet | None,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.set_materialize_grads(False)
        if keyset is None:
            return _run(x, weight, bias)
        y: Tensor = below_node(keyset, _LINEAR, _run, x, weight, bias)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]  # noqa: ANN401
        _, wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        if dy is None:
            return None, None, None, None
        x, weight = ctx.saved_tensors
        plain = not torch.is_grad_enabled() and unobserved(dy, x, weight)
        product = _run if plain else _LINEAR
        dx = product(dy, weight.t(), None) if wants_x else None
        rows, d_rows = (t if t.ndim == 2 else t.reshape(-1, t.shape[-1]) for t in (x, dy))
        d_weight = product(d_rows.t(), rows.t(), None) if wants_weight else None
        d_bias = d_rows.sum(0) if wants_bias else None
        return None, dx, d_weight, d_bias


def _autograd(keyset: torch._C.DispatchKeySet, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y: Tensor
    if torch.is_grad_enabled() and torch._C._any_requires_grad(x, weight, bias):
        y = applied(_Linear, keyset, x, weight, bias)
    else:
        y = below(keyset, _LINEAR, _run, x, weight, bias)
    return y


# --- torch.func.vmap ----------------------------------------------------------------------------------------


def _vmap(info: Any, in_dims: tuple[int | None, ...], *args: Tensor | None) -> tuple[Tensor, int]:  # noqa: ANN401
    """Mapped over x alone it is a longer batch; weights of one's own each are torch's batched product."""
    (x, weight, bias), (x_dim, weight_dim, bias_dim) = args, in_dims
    assert x is not None and weight is not None
    if x_dim is not None:
        x = x.movedim(x_dim, 0)
    if weight_dim is None and bias_dim is None:
        return _LINEAR(x, weight, bias), 0
    V = info.batch_size
    rows = (x if x_dim is not None else x.expand(V, *x.shape)).reshape(V, -1, x.shape[-1])
    W = weight.movedim(weight_dim, 0) if weight_dim is not None else weight.expand(V, *weight.shape)
    y = torch.bmm(rows, W.mT)
    if bias is not None:
        y = y + (bias.movedim(bias_dim, 0)[:, None] if bias_dim is not None else bias)
    lead = x.shape[1:-1] if x_dim is not None else x.shape[:-1]
    return y.view(V, *lead, W.shape[1]), 0


# --- registration -------------------------------------------------------------------------------------------

LIBRARY.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")
_LINEAR = torch.ops.saiki.linear.default
LIBRARY.impl("linear", _run, "CPU")
LIBRARY.impl("linear", _autograd, "Autograd", with_keyset=True)
torch.library.register_fake("saiki::linear", _fake, lib=LIBRARY)
torch.library.register_vmap("saiki::linear", _vmap, lib=LIBRARY)
