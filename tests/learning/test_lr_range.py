"""The learning-rate range test: what it reads off a curve, that it leaves everything alone, where it ends."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from problems import Net, digest, sources

from saiki import learning as L
from saiki.core.errors import DataError, DTypeError, OptionError, ValueRangeError
from saiki.learning.lr_range import lr_range_test, read_off, smooth
from saiki.nn import RNNConfig, Stack


def linear(scale=1.0, n=64):
    """y = w·x: descent diverges above η = 2 / λ_max of the inputs' second moment, which is known."""
    source = torch.Generator().manual_seed(0)
    X = scale * torch.randn(n, 1, 3, generator=source, dtype=torch.float64)
    y = X[:, 0] @ torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64)
    network = torch.nn.Sequential(Last(), torch.nn.Linear(3, 1, bias=False, dtype=torch.float64))
    torch.nn.init.zeros_(network[1].weight)
    moment = (X[:, 0].T @ X[:, 0]) / n
    return network, L.RaggedSource(list(X), y), 1 / float(torch.linalg.eigvalsh(moment)[-1])


class Last(torch.nn.Module):
    def forward(self, x):
        return x.data[x.last_rows]


PLAIN = L.Training(optimizer="sgd", clip_norm=None)


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_the_turn_is_where_descent_on_a_square_stops_being_stable(scale):
    """l = mean (w·x - y)²: the gradient is 2 S w, so η < 1 / λ_max(S) contracts, and beyond it grows."""
    network, source, limit = linear(scale)
    found = lr_range_test(
        network, "squared", source, training=PLAIN, low=1e-4 * limit, high=1e3 * limit, batch_size="all"
    )
    assert found.stopped in ("diverged", "not finite")
    assert 0.3 * limit < found.lowest < 3 * limit
    assert found.steepest < found.lowest and found.suggested <= 0.1 * found.lowest * 1.001
    assert found.lr[-1] < 30 * limit and np.all(np.diff(found.lr) > 0)
    assert len(found.lr) == len(found.loss) == len(found.smoothed) == len(found.gradient_norm)


def test_a_suggested_rate_learns_and_ten_times_the_turn_does_not():
    train, validation, _ = sources()
    found = lr_range_test(Net(dropout=0), "squared", train, batch_size=8)

    def after(lr):
        fit = L.Trainer(lr=lr, max_epochs=15, batch_size=8, patience=None).fit(
            Net(dropout=0), "squared", train, validation
        )
        return fit.epochs[-1].loss

    assert found.suggested is not None
    assert after(found.suggested) < 0.8 * found.start < after(10 * found.lowest)


def test_nothing_is_changed_and_the_same_seed_gives_the_same_curve():
    train, _, _ = sources()
    network = Net()
    before, drawn = digest(network), network.generator.get_state()
    torch.manual_seed(5)
    ambient = torch.random.get_rng_state()
    one = lr_range_test(network, "squared", train, steps=20, batch_size=8, seed=3)
    assert digest(network) == before and torch.equal(network.generator.get_state(), drawn)
    assert torch.equal(torch.random.get_rng_state(), ambient)
    assert network.training and all(p.requires_grad and p.grad is None for p in network.parameters())
    torch.manual_seed(6)
    two = lr_range_test(network, "squared", train, steps=20, batch_size=8, seed=3)
    assert np.array_equal(one.loss, two.loss) and np.array_equal(one.gradient_norm, two.gradient_norm)
    other = lr_range_test(network, "squared", train, steps=20, batch_size=8, seed=4)
    assert not np.array_equal(one.loss[1:], other.loss[1:])


def test_the_first_updates_are_the_trainers_own():
    """At nearly one rate the test is plain training: the same batches, clipping and optimiser."""
    train, _, _ = sources()
    options = {"training": L.Training(clip_norm=0.5), "batch_size": 8, "seed": 2}
    found = lr_range_test(
        Net(dropout=0), "squared", train, low=1e-2, high=1e-2 * (1 + 1e-9), steps=10, **options
    )
    record = L.Trainer(lr=1e-2, max_epochs=4, patience=None, **options).fit(Net(dropout=0), "squared", train)
    assert found.loss == pytest.approx([loss for _, loss, _ in record.updates[:10]], rel=1e-5)
    assert found.gradient_norm == pytest.approx([norm for _, _, norm in record.updates[:10]], rel=1e-4)


