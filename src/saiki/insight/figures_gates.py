"""Pictures of gates, memories and units over a batch; in the style of `insight.figures`."""

from __future__ import annotations

import math

import numpy as np

from saiki.core.errors import OptionError
from saiki.insight.figures import _DASHES, _DIGIT, _canvas, _hex, _Label, _render, _scale_y, _short, _text
from saiki.insight.gates import GateReport, GateUse, LayerUse, TimeConstants
from saiki.insight.panels import WIDE, Panel, Sheet, banded, finish, plain_steps, sheet

_NAMES = {
    "i": "input gate i",
    "f": "forget gate f",
    "o": "output gate o",
    "r": "reset gate r",
    "z": "update gate z",
    "g": "candidate g",
    "n": "candidate n",
    "h": "unit h",
}


def gates(report: GateReport, *, width: int = 840, row_height: int = 190) -> str:
    """How each gate and candidate was used: a histogram of its values, and its shares in words.

    Args:
        report: what `insight.gate_use` counted.
        width: of the picture, pixels; panels stand as many in a row as fit.
        row_height: of one panel, pixels.
    Returns:
        One `<svg>` element. Of a gate the title says at how many of all values it was open (above 0.9) and
        shut (below 0.1), of a candidate how many were saturated.
    Raises:
        OptionError: no layer tells of its gates.
    """
    shown = [(layer, gate) for layer in report.layers for gate in layer.gates]
    if not shown:
        raise OptionError("gates: no layer tells of its gates; a cell of one's own does by step_with_gates")
    most = max(len(layer.gates) for layer in report.layers)
    aside = max(1, min(most, int(width / 210)))
    aside = math.ceil(most / math.ceil(most / aside))  # as full in the last row as in the first
    per_layer = [math.ceil(len(layer.gates) / aside) for layer in report.layers]
    on = sheet(width, sum(per_layer), aside, row_height)
    row = 0
    for layer, rows in zip(report.layers, per_layer):
        for k, gate in enumerate(layer.gates):
            _gate_panel(on, on.panels[row + k // aside][k % aside], layer, gate, len(report.layers) > 1)
        row += rows
    for panel in (p for line in on.panels for p in line if not p.ax.patches):
        panel.ax.remove()
    return _render(on.figure, f"Use of {len(shown)} gates over {report.steps} steps")


def _gate_panel(on: Sheet, panel: Panel, layer: LayerUse, gate: GateUse, several: bool) -> None:
    ax = panel.ax
    wide = np.diff(gate.edges)
    alone = bool((wide <= 0).any())  # all values are one number
    left = np.arange(len(wide), dtype=float) if alone else gate.edges[:-1]
    ax.bar(
        left,
        gate.histogram,
        width=1.0 if alone else wide * 0.92,
        align="edge",
        color=_hex("model"),
        linewidth=0,
    )
    ax.set_ylim(0, max(float(gate.histogram.max()) * 1.08, 1e-9))
    ax.set_xlim(float(left[0]), float(left[-1] + (1.0 if alone else wide[-1])))
    low, high = float(gate.edges[0]), float(gate.edges[-1])
    ax.set_xticks(
        [low, (low + high) / 2, high], [f"{t:.3g}".replace("-", "−") for t in (low, (low + high) / 2, high)]
    )
    where = f"{layer.name} " if several else ""
    finish(
        on,
        panel,
        title=f"{where}{_name(layer, gate)}",
        x_label=_shares(gate),
        ticks=4,
        room=14.0,
    )
    ax.set_yticks(ax.get_yticks(), [f"{100 * t:.3g} %" for t in ax.get_yticks()])


def _name(layer: LayerUse, gate: GateUse) -> str:
    if gate.name == "output":
        return "output ψ(c)" if "c" in layer.norms else "output y"
    return _NAMES.get(gate.name, gate.name)


def _shares(gate: GateUse) -> str:
    if gate.gates:
        return f"open {_percent(gate.open)}, shut {_percent(gate.shut)}"
    if np.isnan(gate.saturated).all():
        return ""
    return f"saturated {_percent(gate.saturated)}"


def _percent(shares: np.ndarray) -> str:
    share = 100 * float(np.mean(shares))
    return f"{share:.0f} %" if share == 0 or share >= 1 else "<1 %"


def time_constants(report: GateReport, *, width: int = 840, row_height: int = 220) -> str:
    """How long memories last: the histogram of τ = 1 / (1 - f) over all units and steps, and each unit's own.

    Args:
        report: what `insight.gate_use` counted.
        width: of the picture, pixels.
        row_height: of one panel, pixels.
    Returns:
        One `<svg>` element, a row a layer; the marks under the bars are the units' τ at their mean opening.
    Raises:
        OptionError: no layer has a gate that holds its memory.
    """
    held = [(layer.name, layer.time_constants) for layer in report.layers if layer.time_constants is not None]
    if not held:
        raise OptionError(
            "time_constants: no layer has a gate that holds its memory; Elman and Jordan networks and an "
            "LSTM without forget gate have none"
        )
    on = sheet(width, len(held), 1, row_height)
    for (name, constants), (panel,) in zip(held, on.panels):
        _constants_panel(on, panel, name if len(held) > 1 else "", constants)
    return _render(on.figure, f"Time constants of {len(held)} layers")


def _constants_panel(on: Sheet, panel: Panel, name: str, constants: TimeConstants) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    ax, edges = panel.ax, constants.edges
    ax.set_xscale("log")
    ax.bar(
        edges[:-1],
        constants.histogram,
        width=np.diff(edges) * 0.93,
        align="edge",
        color=_hex("model"),
        linewidth=0,
    )
    peak = max(float(constants.histogram.max()), 1e-9)
    ax.set_ylim(-0.08 * peak, 1.08 * peak)
    ax.set_xlim(float(edges[0]), float(edges[-1]))
    units = np.clip(constants.units, edges[0], edges[-1])
    ax.plot(
        units,
        np.full(len(units), -0.04 * peak),
        linestyle="none",
        marker="|",
        markersize=8,
        color=_hex("other1"),
    )
    ticks = [10.0**d for d in range(round(math.log10(edges[-1])) + 1)]
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xticks(ticks, [*(f"{t:,.0f}" for t in ticks[:-1]), f"{ticks[-1]:,.0f} +"])
    where = f"{name}: " if name else ""
    title = f"{where}time constant 1 / (1 − {constants.gate}); a mark is a unit"
    finish(on, panel, title=title, x_label="steps", ticks=5, room=44.0)
    ax.set_yticks(
        [t for t in ax.get_yticks() if t >= 0], [f"{100 * t:.3g} %" for t in ax.get_yticks() if t >= 0]
    )


def units(report: GateReport, *, layer: str | None = None, width: int = 840) -> str:
    """Which units are saturated in which gate, and which are dead: a strip a gate, a cell a unit.

    Args:
        report: what `insight.gate_use` counted.
        layer: its name; the first if not given.
        width: of the picture, pixels.
    Returns:
        One `<svg>` element; the darker a cell, the larger the share of steps at which it was saturated. Dead
        units are marked in the last strip.
    Raises:
        OptionError: no such layer.
    """
    use = report.layers[0] if layer is None else report.layer(layer)
    rows = [gate for gate in use.gates if not np.isnan(gate.saturated).all()]
    names = [_short(_name(use, gate), 16) for gate in rows]
    K = max([len(gate.saturated) for gate in rows] + [len(use.movement)])
    left = _DIGIT * max([*map(len, names), 4]) + 16
    pitch = (width - left - 70) / K
    tall = 22.0
    height = round(26 + tall * (len(rows) + 1) + 34)
    figure, ax = _canvas(width, height, bare=True)

    from matplotlib.patches import Rectangle

    gap = min(1.0, 0.15 * pitch)

    def cell(j: int, k: int, role: str, alpha: float) -> None:
        box = (left + k * pitch, 26 + j * tall + 0.5)
        ax.add_patch(Rectangle(box, pitch - gap, tall - 2, facecolor=_hex(role), alpha=alpha, linewidth=0))

    for j, (gate, name) in enumerate(zip(rows, names)):
        _text(ax, left - 8, 26 + (j + 0.5) * tall, name, ha="right", va="center")
        for k, share in enumerate(gate.saturated):
            cell(j, k, "model" if share > 0 else "grid", 0.12 + 0.88 * float(share) if share > 0 else 0.45)
        count = len(gate.saturated_units)
        _text(
            ax,
            width - 8,
            26 + (j + 0.5) * tall,
            f"{count} of {len(gate.saturated)}",
            role="muted",
            ha="right",
            va="center",
        )
    j, dead = len(rows), use.dead_units
    _text(ax, left - 8, 26 + (j + 0.5) * tall, "dead", ha="right", va="center")
    for k in range(len(use.movement)):
        cell(j, k, "other1" if k in dead else "grid", 1.0 if k in dead else 0.45)
    _text(
        ax,
        width - 8,
        26 + (j + 0.5) * tall,
        f"{len(dead)} of {len(use.movement)}",
        role="muted",
        ha="right",
        va="center",
    )
    title = "saturated and dead units"
    if width >= WIDE:
        title = f"{use.name}: share of the steps at which a unit is saturated; counted above nine in ten"
    _text(ax, 4, 11, title, va="center")
    every = max(1, math.ceil((_DIGIT * len(str(K)) + 8) / pitch))
    for k in range(0, K, every):
        _text(
            ax,
            left + (k + 0.5) * pitch,
            26 + tall * (len(rows) + 1) + 6,
            str(k),
            role="muted",
            ha="center",
            va="top",
        )
    _text(ax, width - 8, height - 8, "unit", role="muted", ha="right", va="center")
    return _render(figure, f"Saturated and dead units of {use.name}")


def state_norms(report: GateReport, *, width: int = 840, row_height: int = 200) -> str:
    """The size of the state over time: ‖h_t‖ and ‖c_t‖ a unit, median and quartiles over the sequences.

    Args:
        report: what `insight.gate_use` counted.
        width: of the picture, pixels.
        row_height: of one panel, pixels.
    Returns:
        One `<svg>` element, a row a layer.
    """
    on = sheet(width, len(report.layers), 1, row_height)
    for layer, (panel,) in zip(report.layers, on.panels):
        ax = panel.ax
        drawn = [curve.upper for curve in layer.norms.values()]
        _scale_y(ax, [*drawn, np.zeros(1)], linear=True)
        ax.set_ylim(0.0, ax.get_ylim()[1])
        steps = np.arange(1.0, len(next(iter(layer.norms.values()))) + 1)
        plain_steps(ax, 1.0, float(len(steps)), width - 110)
        labels: list[_Label] = []
        for k, (name, curve) in enumerate(layer.norms.items()):
            role = ("model", "other2", "other3")[k % 3]
            labels.append(banded(ax, steps, curve, role, label=name, bold=k == 0, dash=k % len(_DASHES)))
        where = f"{layer.name}: " if len(report.layers) > 1 else ""
        finish(
            on,
            panel,
            title=f"{where}size of the state, root mean square of its units",
            x_label="step",
            labels=labels,
        )
    return _render(on.figure, f"State norms of {len(report.layers)} layers")
