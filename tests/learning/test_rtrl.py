"""Real-time recurrent learning against back-propagation through time; its short forms are beside it."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar, NamedTuple

import pytest
import torch
from forward_problems import F64, SQUARED, against_bptt, batch_of, difference, network_of, of_cell, run
from hypothesis import given, settings
from hypothesis import strategies as st

from saiki import engine, learning, nn
from saiki.cells import GRU, LSTM, Cell, Elman, Params, all_cells
from saiki.core.errors import OptionError, ShapeError, UsageError, ValueRangeError
from saiki.core.random import generator
from saiki.learning import BPTT, RuleState, memory, rtrl
from saiki.learning.rtrl import RTRL
from saiki.learning.rules import sequence_weights


@pytest.mark.parametrize("name", ["auto", "reference"])
@pytest.mark.parametrize("cell", all_cells(), ids=lambda cell: cell.label)
def test_the_gradient_is_that_of_bptt(cell, name):
    """Both rules evaluate the same sum, so in float64 only rounding may separate them."""
    with engine.use(name):
        assert against_bptt(of_cell(cell, learn=True), batch_of()) < 1e-9
        assert against_bptt(of_cell(cell, layers=2, last=True), batch_of(per_step=False)) < 1e-9


class Skewed(Cell[Params, tuple]):
    """A cell of one's own: two states of different widths, each in the other's way."""

    class Two(NamedTuple):
        h: torch.Tensor
        m: torch.Tensor

    name: ClassVar[str] = "skewed"
    state_type: ClassVar[type] = Two

    @property
    def state_sizes(self):
        return (self.hidden_size, 2)

    def step(self, params, state, x):
        a = x @ params.weight_ih.T + state.h @ params.weight_hh.T + params.bias
        m = torch.tanh(state.m * 0.5 + a[:, :2] * a[:, -2:])
        return self.Two(torch.sin(a) + 0.3 * m.sum(1, keepdim=True), m)


OWN = [Skewed(3, 4), LSTM(3, 4, activation=torch.sin), GRU(3, 4, reset="before", activation=torch.atan)]


@pytest.mark.parametrize("cell", OWN, ids=lambda cell: cell.label)
def test_a_cell_or_activation_of_one_s_own_is_differentiated_by_torch(cell):
    assert against_bptt(of_cell(cell, layers=2, learn=True), batch_of()) < 1e-9
    # after one step nothing has been dropped
    one = batch_of((1, 1, 0, 1))
    assert against_bptt(of_cell(cell, layers=2), one, RTRL("snap1")) < 1e-9
    with pytest.raises(
        OptionError, match=r"does not say which of its paths.*recurrent_l0|recurrent_l0.*does"
    ):
        RTRL("eprop").start(of_cell(cell), 2)


class Branching(Elman):
    """Its step decides by a value, which torch.func cannot follow."""

    def step(self, params, state, x):
        return super().step(params, state, x if bool(x.sum() > 0) else -x)


def test_a_step_that_torch_cannot_differentiate_row_by_row_is_told():
    with pytest.raises(OptionError, match=r"'elman' cannot be differentiated row by row by torch.func"):
        run(RTRL(), of_cell(Branching(3, 4)), batch_of())


class Bent(nn.Layer):
    """A layer of one's own, with parameters of its own."""

    def __init__(self, size):
        super().__init__()
        self.inner = torch.nn.Parameter(torch.zeros(size, size, dtype=F64))
        self.outer = torch.nn.Parameter(torch.zeros(size, dtype=F64))

    def forward(self, x):
        return x.with_data(torch.sin(x.data @ self.inner) * self.outer)


FRONTS = {
    "dense, norm, dropout": [
        nn.Dense(3, 4, activation="tanh", dtype=F64),
        nn.LayerNorm(4, dtype=F64),
        nn.Dropout(0.3),
        nn.LSTM(4, 5, num_layers=2, dropout=0.3, dtype=F64, learn_initial_state=True),
        nn.Dense(5, 4, activation="softmax", dtype=F64),
        nn.Dropout(0.2, locked=True),
        nn.Activation("tanh"),
        nn.GRU(4, 3, dtype=F64),
        nn.Dropout(0.3),
        nn.Dense(3, 2, dtype=F64),
    ],
    "a layer of one's own": [
        Bent(3),
        nn.GRU(3, 4, dtype=F64),
        Bent(4),
        nn.RNN(4, 3, dtype=F64),
        nn.Dense(3, 2, dtype=F64),
    ],
    "a callable": [
        nn.Dense(3, 3, activation=torch.sin, bias=False, dtype=F64),
        nn.Jordan(3, 4, output_size=2, dtype=F64),
    ],
}


