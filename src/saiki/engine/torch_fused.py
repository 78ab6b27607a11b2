"""torch's own fused operators, where torch has the equation: Elman (tanh, relu), plain LSTM, GRU (after).

The parameters go over as they are (`saiki.cells.to_torch`), so gradients come back to them. A pair of
directions over the same input is one call; a reverse direction by itself runs forward over each sequence
reversed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from saiki.cells import Cell, Elman, to_torch, torch_difference
from saiki.engine.base import Engine, Job, Run

_ORDER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # how torch wants its flat list, a direction
_DTYPES = {
    "cpu": (torch.float32, torch.float64),
    "cuda": (torch.float32, torch.float64, torch.float16, torch.bfloat16),
}


class TorchFused(Engine):
    """Calls the operators behind torch.nn.RNN, LSTM and GRU."""

    name: ClassVar[str] = "torch_fused"

    def obstacle(
        self, cell: Cell[Any, Any], device: torch.device, dtype: torch.dtype, *, trace: bool, grad: bool
    ) -> str | None:
        """Another equation than torch's, a wish for gates, a device or type it was not tried on."""
        difference = torch_difference(cell)
        if difference is not None:
            return difference
        if trace:
            return "torch's operators do not tell their gates"
        if device.type not in _DTYPES:
            return f"it runs on {' and '.join(_DTYPES)}, not on {device.type}"
        if dtype not in _DTYPES[device.type]:
            return f"on {device.type} it takes {', '.join(map(str, _DTYPES[device.type]))}, not {dtype}"
        return None

    def run(self, job: Job) -> list[Run]:
        """Run a pair of directions in one call, anything else a direction at a time."""
        flat = [_flat(job.cell, tensors) for tensors in job.tensors]
        train = job.needs_grad
        if job.directions == ("forward", "reverse"):
            h0 = [torch.stack(pair) for pair in zip(*job.states)]  # (2, B, H)
            output, last = _call(job.cell, job.data, job.batch_sizes, h0, flat[0] + flat[1], True, train)
            halves = output.split(job.cell.hidden_size, dim=-1)
            return [
                Run(half, job.cell.state_type(*(s[d] for s in last)), {}) for d, half in enumerate(halves)
            ]
        runs = []
        for direction, weights, state in zip(job.directions, flat, job.states):
            turn = _reversal(job.batch_sizes).to(job.data.device) if direction == "reverse" else None
            data = job.data if turn is None else job.data[turn]
            h0 = [s.unsqueeze(0) for s in state]
            output, last = _call(job.cell, data, job.batch_sizes, h0, weights, False, train)
            output = output if turn is None else output[turn]
            runs.append(Run(output, job.cell.state_type(*(s[0] for s in last)), {}))
        return runs


def _flat(cell: Cell[Any, Any], tensors: Mapping[str, Tensor]) -> list[Tensor]:
    theirs = to_torch(cell, tensors)
    return [theirs[name] for name in _ORDER if name in theirs]


def _call(
    cell: Cell[Any, Any],
    data: Tensor,
    batch_sizes: Tensor,
    h0: list[Tensor],
    weights: list[Tensor],
    bidirectional: bool,
    train: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    operator = cell.name if not isinstance(cell, Elman) else f"rnn_{cell.activation}"
    first = tuple(h0) if len(h0) > 1 else h0[0]
    # data, batch_sizes, initial state, weights, has_biases, num_layers, dropout, train, bidirectional
    output, *last = getattr(torch, operator)(
        data, batch_sizes, first, weights, cell.bias, 1, 0.0, train, bidirectional
    )
    return output, tuple(last)


def _reversal(batch_sizes: Tensor) -> Tensor:
    """(N,) the packed row that holds each row's mirror image in its own sequence."""
    starts = batch_sizes.cumsum(0) - batch_sizes  # (T,) first row of each step
    steps = torch.arange(len(batch_sizes)).repeat_interleave(batch_sizes)  # (N,)
    rows = torch.arange(len(steps)) - starts[steps]  # (N,) which sequence
    lengths = (batch_sizes.unsqueeze(1) > torch.arange(int(batch_sizes[0]))).sum(0)  # (B,)
    return starts[lengths[rows] - 1 - steps] + rows
