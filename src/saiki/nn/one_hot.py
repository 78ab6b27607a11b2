"""Ids as unit vectors."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from saiki.core.checks import require_int
from saiki.core.errors import DTypeError, ShapeError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.nn.basic import MAX_SIZE
from saiki.nn.flow import Flow, Layer, kind, require_dtype


@final
class OneHot(Layer):
    """Replace each id by its unit vector: y_t = e_{x_t}, V features, one of them 1.

    The recurrent layer after it then has a column of weights of its own for each id, as an embedding of H·G
    features would; for a few dozen ids that is the plainest input there is. No parameters.

    Args:
        num_classes: V; ids run from 0 to V - 1.
        dtype: of the vectors; torch's default if not given.
    Shapes:
        data (N,) or (N, 1) of integers in, (N, V) out; a tensor (…,) of ids gives (…, V).
    Raises:
        ValueRangeError: an id outside [0, V).
    """

    like: Tensor

    def __init__(self, num_classes: int, *, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.num_classes = require_int(num_classes, "num_classes", 1, MAX_SIZE)
        self.input_size = 1
        # nothing in it, but it follows `.to(dtype)`, as the parameters of the next layer do
        self.register_buffer("like", torch.empty(0, dtype=require_dtype(dtype)), persistent=False)

    def width(self, input_size: int) -> int:
        """Features out: V."""
        super().width(input_size)
        return self.num_classes

    def forward(self, x: Flow) -> Flow:
        """Make the vectors; see the class."""
        ids = x.data if isinstance(x, Ragged) else x
        if not isinstance(ids, Tensor) or ids.dtype.is_floating_point or ids.dtype == torch.bool:
            raise DTypeError(f"x is {kind(x)} but OneHot takes integer ids.")
        if isinstance(x, Ragged) and ids.ndim == 2 and ids.shape[1] == 1:
            ids = ids[:, 0]
        if isinstance(x, Ragged) and ids.ndim != 1:
            raise ShapeError(f"x has data {tuple(ids.shape)} but OneHot takes one id a step, (N,) or (N, 1).")
        if ids.numel():
            low, high = (int(value) for value in ids.aminmax())
            if low < 0 or high >= self.num_classes:
                raise ValueRangeError(
                    f"x holds the id {low if low < 0 else high} but ids run from 0 to {self.num_classes - 1}."
                )
        vectors = torch.nn.functional.one_hot(ids.long(), self.num_classes).to(self.like.dtype)
        return x.with_data(vectors) if isinstance(x, Ragged) else vectors

    def extra_repr(self) -> str:
        """Options for print()."""
        return f"{self.num_classes}"
