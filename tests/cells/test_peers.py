"""Other projects' own expectations, read from their golden vectors.

The adapters here reorder gates and speak each project's dialect; the cells run on the reference engine and
the native one.
A mask may have holes: a masked step carries state and output over, which is what leaving that step out does.
Projection and layer norm are not built; `LEFT_OUT` names the cases that need them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saiki import engine
from saiki.cells import GRU, LSTM, Cell, Elman, State
from saiki.core.ragged import Ragged

pytestmark = pytest.mark.peer
every_engine = pytest.mark.usefixtures("on_each_engine")

LEFT_OUT = [
    "tflite: lstm_test.NoCifg_Peephole_Projection_NoLayerNorm",
    "tflite: lstm_test.NoCifg_Peephole_Projection_LayerNorm",
    "tflite: lstm_test.Cifg_Peephole_Projection_LayerNorm",
    "tflite: NoCifgPeepholeProjectionClippingUnidirectionalLstmTest.LstmBlackBoxTest",
    "tflite: NoCifgPeepholeProjectionAndBiasClippingUnidirectionalLstmTest.LstmBlackBoxTest",
    "tflite: CifgPeepholeNoProjectionNoClippingLayerNormUnidirectionalLstmTest.LayerNormLstmBlackBoxTest",
    "tf_cells: tf.contrib.LayerNormBasicLSTMCell.norm",
    "tf_cells: tfa.LayerNormLSTMCell",
]


@pytest.fixture(params=["reference", "cpu"])
def on_each_engine(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param not in engine.info().engines:
        pytest.skip(engine.info().native_note)
    with engine.use(request.param):
        yield


def read(golden: Path, name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((golden / name).read_text())
    return cases


def tensor(value: Any) -> Tensor:
    if isinstance(value, dict):
        return torch.tensor(value["data"], dtype=torch.float64).reshape(value["shape"])
    return torch.tensor(value, dtype=torch.float64)


def close(ours: Tensor, theirs: Tensor, atol: float, rtol: float, what: str) -> None:
    assert ours.shape == theirs.shape, f"{what}: {tuple(ours.shape)} against {tuple(theirs.shape)}"
    error = (ours.detach() - theirs).abs() - rtol * theirs.abs()
    assert float(error.max()) <= atol, f"{what}: off by {float(error.max()):.3g}"


def sequence(
    cell: Cell[Any, Any],
    params: dict[str, Tensor],
    x: Tensor,
    state: Any = None,
    *,
    mask: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Any]:
    """Run x (B, T, I): outputs (B, T, H) by input step, and the last state.

    Masked steps are left out of the ragged batch; their output is that of the step run before, or 0.
    """
    B, T, _ = x.shape
    keep = torch.ones(B, T, dtype=torch.bool) if mask is None else mask
    batch = Ragged.from_list([row[kept] for row, kept in zip(x, keep)])
    if state is None:
        state = cell.initial_state(B, dtype=x.dtype)
    live = batch.order[: batch.live]
    (run,) = engine.run(
        cell,
        [params],
        batch.data,
        batch.batch_sizes,
        [cell.state_type(*(s[live] for s in state))],
        ["reverse" if reverse else "forward"],
    )
    last = cell.state_type(*(s.index_copy(0, live, after) for s, after in zip(state, run.state)))
    rows = []
    for told, kept in zip(batch.with_data(run.output).to_list(), keep):
        row, carried, source = [], torch.zeros_like(run.output[0]), iter(told.flip(0) if reverse else told)
        for here in kept.flip(0) if reverse else kept:
            carried = next(source) if here else carried
            row.append(carried)
        rows.append(torch.stack(row[::-1] if reverse else row))
    return torch.stack(rows), last


def step(cell: Cell[Any, Any], params: dict[str, Tensor], state: Any, x: Tensor) -> Any:
    """The state of every row (B, ·) one step later."""
    (run,) = engine.run(cell, [params], x, torch.tensor([len(x)]), [state])
    return run.state


# Keras: kernel (n, G·u), recurrent (u, G·u); LSTM i f c o, GRU z r h

KERAS_ACTIVATION = {"linear": "identity", "hard_sigmoid": "hard_sigmoid_keras2"}


def rzn(columns: Tensor) -> Tensor:
    """GRU columns z r h to rows r z n."""
    z, r, h = columns.chunk(3, dim=-1)
    return torch.cat([r, z, h], dim=-1)


def keras(
    kind: str, weights: list[Tensor], attrs: dict[str, Any], *, reset: str = "before"
) -> tuple[Cell[Any, Any], dict[str, Tensor]]:
    """A cell and its parameters from Keras' weights and attributes."""
    kernel, recurrent, *rest = weights
    sizes, use_bias = (kernel.shape[0], recurrent.shape[0]), bool(rest)

    def named(key: str, default: str) -> str:
        name = attrs.get(key, default)
        return KERAS_ACTIVATION.get(name, name)

    activation, gate = named("activation", "tanh"), named("recurrent_activation", "sigmoid")
    if kind == "SimpleRNN":
        cell: Cell[Any, Any] = Elman(*sizes, bias=use_bias, activation=activation)
    elif kind == "LSTM":
        cell = LSTM(
            *sizes, bias=use_bias, gate_activation=gate, activation=activation, output_activation=activation
        )
    else:
        cell = GRU(*sizes, bias=use_bias, reset=reset, gate_activation=gate, activation=activation)
        kernel, recurrent = rzn(kernel), rzn(recurrent)
    params = {"weight_ih": kernel.T, "weight_hh": recurrent.T}
    if use_bias and kind == "GRU" and reset == "after":  # two rows: of the input and of the recurrent product
        b_ih, b_hh = (rzn(row) for row in rest[0])
        u = sizes[1]
        params["bias"] = torch.cat([b_ih[: 2 * u] + b_hh[: 2 * u], b_ih[2 * u :]])
        params["bias_hn"] = b_hh[2 * u :]
    elif use_bias:
        params["bias"] = rzn(rest[0]) if kind == "GRU" else rest[0]
    return cell, params


