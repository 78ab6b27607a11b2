"""What was seen inside a network as JSON, small enough for a model folder, and back for the pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from saiki.insight.curves import Curve, Floats, numbers
from saiki.insight.gates import GateReport, GateUse, LayerUse, TimeConstants
from saiki.insight.reach import GradientReach, LayerReach

POINTS = 64  # lags of a curve that are kept, about
UNITS = 64  # units whose time constants are kept


def packed_reach(reach: GradientReach) -> dict[str, Any]:
    """Quartiles at no more than about 64 lags, four digits each: what the picture needs."""
    n = len(reach.lags)
    places = np.arange(n)
    if n > POINTS:  # every lag up to 16, beyond them evenly on a logarithmic axis
        places = np.unique(np.concatenate([places[:17], np.geomspace(1, n, POINTS).round().astype(int) - 1]))

    def curve(one: Curve) -> list[Any]:
        return [_short(part[places]) for part in (one.lower, one.median, one.upper)]

    return {
        "lags": reach.lags[places].tolist(),
        "sequences": reach.sequences,
        "steps": reach.steps,
        "loss": reach.loss,
        "input": curve(reach.input),
        "input_reach": reach.input_reach,
        "layers": [
            {
                "name": layer.name,
                "cell": layer.cell,
                "state": curve(layer.state),
                "blocks": {name: curve(block) for name, block in layer.blocks.items()},
                "reach": layer.reach,
                "block_reach": dict(layer.block_reach),
            }
            for layer in reach.layers
        ],
    }


def unpacked_reach(told: Mapping[str, Any]) -> GradientReach:
    """What `packed_reach` wrote: curves with the same quartiles."""
    return GradientReach(
        lags=np.array(told["lags"], dtype=np.int64),
        layers=tuple(
            LayerReach(
                name=layer["name"],
                cell=layer["cell"],
                state=_curve(layer["state"]),
                blocks={name: _curve(block) for name, block in layer["blocks"].items()},
                reach=layer["reach"],
                block_reach=layer["block_reach"],
            )
            for layer in told["layers"]
        ),
        input=_curve(told["input"]),
        input_reach=told["input_reach"],
        sequences=told["sequences"],
        steps=told["steps"],
        loss=told["loss"],
    )


def _curve(quartiles: Sequence[Sequence[float | None]]) -> Curve:
    """Five rows whose quartiles are these: lower, lower, median, upper, upper."""
    lower, median, upper = (_floats(part) for part in quartiles)
    return Curve(np.stack([lower, lower, median, upper, upper]))


def packed_gates(report: GateReport) -> dict[str, Any]:
    """Histograms, mean shares and time constants, layer by layer."""

    def gate(one: GateUse) -> dict[str, Any]:
        shares = {
            name: _short(np.array([np.mean(getattr(one, name))])) for name in ("open", "shut", "saturated")
        }
        return {
            "name": one.name,
            "gates": one.gates,
            "mean": _short(np.array([one.mean.mean()])),
            **shares,
            "edges": _short(one.edges),
            "histogram": _short(one.histogram),
        }

    def constants(one: TimeConstants | None) -> dict[str, Any] | None:
        if one is None:
            return None
        places = np.unique(np.linspace(0, len(one.units) - 1, UNITS).round().astype(int))
        units = np.sort(one.units)[places]
        return {
            "gate": one.gate,
            "units": _short(units),
            "edges": _short(one.edges),
            "histogram": _short(one.histogram),
        }

    return {
        "sequences": report.sequences,
        "steps": report.steps,
        "layers": [
            {
                "name": layer.name,
                "cell": layer.cell,
                "gates": [gate(one) for one in layer.gates],
                "time_constants": constants(layer.time_constants),
            }
            for layer in report.layers
        ],
    }


def unpacked_gates(told: Mapping[str, Any]) -> GateReport:
    """What `packed_gates` wrote, as far as the pictures need it."""
    layers = []
    for layer in told["layers"]:
        gates = [
            GateUse(
                name=one["name"],
                gates=one["gates"],
                **{key: _floats(one[key]) for key in ("mean", "open", "shut", "saturated")},
                edges=_floats(one["edges"]),
                histogram=_floats(one["histogram"]),
            )
            for one in layer["gates"]
        ]
        held = layer["time_constants"]
        constants = None
        if held is not None:
            units = _floats(held["units"])
            constants = TimeConstants(
                gate=held["gate"],
                units=np.where(np.isnan(units), np.inf, units),
                edges=_floats(held["edges"]),
                histogram=_floats(held["histogram"]),
            )
        layers.append(
            LayerUse(
                name=layer["name"],
                cell=layer["cell"],
                gates=tuple(gates),
                time_constants=constants,
                movement=np.ones(1),
                norms={},
            )
        )
    return GateReport(layers=tuple(layers), sequences=told["sequences"], steps=told["steps"])


def _short(values: Any) -> Any:  # noqa: ANN401  an array of numbers
    """The numbers with four digits; None where JSON has none."""
    return [None if value is None else float(f"{value:.4g}") for value in numbers(np.asarray(values))]


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
