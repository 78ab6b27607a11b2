"""Inference with weights that are packed once and then frozen: whole batches, or step by step.

    session = engine.session(cell, params)
    output, state = session.run(data, batch_sizes, state)        a packed ragged batch
    state = session.step(x, state)                               one step of B sequences, microseconds

`run` on the layer packs the weights at every call, since a change in place cannot be seen; a session has them
packed already, in float32, float64 or, for half the memory to read, bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saiki.cells import Cell
from saiki.core.checks import require_int, require_tensor
from saiki.core.errors import DTypeError, EngineError, OptionError, ShapeError
from saiki.core.names import choose
from saiki.engine.base import Direction
from saiki.engine.cpu import NativeCPU
from saiki.engine.operators import make_kernel, require_native, target

_WEIGHTS = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}
_DIRECTIONS = {"forward": False, "reverse": True}


class Session:
    """One direction of a layer with frozen weights; built by `engine.session`.

    The session holds no state: it may be shared, and called from several threads at once.

    Args:
        cell: a built-in cell with named activations.
        params: its parameters by name; they are copied.
        weights: "float32", "float64", or "bfloat16" (sums, states and data are float32 then).
        direction: "forward", or "reverse" (from each sequence's own last step; for `run` alone).
        threads: how many may work on a call.
    Raises:
        EngineError: there is no native engine here, or it has no kernel for the cell.
        OptionError, ShapeError, DTypeError: the parameters do not fit, or an option is unknown.
    """

    def __init__(
        self,
        cell: Cell[Any, Any],
        params: Mapping[str, Tensor],
        *,
        weights: str = "float32",
        direction: Direction = "forward",
        threads: int = 1,
    ) -> None:
        if not isinstance(cell, Cell):
            raise OptionError(f"cell must be a saiki.cells.Cell but is {type(cell).__name__}")
        self.cell = cell
        self.dtype = choose(weights, _WEIGHTS, "weights")
        self.weights = weights
        self.direction = direction
        self.threads = require_int(threads, "threads", 1, 1024)
        self._reverse = choose(direction, _DIRECTIONS, "direction")
        device = torch.device("cpu")
        obstacle = NativeCPU().obstacle(cell, device, self.dtype, trace=False, grad=False)
        if obstacle is not None:
            raise EngineError(f"no session runs {cell.label!r}: {obstacle}.")
        cell.params(params)
        given = {
            name: require_tensor(value, name, device=device).detach().to(self.dtype).contiguous()
            for name, value in params.items()
        }
        self._kernel = make_kernel(cell, self.dtype, target())
        self._packed = self._kernel.pack(
            tuple(given.get(name) for name in require_native().parameters),
            "bfloat16" if weights == "bfloat16" else "same",
            self.threads,
        )
        self._step = self._kernel.step
        self._make = cell.state_type

    def __repr__(self) -> str:
        return f"Session({self.cell.label}, {self.weights}, {self._kernel.target}, {self.nbytes} bytes)"

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weights."""
        return int(self._packed.nbytes)

    def initial_state(self, batch_size: int) -> Any:  # noqa: ANN401 - the cell's state tuple
        """The state of zeros before the first step."""
        return self.cell.initial_state(require_int(batch_size, "batch_size", 0), dtype=self.dtype)

    def step(self, x: Any, state: Any, out: Any = None) -> Any:  # noqa: ANN401
        """Advance B sequences by one step.

        Args:
            x: (B, I), a CPU tensor or a numpy array of the session's element type, contiguous.
            state: the cell's state tuple, (B, size) each.
            out: where the next state is to be written, a state tuple; `state` itself advances in place.
                Made anew if not given, which takes a few microseconds.
        Returns:
            The next state: `out`. Nothing of it has a gradient.
        Raises:
            TypeError, ValueError: an array does not fit; the message names it.
            OptionError: the session goes in reverse.
        """
        if self._reverse:
            raise OptionError("a session with direction='reverse' starts at the end, which a stream has not.")
        if out is None:
            like = torch.empty_like if isinstance(state[0], Tensor) else np.empty_like
            out = self._make(*[like(s) for s in state])
        self._step(self._packed, x, state, out, self.threads)
        return out

    def run(
        self, data: Tensor, batch_sizes: Tensor, state: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Any]:
        """Run a packed ragged batch.

        Args:
            data: (N, I), packed and time-major, of the session's element type.
            batch_sizes: (T,) int64: the sequences still running at each step; never rising, sum N.
            state: the initial state, (B, size) each, B = batch_sizes[0]; zeros if not given.
        Returns:
            (N, K) the outputs, and the state after each sequence's last step (in reverse, its first).
        Raises:
            DTypeError, ShapeError: an argument does not fit; the message names it.
        """
        require_tensor(data, "data", ndim=2, dtype=self.dtype, device=torch.device("cpu"))
        require_tensor(batch_sizes, "batch_sizes", ndim=1, floating=False, dtype=torch.int64)
        live = int(batch_sizes[0]) if batch_sizes.shape[0] else 0
        if live < 0:
            raise ShapeError(f"batch_sizes begins with {live} but must be at least 1.")
        if state is None:
            state = self.cell.initial_state(live, dtype=self.dtype)
        if not isinstance(state, tuple | list):
            raise DTypeError(f"state is {type(state).__name__} but must be a tuple of tensors.")
        first = tuple(require_tensor(s, "state", dtype=self.dtype).detach().contiguous() for s in state)
        output = data.new_empty((data.shape[0], self.cell.output_size))
        last = tuple(torch.empty_like(s) for s in first)
        run = (self._reverse, self._packed, first, output, last, None)
        try:
            self._kernel.forward(data.detach().contiguous(), batch_sizes.contiguous(), (run,), self.threads)
        except ValueError as error:
            raise ShapeError(f"{error}.") from None
        except TypeError as error:
            raise DTypeError(f"{error}.") from None
        return output, self.cell.state_type(*last)


def session(
    cell: Cell[Any, Any],
    params: Mapping[str, Tensor],
    *,
    weights: str = "float32",
    direction: Direction = "forward",
    threads: int = 1,
) -> Session:
    """Pack a cell's parameters once, for inference; see `Session`."""
    return Session(cell, params, weights=weights, direction=direction, threads=threads)
