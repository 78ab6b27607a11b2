"""What every task's options have in common, and their way into config.json and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from saiki.core.custom import Custom, custom_name
from saiki.core.errors import DTypeError
from saiki.core.names import choose, nearest
from saiki.learning import LearningRule, get_rule
from saiki.learning.options import mapping_of
from saiki.losses import LOSSES
from saiki.nn import (
    ElementwiseLSTMConfig,
    GRUConfig,
    JordanConfig,
    LayerConfig,
    LSTMConfig,
    RNNConfig,
    layer_from_mapping,
)

Array: TypeAlias = NDArray[Any]
Layer: TypeAlias = "LayerConfig | tuple[str, LayerConfig]"
RandomState: TypeAlias = "int | np.random.RandomState | None"
Rule: TypeAlias = "str | Mapping[str, Any] | LearningRule | None"

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "float64": torch.float64}
CELL_LAYERS: dict[str, type[LayerConfig]] = {
    "elman": RNNConfig,
    "jordan": JordanConfig,
    "lstm": LSTMConfig,
    "gru": GRUConfig,
    "elementwise_lstm": ElementwiseLSTMConfig,
}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The options every task has, as config.json keeps them; a task's own schema adds its fields."""

    lr: float
    max_epochs: int
    batch_size: int | str
    patience: int | None
    training: dict[str, Any] | None
    baselines: bool
    random_state: int | None
    device: str
    dtype: str
    engine: str | None
    verbose: bool | None


@dataclass(frozen=True, kw_only=True)
class CommonOptions(TrainingOptions):
    """The options of every task whose network is a stack of layers under a loss that may be chosen."""

    network: list[dict[str, Any]] | None
    cell: str
    hidden_size: int | str
    num_layers: int
    bidirectional: bool
    dropout: float
    loss: str | Custom
    rule: dict[str, Any] | None = None  # model folders older than the option lack it


def own_loss(loss: object) -> Custom | None:
    """One of Saiki's own losses with its options, such as Huber(0.5), as a name and options."""
    for name, kind in LOSSES.items():
        if isinstance(loss, kind):
            return Custom(custom=name, options={f.name: getattr(loss, f.name) for f in fields(kind)})
    return None


def recurrent_layer(
    cell: str, hidden_size: int, bidirectional: bool, engine: str | None = None
) -> LayerConfig:
    """The config of one recurrent layer by its cell's name."""
    config = choose(cell, CELL_LAYERS, "cell")
    options: dict[str, Any] = {"hidden_size": hidden_size, "bidirectional": bidirectional}
    if engine is not None:
        options["engine"] = engine
    return config(**options)


def plain_option(name: str, value: Any) -> Any:  # noqa: ANN401  JSON in, JSON out
    """One constructor argument as JSON: configs become mappings, callables a `Custom` name."""
    from saiki.core.schema import plain

    if name == "network" and value is not None:
        return [as_mapping(as_layer(entry, line)) for line, entry in enumerate(value, start=1)]
    if name == "training" and value is not None:
        return value.to_mapping()
    if name == "rule" and value is not None:
        return mapping_of(get_rule(value))
    if name == "loss" and not isinstance(value, str):
        return plain(own_loss(value) or custom_name(value))
    if name == "random_state":
        return int(value) if isinstance(value, (int, np.integer)) else None
    if callable(value) and not isinstance(value, type) and not is_dataclass(value):
        return plain(custom_name(value))
    if isinstance(value, np.generic):
        return value.item()
    return plain(value)


def as_layer(entry: Layer | Mapping[str, Any], line: int) -> Layer:
    """One entry of `network`: a config, (name, config), or a mapping with a "type".

    Raises:
        DTypeError, SchemaError: it is none of these; the line is named.
    """
    if isinstance(entry, Mapping):
        return layer_from_mapping(entry, f"network line {line}")
    if isinstance(entry, LayerConfig):
        return entry
    if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], LayerConfig):
        return entry
    raise DTypeError(
        f"network line {line} is {type(entry).__name__} but must be a layer config, (name, config) "
        'or a mapping such as {"type": "lstm", "hidden_size": 64}.'
    )


def as_mapping(layer: Layer) -> dict[str, Any]:
    """A layer config as config.json keeps it."""
    from saiki.nn import layer_to_mapping

    return layer_to_mapping(layer[1], layer[0]) if isinstance(layer, tuple) else layer_to_mapping(layer)


def did_you_mean(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, or nothing."""
    near = nearest(name, list(known))
    return f"; did you mean {near!r}?" if near else ""