def test_frozen_parameters_and_groups_are_those_of_the_training():
    train, _, _ = sources()
    frozen = L.Training(groups=(("first.*", {"frozen": True}), ("second.*", {"frozen": True})))
    with pytest.raises(OptionError, match="nothing to train"):
        lr_range_test(Net(), "squared", train, training=frozen)


def test_reading_a_curve_by_hand():
    lr = np.geomspace(1e-6, 1, 121)
    place = np.log10(lr)
    loss = 1 - 0.8 / (1 + np.exp(-8 * (place + 3))) + np.where(place > -1, (place + 1) * 5, 0)
    found = read_off(lr, loss, np.ones(121), "diverged")
    assert found.start == pytest.approx(1, abs=1e-3)
    assert found.steepest == pytest.approx(1e-3, rel=0.3) and found.suggested == found.steepest
    assert 1e-2 < found.lowest <= 0.12
    assert (
        "Try lr = 0.001. The loss fell from 1 to 0.2" in found.sentence() and "diverged" in found.sentence()
    )
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["suggested"] == found.suggested and told["sentence"] == found.sentence()

    never = read_off(lr, np.linspace(1, 2, 121), np.ones(121), "high reached")
    assert never.suggested is None and never.steepest is None and "never fell" in never.sentence()


def test_the_steepest_point_near_the_turn_is_not_trusted():
    """A cliff: the fall and the turn are neighbours, so a tenth of the turn is suggested instead."""
    lr = np.geomspace(1e-6, 1, 121)
    loss = np.where(lr < 1e-2, 1.0, np.where(lr < 2e-2, 0.2, 3.0))
    found = read_off(lr, loss, np.ones(121), "diverged")
    assert found.suggested == pytest.approx(found.lowest / 10) and found.suggested < found.steepest


def test_noise_at_the_lowest_rates_is_no_fall():
    lr = np.geomspace(1e-6, 1, 121)
    loss = 1 - 0.6 / (1 + np.exp(-8 * (np.log10(lr) + 3)))
    loss[:20] += np.where(np.arange(20) % 10 < 5, 0.3, -0.3)  # batches that happen to be hard and easy
    found = read_off(lr, loss, np.ones(121), "high reached")
    assert found.steepest == pytest.approx(1e-3, rel=0.3)


def test_smoothing_keeps_a_constant_and_does_not_lag():
    assert smooth(np.full(7, 3.0)) == pytest.approx(np.full(7, 3.0))
    step = smooth(np.repeat([0.0, 1.0], 50))
    assert step[49] + step[50] == pytest.approx(1) and smooth(np.array([2.0])) == pytest.approx([2.0])


def test_a_loss_that_overflows_ends_the_test():
    network, source, limit = linear()
    found = lr_range_test(
        network, "squared", source, training=PLAIN, low=1e150 * limit, high=1e308, steps=40, batch_size=8
    )
    assert found.stopped == "not finite" and np.isfinite(found.loss).all() and len(found.loss) < 40


def test_sequences_that_learn_step_by_step_give_a_point_a_chunk():
    train, _, _ = sources(per_step=True)
    rule = L.get_rule({"type": "truncated_bptt", "window": 3})
    network = Stack.build([RNNConfig(hidden_size=4)], 3, 2, generator=torch.Generator().manual_seed(0))
    found = lr_range_test(
        network, "squared", train, training=L.Training(rule=rule), steps=12, high=0.01, batch_size=8
    )
    assert len(found.loss) == 12 and found.stopped == "high reached"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"low": 0}, ValueRangeError, "low"),
        ({"low": 1, "high": 1}, OptionError, "high is 1 but must be above low, 1"),
        ({"steps": 9}, ValueRangeError, "steps"),
        ({"batch_size": 0}, ValueRangeError, "batch_size"),
        ({"loss": "quadratic"}, OptionError, "unknown"),
        ({"network": 3}, DTypeError, "network is int but must be a torch.nn.Module"),
    ],
)
def test_what_is_refused(changes, error, message):
    given = {"network": Net(), "loss": "squared", "source": sources()[0], **changes}
    with pytest.raises(error, match=message):
        lr_range_test(given.pop("network"), given.pop("loss"), given.pop("source"), **given)


def test_data_that_are_not_finite_are_refused():
    train, _, _ = sources()
    network = Net()
    with torch.no_grad():
        network.second.bias.fill_(float("nan"))
    with pytest.raises(DataError, match="not finite before anything was learned"):
        lr_range_test(network, "squared", train)
