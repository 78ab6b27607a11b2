"""The recurrent state of a network as tensors by name, for the rules that carry it from chunk to chunk.

state.LAYER.h  (B, size)     one a state of each recurrent layer, first axis the sequences; the layers of
                             one module with num_layers > 1 lie side by side, (B, num_layers · size)
steps          (B,) int64    steps that each sequence has had since it began; 0: the next one is its first
inputs         (B, W, …)     the last W inputs, the oldest first, for a rule that reads them again; `state`
                             is then the state before them
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from saiki.core.errors import DTypeError, OptionError, ShapeError, UsageError
from saiki.core.ragged import Ragged
from saiki.learning.rules import RuleState
from saiki.learning.sources import Batch
from saiki.nn import Last, Stack
from saiki.nn.flow import Layer
from saiki.nn.recurrent import RecurrentLayer
from saiki.nn.stack import StackState


def require_carrying(network: torch.nn.Module, rule: str) -> Stack:
    """The network as a stack whose state can be carried from chunk to chunk.

    Args:
        network: what is to learn.
        rule: the rule's name, for messages.
    Raises:
        OptionError: it is no `Stack`; a layer runs backwards or looks at other times; nothing is recurrent.
    """
    if not isinstance(network, Stack):
        raise OptionError(
            f"{rule} carries the state of a saiki.nn.Stack from chunk to chunk, and the network is a "
            f"{type(network).__name__}.",
            "Build it with Stack.build([...]), or use rule='bptt'.",
        )
    if not recurrent_layers(network):
        raise OptionError(
            f"{rule} carries the state of recurrent layers, and this network has none.",
            "Add one, such as LSTMConfig(hidden_size=32), or use rule='bptt'.",
        )
    for name, layer in network.layers.items():
        if isinstance(layer, RecurrentLayer):
            if layer.bidirectional:
                raise OptionError(
                    f"layer {name!r} is bidirectional, and {rule} reads a sequence chunk by chunk: its "
                    "backward direction starts at the sequence's end, and that future is not there yet.",
                    "Build it with bidirectional=False, or use rule='bptt', which waits for whole sequences.",
                )
        elif isinstance(layer, Last):
            if layer.both_ends:
                raise OptionError(
                    f"layer {name!r} reads both ends of a sequence, and {rule} reads it chunk by chunk.",
                    "Use Last() without both_ends, or rule='bptt'.",
                )
        elif isinstance(layer, Layer) and layer.over_time:
            raise OptionError(
                f"layer {name!r} ({type(layer).__name__}) looks at other steps of the sequence, and {rule} "
                "reads it chunk by chunk: the steps to come are not there yet, and those gone are let go.",
                "Leave it out (Last is allowed), or use rule='bptt', which holds whole sequences.",
            )
    return network


def recurrent_layers(network: Stack) -> dict[str, RecurrentLayer]:
    """The recurrent layers by name, in the order in which `Stack.run` carries them."""
    return {name: layer for name, layer in network.layers.items() if isinstance(layer, RecurrentLayer)}


def fresh_states(network: Stack, batch_size: int) -> dict[str, Tensor]:
    """`state.*` of sequences that have not begun, and their `steps`, 0: all zeros."""
    steps = torch.zeros(batch_size, dtype=torch.int64)
    blank = {
        _name(layer_name, state): layer._weight.new_zeros((batch_size, layer.num_layers * size))
        for layer_name, layer in recurrent_layers(network).items()
        for state, size in zip(layer.cell.states, layer.cell.state_sizes)
    }
    return {**blank, "steps": steps}


def stack_state(network: Stack, tensors: Mapping[str, Tensor], fresh: Tensor | None = None) -> StackState:
    """What `Stack.run` takes, out of `state.*`.

    Args:
        network: a stack that carries.
        tensors: `state.*` of B sequences.
        fresh: (B,) bool, the sequences that begin here. They start from the layers' own initial state, which
            has a gradient where it is learned, whatever stands in the tensors.
    Raises:
        ShapeError: a state is missing or of another shape.
    """
    parts: list[tuple[Tensor, ...]] = []
    for layer_name, layer in recurrent_layers(network).items():
        own: list[Tensor] = []
        for state, size in zip(layer.cell.states, layer.cell.state_sizes):
            name = _name(layer_name, state)
            value = tensors.get(name)
            if value is None or value.ndim != 2 or value.shape[1] != layer.num_layers * size:
                came = "missing" if value is None else f"{tuple(value.shape)}"
                raise ShapeError(
                    f"{name} is {came} but must be (B, {layer.num_layers * size}).",
                    "Start from rule.start(network, B) of the same network.",
                )
            own.append(value.unflatten(1, (layer.num_layers, size)).transpose(0, 1))  # (L, B, size)
        if fresh is not None and layer.learn_initial_state:
            begun = layer.initial_state(len(fresh))
            rows = fresh.to(own[0].device)[None, :, None]
            own = [torch.where(rows, start, value) for start, value in zip(begun, own)]
        parts.append(tuple(own))
    return tuple(parts)


def state_tensors(network: Stack, state: StackState) -> dict[str, Tensor]:
    """`state.*`, detached, out of what `Stack.run` returned."""
    found = {}
    for (layer_name, layer), part in zip(recurrent_layers(network).items(), state):
        for name, value in zip(layer.cell.states, part):
            found[_name(layer_name, name)] = value.detach().transpose(0, 1).flatten(1)  # (B, L·size)
    return found


def remembered_inputs(tensors: Mapping[str, Tensor], rows: Tensor | None = None) -> Ragged | None:
    """The inputs that are read again before new ones, or None where the rule remembers none.

    Args:
        tensors: of a rule's state.
        rows: (B,) bool, the sequences whose inputs are wanted; the others have none.
    """
    inputs = tensors.get("inputs")
    if inputs is None:
        return None
    kept = tensors["steps"].cpu().clamp(max=inputs.shape[1])
    return Ragged.from_padded(
        inputs, kept if rows is None else torch.where(rows, kept, 0), batch_first=True, name="inputs"
    )


def require_batch(batch: Batch, state: RuleState, rule: str) -> None:
    """Refuse a state of another number of sequences, and targets that are told of a whole sequence only.

    Raises:
        UsageError: no state at all.
        ShapeError: another number of sequences.
        DTypeError: target sequences of lengths of their own.
    """
    if isinstance(batch.targets, Ragged):
        raise DTypeError(
            f"{rule} reads a sequence in pieces, but its targets belong to the whole of it.",
            "Use rule='bptt'.",
        )
    if "steps" not in state.tensors:
        raise UsageError(
            f"{rule} got a state without tensors, but it carries one.", "Begin with rule.start(network, B)."
        )
    B = len(state.tensors["steps"])
    if batch.inputs.B != B:
        raise ShapeError(
            f"the chunk has {batch.inputs.B} sequences but the state is of {B}.",
            "Give every sequence in each chunk; one without new steps is empty.",
        )


def answers(network: Stack, inputs: Ragged, state: RuleState) -> Ragged | Tensor:
    """What the network says at the rows that come next, read from a rule's state; nothing moves on.

    The outputs are those that the rule's next `gradient` would compare with the targets of these rows.

    Args:
        network: a stack that carries.
        inputs: the next rows of each of the B sequences; a sequence may have none.
        state: of the rule.
    """
    steps = state.tensors.get("steps")
    before = remembered_inputs(state.tensors, inputs.lengths > 0)
    kept = torch.zeros(inputs.B, dtype=torch.int64) if before is None else before.lengths
    fresh = None if steps is None else steps.cpu() == kept
    start = stack_state(network, state.tensors, fresh)
    with torch.no_grad():
        outputs, _ = network.run(inputs if before is None else before.followed_by(inputs), start)
    return outputs.between(kept) if isinstance(outputs, Ragged) else outputs


def rows_between(batch: Batch, start: int | Tensor, stop: int | Tensor | None = None) -> Batch:
    """The steps from `start` up to `stop` of a batch of targets a step; bounds as for `Ragged.between`."""
    inputs: Ragged = batch.inputs
    return replace(
        batch,
        inputs=inputs.between(start, stop),
        targets=inputs.with_data(batch.rows).between(start, stop).data,
        mask=None if batch.mask is None else inputs.with_data(batch.mask).between(start, stop).data,
    )


def rows_followed_by(first: Batch, second: Batch) -> Batch:
    """The steps of the same sequences behind one another, targets a step."""
    masks = None
    if first.mask is not None or second.mask is not None:
        masks = [
            each.inputs.with_data(
                torch.ones_like(each.rows, dtype=torch.bool) if each.mask is None else each.mask
            )
            for each in (first, second)
        ]
    inputs, later = first.inputs, second.inputs
    return replace(
        first,
        inputs=inputs.followed_by(later),
        targets=inputs.with_data(first.targets).followed_by(later.with_data(second.targets)).data,
        mask=None if masks is None else masks[0].followed_by(masks[1]).data,
    )


def canonical(batch: Batch) -> Batch:
    """The batch with equal lengths in the user's order, in which outputs come back from a cut."""
    inputs: Ragged = batch.inputs
    order = torch.argsort(inputs.lengths, descending=True, stable=True)
    if torch.equal(order, inputs.order):
        return batch
    everyone = torch.arange(inputs.B)
    return replace(
        batch,
        inputs=inputs.select(everyone),
        targets=inputs.with_data(batch.rows).select(everyone).data,
        mask=None if batch.mask is None else inputs.with_data(batch.mask).select(everyone).data,
    )


def _name(layer: str, state: str) -> str:
    return f"state.{layer}.{state}"
