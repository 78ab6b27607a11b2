"""Learning from streams with a network of one's own: refusals, and a failed update that leaves nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saiki import learning as L
from saiki.core.errors import NonFiniteError, OptionError, SchemaError, ShapeError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.learning.online import rows_of
from saiki.losses import get_loss
from saiki.nn import DropoutConfig, GRUConfig, LastConfig, Stack

F64 = torch.float64
SQUARED = get_loss("squared")


def online(*, streams=2, rule=None, **training):
    network = Stack.build(
        [GRUConfig(hidden_size=3), DropoutConfig(p=0.2)],
        2,
        1,
        generator=torch.Generator().manual_seed(0),
        dtype=F64,
    )
    options = L.Training(rule=L.TruncatedBPTT(4, 2) if rule is None else rule, **training)
    return L.Online(network, SQUARED, training=options, lr=0.01, streams=streams)


def rows(*lengths, seed=0):
    source = np.random.default_rng(seed)
    return rows_of(
        [torch.from_numpy(source.normal(size=(n, 2))) for n in lengths],
        [torch.from_numpy(source.normal(size=(n, 1))) for n in lengths],
    )


def bits(model):
    return {**model.tensors(), **{f"w/{k}": v.clone() for k, v in model.network.state_dict().items()}}


def same(one, two):
    return set(one) == set(two) and all(torch.equal(one[name], two[name]) for name in one)


def test_what_comes_is_cut_by_the_rule_alone():
    one, two = online(), online()
    first = one.learn(rows(5, 3))
    assert [u.update for u in first] == [1, 2] and one.waiting.inputs.lengths.tolist() == [1, 0]
    assert all(u.gradient_norm > 0 for u in first)
    x = rows(5, 3)
    X, Y = x.inputs, x.inputs.with_data(x.targets)
    for a, b in ((0, 1), (1, 4), (4, 5)):
        two.learn(L.Batch(X.between(a, b), Y.between(a, b).data, per_step=True))
    assert same(bits(one), bits(two))


def test_saved_and_loaded():
    one, two = online(), online()
    one.learn(rows(5, 3))
    two.network.load_state_dict(one.network.state_dict())
    two.load(one.tensors())
    assert same(bits(one), bits(two))
    assert one.learn(rows(4, 4, seed=1)) == two.learn(rows(4, 4, seed=1))
    assert same(bits(one), bits(two))
    with pytest.raises(SchemaError, match=r"rule/state\.gru\.h is .* but must be"):
        online(streams=3).load(one.tensors())


def test_a_rule_without_an_interval_makes_an_update_a_call():
    model = online(rule={"type": "rtrl"})
    assert model.every is None
    assert len(model.learn(rows(5, 3))) == 1 and model.waiting is None
    assert model.learn(rows(0, 0)) == []


def test_without_weights_the_state_alone_moves():
    model = online(streams=1)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    (told, _) = model.learn(rows(4), weights=False)
    assert told.update == 0 and model.updates == 0 and model.rows == 4
    assert all(torch.equal(before[name], value) for name, value in model.network.state_dict().items())
    assert model.state.tensors["steps"].tolist() == [4]


def test_a_frozen_group_keeps_its_weights_and_does_not_lengthen_the_gradient():
    model = online(streams=1, groups=(("layers.gru.*", {"frozen": True}),), clip_norm=None)
    before = model.network.layers["gru"].weight_ih_l0.clone()
    (told,) = model.learn(rows(2))
    assert torch.equal(before, model.network.layers["gru"].weight_ih_l0)
    whole = online(streams=1, clip_norm=None).learn(rows(2))[0]
    assert told.gradient_norm < whole.gradient_norm


def test_what_a_stream_cannot_take_leaves_it_as_it_was():
    model = online()
    model.learn(rows(3, 3))
    before = bits(model)
    nan = rows(2, 2)
    nan.inputs.data[1, 0] = torch.nan
    huge = rows(6, 6)
    huge.targets[-4] = 1e200
    for bad, kind, says in (
        (rows(2), ShapeError, "rows of 1 streams came, but there are 2"),
        (nan, ValueRangeError, "a row holds NaN or infinity; nothing was learned"),
        (huge, NonFiniteError, "nothing of these rows was learned"),
        (L.Batch(rows(2, 2).inputs, torch.zeros(2, 1)), ShapeError, "needs a target a step"),
        (L.Batch(rows(2, 2).inputs, torch.zeros(3, 1), per_step=True), ShapeError, "4 rows but 3 targets"),
        (
            L.Batch(
                Ragged.from_list([torch.zeros(1, 3), torch.zeros(1, 3)]), torch.zeros(2, 1), per_step=True
            ),
            ShapeError,
            "a stream's width cannot change",
        ),
    ):
        with pytest.raises(kind, match=says):
            model.learn(bad)
        assert same(before, bits(model))


def test_a_bad_row_that_waited_can_be_dropped():
    model, twin = online(), online()
    for each in (model, twin):
        each.learn(rows(2, 2))
    bad = rows(1, 1)
    bad.targets[0] = 1e200
    model.learn(bad)  # nobody has looked at its loss yet
    with pytest.raises(NonFiniteError, match="learn=False drops it"):
        model.learn(rows(1, 1))
    model.end(learn=False)
    twin.end()
    for each in (model, twin):
        each.rows = 0
        each.learn(rows(2, 2, seed=3))
    assert same(bits(model), bits(twin))


def test_what_an_online_learner_cannot_be():
    with pytest.raises(OptionError, match="rule is BPTT"):
        online(rule="bptt")
    pooled = Stack.build([GRUConfig(hidden_size=3), LastConfig()], 2, 1)
    with pytest.raises(OptionError, match="answers once a sequence"):
        L.Online(pooled, SQUARED, training=L.Training(rule=L.TruncatedBPTT(3)), lr=0.1)
