"""Gated recurrent unit: one state, moved part of the way to a candidate.

    r_t = σ(W_r x_t + R_r h_{t-1} + b_r)                      reset gate
    z_t = σ(W_z x_t + R_z h_{t-1} + b_z)                      update gate: how much of the old stays
    n_t = φ(W_n x_t + b_n + r_t ∘ (R_n h_{t-1} + b_hn))       candidate, reset="after" (default)
    n_t = φ(W_n x_t + b_n + R_n (r_t ∘ h_{t-1}))              candidate, reset="before"
    h_t = z_t ∘ h_{t-1} + (1 - z_t) ∘ n_t                     hidden state, also the output

σ is `gate_activation`, φ `activation`. "before" is the paper's; "after", the default, is torch's and
cuDNN's, and can take R h in one product. In some texts the update gate weights the new value; here it
weights the old.

Gates: r z n. State: h (B, H). Parameters: `weight_ih` W (3H, I), `weight_hh` R (3H, H), `bias` b (3H), row
blocks in the order of the gates; with reset "after" `bias_hn` (H) besides.
Default initialisation: W Glorot uniform and R orthogonal, each gate block by itself; biases 0.

Going back, with ε = ∂L/∂h_t and, for "after", q = R_n h_{t-1} + b_hn:

    δ^n = φ'(a_n) ∘ (1 - z) ∘ ε,    δ^z = σ'(a_z) ∘ (h_{t-1} - n) ∘ ε
    after:   δ^q = r ∘ δ^n,    δ^r = σ'(a_r) ∘ q ∘ δ^n
             ∂L/∂h_{t-1} = z ∘ ε + R_rᵀ δ^r + R_zᵀ δ^z + R_nᵀ δ^q
    before:  δ^m = R_nᵀ δ^n,   δ^r = σ'(a_r) ∘ h_{t-1} ∘ δ^m
             ∂L/∂h_{t-1} = z ∘ ε + R_rᵀ δ^r + R_zᵀ δ^z + r ∘ δ^m

Sources: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder" (before);
torch.nn.GRU (after).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import linear

from saiki.cells.base import Cell, State, StepGradients, in_blocks, slope_from_output
from saiki.core.activations import get_activation
from saiki.core.names import choose

GATES = ("r", "z", "n")  # row blocks of weight_ih, weight_hh, bias
RESETS = {"after": "after", "before": "before"}


class GRUParams(NamedTuple):
    """Parameters of a GRU."""

    weight_ih: Tensor  # W (3H, I)
    weight_hh: Tensor  # R (3H, H)
    bias: Tensor | None  # b (3H,)
    bias_hn: Tensor | None  # b_hn (H,); reset "after" alone


@dataclass(frozen=True, kw_only=True)
class GRU(Cell[GRUParams, State]):
    """Gated recurrent unit; the equations are in the module's docstring.

    Args:
        input_size: I, the features of x_t.
        hidden_size: H, the hidden units.
        bias: whether there are b and b_hn.
        reset: "after": the reset gate multiplies R_n h_{t-1} + b_hn; "before": it multiplies h_{t-1}.
        gate_activation: σ of r and z, by name or a callable of one tensor.
        activation: φ of the candidate, likewise.
    Raises:
        DTypeError, ValueRangeError: a size is no integer of at least 1, or a flag is no bool.
        OptionError: an activation or `reset` is unknown.
    """

    reset: str = "after"
    gate_activation: str | Callable[[Tensor], Tensor] = "sigmoid"
    activation: str | Callable[[Tensor], Tensor] = "tanh"

    name: ClassVar[str] = "gru"
    params_type: ClassVar[type[GRUParams]] = GRUParams

    def __post_init__(self) -> None:
        super().__post_init__()
        choose(self.reset, RESETS, "reset")
        self._check_activations("gate_activation", "activation")

    @property
    def gates(self) -> tuple[str, ...]:
        """Reset, update, candidate."""
        return GATES

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter that these options use, in drawing order."""
        shapes = super().parameter_shapes()
        if self.bias and self.reset == "after":
            shapes["bias_hn"] = (self.hidden_size,)
        return shapes

    @classmethod
    def variants(cls, input_size: int, hidden_size: int) -> tuple[Self, ...]:
        """Both resets with and without bias, and other squashings."""
        return (
            cls(input_size, hidden_size),
            cls(input_size, hidden_size, reset="before"),
            cls(input_size, hidden_size, bias=False),
            cls(input_size, hidden_size, reset="before", bias=False),
            cls(input_size, hidden_size, gate_activation="hard_sigmoid", activation="softsign"),
            cls(input_size, hidden_size, reset="before", gate_activation="hard_sigmoid_keras2"),
        )

    def step(self, params: GRUParams, state: State, x: Tensor) -> State:
        """Advance by one time step; x is (B, I)."""
        return self.step_with_gates(params, state, x)[0]

    def step_with_gates(self, params: GRUParams, state: State, x: Tensor) -> tuple[State, dict[str, Tensor]]:
        """`step`, and the activated r, z, n (B, H)."""
        sigma, phi = get_activation(self.gate_activation).function, get_activation(self.activation).function
        h = state.h
        a = in_blocks(self.gates, linear(x, params.weight_ih, params.bias))  # W x + b, (B, H) each
        R = self._recurrent(params)
        r = sigma(a["r"] + h @ R["r"].T)
        z = sigma(a["z"] + h @ R["z"].T)
        if self.reset == "after":
            n = phi(a["n"] + r * linear(h, R["n"], params.bias_hn))
        else:
            n = phi(a["n"] + (r * h) @ R["n"].T)
        return State(h=z * h + (1 - z) * n), {"r": r, "z": z, "n": n}

    def step_backward(
        self,
        params: GRUParams,
        state_prev: State,
        x: Tensor,
        state: State,
        gates: Mapping[str, Tensor],
        dstate: State,
    ) -> StepGradients[State]:
        """The deltas of the module's docstring, for one step."""
        sigma, phi = get_activation(self.gate_activation), get_activation(self.activation)
        h, r, z, n = state_prev.h, gates["r"], gates["z"], gates["n"]
        R = self._recurrent(params)
        dR = {}

        delta_n = slope_from_output(phi, n) * (1 - z) * dstate.h
        delta_z = slope_from_output(sigma, z) * (h - n) * dstate.h
        dh = z * dstate.h
        if self.reset == "after":
            q = linear(h, R["n"], params.bias_hn)
            delta_q = r * delta_n
            delta_r = slope_from_output(sigma, r) * q * delta_n
            dh = dh + delta_q @ R["n"]
            dR["n"] = delta_q.T @ h
        else:
            delta_m = delta_n @ R["n"]
            delta_r = slope_from_output(sigma, r) * h * delta_m
            dh = dh + r * delta_m
            dR["n"] = delta_n.T @ (r * h)
        dh = dh + delta_r @ R["r"] + delta_z @ R["z"]
        dR["r"], dR["z"] = delta_r.T @ h, delta_z.T @ h

        da = torch.cat([delta_r, delta_z, delta_n], dim=-1)  # (B, 3H)
        grads = {"weight_ih": da.T @ x, "weight_hh": torch.cat([dR[name] for name in self.gates])}
        if params.bias is not None:
            grads["bias"] = da.sum(0)
        if params.bias_hn is not None:
            grads["bias_hn"] = delta_q.sum(0)
        return StepGradients(grads, State(h=dh), da @ params.weight_ih)

    def _recurrent(self, params: GRUParams) -> dict[str, Tensor]:
        """R a gate, (H, H) each."""
        return dict(zip(self.gates, params.weight_hh.chunk(len(self.gates))))
