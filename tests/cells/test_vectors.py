"""Are the cells still what `vectors/cells.json` says? Outputs, last state and gradients."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from saiki import engine
from saiki.cells import CELLS

VECTORS = Path(__file__).resolve().parents[2] / "vectors"
CASES = json.loads((VECTORS / "cells.json").read_text())["cases"]
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])


def problem(case):
    """The cell and its leaves, float64."""
    cell = CELLS[case["cell"]](**case["options"])
    leaf = lambda value: torch.tensor(value, dtype=torch.float64, requires_grad=True)
    params = {name: leaf(value) for name, value in case["params"].items()}
    state = cell.state_type(**{name: leaf([value]) for name, value in case["state"].items()})
    return cell, params, state, leaf(case["x"])


def close(ours, theirs, what):
    theirs = torch.tensor(theirs, dtype=torch.float64).reshape(ours.shape)
    error = float((ours - theirs).detach().abs().max())
    assert error <= 1e-13, f"{what} is off by {error:.3g}"


@cases
@pytest.mark.parametrize("name", ["reference", "cpu", "auto"])
def test_outputs_last_state_and_gradients(case, name):
    if name not in ("auto", *engine.info().engines):
        pytest.skip(engine.info().native_note)
    cell, params, state, x = problem(case)
    if name == "cpu" and name not in engine.available(cell, dtype=torch.float64):
        pytest.skip(f"{cell.label} has no kernel")
    ones = torch.ones(len(x), dtype=torch.int64)
    (run,) = engine.run(cell, [params], x, ones, [state], engine=name)
    close(run.output, case["output"], "output")
    for part, value in zip(cell.states, run.state):
        close(value, case["last"][part], f"last {part}")
    (run.output * torch.arange(1, cell.output_size + 1)).sum().backward()
    for part, value in params.items():
        close(value.grad, case["gradient"]["params"][part], f"gradient of {part}")
    for part, value in zip(cell.states, state):
        close(value.grad, case["gradient"]["state"][part], f"gradient of initial {part}")
    close(x.grad, case["gradient"]["x"], "gradient of x")


@cases
def test_deltas_by_hand_walked_back_through_time(case):
    with torch.no_grad():
        cell, leaves, state, xs = problem(case)
        params, passed = cell.params(leaves), []
        for x in xs:
            after, gates = cell.step_with_gates(params, state, x[None])
            passed.append((state, x[None], after, gates))
            state = after
        weights = torch.arange(1, cell.output_size + 1, dtype=torch.float64)[None]
        total = {name: torch.zeros_like(value) for name, value in leaves.items()}
        dstate, dx = cell.state_type(*(torch.zeros_like(s) for s in state)), []
        for state_prev, x, after, gates in reversed(passed):
            dstate = dstate._replace(**{cell.output: getattr(dstate, cell.output) + weights})
            step = cell.step_backward(params, state_prev, x, after, gates, dstate)
            total = {name: total[name] + step.params[name] for name in total}
            dstate = step.state
            dx.insert(0, step.x[0])
    for name, value in total.items():
        close(value, case["gradient"]["params"][name], f"gradient of {name}")
    for name, value in zip(cell.states, dstate):
        close(value, case["gradient"]["state"][name], f"gradient of initial {name}")
    close(torch.stack(dx), case["gradient"]["x"], "gradient of x")


def test_the_file_is_what_its_script_gives():
    done = subprocess.run(
        [sys.executable, VECTORS / "make_cells.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
