"""The C++ kernel against the reference loop, its checks at the door, and life without it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch

from saiki import engine
from saiki.cells import GRU, Elman
from saiki.core.activations import ACTIVATIONS
from saiki.core.errors import EngineError

_native = pytest.importorskip("saiki._native", reason="the native extension was not built")

SIZES = [  # I, H, batch_sizes: one of everything; narrower, as wide and wider than a panel of 4 or 8; ragged
    (1, 1, (1,)),
    (3, 5, (4, 4, 3, 1, 1)),
    (2, 8, (6,)),
    (7, 17, (9, 5, 5, 4, 1)),
    (5, 33, (1, 1, 1)),
    (3, 4, ()),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("I", "H", "batch_sizes"), SIZES, ids=str)
def test_kernel_agrees_with_the_reference(problem, same, I, H, batch_sizes, activation, dtype):
    """Sums of up to 41 terms over 5 steps: a few hundred roundings at worst."""
    p = problem(Elman(I, H, activation=activation), batch_sizes, dtype)
    with torch.no_grad():
        same(p.run("cpu"), p.run("reference"), 500 * torch.finfo(dtype).eps)


def test_kernel_without_bias_and_with_strided_input(problem, same):
    p = problem(Elman(3, 5, bias=False))
    wide = torch.full((len(p.data), 7), torch.nan, dtype=torch.float64)
    wide[:, ::3] = p.data
    strided = engine.run(p.cell, p.params[:1], wide[:, ::3], p.batch_sizes, p.states[:1], engine="cpu")
    with torch.no_grad():
        same(strided, p.run("reference")[:1], 1e-13)


def test_a_row_is_bit_for_bit_the_same_alone(problem):
    """The order of additions in a row does not depend on the rows beside it."""
    p = problem(Elman(3, 17), (7, 7, 6, 5, 1), torch.float32)
    with torch.no_grad():
        together = p.run("cpu")
        for row in range(7):
            for way, alone in enumerate(p.only(row).run("cpu")):
                assert torch.equal(together[way].output[p.rows_of(row)], alone.output)
                assert torch.equal(together[way].state.h[row], alone.state.h[0])


def test_nan_stays_in_its_row(problem):
    p = problem(Elman(3, 17, activation="relu"), (7, 7, 6), torch.float32)
    p.data[p.rows_of(2)] = torch.nan
    with torch.no_grad():
        for run in p.run("cpu"):
            sick = run.output.isnan().any(dim=-1).nonzero().flatten()
            assert sick.tolist() == p.rows_of(2).tolist()


def good() -> dict[str, Any]:
    return {
        "data": np.zeros((5, 3)),
        "batch_sizes": np.array([2, 2, 1]),
        "weight_ih": np.zeros((4, 3)),
        "weight_hh": np.zeros((4, 4)),
        "bias": np.zeros(4),
        "h0": np.zeros((2, 4)),
        "activation": "tanh",
        "reverse": False,
    }


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("data", np.zeros((5, 3), dtype=np.float16), TypeError, "float32 or float64"),
        ("data", np.zeros(15), ValueError, r"data must be \(N, I\)"),
        ("data", np.zeros((5, 6))[:, ::2], ValueError, "data must be contiguous"),
        ("batch_sizes", np.array([2, 2]), ValueError, "add up"),
        ("batch_sizes", np.array([1, 2, 2]), ValueError, "never rise"),
        ("batch_sizes", np.array([5, 0]), ValueError, "at least 1"),
        ("batch_sizes", np.array([-1, 6]), ValueError, "at least 1"),
        ("batch_sizes", np.array([2**62] * 4 + [5]), ValueError, "add up"),
        ("batch_sizes", np.array([2, 2, 1], dtype=np.int32), TypeError, "int64"),
        ("weight_ih", np.zeros((4, 2)), ValueError, r"weight_ih is \(4, 2\) but must be \(4, 3\)"),
        ("weight_ih", np.zeros((4, 3), dtype=np.float32), TypeError, "weight_ih must have the element type"),
        ("weight_hh", np.zeros((4, 5)), ValueError, "must be"),
        ("bias", np.zeros(3), ValueError, r"bias is \(3\)"),
        ("h0", np.zeros((3, 4)), ValueError, r"h0 is \(3, 4\) but must be \(2, 4\)"),
        ("activation", "tahn", ValueError, "unknown activation"),
        ("data", None, TypeError, "incompatible function arguments"),
    ],
)
def test_binding_refuses_what_does_not_fit(name, value, error, words):
    with pytest.raises(error, match=words):
        _native.elman_forward(**{**good(), name: value})


def test_binding_takes_read_only_arrays():
    arguments = good()
    for value in arguments.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    output, last = _native.elman_forward(**arguments)
    assert output.shape == (5, 4) and last.shape == (2, 4)
    assert not output.any() and not last.any()


@pytest.mark.parametrize(
    ("cell", "options", "words"),
    [
        (GRU(3, 5), {}, "no gru kernel yet"),
        (Elman(3, 5, activation=torch.sin), {}, "cannot call a Python activation"),
        (Elman(3, 5), {"trace": True}, "does not keep gates"),
    ],
)
def test_what_it_cannot_do_is_said(problem, cell, options, words):
    with torch.no_grad(), pytest.raises(EngineError, match=words):
        problem(cell).run("cpu", **options)


def test_it_has_no_backward_pass_and_says_so(problem):
    p = problem(Elman(3, 5)).with_grad()
    with pytest.raises(EngineError, match=r"no backward pass yet.*Available: torch_fused, reference"):
        p.run("cpu")
    with torch.no_grad():
        assert len(p.run("cpu")) == 2


def test_half_precision_is_refused(problem):
    with pytest.raises(EngineError, match=r"not torch\.bfloat16"):
        problem(Elman(3, 5), dtype=torch.bfloat16).run("cpu")


def test_everything_works_without_the_extension(problem, same, monkeypatch):
    monkeypatch.setitem(sys.modules, "saiki._native", None)  # what an import finds where nothing was built
    p = problem(Elman(3, 5))
    assert not engine.info().native
    assert "not built" in str(engine.info())
    assert "cpu" not in engine.info().engines
    assert engine.available(p.cell) == ("torch_fused", "reference")
    same(p.run("auto"), p.run("reference"), 1e-12)
    with pytest.raises(EngineError, match=r"native extension was not built.*compiler"):
        p.run("cpu")
