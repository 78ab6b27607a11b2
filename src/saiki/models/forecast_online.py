"""Learning online: a stream's state as one value, and what new rows make of it.

Row t arrives      it is scaled and shown; the targets of step t - H are now whole
                   the oldest whole steps are learned, `every` at a time, by the learning rule
                   the network, as it now is, answers row t: a forecast that has seen nothing of its targets
                   the forecast made at step t - H is compared with what came

Between the steps learned and the newest row lie the pending ones, whose targets are still to come. Everything
is checked before anything changes, and a block of rows gives the same bits as its rows one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from saiki.core.errors import NonFiniteError
from saiki.core.ragged import Ragged
from saiki.data import Windows as WindowIndex
from saiki.learning import BPTT, LearningRule, RuleState, Training, TruncatedBPTT, Updater
from saiki.learning.carried import answers, state_tensors
from saiki.learning.clipping import clipped, global_norm
from saiki.models.forecast_measure import measure
from saiki.models.forecast_model import Learned
from saiki.models.forecast_paths import answer
from saiki.models.forecast_rows import Reader, Reading, read_rows
from saiki.models.forecast_scores import Backtest, Forecasts
from saiki.models.forecast_stream import StreamLoss, chunk_of, decoded, ragged_of, stream_of
from saiki.models.forecast_table import Raw, make_panel
from saiki.models.forecast_windows import Array, WindowSource, observed_windows
from saiki.nn import Stack
from saiki.nn.flow import generators

SHORTEST, LONGEST = 16, 128  # steps that a gradient reaches back if the user does not say
_WARM_CHUNK = 256  # rows a chunk while a rule's state is brought up to date; changes memory only


@dataclass(frozen=True, eq=False, kw_only=True)
class Stream:
    """Where a stream stands; S series of the panel.

    Attributes:
        readers: what each id's next row needs.
        tails: the last rows of each id, for its times and for simple models.
        pending: the steps of each series that are not learned yet, the oldest first.
        points: (n, H, K) what was forecast at each of them, NaN where nothing was.
        quantiles: (n, H, K, Q) likewise.
        scored: how many of them, the oldest, have been compared with what came.
        rule: the learning rule's state, after the last step learned.
        optimiser: the optimiser's tensors; {} before the first update.
        generators: states of the layers' random generators by place.
        rows: rows read since fit.
        updates: updates made since fit.
    """

    readers: Sequence[Reader]
    tails: Sequence[Raw]
    pending: Sequence[Reading]
    points: Sequence[Array]
    quantiles: Sequence[Array]
    scored: Sequence[int]
    rule: RuleState
    optimiser: Mapping[str, Tensor]
    generators: Mapping[str, Tensor]
    rows: int = 0
    updates: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Online:
    """How a stream is learned: everything that stays while it runs.

    Attributes:
        network: its weights change.
        learned: scaling, framing, columns.
        loss: of one step.
        rule: the learning rule, one that carries its state.
        training: optimiser, clipping, penalties; checked.
        lr: η.
    """

    network: Stack
    learned: Learned
    loss: StreamLoss
    rule: LearningRule
    training: Training
    lr: float

    @property
    def every(self) -> int:
        """Steps an update."""
        return int(getattr(self.rule, "every", None) or 1)

    @property
    def kept(self) -> int:
        """Rows of each id that are kept for simple models."""
        learned = self.learned
        return max(learned.context, learned.season or 1) + learned.horizon + self.every


def offline_rule(rule: LearningRule | None, context: int) -> LearningRule:
    """The rule of the passes over the training part: what the user gave, or truncated BPTT over the context,
    held to between 16 and 128 steps.
    """
    return rule if rule is not None else TruncatedBPTT(min(max(context, SHORTEST), LONGEST))


def online_rule(rule: LearningRule, context: int) -> LearningRule:
    """The rule of the updates: the same, where it can learn one step at a time.

    BPTT waits for the end of a sequence, which a stream does not have; truncated BPTT takes its place.
    """
    if isinstance(rule, BPTT):
        rule = offline_rule(None, context)
    if isinstance(rule, TruncatedBPTT) and rule.stride is None:
        return replace(rule, stride=1)
    return rule


# ---- the beginning -----------------------------------------------------------------------------------------


def begin(
    online: Online, readings: Sequence[Reading], readers: Sequence[Reader], raws: Sequence[Raw]
) -> Stream:
    """The state after a table that was read from its first row; no weight changes.

    Args:
        online: how it is learned from here on.
        readings: the panel's series, whole.
        readers: one an id.
        raws: the same rows.
    """
    H = online.learned.horizon
    done = [max(0, len(reading) - H) for reading in readings]
    stream = Stream(
        readers=list(readers),
        tails=[raw.rows(slice(max(0, len(raw) - online.kept), len(raw))) for raw in raws],
        pending=[reading.rows(first, len(reading)) for reading, first in zip(readings, done)],
        points=[],
        quantiles=[],
        scored=[0] * len(readings),
        rule=_rule_state(online, readings, done),
        optimiser={},
        generators=generators_of(online.network),
    )
    points, quantiles = [], []
    for series, reading in enumerate(stream.pending):
        point, around = _blank(online, len(reading))
        shown = [r.whole(H) if s == series else 0 for s, r in enumerate(stream.pending)]
        if shown[series]:
            point[: shown[series]], around[: shown[series]] = _answers(
                online, stream.rule, stream.pending, shown
            )[series]
        points.append(point)
        quantiles.append(around)
    return replace(stream, points=points, quantiles=quantiles)


def _rule_state(online: Online, readings: Sequence[Reading], done: Sequence[int]) -> RuleState:
    """The rule's state after the first `done` steps of each series, with the weights as they are."""
    network, rule, framing = online.network, online.rule, stream_of(online.learned)
    like = next(network.parameters())
    B = len(readings)
    network.eval()

    def piece(first: Sequence[int], stop: Sequence[int]) -> Ragged:
        return ragged_of(
            [r.features(framing, a, max(a, b)) for r, a, b in zip(readings, first, stop)],
            like.dtype,
            like.device,
        )

    if isinstance(rule, TruncatedBPTT):  # its state is the network's, and the inputs it reads again
        again = rule.window - rule.every
        early = [max(0, n - again) for n in done]
        state = network.initial_state(B)
        with torch.no_grad():
            for first in range(0, max(early, default=0), _WARM_CHUNK):
                part = piece([min(first, n) for n in early], [min(first + _WARM_CHUNK, n) for n in early])
                _, state = network.run(part, state)
        tensors = {**state_tensors(network, state), "steps": torch.tensor(done)}
        if again:
            tensors["inputs"] = piece(early, done).to_padded(batch_first=True, steps=again)
        return RuleState(tensors)
    carried = rule.start(network, B)
    for first in range(0, max(done, default=0), _WARM_CHUNK):
        rows = [(min(first, n), min(first + _WARM_CHUNK, n)) for n in done]
        inputs = [r.features(framing, a, b) for r, (a, b) in zip(readings, rows)]
        asked = [r.targets(framing, a, b) for r, (a, b) in zip(readings, rows)]
        batch = chunk_of(inputs, asked, like.dtype, like.device)
        _, _, carried = rule.gradient(network, online.loss, batch, carried)
    return carried


