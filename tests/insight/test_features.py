"""Filters are the weights, maps are principal axes, and the input made for a linear unit is its own row."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from saiki import nn
from saiki.core.errors import OptionError, ValueRangeError
from saiki.insight import embeddings, exciting_input, filters

F64 = torch.float64


def sequences(*lengths, rng, features=3):
    return [torch.randn(n, features, generator=rng, dtype=F64) for n in lengths]


def test_filters_are_the_input_weights_gate_by_gate(rng):
    network = nn.Stack.build(
        [nn.DenseConfig(size=4), nn.LSTMConfig(hidden_size=5, num_layers=2, bidirectional=True)],
        3,
        2,
        generator=rng,
    )
    found = filters(network)
    names = [(f.name, f.gate) for f in found]
    layers = ("lstm.l0", "lstm.l0.reverse", "lstm.l1", "lstm.l1.reverse")
    assert names == [("dense", ""), *((n, g) for n in layers for g in "ifgo"), ("head", "")]
    W = network.layers["lstm"].weight_ih_l1_reverse.detach().numpy()
    np.testing.assert_array_equal(
        found[names.index(("lstm.l1.reverse", "g"))].weights, W[10:15].astype(float)
    )
    assert json.loads(json.dumps(found[0].to_json()))["weights"][0][0] == found[0].weights[0, 0]


def test_an_embedding_is_laid_out_on_its_principal_axes(rng):
    network = nn.Stack.build(
        [nn.EmbeddingConfig(num_embeddings=6, size=3), nn.GRUConfig(hidden_size=2)], 1, generator=rng
    )
    E = torch.zeros(6, 3)
    E[:, 1] = torch.tensor([-5.0, -3, -1, 1, 3, 5])  # the long axis
    E[:, 2] = torch.tensor([1.0, -1, 0, 0, -1, 1])  # the short one, at a right angle to it
    with torch.no_grad():
        network.layers["embedding"].weight.copy_(E)
    (found,) = embeddings(network)
    np.testing.assert_allclose(found.places, E[:, 1:].numpy(), atol=1e-6)
    np.testing.assert_allclose(found.explained, np.array([70, 4]) / 74, rtol=1e-6)
    assert [k for k, _ in found.neighbours(0, 2)] == [2, 1]  # (-1, 0) and (-3, -1) as seen from (-5, 1)
    assert found.neighbours(0, 1)[0][1] == pytest.approx(5 / math.sqrt(26), rel=1e-6)
    assert set(found.to_json()) == {"name", "places", "explained"}
    with pytest.raises(ValueRangeError, match="ids 0 to 5"):
        found.neighbours(6)


def test_one_vector_or_one_axis_is_a_map_too(rng):
    network = nn.Stack.build(
        [nn.EmbeddingConfig(num_embeddings=1, size=1), nn.GRUConfig(hidden_size=2)], 1, generator=rng
    )
    (found,) = embeddings(network)
    assert (found.places == 0).all() and (found.explained == 0).all() and found.neighbours(0) == []


def test_the_input_made_for_a_linear_unit_is_known(rng):
    """h_T = Σ_k e_uᵀ R^k W x_{T-k}: the loudest x of a norm lies along these rows, and h_T is its norm times
    theirs."""
    network = nn.Stack.build(
        [nn.RNNConfig(hidden_size=4, activation="identity")], 3, generator=rng, dtype=F64
    )
    layer = network.layers["rnn"]
    x = sequences(6, 4, rng=rng)
    found = exciting_input(network, x, 2, steps=6, iterations=200)
    n = len(found.made)
    R, W = layer.weight_hh_l0.detach(), layer.weight_ih_l0.detach()
    rows = torch.stack([(torch.linalg.matrix_power(R, n - 1 - t) @ W)[2] for t in range(n)]).numpy()
    radius = np.linalg.norm(found.found)
    np.testing.assert_allclose(found.made, radius * rows / np.linalg.norm(rows), atol=1e-4)
    assert found.made_value == pytest.approx(radius * np.linalg.norm(rows), rel=1e-8)
    assert found.found_value == pytest.approx(
        max(layer(s[:, None])[0][..., 2].max().item() for s in x), rel=1e-10
    )
    np.testing.assert_array_equal(found.found, x[found.sequence].numpy()[: found.step + 1])
    assert found.found_alone == pytest.approx(found.found_value, rel=1e-10)  # the stretch began at the start


def test_the_made_input_is_never_worse_and_of_the_same_norm(rng):
    network = nn.Stack.build(
        [
            nn.DenseConfig(size=4, activation="tanh"),
            nn.LSTMConfig(hidden_size=4, num_layers=2),
            nn.GRUConfig(hidden_size=3),
        ],
        3,
        2,
        generator=rng,
    ).train()
    x = sequences(30, 0, 25, rng=rng)
    for layer in ("lstm.l0", "lstm.l1", "gru"):
        found = exciting_input(network, x, 1, layer=layer, steps=8, iterations=15)
        assert found.layer == layer and found.made.shape == found.found.shape == (len(found.made), 4)
        assert found.made_value > found.found_alone
        assert np.linalg.norm(found.made) == pytest.approx(np.linalg.norm(found.found), rel=1e-9)
        assert found.sequence in (0, 2) and found.step >= len(found.made) - 1
        assert json.loads(json.dumps(found.to_json()))["unit"] == 1
    assert network.training and not any(m._forward_pre_hooks for m in network.modules())


def test_ids_are_looked_for_as_vectors(rng):
    network = nn.Stack.build(
        [nn.EmbeddingConfig(num_embeddings=5, size=3), nn.GRUConfig(hidden_size=4), nn.LastConfig()],
        1,
        generator=rng,
    )
    found = exciting_input(network, [torch.tensor([0, 4, 1, 2])], 0, iterations=3)
    E = network.layers["embedding"].weight.detach().double().numpy()
    np.testing.assert_allclose(found.found[-1], E[[0, 4, 1, 2][found.step]], rtol=1e-6)


def test_what_cannot_be_asked_is_a_clear_error(rng):
    network = nn.Stack.build([nn.GRUConfig(hidden_size=2, bidirectional=True)], 3, generator=rng, dtype=F64)
    x = sequences(4, rng=rng)
    with pytest.raises(ValueRangeError, match="units 0 to 1"):
        exciting_input(network, x, 2)
    with pytest.raises(OptionError, match="there are gru"):
        exciting_input(network, x, 0, layer="lstm")
    with pytest.raises(OptionError, match="reads backwards"):
        exciting_input(network, x, 0, layer="gru.reverse")
    behind = nn.Stack.build(
        [nn.SegmentConfig(length=2), nn.GRUConfig(hidden_size=2)], 3, generator=rng, dtype=F64
    )
    with pytest.raises(OptionError, match="changes the number of steps"):
        exciting_input(behind, x, 0)
    with pytest.raises(OptionError, match="no Embedding"):
        embeddings(network)
    with pytest.raises(OptionError, match="no layer with input weights"):
        filters(nn.Stack.build([nn.ActivationConfig(activation="tanh")], 3))
