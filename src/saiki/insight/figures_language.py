"""Pictures of language models; drawn as in `insight.figures`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from saiki.core.errors import ShapeError
from saiki.insight.figures import (
    _canvas,
    _finish_axes,
    _hex,
    _Label,
    _limits_x,
    _line,
    _mark,
    _render,
    _scale_y,
)


def entropy_by_temperature(
    temperatures: ArrayLike,
    bits: ArrayLike,
    *,
    most: float,
    loss: float | None = None,
    width: int = 560,
    height: int = 280,
) -> str:
    """How uncertain a model is of its next token, at each temperature.

    Args:
        temperatures: (n,) rising.
        bits: (n,) mean entropy of what it draws from, bits.
        most: log₂ V, the entropy of all tokens equally likely; drawn as a line.
        loss: the model's loss in bits a token, which its entropy at temperature 1 equals where it is as sure
            as it is right; drawn as a line. None: left out.
        width: of the picture, pixels.
        height: of the picture, pixels.
    Returns:
        One `<svg>` element.
    Raises:
        ShapeError: the two are not of one length, or empty.
    """
    x, y = np.asarray(temperatures, dtype=np.float64), np.asarray(bits, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ShapeError(
            f"entropy_by_temperature: temperatures are {x.shape} and bits {y.shape}, but must be (n,) both."
        )
    figure, ax = _canvas(width, height)
    levels = [("all tokens equally likely", most, "muted")]
    levels += [] if loss is None else [("loss", loss, "other1")]
    _scale_y(ax, [y, np.array([1.15 * most])], zero=True)  # room for the mark above the highest line
    labels = [_line(ax, x, y, "model", label="entropy", bold=True)]
    for name, value, role in levels:
        ax.axhline(value, color=_hex(role), linewidth=1.2, linestyle=(0, (5, 3)))
        labels.append(_Label(name, value, role))
    _limits_x(ax, float(x.min()), float(x.max()))
    if x.min() <= 1 <= x.max():
        _mark(ax, 1.0, float(np.interp(1.0, x, y)), "as learned")
    _finish_axes(
        figure, ax, width, height, x_label="temperature", y_label="entropy, bits a token", labels=labels
    )
    return _render(figure, f"Entropy at {len(x)} temperatures from {x.min():g} to {x.max():g}")