MERGE = {
    "concat": lambda a, b: torch.cat([a, b], dim=-1),
    "sum": torch.add,
    "mul": torch.mul,
    "ave": lambda a, b: (a + b) / 2,
}


class KerasLayer:
    """One Keras layer out of a cell: direction, statefulness, masks, what is returned."""

    def __init__(
        self, cell: Cell[Any, Any], params: dict[str, Tensor], attrs: dict[str, Any], backwards: bool
    ) -> None:
        self.cell, self.params, self.attrs, self.backwards = cell, params, attrs, backwards
        self.state: Any = None

    def __call__(self, x: Tensor, state: Any = None, mask: Tensor | None = None) -> tuple[Tensor, Any]:
        if state is None:
            state = self.state
        output, last = sequence(self.cell, self.params, x, state, mask=mask, reverse=self.backwards)
        if self.attrs.get("stateful"):
            self.state = last
        if self.attrs.get("return_sequences"):
            if mask is not None and self.attrs.get("zero_output_for_mask"):
                output = output * mask.unsqueeze(-1)
            return (output.flip(1) if self.backwards else output), last  # Keras: in processing order
        return output[:, 0 if self.backwards else -1], last


def bidirectional(
    forward: KerasLayer, backward: KerasLayer, merge: str | None, *inputs: Any, states: Any = (None, None)
) -> tuple[Any, list[Tensor]]:
    one, last = forward(inputs[0], states[0], *inputs[1:])
    other, other_last = backward(inputs[0], states[1], *inputs[1:])
    if forward.attrs.get("return_sequences"):
        other = other.flip(1)
    output = [one, other] if merge is None else MERGE[merge](one, other)
    return output, [*last, *other_last]


@every_engine
def test_keras_js_recurrent_layers(golden):
    """35 layers with random weights, so these pin gate orders."""
    cases = read(golden, "keras_js/recurrent.json")
    assert len(cases) == 35
    for case in cases:
        weights = [tensor(w) for w in case["weights"]]
        x = tensor(case["x"]).unsqueeze(0)
        if case["layer"] == "Bidirectional":
            inner = case["attrs"]["layer"]
            half = len(weights) // 2
            layers = [
                KerasLayer(*keras(inner["class_name"], part, inner["config"]), inner["config"], backwards)
                for part, backwards in ((weights[:half], False), (weights[half:], True))
            ]
            output, _ = bidirectional(*layers, case["attrs"]["merge_mode"], x)
        else:
            layer = KerasLayer(
                *keras(case["layer"], weights, case["attrs"]), case["attrs"], case["attrs"]["go_backwards"]
            )
            for _ in range(case["calls"]):
                output, _ = layer(x)
        close(output[0], tensor(case["expected"]), case["atol"], 0, case["id"])


