"""The native engine: C++ kernels of `csrc/` that run a whole layer over the whole ragged batch in one call.

So far: Elman with any named activation, inference only, float32 and float64, one thread.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor

from saiki.cells import Cell, Elman
from saiki.engine.base import Engine, Job, Run

_DTYPES = (torch.float32, torch.float64)


def native() -> ModuleType | str:
    """The extension, or why it is not here."""
    try:
        return importlib.import_module("saiki._native")
    except ImportError as error:
        return f"the native extension was not built ({error}); reinstall with a C++20 compiler to have it"


class NativeCPU(Engine):
    """Calls `saiki._native`."""

    name: ClassVar[str] = "cpu"

    def obstacle(
        self, cell: Cell[Any, Any], device: torch.device, dtype: torch.dtype, *, trace: bool, grad: bool
    ) -> str | None:
        """No extension, or a job beyond what it can do so far."""
        module = native()
        if isinstance(module, str):
            return module
        if type(cell) is not Elman:  # a subclass may step otherwise
            return f"it has no {type(cell).__name__.lower()} kernel yet, only elman"
        if not isinstance(cell.activation, str):
            return "it cannot call a Python activation; give one by name"
        if trace:
            return "it does not keep gates yet"
        if grad:
            return "it has no backward pass yet; run it under torch.no_grad()"
        if device.type != "cpu":
            return f"it runs on cpu, not on {device.type}"
        if dtype not in _DTYPES:
            return f"it takes {', '.join(map(str, _DTYPES))}, not {dtype}"
        return None

    def run(self, job: Job) -> list[Run]:
        """Run each direction by itself; arrays are shared with torch, not copied, unless they are strided."""
        module = native()
        assert not isinstance(module, str)  # obstacle() has said so
        runs = []
        for direction, tensors, state in zip(job.directions, job.tensors, job.states):
            bias = tensors.get("bias")
            output, last = module.elman_forward(
                _array(job.data),
                job.batch_sizes.contiguous().numpy(),
                _array(tensors["weight_ih"]),
                _array(tensors["weight_hh"]),
                None if bias is None else _array(bias),
                _array(state.h),
                job.cell.activation,  # type: ignore[attr-defined]
                direction == "reverse",
            )
            runs.append(Run(torch.from_numpy(output), job.cell.state_type(torch.from_numpy(last)), {}))
        return runs


def _array(tensor: Tensor) -> Any:  # noqa: ANN401 - a numpy array
    return tensor.detach().contiguous().numpy()
