"""Divergence, said while it happens: a loss above that of a model that knows nothing."""

from __future__ import annotations

import math
from typing import final

from saiki.core.log import logger
from saiki.learning import Observer, UpdateEvent

MEMORY = 0.9  # of the running mean over updates
MARGIN = 0.1  # nats above ln V that no learning passes
FIRST = 10  # updates before anything is said: the first ones may overshoot


@final
class Divergence(Observer):
    """Warns once where the training loss stays above ln V, the loss of all tokens equally likely.

    Args:
        vocabulary: V.
        lr: for the message.

    Attributes:
        said: the warning; "" while all is well.
    """

    def __init__(self, vocabulary: int, lr: float) -> None:
        self.level = math.log(vocabulary)
        self.lr = lr
        self.mean = self.level
        self.said = ""

    def on_update(self, event: UpdateEvent) -> None:
        """Take the update's loss into the running mean, and say so where it is too high."""
        self.mean = MEMORY * self.mean + (1 - MEMORY) * event.loss
        if self.said or event.update < FIRST or self.mean <= self.level + MARGIN:
            return
        self.said = (
            f"Learning diverged at update {event.update}: the loss is {self.mean:.3g} nats a token, above "
            f"the {self.level:.3g} of a model that says every token equally often. lr is {self.lr:g}: try "
            f"{self.lr / 4:.2g}, or a smaller clip_norm."
        )
        logger.warning(self.said)
