"""The reference engine: ragged time in both directions, rows that never meet, gradients."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from saiki import engine
from saiki.cells import GRU, LSTM, Cell, Elman, Params, State, all_cells
from saiki.core.errors import ShapeError

CELLS = all_cells()
every_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.label)
every_engine = pytest.mark.parametrize("name", ["reference", "torch_fused"])
FUSED = [
    Elman(3, 5),
    Elman(3, 5, activation="relu"),
    LSTM(3, 5),
    LSTM(3, 5, bias=False),
    GRU(3, 5),
    GRU(3, 5, bias=False),
]


def by_hand(cell, params, xs, state):
    """One sequence, step by step."""
    outputs = []
    for x in xs:
        state = cell.step(cell.params(params), state, x.unsqueeze(0))
        outputs.append(getattr(state, cell.output)[0])
    return torch.stack(outputs), state


@every_cell
def test_each_sequence_is_the_cell_stepped_by_hand(problem, cell):
    """Forward from the first step, reverse from each sequence's own last."""
    p = problem(cell)
    forward, reverse = p.run("reference")
    for row in range(4):
        mine, one = p.rows_of(row), p.only(row)
        output, last = by_hand(cell, p.params[0], one.data, one.states[0])
        torch.testing.assert_close(forward.output[mine], output, rtol=0, atol=1e-12)
        for whole, alone in zip(forward.state, last):
            torch.testing.assert_close(whole[row], alone[0], rtol=0, atol=1e-12)
        output, last = by_hand(cell, p.params[1], one.data.flip(0), one.states[1])
        torch.testing.assert_close(reverse.output[mine], output.flip(0), rtol=0, atol=1e-12)
        for whole, alone in zip(reverse.state, last):
            torch.testing.assert_close(whole[row], alone[0], rtol=0, atol=1e-12)


@every_cell
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)], ids=str)
def test_a_sequence_alone_equals_itself_in_a_batch(problem, same, cell, dtype, tolerance):
    p = problem(cell, (5, 4, 4, 2, 2, 1), dtype)
    together = p.run("reference", trace=True)
    for row in range(5):
        mine = p.rows_of(row)
        picked = [
            engine.Run(
                run.output[mine],
                cell.state_type(*(s[row : row + 1] for s in run.state)),
                {name: value[mine] for name, value in run.trace.items()},
            )
            for run in together
        ]
        same(p.only(row).run("reference", trace=True), picked, tolerance)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6), cell=st.sampled_from(CELLS))
def test_a_sequence_does_not_depend_on_its_batch_mates(problem, same, lengths, cell):
    sizes = tuple(sum(length > t for length in lengths) for t in range(max(lengths)))
    p = problem(cell, sizes)
    together = p.run(None)
    for row in (0, sizes[0] - 1):
        mine = p.rows_of(row)
        picked = [
            engine.Run(run.output[mine], cell.state_type(*(s[row : row + 1] for s in run.state)), {})
            for run in together
        ]
        same(p.only(row).run("reference"), picked, 1e-12)


@every_cell
def test_equal_sequences_may_change_places(problem, same, cell):
    """Rows 0 and 1 run equally long, so exchanging them exchanges their results and nothing else."""
    p = problem(cell, (4, 4, 3, 2, 2))
    turn = torch.arange(len(p.data))
    first, second = p.rows_of(0), p.rows_of(1)
    turn[first], turn[second] = second, first
    rows = torch.tensor([1, 0, 2, 3])
    swapped = type(p)(
        cell,
        p.params,
        p.data[turn],
        p.batch_sizes,
        [cell.state_type(*(s[rows] for s in state)) for state in p.states],
    )
    expected = [
        engine.Run(run.output[turn], cell.state_type(*(s[rows] for s in run.state)), {})
        for run in p.run("reference")
    ]
    same(swapped.run("reference"), expected, 1e-13)


@every_cell
def test_trace_tells_every_state_and_gate(problem, same, cell):
    p = problem(cell)
    plain, traced = p.run("reference"), p.run("reference", trace=True)
    for run, told in zip(plain, traced):
        assert set(told.trace) == {*cell.states, *cell.gates}
        assert torch.equal(told.output, run.output)
        assert torch.equal(told.trace[cell.output], run.output)
        for name, size in zip(cell.states, cell.state_sizes):
            assert told.trace[name].shape == (len(p.data), size)
        for gate in cell.gates:
            assert told.trace[gate].shape == (len(p.data), cell.hidden_size)
    ends = [int((p.batch_sizes > row).sum()) - 1 for row in range(4)]
    starts = p.batch_sizes.cumsum(0) - p.batch_sizes
    last = torch.stack([starts[end] + row for row, end in enumerate(ends)])
    for name, value in zip(cell.states, traced[0].state):
        assert torch.equal(traced[0].trace[name][last], value)


