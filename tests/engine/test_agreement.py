"""The native engine says what the reference says, and the same bits however it is run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from grids import pairwise
from layer_work import (
    SQUASHED,
    WAYS,
    Work,
    difference,
    draw_work,
    nan_allocations,
    other_bits,
    sizes_of,
    threads,
    worst,
)
from saiki import engine, nn
from saiki.cells import GRU, LSTM, Cell, Elman, Jordan
from saiki.core.activations import ACTIVATIONS
from saiki.core.ragged import Ragged

_native = pytest.importorskip("saiki._native", reason="the native extension was not built")

TARGETS = _native.targets()
# rounding of sums over up to some thousand rows, where the largest number counts as 1
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}

LSTM_WAYS: dict[str, dict[str, bool]] = {
    "": {},
    " coupled": {"coupled": True},
    " carousel": {"forget_gate": False},
}
Build = Callable[[int, int, tuple[str, str, str]], Cell[Any, Any]]


def structures() -> dict[str, Build]:
    """Every structure of every family; the activations are σ, f or φ, and g or ψ."""
    found: dict[str, Build] = {}
    for bias in (True, False):
        no = "" if bias else " no bias"
        found[f"elman{no}"] = lambda I, H, a, bias=bias: Elman(I, H, bias=bias, activation=a[1])
        for feedback in (True, False):
            found[f"jordan{'' if feedback else ' classic'}{no}"] = (
                lambda I, H, a, bias=bias, feedback=feedback: Jordan(
                    I,
                    H,
                    H // 3 + 1,
                    bias=bias,
                    hidden_feedback=feedback,
                    activation=a[1],
                    output_activation=a[2],
                )
            )
        for reset in ("after", "before"):
            found[f"gru {reset}{no}"] = lambda I, H, a, bias=bias, reset=reset: GRU(
                I, H, bias=bias, reset=reset, gate_activation=a[0], activation=a[1]
            )
        for (way, options), peepholes in product(LSTM_WAYS.items(), (False, True)):
            found[f"lstm{way}{' peepholes' if peepholes else ''}{no}"] = (
                lambda I, H, a, bias=bias, options=options, peepholes=peepholes: LSTM(
                    I,
                    H,
                    bias=bias,
                    peepholes=peepholes,
                    **options,
                    gate_activation=a[0],
                    activation=a[1],
                    output_activation=a[2],
                )
            )
    return found


STRUCTURES = structures()
PLAIN = ("sigmoid", "tanh", "tanh")


def lengths_of(kind: str, B: int, T: int, seed: int) -> list[int]:
    """Equal; each drawn from 1 … T; half of them 1."""
    if not T or kind == "equal":
        return [T] * B
    drawn = torch.randint(1, T + 1, (B,), generator=torch.Generator().manual_seed(seed)).tolist()
    if kind == "ones":
        drawn = [1 if row % 2 else n for row, n in enumerate(drawn)]
    drawn[0] = T
    return drawn


@pytest.fixture
def on_target(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """on_target(name): the native engine runs that instruction set until the test ends."""

    def force(name: str) -> None:
        monkeypatch.setenv("SAIKI_ISA", name)

    return force


def agrees(work: Work, dtype: str, count: int) -> None:
    """Everything that comes out, against the reference in float64 on the same numbers."""
    if dtype == "bfloat16":  # the matrices are rounded to it; all sums are taken in float32
        ours, work, dtype = frozen(work.to(torch.float32), "bfloat16", count), rounded(work), "float32"
        truth = work.run("reference")
    else:
        with nan_allocations(), threads(count):
            ours = work.to(getattr(torch, dtype)).learn("cpu")
        truth = work.learn("reference")
    assert all(np.abs(value.numpy()).max(initial=0) < 1e8 for value in truth.values()), "the case explodes"
    wrong = difference(ours, truth, TOLERANCE[dtype])
    if wrong and dtype == "float32":  # is it the case that amplifies roundings? then the reference's as well
        theirs = work.to(torch.float32).learn("reference")
        wrong = difference(ours, truth, 4 * worst({name: theirs[name] for name in ours}, truth))
    assert not wrong, wrong


def rounded(work: Work) -> Work:
    """The same with the matrices that bfloat16 can hold, but for peepholes."""

    def brief(name: str, value: torch.Tensor) -> torch.Tensor:
        matrix = value.ndim == 2 and name != "weight_ph"
        return value.to(torch.bfloat16).to(value.dtype) if matrix else value

    return replace(work, params=[{k: brief(k, v) for k, v in params.items()} for params in work.params])


def frozen(work: Work, weights: str = "float32", count: int = 1) -> dict[str, torch.Tensor]:
    """Outputs and final states from sessions, which pack their weights beforehand."""
    results = []
    with nan_allocations():
        for way, params, first in zip(work.directions, work.params, work.states):
            session = engine.session(work.cell, params, weights=weights, direction=way, threads=count)
            results.append(engine.Run(*session.run(work.data, work.batch_sizes, first), {}))
    return work.named(results)


FACTORS: dict[str, Any] = {
    "structure": list(STRUCTURES),
    "gate": list(ACTIVATIONS),
    "inner": list(ACTIVATIONS),
    "outer": list(ACTIVATIONS),
    "H": [1, 5, 16, 17, 33, 64, 100],
    "I": [1, 3, 16, 40],
    "B": [1, 2, 5, 7, 13, 33],
    "T": [0, 1, 2, 9, 40],
    "lengths": ["equal", "ragged", "ones"],
    "ways": list(WAYS),
    "target": TARGETS,
    "dtype": ["float64", "float32", "bfloat16"],
    "threads": [1, 2, 3],
}


PAIRS = pairwise(FACTORS) + pairwise(FACTORS, seed=1)  # each pair meets in two different surroundings


def check(case: dict[str, Any], seed: int) -> None:
    cell = STRUCTURES[case["structure"]](case["I"], case["H"], (case["gate"], case["inner"], case["outer"]))
    T = case["T"]
    if isinstance(cell, LSTM):  # c grows where f is 1 or 1 - i above it, and is squared where f is p ∘ c
        amplifies = case["gate"] not in SQUASHED
        if amplifies and cell.peepholes:
            T = min(T, 2)
        elif not cell.forget_gate or (amplifies and cell.coupled):
            T = min(T, 9)
    sizes = sizes_of(lengths_of(case["lengths"], case["B"], T, seed))
    agrees(draw_work(cell, sizes, WAYS[case["ways"]], seed=seed), case["dtype"], case["threads"])


@pytest.mark.parametrize("number", range(len(PAIRS)))
def test_any_two_circumstances_together(on_target, number):
    """Options, activations, sizes, lengths, directions, instruction sets, precisions, threads: all pairs."""
    on_target(PAIRS[number]["target"])
    check(PAIRS[number], number)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_weights_of_eight_bits_lose_a_hundredth(on_target, target, structure):
    on_target(target)
    for seed, (H, sizes) in enumerate(((17, (5, 4, 4, 2)), (100, (7,) * 30), (64, (13, 13, 9)))):
        work = draw_work(STRUCTURES[structure](16, H, PLAIN), sizes, seed=seed)
        ours = frozen(work.to(torch.float32), "bfloat16")
        # where nothing is forgotten, each step's loss is added to the ones before
        tolerance = 1e-2 if getattr(work.cell, "forget_gate", True) else 2e-2
        assert not (wrong := difference(ours, work.run("reference"), tolerance)), wrong


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_full_grid_of_circumstances(on_target, target, structure):
    """Every structure with all lengths, directions, precisions and threads; the rest goes round."""
    on_target(target)
    turning = ("gate", "inner", "outer", "H", "I", "B", "T")
    draws = np.random.default_rng([list(STRUCTURES).index(structure), TARGETS.index(target)])
    grid = product(*(FACTORS[name] for name in ("lengths", "ways", "dtype", "threads")))
    for seed, (lengths, ways, dtype, count) in enumerate(grid):
        case = {name: FACTORS[name][draws.integers(len(FACTORS[name]))] for name in turning}
        case |= {"lengths": lengths, "ways": ways, "dtype": dtype, "threads": count, "structure": structure}
        check(case, seed)


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("inner", ACTIVATIONS)
def test_full_grid_of_activations(on_target, target, inner):
    on_target(target)
    for family, gate, outer in product(
        ("elman", "jordan", "lstm peepholes", "gru after", "gru before"), ACTIVATIONS, ACTIVATIONS
    ):
        if (family == "elman" and gate != "tanh") or (family[:4] != "lstm" and outer != "tanh"):
            continue
        cell = STRUCTURES[family](3, 9, (gate, inner, gate if family == "jordan" else outer))
        work = draw_work(cell, (4, 3, 3, 1))
        truth = work.learn("reference")
        for dtype in (torch.float64, torch.float32):
            wrong = difference(work.to(dtype).learn("cpu"), truth, TOLERANCE[str(dtype).split(".")[1]])
            assert not wrong, f"{cell.label}: {wrong}"


# the same bits

FAMILIES = {
    name: STRUCTURES[name]
    for name in (
        "elman",
        "jordan",
        "lstm",
        "lstm coupled peepholes",
        "lstm carousel",
        "gru after",
        "gru before",
    )
}
# few rows and units; many rows, to be cut between threads; wide layers, whose units may be
SHAPES = {
    "small": (3, 17, (5, 5, 4, 4, 2, 1)),
    "rows": (5, 40, (40, 40, 31, 17, 9, 3)),
    "units": (16, 290, (6, 6, 5, 2)),
    "square": (64, 128, (36, 36, 20)),
}
every_family = pytest.mark.parametrize("family", FAMILIES)
every_shape = pytest.mark.parametrize("shape", SHAPES)
every_target = pytest.mark.parametrize("target", TARGETS)
DTYPES = (torch.float32, torch.float64)


def work_of(family: str, shape: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> Work:
    I, H, sizes = SHAPES[shape]
    return draw_work(FAMILIES[family](I, H, PLAIN), sizes, dtype=dtype, seed=seed)


def per_row(work: Work, results: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    """What belongs to one sequence: all but the gradients of parameters."""
    picked = {}
    for name, value in results.items():
        if name.startswith("output") or name == "gradient of data":
            picked[name] = value[work.rows_of(row)]
        elif "last" in name or "first" in name:
            picked[name] = value[row : row + 1]
    return picked


@every_target
@every_shape
@every_family
def test_from_run_to_run_and_for_any_number_of_threads(on_target, target, shape, family):
    on_target(target)
    for dtype in DTYPES if shape == "small" else DTYPES[:1]:
        work = work_of(family, shape, dtype)
        first = work.learn("cpu")
        for count in (1, 2, 3, 4):
            with threads(count):
                assert not other_bits(work.learn("cpu"), first), f"{count} threads, {dtype}"


@every_target
@every_shape
@every_family
def test_a_sequence_is_the_same_alone_and_in_any_batch(on_target, target, shape, family):
    on_target(target)
    work = work_of(family, shape)
    B = int(work.batch_sizes[0])
    results = work.learn("cpu")
    for number, row in enumerate(sorted({0, 1, B // 2, B - 1})):
        with threads(1 + number % 2):
            alone = work.only([row]).learn("cpu")
        mine = per_row(work.only([row]), alone, 0)
        assert not other_bits(mine, per_row(work, results, row)), f"row {row} alone"
    rows = list(range(1, B, 2))
    half = work.only(rows)
    with threads(2):
        found = half.learn("cpu")
    for new, row in enumerate(rows):
        wrong = other_bits(per_row(half, found, new), per_row(work, results, row))
        assert not wrong, f"row {row} among the odd rows"


@every_target
@every_shape
@every_family
def test_inference_training_and_frozen_sessions_agree(on_target, target, shape, family):
    on_target(target)
    work = work_of(family, shape)
    plain = work.run("cpu")
    learned = work.learn("cpu")
    assert not other_bits(plain, {name: learned[name] for name in plain})
    for count in (1, 2):
        assert not other_bits(frozen(work, count=count), plain), f"a session on {count} threads"
    brief = frozen(work, weights="bfloat16")
    assert not other_bits(frozen(work, weights="bfloat16", count=2), brief)


@every_target
@every_family
@pytest.mark.parametrize("weights", ["float32", "float64", "bfloat16"])
def test_step_by_step_is_the_whole_sequence(on_target, target, family, weights):
    on_target(target)
    dtype = torch.float64 if weights == "float64" else torch.float32
    for H, B in ((17, 1), (33, 5), (128, 1)):
        work = draw_work(FAMILIES[family](16, H, PLAIN), (B,) * 9, ("forward",), dtype)
        whole = frozen(work, weights)
        session = engine.session(work.cell, work.params[0], weights=weights)
        state, outputs = work.states[0], []
        with nan_allocations():
            for x in work.data.split(B):
                state = session.step(x, state)
                outputs.append(getattr(state, work.cell.output))
        walked = work.named([engine.Run(torch.cat(outputs), state, {})])
        assert not other_bits(walked, whole), f"H={H}, B={B}"


@every_target
@every_shape
@every_family
def test_both_directions_at_once_are_the_two_one_by_one(on_target, target, shape, family):
    """Only the data's gradient is a sum over both, with a rounding of its own."""
    on_target(target)
    work = work_of(family, shape)
    for count in (1, 2):
        with threads(count):
            both = work.learn("cpu")
            one, other = work.one_way(0).learn("cpu"), work.one_way(1).learn("cpu")
        sums = {"gradient of data": one.pop("gradient of data") + other.pop("gradient of data")}
        assert not difference({"gradient of data": both.pop("gradient of data")}, sums, 1e-5)
        assert not other_bits(both, one | other)


