"""Recurrent layers: a cell run over time, in one or two directions, one layer on another.

`RNN`, `LSTM` and `GRU` stand in for torch.nn's layers: the same constructor, the same calls, the same
parameter names but for the bias, of which there is one as in the equations. `Jordan` is built the same way,
and `Recurrent` runs a cell of one's own. What the cell's options mean is said in `saiki.cells`.

| input | output |
|---|---|
| tensor (T, B, I), or (B, T, I) with `batch_first` | tensor of the same layout, D·K features |
| tensor (T, I), one sequence | tensor (T, D·K) |
| PackedSequence (of `torch.nn.utils.rnn`) | PackedSequence, the same lengths and order |
| jagged nested tensor | jagged nested tensor, the same lengths and order |
| Ragged | Ragged, the same lengths and order |

States are (num_layers·D, B, size), in the user's order. D is 2 if `bidirectional`, else 1; K is the width of
the cell's output (H; Jordan's is `output_size`). The backward direction starts at each sequence's own last
step. A sequence without steps keeps its initial state as its final one.
"""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar, final

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from saiki import cells
from saiki.cells import Cell, from_torch, to_torch, torch_difference
from saiki.core.checks import require_bool, require_int, require_probability, require_tensor
from saiki.core.custom import described
from saiki.core.errors import DTypeError, OptionError, SaikiError, SaikiWarning, ShapeError
from saiki.core.names import choose
from saiki.core.ragged import Ragged
from saiki.core.random import generator as make_generator
from saiki.engine import Direction, run_layer
from saiki.engine.dispatch import ENGINES
from saiki.nn.flow import dropout_mask, kind, require_dtype, require_like

Squashing = str | Callable[[Tensor], Tensor]
Hidden = Tensor | tuple[Tensor, ...]  # what torch calls hx: a tensor, or a tuple where a cell has two states
Sequences = TypeVar("Sequences", Tensor, PackedSequence, Ragged)

MAX_SIZE = 65_536  # units of a recurrent layer; a size from a file is checked before anything is allocated
MAX_LAYERS = 1_024
_ENGINES = {name: name for name in ("auto", *ENGINES)}


class _Batch(NamedTuple):
    """A batch at the engine's door, and the way back."""

    data: Tensor  # (N, I) packed time-major
    batch_sizes: Tensor  # (T,) int64 on the CPU
    order: (
        Tensor | None
    )  # (live,) the user's number of each packed row of step 0; None where they are the same
    B: int  # sequences, those without steps included
    back: Callable[[Tensor], Any]  # (N, K) -> the form in which the input came
    batched: bool  # False for one sequence (T, I): states have no batch axis


