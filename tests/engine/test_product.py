"""The native matrix product as an operator of torch, and where layers use it."""

from __future__ import annotations

import pytest
import torch
from torch import func
from torch.nn import functional

from saiki import nn
from saiki.core.errors import OptionError

pytest.importorskip("saiki._native", reason="the native extension was not built")

from saiki.engine import product

SHAPES = [  # x, units: a row, a batch, more axes, nothing at all
    ((1, 5), 3),
    ((5,), 3),
    ((4, 7), 33),
    ((2, 3, 17), 20),
    ((0, 4), 2),
    ((2, 0, 4), 2),
    ((70, 20), 40),
]
WIDE = product.LEAST // 64 + 64  # features that make a layer of 64 units use the native product


def problem(shape, units, dtype=torch.float64, bias=True):
    draws = torch.Generator().manual_seed(0)
    sizes = (shape, (units, shape[-1]), (units,))
    x, weight, b = (torch.randn(size, dtype=dtype, generator=draws).requires_grad_() for size in sizes)
    return (x, weight, b) if bias else (x, weight)


def close(ours, theirs, tolerance=1e-12):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def gradients(linear, leaves):
    y = linear(*leaves)
    weights = torch.arange(y.numel(), dtype=y.dtype).cos().view(y.shape)
    return torch.autograd.grad((y * weights).sum(), leaves, materialize_grads=True)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("shape", "units"), SHAPES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)], ids=str)
def test_agrees_with_torch(shape, units, dtype, tolerance, bias):
    """Sums of at most 70 terms of size 1: rounding leaves well under the tolerance."""
    leaves = problem(shape, units, dtype, bias)
    y = product.native_linear(*leaves)
    assert y.is_contiguous()
    close([y], [functional.linear(*leaves)], tolerance)
    close(gradients(product.native_linear, leaves), gradients(functional.linear, leaves), tolerance)
    with torch.no_grad():
        assert torch.equal(product.native_linear(*leaves), y)


def test_gradients_of_gradients():
    leaves = problem((3, 4), 2)
    assert torch.autograd.gradcheck(product.native_linear, leaves)
    assert torch.autograd.gradgradcheck(product.native_linear, leaves)
    some = problem((3, 4), 2)
    some[1].requires_grad_(False)
    assert torch.autograd.gradgradcheck(product.native_linear, some)


def test_views_are_read_where_they_lie_or_copied():
    wide = torch.randn(9, 30, dtype=torch.float64)
    expanded = torch.randn(1, 8, dtype=torch.float64).expand(5, 8)
    square = torch.randn(8, 8, dtype=torch.float64)
    for x in (
        wide[:, :8],
        wide[:8].t()[:, :8],
        wide[::2, 4:28:3],
        expanded,
        torch.ones(()).double().expand(4, 8),
    ):
        for weight in (square, square.t(), wide[:, 1:9], wide[:, ::3][:, :8], square[:1].expand(6, 8)):
            close([product.native_linear(x, weight, None)], [functional.linear(x, weight)])
    lazy = torch.randn(5, 8, dtype=torch.complex128).conj().imag
    assert lazy.is_neg()
    close([product.native_linear(lazy, square, None)], [functional.linear(lazy, square)])


def test_a_row_has_the_same_bits_in_any_batch_and_on_any_number_of_threads():
    x, weight, bias = (t.detach() for t in problem((150, 700), 90, torch.float32))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(product.native_linear(x, weight, bias))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(y, found[0]) for y in found)
    for some in (slice(0, 1), slice(7, 9), slice(20, 30), slice(100, 150)):
        assert torch.equal(product.native_linear(x[some], weight, bias), found[0][some])


@pytest.mark.parametrize("mapped", ["x", "weight", "bias", "x weight bias"])
@pytest.mark.parametrize("shape", [(4,), (5, 4)], ids=str)
def test_vmap(shape, mapped):
    x, weight, bias = problem(shape, 3)
    in_dims = [0 if name in mapped.split() else None for name in ("x", "weight", "bias")]
    args = [
        torch.stack([t, 2 * t, -t], dim=0) if dim == 0 else t for t, dim in zip((x, weight, bias), in_dims)
    ]
    ours, theirs = (
        func.vmap(linear, in_dims=tuple(in_dims))(*args)
        for linear in (product.native_linear, functional.linear)
    )
    close([ours], [theirs])


