"""Layer configs as tables, for TOML and JSON, and back.

    {type = "lstm", hidden_size = 64, name = "encoder"}
    {type = "dense", size = 8, activation = {custom = "swish", options = {}}}
    {type = "recurrent", cell = "my_cell", hidden_size = 64, options = {tau = 3.0}}

An activation of one's own is a name with JSON options, a cell or a layer of one's own its name. Reading them
back wants the objects by these names; nothing is imported.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from torch import Tensor

from saiki.cells import CELLS, Cell
from saiki.core.custom import Custom, custom_name, resolve
from saiki.core.errors import SaikiError, SchemaError
from saiki.core.names import unknown
from saiki.core.schema import plain, strict
from saiki.nn.configs import LAYERS, CellConfig, LayerConfig, cell_name
from saiki.nn.flow import kind


def layer_from_mapping(
    mapping: Mapping[str, Any],
    where: str = "layer",
    *,
    extra: Mapping[str, object] | None = None,
) -> LayerConfig | tuple[str, LayerConfig]:
    """Read a layer from a table such as `{"type": "lstm", "hidden_size": 64, "name": "encoder"}`.

    Args:
        mapping: `type`, the config's fields, and `name` if it has one.
        where: what is being read, for messages: "network line 3".
        extra: what is one's own by name: layer configs by their type, cells, activations.
    Returns:
        The config, or (name, config).
    Raises:
        SchemaError: a key is unknown or missing, a value does not fit, or a name is in neither Saiki nor
            `extra`.
    """
    if not isinstance(mapping, Mapping):
        raise SchemaError(f"{where} is {kind(mapping)} but must be a table of keys and values.")
    layers = {
        name: made
        for name, made in (extra or {}).items()
        if isinstance(made, type) and issubclass(made, LayerConfig)
    }
    known = LAYERS | layers
    if "type" not in mapping:
        raise SchemaError(f"{where}: type is missing. Known: {', '.join(known)}.")
    if not isinstance(mapping["type"], str) or mapping["type"] not in known:
        raise SchemaError(f"{where}: {unknown(mapping['type'], known, 'layer type')}")
    rest = {key: value for key, value in mapping.items() if key not in ("type", "name")}
    layer = known[mapping["type"]]
    config = (
        _with_cell(rest, where, extra) if layer is CellConfig else _with_functions(layer, rest, where, extra)
    )
    if mapping.get("name") is None:
        return config
    name = mapping["name"]
    if not isinstance(name, str):
        raise SchemaError(f"{where}: name is {kind(name)} but must be text.")
    return name, config


def _with_functions(
    layer: type[LayerConfig], table: Mapping[str, Any], where: str, extra: Mapping[str, object] | None
) -> LayerConfig:
    """A config from its table; functions of one's own are put in where the table has their names."""
    own = {
        key: _function(value, f"{where}: {key}", extra)
        for key, value in table.items()
        if key.endswith("activation") and isinstance(value, Mapping)
    }
    config = strict(
        layer, {**table, **dict.fromkeys(own, layer.activations[0])}, where
    )  # a known name stands in
    return replace(config, **own) if own else config


def _with_cell(table: Mapping[str, Any], where: str, extra: Mapping[str, object] | None) -> CellConfig:
    """The config of a `Recurrent` layer from its table; see `layer_from_mapping`."""
    name, options = table.get("cell"), table.get("options", {})
    if not isinstance(name, str) or not isinstance(options, Mapping):
        return strict(CellConfig, table, where)  # which says what is wrong
    config = strict(CellConfig, {**table, "cell": next(iter(CELLS)), "options": {}}, where)
    made = (extra or {}).get(name, CELLS.get(name))
    if made is None:
        raise SchemaError(
            f"{where}: the model uses {name!r}, which is not Saiki's own and is never imported by name.",
            f"Give it: saiki.load(folder, extra={{{name!r}: ...}}).",
        )
    values = {
        key: _function(value, f"{where}: {key}", extra) if _is_custom(value) else value
        for key, value in options.items()
    }
    try:
        return replace(config, cell=typing.cast("Any", made), options=values)
    except SaikiError as error:
        raise SchemaError(f"{where}: {error.message}", error.hint) from error


def _is_custom(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {each.name for each in fields(Custom)}


def _function(
    value: Mapping[str, Any], where: str, extra: Mapping[str, object] | None
) -> Callable[[Tensor], Tensor]:
    """The function that a table {"custom": name, "options": {}} stands for."""
    try:
        found = resolve(strict(Custom, value, "the table"), extra)
    except SchemaError as error:
        raise SchemaError(
            error.message if error.message.startswith(where) else f"{where}: {error.message}", error.hint
        ) from error
    if not callable(found):
        raise SchemaError(f"{where} is {kind(found)} but must be a function of a tensor.")
    made: Callable[[Tensor], Tensor] = found
    return made


def layer_to_mapping(config: LayerConfig, name: str | None = None) -> dict[str, Any]:
    """The table of a layer, with every field; `layer_from_mapping` reads it back.

    A function or a cell of one's own becomes a name.
    """
    named = {} if name is None else {"name": name}
    values = {each.name: _written(getattr(config, each.name)) for each in fields(config)}
    written: dict[str, Any] = plain(values, config.type)
    return {"type": config.type, **named, **written}


def _written(value: object) -> object:
    """A field's value with what is one's own by name."""
    if isinstance(value, type) and issubclass(value, Cell):
        return cell_name(value)
    if isinstance(value, Mapping):
        return {key: _written(part) for key, part in value.items()}
    return custom_name(value) if callable(value) else value