def keras3_layer(config: dict[str, Any], input_size: int, backwards: bool) -> KerasLayer:
    kind, u = config["class"], config["units"]
    blocks = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[kind]
    kernel, recurrent, bias = (
        config[f"{name}_initializer"]["args"][0] for name in ("kernel", "recurrent", "bias")
    )
    reset = "after" if config.get("reset_after", True) else "before"
    weights = [
        torch.full((input_size, blocks * u), kernel, dtype=torch.float64),
        torch.full((u, blocks * u), recurrent, dtype=torch.float64),
    ]
    if config.get("use_bias", True):
        shape = (2, blocks * u) if kind == "GRU" and reset == "after" else (blocks * u,)
        weights.append(torch.full(shape, bias, dtype=torch.float64))
        if kind == "LSTM" and config.get("unit_forget_bias", True):
            weights[-1][u : 2 * u] = 1
    return KerasLayer(
        *keras(kind, weights, config, reset=reset), config, backwards != config.get("go_backwards", False)
    )


def keras3_state(layer: KerasLayer, given: Any) -> Any:
    if given is None:
        return None
    tensors = [tensor(given)] if len(layer.cell.states) == 1 else [tensor(part) for part in given]
    return layer.cell.state_type(*tensors)


def keras3_run(case: dict[str, Any]) -> Any:
    """The output of the call that the case asks about."""
    config = case["layer"]
    I = len(case["calls"][0]["x"][0][0])
    both = config["class"] == "Bidirectional"
    if both:
        ahead = keras3_layer(config["forward"], I, False)
        back = (
            keras3_layer(config["backward"], I, False)
            if config["backward"]
            else keras3_layer(config["forward"], I, True)
        )
        layers = [ahead, back]
    else:
        layers = [keras3_layer(config, I, False)]
    output: Any = None
    for index, call in enumerate(case["calls"]):
        if call == "reset_state":
            for layer in layers:
                layer.state = None
            continue
        x, given = tensor(call["x"]), call.get("initial_state")
        mask = torch.tensor(call["mask"]) if "mask" in call else None
        if both:
            half = len(given) // 2 if given else 0
            states = (
                [keras3_state(la, part) for la, part in zip(layers, (given[:half], given[half:]))]
                if given
                else (None, None)
            )
            output, last = bidirectional(*layers, config["merge_mode"], x, mask, states=states)
            if config["merge_mode"] is None:
                output = tuple(output)
            if config["forward"].get("return_state"):
                output = (output, *last)
        else:
            output, last = layers[0](x, keras3_state(layers[0], given), mask)
            if config.get("return_state"):
                output = (output, *last)
        if index == case["output_of_call"]:
            return output
    raise AssertionError("the case asks about a call that it does not make")


@every_engine
def test_keras3_recurrent_layers(golden):
    """61 expectations: masks with holes, statefulness, go_backwards, initial states, merge modes."""
    cases = read(golden, "keras3/rnn_layers.json")
    assert len(cases) == 61
    for number, case in enumerate(cases):
        output = keras3_run(case)
        for place in case["output_path"]:
            output = output[place[1] if isinstance(place, list) else place]
        close(output, tensor(case["expected"]), 1e-5, 1e-5, f"{number} {case['id']}")


# TensorFlow Lite: one matrix a gate; with CIFG no input gate, i = 1 - f


def tflite_lstm(case: dict[str, Any]) -> tuple[LSTM, dict[str, Tensor]]:
    flags, w = case["flags"], {name: tensor(value) for name, value in case["weights"].items()}
    if flags["use_cifg"]:  # ours keeps i and has f = 1 - i: σ(-a) = 1 - σ(a)
        w |= {f"{letter}_i": -w[f"{letter}_f"] for letter in ("W", "R", "b", "p") if f"{letter}_f" in w}
    cell = LSTM(
        case["dims"]["n_input"],
        case["dims"]["n_cell"],
        coupled=flags["use_cifg"],
        peepholes=flags["use_peephole"],
    )
    order = [{"g": "c"}.get(gate, gate) for gate in cell.gates]
    params = {
        name: torch.cat([w[f"{letter}_{gate}"] for gate in order])
        for name, letter in (("weight_ih", "W"), ("weight_hh", "R"), ("bias", "b"))
    }
    if cell.peepholes:
        params["weight_ph"] = torch.stack([w[f"p_{gate}"] for gate in cell.peephole_gates])
    return cell, params


