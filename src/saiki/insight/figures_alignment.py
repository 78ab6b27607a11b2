"""The alignment of labels with time: what was heard, how probable each label was, and where each was said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from saiki.core.errors import ShapeError
from saiki.insight.figures import (
    _DIGIT,
    _OTHERS,
    Floats,
    _canvas,
    _hex,
    _limits_x,
    _render,
    _short,
    _style_axes,
    _text,
    _whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROWS, _COLUMNS, _SHADES = 14, 160, 5  # of what was heard: enough to see, few enough for a page


class Said(NamedTuple):
    """One label and when it was said: steps from `start` up to, not including, `end`."""

    text: str
    start: float
    end: float


def alignment(
    posteriors: ArrayLike,
    labels: Sequence[str],
    *,
    heard: ArrayLike | None = None,
    reference: Sequence[Said] = (),
    said: Sequence[Said] = (),
    seconds_a_step: float | None = None,
    width: int = 840,
) -> str:
    """Probabilities of the labels over time, under what was heard, over the labels themselves.

    From the top: the features (loud or large is dark), a line a label with its probability at each step (the
    blank in grey), the labels of the reference where the best path through it has them, and what was said.

    Args:
        posteriors: (T, K) probability of each label at each step.
        labels: K names; the last is the blank.
        heard: (T', F) features, over the same time with steps of their own; None leaves them out.
        reference: the right labels, by forced alignment.
        said: the labels that were decoded.
        seconds_a_step: for an axis in seconds; None counts steps.
        width: of the picture, pixels.
    Returns:
        One `<svg>` element.
    Raises:
        ShapeError: not one name a column, or no step.
    """
    p = np.asarray(posteriors, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] != len(labels) or not len(p):
        raise ShapeError(f"alignment: posteriors is {p.shape} but must be (T, K) = (≥ 1, {len(labels)}).")
    T = len(p)
    unit = 1.0 if seconds_a_step is None else seconds_a_step
    left, right = 16.0 + _DIGIT * 9, 16.0
    bands = [("heard", 84.0)] if heard is not None else []
    bands += [("probability", 110.0), *((("reference", 24.0),) if reference else ()), ("said", 24.0)]
    height = round(sum(size + 8 for _, size in bands) + 40)
    figure, first = _canvas(width, height)
    top = 6.0
    for place, (name, size) in enumerate(bands):
        ax = first if place == 0 else figure.add_axes((0.1, 0.1, 0.8, 0.8))
        if place:
            _style_axes(ax)
        ax.set_position(
            (left / width, 1 - (top + size) / height, (width - left - right) / width, size / height)
        )
        _limits_x(ax, 0.0, T * unit)
        ax.set_yticks([])
        last = place == len(bands) - 1
        if not last:
            ax.set_xticks([])
            ax.spines["bottom"].set_visible(False)
        if name == "heard":
            _shades(ax, np.asarray(heard, dtype=np.float64), T * unit)
        elif name == "probability":
            x = (np.arange(T) + 0.5) * unit
            ax.set_ylim(0.0, 1.02)
            ax.plot(x, p[:, -1], color=_hex("muted"), linewidth=1.0, alpha=0.55)
            for k in range(len(labels) - 1):
                ax.plot(x, p[:, k], color=_hex(_role(k)), linewidth=1.6)
        else:
            ax.set_ylim(0.0, 1.0)
            _spans(
                ax, reference if name == "reference" else said, list(labels), unit, width - left - right, T
            )
        title = _text(ax, 4 / width, 1 - (top + size / 2) / height, name, role="muted")
        title.set_transform(figure.transFigure)
        title.set_verticalalignment("center")
        if last:
            ticks = np.array([0.0, T * unit])
            if seconds_a_step is None:
                _whole_ticks(ax, ticks, width)
            else:
                _second_ticks(ax, T * unit, width)
            label = _text(
                ax,
                1 - right / width,
                9 / height,
                "step" if seconds_a_step is None else "seconds",
                role="muted",
                ha="right",
            )
            label.set_transform(figure.transFigure)
        top += size + 8
    return _render(figure, f"Alignment of {len(said)} labels over {T} steps")


def _role(k: int) -> str:
    roles = ("model", *_OTHERS)
    return roles[k % len(roles)]


def _shades(ax: Axes, heard: Floats, span: float) -> None:
    """The features as a few shades of ink, each shade one path: a page stays light, and dark pages dark."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    cells = pooled_for_eye(heard).T  # (rows, columns)
    low, high = np.quantile(cells, [0.15, 0.99])
    shade = np.clip((cells - low) / max(high - low, 1e-12) * (_SHADES + 1), 0, _SHADES).astype(int)
    rows, columns = shade.shape
    ax.set_ylim(0.0, float(rows))
    ax.grid(False)
    for level in range(1, _SHADES + 1):
        boxes = []
        for row in range(rows):
            here = np.concatenate(([0], shade[row] == level, [0])).astype(int)
            for start, end in zip(np.flatnonzero(np.diff(here) == 1), np.flatnonzero(np.diff(here) == -1)):
                left, right = start * span / columns, end * span / columns
                corners = [(left, row), (right, row), (right, row + 1), (left, row + 1), (left, row)]
                boxes.append(Path(corners, closed=True))
        if boxes:
            path = Path.make_compound_path(*boxes)
            ax.add_patch(PathPatch(path, facecolor=_hex("ink"), alpha=0.85 * level / _SHADES, linewidth=0))


def pooled_for_eye(heard: ArrayLike) -> Floats:
    """(T, F) features as means over neighbours in time and in feature, so many as the picture has cells."""
    return _pooled(_pooled(np.asarray(heard, dtype=np.float64), _COLUMNS).T, _ROWS).T


def _pooled(values: Floats, most: int) -> Floats:
    """Means of neighbouring rows, so that at most so many are left."""
    edges = np.unique(np.linspace(0, len(values), min(len(values), most) + 1).round().astype(int))
    sums: Floats = np.add.reduceat(values, edges[:-1], axis=0)
    return sums / np.diff(edges)[:, None]


def _spans(ax: Axes, spans: Sequence[Said], labels: list[str], unit: float, pixels: float, T: int) -> None:
    """A bar a label, its name in the middle; a name that would run into the one before is left out."""
    free = -1.0  # where the last name ends, in steps
    a_step = pixels / T
    for one in spans:
        role = _role(labels.index(one.text)) if one.text in labels[:-1] else "muted"
        ax.barh(
            0.5, (one.end - one.start) * unit, left=one.start * unit, height=0.9, color=_hex(role), alpha=0.3
        )
        text = _short("␣" if one.text == " " else one.text, 12)
        wide = (_DIGIT * len(text) + 3) / a_step
        start = (one.start + one.end - wide) / 2
        start = min(max(0.0, start), max(0.0, T - wide))
        if start >= free:
            _text(ax, start * unit, 0.5, text, va="center")
            free = start + wide


def _second_ticks(ax: Axes, seconds: float, width: int) -> None:
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(max(2, int(width / 90)), steps=[1, 2, 5, 10])
    ticks = [t for t in locator.tick_values(0.0, seconds) if 0 <= t <= seconds * (1 + 1e-9)]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