@pytest.mark.parametrize("family", ["elman", "lstm", "gru after"])
def test_sums_too_long_for_the_cache(family):
    """Wide layers take sums over all gates' units part by part, and not more than 96 rows at once."""
    cell = FAMILIES[family](3, 1040 if family == "elman" else 356, PLAIN)
    agrees(draw_work(cell, (101, 101, 7, 1), ("reverse",)), "float64", 2)


def test_concurrent_calls_give_the_same_bits():
    """Four Python threads, each with its own layer and its own team."""
    jobs = [work_of(family, shape, seed=3) for family in FAMILIES for shape in ("small", "rows", "units")]
    expected = [work.learn("cpu") for work in jobs]

    def again(number: int) -> list[str]:
        with threads(1 + number % 3):  # torch's setting is a thread's own
            return [
                name for turn in range(3) for name in other_bits(jobs[number].learn("cpu"), expected[number])
            ]

    with ThreadPoolExecutor(4) as pool:
        assert not [wrong for wrong in pool.map(again, range(len(jobs))) if wrong]


# what is hard


@every_target
@every_family
def test_scratch_memory_full_of_nan_is_not_read(on_target, target, family):
    """Memory that a call full of NaN has left behind serves the next one."""
    on_target(target)
    for shape in ("small", "rows"):
        work = work_of(family, shape)
        with nan_allocations():
            before = work.learn("cpu")
            work.data.fill_(torch.nan)
            assert work.learn("cpu")["gradient of data"].isnan().all()
            assert not other_bits(work_of(family, shape).learn("cpu"), before)


