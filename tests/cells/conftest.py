"""Random values for one step of any cell: biases and peepholes too, or a wrong block order passes unseen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from saiki.cells import Cell


class Drawn(NamedTuple):
    """One step's arguments."""

    params: dict[str, Tensor]
    state: Any
    x: Tensor


@pytest.fixture
def draw(rng: torch.Generator) -> Callable[..., Drawn]:
    """draw(cell, B): parameters by name, state and input, float64."""

    def make(cell: Cell[Any, Any], B: int = 4) -> Drawn:
        def randn(*shape: int) -> Tensor:
            return torch.randn(shape, generator=rng, dtype=torch.float64) * 0.7

        return Drawn(
            {name: randn(*shape) for name, shape in cell.parameter_shapes().items()},
            cell.state_type(*(randn(B, size) for size in cell.state_sizes)),
            randn(B, cell.input_size),
        )

    return make
