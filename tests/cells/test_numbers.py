"""Hand-worked numbers, one unit wide, and closed forms: is it true?

The arithmetic beside each expectation is written with `math` alone, to be followed with a pocket calculator.
"""

from __future__ import annotations

from math import exp, tanh

import pytest
import torch

from saiki.cells import GRU, LSTM, Elman, GRUParams, Jordan, JordanState, LSTMState, State

LARGE = 1e3  # a gate's bias that opens (+) or shuts (-) it entirely: σ(±1000) is 1 or 0 in float64


def σ(a: float) -> float:
    return 1 / (1 + exp(-a))


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def column(*values: float) -> torch.Tensor:
    return t(*values).unsqueeze(1)


def lstm(cell: LSTM, h: float, c: float, x: float, W: list[float], R: list[float], b: list[float], p=()):
    params = {"weight_ih": column(*W), "weight_hh": column(*R), "bias": t(*b)}
    if p:
        params["weight_ph"] = column(*p)
    state, gates = cell.step_with_gates(cell.params(params), LSTMState(t(h)[None], t(c)[None]), t(x)[None])
    return state.h.item(), state.c.item(), {name: gate.item() for name, gate in gates.items()}


W, R, b, p = [0.5, -0.25, 1.0, 0.75], [0.2, 0.4, -0.6, 0.1], [0.1, 1.0, -0.2, 0.3], [0.3, -0.5, 0.7]


def test_elman_by_hand():
    """a = 0.5 · 2 + (-0.4) · 0.5 + 0.1 = 0.9, tanh 0.9 = 0.716297870…"""
    cell = Elman(1, 1)
    params = cell.params({"weight_ih": t(0.5)[None], "weight_hh": t(-0.4)[None], "bias": t(0.1)})
    after = cell.step(params, State(t(0.5)[None]), t(2.0)[None])
    assert after.h.item() == pytest.approx(0.716297870199, abs=1e-12)


def test_jordan_by_hand():
    """h = tanh(0.5 · 2 - 0.4 · 0.5 + 0.3 · (-1) + 0.1) = tanh 0.6; y = 2 h - 0.25."""
    cell = Jordan(1, 1, 1)
    numbers = {"weight_ih": 0.5, "weight_hh": -0.4, "weight_yh": 0.3, "weight_hy": 2.0}
    params = {name: t(value)[None] for name, value in numbers.items()} | {"bias": t(0.1), "bias_y": t(-0.25)}
    after = cell.step(cell.params(params), JordanState(t(0.5)[None], t(-1.0)[None]), t(2.0)[None])
    assert after.h.item() == pytest.approx(0.537049566998, abs=1e-12)
    assert after.y.item() == pytest.approx(0.824099133996, abs=1e-12)


def test_lstm_by_hand():
    """x = 2, h = .5, c = -1; a_i = 1 + .1 + .1, a_f = -.5 + .2 + 1, a_g = 2 - .3 - .2, a_o = 1.5 + .35."""
    h, c, gates = lstm(LSTM(1, 1), 0.5, -1.0, 2.0, W, R, b)
    i, f, g, o = σ(1.2), σ(0.7), tanh(1.5), σ(1.85)
    assert gates == pytest.approx({"i": i, "f": f, "g": g, "o": o}, abs=1e-15)
    assert c == pytest.approx(f * -1 + i * g, abs=1e-15) == pytest.approx(0.027441093499, abs=1e-11)
    assert h == pytest.approx(o * tanh(c), abs=1e-15)


def test_peepholes_by_hand():
    """i and f see c_{t-1} = -1; o sees the new c."""
    h, c, gates = lstm(LSTM(1, 1, peepholes=True), 0.5, -1.0, 2.0, W, R, b, p)
    i, f, g = σ(1.2 - 0.3), σ(0.7 + 0.5), tanh(1.5)
    c_new = f * -1 + i * g
    o = σ(1.85 + 0.7 * c_new)
    assert gates == pytest.approx({"i": i, "f": f, "g": g, "o": o}, abs=1e-15)
    assert (c, h) == pytest.approx((c_new, o * tanh(c_new)), abs=1e-15)
    assert o != pytest.approx(σ(1.85 + 0.7 * -1), abs=1e-3)