def _blank(online: Online, rows: int) -> tuple[Array, Array]:
    learned = online.learned
    size = (rows, learned.horizon, learned.columns.panel_targets)
    return np.full(size, np.nan), np.full((*size, _levels(learned)), np.nan)


def _levels(learned: Learned) -> int:
    """Q, the quantiles that a forecast comes with."""
    spread = learned.spread
    return 0 if learned.shape.kind == "point" and spread.residuals is None else len(spread.levels)


def _answers(
    online: Online, rule: RuleState, rows: Sequence[Reading], shown: Sequence[int]
) -> list[tuple[Array, Array]]:
    """Forecasts in the table's units at the first `shown` of each series' pending rows."""
    learned, network = online.learned, online.network
    framing = stream_of(learned)
    like = next(network.parameters())
    network.eval()
    inputs = ragged_of([r.features(framing, 0, n) for r, n in zip(rows, shown)], like.dtype, like.device)
    outputs = answers(network, inputs, rule)
    assert isinstance(outputs, Ragged)
    found = []
    for reading, n, out in zip(rows, shown, outputs.to_list()):
        numbers = decoded(out, learned.shape).double().cpu().numpy()
        read = answer(learned.shape, numbers, reading.level[:n], framing.asked, learned.spread)
        center, scale = reading.center[:n, None], reading.scale[:n, None]
        around = np.zeros((*read.point.shape, 0)) if read.quantiles is None else read.quantiles
        found.append((read.point * scale + center, around * scale[..., None] + center[..., None]))
    return found


