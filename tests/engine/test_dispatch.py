"""Which engine is picked, what is refused at the door, and torch's operators against the reference."""

from __future__ import annotations

import logging
import sys
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from children import survives
from saiki import engine
from saiki.cells import GRU, LSTM, Elman, Jordan
from saiki.core import log
from saiki.core.errors import (
    DTypeError,
    EngineError,
    LengthError,
    OptionError,
    SaikiError,
    ShapeError,
    ValueRangeError,
)

FUSED = [
    Elman(3, 5),
    Elman(3, 5, activation="relu", bias=False),
    LSTM(3, 5),
    LSTM(3, 5, bias=False),
    GRU(3, 5),
    GRU(3, 5, bias=False),
]
fused = pytest.mark.parametrize("cell", FUSED, ids=lambda c: c.label)
BEST = "cpu" if engine.info().native else "torch_fused"
SHAPES = [(4, 4, 3, 1, 1), (6, 6, 6, 5, 2, 2, 2, 1), (1,), (3,), (1, 1, 1), ()]


@fused
@pytest.mark.parametrize("batch_sizes", SHAPES, ids=str)
def test_torch_s_operators_agree_with_the_reference(problem, same, cell, batch_sizes):
    p = problem(cell, batch_sizes)
    same(p.run("torch_fused"), p.run("reference"), 1e-12)


@fused
@pytest.mark.parametrize("way", [("reverse",), ("reverse", "forward"), ("forward",)], ids=str)
def test_other_sets_of_directions_agree_too(problem, same, cell, way):
    p = problem(cell)
    n = len(way)
    arguments = (cell, p.params[:n], p.data, p.batch_sizes, p.states[:n], way)
    same(engine.run(*arguments, engine="torch_fused"), engine.run(*arguments, engine="reference"), 1e-12)


@fused
def test_gradients_agree_with_the_reference(problem, same, cell):
    p = problem(cell).with_grad()
    found = {}
    for name in ("torch_fused", "reference"):
        weights = torch.Generator().manual_seed(7)
        loss = sum(
            (t * torch.randn(t.shape, generator=weights, dtype=t.dtype)).sum()
            for run in p.run(name)
            for t in (run.output, *run.state)
        )
        leaves = p.leaves()
        found[name] = dict(zip(leaves, torch.autograd.grad(loss, tuple(leaves.values()))))
    same(found["torch_fused"], found["reference"], 1e-10)


@fused
def test_second_derivatives_agree_with_the_reference(problem, same, cell):
    p = problem(cell).with_grad()
    found = {}
    for name in ("torch_fused", "reference"):
        loss = sum(run.output.square().sum() for run in p.run(name))
        (first,) = torch.autograd.grad(loss, p.data, create_graph=True)
        found[name] = {"data": torch.autograd.grad(first.square().sum(), p.data)[0]}
    same(found["torch_fused"], found["reference"], 1e-9)


@fused
def test_float32_agrees_with_the_reference(problem, same, cell):
    p = problem(cell, dtype=torch.float32)
    same(p.run("torch_fused"), p.run("reference"), 1e-5)


def picked(monkeypatch):
    """The names of the engines that ran."""
    ran = []
    for name, one in engine.dispatch.ENGINES.items():

        def spy(job, name=name, run=one.run):
            ran.append(name)
            return run(job)

        monkeypatch.setattr(one, "run", spy, raising=False)
    return ran


def test_auto_takes_the_fastest_engine_that_can(problem, monkeypatch):
    ran = picked(monkeypatch)

    def run_all():
        ran.clear()
        problem(LSTM(3, 5)).run(None)
        problem(LSTM(3, 5, peepholes=True)).run(None)
        problem(LSTM(3, 5)).run(None, trace=True)
        problem(Jordan(3, 5, 2)).run("auto")
        return list(ran)

    if engine.info().native:
        assert run_all() == ["cpu", "cpu", "reference", "cpu"]
    monkeypatch.setitem(sys.modules, "saiki._native", None)
    assert run_all() == ["torch_fused", "reference", "reference", "reference"]


def test_use_selects_and_gives_back(problem, monkeypatch):
    ran = picked(monkeypatch)
    p = problem(GRU(3, 5))
    with engine.use("reference"):
        p.run(None)
        with engine.use("auto"):
            p.run(None)
        p.run("torch_fused")  # the call's own word goes first
        p.run(None)
    p.run(None)
    assert ran == ["reference", BEST, "torch_fused", "reference", BEST]
    with pytest.raises(ZeroDivisionError), engine.use("reference"):
        raise ZeroDivisionError
    assert engine.info().selected == "auto"