class RecurrentLayer(torch.nn.Module, abc.ABC):
    """What all recurrent layers share; use `RNN`, `Jordan`, `LSTM`, `GRU` or `Recurrent`.

    Parameters of layer l carry the suffix `_l0`, `_l1`, …, those of the backward direction `_l0_reverse`.
    With `learn_initial_state` each state has a parameter such as `h0_l0` (H,), zero at first, that every
    sequence of the batch starts from.
    """

    cell: Cell[Any, Any]  # of the first layer
    generator: torch.Generator  # for the masks between layers

    def __init__(
        self,
        cell: Cell[Any, Any],
        *,
        num_layers: int,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        return_states: bool,
        learn_initial_state: bool,
        engine: str | None,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.num_layers = require_int(num_layers, "num_layers", 1, MAX_LAYERS)
        self.batch_first = require_bool(batch_first, "batch_first")
        self.dropout = require_probability(dropout, "dropout")
        self.bidirectional = require_bool(bidirectional, "bidirectional")
        self.return_states = require_bool(return_states, "return_states")
        self.learn_initial_state = require_bool(learn_initial_state, "learn_initial_state")
        self.engine = engine if engine is None else choose(engine, _ENGINES, "engine")
        if self.dropout > 0.0 and self.num_layers == 1:
            warnings.warn(
                f"dropout={self.dropout} acts between layers and num_layers=1 has nothing between; "
                f"put a Dropout layer after this one",
                SaikiWarning,
                stacklevel=3,
            )
        source = make_generator(generator)
        dtype = require_dtype(dtype)
        device = torch.get_default_device() if device is None else torch.device(device)
        width = self.num_directions * cell.output_size
        self.cells = (cell, *(replace(cell, input_size=width) for _ in range(self.num_layers - 1)))
        for layer, layer_cell in enumerate(self.cells):
            for suffix in self._suffixes:
                drawn = layer_cell.initial_parameters(source, dtype=dtype, device=device)
                for name, value in drawn.items():
                    self.register_parameter(f"{name}_l{layer}{suffix}", torch.nn.Parameter(value))
                if self.learn_initial_state:
                    for name, size in zip(layer_cell.states, layer_cell.state_sizes):
                        start = torch.zeros(size, dtype=dtype, device=device)
                        self.register_parameter(f"{name}0_l{layer}{suffix}", torch.nn.Parameter(start))
        self.generator = make_generator(source, "dropout")

    # what it is

    @property
    def input_size(self) -> int:
        """I, the features of a step."""
        return self.cell.input_size

    @property
    def hidden_size(self) -> int:
        """H, the hidden units of each direction of each layer."""
        return self.cell.hidden_size

    @property
    def bias(self) -> bool:
        """True if the equations have their biases."""
        return self.cell.bias

    @property
    def num_directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """D·K, the features of a step of the output."""
        return self.num_directions * int(self.cell.output_size)

    @property
    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    @property
    def _weight(self) -> Tensor:
        """A parameter whose dtype and device stand for all."""
        weight: Tensor = next(self.parameters())
        return weight

    @property
    def _title(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """Options for print()."""
        parts = [str(self.input_size), str(self.hidden_size)]
        parts += [f"{name}={described(value)}" for name, value in self._options().items()]
        return ", ".join(parts)

    def _options(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        names: dict[str, Any] = {
            "num_layers": 1,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        names |= {"learn_initial_state": False, "return_states": False, "engine": None}
        ours = {name: getattr(self, name) for name in names if getattr(self, name) != names[name]}
        for name, field in self.cell.__dataclass_fields__.items():
            value = getattr(self.cell, name)
            if name not in ("input_size", "hidden_size") and value != field.default:
                ours[name] = value
        return ours

    # running

    def forward(
        self, input: Sequences, hx: Hidden | None = None, return_states: bool | None = None
    ) -> tuple[Sequences, Hidden] | tuple[Sequences, Hidden, dict[str, Sequences]]:
        """Run the layer over whole sequences.

        Args:
            input: (T, B, I), (B, T, I) with `batch_first`, (T, I), a PackedSequence, a Ragged or a jagged
                nested tensor.
            hx: states before the first step: h (num_layers·D, B, H), or (h, c) for an LSTM, (h, y) for a
                Jordan network, with y (num_layers·D, B, K); without the B axis for an input (T, I). Layer by
                layer, forward before backward; sequences in the user's order. If not given: zeros, or what
                was learned with `learn_initial_state`.
            return_states: also return every step's states and gates; the constructor's choice if not given.
        Returns:
            output: in the form of the input, D·K features a step.
            state: after the last step, in the form of `hx`.
            trace: only with `return_states`. Every c_t, gate and the like by name and layer ("c_l0",
                "i_l1_reverse"), each in the form of the output; pre-activations are not kept.
        Raises:
            DTypeError: an argument has the wrong type or dtype.
            ShapeError: an argument has the wrong shape.
            LengthError: a PackedSequence contradicts itself.
            ValueRangeError: input and weights are on different devices.
        """
        wanted = self.return_states if return_states is None else require_bool(return_states, "return_states")
        batch = self._door(input)
        initial = self._initial(hx, batch)  # a tensor (L·D, B, size) a state
        output, final, trace = self._run(batch, initial, wanted)
        if not batch.batched:
            final = tuple(value[:, 0] for value in final)
        state = final if len(final) > 1 else final[0]
        if not wanted:
            return batch.back(output), state
        return batch.back(output), state, {name: batch.back(value) for name, value in trace.items()}

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """The states that B sequences start from if no `hx` is given: one (num_layers·D, B, size) each."""
        return self._default_state(require_int(batch_size, "batch_size", 0))

    def _run(
        self, batch: _Batch, initial: tuple[Tensor, ...], trace: bool
    ) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
        """Unroll layer after layer: packed output (N, D·K), final states (L·D, B, size), trace by name."""
        data, D = batch.data, self.num_directions
        final: list[list[Tensor]] = [[] for _ in initial]  # by state, then by layer and direction
        traced: dict[str, Tensor] = {}
        directions: tuple[Direction, ...] = ("forward", "reverse") if self.bidirectional else ("forward",)
        for layer, cell in enumerate(self.cells):
            if layer > 0 and self.dropout > 0.0 and self.training:
                data = data * dropout_mask(tuple(data.shape), self.dropout, self.generator, data)
            starts = [tuple(value[layer * D + d] for value in initial) for d in range(D)]  # (B, size) each
            order = batch.order
            packed = [s if order is None else tuple(v.index_select(0, order) for v in s) for s in starts]
            ran = run_layer(
                cell,
                [self._parameters_of(layer, suffix) for suffix in self._suffixes],
                data,
                batch.batch_sizes,
                [cell.state_type(*state) for state in packed],
                directions,
                engine=self.engine,
                trace=trace,
            )
            data = ran.output
            for start, state, told, suffix in zip(starts, ran.states, ran.traces, self._suffixes):
                for kept, value, last in zip(final, start, state):
                    kept.append(last if order is None else value.index_copy(0, order, last))
                traced |= {f"{name}_l{layer}{suffix}": value for name, value in told.items()}
        return data, tuple(torch.stack(values) for values in final), traced

    def _parameters_of(self, layer: int, suffix: str) -> dict[str, Tensor]:
        return {
            name: getattr(self, f"{name}_l{layer}{suffix}") for name in self.cells[layer].parameter_shapes()
        }

    # the door

    def _door(self, input: object) -> _Batch:
        """Check the input and bring it into the engine's layout."""
        if isinstance(input, Ragged):
            return self._door_ragged(input, input.with_data)
        if isinstance(input, PackedSequence):
            # torch's own operators trust what is in it and read out of bounds if it lies
            ragged = Ragged.from_packed(input, name="input")
            return self._door_ragged(ragged, lambda rows: ragged.with_data(rows).to_packed())
        if not isinstance(input, Tensor):
            raise DTypeError(
                f"input is {kind(input)} but {self._title} takes a tensor, a PackedSequence or a Ragged.",
                "Bring a list of arrays in with Ragged.from_list(...).",
            )
        if input.is_nested:
            nested = Ragged.from_nested(input, name="input")
            return self._door_ragged(nested, lambda rows: nested.with_data(rows).to_nested())
        return self._door_dense(require_tensor(input, "input"))

    def _door_dense(self, x: Tensor) -> _Batch:
        layout = "(B, T, I)" if self.batch_first else "(T, B, I)"
        if x.ndim not in (2, 3):
            raise ShapeError(f"input is {tuple(x.shape)} but must be {layout}, or (T, I) for one sequence.")
        self._require_width(x, "input", layout if x.ndim == 3 else "(T, I)")
        batched = x.ndim == 3
        steps = x if batched else x[:, None]  # (T, 1, I)
        if batched and self.batch_first:
            steps = steps.transpose(0, 1)
        T, B, _ = steps.shape

        def back(rows: Tensor) -> Tensor:
            out = rows.reshape(T, B, rows.shape[-1])
            if not batched:
                return out[:, 0]
            return out.transpose(0, 1) if self.batch_first else out

        running = T if B > 0 else 0
        sizes = torch.full((running,), B, dtype=torch.int64)
        order = (
            None if running > 0 else torch.empty(0, dtype=torch.int64, device=x.device)
        )  # no row has a step
        return _Batch(steps.reshape(T * B, x.shape[-1]), sizes, order, B, back, batched)

    def _door_ragged(self, x: Ragged, back: Callable[[Tensor], Any]) -> _Batch:
        require_tensor(x.data, "input.data")
        if x.data.ndim != 2:
            raise ShapeError(
                f"input.data is {tuple(x.data.shape)} but must be (N, I) = (N, {self.input_size}): "
                f"one row of features a step."
            )
        self._require_width(x.data, "input.data", "(N, I)")
        order = x.order[: x.live].to(x.data.device)
        return _Batch(x.data, x.batch_sizes, order, x.B, back, True)

    def _require_width(self, x: Tensor, name: str, layout: str) -> None:
        if x.shape[-1] != self.input_size:
            expected = layout.replace("I)", f"{self.input_size})")
            hint = None
            if x.ndim == 3 and x.shape[1] == self.input_size:
                hint = "It looks channels-first: swap the last two axes."
            raise ShapeError(
                f"{name} is {tuple(x.shape)} but must be {layout} = {expected}: "
                f"the layer has input_size={self.input_size}.",
                hint,
            )
        require_like(x, self._weight, name, self._title)

    def _initial(self, hx: object, batch: _Batch) -> tuple[Tensor, ...]:
        """Check hx and return one (L·D, B, size) for each state."""
        if hx is None:
            return self._default_state(batch.B)
        names, sizes = self.cell.states, self.cell.state_sizes
        if len(names) == 1:
            if not isinstance(hx, Tensor):
                raise DTypeError(f"hx is {kind(hx)} but {self._title} takes one tensor, {names[0]}.")
            given: tuple[object, ...] = (hx,)
        else:
            wanted = f"({', '.join(names)})"
            if not isinstance(hx, tuple | list):
                raise DTypeError(f"hx is {kind(hx)} but {self._title} takes a tuple of tensors {wanted}.")
            if len(hx) != len(names):
                raise ShapeError(f"hx has {len(hx)} tensors but {self._title} takes {len(names)}: {wanted}.")
            given = tuple(hx)
        checked = []
        for name, size, value in zip(names, sizes, given):
            title = "hx" if len(names) == 1 else f"hx.{name}"
            value = require_tensor(value, title)
            LD = self.num_layers * self.num_directions
            shape = (LD, batch.B, size) if batch.batched else (LD, size)
            if tuple(value.shape) != shape:
                letters = "(num_layers·D, B, {})" if batch.batched else "(num_layers·D, {})"
                letter = "K" if name == "y" else "H"
                raise ShapeError(
                    f"{title} is {tuple(value.shape)} but must be {letters.format(letter)} = {shape}: "
                    f"the layer has num_layers={self.num_layers}, D={self.num_directions}, {letter}={size}.",
                    f"Start from layer.initial_state({batch.B})." if batch.batched else None,
                )
            require_like(value, self._weight, title, self._title)
            checked.append(value if batch.batched else value[:, None])
        return tuple(checked)

    def _default_state(self, B: int) -> tuple[Tensor, ...]:
        LD, weight = self.num_layers * self.num_directions, self._weight
        if not self.learn_initial_state:
            return tuple(weight.new_zeros((LD, B, size)) for size in self.cell.state_sizes)
        starts = []
        for name, size in zip(self.cell.states, self.cell.state_sizes):
            rows = [
                getattr(self, f"{name}0_l{layer}{suffix}")
                for layer in range(self.num_layers)
                for suffix in self._suffixes
            ]
            starts.append(torch.stack(rows)[:, None].expand(LD, B, size))
        return tuple(starts)

    # torch's layers

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load our parameters; torch's, told by their two biases, are brought into our form first."""
        for layer, cell in enumerate(self.cells):
            for suffix in self._suffixes:
                ending = f"_l{layer}{suffix}"
                if f"{prefix}weight_hr{ending}" in state_dict:
                    error_msgs.append(
                        f"{prefix}weight_hr{ending} is the projection of an LSTM with proj_size, "
                        f"which {self._title} does not have"
                    )
                if f"{prefix}bias_ih{ending}" not in state_dict:
                    continue
                keys = {
                    name: f"{prefix}{name}{ending}"
                    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                }
                theirs = {name: state_dict.pop(key) for name, key in keys.items() if key in state_dict}
                try:
                    ours = from_torch(cell, theirs)
                except SaikiError as error:
                    error_msgs.append(f"{prefix}*{ending}: {error}")
                    ours = {
                        name: value.detach() for name, value in self._parameters_of(layer, suffix).items()
                    }
                state_dict.update({f"{prefix}{name}{ending}": value for name, value in ours.items()})
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def to_torch(self) -> torch.nn.RNNBase:
        """Return torch.nn's layer with the same weights and, but for rounding, the same outputs.

        Raises:
            OptionError: torch has no layer with this cell's equations, or the initial state is learned.
        """
        difference = torch_difference(self.cell)
        if difference is not None:
            raise OptionError(f"{self._title} has no counterpart in torch: {difference}.")
        if self.learn_initial_state:
            raise OptionError(
                "torch's layers have no learned initial state, and this layer has learn_initial_state=True.",
                "Build without it, or give torch's layer layer.initial_state(B) as hx.",
            )
        weight = self._weight
        options: dict[str, Any] = (
            {"nonlinearity": self.cell.activation} if isinstance(self.cell, cells.Elman) else {}
        )
        module: torch.nn.RNNBase = _TORCH[type(self.cell)](
            self.input_size,
            self.hidden_size,
            num_layers=self.num_layers,
            bias=self.bias,
            batch_first=self.batch_first,
            bidirectional=self.bidirectional,
            device="meta",  # so that torch draws no numbers
            dtype=weight.dtype,
            **options,
        ).to_empty(device=weight.device)
        module.dropout = self.dropout
        state = {
            f"{name}_l{layer}{suffix}": value.detach()
            for layer, cell in enumerate(self.cells)
            for suffix in self._suffixes
            for name, value in to_torch(cell, self._parameters_of(layer, suffix)).items()
        }
        module.load_state_dict(state)
        return module.train(self.training)


_TORCH: dict[type, Callable[..., torch.nn.RNNBase]] = {
    cells.Elman: torch.nn.RNN,
    cells.LSTM: torch.nn.LSTM,
    cells.GRU: torch.nn.GRU,
}


def _torch_options(module: object, family: type[torch.nn.RNNBase]) -> dict[str, Any]:
    """The constructor options of a torch layer, for ours."""
    if not isinstance(module, family):
        raise DTypeError(f"module is {kind(module)} but must be a torch.nn.{family.__name__}.")
    _no_projection(module.proj_size)
    weight = next(module.parameters())
    names = ("num_layers", "bias", "batch_first", "bidirectional")
    return {name: getattr(module, name) for name in names} | {
        "input_size": module.input_size,
        "hidden_size": module.hidden_size,
        "dropout": float(module.dropout) if module.num_layers > 1 else 0.0,
        "device": weight.device,
        "dtype": weight.dtype,
    }


Layer = TypeVar("Layer", bound=RecurrentLayer)


def _filled(layer: Layer, module: torch.nn.RNNBase) -> Layer:
    """Our layer with a torch layer's weights and mode."""
    layer.load_state_dict(module.state_dict())
    layer.train(module.training)
    return layer


def _no_projection(proj_size: object) -> None:
    """Refuse proj_size, which torch's LSTM has and no cell here."""
    if proj_size != 0:
        raise OptionError(
            f"proj_size={proj_size!r} is not supported: h would be R's output, a cell of another equation.",
            "Leave it out, and put a Dense layer after this one to narrow the output.",
        )


@final
class RNN(RecurrentLayer):
    """The simple recurrent (Elman) layer: h_t = f(W x_t + R h_{t-1} + b).

    Stands in for torch.nn.RNN; the options after `dtype` are ours.

    Args:
        input_size: I, features a step.
        hidden_size: H, hidden units.
        num_layers: layers, each reading the outputs of the one below.
        nonlinearity: torch's name for `activation`.
        bias: with b.
        batch_first: tensors are (B, T, ...) instead of (T, B, ...); states are (num_layers·D, B, H) either
            way.
        dropout: probability of a zero in the outputs between layers, while training.
        bidirectional: a second direction from each sequence's end; outputs side by side.
        device: where the parameters live.
        dtype: of the parameters; torch's default if not given.
        activation: f by name ("tanh", "relu", "softsign", ...), or a function of a tensor (reference engine).
        return_states: calls also return every h_t and gate.
        learn_initial_state: the state before the first step is a parameter.
        engine: "reference", "torch_fused", ...; None leaves the choice to `saiki.engine`.
        generator: for the initial weights (W Glorot uniform, R orthogonal) and, derived, the dropout masks.
    Raises:
        OptionError, DTypeError, ValueRangeError: an option is unknown, of the wrong type or out of range.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Squashing | None = None,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        proj_size: int = 0,
        activation: Squashing | None = None,
        return_states: bool = False,
        learn_initial_state: bool = False,
        engine: str | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        _no_projection(proj_size)
        if activation is not None and nonlinearity is not None and activation != nonlinearity:
            raise OptionError(
                f"nonlinearity={nonlinearity!r} and activation={activation!r} are one option; give one."
            )
        cell = cells.Elman(
            require_int(input_size, "input_size", 1, MAX_SIZE),
            require_int(hidden_size, "hidden_size", 1, MAX_SIZE),
            bias=bias,
            activation=next((name for name in (activation, nonlinearity) if name is not None), "tanh"),
        )
        super().__init__(
            cell,
            num_layers=num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
            return_states=return_states,
            learn_initial_state=learn_initial_state,
            engine=engine,
            generator=generator,
        )

    @classmethod
    def from_torch(cls, module: torch.nn.RNN) -> RNN:
        """Our layer with the options and weights of a torch.nn.RNN (its two biases summed).

        Raises:
            DTypeError: not a torch.nn.RNN.
        """
        options = _torch_options(module, torch.nn.RNN)
        return _filled(cls(**options, activation=module.nonlinearity), module)


@final
class Jordan(RecurrentLayer):
    """The Jordan layer, whose output is fed back.

        h_t = f(W x_t + R h_{t-1} + V y_{t-1} + b)        y_t = g(W_y h_t + b_y)

    The output is y; `return_states` gives h. `hx` and the final state are (h, y).

    Args:
        input_size: I, features a step.
        hidden_size: H, hidden units.
        num_layers: layers, each reading the outputs of the one below.
        bias: with b and b_y.
        batch_first: tensors are (B, T, ...) instead of (T, B, ...).
        dropout: probability of a zero in the outputs between layers, while training.
        bidirectional: a second direction from each sequence's end; outputs side by side.
        device: where the parameters live.
        dtype: of the parameters; torch's default if not given.
        output_size: K, the width of y_t; `hidden_size` if not given.
        activation: f by name, or a function of a tensor (reference engine).
        output_activation: g likewise.
        hidden_feedback: False leaves R out, the classic form of 1986.
        return_states: calls also return every h_t and gate.
        learn_initial_state: the state before the first step is a parameter.
        engine: "reference", ...; None leaves the choice to `saiki.engine`.
        generator: for the initial weights and, derived, the dropout masks.
    Raises:
        OptionError, DTypeError, ValueRangeError: an option is unknown, of the wrong type or out of range.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        output_size: int | None = None,
        activation: Squashing = "tanh",
        output_activation: Squashing = "identity",
        hidden_feedback: bool = True,
        return_states: bool = False,
        learn_initial_state: bool = False,
        engine: str | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        hidden_size = require_int(hidden_size, "hidden_size", 1, MAX_SIZE)
        cell = cells.Jordan(
            require_int(input_size, "input_size", 1, MAX_SIZE),
            hidden_size,
            hidden_size if output_size is None else require_int(output_size, "output_size", 1, MAX_SIZE),
            bias=bias,
            activation=activation,
            output_activation=output_activation,
            hidden_feedback=hidden_feedback,
        )
        super().__init__(
            cell,
            num_layers=num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
            return_states=return_states,
            learn_initial_state=learn_initial_state,
            engine=engine,
            generator=generator,
        )


@final
class LSTM(RecurrentLayer):
    """The long short-term memory layer; the equations are in `saiki.cells.lstm`.

    Stands in for torch.nn.LSTM; the options after `dtype` are ours. `hx` and the final state are (h, c).

    Args:
        input_size: I, features a step.
        hidden_size: H, hidden units.
        num_layers: layers, each reading the outputs of the one below.
        bias: with b (the forget gate's starts at 1).
        batch_first: tensors are (B, T, ...) instead of (T, B, ...).
        dropout: probability of a zero in the outputs between layers, while training.
        bidirectional: a second direction from each sequence's end; outputs side by side.
        proj_size: torch has it, we do not: only 0.
        device: where the parameters live.
        dtype: of the parameters; torch's default if not given.
        forget_gate: False is the constant error carousel c_t = c_{t-1} + i ∘ g.
        peepholes: the gates see the cell state.
        coupled: f = 1 - i.
        gate_activation: of i, f and o, by name, or a function of a tensor (reference engine).
        activation: of the candidate g, likewise.
        output_activation: of c_t, likewise.
        return_states: calls also return every c_t and gate.
        learn_initial_state: the state before the first step is a parameter.
        engine: "reference", "torch_fused", ...; None leaves the choice to `saiki.engine`.
        generator: for the initial weights (W Glorot uniform, R orthogonal a gate) and, derived, the dropout
            masks.
    Raises:
        OptionError, DTypeError, ValueRangeError: an option is unknown, of the wrong type or out of range.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        forget_gate: bool = True,
        peepholes: bool = False,
        coupled: bool = False,
        gate_activation: Squashing = "sigmoid",
        activation: Squashing = "tanh",
        output_activation: Squashing = "tanh",
        return_states: bool = False,
        learn_initial_state: bool = False,
        engine: str | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        _no_projection(proj_size)
        cell = cells.LSTM(
            require_int(input_size, "input_size", 1, MAX_SIZE),
            require_int(hidden_size, "hidden_size", 1, MAX_SIZE),
            bias=bias,
            forget_gate=forget_gate,
            peepholes=peepholes,
            coupled=coupled,
            gate_activation=gate_activation,
            activation=activation,
            output_activation=output_activation,
        )
        super().__init__(
            cell,
            num_layers=num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
            return_states=return_states,
            learn_initial_state=learn_initial_state,
            engine=engine,
            generator=generator,
        )

    @classmethod
    def from_torch(cls, module: torch.nn.LSTM) -> LSTM:
        """Our layer with the options and weights of a torch.nn.LSTM (its two biases summed).

        Raises:
            DTypeError: not a torch.nn.LSTM.
            OptionError: it has a proj_size.
        """
        return _filled(cls(**_torch_options(module, torch.nn.LSTM)), module)


@final
class GRU(RecurrentLayer):
    """The gated recurrent layer; the equations are in `saiki.cells.gru`.

    Stands in for torch.nn.GRU; the options after `dtype` are ours.

    Args:
        input_size: I, features a step.
        hidden_size: H, hidden units.
        num_layers: layers, each reading the outputs of the one below.
        bias: with b, and b_hn where the reset gate comes after the product.
        batch_first: tensors are (B, T, ...) instead of (T, B, ...).
        dropout: probability of a zero in the outputs between layers, while training.
        bidirectional: a second direction from each sequence's end; outputs side by side.
        proj_size: torch's signature has it; only 0.
        device: where the parameters live.
        dtype: of the parameters; torch's default if not given.
        reset: "after", torch's form: n = f(W x + b + r ∘ (R h + b_hn)); "before", the paper's: R (r ∘ h).
        gate_activation: of r and z, by name, or a function of a tensor (reference engine).
        activation: of the candidate n, likewise.
        return_states: calls also return every gate.
        learn_initial_state: the state before the first step is a parameter.
        engine: "reference", "torch_fused", ...; None leaves the choice to `saiki.engine`.
        generator: for the initial weights (W Glorot uniform, R orthogonal a gate) and, derived, the dropout
            masks.
    Raises:
        OptionError, DTypeError, ValueRangeError: an option is unknown, of the wrong type or out of range.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        reset: str = "after",
        gate_activation: Squashing = "sigmoid",
        activation: Squashing = "tanh",
        return_states: bool = False,
        learn_initial_state: bool = False,
        engine: str | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        _no_projection(proj_size)
        cell = cells.GRU(
            require_int(input_size, "input_size", 1, MAX_SIZE),
            require_int(hidden_size, "hidden_size", 1, MAX_SIZE),
            bias=bias,
            reset=reset,
            gate_activation=gate_activation,
            activation=activation,
        )
        super().__init__(
            cell,
            num_layers=num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
            return_states=return_states,
            learn_initial_state=learn_initial_state,
            engine=engine,
            generator=generator,
        )

    @classmethod
    def from_torch(cls, module: torch.nn.GRU) -> GRU:
        """Our layer with the options and weights of a torch.nn.GRU (biases summed, but the candidate's).

        Raises:
            DTypeError: not a torch.nn.GRU.
        """
        return _filled(cls(**_torch_options(module, torch.nn.GRU)), module)


@final
class Recurrent(RecurrentLayer):
    """Any cell over time: one of your own, or a built-in one as a value.

    Args:
        cell: its `input_size` is that of the first layer; the layers above take the width of the one below.
        num_layers: layers, each reading the outputs of the one below.
        batch_first: tensors are (B, T, ...) instead of (T, B, ...).
        dropout: probability of a zero in the outputs between layers, while training.
        bidirectional: a second direction from each sequence's end; outputs side by side.
        device: where the parameters live.
        dtype: of the parameters; torch's default if not given.
        return_states: calls also return every state and gate.
        learn_initial_state: the state before the first step is a parameter.
        engine: "reference", ...; None leaves the choice to `saiki.engine`.
        generator: for the initial weights and, derived, the dropout masks.
    Raises:
        DTypeError: not a cell.
    """

    def __init__(
        self,
        cell: Cell[Any, Any],
        num_layers: int = 1,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        return_states: bool = False,
        learn_initial_state: bool = False,
        engine: str | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        if not isinstance(cell, Cell):
            raise DTypeError(
                f"cell is {kind(cell)} but must be a cell, such as saiki.cells.LSTM(input_size, hidden_size)."
            )
        super().__init__(
            cell,
            num_layers=num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
            return_states=return_states,
            learn_initial_state=learn_initial_state,
            engine=engine,
            generator=generator,
        )

    def extra_repr(self) -> str:
        """Options for print(), the cell's class first."""
        return f"{type(self.cell).__name__}, {super().extra_repr()}"
