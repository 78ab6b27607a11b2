"""Parameters to and from torch.nn's layout, where torch has the same equation.

torch keeps two bias vectors, b_ih and b_hh, that every equation but one adds at once:

    b = b_ih + b_hh                      every gate block, of the GRU r and z alone
    b_n = b_ih[n],  b_hn = b_hh[n]       the GRU's candidate, where the reset gate stands between them

Going back, the sum is in `bias_ih` and `bias_hh` is zero, but for the GRU's b_hn. The gates come in the
same order: i f g o and r z n.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from saiki.cells.base import Cell
from saiki.cells.elman import Elman
from saiki.cells.gru import GRU
from saiki.cells.lstm import LSTM
from saiki.core.checks import require_tensor
from saiki.core.errors import OptionError, ShapeError


def torch_difference(cell: Cell[Any, Any]) -> str | None:
    """Why torch.nn has no layer with this cell's equations; None where it has one."""
    plain: Cell[Any, Any]
    if type(cell) not in (Elman, LSTM, GRU):  # a subclass may step otherwise
        return f"torch.nn has no {type(cell).__name__.lower()} layer"
    match cell:
        case Elman():
            same = cell.activation in ("tanh", "relu")
            return None if same else f"torch.nn.RNN has tanh and relu, not activation={cell.activation!r}"
        case LSTM():
            plain = LSTM(cell.input_size, cell.hidden_size, bias=cell.bias)
            what = "torch.nn.LSTM"
        case _:
            plain = GRU(cell.input_size, cell.hidden_size, bias=cell.bias)
            what = "torch.nn.GRU"
    for option in cell.__dataclass_fields__:
        ours, theirs = getattr(cell, option), getattr(plain, option)
        if ours != theirs:
            return f"{what} has {option}={theirs!r}, not {ours!r}"
    return None


def from_torch(cell: Cell[Any, Any], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters from torch's `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh` (no layer suffix).

    Raises:
        OptionError: torch has no layer with this cell's equations, or a tensor is missing or unexpected.
        DTypeError: one of them is no dense floating tensor.
        ShapeError: a tensor is of the wrong shape.
    """
    _require_same(cell)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if cell.bias else ("weight_ih", "weight_hh")
    if set(tensors) != set(names):
        raise OptionError(f"expected torch's {', '.join(names)} but got {', '.join(tensors) or 'nothing'}")
    shapes = cell.parameter_shapes()
    for name in names:
        shape = shapes[name.replace("bias_ih", "bias").replace("bias_hh", "bias")]
        if require_tensor(tensors[name], f"torch's {name}").shape != shape:
            raise ShapeError(f"torch's {name} is {tuple(tensors[name].shape)} but must be {shape}")
    params = {"weight_ih": tensors["weight_ih"], "weight_hh": tensors["weight_hh"]}
    if not cell.bias:
        return params
    bias_ih, bias_hh = tensors["bias_ih"], tensors["bias_hh"]
    if isinstance(cell, GRU):
        H = cell.hidden_size
        params["bias"] = torch.cat([bias_ih[: 2 * H] + bias_hh[: 2 * H], bias_ih[2 * H :]])
        params["bias_hn"] = bias_hh[2 * H :]
    else:
        params["bias"] = bias_ih + bias_hh
    return params


def to_torch(cell: Cell[Any, Any], params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torch's `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh` from our parameters; autograd runs through.

    Raises:
        OptionError: torch has no layer with this cell's equations, or a parameter is missing or unexpected.
        ShapeError: a parameter is of the wrong shape.
    """
    _require_same(cell)
    cell.params(params)
    tensors = {"weight_ih": params["weight_ih"], "weight_hh": params["weight_hh"]}
    if cell.bias:
        bias = tensors["bias_ih"] = params["bias"]
        if isinstance(cell, GRU):
            tensors["bias_hh"] = torch.cat([bias.new_zeros(2 * cell.hidden_size), params["bias_hn"]])
        else:
            tensors["bias_hh"] = torch.zeros_like(bias)
    return tensors


def _require_same(cell: Cell[Any, Any]) -> None:
    difference = torch_difference(cell)
    if difference is not None:
        raise OptionError(f"no torch layer computes this cell: {difference}")
