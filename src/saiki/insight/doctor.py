"""The doctor: looks inside a network, reads the record of its fit, and says in plain sentences what is wrong.

    reach, step Jacobians, gates, training health        what was measured, as arrays
        → the rules of `findings`                         numbers in, sentences out
        → a `Diagnosis`                                   the worst first

A rule that finds nothing is silent, but for two that say how far the gradient reaches and how much data there
is for each parameter. A verdict is a hint and never proof: a network may be right to forget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from saiki.core.ragged import Ragged
from saiki.insight import findings as rules
from saiki.insight.findings import Finding
from saiki.insight.gates import GateReport, LayerUse, gate_use
from saiki.insight.health import EARLY, TrainingHealth, training_health
from saiki.insight.jacobians import StepJacobians, step_jacobians
from saiki.insight.reach import GradientReach, gradient_reach
from saiki.insight.unroll import as_batch, recurrent_layers, title
from saiki.losses import RowLoss

if TYPE_CHECKING:
    from saiki.core.record import FitRecord

_ORDER = {"ill": 0, "watch": 1, "well": 2}
_ADAPTIVE = ("adam", "adamw", "rmsprop", "adagrad")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnosis:
    """What the doctor found.

    Attributes:
        findings: the worst first; never empty but where nothing was measured.
        reach: how far back the gradient reaches; None without data.
        jacobians: what one step does; None without data, or where it was not wanted.
        gates: how gates and units were used; None without data.
        health: the course of training; None without a record.
    """

    findings: tuple[Finding, ...]
    reach: GradientReach | None = None
    jacobians: StepJacobians | None = None
    gates: GateReport | None = None
    health: TrainingHealth | None = None

    @property
    def ill(self) -> tuple[Finding, ...]:
        """The findings that ask for a change."""
        return tuple(f for f in self.findings if f.severity == "ill")

    def of(self, rule: str) -> tuple[Finding, ...]:
        """The findings of one rule."""
        return tuple(f for f in self.findings if f.rule == rule)

    def verdict(self) -> str:
        """One sentence for the whole."""
        return verdict(self.findings)

    def __str__(self) -> str:
        """The verdict, then a line a finding."""
        marks = {"ill": "!", "watch": "?", "well": "·"}
        return "\n".join([self.verdict(), *(f"{marks[f.severity]} {f}" for f in self.findings)])

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "verdict": self.verdict(),
            "findings": [finding.to_json() for finding in self.findings],
            "reach": None if self.reach is None else self.reach.to_json(),
            "jacobians": None if self.jacobians is None else self.jacobians.to_json(),
            "gates": None if self.gates is None else self.gates.to_json(),
            "health": None if self.health is None else self.health.to_json(),
        }


def verdict(findings: Sequence[Finding]) -> str:
    """One sentence for the whole: how many findings ask for a change."""
    ill = [finding.rule for finding in findings if finding.severity == "ill"]
    watch = sum(finding.severity == "watch" for finding in findings)
    if not findings:
        return "Nothing was measured: give data, or the record of a fit."
    if not ill and not watch:
        return "Nothing stands out."
    words = {
        "exploding": "the gradient explodes",
        "vanishing": "the gradient vanishes",
        "saturated": "units are saturated",
        "dead": "units are dead",
        "shut": "a gate is shut",
        "rate_high": "the learning rate is too high",
        "rate_low": "the learning rate is too low",
        "parameters": "there are more parameters than data",
    }
    if not ill:
        return f"Nothing is wrong; {watch} thing{'s' if watch > 1 else ''} to keep an eye on."
    said = [words[rule] for rule in dict.fromkeys(ill)]
    listed = said[0] if len(said) == 1 else ", ".join(said[:-1]) + " and " + said[-1]
    return listed[:1].upper() + listed[1:] + "."


def examine(
    network: torch.nn.Module | None = None,
    data: object = None,
    record: FitRecord | None = None,
    *,
    loss: RowLoss | None = None,
    lr: float = math.nan,
    optimizer: str = "",
    context: float | None = None,
    sequences: int = 8,
    max_lag: int = 256,
    jacobians: bool = True,
) -> Diagnosis:
    """Look at a network on some data, and at the record of its fit, and say what stands out.

    Args:
        network: a `Stack` or a recurrent layer, trained or not; of an estimator `network_`, of a forecaster
            `network_.stack`. None: the record alone.
        data: sequences as the network takes them, or a `Batch`; None: the network's states are not looked at.
        record: of the fit, `model.record_`; None: nothing is said about training.
        loss: one value a row, for the gradient with respect to the input; wants a `Batch`.
        lr: the learning rate of the fit, for the sentences.
        optimizer: its name: clipping changes little where it divides by the size of the gradient.
        context: steps a prediction could look back; the median length of the sequences if not given.
        sequences: the most to look at for gradients, taken evenly.
        max_lag: the longest lag of the reach.
        jacobians: also measure singular values and Lyapunov exponents.
    Returns:
        The findings, the worst first, and what they were read from.
    Raises:
        OptionError: the network has no recurrent layer.
        LengthError, DTypeError, ValueRangeError: what is wrong with the data.

    Example:
        print(examine(model.network_, batch, model.record_, lr=model.lr))
    """
    found: list[Finding | None] = []
    reach = steps = gates = None
    if network is not None and data is not None:
        batch = as_batch(data, None)
        reach = gradient_reach(network, data, loss=loss, sequences=sequences, max_lag=max_lag)
        gates = gate_use(network, batch.inputs)
        if jacobians:
            steps = step_jacobians(network, batch.inputs, sequences=min(sequences, 2), max_steps=max_lag)
        if context is None:
            assert isinstance(batch.inputs, Ragged)
            context = float(np.median(batch.inputs.lengths.numpy()))
        found += of_gradients(reach, steps, context)
        found += of_units(gates, _squashings(network))
    health = None
    if record is not None:
        health = training_health(record)
        found += of_training(record, health, lr=lr, optimizer=optimizer)
    kept = sorted((f for f in found if f is not None), key=lambda f: _ORDER[f.severity])
    return Diagnosis(findings=tuple(kept), reach=reach, jacobians=steps, gates=gates, health=health)


def of_gradients(reach: GradientReach, steps: StepJacobians | None, context: float) -> list[Finding | None]:
    """Exploding and vanishing, layer by layer: the gradient of a layer's whole state."""
    found: list[Finding | None] = []
    known = {} if steps is None else {layer.name: layer for layer in steps.layers}
    for layer in reach.layers:
        one = known.get(layer.name)
        exponents = np.array([]) if one is None else one.exponents
        lyapunov = float(exponents[0]) if len(exponents) else math.nan
        bound = math.nan if one is None or one.bound_factor is None else one.bound_factor
        grows = rules.exploding(
            reach.lags, layer.state.median, lyapunov=lyapunov, layer=layer.name, cell=layer.cell
        )
        found.append(grows)
        if grows is None:
            found.append(
                rules.vanishing(
                    reach.lags, layer.state.median, context, layer=layer.name, cell=layer.cell, bound=bound
                )
            )
    return found