def latest(online: Online, stream: Stream, ahead: Sequence[Array]) -> tuple[Array, Array]:
    """Forecasts after the newest row of each series: (S, H, K) and (S, H, K, Q), in the table's units.

    Args:
        online: the network and what was learned.
        stream: where it stands.
        ahead: (H, F) covariates known of the rows to come, one for each of the panel's series.
    """
    rows = [
        replace(reading, known=np.concatenate([reading.known[: len(reading)], rest]))
        if rest.shape[1]
        else reading
        for reading, rest in zip(stream.pending, ahead)
    ]
    found = _answers(online, stream.rule, rows, [len(reading) for reading in rows])
    return np.stack([point[-1] for point, _ in found]), np.stack([around[-1] for _, around in found])


# ---- new rows ----------------------------------------------------------------------------------------------


def advance(
    online: Online,
    stream: Stream,
    raws: Mapping[int, Raw],
    ahead: Mapping[int, Array],
    *,
    learn: bool,
    baselines: bool,
) -> tuple[Stream, Learned, Backtest | None]:
    """Read new rows one after another, learning from each target as it arrives.

    Args:
        online: how; its network's weights change, and are put back if anything fails.
        stream: where it stands.
        raws: the new rows of some ids by their place, checked.
        ahead: (·, F) covariates known of the rows after them.
        learn: False reads and measures only; the rule's state moves on, the weights stay.
        baselines: measure the simple models on the same targets.
    Returns:
        The state after the rows; what was learned, its tail moved on; the figures of the forecasts whose
        targets arrived with these rows, each made before one of them was seen, or None if there were none.
    Raises:
        NonFiniteError: a loss or a gradient became NaN or infinite.
    """
    weights = {name: value.detach().clone() for name, value in online.network.state_dict().items()}
    before = generators_of(online.network)
    try:
        return _Advance(online, stream, raws, ahead, learn).run(baselines)
    except BaseException:
        with torch.no_grad():
            for name, value in online.network.state_dict().items():
                value.copy_(weights[name])
        set_generators(online.network, before)
        raise


