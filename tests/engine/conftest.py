"""A small ragged problem for any cell: every parameter, state and input random, sizes odd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from saiki import engine
from saiki.cells import Cell

DIRECTIONS = ("forward", "reverse")


@dataclass(frozen=True)
class Problem:
    """A layer's work in both directions."""

    cell: Cell[Any, Any]
    params: list[dict[str, Tensor]]
    data: Tensor
    batch_sizes: Tensor
    states: list[Any]

    def leaves(self) -> dict[str, Tensor]:
        named = {f"{name} {way}": p for way, ps in zip(DIRECTIONS, self.params) for name, p in ps.items()}
        named |= {
            f"{name}0 {way}": s
            for way, state in zip(DIRECTIONS, self.states)
            for name, s in zip(self.cell.states, state)
        }
        return {"data": self.data, **named}

    def with_grad(self) -> Problem:
        for leaf in self.leaves().values():
            leaf.requires_grad_()
        return self

    def run(self, name: str | None, **options: Any) -> list[engine.Run]:
        return engine.run(
            self.cell,
            self.params,
            self.data,
            self.batch_sizes,
            self.states,
            DIRECTIONS,
            engine=name,
            **options,
        )

    def only(self, row: int) -> Problem:
        """The j-th longest sequence by itself."""
        starts = self.batch_sizes.cumsum(0) - self.batch_sizes
        steps = int((self.batch_sizes > row).sum())
        mine = starts[:steps] + row
        states = [self.cell.state_type(*(s[row : row + 1] for s in state)) for state in self.states]
        ones = torch.ones(steps, dtype=torch.int64)
        return Problem(self.cell, self.params, self.data[mine], ones, states)

    def rows_of(self, row: int) -> Tensor:
        starts = self.batch_sizes.cumsum(0) - self.batch_sizes
        return starts[: int((self.batch_sizes > row).sum())] + row


@pytest.fixture
def problem(rng: torch.Generator) -> Callable[..., Problem]:
    """problem(cell, batch_sizes, dtype) with numbers from the seeded generator."""

    def make(
        cell: Cell[Any, Any],
        batch_sizes: tuple[int, ...] = (4, 4, 3, 1, 1),
        dtype: torch.dtype = torch.float64,
    ) -> Problem:
        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=rng, dtype=torch.float64).mul(0.6).to(dtype)

        B = batch_sizes[0] if batch_sizes else 0
        return Problem(
            cell,
            [{name: draw(*shape) for name, shape in cell.parameter_shapes().items()} for _ in DIRECTIONS],
            draw(sum(batch_sizes), cell.input_size),
            torch.tensor(batch_sizes, dtype=torch.int64),
            [cell.state_type(*(draw(B, size) for size in cell.state_sizes)) for _ in DIRECTIONS],
        )

    return make


def flat(runs: list[engine.Run]) -> dict[str, Tensor]:
    """Every tensor of a result by name, so that a comparison can say which one is wrong."""
    named = {}
    for way, run in zip(DIRECTIONS, runs):
        named[f"output {way}"] = run.output
        named |= {f"last {name} {way}": s for name, s in zip(run.state._fields, run.state)}
        named |= {f"trace {name} {way}": s for name, s in run.trace.items()}
    return named


@pytest.fixture
def same() -> Callable[..., None]:
    """same(ours, theirs, tolerance): equal shapes, and |ours - theirs| ≤ tolerance · (1 + |theirs|)."""

    def compare(ours: Any, theirs: Any, tolerance: float) -> None:
        ours = ours if isinstance(ours, dict) else flat(ours)
        theirs = theirs if isinstance(theirs, dict) else flat(theirs)
        assert ours.keys() == theirs.keys()
        wrong = {}
        for name in ours:
            assert ours[name].shape == theirs[name].shape, name
            error = (ours[name] - theirs[name]).abs() / (1 + theirs[name].abs())
            if error.numel() and not float(error.max()) <= tolerance:  # NaN is wrong too
                wrong[name] = float(error.max())
        assert not wrong, f"beyond {tolerance}: " + ", ".join(f"{k}: {v:.3g}" for k, v in wrong.items())

    return compare
