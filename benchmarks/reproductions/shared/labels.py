"""Names at the ends of lines that keep clear of one another, and logarithmic axes with plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

GAP = 11.0  # points between two names


def plain_log(ax: Axes, which: Literal["x", "y"] = "y") -> None:
    """A logarithmic axis with 1, 2, 5, 10, … written out."""
    axis = ax.yaxis if which == "y" else ax.xaxis
    (ax.set_yscale if which == "y" else ax.set_xscale)("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def name_lines(ax: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write names right of the lines' last points. Call it when scales and limits are set.

    Args:
        ends: x, y, text and colour of each.
    """
    figure = ax.get_figure()
    assert figure is not None
    figure.canvas.draw()  # only then is it known where the points lie
    scale = 72 / figure.dpi
    low, high = (float(ax.transAxes.transform((0, y))[1]) * scale for y in (0, 1))
    found = sorted((float(ax.transData.transform((x, y))[1]) * scale, x, y, t, c) for x, y, t, c in ends)
    places: list[float] = []
    for at, *_ in found:
        at = min(max(at, low), high)
        places.append(at if not places else max(at, places[-1] + GAP))
    over = max(0.0, places[-1] - high) if places else 0.0
    for k in range(len(places) - 1, -1, -1):  # push back what stands out above
        limit = high if k == len(places) - 1 else places[k + 1] - GAP
        places[k] = min(places[k], limit) if over else places[k]
    for place, (at, x, y, text, colour) in zip(places, found):
        ax.annotate(
            text,
            (x, y),
            (5, place - at),
            textcoords="offset points",
            color=colour,
            va="center",
            clip_on=False,
            annotation_clip=False,
        )
