"""The LSTM whose units do not see each other."""

from __future__ import annotations

from math import exp, tanh

import pytest
import torch

from saiki import nn
from saiki.cells import LSTM, ElementwiseLSTM, LSTMState
from saiki.core.errors import OptionError
from saiki.core.ragged import Ragged
from saiki.core.random import generator

F64 = torch.float64


def σ(a: float) -> float:
    return 1 / (1 + exp(-a))


def test_one_step_by_hand():
    """x = 2, h = .5, c = -1: a_i = 1 + .1 + .1, a_f = -.5 + .2 + 1, a_g = 2 - .3 - .2, a_o = 1.5 + .35."""
    cell = ElementwiseLSTM(1, 1)
    column = lambda *values: torch.tensor(values, dtype=F64)[:, None]
    params = cell.params(
        {
            "weight_ih": column(0.5, -0.25, 1.0, 0.75),
            "weight_hh": column(0.2, 0.4, -0.6, 0.1),
            "bias": column(0.1, 1.0, -0.2, 0.3)[:, 0],
        }
    )
    after, gates = cell.step_with_gates(params, LSTMState(column(0.5), column(-1.0)), column(2.0))
    c = σ(0.7) * -1 + σ(1.2) * tanh(1.5)
    assert after.c.item() == pytest.approx(c, abs=1e-15)
    assert after.h.item() == pytest.approx(σ(1.85) * tanh(c), abs=1e-15)
    assert {name: gate.item() for name, gate in gates.items()} == pytest.approx(
        {"i": σ(1.2), "f": σ(0.7), "g": tanh(1.5), "o": σ(1.85)}, abs=1e-15
    )


def test_it_is_the_lstm_with_a_diagonal_r(draw):
    cell, full = ElementwiseLSTM(3, 5), LSTM(3, 5)
    params, state, x = draw(cell)
    R = torch.cat([torch.diag(row) for row in params["weight_hh"]])
    ours = cell.step(cell.params(params), state, x)
    theirs = full.step(full.params({**params, "weight_hh": R}), LSTMState(*state), x)
    for one, other in zip(ours, theirs):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-15)


def test_a_unit_sees_no_other(draw):
    cell = ElementwiseLSTM(3, 5)
    params, state, x = draw(cell)
    before = cell.step(cell.params(params), state, x)
    h, c = (s.clone() for s in state)
    h[:, 2] += 1
    c[:, 2] -= 1
    after = cell.step(cell.params(params), LSTMState(h, c), x)
    for one, other in zip(before, after):
        changed = (one != other).any(0)
        assert changed.tolist() == [False, False, True, False, False]


def test_its_parameters_and_their_first_values():
    cell = ElementwiseLSTM(50, 128)
    initial = cell.initial_parameters(generator(3), dtype=F64)
    assert sum(value.numel() for value in initial.values()) == 4 * (128 * 50 + 128 + 128)
    r = initial["weight_hh"]
    assert r.shape == (4, 128)
    assert 0.95 < r.abs().max() <= 1
    assert abs(float(r.mean())) < 0.1  # of 512 draws with standard deviation 0.58: 4 of its own
    assert initial["bias"].view(4, 128).sum(1).tolist() == [0, 128, 0, 0]


def test_the_layer_is_built_from_a_file_and_runs_ragged():
    network = nn.Stack.build(
        [{"type": "elementwise_lstm", "hidden_size": 4, "num_layers": 2, "gate_activation": "hard_sigmoid"}],
        input_size=3,
        output_size=2,
        generator=generator(1),
        dtype=F64,
    )
    again = nn.Stack.build(network.to_config(), input_size=3, dtype=F64)
    again.load_state_dict(network.state_dict())
    layer = network.layers["elementwise_lstm"]
    assert isinstance(layer, nn.ElementwiseLSTM)
    assert layer.weight_hh_l1.shape == (4, 4)
    source = generator(2)
    sequences = [torch.randn(T, 3, generator=source, dtype=F64) for T in (4, 0, 6)]
    together = network(Ragged.from_list(sequences)).to_list()
    for alone, one in zip(sequences, together):
        expected = again(Ragged.from_list([alone])).to_list()[0]
        torch.testing.assert_close(one, expected, rtol=1e-13, atol=1e-13)


def test_torch_has_no_such_layer():
    with pytest.raises(OptionError, match="has no counterpart in torch"):
        nn.ElementwiseLSTM(3, 4).to_torch()
