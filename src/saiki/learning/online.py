"""Learning from streams: rows come in, every so many make an update, and the state is carried on.

    rows of B streams → those that wait → chunks of `every` steps → rule.gradient → clip → optimiser

The chunks are counted from where a stream begins, so rows that come one at a time are learned in the same
chunks, and end in the same bits, as rows that come in blocks of any size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from saiki.core.checks import require_int, require_positive
from saiki.core.errors import (
    NonFiniteError,
    OptionError,
    SaikiError,
    SchemaError,
    ShapeError,
    ValueRangeError,
)
from saiki.core.ragged import Ragged
from saiki.learning.carried import answers, canonical, require_carrying, rows_between, rows_followed_by
from saiki.learning.clipping import clipped, global_norm
from saiki.learning.optimisers import Optimizer, Updater
from saiki.learning.rules import LearningRule, RuleState, sequence_weights
from saiki.learning.schedules import Plateau, Schedule, WarmUp
from saiki.learning.sources import Batch
from saiki.learning.training import Training
from saiki.losses import RowLoss
from saiki.nn.flow import generators


class OnlineUpdate(NamedTuple):
    """One update from a stream."""

    update: int  # counted from 1
    loss: float  # the objective over the chunk's rows, before the update
    gradient_norm: float  # before clipping
    clipped: bool


@final
class Online:
    """A network that learns from B streams while their rows arrive.

    Args:
        network: a `Stack` that answers at every step; it is kept in evaluation mode between updates.
        loss: one value a row.
        training: rule, optimiser, schedule, clipping, penalties and groups. The rule must carry its state
            from call to call; the schedule must not need the length of the run.
        lr: η_0 > 0.
        streams: B, at least 1.
    Attributes:
        updates: how many were made.
        rows: how many came, those that wait included.
        state: the rule's.
        waiting: rows that have not made a chunk yet, or None.
    Raises:
        OptionError: the rule carries nothing, the schedule waits for an end, or the rule cannot train this
            network.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        loss: RowLoss,
        *,
        training: Training,
        lr: float,
        streams: int = 1,
    ) -> None:
        options = training.checked()
        assert isinstance(options.optimizer, Optimizer)
        assert isinstance(options.rule, LearningRule)
        assert isinstance(options.schedule, Schedule)
        self.rule: LearningRule = options.rule
        self.streams = require_int(streams, "streams", low=1)
        self._require_carrying_rule()
        self.network = require_carrying(network, type(self.rule).__name__)
        if self.network.pooled:
            raise OptionError(
                "the network answers once a sequence, but a stream has a target a step.",
                "Leave the pooling layer out.",
            )
        _require_endless(options.schedule)
        self.schedule, self._schedule_state = options.schedule, options.schedule.start()
        self.loss = loss
        self.options = options
        self.lr = float(require_positive(lr, "lr"))
        self._updater = Updater(
            options.optimizer,
            network,
            lr=self.lr,
            weight_decay=options.weight_decay,
            l1=options.l1,
            groups=options.groups,
        )
        self.updates = 0
        self.rows = 0
        self.state: RuleState = self.rule.start(network, self.streams)
        self.waiting: Batch | None = None
        network.eval()

    @property
    def every(self) -> int | None:
        """Steps an update; None: the rows of each call make one."""
        return getattr(self.rule, "every", None)

    # ---------------------------------------------------------------- learn

    def learn(self, rows: Batch, *, weights: bool = True) -> list[OnlineUpdate]:
        """Read the next rows of each stream, and make the updates that are due.

        All or nothing: where this raises, weights, optimiser and state are what they were.

        Args:
            rows: B sequences with a target a step; a stream without new rows is empty.
            weights: False reads the rows and moves the rule's state on, but changes no weight; the entries
                that come back then tell of updates that were not made.
        Returns:
            The updates that were made, in their order; none while the rows wait for their chunk to be full.
        Raises:
            ShapeError: another number of streams or of features, or targets once a sequence.
            ValueRangeError: an input that is NaN or infinite.
            NonFiniteError: a loss or a gradient became NaN or infinite.
        """
        self._check(rows)
        rows = canonical(rows)
        came = rows.inputs.N
        if self.waiting is not None:
            rows = rows_followed_by(self.waiting, rows)
        if rows.inputs.N == 0:
            return []
        chunks, rest = [], rows
        if self.every is None:
            chunks, rest = [rows], rows_between(rows, rows.inputs.lengths)
        every = self.every
        while every is not None and every <= rest.inputs.T:
            chunks.append(rows_between(rest, 0, every))
            rest = rows_between(rest, every)
        made = self._learned(chunks, rest, weights)
        self.rows += came
        return made

    def end(self, streams: Sequence[int] | Tensor | None = None, *, learn: bool = True) -> list[OnlineUpdate]:
        """The sequences end here: rows that wait are learned from, and the next rows begin new sequences.

        Args:
            streams: numbers of the streams that end; None: all.
            learn: False drops the rows that wait, such as one whose loss is not finite.
        Raises:
            As `learn` does; ShapeError: no such stream.
        """
        ended = torch.zeros(self.streams, dtype=torch.bool)
        wanted = (
            torch.arange(self.streams) if streams is None else torch.as_tensor(streams, dtype=torch.int64)
        )
        if wanted.ndim != 1 or bool(((wanted < 0) | (wanted >= self.streams)).any()):
            raise ShapeError(f"streams is {wanted.tolist()} but there are streams 0 to {self.streams - 1}.")
        ended[wanted] = True
        made: list[OnlineUpdate] = []
        if self.waiting is not None:
            out = torch.where(ended, self.waiting.inputs.lengths, 0)
            last = rows_between(self.waiting, 0, out)
            made = self._learned([last] if last.inputs.N and learn else [], rows_between(self.waiting, out))
        self.state = self.state.reset(ended.to(next(iter(self.state.tensors.values())).device))
        return made

    def answer(self, inputs: Ragged) -> Ragged:
        """What the network says at the rows that come next; nothing moves on, and nothing is learned.

        Args:
            inputs: the next rows of each of the B streams.
        """
        _require_inputs(inputs, self.streams, self.network.input_size)
        waiting = None if self.waiting is None else self.waiting.inputs
        said = answers(self.network, inputs if waiting is None else waiting.followed_by(inputs), self.state)
        assert isinstance(said, Ragged)
        return said if waiting is None else said.between(waiting.lengths)

    def _learned(self, chunks: Sequence[Batch], rest: Batch, weights: bool = True) -> list[OnlineUpdate]:
        """The updates of these chunks; `rest` then waits. Everything is put back if one fails."""
        before = self._remember(weights=weights and len(chunks) > 1)
        try:
            made = [self._update(chunk, weights) for chunk in chunks]
        except BaseException:
            self._put_back(before)
            raise
        finally:
            self.network.eval()
        self.waiting = rest if rest.inputs.N else None
        return made

    def _update(self, chunk: Batch, weights: bool) -> OnlineUpdate:
        self.network.train(weights)
        losses, found, state = self.rule.gradient(self.network, self.loss, chunk, self.state)
        names = set(self._updater.names)
        gradients = {name: g for name, g in found.items() if name in names}
        norm = global_norm(gradients)
        if not bool(torch.isfinite(losses).all()) or not math.isfinite(norm):
            raise NonFiniteError(
                f"the {'gradient' if bool(torch.isfinite(losses).all()) else 'loss'} of update "
                f"{self.updates + 1} is not finite; nothing of these rows was learned.",
                f"Try a lower rate (lr is {self.lr:g}) or clipping (clip_norm=1.0). If a row that waited "
                "is at fault, ending the stream with learn=False drops it.",
            )
        gradients, shortened = clipped(gradients, self.options.clip_value, self.options.clip_norm, norm)
        if weights:
            self._updater.step(gradients, self.schedule.factor(self.updates, self._schedule_state))
            self.updates += 1
        self.state = state
        return OnlineUpdate(self.updates, _mean(losses, chunk), norm, shortened)

    # ---------------------------------------------------------------- all or nothing

    def _remember(self, *, weights: bool) -> tuple[object, ...]:
        masks = {name: g.get_state() for name, g in generators(self.network).items()}
        held = {name: w.detach().clone() for name, w in self.network.state_dict().items()} if weights else {}
        return held, self._updater.tensors() if weights else None, self.state, self.updates, masks

    def _put_back(self, before: tuple[object, ...]) -> None:
        held, optimizer, state, updates, masks = before
        assert isinstance(held, dict) and isinstance(masks, dict)
        assert isinstance(state, RuleState) and isinstance(updates, int)
        with torch.no_grad():
            for name, weight in self.network.state_dict().items():
                if name in held:
                    weight.copy_(held[name])
        if isinstance(optimizer, dict):
            self._updater.load(optimizer)
        for name, source in generators(self.network).items():
            source.set_state(masks[name])
        self.state, self.updates = state, updates

    # ---------------------------------------------------------------- saved and restored

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the network's weights, as flat tensors: what `load` takes."""
        flat = {
            "updates": torch.tensor([self.updates]),
            "rows": torch.tensor([self.rows]),
            **{f"rule/{name}": value for name, value in self.state.to_tensors().items()},
            **{f"optimizer/{name}": value for name, value in self._updater.tensors().items()},
            **{f"generator/{name}": g.get_state() for name, g in generators(self.network).items()},
        }
        if self.waiting is not None:
            inputs = self.waiting.inputs
            flat["waiting/lengths"] = inputs.lengths
            for name, rows in (
                ("inputs", inputs.data),
                ("targets", self.waiting.targets),
                ("mask", self.waiting.mask),
            ):
                if rows is not None:
                    flat[f"waiting/{name}"] = torch.cat(inputs.with_data(rows).to_list())
        return flat

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave, for the same network, options and streams.

        Raises:
            SchemaError: a tensor is missing, unknown or of another shape.
        """
        groups: dict[str, dict[str, Tensor]] = {"rule": {}, "optimizer": {}, "generator": {}, "waiting": {}}
        for name, value in tensors.items():
            head, slash, tail = name.partition("/")
            if slash and head in groups:
                groups[head][tail] = value
            elif name not in ("updates", "rows"):
                raise SchemaError(f"the tensor {name!r} is none of a stream's.")
        for name in ("updates", "rows"):
            if name not in tensors or tensors[name].numel() != 1 or int(tensors[name]) < 0:
                raise SchemaError(f"the tensor {name!r} is missing, or no count.")
        device = next(self.network.parameters()).device
        state = {name: value.to(device) for name, value in groups["rule"].items()}
        _require_same(state, self.rule.start(self.network, self.streams).tensors)
        sources = generators(self.network)
        if set(sources) != set(groups["generator"]):
            raise SchemaError(
                f"the stream has the generators {sorted(groups['generator'])}, not {sorted(sources)}."
            )
        try:
            waiting = _waiting(groups["waiting"], self.streams, device)
            if waiting is not None:
                self._check(waiting)
            self._updater.load(groups["optimizer"])
            for name, source in sources.items():
                source.set_state(groups["generator"][name])
        except (SaikiError, RuntimeError, TypeError) as error:
            raise SchemaError(f"the stream does not fit the model: {error}") from error
        self.state, self.waiting = RuleState(state), waiting
        self.updates, self.rows = int(tensors["updates"]), int(tensors["rows"])

    # ---------------------------------------------------------------- what must not be

    def _require_carrying_rule(self) -> None:
        if self.rule.type == "bptt":
            raise OptionError(
                "rule is BPTT, which forgets everything between two calls, and the rows of a stream come "
                "call by call.",
                "Use rule={'type': 'truncated_bptt', 'window': 32, 'stride': 1}, or "
                "{'type': 'rtrl', 'every': 1}.",
            )

    def _check(self, rows: Batch) -> None:
        if not rows.per_step:
            raise ShapeError("a stream needs a target a step.", "Give per_step=True.")
        _require_inputs(rows.inputs, self.streams, self.network.input_size)
        if len(rows.targets) != rows.inputs.N:
            raise ShapeError(f"there are {rows.inputs.N} rows but {len(rows.targets)} targets.")


def _require_inputs(inputs: Ragged, streams: int, features: int) -> None:
    if streams != inputs.B:
        raise ShapeError(f"rows of {inputs.B} streams came, but there are {streams}.")
    if inputs.feature_shape not in ((features,), () if features == 1 else (features,)):
        raise ShapeError(
            f"a row is {inputs.feature_shape} but must be ({features},): a stream's width cannot change.",
            "Nothing was learned from these rows.",
        )
    if inputs.data.is_floating_point() and not bool(torch.isfinite(inputs.data).all()):
        raise ValueRangeError(
            "a row holds NaN or infinity; nothing was learned, and the stream stands where it stood.",
            "Leave the row out, or fill it in.",
        )


def _require_endless(schedule: Schedule) -> None:
    inner = schedule
    while isinstance(inner, WarmUp):
        inner = inner.then
    if isinstance(inner, Plateau):
        raise OptionError(
            "the schedule 'plateau' waits for validation errors, which a stream has not.",
            "Use constant, or inverse with tau.",
        )
    if schedule.resolved(1) != schedule:
        raise OptionError(
            f"the schedule {schedule.type!r} is counted in parts of the whole run, but a stream has no end.",
            "Give its steps (tau), or use constant.",
        )


def _require_same(there: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> None:
    for name, value in here.items():
        if name not in there:
            raise SchemaError(f"the tensor rule/{name} is missing.")
        if there[name].shape != value.shape or there[name].dtype != value.dtype:
            raise SchemaError(
                f"the tensor rule/{name} is {there[name].dtype} {tuple(there[name].shape)} but must be "
                f"{value.dtype} {tuple(value.shape)}."
            )
        if not bool(torch.isfinite(there[name]).all()):
            raise SchemaError(f"the tensor rule/{name} holds values that are not finite.")
    for name in there:
        if name not in here and name != "inputs":
            raise SchemaError(f"the tensor rule/{name} is none of this rule's.")


def _waiting(stored: Mapping[str, Tensor], streams: int, device: torch.device) -> Batch | None:
    if not stored:
        return None
    if not {"lengths", "inputs", "targets"} <= set(stored) <= {"lengths", "inputs", "targets", "mask"}:
        raise SchemaError(f"the rows that wait have {sorted(stored)}.")
    lengths = stored["lengths"].tolist()
    if len(lengths) != streams or any(len(v) != sum(lengths) for k, v in stored.items() if k != "lengths"):
        raise SchemaError("the rows that wait are not as many as their lengths say.")

    def packed(name: str) -> Ragged:
        return Ragged.from_list(list(stored[name].to(device).split(lengths)))

    inputs = packed("inputs")
    mask = packed("mask").data if "mask" in stored else None
    return Batch(inputs, packed("targets").data, mask, per_step=True)


def _mean(losses: Tensor, chunk: Batch) -> float:
    """The objective out of the sequences' means."""
    weights = sequence_weights(chunk)
    total = float(weights.sum())
    return float((weights * losses.cpu().double()).sum()) / total if total > 0 else 0.0


def rows_of(
    inputs: Iterable[Tensor], targets: Iterable[Tensor], masks: Iterable[Tensor] | None = None
) -> Batch:
    """B streams' rows as a batch, from lists of (T_b, F) inputs, (T_b, …) targets and masks like these."""
    return Batch(
        Ragged.from_list(list(inputs)),
        Ragged.from_list(list(targets)).data,
        None if masks is None else Ragged.from_list(list(masks)).data,
        per_step=True,
    )
