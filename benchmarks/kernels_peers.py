"""The others: what each peer does for a case, on the same numbers and with as many threads.

| peer | what is timed |
|---|---|
| torch.nn | torch's layer on a dense batch; of a ragged case the padded batch, all its steps |
| torch.nn packed | torch's layer on a PackedSequence of the same sequences |
| torch.nn cell | LSTMCell, GRUCell or RNNCell, one step |
| torch loop | the equations in torch, the input product in one go, then step by step |
| torch.compile | the same loop, compiled, ten steps unrolled in a graph; compiling is not timed |
| onnxruntime | the ONNX operator LSTM, GRU or RNN, with P, linear_before_reset and sequence_lens |
| jax | lax.scan after the input product in one go, jit, all gradients; compiling is not timed |
| torchrecurrent | its PeepholeLSTM layer |
| saiki plain | Saiki on the family's plain cell, beside an option; another function, of course |
| saiki.nn | Saiki's layer, beside the engine alone |

Peers are no dependencies: one that is not installed is left out. Before it is timed, a peer's output and
∂L/∂x are compared with ours.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear, softsign
from torch.nn.utils.rnn import PackedSequence

from benchmarks.kernels_work import Absent, Contestant, Problem, of_layer, plain
from saiki.cells import to_torch

CHUNK = (
    10  # steps unrolled in a compiled graph; with 25, compiling took twice as long and the result was slow
)
_BIASES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True)
class Peer:
    """How to build a peer, and the package whose version is told."""

    build: Callable[[Problem, str], Contestant]
    package: str


def build(name: str, problem: Problem, engine_name: str) -> Contestant:
    """The peer of this name for this problem.

    Raises:
        Absent: its package is not installed, or it cannot do this.
    """
    return PEERS[name].build(problem, engine_name)


def peer_version(name: str) -> str:
    """Such as "torch 2.13.0"."""
    package = PEERS[name].package
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


def same_function(name: str) -> bool:
    """Whether its results must agree with ours."""
    return name != "saiki plain"


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Absent(f"it is not installed ({error})") from error


# torch


def _module(problem: Problem) -> torch.nn.RNNBase:
    """torch's layer with the problem's weights."""
    if problem.layer is not None:
        return problem.layer.to_torch()
    family = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "elman": torch.nn.RNN}[problem.case.cell]
    module: torch.nn.RNNBase = family(problem.case.I, problem.case.H, dtype=problem.dtype)
    theirs = to_torch(problem.cell, problem.params)
    module.load_state_dict({f"{name}_l0": theirs[name].detach() for name in _BIASES})
    return module


def _torch_nn(problem: Problem, engine_name: str) -> Contestant:
    module = _module(problem)
    x = problem.dense(problem.data.detach()).clone().requires_grad_(problem.case.training)
    return _of_dense(problem, lambda x: module(x)[0], x, list(module.parameters()))


def _of_dense(
    problem: Problem, forward: Callable[[Tensor], Tensor], x: Tensor, weights: list[Tensor]
) -> Contestant:
    """Something that turns (T, B, I) into (T, B, K), and its gradients."""
    d_output, leaves = problem.dense(problem.d_output), [x, *weights]

    def run() -> Any:  # noqa: ANN401
        output = forward(x)
        return output, torch.autograd.grad(output, leaves, d_output)[0] if problem.case.training else None

    def tidy(result: Any) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401
        output, dx = result
        return problem.packed(output), None if dx is None else problem.packed(dx)

    return Contestant(run, tidy)


def _torch_packed(problem: Problem, engine_name: str) -> Contestant:
    module = _module(problem)
    data = problem.data.detach().clone().requires_grad_(problem.case.training)
    leaves = [data, *module.parameters()]

    def run() -> Any:  # noqa: ANN401
        output = module(PackedSequence(data, problem.batch_sizes))[0].data
        dx = torch.autograd.grad(output, leaves, problem.d_output)[0] if problem.case.training else None
        return output, dx

    return Contestant(run, lambda result: result)


def _torch_cell(problem: Problem, engine_name: str) -> Contestant:
    family = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "elman": torch.nn.RNNCell}
    module = family[problem.case.cell](problem.case.I, problem.case.H)
    theirs = to_torch(problem.cell, problem.params)
    module.load_state_dict({name: theirs[name].detach() for name in _BIASES})
    x = problem.data
    state: Any = tuple(problem.state) if len(problem.state) > 1 else problem.state[0]

    def run() -> Any:  # noqa: ANN401
        nonlocal state
        state = module(x, state)
        return state

    return Contestant(run, lambda result: (result if isinstance(result, Tensor) else result[0], None))


# the plain loop

_Step = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]
Loop = Callable[[Tensor, tuple[Tensor, ...], dict[str, Tensor]], tuple[Tensor, tuple[Tensor, ...]]]


def make_loop(problem: Problem) -> Loop:
    """W x + b (T, B, G·H), the state before, parameters -> output (T, B, K), the state after."""
    step_of = _STEPS[problem.case.cell]
    cell: Any = problem.cell

    def loop(a: Tensor, state: tuple[Tensor, ...], p: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        step = step_of(cell, p)
        outputs = []
        for a_t in a.unbind(0):
            output, state = step(a_t, state)
            outputs.append(output)
        return torch.stack(outputs), state

    return loop


def _squash(name: str) -> Callable[[Tensor], Tensor]:
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "tanh": torch.tanh,
        "softsign": softsign,
        "identity": lambda a: a,
    }
    return functions[name]


def _lstm_step(cell: Any, p: dict[str, Tensor]) -> _Step:  # noqa: ANN401
    R, gates = p["weight_hh"].T, len(cell.gates)
    p_i, *p_f, p_o = p["weight_ph"] if cell.peepholes else (None, None)
    phi, psi = _squash(cell.activation), _squash(cell.output_activation)

    def step(a_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        h, c = state
        a = (a_t + h @ R).chunk(gates, -1)
        i = torch.sigmoid(a[0] if p_i is None else a[0] + p_i * c)
        g = phi(a[-2])
        if cell.coupled:
            c = (1 - i) * c + i * g
        elif cell.forget_gate:
            f = torch.sigmoid(a[1] if p_i is None else a[1] + p_f[0] * c)
            c = f * c + i * g
        else:
            c = c + i * g
        o = torch.sigmoid(a[-1] if p_o is None else a[-1] + p_o * c)
        h = o * psi(c)
        return h, (h, c)

    return step


def _gru_step(cell: Any, p: dict[str, Tensor]) -> _Step:  # noqa: ANN401
    H, R, phi = cell.hidden_size, p["weight_hh"], _squash(cell.activation)
    R_gates, R_n = R[: 2 * H].T, R[2 * H :].T

    def step(a_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (h,) = state
        a_r, a_z, a_n = a_t.chunk(3, -1)
        if cell.reset == "after":
            q_r, q_z, q_n = (h @ R.T).chunk(3, -1)
            r, z = torch.sigmoid(a_r + q_r), torch.sigmoid(a_z + q_z)
            n = phi(a_n + r * (q_n + p["bias_hn"]))
        else:
            q_r, q_z = (h @ R_gates).chunk(2, -1)
            r, z = torch.sigmoid(a_r + q_r), torch.sigmoid(a_z + q_z)
            n = phi(a_n + (r * h) @ R_n)
        h = n + z * (h - n)
        return h, (h,)

    return step


def _elman_step(cell: Any, p: dict[str, Tensor]) -> _Step:  # noqa: ANN401
    R, f = p["weight_hh"].T, _squash(cell.activation)

    def step(a_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        h = f(a_t + state[0] @ R)
        return h, (h,)

    return step


def _jordan_step(cell: Any, p: dict[str, Tensor]) -> _Step:  # noqa: ANN401
    R, V, f, g = p["weight_hh"].T, p["weight_yh"].T, _squash(cell.activation), _squash(cell.output_activation)

    def step(a_t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        h, y = state
        h = f(a_t + h @ R + y @ V)
        y = g(linear(h, p["weight_hy"], p["bias_y"]))
        return y, (h, y)

    return step


_STEPS: dict[str, Callable[[Any, dict[str, Tensor]], _Step]] = {
    "lstm": _lstm_step,
    "gru": _gru_step,
    "elman": _elman_step,
    "jordan": _jordan_step,
}


def _torch_loop(problem: Problem, engine_name: str) -> Contestant:
    loop = make_loop(problem)
    if problem.case.mode == "step":
        return _loop_step(problem, loop)
    return _of_loop(problem, loop, problem.case.T)


def _of_loop(problem: Problem, loop: Loop, chunk: int) -> Contestant:
    """The loop over the whole batch, some steps at a time."""
    if problem.case.ragged:
        raise Absent("the loop is written for batches of equal lengths")
    params = {
        name: v.detach().clone().requires_grad_(problem.case.training) for name, v in problem.params.items()
    }
    x = problem.dense(problem.data.detach()).clone().requires_grad_(problem.case.training)

    def forward(x: Tensor) -> Tensor:
        a = linear(x, params["weight_ih"], params["bias"])
        state, outputs = tuple(problem.state), []
        for part in a.split(chunk):
            output, state = loop(part, state, params)
            outputs.append(output)
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]

    return _of_dense(problem, forward, x, list(params.values()))


def _loop_step(problem: Problem, loop: Loop) -> Contestant:
    params, x, state = problem.params, problem.data[None], tuple(problem.state)

    def run() -> Any:  # noqa: ANN401
        nonlocal state
        output, state = loop(linear(x, params["weight_ih"], params["bias"]), state, params)
        return output[0]

    return Contestant(run, lambda result: (result, None))


def _torch_compiled(problem: Problem, engine_name: str) -> Contestant:
    torch._dynamo.reset()  # each shape anew, none given up because others were compiled before
    return _of_loop(problem, torch.compile(make_loop(problem), dynamic=False), CHUNK)


def _torchrecurrent(problem: Problem, engine_name: str) -> Contestant:
    theirs = _package("torchrecurrent")
    if problem.case.options != "peepholes":
        raise Absent("only its peephole LSTM is compared")
    module = theirs.PeepholeLSTM(problem.case.I, problem.case.H)
    ours = {name: value.detach() for name, value in problem.params.items()}
    module.load_state_dict(
        {
            "cells.0.weight_ih": ours["weight_ih"],
            "cells.0.weight_hh": ours["weight_hh"],
            "cells.0.weight_ph": ours["weight_ph"].flatten(),
            "cells.0.bias_ih": ours["bias"],
            "cells.0.bias_hh": torch.zeros_like(ours["bias"]),
        }
    )
    x = problem.dense(problem.data.detach()).clone().requires_grad_(problem.case.training)
    return _of_dense(problem, lambda x: module(x)[0], x, list(module.parameters()))


# onnxruntime


def _onnxruntime(problem: Problem, engine_name: str) -> Contestant:
    onnx, runtime = _package("onnx"), _package("onnxruntime")
    if problem.case.mode != "inference" or problem.layer is not None:
        raise Absent("it is compared on inference of one layer")
    case = problem.case
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    weights, attributes = _onnx_weights(problem)
    inputs = [
        "X",
        "W",
        "R",
        "B",
        "lengths" if case.ragged else "",
        "",
        *(["", "P"] if "P" in weights else []),
    ]
    while not inputs[-1]:
        inputs.pop()
    operator = {"lstm": "LSTM", "gru": "GRU", "elman": "RNN"}[case.cell]
    given = [helper.make_tensor_value_info("X", number, [case.T, case.B, case.I])]
    feed = {"X": problem.dense(problem.data).numpy()}
    if case.ragged:
        given.append(helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, [case.B]))
        feed["lengths"] = problem.lengths.to(torch.int32).numpy()
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, ["Y"], hidden_size=case.H, **attributes)],
        "benchmark",
        given,
        [helper.make_tensor_value_info("Y", number, [case.T, 1, case.B, case.H])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(v), name) for name, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = case.threads
    options.inter_op_num_threads = 1
    # its threads may spin while it runs, and stop when it is another's turn
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run() -> Any:  # noqa: ANN401
        return session.run(None, feed)[0]

    def tidy(result: Any) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401
        return problem.packed(torch.from_numpy(result)[:, 0]), None

    return Contestant(run, tidy, foreign=True)


def _onnx_weights(problem: Problem) -> tuple[dict[str, Any], dict[str, Any]]:
    """W, R, B and P in ONNX's order of the gates (i o f c; z r h), with a first axis of one direction."""
    cell: Any = problem.cell
    ours = {name: value.detach().numpy() for name, value in problem.params.items()}
    names = {"Tanh": "Tanh", "tanh": "Tanh", "softsign": "Softsign"}
    attributes: dict[str, Any]
    if problem.case.cell == "lstm":
        if cell.gates != ("i", "f", "g", "o"):
            raise Absent("the ONNX operator always has a forget gate of its own")
        order = [0, 3, 1, 2]
        attributes = {"activations": ["Sigmoid", names[cell.activation], names[cell.output_activation]]}
    elif problem.case.cell == "gru":
        order = [1, 0, 2]
        after = cell.reset == "after"
        attributes = {"activations": ["Sigmoid", names[cell.activation]], "linear_before_reset": int(after)}
    else:
        order, attributes = [0], {"activations": [names[cell.activation]]}

    def blocks(value: Any) -> Any:  # noqa: ANN401
        parts = np.split(value, len(order))
        return np.concatenate([parts[k] for k in order])

    bias_hh = np.zeros_like(ours["bias"])
    if "bias_hn" in ours:
        bias_hh[2 * cell.hidden_size :] = ours["bias_hn"]
    weights = {
        "W": blocks(ours["weight_ih"])[None],
        "R": blocks(ours["weight_hh"])[None],
        "B": np.concatenate([blocks(ours["bias"]), blocks(bias_hh)])[None],
    }
    if "weight_ph" in ours:
        weights["P"] = ours["weight_ph"][[0, 2, 1]].reshape(1, -1)  # i f o -> i o f
    return weights, attributes