@every_engine
def test_tflite_lstm(golden):
    """The strongest source for peepholes and coupled gates, both directions."""
    cases = read(golden, "tflite/lstm.json")
    ran = []
    for case in cases:
        if case["flags"]["use_projection_weights"] or case["flags"]["is_layer_norm"]:
            continue
        cell, params = tflite_lstm(case)
        x = tensor(case["x"]).transpose(0, 1)
        for key, reverse in (("y", False), ("y_backward", True)):
            if key in case:
                output, _ = sequence(cell, params, x, reverse=reverse)
                close(output.transpose(0, 1), tensor(case[key]), case["atol"], 0, f"{case['id']} {key}")
                ran.append((cell.coupled, cell.peepholes, reverse))
    assert ran == [
        (False, False, False),
        (True, True, False),
        (False, False, False),
        (False, False, True),
        (True, True, False),
        (True, True, True),
    ]


@every_engine
def test_tflite_gru(golden):
    """One matrix over [x, h] for r and u, one for the candidate over [x, r ∘ h]."""
    (case,) = read(golden, "tflite/gru.json")
    gates, candidate = tensor(case["gate_weight"]), tensor(case["candidate_weight"])
    x, h0 = tensor(case["x"]).transpose(0, 1), tensor(case["h0"])
    I, H = x.shape[-1], h0.shape[-1]
    rows = torch.cat([gates, candidate])
    params = {
        "weight_ih": rows[:, :I],
        "weight_hh": rows[:, I:],
        "bias": torch.cat([tensor(case["gate_bias"]), tensor(case["candidate_bias"])]),
    }
    output, _ = sequence(GRU(I, H, reset="before"), params, x, State(h0))
    close(output.transpose(0, 1), tensor(case["y"]), case["atol"], 0, case["id"])


@every_engine
def test_tflite_rnn(golden):
    one, both = read(golden, "tflite/rnn.json")
    for case in (one, both):
        x = tensor(case["x"]).unsqueeze(0)
        params = {"weight_ih": tensor(case["W"]), "weight_hh": tensor(case["R"]), "bias": tensor(case["b"])}
        cell = Elman(8, 16, activation=case["activation"])
        for key, reverse in (("y", False), ("y_backward", True)):
            if key in case:
                output, _ = sequence(cell, params, x, reverse=reverse)
                close(output[0], tensor(case[key]), case["atol"], 0, f"{case['id']} {key}")
    assert "y_backward" in both


# TensorFlow 1.x cells: every weight 0.5; BasicLSTM i j f o over [x, h], so constants need no reordering


def constant(cell: Cell[Any, Any], **biases: float) -> dict[str, Tensor]:
    """Every weight 0.5, each gate's bias as named."""
    params = {
        name: torch.full(shape, 0.5, dtype=torch.float64) for name, shape in cell.parameter_shapes().items()
    }
    params["bias"] = torch.cat(
        [torch.full((cell.hidden_size,), biases.get(gate, 0.0), dtype=torch.float64) for gate in cell.gates]
    )
    return params


