"""Sessions: frozen weights, whole batches and single steps, against the reference engine."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from saiki import engine
from saiki.cells import GRU, LSTM, Cell, Elman, Jordan, all_cells
from saiki.core.errors import DTypeError, EngineError, OptionError, ShapeError

pytest.importorskip("saiki._native", reason="the native extension was not built")

CELLS = [cell for cell in all_cells() if cell.name != "elementwise_lstm"]  # it has no kernel yet
every_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.label)
WEIGHTS = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 3e-2}
TYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.float32}


def close(ours, theirs, tolerance):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, check_dtype=False)


@every_cell
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_run_agrees_with_the_reference(problem, cell, weights, direction):
    p = problem(cell, dtype=TYPES[weights])
    session = engine.session(cell, p.params[0], weights=weights, direction=direction)
    output, state = session.run(p.data, p.batch_sizes, p.states[0])
    (truth,) = engine.run(
        *(cell, p.params[:1], p.data, p.batch_sizes, p.states[:1], (direction,)), engine="reference"
    )
    close((output, *state), (truth.output, *truth.state), WEIGHTS[weights])


@every_cell
def test_steps_are_the_run_bit_for_bit(problem, cell):
    """A stream gives what the whole sequence gives; nothing depends on how it is cut."""
    p = problem(cell, (3,) * 6, torch.float32)
    session = engine.session(cell, p.params[0])
    output, last = session.run(p.data, p.batch_sizes, p.states[0])
    state = p.states[0]
    for x, y in zip(p.data.split(3), output.split(3)):
        state = session.step(x, state)
        assert torch.equal(getattr(state, cell.output), y)
    for ours, theirs in zip(state, last):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("cell", [Elman(3, 5), Jordan(3, 5, 2), LSTM(3, 5), GRU(3, 5)], ids=lambda c: c.name)
def test_a_step_changes_nothing_unless_told_where(problem, cell):
    p = problem(cell, (2,), torch.float32)
    session = engine.session(cell, p.params[0])
    before = cell.state_type(*(s.clone() for s in p.states[0]))
    fresh = session.step(p.data, p.states[0])
    close(p.states[0], before, 0)
    out = session.initial_state(2)
    assert session.step(p.data, p.states[0], out) is out
    close(out, fresh, 0)
    assert session.step(p.data, p.states[0], p.states[0]) is p.states[0]  # in place
    close(p.states[0], fresh, 0)
    arrays = cell.state_type(*(s.numpy() for s in before))
    told = session.step(p.data.numpy(), arrays)
    assert isinstance(told[0], np.ndarray)
    close([torch.from_numpy(s) for s in told], fresh, 0)


def test_the_weights_are_frozen(problem):
    p = problem(GRU(3, 5), (2,), torch.float32)
    session = engine.session(p.cell, p.params[0])
    before = session.step(p.data, p.states[0])
    p.params[0]["weight_hh"].zero_()
    close(session.step(p.data, p.states[0]), before, 0)


def test_without_a_state_it_starts_from_zeros(problem):
    p = problem(LSTM(3, 5), dtype=torch.float32)
    session = engine.session(p.cell, p.params[0])
    close(
        session.run(p.data, p.batch_sizes)[1],
        session.run(p.data, p.batch_sizes, session.initial_state(4))[1],
        0,
    )
    output, state = session.run(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert output.shape == (0, 5) and state.h.shape == (0, 5)


def test_bfloat16_weights_take_half_the_room(problem):
    cell = LSTM(64, 64)
    sizes = {w: engine.session(cell, cell.initial_parameters(), weights=w).nbytes for w in WEIGHTS}
    assert sizes["bfloat16"] < 0.6 * sizes["float32"] and sizes["float32"] < 0.6 * sizes["float64"]
    assert "bfloat16" in str(engine.session(cell, cell.initial_parameters(), weights="bfloat16"))


def test_threads_may_share_a_session(problem):
    p = problem(LSTM(3, 33), (4,), torch.float32)
    session = engine.session(p.cell, p.params[0])

    def stream(first: torch.Tensor) -> torch.Tensor:
        state = session.initial_state(4)
        for _ in range(200):
            state = session.step(first, state)
        return state.h

    inputs = [p.data * k for k in range(1, 5)]
    expected = [stream(x) for x in inputs]
    found: dict[int, torch.Tensor] = {}
    workers = [threading.Thread(target=lambda k=k: found.update({k: stream(inputs[k])})) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for k in range(4):
        assert torch.equal(found[k], expected[k])


class Own(Elman):
    """A subclass may step otherwise."""


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda c, p: engine.session("lstm", p), OptionError, "must be a saiki.cells.Cell"),
        (lambda c, p: engine.session(c, p, weights="float16"), OptionError, "unknown weights 'float16'"),
        (lambda c, p: engine.session(c, p, direction="back"), OptionError, "unknown direction"),
        (lambda c, p: engine.session(c, {}), OptionError, "missing weight_ih"),
        (lambda c, p: engine.session(LSTM(3, 6), p), ShapeError, "weight_ih is"),
        (lambda c, p: engine.session(Own(3, 5), p), EngineError, "no own kernel"),
        (lambda c, p: engine.session(LSTM(3, 5, activation=torch.sin), p), EngineError, "Python activation"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, words):
    cell = LSTM(3, 5)
    with pytest.raises(error, match=words):
        make(cell, cell.initial_parameters())


@pytest.mark.parametrize(
    ("x", "state", "error", "words"),
    [
        (torch.zeros(2, 4), None, ValueError, r"x is \(2, 4\) but must be \(2, 3\)"),
        (torch.zeros(2, 3).double(), None, TypeError, "x holds float64 but must hold float32"),
        (torch.zeros(3, 2).T, None, ValueError, "x must be contiguous"),
        (torch.zeros(3, 3), None, ValueError, r"\[0\] is \(2, 5\) but must be \(3, 5\)"),
        (None, None, TypeError, "x must be an array or a tensor of the CPU but is NoneType"),
        (torch.zeros(2, 3), (torch.zeros(2, 5),), TypeError, "must be a tuple of 2"),
    ],
)
def test_a_step_that_does_not_fit_is_refused(x, state, error, words):
    cell: Cell = LSTM(3, 5)
    session = engine.session(cell, cell.initial_parameters())
    state = session.initial_state(2) if state is None else state
    with pytest.raises(error, match=words):
        session.step(x, state, session.initial_state(2))


def test_a_run_that_does_not_fit_is_refused(problem):
    p = problem(LSTM(3, 5), dtype=torch.float32)
    session = engine.session(p.cell, p.params[0])
    with pytest.raises(ShapeError, match="add up to the rows"):
        session.run(p.data, p.batch_sizes[:-1], p.states[0])
    with pytest.raises(DTypeError, match=r"data holds torch\.float64"):
        session.run(p.data.double(), p.batch_sizes)
    with pytest.raises(OptionError, match="starts at the end"):
        engine.session(p.cell, p.params[0], direction="reverse").step(p.data[:4], p.states[0])
