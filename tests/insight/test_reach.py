"""Gradient reach: powers of R where the network is linear, autograd everywhere else."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from saiki import cells, nn
from saiki.core.errors import DTypeError, LengthError, OptionError, ValueRangeError
from saiki.core.ragged import Ragged
from saiki.insight import GradientReach, gradient_reach, untrained
from saiki.insight.curves import Curve
from saiki.insight.reach import reach_of
from saiki.learning import Batch
from saiki.losses import Squared

F64 = torch.float64


def sequences(*lengths: int, rng: torch.Generator, features: int = 3) -> list[Tensor]:
    return [torch.randn(n, features, generator=rng, dtype=F64) for n in lengths]


def stack(*configs: nn.LayerConfig, rng: torch.Generator, features: int = 3, outputs: int = 2) -> nn.Stack:
    network = nn.Stack.build(list(configs), features, outputs, generator=rng, dtype=F64)
    return shaken(network, rng)


def shaken(network: nn.Stack, rng: torch.Generator) -> nn.Stack:
    """The network with nothing zero and no R orthogonal."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=rng, dtype=F64)
    return network


def set_to(layer: torch.nn.Module, **values: Tensor | float) -> None:
    with torch.no_grad():
        for name, value in values.items():
            getattr(layer, name).copy_(torch.as_tensor(value, dtype=F64))


def chained(cell: cells.Cell, layer: torch.nn.Module, x: Tensor, level: int = 0) -> list[Tensor]:
    """∂s_T/∂s_{T-k} for k = 0 … T by autograd through the whole chain at once, whatever the cell."""
    named = {n: getattr(layer, f"{n}_l{level}").detach() for n in cell.parameter_shapes()}
    params = cell.params(named)
    state = torch.cat(tuple(cell.initial_state(1, dtype=F64)), dim=-1)[0].requires_grad_()
    states = [state]
    for x_t in x:
        parts = cell.state_type(*states[-1][None].split(cell.state_sizes, dim=-1))
        states.append(torch.cat(tuple(cell.step(params, parts, x_t[None])), dim=-1)[0])
    rows = [
        torch.autograd.grad(unit, states, retain_graph=True, allow_unused=True) for unit in states[-1]
    ]  # (S) of (T + 1)
    found = [
        torch.stack([torch.zeros(len(state)) if r[t] is None else r[t] for r in rows])
        for t in range(len(states))
    ]
    return found[::-1]


def test_of_a_linear_elman_network_the_reach_is_the_norm_of_the_power(rng):
    R = 0.5 * torch.randn(4, 4, generator=rng, dtype=F64)
    network = stack(nn.RNNConfig(hidden_size=4, activation="identity"), nn.LastConfig(), rng=rng)
    set_to(network.layers["rnn"], weight_hh_l0=R)
    found = gradient_reach(network, sequences(12, 12, rng=rng))
    expected = [torch.linalg.matrix_norm(torch.linalg.matrix_power(R, k), 2).item() for k in range(13)]
    assert found.lags.tolist() == list(range(13))
    for row in found.layers[0].state.values:
        np.testing.assert_allclose(row, expected, rtol=1e-12)
    np.testing.assert_array_equal(found.layers[0].h.values, found.layers[0].state.values)
    assert found.layers[0].c is None


def test_scaled_rotations_fall_by_their_factor_and_the_lag_of_a_thousandth_is_exact(rng):
    network = stack(nn.RNNConfig(hidden_size=6, activation="identity"), rng=rng)
    Q = torch.linalg.qr(torch.randn(6, 6, generator=rng, dtype=F64)).Q
    set_to(network.layers["rnn"], weight_hh_l0=0.9 * Q)
    found = gradient_reach(network, sequences(100, rng=rng))
    np.testing.assert_allclose(found.layers[0].state.median, 0.9 ** np.arange(101.0), rtol=1e-10)
    assert found.layers[0].reach == math.ceil(math.log(1e-3) / math.log(0.9))  # 66


def test_the_input_gradient_of_a_linear_network_is_known(rng):
    """y_T = V h_T and L = ½‖y_T‖²: ∂L/∂x_{T-k} = Wᵀ (Rᵀ)^k Vᵀ y_T."""
    network = stack(nn.RNNConfig(hidden_size=4, activation="identity"), nn.LastConfig(), rng=rng)
    layer, head = network.layers["rnn"], network.layers["head"]
    x = sequences(9, rng=rng)
    found = gradient_reach(network, x)
    y = network(Ragged.from_list(x))[0]
    back = head.weight.T @ y
    expected = []
    for _ in range(9):
        expected.append((layer.weight_ih_l0.T @ back).norm().item())
        back = layer.weight_hh_l0.T @ back
    np.testing.assert_allclose(found.input.values[0, :9], expected, rtol=1e-10)
    assert np.isnan(found.input.values[0, 9])  # there is no input before the first


