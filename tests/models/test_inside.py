"""What a fit keeps to be looked at, how much a look may cost, and that its JSON draws the same picture."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from saiki.core.errors import DataError
from saiki.core.ragged import Ragged
from saiki.insight import figures_gates, figures_reach, gate_use, gradient_reach
from saiki.learning import RaggedSource
from saiki.models import SequenceRegressor, inside
from saiki.models.inside_files import packed_gates, packed_reach, unpacked_gates, unpacked_reach
from saiki.nn import GRUConfig, LastConfig, LSTMConfig, Stack


def network(hidden=5):
    layers = [LSTMConfig(hidden_size=hidden), GRUConfig(hidden_size=3), LastConfig()]
    return Stack.build(layers, 2, 1, generator=torch.Generator().manual_seed(0))


def sequences(lengths):
    source = torch.Generator().manual_seed(1)
    return [torch.randn(length, 2, generator=source) for length in lengths]


def test_a_few_sequences_are_kept_the_ends_of_long_ones():
    X = sequences([5, 0, 600, *[7] * 20])
    kept = inside.keep(RaggedSource(X, torch.zeros(len(X), 1)), "validation")
    assert len(kept.sequences) == inside.SEQUENCES
    assert kept.words == "8 validation sequences of 5 to 7 steps"
    assert torch.equal(kept.sequences[0], X[0]) and all(len(rows) for rows in kept.sequences)
    long = inside.keep(RaggedSource(X[2:3], torch.zeros(1, 1)), "training")
    assert torch.equal(long.sequences[0], X[2][-inside.STEPS :])
    assert long.words == "1 training sequence of 512 steps"
    assert inside.keep(RaggedSource(sequences([0, 0]), torch.zeros(2, 1)), "training") is None
    with pytest.raises(DataError, match="no sequence has a step"):
        inside.kept(Ragged.from_list(sequences([0])), "")


def test_a_large_network_is_looked_at_less():
    kept = inside.kept(Ragged.from_list(sequences([300] * 8)), "")
    assert inside.affordable(network(), kept, inside.WORK) == (8, 256)
    count, lags = inside.affordable(network(64), kept, inside.WORK)
    assert count < 8 and lags > 30
    assert inside.affordable(network(512), kept, 1.0) == (1, 1)


def test_json_draws_the_same_reach():
    found = gradient_reach(network(), sequences([40, 30, 40, 25]))
    again = unpacked_reach(json.loads(json.dumps(packed_reach(found), allow_nan=False)))
    assert again.lags.tolist() == found.lags.tolist() and again.input_reach == found.input_reach
    for mine, theirs in zip(again.layers, found.layers):
        assert (mine.name, mine.cell, mine.reach) == (theirs.name, theirs.cell, theirs.reach)
        assert dict(mine.block_reach) == dict(theirs.block_reach)
        for level in ("lower", "median", "upper"):
            expected = getattr(theirs.state, level)
            assert getattr(mine.state, level) == pytest.approx(expected, rel=1e-3, nan_ok=True)
    assert figures_reach.gradient_reach(again).count("<path") == figures_reach.gradient_reach(found).count(
        "<path"
    )
    long = gradient_reach(network(), sequences([300, 300]))
    thinned = unpacked_reach(packed_reach(long)).lags
    assert len(thinned) <= 80 and thinned[0] == 0 and thinned[-1] == long.lags[-1]
    assert thinned[:17].tolist() == list(range(17))


def test_json_draws_the_same_gates():
    found = gate_use(network(), sequences([40, 30]))
    endless = replace(found.layers[0].time_constants, units=np.array([1.0, np.inf, 30.0]))
    found = replace(found, layers=(replace(found.layers[0], time_constants=endless), *found.layers[1:]))
    again = unpacked_gates(json.loads(json.dumps(packed_gates(found), allow_nan=False)))
    assert again.layers[0].time_constants.units.tolist() == [1.0, 30.0, np.inf]
    for mine, theirs in zip(again.layers, found.layers):
        assert [gate.name for gate in mine.gates] == [gate.name for gate in theirs.gates]
        for one, other in zip(mine.gates, theirs.gates):
            assert one.histogram == pytest.approx(other.histogram, rel=1e-3)
            assert one.open.mean() == pytest.approx(other.open.mean(), abs=1e-3, nan_ok=True)
    assert figures_gates.gates(again).count("<path") == figures_gates.gates(found).count("<path")


def test_before_training_is_the_network_that_training_began_with(monkeypatch):
    started = {}
    train = SequenceRegressor._train

    def watched(self, stack, *arguments, **options):
        started.update({name: value.clone() for name, value in stack.state_dict().items()})
        train(self, stack, *arguments, **options)

    monkeypatch.setattr(SequenceRegressor, "_train", watched)
    X = torch.stack(sequences([12] * 20)).numpy()
    model = SequenceRegressor(
        cell="elman", hidden_size=4, max_epochs=3, lr=0.05, random_state=3, verbose=False
    )
    model.fit(X, X.sum(axis=(1, 2)))
    seen = inside.seen_on(model)
    after = seen.reach.layers[0].state.median
    first = inside.stack_of(model.network_)
    first.load_state_dict(started)
    began = gradient_reach(first, Ragged.from_list(list(model._kept.sequences)), sequences=8)
    assert seen.before.layers[0].state.median == pytest.approx(began.layers[0].state.median, rel=1e-3)
    assert np.abs(after / began.layers[0].state.median - 1).max() > 0.01  # and training changed it