@every_family
def test_inputs_with_holes_between_their_numbers(family):
    work = work_of(family, "small", torch.float64)

    def holes(value: torch.Tensor) -> torch.Tensor:
        wide = torch.full((*value.shape, 3), torch.nan, dtype=value.dtype)
        wide[..., 1] = value
        return wide[..., 1]

    def turned(value: torch.Tensor) -> torch.Tensor:
        return value.t().contiguous().t()  # a vector as it is

    expected = work.learn("cpu")
    for layout in (holes, turned):
        strange = work._with({name: layout(leaf) for name, leaf in work.leaves().items()})
        assert not other_bits(strange.run("cpu"), {name: expected[name] for name in strange.run("cpu")})
        leaves = {name: layout(leaf).detach().requires_grad_() for name, leaf in work.leaves().items()}
        runs = work._with(leaves)._run("cpu")
        loss = sum((run.output * holes(d)).sum() for run, d in zip(runs, work.d_output))
        loss = loss + sum(
            (s * holes(d)).sum() for run, ds in zip(runs, work.d_last) for s, d in zip(run.state, ds)
        )
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        found = {f"gradient of {name}": value for name, value in zip(leaves, gradients)}
        assert not other_bits(found, {name: expected[name] for name in found})


@every_family
@pytest.mark.parametrize("wanted", ["data", "weight_ih forward", "first h reverse"])
@pytest.mark.parametrize("sent", ["output", "last"])
def test_gradients_that_are_not_wanted_or_not_sent(family, wanted, sent):
    """One leaf alone asks, and either the outputs or the last states alone send."""
    work = work_of(family, "small", torch.float64)
    found = []
    for name in ("cpu", "reference"):
        leaves = work.leaves()
        leaf = leaves[wanted].clone().requires_grad_()
        runs = work._with(leaves | {wanted: leaf})._run(name)
        if sent == "output":
            loss = sum((run.output * d).sum() for run, d in zip(runs, work.d_output))
        else:
            loss = sum((run.state[-1] * d[-1]).sum() for run, d in zip(runs, work.d_last))
        found.append({wanted: torch.autograd.grad(loss, leaf)[0]})
    assert not (wrong := difference(*found, 1e-12)), wrong


