"""What is the user's own: activations and cells in configs, in files by name alone, and back."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from saiki.cells import GRU, LSTM, Cell, Elman, LSTMState, State
from saiki.core.errors import DTypeError, EngineError, OptionError, SchemaError
from saiki.core.ragged import Ragged
from saiki.nn import (
    ActivationConfig,
    CellConfig,
    DenseConfig,
    GRUConfig,
    JordanConfig,
    LSTMConfig,
    Recurrent,
    RNNConfig,
    Stack,
    layer_from_mapping,
    layer_to_mapping,
)


def swish(a: torch.Tensor) -> torch.Tensor:
    return a * torch.sigmoid(a)


@dataclass(frozen=True)
class Power:
    """A function with an option of its own."""

    p: float = 2.0
    name: ClassVar[str] = "power"

    def options(self) -> dict[str, float]:
        return {"p": self.p}

    def __call__(self, a):
        return torch.tanh(a) ** self.p


@dataclass(frozen=True, kw_only=True)
class Leaky(Cell):
    """h_t = (1 - 1/τ) h_{t-1} + f(W x_t + R h_{t-1} + b) / τ: only `step` is written."""

    tau: float = 2.0
    squash: object = torch.tanh
    name: ClassVar[str] = "leaky"

    def step(self, params, state, x):
        new = self.squash(x @ params.weight_ih.T + state.h @ params.weight_hh.T + params.bias)
        return State(h=state.h * (1 - 1 / self.tau) + new / self.tau)


class Plain(Cell):
    """No name of its own."""

    def step(self, params, state, x):
        return State(h=torch.sin(x @ params.weight_ih.T + state.h @ params.weight_hh.T))


EXTRA = {"swish": swish, "power": Power, "leaky": Leaky, "Plain": Plain}
LINES = [
    RNNConfig(hidden_size=3, activation=swish),
    JordanConfig(hidden_size=3, size=2, output_activation=swish),
    LSTMConfig(hidden_size=3, gate_activation=Power(2.0), output_activation=swish, bidirectional=True),
    GRUConfig(hidden_size=3, activation=Power(3.0)),
    DenseConfig(size=3, activation=swish),
    ActivationConfig(activation=Power(1.0)),
    CellConfig(
        cell=Leaky, hidden_size=3, num_layers=2, options={"tau": 3.0, "squash": swish}, bidirectional=True
    ),
    CellConfig(cell=Plain, hidden_size=3, options={}),
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.type)
def test_what_is_ones_own_survives_files_by_name(line, rng):
    """A table of JSON without code; with `extra` the same config, and the same outputs bit for bit."""
    table = json.loads(json.dumps(layer_to_mapping(line)))
    assert layer_from_mapping(table, extra=EXTRA) == line
    network = Stack.build([line], 2, generator=rng)
    again = Stack.build([layer_from_mapping(one, extra=EXTRA) for one in network.to_config()], 2)
    again.load_state_dict(network.state_dict())
    x = Ragged.from_list([torch.randn(n, 2, generator=rng) for n in (3, 0, 5)])
    assert torch.equal(network(x).data, again(x).data)
    assert network(x).data.shape[-1] == line.output_size(2)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.type)
def test_without_extra_the_name_is_refused(line):
    """Nothing is imported; the message shows how to give the object."""
    table = layer_to_mapping(line)
    with pytest.raises(SchemaError, match=r"line 2.*not Saiki's own.*never imported.*extra=\{'"):
        layer_from_mapping(table, "network line 2")


def test_the_table_names_what_is_ones_own():
    """The form of the schema."""
    table = layer_to_mapping(LINES[3])
    assert table["activation"] == {"custom": "power", "options": {"p": 3.0}}
    assert table["gate_activation"] == "sigmoid"
    table = layer_to_mapping(LINES[6])
    assert table["cell"] == "leaky"
    assert table["options"] == {"tau": 3.0, "squash": {"custom": "swish", "options": {}}}
    assert layer_to_mapping(LINES[7])["cell"] == "Plain"


def test_a_built_layer_with_a_cell_as_a_value_is_written_down(rng):
    """`Recurrent` with a built-in cell needs no extra."""
    network = Stack([Recurrent(GRU(2, 3, reset="before"), bidirectional=True, generator=rng)])
    tables = json.loads(json.dumps(network.to_config()))
    again = Stack.build(tables, 2)
    again.load_state_dict(network.state_dict())
    x = Ragged.from_list([torch.randn(4, 2, generator=rng)])
    assert torch.equal(network(x).data, again(x).data)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"activation": {"custom": "swish"}}, "activation.*options is missing"),
        ({"activation": {"custom": "swish", "options": {}, "module": "os"}}, "unknown key 'module'"),
        ({"activation": {"custom": 3, "options": {}}}, "custom is 3"),
        ({"activation": {"custom": "power", "options": {"q": 1}}}, "options of 'power'.*'q'"),
        ({"activation": {"custom": "number", "options": {}}}, "must be a function of a tensor"),
        ({"activation": ["tanh"]}, "activation is .*tanh.* but must be"),
        ({"hidden_size": {"custom": "swish", "options": {}}}, "hidden_size is"),
    ],
)
def test_the_schema_stays_closed(change, says):
    """A table that only looks like a function's is refused, each with the place."""
    table = layer_to_mapping(RNNConfig(hidden_size=2)) | change
    with pytest.raises(SchemaError, match=says) as caught:
        layer_from_mapping(table, "network line 1", extra=EXTRA | {"number": 3})
    assert str(caught.value).startswith("network line 1")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cell": "leaki"}, "'leaki', which is not Saiki's own"),
        ({"cell": "swish"}, "cell is .* but must be a subclass"),
        ({"cell": 3}, "cell is 3 but must be"),
        ({"cell": {"custom": "leaky", "options": {}}}, "cell is"),
        ({"options": {"tua": 3.0}}, "unknown option of leaky 'tua'; did you mean 'tau'"),
        ({"options": 3}, "options is 3"),
        ({"options": {"hidden_size": 3}}, "unknown option of leaky 'hidden_size'"),
        ({"cell": "jordan", "options": {}}, "options lacks output_size, which the cell jordan needs"),
        ({"hidden_size": 10**9}, "hidden_size"),
        ({"taus": 3}, "unknown key 'taus'"),
    ],
)
def test_the_schema_of_a_cell_of_ones_own_stays_closed(change, says):
    """Sizes are bounded, keys known, the class is a cell."""
    table = layer_to_mapping(CellConfig(cell=Leaky, hidden_size=2)) | change
    with pytest.raises(SchemaError, match=says) as caught:
        layer_from_mapping(table, "network line 1", extra=EXTRA)
    assert str(caught.value).startswith("network line 1")