@every_engine
def test_tensorflow_cells(golden):
    cases = {case["id"]: case for case in read(golden, "tf_cells/cells.json")}
    assert len(cases) == 10

    for name in ("in2", "in3"):
        case = cases.pop(f"tf.core_rnn_cell_test.testGRUCell.{name}")
        x = tensor(case["x"])
        cell = GRU(x.shape[1], 2, reset="before")
        after = step(cell, constant(cell, r=1.0, z=1.0), State(tensor(case["h"])), x)
        close(after.h, tensor(case["expected_h"]), case["atol"], 0, case["id"])

    case = cases.pop("tf.core_rnn_cell_test.testMultiRNNCell")
    x = tensor(case["x"])
    for h, expected in zip(case["h"], case["expected_states"]):
        cell = GRU(2, 2, reset="before")
        x = step(cell, constant(cell, r=1.0, z=1.0), State(tensor([h])), x).h
        close(x, tensor([expected]), case["atol"], 0, case["id"])

    for case_id, bias, layers in (
        ("tf.core_rnn_cell_test.testBasicLSTMCell", 0.0, 2),
        ("tf.contrib.LayerNormBasicLSTMCell.nonorm", 0.5, 2),
        ("tf.contrib.LayerNormBasicLSTMCell.nonorm_in3", 0.5, 1),
    ):
        case = cases.pop(case_id)
        x = tensor(case["x"])
        for layer in range(layers):
            start = [
                tensor(case[f"{s}{layer}"])
                if f"{s}{layer}" in case
                else torch.full((1, 2), case["state_constant"], dtype=torch.float64)
                for s in ("h", "c")
            ]
            cell = LSTM(x.shape[1], 2)
            params = constant(cell, i=bias, f=bias + case["forget_bias"], g=bias, o=bias)
            after = step(cell, params, cell.state_type(*start), x)
            for s in ("h", "c"):
                close(
                    getattr(after, s),
                    tensor(case["expected"][f"{s}{layer}"]),
                    1e-6,
                    1e-5,
                    f"{case_id} {s}{layer}",
                )
            x = after.h

    case = cases.pop("tf.contrib.testCoupledInputForgetGateLSTMCell")  # j f o, i = 1 - f
    x = tensor(case["x"])
    cell = LSTM(4, 2, coupled=True)
    params = constant(cell, i=-case["forget_bias"])
    for name in ("weight_ih", "weight_hh"):
        params[name][:2] *= -1  # our i is σ(-a_f)
    start = torch.full((3, 2), case["state_constant"], dtype=torch.float64)
    after = step(cell, params, cell.state_type(start, start), x)
    close(after.h, tensor(case["expected_h"]), case["atol"], 0, case["id"])
    close(after.c, tensor(case["expected_c"]), case["atol"], 0, case["id"])

    case = cases.pop("tfa.PeepholeLSTMCell")
    cell = LSTM(4, 5, peepholes=True)
    params = {name: torch.ones(shape, dtype=torch.float64) for name, shape in cell.parameter_shapes().items()}
    params["bias"] = torch.cat(
        [torch.full((5,), float(gate == "f"), dtype=torch.float64) for gate in cell.gates]
    )
    x = torch.zeros(4, 4, dtype=torch.float64)
    x[0, 1] = x[1, 2] = x[2, 3] = 1
    after = step(cell, params, cell.initial_state(4, dtype=torch.float64), x)
    close(after.h, tensor(case["expected_h"]), case["atol"], 0, case["id"])

    assert [f"tf_cells: {name}" for name in cases] == LEFT_OUT[-2:]


# tfjs: whole training steps, through autograd and plain descent


