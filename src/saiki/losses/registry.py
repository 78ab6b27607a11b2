"""Losses by name, and a user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from saiki.core.errors import OptionError, ShapeError
from saiki.core.names import choose
from saiki.losses.absolute import Absolute
from saiki.losses.cross_entropy import CrossEntropy
from saiki.losses.gaussian import Gaussian
from saiki.losses.huber import Huber
from saiki.losses.quantile import Quantile
from saiki.losses.rows import RowLoss
from saiki.losses.squared import Squared

LOSSES: dict[str, type] = {
    loss.name: loss for loss in (Squared, Absolute, Huber, Quantile, Gaussian, CrossEntropy)
}


@dataclass(frozen=True)
class Custom:
    """A user's own loss behind the common interface.

    The callable gets `(outputs, targets, mask)` where its third argument is called `mask`, else
    `(outputs, targets)`, and returns one differentiable value a row. One without a mask is never shown a row
    that has no observed target; a row that is only partly observed needs the form with one.

    Args:
        function: the callable.
    Raises:
        ShapeError: the callable's answer is not (N,).
        OptionError: a partly observed row, and the callable takes no mask.
    """

    function: Callable[..., Tensor]

    @property
    def name(self) -> str:
        """Where the callable was defined and what it is called; it is stored, never imported."""
        home = getattr(self.function, "__module__", None) or type(self.function).__module__
        name = getattr(self.function, "__qualname__", None) or type(self.function).__qualname__
        return f"{home}.{name}"

    def __call__(self, outputs: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """The callable's value for each row, checked."""
        if self._takes_mask():
            return self._checked(self.function(outputs, targets, mask), outputs.shape[0])
        if mask is None:
            return self._checked(self.function(outputs, targets), outputs.shape[0])
        flat = mask.reshape(mask.shape[0], -1)
        whole = flat.all(dim=1)
        if bool((flat.any(dim=1) & ~whole).any()):
            raise OptionError(
                f"the loss {self.name} takes no mask, but of some rows"
                " only a part of the targets was observed.",
                hint="Write it as loss(outputs, targets, mask).",
            )
        rows = whole.nonzero().squeeze(1)
        value = self._checked(self.function(outputs[rows], targets[rows]), rows.numel())
        return value.new_zeros(len(whole)).index_put((rows,), value)

    def _takes_mask(self) -> bool:
        try:
            parameters: Any = inspect.signature(self.function).parameters.values()
        except (TypeError, ValueError):  # some builtins carry no signature
            return False
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        return len(positional) >= 3 and positional[2].name == "mask"

    def _checked(self, value: Tensor, rows: int) -> Tensor:
        if not isinstance(value, Tensor) or value.shape != (rows,):
            came = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(
                f"the loss {self.name} returned {came} but must give one value a row, ({rows},).",
                hint="Leave out the final mean: the trainer takes it, with weights and masks.",
            )
        return value


def get_loss(
    loss: str | Callable[..., Tensor],
    *,
    quantiles: Sequence[float] = (0.1, 0.5, 0.9),
    class_weight: Sequence[float] | None = None,
    delta: float = 1.0,
) -> RowLoss:
    """A loss by name, or a user's own callable behind the same interface.

    Args:
        loss: "squared", "absolute", "huber", "quantile", "gaussian", "cross_entropy", one of the values of
            this room, or a callable of (outputs, targets) or (outputs, targets, mask).
        quantiles: levels for "quantile".
        class_weight: weights for "cross_entropy".
        delta: δ for "huber".
    Raises:
        OptionError: an unknown name; the nearest known one is offered.
    """
    if isinstance(loss, str):
        kind = choose(loss, LOSSES, "loss")
        if kind is Quantile:
            return Quantile(tuple(quantiles))
        if kind is CrossEntropy:
            return CrossEntropy(None if class_weight is None else tuple(float(v) for v in class_weight))
        if kind is Huber:
            return Huber(delta)
        built: RowLoss = kind()
        return built
    if isinstance(loss, (*LOSSES.values(), Custom)):
        return loss
    if not callable(loss):
        raise OptionError(f"loss is {loss!r} but must be a name or a callable of (outputs, targets).")
    return Custom(loss)
