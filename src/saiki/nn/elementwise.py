"""The elementwise LSTM as a layer."""

from __future__ import annotations

from typing import final

import torch

from saiki import cells
from saiki.core.checks import require_int
from saiki.nn.recurrent import MAX_SIZE, RecurrentLayer, Squashing


@final
class ElementwiseLSTM(RecurrentLayer):
    """The LSTM layer whose units do not see each other; the equations are in `saiki.cells.elementwise`.

    `hx` and the final state are (h, c). A step costs H recurrent products instead of H², and real-time
    recurrent learning of one such layer is exact in its cheapest form.

    Args:
        input_size: I, features a step.
        hidden_size: H, hidden units.
        num_layers: layers, each reading the outputs of the one below.
        bias: with b (the forget gate's starts at 1).
        batch_first: tensors are (B, T, ...) instead of (T, B, ...).
        dropout: probability of a zero in the outputs between layers, while training.
        bidirectional: a second direction from each sequence's end; outputs side by side.
        device: where the parameters live.
        dtype: of the parameters; torch's default if not given.
        gate_activation: of i, f and o, by name, or a function of a tensor.
        activation: of the candidate g, likewise.
        output_activation: of c_t, likewise.
        return_states: calls also return every c_t and gate.
        learn_initial_state: the state before the first step is a parameter.
        engine: "reference", ...; None leaves the choice to `saiki.engine`.
        generator: for the initial weights (W Glorot uniform, r uniform in [-1, 1]) and, derived, the dropout
            masks.
    Raises:
        OptionError, DTypeError, ValueRangeError: an option is unknown, of the wrong type or out of range.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        gate_activation: Squashing = "sigmoid",
        activation: Squashing = "tanh",
        output_activation: Squashing = "tanh",
        return_states: bool = False,
        learn_initial_state: bool = False,
        engine: str | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        cell = cells.ElementwiseLSTM(
            require_int(input_size, "input_size", 1, MAX_SIZE),
            require_int(hidden_size, "hidden_size", 1, MAX_SIZE),
            bias=bias,
            gate_activation=gate_activation,
            activation=activation,
            output_activation=output_activation,
        )
        super().__init__(
            cell,
            num_layers=num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
            return_states=return_states,
            learn_initial_state=learn_initial_state,
            engine=engine,
            generator=generator,
        )