def test_use_is_seen_by_its_own_thread_alone():
    seen = []
    with engine.use("reference"):
        other = threading.Thread(target=lambda: seen.append(engine.info().selected))
        other.start()
        other.join()
        assert engine.info().selected == "reference"
    assert seen == ["auto"]


def test_unknown_engine_is_told_the_nearest():
    with pytest.raises(OptionError, match="did you mean 'reference'"), engine.use("refrence"):
        pass
    with pytest.raises(OptionError, match="engine"):
        engine.run(
            Elman(1, 1), [{}], torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64), [()], engine="cuda13"
        )


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (LSTM(3, 5, peepholes=True), "torch.nn.LSTM has peepholes=False, not True"),
        (LSTM(3, 5, activation="softsign"), "activation='tanh', not 'softsign'"),
        (GRU(3, 5, reset="before"), "torch.nn.GRU has reset='after', not 'before'"),
        (Elman(3, 5, activation="sigmoid"), "tanh and relu"),
        (Jordan(3, 5, 2), "no jordan layer"),
    ],
)
def test_an_engine_asked_for_by_name_runs_or_says_why_not(problem, cell, words):
    with pytest.raises(EngineError, match=words) as caught:
        problem(cell).run("torch_fused")
    assert "reference" in str(caught.value).partition("Available: ")[2]


def test_the_slow_loop_is_mentioned_once(problem, caplog, monkeypatch):
    monkeypatch.setattr(log, "_said", set())
    monkeypatch.setitem(sys.modules, "saiki._native", None)
    with caplog.at_level(logging.DEBUG, logger="saiki"):
        for _ in range(3):
            problem(LSTM(3, 5, coupled=True)).run(None)
            problem(LSTM(3, 5)).run(None)
        problem(LSTM(3, 5, coupled=True)).run("reference")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "lstm coupled=True runs on the reference engine on cpu" in said[0]


def test_a_device_without_a_kernel_takes_the_reference(monkeypatch, caplog):
    """The meta device stands for any that torch's operators were not tried on."""
    monkeypatch.setattr(log, "_said", set())
    cell = LSTM(3, 5)
    assert engine.available(cell, "meta") == ("reference",)
    params = cell.initial_parameters(device="meta")
    state = cell.initial_state(2, device="meta")
    with caplog.at_level(logging.DEBUG, logger="saiki"):
        for _ in range(2):
            (run,) = engine.run(
                cell, [params], torch.empty(3, 3, device="meta"), torch.tensor([2, 1]), [state]
            )
    assert run.output.shape == (3, 5)
    assert [r.getMessage() for r in caplog.records if "on meta" in r.getMessage()]
    assert len(caplog.records) == 1


def test_half_precision_runs_on_the_reference(problem):
    for dtype in (torch.bfloat16, torch.float16):
        p = problem(LSTM(3, 5), dtype=dtype)
        assert engine.available(p.cell, dtype=dtype) == ("reference",)
        assert p.run(None)[0].output.dtype == dtype


def test_info_reads_well():
    text = str(engine.info())
    assert text.startswith(f"engine: auto (of auto, {BEST},")
    assert "native extension: " in text
    assert f"torch {torch.__version__}" in text


def call(**changes):
    cell = LSTM(3, 5)
    arguments = {
        "cell": cell,
        "params": [cell.initial_parameters(torch.Generator().manual_seed(1))],
        "data": torch.zeros(5, 3),
        "batch_sizes": torch.tensor([2, 2, 1]),
        "states": [(torch.zeros(2, 5), torch.zeros(2, 5))],
        "directions": ("forward",),
        **changes,
    }
    return engine.run(**arguments)


