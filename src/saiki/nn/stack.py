"""A network: layers one after another, with a ragged batch flowing between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from saiki.core.checks import require_int
from saiki.core.errors import DTypeError, OptionError, SaikiError, ShapeError
from saiki.core.ragged import Ragged
from saiki.core.random import generator as make_generator
from saiki.nn.basic import MAX_SIZE, Activation, Dense, Embedding
from saiki.nn.configs import (
    ActivationConfig,
    DenseConfig,
    DropoutConfig,
    LayerConfig,
    LayerNormConfig,
    config_of,
)
from saiki.nn.convolution import Convolution
from saiki.nn.flow import Flow, Layer, kind, require_ragged
from saiki.nn.pooling import AttentionPool, Segment
from saiki.nn.recurrent import RecurrentLayer
from saiki.nn.summary import Shape, Summary, SummaryRow
from saiki.nn.tables import layer_from_mapping, layer_to_mapping

Line = LayerConfig | tuple[str, LayerConfig] | Mapping[str, Any]
StackState = tuple[tuple[Tensor, ...], ...]  # one tuple a recurrent layer, as its initial_state() gives it

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_KEEPS_WIDTH = (
    ActivationConfig,
    DropoutConfig,
    LayerNormConfig,
)  # may follow the layer that makes the output


@final
class Stack(torch.nn.Module):
    """Layers one after another. Between them flows a `Ragged`; after pooling over time, a tensor (B, K).

    A recurrent layer hands on its output only. Parameters are called `layers.NAME.PARAMETER`; a layer without
    a name is called after its type: `lstm`, `lstm_2`, ….

    Args:
        layers: built modules of `saiki.nn` (or your own subclasses of `saiki.nn.Layer`), or (name, module).
        input_size: features a step; taken from the first layer that says how many if not given.
    Raises:
        DTypeError: a layer is no module that a Ragged can flow through.
        OptionError: no layers, a name twice or unusable, or a layer over time after pooling.
        ShapeError: a layer does not fit the one before; the message names its line.

    Example:
        network = Stack.build([LSTMConfig(hidden_size=64), LastConfig()], input_size=3, output_size=5)
        logits = network(Ragged.from_list(sequences))  # (B, 5)
    """

    input_size: int

    def __init__(
        self,
        layers: Sequence[torch.nn.Module | tuple[str, torch.nn.Module]],
        *,
        input_size: int | None = None,
    ) -> None:
        super().__init__()
        named = _named(layers, torch.nn.Module, "a module", lambda module: type(module).__name__)
        pooled = False
        width = None if input_size is None else require_int(input_size, "input_size", 1, MAX_SIZE)
        first = width
        for where, module in zip(_places(named), (module for _, module in named)):
            if not isinstance(module, Layer | RecurrentLayer):
                raise DTypeError(
                    f"{where} is {kind(module)}, which does not take a Ragged.",
                    "Use a layer of saiki.nn (from_torch brings torch's over), or subclass saiki.nn.Layer.",
                )
            _require_time(where, pooled, isinstance(module, RecurrentLayer) or module.over_time)
            pooled = pooled or (isinstance(module, Layer) and module.pools)
            if width is None:
                width = _built_for(module)
                first = width
            if width is not None:
                with _at(where):
                    width = _width(module, width)
        if width is None or first is None:
            raise ShapeError("no layer says how many features go in.", "Give input_size=.")
        self.input_size = first
        self.output_size: int = width
        self.pooled: bool = pooled
        self.layers = torch.nn.ModuleDict(dict(named))

    @classmethod
    def build(
        cls,
        configs: Sequence[Line],
        input_size: int,
        output_size: int | None = None,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Stack:
        """Build a network from layer configs, each for the number of features that reaches it.

        Args:
            configs: layer configs, (name, config), or tables such as `{"type": "lstm", "hidden_size": 64}`.
            input_size: features a step of the input.
            output_size: features that must come out. Unless the network ends in a Dense of this size
                (activations, dropout and layer norms may follow it), a Dense called "head" is added.
            generator: for initial weights and dropout masks; the same state gives the same bits.
            dtype: of the parameters; torch's default if not given.
            device: where they live.
        Raises:
            ShapeError: a line does not fit the one before, or the last line is a Dense of another size than
                `output_size`; the message names the line.
            OptionError: no layers, a name twice or unusable, or a layer over time after pooling.
            DTypeError, SchemaError: a line is not a layer config.
        """
        input_size = require_int(input_size, "input_size", 1, MAX_SIZE)
        if not isinstance(configs, Iterable) or isinstance(configs, str | Mapping):
            raise DTypeError(f"network is {kind(configs)} but must be a list of layer configs.")
        lines = [
            layer_from_mapping(line, f"network line {k}") if isinstance(line, Mapping) else line
            for k, line in enumerate(configs, start=1)
        ]
        named = _named(lines, LayerConfig, "a layer config", lambda config: config.type)
        if output_size is not None:
            named = _with_head(named, require_int(output_size, "output_size", 1, MAX_SIZE))
        source = make_generator(generator)
        width, pooled, modules = input_size, False, []
        for where, (name, config) in zip(_places(named), named):
            _require_time(where, pooled, config.over_time)
            pooled = pooled or config.pools
            with _at(where):
                after = config.output_size(width)
                modules.append((name, config.build(width, source, dtype, device)))
                width = after
        return cls(modules, input_size=input_size)

    # running

    def forward(self, x: Ragged) -> Ragged | Tensor:
        """Compute the network's output.

        Args:
            x: data (N, F), F = `input_size`; (N,) or (N, 1) ids if the first layer is an Embedding.
        Returns:
            A Ragged, one row a step; or, if the network pools over time, (B, K) in the user's order.
        """
        return self._flow(x, list(self.layers.values()), None, {})[0]

    def run(self, x: Ragged, state: StackState | None = None) -> tuple[Ragged | Tensor, StackState]:
        """Compute the output of a chunk of time, from one state to the next.

        Args:
            x: the next chunk of each sequence; one without steps in it keeps its state.
            state: what the call for the chunk before returned; None at the start.
        Returns:
            The output for this chunk, and the state after it: a tuple of (num_layers·D, B, size) for each
            recurrent layer. Pooling, `Segment` and `Convolution` see this chunk alone.
        Raises:
            OptionError: a layer is bidirectional and a state is given: its backward direction comes from the
                future.
            ShapeError, DTypeError: the state does not fit.
        """
        layers = list(self.layers.values())
        if state is not None:
            self._check_state(state)
        out, after = self._flow(x, layers, state, {})
        return out, after

    def hidden(self, x: Ragged) -> Ragged | Tensor:
        """The last representation before the head: what goes into the last Dense layer, or what comes out of
        all layers if there is none.
        """
        layers = list(self.layers.values())
        dense = [k for k, layer in enumerate(layers) if isinstance(layer, Dense)]
        return self._flow(x, layers[: dense[-1]] if dense else layers, None, {})[0]

    def attention(self, x: Ragged) -> dict[str, Ragged]:
        """The weights that each `AttentionPool` gives to the steps: by layer name, a Ragged with data (N,).

        The steps are those that reach the layer: after a `Segment`, pieces.
        """
        weights: dict[str, Ragged] = {}
        self._flow(x, list(self.layers.values()), None, weights)
        return weights

    def initial_state(self, batch_size: int) -> StackState:
        """The state that B sequences start from."""
        B = require_int(batch_size, "batch_size", 0)
        return tuple(layer.initial_state(B) for layer in self._recurrent)

    @property
    def hidden_size(self) -> int:
        """Features of what `hidden` returns."""
        width = self.input_size
        sizes = []
        for layer in self.layers.values():
            sizes.append((layer, width))
            width = _width(layer, width)
        return next((size for layer, size in reversed(sizes) if isinstance(layer, Dense)), width)

    @property
    def _recurrent(self) -> list[RecurrentLayer]:
        return [layer for layer in self.layers.values() if isinstance(layer, RecurrentLayer)]

    def _check_state(self, state: object) -> None:
        layers = self._recurrent
        if not isinstance(state, tuple | list) or not all(isinstance(part, tuple | list) for part in state):
            raise DTypeError(f"state is {kind(state)} but must be what run() or initial_state(B) returned.")
        if len(state) != len(layers):
            raise ShapeError(
                f"state has {len(state)} parts but the network has {len(layers)} recurrent layers.",
                "Start from network.initial_state(B).",
            )
        for name, layer in self.layers.items():
            if isinstance(layer, RecurrentLayer) and layer.bidirectional:
                raise OptionError(
                    f"layer {name!r} is bidirectional, so its state cannot be carried from chunk to chunk: "
                    f"its backward direction starts in the future.",
                    "Give whole sequences (state=None), or build it with bidirectional=False.",
                )

    def _flow(
        self,
        x: Ragged,
        layers: Sequence[torch.nn.Module],
        state: StackState | None,
        attention: dict[str, Ragged],
    ) -> tuple[Ragged | Tensor, StackState]:
        """Send a batch through these layers; attention weights are put into `attention`."""
        flow: Flow = require_ragged(x, "a Stack")
        names = {id(layer): name for name, layer in self.layers.items()}
        after: list[tuple[Tensor, ...]] = []
        for layer in layers:
            if isinstance(layer, RecurrentLayer):
                hx = None if state is None else tuple(state[len(after)])
                flow, last, *_ = layer(flow, hx if hx is None or len(hx) != 1 else hx[0], return_states=False)
                after.append(last if isinstance(last, tuple) else (last,))
            elif isinstance(layer, AttentionPool):
                flow, attention[names[id(layer)]] = layer(flow, return_weights=True)
            else:
                flow = layer(flow)
                if not isinstance(flow, Ragged | Tensor):
                    raise DTypeError(
                        f"layer {names[id(layer)]!r} returned {kind(flow)}, not a Ragged or a tensor."
                    )
        return flow, tuple(after)

    # written down

    def to_config(self) -> list[dict[str, Any]]:
        """The layers as tables that `Stack.build` takes, the head included.

        Raises:
            OptionError: a layer has no config.
        """
        return [layer_to_mapping(config_of(layer), name) for name, layer in self.layers.items()]

    def summary(self, steps: int | None = None) -> Summary:
        """The table of layers, output shapes and parameters; `print` it.

        Args:
            steps: T, steps of a sequence, for the shapes; the letter T stands there if not given.
        """
        T: int | str = "T" if steps is None else require_int(steps, "steps", 0)
        layers = list(self.layers.items())
        ids = isinstance(layers[0][1], Embedding) and layers[0][1].column is None
        rows = [SummaryRow("input", "", ("B", T) if ids else ("B", T, self.input_size), 0)]
        seen: set[int] = set()
        trainable = frozen = 0
        width, pooled = self.input_size, False
        for name, layer in layers:
            width = _width(layer, width)
            if isinstance(layer, Segment):
                T = -(-T // layer.length) if isinstance(T, int) else f"⌈{T}/{layer.length}⌉"
            elif isinstance(layer, Convolution):
                T = layer.steps(T)
            pooled = pooled or (isinstance(layer, Layer) and layer.pools)
            count = 0
            for parameter in layer.parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    count += parameter.numel()
                    if parameter.requires_grad:
                        trainable += parameter.numel()
                    else:
                        frozen += parameter.numel()
            shape: Shape = ("B", width) if pooled else ("B", T, width)
            what = layer.title if isinstance(layer, Activation) else type(layer).__name__
            rows.append(SummaryRow(name, what, shape, count))
        return Summary(tuple(rows), trainable, frozen)


class _at:
    """Put the line in front of an error's message."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SaikiError):
            raise type(error)(f"{self.where}: {error.message}", error.hint) from error