class TfjsModel:
    """One recurrent layer from constants, its last output through a dense layer."""

    def __init__(
        self, kind: str, I: int, u: int, k: float, r: float, b: float | None, dense: float, **attrs: Any
    ):
        blocks = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[kind]
        weights = [
            torch.full((I, blocks * u), float(k), dtype=torch.float64),
            torch.full((u, blocks * u), float(r), dtype=torch.float64),
        ]
        if b is not None:
            weights.append(torch.full((blocks * u,), float(b), dtype=torch.float64))
            if attrs.get("unit_forget_bias"):
                weights[-1][u : 2 * u] = 1
        self.cell, params = keras(kind, weights, attrs)
        self.params = {name: p.contiguous().requires_grad_() for name, p in params.items()}
        self.dense = torch.full((u, 1), float(dense), dtype=torch.float64, requires_grad=True)
        self.dense_bias: Tensor | None = None
        self.state: Any = None

    def __call__(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        output, last = sequence(self.cell, self.params, x, self.state, mask=mask)
        self.last = self.cell.state_type(*(s.detach() for s in last))
        y = output[:, -1] @ self.dense
        return y if self.dense_bias is None else y + self.dense_bias

    def descend(
        self, x: Tensor, y: Tensor, lr: float, mask: Tensor | None = None, extra: tuple[Tensor, ...] = ()
    ) -> float:
        leaves = [*self.params.values(), self.dense, *extra]
        if self.dense_bias is not None:
            leaves.append(self.dense_bias)
        loss = (self(x, mask) - y).square().mean()
        gradients = torch.autograd.grad(loss, leaves)
        with torch.no_grad():
            for leaf, gradient in zip(leaves, gradients):
                leaf -= lr * gradient
        return loss.item()


@every_engine
def test_tfjs_training_steps(golden):
    cases = {case["id"]: case for case in read(golden, "tfjs_training/bptt.json")}
    assert len(cases) == 10
    ones = lambda *shape: torch.ones(shape, dtype=torch.float64)

    for name, lr, y in (("simpleRNN.BPTT", 5, 0.0), ("gru.BPTT", 1, 1.0), ("lstm.BPTT", 1, 1.0)):
        case = cases.pop(name)
        attrs = {k: case[k] for k in ("activation", "recurrent_activation") if k in case}
        model = TfjsModel(case["layer"], 4, 1, case["kernel"], case["recurrent"], None, 1, **attrs)
        for _ in range(case["steps"]):
            model.descend(ones(5, 3, 4), torch.full((5, 1), y, dtype=torch.float64), lr)
        reorder = rzn if case["layer"] == "GRU" else lambda columns: columns
        expected = case["expected"]
        close(
            model.params["weight_ih"].T,
            reorder(tensor(expected["kernel"])),
            case["atol"],
            0,
            f"{name} kernel",
        )
        close(
            model.params["weight_hh"].T, reorder(tensor(expected["recurrent"])), case["atol"], 0, f"{name} R"
        )
        close(
            model.dense, tensor(expected["dense"]), case["atol"], 1e-6, f"{name} dense"
        )  # published in float32

    for name in ("simpleRNN.stateful_forward", "gru.stateful_forward", "lstm.stateful_forward"):
        case = cases.pop(name)
        attrs = {k: case[k] for k in ("activation", "recurrent_activation", "unit_forget_bias") if k in case}
        model = TfjsModel(case["layer"], 2, 5, case["kernel"], case["recurrent"], case["bias"], 1, **attrs)
        for expected in case["expected_each_entry"]:
            output, model.state = sequence(model.cell, model.params, ones(4, 3, 2), model.state)
            close(output[:, -1], expected * ones(4, 5), case.get("atol", 1e-9), 0, name)

    for name in ("simpleRNN.stateful_BPTT", "gru.stateful_BPTT", "lstm.stateful_BPTT"):
        case = cases.pop(name)
        attrs = {k: case[k] for k in ("activation", "recurrent_activation", "unit_forget_bias") if k in case}
        dense = case["dense"]["kernel"]
        model = TfjsModel(
            case["layer"], 2, 5, case["kernel"], case["recurrent"], case["bias"], dense, **attrs
        )
        losses = []
        for y in tensor(case["y"]).split(4):
            losses.append(model.descend(ones(4, 3, 2), y, 0.01))
            model.state = model.last  # truncated: the state is carried, its gradient is not
        assert sum(losses) / 2 == pytest.approx(case["expected_mean_epoch_loss"], abs=1e-3), name

    case = cases.pop("lstm.BPTT_with_mask")
    model = TfjsModel("LSTM", 4, 3, 1, 1, 0, 1, recurrent_activation="hard_sigmoid", unit_forget_bias=True)
    model.dense_bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    table = torch.ones(10, 4, dtype=torch.float64, requires_grad=True)
    words = torch.tensor(case["x"])
    losses = [
        model.descend(table[words], tensor(case["y"]), 0.01, words != 0, (table,))
        for _ in range(case["epochs"])
    ]
    assert losses[2:] == pytest.approx(case["expected_loss_epochs_3_4"], abs=1e-3)
    assert not cases


def test_what_is_left_out_is_known_by_name(golden, capsys):
    """Projection and layer norm, and nothing else."""
    left = [
        f"tflite: {case['id']}"
        for case in read(golden, "tflite/lstm.json")
        if case["flags"]["use_projection_weights"] or case["flags"]["is_layer_norm"]
    ]
    left += [f"tf_cells: {case['id']}" for case in read(golden, "tf_cells/cells.json") if "ln" in case]
    with capsys.disabled():
        print("\nleft out (projection or layer norm):", *left, sep="\n  ")
    assert left == LEFT_OUT
