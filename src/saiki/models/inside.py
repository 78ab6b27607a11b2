"""The inside of a fitted estimator: what fit keeps to look at later, the verdict, and the report's part.

    fit      keeps a few sequences as the network was given them               (`keep`)
    report   looks: reach before and after training, gates, findings           (`look`, once, as JSON)
    page     draws them                                                        (`section`)

So a fit that nobody saves or asks pays nothing, and a model folder holds what was seen when it was written.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from saiki.core.errors import DataError, OptionError, SaikiError
from saiki.core.ragged import Ragged
from saiki.core.random import generator
from saiki.insight import Inside, ReportData, picture, report
from saiki.insight import figures_gates as draw_gates
from saiki.insight import figures_health as draw_health
from saiki.insight import figures_reach as draw_reach
from saiki.insight.doctor import Diagnosis, examine, verdict
from saiki.insight.findings import Finding
from saiki.insight.gates import GateReport
from saiki.insight.health import TrainingHealth, training_health
from saiki.insight.jacobians import StepJacobians
from saiki.insight.reach import GradientReach, gradient_reach, untrained
from saiki.insight.report import HALF, Picture
from saiki.learning import Optimizer, Source
from saiki.models.inside_files import packed_gates, packed_reach, unpacked_gates, unpacked_reach
from saiki.nn import Stack
from saiki.nn.recurrent import RecurrentLayer

if TYPE_CHECKING:
    from saiki.models.base import Estimator

SEQUENCES = 8  # looked at in a report; quartiles want a few, time wants few
STEPS = 512  # of each, its last
WORK = 2e10  # multiply-adds a report spends on Jacobians: a few seconds on one core


@dataclass(frozen=True, eq=False)
class Kept:
    """Some sequences as the network was given them, on the CPU.

    Attributes:
        sequences: (T_i, F) each, or (T_i,) ids; at most `SEQUENCES` of at most `STEPS` steps.
        words: what they are, for the reader.
    """

    sequences: tuple[Tensor, ...]
    words: str


# --------------------------------------------------------------------------------------------------- looking


def has_inside(network: torch.nn.Module) -> bool:
    """Whether there is a stack of layers to look into: a network of memory alone has none."""
    return isinstance(getattr(network, "stack", network), Stack)


def stack_of(network: torch.nn.Module) -> Stack:
    """The stack of layers in a task's network: itself, or what a forecaster's heads stand on.

    Raises:
        OptionError: the network has none.
    """
    inner = getattr(network, "stack", network)
    if not isinstance(inner, Stack):
        raise OptionError(f"a {type(network).__name__} has no stack of recurrent layers to look into.")
    return inner


def keep(source: Source, words: str) -> Kept | None:
    """Some sequences of a source, evenly taken; None where no sequence has a step.

    Args:
        source: the validation part, or the training part where there is none.
        words: "validation" or "training".
    """
    lengths = source.lengths
    some = torch.nonzero(lengths > 0)[:, 0]
    if not len(some):
        return None
    chosen = some[
        torch.from_numpy(np.linspace(0, len(some) - 1, SEQUENCES).round().astype(np.int64)).unique()
    ]
    inputs = source.batch(chosen).inputs
    return kept(inputs if isinstance(inputs, Ragged) else inputs.steps, f"{words} ")


def kept(inputs: Ragged, words: str) -> Kept:
    """At most `SEQUENCES` of these sequences, evenly taken, the last `STEPS` steps of each."""
    each = [rows for rows in inputs.to_list() if len(rows)]
    if not each:
        raise DataError("no sequence has a step, so there is nothing to look at.", "Give longer data.")
    places = np.unique(np.linspace(0, len(each) - 1, SEQUENCES).round().astype(np.int64))
    taken = tuple(each[place][-STEPS:].detach().cpu().clone() for place in places)
    lengths = sorted({len(rows) for rows in taken})
    steps = f"{lengths[0]}" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    return Kept(taken, f"{len(taken)} {words}sequence{'s' if len(taken) > 1 else ''} of {steps} steps")


@contextmanager
def listening(network: torch.nn.Module) -> Iterator[list[Ragged]]:
    """What a network's stack is given inside: the list fills while an estimator predicts."""
    heard: list[Ragged] = []

    def note(layer: torch.nn.Module, given: tuple[Any, ...]) -> None:
        if isinstance(given[0], Ragged) and len(heard) < SEQUENCES:
            heard.append(given[0])

    first = next(iter(stack_of(network).layers.values()))
    hook = first.register_forward_pre_hook(note)
    try:
        yield heard
    finally:
        hook.remove()