def _named(lines: Iterable[Any], wanted: type, what: str, title: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    """Each line with its name, or one made of its type; the type is checked."""
    named: list[tuple[str, Any]] = []
    given = [line[0] for line in lines if isinstance(line, tuple) and len(line) == 2]
    taken: set[object] = set()
    for k, line in enumerate(lines, start=1):
        pair = isinstance(line, tuple) and len(line) == 2
        value = line[1] if pair else line
        if not isinstance(value, wanted):
            raise DTypeError(f"network line {k} is {kind(value)} but must be {what} or (name, {what}).")
        name = line[0] if pair else _free_name(_snake(title(value)), {*taken, *given})
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise OptionError(
                f"network line {k}: the name {name!r:.80} must be text of letters, digits and _, at most 64."
            )
        if hasattr(torch.nn.ModuleDict, name):
            raise OptionError(
                f"network line {k}: the name {name!r} is taken by torch's modules; choose another."
            )
        if name in taken:
            raise OptionError(f"network line {k}: the name {name!r} comes twice.")
        taken.add(name)
        named.append((name, value))
    if not named:
        raise OptionError(
            "the network has no layers.", "Give at least one, such as LSTMConfig(hidden_size=64)."
        )
    return named


def _snake(title: str) -> str:
    """A class name in small letters: AttentionPool becomes attention_pool, LSTM becomes lstm."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", title).lower()


def _free_name(name: str, taken: set[object]) -> str:
    numbers = (f"{name}_{k}" for k in range(2, len(taken) + 3))
    return next(
        each for each in (name, *numbers) if each not in taken and not hasattr(torch.nn.ModuleDict, each)
    )


def _places(named: Sequence[tuple[str, Any]]) -> list[str]:
    """What messages call each line: "network line 3 (dense 'head')"."""
    places = []
    for k, (name, value) in enumerate(named, start=1):
        title = value.type if isinstance(value, LayerConfig) else _snake(type(value).__name__)
        own = "" if re.fullmatch(rf"{re.escape(title)}(_\d+)?", name) else f" {name!r}"
        places.append(f"network line {k} ({title}{own})")
    return places


def _require_time(where: str, pooled: bool, over_time: bool) -> None:
    if pooled and over_time:
        raise OptionError(
            f"{where} works over time, but a line before it has pooled the steps into one row a sequence.",
            "Put it before the pooling layer.",
        )


def _built_for(module: torch.nn.Module) -> int | None:
    """The number of features that a built module wants, if it says."""
    if isinstance(module, Embedding) and module.column is None:
        return 1
    size = getattr(module, "input_size", None)
    return size if isinstance(size, int) else None


def _width(module: torch.nn.Module, width: int) -> int:
    """Features out of a built module; ShapeError if `width` do not go in."""
    if isinstance(module, RecurrentLayer):
        if module.input_size != width:
            raise ShapeError(f"was built for {module.input_size} features but gets {width}.")
        return module.output_size
    assert isinstance(module, Layer)
    return module.width(width)


def _with_head(named: list[tuple[str, LayerConfig]], output_size: int) -> list[tuple[str, LayerConfig]]:
    """The lines with a Dense of `output_size` at the end, unless they end in one."""
    makes = next((config for _, config in reversed(named) if not isinstance(config, _KEEPS_WIDTH)), None)
    if isinstance(makes, DenseConfig) and makes.size == output_size:
        return named
    last = named[-1][1]
    if isinstance(last, DenseConfig):
        raise ShapeError(
            f"{_places(named)[-1]}: has {last.size} outputs but the task needs {output_size}.",
            f"Give it size={output_size}, or leave it out: the head is added.",
        )
    return [*named, (_free_name("head", {name for name, _ in named}), DenseConfig(size=output_size))]
