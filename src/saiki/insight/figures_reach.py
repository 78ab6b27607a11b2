"""Pictures of how far a gradient reaches and of what one step does to it; as in `insight.figures`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from saiki.core.errors import OptionError
from saiki.insight.curves import Curve, Floats
from saiki.insight.figures import _DASHES, _hex, _Label, _line, _render, _scale_y
from saiki.insight.jacobians import LayerJacobians, StepJacobians
from saiki.insight.panels import WIDE, Panel, Sheet, banded, finish, limits, log_lags, plain_steps, sheet
from saiki.insight.reach import THRESHOLD, GradientReach, LayerReach

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FLOOR = 1e-9  # of its start: what is smaller leaves the picture below
_ROLES = {"h": "other1", "c": "other2", "y": "other3"}


def gradient_reach(
    reach: GradientReach | Mapping[str, GradientReach], *, width: int = 840, row_height: int = 260
) -> str:
    """How far back the gradient reaches: norms against the lag, on two logarithmic axes.

    One row a layer; the input's gradient stands in the first. Each curve is a share of its start (lag 0), the
    median over the sequences in the band of its quartiles. The dashed line is a thousandth; the dot and the
    title say at which lag the state's curve falls below it for good.

    Args:
        reach: what `insight.gradient_reach` measured, or several of them by name, such as
            {"before training": …, "after training": …}, which stand side by side (one under the other in a
            narrow picture).
        width: of the picture, pixels.
        row_height: of one panel, pixels.
    Returns:
        One `<svg>` element.
    Raises:
        OptionError: nothing to draw, or networks that do not have the same layers.
    """
    named = {"": reach} if isinstance(reach, GradientReach) else dict(reach)
    layers = [[layer.name for layer in each.layers] for each in named.values()]
    if not named or any(names != layers[0] for names in layers):
        raise OptionError(
            f"gradient_reach: the networks must have the same layers to stand side by side; got {layers}"
        )
    aside = len(named) if width >= WIDE else 1
    under = 1 if width >= WIDE else len(named)
    on = sheet(width, len(layers[0]) * under, aside, row_height)
    drawn = [_shares(each, k) for each in named.values() for k in range(len(layers[0]))]
    low, high = limits([curve for curves in drawn for curve in curves.values()], _FLOOR)
    for j, (name, each) in enumerate(named.items()):
        for k, layer in enumerate(each.layers):
            panel = on.panels[k][j] if aside > 1 or under == 1 else on.panels[k * under + j][0]
            _reach_panel(on, panel, each, layer, k, name, (low, high))
    return _render(on.figure, f"Gradient against the lag, {', '.join(layers[0])}")


def _shares(reach: GradientReach, k: int) -> dict[str, Floats]:
    """The median curves of the k-th layer's panel, as shares of their start."""
    layer = reach.layers[k]
    curves = {"state": layer.state, **layer.blocks} | ({"input": reach.input} if k == 0 else {})
    return {name: curve.median * _scale(curve) for name, curve in curves.items()}


def _scale(curve: Curve) -> float:
    start = curve.median[0] if len(curve) else np.nan
    return 1.0 / float(start) if np.isfinite(start) and start > 0 else 1.0


def _reach_panel(
    on: Sheet,
    panel: Panel,
    reach: GradientReach,
    layer: LayerReach,
    k: int,
    name: str,
    ends: tuple[float, float],
) -> None:
    ax = panel.ax
    lags = reach.lags.astype(np.float64)
    ax.set_yscale("log")
    ax.set_ylim(*ends)
    log_lags(ax, float(lags[-1]), panel.right - panel.left - 120)
    after = lags >= 1  # lag 0 has no place on a logarithmic axis; every curve starts there at 1
    ax.axhline(THRESHOLD, color=_hex("muted"), linewidth=1.0, linestyle=_DASHES[1], zorder=2)
    labels = []

    def add(curve: Curve, role: str, label: str, bold: bool = False, dash: int = 0) -> None:
        part = Curve(curve.values[:, after])
        drawn = banded(
            ax,
            lags[after],
            part,
            role,
            label=label,
            scale=_scale(curve),
            floor=ends[0] / 10,
            bold=bold,
            dash=dash,
        )
        labels.append(drawn)

    if k == 0:
        add(reach.input, "muted", "input", dash=2)
    if len(layer.blocks) > 1:
        for j, (block, curve) in enumerate(layer.blocks.items()):
            add(curve, _ROLES.get(block, "other4"), block, dash=1 + 2 * (j % 2))
    add(layer.state, "model", "state", bold=True)
    if layer.reach is not None and layer.reach >= 1:
        _dot(ax, float(layer.reach))
    finish(on, panel, title=_title(name, layer, reach), x_label="steps back", labels=labels, ticks=4)


def _title(name: str, layer: LayerReach, reach: GradientReach) -> str:
    where = ", ".join(
        part for part in (layer.name if len(reach.layers) > 1 or not name else "", name) if part
    )
    if layer.reach is None:
        return f"{where}: above 1/1000 for {int(reach.lags[-1])} steps"
    return f"{where}: 1/1000 after {layer.reach} step{'' if layer.reach == 1 else 's'}"


def _dot(ax: Axes, lag: float) -> None:
    ax.plot(
        [lag],
        [THRESHOLD],
        marker="o",
        markersize=7,
        color=_hex("model"),
        markeredgecolor=_hex("paper"),
        zorder=6,
        clip_on=False,
    )


