"""Truncated BPTT: against an explicit unrolled sum, against BPTT, over ragged chunks, saved and resumed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saiki import learning as L
from saiki.core.errors import OptionError, ShapeError, UsageError
from saiki.core.ragged import Ragged
from saiki.learning.carried import answers
from saiki.learning.truncated import TruncatedBPTT
from saiki.losses import get_loss
from saiki.nn import (
    AttentionPoolConfig,
    DenseConfig,
    DropoutConfig,
    EmbeddingConfig,
    GRUConfig,
    JordanConfig,
    LastConfig,
    LSTMConfig,
    MeanConfig,
    RNNConfig,
    SegmentConfig,
    Stack,
)

F64 = torch.float64
LENGTHS = (11, 0, 4, 7, 11, 1)
SQUARED = get_loss("squared")


def stack(configs, seed=0, pooled=False, inputs=3, outputs=2):
    """A network with nothing at zero, in float64."""
    network = Stack.build(
        [*configs, *([LastConfig()] if pooled else [])],
        inputs,
        outputs,
        generator=torch.Generator().manual_seed(seed),
        dtype=F64,
    )
    source = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=source, dtype=F64)
    return network


def batch_of(lengths=LENGTHS, seed=3, per_step=True, masked=False, weighted=False):
    source = torch.Generator().manual_seed(seed)
    X = Ragged.from_list([torch.randn(T, 3, generator=source, dtype=F64) for T in lengths])
    rows = X.N if per_step else X.B
    targets = torch.randn(rows, 2, generator=source, dtype=F64)
    mask = torch.rand(rows, 2, generator=source) < 0.7 if masked else None
    weights = torch.rand(X.B, generator=source, dtype=F64) + 0.5 if weighted else None
    return L.Batch(X, targets, mask, weights, per_step)


def assert_same(got, want, rtol=1e-9):
    assert set(got) == set(want)
    for name in want:
        torch.testing.assert_close(
            got[name], want[name], rtol=rtol, atol=1e-12, msg=lambda m, name=name: f"{name}: {m}"
        )


def unrolled(network, batch, window, stride):
    """∂/∂θ of the mean loss with an Elman layer and a head written out step by step, cut where it must be."""
    p = dict(network.named_parameters())
    W, R, b = (p[f"layers.rnn.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias"))
    V, c = p["layers.head.weight"], p["layers.head.bias"]

    def step(x, h):
        return torch.tanh(W @ x + R @ h + b)

    total = 0.0
    for x, y in zip(batch.inputs.to_list(), batch.inputs.with_data(batch.targets).to_list()):
        h, before = torch.zeros(R.shape[1], dtype=F64), []
        for row in x:
            before.append(h.detach())
            h = step(row, h)
        for first in range(0, len(x), stride):
            start = max(first - (window - stride), 0)
            h = before[start] if start < len(before) else None
            for t in range(start, min(first + stride, len(x))):
                h = step(x[t], h)
                if t >= first:
                    total = total + (V @ h + c - y[t]).square().mean()
    value = total / batch.inputs.N
    return dict(zip(p, torch.autograd.grad(value, list(p.values()))))


# -------------------------------------------------------------------- is it true?


@pytest.mark.parametrize(
    ("window", "stride"), [(1, 1), (3, 3), (3, 1), (4, 3), (5, 2), (7, 1), (11, 5), (12, 12)]
)
def test_the_gradient_is_the_unrolled_sum_cut_after_the_window(window, stride):
    network = stack([("rnn", RNNConfig(hidden_size=5))])
    batch = batch_of()
    rule = TruncatedBPTT(window, stride)
    losses, got, _ = rule.gradient(network, SQUARED, batch, rule.start(network, batch.B))
    assert_same(got, unrolled(network, batch, window, stride))
    whole, _, _ = L.BPTT().gradient(network, SQUARED, batch, L.RuleState())
    torch.testing.assert_close(losses, whole, rtol=1e-12, atol=0)


def test_a_window_that_is_cut_does_not_give_the_whole_gradient():
    network, batch = stack([("rnn", RNNConfig(hidden_size=5))]), batch_of()
    rule = TruncatedBPTT(3)
    _, cut, _ = rule.gradient(network, SQUARED, batch, rule.start(network, batch.B))
    _, whole, _ = L.BPTT().gradient(network, SQUARED, batch, L.RuleState())
    worst = max(float((cut[n] - whole[n]).abs().max() / whole[n].abs().max()) for n in whole)
    assert worst > 0.01
    assert_same({n: cut[n] for n in cut if "head" in n}, {n: whole[n] for n in whole if "head" in n})


# -------------------------------------------------------------------- reduces to BPTT

CELLS = {
    "elman": [RNNConfig(hidden_size=4)],
    "jordan": [JordanConfig(hidden_size=4)],
    "lstm with peepholes, two deep": [LSTMConfig(hidden_size=4, num_layers=2, peepholes=True)],
    "gru behind dense": [
        DenseConfig(size=5),
        GRUConfig(hidden_size=4, reset="before"),
        RNNConfig(hidden_size=3),
    ],
    "learned start": [LSTMConfig(hidden_size=4, learn_initial_state=True)],
}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("window", "stride"), [(11, None), (21, 10), (12, 1)])
@pytest.mark.parametrize("odd", [False, True], ids=["plain", "masked and weighted"])
def test_a_window_over_everything_gives_the_gradient_of_bptt(cell, window, stride, odd):
    network, batch = stack(CELLS[cell]), batch_of(masked=odd, weighted=odd)
    rule = TruncatedBPTT(window, stride)
    losses, got, _ = rule.gradient(network, SQUARED, batch, rule.start(network, batch.B))
    told, want, _ = L.BPTT().gradient(network, SQUARED, batch, L.RuleState())
    assert_same(got, want)
    torch.testing.assert_close(losses, told)


def test_one_window_over_everything_is_bptt_bit_for_bit():
    network, batch = stack([LSTMConfig(hidden_size=4)]), batch_of()
    rule = TruncatedBPTT(11)
    _, got, _ = rule.gradient(network, SQUARED, batch, rule.start(network, batch.B))
    _, want, _ = L.BPTT().gradient(network, SQUARED, batch, L.RuleState())
    assert all(torch.equal(got[name], want[name]) for name in want)


@pytest.mark.parametrize("cell", CELLS)
def test_targets_once_a_sequence_reach_through_the_last_window(cell):
    network, batch = stack(CELLS[cell], pooled=True), batch_of(per_step=False)
    _, want, _ = L.BPTT().gradient(network, SQUARED, batch, L.RuleState())
    rule = TruncatedBPTT(11)
    losses, got, after = rule.gradient(network, SQUARED, batch, rule.start(network, batch.B))
    assert_same(got, want)
    assert int(after.tensors["steps"].sum()) == 0  # the sequences are over
    short = TruncatedBPTT(4)
    assert short.chunks(batch) == (batch,)
    told, cut, _ = short.gradient(network, SQUARED, batch, short.start(network, batch.B))
    torch.testing.assert_close(told, losses)
    # by hand: everything before the last four steps is another sequence's end, held constant
    X = batch.inputs
    with torch.no_grad():
        _, state = network.run(X.between(0, (X.lengths - 4).clamp(min=0)))
    if "learned" in cell:
        return  # there the start is a parameter; the case above and below cover it
    out, _ = network.run(X.between((X.lengths - 4).clamp(min=0)), state)
    value = SQUARED(out, batch.targets).mean()
    params = dict(network.named_parameters())
    found = torch.autograd.grad(value, list(params.values()))
    assert_same(cut, dict(zip(params, found)))


def test_a_learned_start_is_learned_by_sequences_inside_the_window_alone():
    network = stack(CELLS["learned start"], pooled=True)
    batch = batch_of((3, 9), per_step=False)
    rule = TruncatedBPTT(4)
    _, got, _ = rule.gradient(network, SQUARED, batch, rule.start(network, 2))
    alone = L.Batch(batch.inputs.select([0]), batch.targets[:1])
    _, want, _ = L.BPTT().gradient(network, SQUARED, alone, L.RuleState())
    assert_same({"h0": 2 * got["layers.lstm.h0_l0"]}, {"h0": want["layers.lstm.h0_l0"]})


# -------------------------------------------------------------------- do the ways agree?


def cut_at(batch, places):
    """The batch in chunks that end at these steps."""
    X, ends = batch.inputs, [*places, batch.inputs.T]
    for start, stop in zip([0, *places], ends):
        yield L.Batch(
            X.between(start, stop),
            X.with_data(batch.targets).between(start, stop).data,
            None if batch.mask is None else X.with_data(batch.mask).between(start, stop).data,
            batch.weights,
            True,
        )


def summed(rule, network, batch, places):
    """The gradient of the whole, put together from chunks that were given one by one."""
    state, total = rule.start(network, batch.B), {}
    whole = float(L.rules.sequence_weights(batch).sum())
    for chunk in cut_at(batch, places):
        _, found, state = rule.gradient(network, SQUARED, chunk, state)
        share = float(L.rules.sequence_weights(chunk).sum()) / whole
        for name, g in found.items():
            total[name] = total.get(name, 0) + share * g
    return total, state


@pytest.mark.parametrize("places", [(5,), (5, 5, 10), (10,), range(5, 11, 5)])
def test_chunks_of_whole_strides_give_the_same_gradient_as_one(places):
    network, batch = stack(CELLS["lstm with peepholes, two deep"]), batch_of(masked=True, weighted=True)
    rule = TruncatedBPTT(8, 5)
    whole, after = summed(rule, network, batch, ())
    parts, after_parts = summed(rule, network, batch, places)
    assert_same(parts, whole)
    assert_same(after_parts.tensors, after.tensors)


def test_rows_one_at_a_time_under_stride_one():
    network, batch = stack(CELLS["gru behind dense"]), batch_of(masked=True)
    rule = TruncatedBPTT(6, 1)
    whole, after = summed(rule, network, batch, ())
    rows, after_rows = summed(rule, network, batch, range(1, 11))
    assert_same(rows, whole)
    assert_same(after_rows.tensors, after.tensors)


@pytest.mark.parametrize(("window", "stride"), [(4, None), (5, 2)])
def test_a_sequence_does_not_depend_on_its_batch_mates(window, stride):
    network, batch = stack(CELLS["lstm with peepholes, two deep"]), batch_of()
    rule = TruncatedBPTT(window, stride)
    _, together, state = rule.gradient(network, SQUARED, batch, rule.start(network, batch.B))
    total, states = {}, []
    for b, T in enumerate(LENGTHS):
        alone = L.Batch(
            batch.inputs.select([b]), batch.inputs.with_data(batch.targets).select([b]).data, per_step=True
        )
        _, found, after = rule.gradient(network, SQUARED, alone, rule.start(network, 1))
        for name, g in found.items():
            total[name] = total.get(name, 0) + g * T / batch.inputs.N
        states.append(after.tensors)
    assert_same(total, together)
    for name in (n for n in state.tensors if n.startswith("state.")):
        torch.testing.assert_close(torch.cat([s[name] for s in states]), state.tensors[name])


def test_sequences_in_the_order_of_a_packed_sequence():
    """A PackedSequence may order sequences of one length as it likes."""
    network, batch = stack(CELLS["elman"]), batch_of((4, 4, 2))
    X = batch.inputs
    swapped = Ragged.from_packed(
        torch.nn.utils.rnn.PackedSequence(
            X.select([1, 0, 2]).data, X.batch_sizes, torch.tensor([1, 0, 2]), torch.tensor([1, 0, 2])
        )
    )
    other = L.Batch(swapped, X.with_data(batch.targets).select([1, 0, 2]).data, per_step=True)
    assert [torch.equal(a, b) for a, b in zip(swapped.to_list(), X.to_list())] == [True] * 3
    rule = TruncatedBPTT(3, 2)
    one = rule.gradient(network, SQUARED, batch, rule.start(network, 3))
    two = rule.gradient(network, SQUARED, other, rule.start(network, 3))
    assert_same(two[1], one[1])
    torch.testing.assert_close(two[0], one[0])


def test_the_trainer_gives_each_row_once_whatever_the_window():
    batch = batch_of()
    for window, stride in ((3, None), (5, 2), (40, None)):
        chunks = list(TruncatedBPTT(window, stride).chunks(batch))
        assert len(chunks) == TruncatedBPTT(window, stride).updates(11)
        again = chunks[0].inputs
        targets = chunks[0].inputs.with_data(chunks[0].targets)
        for chunk in chunks[1:]:
            targets = targets.followed_by(chunk.inputs.with_data(chunk.targets))
            again = again.followed_by(chunk.inputs)
        assert torch.equal(again.data, batch.inputs.data)
        assert torch.equal(targets.data, batch.targets)


# -------------------------------------------------------------------- the state


@pytest.mark.parametrize(("window", "stride"), [(4, None), (6, 2)])
def test_the_state_saved_and_restored_goes_on_bit_for_bit(window, stride):
    network, rule = stack(CELLS["lstm with peepholes, two deep"]), TruncatedBPTT(window, stride)
    first, second = cut_at(batch_of(), (4,))
    _, _, state = rule.gradient(network, SQUARED, first, rule.start(network, first.B))
    stored = state.to_tensors()
    again = L.RuleState.from_tensors(stored)
    _, here, after = rule.gradient(network, SQUARED, second, state)
    _, there, after_again = rule.gradient(network, SQUARED, second, again)
    assert all(torch.equal(here[name], there[name]) for name in here)
    assert all(torch.equal(after.tensors[name], after_again.tensors[name]) for name in after.tensors)
    assert all(
        torch.equal(state.tensors[name], stored[name]) for name in stored
    )  # a call writes into nothing


@pytest.mark.parametrize("cell", ["elman", "learned start"])
def test_a_row_reset_begins_anew_and_the_others_go_on(cell):
    network, rule = stack(CELLS[cell]), TruncatedBPTT(6, 2)
    first, second = cut_at(batch_of((8, 8)), (4,))
    _, _, state = rule.gradient(network, SQUARED, first, rule.start(network, 2))
    reset = state.reset(torch.tensor([True, False]))
    fresh, carried = (
        rule.gradient(
            network,
            SQUARED,
            L.Batch(
                second.inputs.select([b]),
                second.inputs.with_data(second.targets).select([b]).data,
                per_step=True,
            ),
            start,
        )[1]
        for b, start in (
            (0, rule.start(network, 1)),
            (1, L.RuleState({name: value[1:] for name, value in state.tensors.items()})),
        )
    )
    _, got, _ = rule.gradient(network, SQUARED, second, reset)
    assert_same(got, {name: (fresh[name] + carried.get(name, 0)) / 2 for name in fresh})


def test_answers_are_what_the_next_gradient_compares():
    network, rule = stack(CELLS["lstm with peepholes, two deep"]), TruncatedBPTT(6, 2)
    batch = batch_of()
    first, second = cut_at(batch, (5,))
    _, _, state = rule.gradient(network, SQUARED, first, rule.start(network, first.B))
    said = answers(network, second.inputs, state)
    losses = second.inputs.sequence_sum(SQUARED(said.data, second.targets)) / second.inputs.lengths.clamp(
        min=1
    )
    told, _, _ = rule.gradient(network, SQUARED, second, state)
    torch.testing.assert_close(losses, told)
    whole = network(batch.inputs).between(5)
    torch.testing.assert_close(said.data, whole.data)


def test_memory_holds_a_window_and_no_more():
    network = stack(CELLS["elman"])
    rule = TruncatedBPTT(5, 2)
    _, _, state = rule.gradient(network, SQUARED, batch_of((50, 9)), rule.start(network, 2))
    assert state.tensors["inputs"].shape == (2, 3, 3)
    assert state.tensors["steps"].tolist() == [50, 9]
    assert not any(value.requires_grad for value in state.tensors.values())


def test_token_ids_are_remembered_as_ids():
    network = Stack.build(
        [EmbeddingConfig(num_embeddings=5, size=3), RNNConfig(hidden_size=4)],
        1,
        2,
        generator=torch.Generator().manual_seed(0),
        dtype=F64,
    )
    ids = Ragged.from_list([torch.tensor([1, 2, 0, 4, 3, 1]), torch.tensor([3])])
    batch = L.Batch(ids, torch.ones(7, 2, dtype=F64), per_step=True)
    rule = TruncatedBPTT(20, 2)
    _, got, state = rule.gradient(network, SQUARED, batch, rule.start(network, 2))
    _, want, _ = L.BPTT().gradient(network, SQUARED, batch, L.RuleState())
    assert_same(got, want)
    assert state.tensors["inputs"].dtype == torch.int64


# -------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("configs", "says"),
    [
        (
            [LSTMConfig(hidden_size=3, bidirectional=True)],
            "layer 'lstm' is bidirectional.*future is not there yet",
        ),
        ([RNNConfig(hidden_size=3), MeanConfig()], r"layer 'mean' \(Mean\) looks at other steps"),
        ([RNNConfig(hidden_size=3), AttentionPoolConfig()], "AttentionPool.*looks at other steps"),
        ([SegmentConfig(length=2), RNNConfig(hidden_size=3)], r"\(Segment\) looks at other steps"),
        ([DenseConfig(size=2)], "this network has none"),
    ],
)
def test_networks_that_cannot_be_read_chunk_by_chunk(configs, says):
    network = stack(configs)
    with pytest.raises(OptionError, match=says) as caught:
        TruncatedBPTT(3).start(network, 1)
    assert "bptt" in caught.value.hint


def test_a_network_of_the_users_own():
    with pytest.raises(OptionError, match=r"state of a saiki\.nn\.Stack.*network is a Linear"):
        TruncatedBPTT(3).start(torch.nn.Linear(2, 2), 1)


def test_states_of_other_sequences():
    network, batch, rule = stack(CELLS["elman"]), batch_of(), TruncatedBPTT(3)
    with pytest.raises(ShapeError, match="6 sequences but the state is of 2"):
        rule.gradient(network, SQUARED, batch, rule.start(network, 2))
    with pytest.raises(UsageError, match="state without tensors"):
        rule.gradient(network, SQUARED, batch, L.RuleState())
    with pytest.raises(ShapeError, match=r"state.rnn.h is \(6, 4\) but must be \(B, 5\)"):
        rule.gradient(stack([RNNConfig(hidden_size=5)]), SQUARED, batch, rule.start(network, 6))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"window": 3, "stride": 4}, "stride is 4 but must be at most window=3"),
        ({"window": 0}, "window is 0"),
        ({"window": 3, "stride": 0}, "stride is 0"),
    ],
)
def test_windows_that_make_no_sense(options, says):
    with pytest.raises((OptionError, ValueError), match=says):
        TruncatedBPTT(**options)


# -------------------------------------------------------------------- in the trainer


def test_the_trainer_learns_a_delay_with_an_update_every_stride():
    source = np.random.default_rng(0)
    X = [torch.from_numpy(source.normal(size=(40 + k, 3))) for k in range(6)]
    Y = [torch.cat([torch.zeros(1, 2, dtype=F64), x[:-1, :2]]) for x in X]  # y_t is the input one step before
    training = L.Training(rule=TruncatedBPTT(8, 4))
    record = L.Trainer(training=training, lr=0.02, max_epochs=12, batch_size=3, patience=None).fit(
        stack([GRUConfig(hidden_size=8)]), "squared", L.RaggedSource(X, Y)
    )
    assert record.epochs[-1].loss < 0.3 < 0.9 < record.epochs[0].loss
    assert record.epochs[0].updates == sum(training.rule.updates(n) for n in (45, 42))


class Stop(L.Observer):
    """Ctrl-C after so many updates."""

    def __init__(self, at):
        self.at = at

    def on_update(self, event):
        if event.update == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", [2, 4, 5])
def test_a_run_killed_inside_a_batch_goes_on_bit_for_bit(tmp_path, at):
    """Four chunks a batch: the state that is carried is in the checkpoint."""
    source = torch.Generator().manual_seed(0)
    X = [torch.randn(T, 3, generator=source, dtype=F64) for T in (8, 7, 8, 5)]
    data = L.RaggedSource(X, [x[:, :2].cumsum(0) for x in X])

    def run(folder, **more):
        network = stack([LSTMConfig(hidden_size=3), DropoutConfig(p=0.2)])
        trainer = L.Trainer(
            training=L.Training(rule=TruncatedBPTT(4, 2)), max_epochs=2, batch_size=2, patience=None
        )
        record = trainer.fit(network, "squared", data, checkpoint=folder, **more)
        return record, network.state_dict()

    record, straight = run(tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", observers=[Stop(at)])
    again, resumed = run(tmp_path / "killed", resume=True)
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert again.updates == record.updates and len(record.updates) == 16


def test_the_trainer_counts_one_update_a_batch_for_targets_once_a_sequence():
    X = [torch.randn(T, 3, dtype=F64) for T in (12, 9, 4, 2)]
    data = L.RaggedSource(X, torch.zeros(4, 2, dtype=F64))
    told = []

    class Told(L.Observer):
        def on_start(self, event):
            told.append(event.updates)

    trainer = L.Trainer(training=L.Training(rule=TruncatedBPTT(3)), max_epochs=2, batch_size=2, patience=None)
    record = trainer.fit(stack(CELLS["elman"], pooled=True), "squared", data, observers=[Told()])
    assert told == [4] and len(record.updates) == 4


# -------------------------------------------------------------------- by name


@pytest.mark.parametrize(
    "given",
    [
        TruncatedBPTT(50),
        {"type": "truncated_bptt", "window": 50},
        {"type": "truncated_bptt", "window": 50, "stride": None},
    ],
)
def test_the_rule_by_name(given):
    training = L.Training(rule=given)
    assert training.checked().rule == TruncatedBPTT(50)
    stored = training.to_mapping()
    assert stored["rule"] == {"type": "truncated_bptt", "window": 50, "stride": None}
    assert L.Training.from_mapping(stored).rule == TruncatedBPTT(50)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("truncated_bptt", "the learning rule 'truncated_bptt' needs 'window'"),
        ("truncated", "did you mean 'truncated_bptt'"),
        ({"type": "truncated_bptt", "windw": 5}, "did you mean 'window'"),
        ({"window": 5}, "has no 'type'"),
        (5, "rule is 5 but must be a name or a learning rule"),
    ],
)
def test_rules_that_are_none(given, says):
    with pytest.raises(OptionError, match=says):
        L.get_rule(given)