@pytest.mark.parametrize("name", FRONTS)
def test_layers_in_front_between_and_behind_with_dropout(name):
    """Each step's mask is part of the step: both rules see the same ones."""
    network = network_of(*FRONTS[name], input_size=3).train()
    assert against_bptt(network, batch_of()) < 1e-9
    for p_name, p in network.named_parameters():
        p.requires_grad_(
            "0_l" not in p_name
        )  # the learned initial states, which a short form does not follow
    assert against_bptt(network, batch_of((1, 0, 1)), RTRL("snap1")) < 1e-9
    assert against_bptt(network, batch_of((1, 0, 1)), RTRL("eprop")) < 1e-9
    network.requires_grad_(True)


def test_embeddings_in_front():
    ids = torch.arange(20) % 6
    batch = batch_of()
    whole = replace(batch, inputs=batch.inputs.with_data(ids))
    network = network_of(
        nn.Embedding(6, 4, dtype=F64), nn.LSTM(4, 3, dtype=F64), nn.Dense(3, 2, dtype=F64), input_size=1
    )
    assert against_bptt(network, whole) < 1e-9
    data = batch.inputs.data.clone()
    data[:, 1] = ids
    column = replace(batch, inputs=batch.inputs.with_data(data))
    network = network_of(
        nn.Embedding(6, 4, column=1, dtype=F64),
        nn.Dense(6, 3, dtype=F64),
        nn.GRU(3, 3, dtype=F64),
        nn.Dense(3, 2, dtype=F64),
        input_size=3,
    )
    assert against_bptt(network, column) < 1e-9


@pytest.mark.parametrize(
    "pattern", ["weight_hh", "lstm.", "dense", "gru.bias", "initial", "0_l0"], ids=lambda p: p.strip(".")
)
def test_frozen_parameters_are_left_out(pattern):
    network = network_of(
        nn.Dense(3, 4, activation="tanh", dtype=F64),
        nn.LSTM(4, 3, dtype=F64, learn_initial_state=True),
        nn.GRU(3, 4, dtype=F64),
        nn.Dense(4, 2, dtype=F64),
    )
    for name, p in network.named_parameters():
        p.requires_grad_(pattern not in name)
    assert against_bptt(network, batch_of()) < 1e-9
    _, gradients, _ = run(RTRL(), network, batch_of())
    assert not any(pattern in name for name in gradients)


@pytest.mark.parametrize("approximation", ["exact", "snap1", "eprop"])
@given(cuts=st.lists(st.integers(1, 22), max_size=4), seed=st.integers(0, 9))
@settings(max_examples=4, deadline=None)
def test_chunks_with_carried_state_add_up_to_the_whole(approximation, cuts, seed):
    network = network_of(
        nn.Dense(3, 3, dtype=F64),
        nn.LSTM(3, 4, num_layers=2, dtype=F64, learn_initial_state=True),
        nn.Dense(4, 2, dtype=F64),
    )
    batch = batch_of((22, 0, 9, 22, 3), seed=seed)
    rule = RTRL(approximation)
    _, whole, after = run(rule, network, batch)
    total = float(sequence_weights(batch).sum())
    sums = {name: torch.zeros_like(g) for name, g in whole.items()}
    state = rule.start(network, 5)
    bounds = sorted({0, 22, *cuts})
    for start, stop in pairwise(bounds):
        piece = rtrl._between(batch, start, stop)
        _, gradients, state = run(rule, network, piece, state)
        share = float(sequence_weights(piece).sum()) / total
        for name, g in gradients.items():
            sums[name] += share * g
    assert difference(sums, whole) < 1e-12
    assert state.tensors.keys() == after.tensors.keys()
    for name, value in after.tensors.items():
        torch.testing.assert_close(state.tensors[name], value, rtol=1e-12, atol=1e-12, msg=name)


