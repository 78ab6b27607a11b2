"""Early stopping: remember the best, count the evaluations without a new one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from saiki.core.checks import require_int


@final
@dataclass(frozen=True)
class Stopping:
    """What early stopping remembers; a value.

    Args:
        best: the smallest validation loss so far; None before the first evaluation.
        best_update: updates made when it was reached.
        best_epoch: the epoch in which it was reached, counted from 1; 0 before the first evaluation.
        waited: evaluations since then.
    """

    best: float | None = None
    best_update: int = 0
    best_epoch: int = 0
    waited: int = 0

    def observe(self, loss: float, update: int, epoch: int) -> Stopping:
        """Take note of one evaluation; the first of two equal losses stays the best."""
        if self.best is None or loss < self.best:
            return Stopping(loss, update, epoch, 0)
        return replace(self, waited=self.waited + 1)


@final
@dataclass(frozen=True)
class EarlyStopping:
    """Stop after `patience` evaluations without a new best.

    Args:
        patience: at least 1; None: never stop early (the best weights are restored all the same).
    Source: Prechelt 1998.
    """

    patience: int | None = None

    def __post_init__(self) -> None:
        if self.patience is not None:
            require_int(self.patience, "patience", low=1)

    def stops(self, state: Stopping) -> bool:
        """True where it is time to stop."""
        return self.patience is not None and state.waited >= self.patience
