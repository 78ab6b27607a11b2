"""The simple recurrent network: hidden units that see themselves one step ago.

    h_t = f(W x_t + R h_{t-1} + b)                            hidden state, also the output

f is `activation`. Gates: one block, "h". State: h (B, H).
Parameters: `weight_ih` W (H, I), `weight_hh` R (H, H), `bias` b (H).
Default initialisation: W Glorot uniform, R orthogonal, b = 0.

Going back, with ∂L/∂h_t the sum of what the output and step t+1 send:

    δ_t = f'(a_t) ∘ ∂L/∂h_t,    ∂L/∂h_{t-1} = Rᵀ δ_t,    ∂L/∂x_t = Wᵀ δ_t
    ∂L/∂W = Σ_t δ_t x_tᵀ,    ∂L/∂R = Σ_t δ_t h_{t-1}ᵀ,    ∂L/∂b = Σ_t δ_t

Sources: Elman 1990, "Finding structure in time"; Rumelhart, Hinton & Williams 1986 (the deltas).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from saiki.cells.base import Cell, Params, State, StepGradients, affine, slope_from_output
from saiki.core.activations import get_activation

GATES = ("h",)


@dataclass(frozen=True, kw_only=True)
class Elman(Cell[Params, State]):
    """Elman network: h_t = f(W x_t + R h_{t-1} + b).

    Args:
        input_size: I, the features of x_t.
        hidden_size: H, the hidden units.
        bias: whether there is a b.
        activation: f, by name or a callable of one tensor.
    Raises:
        DTypeError, ValueRangeError: a size is no integer of at least 1, or a flag is no bool.
        OptionError: the activation is unknown.
    """

    activation: str | Callable[[Tensor], Tensor] = "tanh"

    name: ClassVar[str] = "elman"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_activations("activation")

    @property
    def gates(self) -> tuple[str, ...]:
        """One block: the hidden unit itself."""
        return GATES

    @classmethod
    def variants(cls, input_size: int, hidden_size: int) -> tuple[Self, ...]:
        """With and without bias, and three squashings."""
        return (
            cls(input_size, hidden_size),
            cls(input_size, hidden_size, bias=False),
            cls(input_size, hidden_size, activation="relu"),
            cls(input_size, hidden_size, activation="softsign"),
            cls(input_size, hidden_size, activation="identity"),
        )

    def step(self, params: Params, state: State, x: Tensor) -> State:
        """Advance by one time step; x is (B, I)."""
        f = get_activation(self.activation).function
        return State(h=f(affine(params, state.h, x)))

    def step_with_gates(self, params: Params, state: State, x: Tensor) -> tuple[State, dict[str, Tensor]]:
        """`step`, and {"h": h_t}: the one block's activation is the state."""
        state = self.step(params, state, x)
        return state, {"h": state.h}

    def step_backward(
        self,
        params: Params,
        state_prev: State,
        x: Tensor,
        state: State,
        gates: Mapping[str, Tensor],
        dstate: State,
    ) -> StepGradients[State]:
        """The deltas of the module's docstring, for one step."""
        delta = slope_from_output(get_activation(self.activation), state.h) * dstate.h  # (B, H)
        grads = {"weight_ih": delta.T @ x, "weight_hh": delta.T @ state_prev.h}
        if params.bias is not None:
            grads["bias"] = delta.sum(0)
        return StepGradients(grads, State(h=delta @ params.weight_hh), delta @ params.weight_ih)