def test_coupled_by_hand():
    """Blocks i g o; f = 1 - i."""
    drop = [[v[0], *v[2:]] for v in (W, R, b)]
    h, c, gates = lstm(LSTM(1, 1, coupled=True, peepholes=True), 0.5, -1.0, 2.0, *drop, [p[0], p[2]])
    i, g = σ(0.9), tanh(1.5)
    c_new = (1 - i) * -1 + i * g
    o = σ(1.85 + 0.7 * c_new)
    assert gates == pytest.approx({"i": i, "g": g, "o": o}, abs=1e-15)
    assert (c, h) == pytest.approx((c_new, o * tanh(c_new)), abs=1e-15)


def test_the_cell_of_1997_by_hand():
    """c = c + i (4σ(a_g) - 2), h = o (2σ(c) - 1)."""
    drop = [[v[0], *v[2:]] for v in (W, R, b)]
    h, c, _ = lstm(LSTM.original(1, 1), 0.5, -1.0, 2.0, *drop)
    c_new = -1 + σ(1.2) * (4 * σ(1.5) - 2)
    assert (c, h) == pytest.approx((c_new, σ(1.85) * (2 * σ(c_new) - 1)), abs=1e-15)


def gru(cell: GRU, b_hn: float | None):
    """x = 2, h = 0.5."""
    params = GRUParams(
        column(0.5, -0.25, 1.0), column(0.2, 0.4, -0.6), t(0.1, 0.3, -0.2), None if b_hn is None else t(b_hn)
    )
    state, gates = cell.step_with_gates(params, State(t(0.5)[None]), t(2.0)[None])
    return state.h.item(), {name: gate.item() for name, gate in gates.items()}


def test_gru_after_by_hand():
    """n = tanh(2 - 0.2 + r (-0.6 · 0.5 + 0.7)); z weights the old."""
    h, gates = gru(GRU(1, 1), 0.7)
    r, z = σ(1 + 0.1 + 0.1), σ(-0.5 + 0.2 + 0.3)
    n = tanh(1.8 + r * 0.4)
    assert gates == pytest.approx({"r": r, "z": z, "n": n}, abs=1e-15)
    assert h == pytest.approx(z * 0.5 + (1 - z) * n, abs=1e-15)


def test_gru_before_by_hand():
    """n = tanh(2 - 0.2 - 0.6 (r · 0.5)). With one unit it differs from "after" by b_hn alone."""
    h, gates = gru(GRU(1, 1, reset="before"), None)
    r, z = σ(1.2), 0.5
    n = tanh(1.8 - 0.6 * r * 0.5)
    assert gates == pytest.approx({"r": r, "z": z, "n": n}, abs=1e-15)
    assert h == pytest.approx(z * 0.5 + (1 - z) * n, abs=1e-15)


def test_gru_resets_differ_with_two_units():
    """r = (1, 0), h = (1, 2), R_n = [1 2; 3 4]: after r ∘ R h = (5, 0), before R (r ∘ h) = (1, 3)."""
    zeros = torch.zeros(6, 1, dtype=torch.float64)
    R = torch.cat(
        [torch.zeros(4, 2, dtype=torch.float64), torch.tensor([[1.0, 2], [3, 4]], dtype=torch.float64)]
    )
    bias = t(LARGE, -LARGE, -LARGE, -LARGE, 0, 0)  # r = (1, 0), z = 0
    h, x = State(t(1, 2)[None]), t(0.0)[None]
    after = GRU(1, 2, activation="identity").step(GRUParams(zeros, R, bias, t(0, 0)), h, x)
    before = GRU(1, 2, reset="before", activation="identity").step(GRUParams(zeros, R, bias, None), h, x)
    assert after.h.tolist() == [[5, 0]]
    assert before.h.tolist() == [[1, 3]]


class TestGatesAtTheirLimits:
    def run(self, i=0.0, f=0.0, o=0.0, c=1.7):
        return lstm(LSTM(1, 1), 0.4, c, 2.0, [0, 0, 1.0, 0], [0] * 4, [i, f, 0.0, o])

    def test_input_gate_shut_writes_nothing(self):
        _, c, _ = self.run(i=-LARGE, f=0.0)
        assert c == 0.5 * 1.7

    def test_forget_gate_shut_deletes_all(self):
        _, c, _ = self.run(i=LARGE, f=-LARGE)
        assert c == tanh(2.0)

    def test_forget_open_and_input_shut_keep_exactly(self):
        _, c, _ = self.run(i=-LARGE, f=LARGE, c=0.1)
        assert c == 0.1

    def test_output_gate_shut_tells_nothing(self):
        h, _, _ = self.run(o=-LARGE)
        assert h == 0