def diagnose(
    estimator: Estimator, sequences: Kept | None, *, context: float | None = None, work: float = WORK
) -> Diagnosis:
    """The doctor's look at a fitted estimator.

    Args:
        estimator: fitted.
        sequences: what its network is given; None: the record alone.
        context: steps a prediction looks back; the median length if not given.
        work: multiply-adds to spend on Jacobians at most; fewer sequences and lags are looked at instead.
    Raises:
        OptionError: the network has no recurrent layer.
    """
    optimizer = estimator._training().checked().optimizer
    assert isinstance(optimizer, Optimizer)
    told: dict[str, Any] = {"lr": float(estimator.lr), "optimizer": optimizer.type}
    if sequences is None:
        return examine(record=estimator.record_, **told)
    stack = copy.deepcopy(stack_of(estimator.network_)).cpu()
    count, lags = affordable(stack, sequences, work)
    return examine(
        stack,
        Ragged.from_list(list(sequences.sequences)),
        estimator.record_,
        context=context,
        sequences=count,
        max_lag=lags,
        **told,
    )


def affordable(stack: Stack, sequences: Kept, work: float) -> tuple[int, int]:
    """How many sequences and lags of the Jacobians' products fit into so many multiply-adds.

    One lag costs about S rows through a step backwards (3 · G H (H + I) S) and the norm of an S × S matrix
    (about 10 S³), S numbers of state.
    """
    one = 0.0
    for layer in stack.modules():
        if isinstance(layer, RecurrentLayer):
            for cell in layer.cells:
                S = sum(cell.state_sizes)
                width = cell.hidden_size * max(1, len(cell.gates))
                one += layer.num_directions * (
                    3 * width * (cell.hidden_size + cell.input_size) * S + 10 * S**3
                )
    longest = max(len(rows) for rows in sequences.sequences)
    count = len(sequences.sequences)
    budget = work / max(one, 1.0)  # sequence-lags
    while count > 1 and count * longest > budget:
        count -= 1
    return count, max(1, min(longest, 256, int(budget / count)))


@dataclass(frozen=True, eq=False)
class Seen:
    """What `saiki inspect` shows: the findings, and the numbers layer by layer.

    Attributes:
        findings: the worst first.
        note: what it was measured on, or why the states were not looked at.
        reach: after training; None where no state was looked at.
        before: the same before training.
        gates: None where no state was looked at.
        jacobians: only of data that were given; a report does not keep them.
        health: the course of training.
    """

    findings: tuple[Finding, ...]
    note: str
    reach: GradientReach | None
    before: GradientReach | None
    gates: GateReport | None
    jacobians: StepJacobians | None
    health: TrainingHealth

    @property
    def verdict(self) -> str:
        """One sentence for the whole."""
        return verdict(self.findings)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        parts = {
            "reach": self.reach,
            "reach_before": self.before,
            "gates": self.gates,
            "jacobians": self.jacobians,
            "health": self.health,
        }
        return {
            "verdict": self.verdict,
            "findings": [finding.to_json() for finding in self.findings],
            "note": self.note,
            **{name: None if part is None else part.to_json() for name, part in parts.items()},
        }

    def tables(self) -> list[tuple[str, list[dict[str, object]]]]:
        """(title, rows) of the tables for a terminal; a number that is not known is None."""
        found: list[tuple[str, list[dict[str, object]]]] = []
        if self.reach is not None:
            found.append(("How far back the gradient reaches (steps to a thousandth)", self._reach_rows()))
        if self.gates is not None:
            rows: list[dict[str, object]] = [
                {
                    "layer": layer.name,
                    "value": gate.name,
                    "mean": float(gate.mean.mean()),
                    "open": _percent(gate.open),
                    "shut": _percent(gate.shut),
                    "saturated": _percent(gate.saturated),
                }
                for layer in self.gates.layers
                for gate in layer.gates
            ]
            if rows:
                found.append(("Gates and units (share of all units and steps)", rows))
        health = self.health.to_json()
        course: list[dict[str, object]] = [
            {"training": "updates", "value": f"{health['updates']:,}"},
            {"training": "updates clipped", "value": _percent(np.array([self.health.share_clipped]))},
            {"training": "gradient norm, median", "value": _written(health["gradient_norm_median"])},
            {"training": "gradient norm, largest", "value": _written(health["gradient_norm_largest"])},
            {"training": "update to weight, first updates", "value": _written(health["early_weight_ratio"])},
            {"training": "update to weight, median", "value": _written(health["weight_ratio"])},
            {"training": "jumps of the loss", "value": str(len(health["spikes"]))},
        ]
        found.append(("Training", course))
        return found

    def _reach_rows(self) -> list[dict[str, object]]:
        assert self.reach is not None
        known = {} if self.jacobians is None else {each.name: each for each in self.jacobians.layers}
        firsts = {} if self.before is None else {each.name: each for each in self.before.layers}
        rows = []
        for layer in self.reach.layers:
            row: dict[str, object] = {"layer": layer.name, "cell": layer.cell}
            if layer.name in firsts:
                row["before training"] = _lag(firsts[layer.name].reach, self.before)
            row["whole state"] = _lag(layer.reach, self.reach)
            if len(layer.blocks) > 1:
                row |= {name: _lag(lag, self.reach) for name, lag in layer.block_reach.items()}
            if layer.name in known:
                exponents = known[layer.name].exponents
                row["largest exponent, nats a step"] = (
                    _written(float(exponents[0])) if len(exponents) else None
                )
            rows.append(row)
        rows.append({"layer": "input", "whole state": _lag(self.reach.input_reach, self.reach)})
        names = dict.fromkeys(name for row in rows for name in row)
        return [{name: row.get(name) for name in names} for row in rows]


