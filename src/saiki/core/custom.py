"""A user's own callable in files: a name and JSON options, never code.

    {"custom": "swish", "options": {}}

Reading it back, the name is looked up in what the caller gives, `saiki.load(folder, extra={"swish": swish})`;
nothing is imported by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from saiki.core.errors import SchemaError

__all__ = ["Custom", "custom_name", "described", "resolve"]


@dataclass(frozen=True, kw_only=True)
class Custom:
    """A user's own callable as a model folder keeps it.

    `saiki.load(folder, extra={name: object})` gives the object back; a class or factory is called with the
    options when there are any.
    """

    custom: str
    options: dict[str, Any]


def custom_name(obj: Callable[..., object]) -> Custom:
    """How a callable is stored: under its `name` or `__name__`, with what its `options()` says."""
    name = getattr(obj, "name", None) or getattr(obj, "__name__", None) or type(obj).__name__
    options = getattr(obj, "options", None)
    return Custom(custom=str(name), options=dict(options()) if callable(options) else {})


def described(value: object) -> str:
    """A value for a printed line, the same in every process: a callable by its name and options."""
    if not callable(value):
        return repr(value)
    named = custom_name(value)
    options = ", ".join(f"{name}={option!r}" for name, option in named.options.items())
    return f"{named.custom}({options})" if options else named.custom


def resolve(
    custom: Custom,
    extra: Mapping[str, object] | None,
    known: Mapping[str, Callable[..., object]] | None = None,
) -> Any:  # noqa: ANN401  whatever the user registered
    """The object a stored name stands for, from `extra` or from what Saiki itself knows.

    Args:
        custom: the name and its options.
        extra: the user's own objects by name; a class is made with the options, a function is taken as it is
            unless there are options.
        known: Saiki's own classes by name.
    Raises:
        SchemaError: the name is in neither, the message shows how to give it; or the options do not fit.
    """
    if extra is not None and custom.custom in extra:
        found = extra[custom.custom]
        if not (isinstance(found, type) or custom.options):
            return found
        if not callable(found):
            raise SchemaError(f"extra[{custom.custom!r}] takes no options, but {custom.options} are stored.")
    elif known is not None and custom.custom in known:
        found = known[custom.custom]
    else:
        raise SchemaError(
            f"the model uses {custom.custom!r}, which is not Saiki's own and is never imported by name.",
            f"Give it: saiki.load(folder, extra={{{custom.custom!r}: ...}}).",
        )
    try:
        return found(**custom.options)
    except TypeError as error:
        raise SchemaError(f"options of {custom.custom!r}: {error}.") from error
