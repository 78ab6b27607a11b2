"""The doctor: each rule on networks built to be ill in that way, and silent on sound ones."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from saiki import learning as L
from saiki.core.errors import OptionError
from saiki.core.record import EpochRecord, FitRecord
from saiki.insight import findings as rules
from saiki.insight.doctor import examine, verdict
from saiki.nn import DenseConfig, GRUConfig, JordanConfig, LastConfig, LSTMConfig, RNNConfig, Stack

H = 8


def network(config, *, seed=0, features=3):
    layers = [("cell", config), LastConfig()]
    return Stack.build(layers, features, 1, generator=torch.Generator().manual_seed(seed))


def changed(stack, **changes):
    """The network with a parameter of its recurrent layer changed in place: name -> function of it."""
    with torch.no_grad():
        for name, change in changes.items():
            change(stack.get_parameter(f"layers.cell.{name}_l0"))
    return stack


@pytest.fixture(scope="module")
def sequences():
    source = torch.Generator().manual_seed(0)
    return [torch.randn(60, 3, generator=source) for _ in range(5)]


def said(diagnosis, severity="ill"):
    return [f.rule for f in diagnosis.findings if f.severity == severity]


# ---------------------------------------------------------------------------------- networks built to be ill


def test_a_small_R_vanishes_and_the_reach_is_what_was_measured(sequences):
    stack = changed(network(RNNConfig(hidden_size=H)), weight_hh=lambda R: R.mul_(0.3))
    found = examine(stack, sequences)
    assert said(found) == ["vanishing"] and found.verdict() == "The gradient vanishes."
    (finding,) = found.ill
    assert finding.numbers["reach"] == found.reach.layers[0].reach == 6
    assert finding.numbers["bound"] == pytest.approx(0.3, rel=1e-5)
    assert finding.sentence.startswith(
        "In cell the gradient is down to a thousandth after 6 steps; your context is 60."
    )
    assert "orthogonal R" in finding.advice and "LSTM with forget bias 1" in finding.advice


def test_a_large_R_under_relu_explodes(sequences):
    stack = changed(network(RNNConfig(hidden_size=H, activation="relu")), weight_hh=lambda R: R.mul_(2))
    found = examine(stack, sequences)
    assert "exploding" in said(found) and not found.of("vanishing")
    (finding,) = found.of("exploding")
    growth = found.reach.layers[0].state.median.max()
    assert finding.numbers["growth"] == pytest.approx(growth) and growth > 1e4
    assert finding.numbers["lyapunov"] > 0 and "% a step" in finding.sentence


def test_inputs_too_large_saturate(sequences):
    stack = changed(network(RNNConfig(hidden_size=H)), weight_ih=lambda W: W.mul_(50))
    found = examine(stack, sequences)
    assert "saturated" in said(found)
    (finding,) = found.of("saturated")
    assert finding.numbers["share"] > 0.9 and "the hidden state is saturated at 9" in finding.sentence
    assert "softsign" in finding.advice


def test_the_candidate_of_an_lstm_saturates_too(sequences):
    stack = changed(network(LSTMConfig(hidden_size=H)), bias=lambda b: b[2 * H : 3 * H].fill_(9.0))
    (finding,) = examine(stack, sequences).of("saturated")[:1]
    assert "the candidate g is saturated at 100 %" in finding.sentence


def test_units_that_do_not_move_are_dead(sequences):
    stack = network(RNNConfig(hidden_size=H, activation="relu"))
    found = examine(changed(stack, bias=lambda b: b[:5].fill_(-50.0)), sequences)
    (finding,) = found.of("dead")
    assert (finding.severity, finding.numbers) == ("ill", {"units": 5.0, "of": 8.0})
    assert "5 of 8 units are dead" in finding.sentence and "relu" in finding.advice


def test_a_gate_that_never_opens(sequences):
    stack = changed(network(LSTMConfig(hidden_size=H)), bias=lambda b: b[:H].fill_(-8.0))
    (finding,) = examine(stack, sequences).of("shut")
    assert "the input gate is shut at 100 % of all steps: nothing is written" in finding.sentence


@pytest.mark.parametrize(
    ("config", "change"),
    [
        (LSTMConfig(hidden_size=H), {}),
        (LSTMConfig(hidden_size=H), {"bias": lambda b: b[H : 2 * H].fill_(4.0)}),
        (GRUConfig(hidden_size=H), {"bias": lambda b: b[H : 2 * H].fill_(3.0)}),
    ],
    ids=["lstm", "lstm that keeps", "gru that keeps"],
)
def test_a_sound_network_is_told_so(config, change, sequences):
    found = examine(changed(network(config), **change), sequences)
    assert not found.ill and found.verdict() == "Nothing stands out."
    assert [f.rule for f in found.findings] == ["vanishing"] and found.findings[0].severity == "well"


def sums():
    """The sum over the first steps: a task that a small network learns in a second."""
    source = torch.Generator().manual_seed(0)
    X = torch.rand(100, 15, 1, generator=source)
    y = X[:, :8].sum(1) - 4
    return L.RaggedSource(list(X[:80]), y[:80]), L.RaggedSource(list(X[80:]), y[80:])


@pytest.fixture(scope="module")
def fits():
    """The same network trained at a good rate, at ten times it, and at a thousandth."""
    train, validation = sums()
    records = {}
    for lr in (1e-5, 1e-2, 1e-1):
        stack = network(RNNConfig(hidden_size=H), seed=1, features=1)
        records[lr] = L.Trainer(lr=lr, max_epochs=12, batch_size=16, patience=None).fit(
            stack, "squared", train, validation
        )
    return records


def test_a_rate_ten_times_too_high_is_seen(fits):
    found = examine(record=fits[1e-1], lr=1e-1, optimizer="adam")
    (finding,) = found.of("rate_high")
    assert finding.severity == "ill" and "The learning rate is too high" in found.verdict()
    assert finding.sentence.startswith("The learning rate 0.1 is too high: one early update replaced ")
    assert "try 0.01" in finding.advice and finding.numbers["early_ratio"] > rules.RATE_HIGH


def test_a_good_rate_is_not(fits):
    found = examine(record=fits[1e-2], lr=1e-2, optimizer="adam")
    assert not found.of("rate_high") and not found.of("rate_low")


def test_a_rate_a_thousand_times_too_low_is_seen(fits):
    (finding,) = examine(record=fits[1e-5], lr=1e-5).of("rate_low")
    assert finding.severity == "ill" and "the last epoch was still the best" in finding.sentence


def test_more_parameters_than_data():
    source = torch.Generator().manual_seed(0)
    train = L.RaggedSource(
        [torch.randn(5, 3, generator=source) for _ in range(9)], torch.randn(9, 1, generator=source)
    )
    stack = network(LSTMConfig(hidden_size=H))
    record = L.Trainer(max_epochs=1, patience=None).fit(stack, "squared", train)
    found = examine(record=record)
    (finding,) = found.of("parameters")
    assert finding.severity == "ill" and found.verdict() == "There are more parameters than data."
    assert finding.numbers["parameters"] == sum(p.numel() for p in stack.parameters())
    assert finding.sentence.startswith("393 parameters for 9 training values: more parameters than data")


# ------------------------------------------------------------------------------- the rules, on plain numbers


def test_vanishing_by_hand():
    k = np.arange(101)
    ill = rules.vanishing(k, 0.6**k, 100)  # 0.6^14 = 7.8e-4 < 1e-3 < 0.6^13
    assert (ill.severity, ill.numbers["reach"]) == ("ill", 14.0)
    well = rules.vanishing(k, 0.9**k, 100)  # 0.9^66 = 9.6e-4
    assert (well.severity, well.numbers["reach"], well.advice) == ("well", 66.0, "")
    kept = rules.vanishing(k, np.ones(101), 100)
    assert kept.severity == "well" and kept.numbers["reach"] is None
    assert rules.vanishing(k[:5], 0.1 ** k[:5], 5) is None  # nobody asks for more than five steps
    lost = rules.vanishing(k, np.where(k == 0, 1.0, 0.0), 100)
    assert lost.numbers["reach"] == 1.0


def test_exploding_by_hand():
    k = np.arange(50)
    assert rules.exploding(k, 1.05**k) is None  # 1.05^49 = 10.9
    found = rules.exploding(k, 1.2**k, lyapunov=math.log(1.2))
    assert found.numbers["growth"] == pytest.approx(1.2**49) and "20 % a step" in found.sentence
    endless = rules.exploding(k, np.where(k > 40, np.inf, 10.0**k))
    assert endless.numbers["growth"] is None and "beyond all bounds" in endless.sentence
    json.dumps(endless.to_json(), allow_nan=False)


def test_rates_by_hand():
    falling, jumpy = [1, 0.5, 0.3, 0.2, 0.15], [1, 0.5, 0.8, 0.4, 0.7]
    assert rules.rate_high(0.01, first=1, last=0.1, epochs=falling) is None
    assert rules.rate_high(0.05, first=1, last=0.1, epochs=falling).severity == "watch"
    assert rules.rate_high(0.05, first=1, last=0.7, epochs=jumpy).severity == "ill"
    assert rules.rate_high(0.01, first=1, last=0.7, epochs=jumpy) is None  # noise of a loss that has settled
    worse = rules.rate_high(math.nan, first=1, last=3)
    assert worse.severity == "ill" and "ended at 3 after starting at 1" in worse.sentence
    assert rules.rate_high(0.01, first=-5, last=-4.5, epochs=falling) is None  # a log-likelihood has any sign
    assert "jumped 3 times" in rules.rate_high(0.01, spikes=3).sentence
    assert rules.rate_low(1e-6, [3, 2, 1]).severity == "ill"
    assert rules.rate_low(1e-6, [3, 1, 2]) is None and rules.rate_low(1e-3, [3, 2, 1]) is None


def test_a_loss_that_ends_higher_is_told_from_noise():
    rng = np.random.default_rng(0)
    noisy = FitRecord(updates=[(k + 1, float(rng.chisquare(1)), 1.0) for k in range(200)])
    noisy.updates[0] = (1, 0.001, 1.0)  # the first row of a stream that happened to be easy
    assert not examine(record=noisy).of("rate_high")
    grown = FitRecord(updates=[(k + 1, 1 + 0.1 * k + rng.random(), 1.0) for k in range(200)])
    (finding,) = examine(record=grown).of("rate_high")
    assert finding.severity == "ill" and "the loss ended at" in finding.sentence
    assert not examine(record=FitRecord(updates=[(k + 1, 1.0 + k, 1.0) for k in range(8)])).of("rate_high")


def test_clipping_by_hand():
    assert rules.clipping(0.4, 1.0, [1.0, 2.0]) is None
    plain = rules.clipping(0.9, 1.0, [4.0, 5.0, 6.0])
    assert plain.severity == "watch" and "90 % of the updates" in plain.sentence and "10" in plain.advice
    calm = rules.clipping(0.9, 1.0, [5.0], adaptive=True)
    assert (calm.severity, calm.advice) == ("well", "") and "changes little" in calm.sentence
    wild = rules.clipping(0.01, None, [1.0] * 50 + [1e6])
    assert (wild.rule, wild.severity, wild.advice) == ("exploding", "ill", "Clip it (clip_norm=1).")


def test_parameters_and_overfitting_by_hand():
    assert rules.parameters(100, 1000).severity == "well"
    assert "below the ten" in rules.parameters(100, 500).sentence
    assert rules.parameters(101, 100).severity == "ill"
    assert "3 times the training loss" in rules.parameters(101, 100, gap=3.0).sentence
    held = [1, 0.6, 0.5, 0.7, 0.8, 0.9]
    turned = rules.overfitted([1, 0.8, 0.6, 0.4, 0.3, 0.2], held)
    assert turned.severity == "watch" and "After evaluation 3 of 6" in turned.sentence
    assert rules.overfitted([1, 0.8, 0.6, 0.7, 0.8, 0.9], held) is None  # both rise: something else
    assert rules.overfitted([1, 0.8, 0.6], [math.nan] * 3) is None


def test_units_by_hand():
    assert rules.saturated([0.4, 0.6], name="h") is None  # half is the limit
    assert rules.saturated([math.nan, math.nan], name="h") is None
    assert rules.dead(0, 8) is None and rules.dead(1, 16).severity == "watch"
    assert rules.shut([0.96, 0.96], gate="z") is None  # a z that is shut forgets, which a task may want
    assert "forgotten at each step" in rules.shut([1.0], gate="f").sentence


# --------------------------------------------------------------------------------------------- the diagnosis


def test_the_worst_comes_first_and_all_of_it_is_json(sequences, fits):
    stack = changed(network(RNNConfig(hidden_size=H)), weight_hh=lambda R: R.mul_(0.3))
    found = examine(stack, sequences, fits[1e-1], lr=0.1)
    order = [f.severity for f in found.findings]
    assert order == sorted(order, key=["ill", "watch", "well"].index) and order[0] == "ill"
    assert found.verdict() == (
        "The gradient vanishes, the learning rate is too high and there are more parameters than data."
    )
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told["verdict"] == found.verdict() and len(told["findings"]) == len(found.findings)
    assert str(found).splitlines()[0] == found.verdict() and str(found).splitlines()[1].startswith(
        "! In cell"
    )


def test_every_layer_is_looked_at_and_a_context_can_be_given(sequences):
    layers = [JordanConfig(hidden_size=5), GRUConfig(hidden_size=3), LastConfig()]
    stack = Stack.build(layers, 3, 1, generator=torch.Generator().manual_seed(0))
    found = examine(stack, sequences, context=4, jacobians=False)
    assert {f.layer for f in found.findings} <= {"jordan", "gru"} and not found.of("vanishing")
    assert found.jacobians is None and len(found.reach.layers) == 2


def test_nothing_to_look_at():
    assert examine().verdict() == "Nothing was measured: give data, or the record of a fit."
    stack = Stack.build([DenseConfig(size=2), LastConfig()], 3, 1)
    with pytest.raises(OptionError, match="no recurrent layer"):
        examine(stack, [torch.ones(3, 3)])
    empty = FitRecord(epochs=[EpochRecord(epoch=1, updates=0, loss=1.0, lr=0.1, seconds=0.0)])
    assert examine(record=empty).findings == ()  # nothing was updated, nothing can be said
    watch = rules.Finding(rule="clipping", severity="watch", sentence="s")
    assert verdict([watch]) == "Nothing is wrong; 1 thing to keep an eye on."