def seen_on(estimator: Estimator, data: object = None) -> Seen:
    """A look inside a fitted estimator, on data or (None) as it was when training ended.

    Args:
        estimator: fitted, or loaded.
        data: what its `predict` takes (of a forecaster, its `backtest`).
    Raises:
        OptionError: data were given, and the network has no recurrent layer.
        DataError: the data hold no sequence with a step.
    """
    health = training_health(estimator.record_)
    if data is None:
        told = look(estimator)
        return Seen(
            findings=tuple(Finding(**finding) for finding in told["findings"]),
            note=_note(told),
            reach=None if told["after"] is None else unpacked_reach(told["after"]),
            before=None if told["before"] is None else unpacked_reach(told["before"]),
            gates=None if told["gates"] is None else unpacked_gates(told["gates"]),
            jacobians=None,
            health=health,
        )
    with listening(estimator.network_) as heard:
        ask: Any = estimator
        ask.backtest(data) if estimator.task == "forecaster" else ask.predict(data)
    given = Ragged.from_list([rows.detach().clone() for each in heard for rows in each.to_list()])
    sequences = kept(given, "")
    diagnosis = diagnose(estimator, sequences, work=10 * WORK)
    return Seen(
        findings=diagnosis.findings,
        note=f"Measured on {sequences.words}.",
        reach=diagnosis.reach,
        before=_before(estimator, sequences, diagnosis),
        gates=diagnosis.gates,
        jacobians=diagnosis.jacobians,
        health=health,
    )


def look(estimator: Estimator) -> dict[str, Any]:
    """What a report shows of the inside, as JSON; measured once, and kept in `details_["inside"]`.

    A model that was read from its folder shows what was measured when it was written.
    """
    found = estimator.details_.get("inside")
    if found is not None:
        return dict(found)
    sequences: Kept | None = getattr(estimator, "_kept", None)
    note = ""
    try:
        diagnosis = diagnose(estimator, sequences)
        before = None if sequences is None else _before(estimator, sequences, diagnosis)
    except SaikiError as error:  # a network without a state to look at, for one
        diagnosis, before, note = diagnose(estimator, None), None, error.message
    made = {
        "verdict": diagnosis.verdict(),
        "findings": [finding.to_json() for finding in diagnosis.findings],
        "measured_on": sequences.words if sequences is not None and not note else "",
        "note": note,
        "before": None if before is None else packed_reach(before),
        "after": None if diagnosis.reach is None else packed_reach(diagnosis.reach),
        "gates": None if diagnosis.gates is None else packed_gates(diagnosis.gates),
    }
    estimator.details_["inside"] = made
    return made