@every_family
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nan_and_infinity_stay_in_their_row(family, bad):
    work = work_of(family, "small")
    clean = work.learn("cpu")
    work.data[work.rows_of(2)[-1]] = bad  # in its last step, so the reverse direction sees it first
    ill = work.learn("cpu")
    sick = [False, False]
    for row in range(5):
        here, before = per_row(work, ill, row), per_row(work, clean, row)
        if row == 2:
            sick = [not here[f"last h {way}"].equal(before[f"last h {way}"]) for way in work.directions]
        else:
            assert not other_bits(here, before), f"row {row}"
    assert sick == [True, True]


def test_denormals_inside_and_the_callers_setting_outside():
    """A decaying state reaches the smallest numbers: the kernels may flush them, their caller's sums not."""
    tiny = np.float32(1e-38)
    for count in (1, 2):
        cell = Elman(1, 16, activation="identity", bias=False)
        params = {"weight_ih": torch.zeros(16, 1), "weight_hh": torch.eye(16) * 0.5}
        state = cell.state_type(torch.full((33, 16), 1e-36))
        data, sizes = torch.zeros(33 * 40, 1), torch.full((40,), 33)
        data.requires_grad_()
        with threads(count):
            (run,) = engine.run(cell, [params], data, sizes, [state], engine="cpu")
            run.output.sum().backward()
            assert float(tiny / np.float32(8)) > 0, "denormals are flushed after the call"
            assert float((torch.full((50_000,), 1e-38) / 8).min()) > 0, "in another thread of torch's"
        output = run.output.detach()
        assert bool((output >= 0).all())
        assert float(output.max()) < 1e-36


