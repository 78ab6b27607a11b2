"""Are the derivatives right? autograd against finite differences, hand-derived deltas against autograd."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from saiki.cells import CELLS, GRU, LSTM, Cell, Elman, Jordan, all_cells
from saiki.core.activations import ACTIVATIONS
from saiki.core.errors import OptionError

every_cell = pytest.mark.parametrize("cell", all_cells(), ids=lambda c: c.label)


def deltas_against_autograd(cell, drawn, tolerance=1e-10):
    """∂L/∂θ, ∂L/∂s_{t-1}, ∂L/∂x_t for a random ∂L/∂s_t; the worst tensor is named."""
    names = list(drawn.params)
    leaves = [v.detach().requires_grad_() for v in (*drawn.params.values(), *drawn.state, drawn.x)]
    params = cell.params(dict(zip(names, leaves)))
    state_prev = cell.state_type(*leaves[len(names) : -1])
    state, gates = cell.step_with_gates(params, state_prev, leaves[-1])
    draws = torch.Generator().manual_seed(4)
    dstate = cell.state_type(*(torch.randn(s.shape, generator=draws, dtype=s.dtype) for s in state))
    expected = torch.autograd.grad(state, leaves, dstate, materialize_grads=True)
    with torch.no_grad():
        found = cell.step_backward(params, state_prev, leaves[-1], state, gates, dstate)
    assert set(found.params) == set(names)
    assert type(found.state) is type(state_prev)
    ours = [*(found.params[name] for name in names), *found.state, found.x]
    labels = [*names, *(f"state.{name}" for name in cell.states), "x"]
    worst = {label: float((a - e).abs().max()) for label, a, e in zip(labels, ours, expected)}
    assert all(a.shape == e.shape for a, e in zip(ours, expected))
    assert max(worst.values()) <= tolerance, worst
    assert any(float(e.abs().max()) > 0.01 for e in expected)


@every_cell
def test_deltas_by_hand_agree_with_autograd(draw, cell):
    assert type(cell).step_backward is not Cell.step_backward  # written, not borrowed from autograd
    deltas_against_autograd(cell, draw(cell))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_deltas_agree_for_every_activation(draw, name):
    for cell in (
        Elman(3, 5, activation=name),
        Jordan(3, 5, 2, activation=name, output_activation=name),
        LSTM(3, 5, peepholes=True, gate_activation=name, activation=name, output_activation=name),
        GRU(3, 5, gate_activation=name, activation=name),
        GRU(3, 5, reset="before", gate_activation=name, activation=name),
    ):
        deltas_against_autograd(cell, draw(cell))


def grid():
    """Every combination of structure, bias and activations."""
    flags = (True, False)
    for bias, f in product(flags, ACTIVATIONS):
        yield Elman(2, 3, bias=bias, activation=f)
    for bias, hidden, f, g in product(flags, flags, ACTIVATIONS, ACTIVATIONS):
        yield Jordan(2, 3, 4, bias=bias, hidden_feedback=hidden, activation=f, output_activation=g)
    for bias, reset, sigma, phi in product(flags, ("after", "before"), ACTIVATIONS, ACTIVATIONS):
        yield GRU(2, 3, bias=bias, reset=reset, gate_activation=sigma, activation=phi)
    ways = ({}, {"coupled": True}, {"forget_gate": False})
    for way, peepholes, sigma, phi, psi in product(ways, flags, ACTIVATIONS, ACTIVATIONS, ACTIVATIONS):
        yield LSTM(
            2, 3, **way, peepholes=peepholes, gate_activation=sigma, activation=phi, output_activation=psi
        )


@pytest.mark.long
def test_deltas_agree_for_every_combination(draw):
    cells = list(grid())
    assert len(cells) == 20 + 400 + 400 + 6000
    for cell in cells:
        deltas_against_autograd(cell, draw(cell, 2))


def check(cell, drawn):
    names = list(drawn.params)
    leaves = [v.detach().requires_grad_() for v in (*drawn.params.values(), *drawn.state, drawn.x)]

    def step(*values):
        params = cell.params(dict(zip(names, values)))
        return tuple(cell.step(params, cell.state_type(*values[len(names) : -1]), values[-1]))

    assert torch.autograd.gradcheck(step, leaves)


@every_cell
def test_gradcheck_of_one_step(draw, cell):
    small = type(cell)(**{**cell.options(), "input_size": 2, "hidden_size": 2})
    check(small, draw(small, 2))


@pytest.mark.long
def test_gradcheck_of_every_structure_and_activation(draw):
    """A kink within 1e-6 of a random pre-activation would be a false alarm; the seeds have none."""
    for name in ACTIVATIONS:
        for cell in all_cells(2, 2):
            options = {k: v for k, v in cell.options().items() if "activation" not in k}
            named = [k for k in cell.options() if "activation" in k]
            check(other := type(cell)(**options, **dict.fromkeys(named, name)), draw(other, 2))


@every_cell
def test_deltas_through_time_are_back_propagation(draw, cell):
    """Walking back with step_backward alone gives what autograd gives for the whole sequence."""
    drawn = draw(cell)
    T = 6
    xs = torch.randn(T, 4, cell.input_size, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    leaves = {name: value.requires_grad_() for name, value in drawn.params.items()}
    params, state = cell.params(leaves), drawn.state
    passed, outputs = [], []
    for x in xs:
        after, gates = cell.step_with_gates(params, state, x)
        passed.append((state, x, after, gates))
        outputs.append(getattr(after, cell.output))
        state = after
    loss = sum((output**2).sum() for output in outputs) / 2
    expected = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)))

    with torch.no_grad():
        found = {name: torch.zeros_like(value) for name, value in leaves.items()}
        dstate = cell.state_type(*(torch.zeros_like(s) for s in state))  # δ^{T+1} = 0
        for state_prev, x, after, gates in reversed(passed):
            dstate = dstate._replace(
                **{cell.output: getattr(dstate, cell.output) + getattr(after, cell.output)}
            )
            step = cell.step_backward(params, state_prev, x, after, gates, dstate)
            found = {name: found[name] + step.params[name] for name in found}
            dstate = step.state
    for name in found:
        error = float((found[name] - expected[name]).abs().max() / expected[name].abs().max().clamp(min=1))
        assert error <= 1e-10, f"{name}: {error}"


@pytest.mark.parametrize(
    "cell",
    [
        Elman(3, 5, activation=torch.sin),
        Jordan(3, 5, 2, output_activation=torch.sin),
        LSTM(3, 5, output_activation=torch.sin),
        GRU(3, 5, gate_activation=torch.sin),
    ],
    ids=lambda c: c.label,
)
def test_a_callable_has_no_hand_derived_delta(draw, cell):
    params, state, x = draw(cell)
    after, gates = cell.step_with_gates(cell.params(params), state, x)
    with pytest.raises(
        OptionError, match="derivative of each activation, and a user's own callable has none"
    ):
        cell.step_backward(cell.params(params), state, x, after, gates, after)


def test_a_users_own_cell_gets_step_backward_from_autograd(draw):
    """The base class differentiates `step`; checked on a cell whose hand-derived deltas are known."""

    class Plain(LSTM):
        step_backward = Cell.step_backward

    cell, twin = Plain(3, 5, peepholes=True), LSTM(3, 5, peepholes=True)
    params, state, x = draw(twin)
    after, gates = twin.step_with_gates(twin.params(params), state, x)
    ours = cell.step_backward(cell.params(params), state, x, after, gates, after)
    theirs = twin.step_backward(twin.params(params), state, x, after, gates, after)
    for name in theirs.params:
        torch.testing.assert_close(ours.params[name], theirs.params[name], rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.x, theirs.x, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.state.c, theirs.state.c, rtol=0, atol=1e-12)
    assert CELLS["lstm"] is LSTM


@every_cell
def test_jacobians_of_a_step_per_row(draw, cell):
    """∂s_t/∂s_{t-1} a row, by reverse and by forward differentiation under vmap."""
    params, state, x = draw(cell)

    def row(state, x):
        one = cell.state_type(*(s[None] for s in state))
        return tuple(s[0] for s in cell.step(cell.params(params), one, x[None]))

    back, ahead = (
        torch.func.vmap(jacobian(row))(state, x) for jacobian in (torch.func.jacrev, torch.func.jacfwd)
    )
    for name, ours, theirs in zip(cell.states, back, ahead):
        for of, one, other in zip(cell.states, ours, theirs):
            assert one.shape == (
                4,
                cell.state_sizes[cell.states.index(name)],
                cell.state_sizes[cell.states.index(of)],
            )
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
