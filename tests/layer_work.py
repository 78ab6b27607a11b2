"""One layer's work for the engines: random numbers everywhere, and everything that comes out, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from saiki import engine
from saiki.cells import Cell

Numbers = Mapping[str, Tensor]
SQUASHED = ("sigmoid", "hard_sigmoid", "hard_sigmoid_keras2")  # these stay in [0, 1], as a gate should
WAYS = {"forward": ("forward",), "reverse": ("reverse",), "both": ("forward", "reverse")}


@dataclass(frozen=True)
class Work:
    """A packed ragged batch for one layer, and the weights with which its results enter a loss."""

    cell: Cell[Any, Any]
    params: list[dict[str, Tensor]]  # a direction each, as all lists here
    data: Tensor
    batch_sizes: Tensor
    states: list[Any]
    directions: tuple[Any, ...]
    d_output: list[Tensor]
    d_last: list[Any]

    def to(self, dtype: torch.dtype) -> Work:
        return replace(
            self,
            params=[{name: p.to(dtype) for name, p in params.items()} for params in self.params],
            data=self.data.to(dtype),
            states=[self._state(s.to(dtype) for s in state) for state in self.states],
            d_output=[d.to(dtype) for d in self.d_output],
            d_last=[self._state(s.to(dtype) for s in d) for d in self.d_last],
        )

    def _state(self, parts: Iterator[Tensor]) -> Any:
        return self.cell.state_type(*parts)

    def rows_of(self, row: int) -> Tensor:
        """Where the steps of the j-th longest sequence are."""
        starts = self.batch_sizes.cumsum(0) - self.batch_sizes
        return starts[: int((self.batch_sizes > row).sum())] + row

    def only(self, rows: Sequence[int]) -> Work:
        """Some of the sequences, longest first."""
        where, sizes = [], []
        starts = (self.batch_sizes.cumsum(0) - self.batch_sizes).tolist()
        for start, size in zip(starts, self.batch_sizes.tolist()):
            here = [start + row for row in rows if row < size]
            where += here
            sizes += [len(here)] * bool(here)
        return replace(
            self,
            data=self.data[where],
            batch_sizes=torch.tensor(sizes, dtype=torch.int64),
            states=[self._state(s[list(rows)] for s in state) for state in self.states],
            d_output=[d[where] for d in self.d_output],
            d_last=[self._state(s[list(rows)] for s in d) for d in self.d_last],
        )

    def one_way(self, way: int) -> Work:
        """One of the directions by itself."""
        mine = slice(way, way + 1)
        return replace(
            self,
            params=self.params[mine],
            states=self.states[mine],
            directions=self.directions[mine],
            d_output=self.d_output[mine],
            d_last=self.d_last[mine],
        )

    def run(self, name: str | None) -> dict[str, Tensor]:
        """Outputs and final states, for inference."""
        with torch.no_grad():
            return self.named(self._run(name))

    def learn(self, name: str | None) -> dict[str, Tensor]:
        """Outputs, final states and the gradients of a weighted sum of them all by every leaf."""
        leaves = {key: leaf.detach().requires_grad_() for key, leaf in self.leaves().items()}
        work = self._with(leaves)
        runs = work._run(name)
        loss = self.data.new_zeros(())
        for run, d_output, d_last in zip(runs, self.d_output, self.d_last):
            loss = loss + (run.output * d_output).sum()
            for last, d in zip(run.state, d_last):
                loss = loss + (last * d).sum()
        gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        found = {name: value.detach() for name, value in self.named(runs).items()}
        return found | {f"gradient of {key}": value for key, value in zip(leaves, gradients)}

    def _run(self, name: str | None) -> list[engine.Run]:
        return engine.run(
            self.cell, self.params, self.data, self.batch_sizes, self.states, self.directions, engine=name
        )

    def leaves(self) -> dict[str, Tensor]:
        named = {"data": self.data}
        for way, params, state in zip(self.directions, self.params, self.states):
            named |= {f"{name} {way}": p for name, p in params.items()}
            named |= {f"first {name} {way}": s for name, s in zip(self.cell.states, state)}
        return named

    def _with(self, leaves: Numbers) -> Work:
        return replace(
            self,
            data=leaves["data"],
            params=[{k: leaves[f"{k} {way}"] for k in p} for way, p in zip(self.directions, self.params)],
            states=[
                self._state(leaves[f"first {name} {way}"] for name in self.cell.states)
                for way in self.directions
            ],
        )

    def named(self, runs: Sequence[engine.Run]) -> dict[str, Tensor]:
        named = {}
        for way, run in zip(self.directions, runs):
            named[f"output {way}"] = run.output
            named |= {f"last {name} {way}": s for name, s in zip(self.cell.states, run.state)}
        return named


def draw_work(
    cell: Cell[Any, Any],
    batch_sizes: Sequence[int],
    directions: Sequence[str] = ("forward", "reverse"),
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Work:
    """Random numbers that float32 holds too.

    Weights are drawn small enough for a state to fade, or rounding errors would grow from step to step;
    smaller still where a gate may leave [0, 1] and so amplify. Biases and peepholes are larger: some units
    saturate.
    """
    gate = getattr(cell, "gate_activation", "sigmoid")
    calm = 1.0 if gate in SQUASHED else 0.2
    generator = torch.Generator().manual_seed(20011 + seed)

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float32) * scale
        return values.to(dtype)

    def parameter(name: str, shape: tuple[int, ...]) -> Tensor:
        if len(shape) == 1 or name == "weight_ph":
            return draw(*shape, scale=0.7 * calm)
        return draw(*shape, scale=calm * 0.5 / shape[-1] ** 0.5)

    B, N = batch_sizes[0] if batch_sizes else 0, sum(batch_sizes)
    make = lambda: cell.state_type(*(draw(B, size) for size in cell.state_sizes))
    return Work(
        cell,
        [{name: parameter(name, s) for name, s in cell.parameter_shapes().items()} for _ in directions],
        draw(N, cell.input_size),
        torch.tensor(list(batch_sizes), dtype=torch.int64),
        [make() for _ in directions],
        tuple(directions),
        [draw(N, cell.output_size) for _ in directions],
        [make() for _ in directions],
    )


def sizes_of(lengths: Sequence[int]) -> tuple[int, ...]:
    """Batch sizes from the sequences' lengths."""
    return tuple(sum(length > t for length in lengths) for t in range(max(lengths, default=0)))


