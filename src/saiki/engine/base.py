"""What every engine takes and gives: one layer's work, checked at the door, and its result a direction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from saiki.cells import Cell

Direction = Literal["forward", "reverse"]


class Run(NamedTuple):
    """One direction's result, rows in packed order."""

    output: Tensor  # (N, output_size): row j of step t is the output of the j-th longest sequence there
    state: Any  # the cell's state tuple, (B, size) each: after each sequence's last step (reverse: its first)
    trace: dict[str, Tensor]  # every state and gate at every step, (N, size) each; {} unless asked for


class LayerRun(NamedTuple):
    """All directions' results, their outputs side by side."""

    output: Tensor  # (N, D·output_size)
    states: tuple[Any, ...]  # a direction each, as in Run
    traces: tuple[dict[str, Tensor], ...]

    def runs(self) -> list[Run]:
        """The result of each direction by itself; the outputs are views."""
        D = len(self.states)
        outputs = (self.output,) if D == 1 else self.output.chunk(D, dim=1)
        return [Run(*one) for one in zip(outputs, self.states, self.traces)]


@dataclass(frozen=True)
class Job:
    """A layer, its input and its initial states; `dispatch.run` has checked that they fit."""

    cell: Cell[Any, Any]
    tensors: tuple[Mapping[str, Tensor], ...]  # parameters by name, a direction each
    data: Tensor  # (N, I), packed and time-major
    batch_sizes: Tensor  # (T,) int64 on the CPU: how many sequences are still running at each step
    states: tuple[Any, ...]  # the cell's state tuple, (B, size), a direction each
    directions: tuple[Direction, ...]
    trace: bool

    @property
    def needs_grad(self) -> bool:
        """Whether anybody may ask for gradients of this run."""
        if not torch.is_grad_enabled():
            return False
        leaves = [
            self.data,
            *(v for t in self.tensors for v in t.values()),
            *(v for s in self.states for v in s),
        ]
        return any(leaf.requires_grad for leaf in leaves)


class Engine(ABC):
    """A way to run cells over ragged time."""

    name: ClassVar[str]
    needs_steps: ClassVar[bool] = True  # whether a batch without any is beyond it

    @abstractmethod
    def obstacle(
        self, cell: Cell[Any, Any], device: torch.device, dtype: torch.dtype, *, trace: bool, grad: bool
    ) -> str | None:
        """Why this engine cannot run such a job, as the end of a sentence; None where it can."""

    @abstractmethod
    def run(self, job: Job) -> list[Run]:
        """Run a job that meets no obstacle."""

    def run_layer(self, job: Job) -> LayerRun:
        """The same, with the outputs side by side."""
        runs = self.run(job)
        output = runs[0].output if len(runs) == 1 else torch.cat([one.output for one in runs], dim=-1)
        return LayerRun(output, tuple(one.state for one in runs), tuple(one.trace for one in runs))
