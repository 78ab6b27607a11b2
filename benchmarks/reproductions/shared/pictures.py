"""How the pictures of the results look: one style, colours that keep apart, lines named at their ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saiki.insight.figures import THEME

INK, QUIET, GRID = (THEME[role][0] for role in ("ink", "muted", "grid"))
BLUE, ORANGE, GREEN, PURPLE, OCHRE = (
    THEME[role][0] for role in ("model", "other1", "other2", "other3", "other4")
)
CELLS = {"elman": OCHRE, "lstm": BLUE, "gru": ORANGE}  # one colour a cell in every picture

plt.rcParams.update(
    {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.edgecolor": QUIET,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "text.color": INK,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
    }
)


def panels(rows: int, columns: int, width: float = 4.0, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    """A figure of panels, row after row."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained"
    )
    return figure, list(axes.ravel())


def level(ax: Axes, y: float, text: str) -> None:
    """A dashed line at a value that others are measured by, named at the left."""
    ax.axhline(y, color=QUIET, lw=1, ls=(0, (5, 3)), zorder=1)
    ax.annotate(
        text, (0, y), (4, 3), xycoords=("axes fraction", "data"), textcoords="offset points", color=QUIET
    )


def at_end(ax: Axes, x: Sequence[float], y: Sequence[float], text: str, colour: str) -> None:
    """Name a line at its last point."""
    ax.annotate(
        text, (x[-1], y[-1]), (5, 0), textcoords="offset points", color=colour, va="center", clip_on=False
    )


class End(NamedTuple):
    """Where a line ends, and what it is called."""

    x: float
    y: float
    text: str
    colour: str


def at_ends(ax: Axes, ends: Sequence[End]) -> None:
    """Name several lines at their last points, the names apart from each other; scales must be set before."""
    ax.figure.canvas.draw()
    points = 72 / ax.figure.dpi
    own = {end: points * float(ax.transData.transform((end.x, end.y))[1]) for end in ends}
    above = -np.inf
    shifts: dict[End, float] = {}
    for end in sorted(ends, key=lambda each: own[each]):
        above = max(own[end], above + 11)  # a line of text
        shifts[end] = above - own[end]
    middle = sum(shifts.values()) / max(len(shifts), 1)
    for end, shift in shifts.items():
        ax.annotate(
            end.text,
            (end.x, end.y),
            (6, shift - middle),
            textcoords="offset points",
            color=end.colour,
            va="center",
            annotation_clip=False,
        )


def running(values: Sequence[float], span: int) -> np.ndarray:
    """The mean of the last `span` values, fewer at the beginning."""
    total = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=float))])
    last = np.arange(1, len(total))
    first = np.maximum(last - span, 0)
    return (total[last] - total[first]) / (last - first)


def save(figure: Figure, file: Path) -> None:
    """Write the picture and let go of it."""
    figure.savefig(file, dpi=120)
    plt.close(figure)
