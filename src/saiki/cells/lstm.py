"""Long short-term memory: a cell state that is added to, behind gates that multiply.

    i_t = σ(W_i x_t + R_i h_{t-1} + p_i ∘ c_{t-1} + b_i)      input gate
    f_t = σ(W_f x_t + R_f h_{t-1} + p_f ∘ c_{t-1} + b_f)      forget gate
    g_t = φ(W_g x_t + R_g h_{t-1} + b_g)                      candidate
    c_t = f_t ∘ c_{t-1} + i_t ∘ g_t                           cell state
    o_t = σ(W_o x_t + R_o h_{t-1} + p_o ∘ c_t + b_o)          output gate, sees the new c_t
    h_t = o_t ∘ ψ(c_t)                                        hidden state, also the output

σ is `gate_activation`, φ `activation`, ψ `output_activation`.

| option | what becomes of it | gates | peephole rows |
|---|---|---|---|
| `peepholes=True` | as above; otherwise there is no p | | |
| `forget_gate=True` (default) | as above | i f g o | i f o |
| `forget_gate=False` | c_t = c_{t-1} + i_t ∘ g_t, the constant error carousel | i g o | i o |
| `coupled=True` | f_t = 1 - i_t, and no parameters for f | i g o | i o |

`LSTM.original` is the cell of 1997: no forget gate, no peepholes, φ(a) = 4σ(a) - 2 and ψ(c) = 2σ(c) - 1.

State: h, c (B, H). Parameters: `weight_ih` W (G·H, I), `weight_hh` R (G·H, H), `bias` b (G·H), row blocks
in the order of the gates; `weight_ph` p (3, H) or (2, H), diagonal.
Default initialisation: W Glorot uniform and R orthogonal, each gate block by itself; biases 0 but the
forget gate's, which is 1 (remember at first); peepholes 0 (start as the LSTM without them; their gradient
is not 0).

Going back, with ε = ∂L/∂h_t, the sum of what the output and step t+1 send (W_outᵀ δ^out + Σ_gates Rᵀ
δ_{t+1}), and ∂L/∂c_t what step t+1 sends (f_{t+1} ∘ δ^c_{t+1} + p_i ∘ δ^i_{t+1} + p_f ∘ δ^f_{t+1}):

    δ^o = σ'(a_o) ∘ ψ(c) ∘ ε
    δ^c = o ∘ ψ'(c) ∘ ε + p_o ∘ δ^o + ∂L/∂c_t
    δ^f = σ'(a_f) ∘ c_{t-1} ∘ δ^c
    δ^i = σ'(a_i) ∘ g ∘ δ^c                                   coupled: (g - c_{t-1}) for g
    δ^g = φ'(a_g) ∘ i ∘ δ^c

Sources: Hochreiter & Schmidhuber 1997 (the carousel); Gers, Schmidhuber & Cummins 2000 (forget gate); Gers,
Schraudolph & Schmidhuber 2002 (peepholes); Graves 2013, eqs. 7-11 (this form); Greff et al. 2017 (coupled
gates, the deltas).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from saiki.cells.base import Cell, StepGradients, affine, in_blocks, slope, slope_from_output
from saiki.core.activations import get_activation
from saiki.core.errors import OptionError

GATES = (
    "i",
    "f",
    "g",
    "o",
)  # row blocks of weight_ih, weight_hh, bias; those without parameters are left out
PEEPHOLES = ("i", "f", "o")  # rows of weight_ph, likewise


class LSTMParams(NamedTuple):
    """Parameters of an LSTM."""

    weight_ih: Tensor  # W (G·H, I)
    weight_hh: Tensor  # R (G·H, H)
    bias: Tensor | None  # b (G·H,)
    weight_ph: Tensor | None  # p (3, H), or (2, H) where f has no parameters


class LSTMState(NamedTuple):
    """State of an LSTM."""

    h: Tensor  # (B, H)
    c: Tensor  # (B, H)


@dataclass(frozen=True, kw_only=True)
class LSTM(Cell[LSTMParams, LSTMState]):
    """Long short-term memory, with the options of its history; the equations are in the module's docstring.

    Args:
        input_size: I, the features of x_t.
        hidden_size: H, the memory cells.
        bias: whether there is a b.
        forget_gate: whether c_{t-1} is multiplied by f_t; False is the constant error carousel.
        peepholes: whether the gates see the cell state: i and f see c_{t-1}, o sees c_t.
        coupled: f_t = 1 - i_t, one gate for both.
        gate_activation: σ of i, f and o, by name or a callable of one tensor.
        activation: φ of the candidate, likewise.
        output_activation: ψ of c_t, likewise.
    Raises:
        DTypeError, ValueRangeError: a size is no integer of at least 1, or a flag is no bool.
        OptionError: an activation is unknown, or `coupled` comes without a forget gate.
    """

    forget_gate: bool = True
    peepholes: bool = False
    coupled: bool = False
    gate_activation: str | Callable[[Tensor], Tensor] = "sigmoid"
    activation: str | Callable[[Tensor], Tensor] = "tanh"
    output_activation: str | Callable[[Tensor], Tensor] = "tanh"

    name: ClassVar[str] = "lstm"
    params_type: ClassVar[type[LSTMParams]] = LSTMParams
    state_type: ClassVar[type[LSTMState]] = LSTMState

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag in ("forget_gate", "peepholes", "coupled"):
            self._check_flag(flag)
        self._check_activations("gate_activation", "activation", "output_activation")
        if self.coupled and not self.forget_gate:
            raise OptionError(
                "coupled=True makes the forget gate 1 - i, but forget_gate=False says that there is none; "
                "choose one: coupled=True alone, or forget_gate=False alone"
            )

    @classmethod
    def original(cls, input_size: int, hidden_size: int, *, bias: bool = True) -> Self:
        """The cell of Hochreiter & Schmidhuber 1997: i g o alone, g in (-2, 2), ψ(c) in (-1, 1)."""
        return cls(
            input_size,
            hidden_size,
            bias=bias,
            forget_gate=False,
            activation="sigmoid_pm2",
            output_activation="sigmoid_pm1",
        )

    @property
    def gates(self) -> tuple[str, ...]:
        """Those of i f g o that have parameters, in this order."""
        return GATES if self._learns_to_forget else tuple(gate for gate in GATES if gate != "f")

    @property
    def peephole_gates(self) -> tuple[str, ...]:
        """The rows of `weight_ph`; none without peepholes."""
        return tuple(gate for gate in PEEPHOLES if gate in self.gates) if self.peepholes else ()

    @property
    def _learns_to_forget(self) -> bool:
        return self.forget_gate and not self.coupled

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter that these options use, in drawing order."""
        shapes = super().parameter_shapes()
        if self.peepholes:
            shapes["weight_ph"] = (len(self.peephole_gates), self.hidden_size)
        return shapes

    def _initial(self, name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        value = super()._initial(name, shape, generator)
        if name == "bias" and self._learns_to_forget:
            in_blocks(self.gates, value)["f"].fill_(1.0)
        return value

    @classmethod
    def variants(cls, input_size: int, hidden_size: int) -> tuple[Self, ...]:
        """Every way to forget with and without peepholes, then the other options one at a time."""
        ways = ((True, False), (True, True), (False, False))
        structures = (
            cls(input_size, hidden_size, forget_gate=forget, coupled=coupled, peepholes=peepholes)
            for (forget, coupled), peepholes in product(ways, (False, True))
        )
        return (
            *structures,
            cls.original(input_size, hidden_size),
            cls(input_size, hidden_size, bias=False),
            cls(input_size, hidden_size, peepholes=True, gate_activation="hard_sigmoid"),
            cls(input_size, hidden_size, peepholes=True, activation="softsign", output_activation="identity"),
        )

    def step(self, params: LSTMParams, state: LSTMState, x: Tensor) -> LSTMState:
        """Advance by one time step; x is (B, I)."""
        return self.step_with_gates(params, state, x)[0]

    def step_with_gates(
        self, params: LSTMParams, state: LSTMState, x: Tensor
    ) -> tuple[LSTMState, dict[str, Tensor]]:
        """`step`, and those of i, f, g, o (B, H) that have parameters."""
        sigma = get_activation(self.gate_activation).function
        phi = get_activation(self.activation).function
        psi = get_activation(self.output_activation).function
        h, c = state
        a = in_blocks(self.gates, affine(params, h, x))  # (B, H) each
        p = self._peepholes(params)

        def gate(name: str, seen: Tensor) -> Tensor:
            return sigma(a[name] + p[name] * seen) if name in p else sigma(a[name])

        i = gate("i", c)
        g = phi(a["g"])
        gates = {"i": i, "g": g}
        if not self.forget_gate:
            c = c + i * g
        elif self.coupled:
            c = (1 - i) * c + i * g
        else:
            gates["f"] = gate("f", c)
            c = gates["f"] * c + i * g
        gates["o"] = gate("o", c)
        return LSTMState(h=gates["o"] * psi(c), c=c), gates

    def step_backward(
        self,
        params: LSTMParams,
        state_prev: LSTMState,
        x: Tensor,
        state: LSTMState,
        gates: Mapping[str, Tensor],
        dstate: LSTMState,
    ) -> StepGradients[LSTMState]:
        """The deltas of the module's docstring, for one step."""
        sigma = get_activation(self.gate_activation)
        phi, psi = get_activation(self.activation), get_activation(self.output_activation)
        h_prev, c_prev = state_prev
        i, g, o = gates["i"], gates["g"], gates["o"]
        p = self._peepholes(params)
        y = psi.function(state.c)

        delta = {"o": slope_from_output(sigma, o) * y * dstate.h}
        delta_c = o * slope(psi, state.c, y) * dstate.h + dstate.c
        if "o" in p:
            delta_c = delta_c + p["o"] * delta["o"]
        written = g - c_prev if self.coupled else g  # ∂c_t/∂i_t
        delta["i"] = slope_from_output(sigma, i) * written * delta_c
        delta["g"] = slope_from_output(phi, g) * i * delta_c
        if not self.forget_gate:
            dc_prev = delta_c
        elif self.coupled:
            dc_prev = (1 - i) * delta_c
        else:
            delta["f"] = slope_from_output(sigma, gates["f"]) * c_prev * delta_c
            dc_prev = gates["f"] * delta_c
        for name in p:
            if name != "o":  # that one saw c_t
                dc_prev = dc_prev + p[name] * delta[name]

        da = torch.cat([delta[name] for name in self.gates], dim=-1)  # (B, G·H)
        grads = {"weight_ih": da.T @ x, "weight_hh": da.T @ h_prev}
        if params.bias is not None:
            grads["bias"] = da.sum(0)
        if p:
            seen = {"i": c_prev, "f": c_prev, "o": state.c}
            grads["weight_ph"] = torch.stack([(delta[name] * seen[name]).sum(0) for name in p])
        return StepGradients(grads, LSTMState(h=da @ params.weight_hh, c=dc_prev), da @ params.weight_ih)

    def _peepholes(self, params: LSTMParams) -> dict[str, Tensor]:
        """The rows of p by gate; empty without peepholes."""
        return {} if params.weight_ph is None else dict(zip(self.peephole_gates, params.weight_ph))