# jax


def _jax(problem: Problem, engine_name: str) -> Contestant:
    jax = _package("jax")
    if problem.case.ragged or problem.case.options or problem.case.cell not in _JAX_STEPS:
        raise Absent("it is compared on plain cells and dense batches")
    jnp = jax.numpy
    step_of = _JAX_STEPS[problem.case.cell]
    params = {name: jnp.asarray(value.detach().numpy()) for name, value in problem.params.items()}
    x = jnp.asarray(problem.dense(problem.data.detach()).numpy())
    d_output = jnp.asarray(problem.dense(problem.d_output).numpy())
    state = tuple(jnp.asarray(value.numpy()) for value in problem.state)

    def forward(params: Any, x: Any) -> Any:  # noqa: ANN401
        a = x @ params["weight_ih"].T + params["bias"]
        return jax.lax.scan(step_of(jax, params), state, a)[1]

    @jax.jit
    def infer(params: Any, x: Any) -> Any:  # noqa: ANN401
        return forward(params, x), None

    @jax.jit
    def train(params: Any, x: Any) -> Any:  # noqa: ANN401
        output, pull = jax.vjp(forward, params, x)
        d_params, dx = pull(d_output)
        return output, dx, d_params

    work = train if problem.case.training else infer

    def run() -> Any:  # noqa: ANN401
        return jax.block_until_ready(work(params, x))

    def tidy(result: Any) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401
        output, dx = torch.from_numpy(np.array(result[0])), result[1]
        return problem.packed(output), None if dx is None else problem.packed(torch.from_numpy(np.array(dx)))

    return Contestant(run, tidy, foreign=True)