def _before(estimator: Estimator, sequences: Kept, after: Diagnosis) -> GradientReach | None:
    """The reach of the same network with the weights it started from; None where it cannot be built again."""
    stack = stack_of(estimator.network_)
    try:
        first = untrained(stack, generator(estimator.seed_, "weights")).cpu()
    except SaikiError:
        return None  # a layer of the user's own without a config
    assert after.reach is not None
    return gradient_reach(
        first,
        Ragged.from_list(list(sequences.sequences)),
        sequences=after.reach.sequences,
        max_lag=int(after.reach.lags[-1]) or 1,
    )


# --------------------------------------------------------------------------------------------------- drawing


def section(estimator: Estimator) -> Inside:
    """The report's section: the verdict, the findings, and the pictures behind them."""
    return drawn_of(seen_on(estimator))


def page_of(estimator: Estimator, seen: Seen, name: str) -> str:
    """A page of its own for what was seen: the section and the course of training."""
    return report(
        ReportData(
            title=f"Inside {name}",
            task=estimator.task,
            record=estimator.record_,
            clip_norm=estimator._training().clip_norm,
            inside=drawn_of(seen),
        )
    )


def drawn_of(seen: Seen) -> Inside:
    """The pictures of what was seen, with the findings."""
    drawn: list[Picture] = []
    halves: list[Picture] = []
    if seen.reach is not None:
        sides = {"before training": seen.before} if seen.before is not None else {}
        both = {**sides, "after training": seen.reach}
        if len(seen.reach.lags) > 2:
            drawn.append(
                picture(
                    "How far back the gradient reaches",
                    "How much the state (and the input) so many steps back matters to the last state, as a "
                    "share of its start: median and quartiles over the sequences. A gradient below a "
                    "thousandth counts as gone.",
                    lambda width: draw_reach.gradient_reach(both, width=width),
                )
            )
    if seen.gates is not None:
        gates = seen.gates
        if any(layer.gates for layer in gates.layers):
            drawn.append(
                picture(
                    "What gates and units do",
                    "How often each value was taken, over all units and steps: a gate at 1 lets through, "
                    "at 0 it shuts; a candidate at its ends is saturated.",
                    lambda width: draw_gates.gates(gates, width=width),
                )
            )
        if any(layer.time_constants is not None for layer in gates.layers):
            halves.append(
                Picture(
                    title="How long memories last",
                    caption="The steps after which a memory is down to about a third, at each opening of its "
                    "gate; the marks under the bars are the units.",
                    svg=draw_gates.time_constants(gates, width=HALF),
                    half=True,
                )
            )
    health = seen.health
    ratios = health.ratios[:, health.weights]
    if ratios.size and (ratios > 0).any():
        halves.append(
            Picture(
                title="Update-to-weight ratio",
                caption="How much of each weight one update replaces; 0.001, the dashed line, is usual.",
                svg=draw_health.update_ratios(health, width=HALF),
                half=True,
            )
        )
    if health.spikes:
        count = len(health.spikes)
        halves.append(
            Picture(
                title="Loss of each batch",
                caption=f"Before each update. {count} jump{'s' if count > 1 else ''} that the noise of the "
                "batches does not explain: marked.",
                svg=draw_health.batch_loss(health, width=HALF),
                half=True,
            )
        )
    return Inside(
        verdict=seen.verdict,
        findings=seen.findings,
        pictures=tuple(drawn),
        halves=tuple(halves),
        note=seen.note,
    )


# ----------------------------------------------------------------------------------------------------- words


def _note(told: dict[str, Any]) -> str:
    if told["note"]:
        return f"The states were not looked at: {told['note']}"
    return f"Measured on {told['measured_on']}." if told["measured_on"] else ""


def _lag(reach: int | None, measured: GradientReach | None) -> str:
    """14, or "> 100" where the gradient is still felt at the longest lag."""
    if reach is not None:
        return f"{reach:,}"
    return "-" if measured is None or not len(measured.lags) else f"> {int(measured.lags[-1]):,}"


def _percent(shares: Any) -> str | None:  # noqa: ANN401  an array
    mean = float(np.mean(shares))
    return None if np.isnan(mean) else f"{100 * mean:.0f} %"


def _written(value: float | None) -> str | None:
    return None if value is None or not np.isfinite(value) else f"{value:.3g}"