def difference(ours: Numbers, theirs: Numbers, tolerance: float) -> str:
    """Nothing where all agree, or which are how far off, relative to a tensor's largest number or to 1."""
    assert ours.keys() == theirs.keys()
    wrong = []
    for name, truth in theirs.items():
        error = off(name, ours[name], truth)
        if not error <= tolerance:  # NaN is wrong too
            wrong.append(f"{name}: {error:.3g}")
    return f"beyond {tolerance}: {', '.join(wrong)}" if wrong else ""


def worst(ours: Numbers, theirs: Numbers) -> float:
    """The largest error, in the same measure."""
    return max(off(name, ours[name], truth) for name, truth in theirs.items())


def off(name: str, ours: Tensor, truth: Tensor) -> float:
    assert ours.shape == truth.shape, f"{name}: {tuple(ours.shape)} for {tuple(truth.shape)}"
    if not truth.numel():
        return 0.0
    scale = max(1.0, float(truth.abs().max()))
    return float((ours.to(truth.dtype) - truth).abs().max()) / scale


def other_bits(ours: Numbers, theirs: Numbers) -> list[str]:
    """Which of the tensors differ in a bit; NaN equals itself here."""
    assert ours.keys() == theirs.keys()
    integers = {torch.float32: torch.int32, torch.float64: torch.int64}

    def bits(value: Tensor) -> Tensor:
        return value.contiguous().view(integers[value.dtype])

    return [name for name in ours if not torch.equal(bits(ours[name]), bits(theirs[name]))]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch, and so the kernels, use so many threads here."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def nan_allocations() -> Iterator[None]:
    """Whatever torch allocates without filling it is full of NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # with this, empty() is filled: torch.utils.deterministic
    try:
        assert torch.empty(3).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(before)