class _Advance:
    """One call of `advance`: what changes while it runs."""

    def __init__(
        self,
        online: Online,
        stream: Stream,
        raws: Mapping[int, Raw],
        ahead: Mapping[int, Array],
        learn: bool,
    ) -> None:
        self.online, self.stream, self.raws, self.learn = online, stream, raws, learn
        self.learned, self.framing = online.learned, stream_of(online.learned)
        self.copies = online.learned.copies
        self.readers = list(stream.readers)
        self.rows = list(stream.pending)  # the pending rows and the new ones
        for place, raw in raws.items():
            found, self.readers[place] = read_rows(
                raw,
                self.readers[place],
                self.framing,
                self.learned.columns,
                self.learned.scaling,
                ahead[place],
            )
            for copy, reading in enumerate(found):
                series = place * self.copies + copy
                self.rows[series] = self.rows[series].followed_by(reading)
        self.old = [len(reading) for reading in stream.pending]
        self.arrived = list(self.old)
        self.first = [0] * len(self.rows)  # the oldest step that is not learned
        self.scored = list(stream.scored)
        self.points, self.quantiles = [], []
        for series, reading in enumerate(self.rows):
            point, around = _blank(online, len(reading) - self.old[series])
            self.points.append(np.concatenate([stream.points[series], point]))
            self.quantiles.append(np.concatenate([stream.quantiles[series], around]))
        self.rule_state = stream.rule
        self.updates = stream.updates
        self.updater = Updater(
            online.training.optimizer,  # type: ignore[arg-type]  # checked() has resolved it
            online.network,
            lr=online.lr,
            weight_decay=online.training.weight_decay,
            l1=online.training.l1,
            groups=online.training.groups,
        )
        self.updater.load(stream.optimiser)
        set_generators(online.network, stream.generators)

    def run(self, baselines: bool) -> tuple[Stream, Learned, Backtest | None]:
        for ids in _ticks(self.raws):
            came = [place * self.copies + copy for place in ids for copy in range(self.copies)]
            for series in came:
                self.arrived[series] += 1
            self._learn()
            self._answer(came)
        found = self._measured(baselines)
        learned = self.learned
        tails = [
            raw if place not in self.raws else _joined(raw, self.raws[place])
            for place, raw in enumerate(self.stream.tails)
        ]
        kept, C = self.online.kept, learned.context
        stream = replace(
            self.stream,
            readers=self.readers,
            tails=[raw.rows(slice(max(0, len(raw) - kept), len(raw))) for raw in tails],
            pending=[reading.rows(first, len(reading)) for reading, first in zip(self.rows, self.first)],
            points=[values[first:] for values, first in zip(self.points, self.first)],
            quantiles=[values[first:] for values, first in zip(self.quantiles, self.first)],
            scored=[max(0, n - first) for n, first in zip(self.scored, self.first)],
            rule=self.rule_state,
            optimiser=self.updater.tensors(),
            generators=generators_of(self.online.network),
            rows=self.stream.rows + sum(map(len, self.raws.values())),
            updates=self.updates,
        )
        self.online.network.eval()
        ends = [raw.rows(slice(max(0, len(raw) - C), len(raw))) for raw in tails]
        return stream, replace(learned, tail=ends), found

    def _learn(self) -> None:
        """Learn the oldest steps whose targets are whole, where there are enough of them for an update."""
        H, every = self.learned.horizon, self.online.every
        counts = [
            every if arrived - H - first >= every else 0 for arrived, first in zip(self.arrived, self.first)
        ]
        if not any(counts):
            return
        network, training = self.online.network, self.online.training
        like = next(network.parameters())
        spans = [(first, first + n) for first, n in zip(self.first, counts)]
        batch = chunk_of(
            [r.features(self.framing, a, b) for r, (a, b) in zip(self.rows, spans)],
            [r.targets(self.framing, a, b) for r, (a, b) in zip(self.rows, spans)],
            like.dtype,
            like.device,
        )
        network.train(self.learn)
        losses, gradients, self.rule_state = self.online.rule.gradient(
            network, self.online.loss, batch, self.rule_state
        )
        self.first = [stop for _, stop in spans]
        if not self.learn or (batch.mask is not None and not bool(batch.mask.any())):
            return
        norm = global_norm(gradients)
        if not (bool(torch.isfinite(losses).all()) and np.isfinite(norm)):
            raise NonFiniteError(
                f"the loss or its gradient became NaN or infinite at update {self.updates + 1} of the "
                "stream; the model is as it was before these rows.",
                f"Try a lower rate (lr is {self.online.lr:g}) or scaling='running', and look for a value of "
                "another size among the new rows.",
            )
        gradients, _ = clipped(gradients, training.clip_value, training.clip_norm, norm)
        self.updater.step(gradients)
        self.updates += 1

    def _answer(self, came: Sequence[int]) -> None:
        """The forecasts at the rows that just came."""
        H = self.learned.horizon
        shown = [0] * len(self.rows)
        for series in came:
            newest = self.arrived[series]
            if self.rows[series].whole(H) >= newest:
                shown[series] = newest - self.first[series]
        if not any(shown):
            return
        rows = [
            r.rows(first, first + n) if n else r.rows(0, 0)
            for r, first, n in zip(self.rows, self.first, shown)
        ]
        for series, (point, around) in enumerate(_answers(self.online, self.rule_state, rows, shown)):
            if shown[series]:
                at = self.arrived[series] - 1
                self.points[series][at], self.quantiles[series][at] = point[-1], around[-1]

    def _measured(self, baselines: bool) -> Backtest | None:
        """The forecasts whose targets are whole now and were not before."""
        H, learned = self.learned.horizon, self.learned
        fresh = [(n, max(n, arrived - H)) for n, arrived in zip(self.scored, self.arrived)]
        self.scored = [stop for _, stop in fresh]
        whole = [
            _joined(raw, self.raws[place]) if place in self.raws else raw
            for place, raw in enumerate(self.stream.tails)
        ]
        lengths = [len(raw) for raw in whole for _ in range(self.copies)]
        if not any(stop > first for first, stop in fresh):
            return None
        if max(lengths) < learned.context + H:
            return None
        panel = make_panel(whole, learned.columns, learned.scaling)
        times = None
        if all(raw.times is not None for raw in whole):
            times = np.concatenate([raw.times for raw in whole for _ in range(self.copies)])  # type: ignore[misc]
        index = WindowIndex.over(lengths, learned.context, H, times=times, short="skip")
        # row of the tail at which each series' pending rows begin
        offset = np.array([n - len(reading) for n, reading in zip(lengths, self.rows)])
        step = index.step - 1 - offset[index.series]  # counted from there
        first, stop = (np.array(ends)[index.series] for ends in zip(*fresh))
        index = index.select((step >= first) & (step < stop))
        index = observed_windows(panel, index)
        step = index.step - 1 - offset[index.series]
        emitted = np.array(
            [np.isfinite(self.points[s][i]).all() for s, i in zip(index.series, step)], dtype=bool
        )
        index, step = index.select(emitted), step[emitted]
        if not len(index):
            return None
        like = next(self.online.network.parameters())
        framing = replace(learned.framing, horizon=H)
        windows = WindowSource(panel, index.origin, index.series, framing, like.dtype, like.device)
        point = np.stack([self.points[s][i] for s, i in zip(index.series, step)])
        around = np.stack([self.quantiles[s][i] for s, i in zip(index.series, step)])
        forecasts = Forecasts(
            series=index.series,
            origins=index.step,
            point=point,
            quantiles=around if around.shape[-1] else None,
            levels=learned.spread.levels,
            truth=np.stack([self.rows[s].truth[i + 1 : i + 1 + H] for s, i in zip(index.series, step)]),
            scale=np.stack([self.rows[s].scale[i] for s, i in zip(index.series, step)]),
            seasonal=learned.seasonal[index.series],
        )
        return measure(forecasts, learned, windows, whole, baselines)


