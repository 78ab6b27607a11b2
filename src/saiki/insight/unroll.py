"""A network's recurrent layers taken out of it: every state they pass through, and their step Jacobians.

Everything here is computed in float64, whatever the network's own type, by the cell's own `step`: products of
many Jacobians leave the range of float32 long before they stop being interesting. Weights are copied, the
network itself is not changed, and dropout is off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from saiki.cells import Cell
from saiki.core.checks import require_int
from saiki.core.errors import DTypeError, LengthError, OptionError, ShapeError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.learning import Batch
from saiki.nn import RecurrentLayer

F64 = torch.float64
_MOST = 4_000_000  # numbers in the gates of one backward pass; larger ones are cut into pieces


@final
@dataclass(frozen=True, eq=False)
class Track:
    """One direction of one recurrent layer over a batch, in the order in which it reads its steps.

    Args:
        name: the layer's name in the network; `.l1`, `.reverse` behind it where it has several.
        layer: the module it belongs to.
        level: which of the module's layers, from 0.
        cell: the recurrence.
        params: θ as the cell takes it, float64.
        x: (T, B, I) its inputs, zero past the end of a sequence.
        lengths: (B,) int64 steps of each sequence.
        states: (T + 1, B, S) every state s_t, the parts side by side; [0] is the one before the first step.
        gates: (T, B, H) by name, what the cell tells of its gates.
    """

    name: str
    layer: RecurrentLayer
    level: int
    cell: Cell[Any, Any]
    params: Any
    x: Tensor
    lengths: Tensor
    states: Tensor
    gates: Mapping[str, Tensor]

    @property
    def size(self) -> int:
        """S, numbers in a state."""
        return sum(self.cell.state_sizes)

    def blocks(self) -> dict[str, slice]:
        """Where each part of the state lies: h, or h and c."""
        found, start = {}, 0
        for name, size in zip(self.cell.states, self.cell.state_sizes):
            found[name] = slice(start, start + size)
            start += size
        return found

    def parts(self, state: Tensor) -> Any:  # noqa: ANN401 - the cell's state tuple
        """A state (…, S) as the cell's own tuple."""
        return self.cell.state_type(*state.split(self.cell.state_sizes, dim=-1))

    def inside(self) -> Tensor:
        """(T, B) bool: which steps a sequence has."""
        return torch.arange(len(self.x))[:, None] < self.lengths[None]

    def pulled_back(self, step: Tensor, which: Tensor, rows: Tensor) -> Tensor:
        """Rows taken back through one step: v ↦ v D_t, D_t = ∂s_t/∂s_{t-1}.

        Args:
            step: (n,) which step t of each sequence, from 1.
            which: (n,) the sequences.
            rows: (n, M, S) M rows for each.
        Returns:
            (n, M, S).
        """
        before, x = self.states[step - 1, which], self.x[step - 1, which]
        n, M, _ = rows.shape
        width = max(1, len(self.cell.gates)) * self.cell.hidden_size
        piece = max(1, _MOST // max(1, n * width))
        return torch.cat([self._back(before, x, rows[:, k : k + piece]) for k in range(0, M, piece)], dim=1)

    def _back(self, before: Tensor, x: Tensor, rows: Tensor) -> Tensor:
        n, M, S = rows.shape
        # a step of its own for every row: works for any cell, and rows of a batch never meet
        with torch.enable_grad():
            leaf = before.repeat_interleave(M, dim=0).requires_grad_()
            after = self.cell.step(self.params, self.parts(leaf), x.repeat_interleave(M, dim=0))
            state = torch.cat(tuple(after), dim=-1)
            if not state.requires_grad:  # a cell that forgets everything
                return torch.zeros_like(rows)
            (taken,) = torch.autograd.grad(state, leaf, rows.reshape(n * M, S), allow_unused=True)
        return torch.zeros_like(rows) if taken is None else taken.view(n, M, S)

    def jacobians(self, step: Tensor, which: Tensor) -> Tensor:
        """D_t = ∂s_t/∂s_{t-1} (n, S, S) at step t, from 1, of these sequences."""
        eye = torch.eye(self.size, dtype=F64, device=self.states.device)
        return self.pulled_back(step, which, eye.expand(len(which), -1, -1))


class Ran(NamedTuple):
    """A network's run over a batch, in float64."""

    output: Ragged | Tensor  # what the network gave
    x: Ragged  # what reached the first recurrent layer; a leaf if gradients were wanted
    inputs: tuple[tuple[str, RecurrentLayer, Ragged, Any], ...]  # (name, layer, input, hx), in running order


def as_batch(data: object, sequences: int | None) -> Batch:
    """The data as a batch of at most so many sequences, taken evenly; those without steps are left out.

    Args:
        data: a `Batch` of a `Ragged`, or whatever `Ragged.of` takes.
        sequences: the most to take; None takes all.
    Returns:
        A batch whose inputs are float64 (ids stay whole numbers). Without targets of its own they are empty.
    Raises:
        LengthError: no sequence has a step.
        DTypeError: not sequences.
    """
    if isinstance(data, Batch) and not isinstance(data.inputs, Ragged):
        raise DTypeError(
            f"data.inputs is {type(data.inputs).__name__} but must be a Ragged, the sequences themselves."
        )
    batch = data if isinstance(data, Batch) else None
    x: Ragged = batch.inputs if batch is not None else Ragged.of(data, name="data")
    if x.data.ndim == 1 and x.data.dtype.is_floating_point:
        x = x.with_data(x.data[:, None])
    some = torch.nonzero(x.lengths > 0)[:, 0]
    if not len(some):
        raise LengthError("no sequence of data has a step, so there is nothing to look at.")
    if sequences is not None and len(some) > require_int(sequences, "sequences", 1):
        some = some[torch.from_numpy(np.linspace(0, len(some) - 1, sequences).round().astype(np.int64))]
    chosen = x.select(some)
    chosen = chosen.to(dtype=F64) if chosen.data.is_floating_point() else chosen
    if chosen.data.is_floating_point() and not bool(torch.isfinite(chosen.data).all()):
        row = int((~torch.isfinite(chosen.data)).reshape(chosen.N, -1).any(dim=1).nonzero()[0])
        sequence = int(some[int(chosen.row_sequence[row])])
        raise ValueRangeError(
            f"data has a value that is not finite in sequence {sequence}, step {int(chosen.row_step[row])}.",
            "Fill or leave out such steps; an estimator's own preparation does it.",
        )
    if batch is None:
        return Batch(chosen, torch.empty(0, dtype=F64))

    def taken(values: Tensor) -> Tensor:
        rows = x.with_data(values).select(some).data if batch.per_step else values[some]
        return rows.to(F64) if rows.is_floating_point() else rows

    return Batch(
        chosen,
        taken(batch.rows),
        None if batch.mask is None else taken(batch.mask),
        per_step=batch.per_step,
    )


def run(network: torch.nn.Module, x: Ragged, *, gradient: bool = False) -> Ran:
    """Run a network in float64, without dropout, and note what each recurrent layer was given.

    Args:
        network: takes a `Ragged`; its weights and its mode are as before afterwards.
        x: the batch.
        gradient: the first recurrent layer's input becomes a leaf, so that ∂output/∂x can be taken.
    Raises:
        OptionError: no recurrent layer.
        ValueRangeError: an output is not finite.
    """
    names = {id(layer): title(name, layer) for name, layer in recurrent_layers(network)}
    seen: list[tuple[str, RecurrentLayer, Ragged, Any]] = []

    def note(layer: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        assert isinstance(layer, RecurrentLayer)
        given, hx = arguments[0], (arguments[1] if len(arguments) > 1 else None)
        if not isinstance(given, Ragged):
            raise DTypeError(
                f"layer {names[id(layer)]!r} was given a {type(given).__name__} but must get a Ragged.",
                "Build the network with saiki.nn.Stack.",
            )
        if not seen and gradient:
            given = given.with_data(given.data.detach().requires_grad_())
        seen.append((names[id(layer)], layer, given, hx))
        return (given, *arguments[1:])

    with still(network, note), torch.set_grad_enabled(gradient):
        output = torch.func.functional_call(network, doubled(network), (x,))
    output = output[0] if isinstance(output, tuple) else output
    rows = output.data if isinstance(output, Ragged) else output
    if not bool(torch.isfinite(rows).all()):
        raise ValueRangeError(
            "the network's output is not finite on these sequences.", "Its weights may have exploded."
        )
    return Ran(output, seen[0][2], tuple(seen))


def tracks(ran: Ran) -> tuple[Track, ...]:
    """Every direction of every recurrent layer, unrolled again by `cell.step`, without gradients."""
    return tuple(track for entry in ran.inputs for track in _unrolled(*entry))


@torch.no_grad()
def _unrolled(name: str, layer: RecurrentLayer, given: Ragged, hx: Any) -> Iterator[Track]:  # noqa: ANN401
    weights = {key: value.detach().to(F64) for key, value in layer.named_parameters(recurse=False)}
    given = given.detach()
    initial = layer.initial_state(given.B) if hx is None else (hx if isinstance(hx, tuple) else (hx,))
    suffixes = ("", "_reverse") if layer.bidirectional else ("",)
    for level, cell in enumerate(layer.cells):
        outputs = []
        for d, suffix in enumerate(suffixes):
            read = given.reversed() if d else given
            own = {key: weights[f"{key}_l{level}{suffix}"] for key in cell.parameter_shapes()}
            start = tuple(part[level * len(suffixes) + d].detach().to(F64) for part in initial)
            full = name + (f".l{level}" if layer.num_layers > 1 else "") + (".reverse" if d else "")
            track = _walk(full, layer, level, cell.params(own), read, start)
            yield track
            out = track.states[1:, :, track.blocks()[cell.output]]
            rows = read.with_data(out[read.row_step, read.row_sequence])
            outputs.append((rows.reversed() if d else rows).data)
        given = given.with_data(torch.cat(outputs, dim=-1))


def _walk(
    name: str,
    layer: RecurrentLayer,
    level: int,
    params: Any,  # noqa: ANN401 - as the cell takes them
    x: Ragged,
    start: tuple[Tensor, ...],
) -> Track:
    cell = layer.cells[level]
    padded = x.to_padded()
    state = cell.state_type(*start)
    states, told = [torch.cat(tuple(state), dim=-1)], []
    for x_t in padded:
        state, gates = cell.step_with_gates(params, state, x_t)
        states.append(torch.cat(tuple(state), dim=-1))
        told.append(gates)
    gates = {key: torch.stack([step[key] for step in told]) for key in (told[0] if told else ())}
    return Track(name, layer, level, cell, params, padded, x.lengths, torch.stack(states), gates)


def recurrent_layers(network: torch.nn.Module) -> list[tuple[str, RecurrentLayer]]:
    """The network's recurrent layers by their path; OptionError if it has none."""
    if not isinstance(network, torch.nn.Module):
        raise DTypeError(
            f"network is a {type(network).__name__} but must be a network such as saiki.nn.Stack.",
            "Of an estimator give model.network_.",
        )
    found = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, RecurrentLayer)]
    if not found:
        raise OptionError(
            "the network has no recurrent layer, so there is no state to look at.",
            "Give one with an LSTM, GRU, RNN, Jordan or Recurrent layer.",
        )
    return found


def title(path: str, layer: torch.nn.Module) -> str:
    """What a layer is called: its path without the containers' own names."""
    short = ".".join(part for part in path.split(".") if part != "layers")
    return short or type(layer).__name__.lower()


def doubled(network: torch.nn.Module) -> dict[str, Tensor]:
    """A network's parameters and buffers in float64, by name, cut off from it."""
    return {
        name: value.detach().to(F64) if value.is_floating_point() else value
        for name, value in (*network.named_parameters(), *network.named_buffers())
    }


@contextmanager
def still(network: torch.nn.Module, note: Callable[..., Any]) -> Iterator[None]:
    """No dropout, and a hook before every recurrent layer; both are taken back."""
    modes = [(module, module.training) for module in network.modules()]
    hooks = [layer.register_forward_pre_hook(note) for _, layer in recurrent_layers(network)]
    try:
        network.eval()
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode


def last_rows(ran: Ran) -> Tensor:
    """(B, …) what the network said last of each sequence."""
    if isinstance(ran.output, Ragged):
        missing = ran.output.lengths == 0
        if bool(missing.any()):
            raise ShapeError(
                "the network's output has no step for some sequence.", "Leave such sequences out."
            )
        return ran.output.data[ran.output.last_rows]
    return ran.output
