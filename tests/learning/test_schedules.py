"""Schedules against their formulas."""

import math

import pytest

from saiki import learning as L
from saiki.core.errors import CheckpointError, OptionError
from saiki.learning.options import mapping_of
from saiki.learning.schedules import checked_state


def rates(schedule, updates, lr=1.0):
    return [lr * schedule.factor(t, schedule.start()) for t in range(updates)]


def test_linear_decay_worked_by_hand():
    schedule = L.Linear(steps=4, floor=0.1)
    assert rates(schedule, 7, lr=0.1) == pytest.approx([0.1, 0.0775, 0.055, 0.0325, 0.01, 0.01, 0.01])


def test_constant_inverse_exponential_cosine():
    assert rates(L.Constant(), 3) == [1, 1, 1]
    assert rates(L.Inverse(tau=10), 31)[::10] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert rates(L.Exponential(rate=0.5, steps=2), 5) == pytest.approx([1, 0.5**0.5, 0.5, 0.5**1.5, 0.25])
    cosine = rates(L.Cosine(steps=4, floor=0.2), 6)
    assert cosine == pytest.approx([1, 0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2, 0.6, cosine[3], 0.2, 0.2])


def test_only_the_inverse_decay_satisfies_the_conditions_of_convergence():
    """Σ η = ∞ and Σ η² < ∞: from 10,000 to 1,000,000 updates the first sum grows on, the second hardly."""
    inverse, linear = L.Inverse(tau=10.0), L.Linear(steps=1000, floor=0.01)
    sums = {}
    for name, schedule in (("inverse", inverse), ("linear", linear)):
        state, first, second = schedule.start(), 0.0, 0.0
        for t in range(0, 1_000_000, 100):
            factor = schedule.factor(t, state)
            first, second = first + factor, second + factor**2
            if t == 10_000:
                sums[name] = (first, second)
        sums[name] = (first / sums[name][0], second / sums[name][1])
    assert sums["inverse"][0] > 1.3 and sums["inverse"][1] < 1.001
    assert sums["linear"][1] > 1.1


def test_plateau_counts_validations():
    schedule = L.Plateau(drop=0.5, patience=1, floor=0.2)
    state = schedule.start()
    seen = []
    for update, loss in enumerate([1.0, 0.9, 0.9, 0.95, 0.95, 0.95, 0.95, 0.95, 0.5]):
        state = schedule.observe(loss, 10 * (update + 1), state)
        seen.append(schedule.factor(10 * (update + 1), state))
    assert seen == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]
    assert schedule.factor(39, state) == 1 and schedule.factor(40, state) == 0.5  # the past stays as it was
    below = schedule.observe(-1.0, 1, schedule.start())
    assert schedule.observe(-1.00001, 2, below)["waited"] == 1  # not clearly better
    assert schedule.observe(-1.1, 2, below)["waited"] == 0


def test_warm_up_then_another():
    schedule = L.WarmUp(steps=4, then=L.Linear(steps=2, floor=0.0))
    assert rates(schedule, 8) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.0, 0.0])
    assert L.get_schedule({"type": "warmup", "steps": 2, "then": {"type": "cosine", "steps": 8}}) == L.WarmUp(
        2, L.Cosine(8)
    )
    plateau = L.WarmUp(steps=5, then=L.Plateau(drop=0.5, patience=0))
    state = plateau.start()
    for update in (3, 6, 8):
        state = plateau.observe(1.0, update, state)
    assert plateau.factor(7, state) == 1.0 and plateau.factor(8, state) == 0.5


def test_none_stands_for_the_whole_run():
    for schedule in (L.Linear(), L.Cosine(), L.Exponential(rate=0.01)):
        whole = schedule.resolved(50)
        assert whole.factor(50, whole.start()) == pytest.approx(getattr(schedule, "floor", 0.01))
        assert schedule.resolved(50) == whole.resolved(70)
    assert L.Inverse().resolved(50).factor(50, {}) == 0.5
    assert L.WarmUp(10, L.Linear()).resolved(50).then.steps == 40
    with pytest.raises(OptionError, match="does not know the length of the run"):
        L.Linear().factor(0, {})


def test_schedules_by_name():
    assert set(L.SCHEDULES) == {"constant", "linear", "inverse", "exponential", "cosine", "plateau", "warmup"}
    for name in L.SCHEDULES:
        schedule = L.get_schedule(name)
        assert L.get_schedule(mapping_of(schedule)) == schedule
    with pytest.raises(OptionError, match="did you mean 'cosine'"):
        L.get_schedule("cosin")
    with pytest.raises(OptionError, match="drop is 1 but must be below 1"):
        L.Plateau(drop=1)
    with pytest.raises(ValueError, match="floor is 2"):
        L.Linear(floor=2)
    with pytest.raises(ValueError, match="steps is 0"):
        L.Cosine(steps=0)


def test_the_state_of_another_schedule_is_refused():
    assert checked_state(L.Constant(), {}) == {}
    good = {"best": 1.0, "waited": 0, "drops": [[3, 0.5]]}
    assert checked_state(L.Plateau(), good) == good
    for broken in (
        {},
        {**good, "more": 1},
        {**good, "drops": [[3]]},
        {**good, "waited": "0"},
        {**good, "best": "x"},
    ):
        with pytest.raises(CheckpointError, match="is not one of 'plateau'"):
            checked_state(L.Plateau(), broken)