def test_transforms_of_torch_func():
    x, weight, bias = (t.detach() for t in problem((5, 4), 3))

    def found(linear):
        def loss(x, weight, bias):
            return linear(x, weight, bias).sin().square().sum()

        a_sample = func.vmap(func.grad(loss, argnums=(0, 1, 2)), in_dims=(0, None, None))(x, weight, bias)
        hessian = func.jacrev(func.grad(loss, argnums=1), argnums=1)(x, weight, bias)
        return *a_sample, hessian, func.jvp(lambda x: linear(x, weight, bias), (x,), (x.cos(),))[1]

    def chosen(x, weight, bias):  # as a layer has it: torch's own where the derivative goes forward
        return (
            functional.linear(x, weight, bias)
            if product._elsewhere()
            else product.native_linear(x, weight, bias)
        )

    close(found(chosen), found(functional.linear))


def test_the_operator_is_sound():
    """The fake kernel, autograd and the schema, by torch's own tests; float32, for they compare bits."""
    x, weight, bias = problem((5, 4), 3)
    torch.library.opcheck(torch.ops.saiki.linear.default, (x, weight, bias))
    torch.library.opcheck(torch.ops.saiki.linear.default, (x[0], weight, None))


def test_compile_takes_the_operator():
    leaves = problem((5, 4), 3)

    def linear(*leaves):
        return torch.ops.saiki.linear.default(*leaves)

    compiled = torch.compile(linear, fullgraph=True, backend="aot_eager")
    close([compiled(*leaves)], [linear(*leaves)], 0)
    close(gradients(compiled, leaves), gradients(linear, leaves))


# --- in layers ----------------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """The shapes that the native product was used for."""
    seen = []
    native = product.native_linear

    def spy(x, weight, bias=None):
        seen.append((tuple(x.shape), tuple(weight.shape)))
        return native(x, weight, bias)

    monkeypatch.setattr(product, "native_linear", spy)
    return seen


def test_a_wide_dense_uses_it_whatever_the_batch(calls):
    for rows in (1, 2, 50):
        nn.Dense(WIDE, 64)(torch.randn(rows, WIDE))
    assert calls == [((rows, WIDE), (64, WIDE)) for rows in (1, 2, 50)]


def test_a_narrow_dense_leaves_it_to_torch(calls):
    nn.Dense(8, 8)(torch.randn(50, 8))
    nn.Dense(product.LEAST, 2)(torch.randn(50, product.LEAST))
    nn.Dense(2, product.LEAST)(torch.randn(50, 2))
    assert not calls


def test_what_it_cannot_do_goes_to_torch(calls):
    dense = nn.Dense(WIDE, 64)
    x = torch.randn(3, WIDE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert dense(x).dtype is torch.bfloat16
    half = nn.Dense(WIDE, 64, dtype=torch.bfloat16)
    assert half(x.bfloat16()).dtype is torch.bfloat16
    compiled = torch.compile(dense, fullgraph=True, backend="aot_eager")
    close([compiled(x)], [dense(x)], 1e-4)
    program = torch.export.export(dense, (x,))
    assert any(
        "linear" in str(node.target) and "saiki" not in str(node.target) for node in program.graph.nodes
    )
    params = dict(dense.named_parameters())
    _, tangent = func.jvp(lambda x: func.functional_call(dense, params, (x,)), (x,), (torch.ones_like(x),))
    close([tangent], [dense.weight.sum(1).expand(3, 64)], 1e-4)
    meta = nn.Dense(WIDE, 64, device="meta")
    assert meta(torch.empty(3, WIDE, device="meta")).shape == (3, 64)
    assert len(calls) == 1  # the eager call beside the compiled one


def test_dense_agrees_with_torch_and_learns_alike():
    dense = nn.Dense(WIDE, 64, activation="tanh", dtype=torch.float64)
    x = torch.randn(6, WIDE, dtype=torch.float64, requires_grad=True)
    leaves = (x, dense.weight, dense.bias)
    ours = torch.autograd.grad(dense(x).square().sum(), leaves)
    theirs = torch.autograd.grad(functional.linear(*leaves).tanh().square().sum(), leaves)
    close(ours, theirs, 1e-10)
    penalty = torch.autograd.grad(dense(x).sum(), x, create_graph=True)[0].square().sum()
    again = (
        torch.autograd.grad(functional.linear(*leaves).tanh().sum(), x, create_graph=True)[0].square().sum()
    )
    close(torch.autograd.grad(penalty, dense.weight), torch.autograd.grad(again, dense.weight), 1e-10)


def test_without_the_extension_layers_work_on(monkeypatch, calls):
    monkeypatch.setattr(product, "native", lambda: "it was not built")
    dense = nn.Dense(WIDE, 64)
    x = torch.randn(3, WIDE)
    assert torch.equal(dense(x), functional.linear(x, dense.weight, dense.bias))
    assert not calls


def test_an_unknown_instruction_set_is_named(monkeypatch):
    monkeypatch.setenv("SAIKI_ISA", "abacus")
    with pytest.raises(OptionError, match="abacus"):
        nn.Dense(WIDE, 64)(torch.randn(1, WIDE))
