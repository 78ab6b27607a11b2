"""The native engine as an operator of torch: compiled, exported, mapped, differentiated twice, in threads."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import func
from torch.utils.checkpoint import checkpoint

from saiki import engine, nn
from saiki.cells import GRU, LSTM, Cell, Elman, Jordan
from saiki.core.errors import EngineError, OptionError

pytest.importorskip("saiki._native", reason="the native extension was not built")

from saiki.engine import operators

CELLS = [Elman(3, 5), Jordan(3, 5, 2), LSTM(3, 5, peepholes=True), GRU(3, 5), GRU(3, 5, reset="before")]
every_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.label)
DIRECTIONS = ("forward", "reverse")


def results(p, name="cpu"):
    return tuple(t for run in p.run(name) for t in (run.output, *run.state))


def weighed(tensors):
    """A scalar that depends on every number in another way."""
    return sum((t * torch.arange(t.numel(), dtype=t.dtype).cos().view(t.shape)).sum() for t in tensors)


def close(ours, theirs, tolerance=1e-12):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@every_cell
@pytest.mark.parametrize("batch_sizes", [(4, 4, 3, 1, 1), (2,), ()], ids=str)
def test_outputs_and_gradients_agree_with_the_reference(problem, cell, batch_sizes):
    p = problem(cell, batch_sizes).with_grad()
    leaves = list(p.leaves().values())
    found = [
        torch.autograd.grad(weighed(results(p, name)), leaves, materialize_grads=True)
        for name in ("cpu", "reference")
    ]
    close(results(p), results(p, "reference"))
    close(*found)


@every_cell
def test_gradients_of_gradients(problem, cell):
    small = type(cell)(**{**cell.options(), "input_size": 2, "hidden_size": 2})
    p = problem(small, (2, 1)).with_grad()
    leaves = tuple(p.leaves().values())
    assert torch.autograd.gradcheck(lambda *_: results(p), leaves)
    assert torch.autograd.gradgradcheck(lambda *_: results(p), leaves)


def test_a_third_derivative_agrees_with_the_reference(problem):
    p = problem(LSTM(2, 3), (2, 2, 1)).with_grad()
    found = []
    for name in ("cpu", "reference"):
        one = torch.autograd.grad(weighed(results(p, name)).square(), p.data, create_graph=True)[0]
        two = torch.autograd.grad(one.square().sum(), p.data, create_graph=True)[0]
        found.append(torch.autograd.grad(two.square().sum(), p.data))
    close(*found, tolerance=1e-9)


def test_only_what_is_asked_for_gets_a_gradient(problem):
    p = problem(GRU(3, 5))
    p.data.requires_grad_()
    weighed(results(p)).backward()
    assert p.data.grad is not None
    assert all(leaf.grad is None for name, leaf in p.leaves().items() if name != "data")
    q = problem(GRU(3, 5))
    last = q.states[1].h.requires_grad_()
    (q.run("cpu")[1].state.h.sum()).backward()
    assert last.grad is not None


def test_an_output_that_nobody_uses_sends_nothing_back(problem):
    p = problem(LSTM(3, 5)).with_grad()
    p.run("cpu")[0].state.c.sum().backward()
    assert float(p.params[1]["weight_ih"].grad.abs().max()) == 0.0
    assert float(p.params[0]["weight_ih"].grad.abs().max()) > 0.0


def test_backward_goes_twice_with_the_graph_retained(problem):
    p = problem(LSTM(3, 5)).with_grad()
    loss = weighed(results(p))
    first = torch.autograd.grad(loss, p.data, retain_graph=True)
    close(first, torch.autograd.grad(loss, p.data), 0)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, p.data)


@pytest.mark.parametrize("name", ["weight_hh forward", "data", "h0 reverse"])
def test_what_changes_before_backward_is_noticed(problem, name):
    p = problem(GRU(3, 5)).with_grad()
    loss = weighed(results(p))
    with torch.no_grad():
        p.leaves()[name].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_checkpoint_gives_the_same_gradients(problem):
    p = problem(LSTM(3, 5)).with_grad()

    def layer(data):
        return engine.run_layer(
            p.cell, p.params, data, p.batch_sizes, p.states, DIRECTIONS, engine="cpu"
        ).output

    leaves = [p.data, *p.params[0].values()]
    plain = torch.autograd.grad(weighed([layer(p.data)]), leaves)
    again = torch.autograd.grad(weighed([checkpoint(layer, p.data, use_reentrant=False)]), leaves)
    close(plain, again, 0)


def test_strided_shared_and_negated_tensors(problem):
    p = problem(LSTM(3, 5))
    wide = torch.randn(len(p.data), 7, dtype=torch.float64)
    lazy = torch.complex(torch.zeros_like(p.data), p.data).conj().imag  # a tensor that is negated when read
    assert lazy.is_neg()
    tied = {
        name: value.mT.contiguous().mT if value.ndim == 2 else value for name, value in p.params[0].items()
    }
    for data in (wide[:, ::3], p.data[:1].expand(len(p.data), -1), lazy):
        ours, theirs = (
            engine.run(p.cell, [tied, tied], data, p.batch_sizes, [p.states[0]] * 2, DIRECTIONS, engine=name)
            for name in ("cpu", "reference")
        )
        close([r.output for r in ours], [r.output for r in theirs])


def test_a_batch_of_no_sequences(problem):
    cell = GRU(3, 5)
    params = cell.initial_parameters()
    leaves = [value.requires_grad_() for value in params.values()]
    (run,) = engine.run(
        *(cell, [params], torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), [cell.initial_state(0)]),
        engine="cpu",
    )
    assert run.output.shape == (0, 5) and run.state.h.shape == (0, 5)
    run.output.sum().backward()
    assert all(float(leaf.grad.abs().sum()) == 0.0 for leaf in leaves)


def test_threads_share_the_engine(problem):
    """Eight calls at once, each with its own numbers, forward and backward."""
    problems = [problem(LSTM(3, 17), (9, 9, 4, 1)).with_grad() for _ in range(8)]

    def learn(p):
        return [*results(p), *torch.autograd.grad(weighed(results(p)), list(p.leaves().values()))]

    expected = [learn(p) for p in problems]
    found = {}

    def work(k):
        for _ in range(5):
            found[k] = learn(problems[k])

    workers = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for k in range(8):
        close(found[k], expected[k], 0)


def layer_and_input(**options):
    layer = nn.LSTM(3, 5, num_layers=2, bidirectional=True, peepholes=True, engine="cpu", **options)
    return layer, torch.randn(7, 4, 3, generator=torch.Generator().manual_seed(1))


def test_compile_takes_a_layer_whole():
    layer, x = layer_and_input()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    leaves = list(layer.parameters())
    close([compiled(x)[0]], [layer(x)[0]], 0)
    ours, theirs = (torch.autograd.grad(weighed([f(x)[0]]), leaves) for f in (compiled, layer))
    close(ours, theirs, 0)
    with torch.no_grad():
        y = torch.randn(9, 2, 3)
        close([compiled(y)[0]], [layer(y)[0]], 0)


@pytest.mark.long
def test_inductor_takes_a_layer_whole():
    layer, x = layer_and_input()
    compiled = torch.compile(layer, fullgraph=True)
    ours, theirs = (
        torch.autograd.grad(weighed([f(x)[0]]), list(layer.parameters())) for f in (compiled, layer)
    )
    close(ours, theirs, 0)


@pytest.mark.parametrize("strict", [False, True])
def test_export_takes_a_layer_whole(strict, tmp_path):
    layer, x = layer_and_input()
    layer.eval()
    T, B = torch.export.Dim("T", min=2, max=1000), torch.export.Dim("B", min=2, max=100)
    with torch.no_grad():
        program = torch.export.export(layer, (x,), dynamic_shapes={"input": {0: T, 1: B}}, strict=strict)
        called = [node.target for node in program.graph.nodes if node.op == "call_function"]
        assert called.count(torch.ops.saiki.layer.default) == 2  # a call a layer
        torch.export.save(program, tmp_path / "layer.pt2")
        again = torch.export.load(tmp_path / "layer.pt2").module()
        y = torch.randn(11, 3, 3)
        close([again(y)[0]], [layer(y)[0]], 0)


def test_the_operators_are_registered_as_torch_wants(problem):
    p = problem(LSTM(3, 5)).with_grad()
    parameters = [ps[name] for ps in p.params for name in operators.plan_of(operators.text_of(p.cell)).names]
    arguments = (p.data, p.batch_sizes, parameters, [s for state in p.states for s in state])
    torch.library.opcheck(
        torch.ops.saiki.layer.default, (*arguments, operators.text_of(p.cell), [False, True], True)
    )


def one_way(cell: Cell, params, data, batch_sizes, state, name="cpu"):
    (run,) = engine.run(cell, [params], data, batch_sizes, [state], engine=name)
    return (run.output, *run.state)


@every_cell
@pytest.mark.parametrize("mapped", ["data", "states", "params", "all"])
def test_vmap_agrees_with_a_loop(problem, cell, mapped):
    V, p = 3, problem(cell)
    many = {
        "data": [p.data * (v + 1) for v in range(V)],
        "states": [tuple(s * (v + 1) for s in p.states[0]) for v in range(V)],
        "params": [{n: t * (v + 1) for n, t in p.params[0].items()} for v in range(V)],
    }
    in_dims, given = {}, {}
    for name, values in many.items():
        over = mapped in (name, "all")
        in_dims[name] = 0 if over else None
        given[name] = values[0]
        if over and name == "data":
            given[name] = torch.stack(values)
        elif over and name == "states":
            given[name] = tuple(torch.stack(parts) for parts in zip(*values))
        elif over:
            given[name] = {n: torch.stack([one[n] for one in values]) for n in values[0]}

    def run(data, states, params):
        return one_way(cell, params, data, p.batch_sizes, cell.state_type(*states))

    ours = func.vmap(run, in_dims=tuple(in_dims.values()))(*given.values())
    loop = [
        run(*(values[v] if in_dims[name] == 0 else values[0] for name, values in many.items()))
        for v in range(V)
    ]
    close(ours, [torch.stack(parts) for parts in zip(*loop)])


@every_cell
def test_torch_func_agrees_with_autograd(problem, cell):
    """grad, a gradient a sample, a gradient of a map, and the Hessian, each against the reference engine."""
    p = problem(cell, (2, 2, 1))
    data = torch.stack([p.data, 2 * p.data])

    def loss(x, params, name):
        return weighed(one_way(cell, params, x, p.batch_sizes, p.states[0], name)).square()

    def told(name):
        by_both = func.grad(lambda x, params: loss(x, params, name), argnums=(0, 1))
        a_sample = func.vmap(by_both, in_dims=(0, None))(data, p.params[0])
        of_map = func.grad(lambda params: func.vmap(lambda x: loss(x, params, name))(data).sum())(p.params[0])
        hessian = func.jacrev(func.grad(lambda x: loss(x, p.params[0], name)))(p.data)
        mixed = func.jacrev(func.grad(lambda x, params: loss(x, params, name)), argnums=1)(
            p.data, p.params[0]
        )
        first = by_both(p.data, p.params[0])
        return [
            *(first[0], *first[1].values(), a_sample[0], *a_sample[1].values(), *of_map.values()),
            *(hessian, *mixed.values()),
        ]

    close(told("cpu"), told("reference"), 1e-10)


def test_transforms_inside_of_autograd(problem):
    """A gradient by torch.func that is itself differentiated by backward()."""
    p = problem(LSTM(3, 5), (2, 2, 1)).with_grad()
    found = []
    for name in ("cpu", "reference"):

        def loss(x, name=name):
            return weighed(one_way(p.cell, p.params[0], x, p.batch_sizes, p.states[0], name)).square()

        penalty = func.grad(loss)(p.data).square().sum()
        found.append(torch.autograd.grad(penalty, [p.data, *p.params[0].values()]))
    close(*found, tolerance=1e-10)


def test_batched_gradients(problem):
    p = problem(GRU(3, 5)).with_grad()
    outputs = one_way(p.cell, p.params[0], p.data, p.batch_sizes, p.states[0])[0]
    many = torch.randn(3, *outputs.shape, dtype=torch.float64)
    together = torch.autograd.grad(outputs, p.data, many, is_grads_batched=True, retain_graph=True)[0]
    alone = [torch.autograd.grad(outputs, p.data, one, retain_graph=True)[0] for one in many]
    close([together], [torch.stack(alone)])


def test_forward_mode_is_left_to_the_reference(problem):
    p = problem(LSTM(3, 5))

    def run(name):
        return lambda x: one_way(p.cell, p.params[0], x, p.batch_sizes, p.states[0], name)[0]

    tangent = torch.randn_like(p.data)
    ours, theirs = (func.jvp(run(name), (p.data,), (tangent,)) for name in ("auto", "reference"))
    close(ours, theirs, 0)
    with pytest.raises(EngineError, match="no forward-mode derivative"):
        func.jvp(run("cpu"), (p.data,), (tangent,))


def test_the_instruction_set_is_picked_and_told(problem, monkeypatch):
    told = engine.info()
    assert told.instruction_set in told.instruction_sets
    p = problem(LSTM(3, 5))
    truth = results(p, "reference")
    for name in told.instruction_sets:
        monkeypatch.setenv("SAIKI_ISA", name)
        assert engine.info().instruction_set == name
        assert f"native extension: {name} (of " in str(engine.info())
        close(results(p), truth)


def test_an_unknown_instruction_set_is_an_error_at_first_use(problem, monkeypatch):
    monkeypatch.setenv("SAIKI_ISA", "avx1024")
    with pytest.raises(
        OptionError, match=r"SAIKI_ISA is 'avx1024', which is not .* known here: .*Unset SAIKI_ISA"
    ):
        problem(LSTM(3, 5)).run("cpu")
