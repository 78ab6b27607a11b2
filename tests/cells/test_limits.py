"""Reduces to: where an option is switched off by its values, the simpler cell must come out."""

from __future__ import annotations

import pytest
import torch

from saiki.cells import GRU, LSTM, Elman, Jordan, JordanState, State

LARGE = 1e3  # σ(±1000) is 1 or 0 in float64


def step(cell, params, state, x):
    return cell.step(cell.params(params), state, x)


def same(a, b, atol=0.0):
    for name, one, other in zip(a._fields, a, b):
        torch.testing.assert_close(one, other, rtol=0, atol=atol, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("options", [{}, {"forget_gate": False}, {"coupled": True}], ids=str)
def test_peepholes_of_zero_leave_the_plain_lstm(draw, options):
    plain, peeping = LSTM(3, 5, **options), LSTM(3, 5, peepholes=True, **options)
    params, state, x = draw(plain)
    zero = torch.zeros(peeping.parameter_shapes()["weight_ph"], dtype=torch.float64)
    same(step(peeping, {**params, "weight_ph": zero}, state, x), step(plain, params, state, x), 1e-15)


def without(params, gate_rows, H):
    """Parameters without one gate's block of rows."""
    keep = [row for row in range(4 * H) if row // H != gate_rows]
    return {name: params[name][keep] for name in ("weight_ih", "weight_hh", "bias")}


def test_a_forget_gate_held_open_is_no_forget_gate(draw):
    params, state, x = draw(LSTM(3, 5))
    for name in ("weight_ih", "weight_hh"):
        params[name][5:10] = 0
    params["bias"][5:10] = LARGE
    carousel = LSTM(3, 5, forget_gate=False)
    same(step(LSTM(3, 5), params, state, x), step(carousel, without(params, 1, 5), state, x), 1e-15)


def test_a_forget_gate_of_the_negated_input_gate_is_coupled(draw):
    """σ(-a) = 1 - σ(a)."""
    params, state, x = draw(LSTM(3, 5))
    for value in params.values():
        value[5:10] = -value[:5]
    coupled = LSTM(3, 5, coupled=True)
    same(step(LSTM(3, 5), params, state, x), step(coupled, without(params, 1, 5), state, x), 1e-15)


@pytest.mark.parametrize(
    "cell",
    [Elman(3, 5), LSTM(3, 5), LSTM(3, 5, coupled=True), GRU(3, 5, bias=False), GRU(3, 5, reset="before")],
    ids=lambda c: c.label,
)
def test_without_r_the_past_hidden_state_is_not_seen(draw, cell):
    """R = 0 is a feed-forward layer; a GRU still carries h through z, so its update gate is shut."""
    params, state, x = draw(cell)
    params["weight_hh"].zero_()
    if isinstance(cell, GRU):
        x = x.abs()
        params["weight_ih"][5:10] = -LARGE  # z = 0
    other = state._replace(h=state.h + 1)
    same(step(cell, params, state, x), step(cell, params, other, x))


def test_elman_without_r_is_a_dense_layer(draw):
    params, state, x = draw(Elman(3, 5))
    params["weight_hh"].zero_()
    dense = torch.nn.functional.linear(x, params["weight_ih"], params["bias"]).tanh()
    torch.testing.assert_close(step(Elman(3, 5), params, state, x).h, dense, rtol=0, atol=1e-15)


def test_an_lstm_with_gates_open_and_linear_adds_up(draw):
    """All gates 1 and no squashing: h_t = c_t = c_{t-1} + W_g x + R_g h + b_g."""
    cell = LSTM(3, 5, activation="identity", output_activation="identity")
    params, state, x = draw(cell)
    g = slice(10, 15)
    for name in ("weight_ih", "weight_hh"):
        params[name][[r for r in range(20) if not 10 <= r < 15]] = 0
    params["bias"][[r for r in range(20) if not 10 <= r < 15]] = LARGE
    after = step(cell, params, state, x)
    written = x @ params["weight_ih"][g].T + state.h @ params["weight_hh"][g].T + params["bias"][g]
    torch.testing.assert_close(after.c, state.c + written, rtol=0, atol=1e-14)
    assert torch.equal(after.h, after.c)


def test_gru_s_resets_agree_where_the_reset_gate_is_open_and_there_is_no_b_hn(draw):
    params, state, x = draw(GRU(3, 5, reset="before"))
    params["weight_ih"][:5], params["weight_hh"][:5], params["bias"][:5] = 0, 0, LARGE
    after = {**params, "bias_hn": torch.zeros(5, dtype=torch.float64)}
    same(step(GRU(3, 5), after, state, x), step(GRU(3, 5, reset="before"), params, state, x), 1e-15)


def test_gru_with_update_gate_at_its_ends(draw):
    params, state, x = draw(GRU(3, 5))
    params["weight_ih"][5:10], params["weight_hh"][5:10] = 0, 0
    params["bias"][5:10] = LARGE
    assert torch.equal(step(GRU(3, 5), params, state, x).h, state.h)  # z = 1 keeps exactly
    params["bias"][5:10] = -LARGE
    after, gates = GRU(3, 5).step_with_gates(GRU(3, 5).params(params), state, x)
    assert torch.equal(after.h, gates["n"])  # z = 0 replaces


def test_gru_reset_shut_and_update_shut_is_feed_forward(draw):
    params, state, x = draw(GRU(3, 5, reset="before"))
    params["weight_ih"][:10], params["weight_hh"][:10], params["bias"][:10] = 0, 0, -LARGE
    dense = (x @ params["weight_ih"][10:].T + params["bias"][10:]).tanh()
    torch.testing.assert_close(step(GRU(3, 5, reset="before"), params, state, x).h, dense, rtol=0, atol=1e-15)


def test_jordan_without_output_feedback_is_elman_with_a_readout(draw):
    params, state, x = draw(Jordan(3, 5, 2))
    params["weight_yh"].zero_()
    after = step(Jordan(3, 5, 2), params, state, x)
    elman = {name: params[name] for name in ("weight_ih", "weight_hh", "bias")}
    h = step(Elman(3, 5), elman, State(state.h), x).h
    torch.testing.assert_close(after.h, h, rtol=0, atol=1e-15)
    torch.testing.assert_close(after.y, h @ params["weight_hy"].T + params["bias_y"], rtol=0, atol=1e-15)


def test_jordan_with_r_zero_is_the_classic_form(draw):
    params, state, x = draw(Jordan(3, 5, 2))
    params["weight_hh"].zero_()
    classic = Jordan(3, 5, 2, hidden_feedback=False)
    fewer = {name: value for name, value in params.items() if name != "weight_hh"}
    same(step(Jordan(3, 5, 2), params, state, x), step(classic, fewer, state, x), 1e-15)
    elsewhere = JordanState(state.h + 1, state.y)
    same(step(classic, fewer, elsewhere, x), step(classic, fewer, state, x))


def test_biases_of_zero_are_no_biases(draw):
    for cell in (Elman(3, 5), Jordan(3, 5, 2), LSTM(3, 5), GRU(3, 5), GRU(3, 5, reset="before")):
        params, state, x = draw(cell)
        none = type(cell)(**{**cell.options(), "bias": False})
        fewer = {name: params[name] for name in none.parameter_shapes()}
        zeros = {n: torch.zeros_like(v) if n.startswith("bias") else v for n, v in params.items()}
        same(step(cell, zeros, state, x), step(none, fewer, state, x), 1e-15)
