"""Layers as values: a frozen dataclass each, without the input size, that a `Stack` turns into a module.

    network = [LSTMConfig(hidden_size=64), DropoutConfig(p=0.2), ("pool", LastConfig()), DenseConfig(size=5)]

A config checks itself where it is made. How it is written in TOML and JSON says `saiki.nn.tables`.
"""

from __future__ import annotations

import abc
import functools
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal, Self, Union, final, get_args, get_origin, get_type_hints

import torch
from annotated_types import Interval

from saiki.cells import CELLS, Cell
from saiki.core.activations import ACTIVATIONS, get_activation
from saiki.core.checks import require_bool, require_int, require_number
from saiki.core.errors import DTypeError, OptionError
from saiki.core.names import choose, unknown
from saiki.nn import basic, convolution, elementwise, pooling, recurrent
from saiki.nn.basic import LAYER_ACTIVATIONS, MAX_EMBEDDINGS
from saiki.nn.flow import kind
from saiki.nn.recurrent import MAX_LAYERS, Squashing

Units = Annotated[int, Interval(ge=1, le=recurrent.MAX_SIZE)]
Width = Annotated[int, Interval(ge=1, le=basic.MAX_SIZE)]
Probability = Annotated[float, Interval(ge=0.0, le=1.0)]


@dataclass(frozen=True, kw_only=True)
class LayerConfig(abc.ABC):
    """What a layer is, but for the size of its input, which the network gives it.

    An activation is a name, or a function of a tensor, which runs on the reference engine.

    Class attributes: `type`, its name in files; `module`, what it builds; `over_time`, whether it needs a
    ragged batch; `pools`, whether it makes one row a sequence of it.

    Raises:
        DTypeError, ValueRangeError, OptionError: a field has the wrong type, is out of range, or is an
            unknown name (the nearest one is offered).
    """

    type: ClassVar[str]
    module: ClassVar[Any]
    over_time: ClassVar[bool] = False
    pools: ClassVar[bool] = False
    activations: ClassVar[Sequence[str]] = tuple(ACTIVATIONS)

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            _check(getattr(self, name), hint, name, self.activations)

    @abc.abstractmethod
    def output_size(self, input_size: int) -> int:
        """Features a step (or, after pooling, a row) that come out where `input_size` go in.

        Raises:
            ShapeError: the layer cannot take so many.
        """

    def build(
        self,
        input_size: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> torch.nn.Module:
        """Make the module.

        Args:
            input_size: features that go in.
            generator: for initial weights and dropout masks; the same state gives the same bits.
            dtype: of the parameters; torch's default if not given.
            device: where they live.
        """
        made: torch.nn.Module = self.module(
            input_size, **self._arguments(), generator=generator, dtype=dtype, device=device
        )
        return made

    def _arguments(self) -> dict[str, Any]:
        """The module's keyword arguments."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, module: torch.nn.Module) -> Self:
        """The config of a built module."""
        return cls(**{field.name: cls._read(module, field.name) for field in fields(cls)})

    @classmethod
    def _read(cls, module: torch.nn.Module, name: str) -> Any:  # noqa: ANN401
        return getattr(module, name)


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(LayerConfig):
    """What all recurrent layers have.

    Args:
        hidden_size: H, hidden units of each direction.
        num_layers: layers, one on another.
        bias: with b.
        dropout: between the layers, while training.
        bidirectional: a second direction from each sequence's end.
        learn_initial_state: the state before the first step is a parameter.
        engine: which engine runs it; None leaves the choice to `saiki.engine`.
    """

    over_time: ClassVar[bool] = True

    hidden_size: Units
    num_layers: Annotated[int, Interval(ge=1, le=MAX_LAYERS)] = 1
    bias: bool = True
    dropout: Probability = 0.0
    bidirectional: bool = False
    learn_initial_state: bool = False
    engine: Literal["auto", "reference", "torch_fused", "cpu"] | None = None

    def output_size(self, input_size: int) -> int:
        """D·H."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    @classmethod
    def _read(cls, module: torch.nn.Module, name: str) -> Any:  # noqa: ANN401
        return getattr(module if hasattr(module, name) else module.cell, name)


@final
@dataclass(frozen=True, kw_only=True)
class RNNConfig(RecurrentConfig):
    """An `RNN` (Elman) layer; see there for the options."""

    type: ClassVar[str] = "rnn"
    module: ClassVar[Any] = recurrent.RNN

    activation: Squashing = "tanh"


@final
@dataclass(frozen=True, kw_only=True)
class JordanConfig(RecurrentConfig):
    """A `Jordan` layer; see there for the options.

    Args:
        size: K, the width of the output that is fed back; `hidden_size` if not given.
    """

    type: ClassVar[str] = "jordan"
    module: ClassVar[Any] = recurrent.Jordan

    size: Units | None = None
    activation: Squashing = "tanh"
    output_activation: Squashing = "identity"
    hidden_feedback: bool = True

    def output_size(self, input_size: int) -> int:
        """D·K."""
        return (self.hidden_size if self.size is None else self.size) * (2 if self.bidirectional else 1)

    def _arguments(self) -> dict[str, Any]:
        arguments = super()._arguments()
        return arguments | {"output_size": arguments.pop("size")}

    @classmethod
    def _read(cls, module: torch.nn.Module, name: str) -> Any:  # noqa: ANN401
        if name == "size":
            return module.cell.output_size  # type: ignore[union-attr]
        return super()._read(module, name)


@final
@dataclass(frozen=True, kw_only=True)
class LSTMConfig(RecurrentConfig):
    """An `LSTM` layer; see there for the options."""

    type: ClassVar[str] = "lstm"
    module: ClassVar[Any] = recurrent.LSTM

    forget_gate: bool = True
    peepholes: bool = False
    coupled: bool = False
    gate_activation: Squashing = "sigmoid"
    activation: Squashing = "tanh"
    output_activation: Squashing = "tanh"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coupled and not self.forget_gate:
            raise OptionError(
                "coupled=True makes the forget gate 1 - i, but forget_gate=False says there is none."
            )


@final
@dataclass(frozen=True, kw_only=True)
class GRUConfig(RecurrentConfig):
    """A `GRU` layer; see there for the options."""

    type: ClassVar[str] = "gru"
    module: ClassVar[Any] = recurrent.GRU

    reset: Literal["after", "before"] = "after"
    gate_activation: Squashing = "sigmoid"
    activation: Squashing = "tanh"


@final
@dataclass(frozen=True, kw_only=True)
class ElementwiseLSTMConfig(RecurrentConfig):
    """An `ElementwiseLSTM` layer; see there for the options."""

    type: ClassVar[str] = "elementwise_lstm"
    module: ClassVar[Any] = elementwise.ElementwiseLSTM

    gate_activation: Squashing = "sigmoid"
    activation: Squashing = "tanh"
    output_activation: Squashing = "tanh"


@final
@dataclass(frozen=True, kw_only=True)
class CellConfig(RecurrentConfig):
    """A `Recurrent` layer: a cell of one's own over time.

    Args:
        cell: the class, a subclass of `saiki.cells.Cell`; or the name of a built-in one.
        options: the class's own options, without the sizes and `bias`.

    In files the class stands under its attribute `name`, or under the name it was defined with.
    """

    type: ClassVar[str] = "recurrent"
    module: ClassVar[Any] = recurrent.Recurrent

    cell: str | Callable[..., Cell[Any, Any]]
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        cell = choose(self.cell, CELLS, "cell") if isinstance(self.cell, str) else self.cell
        if not (isinstance(cell, type) and issubclass(cell, Cell)):
            raise DTypeError(f"cell is {kind(cell)} but must be a subclass of saiki.cells.Cell.")
        object.__setattr__(self, "cell", cell)
        if not isinstance(self.options, Mapping):
            raise DTypeError(f"options is {kind(self.options)} but must be a table of the cell's options.")
        own = _own_fields(cell)
        for name in self.options:
            if name not in own:
                raise OptionError(unknown(name, own, f"option of {cell_name(cell)}"))
        for name, needed in own.items():
            if needed and name not in self.options:
                raise OptionError(f"options lacks {name}, which the cell {cell_name(cell)} needs.")

    def output_size(self, input_size: int) -> int:
        """D·K."""
        return int(self._cell(input_size).output_size) * (2 if self.bidirectional else 1)

    def build(
        self,
        input_size: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> torch.nn.Module:
        """Make the module."""
        of_cell = ("hidden_size", "bias", "cell", "options")
        layer = {name: value for name, value in self._arguments().items() if name not in of_cell}
        return recurrent.Recurrent(
            self._cell(input_size), **layer, generator=generator, dtype=dtype, device=device
        )

    def _cell(self, input_size: int) -> Cell[Any, Any]:
        make = typing.cast("type[Cell[Any, Any]]", self.cell)
        return make(input_size, self.hidden_size, bias=self.bias, **self.options)

    @classmethod
    def _read(cls, module: torch.nn.Module, name: str) -> Any:  # noqa: ANN401
        made: Any = module.cell
        if name == "cell":
            return type(made)
        if name == "options":
            return {own: getattr(made, own) for own in _own_fields(type(made))}
        return super()._read(module, name)


def _own_fields(cell: type[Cell[Any, Any]]) -> dict[str, bool]:
    """The options of a cell beyond what every cell has, and whether each must be given."""
    common = {each.name for each in fields(Cell)}
    own = [each for each in fields(cell) if each.init and each.name not in common]
    return {each.name: each.default is MISSING and each.default_factory is MISSING for each in own}


def cell_name(cell: type[Cell[Any, Any]]) -> str:
    """What a cell's class is called in files: its own `name`, or the name it was defined with."""
    return cell.__name__ if cell.name == Cell.name else cell.name


@final
@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig(LayerConfig):
    """An `Embedding`: ids become vectors.

    Args:
        num_embeddings: V; ids run from 0 to V - 1.
        size: width of a vector.
        column: the feature that holds the id; None: the input is one id a step.
        frozen: the vectors are not trained.
    """

    type: ClassVar[str] = "embedding"
    module: ClassVar[Any] = basic.Embedding

    num_embeddings: Annotated[int, Interval(ge=1, le=MAX_EMBEDDINGS)]
    size: Width
    column: Annotated[int, Interval(ge=0, le=basic.MAX_SIZE)] | None = None
    frozen: bool = False

    def output_size(self, input_size: int) -> int:
        """The vector's width, and what passes through beside it."""
        return basic.embedding_width(input_size, self.size, self.column)

    def build(
        self,
        input_size: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> torch.nn.Module:
        """Make the module."""
        return basic.Embedding(**self._arguments(), generator=generator, dtype=dtype, device=device)


@final
@dataclass(frozen=True, kw_only=True)
class DenseConfig(LayerConfig):
    """A `Dense` layer: f(W x + b).

    Args:
        size: K, features out.
        activation: f by name; "softmax" is taken over the features.
        bias: with b.
    """

    type: ClassVar[str] = "dense"
    module: ClassVar[Any] = basic.Dense
    activations: ClassVar[Sequence[str]] = LAYER_ACTIVATIONS

    size: Width
    activation: Squashing = "identity"
    bias: bool = True

    def output_size(self, input_size: int) -> int:
        """K."""
        return self.size

    @classmethod
    def _read(cls, module: torch.nn.Module, name: str) -> Any:  # noqa: ANN401
        return module.bias is not None if name == "bias" else getattr(module, name)


@dataclass(frozen=True, kw_only=True)
class _Plain(LayerConfig):
    """A layer without parameters, which does not ask how many features go in."""

    def output_size(self, input_size: int) -> int:
        """As many as go in."""
        return input_size

    def build(
        self,
        input_size: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> torch.nn.Module:
        """Make the module; it has no parameters."""
        made: torch.nn.Module = self.module(**self._arguments())
        return made


@final
@dataclass(frozen=True, kw_only=True)
class ActivationConfig(_Plain):
    """An `Activation` as a layer of its own.

    Args:
        activation: by name; "softmax" is taken over the features.
    """

    type: ClassVar[str] = "activation"
    module: ClassVar[Any] = basic.Activation
    activations: ClassVar[Sequence[str]] = LAYER_ACTIVATIONS

    activation: Squashing


@final
@dataclass(frozen=True, kw_only=True)
class DropoutConfig(_Plain):
    """A `Dropout`.

    Args:
        p: probability of a zero, while training.
        locked: one mask a sequence instead of one a step.
    """

    type: ClassVar[str] = "dropout"
    module: ClassVar[Any] = basic.Dropout

    p: Probability = 0.5
    locked: bool = False

    def build(
        self,
        input_size: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> torch.nn.Module:
        """Make the module; its own generator is derived from `generator`."""
        return basic.Dropout(self.p, locked=self.locked, generator=generator)


@final
@dataclass(frozen=True, kw_only=True)
class LayerNormConfig(LayerConfig):
    """A `LayerNorm`.

    Args:
        eps: ε, keeps a constant step from dividing by zero.
    """

    type: ClassVar[str] = "layer_norm"
    module: ClassVar[Any] = basic.LayerNorm

    eps: Annotated[float, Interval(gt=0.0, le=1.0)] = 1e-5

    def output_size(self, input_size: int) -> int:
        """As many as go in."""
        return input_size

    def build(
        self,
        input_size: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> torch.nn.Module:
        """Make the module; nothing in it is random."""
        return basic.LayerNorm(input_size, eps=self.eps, dtype=dtype, device=device)


@final
@dataclass(frozen=True, kw_only=True)
class SegmentConfig(_Plain):
    """A `Segment`: pieces of several steps become one step each.

    Args:
        length: L, steps a piece.
    """

    type: ClassVar[str] = "segment"
    module: ClassVar[Any] = pooling.Segment
    over_time: ClassVar[bool] = True

    length: Annotated[int, Interval(ge=1, le=pooling.MAX_SEGMENT)]

    def output_size(self, input_size: int) -> int:
        """L·F."""
        return self.length * input_size


@final
@dataclass(frozen=True, kw_only=True)
class ConvolutionConfig(LayerConfig):
    """A `Convolution` over time; see there for the options.

    Args:
        size: K, features out.
        kernel_size: k, steps that one output step sees.
        stride: S, steps from one output step to the next.
        dilation: D, steps between those that are seen.
        causal: no output step sees a later step.
        padding: zeros at either end; None keeps ⌈T / S⌉ steps.
        bias: with b.
    """

    type: ClassVar[str] = "convolution"
    module: ClassVar[Any] = convolution.Convolution
    over_time: ClassVar[bool] = True

    size: Width
    kernel_size: Annotated[int, Interval(ge=1, le=convolution.MAX_KERNEL)]
    stride: Annotated[int, Interval(ge=1, le=convolution.MAX_KERNEL)] = 1
    dilation: Annotated[int, Interval(ge=1, le=convolution.MAX_KERNEL)] = 1
    causal: bool = False
    padding: Annotated[int, Interval(ge=0, le=convolution.MAX_KERNEL)] | None = None
    bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        convolution.require_one_padding(self.causal, self.padding)

    def output_size(self, input_size: int) -> int:
        """K."""
        return self.size

    @classmethod
    def _read(cls, module: torch.nn.Module, name: str) -> Any:  # noqa: ANN401
        return module.bias is not None if name == "bias" else getattr(module, name)


@final
@dataclass(frozen=True, kw_only=True)
class LastConfig(_Plain):
    """The `Last` step of each sequence.

    Args:
        both_ends: after a bidirectional layer: the backward half from the first step.
    """

    type: ClassVar[str] = "last"
    module: ClassVar[Any] = pooling.Last
    over_time: ClassVar[bool] = True
    pools: ClassVar[bool] = True

    both_ends: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class MeanConfig(_Plain):
    """The `Mean` over time."""

    type: ClassVar[str] = "mean"
    module: ClassVar[Any] = pooling.Mean
    over_time: ClassVar[bool] = True
    pools: ClassVar[bool] = True


@final
@dataclass(frozen=True, kw_only=True)
class MaxConfig(_Plain):
    """The `Max` over time."""

    type: ClassVar[str] = "max"
    module: ClassVar[Any] = pooling.Max
    over_time: ClassVar[bool] = True
    pools: ClassVar[bool] = True


@final
@dataclass(frozen=True, kw_only=True)
class AttentionPoolConfig(LayerConfig):
    """An `AttentionPool`: a learned weighted mean over time.

    Args:
        size: A, units of the score; as many as features if not given.
        last: score against the last step, and give it beside the mean.
        both_ends: with `last`, after a bidirectional layer.
    """

    type: ClassVar[str] = "attention_pool"
    module: ClassVar[Any] = pooling.AttentionPool
    over_time: ClassVar[bool] = True
    pools: ClassVar[bool] = True

    size: Units | None = None
    last: bool = False
    both_ends: bool = False

    def output_size(self, input_size: int) -> int:
        """As many as go in, or twice as many with the last step beside the mean."""
        return input_size * (1 + self.last)


LAYERS: dict[str, type[LayerConfig]] = {
    config.type: config
    for config in (
        RNNConfig,
        JordanConfig,
        LSTMConfig,
        GRUConfig,
        ElementwiseLSTMConfig,
        CellConfig,
        EmbeddingConfig,
        DenseConfig,
        ActivationConfig,
        DropoutConfig,
        LayerNormConfig,
        SegmentConfig,
        ConvolutionConfig,
        LastConfig,
        MeanConfig,
        MaxConfig,
        AttentionPoolConfig,
    )
}


def config_of(module: torch.nn.Module) -> LayerConfig:
    """The config of a built module.

    Raises:
        OptionError: it is no layer that has a config.
    """
    for config in LAYERS.values():
        if type(module) is config.module:
            return config.of(module)
    raise OptionError(
        f"{type(module).__name__} has no layer config, so it cannot be written down.",
        f"Layers with one: {', '.join(LAYERS)}.",
    )


@functools.cache
def _hints(config: type[LayerConfig]) -> dict[str, Any]:
    """The type of each field, bounds included."""
    hints = get_type_hints(config, include_extras=True)
    return {field.name: hints[field.name] for field in fields(config)}


def _check(value: object, hint: Any, name: str, activations: Sequence[str]) -> None:  # noqa: ANN401
    """Check one field by its type; see `LayerConfig` for the errors."""
    if get_origin(hint) in (Union, types.UnionType):
        if value is None:
            return
        if callable(value) and any(get_origin(option) is Callable for option in get_args(hint)):
            if name.endswith("activation"):
                get_activation(typing.cast("Squashing", value))
            return
        hint = next(option for option in get_args(hint) if option is not types.NoneType)
    bounds: list[Interval] = []
    if get_origin(hint) is Annotated:
        bounds = [note for note in get_args(hint)[1:] if isinstance(note, Interval)]
        hint = get_args(hint)[0]
    low, high = (bounds[0].ge, bounds[0].le) if bounds else (None, None)
    if hint is int:
        require_int(value, name, typing.cast("int | None", low), typing.cast("int | None", high))
    elif hint is float:
        above = bounds[0].gt if bounds else None
        require_number(
            value,
            name,
            typing.cast("float | None", low),
            typing.cast("float | None", high),
            above=typing.cast("float | None", above),
        )
    elif hint is bool:
        require_bool(value, name)
    elif get_origin(hint) is Literal:
        choose(typing.cast("str", value), {str(choice): None for choice in get_args(hint)}, name)
    elif name.endswith("activation"):
        choose(typing.cast("str", value), dict.fromkeys(activations), name)
    elif hint is str and not isinstance(value, str):
        raise DTypeError(f"{name} is {kind(value)} but must be text.")
