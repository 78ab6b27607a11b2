"""Update-to-weight ratios: what they are, which are kept, and that watching changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from problems import Net, digest, sources, timeless

from saiki import learning as L
from saiki.core.record import FIRST_RATIOS, MAX_RATIOS, FitRecord
from saiki.learning import trainer as trainer_module
from saiki.learning.ratios import held_weights, update_ratios


def layer(weight, bias):
    made = torch.nn.Linear(2, 1, dtype=torch.float64)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([weight]))
        made.bias.fill_(bias)
    return made


def test_the_ratio_is_the_length_of_the_step_over_the_longer_of_both_weights():
    network = layer([3.0, 4.0], 0.0)
    before = held_weights(network)
    with torch.no_grad():
        network.weight += torch.tensor([[0.3, 0.4]])
        network.bias += 2.0
    assert list(before) == ["weight", "bias"]
    assert update_ratios(before, network) == pytest.approx([0.5 / 5.5, 1.0])  # a bias from 0 moves by itself


def test_nothing_moved_nothing_there_and_beyond_float32():
    network = layer([0.0, 0.0], 1.0)
    assert update_ratios(held_weights(network), network) == [0.0, 0.0]
    huge = layer([3e38, 3e38], 1.0).float()
    before = held_weights(huge)
    with torch.no_grad():
        huge.weight *= -1
    ratios = update_ratios(before, huge)
    assert ratios == [2.0, 0.0]  # the step itself is infinite in float32
    assert update_ratios({}, torch.nn.Identity()) == []


def test_a_frozen_parameter_has_no_ratio():
    network = layer([1.0, 1.0], 1.0)
    network.bias.requires_grad_(False)
    assert list(held_weights(network)) == ["weight"]


def test_the_first_are_kept_and_the_rest_thins_itself_alike_after_a_resume():
    straight, resumed = FitRecord(ratio_names=["w"]), FitRecord(ratio_names=["w"])
    taken = 0
    for update in range(1, 5001):
        for record in (straight, resumed):
            if record.wants_ratios(update):
                record.add_ratios(update, [update / 7])
                taken += record is straight
        if update in (3, 127, 129, 2000):
            resumed = FitRecord.from_json(resumed.to_json())
        assert len(straight.ratios) <= MAX_RATIOS
    kept = [number for number, _ in straight.ratios]
    assert straight == resumed
    assert kept[:FIRST_RATIOS] == list(range(1, FIRST_RATIOS + 1))
    assert all(number % straight.ratio_stride == 0 for number in kept[FIRST_RATIOS:]) and kept[-1] > 4900
    assert taken < 2 * MAX_RATIOS * math.log2(5000 / MAX_RATIOS)  # what is dropped later was taken too
    assert straight.ratios[0] == (1, [0.1429])


def test_the_trainer_records_ratios_and_clipping_and_watching_changes_no_weight(monkeypatch):
    train, validation, _ = sources()
    trainer = L.Trainer(
        lr=0.1, max_epochs=3, batch_size=8, training=L.Training(optimizer="sgd", clip_norm=0.9)
    )
    seen = L.History()
    watched = Net()
    record = trainer.fit(watched, "squared", train, validation, observers=[seen])
    assert record.ratio_names == [name for name, _ in Net().named_parameters()]
    assert [number for number, _ in record.ratios] == list(range(1, 10)) == [u for u, _, _ in record.updates]
    assert record.clipped == [e.update for e in seen.updates if e.clipped]
    assert (record.updates_made, record.updates_clipped) == (9, len(record.clipped))
    assert record.clip_norm == 0.9 and 0 < record.updates_clipped < 9
    step = math.sqrt(
        sum(
            (ratio * float(torch.linalg.vector_norm(p))) ** 2
            for ratio, p in zip(record.ratios[0][1], Net().parameters())
        )
    )
    assert step == pytest.approx(0.1 * min(0.9, record.updates[0][2]), rel=0.05)  # plain sgd: η‖g‖

    monkeypatch.setattr(trainer_module, "held_weights", lambda network: {})
    monkeypatch.setattr(trainer_module, "update_ratios", lambda held, network: [])
    blind = Net()
    other = trainer.fit(blind, "squared", train, validation)
    assert digest(blind) == digest(watched)
    assert timeless(other)["updates"] == timeless(record)["updates"]


def test_a_refit_leaves_the_record_of_the_first_phase_alone():
    train, validation, everything = sources()
    training = L.Training(refit="all")
    record = L.Trainer(lr=0.01, max_epochs=2, batch_size=8, training=training).fit(
        Net(), "squared", train, validation, all_data=everything
    )
    assert record.updates_made == len(record.updates) == len(record.ratios) == 6


def test_batch_to_moves_every_part():
    batch = sources()[0].batch(torch.arange(3))
    device = torch.device("meta")
    moved = batch.to(device)
    assert batch.to(torch.device("cpu")) is batch
    assert moved.targets.device == device and moved.inputs.data.device == device
    assert moved.mask is None and moved.weights is None