def _ticks(raws: Mapping[int, Raw]) -> list[list[int]]:
    """The ids that have a row at each time, in the order of time; without times, their rows side by side."""
    at: dict[object, list[int]] = {}
    for place, raw in raws.items():
        moments = range(len(raw)) if raw.times is None else raw.times.tolist()
        for moment in moments:
            at.setdefault(moment, []).append(place)
    return [at[moment] for moment in sorted(at)]  # type: ignore[type-var]


def _joined(old: Raw, new: Raw) -> Raw:
    times = None
    if old.times is not None and new.times is not None:
        times = np.concatenate([old.times, new.times])
    return Raw(
        old.id,
        old.value,
        times,
        np.concatenate([old.numbers, new.numbers]),
        np.concatenate([old.past_levels, new.past_levels]),
        np.concatenate([old.future_levels, new.future_levels]),
        old.static,
    )


def generators_of(network: torch.nn.Module) -> dict[str, Tensor]:
    """The states of the generators that layers hold, such as a dropout's, by their place."""
    return {place: g.get_state() for place, g in generators(network).items()}


def set_generators(network: torch.nn.Module, states: Mapping[str, Tensor]) -> None:
    """Put them back."""
    for place, generator in generators(network).items():
        if place in states:
            generator.set_state(states[place])
