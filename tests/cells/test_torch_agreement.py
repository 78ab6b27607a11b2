"""Where torch.nn computes the same equation, the numbers are the same; parameters go over and back."""

from __future__ import annotations

import pytest
import torch

from saiki.cells import GRU, LSTM, Elman, Jordan, from_torch, to_torch, torch_difference
from saiki.core.errors import OptionError, ShapeError

F64 = {"dtype": torch.float64, "batch_first": False}
PAIRS = [
    (Elman(3, 5), lambda: torch.nn.RNN(3, 5, **F64)),
    (Elman(3, 5, activation="relu"), lambda: torch.nn.RNN(3, 5, nonlinearity="relu", **F64)),
    (Elman(3, 5, bias=False), lambda: torch.nn.RNN(3, 5, bias=False, **F64)),
    (LSTM(3, 5), lambda: torch.nn.LSTM(3, 5, **F64)),
    (LSTM(3, 5, bias=False), lambda: torch.nn.LSTM(3, 5, bias=False, **F64)),
    (GRU(3, 5), lambda: torch.nn.GRU(3, 5, **F64)),
    (GRU(3, 5, bias=False), lambda: torch.nn.GRU(3, 5, bias=False, **F64)),
]
pairs = pytest.mark.parametrize(("cell", "module"), PAIRS, ids=[cell.label for cell, _ in PAIRS])


def theirs(module, rng):
    """A torch layer's tensors without their layer suffix, both biases random."""
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.randn(value.shape, generator=rng, dtype=torch.float64))
    return {name.removesuffix("_l0"): value.detach() for name, value in module.named_parameters()}


def run(cell, params, xs, state):
    outputs = []
    for x in xs:
        state = cell.step(cell.params(params), state, x)
        outputs.append(state.h)
    return torch.stack(outputs), state


@pairs
def test_outputs_and_last_state_agree(cell, module, rng):
    layer = module()
    params = from_torch(cell, theirs(layer, rng))
    xs = torch.randn(7, 4, 3, generator=rng, dtype=torch.float64)
    first = [torch.randn(1, 4, 5, generator=rng, dtype=torch.float64) for _ in cell.states]
    expected, last = layer(xs, tuple(first) if len(first) > 1 else first[0])
    output, state = run(cell, params, xs, cell.state_type(*(s[0] for s in first)))
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    for ours, its in zip(state, last if isinstance(last, tuple) else (last,)):
        torch.testing.assert_close(ours, its[0], rtol=0, atol=1e-12)


@pairs
def test_parameters_go_over_and_back(cell, module, rng):
    layer = module()
    params = from_torch(cell, theirs(layer, rng))
    assert {name: tuple(value.shape) for name, value in params.items()} == cell.parameter_shapes()
    back = to_torch(cell, params)
    again = module()
    again.load_state_dict({f"{name}_l0": value for name, value in back.items()})
    xs = torch.randn(7, 4, 3, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(again(xs)[0], layer(xs)[0], rtol=0, atol=1e-12)
    once_more = from_torch(cell, back)
    assert all(torch.equal(once_more[name], params[name]) for name in params)
    if cell.bias and not isinstance(cell, GRU):
        assert not back["bias_hh"].any()
    if isinstance(cell, GRU) and cell.bias:
        assert not back["bias_hh"][:10].any()
        assert torch.equal(back["bias_hh"][10:], params["bias_hn"])


def test_autograd_runs_through_the_conversion():
    cell = GRU(3, 5)
    params = {name: value.requires_grad_() for name, value in cell.initial_parameters().items()}
    sum(value.sum() for value in to_torch(cell, params).values()).backward()
    assert all(value.grad.eq(1).all() for value in params.values())


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (Elman(3, 5, activation="softsign"), "torch.nn.RNN has tanh and relu, not activation='softsign'"),
        (LSTM(3, 5, peepholes=True), "torch.nn.LSTM has peepholes=False, not True"),
        (LSTM(3, 5, forget_gate=False), "torch.nn.LSTM has forget_gate=True, not False"),
        (LSTM(3, 5, coupled=True), "coupled"),
        (LSTM(3, 5, gate_activation="hard_sigmoid"), "gate_activation"),
        (GRU(3, 5, reset="before"), "torch.nn.GRU has reset='after', not 'before'"),
        (Jordan(3, 5, 2), "torch.nn has no jordan layer"),
    ],
)
def test_what_torch_lacks_is_said(cell, words):
    assert words in torch_difference(cell)
    with pytest.raises(OptionError, match="no torch layer computes this cell"):
        to_torch(cell, cell.initial_parameters())
    with pytest.raises(OptionError, match="no torch layer computes this cell"):
        from_torch(cell, {})


def test_wrong_tensors_are_refused():
    cell = LSTM(3, 5)
    right = to_torch(cell, cell.initial_parameters())
    with pytest.raises(OptionError, match="expected torch's weight_ih, weight_hh, bias_ih, bias_hh"):
        from_torch(cell, {"weight_ih": right["weight_ih"]})
    with pytest.raises(ShapeError, match=r"torch's bias_hh is \(5,\) but must be \(20,\)"):
        from_torch(cell, {**right, "bias_hh": torch.zeros(5)})
    with pytest.raises(OptionError, match="missing bias"):
        to_torch(cell, {name: value for name, value in cell.initial_parameters().items() if name != "bias"})
