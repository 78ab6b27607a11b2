"""Learning-rate schedules by name: what the rate η_0 is multiplied by at each update.

    constant      1
    linear        (1 - t/T) + (t/T) floor for t ≤ T, then floor
    inverse       1 / (1 + t/τ)
    exponential   rate^(t/T)
    cosine        floor + (1 - floor) (1 + cos(π t/T))/2 for t ≤ T, then floor
    plateau       falls by `factor` when the validation loss has stopped improving
    warmup        rises from 1/T to 1 in T updates, then another schedule takes over

t counts updates from 0. `steps=None` (and `tau=None`) stands for the number of updates of the whole run. Of
these only `inverse` satisfies Σ η = ∞, Σ η² < ∞, the conditions under which stochastic descent is proved to
converge; a linear decay to a floor does not.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

from saiki.core.checks import require_int, require_number
from saiki.core.errors import CheckpointError, OptionError
from saiki.learning.options import named

ScheduleState = Mapping[str, Any]
"""What a schedule remembers, as JSON; empty for all but plateau."""


@dataclass(frozen=True)
class Schedule(ABC):
    """A factor for the learning rate; its memory is a value that goes in and comes out."""

    type: ClassVar[str]

    def start(self) -> ScheduleState:
        """What is remembered before the first update."""
        return {}

    @abstractmethod
    def factor(self, update: int, state: ScheduleState) -> float:
        """What the rate is multiplied by at update t = `update`, counted from 0."""

    def observe(self, loss: float, update: int, state: ScheduleState) -> ScheduleState:
        """Take note of a validation loss, reached after `update` updates."""
        return state

    def resolved(self, updates: int) -> Schedule:
        """The schedule with `None` replaced by the number of updates of the whole run."""
        return self


@final
@dataclass(frozen=True)
class Constant(Schedule):
    """η_t = η_0."""

    type: ClassVar[str] = "constant"

    def factor(self, update: int, state: ScheduleState) -> float:
        """See `Schedule.factor`."""
        return 1.0


@final
@dataclass(frozen=True)
class Linear(Schedule):
    """Linear decay to a floor, then constant: η_t = (1 - t/T) η_0 + (t/T) η_T for t ≤ T, then η_T.

    Args:
        steps: T, in updates; None: the whole run.
        floor: η_T / η_0, in [0, 1].
    Source: Goodfellow et al. 2016, eq. 8.14.
    """

    steps: int | None = None
    floor: float = 0.01
    type: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        _require_steps(self.steps)
        require_number(self.floor, "floor", low=0, high=1)

    def factor(self, update: int, state: ScheduleState) -> float:
        """See `Schedule.factor`."""
        share = min(update / _known(self.steps, "linear"), 1.0)
        return (1 - share) + share * self.floor

    def resolved(self, updates: int) -> Schedule:
        """See `Schedule.resolved`."""
        return replace(self, steps=self.steps or max(updates, 1))


@final
@dataclass(frozen=True)
class Inverse(Schedule):
    """η_t = η_0 / (1 + t/τ): half the rate after τ updates, and Σ η = ∞ while Σ η² < ∞.

    Args:
        tau: τ > 0, in updates; None: the whole run.
    Source: Robbins & Monro 1951.
    """

    tau: float | None = None
    type: ClassVar[str] = "inverse"

    def __post_init__(self) -> None:
        if self.tau is not None:
            require_number(self.tau, "tau", above=0)

    def factor(self, update: int, state: ScheduleState) -> float:
        """See `Schedule.factor`."""
        return 1 / (1 + update / _known(self.tau, "inverse"))

    def resolved(self, updates: int) -> Schedule:
        """See `Schedule.resolved`."""
        return replace(self, tau=self.tau or float(max(updates, 1)))


@final
@dataclass(frozen=True)
class Exponential(Schedule):
    """η_t = η_0 rate^(t/T): falls by the same share every T updates.

    Args:
        rate: in (0, 1].
        steps: T, in updates; None: the whole run.
    """

    rate: float = 0.01
    steps: int | None = None
    type: ClassVar[str] = "exponential"

    def __post_init__(self) -> None:
        require_number(self.rate, "rate", high=1, above=0)
        _require_steps(self.steps)

    def factor(self, update: int, state: ScheduleState) -> float:
        """See `Schedule.factor`."""
        return float(self.rate ** (update / _known(self.steps, "exponential")))

    def resolved(self, updates: int) -> Schedule:
        """See `Schedule.resolved`."""
        return replace(self, steps=self.steps or max(updates, 1))


@final
@dataclass(frozen=True)
class Cosine(Schedule):
    """η_t = η_T + (η_0 - η_T)(1 + cos(π t/T))/2 for t ≤ T, then η_T.

    Args:
        steps: T, in updates; None: the whole run.
        floor: η_T / η_0, in [0, 1].
    Source: Loshchilov & Hutter 2017, without restarts.
    """

    steps: int | None = None
    floor: float = 0.0
    type: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        _require_steps(self.steps)
        require_number(self.floor, "floor", low=0, high=1)

    def factor(self, update: int, state: ScheduleState) -> float:
        """See `Schedule.factor`."""
        share = min(update / _known(self.steps, "cosine"), 1.0)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * share)) / 2

    def resolved(self, updates: int) -> Schedule:
        """See `Schedule.resolved`."""
        return replace(self, steps=self.steps or max(updates, 1))


@final
@dataclass(frozen=True)
class Plateau(Schedule):
    """The rate falls by `factor` after more than `patience` validations without a clear improvement.

    Without validation data the mean training loss of each epoch takes the place of the validation loss.

    Args:
        drop: what the rate is multiplied by, in (0, 1).
        patience: validations without improvement that are borne.
        threshold: an improvement counts if the loss falls below best · (1 - threshold), or, for a best that
            is not positive, below best - threshold · |best|.
        floor: the smallest factor.
    """

    drop: float = 0.5
    patience: int = 3
    threshold: float = 1e-4
    floor: float = 1e-3
    type: ClassVar[str] = "plateau"

    def __post_init__(self) -> None:
        require_number(self.drop, "drop", above=0)
        if self.drop >= 1:
            raise OptionError(f"drop is {self.drop} but must be below 1.")
        require_int(self.patience, "patience", low=0)
        require_number(self.threshold, "threshold", low=0)
        require_number(self.floor, "floor", low=0, high=1)

    def start(self) -> ScheduleState:
        """See `Schedule.start`. `drops` lists [update, factor]; a refit repeats them without validation."""
        return {"best": None, "waited": 0, "drops": []}

    def factor(self, update: int, state: ScheduleState) -> float:
        """See `Schedule.factor`."""
        value = 1.0
        for since, factor in state["drops"]:
            if update >= since:
                value = float(factor)
        return value

    def observe(self, loss: float, update: int, state: ScheduleState) -> ScheduleState:
        """See `Schedule.observe`."""
        best = state["best"]
        if best is None or loss < best - self.threshold * abs(best):
            return {**state, "best": loss, "waited": 0}
        if state["waited"] < self.patience:
            return {**state, "waited": state["waited"] + 1}
        lower = max(self.factor(update, state) * self.drop, self.floor)
        return {**state, "waited": 0, "drops": [*state["drops"], [update, lower]]}


@final
@dataclass(frozen=True)
class WarmUp(Schedule):
    """The first updates are smaller: (t + 1)/T for t < T, then `then`, which counts from there.

    Args:
        steps: T ≥ 1, in updates.
        then: the schedule that follows, by name, mapping or value.
    """

    steps: int = 100
    then: Schedule = field(default_factory=Constant)
    type: ClassVar[str] = "warmup"

    def __post_init__(self) -> None:
        require_int(self.steps, "steps", low=1)
        object.__setattr__(self, "then", get_schedule(self.then))

    def start(self) -> ScheduleState:
        """See `Schedule.start`."""
        return self.then.start()

    def factor(self, update: int, state: ScheduleState) -> float:
        """See `Schedule.factor`."""
        if update < self.steps:
            return (update + 1) / self.steps
        return self.then.factor(update - self.steps, state)

    def observe(self, loss: float, update: int, state: ScheduleState) -> ScheduleState:
        """See `Schedule.observe`; what happens during the warm-up is not held against `then`."""
        return state if update < self.steps else self.then.observe(loss, update - self.steps, state)

    def resolved(self, updates: int) -> Schedule:
        """See `Schedule.resolved`."""
        return replace(self, then=self.then.resolved(max(updates - self.steps, 1)))


SCHEDULES: dict[str, type[Schedule]] = {
    kind.type: kind for kind in (Constant, Linear, Inverse, Exponential, Cosine, Plateau, WarmUp)
}


def get_schedule(schedule: str | Mapping[str, object] | Schedule) -> Schedule:
    """A schedule by name, from a mapping with a `type`, or as it is.

    Raises:
        OptionError: an unknown name or option; the nearest one is offered.
    """
    return named(schedule, SCHEDULES, Schedule, "schedule")  # type: ignore[type-abstract]


def checked_state(schedule: Schedule, state: object) -> ScheduleState:
    """The state of a checkpoint, if it is one of this schedule's.

    Raises:
        CheckpointError: other keys than the schedule's own, or values of other kinds.
    """
    wanted = schedule.start()
    if not isinstance(state, dict) or set(state) != set(wanted):
        raise CheckpointError(f"the checkpoint's schedule state {state!r} is not one of {schedule.type!r}.")
    if "drops" in state:
        drops_fit = isinstance(state["drops"], list) and all(
            isinstance(d, list) and len(d) == 2 and isinstance(d[0], int) and isinstance(d[1], float)
            for d in state["drops"]
        )
        if (
            not drops_fit
            or not isinstance(state["waited"], int)
            or not isinstance(state["best"], float | None)
        ):
            raise CheckpointError(
                f"the checkpoint's schedule state {state!r} is not one of {schedule.type!r}."
            )
    return state


def _require_steps(steps: object) -> None:
    if steps is not None:
        require_int(steps, "steps", low=1)


def _known(value: float | None, name: str) -> float:
    if value is None:
        raise OptionError(
            f"the schedule {name!r} does not know the length of the run.",
            "Give its steps, or call resolved(updates).",
        )
    return value
