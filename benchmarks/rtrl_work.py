"""The contestants of `benchmarks.rtrl`: one chunk of one layer, by several ways to its gradient.

Every way starts from the same parameters, inputs, state and errors, and gives the gradient of
Σ_t δ_t · h_t by the layer's own parameters. The exact ones must agree.

| name | what it does |
|---|---|
| exact, snap1, eprop | `learning.influence_native`: forward, then the influence, in place |
| bptt | the same kernels forward and backward, with dW, without ∂L/∂x |
| plain | `learning.influence`, tensor code |
| jacrev | D and F of each step by `torch.func.jacrev` of the cell's step, then M = D M + F as matrices |
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from saiki import engine
from saiki.cells import GRU, LSTM, Cell, Elman, Jordan
from saiki.engine.operators import plan_of, run_backward, run_forward, text_of
from saiki.learning import influence as plain
from saiki.learning import influence_native as native

Work = Callable[[], Tensor]
BLOCK_S = 0.004  # a sample is the mean of as many runs as fit


class Problem:
    """A chunk of T steps of one sequence."""

    def __init__(self, name: str, I: int, n: int, T: int) -> None:
        draw = torch.Generator().manual_seed(20011)
        self.cell = make_cell(name, I, n)
        shapes = self.cell.parameter_shapes().items()
        self.params = {key: torch.randn(*shape, generator=draw) / n**0.5 for key, shape in shapes}
        self.x = torch.randn(T, I, generator=draw)
        self.d_output = torch.randn(T, self.cell.output_size, generator=draw)
        self.sizes = torch.ones(T, dtype=torch.int64)
        self.first = tuple(torch.zeros(1, size) for size in self.cell.state_sizes)
        self.T = T

    @property
    def P(self) -> int:
        return sum(p.numel() for p in self.params.values())

    @property
    def S(self) -> int:
        return sum(self.cell.state_sizes)

    def products(self) -> int:
        """Useful FLOPs of D M, a step: 2 a multiply-add of each dense block of D with P columns."""
        H, K = self.cell.hidden_size, self.cell.output_size
        blocks = {"lstm": 2 * H * H, "jordan": H * (H + K) + K * H}
        return 2 * blocks.get(self.cell.name, H * H) * self.P

    def influence(self, rule: plain.Approximation) -> Tensor:
        return plain.no_influence(self.cell, rule, 1, self.x)

    # ways to the gradient

    def ours(self, rule: plain.Approximation) -> Work:
        """The influence stays from run to run, as it does in a stream."""
        M = self.influence(rule)

        def run() -> Tensor:
            done = native.unroll(self.cell, self.params, self.x, self.sizes, self.first)
            assert isinstance(done, native.NativeRun)
            return native.scan_(done, M, self.d_output, rule)[0]

        return run

    def fresh(self, rule: plain.Approximation) -> Tensor:
        """The gradient from no influence, to compare."""
        done = native.unroll(self.cell, self.params, self.x, self.sizes, self.first)
        return native.scan(done, self.influence(rule), self.d_output, rule)[0]

    def bptt(self) -> Work:
        text = text_of(self.cell)
        ordered = [self.params[name] for name in plan_of(text).names]
        wanted = [False, *[True] * len(ordered), *[False] * len(self.first)]
        nothing: list[Tensor | None] = [None] * len(self.first)

        def run() -> Tensor:
            output, _, saved = run_forward(self.x, self.sizes, ordered, self.first, text, (False,), True)
            gradients = run_backward(
                *(self.x, self.sizes, ordered, self.first, output, saved, self.d_output, nothing),
                *(text, (False,), wanted),
            )
            return gradients[0]

        return run

    def bptt_gradient(self) -> Tensor:
        """All of it, in the order of the influence's columns."""
        leaves = {name: p.clone().requires_grad_() for name, p in self.params.items()}
        (ran,) = engine.run(self.cell, [leaves], self.x, self.sizes, [self.first])
        found = torch.autograd.grad((ran.output * self.d_output).sum(), list(leaves.values()))
        return torch.cat([g.flatten() for g in found])

    def in_tensors(self, rule: plain.Approximation) -> Work:
        def run() -> Tensor:
            done = plain.unroll(self.cell, self.params, self.x, self.sizes, self.first, engine="reference")
            return plain.scan(done, self.influence(rule), self.d_output, rule)[0]

        return run

    def jacrev(self) -> Work:
        """As one would write it: no structure is known, every derivative is a matrix."""
        cell, sizes = self.cell, list(self.cell.state_sizes)
        out = plain.output_slice(cell)

        def step(params: dict[str, Tensor], state: Tensor, x: Tensor) -> Tensor:
            parts = state.unsqueeze(0).split(sizes, dim=1)
            after = cell.step(cell.params(params), cell.state_type(*parts), x.unsqueeze(0))
            return torch.cat(tuple(after), dim=1).squeeze(0)

        derive: Any = torch.func.jacrev(step, argnums=(0, 1))

        def run() -> Tensor:
            state = torch.cat(self.first, dim=1)[0]
            M, gradient = torch.zeros(self.S, self.P), torch.zeros(self.P)
            with torch.no_grad():
                for x, delta in zip(self.x, self.d_output):
                    by_params, D = derive(self.params, state, x)
                    F = torch.cat([by_params[name].flatten(1) for name in self.params], dim=1)
                    M = D @ M + F
                    gradient += delta @ M[out]
                    state = step(self.params, state, x)
            return gradient

        return run


def make_cell(name: str, I: int, n: int) -> Cell[Any, Any]:
    """By the name that is printed."""
    makers: dict[str, Callable[[], Cell[Any, Any]]] = {
        "lstm": lambda: LSTM(I, n),
        "lstm peepholes": lambda: LSTM(I, n, peepholes=True),
        "gru": lambda: GRU(I, n),
        "gru before": lambda: GRU(I, n, reset="before"),
        "elman": lambda: Elman(I, n),
        "jordan": lambda: Jordan(I, n, max(1, n // 4)),
    }
    return makers[name]()


def take_turns(
    contestants: dict[str, Work], seconds: float, limit: Callable[[], float] | None = None
) -> dict[str, float]:
    """Median processor seconds a run of each, A B C A B C; and the limit ("limit", in FLOP/s)."""
    once = {}
    for name, work in contestants.items():
        work()
        once[name] = max(_time(work, 1), 1e-7)
    inner = {name: max(1, int(BLOCK_S / took)) for name, took in once.items()}
    slowest = sum(inner[name] * took for name, took in once.items())
    rounds = max(3, min(41, int(seconds * len(contestants) / slowest)))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    rates = []
    for _ in range(rounds):
        for name, work in contestants.items():
            times[name].append(_time(work, inner[name]))
        if limit is not None:
            start, began = time.perf_counter(), time.process_time()
            rate = limit()  # by the clock on the wall
            rates.append(rate * (time.perf_counter() - start) / (time.process_time() - began))
    found = {name: statistics.median(samples) for name, samples in times.items()}
    return found | {"limit": statistics.median(rates) if rates else 0.0, "rounds": rounds}


def _time(work: Work, count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - start) / count


def difference(a: Tensor, b: Tensor) -> float:
    """The largest, relative to the largest number of b."""
    return float((a - b).abs().max() / b.abs().max())
