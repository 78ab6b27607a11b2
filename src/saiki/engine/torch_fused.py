"""torch's own fused operators, where torch has the equation: Elman (tanh, relu), plain LSTM, GRU (after).

Packed time is cut into stretches in which the same sequences run; each is a plain (steps, rows, I) block for
the operator, and the state is carried from one to the next; a batch of equal lengths is one stretch. (torch's
packed form would take the whole batch at once, but its backward pass on the CPU takes time quadratic in the
steps.) The parameters go over as they are, by `saiki.cells.to_torch`, so gradients come back to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from saiki.cells import Cell, Elman, to_torch, torch_difference
from saiki.engine.base import Direction, Engine, Job, Run
from saiki.engine.walk import walk

_ORDER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # how torch wants its flat list
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
        if forward_ad._current_level >= 0:
            return "torch's operators have no forward-mode derivative"
        if device.type not in _DTYPES:
            return f"it runs on {' and '.join(_DTYPES)}, not on {device.type}"
        if dtype not in _DTYPES[device.type]:
            return f"on {device.type} it takes {', '.join(map(str, _DTYPES[device.type]))}, not {dtype}"
        return None

    def run(self, job: Job) -> list[Run]:
        """Run each direction by itself."""
        rows, steps = (counts.tolist() for counts in job.batch_sizes.unique_consecutive(return_counts=True))
        stretches = job.data.split([n * t for n, t in zip(rows, steps)])
        runs = []
        for direction, tensors, state in zip(job.directions, job.tensors, job.states):
            theirs = to_torch(job.cell, tensors)
            weights = [theirs[name] for name in _ORDER if name in theirs]
            runs.append(_unroll(job.cell, weights, state, stretches, rows, direction, job.needs_grad))
        return runs


def _unroll(
    cell: Cell[Any, Any],
    weights: list[Tensor],
    initial: Any,  # noqa: ANN401 - the cell's state tuple
    stretches: Sequence[Tensor],
    live: Sequence[int],
    direction: Direction,
    train: bool,
) -> Run:
    operator = getattr(torch, f"rnn_{cell.activation}" if isinstance(cell, Elman) else cell.name)
    reverse = direction == "reverse"
    outputs: list[Tensor] = []

    def advance(state: Any, stretch: Tensor, rows: int) -> Any:  # noqa: ANN401
        x = stretch.reshape(-1, rows, cell.input_size)  # (steps, rows, I)
        first = tuple(s.unsqueeze(0) for s in state)  # (layers = 1, rows, H)
        # has_biases, num_layers, dropout, train, bidirectional, batch_first
        output, *last = operator(
            x.flip(0) if reverse else x,
            first if len(first) > 1 else first[0],
            weights,
            *(cell.bias, 1, 0.0, train, False, False),
        )
        outputs.append((output.flip(0) if reverse else output).flatten(0, 1))
        return cell.state_type(*(s[0] for s in last))

    last = walk(cell, initial, stretches, live, direction, advance)
    return Run(torch.cat(outputs[::-1] if reverse else outputs), last, {})
