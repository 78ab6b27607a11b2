"""Walking through ragged time: which rows go on, which end, which join; shared by the engines that loop.

forward: t = 1 … T    at each step a prefix of the rows goes on; those that ended keep their last state
reverse: t = T … 1    each sequence starts at its own last step from its initial state, so rows join
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from saiki.cells import Cell
from saiki.engine.base import Direction


def walk(
    cell: Cell[Any, Any],
    initial: Any,  # noqa: ANN401 - the cell's state tuple
    pieces: Sequence[Tensor],
    live: Sequence[int],
    direction: Direction,
    advance: Callable[[Any, Tensor, int], Any],
) -> Any:  # noqa: ANN401 - likewise
    """Carry the state through pieces of packed time, each with one number of live rows.

    Args:
        cell: for the type of its state.
        initial: (B, size) each.
        pieces: consecutive rows of packed data, one step or several.
        live: the sequences running in each piece; never rises.
        direction: the order in which the pieces are taken.
        advance: (state, piece, rows) -> the state after the piece.
    Returns:
        (B, size) each: after every sequence's last step, or in reverse its first.
    """
    if direction == "forward":
        state, ended = initial, []
        for piece, rows in zip(pieces, live):
            if rows < len(state[0]):
                ended.append([s[rows:] for s in state])
                state = cell.state_type(*(s[:rows] for s in state))
            state = advance(state, piece, rows)
        return (
            cell.state_type(*(torch.cat(parts) for parts in zip(state, *reversed(ended)))) if ended else state
        )
    state = cell.state_type(*(s[:0] for s in initial))
    for piece, rows in zip(reversed(pieces), reversed(live)):
        joined = len(state[0])
        if joined < rows:
            state = cell.state_type(*(torch.cat([s, first[joined:rows]]) for s, first in zip(state, initial)))
        state = advance(state, piece, rows)
    return state
