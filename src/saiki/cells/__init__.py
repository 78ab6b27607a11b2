"""What a recurrence is: one file a family, equations as the textbook writes them."""

from __future__ import annotations

from typing import Any

from saiki.cells.base import Cell, Params, State, StepGradients
from saiki.cells.elementwise import ElementwiseLSTM, ElementwiseLSTMParams
from saiki.cells.elman import Elman
from saiki.cells.gru import GRU, GRUParams
from saiki.cells.jordan import Jordan, JordanParams, JordanState
from saiki.cells.lstm import LSTM, LSTMParams, LSTMState
from saiki.cells.torch_format import from_torch, to_torch, torch_difference

CELLS: dict[str, type[Cell[Any, Any]]] = {
    cell.name: cell for cell in (Elman, Jordan, LSTM, GRU, ElementwiseLSTM)
}


def all_cells(input_size: int = 3, hidden_size: int = 5) -> list[Cell[Any, Any]]:
    """One cell for each combination of options of every built-in family, as each family lists them."""
    return [cell for family in CELLS.values() for cell in family.variants(input_size, hidden_size)]


__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "Cell",
    "ElementwiseLSTM",
    "ElementwiseLSTMParams",
    "Elman",
    "GRUParams",
    "Jordan",
    "JordanParams",
    "JordanState",
    "LSTMParams",
    "LSTMState",
    "Params",
    "State",
    "StepGradients",
    "all_cells",
    "from_torch",
    "to_torch",
    "torch_difference",
]
