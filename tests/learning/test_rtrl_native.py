"""The influence in the kernels: the same numbers as the plain form, for every cell, however it is cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from saiki import engine
from saiki.cells import GRU, LSTM, Cell, Elman, Jordan
from saiki.core.errors import ShapeError
from saiki.learning import influence as plain
from saiki.learning import influence_native as native

_native = pytest.importorskip("saiki._native", reason="the native extension was not built")

FAMILIES: tuple[type[Cell[Any, Any]], ...] = (Elman, Jordan, LSTM, GRU)
RULES: tuple[plain.Approximation, ...] = ("exact", "snap1", "eprop")
CELLS = [cell for family in FAMILIES for cell in family.variants(3, 5)]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Problem:
    """A chunk with nothing at zero: states, an influence from before, errors at every step."""

    def __init__(
        self,
        cell: Cell[Any, Any],
        sizes: tuple[int, ...] = (4, 4, 3, 1, 1),
        dtype: torch.dtype = torch.float64,
        *,
        initial: bool = False,
        seed: int = 4,
    ) -> None:
        draw = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype)

        self.cell, self.initial = cell, initial
        shapes = cell.parameter_shapes()
        self.params = {name: 0.4 * normal(*shape) for name, shape in shapes.items()}
        self.sizes = torch.tensor(sizes)
        B, N = sizes[0], sum(sizes)
        self.x, self.d_output = normal(N, cell.input_size), normal(N, cell.output_size)
        self.first = tuple(normal(B, size) for size in cell.state_sizes)
        columns = sum(p.numel() for p in self.params.values()) + sum(cell.state_sizes) * initial
        self.influence = {r: normal(B, plain.influence_rows(cell, r), columns) for r in RULES}

    def unroll(self, module: Any = native) -> Any:
        return module.unroll(self.cell, self.params, self.x, self.sizes, self.first)

    def run(self, rule: plain.Approximation, module: Any = native) -> tuple[Tensor, Tensor]:
        return module.scan(self.unroll(module), self.influence[rule], self.d_output, rule)


def close(ours: tuple[Tensor, ...], truth: tuple[Tensor, ...], tolerance: float) -> None:
    """Relative to the largest number of each tensor."""
    for mine, true in zip(ours, truth, strict=True):
        torch.testing.assert_close(mine, true, rtol=0, atol=tolerance * max(1.0, float(true.abs().max())))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.label)
def test_it_is_the_plain_form(cell: Cell[Any, Any], rule: plain.Approximation) -> None:
    """Sums in another order: rounding alone, some 10 steps of sums over 5 units."""
    problem = Problem(cell, initial=True)
    assert isinstance(problem.unroll(), native.NativeRun)
    close(problem.run(rule), problem.run(rule, plain), 1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [(1, 1), (2, 16), (17, 9), (5, 33), (40, 67)], ids=str)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_odd_sizes_in_single_precision(
    family: type[Cell[Any, Any]], size: tuple[int, int], rule: plain.Approximation
) -> None:
    """Panels that end inside a vector, rows of fewer and of more than a vector."""
    cell = Jordan(*size, 3) if family is Jordan else family(*size)
    problem = Problem(cell, (2, 2, 1), torch.float32)
    close(problem.run(rule), problem.run(rule, plain), 2e-5)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.label)
def test_the_exact_form_is_back_propagation(cell: Cell[Any, Any]) -> None:
    """Both evaluate the same sum; from no influence, with the initial state as one more parameter."""
    problem = Problem(cell)
    like = problem.x
    M = plain.no_influence(cell, "exact", len(problem.first[0]), like, initial=True)
    gradient, _ = native.scan(problem.unroll(), M, problem.d_output)

    params = {name: p.clone().requires_grad_() for name, p in problem.params.items()}
    first = tuple(s.clone().requires_grad_() for s in problem.first)
    (ran,) = engine.run(cell, [params], problem.x, problem.sizes, [first], engine="reference")
    wanted = (*params.values(), *first)
    found = torch.autograd.grad((ran.output * problem.d_output).sum(), wanted, allow_unused=True)
    truth = [torch.zeros_like(p) if g is None else g for p, g in zip(wanted, found)]
    truth[len(params) :] = [g.sum(0) for g in truth[len(params) :]]
    expected = torch.cat([g.flatten() for g in truth])
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_threads_do_not_show(family: type[Cell[Any, Any]], rule: plain.Approximation) -> None:
    cell = Jordan(7, 24, 5) if family is Jordan else family(7, 24)
    problem = Problem(cell, (3,) * 40 + (1,) * 30, torch.float32)
    alone = problem.run(rule)
    for threads in (2, 3):
        torch.set_num_threads(threads)
        for mine, one in zip(problem.run(rule), alone, strict=True):
            assert torch.equal(mine, one)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_chunk_may_be_cut_anywhere(family: type[Cell[Any, Any]], rule: plain.Approximation) -> None:
    """A step at a time leaves the very same influence; the gradient is the sum of the parts."""
    cell = Jordan(4, 6, 3) if family is Jordan else family(4, 6)
    problem = Problem(cell, (3, 3, 2, 2, 1))
    gradient, M = problem.run(rule)
    carried, total, place = problem.influence[rule].clone(), torch.zeros_like(gradient), 0
    states = list(problem.first)
    for live in problem.sizes.tolist():
        rows = slice(place, place + live)
        first = tuple(s[:live] for s in states)
        run = native.unroll(cell, problem.params, problem.x[rows], torch.tensor([live]), first)
        part, carried[:live] = native.scan(run, carried[:live], problem.d_output[rows], rule)
        total += part
        states = [torch.cat([last, s[live:]]) for last, s in zip(run.last, states)]
        place += live
    assert torch.equal(carried, M)
    torch.testing.assert_close(total, gradient, rtol=0, atol=1e-12 * float(gradient.abs().max()))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.label)
def test_the_run_tells_states_and_gates(cell: Cell[Any, Any]) -> None:
    """What the layers above a layer are differentiated from."""
    problem = Problem(cell)
    ours, truth = problem.unroll().steps, problem.unroll(plain).steps
    close(tuple(ours.before), tuple(truth.before), 1e-13)
    close(tuple(ours.after), tuple(truth.after), 1e-13)
    assert ours.gates.keys() == truth.gates.keys()
    close(tuple(ours.gates[name] for name in truth.gates), tuple(truth.gates.values()), 1e-13)


@pytest.mark.parametrize("isa", _native.targets())
def test_every_instruction_set(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAIKI_ISA", isa)
    for cell in (LSTM(5, 11, peepholes=True), GRU(5, 11, reset="before")):
        for rule in RULES:
            problem = Problem(cell)
            close(problem.run(rule), problem.run(rule, plain), 1e-12)


def test_what_is_given_stays_as_it_is() -> None:
    problem = Problem(LSTM(3, 5))
    before = problem.influence["exact"].clone()
    gradient, M = problem.run("exact")
    assert torch.equal(problem.influence["exact"], before)
    given = before.clone()
    in_place, same = native.scan_(problem.unroll(), given, problem.d_output)
    assert same is given
    assert torch.equal(given, M) and torch.equal(in_place, gradient)


def test_no_sequences_give_no_gradient() -> None:
    problem = Problem(GRU(3, 5))
    none = torch.empty(0, dtype=torch.int64)
    first = tuple(s[:0] for s in problem.first)
    run = native.unroll(problem.cell, problem.params, problem.x[:0], none, first)
    gradient, M = native.scan(run, problem.influence["exact"][:0], problem.d_output[:0])
    assert M.shape[0] == 0 and not gradient.any()


def test_what_has_no_kernel_goes_the_plain_way() -> None:
    """A callable for an activation, another engine asked for."""
    own = Problem(Elman(3, 5, activation=torch.tanh))
    assert isinstance(own.unroll(), plain.Unrolled)
    named = Problem(Elman(3, 5))
    with engine.use("reference"):
        assert isinstance(named.unroll(), plain.Unrolled)
        truth = named.run("exact")
    close(named.run("exact"), truth, 1e-12)
    close(own.run("exact"), truth, 1e-12)


def test_an_influence_of_another_shape_is_refused() -> None:
    problem = Problem(LSTM(3, 5))
    with pytest.raises(ShapeError, match=r"influence is \(4, 2, 180\) but must be \(4, 10, 180\)"):
        native.scan(problem.unroll(), problem.influence["snap1"], problem.d_output)
