"""Pictures of training: update-to-weight ratios, the loss of each batch with its spikes, a range test."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from saiki.core.errors import ValueRangeError
from saiki.insight.figures import (
    _DASHES,
    _OTHERS,
    _canvas,
    _finish_axes,
    _hex,
    _limits_x,
    _line,
    _mark,
    _median,
    _number,
    _render,
    _scale_y,
    _whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from saiki.insight.health import TrainingHealth
    from saiki.learning import LRRange

_LINES = 4  # parameters with a line of their own; the others share a grey one


def update_ratios(health: TrainingHealth, *, width: int = 400, height: int = 250) -> str:
    """‖Δw‖ / ‖w‖ of each weight over the updates, on a logarithmic axis; 0.001 is the usual size.

    Args:
        health: what `insight.training_health` read.
        width: of the picture, pixels.
        height: of the picture, pixels.
    Returns:
        One `<svg>` element. Four weights have names: those whose ratios are largest; the others are grey.
    Raises:
        ValueRangeError: no ratio of a weight was recorded, or all of them are zero.
    """
    ratios = health.ratios[:, health.weights]
    names = [name for name, weight in zip(health.ratio_names, health.weights) if weight]
    if not ratios.size or not (ratios > 0).any():
        raise ValueRangeError("update_ratios: no update-to-weight ratio was recorded")
    ratios = np.where(ratios > 0, ratios, np.nan)
    x = health.ratio_updates.astype(float)
    figure, ax = _canvas(width, height)
    low, high = float(np.nanmin(ratios)), float(np.nanmax(ratios))
    ax.set_yscale("log")
    ax.set_ylim(min(low, 1e-3) / 1.5, max(high, 1e-3) * 1.5)
    ax.axhline(1e-3, color=_hex("muted"), linewidth=1.0, linestyle=_DASHES[1], zorder=2)
    order = sorted(range(len(names)), key=lambda k: -_median(ratios[:, k]))
    labels = []
    for place, k in enumerate(order):
        named = place < _LINES
        role = ("model", *_OTHERS)[place] if named else "muted"
        labels.append(
            _line(
                ax,
                x,
                ratios[:, k],
                role,
                label=_weight_name(names[k]) if named else "",
                thin=not named,
                dash=place % 4 if named else 0,
            )
        )
    _limits_x(ax, float(x.min()), float(x.max()))
    _whole_ticks(ax, x, width)
    _finish_axes(figure, ax, width, height, x_label="update", y_label="update / weight", labels=labels)
    return _render(figure, f"Update-to-weight ratios of {len(names)} weights")


def batch_loss(health: TrainingHealth, *, width: int = 400, height: int = 250) -> str:
    """The loss of each batch, spikes marked.

    Args:
        health: what `insight.training_health` read.
        width: of the picture, pixels.
        height: of the picture, pixels.
    Returns:
        One `<svg>` element.
    Raises:
        ValueRangeError: no update was recorded.
    """
    if not len(health.updates):
        raise ValueRangeError("batch_loss: no update was recorded; fit for at least one")
    x = health.updates.astype(float)
    figure, ax = _canvas(width, height)
    _scale_y(ax, [health.loss])
    _line(ax, x, health.loss, "model", label="", thin=True)
    spiked = np.isin(health.updates, health.spikes)
    if spiked.any():
        ax.plot(
            x[spiked],
            health.loss[spiked],
            linestyle="none",
            marker="o",
            markersize=5,
            markeredgewidth=0,
            color=_hex("other1"),
            zorder=5,
        )
    _limits_x(ax, float(x.min()), float(x.max()))
    _whole_ticks(ax, x, width)
    _finish_axes(figure, ax, width, height, x_label="update", y_label="loss of the batch", labels=[])
    return _render(figure, f"Loss over {int(x.max())} updates, {len(health.spikes)} spikes")


def lr_range(found: LRRange, *, width: int = 840, height: int = 300) -> str:
    """The loss against the learning rate, with the suggested rate and the turn.

    Args:
        found: what `learning.lr_range_test` measured.
        width: of the picture, pixels.
        height: of the picture, pixels.
    Returns:
        One `<svg>` element; the horizontal axis is logarithmic. The raw loss is thin, the smoothed bold; what
        lies far above the start is cut off.
    """
    figure, ax = _canvas(width, height)
    low = float(found.smoothed.min())
    top = found.start + 2.5 * max(found.start - low, 0.05 * abs(found.start), 1e-12)
    shown = np.where(found.loss <= top, found.loss, np.nan)
    smooth = np.where(found.smoothed <= top, found.smoothed, np.nan)
    _scale_y(ax, [shown, smooth, np.array([_number(found.start)])], linear=True)
    ax.set_xscale("log")
    _line(ax, found.lr, shown, "muted", label="", thin=True, alpha=0.6)
    labels = [_line(ax, found.lr, smooth, "model", label="smoothed", bold=True)]
    ax.set_xlim(float(found.lr[0]), float(found.lr[-1]) * (1.0 + 1e-9))
    _decades(ax, float(found.lr[0]), float(found.lr[-1]), width)
    if found.suggested is not None:
        at = int(np.abs(np.log(found.lr / found.suggested)).argmin())
        _mark(ax, float(found.lr[at]), float(found.smoothed[at]), f"lr = {found.suggested:.2g}")
    _finish_axes(
        figure, ax, width, height, x_label="learning rate", y_label="loss of the batch", labels=labels
    )
    return _render(figure, f"Learning-rate range test from {found.lr[0]:.1g} to {found.lr[-1]:.1g}")


def _decades(ax: Axes, low: float, high: float, width: int) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first + 1) * 60 / max(width, 1)))
    powers = list(range(first, last + 1, step))
    if len(powers) < 2:
        ax.set_xticks([low, high], [f"{low:.2g}", f"{high:.2g}"])
    else:
        ax.set_xticks([10.0**p for p in powers], [f"{10.0**p:g}" for p in powers])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())


def _weight_name(name: str) -> str:
    """`layers.lstm.weight_hh_l0` as `lstm weight_hh`."""
    parts = [part for part in name.removesuffix("_l0").split(".") if part not in ("layers", "stack")]
    return " ".join(parts)
