"""What gates and units do over a batch: how often open, shut, saturated, how long they keep, who sleeps.

    open       a gate above 0.9                   shut       a gate below 0.1
    saturated  f'(a) under a tenth of the largest slope that the activation has; of tanh that is |y| > 0.949,
               of σ y < 0.026 or y > 0.974
    τ          1 / (1 - f), the steps after which a memory held at this opening is down to 1/e (about)
    dead       a unit whose output moves over all steps of all sequences by less than a thousandth of what the
               liveliest unit of its layer does

A gate is meant to shut and to open, so a saturated gate is often a decision. A saturated candidate or output
is one that no longer learns. f is the LSTM's forget gate, 1 - i where the two are coupled, and the GRU's z,
which weights the old state.

Sources: Karpathy, Johnson & Fei-Fei 2015 (open and shut gates); Tallec & Ollivier 2018 (time constants).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from saiki.cells import GRU, LSTM
from saiki.core.activations import Activation, get_activation
from saiki.core.errors import OptionError
from saiki.insight.curves import Curve, Floats, numbers
from saiki.insight.unroll import Track, as_batch, run, tracks

OPEN, SHUT = 0.9, 0.1
FLAT = 0.1  # of the largest slope: below it a unit is saturated
ALWAYS = 0.9  # of the steps: a unit that is saturated more often counts as a saturated unit
STILL = 1e-3  # of the liveliest unit's movement: below it a unit is dead
BINS = 20
LONGEST = 1e4  # steps: the last bin of the time constants takes what is longer

_GATES = ("i", "f", "o", "r", "z")  # those that let through; g, n and h are what is let through


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class GateUse:
    """How one gate, candidate or output was used.

    Args:
        name: i, f, o, r, z; g, n or h for a candidate; "output" for an LSTM's ψ(c), which the output gate
            lets through, and a Jordan network's y.
        gates: whether it is a gate, from 0 to 1.
        mean: (H,) each unit's mean value.
        open: (H,) share of the steps above 0.9; NaN where it is no gate.
        shut: (H,) share of the steps below 0.1; NaN where it is no gate.
        saturated: (H,) share of the steps where the slope is under a tenth of the largest; NaN where the
            activation is a user's own.
        edges: (21,) of the histogram.
        histogram: (20,) share of all values in each bin.
    """

    name: str
    gates: bool
    mean: Floats
    open: Floats
    shut: Floats
    saturated: Floats
    edges: Floats
    histogram: Floats

    @property
    def saturated_units(self) -> tuple[int, ...]:
        """Units that are saturated at more than nine steps in ten."""
        return tuple(int(k) for k in np.flatnonzero(self.saturated > ALWAYS))

    def to_json(self) -> dict[str, Any]:
        """The gate as plain lists and numbers."""
        arrays = {name: numbers(getattr(self, name)) for name in ("mean", "open", "shut", "saturated")}
        arrays |= {name: numbers(getattr(self, name)) for name in ("edges", "histogram")}
        units = list(self.saturated_units)
        return {"name": self.name, "gates": self.gates, **arrays, "saturated_units": units}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TimeConstants:
    """How long a layer's gates keep what they hold: τ = 1 / (1 - f), in steps.

    Args:
        gate: whose openings these are, in words: "f", "1 - i" or "z".
        units: (H,) τ of each unit's mean opening.
        edges: (n + 1,) of the histogram, rising by a constant factor from 1 step; the last bin takes all that
            is longer.
        histogram: (n,) share of all openings, units and steps together.
    """

    gate: str
    units: Floats
    edges: Floats
    histogram: Floats

    def to_json(self) -> dict[str, Any]:
        """As plain lists; None for a unit that never forgets."""
        return {
            "gate": self.gate,
            "units": numbers(self.units),
            "edges": numbers(self.edges),
            "histogram": numbers(self.histogram),
        }


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LayerUse:
    """How one layer was used.

    Args:
        name: the layer, as the network calls it.
        cell: the kind of its cell.
        gates: its gates, candidates and output, in the cell's order.
        time_constants: of its memory; None where no gate holds it (Elman, Jordan, the carousel).
        movement: (K,) of each output unit: largest value minus smallest.
        norms: by part of the state, the norm a step (sequences, T) divided by the root of its width, so that
            layers of different widths compare: 1 means units of about ±1.
    """

    name: str
    cell: str
    gates: tuple[GateUse, ...]
    time_constants: TimeConstants | None
    movement: Floats
    norms: Mapping[str, Curve]

    @property
    def dead_units(self) -> tuple[int, ...]:
        """Output units that move by less than a thousandth of what the liveliest does."""
        return tuple(int(k) for k in np.flatnonzero(self.movement <= STILL * self.movement.max()))

    def gate(self, name: str) -> GateUse:
        """The gate of this name; OptionError if there is none."""
        for gate in self.gates:
            if gate.name == name:
                return gate
        raise OptionError(
            f"layer {self.name!r} has no {name!r}, only {', '.join(g.name for g in self.gates)}."
        )

    def to_json(self) -> dict[str, Any]:
        """The layer as plain lists and numbers."""
        return {
            "name": self.name,
            "cell": self.cell,
            "gates": [gate.to_json() for gate in self.gates],
            "time_constants": None if self.time_constants is None else self.time_constants.to_json(),
            "movement": numbers(self.movement),
            "dead_units": list(self.dead_units),
            "norms": {name: curve.to_json() for name, curve in self.norms.items()},
        }


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class GateReport:
    """How every recurrent layer of a network was used over a batch.

    Args:
        layers: one a recurrent layer and direction, from the bottom up.
        sequences: how many were looked at.
        steps: of all of them together.
    """

    layers: tuple[LayerUse, ...]
    sequences: int
    steps: int

    def layer(self, name: str) -> LayerUse:
        """The layer of this name; OptionError if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise OptionError(f"no layer {name!r}; there are {', '.join(each.name for each in self.layers)}.")

    def to_json(self) -> dict[str, Any]:
        """Everything as plain lists and numbers; None for what is not finite."""
        return {
            "layers": [layer.to_json() for layer in self.layers],
            "sequences": self.sequences,
            "steps": self.steps,
        }


