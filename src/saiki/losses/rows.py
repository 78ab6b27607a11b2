"""What all losses share: the interface, the checks at the door, the mean over a row's observed targets."""

from __future__ import annotations

from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from saiki.core.errors import DTypeError, ShapeError
from saiki.core.ragged import Ragged


@runtime_checkable
class RowLoss(Protocol):
    """A loss with its parameters: `loss(outputs, targets, mask) -> (N,)`, one value a row, unreduced."""

    def __call__(self, outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of each row.

        Args:
            outputs: (N, …) what the network said.
            targets: (N, …) what was true.
            mask: True where the target was observed, the shape of `targets`; None: everywhere.
        Returns:
            (N,) the mean over the observed targets of each row; 0, with zero gradient, where there are none.
        """
        ...


@runtime_checkable
class SequenceLoss(Protocol):
    """A loss of whole sequences, whose targets need not be as long as the outputs: CTC, a CRF.

    Attributes:
        whole_sequence: True; it tells such a loss from a `RowLoss`.
    """

    whole_sequence: ClassVar[bool]

    def __call__(self, outputs: Ragged, targets: Ragged) -> Tensor:
        """The loss of each sequence.

        Args:
            outputs: B sequences, what the network said at each step.
            targets: B sequences of what was true, in the same order, of lengths of their own.
        Returns:
            (B,) one value a sequence, unreduced.
        """
        ...


Loss: TypeAlias = RowLoss | SequenceLoss


def require_pair(
    outputs: Tensor, targets: Tensor, mask: Tensor | None, *, trailing: int | None = None
) -> None:
    """Check that outputs, targets and mask belong together.

    Args:
        outputs: (N, …) or, with `trailing`, (N, …, trailing).
        targets: (N, …) real numbers of the outputs' dtype.
        mask: bool, the shape of `targets`, or None.
        trailing: size of the outputs' last dimension, where it holds parameters of one prediction.
    Raises:
        DTypeError: something other than floating point, or a mask that is not bool.
        ShapeError: the shapes do not match (nothing is broadcast), or a row has no targets at all.
    """
    require_outputs(outputs)
    if not isinstance(targets, Tensor) or targets.dtype != outputs.dtype:
        came = targets.dtype if isinstance(targets, Tensor) else type(targets).__name__
        raise DTypeError(
            f"targets is {came} but must be {outputs.dtype}, as outputs is.",
            hint=f"Convert it with targets.to({outputs.dtype}).",
        )
    expected = tuple(outputs.shape)
    if trailing is not None:
        if outputs.ndim < 2 or outputs.shape[-1] != trailing:
            raise ShapeError(
                f"outputs is {tuple(outputs.shape)} but its last dimension must be {trailing}.",
                hint=f"Give the network {trailing} outputs for each target.",
            )
        expected = expected[:-1]
    if tuple(targets.shape) != expected:
        raise ShapeError(
            f"targets is {tuple(targets.shape)} but must be {expected} to go with outputs "
            f"{tuple(outputs.shape)}; nothing is broadcast.",
            hint="Reshape the targets, or give the network as many outputs as there are targets.",
        )
    if 0 in targets.shape[1:]:
        raise ShapeError(f"targets is {tuple(targets.shape)}: a row needs at least one target.")
    require_mask(mask, targets)


def require_outputs(outputs: Tensor) -> None:
    """Check that outputs is a floating tensor with rows."""
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        came = outputs.dtype if isinstance(outputs, Tensor) else type(outputs).__name__
        raise DTypeError(f"outputs is {came} but must be a floating-point tensor.")
    if outputs.ndim < 1:
        raise ShapeError("outputs is a single number but must be (N, …), one row a sequence or step.")


def require_mask(mask: Tensor | None, targets: Tensor) -> None:
    """Check that a mask is bool and has the shape of the targets."""
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        came = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise DTypeError(f"mask is {came} but must be a bool tensor, True where the target was observed.")
    if mask.shape != targets.shape:
        raise ShapeError(f"mask is {tuple(mask.shape)} but must be {tuple(targets.shape)}, as targets is.")


def observed_share(mask: Tensor | None, rows: int, like: Tensor) -> Tensor:
    """Share of each row's targets that was observed, (N,) in [0, 1].

    It is the weight m of a row in the objective Σ w m ℓ / Σ w m, which so becomes the (weighted) mean over
    all observed targets.

    Args:
        mask: (N, …) bool, or None for everything observed.
        rows: N.
        like: a tensor whose dtype and device the answer takes.
    """
    if mask is None:
        return torch.ones(rows, dtype=like.dtype, device=like.device)
    if rows == 0:
        return torch.zeros(0, dtype=like.dtype, device=like.device)
    return mask.reshape(rows, -1).to(dtype=like.dtype, device=like.device).mean(dim=1)


def hide(values: Tensor, mask: Tensor | None) -> Tensor:
    """Zero where the mask is False, so that a NaN there reaches neither the value nor the gradient."""
    return values if mask is None else torch.where(mask, values, torch.zeros_like(values))


def row_mean(elements: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of each row over its observed elements, (N, …) -> (N,); 0 where there are none."""
    rows = elements.shape[0]
    flat = elements.reshape(rows, -1) if rows else elements.new_zeros(0, 1)
    if mask is None:
        return flat.mean(dim=1)
    observed = mask.reshape(rows, -1) if rows else mask.new_zeros(0, 1)
    count = observed.sum(dim=1).clamp(min=1).to(flat.dtype)
    return torch.where(observed, flat, torch.zeros_like(flat)).sum(dim=1) / count
