"""The C++ kernel against the reference loop, its checks at the door, and life without it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch

from saiki import engine
from saiki.cells import Elman
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
    """A valid call of an Elman kernel, by the names of its arrays."""
    return {
        "data": np.zeros((5, 3)),
        "batch_sizes": np.array([2, 2, 1]),
        "reverse": False,
        "weight_ih": np.zeros((4, 3)),
        "weight_hh": np.zeros((4, 4)),
        "bias": np.zeros(4),
        "weight_ph": None,
        "first": np.zeros((2, 4)),
        "output": np.full((5, 4), np.nan),
        "last": np.full((2, 4), np.nan),
        "saved": None,
        "threads": 1,
    }


def forward(**changes: Any) -> dict[str, Any]:
    a = {**good(), **changes}
    parameters = (*(a[name] for name in ("weight_ih", "weight_hh", "bias", "weight_ph")), *(None,) * 4)
    run = (a["reverse"], parameters, (a["first"],), a["output"], (a["last"],), a["saved"])
    kernel = _native.Kernel("elman", 3, 4, 4, dtype="float64")
    kernel.forward(a["data"], a["batch_sizes"], a.get("runs", (run,)), a["threads"])
    return a


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


SHARED = np.zeros((5, 8))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (
            {"data": np.zeros((5, 3), dtype=np.float16)},
            TypeError,
            "data holds another type but must hold float64",
        ),
        ({"data": np.zeros(15)}, ValueError, r"data is \(15,\) but must be \(N, 3\)"),
        ({"data": np.zeros((5, 6))[:, ::2]}, ValueError, "data must be contiguous"),
        ({"data": None}, TypeError, "data must be an array or a tensor of the CPU but is NoneType"),
        ({"data": torch.zeros(5, 3, device="meta")}, TypeError, "data cannot be read"),
        ({"batch_sizes": np.array([2, 2])}, ValueError, "add up"),
        ({"batch_sizes": np.array([1, 2, 2])}, ValueError, "never rise"),
        ({"batch_sizes": np.array([5, 0])}, ValueError, "at least 1"),
        ({"batch_sizes": np.array([-1, 6])}, ValueError, "at least 1"),
        ({"batch_sizes": np.array([2**62] * 4 + [5])}, ValueError, "add up"),
        ({"batch_sizes": np.array([2, 2, 1], dtype=np.int32)}, TypeError, "must hold int64"),
        ({"weight_ih": np.zeros((4, 2))}, ValueError, r"weight_ih is \(4, 2\) but must be \(4, 3\)"),
        ({"weight_ih": np.zeros((4, 3), dtype=np.float32)}, TypeError, r"runs\[0\]\.weight_ih holds float32"),
        ({"weight_hh": np.zeros((4, 5))}, ValueError, "must be"),
        ({"weight_ph": np.zeros((4, 5))}, ValueError, "weight_ph must be None"),
        ({"bias": np.zeros(3)}, ValueError, r"bias is \(3,\)"),
        ({"bias": None}, TypeError, "bias must be an array"),
        ({"first": np.zeros((3, 4))}, ValueError, r"first\[0\] is \(3, 4\) but must be \(2, 4\)"),
        ({"reverse": 1}, TypeError, "reverse must be True or False"),
        ({"threads": 0}, ValueError, "threads is 0"),
        ({"output": read_only(np.zeros((5, 4)))}, ValueError, "output is read-only"),
        ({"output": SHARED[:, :4], "last": SHARED[:2, 3:7]}, ValueError, "last.* must be contiguous"),
        ({"output": SHARED.reshape(10, 4)[::2], "first": SHARED.reshape(10, 4)[:2]}, ValueError, "overlaps"),
        ({"runs": []}, TypeError, "runs must be a tuple of one or two"),
        ({"runs": ((),)}, TypeError, "must be a tuple of 6"),
    ],
)
def test_binding_refuses_what_does_not_fit(changes, error, words):
    with pytest.raises(error, match=words):
        forward(**changes)


def test_binding_reads_read_only_arrays_and_writes_all_of_the_others():
    kept = ("data", "batch_sizes", "weight_ih", "weight_hh", "bias", "first")
    told = forward(**{name: read_only(good()[name]) for name in kept})
    assert not told["output"].any() and not told["last"].any()


def test_directions_write_side_by_side_into_one_array():
    joint = np.full((5, 8), np.nan)
    parameters = (np.zeros((4, 3)), np.zeros((4, 4)), np.ones(4), *(None,) * 5)
    runs = tuple(
        (way, parameters, (np.zeros((2, 4)),), joint, (np.zeros((2, 4)),), None) for way in (False, True)
    )
    kernel = _native.Kernel("elman", 3, 4, 4, dtype="float64", activation="identity")
    kernel.forward(np.zeros((5, 3)), np.array([2, 2, 1]), runs)
    assert (joint == 1).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"family": "lstn"}, "family is 'lstn'"),
        ({"family": "gru", "peepholes": True}, "options of lstm alone"),
        ({"hidden_size": 0}, "between 1 and"),
        ({"hidden_size": 2**40}, "between 1 and"),
        ({"output_size": 3}, "output_size must be hidden_size"),
        ({"activation": "tahn"}, "activation is 'tahn' but must be one of tanh"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"target": "sse9"}, "target is 'sse9', which is not an instruction set that was built"),
    ],
)
def test_no_kernel_is_made_of_nonsense(options, words):
    given = {"family": "elman", "input_size": 3, "hidden_size": 4, "output_size": 4, **options}
    with pytest.raises(ValueError, match=words):
        _native.Kernel(**given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_matrix_product_reads_transposed_matrices_where_they_lie(dtype):
    a, b, bias = torch.randn(5, 7, dtype=dtype), torch.randn(7, 3, dtype=dtype), torch.randn(3, dtype=dtype)
    for left in (a, a.T.contiguous().T):
        for right in (b, b.T.contiguous().T):
            out = torch.full((5, 3), torch.nan, dtype=dtype)
            _native.matmul(left, right, bias, out)
            torch.testing.assert_close(out, a @ b + bias)
            _native.matmul(left, right, None, out, accumulate=True)
            torch.testing.assert_close(out, 2 * (a @ b) + bias)


@pytest.mark.parametrize(
    ("cell", "options", "words"),
    [
        (Elman(3, 5, activation=torch.sin), {}, "cannot call a Python activation"),
        (Elman(3, 5), {"trace": True}, "does not tell its gates"),
    ],
)
def test_what_it_cannot_do_is_said(problem, cell, options, words):
    with torch.no_grad(), pytest.raises(EngineError, match=words):
        problem(cell).run("cpu", **options)


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