def test_the_influence_is_the_derivative_of_the_state():
    """ds_T/dθ by autograd, of both layers' states; the second layer's on itself, and the first's on both."""
    network = of_cell(LSTM(3, 4), layers=2)
    batch = batch_of((6,))
    _, _, state = run(RTRL(), network, batch)
    layer = network.layers["recurrent"]
    _, (h, c) = layer(batch.inputs)
    for k in (0, 1):
        weights = [getattr(layer, f"{name}_l{k}") for name in layer.cell.parameter_shapes()]
        for m in range(k, 2):
            name = f"influence.recurrent_l{k}" + (f".on.recurrent_l{m}" if m > k else "")
            s_m = torch.cat([h[m, 0], c[m, 0]])
            rows = [torch.autograd.grad(number, weights, retain_graph=True) for number in s_m]
            truth = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
            torch.testing.assert_close(state.tensors[name][0], truth, rtol=1e-9, atol=1e-12)


def test_the_textbook_s_recursion_for_an_elman_network():
    """p^j_rs(t) = f'(u_j) (δ_rj h_s + Σ_i R_ji p^i_rs(t-1)), the weight from unit s to r, in plain loops."""
    cell, T = Elman(1, 2, bias=False), 3
    network = of_cell(cell)
    layer = network.layers["recurrent"]
    W, R = layer.weight_ih_l0.tolist(), layer.weight_hh_l0.tolist()
    batch = batch_of((T,), features=1)
    xs = batch.inputs.data[:, 0].tolist()
    h, p = [0.0, 0.0], [[[0.0, 0.0], [0.0, 0.0]] for _ in range(2)]  # p[j][r][s]
    for x in xs:
        new = [math.tanh(W[j][0] * x + sum(R[j][i] * h[i] for i in range(2))) for j in range(2)]
        p = [
            [
                [
                    (1 - new[j] ** 2) * ((r == j) * h[s] + sum(R[j][i] * p[i][r][s] for i in range(2)))
                    for s in range(2)
                ]
                for r in range(2)
            ]
            for j in range(2)
        ]
        h = new
    _, _, state = run(RTRL(), network, batch)
    ours = state.tensors["influence.recurrent_l0"][0, :, 2:].view(2, 2, 2)  # behind W's two columns
    torch.testing.assert_close(ours, torch.tensor(p, dtype=F64), rtol=1e-12, atol=1e-15)


def test_a_rule_s_chunks_are_every_k_steps():
    batch = batch_of((7, 0, 3))
    assert RTRL().chunks(batch) == (batch,)
    chunks = RTRL(every=3).chunks(batch)
    assert [chunk.inputs.lengths.tolist() for chunk in chunks] == [[3, 0, 3], [3, 0, 0], [1, 0, 0]]
    assert RTRL(every=3).updates(7) == 3
    assert RTRL(every=3).updates(0) == 1
    assert RTRL().updates(7) == 1
    once = batch_of((7, 0, 3), per_step=False)
    assert RTRL(every=3).chunks(once) == (once,)


def test_long_chunks_are_worked_through_in_blocks():
    """More steps than are kept at once; the locked mask lasts for the whole call."""
    layers = [
        nn.Dense(3, 3, activation="tanh", dtype=F64),
        nn.Dropout(0.4, locked=True),
        nn.LSTM(3, 3, dtype=F64, learn_initial_state=True),
        nn.Dense(3, 2, dtype=F64),
    ]
    assert against_bptt(network_of(*layers).train(), batch_of((150, 0, 70, 128))) < 1e-9
    pooled = network_of(*layers[:3], nn.Last(), layers[3]).eval()
    assert against_bptt(pooled, batch_of((150, 0, 70, 128), per_step=False)) < 1e-9


def test_what_is_carried_does_not_grow_with_the_length():
    network = of_cell(LSTM(3, 4), layers=2)
    sizes = []
    for T in (1, 40, 150):
        _, _, state = run(RTRL(), network, batch_of((T, T)))
        sizes.append({name: tuple(value.shape) for name, value in state.tensors.items()})
    P, above = 4 * (3 * 4 + 4 * 4 + 4), 4 * (4 * 4 + 4 * 4 + 4)
    assert sizes[0] == sizes[1] == sizes[2]
    assert sizes[0] == {
        "state.recurrent.h": (2, 8),
        "state.recurrent.c": (2, 8),
        "steps": (2,),
        "influence.recurrent_l0": (2, 8, P),
        "influence.recurrent_l0.on.recurrent_l1": (2, 8, P),
        "influence.recurrent_l1": (2, 8, above),
    }
    short = {name: tuple(v.shape) for name, v in RTRL("snap1").start(network, 2).tensors.items()}
    assert short["influence.recurrent_l0"] == (2, 2, P)
    assert not any(".on." in name for name in short)