def test_the_carousel_keeps_the_cell_block_at_one(rng):
    """Without a forget gate and with R = 0, c_t = c_{t-1} + i g: the gradient neither falls nor grows."""
    network = stack(nn.LSTMConfig(hidden_size=5, forget_gate=False), rng=rng)
    set_to(network.layers["lstm"], weight_hh_l0=0.0)
    found = gradient_reach(network, sequences(60, 40, rng=rng)).layers[0]
    np.testing.assert_allclose(found.c.values[0], np.ones(61), rtol=1e-12)
    np.testing.assert_allclose(found.c.values[1, :41], np.ones(41), rtol=1e-12)
    assert found.block_reach["c"] is None
    assert (found.h.values[:, 1] == 0).all() and found.block_reach["h"] == 1  # R = 0: h is not fed back


def test_the_cell_block_of_an_lstm_without_recurrent_weights_is_the_product_of_its_forget_gates(rng):
    network = stack(nn.LSTMConfig(hidden_size=3), rng=rng)
    layer = network.layers["lstm"]
    set_to(layer, weight_hh_l0=0.0)
    x = sequences(20, rng=rng)[0]
    f = layer(x[:, None], return_states=True)[2]["f_l0"][:, 0].detach().numpy()  # (T, H)
    expected = [np.prod(f[20 - k :], axis=0).max() for k in range(21)]
    np.testing.assert_allclose(gradient_reach(network, [x]).layers[0].c.values[0], expected, rtol=1e-10)


CELLS = [
    *cells.Elman.variants(3, 4)[:2],
    *cells.LSTM.variants(3, 4)[:3],
    *cells.GRU.variants(3, 4)[:2],
    *cells.Jordan.variants(3, 4)[:3],
    cells.ElementwiseLSTM(3, 4),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.label)
def test_every_cell_agrees_with_autograd_through_the_whole_chain(cell, rng):
    network = shaken(nn.Stack([nn.Recurrent(cell, dtype=F64, generator=rng)]), rng)
    layer = network.layers["recurrent"]
    x = sequences(7, 4, rng=rng)
    found = gradient_reach(network, x).layers[0]
    for b, steps in enumerate((7, 4)):
        products = chained(cell, layer, x[b])
        norms = [torch.linalg.matrix_norm(p, 2).item() for p in products]
        np.testing.assert_allclose(found.state.values[b, : steps + 1], norms, rtol=1e-9)
        assert np.isnan(found.state.values[b, steps + 1 :]).all()
        start = 0
        for name, size in zip(cell.states, cell.state_sizes):
            block = [torch.linalg.matrix_norm(p[start:][:size, start:][:, :size], 2).item() for p in products]
            np.testing.assert_allclose(
                found.blocks[name].values[b, : steps + 1], block, rtol=1e-9, atol=1e-12
            )
            start += size


def test_a_cell_of_ones_own_is_measured_too(rng):
    class Leaky(cells.Cell):
        def step(self, params, state, x):
            h = 0.5 * state.h + 0.5 * torch.tanh(cells.base.affine(params, state.h, x))
            return cells.base.State(h=h)

    network = nn.Stack([nn.Recurrent(Leaky(3, 4), dtype=F64, generator=rng)])
    x = sequences(6, rng=rng)
    products = chained(Leaky(3, 4), network.layers["recurrent"], x[0])
    norms = [torch.linalg.matrix_norm(p, 2).item() for p in products]
    np.testing.assert_allclose(gradient_reach(network, x).layers[0].state.values[0], norms, rtol=1e-9)


def test_input_gradients_agree_with_autograd_in_a_stack_with_a_loss_and_ragged_lengths(rng):
    network = stack(nn.DenseConfig(size=4), nn.GRUConfig(hidden_size=4, num_layers=2), rng=rng)
    x = Ragged.from_list(sequences(6, 0, 3, 5, rng=rng))
    targets = torch.randn(x.N, 2, generator=rng, dtype=F64)
    found = gradient_reach(network, Batch(x, targets, per_step=True), loss=Squared())
    assert found.sequences == 3 and found.loss == "Squared"
    listed = x.with_data(targets).to_list()
    for row, b in enumerate((0, 2, 3)):
        z = network.layers["dense"](Ragged.from_list([x.to_list()[b]])).data.detach().requires_grad_()
        h = network.layers["gru"](z[:, None])[0][-1]
        loss = Squared()(network.layers["head"](h), listed[b][-1:])
        (g,) = torch.autograd.grad(loss.sum(), z)
        n = int(x.lengths[b])
        np.testing.assert_allclose(found.input.values[row, :n], g.norm(dim=1).flip(0).numpy(), rtol=1e-8)


