"""What attention looked at: a matrix with a row a symbol written and a column a step read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from saiki.core.errors import OptionError, ShapeError, ValueRangeError
from saiki.insight.figures import _DIGIT, _canvas, _hex, _render, _short, _text

_MOST_CELLS = 20_000  # of one picture; a larger matrix is one for a table
_LONGEST = 18  # characters of a symbol
_FOOT = 26.0


def alignment(
    weights: ArrayLike,
    source: Sequence[object],
    target: Sequence[object],
    *,
    title: str = "",
    width: int = 620,
) -> str:
    """The weights α_ts of one sequence: a row a symbol of the target, a column a step of the source.

    Args:
        weights: (T, S) in [0, 1]; each row sums to 1.
        source: S symbols that were read.
        target: T symbols that were written.
        title: above the picture, at the left.
        width: of the picture, pixels; it is narrower where the source is short.
    Returns:
        One `<svg>` element. The darker a field, the more weight: full where it is 1.
    Raises:
        ShapeError: not (T, S), or not one symbol a row and a column.
        OptionError: nothing to draw, or more than 20,000 weights.
        ValueRangeError: a weight that is not between 0 and 1.
    """
    alpha = np.asarray(weights, dtype=np.float64)
    if alpha.shape != (len(target), len(source)):
        raise ShapeError(
            f"alignment: weights are {alpha.shape} but must be (T, S) = ({len(target)}, {len(source)}), "
            f"one row a symbol written, one column a symbol read."
        )
    if not 0 < alpha.size <= _MOST_CELLS:
        raise OptionError(f"alignment: give between 1 and {_MOST_CELLS:,} weights, not {alpha.size:,}.")
    if not bool(((alpha >= 0) & (alpha <= 1 + 1e-6)).all()):
        raise ValueRangeError("alignment: weights must lie between 0 and 1.")
    read = [_short(str(symbol), _LONGEST) for symbol in source]
    written = [_short(str(symbol), _LONGEST) for symbol in target]
    T, S = alpha.shape
    left = 16 + _DIGIT * max(map(len, written))
    across = _DIGIT * max(map(len, read))
    room = width - left - 12
    turned = across + 6 > min(46.0, room / S)
    pitch = min(30.0 if turned else max(24.0, across + 8), room / S)
    tall = min(24.0, max(3.0, 480.0 / T))
    head = (26.0 if title else 8.0) + (across + 10 if turned else 22.0)
    words = "darker: more weight; a row sums to 1"
    wide = round(max(left + S * pitch + 12, _DIGIT * len(words) + 16, _DIGIT * len(title) + 16, 200))
    height = round(max(head + T * tall + _FOOT, 60))
    figure, ax = _canvas(wide, height, bare=True)

    from matplotlib.patches import Rectangle

    if title:
        _text(ax, 8, 14, _short(title, int((wide - 16) / _DIGIT)), va="center")
    box = (left, head)
    ax.add_patch(Rectangle(box, S * pitch, T * tall, facecolor="none", edgecolor=_hex("grid"), linewidth=1.0))
    gap = min(1.0, 0.1 * pitch, 0.1 * tall)
    for (t, s), weight in np.ndenumerate(alpha):
        if weight < 0.005:
            continue  # white on white, and most of a large matrix
        ax.add_patch(
            Rectangle(
                (left + s * pitch, head + t * tall),
                pitch - gap,
                tall - gap,
                facecolor=_hex("model"),
                alpha=round(min(1.0, float(weight)), 3),
                linewidth=0,
            )
        )
    for s in range(0, S, max(1, math.ceil((13.0 if turned else across + 4) / pitch))):
        x = left + (s + 0.5) * pitch
        if turned:
            _text(ax, x, head - 6, read[s], role="muted", ha="center", va="bottom", rotation=90)
        else:
            _text(ax, x, head - 10, read[s], role="muted", ha="center", va="center")
    for t in range(0, T, max(1, math.ceil(13.0 / tall))):
        _text(ax, left - 8, head + (t + 0.5) * tall, written[t], ha="right", va="center")
    _text(ax, 8, height - 9, words, role="muted", va="center")
    return _render(figure, f"Attention of {T} symbols written over {S} read")
