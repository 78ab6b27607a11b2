"""Activation functions by name, each with its derivative and the largest slope it can have.

    tanh                 f(a) = tanh(a)                   f' = 1 - y²              ≤ 1
    sigmoid              f(a) = σ(a) = 1 / (1 + e^-a)     f' = y (1 - y)           ≤ 1/4
    hard_sigmoid         f(a) = clip(a/6 + 1/2, 0, 1)     f' = 1/6 where 0 < y < 1
    hard_sigmoid_keras2  f(a) = clip(a/5 + 1/2, 0, 1)     f' = 1/5 where 0 < y < 1
    relu                 f(a) = max(a, 0)                 f' = 1 where y > 0
    leaky_relu           f(a) = a, or a/100 where a ≤ 0   f' = 1 where y > 0, else 1/100
    softsign             f(a) = a / (1 + |a|)             f' = (1 - |y|)²          ≤ 1
    identity             f(a) = a                         f' = 1
    sigmoid_pm2          f(a) = 4 σ(a) - 2                f' = (2 + y)(2 - y) / 4  ≤ 1
    sigmoid_pm1          f(a) = 2 σ(a) - 1                f' = (1 - y²) / 2        ≤ 1/2

The slope bounds matter because max |f'| times the largest singular value of R bounds how a gradient can grow
over a step. `sigmoid_pm2` and `sigmoid_pm1` are g and h of the 1997 LSTM. At a kink the derivative is the one
from the flat side, as autograd takes it.

Sources: Hochreiter & Schmidhuber 1997, eqs. 3-5 (±2, ±1); Glorot & Bengio 2010 (softsign); Keras 2 and ONNX
(the two hard sigmoids).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from saiki.core.errors import DTypeError
from saiki.core.names import choose

__all__ = ["ACTIVATIONS", "Activation", "get_activation"]

LEAK = 0.01  # slope of leaky_relu left of zero


@dataclass(frozen=True)
class Activation:
    """A function applied element by element.

    Args:
        name: as in `ACTIVATIONS`; "custom" for a user's own callable.
        function: a -> y = f(a), same shape.
        derivative_from_output: y -> f'(a), where y alone determines it; None for a user's own callable.
        derivative: (a, y) -> f'(a), the more accurate of the two ways; None for a user's own callable.
        max_slope: the largest |f'(a)| over all a; NaN for a user's own callable, whose slope is unknown.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    derivative_from_output: Callable[[Tensor], Tensor] | None
    derivative: Callable[[Tensor, Tensor], Tensor] | None
    max_slope: float

    def __call__(self, a: Tensor) -> Tensor:
        """y = f(a)."""
        return self.function(a)


def _hard_sigmoid(a: Tensor) -> Tensor:
    return functional.hardtanh(a / 6 + 0.5, 0.0, 1.0)


def _hard_sigmoid_keras2(a: Tensor) -> Tensor:
    return functional.hardtanh(0.2 * a + 0.5, 0.0, 1.0)


def _inside(slope: float) -> Callable[[Tensor], Tensor]:
    def derivative(y: Tensor) -> Tensor:
        return ((y > 0) & (y < 1)).to(y.dtype) * slope

    return derivative


def _of_output(
    name: str,
    function: Callable[[Tensor], Tensor],
    from_output: Callable[[Tensor], Tensor],
    max_slope: float,
    derivative: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Activation:
    def by_output(a: Tensor, y: Tensor) -> Tensor:
        return from_output(y)

    return Activation(name, function, from_output, derivative or by_output, max_slope)


ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        _of_output("tanh", torch.tanh, lambda y: 1 - y * y, 1.0),
        _of_output("sigmoid", torch.sigmoid, lambda y: y * (1 - y), 0.25),
        _of_output("hard_sigmoid", _hard_sigmoid, _inside(1 / 6), 1 / 6),
        _of_output("hard_sigmoid_keras2", _hard_sigmoid_keras2, _inside(0.2), 0.2),
        _of_output("relu", torch.relu, lambda y: (y > 0).to(y.dtype), 1.0),
        _of_output(
            "leaky_relu",
            lambda a: functional.leaky_relu(a, LEAK),
            lambda y: torch.ones_like(y).masked_fill(y <= 0, LEAK),
            1.0,
        ),
        _of_output(
            "softsign",
            functional.softsign,
            lambda y: (1 - y.abs()) ** 2,
            1.0,
            derivative=lambda a, y: (1 + a.abs()) ** -2,  # 1 - |y| cancels when |a| is large
        ),
        _of_output("identity", lambda a: a, torch.ones_like, 1.0),
        _of_output("sigmoid_pm2", lambda a: 4 * torch.sigmoid(a) - 2, lambda y: (2 + y) * (2 - y) / 4, 1.0),
        _of_output("sigmoid_pm1", lambda a: 2 * torch.sigmoid(a) - 1, lambda y: (1 - y * y) / 2, 0.5),
    )
}


def get_activation(name: str | Callable[[Tensor], Tensor] | Activation) -> Activation:
    """The activation of this name, or a user's own callable as an activation.

    Args:
        name: a key of `ACTIVATIONS`, an `Activation`, or a differentiable callable Tensor -> Tensor.
    Raises:
        OptionError: the name is unknown; the nearest one is offered.
        DTypeError: it is neither a name nor callable, or a module with parameters, which nobody would train.
    """
    if isinstance(name, Activation):
        return name
    if isinstance(name, str):
        return choose(name, ACTIVATIONS, "activation")
    if isinstance(name, torch.nn.Module) and next(name.parameters(), None) is not None:
        raise DTypeError(
            f"the activation {type(name).__name__} has parameters, which a cell neither trains nor saves.",
            "Give a plain function, or put the module behind the layer.",
        )
    if callable(name):
        return Activation("custom", name, None, None, math.nan)
    raise DTypeError(
        f"an activation is a name or a callable, not {type(name).__name__}.",
        f"Names: {', '.join(ACTIVATIONS)}.",
    )