def _jax_lstm(jax: Any, p: Any) -> Any:  # noqa: ANN401
    def step(state: Any, a_t: Any) -> Any:  # noqa: ANN401
        h, c = state
        i, f, g, o = jax.numpy.split(a_t + h @ p["weight_hh"].T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
        h = jax.nn.sigmoid(o) * jax.numpy.tanh(c)
        return (h, c), h

    return step


def _jax_gru(jax: Any, p: Any) -> Any:  # noqa: ANN401
    def step(state: Any, a_t: Any) -> Any:  # noqa: ANN401
        (h,) = state
        a_r, a_z, a_n = jax.numpy.split(a_t, 3, -1)
        q_r, q_z, q_n = jax.numpy.split(h @ p["weight_hh"].T, 3, -1)
        r, z = jax.nn.sigmoid(a_r + q_r), jax.nn.sigmoid(a_z + q_z)
        n = jax.numpy.tanh(a_n + r * (q_n + p["bias_hn"]))
        h = n + z * (h - n)
        return (h,), h

    return step


def _jax_elman(jax: Any, p: Any) -> Any:  # noqa: ANN401
    def step(state: Any, a_t: Any) -> Any:  # noqa: ANN401
        h = jax.numpy.tanh(a_t + state[0] @ p["weight_hh"].T)
        return (h,), h

    return step


_JAX_STEPS = {"lstm": _jax_lstm, "gru": _jax_gru, "elman": _jax_elman}

PEERS: dict[str, Peer] = {
    "torch.nn": Peer(_torch_nn, "torch"),
    "torch.nn packed": Peer(_torch_packed, "torch"),
    "torch.nn cell": Peer(_torch_cell, "torch"),
    "torch loop": Peer(_torch_loop, "torch"),
    "torch.compile": Peer(_torch_compiled, "torch"),
    "onnxruntime": Peer(_onnxruntime, "onnxruntime"),
    "jax": Peer(_jax, "jax"),
    "torchrecurrent": Peer(_torchrecurrent, "torchrecurrent"),
    "saiki plain": Peer(plain, "saiki"),
    "saiki.nn": Peer(of_layer, "saiki"),
}
