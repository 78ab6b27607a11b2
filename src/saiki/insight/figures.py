"""The pictures of a report: each function takes plain arrays and returns one inline SVG as a string.

The drawings share one style. Text stays text, so a page's own font sets it and a reader can select it.
Colours are CSS variables with a light value to fall back on (`THEME`), so one picture serves light and dark
pages; `standalone` turns a picture into a file that brings its own colours. The series colours keep apart
for the usual kinds of colour blindness (after Okabe & Ito 2008, darkened until they can be read as text on
white), and dash patterns keep them apart without any colour. Lines are labelled at their ends; there are no
legends.

A picture never asks the network for anything, its ids are made from its own content so that several can
stand in one page, and the same data give the same bytes. matplotlib is loaded on first use and its pyplot
state is left alone.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saiki.core.errors import OptionError, ShapeError, ValueRangeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    from saiki.core.record import FitRecord

Floats = NDArray[np.float64]

THEME: dict[str, tuple[str, str]] = {
    "ink": ("#1b2430", "#e6eaf0"),
    "muted": ("#5f6b7a", "#98a4b3"),
    "grid": ("#e3e7ec", "#2b333d"),
    "paper": ("#ffffff", "#12161b"),
    "model": ("#0068a8", "#5ab4ee"),
    "other1": ("#b84a00", "#ff9457"),
    "other2": ("#00775a", "#3ecf9f"),
    "other3": ("#9c3c74", "#ec94c6"),
    "other4": ("#7a5c00", "#dcb545"),
}
"""Role -> (colour on a light page, colour on a dark page). A page sets them as `--saiki-ROLE`."""

_ROLE = {light: role for role, (light, _) in THEME.items()}
_OTHERS = ("other1", "other2", "other3", "other4")
_DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1.5, 1.8)), (0, (6, 2, 1.5, 2)))
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"
_FONT = 12.0
_DIGIT = 7.1  # width of a digit at 12 px in the widest common interface fonts
_RENDERING = (
    threading.Lock()
)  # two of matplotlib's SVG settings live in its global rcParams, set while we render


class _Label(NamedTuple):
    text: str
    value: float  # on the y axis
    role: str
    bold: bool = False
    dash: int = 0


def variables(dark: bool = False) -> str:
    """The colours of `THEME` as CSS declarations, `--saiki-ink: #1b2430; …`, for a page's style sheet."""
    return " ".join(f"--saiki-{role}: {pair[int(dark)]};" for role, pair in THEME.items())


def standalone(svg: str) -> str:
    """The picture as a file of its own: with a background, a font and both colour schemes inside.

    Args:
        svg: what one of this module's functions returned.
    Returns:
        An SVG document for `<img>`, a README or a slide; it follows the reader's light or dark preference.
    """
    start = svg.index(">") + 1
    _, _, width, height = ElementTree.fromstring(svg).attrib["viewBox"].split()
    style = (
        f"svg {{ {variables()} font-family: system-ui, 'Segoe UI', Helvetica, Arial, sans-serif }} "
        f"@media (prefers-color-scheme: dark) {{ svg {{ {variables(dark=True)} }} }}"
    )
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n{svg[: start - 1]} width="{width}" height="{height}">'
        f"<style>{style}</style>"
        f'<rect width="{width}" height="{height}" rx="6" style="fill: {_css("paper")}" />'
        f"{svg[start:]}\n"
    )


# ---------------------------------------------------------------------------------------------- the pictures


def learning_curves(record: FitRecord, *, loss: str = "loss", width: int = 400, height: int = 250) -> str:
    """Training and validation loss over the epochs, the kept weights marked.

    Where the validation error was taken several times an epoch, the horizontal axis counts updates instead.

    Args:
        record: what the fit left behind; its `epochs` and `best_epoch` are read.
        loss: what the vertical axis measures, with its unit if it has one.
        width: of the picture, pixels.
        height: of the picture, pixels.
    Returns:
        One `<svg>` element. The vertical axis is logarithmic where the losses span more than a factor of 20.
    Raises:
        ValueRangeError: the record holds no epoch.
    """
    if not record.epochs:
        raise ValueRangeError("learning_curves: the record holds no epoch; fit for at least one")
    by = "epoch" if len({e.epoch for e in record.epochs}) == len(record.epochs) else "update"
    x = np.array([e.epoch if by == "epoch" else e.updates for e in record.epochs], dtype=float)
    training = np.array([_number(e.loss) for e in record.epochs])
    validation = np.array([_number(e.validation_loss) for e in record.epochs])
    figure, ax = _canvas(width, height)
    _scale_y(ax, [training, validation])
    labels = [_line(ax, x, training, "muted", label="training", dash=1)]
    if np.isfinite(validation).any():
        labels.append(_line(ax, x, validation, "model", label="validation", bold=True))
    _limits_x(ax, float(x.min()), float(x.max()))
    _whole_ticks(ax, x, width)
    _finish_axes(figure, ax, width, height, x_label=by, y_label=loss, labels=labels)
    value = np.where(np.isfinite(validation), validation, training)
    best = [k for k, e in enumerate(record.epochs) if e.epoch == record.best_epoch and np.isfinite(value[k])]
    if best:
        at = min(best, key=lambda k: float(value[k]))
        _mark(ax, float(x[at]), float(value[at]), f"kept: {by} {x[at]:,.0f}")
    return _render(figure, f"Learning curves over {len(x)} evaluations")


