"""Gates counted on networks whose gates are set by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from saiki import cells, nn
from saiki.core.errors import OptionError
from saiki.insight import gate_use

F64 = torch.float64


def lstm(bias, *, hidden_size=2, rng, **options):
    """An LSTM that sees its input through g alone; its gates stay where their biases put them."""
    network = nn.Stack.build([nn.LSTMConfig(hidden_size=hidden_size, **options)], 1, generator=rng, dtype=F64)
    layer = network.layers["lstm"]
    gates = layer.cell.gates
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_l0"):
            getattr(layer, name).zero_()
        for name, value in bias.items():
            k = gates.index(name)
            layer.bias_l0[k * hidden_size : (k + 1) * hidden_size] = torch.as_tensor(value, dtype=F64)
        k = gates.index("g")
        layer.weight_ih_l0[k * hidden_size : (k + 1) * hidden_size] = 1.0
    return network


def logit(p):
    return math.log(p / (1 - p))


def test_gates_held_open_half_open_and_shut_are_counted(rng):
    network = lstm({"i": [logit(0.95), logit(0.5)], "f": [logit(0.05), logit(0.5)], "o": 9.0}, rng=rng)
    found = gate_use(network, [torch.randn(n, 1, generator=rng, dtype=F64) for n in (7, 0, 4)])
    assert (found.sequences, found.steps) == (2, 11)
    layer = found.layers[0]
    i, f, o = layer.gate("i"), layer.gate("f"), layer.gate("o")
    np.testing.assert_array_equal(i.open, [1, 0])
    np.testing.assert_array_equal(i.shut, [0, 0])
    np.testing.assert_array_equal(f.shut, [1, 0])
    np.testing.assert_allclose(f.mean, [0.05, 0.5], rtol=1e-12)
    np.testing.assert_array_equal(i.saturated, [0, 0])  # 0.95 · 0.05 is more than a tenth of 1/4
    np.testing.assert_array_equal(o.saturated, [1, 1])
    assert o.saturated_units == (0, 1) and i.saturated_units == ()
    assert i.histogram[-1] == 0.0 and i.histogram[-2] + i.histogram[-1] == pytest.approx(0.5)
    assert i.histogram.sum() == pytest.approx(1.0) and i.edges[0] == 0.0 and i.edges[-1] == 1.0
    assert [gate.name for gate in layer.gates] == ["i", "f", "g", "o", "output"]
    assert not layer.gate("g").gates and np.isnan(layer.gate("g").open).all()


def test_time_constants_are_those_of_the_forget_gate(rng):
    network = lstm({"f": [logit(0.9), logit(0.99)]}, rng=rng)
    found = gate_use(network, [torch.randn(5, 1, generator=rng, dtype=F64)]).layers[0].time_constants
    np.testing.assert_allclose(found.units, [10.0, 100.0], rtol=1e-9)
    filled = np.flatnonzero(found.histogram)
    assert found.gate == "f" and found.histogram[filled].tolist() == [0.5, 0.5]
    low, high = found.edges[filled], found.edges[filled + 1]
    assert (
        (low <= np.array([10.0, 100.0]) * (1 + 1e-9)) & (high >= np.array([10.0, 100.0]) * (1 - 1e-9))
    ).all()


def test_coupled_gates_forget_by_one_minus_i_and_the_carousel_never(rng):
    x = [torch.randn(5, 1, generator=rng, dtype=F64)]
    coupled = gate_use(lstm({"i": logit(0.2)}, rng=rng, coupled=True), x).layers[0]
    np.testing.assert_allclose(coupled.time_constants.units, [5.0, 5.0], rtol=1e-9)
    assert coupled.time_constants.gate == "1 - i"
    assert gate_use(lstm({}, rng=rng, forget_gate=False), x).layers[0].time_constants is None
    gru = nn.Stack.build([nn.GRUConfig(hidden_size=2)], 1, generator=rng, dtype=F64)
    assert gate_use(gru, x).layers[0].time_constants.gate == "z"


def test_what_never_forgets_falls_into_the_last_bin(rng):
    network = lstm({"f": 60.0}, rng=rng)  # σ(60) is 1 in float64
    found = gate_use(network, [torch.zeros(3, 1, dtype=F64)]).layers[0].time_constants
    assert np.isinf(found.units).all() and found.histogram[-1] == 1.0
    assert found.to_json()["units"] == [None, None]


def test_dead_and_saturated_units_are_named(rng):
    network = nn.Stack.build([nn.RNNConfig(hidden_size=3, activation="relu")], 1, generator=rng, dtype=F64)
    layer = network.layers["rnn"]
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
        layer.weight_ih_l0.fill_(1.0)
        layer.bias_l0.copy_(torch.tensor([0.0, -100.0, 100.0]))
    found = gate_use(network, [torch.randn(20, 1, generator=rng, dtype=F64)]).layers[0]
    assert found.dead_units == (1,)  # relu(x - 100) is 0 for good
    assert found.gate("h").saturated_units == (1,)
    tanh = nn.Stack.build([nn.RNNConfig(hidden_size=2)], 1, generator=rng, dtype=F64)
    with torch.no_grad():
        tanh.layers["rnn"].bias_l0.copy_(torch.tensor([20.0, 0.0]))
    found = gate_use(tanh, [torch.randn(20, 1, generator=rng, dtype=F64)]).layers[0]
    assert found.gate("h").saturated_units == (0,) and found.dead_units == (0,)


def test_a_layer_that_never_moves_is_dead_as_a_whole(rng):
    network = lstm({"o": -800.0}, rng=rng)
    assert gate_use(network, [torch.zeros(3, 1, dtype=F64)]).layers[0].dead_units == (0, 1)


def test_values_are_those_of_the_network_and_norms_are_per_unit(rng):
    network = nn.Stack.build([nn.LSTMConfig(hidden_size=4)], 2, generator=rng, dtype=F64)
    x = [torch.randn(n, 2, generator=rng, dtype=F64) for n in (6, 3)]
    found = gate_use(network, x).layers[0]
    told = [network.layers["lstm"](s[:, None], return_states=True)[2] for s in x]
    f = torch.cat([t["f_l0"][:, 0] for t in told]).detach().numpy()
    np.testing.assert_allclose(found.gate("f").mean, f.mean(axis=0), rtol=1e-10)
    c = told[0]["c_l0"][:, 0].detach().numpy()
    np.testing.assert_allclose(found.norms["c"].values[0], np.sqrt((c**2).mean(axis=1)), rtol=1e-10)
    assert np.isnan(found.norms["c"].values[1, 3:]).all()
    h = torch.cat([t["h_l0"][:, 0] for t in told]).detach().numpy()
    np.testing.assert_allclose(found.movement, np.ptp(h, axis=0), rtol=1e-10)


def test_a_users_activation_has_no_known_slope_and_a_cell_without_gates_has_none(rng):
    own = nn.Stack([nn.RNN(2, 3, activation=torch.sin, dtype=F64, generator=rng)])
    x = [torch.randn(4, 2, generator=rng, dtype=F64)]
    assert np.isnan(gate_use(own, x).layers[0].gate("h").saturated).all()

    class Plain(cells.Cell):
        def step(self, params, state, x):
            return cells.base.State(h=torch.tanh(cells.base.affine(params, state.h, x)))

    found = gate_use(nn.Stack([nn.Recurrent(Plain(2, 3), dtype=F64, generator=rng)]), x).layers[0]
    assert found.gates == () and set(found.norms) == {"h"}


def test_a_jordan_networks_output_is_looked_at(rng):
    layer = nn.Jordan(1, 3, output_size=2, output_activation="sigmoid", dtype=F64, generator=rng)
    network = nn.Stack([layer])
    found = gate_use(network, [torch.randn(4, 1, generator=rng, dtype=F64)]).layers[0]
    assert [gate.name for gate in found.gates] == ["h", "output"] and len(found.gate("output").mean) == 2


def test_the_result_is_json_and_unknown_names_are_refused(rng):
    found = gate_use(lstm({}, rng=rng), [torch.zeros(3, 1, dtype=F64)])
    read = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert read["layers"][0]["gates"][2]["open"] == [None, None]
    with pytest.raises(OptionError, match="has no 'z', only i, f, g, o, output"):
        found.layers[0].gate("z")
    with pytest.raises(OptionError, match="there are lstm"):
        found.layer("gru")
