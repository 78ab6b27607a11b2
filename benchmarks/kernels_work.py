"""The work of one case: its numbers, Saiki's way of doing it, and how far the result is from the truth.

All contestants compute the same function of the same numbers: weights and biases uniform in ±1/√H, input and
∂L/∂output standard normal, initial states zero (so that nothing is denormal).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import saiki.nn
from benchmarks.kernels_grid import BFLOAT16, FLOAT64, LAYERS, STACK, Case
from saiki import engine
from saiki.cells import LSTM, Cell

NAMES_OF_LAYERS = {"lstm": "LSTM", "gru": "GRU", "elman": "RNN"}
REFERENCE_FLOPS = 1e10  # of the run in float64 that the error is told against: the first steps of a big shape
REFERENCE_STEPS = 200


class Absent(Exception):
    """A contestant that is not here or cannot do this; the message is the end of a sentence."""


@dataclass(frozen=True)
class Contestant:
    """One way to do a case's work.

    Args:
        run: does it once, everything that is timed.
        tidy: what `run` returned -> output (N, K) in packed order, and ∂L/∂x (N, I) of a training run.
        foreign: it has threads of its own, not torch's.
    """

    run: Callable[[], Any]
    tidy: Callable[[Any], tuple[Tensor, Tensor | None]]
    foreign: bool = False


@dataclass(frozen=True)
class Problem:
    """The numbers of a case, packed and time-major."""

    case: Case
    cell: Cell[Any, Any]
    params: dict[str, Tensor]
    data: Tensor  # (N, I)
    batch_sizes: Tensor  # (T,)
    d_output: Tensor  # (N, K), ∂L/∂output
    layer: saiki.nn.RNN | saiki.nn.LSTM | saiki.nn.GRU | None  # of a stack

    @property
    def dtype(self) -> torch.dtype:
        return self.data.dtype

    @property
    def state(self) -> Any:  # noqa: ANN401 - the cell's state tuple
        """Zeros."""
        return self.cell.initial_state(int(self.batch_sizes[0]), dtype=self.dtype)

    @property
    def lengths(self) -> Tensor:
        """(B,) the steps of each sequence, the longest first."""
        return self.live.sum(0)

    def dense(self, rows: Tensor) -> Tensor:
        """(N, K) packed -> (T, B, K), zeros behind the ends."""
        if not self.case.ragged:
            return rows.unflatten(0, (self.case.T, self.case.B))
        padded = rows.new_zeros(self.case.T, self.case.B, rows.shape[-1])
        padded[self.live] = rows
        return padded

    def packed(self, dense: Tensor) -> Tensor:
        """(T, B, K) -> (N, K)."""
        return dense[self.live] if self.case.ragged else dense.flatten(0, 1)

    @property
    def live(self) -> Tensor:
        """(T, B) whether a sequence runs at a step."""
        return torch.gt(self.batch_sizes[:, None], torch.arange(self.case.B))

    def shortened(self, steps: int) -> Problem:
        """The first steps alone."""
        sizes = self.batch_sizes[:steps]
        rows = int(sizes.sum())
        return replace(self, batch_sizes=sizes, data=self.data[:rows], d_output=self.d_output[:rows])


def make_problem(case: Case) -> Problem:
    """Draw a case's numbers, the same at every call."""
    source = torch.Generator().manual_seed(3)
    dtype = torch.float64 if case.options == FLOAT64 else torch.float32
    cell = case.make_cell()
    lengths = torch.full((case.B,), case.T)
    if case.ragged:
        lengths = torch.randint(case.T // 10, case.T + 1, (case.B,), generator=source)
        lengths[0] = case.T
    batch_sizes = torch.gt(lengths, torch.arange(case.T)[:, None]).sum(1)
    rows = int(batch_sizes.sum())

    def uniform(shape: tuple[int, ...]) -> Tensor:
        drawn = torch.rand(shape, generator=source, dtype=torch.float64) * 2 - 1
        return (drawn / case.H**0.5).to(dtype)

    params = {name: uniform(shape) for name, shape in cell.parameter_shapes().items()}
    layer = None
    width = cell.output_size
    if case.options == STACK:
        made = getattr(saiki.nn, NAMES_OF_LAYERS[case.cell])
        layer = made(case.I, case.H, num_layers=LAYERS, bidirectional=True, generator=source)
        width *= 2
    data = torch.randn(rows, case.I, generator=source).to(dtype)
    d_output = torch.randn(rows, width, generator=source).to(dtype)
    if case.training:
        for leaf in (*params.values(), data):
            leaf.requires_grad_()
    return Problem(case, cell, params, data, batch_sizes, d_output, layer)


def ours(problem: Problem, engine_name: str) -> Contestant:
    """Saiki through its public interface: `engine.run`, a session's `step`, or the layers of a stack."""
    if problem.case.mode == "step":
        return _our_step(problem)
    if problem.layer is not None:
        return of_layer(problem, engine_name)
    return _of_cell(problem, problem.cell, problem.params, engine_name)


def frozen(problem: Problem) -> Contestant:
    """A session of Saiki over whole sequences, beside a peer that has packed its weights beforehand too."""
    session = engine.session(problem.cell, problem.params, threads=problem.case.threads)
    data, sizes, state = problem.data, problem.batch_sizes, problem.state
    return Contestant(lambda: (session.run(data, sizes, state)[0], None), lambda result: result)


def plain(problem: Problem, engine_name: str) -> Contestant:
    """Saiki on the family's plain cell, to see what an option costs; not the same function."""
    cell = problem.case.plain_cell()
    case = replace(problem.case, cell=cell.name, options="")
    other = make_problem(case)
    return _of_cell(other, cell, other.params, engine_name)


def _of_cell(
    problem: Problem, cell: Cell[Any, Any], params: Mapping[str, Tensor], engine_name: str
) -> Contestant:
    data, sizes, state = problem.data, problem.batch_sizes, problem.state
    leaves = [data, *params.values()]

    def infer() -> Any:  # noqa: ANN401
        return engine.run(cell, [params], data, sizes, [state], engine=engine_name)[0].output, None

    def train() -> Any:  # noqa: ANN401
        output = engine.run(cell, [params], data, sizes, [state], engine=engine_name)[0].output
        return output, torch.autograd.grad(output, leaves, problem.d_output)[0]

    return Contestant(train if problem.case.training else infer, lambda result: result)


def of_layer(problem: Problem, engine_name: str) -> Contestant:
    """Saiki through `saiki.nn`: the stack of the case, or a layer with its weights."""
    layer = problem.layer
    if layer is None:
        made = getattr(saiki.nn, NAMES_OF_LAYERS[problem.case.cell])
        layer = made(problem.case.I, problem.case.H)
        layer.load_state_dict({f"{name}_l0": value.detach() for name, value in problem.params.items()})
    layer.engine = engine_name
    x, d_output = problem.dense(problem.data), problem.dense(problem.d_output)
    x = x.detach().requires_grad_(problem.case.training)
    leaves = [x, *layer.parameters()]

    def run() -> Any:  # noqa: ANN401
        output = layer(x)[0]
        return output, torch.autograd.grad(output, leaves, d_output)[0] if problem.case.training else None

    def tidy(result: Any) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401
        output, dx = result
        return problem.packed(output), None if dx is None else problem.packed(dx)

    return Contestant(run, tidy)


def _our_step(problem: Problem) -> Contestant:
    """One step after another of a session, whose weights were packed beforehand."""
    weights = "bfloat16" if problem.case.options == BFLOAT16 else "float32"
    if not hasattr(engine, "session"):
        raise Absent("this engine has no sessions")
    session = engine.session(problem.cell, problem.params, weights=weights, threads=problem.case.threads)
    x, state = problem.data, problem.state
    place = problem.cell.states.index(problem.cell.output)

    def run() -> Any:  # noqa: ANN401
        return session.step(x, state, out=state)

    return Contestant(run, lambda result: (result[place].clone(), None))


# the truth


def error(problem: Problem, engine_name: str) -> tuple[float, str, int]:
    """The largest relative error against the reference engine in float64, the tensor it is in, the steps run.

    Of outputs, final states and, of a training case, all gradients, those of the initial states included:
    max |ours - truth| / max |truth|, a tensor each. A big shape runs its first steps alone.
    """
    case = problem.case
    if case.mode == "step":
        session = ours(problem, engine_name)
        output = session.tidy(session.run())[0]
        found = _everything(problem, "reference", torch.float64)
        return _relative(output, found["output"]), "output", 1
    per_step = case.flops(case.B)
    steps = min(case.T, REFERENCE_STEPS, max(3, int(REFERENCE_FLOPS / per_step)))
    short = problem.shortened(steps)
    made = _of_stack if problem.layer is not None else _everything
    mine = made(short, engine_name, problem.dtype)
    truth = made(short, "reference", torch.float64)
    errors = {name: _relative(mine[name], value) for name, value in truth.items()}
    worst = max(errors, key=lambda name: (errors[name] != errors[name], errors[name]))  # a NaN is the worst
    return errors[worst], worst, steps


def _relative(mine: Tensor, truth: Tensor) -> float:
    scale = float(truth.abs().max()) or 1.0
    return float((mine.detach().double() - truth).abs().max()) / scale


def _everything(problem: Problem, engine_name: str, dtype: torch.dtype) -> dict[str, Tensor]:
    training = problem.case.training

    def leaf(value: Tensor) -> Tensor:
        return value.detach().to(dtype).requires_grad_(training)

    params = {name: leaf(value) for name, value in problem.params.items()}
    data = leaf(problem.data)
    state = problem.cell.state_type(*(leaf(value) for value in problem.state))
    with torch.set_grad_enabled(training):
        (run,) = engine.run(problem.cell, [params], data, problem.batch_sizes, [state], engine=engine_name)
    found = {"output": run.output} | {f"last {name}": value for name, value in zip(state._fields, run.state)}
    if training:
        leaves = {"data": data, **params} | {f"first {n}": v for n, v in zip(state._fields, state)}
        grads = torch.autograd.grad(run.output, list(leaves.values()), problem.d_output.to(dtype))
        found |= {f"d {name}": value for name, value in zip(leaves, grads)}
    return {name: value.detach() for name, value in found.items()}


def _of_stack(problem: Problem, engine_name: str, dtype: torch.dtype) -> dict[str, Tensor]:
    assert problem.layer is not None
    training = problem.case.training
    made, sizes = type(problem.layer), (problem.case.I, problem.case.H)
    layer = made(*sizes, num_layers=LAYERS, bidirectional=True, dtype=dtype, engine=engine_name)
    layer.load_state_dict(problem.layer.state_dict())
    shape = (len(problem.batch_sizes), problem.case.B)
    x = problem.data.detach().to(dtype).unflatten(0, shape).requires_grad_(training)
    with torch.set_grad_enabled(training):
        output, state = layer(x)
    found = {"output": output, "last h": state[0] if isinstance(problem.cell, LSTM) else state}
    if training:
        leaves = {"data": x, **dict(layer.named_parameters())}
        grads = torch.autograd.grad(
            output, list(leaves.values()), problem.d_output.to(dtype).unflatten(0, shape)
        )
        found |= {f"d {name}": value for name, value in zip(leaves, grads)}
    return {name: value.detach() for name, value in found.items()}
