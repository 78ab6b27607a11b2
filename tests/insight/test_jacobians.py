"""Step Jacobians: R itself where the network is linear, autograd elsewhere, and the bound that must hold."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from saiki import cells, nn
from saiki.core.errors import OptionError
from saiki.insight import gradient_reach, step_jacobians

F64 = torch.float64


def network_of(config, rng, *, shake=0.2):
    network = nn.Stack.build([config], 3, generator=rng, dtype=F64)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += shake * torch.randn(parameter.shape, generator=rng, dtype=F64)
    return network


def sequences(*lengths, rng):
    return [torch.randn(n, 3, generator=rng, dtype=F64) for n in lengths]


def test_of_a_linear_network_every_step_is_r(rng):
    network = network_of(nn.RNNConfig(hidden_size=4, activation="identity"), rng)
    R = network.layers["rnn"].weight_hh_l0.detach()
    found = step_jacobians(network, sequences(6, 3, rng=rng)).layers[0]
    sigma = torch.linalg.svdvals(R).numpy()
    np.testing.assert_allclose(found.largest.values[0], np.full(6, sigma[0]), rtol=1e-12)
    np.testing.assert_allclose(found.smallest.values[0], np.full(6, sigma[-1]), rtol=1e-11)
    assert np.isnan(found.largest.values[1, 3:]).all() and not np.isnan(found.largest.values[1, :3]).any()
    assert found.recurrent["h"].norm == pytest.approx(sigma[0], rel=1e-12)
    radius = np.abs(np.linalg.eigvals(R.numpy())).max()
    assert found.recurrent["h"].spectral_radius == pytest.approx(radius, rel=1e-12)


def test_lyapunov_exponents_are_the_logarithms_of_the_eigenvalues(rng):
    network = network_of(nn.RNNConfig(hidden_size=4, activation="identity"), rng)
    scales = torch.tensor([0.3, 1.2, 0.9, 0.5], dtype=F64)
    V = torch.randn(4, 4, generator=rng, dtype=F64) + 2 * torch.eye(4)
    with torch.no_grad():
        network.layers["rnn"].weight_hh_l0.copy_(V @ torch.diag(scales) @ torch.linalg.inv(V))
    found = step_jacobians(network, sequences(80, rng=rng)).layers[0]
    np.testing.assert_allclose(found.exponents, np.log([1.2, 0.9, 0.5, 0.3]), atol=5e-3)


def test_a_carousel_has_exponents_of_zero_and_directions_that_are_lost(rng):
    """R = 0 and no forget gate: c is carried unchanged, and h_{t-1} reaches nothing."""
    network = network_of(nn.LSTMConfig(hidden_size=3, forget_gate=False), rng)
    with torch.no_grad():
        network.layers["lstm"].weight_hh_l0.zero_()
    found = step_jacobians(network, sequences(20, rng=rng)).layers[0]
    np.testing.assert_allclose(found.exponents[:3], 0.0, atol=0.05)
    assert (found.smallest.values == 0).all() and np.isneginf(found.exponents[3:]).all()
    assert set(found.recurrent) == {"i", "g", "o"} and found.recurrent["g"].norm == 0.0


CELLS = [cells.LSTM(3, 4, peepholes=True), cells.GRU(3, 4, reset="before"), cells.Jordan(3, 4, 2)]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.label)
def test_singular_values_agree_with_autograd(cell, rng):
    layer = nn.Recurrent(cell, dtype=F64, generator=rng)
    x = sequences(4, rng=rng)
    found = step_jacobians(nn.Stack([layer]), x).layers[0]
    params = cell.params({n: getattr(layer, f"{n}_l0").detach() for n in cell.parameter_shapes()})
    state = torch.cat(tuple(cell.initial_state(1, dtype=F64)), dim=-1)[0]
    for t, x_t in enumerate(x[0]):

        def step(s, x_t=x_t):
            parts = cell.state_type(*s[None].split(cell.state_sizes, dim=-1))
            return torch.cat(tuple(cell.step(params, parts, x_t[None])), dim=-1)[0]

        sigma = torch.linalg.svdvals(torch.autograd.functional.jacobian(step, state))
        assert found.largest.values[0, t] == pytest.approx(sigma[0].item(), rel=1e-10)
        assert found.smallest.values[0, t] == pytest.approx(sigma[-1].item(), rel=1e-7, abs=1e-14)
        state = step(state).detach()


@pytest.mark.parametrize(("activation", "slope"), [("tanh", 1.0), ("sigmoid", 0.25), ("sigmoid_pm1", 0.5)])
def test_nothing_of_an_elman_network_passes_its_bound(activation, slope, rng):
    network = network_of(nn.RNNConfig(hidden_size=5, activation=activation), rng)
    x = sequences(15, 12, rng=rng)
    jacobians, reach = step_jacobians(network, x).layers[0], gradient_reach(network, x)
    norm = torch.linalg.matrix_norm(network.layers["rnn"].weight_hh_l0.detach(), 2).item()
    assert jacobians.bound_factor == pytest.approx(slope * norm, rel=1e-12)
    assert np.nanmax(jacobians.largest.values) <= jacobians.bound_factor
    measured = reach.layers[0].state.values
    assert (measured[np.isfinite(measured)] > 0).all()
    assert np.nanmax(measured / jacobians.bound(reach.lags)) <= 1 + 1e-12


def test_an_orthogonal_r_under_tanh_still_vanishes_although_its_bound_does_not(rng):
    network = network_of(nn.RNNConfig(hidden_size=6), rng, shake=0.0)  # orthogonal by default
    x = sequences(60, rng=rng)
    jacobians, reach = step_jacobians(network, x).layers[0], gradient_reach(network, x).layers[0]
    np.testing.assert_allclose(jacobians.bound([0, 60]), 1.0, rtol=1e-5)
    assert reach.reach is not None and reach.state.median[-1] < 1e-3
    assert jacobians.exponents[0] < 0
    # the measured decay is the exponent's
    assert math.log(reach.state.median[-1]) / 60 == pytest.approx(jacobians.exponents[0], rel=0.2)


def test_recurrent_weights_that_are_a_vector_are_a_diagonal(rng):
    layer = nn.Recurrent(cells.ElementwiseLSTM(3, 4), dtype=F64, generator=rng)
    found = step_jacobians(nn.Stack([layer]), sequences(3, rng=rng)).layers[0]
    r = layer.weight_hh_l0.detach().abs().amax(dim=1)
    assert [R.spectral_radius for R in found.recurrent.values()] == pytest.approx(r.tolist(), rel=1e-12)
    assert [R.norm for R in found.recurrent.values()] == pytest.approx(r.tolist(), rel=1e-12)


def test_steps_and_sequences_are_limited_and_only_elman_has_a_bound(rng):
    network = network_of(nn.GRUConfig(hidden_size=2), rng)
    found = step_jacobians(network, sequences(*[9] * 5, rng=rng), sequences=2, max_steps=4)
    assert (found.sequences, found.steps) == (2, 4) and found.layers[0].largest.values.shape == (2, 4)
    assert found.layers[0].bound_factor is None
    with pytest.raises(OptionError, match="bound is one of Elman cells"):
        found.layers[0].bound([1])
    own = nn.Stack([nn.RNN(3, 2, activation=torch.sin, dtype=F64, generator=rng)])
    assert step_jacobians(own, sequences(3, rng=rng)).layers[0].bound_factor is None
    with pytest.raises(OptionError, match="there are gru"):
        found.layer("lstm")


def test_the_result_is_json(rng):
    network = network_of(nn.LSTMConfig(hidden_size=2, forget_gate=False), rng)
    with torch.no_grad():
        network.layers["lstm"].weight_hh_l0.zero_()
    read = json.loads(json.dumps(step_jacobians(network, sequences(4, rng=rng)).to_json(), allow_nan=False))
    assert read["layers"][0]["lyapunov"][-1] is None and read["steps"] == 4
    assert read["layers"][0]["recurrent"]["i"] == {"spectral_radius": 0.0, "norm": 0.0}