@pytest.mark.parametrize("approximation", ["exact", "snap1"])
def test_a_state_is_a_value_that_saves_and_resets_row_by_row(approximation):
    rule = RTRL(approximation)
    network = of_cell(GRU(3, 4), layers=2, learn=True)
    _, _, middle = run(rule, network, batch_of((6, 4, 5)))
    kept = middle.to_tensors()
    again = batch_of((3, 0, 4), seed=5)
    _, one, after = run(rule, network, again, middle)
    assert all(torch.equal(middle.tensors[name], value) for name, value in kept.items())
    _, other, restored = run(rule, network, again, RuleState.from_tensors(kept))
    assert all(torch.equal(one[name], g) for name, g in other.items())
    assert all(torch.equal(after.tensors[name], value) for name, value in restored.tensors.items())
    assert torch.equal(after.tensors["state.recurrent.h"][1], kept["state.recurrent.h"][1])
    # a row that is reset is one that begins, and the others do not notice
    _, _, reset = run(rule, network, again, middle.reset(torch.tensor([True, False, False])))
    _, _, fresh = run(rule, network, again)
    for name, value in reset.tensors.items():
        torch.testing.assert_close(value[0], fresh.tensors[name][0], rtol=1e-12, atol=1e-12, msg=name)
        torch.testing.assert_close(value[1:], after.tensors[name][1:], rtol=1e-12, atol=1e-12, msg=name)


# at the door


@pytest.mark.parametrize("name", ["bidirectional", "mean", "both ends", "no stack", "nothing recurrent"])
def test_networks_that_look_elsewhere_in_time_are_refused(name):
    network, words = {
        "bidirectional": (nn.Stack([nn.GRU(3, 2, bidirectional=True)]), "future is not there yet"),
        "mean": (nn.Stack([nn.GRU(3, 2), nn.Mean()]), "looks at other steps"),
        "both ends": (nn.Stack([nn.GRU(3, 2), nn.Last(both_ends=True)]), "reads both ends"),
        "no stack": (torch.nn.Linear(3, 2), "network is a Linear"),
        "nothing recurrent": (nn.Stack([nn.Dense(3, 2)]), "has none"),
    }[name]
    with pytest.raises(OptionError, match=words):
        RTRL().start(network, 2)
    with pytest.raises(OptionError, match=words):
        RTRL().gradient(network, SQUARED, batch_of(), RuleState())


def test_influence_that_does_not_fit_is_refused_before_it_is_allocated(monkeypatch):
    """A million sequences, 8 states and 128 parameters: before and after a chunk, and once more."""
    network = of_cell(LSTM(3, 4))
    B = 10**6
    exact, short = (3 * B * rows * 128 * 8 / 2**30 for rows in (8, 2))
    with pytest.raises(OptionError) as caught:
        RTRL(memory_limit=1.0).start(network, B)
    assert f"needs {exact:.3g} GiB" in caught.value.message
    assert "more than memory_limit, 1 GiB" in caught.value.message
    assert f"approximation='snap1') needs {short:.3g} GiB" in caught.value.hint
    monkeypatch.setattr(rtrl, "free_memory", lambda device: 4096)
    with pytest.raises(OptionError, match=r"more than half of what is free, 1\.91e-06 GiB"):
        RTRL().start(network, 2)
    monkeypatch.setattr(rtrl, "free_memory", lambda device: None)
    assert RTRL().start(network, 2).tensors["influence.recurrent_l0"].shape == (2, 8, 128)


def test_free_memory_is_told():
    free = memory.free_memory(torch.device("cpu"))
    assert free is not None
    assert 2**20 < free < 2**50
    assert memory.free_memory(torch.device("meta")) is None