def test_the_call_that_the_refusals_vary_is_right():
    assert call()[0].output.shape == (5, 5)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"cell": "lstm"}, OptionError, "must be a saiki.cells.Cell"),
        ({"data": torch.zeros(5, 4)}, ShapeError, r"data is \(5, 4\) but must be \(N, I\) = \(any, 3\)"),
        ({"data": torch.zeros(15)}, ShapeError, r"is \(15,\)"),
        ({"data": [[0.0] * 3] * 5}, DTypeError, "data is list"),
        ({"data": torch.zeros(5, 3, dtype=torch.int64)}, DTypeError, "must hold floating numbers"),
        (
            {"data": torch.zeros(5, 3, dtype=torch.float64)},
            DTypeError,
            "data holds torch.float64 but must hold torch.float32",
        ),
        ({"batch_sizes": torch.tensor([2, 2])}, LengthError, "adds up to 4 rows but data has 5"),
        ({"batch_sizes": torch.tensor([2, 0, 3])}, LengthError, "at least 1 and never rise"),
        ({"batch_sizes": torch.tensor([2, 2, 1, 0])}, LengthError, "at least 1 and never rise"),
        ({"batch_sizes": torch.tensor([1, 2, 2])}, LengthError, "never rise"),
        ({"batch_sizes": torch.tensor([2**62] * 4 + [5])}, LengthError, "adds up to"),
        ({"batch_sizes": torch.tensor([], dtype=torch.int64)}, LengthError, "no steps but data has 5"),
        ({"batch_sizes": torch.tensor([2.0, 2.0, 1.0])}, DTypeError, "int64"),
        ({"batch_sizes": torch.tensor([[2, 2, 1]])}, ShapeError, "batch_sizes is .* must have 1 axes"),
        ({"batch_sizes": [2, 2, 1]}, DTypeError, "batch_sizes is list"),
        ({"states": [(torch.zeros(2, 5),)]}, ShapeError, r"\(h, c\) but 1 tensor"),
        ({"states": [(torch.zeros(2, 5), torch.zeros(3, 5))]}, ShapeError, r"state.c is \(3, 5\)"),
        (
            {"states": [(torch.zeros(2, 5).double(), torch.zeros(2, 5))]},
            DTypeError,
            "h holds torch.float64 but must hold torch.float32",
        ),
        ({"states": []}, OptionError, "equally many"),
        ({"directions": ("backward",)}, OptionError, "'forward' and 'reverse'"),
        ({"directions": "forward"}, DTypeError, "directions is str but must be a list"),
        ({"params": [[1, 2, 3]]}, DTypeError, "must be a mapping"),
        ({"states": [None]}, ShapeError, "NoneType came"),
        ({"states": [(None, None)]}, DTypeError, r"state\.h is NoneType"),
        ({"data": torch.zeros(5, 3).to_sparse()}, DTypeError, "must be a plain dense one"),
        ({"data": torch.zeros(5, 3, device="meta")}, ValueRangeError, "data is on meta but must be on cpu"),
        ({"params": [{}]}, OptionError, "missing weight_ih, weight_hh, bias"),
        (
            {
                "params": [
                    {"weight_ih": torch.zeros(20, 3), "weight_hh": torch.zeros(5, 5), "bias": torch.zeros(20)}
                ]
            },
            ShapeError,
            r"weight_hh is \(5, 5\) but must be \(20, 5\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_at_the_door(changes, error, words):
    with pytest.raises(error, match=words):
        call(**changes)


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 6), max_size=6),
    rows=st.integers(0, 12),
    live=st.integers(0, 6),
)
def any_batch_sizes(sizes, rows, live):
    """Either they describe the rows, or a typed error says what is wrong."""
    right = (
        sum(sizes) == rows
        and sizes == sorted(sizes, reverse=True)
        and all(size >= 1 for size in sizes)
        and live == (sizes[0] if sizes else 0)
    )
    arguments = {
        "data": torch.zeros(rows, 3),
        "batch_sizes": torch.tensor(sizes, dtype=torch.int64),
        "states": [(torch.zeros(live, 5), torch.zeros(live, 5))],
    }
    if right:
        assert call(**arguments)[0].output.shape == (rows, 5)
    else:
        with pytest.raises(SaikiError):
            call(**arguments)


def test_no_batch_sizes_end_the_process():
    survives(any_batch_sizes)


ODD = st.sampled_from(
    [
        None,
        3,
        "text",
        [],
        (),
        {},
        torch.tensor(1.0),
        torch.zeros(0),
        torch.zeros(5, 3, 1),
        torch.zeros(2, 5),
        torch.full((5, 3), torch.nan),
        torch.zeros(5, 3).bool(),
        torch.zeros(5, 3, dtype=torch.complex64),
        torch.zeros(5, 3, dtype=torch.float16),
        torch.zeros(3, 5).T,
        torch.zeros(1, 3).expand(5, 3),
        torch.tensor([2, 2, 1]),
        torch.tensor([5]),
        torch.tensor([2, 2, 1], dtype=torch.int32),
        torch.zeros(5, 3).to_sparse(),
        torch.zeros(5, 3, device="meta"),
        torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(3, 3)], layout=torch.jagged),
        [(torch.zeros(2, 5), torch.zeros(2, 5))],
        [{"weight_ih": 3}],
        ("forward",),
        ("reverse", "forward"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    changes=st.dictionaries(
        st.sampled_from(["params", "data", "batch_sizes", "states", "directions", "cell", "engine"]),
        ODD,
        min_size=1,
    ),
    name=st.sampled_from([None, "reference", "torch_fused", "cpu"]),
)
def malformed_calls(changes, name):
    """A typed error or an answer of the right shape; nothing else."""
    try:
        runs = call(**{"engine": name, **changes})
    except SaikiError:
        return
    assert [run.output.shape for run in runs] == [(5, 5)]


def test_no_malformed_call_ends_the_process():
    survives(malformed_calls)