def step_jacobians(jacobians: StepJacobians, *, width: int = 840, row_height: int = 248) -> str:
    """What one step does to a change of the state: singular values over time, and the Lyapunov spectrum.

    Args:
        jacobians: what `insight.step_jacobians` measured.
        width: of the picture, pixels; from 600 the two stand side by side.
        row_height: of one panel, pixels.
    Returns:
        One `<svg>` element, a row a layer. Left: the largest and the smallest singular value of D_t, median
        and quartiles, with the spectral radius of R below; at 1 a step neither grows nor shrinks a change.
        Right: the exponents, falling; above 0 a direction grows in the long run.
    """
    aside = 2 if width >= WIDE else 1
    on = sheet(width, len(jacobians.layers) * (2 // aside), aside, row_height)
    panels = [panel for row in on.panels for panel in row]
    for k, layer in enumerate(jacobians.layers):
        several = len(jacobians.layers) > 1
        _singular_panel(on, panels[2 * k], layer, several)
        _exponent_panel(on, panels[2 * k + 1], layer, several)
    return _render(on.figure, f"Step Jacobians over {jacobians.steps} steps")


def _singular_panel(on: Sheet, panel: Panel, layer: LayerJacobians, several: bool) -> None:
    ax = panel.ax
    steps = np.arange(1.0, len(layer.largest) + 1)
    low, high = limits([layer.largest.median, layer.smallest.median], 1e-6)
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    plain_steps(ax, 1.0, float(len(steps)), panel.right - panel.left - 110)
    ax.axhline(1.0, color=_hex("muted"), linewidth=1.0, linestyle=_DASHES[1], zorder=2)
    labels = [
        banded(ax, steps, layer.smallest, "other1", label="smallest", floor=low / 10, dash=1),
        banded(ax, steps, layer.largest, "model", label="largest", floor=low / 10, bold=True),
    ]
    where = f"{layer.name}: " if several else ""
    title = f"{where}singular values of a step"
    finish(on, panel, title=title, x_label="step", labels=labels, note=_radii(layer))


def _radii(layer: LayerJacobians) -> str | None:
    """The spectral radius of R in words, gate by gate."""
    if not layer.recurrent:
        return None
    if len(layer.recurrent) == 1:
        return f"spectral radius of R: {next(iter(layer.recurrent.values())).spectral_radius:.2f}"
    each = (f"{gate} {R.spectral_radius:.2f}" for gate, R in layer.recurrent.items())
    return f"spectral radius of R: {', '.join(each)}"


def _exponent_panel(on: Sheet, panel: Panel, layer: LayerJacobians, several: bool) -> None:
    ax = panel.ax
    exponents = layer.exponents
    known = np.where(np.isfinite(exponents), exponents, np.nan)
    places = np.arange(1.0, len(exponents) + 1)
    _scale_y(ax, [known, np.zeros(1)], linear=True)
    plain_steps(ax, 1.0, float(len(exponents)), panel.right - panel.left - 110)
    ax.axhline(0.0, color=_hex("muted"), linewidth=1.0, linestyle=_DASHES[1], zorder=2)
    ax.plot(
        places,
        known,
        linestyle="none",
        marker="o",
        markersize=5,
        markeredgewidth=0,
        color=_hex("model"),
        clip_on=False,
    )
    where = f"{layer.name}: " if several else ""
    largest = f"largest {exponents[0]:.3f}".replace("-", "−") if np.isfinite(exponents[0]) else ""
    labels = [_Label(largest, float(exponents[0]), "model")] if largest else []
    title = f"{where}Lyapunov exponents, nats a step"
    note = "" if layer.recurrent else None  # in line with the panel beside it
    finish(on, panel, title=title, x_label="direction", labels=labels, note=note)


def vanishing_bound(
    reach: GradientReach,
    jacobians: StepJacobians,
    *,
    layer: str | None = None,
    width: int = 840,
    height: int = 280,
) -> str:
    """The bound (‖R‖₂ max|f'|)^k of an Elman layer beside what was measured.

    Args:
        reach: what `insight.gradient_reach` measured.
        jacobians: what `insight.step_jacobians` measured on the same network.
        layer: its name; the first with a bound if not given.
        width: of the picture, pixels.
        height: of the picture, pixels.
    Returns:
        One `<svg>` element; a curve that falls by the same factor every step is a straight line in it.
    Raises:
        OptionError: the layer has no bound, or none has.
    """
    bounded = [each.name for each in jacobians.layers if each.bound_factor is not None]
    if layer is None and not bounded:
        raise OptionError(
            "vanishing_bound: no layer is an Elman cell with a named activation, and only those have a bound"
        )
    name = bounded[0] if layer is None else layer
    factor = jacobians.layer(name)
    measured = reach.layer(name).state
    bound = factor.bound(reach.lags)
    on = sheet(width, 1, 1, height)
    panel = on.panels[0][0]
    ax, lags = panel.ax, reach.lags.astype(np.float64)
    low, high = limits([measured.median, bound], _FLOOR)
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    plain_steps(ax, 0.0, float(lags[-1]), width - 150)
    ax.axhline(THRESHOLD, color=_hex("muted"), linewidth=1.0, linestyle=_DASHES[1], zorder=2)
    shown = np.clip(bound, low / 10, high * 10)
    labels = [
        _line(ax, lags, shown, "other1", label=f"bound {factor.bound_factor:.3g}ᵏ", dash=1),
        banded(ax, lags, measured, "model", label="measured", floor=low / 10, bold=True),
    ]
    finish(
        on, panel, title="norm of ∂h(T)/∂h(T−k), share of its start", x_label="steps back, k", labels=labels
    )
    return _render(on.figure, f"Vanishing bound beside the measured gradient of {name}")
