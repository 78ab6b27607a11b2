"""An LSTM whose units do not see each other: the recurrent weights are a vector.

    i_t = σ(W_i x_t + r_i ∘ h_{t-1} + b_i)                    input gate
    f_t = σ(W_f x_t + r_f ∘ h_{t-1} + b_f)                    forget gate
    g_t = φ(W_g x_t + r_g ∘ h_{t-1} + b_g)                    candidate
    c_t = f_t ∘ c_{t-1} + i_t ∘ g_t                           cell state
    o_t = σ(W_o x_t + r_o ∘ h_{t-1} + b_o)                    output gate
    h_t = o_t ∘ ψ(c_t)                                        hidden state, also the output

σ is `gate_activation`, φ `activation`, ψ `output_activation`. It is the LSTM with a diagonal R: unit j hears
itself alone, so that ∂s_t/∂s_{t-1} is block diagonal, one 2 × 2 block a unit. Real-time recurrent learning of
one such layer is therefore exact at the cost of its cheapest form: two numbers a parameter, and no product of
matrices. What units know of each other has to come through another layer.

Gates: i f g o. State: h, c (B, H). Parameters: `weight_ih` W (4H, I), `weight_hh` r (4, H), one row a gate,
`bias` b (4H).
Default initialisation: W Glorot uniform, each gate block by itself; r uniform in [-1, 1], so that no unit
hears itself louder than an orthogonal R would let it; biases 0 but the forget gate's, which is 1.

Going back, with ε = ∂L/∂h_t and ∂L/∂c_t the sums of what the output and step t+1 send:

    δ^o = σ'(a_o) ∘ ψ(c) ∘ ε
    δ^c = o ∘ ψ'(c) ∘ ε + ∂L/∂c_t
    δ^f = σ'(a_f) ∘ c_{t-1} ∘ δ^c,    δ^i = σ'(a_i) ∘ g ∘ δ^c,    δ^g = φ'(a_g) ∘ i ∘ δ^c
    ∂L/∂h_{t-1} = Σ_gates r ∘ δ,    ∂L/∂c_{t-1} = f ∘ δ^c,    ∂L/∂r = Σ_t δ ∘ h_{t-1}

Sources: Hochreiter & Schmidhuber 1997, Gers, Schmidhuber & Cummins 2000 (the cell); Mozer 1989 (recurrence of
each unit with itself, learned forward in time); Irie, Gopalakrishnan & Schmidhuber 2023, "Exploring the
promise and limits of real-time recurrent learning" (an LSTM of this kind; theirs feeds c back, ours h).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import linear

from saiki.cells.base import Cell, StepGradients, in_blocks, slope, slope_from_output
from saiki.cells.lstm import LSTMState
from saiki.core.activations import get_activation

GATES = ("i", "f", "g", "o")  # row blocks of weight_ih and bias, rows of weight_hh


class ElementwiseLSTMParams(NamedTuple):
    """Parameters of an elementwise LSTM."""

    weight_ih: Tensor  # W (4H, I)
    weight_hh: Tensor  # r (4, H)
    bias: Tensor | None  # b (4H,)


@dataclass(frozen=True, kw_only=True)
class ElementwiseLSTM(Cell[ElementwiseLSTMParams, LSTMState]):
    """LSTM with recurrent weights that are a vector; the equations are in the module's docstring.

    Args:
        input_size: I, the features of x_t.
        hidden_size: H, the memory cells.
        bias: whether there is a b.
        gate_activation: σ of i, f and o, by name or a callable of one tensor.
        activation: φ of the candidate, likewise.
        output_activation: ψ of c_t, likewise.
    Raises:
        DTypeError, ValueRangeError: a size is no integer of at least 1, or a flag is no bool.
        OptionError: an activation is unknown.
    """

    gate_activation: str | Callable[[Tensor], Tensor] = "sigmoid"
    activation: str | Callable[[Tensor], Tensor] = "tanh"
    output_activation: str | Callable[[Tensor], Tensor] = "tanh"

    name: ClassVar[str] = "elementwise_lstm"
    params_type: ClassVar[type[ElementwiseLSTMParams]] = ElementwiseLSTMParams
    state_type: ClassVar[type[LSTMState]] = LSTMState

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_activations("gate_activation", "activation", "output_activation")

    @property
    def gates(self) -> tuple[str, ...]:
        """Input, forget, candidate, output."""
        return GATES

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter that these options use, in drawing order."""
        return super().parameter_shapes() | {"weight_hh": (len(GATES), self.hidden_size)}

    def _initial(self, name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        if name == "weight_hh":
            return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
        value = super()._initial(name, shape, generator)
        if name == "bias":
            in_blocks(GATES, value)["f"].fill_(1.0)
        return value

    @classmethod
    def variants(cls, input_size: int, hidden_size: int) -> tuple[Self, ...]:
        """With and without bias, and other squashings."""
        return (
            cls(input_size, hidden_size),
            cls(input_size, hidden_size, bias=False),
            cls(input_size, hidden_size, gate_activation="hard_sigmoid", activation="softsign"),
        )

    def step(self, params: ElementwiseLSTMParams, state: LSTMState, x: Tensor) -> LSTMState:
        """Advance by one time step; x is (B, I)."""
        return self.step_with_gates(params, state, x)[0]

    def step_with_gates(
        self, params: ElementwiseLSTMParams, state: LSTMState, x: Tensor
    ) -> tuple[LSTMState, dict[str, Tensor]]:
        """`step`, and the activated i, f, g, o (B, H)."""
        sigma = get_activation(self.gate_activation).function
        phi, psi = get_activation(self.activation).function, get_activation(self.output_activation).function
        h, c = state
        a = in_blocks(GATES, linear(x, params.weight_ih, params.bias))  # W x + b, (B, H) each
        r = dict(zip(GATES, params.weight_hh))  # (H,) each
        i = sigma(a["i"] + r["i"] * h)
        f = sigma(a["f"] + r["f"] * h)
        g = phi(a["g"] + r["g"] * h)
        c = f * c + i * g
        o = sigma(a["o"] + r["o"] * h)
        return LSTMState(h=o * psi(c), c=c), {"i": i, "f": f, "g": g, "o": o}

    def step_backward(
        self,
        params: ElementwiseLSTMParams,
        state_prev: LSTMState,
        x: Tensor,
        state: LSTMState,
        gates: Mapping[str, Tensor],
        dstate: LSTMState,
    ) -> StepGradients[LSTMState]:
        """The deltas of the module's docstring, for one step."""
        sigma = get_activation(self.gate_activation)
        phi, psi = get_activation(self.activation), get_activation(self.output_activation)
        i, f, g, o = (gates[name] for name in GATES)
        y = psi.function(state.c)

        delta_o = slope_from_output(sigma, o) * y * dstate.h
        delta_c = o * slope(psi, state.c, y) * dstate.h + dstate.c
        delta_i = slope_from_output(sigma, i) * g * delta_c
        delta_f = slope_from_output(sigma, f) * state_prev.c * delta_c
        delta_g = slope_from_output(phi, g) * i * delta_c

        by_gate = torch.stack([delta_i, delta_f, delta_g, delta_o], dim=1)  # (B, 4, H)
        da = by_gate.flatten(1)  # (B, 4H)
        grads = {"weight_ih": da.T @ x, "weight_hh": (by_gate * state_prev.h[:, None]).sum(0)}
        if params.bias is not None:
            grads["bias"] = da.sum(0)
        dh = (by_gate * params.weight_hh).sum(1)
        return StepGradients(grads, LSTMState(h=dh, c=f * delta_c), da @ params.weight_ih)
