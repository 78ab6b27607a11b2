"""Where batches come from: the `Batch`, the `Source` interface, and a source over sequences in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from saiki.core.errors import DTypeError, LengthError, ShapeError
from saiki.core.ragged import Ragged


@final
@dataclass(frozen=True)
class Batch:
    """Some sequences with their targets.

    Args:
        inputs: what the network takes, usually a `Ragged` of B sequences. A network of several inputs takes a
            value of its own, which has `B`, `device`, `to(device)`, `sequence_sum(rows)`, as a `Ragged` has,
            and `steps`, the `Ragged` that its recurrent layers read.
        targets: one row a sequence, (B, …) in the user's order, or one row a step, (N, …) in packed order;
            or, for a loss of whole sequences, a `Ragged` of B target sequences, of lengths of their own.
        mask: bool, the shape of `targets` (of its rows' elements), True where the target was observed; None:
            everywhere.
        weights: (B,) weight of each sequence, at least 0; None: all 1.
        per_step: targets have one row a step; `inputs` is then a `Ragged`.
    """

    inputs: Any
    targets: Tensor | Ragged
    mask: Tensor | None = None
    weights: Tensor | None = None
    per_step: bool = False

    @property
    def B(self) -> int:
        """The number of sequences."""
        if isinstance(self.targets, Ragged):
            return self.targets.B
        return self.inputs.B if self.per_step else self.targets.shape[0]  # type: ignore[no-any-return]

    @property
    def rows(self) -> Tensor:
        """The targets of a loss of rows, (B, …) or (N, …).

        Raises:
            DTypeError: they are target sequences, which only a loss of whole sequences takes.
        """
        if isinstance(self.targets, Ragged):
            raise DTypeError(
                "the targets are sequences of lengths of their own, which a loss of single rows cannot take.",
                "Use a loss of whole sequences, such as saiki.losses.CTC(), with rule='bptt'.",
            )
        return self.targets

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device; itself where it is there already."""
        if self.targets.device == device and getattr(self.inputs, "device", device) == device:
            return self
        return replace(
            self,
            inputs=self.inputs.to(device),
            targets=self.targets.to(device),
            mask=None if self.mask is None else self.mask.to(device),
            weights=None if self.weights is None else self.weights.to(device),
        )


@runtime_checkable
class Source(Protocol):
    """Sequences that a trainer can ask for by number."""

    def __len__(self) -> int:
        """How many sequences there are."""
        ...

    @property
    def lengths(self) -> Tensor:
        """(n,) steps of each; batches are bucketed by it."""
        ...

    def batch(self, indices: Tensor) -> Batch:
        """The sequences of these numbers, in this order. A pure function: same numbers, same batch."""
        ...

    def fingerprint(self) -> str:
        """A digest of everything the source gives; a checkpoint is refused where it differs."""
        ...


@final
class RaggedSource:
    """Sequences in memory.

    Args:
        inputs: a `Ragged`, or a list of (T_i, F) arrays or tensors.
        targets: (B, …), one row a sequence; or a list of (T_i, …), or a `Ragged` of the same lengths, one
            row a step.
        mask: bool, in the form of `targets`; None: everything was observed.
        weights: (B,) at least 0.
    Raises:
        LengthError: inputs and targets, a mask or weights do not have the same sequences.
        DTypeError: a mask that is not bool.
        ShapeError: a mask of another shape than the targets.
    """

    def __init__(
        self,
        inputs: Ragged | Sequence[Any],
        targets: Tensor | Ragged | Sequence[Any],
        *,
        mask: Tensor | Ragged | Sequence[Any] | None = None,
        weights: Tensor | None = None,
    ) -> None:
        self._inputs = _ragged(inputs)
        self.per_step = not isinstance(targets, Tensor)
        self._targets: Tensor | Ragged = targets if isinstance(targets, Tensor) else _ragged(targets)
        self._mask: Tensor | Ragged | None = (
            mask if mask is None or isinstance(mask, Tensor) else _ragged(mask)
        )
        self._weights = weights
        self._check()

    def _check(self) -> None:
        B = self._inputs.B
        if isinstance(self._targets, Ragged):
            if not torch.equal(self._targets.lengths, self._inputs.lengths):
                raise LengthError(
                    f"targets have lengths {_some(self._targets.lengths)} but inputs have "
                    f"{_some(self._inputs.lengths)}.",
                    "A target a step needs as many rows as the sequence has steps.",
                )
        elif self._targets.ndim < 1 or len(self._targets) != B:
            raise LengthError(f"targets are {tuple(self._targets.shape)} but there are {B} sequences.")
        if self._mask is not None:
            ours, theirs = _rows(self._targets), _rows(self._mask)
            if theirs.dtype != torch.bool:
                raise DTypeError(
                    f"mask holds {theirs.dtype} but must be bool, True where the target was observed."
                )
            if isinstance(self._mask, Ragged) != self.per_step or theirs.shape != ours.shape:
                raise ShapeError(
                    f"mask is {tuple(theirs.shape)} but must be {tuple(ours.shape)}, like the targets."
                )
        if self._weights is not None and tuple(self._weights.shape) != (B,):
            raise LengthError(f"weights are {tuple(self._weights.shape)} but must be (B,) = ({B},).")

    def __len__(self) -> int:
        return self._inputs.B

    @property
    def lengths(self) -> Tensor:
        """(n,) steps of each sequence."""
        return self._inputs.lengths

    def batch(self, indices: Tensor) -> Batch:
        """See `Source.batch`."""
        return Batch(
            inputs=self._inputs.select(indices),
            targets=_chosen(self._targets, indices),
            mask=None if self._mask is None else _chosen(self._mask, indices),
            weights=None if self._weights is None else self._weights[indices],
            per_step=self.per_step,
        )

    def fingerprint(self) -> str:
        """SHA-256 over lengths, inputs, targets, mask and weights, with their types and shapes."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        parts = [self._inputs.lengths, self._inputs.data, _rows(self._targets)]
        parts += [] if self._mask is None else [_rows(self._mask)]
        parts += [] if self._weights is None else [self._weights]
        return digest(parts)


def digest(tensors: Sequence[Tensor]) -> str:
    """SHA-256 over the types, shapes and bytes of some tensors."""
    result = hashlib.sha256()
    for tensor in tensors:
        result.update(f"{tensor.dtype}{tuple(tensor.shape)};".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            result.update(flat.view(torch.uint8).numpy().data)
    return result.hexdigest()


def _ragged(sequences: Ragged | Sequence[Any]) -> Ragged:
    return sequences if isinstance(sequences, Ragged) else Ragged.from_list(list(sequences))


def _rows(values: Tensor | Ragged) -> Tensor:
    return values.data if isinstance(values, Ragged) else values


def _chosen(values: Tensor | Ragged, indices: Tensor) -> Tensor:
    return values.select(indices).data if isinstance(values, Ragged) else values[indices]


def _some(lengths: Tensor) -> str:
    shown = ", ".join(str(int(n)) for n in lengths[:5])
    return f"({shown}{', …' if len(lengths) > 5 else ''})"
