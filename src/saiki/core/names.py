"""Looking things up by name, and offering the nearest one when a name is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from saiki.core.errors import OptionError

__all__ = ["choose", "nearest", "unknown"]

T = TypeVar("T")
_LONGEST = 80  # characters of a hostile name that a message repeats and that the comparison looks at


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None where nothing is close.

    Case, `-`, `_` and blanks do not count: "Hidden-Size" is near "hidden_size".
    """
    folded: dict[str, str] = {}
    for candidate in known:
        folded.setdefault(_fold(candidate), candidate)
    close = difflib.get_close_matches(_fold(str(name)[:_LONGEST]), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def unknown(name: object, known: Iterable[str], what: str) -> str:
    """The sentence for an unknown name: "unknown cell 'lstn'; did you mean 'lstm'? Known: gru, lstm."."""
    names = list(known)
    shown = repr(name)
    if len(shown) > _LONGEST:
        shown = shown[:_LONGEST] + "…"
    guess = nearest(name, names) if isinstance(name, str) else None
    question = f"; did you mean {guess!r}?" if guess is not None else "."
    return f"unknown {what} {shown}{question} Known: {', '.join(names) or 'none'}."


def choose(name: str, known: Mapping[str, T], what: str) -> T:
    """The value that stands under `name`.

    Args:
        name: what the user asked for.
        known: the possible names and what they stand for.
        what: the noun for the message ("cell", "activation").
    Raises:
        OptionError: the name is not known; the nearest one is offered.
    """
    if isinstance(name, str) and name in known:
        return known[name]
    raise OptionError(unknown(name, known, what))


def _fold(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")