def test_options_and_states_that_do_not_fit_are_told():
    with pytest.raises(OptionError, match="did you mean 'snap1'"):
        RTRL("snap")
    with pytest.raises(ValueRangeError, match="every"):
        RTRL(every=0)
    with pytest.raises(ValueRangeError, match="memory_limit"):
        RTRL(memory_limit=-1.0)
    network, batch = of_cell(GRU(3, 4)), batch_of()
    with pytest.raises(UsageError, match="without tensors"):
        run(RTRL(), network, batch, RuleState())
    with pytest.raises(ShapeError, match="5 sequences but the state is of 4"):
        run(RTRL(), network, batch, RTRL().start(network, 4))
    with pytest.raises(
        UsageError, match=r"influence.recurrent_l0 is \(5, 1, 100\) but must be \(5, 4, 100\)"
    ):
        run(RTRL(), network, batch, RTRL("snap1").start(network, 5))
    with pytest.raises(ShapeError, match="x has 4 features a step but recurrent_l0 was built for 3"):
        run(RTRL(), network, batch_of(features=4), RTRL().start(network, 5))


def test_single_precision_is_as_close_as_it_can_be():
    """A sum of some hundred products in float32: 1e-5 of the largest entry."""
    network = of_cell(LSTM(3, 4), layers=2, learn=True).float()
    batch = batch_of()
    batch = replace(
        batch,
        inputs=batch.inputs.to(dtype=torch.float32),
        targets=batch.targets.float(),
        weights=batch.weights.float(),
    )
    _, theirs, _ = run(BPTT(), network, batch)
    _, ours, _ = run(RTRL(), network, batch)
    assert all(g.dtype == torch.float32 for g in ours.values())
    assert difference(ours, theirs) < 1e-5


def test_steps_without_targets_move_the_state_alone():
    """What they do to the influence shows when the targets come."""
    network, batch = of_cell(GRU(3, 4)), batch_of((8, 5, 8))
    late = replace(batch, mask=batch.mask & (batch.inputs.row_step >= 4)[:, None])
    rule = RTRL(every=4)
    first, second = rule.chunks(late)
    losses, gradients, state = run(rule, network, first)
    assert losses.tolist() == [0, 0, 0]
    assert not any(g.any() for g in gradients.values())
    _, ours, _ = run(rule, network, second, state)
    _, theirs, _ = run(BPTT(), network, late)
    assert difference(ours, theirs) < 1e-9


def test_sequences_without_steps():
    batch = batch_of((0, 0), per_step=False)
    for learn in (False, True):
        network = of_cell(LSTM(3, 4), last=True, learn=learn)
        losses, gradients, state = run(RTRL(), network, batch)
        expected, theirs, _ = run(BPTT(), network, batch)
        torch.testing.assert_close(losses, expected)
        for parameter, g in theirs.items():
            torch.testing.assert_close(gradients.get(parameter, torch.zeros_like(g)), g)
        assert not state.tensors["steps"].any()
    losses, gradients, _ = run(RTRL(), of_cell(LSTM(3, 4)), batch_of((0, 0)))
    assert losses.tolist() == [0, 0]
    assert not any(g.any() for g in gradients.values())


# in the trainer


def trained(rule):
    source = generator(4)
    X = [torch.randn(T, 3, generator=source, dtype=F64) for T in (12, 9, 12, 5)]
    y = [torch.tanh(x.cumsum(0)[:, :2] / 3) for x in X]
    network = of_cell(GRU(3, 6))
    trainer = learning.Trainer(
        training=learning.Training(rule=rule), lr=0.02, max_epochs=8, batch_size=2, patience=None
    )
    record = trainer.fit(network, "squared", learning.RaggedSource(X, y))
    return network, [epoch.loss for epoch in record.epochs]


def test_a_trainer_comes_to_the_same_weights_by_either_rule():
    """Adam enlarges what rounding there is; 1e-6 is far below any change that training makes."""
    ours, losses = trained(RTRL())
    theirs, expected = trained(BPTT())
    assert losses == pytest.approx(expected, rel=1e-6)
    for one, other in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("approximation", ["exact", "snap1", "eprop"])
def test_a_trainer_learns_while_the_sequences_run(approximation):
    _, losses = trained(RTRL(approximation, every=1))
    assert losses[-1] < 0.5 * losses[0]