def gate_use(network: torch.nn.Module, data: object, *, sequences: int | None = 256) -> GateReport:
    """Look at every gate, candidate and state over a batch.

    Args:
        network: a `Stack` or a recurrent layer; of an estimator `network_`, of a forecaster `network_.stack`.
        data: sequences as the network takes them, or a `Batch`.
        sequences: the most to look at, taken evenly; None takes all.
    Returns:
        Shares a unit, histograms, time constants, dead units and state norms, layer by layer.
    Raises:
        OptionError: no recurrent layer.
        LengthError: no sequence with a step.
        DTypeError, ValueRangeError: not sequences, or a value that is not finite.
    """
    batch = as_batch(data, sequences)
    found = [_layer(track) for track in tracks(run(network, batch.inputs))]
    return GateReport(layers=tuple(found), sequences=batch.inputs.B, steps=batch.inputs.N)


def _layer(track: Track) -> LayerUse:
    inside = track.inside()
    told = {name: value[inside] for name, value in track.gates.items()}  # (N, H) by name
    state = {name: track.states[1:, :, block] for name, block in track.blocks().items()}
    uses = []
    for name in (
        *(g for g in track.cell.gates if g in told),
        *(g for g in told if g not in track.cell.gates),
    ):
        uses.append(_use(name, told[name], _activation(track, name)))
    option = getattr(track.cell, "output_activation", None)
    if option is not None:  # ψ(c) of an LSTM, y of a Jordan network
        psi = get_activation(option)
        y = psi(state["c"][inside]) if "c" in state else state[track.cell.output][inside]
        uses.append(_use("output", y, psi))
    output = state[track.cell.output][inside]
    return LayerUse(
        name=track.name,
        cell=track.cell.name,
        gates=tuple(uses),
        time_constants=_time_constants(track, told),
        movement=_numpy(output.amax(dim=0) - output.amin(dim=0)),
        norms={name: Curve(_norms(value, inside)) for name, value in state.items()},
    )


def _activation(track: Track, name: str) -> Activation | None:
    """The function that made a gate, where the cell says it."""
    option = getattr(track.cell, "gate_activation" if name in _GATES else "activation", None)
    return None if option is None else get_activation(option)


def _use(name: str, y: Tensor, activation: Activation | None) -> GateUse:
    gates = name in _GATES and bool((y >= 0).all()) and bool((y <= 1).all())
    unknown = torch.full_like(y[0], torch.nan)
    slope = None if activation is None else activation.derivative_from_output
    saturated = unknown
    if slope is not None and activation is not None:
        saturated = (slope(y) < FLAT * activation.max_slope).to(y).mean(dim=0)
    values = _numpy(y)
    ends = (0.0, 1.0) if gates else (float(values.min()), float(values.max()))
    if not gates and ends[0] >= -1.0 and ends[1] <= 1.0:
        ends = (-1.0, 1.0)  # what tanh and softsign can give
    counts, edges = np.histogram(values, BINS, ends)
    return GateUse(
        name=name,
        gates=gates,
        mean=_numpy(y.mean(dim=0)),
        open=_numpy((y > OPEN).to(y).mean(dim=0) if gates else unknown),
        shut=_numpy((y < SHUT).to(y).mean(dim=0) if gates else unknown),
        saturated=_numpy(saturated),
        edges=np.asarray(edges, dtype=np.float64),
        histogram=counts / values.size,
    )


def _time_constants(track: Track, told: Mapping[str, Tensor]) -> TimeConstants | None:
    cell = track.cell
    if isinstance(cell, GRU):
        word, f = "z", told["z"]
    elif "f" in told:
        word, f = "f", told["f"]
    elif isinstance(cell, LSTM) and cell.coupled:
        word, f = "1 - i", 1 - told["i"]
    else:
        return None
    edges = np.logspace(0.0, np.log10(LONGEST), 33)  # eight bins a decade
    with np.errstate(divide="ignore"):
        tau = 1.0 / (1.0 - np.minimum(_numpy(f), 1.0))
        units = 1.0 / (1.0 - np.minimum(_numpy(f.mean(dim=0)), 1.0))
    counts, _ = np.histogram(np.clip(tau, 1.0, LONGEST), edges)
    return TimeConstants(gate=word, units=units, edges=edges, histogram=counts / tau.size)


def _norms(state: Tensor, inside: Tensor) -> Floats:
    """(B, T) ‖s_t‖₂ / √width, NaN past the end."""
    norms = state.norm(dim=-1) / state.shape[-1] ** 0.5
    return _numpy(torch.where(inside.to(norms.device), norms, torch.nan).T)


def _numpy(values: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.detach().cpu().numpy()
    return array