@every_family
def test_no_steps_and_no_rows(family):
    work = draw_work(FAMILIES[family](3, 5, PLAIN), ())
    assert not difference(work.learn("cpu"), work.learn("reference"), 0.0)


@pytest.mark.parametrize("layer", ["RNN", "LSTM", "GRU", "Jordan"])
def test_empty_and_single_steps_through_layers(layer, rng):
    """A Ragged batch may hold sequences of no steps: they come out empty, with their first state."""
    extra = {"output_size": 4} if layer == "Jordan" else {}
    made = getattr(nn, layer)(3, 5, num_layers=2, bidirectional=True, **extra).double()
    for lengths in ([0, 3, 1, 0, 7], [0, 0], [1], [1, 1, 1]):
        x = Ragged.from_list([torch.randn(n, 3, generator=rng, dtype=torch.float64) for n in lengths])
        results = []
        for name in ("cpu", "reference"):
            with engine.use(name):
                output, states = made(x)
            made.zero_grad()
            output.data.square().sum().backward()
            states = states if isinstance(states, tuple) else (states,)
            found = {"output": output.data.detach()}
            found |= {f"state {k}": s.detach() for k, s in enumerate(states)}
            found |= {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}
            results.append(found)
        assert not (wrong := difference(*results, 1e-12)), wrong


@every_family
def test_gradcheck(family):
    """Against finite differences, by every parameter, input and first state."""
    work = draw_work(FAMILIES[family](2, 3, PLAIN), (2, 2, 1))
    leaves = {name: leaf.requires_grad_() for name, leaf in work.leaves().items()}

    def run(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        runs = work._with(dict(zip(leaves, values)))._run("cpu")
        return tuple(t for one in runs for t in (one.output, *one.state))

    assert torch.autograd.gradcheck(run, tuple(leaves.values()))
