"""The native engine: C++ kernels of `csrc/` that run a whole layer over the whole ragged batch in one call.

Every built-in cell with named activations, forward and backward, float32 and float64, as many threads as
`torch.get_num_threads()`. The call is an operator of torch, see `operators.py`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch.autograd import forward_ad

from saiki.cells import Cell
from saiki.engine.base import Engine, Job, LayerRun, Run
from saiki.engine.native import native
from saiki.engine.operators import FAMILIES, layer, plan_of, target, text_of

_DTYPES = (torch.float32, torch.float64)
_ACTIVATIONS = ("gate_activation", "activation", "output_activation")


class NativeCPU(Engine):
    """Calls `saiki._native`."""

    name: ClassVar[str] = "cpu"
    needs_steps: ClassVar[bool] = False

    def obstacle(
        self, cell: Cell[Any, Any], device: torch.device, dtype: torch.dtype, *, trace: bool, grad: bool
    ) -> str | None:
        """No extension, a cell or activation of one's own, a wish for gates, another device or type.

        Raises:
            OptionError: SAIKI_ISA names no instruction set that can run here.
        """
        module = native()
        if isinstance(module, str):
            return module
        if type(cell) is not FAMILIES.get(cell.name):  # a subclass may step otherwise
            return f"it has no {type(cell).__name__.lower()} kernel, only {', '.join(FAMILIES)}"
        if any(not isinstance(getattr(cell, name, ""), str) for name in _ACTIVATIONS):
            return "it cannot call a Python activation; give one by name"
        if trace:
            return "it does not tell its gates"
        if device.type != "cpu":
            return f"it runs on cpu, not on {device.type}"
        if dtype not in _DTYPES:
            return f"it takes {', '.join(map(str, _DTYPES))}, not {dtype}"
        if forward_ad._current_level >= 0:
            return "it has no forward-mode derivative"
        target()
        return None

    def run(self, job: Job) -> list[Run]:
        """Run the layer, and cut the output in two where there are two directions."""
        return self.run_layer(job).runs()

    def run_layer(self, job: Job) -> LayerRun:
        """One call for both directions, which write side by side."""
        text = text_of(job.cell)
        plan = plan_of(text)
        parameters = [tensors[name] for tensors in job.tensors for name in plan.names]
        states = [s for state in job.states for s in state]
        reverse = [direction == "reverse" for direction in job.directions]
        output, last = layer(job.data, job.batch_sizes, parameters, states, text, reverse)
        make, S = job.cell.state_type, plan.S
        ends = tuple(make(*last[k : k + S]) for k in range(0, len(last), S))
        return LayerRun(output, ends, ({},) * len(reverse))
