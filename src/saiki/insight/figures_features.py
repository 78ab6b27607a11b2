"""Pictures of what a network looks for: filters, embeddings, exciting inputs; as in `insight.figures`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from saiki.core.errors import OptionError, ShapeError
from saiki.insight.features import EmbeddingMap, Excitement, Filters
from saiki.insight.figures import _DIGIT, _canvas, _hex, _line, _render, _scale_y, _short, _text
from saiki.insight.panels import finish, plain_steps, sheet

_MOST_CELLS = 20_000  # of one picture; a larger matrix is one for a table


def filters(
    found: Filters | Sequence[Filters], *, inputs: Sequence[str] | None = None, width: int = 840
) -> str:
    """Input weights as fields: a row a unit, a column an input, blue above zero and orange below.

    Args:
        found: one of what `insight.filters` gave, or several of one layer, which stand side by side.
        inputs: (I,) names of the inputs; their numbers otherwise.
        width: of the picture, pixels.
    Returns:
        One `<svg>` element. The darkest field is the largest weight of all.
    Raises:
        OptionError: nothing to draw, or more than 20,000 weights.
        ShapeError: not one name an input, or filters of different inputs.
    """
    each = [found] if isinstance(found, Filters) else list(found)
    if not each or sum(one.weights.size for one in each) > _MOST_CELLS:
        raise OptionError(f"filters: give between 1 and {_MOST_CELLS:,} weights; take fewer gates or layers")
    I = each[0].weights.shape[1]
    if any(one.weights.shape[1] != I for one in each) or (inputs is not None and len(inputs) != I):
        raise ShapeError(
            f"filters: all must have the same inputs, and one name each; got "
            f"{[one.weights.shape for one in each]} and {None if inputs is None else len(inputs)} names"
        )
    H = max(len(one.weights) for one in each)
    names = [_short(str(name), 14) for name in inputs] if inputs is not None else [str(k) for k in range(I)]
    left, gap = 14.0 + _DIGIT * len(str(H - 1)), 18.0
    pitch = (width - left - 10 - gap * (len(each) - 1)) / (len(each) * I)
    tall = min(18.0, max(3.0, min(pitch, 420.0 / H)))
    widest = _DIGIT * max(map(len, names))
    turned = inputs is not None and widest > pitch - 4
    foot = (12 + widest) if turned else 24.0
    height = round(30 + H * tall + foot + 14)
    figure, ax = _canvas(width, height, bare=True)

    from matplotlib.patches import Rectangle

    peak = max(float(np.abs(one.weights).max()) for one in each) or 1.0
    for g, one in enumerate(each):
        start = left + g * (I * pitch + gap)
        title = f"{one.name} {one.gate}".strip()
        _text(ax, start, 14, _short(title, max(4, int(I * pitch / _DIGIT))), va="center")
        for (j, k), weight in np.ndenumerate(one.weights):
            ax.add_patch(
                Rectangle(
                    (start + k * pitch, 28 + j * tall),
                    max(pitch - min(1.0, 0.1 * pitch), 0.3),
                    max(tall - 0.8, 0.5),
                    facecolor=_hex("model" if weight >= 0 else "other1"),
                    alpha=round(0.03 + 0.97 * abs(float(weight)) / peak, 3),
                    linewidth=0,
                )
            )
        every = max(1, math.ceil((14.0 if turned else widest + 8) / pitch))
        for k in range(0, I, every):
            x, y = start + (k + 0.5) * pitch, 34 + H * tall
            if turned:
                _text(ax, x, y, names[k], role="muted", ha="center", va="top", rotation=90)
            else:
                _text(ax, x, y, names[k], role="muted", ha="center", va="top")
    for j in range(0, H, max(1, math.ceil(14 / tall))):
        _text(ax, left - 6, 28 + (j + 0.5) * tall, str(j), role="muted", ha="right", va="center")
    words = f"a row a unit; largest weight {peak:.2g}, blue above 0, orange below"
    if width >= _DIGIT * len(words):
        _text(ax, width - 8, height - 7, words, role="muted", ha="right", va="center")
    return _render(figure, f"Input weights of {', '.join(dict.fromkeys(one.name for one in each))}")


def embedding_map(
    found: EmbeddingMap, *, names: Sequence[object] | None = None, width: int = 560, height: int = 420
) -> str:
    """An embedding on its two principal axes, a name a vector; near means alike.

    Args:
        found: one of what `insight.embeddings` gave.
        names: (V,) what the ids stand for; their numbers otherwise.
        width: of the picture, pixels.
        height: of the picture, pixels.
    Returns:
        One `<svg>` element. A name that would cover another is left out, its dot stays.
    Raises:
        ShapeError: not one name an id.
    """
    V = len(found.places)
    if names is not None and len(names) != V:
        raise ShapeError(f"embedding_map: {len(names)} names for {V} ids")
    written = [_short(str(k if names is None else names[k]), 16) for k in range(V)]
    on = sheet(width, 1, 1, height)
    panel = on.panels[0][0]
    ax = panel.ax
    x, y = found.places[:, 0], found.places[:, 1]
    for values, limit in ((x, ax.set_xlim), (y, ax.set_ylim)):
        air = 0.08 * float(np.ptp(values)) or 1.0
        limit(float(values.min()) - air, float(values.max()) + air)
    ax.plot(
        x, y, linestyle="none", marker="o", markersize=4, markeredgewidth=0, color=_hex("model"), alpha=0.8
    )
    across, up = 100 * found.explained
    finish(
        on,
        panel,
        title=f"{found.name}: second axis, {up:.0f} % of the variance",
        x_label=f"first axis, {across:.0f} % of the variance",
        room=20.0,
    )
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(5))
    dots = [ax.transData.transform(place) for place in found.places]
    taken: list[tuple[float, float, float, float]] = [(px - 2, py - 2, px + 2, py + 2) for px, py in dots]
    for k in np.argsort(-np.hypot(x - x.mean(), y - y.mean()), kind="stable"):
        px, py = dots[k]
        long = _DIGIT * len(written[k])
        sides = [(px + 6, py - 7, px + 6 + long, py + 7), (px - 6 - long, py - 7, px - 6, py + 7)]
        inside = [box for box in sides if box[0] > 0 and box[2] < width]
        free = [box for box in inside if not any(_meet(box, other) for other in taken)]
        if not free:
            continue
        box, right = free[0], free[0] is sides[0]
        taken.append(box)
        drawn = ax.annotate(
            written[k],
            (x[k], y[k]),
            xytext=(6 if right else -6, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=12.0,
            color=_hex("ink"),
        )
        drawn.set_parse_math(False)
    return _render(on.figure, f"Map of {V} embedded ids")


def _meet(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    """Whether two boxes (left, low, right, high) overlap."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def exciting_input(
    found: Excitement,
    *,
    inputs: Sequence[str] | None = None,
    most: int = 6,
    width: int = 840,
    row_height: int = 130,
) -> str:
    """The input made for a unit beside the stretch of data that it liked best, an input a row.

    Args:
        found: what `insight.exciting_input` gave.
        inputs: (F,) names of the inputs; their numbers otherwise.
        most: inputs shown, those that the made input uses most.
        width: of the picture, pixels.
        row_height: of one panel, pixels.
    Returns:
        One `<svg>` element; the last step is the one at which the unit's output counts.
    Raises:
        ShapeError: not one name an input.
    """
    steps, F = found.made.shape
    if inputs is not None and len(inputs) != F:
        raise ShapeError(f"exciting_input: {len(inputs)} names for {F} inputs")
    strength = np.linalg.norm(found.made, axis=0)
    shown = sorted(np.argsort(-strength, kind="stable")[: max(1, most)].tolist())
    on = sheet(width, len(shown), 1, row_height)
    when, room = np.arange(-steps + 1.0, 1.0), 0.0
    for j, (k, (panel,)) in enumerate(zip(shown, on.panels)):
        ax = panel.ax
        _scale_y(ax, [found.made[:, k], found.found[:, k]], linear=True)
        plain_steps(ax, float(when[0]), 0.0, width - 200)
        made = f"made: unit {found.made_value:.2f}".replace("-", "−") if j == 0 else "made"
        data = f"found: unit {found.found_value:.2f}".replace("-", "−") if j == 0 else "found"
        labels = [
            _line(ax, when, found.found[:, k], "other1", label=data, dash=1),
            _line(ax, when, found.made[:, k], "model", label=made, bold=True),
        ]
        room = 18.0 + 1.06 * _DIGIT * max(len(made), len(data)) if j == 0 else room
        name = str(inputs[k]) if inputs is not None else f"input {k}"
        last = j == len(shown) - 1
        finish(
            on,
            panel,
            title=_short(name, 40),
            x_label="step, 0 is the last" if last else "",
            labels=labels,
            ticks=5,
            room=room,
        )
    return _render(on.figure, f"What excites unit {found.unit} of {found.layer}")
