"""CTC in the native kernels (csrc/ctc.h), as an operator of torch: `saiki::ctc`.

    ctc(logits, lengths, batch_sizes, order, labels, target_lengths, blank) -> loss, saved
    ctc_backward(…, loss, saved, d_loss) -> d_logits

`logits` is (N, K): padded, row t·B + b is step t of utterance b; of a packed batch `batch_sizes` and `order`
are there. `saved` is empty unless a gradient will be wanted. A derivative of the gradient is taken through
the plain twin, `ctc_reference`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saiki.engine.native import native
from saiki.engine.operators import LIBRARY, applied, below, below_node, require_native, target, unobserved
from saiki.losses import ctc_reference
from saiki.losses.ctc_case import Case

TYPES = {torch.float32: "float32", torch.float64: "float64"}
Batch = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor, Tensor, int]  # what `batch_of` gives


def can_run(case: Case) -> bool:
    """Whether the kernels are here and can take these logits."""
    return case.logits.is_cpu and case.logits.dtype in TYPES and not isinstance(native(), str)


def batch_of(case: Case) -> Batch:
    """The operator's arguments."""
    layout, rows = case.layout, case.logits
    if layout is None:
        rows = rows.flatten(0, 1) if rows.shape[0] else rows.reshape(-1, rows.shape[2])
    sizes, order = (None, None) if layout is None else (layout.batch_sizes, layout.order)
    return rows, case.lengths, sizes, order, case.labels, case.target_lengths, case.blank


def loss(case: Case) -> Tensor:
    """(B,) -ln P of each utterance.

    Raises:
        LabelError, LengthError: a label outside [0, K) or the blank, a length out of range.
    """
    batch = batch_of(case)
    rows = batch[0]
    try:
        if torch.compiler.is_compiling() or not unobserved(rows):
            value: Tensor = _CTC(*batch, torch.is_grad_enabled() and rows.requires_grad)[0]
        elif torch.is_grad_enabled() and rows.requires_grad:
            value = _Node.apply(None, *batch)[0]
        else:
            value = _forward(*batch)[0]
    except ValueError:
        case.require()  # says in our words what the kernels refused
        raise
    return value


def posteriors(case: Case) -> list[Tensor]:
    """For each utterance (T_b, 2 L_b + 1), the share of P that goes through each state."""
    batch = _plain(*batch_of(case))
    rows = batch[0]
    found = rows.new_empty((rows.shape[0], 2 * case.labels.shape[1] + 1))
    value = rows.new_empty(case.B)
    require_native().ctc_forward(*batch, value, None, found, torch.get_num_threads(), target())
    if case.layout is None:
        found = found.view(-1, case.B, found.shape[1]) if case.B else found
        each = [found[:T, b] for b, T in enumerate(case.lengths.tolist())]
    else:
        each = case.layout.with_data(found).to_list()
    return [share[:, : 2 * L + 1] for share, L in zip(each, case.target_lengths.tolist())]


def best_paths(case: Case) -> list[tuple[Tensor, Tensor]]:
    """For each utterance its likeliest path: (T_b,) states, and (T_b,) float64 ln p of what is said."""
    lengths: list[int] = case.lengths.tolist()
    states = torch.empty(sum(lengths), dtype=torch.int64)
    log_p = torch.empty(sum(lengths), dtype=torch.float64)
    batch = _plain(*batch_of(case))
    require_native().ctc_paths(*batch, states, log_p, torch.get_num_threads(), target())
    return list(zip(states.split(lengths), log_p.split(lengths)))


# --- on the CPU ---------------------------------------------------------------------------------------------


def _plain(
    rows: Tensor,
    lengths: Tensor,
    sizes: Tensor | None,
    order: Tensor | None,
    labels: Tensor,
    counts: Tensor,
    blank: int,
) -> Batch:
    """As the kernels take them: without history, and without gaps (but in the labels, where they may be)."""
    if sizes is not None and order is not None:
        sizes, order = sizes.contiguous(), order.contiguous()
    return rows.detach().contiguous(), lengths.contiguous(), sizes, order, labels, counts.contiguous(), blank


def _forward(
    rows: Tensor,
    lengths: Tensor,
    sizes: Tensor | None,
    order: Tensor | None,
    labels: Tensor,
    counts: Tensor,
    blank: int,
    save: bool = False,
) -> tuple[Tensor, Tensor]:
    module, on = require_native(), target()
    batch = _plain(rows, lengths, sizes, order, labels, counts, blank)
    value = rows.new_empty(lengths.shape[0])
    saved = rows.new_empty((rows.shape[0], _columns(rows, labels, on)) if save else 0)
    module.ctc_forward(*batch, value, saved if save else None, None, torch.get_num_threads(), on)
    return value, saved


def _columns(rows: Tensor, labels: Tensor, on: str) -> int:
    columns: int = require_native().ctc_columns(TYPES[rows.dtype], labels.shape[1], on)
    return columns