def test_a_single_layer_and_a_target_that_was_not_observed(rng):
    x = Ragged.from_list(sequences(5, 4, rng=rng))
    layer = nn.GRU(3, 2, dtype=F64, generator=rng)
    found = gradient_reach(layer, x)
    assert [each.name for each in found.layers] == ["gru"] and (found.input.values[0, :5] > 0).all()
    network = stack(nn.GRUConfig(hidden_size=2), nn.MeanConfig(), rng=rng)
    targets, mask = torch.zeros(2, 2, dtype=F64), torch.tensor([[True, False], [False, False]])
    found = gradient_reach(network, Batch(x, targets, mask), loss=Squared())
    assert (found.input.values[0, :5] > 0).all() and np.isnan(found.input.values[1]).all()


def test_both_directions_and_all_layers_are_there_and_the_backward_one_reads_from_the_end(rng):
    network = stack(nn.LSTMConfig(hidden_size=3, num_layers=2, bidirectional=True), rng=rng)
    x = sequences(5, 3, rng=rng)
    found = gradient_reach(network, x)
    assert [layer.name for layer in found.layers] == [
        "lstm.l0",
        "lstm.l0.reverse",
        "lstm.l1",
        "lstm.l1.reverse",
    ]
    layer = network.layers["lstm"]
    twin = nn.LSTM(3, 3, dtype=F64)
    for name in ("weight_ih", "weight_hh", "bias"):
        set_to(twin, **{f"{name}_l0": getattr(layer, f"{name}_l0_reverse").detach()})
    products = chained(layer.cells[0], twin, x[0].flip(0))
    norms = [torch.linalg.matrix_norm(p, 2).item() for p in products]
    np.testing.assert_allclose(found.layers[1].state.values[0], norms, rtol=1e-9)


def test_the_states_are_those_that_the_network_itself_goes_through(rng):
    from saiki.insight.unroll import run, tracks

    network = stack(nn.LSTMConfig(hidden_size=3, num_layers=2, bidirectional=True), rng=rng)
    x = Ragged.from_list(sequences(5, 3, 4, rng=rng))
    _, _, told = network.layers["lstm"](x, return_states=True)
    for track in tracks(run(network, x)):
        level, back = int(track.name[6]), track.name.endswith("reverse")
        for name, block in track.blocks().items():
            mine = track.states[1:, :, block][x.row_step, x.row_sequence]
            mine = mine[x.reversal] if back else mine
            theirs = told[f"{name}_l{level}{'_reverse' if back else ''}"].data
            torch.testing.assert_close(mine, theirs.detach(), rtol=1e-10, atol=1e-12)


def test_exploding_and_vanishing_products_keep_their_numbers(rng):
    network = stack(nn.RNNConfig(hidden_size=2, activation="identity"), rng=rng)
    for factor, end in ((1e8, math.inf), (1e-8, 0.0)):
        set_to(network.layers["rnn"], weight_hh_l0=factor * torch.eye(2), weight_ih_l0=0.0, bias_l0=0.0)
        curve = gradient_reach(network, sequences(45, rng=rng)).layers[0].state
        assert curve.values[0, 30] == pytest.approx(factor**30, rel=1e-10)
        assert curve.values[0, -1] == end and not np.isnan(curve.values).any()


def test_large_states_are_measured_at_fewer_lags(rng):
    network = stack(nn.RNNConfig(hidden_size=70), rng=rng)
    lags = gradient_reach(network, sequences(60, rng=rng)).lags
    assert lags[:33].tolist() == list(range(33)) and lags[-1] == 60 and len(lags) < 50
    assert gradient_reach(network, sequences(60, rng=rng), max_lag=10).lags.tolist() == list(range(11))


def test_lags_go_as_far_back_as_half_of_the_sequences(rng):
    network = stack(nn.RNNConfig(hidden_size=2), rng=rng)
    assert gradient_reach(network, sequences(9, 5, 3, rng=rng)).lags[-1] == 5
    found = gradient_reach(network, sequences(*range(1, 41), rng=rng), sequences=5)
    assert found.sequences == 5 and found.layers[0].state.count.tolist()[:2] == [5, 5]