def of_units(gates: GateReport, squashings: dict[str, str]) -> list[Finding | None]:
    """Saturated candidates and outputs, dead units, gates that stay shut."""
    found: list[Finding | None] = []
    for layer in gates.layers:
        activation = squashings.get(layer.name, "")
        found += [
            rules.shut(gate.shut, gate=gate.name, layer=layer.name) for gate in layer.gates if gate.gates
        ]
        found += [
            rules.saturated(
                gate.saturated, name=_word(layer, gate.name), layer=layer.name, activation=activation
            )
            for gate in layer.gates
            # a relu at rest has no slope, which is what the rule of dead units is for
            if not gate.gates and activation not in ("relu", "identity")
        ]
        found.append(
            rules.dead(len(layer.dead_units), len(layer.movement), layer=layer.name, activation=activation)
        )
    return found


def of_training(
    record: FitRecord, health: TrainingHealth, *, lr: float = math.nan, optimizer: str = ""
) -> list[Finding | None]:
    """Learning rate, clipping, overfitting, and parameters beside data."""
    train = np.array([epoch.loss for epoch in record.epochs], dtype=float)
    held = np.array(
        [math.nan if e.validation_loss is None else e.validation_loss for e in record.epochs], dtype=float
    )
    watched = held if np.isfinite(held).any() else train
    first, last = _ends(health)
    high = rules.rate_high(
        health.early_ratio, first=first, last=last, epochs=train, spikes=len(health.spikes), lr=lr
    )
    gap = math.nan
    if record.best_epoch is not None and np.isfinite(held).any():
        best = int(np.nanargmin(held))
        gap = float(held[best] / train[best]) if train[best] > 0 else math.nan
    return [
        high,
        None if high is not None else rules.rate_low(health.weight_ratio, watched, lr=lr),
        rules.clipping(
            health.share_clipped, health.clip_norm, health.gradient_norm, adaptive=optimizer in _ADAPTIVE
        ),
        rules.overfitted(train, held),
        rules.parameters(record.parameters, record.training_values, gap=gap),
    ]


def _ends(health: TrainingHealth) -> tuple[float, float]:
    """The first loss and the usual one of the last batches; NaN where their noise hides the difference."""
    loss = health.loss
    if len(loss) < 20 or health.updates[0] > EARLY:
        return math.nan, math.nan
    tail = loss[-max(5, len(loss) // 10) :]
    last = float(np.median(tail))
    noise = float(np.median(np.abs(tail - last)))
    return (float(loss[0]), last) if abs(last - loss[0]) > 3 * noise else (math.nan, math.nan)


def _word(layer: LayerUse, name: str) -> str:
    """What a candidate or output is called in a sentence."""
    if name == "output":
        return "ψ(c)" if layer.cell == "lstm" else "the output y"
    return "the hidden state" if layer.cell in ("elman", "jordan") else f"the candidate {name}"


def _squashings(network: torch.nn.Module) -> dict[str, str]:
    """Layer name -> the name of its activation, where it has one."""
    named = {}
    for path, layer in recurrent_layers(network):
        option = getattr(layer.cell, "activation", "")
        for suffix in ("", *(f".l{k}" for k in range(layer.num_layers))):
            for way in ("", ".reverse"):
                named[title(path, layer) + suffix + way] = option if isinstance(option, str) else ""
    return named