def _backward(
    rows: Tensor,
    lengths: Tensor,
    sizes: Tensor | None,
    order: Tensor | None,
    labels: Tensor,
    counts: Tensor,
    blank: int,
    value: Tensor,
    saved: Tensor,
    d_value: Tensor,
) -> Tensor:
    batch = _plain(rows, lengths, sizes, order, labels, counts, blank)
    d_rows = torch.empty_like(batch[0])
    require_native().ctc_backward(
        *batch, value, saved, d_value.contiguous(), d_rows, torch.get_num_threads(), target()
    )
    return d_rows


# --- without numbers ----------------------------------------------------------------------------------------


def _fake_forward(
    rows: Tensor,
    lengths: Tensor,
    sizes: Tensor | None,
    order: Tensor | None,
    labels: Tensor,
    counts: Tensor,
    blank: int,
    save: bool = False,
) -> tuple[Tensor, Tensor]:
    value = rows.new_empty(lengths.shape[0])
    if not save:
        return value, rows.new_empty(0)
    return value, rows.new_empty((rows.shape[0], _columns(rows, labels, target())))


def _fake_backward(rows: Tensor, *rest: Any) -> Tensor:  # noqa: ANN401
    return torch.empty_like(rows)


# --- gradients ----------------------------------------------------------------------------------------------


class _Node(torch.autograd.Function):
    """The loss as one node."""

    @staticmethod
    def forward(ctx: Any, keyset: Any, *batch: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        value, saved = below_node(keyset, _CTC, _forward, *batch, True)
        ctx.save_for_backward(*batch[:-1], value, saved)
        ctx.mark_non_differentiable(saved)
        ctx.set_materialize_grads(False)
        ctx.blank = batch[-1]
        return value, saved

    @staticmethod
    def backward(ctx: Any, d_value: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:  # type: ignore[override]  # noqa: ANN401
        if d_value is None:
            return (None,) * 8
        *tensors, value, saved = ctx.saved_tensors
        batch: Batch = (*tensors, ctx.blank)
        d_rows: Tensor
        if torch.is_grad_enabled():  # the gradient is to be differentiated in turn
            d_rows = _by_reference(*batch, d_value)
        elif unobserved(d_value, *tensors):
            d_rows = _backward(*batch, value, saved, d_value)
        else:
            d_rows = _BACKWARD(*batch, value, saved, d_value)
        return None, d_rows, *(None,) * 6


def _by_reference(
    rows: Tensor,
    lengths: Tensor,
    sizes: Tensor | None,
    order: Tensor | None,
    labels: Tensor,
    counts: Tensor,
    blank: int,
    d_value: Tensor,
) -> Tensor:
    """The gradient by autograd through the plain twin."""
    B, K = lengths.shape[0], rows.shape[1]
    if sizes is None or order is None:
        padded = rows.view(rows.shape[0] // B if B else 0, B, K)
    else:
        place = torch.empty_like(order).scatter_(0, order, torch.arange(B))
        index = (sizes.cumsum(0) - sizes)[:, None] + place  # the row of each step of each utterance
        padded = rows[index.where(torch.arange(len(sizes))[:, None] < lengths, 0)]
    value = ctc_reference.loss(Case(padded, None, lengths, labels, counts, blank))
    d_rows: Tensor = torch.autograd.grad(value, rows, d_value, create_graph=True)[0]
    return d_rows


def _autograd(
    keyset: torch._C.DispatchKeySet,
    rows: Tensor,
    lengths: Tensor,
    sizes: Tensor | None,
    order: Tensor | None,
    labels: Tensor,
    counts: Tensor,
    blank: int,
    save: bool = False,
) -> tuple[Tensor, Tensor]:
    batch = (rows, lengths, sizes, order, labels, counts, blank)
    if torch.is_grad_enabled() and rows.requires_grad:
        result: tuple[Tensor, Tensor] = applied(_Node, keyset, *batch)
    else:
        result = below(keyset, _CTC, _forward, *batch, save)
    return result


# --- registration -------------------------------------------------------------------------------------------

_ARGUMENTS = (
    "Tensor logits, Tensor lengths, Tensor? batch_sizes, Tensor? order, Tensor labels, Tensor counts, "
    "int blank"
)
LIBRARY.define(f"ctc({_ARGUMENTS}, bool save=False) -> (Tensor loss, Tensor saved)")
LIBRARY.define(f"ctc_backward({_ARGUMENTS}, Tensor loss, Tensor saved, Tensor d_loss) -> Tensor")
_CTC = torch.ops.saiki.ctc.default
_BACKWARD = torch.ops.saiki.ctc_backward.default
LIBRARY.impl("ctc", _forward, "CPU")
LIBRARY.impl("ctc", _autograd, "Autograd", with_keyset=True)
LIBRARY.impl("ctc_backward", _backward, "CPU")
torch.library.register_fake("saiki::ctc", _fake_forward, lib=LIBRARY)
torch.library.register_fake("saiki::ctc_backward", _fake_backward, lib=LIBRARY)
