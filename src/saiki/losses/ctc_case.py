"""What the functions of CTC are given, read and checked once: outputs and targets in any of their forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saiki.core.checks import as_tensor, require_int, require_lengths, require_tensor
from saiki.core.errors import DTypeError, LabelError, LengthError, OptionError, ShapeError
from saiki.core.ragged import Ragged

Targets = Tensor | Ragged | np.ndarray | Sequence[Sequence[int]]
Lengths = Tensor | np.ndarray | Sequence[int] | None

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """Outputs of B utterances and the labels that they should say.

    Attributes:
        logits: (T, B, K) padded, or (N, K), the rows of `layout`.
        layout: the batch that came packed; None of a padded one.
        lengths: (B,) int64 on the CPU, the steps of each utterance.
        labels: (B, L) int64 on the CPU; what stands past an utterance's own is nothing.
        target_lengths: (B,) int64 on the CPU.
        blank: the blank's class.
    """

    logits: Tensor
    layout: Ragged | None
    lengths: Tensor
    labels: Tensor
    target_lengths: Tensor
    blank: int

    @property
    def K(self) -> int:
        """Classes, the blank among them."""
        return self.logits.shape[-1]

    @property
    def B(self) -> int:
        """Utterances."""
        return self.lengths.numel()

    def padded(self) -> Tensor:
        """(T, B, K) logits, 0 where an utterance has ended."""
        if self.layout is not None:
            return self.layout.with_data(self.logits).to_padded()
        T = self.logits.shape[0]
        there = torch.arange(T)[:, None] < self.lengths
        return torch.where(there[..., None].to(self.logits.device), self.logits, 0.0)

    def needed(self) -> Tensor:
        """(B,) the fewest steps that a target needs: one a label, and one between two that are equal."""
        place = torch.arange(1, max(self.labels.shape[1], 1))
        again = (self.labels[:, 1:] == self.labels[:, :-1]) & (place < self.target_lengths[:, None])
        return self.target_lengths + again.sum(dim=1)

    def require(self) -> None:
        """Check every length and every label.

        Raises:
            LengthError: a length is negative or above what there is.
            LabelError: a label is negative, not below K, or the blank; utterance, place and value are named.
        """
        if self.layout is None:
            require_lengths(self.lengths, self.logits.shape[0], self.B, "input_lengths")
        require_lengths(self.target_lengths, self.labels.shape[1], self.B, "target_lengths")
        there = torch.arange(self.labels.shape[1]) < self.target_lengths[:, None]
        wrong = (self.labels < 0) | (self.labels >= self.K) | (self.labels == self.blank)
        found = (wrong & there).nonzero()
        if not len(found):
            return
        b, j = found[0].tolist()
        label = int(self.labels[b, j])
        if label == self.blank:
            raise LabelError(
                f"label {j} of utterance {b} is {label}, which is the blank: a target holds labels alone.",
                "Leave blanks out of the targets, or name the blank's class with blank=.",
            )
        raise LabelError(
            f"label {j} of utterance {b} is {label} but must be one of the K = {self.K} classes, "
            f"0 to {self.K - 1}.",
            f"Give the network {label + 1} outputs or more." if label >= self.K else None,
        )


def read_case(
    logits: Tensor | Ragged,
    targets: Targets,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int,
) -> Case:
    """Check everything but the values of labels and lengths, which their readers check (`Case.require`)."""
    if isinstance(logits, Ragged):
        layout: Ragged | None = logits
        if input_lengths is not None:
            raise OptionError("input_lengths were given, but the logits are a Ragged, which has its own.")
        data, lengths = logits.data, logits.lengths
        if data.ndim != 2:
            raise ShapeError(f"a step of the logits is {tuple(data.shape[1:])} but must be (K,), K classes.")
    else:
        layout = None
        data = require_tensor(logits, "logits", ndim=3)
        T, B = data.shape[:2]
        lengths = (
            torch.full((B,), T) if input_lengths is None else _lengths(input_lengths, T, B, "input_lengths")
        )
    require_tensor(data, "logits")
    if data.shape[-1] < 1:
        raise ShapeError(
            f"logits is {tuple(data.shape)} but its last axis must hold the scores of K classes."
        )
    labels, counts = _targets(targets, target_lengths, lengths.numel())
    blank = require_int(blank, "blank", 0, data.shape[-1] - 1)
    return Case(data, layout, lengths, labels, counts, blank)


def _lengths(given: Lengths, most: int, B: int, name: str) -> Tensor:
    """Lengths as they are, where the kernels can check them on their way."""
    if isinstance(given, Tensor) and given.dtype == torch.int64 and given.is_cpu and given.shape == (B,):
        return given
    return require_lengths(given, most, B, name)


def _targets(targets: Targets, given: Lengths, B: int) -> tuple[Tensor, Tensor]:
    """(B, L) labels on the CPU, and (B,) how many of each row count."""
    if isinstance(targets, Ragged | list | tuple):
        if given is not None:
            raise OptionError("target_lengths were given, but the targets have lengths of their own.")
        if len(targets) != B:
            raise ShapeError(f"there are {len(targets)} targets but {B} utterances.")
    if isinstance(targets, Ragged):
        if targets.feature_shape:
            raise ShapeError(f"a step of the targets is {targets.feature_shape} but must be a label alone.")
        return _whole(targets.with_data(_whole(targets.data)).to_padded(True)), targets.lengths
    if isinstance(targets, list | tuple):
        rows = [_row(row, f"targets[{b}]") for b, row in enumerate(targets)]
        counts = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        return _padded(rows), counts
    labels = _whole(as_tensor(targets, "targets"))
    if labels.ndim == 2 and labels.shape[0] == B:
        L = labels.shape[1]
        return labels, torch.full((B,), L) if given is None else _lengths(given, L, B, "target_lengths")
    if labels.ndim == 1 and given is not None:
        counts = require_lengths(given, len(labels), B, "target_lengths")
        if int(counts.sum()) != len(labels):
            raise LengthError(
                f"target_lengths add up to {int(counts.sum())} but targets holds {len(labels)} labels.",
                "Give one row of labels an utterance, or all labels one after another.",
            )
        return _padded(labels.split(counts.tolist()) if B else ()), counts
    raise ShapeError(
        f"targets is {tuple(labels.shape)} but must be (B, L) = ({B}, L), or all labels in a row with "
        "target_lengths.",
        "A list of B lists of labels will do as well.",
    )


def _padded(rows: Sequence[Tensor]) -> Tensor:
    """(B, L) labels."""
    if not rows:
        return torch.zeros(0, 0, dtype=torch.int64)
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def _row(given: object, name: str) -> Tensor:
    """One target's labels."""
    row = as_tensor(given, name)
    if row.ndim != 1:
        raise ShapeError(f"{name} is {tuple(row.shape)} but must be one row of labels.")
    return _whole(row, name) if row.numel() else torch.zeros(0, dtype=torch.int64)


def _whole(labels: Tensor, name: str = "targets") -> Tensor:
    """Labels as int64 on the CPU."""
    if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        raise DTypeError(f"{name} holds {labels.dtype} but a label is a whole number.")
    return labels.to(CPU, torch.int64)
