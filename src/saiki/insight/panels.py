"""Several axes in one picture, side by side or one under the other, in the style of `insight.figures`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from saiki.insight.curves import Curve, Floats
from saiki.insight.figures import (
    _DIGIT,
    _canvas,
    _hex,
    _Label,
    _last,
    _short,
    _spread,
    _style_axes,
    _text,
    _y_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 600  # pixels from which panels stand side by side
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Panel(NamedTuple):
    """One axes and the box it may fill, in pixels from the top left; ticks and names lie inside the box."""

    ax: Axes
    left: float
    right: float
    top: float
    bottom: float


class Sheet(NamedTuple):
    """A picture with its panels, row by row."""

    figure: Figure
    width: int
    height: int
    panels: list[list[Panel]]


def sheet(width: int, rows: int, columns: int, row_height: int) -> Sheet:
    """A picture of rows × columns equal panels."""
    height = rows * row_height
    figure, first = _canvas(width, height)
    made: list[list[Panel]] = []
    for r in range(rows):
        made.append([])
        for c in range(columns):
            ax = first if r == c == 0 else figure.add_axes((0.1, 0.1, 0.8, 0.8))
            if ax is not first:
                _style_axes(ax)
            box = (c * width / columns, (c + 1) * width / columns, r * row_height, (r + 1) * row_height)
            made[-1].append(Panel(ax, *box))
    return Sheet(figure, width, height, made)


def finish(
    on: Sheet,
    panel: Panel,
    *,
    title: str,
    x_label: str,
    labels: Sequence[_Label] = (),
    ticks: int | None = None,
    room: float | None = None,
    note: str | None = None,
) -> None:
    """Place one panel's axes in its box, with its title above, its lines' names at their ends.

    Args:
        on: the picture.
        panel: one of its panels, drawn and with its limits set.
        title: above it.
        x_label: under it, at the right.
        labels: of the lines.
        ticks: digits that the ticks of the vertical axis may need; None measures them.
        room: pixels at the right for the labels; None measures them.
        note: a line under everything, at the left; an empty one keeps its room, so that panels align.
    """
    ax, width, height = panel.ax, on.width, on.height
    ends = [label for label in labels if label.text and math.isfinite(label.value)]
    ends = [label._replace(text=_short(label.text, 22)) for label in ends]
    foot = panel.bottom - (0.0 if note is None else 18.0)
    top, bottom = panel.top + 30.0, foot - (42.0 if x_label else 30.0)
    written = _y_ticks(ax, bottom - top)
    if ax.get_yscale() == "log":
        written = [power(float(t)) for t in ax.get_yticks()]
        ax.set_yticks(ax.get_yticks(), written)
    digits = max((len(t) for t in written), default=1) if ticks is None else ticks
    left = panel.left + 16.0 + _DIGIT * digits
    if room is None:
        room = 16.0 + max((_DIGIT * (1.06 if e.bold else 1.0) * len(e.text) for e in ends), default=0.0)
    right = panel.right - room
    ax.set_position((left / width, 1 - bottom / height, (right - left) / width, (bottom - top) / height))
    low, high = ax.get_ylim()
    log = ax.get_yscale() == "log"

    def pixel(value: float) -> float:
        inside = min(max(value, min(low, high)), max(low, high))
        share = math.log(inside / low) / math.log(high / low) if log else (inside - low) / (high - low)
        return bottom - share * (bottom - top)

    ends.sort(key=lambda e: pixel(e.value))
    places = _spread([pixel(e.value) for e in ends], 15.0, top, bottom)
    for end, y in zip(ends, places):
        _words(on, ax, right + 7, y, end.text, role=end.role, bold=end.bold)
    if title:
        _words(on, ax, panel.left + 4, panel.top + 11, title, role="ink")
    if x_label:
        _words(on, ax, right, foot - 9, x_label, role="muted", ha="right")
    if note:
        _words(on, ax, panel.left + 4, panel.bottom - 9, note, role="muted")


def _words(
    on: Sheet,
    ax: Axes,
    x: float,
    y: float,
    text: str,
    *,
    role: str = "ink",
    bold: bool = False,
    ha: str = "left",
) -> None:
    drawn = _text(ax, x / on.width, 1 - y / on.height, text, role=role, bold=bold, ha=ha)
    drawn.set_transform(on.figure.transFigure)
    drawn.set_verticalalignment("center")


def power(value: float) -> str:
    """A power of ten as it is read: 10⁻³; from 0.1 to 1,000 as a number."""
    exponent = math.log10(value) if value > 0 else 0.5
    if abs(exponent - round(exponent)) > 1e-9:
        return f"{value:g}"
    if -1 <= round(exponent) <= 3:
        return f"{value:,.4g}"
    return f"10{str(round(exponent)).translate(_RAISED)}"


def banded(
    ax: Axes,
    x: Floats,
    curve: Curve,
    role: str,
    *,
    label: str,
    scale: float = 1.0,
    floor: float | None = None,
    bold: bool = False,
    dash: int = 0,
) -> _Label:
    """The median as a line in the band of its quartiles; what lies under `floor` leaves the picture below."""
    from saiki.insight.figures import _line

    def drawn(values: Floats) -> Floats:
        scaled = np.asarray(values, dtype=np.float64) * scale
        return scaled if floor is None else np.where(np.isnan(scaled), scaled, np.maximum(scaled, floor))

    if len(curve.values) > 1:
        low, high = drawn(curve.lower), drawn(curve.upper)
        known = np.isfinite(low) & np.isfinite(high)
        ax.fill_between(x, low, high, where=list(known), color=_hex(role), alpha=0.16, linewidth=0)
    line = _line(ax, x, drawn(curve.median), role, label=label, bold=bold, dash=dash)
    return line._replace(value=_last(drawn(curve.median)))


def log_lags(ax: Axes, last: float, pixels: float) -> None:
    """A logarithmic horizontal axis from lag 1, with as many of 1, 2, 5, 10, 20 … as fit."""
    from matplotlib.ticker import NullFormatter, NullLocator

    ax.set_xscale("log")
    ax.set_xlim(1.0, max(last, 2.0))
    decades = max(math.log10(max(last, 2.0)), 0.3)
    steps = (1, 2, 5) if pixels / decades > 100 else (1,)
    ticks = [s * 10**d for d in range(int(decades) + 1) for s in steps if s * 10**d <= max(last, 2.0)]
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xticks(ticks, [f"{t:,}" for t in ticks])


def plain_steps(ax: Axes, first: float, last: float, pixels: float) -> None:
    """A linear horizontal axis over whole steps, its ends widened where it would have no width."""
    from matplotlib.ticker import MaxNLocator

    if first == last:
        first, last = first - 0.5, last + 0.5
    ax.set_xlim(first, last)
    count = max(2, int(pixels / 70))
    locator = MaxNLocator(count, integer=True, steps=[1, 2, 5, 10])
    ticks = [t for t in locator.tick_values(first, last) if first <= t <= last]
    ax.set_xticks(ticks, [f"{t + 0.0:,.0f}".replace("-", "−") for t in ticks])


def limits(values: Sequence[Floats], floor: float) -> tuple[float, float]:
    """Logarithmic limits around all positive values, at least from `floor` to 1."""
    flat = np.concatenate([np.asarray(v, dtype=np.float64).ravel() for v in values] or [np.array([1.0])])
    flat = flat[np.isfinite(flat) & (flat > 0)]
    low = max(float(flat.min()), floor) if flat.size else floor
    high = min(float(flat.max()), 1e30) if flat.size else 1.0
    return min(low, 0.5) / 1.5, max(high, 1.0) * 1.8
