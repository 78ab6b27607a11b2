"""Named configurations: a name, a mapping with a `type`, or the value itself, and back to a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from saiki.core.errors import OptionError
from saiki.core.names import choose, unknown

T = TypeVar("T")


def named(value: object, known: Mapping[str, type[T]], base: type[T], what: str) -> T:
    """A configuration out of what a user or a file gives.

    Args:
        value: `"adam"`, `{"type": "adam", "beta1": 0.8}`, or an instance of `base`.
        known: the classes by name.
        base: their common base.
        what: the noun for messages ("optimizer").
    Raises:
        OptionError: an unknown name or option (the nearest one is offered), one that is missing, or something
            else altogether.
    """
    if isinstance(value, base):
        return value
    if isinstance(value, str):
        value = {"type": value}
    if isinstance(value, Mapping):
        options = dict(value)
        name = options.pop("type", None)
        if name is None:
            raise OptionError(
                f"the {what} {dict(value)!r} has no 'type'.", f"Give one of: {', '.join(known)}."
            )
        kind = choose(name, known, what)
        refuse_unknown(options, [f.name for f in fields(kind)], f"option of the {what} {name!r}")  # type: ignore[arg-type]
        for field in fields(kind):  # type: ignore[arg-type]
            needed = field.default is MISSING and field.default_factory is MISSING
            if needed and field.name not in options:
                raise OptionError(
                    f"the {what} {name!r} needs {field.name!r}.",
                    f'Write {{"type": "{name}", "{field.name}": ...}}.',
                )
        return kind(**options)
    raise OptionError(
        f"{what} is {value!r} but must be a name or a configuration.", f"Known: {', '.join(known)}."
    )


def refuse_unknown(options: Mapping[str, object], known: list[str], what: str) -> None:
    """OptionError for the first key that is not known."""
    for key in options:
        if key not in known:
            raise OptionError(unknown(key, known, what))


def mapping_of(config: Any) -> dict[str, Any]:  # noqa: ANN401  (any frozen configuration)
    """The mapping `named` reads back: `type` and every field, nested configurations likewise."""
    result: dict[str, Any] = {"type": config.type}
    for field in fields(config):
        value = getattr(config, field.name)
        if hasattr(type(value), "type"):
            value = mapping_of(value)
        result[field.name] = list(value) if isinstance(value, tuple) else value
    return result
