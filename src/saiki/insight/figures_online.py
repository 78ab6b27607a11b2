"""Pictures of models that learn from streams; drawn as in `insight.figures`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from saiki.core.errors import OptionError, ShapeError
from saiki.insight.figures import (
    _DASHES,
    _OTHERS,
    _canvas,
    _finish_axes,
    _hex,
    _limits_x,
    _line,
    _note,
    _render,
    _scale_y,
    _whole_ticks,
    _with_unit,
)
from saiki.learning.prequential import mean_of_last


def running_error(
    errors: Mapping[str, ArrayLike],
    *,
    window: int | None = None,
    rows: ArrayLike | None = None,
    marks: Mapping[int, str] | None = None,
    metric: str = "mean absolute error",
    unit: str = "",
    width: int = 840,
    height: int = 300,
) -> str:
    """The error of models on a stream, as `learning.prequential` measures it, one line a model.

    Args:
        errors: name -> (n,) the error of each row (`Prequential.error`), the first in front; NaN where
            nothing was observed. At most five.
        window: rows the mean goes over, so that what happens late is seen; None: all rows up to each.
        rows: (n,) numbers of the rows; None counts from 0.
        marks: row -> what happened there, such as {3000: "the pattern changes"}.
        metric: what the vertical axis measures.
        unit: of the errors.
        width: of the picture, pixels.
        height: of the picture, pixels.
    Returns:
        One `<svg>` element; the vertical axis is logarithmic where the means span more than a factor of 20.
    Raises:
        ShapeError: the lines are not all of one length, or there is none.
        OptionError: more than five lines, or a window below 1.
    """
    lines = {name: np.asarray(values, dtype=np.float64) for name, values in errors.items()}
    shapes = {line.shape for line in lines.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1 or next(iter(shapes)) == (0,):
        raise ShapeError(
            "running_error: each model needs one error a row, all of one length; got "
            + (", ".join(f"{name}: {line.shape}" for name, line in lines.items()) or "no model")
        )
    if len(lines) > 1 + len(_OTHERS):
        raise OptionError(f"running_error: {len(lines)} lines cannot be told apart; give at most five.")
    if window is not None and window < 1:
        raise OptionError(f"running_error: window is {window} but must be at least 1.")
    n = next(iter(shapes))[0]
    x = np.arange(n, dtype=np.float64) if rows is None else np.asarray(rows, dtype=np.float64)
    if x.shape != (n,):
        raise ShapeError(f"running_error: rows is {x.shape} but must be ({n},).")
    means = {name: mean_of_last(line, window or n) for name, line in lines.items()}
    shown = max(0, min(10, n - 2))  # means over fewer rows jump, and would set the scale of the picture
    drawn = {name: np.where(np.arange(n) < shown, np.nan, line) for name, line in means.items()}
    figure, ax = _canvas(width, height)
    _scale_y(ax, list(drawn.values()))
    labels = []
    for k, (name, line) in reversed(list(enumerate(drawn.items()))):
        role = "model" if k == 0 else _OTHERS[k - 1]
        labels.append(_line(ax, x, line, role, label=name, bold=k == 0, dash=0 if k == 0 else (k - 1) % 4))
    _limits_x(ax, float(x.min()), float(x.max()))
    for at, text in (marks or {}).items():
        ax.axvline(at, color=_hex("muted"), linewidth=0.9, linestyle=_DASHES[2], zorder=2)
        _note(ax, at, text)
    _whole_ticks(ax, x, width)
    over = "all rows so far" if window is None else f"the last {window:,} rows"
    _finish_axes(
        figure, ax, width, height, x_label="row", y_label=f"{_with_unit(metric, unit)}, {over}", labels=labels
    )
    return _render(figure, f"{metric} over {n} rows of a stream: {', '.join(lines)}")