@every_cell
def test_no_steps_leave_the_state_alone(problem, cell):
    p = problem(cell, ())
    for run in p.run(None, trace=True):
        assert run.output.shape == (0, cell.output_size)
        assert [tuple(s.shape) for s in run.state] == [(0, size) for size in cell.state_sizes]
        assert all(len(value) == 0 for value in run.trace.values())


def nan_case(problem, cell, name):
    p = problem(cell).with_grad()
    clean = p.run(name)
    sum(run.output.sum() + sum(s.sum() for s in run.state) for run in clean).backward()
    gradient, p.data.grad = p.data.grad, None
    sick = p.rows_of(1)
    with torch.no_grad():
        p.data[sick] = torch.nan
    ill = p.run(name)
    sum(run.output.sum() + sum(s.sum() for s in run.state) for run in ill).backward()
    others = torch.tensor([row for row in range(len(p.data)) if row not in sick.tolist()])
    return clean, ill, gradient, p.data.grad, others, sick


@every_cell
def test_nan_in_one_sequence_reaches_no_other(problem, cell):
    clean, ill, gradient, ill_gradient, others, sick = nan_case(problem, cell, "reference")
    for before, after in zip(clean, ill):
        assert torch.equal(before.output[others], after.output[others])
        assert after.output[sick].isnan().all()
        for s, s_ill in zip(before.state, after.state):
            assert torch.equal(s[[0, 2, 3]], s_ill[[0, 2, 3]])
    assert torch.equal(gradient[others], ill_gradient[others])


@pytest.mark.parametrize("cell", FUSED, ids=lambda c: c.label)
def test_nan_in_one_sequence_reaches_no_other_in_torch_s_operators(problem, cell):
    clean, ill, gradient, ill_gradient, others, sick = nan_case(problem, cell, "torch_fused")
    for before, after in zip(clean, ill):
        torch.testing.assert_close(before.output[others], after.output[others], rtol=0, atol=1e-14)
        assert after.output[sick].isnan().all()
        for s, s_ill in zip(before.state, after.state):
            torch.testing.assert_close(s[[0, 2, 3]], s_ill[[0, 2, 3]], rtol=0, atol=1e-14)
    torch.testing.assert_close(gradient[others], ill_gradient[others], rtol=0, atol=1e-13)


@every_cell
def test_gradcheck_through_ragged_time(problem, cell):
    """Every parameter, the input and the initial state, both directions."""
    small = type(cell)(**{**cell.options(), "input_size": 2, "hidden_size": 2})
    p = problem(small, (2, 2, 1)).with_grad()
    names = list(p.leaves())

    def run(*_: Tensor) -> tuple[Tensor, ...]:
        return tuple(t for r in p.run("reference") for t in (r.output, *r.state))

    assert names
    assert torch.autograd.gradcheck(run, tuple(p.leaves().values()))


def test_nothing_is_changed_in_place(problem):
    p = problem(LSTM(3, 5, peepholes=True))
    before = {name: leaf.clone() for name, leaf in p.leaves().items()}
    p.run("reference")
    assert all(torch.equal(leaf, before[name]) for name, leaf in p.leaves().items())


@dataclass(frozen=True, kw_only=True)
class Leaky(Cell[Params, State]):
    """A user's own cell, which writes `step` and nothing else."""

    keep: float = 0.5

    def step(self, params, state, x):
        a = x @ params.weight_ih.T + state.h @ params.weight_hh.T + params.bias
        return State(h=self.keep * state.h + (1 - self.keep) * torch.tanh(a))


def test_a_users_own_cell_runs(problem):
    cell = Leaky(3, 5)
    p = problem(cell)
    (forward, _) = p.run("auto", trace=True)
    assert set(forward.trace) == {"h"}
    output, _ = by_hand(cell, p.params[0], p.only(0).data, p.only(0).states[0])
    torch.testing.assert_close(forward.output[p.rows_of(0)], output, rtol=0, atol=1e-12)
    assert engine.available(cell) == ("reference",)


@dataclass(frozen=True, kw_only=True)
class Wrong(Leaky):
    def step(self, params, state, x):
        return State(h=state.h[:, :2])


def test_a_cell_whose_step_returns_the_wrong_shape_is_told_so(problem):
    with pytest.raises(
        ShapeError, match=r"Wrong.step returned shapes \[\(4, 2\)\] but must return \[\(4, 5\)\]"
    ):
        problem(Wrong(3, 5)).run("reference")
