"""The network whose output is fed back.

    h_t = f(W x_t + R h_{t-1} + V y_{t-1} + b)                hidden state
    y_t = g(W_y h_t + b_y)                                    output

`hidden_feedback=False` is the classic form without R: the output alone is remembered.

f is `activation`, g is `output_activation`; K is `output_size`. Gates: one block, "h". State: h (B, H), y
(B, K).
Parameters: `weight_ih` W (H, I), `weight_hh` R (H, H), `weight_yh` V (H, K), `bias` b (H), `weight_hy` W_y
(K, H), `bias_y` b_y (K).
Default initialisation: W, V, W_y Glorot uniform, R orthogonal, biases 0.

Going back, with ∂L/∂h_t and ∂L/∂y_t the sums of what the output and step t+1 send:

    δ^y_t = g'(v_t) ∘ ∂L/∂y_t,    δ_t = f'(a_t) ∘ (∂L/∂h_t + W_yᵀ δ^y_t)
    ∂L/∂h_{t-1} = Rᵀ δ_t,    ∂L/∂y_{t-1} = Vᵀ δ_t,    ∂L/∂x_t = Wᵀ δ_t

Source: Jordan 1986, "Serial order: a parallel distributed processing approach".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Self

from torch import Tensor
from torch.nn.functional import linear

from saiki.cells.base import Cell, StepGradients, slope_from_output
from saiki.core.activations import get_activation

GATES = ("h",)


class JordanParams(NamedTuple):
    """Parameters of a Jordan network."""

    weight_ih: Tensor  # W (H, I)
    weight_hh: Tensor | None  # R (H, H); None without hidden_feedback
    weight_yh: Tensor  # V (H, K)
    bias: Tensor | None  # b (H,)
    weight_hy: Tensor  # W_y (K, H)
    bias_y: Tensor | None  # b_y (K,)


class JordanState(NamedTuple):
    """State of a Jordan network."""

    h: Tensor  # (B, H)
    y: Tensor  # (B, K)


@dataclass(frozen=True, kw_only=True)
class Jordan(Cell[JordanParams, JordanState]):
    """Jordan network: h_t = f(W x_t + R h_{t-1} + V y_{t-1} + b), y_t = g(W_y h_t + b_y); y is the output.

    Args:
        input_size: I, the features of x_t.
        hidden_size: H, the hidden units.
        output_size: K, the width of y_t, which is fed back.
        bias: whether there are b and b_y.
        activation: f, by name or a callable of one tensor.
        output_activation: g, likewise.
        hidden_feedback: whether h is fed back too; False is the classic form without R.
    Raises:
        DTypeError, ValueRangeError: a size is no integer of at least 1, or a flag is no bool.
        OptionError: an activation is unknown.
    """

    output_size: int = field(kw_only=False)
    activation: str | Callable[[Tensor], Tensor] = "tanh"
    output_activation: str | Callable[[Tensor], Tensor] = "identity"
    hidden_feedback: bool = True

    name: ClassVar[str] = "jordan"
    params_type: ClassVar[type[JordanParams]] = JordanParams
    state_type: ClassVar[type[JordanState]] = JordanState
    output: ClassVar[str] = "y"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_size("output_size")
        self._check_flag("hidden_feedback")
        self._check_activations("activation", "output_activation")

    @property
    def gates(self) -> tuple[str, ...]:
        """One block: the hidden unit itself."""
        return GATES

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """H for h, K for y."""
        return (self.hidden_size, self.output_size)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter that these options use, in drawing order."""
        I, H, K = self.input_size, self.hidden_size, self.output_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (H, I),
            "weight_hh": (H, H),
            "weight_yh": (H, K),
            "bias": (H,),
            "weight_hy": (K, H),
            "bias_y": (K,),
        }
        if not self.hidden_feedback:
            del shapes["weight_hh"]
        if not self.bias:
            del shapes["bias"], shapes["bias_y"]
        return shapes

    @classmethod
    def variants(cls, input_size: int, hidden_size: int) -> tuple[Self, ...]:
        """With and without R and biases, and a squashed output; two outputs, so that K differs from H."""
        K = 2
        return (
            cls(input_size, hidden_size, K),
            cls(input_size, hidden_size, K, bias=False),
            cls(input_size, hidden_size, K, hidden_feedback=False),
            cls(input_size, hidden_size, K, activation="softsign", output_activation="sigmoid"),
        )

    def step(self, params: JordanParams, state: JordanState, x: Tensor) -> JordanState:
        """Advance by one time step; x is (B, I)."""
        f, g = get_activation(self.activation).function, get_activation(self.output_activation).function
        a = linear(x, params.weight_ih, params.bias) + state.y @ params.weight_yh.T  # (B, H)
        if params.weight_hh is not None:
            a = a + state.h @ params.weight_hh.T
        h = f(a)
        return JordanState(h=h, y=g(linear(h, params.weight_hy, params.bias_y)))

    def step_with_gates(
        self, params: JordanParams, state: JordanState, x: Tensor
    ) -> tuple[JordanState, dict[str, Tensor]]:
        """`step`, and {"h": h_t}: the one block's activation is the hidden state."""
        state = self.step(params, state, x)
        return state, {"h": state.h}

    def step_backward(
        self,
        params: JordanParams,
        state_prev: JordanState,
        x: Tensor,
        state: JordanState,
        gates: Mapping[str, Tensor],
        dstate: JordanState,
    ) -> StepGradients[JordanState]:
        """The deltas of the module's docstring, for one step."""
        f, g = get_activation(self.activation), get_activation(self.output_activation)
        delta_y = slope_from_output(g, state.y) * dstate.y  # (B, K)
        delta = slope_from_output(f, state.h) * (dstate.h + delta_y @ params.weight_hy)  # (B, H)
        grads = {
            "weight_ih": delta.T @ x,
            "weight_yh": delta.T @ state_prev.y,
            "weight_hy": delta_y.T @ state.h,
        }
        dh = state_prev.h.new_zeros(state_prev.h.shape)
        if params.weight_hh is not None:
            grads["weight_hh"] = delta.T @ state_prev.h
            dh = delta @ params.weight_hh
        if params.bias is not None:
            grads["bias"] = delta.sum(0)
            grads["bias_y"] = delta_y.sum(0)
        return StepGradients(grads, JordanState(h=dh, y=delta @ params.weight_yh), delta @ params.weight_ih)