def test_the_network_is_left_as_it_was_and_dropout_is_off(rng):
    configs = (
        nn.LSTMConfig(hidden_size=3, num_layers=2, dropout=0.5),
        nn.DropoutConfig(p=0.5),
        nn.LastConfig(),
    )
    network = nn.Stack.build(list(configs), 3, 1, generator=rng).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = sequences(6, rng=rng)
    first, second = (gradient_reach(network, x) for _ in range(2))
    np.testing.assert_array_equal(first.input.values, second.input.values)
    assert network.training and all(module.training for module in network.modules())
    assert not any(layer._forward_pre_hooks for layer in network.modules())
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in network.parameters())


def test_ids_reach_the_network_as_vectors(rng):
    network = nn.Stack.build(
        [nn.EmbeddingConfig(num_embeddings=5, size=3), nn.GRUConfig(hidden_size=4), nn.LastConfig()],
        1,
        2,
        generator=rng,
    )
    found = gradient_reach(network, [torch.tensor([0, 4, 1, 2])])
    assert (found.input.values[0, :4] > 0).all()


def test_an_untrained_twin_has_the_same_layers_and_other_weights(rng):
    network = stack(nn.LSTMConfig(hidden_size=3), nn.LastConfig(), rng=rng)
    twin = untrained(network, rng)
    assert twin.to_config() == network.to_config()
    assert not torch.equal(twin.layers["lstm"].weight_ih_l0, network.layers["lstm"].weight_ih_l0)


def test_the_reach_is_where_a_curve_stays_below():
    lags = np.array([0, 1, 2, 3, 8])
    assert reach_of(lags, np.array([2.0, 1.0, 1e-4, 1e-4, 1e-5])) == 2
    assert reach_of(lags, np.array([2.0, 1e-4, 1.0, 1e-4, 1e-5])) == 3  # it comes back once
    assert reach_of(lags, np.array([1.0, 1.0, 1.0, 1.0, 1.0])) is None
    assert reach_of(lags, np.zeros(5)) == 0
    assert reach_of(lags, np.array([1.0, 1.0, 1e-9, np.nan, np.nan])) == 2
    assert reach_of(lags, np.full(5, np.nan)) is None


def test_quartiles_leave_out_what_is_not_there():
    curve = Curve(np.array([[1.0, np.nan], [2.0, np.nan], [3.0, np.nan]]))
    assert (curve.lower[0], curve.median[0], curve.upper[0]) == (1.5, 2.0, 2.5)
    assert np.isnan(curve.median[1]) and curve.count.tolist() == [3, 0]
    assert Curve(np.array([[np.inf, -np.inf], [np.inf, -np.inf]])).median.tolist() == [np.inf, -np.inf]


def test_the_result_is_json(rng):
    found = gradient_reach(stack(nn.LSTMConfig(hidden_size=3), rng=rng), sequences(4, 2, rng=rng))
    assert isinstance(found, GradientReach)
    read = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert read["lags"] == [0, 1, 2, 3, 4] and read["layers"][0]["state"]["median"][0] == 1.0
    assert read["input"]["median"][-1] is None and set(read["layers"][0]["blocks"]) == {"h", "c"}
    assert found.layer("lstm") is found.layers[0]


def test_what_cannot_be_looked_at_is_a_clear_error(rng):
    network = stack(nn.LSTMConfig(hidden_size=3), rng=rng)
    x = sequences(4, rng=rng)
    with pytest.raises(OptionError, match="no recurrent layer"):
        gradient_reach(nn.Stack.build([nn.DenseConfig(size=2)], 3), x)
    with pytest.raises(DTypeError, match=r"model\.network_"):
        gradient_reach("network", x)
    with pytest.raises(OptionError, match="needs targets"):
        gradient_reach(network, x, loss=Squared())
    with pytest.raises(LengthError, match="no sequence of data has a step"):
        gradient_reach(network, [torch.zeros(0, 3)])
    x[0][2, 1] = math.nan
    with pytest.raises(ValueRangeError, match="sequence 1, step 2"):
        gradient_reach(network, [torch.zeros(0, 3, dtype=F64), *x])
    with pytest.raises(OptionError, match="no layer 'gru'; there are lstm"):
        gradient_reach(network, sequences(2, rng=rng)).layer("gru")