def test_what_is_no_cell_and_no_function_is_refused():
    """At once, not in the first forward pass."""
    with pytest.raises(DTypeError, match=r"must be a subclass of saiki\.cells\.Cell"):
        CellConfig(cell=swish, hidden_size=2)
    with pytest.raises(OptionError, match="unknown cell 'lstn'; did you mean 'lstm'"):
        CellConfig(cell="lstn", hidden_size=2)
    with pytest.raises(OptionError, match="unknown option of leaky 'tua'; did you mean 'tau'"):
        CellConfig(cell=Leaky, hidden_size=2, options={"tua": 1.0})
    with pytest.raises(DTypeError, match="PReLU has parameters"):
        LSTMConfig(hidden_size=2, activation=torch.nn.PReLU())


def test_a_cell_that_writes_only_step_has_everything_but_a_kernel(rng):
    """Two layers, two directions, ragged, learned start: each sequence as alone, and right gradients."""
    layer = Recurrent(
        Leaky(2, 3),
        num_layers=2,
        bidirectional=True,
        learn_initial_state=True,
        dtype=torch.float64,
        generator=rng,
    )
    xs = [torch.randn(n, 2, generator=rng, dtype=torch.float64, requires_grad=n > 0) for n in (3, 0, 5, 1)]
    together = layer(Ragged.from_list(xs))[0].to_list()
    for x, out in zip(xs, together):
        torch.testing.assert_close(out, layer(Ragged.from_list([x]))[0].to_list()[0], rtol=0, atol=1e-12)
    inputs = [x for x in xs if len(x)]
    assert torch.autograd.gradcheck(lambda *parts: layer(Ragged.from_list(list(parts)))[0].data, inputs)
    layer(Ragged.from_list(xs))[0].data.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in layer.parameters())


@dataclass(frozen=True, kw_only=True)
class Doubled(LSTM):
    """An LSTM that steps otherwise."""

    def step(self, params, state, x):
        h, c = super().step(params, state, x)
        return LSTMState(2 * h, c)


@dataclass(frozen=True, kw_only=True)
class Sine(Elman):
    """An Elman network that steps otherwise."""

    def step(self, params, state, x):
        return State(h=torch.sin(x @ params.weight_ih.T + state.h @ params.weight_hh.T))


@pytest.mark.parametrize("family", [Doubled, Sine])
def test_no_kernel_of_the_parent_runs_a_subclass(family, rng):
    """A subclass of a built-in cell is the user's own: its `step` is what counts, on every engine."""
    layer = Recurrent(family(2, 3), generator=rng)
    x = torch.randn(4, 1, 2, generator=rng)
    with torch.no_grad():
        torch.testing.assert_close(layer(x)[0], reference(layer)(x)[0], rtol=0, atol=0)
        for engine in ("torch_fused", "cpu"):
            layer.engine = engine
            with pytest.raises(
                EngineError, match=f"no {family.__name__.lower()} (layer|kernel)|was not built"
            ):
                layer(x)
    with pytest.raises(OptionError, match=rf"torch\.nn has no {family.__name__.lower()} layer"):
        layer.to_torch()


def reference(layer):
    """The same layer on the reference engine."""
    twin = copy.deepcopy(layer)
    twin.engine = "reference"
    return twin