def gradient_norm(
    record: FitRecord, *, clip_norm: float | None = None, width: int = 400, height: int = 250
) -> str:
    """The norm of the gradient, before clipping, at each recorded update; those that were clipped have a dot.

    Args:
        record: its `updates` and `clipped` are read.
        clip_norm: the norm at which gradients were clipped; drawn as a line.
        width: of the picture, pixels.
        height: of the picture, pixels.
    Returns:
        One `<svg>` element; the vertical axis is logarithmic where the norms span more than a factor of 20.
    Raises:
        ValueRangeError: the record holds no update.
    """
    if not record.updates:
        raise ValueRangeError("gradient_norm: the record holds no update; fit for at least one")
    rows = np.array([[float(u), _number(n)] for u, _, n in record.updates])
    x, norm = rows[:, 0], rows[:, 1]
    figure, ax = _canvas(width, height)
    _scale_y(ax, [norm] if clip_norm is None else [norm, np.array([clip_norm])])
    many = len(x) > 150
    _line(ax, x, norm, "model", label="", thin=True, alpha=0.45 if many else 1.0)
    labels = []
    clipped = np.isin(x, record.clipped)
    if clipped.any():
        ax.plot(
            x[clipped],
            norm[clipped],
            linestyle="none",
            marker="o",
            markersize=2.5 if many else 4.0,
            markeredgewidth=0,
            alpha=0.5 if many else 1.0,
            color=_hex("other1"),
            zorder=3,
        )
    if many:  # a running median says where the cloud goes
        half = max(2, len(x) // 60)
        middle = np.array([_median(norm[max(0, k - half) : k + half + 1]) for k in range(len(x))])
        labels.append(_line(ax, x, middle, "model", label="median", bold=True))
    if clip_norm is not None:
        ax.axhline(clip_norm, color=_hex("other1"), linewidth=1.2, linestyle=_DASHES[1])
        labels.append(_Label("clipped above", clip_norm, "other1"))
    _limits_x(ax, float(x.min()), float(x.max()))
    _whole_ticks(ax, x, width)
    _finish_axes(figure, ax, width, height, x_label="update", y_label="gradient norm", labels=labels)
    return _render(figure, f"Gradient norm over {int(x.max())} updates")


def error_by_horizon(
    errors: Mapping[str, ArrayLike],
    *,
    model: str = "model",
    unit: str = "",
    metric: str = "mean absolute error",
    step: str = "step",
    width: int = 840,
    height: int = 300,
) -> str:
    """The error at each step ahead, one line a method, ours in front.

    Args:
        errors: name -> (horizon,) error at 1, 2, … steps ahead, in `unit`; NaN where it was not measured. Of
            more than four simple methods the first and the three best have colours.
        model: the name of our own line.
        unit: of the errors.
        metric: what the vertical axis measures.
        step: what one step is (`week`, `hour`).
        width: of the picture, pixels.
        height: of the picture, pixels.
    Returns:
        One `<svg>` element.
    Raises:
        ShapeError: the lines are not all of one length, or there is none.
        OptionError: `model` is not among the names.
    """
    rows = {name: np.asarray(values, dtype=float) for name, values in errors.items()}
    lengths = {row.shape for row in rows.values()}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1 or next(iter(lengths)) == (0,):
        raise ShapeError(
            "error_by_horizon: each method needs one error a step ahead, all of one length; got "
            + (", ".join(f"{name}: {row.shape}" for name, row in rows.items()) or "no method")
        )
    if model not in rows:
        raise OptionError(f"error_by_horizon: model={model!r} is not among the methods {sorted(rows)}")
    ahead = np.arange(1, len(rows[model]) + 1, dtype=float)
    figure, ax = _canvas(width, height)
    _scale_y(ax, list(rows.values()), zero=True)
    labels = []
    others = [name for name in rows if name != model]
    coloured = (
        others if len(others) <= 4 else [others[0], *sorted(others[1:], key=lambda n: _mean(rows[n]))[:3]]
    )
    for k, name in enumerate(others):
        role = _OTHERS[coloured.index(name)] if name in coloured else "muted"
        dash = coloured.index(name) if name in coloured else k % 4
        labels.append(_line(ax, ahead, rows[name], role, label=name, dash=dash, thin=True))
    labels.append(_line(ax, ahead, rows[model], "model", label=model, bold=True))
    _limits_x(ax, 1.0, float(ahead[-1]))
    _whole_ticks(ax, ahead, width)
    _finish_axes(
        figure, ax, width, height, x_label=f"{step}s ahead", y_label=_with_unit(metric, unit), labels=labels
    )
    return _render(figure, f"{metric} at 1 to {len(ahead)} {step}s ahead")


def forecast_fan(
    times: ArrayLike,
    quantiles: Mapping[float, ArrayLike],
    *,
    truth: ArrayLike | None = None,
    past_times: ArrayLike | None = None,
    past: ArrayLike | None = None,
    name: str = "",
    unit: str = "",
    width: int = 840,
    height: int = 340,
) -> str:
    """A forecast as a fan of intervals, with the past it saw and, where it is known, the truth.

    Args:
        times: (n,) numbers or datetimes of the forecast steps, rising.
        quantiles: probability -> (n,) forecast. Pairs q and 1 - q are drawn as bands, 0.5 as a line (the
            middle one takes its place where it is missing).
        truth: (n,) what came, NaN where nothing was measured.
        past_times: (m,) times of `past`, before the first of `times`.
        past: (m,) the values up to the forecast's origin, NaN where nothing was measured.
        name: of the quantity; labels the axis together with `unit`.
        unit: of the values.
        width: of the picture, pixels.
        height: of the picture, pixels.
    Returns:
        One `<svg>` element.
    Raises:
        ShapeError: lengths disagree, or `quantiles` is empty.
        ValueRangeError: a probability is not between 0 and 1.
    """
    when = _times(times)
    n = len(when)
    rows = {float(q): np.asarray(v, dtype=float) for q, v in quantiles.items()}
    if not rows or any(row.shape != (n,) for row in rows.values()):
        shapes = ", ".join(f"{q}: {row.shape}" for q, row in rows.items()) or "none"
        raise ShapeError(f"forecast_fan: each quantile must be ({n},) like times; got {shapes}")
    if any(not 0.0 < q < 1.0 for q in rows):
        raise ValueRangeError(f"forecast_fan: quantiles must lie between 0 and 1; got {sorted(rows)}")
    came = None if truth is None else np.asarray(truth, dtype=float)
    if came is not None and came.shape != (n,):
        raise ShapeError(f"forecast_fan: truth is {came.shape} but must be ({n},) like times")
    before = None if past is None else np.asarray(past, dtype=float)
    before_when = None if past_times is None else _times(past_times)
    if (before is None) != (before_when is None) or (
        before is not None and before_when is not None and before.shape != before_when.shape
    ):
        raise ShapeError("forecast_fan: past and past_times go together and must be of one length")

    order = sorted(rows)
    middle = 0.5 if 0.5 in rows else order[len(order) // 2]
    figure, ax = _canvas(width, height)
    drawn = [*rows.values(), *(v for v in (came, before) if v is not None)]
    _scale_y(ax, drawn, linear=True)
    labels = []
    pairs = [(q, other) for q in order if q < 0.5 for other in order if math.isclose(q + other, 1.0)]
    for low, high in pairs:
        ax.fill_between(when, rows[low], rows[high], color=_hex("model"), alpha=0.2, linewidth=0)
        labels.append(_Label(f"{100 * low:g}–{100 * high:g} %", _last(rows[high]), "model"))
    paired = {q for pair in pairs for q in pair}
    for q in order:
        if q != middle and q not in paired:
            labels.append(_line(ax, when, rows[q], "model", label=f"{100 * q:g} %", thin=True, dash=2))
    if before is not None and before_when is not None:
        _line(ax, before_when, before, "ink", label="", thin=True)
        ax.axvline(before_when[-1], color=_hex("muted"), linewidth=0.9, linestyle=_DASHES[2])
    if came is not None:
        labels.append(_line(ax, when, came, "ink", label="measured", thin=True))
    word = "median" if middle == 0.5 else f"{100 * middle:g} %"
    labels.append(_line(ax, when, rows[middle], "model", label=word, bold=True))
    first = when[0] if before_when is None else before_when[0]
    ax.set_xlim(first, when[-1] if n > 1 or before_when is not None else first + 1)
    _time_ticks(ax, when, width)
    is_time = np.issubdtype(when.dtype, np.datetime64)
    _finish_axes(
        figure,
        ax,
        width,
        height,
        x_label="" if is_time else "step",
        y_label=_with_unit(name, unit) if name else unit,
        labels=labels,
    )
    if before_when is not None:
        _note(ax, before_when[-1], "forecast from here")
    return _render(figure, f"Forecast of {n} steps{f' of {name}' if name else ''} with intervals")


def confusion(matrix: ArrayLike, labels: Sequence[object], *, width: int = 560) -> str:
    """A confusion matrix: rows are the true classes, columns the predicted ones, shaded by share of the row.

    Args:
        matrix: (K, K) counts; entry (j, k) counts cases of class j taken for class k.
        labels: (K,) class names.
        width: of the picture, pixels. Counts are written into the cells while they fit.
    Returns:
        One `<svg>` element. The column at the right is the share of each true class that was found (recall).
    Raises:
        ShapeError: the matrix is not square or does not fit the labels.
        ValueRangeError: a count is negative or not finite.
    """
    counts = np.asarray(matrix, dtype=float)
    K = len(labels)
    if counts.shape != (K, K) or K == 0:
        raise ShapeError(f"confusion: the matrix is {counts.shape} but must be ({K}, {K}) for {K} labels")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueRangeError("confusion: counts must be finite and not negative")
    names = [_short(str(label), 16) for label in labels]
    left = max(_DIGIT * max(map(len, names)) + 12, 44.0)
    right, top, bottom = 56.0, 44.0, 30.0
    widest = _DIGIT * max(map(len, names)) + 10
    room = (width - left - right) / K
    side = min(room, 46.0)  # of a row
    wide = min(room, max(side, widest))  # of a column: wider where there are few classes with long names
    turned = widest > wide
    if turned:
        top = 24.0 + widest
    height = round(top + side * K + bottom)
    figure, _ = _canvas(width, height, bare=True)
    ax = figure.axes[0]
    total = counts.sum(axis=1)
    share = np.divide(counts, total[:, None], out=np.zeros_like(counts), where=total[:, None] > 0)
    written = side >= 14 and wide >= 6 + _DIGIT * len(f"{counts.max():.0f}")

    from matplotlib.patches import Rectangle

    every = max(1, math.ceil(13 / side))  # label every n-th class where rows are thinner than a line of text
    for j in range(K):
        y = top + j * side
        for k in range(K):
            x = left + k * wide
            role = "model" if j == k else "other1"
            if counts[j, k] > 0 or written:
                alpha = 0.0 if counts[j, k] == 0 else 0.1 + 0.85 * float(share[j, k])
                ax.add_patch(
                    Rectangle(
                        (x + 0.5, y + 0.5),
                        max(wide - 1, 0.5),
                        max(side - 1, 0.5),
                        facecolor=_hex(role) if alpha else _hex("grid"),
                        alpha=alpha or 0.45,
                        linewidth=0,
                    )
                )
            if written and counts[j, k] > 0:
                ink = "paper" if share[j, k] > 0.5 else "ink"
                _text(
                    ax, x + wide / 2, y + side / 2, f"{counts[j, k]:.0f}", role=ink, ha="center", va="center"
                )
        if j % every == 0:
            _text(ax, left - 8, y + side / 2, names[j], ha="right", va="center")
            found = f"{100 * share[j, j]:.0f} %" if total[j] else "–"
            _text(ax, left + K * wide + 44, y + side / 2, found, role="muted", ha="right", va="center")
            if turned:
                x = left + (j + 0.5) * wide
                _text(ax, x, top - 8, names[j], ha="center", va="bottom", rotation=90)
            else:
                _text(ax, left + (j + 0.5) * wide, top - 8, names[j], ha="center", va="bottom")
    _text(ax, left - 8, 12, "true", role="muted", ha="right", va="center")
    _text(ax, left, 12, "predicted", role="muted", ha="left", va="center")
    _text(ax, left + K * wide + 44, 12, "found", role="muted", ha="right", va="center")
    right_ones = float(np.trace(counts))
    share_right = f" ({100 * right_ones / counts.sum():.1f} %)" if counts.sum() else ""
    _text(
        ax,
        left,
        height - 10,
        f"{right_ones:,.0f} of {counts.sum():,.0f} right{share_right}",
        role="muted",
        va="center",
    )
    return _render(figure, f"Confusion matrix of {K} classes")


def agreement(
    truth: ArrayLike, predicted: ArrayLike, *, name: str = "", unit: str = "", width: int = 560
) -> str:
    """Predicted values against true ones, a dot each; on the diagonal they agree.

    Args:
        truth: (n,) true values; a pair with NaN is left out.
        predicted: (n,) what the model said, in the same unit.
        name: of the quantity.
        unit: of the values.
        width: of the picture, pixels; it is two thirds as high.
    Returns:
        One `<svg>` element. Both axes have the same limits.
    Raises:
        ShapeError: the two are not of one length (n,).
        ValueRangeError: no pair is finite.
    """
    true, said = np.asarray(truth, dtype=float), np.asarray(predicted, dtype=float)
    if true.ndim != 1 or true.shape != said.shape:
        raise ShapeError(
            f"agreement: truth is {true.shape} and predicted {said.shape}, but both must be (n,)"
        )
    known = np.isfinite(true) & np.isfinite(said)
    if not known.any():
        raise ValueRangeError("agreement: no pair of a true and a predicted value is finite")
    true, said = true[known], said[known]
    height = round(width * 2 / 3)
    figure, ax = _canvas(width, height)
    _scale_y(ax, [true, said], linear=True)
    low, high = ax.get_ylim()
    ax.set_xlim(low, high)
    ax.plot([low, high], [low, high], color=_hex("muted"), linewidth=1.0, linestyle=_DASHES[1])
    alpha = 0.85 if len(true) <= 60 else 0.45
    ax.plot(
        true,
        said,
        linestyle="none",
        marker="o",
        markersize=5,
        markeredgewidth=0,
        color=_hex("model"),
        alpha=alpha,
    )
    _time_ticks(ax, true, width)
    what = f" {name}" if name else ""
    _finish_axes(
        figure,
        ax,
        width,
        height,
        x_label=_with_unit(f"true{what}", unit),
        y_label=_with_unit(f"predicted{what}", unit),
        labels=[],
    )
    return _render(figure, f"{len(true)} predicted values against the true ones")


def attention_over_steps(
    weights: ArrayLike,
    *,
    lengths: Sequence[int] | None = None,
    steps: Sequence[object] | None = None,
    names: Sequence[object] | None = None,
    width: int = 840,
) -> str:
    """Which past steps a pooled or attended representation looked at.

    Args:
        weights: (T,) for one sequence, drawn as bars, or (n, T), one strip a sequence; each sums to 1.
        lengths: (n,) steps in use; what lies past them is left empty.
        steps: (T,) what to write under the steps; their numbers otherwise.
        names: (n,) of the sequences.
        width: of the picture, pixels.
    Returns:
        One `<svg>` element.
    Raises:
        ShapeError: `weights` is not (T,) or (n, T), or another argument does not fit it.
        ValueRangeError: a weight is negative or not finite.
    """
    w = np.asarray(weights, dtype=float)
    one = w.ndim == 1
    w = w[None] if one else w
    if w.ndim != 2 or w.shape[1] == 0 or w.shape[0] == 0:
        raise ShapeError(f"attention_over_steps: weights are {w.shape} but must be (T,) or (n, T)")
    n, T = w.shape
    used = np.full(n, T) if lengths is None else np.asarray(lengths, dtype=int)
    if used.shape != (n,) or (used > T).any() or (used < 0).any():
        raise ShapeError(f"attention_over_steps: lengths must be ({n},), each from 0 to T = {T}")
    if (steps is not None and len(steps) != T) or (names is not None and len(names) != n):
        raise ShapeError(f"attention_over_steps: steps must be ({T},) and names ({n},)")
    inside = np.arange(T)[None, :] < used[:, None]
    if not np.isfinite(w[inside]).all() or (w[inside] < 0).any():
        raise ValueRangeError("attention_over_steps: weights must be finite and not negative")
    w = np.where(inside, w, 0.0)
    written = [_short(str(s), 12) for s in steps] if steps is not None else [str(k + 1) for k in range(T)]
    titles = [_short(str(s), 18) for s in names] if names is not None else ([""] if one else [])
    titles = titles or [str(k + 1) for k in range(n)]
    left = max(_DIGIT * max(map(len, titles)) + 12, 20.0)
    pitch = (width - left - 16) / T
    row = 110.0 if one else min(24.0, max(6.0, 600.0 / n))
    turned = steps is not None and max(map(len, written)) * _DIGIT > pitch - 4
    foot = (10 + _DIGIT * max(map(len, written))) if turned else 24.0
    top = 22.0
    height = round(top + n * row + foot + 16)
    figure, ax = _canvas(width, height, bare=True)

    from matplotlib.patches import Rectangle

    peak = float(w.max()) or 1.0
    gap = min(1.0, 0.15 * pitch)
    for j in range(n):
        for k in range(int(used[j])):
            x, y = left + k * pitch, top + j * row
            if one:
                tall = row * w[0, k] / peak
                patch = Rectangle(
                    (x + gap, y + row - tall), pitch - 2 * gap, tall, facecolor=_hex("model"), linewidth=0
                )
            else:
                shade = 0.06 + 0.94 * w[j, k] / peak
                patch = Rectangle(
                    (x, y + 0.5),
                    pitch - gap,
                    max(row - 1, 0.5),
                    facecolor=_hex("model"),
                    alpha=float(shade),
                    linewidth=0,
                )
            ax.add_patch(patch)
        if not one and j % max(1, math.ceil(14 / row)) == 0:
            _text(ax, left - 8, top + (j + 0.5) * row, titles[j], ha="right", va="center")
    widest = _DIGIT * max(map(len, written))
    every = max(1, math.ceil((14.0 if turned else widest + 10) / pitch))
    for k in range(0, T, every):
        x, y = left + (k + 0.5) * pitch, top + n * row + 6
        if turned:
            _text(ax, x, y, written[k], role="muted", ha="center", va="top", rotation=90)
        else:
            _text(ax, x, y, written[k], role="muted", ha="center", va="top")
    _text(ax, left, 8, f"weight; the largest is {peak:.2g}", role="muted", va="center")
    _text(ax, width - 16, height - 8, "step", role="muted", ha="right", va="center")
    return _render(figure, f"Attention over {T} steps of {n} sequence{'s' if n > 1 else ''}")


def traces(
    rows: Mapping[str, Mapping[str, ArrayLike]],
    *,
    x_label: str = "step",
    width: int = 840,
    row_height: int = 120,
) -> str:
    """Signals over the same steps, one panel under the other: inputs, gates, states.

    Args:
        rows: panel name -> (line name -> (T,) values). All lines have one length; NaN leaves a gap.
        x_label: what the steps are.
        width: of the picture, pixels.
        row_height: of one panel, pixels.
    Returns:
        One `<svg>` element.
    Raises:
        ShapeError: there is no panel, a panel has no line, or lengths disagree.
    """
    panels = {p: {k: np.asarray(v, dtype=float) for k, v in lines.items()} for p, lines in rows.items()}
    shapes = {line.shape for lines in panels.values() for line in lines.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1 or not all(panels.values()):
        raise ShapeError(f"traces: all lines must be of one length (T,), at least one a panel; got {shapes}")
    (T,) = next(iter(shapes))
    if T == 0:
        raise ShapeError("traces: the lines are empty; give at least one step")
    x = np.arange(1, T + 1, dtype=float)
    height = row_height * len(panels) + 26
    figure, first = _canvas(width, height)
    axes = [first, *(figure.add_axes((0.1, 0.1, 0.8, 0.8)) for _ in range(len(panels) - 1))]
    for k, (ax, (title, lines)) in enumerate(zip(axes, panels.items())):
        if k:
            _style_axes(ax)
        _scale_y(ax, list(lines.values()), linear=True)
        labels = []
        roles = itertools.cycle(("model", *_OTHERS))
        for j, (name, line) in enumerate(lines.items()):
            labels.append(_line(ax, x, line, next(roles), label=name, dash=j % 4, bold=len(lines) == 1))
        _limits_x(ax, 1.0, float(T))
        _whole_ticks(ax, x, width)
        last = k == len(panels) - 1
        _finish_axes(
            figure,
            ax,
            width,
            height,
            x_label=x_label if last else "",
            y_label=title,
            labels=labels,
            band=(k * row_height, (k + 1) * row_height + (26 if last else 0)),
            margins=_shared_margins(panels),
            ticks_below=last,
        )
    return _render(figure, f"{', '.join(panels)} over {T} steps")


# ----------------------------------------------------------------------------------------------- the drawing


def _hex(role: str) -> str:
    return THEME[role][0]


def _css(role: str) -> str:
    return f"var(--saiki-{role}, {_hex(role)})"


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else math.nan


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.inf


def _last(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known[-1]) if known.size else math.nan


def _short(text: str, limit: int) -> str:
    """Without control characters (no XML can hold them) and no longer than `limit`."""
    clean = "".join(c if c.isprintable() else "�" for c in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def _with_unit(name: str, unit: str) -> str:
    return f"{name}, {unit}" if unit else name


def _times(times: ArrayLike) -> NDArray[Any]:
    when = np.asarray(times)
    if when.ndim != 1 or not len(when):
        raise ShapeError(f"forecast_fan: times must be (n,) with n of at least 1; got {when.shape}")
    if when.dtype == object:  # a list of datetime.datetime or pandas.Timestamp
        when = when.astype("datetime64[us]")
    return when if np.issubdtype(when.dtype, np.datetime64) else when.astype(float)


def _canvas(width: int, height: int, *, bare: bool = False) -> tuple[Figure, Axes]:
    """A figure in which one unit is one pixel; `bare` axes count pixels from the top left, for cells."""
    if width < 200 or height < 60:
        raise ValueRangeError(f"a picture needs 200 × 60 pixels at least; got {width} × {height}")
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    FigureCanvasSVG(figure)
    if bare:
        ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        ax.set_xlim(0, width)
        ax.set_ylim(height, 0)
        ax.axis("off")
    else:
        ax = figure.add_axes((0.1, 0.1, 0.8, 0.8))
        _style_axes(ax)
    return figure, ax


def _style_axes(ax: Axes) -> None:
    for side in ("left", "top", "right"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(_hex("muted"))
    ax.spines["bottom"].set_linewidth(0.8)
    ax.grid(True, axis="y", color=_hex("grid"), linewidth=1.0)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0, pad=6, labelsize=_FONT, labelcolor=_hex("muted"))
    ax.tick_params(
        axis="x", length=4, width=0.8, pad=4, labelsize=_FONT, color=_hex("muted"), labelcolor=_hex("muted")
    )


def _text(
    ax: Axes,
    x: float,
    y: float,
    text: str,
    *,
    role: str = "ink",
    bold: bool = False,
    ha: str = "left",
    va: str = "baseline",
    rotation: float = 0.0,
) -> Text:
    weight = "bold" if bold else "normal"
    drawn = ax.text(
        x, y, text, color=_hex(role), fontsize=_FONT, fontweight=weight, ha=ha, va=va, rotation=rotation
    )
    drawn.set_parse_math(False)  # a dollar sign in a column's name is a dollar sign
    return drawn


def _line(
    ax: Axes,
    x: NDArray[Any],
    y: Floats,
    role: str,
    *,
    label: str,
    bold: bool = False,
    thin: bool = False,
    dash: int = 0,
    alpha: float = 1.0,
) -> _Label:
    """Draw one line, points that stand alone between gaps as dots; return what to write at its end."""
    known = np.isfinite(y)
    width = 2.4 if bold else 1.3 if thin else 1.7
    style: dict[str, Any] = {"color": _hex(role), "alpha": alpha, "zorder": 4 if bold else 3}
    ax.plot(x, y, linewidth=width, linestyle=_DASHES[dash], solid_capstyle="round", **style)
    fenced = np.concatenate([[False], known, [False]])
    alone = known & ~fenced[:-2] & ~fenced[2:]
    if alone.any():
        ax.plot(x[alone], y[alone], linestyle="none", marker="o", markersize=3.5, markeredgewidth=0, **style)
    return _Label(label, _last(y), role, bold, dash)


def _scale_y(ax: Axes, drawn: Sequence[Floats], *, zero: bool = False, linear: bool = False) -> None:
    """Limits that hold all finite values with a little air; logarithmic beyond a factor of 20."""
    values = np.concatenate([np.asarray(d, dtype=float).ravel() for d in drawn])
    values = values[np.isfinite(values)]
    if not values.size:
        values = np.array([0.0, 1.0])
    low, high = float(values.min()), float(values.max())
    if not linear and not zero and low > 0 and high / low > 20:
        ax.set_yscale("log")
        ax.set_ylim(low / 1.3, high * 1.3)
        return
    if zero:
        low = min(0.0, low)
    air = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    ax.set_ylim(low if low == 0 else low - air, high + air)


def _limits_x(ax: Axes, low: float, high: float) -> None:
    ax.set_xlim(low - 0.5, high + 0.5) if low == high else ax.set_xlim(low, high)


def _whole_ticks(ax: Axes, values: Floats, width: int) -> None:
    from matplotlib.ticker import MaxNLocator

    low, high = float(values.min()), float(values.max())
    count = max(2, int(width / 90))
    ticks = [t for t in MaxNLocator(count, integer=True).tick_values(low, high) if low <= t <= high]
    if ticks and ticks[0] > low and (len(ticks) < 2 or ticks[0] - low > 0.3 * (ticks[1] - ticks[0])):
        ticks.insert(0, low)
    ax.set_xticks(ticks, [f"{t:,.0f}" for t in ticks])


def _time_ticks(ax: Axes, when: NDArray[Any], width: int) -> None:
    count = max(3, int(width / 110))
    if np.issubdtype(when.dtype, np.datetime64):
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(minticks=4, maxticks=max(count, 7))
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        offset = ax.xaxis.get_offset_text()
        offset.set_color(_hex("muted"))
        offset.set_fontsize(_FONT)
        return
    from matplotlib.ticker import MaxNLocator

    low, high = ax.get_xlim()
    ticks = [t for t in MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= t <= high]
    ax.set_xticks(ticks, _written(ticks))


def _written(ticks: Sequence[float]) -> list[str]:
    """Numbers for an axis: as many decimals as their spacing needs, powers where they are far out."""
    if len(ticks) < 2:
        return [f"{t:,.4g}" for t in ticks]
    step = min(b - a for a, b in itertools.pairwise(ticks))
    largest = max(abs(t) for t in ticks)
    if largest >= 1e7 or step < 1e-6:
        return [f"{t:.4g}".replace("-", "−") for t in ticks]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, decimals) != 0 and abs(round(step, decimals) - step) > 1e-3 * step:
        decimals += 1  # a spacing of 2.5
    return [f"{t + 0.0:,.{decimals}f}".replace("-", "−") for t in ticks]


def _y_ticks(ax: Axes, pixels: float) -> list[str]:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

    low, high = ax.get_ylim()
    count = max(2, int(pixels / 42))
    if ax.get_yscale() == "log":
        decades = math.log10(high / low)
        subs = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
        ticks = [
            t for t in LogLocator(subs=subs, numticks=count + 4).tick_values(low, high) if low <= t <= high
        ]
        labels = [f"{t:g}" for t in ticks]
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ticks = [
            t for t in MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= t <= high
        ]
        labels = _written(ticks)
    ax.set_yticks(ticks, labels)
    return labels


def _shared_margins(panels: Mapping[str, Mapping[str, Floats]]) -> tuple[float, float]:
    longest = max(len(name) for lines in panels.values() for name in lines)
    return 46.0, 20.0 + _DIGIT * longest


def _finish_axes(
    figure: Figure,
    ax: Axes,
    width: int,
    height: int,
    *,
    x_label: str,
    y_label: str,
    labels: Sequence[_Label],
    band: tuple[float, float] | None = None,
    margins: tuple[float, float] | None = None,
    ticks_below: bool = True,
) -> None:
    """Place the axes so that ticks, the axis names and the labels at the lines' ends all have room."""
    top_edge, bottom_edge = band or (0.0, float(height))
    top = top_edge + (28.0 if y_label else 12.0)
    foot = (24.0 if ticks_below else 8.0) + (18.0 if x_label else 6.0 if not ticks_below else 10.0)
    bottom = bottom_edge - foot
    ends = [label for label in labels if label.text and math.isfinite(label.value)]
    ends = [label._replace(text=_short(label.text, 30)) for label in ends]
    ticks = _y_ticks(ax, bottom - top)
    if margins is None:
        left = 14.0 + _DIGIT * max((len(t) for t in ticks), default=1)
        right = 14.0 + max((_DIGIT * (1.06 if e.bold else 1.0) * len(e.text) for e in ends), default=8.0)
        if right > 0.42 * width:  # names too long for their place: a key under the axes instead
            foot_edge = height + math.ceil(_key_height(ends, width))
            figure.set_size_inches(width / 72, foot_edge / 72)
            _key(figure, ax, ends, width, foot_edge)
            height, right, ends = foot_edge, 14.0, []
    else:
        left, right = margins
    ax.set_position(
        (left / width, 1 - bottom / height, (width - left - right) / width, (bottom - top) / height)
    )
    if not ticks_below:
        ax.tick_params(axis="x", labelbottom=False)
    low, high = ax.get_ylim()

    def pixel(value: float) -> float:
        log = ax.get_yscale() == "log"
        share = (math.log(value / low) / math.log(high / low)) if log else (value - low) / (high - low)
        return bottom - share * (bottom - top)

    ends.sort(key=lambda e: pixel(e.value))
    for end, y in zip(ends, _spread([pixel(e.value) for e in ends], 15.0, top, bottom)):
        drawn = _text(ax, (width - right + 7) / width, 1 - y / height, end.text, role=end.role, bold=end.bold)
        drawn.set_transform(figure.transFigure)
        drawn.set_verticalalignment("center")
    if y_label:
        name = _text(ax, 4 / width, 1 - (top_edge + 10) / height, y_label, role="muted")
        name.set_transform(figure.transFigure)
        name.set_verticalalignment("center")
    if x_label:
        name = _text(
            ax, (width - right) / width, 1 - (bottom_edge - 9) / height, x_label, role="muted", ha="right"
        )
        name.set_transform(figure.transFigure)
        name.set_verticalalignment("center")


def _key_columns(ends: Sequence[_Label], width: int) -> int:
    widest = 40.0 + _DIGIT * max(len(end.text) for end in ends)
    return max(1, int((width - 8) / widest))


def _key_height(ends: Sequence[_Label], width: int) -> float:
    return 18.0 * math.ceil(len(ends) / _key_columns(ends, width)) + 8.0


def _key(figure: Figure, ax: Axes, ends: Sequence[_Label], width: int, height: int) -> None:
    """A sample and a name a line, in columns at the foot of the picture."""
    tall, columns = _key_height(ends, width), _key_columns(ends, width)
    for k, end in enumerate(sorted(ends, key=lambda e: -e.value)):
        x = 4.0 + (k % columns) * (width - 8.0) / columns
        y = height - tall + 12.0 + 18.0 * (k // columns)
        ax.plot(
            [x / width, (x + 24) / width],
            [1 - y / height] * 2,
            transform=figure.transFigure,
            clip_on=False,
            color=_hex(end.role),
            linewidth=2.4 if end.bold else 1.4,
            linestyle=_DASHES[end.dash],
        )
        drawn = _text(ax, (x + 30) / width, 1 - y / height, end.text, role=end.role, bold=end.bold)
        drawn.set_transform(figure.transFigure)
        drawn.set_verticalalignment("center")


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones (rising), `gap` apart, within [low, high] if they fit."""
    groups: list[tuple[float, int]] = []  # (centre, members), merged while they overlap
    for y in wanted:
        centre, size = y, 1
        while groups and centre - size * gap / 2 < groups[-1][0] + groups[-1][1] * gap / 2:
            other, members = groups.pop()
            centre, size = (other * members + centre * size) / (members + size), members + size
        groups.append((centre, size))
    placed = [centre + (k - (size - 1) / 2) * gap for centre, size in groups for k in range(size)]
    if not placed:
        return placed
    shift = min(0.0, high - placed[-1]) or max(0.0, low - placed[0])
    return [y + shift for y in placed]


def _mark(ax: Axes, x: float, y: float, text: str) -> None:
    ax.axvline(x, color=_hex("muted"), linewidth=0.9, linestyle=_DASHES[2], zorder=2)
    ax.plot([x], [y], marker="o", markersize=7, color=_hex("model"), markeredgecolor=_hex("paper"), zorder=6)
    _note(ax, x, text)


def _note(ax: Axes, x: float | np.datetime64, text: str) -> None:
    """Words beside the top of a vertical line, on the side that has more room."""
    left, right = ax.get_xlim()
    at = float(ax.convert_xunits(x))
    late = at > left + 0.6 * (right - left)
    drawn = ax.annotate(
        text,
        (at, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-6 if late else 6, -2),
        textcoords="offset points",
        ha="right" if late else "left",
        va="top",
        fontsize=_FONT,
        color=_hex("muted"),
    )
    drawn.set_parse_math(False)


def _render(figure: Figure, alt: str) -> str:
    """matplotlib's SVG made fit for a page: only the ids in use, the theme's colours, the page's font."""
    import matplotlib

    out = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with (
        _RENDERING,
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "saiki", "axes.unicode_minus": True}),
    ):
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = out.getvalue()
    prefix = "s" + hashlib.sha256(text.encode()).hexdigest()[:10] + "-"
    root = ElementTree.fromstring(text)
    used = {e.attrib[_XLINK][1:] for e in root.iter() if _XLINK in e.attrib}
    used |= {e.attrib["clip-path"][5:-1] for e in root.iter() if "clip-path" in e.attrib}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (
                f"{{{_SVG}}}metadata",
                f"{{{_SVG}}}style",
            ):  # its style would hold for the whole page
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        element.tail = None
        if element.tag != "text":
            element.text = None
        attributes = element.attrib
        name = attributes.pop("id", None)
        if name in used:
            attributes["id"] = prefix + str(name)
        if _XLINK in attributes:
            attributes["href"] = "#" + prefix + attributes.pop(_XLINK)[1:]
        if "clip-path" in attributes:
            attributes["clip-path"] = f"url(#{prefix}{attributes['clip-path'][5:-1]})"
        if "d" in attributes:
            attributes["d"] = _path(attributes["d"])
        if "style" in attributes:
            attributes["style"] = _style(attributes["style"])
        if attributes.get("transform", "").startswith("rotate(-0 "):
            del attributes["transform"]
    _unwrap(root)
    _, _, width, _ = root.attrib["viewBox"].split()
    root.attrib = {
        "xmlns": _SVG,
        "viewBox": root.attrib["viewBox"],
        "class": "saiki-figure",
        "role": "img",
        "aria-label": alt,
        "style": f"width: 100%; max-width: {float(width):g}px; height: auto; stroke-linejoin: round",
    }
    return ElementTree.tostring(root, encoding="unicode")


def _path(d: str) -> str:
    """Path data to a twentieth of a pixel: a third of the size, the same picture."""
    short = (w if w.isalpha() else f"{round(float(w) * 20) / 20:g}" for w in d.split())
    return " ".join(short)


def _style(style: str) -> str:
    kept = []
    for part in style.split(";"):
        key, _, value = (s.strip() for s in part.partition(":"))
        if key in ("fill", "stroke", "stop-color") and value in _ROLE:
            kept.append(f"{key}: {_css(_ROLE[value])}")
        elif key and key != "font-family":
            kept.append(f"{key}: {value}")
    return "; ".join(kept)


def _unwrap(root: ElementTree.Element) -> None:
    """Drop the groups that carry nothing, and what draws nothing."""
    for child in list(root):
        _unwrap(child)
    kept: list[ElementTree.Element] = []
    for child in list(root):
        if child.tag in ("g", "defs") and not child.attrib:
            kept.extend(list(child) if child.tag == "g" else [child] if len(child) else [])
        elif not (child.tag == "path" and child.attrib.get("style") == "fill: none"):
            kept.append(child)
    root[:] = kept
