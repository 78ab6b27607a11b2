"""The short forms of real-time recurrent learning: where they are exact, and what they drop where not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from forward_problems import F64, SQUARED, against_bptt, batch_of, difference, network_of, of_cell, run

from saiki import engine, nn
from saiki.cells import GRU, LSTM, ElementwiseLSTM, Elman, Jordan, all_cells
from saiki.learning import RTRL

# where the short forms are exact


def only_diagonals(network):
    """Let every unit hear itself alone: V = 0, and each block of R diagonal."""
    with torch.no_grad():
        for name, p in network.named_parameters():
            if "weight_yh" in name:
                p.zero_()
            if "weight_hh" in name and p.shape[0] % p.shape[1] == 0:
                p.mul_(torch.eye(p.shape[1], dtype=F64).repeat(p.shape[0] // p.shape[1], 1))
    return network


ALONE = [
    Elman(3, 5),
    LSTM(3, 5, peepholes=True),
    LSTM(3, 5, coupled=True),
    GRU(3, 5),
    GRU(3, 5, reset="before"),
    Jordan(3, 5, 2, output_activation="tanh"),
]


@pytest.mark.parametrize("cell", ALONE, ids=lambda cell: cell.label)
def test_snap1_is_exact_where_units_do_not_see_each_other(cell):
    """And only there: with a full R it is not."""
    network = only_diagonals(of_cell(cell, learn=True))
    for name in ("auto", "reference"):
        with engine.use(name):
            assert against_bptt(network, batch_of(), RTRL("snap1")) < 1e-9
    assert against_bptt(of_cell(cell), batch_of(), RTRL("snap1")) > 1e-3
    one = replace(cell, hidden_size=1)
    if not isinstance(cell, Jordan):
        assert against_bptt(of_cell(one), batch_of(), RTRL("snap1")) < 1e-9


@pytest.mark.parametrize("cell", ElementwiseLSTM.variants(3, 5), ids=lambda cell: cell.label)
def test_snap1_is_exact_for_one_elementwise_layer(cell):
    """Not below another layer, and not for what stands in front."""
    assert against_bptt(of_cell(cell, learn=True), batch_of(), RTRL("snap1")) < 1e-9
    assert against_bptt(of_cell(cell, last=True), batch_of(per_step=False), RTRL("snap1")) < 1e-9
    assert against_bptt(of_cell(cell, layers=2), batch_of(), RTRL("snap1")) > 1e-4
    front = network_of(nn.Dense(3, 3, dtype=F64), nn.Recurrent(cell, dtype=F64), nn.Dense(5, 2, dtype=F64))
    assert against_bptt(front, batch_of(), RTRL("snap1")) > 1e-4
    front.layers["dense"].requires_grad_(False)
    assert against_bptt(front, batch_of(), RTRL("snap1")) < 1e-9


@pytest.mark.parametrize(
    "cell",
    [
        Elman(3, 5),
        LSTM(3, 5, peepholes=True),
        LSTM(3, 5, forget_gate=False),
        GRU(3, 5),
        ElementwiseLSTM(3, 5),
    ],
    ids=lambda cell: cell.label,
)
def test_eprop_is_exact_without_r(cell):
    network = of_cell(cell, learn=True)
    assert against_bptt(network, batch_of(), RTRL("eprop")) > 1e-4
    with torch.no_grad():
        for name, p in network.named_parameters():
            if "weight_hh" in name:
                p.zero_()
    assert against_bptt(network, batch_of(), RTRL("eprop")) < 1e-9


@pytest.mark.parametrize("approximation", ["snap1", "eprop"])
@pytest.mark.parametrize("cell", all_cells()[::2], ids=lambda cell: cell.label)
def test_a_single_step_is_exact_however_deep(cell, approximation):
    """But for a learned initial state, which already has a step through R before it."""
    network = of_cell(cell, layers=2)
    assert against_bptt(network, batch_of((1, 0, 1, 1)), RTRL(approximation)) < 1e-9


# what they drop where they are not


def partly(R, h, approximation):
    """R h, with only those paths to h left that a gradient may take."""
    held = h.detach() @ R.T
    return held if approximation == "eprop" else held + R.detach().diagonal() * (h - h.detach())


def elman_step(p, s, x, way):
    h = torch.tanh(x @ p["weight_ih"].T + partly(p["weight_hh"], s[0], way) + p["bias"])
    return (h,)


def lstm_step(p, s, x, way):
    h, c = s
    a = (x @ p["weight_ih"].T + p["bias"]).chunk(4, -1)
    i, f, g, o = (u + partly(R, h, way) for u, R in zip(a, p["weight_hh"].chunk(4)))
    p_i, p_f, p_o = p["weight_ph"]
    c_new = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
    return torch.sigmoid(o + p_o * c_new) * torch.tanh(c_new), c_new


def gru_step(p, s, x, way):
    h = s[0]
    a = (x @ p["weight_ih"].T + p["bias"]).chunk(3, -1)
    q = [partly(R, h, way) for R in p["weight_hh"].chunk(3)]
    r, z = torch.sigmoid(a[0] + q[0]), torch.sigmoid(a[1] + q[1])
    return (z * h + (1 - z) * torch.tanh(a[2] + r * (q[2] + p["bias_hn"])),)


@pytest.mark.parametrize("approximation", ["snap1", "eprop"])
@pytest.mark.parametrize(
    ("cell", "step"),
    [(Elman(3, 5), elman_step), (LSTM(3, 5, peepholes=True), lstm_step), (GRU(3, 5), gru_step)],
    ids=lambda value: getattr(value, "label", ""),
)
def test_the_short_forms_are_bptt_with_paths_cut(cell, step, approximation):
    """The same step with the other units' h held constant (snap1), or every h that R multiplies (eprop).

    Below another layer the error comes from the same step alone: the upper layer's past is held constant.
    """
    network = of_cell(cell, layers=2)
    batch = replace(batch_of((6, 6)), mask=None, weights=None)
    lower, upper, head = {}, {}, {}
    for name, p in network.named_parameters():
        part = name.rsplit(".", 1)[1]
        if part.endswith("_l0"):
            lower[part[:-3]] = p
        elif part.endswith("_l1"):
            upper[part[:-3]] = p
        else:
            head[part] = p
    xs = batch.inputs.data.split(2)
    states = [torch.zeros(2, 5, dtype=F64) for _ in cell.states]
    below, above = list(states), list(states)
    top, bottom, cut = [], [], []
    for x in xs:
        below = step(lower, below, x, approximation)
        past = [s.detach() for s in above]
        above = step(upper, above, below[0].detach(), approximation)
        top.append(above[0])
        bottom.append(below[0])
        cut.append(step({n: p.detach() for n, p in upper.items()}, past, below[0], approximation)[0])

    def loss(outputs, weight, bias):
        return SQUARED(torch.cat(outputs) @ weight.T + bias, batch.targets).mean()

    late = loss(top, head["weight"], head["bias"])
    second = dict(zip(upper, torch.autograd.grad(late, list(upper.values()))))
    early = loss(cut, head["weight"], head["bias"])
    first = dict(zip(lower, torch.autograd.grad(early, list(lower.values()))))
    _, ours, _ = run(RTRL(approximation), network, batch)
    for level, found in enumerate((first, second)):
        named = {name: ours[f"layers.recurrent.{name}_l{level}"] for name in found}
        assert difference(named, found) < 1e-9