@pytest.mark.parametrize(
    ("weight", "after_100"), [(0.9, 2.656e-5), (1.0, 1.0), (1.1, 13_780.6), (2.0, 1.268e30)]
)
def test_carousel_of_weight_a_multiplies_by_a_to_the_100(weight, after_100):
    """A linear unit fed back with weight a: value and gradient after 100 steps are a^100."""
    cell = Elman(1, 1, activation="identity", bias=False)
    params = cell.params({"weight_ih": t(0.0)[None], "weight_hh": t(weight)[None]})
    start = t(1.0)[None].requires_grad_()
    state = State(start)
    for _ in range(100):
        state = cell.step(params, state, t(0.0)[None])
    state.h.sum().backward()
    assert state.h.item() == pytest.approx(after_100, rel=3e-4)
    assert start.grad.item() == pytest.approx(weight**100, rel=1e-12)


def test_the_constant_error_carousel_keeps_gradient_one_on_the_cell_path():
    """Without forget gate and with R = 0 the path c_0 → c_100 multiplies by exactly 1."""
    cell = LSTM(1, 1, forget_gate=False)
    params = cell.params(
        {"weight_ih": column(1, 2, 3), "weight_hh": column(0, 0, 0), "bias": t(0.1, 0.2, 0.3)}
    )
    c0 = t(0.3)[None].requires_grad_()
    state = LSTMState(t(0.0)[None], c0)
    for step in range(100):
        state = cell.step(params, state, t((-1.0) ** step)[None])
    (gradient,) = torch.autograd.grad(state.c.sum(), c0)
    assert gradient.item() == 1


def test_with_a_forget_gate_the_cell_path_decays_as_the_product_of_f():
    cell = LSTM(1, 1)
    params = cell.params(
        {"weight_ih": column(1, 2, 3, 4), "weight_hh": column(0, 0, 0, 0), "bias": t(0, 1, 0, 0)}
    )
    c0 = t(0.3)[None].requires_grad_()
    state, product = LSTMState(t(0.0)[None], c0), 1.0
    for step in range(20):
        state, gates = cell.step_with_gates(params, state, t((-0.5) ** step)[None])
        product *= gates["f"].item()
    (gradient,) = torch.autograd.grad(state.c.sum(), c0)
    assert gradient.item() == pytest.approx(product, rel=1e-12)


def test_elman_without_squashing_is_a_sum_of_powers(draw):
    """h_n = R^n h_0 + Σ_t R^(n-t) W x_t, and ∂h_n/∂h_0 = R^n."""
    cell = Elman(3, 5, activation="identity", bias=False)
    drawn = draw(cell, 1)
    W, R = drawn.params["weight_ih"], drawn.params["weight_hh"]
    n = 7
    xs = torch.randn(n, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def last(h0):
        state = State(h0[None])
        for x in xs:
            state = cell.step(cell.params(drawn.params), state, x[None])
        return state.h[0]

    h0 = drawn.state.h[0]
    powers = [torch.linalg.matrix_power(R, k) for k in range(n + 1)]
    expected = powers[n] @ h0 + sum(powers[n - 1 - k] @ W @ xs[k] for k in range(n))
    torch.testing.assert_close(last(h0), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.functional.jacobian(last, h0), powers[n], rtol=1e-12, atol=1e-12
    )


def test_saturation_at_five():
    """1 - tanh 5 = 9.08e-5, 1 - softsign 5 = 1/6; slopes 1.8e-4 and 1/36."""
    for name, short, slope in (("tanh", 9.08e-5, 1.816e-4), ("softsign", 1 / 6, 1 / 36)):
        cell = Elman(1, 1, activation=name)
        params = cell.params({"weight_ih": t(1.0)[None], "weight_hh": t(0.0)[None], "bias": t(0.0)})
        x = t(5.0)[None].requires_grad_()
        h = cell.step(params, State(t(0.0)[None]), x).h
        h.sum().backward()
        assert 1 - h.item() == pytest.approx(short, rel=1e-3)
        assert x.grad.item() == pytest.approx(slope, rel=1e-3)
