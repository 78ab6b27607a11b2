"""What a cell says of itself: names, shapes, first values, options, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from saiki.cells import CELLS, GRU, LSTM, Elman, Jordan, State, all_cells
from saiki.core.activations import ACTIVATIONS
from saiki.core.errors import DTypeError, OptionError, ShapeError, ValueRangeError

every_cell = pytest.mark.parametrize("cell", all_cells(), ids=lambda c: c.label)


def count(cell):
    return sum(math.prod(shape) for shape in cell.parameter_shapes().values())


@pytest.mark.parametrize(
    ("cell", "numbers"),
    [
        (LSTM(128, 128), 131_584),
        (LSTM(50, 128), 91_648),
        (LSTM(12, 128), 72_192),
        (LSTM(50, 128, peepholes=True), 92_032),
        (GRU(50, 128, reset="before"), 68_736),
        (GRU(50, 128), 68_864),
        (Elman(50, 128), 128 * (50 + 128 + 1)),
        (Jordan(50, 128, 7), 128 * (50 + 128 + 7 + 1) + 7 * 128 + 7),
        (LSTM(50, 128, forget_gate=False), 91_648 * 3 // 4),
        (LSTM(50, 128, coupled=True, peepholes=True), 91_648 * 3 // 4 + 2 * 128),
    ],
    ids=lambda value: getattr(value, "label", str(value)),
)
def test_parameter_counts_of_the_textbooks(cell, numbers):
    """One bias vector a gate: two would give 132,096 for the first."""
    assert count(cell) == numbers
    assert sum(value.numel() for value in cell.initial_parameters().values()) == numbers


def arrays(cell):
    """How many arrays the textbook writes: a block of rows each."""
    blocks = {"weight_ih": len(cell.gates), "weight_hh": len(cell.gates), "bias": len(cell.gates)}
    return sum(
        len(cell.peephole_gates) if name == "weight_ph" else blocks.get(name, 1)
        for name in cell.parameter_shapes()
    )


def test_array_counts_of_the_textbooks():
    assert arrays(GRU(3, 5, reset="before")) == 9
    assert arrays(GRU(3, 5, bias=False)) == 6
    assert arrays(LSTM(3, 5, peepholes=True)) == 15
    assert arrays(LSTM(3, 5)) == 12


def test_a_gru_has_three_quarters_of_an_lstm():
    assert count(GRU(50, 128, reset="before")) * 4 == count(LSTM(50, 128)) * 3


@every_cell
def test_a_cell_describes_itself_consistently(cell, draw):
    shapes = cell.parameter_shapes()
    initial = cell.initial_parameters(torch.Generator().manual_seed(3), dtype=torch.float64)
    assert {name: tuple(value.shape) for name, value in initial.items()} == shapes
    assert all(value.dtype == torch.float64 and value.isfinite().all() for value in initial.values())
    params = cell.params(initial)
    assert {name for name, value in params._asdict().items() if value is not None} == set(shapes)
    state = cell.initial_state(4, dtype=torch.float64)
    assert state._fields == cell.states
    assert [s.shape for s in state] == [(4, size) for size in cell.state_sizes]
    assert not any(s.any() for s in state)
    drawn = draw(cell)
    after, gates = cell.step_with_gates(cell.params(drawn.params), drawn.state, drawn.x)
    assert type(after) is type(state)
    assert [s.shape for s in after] == [s.shape for s in state]
    assert set(gates) == set(cell.gates)
    assert all(gate.shape == (4, cell.hidden_size) for gate in gates.values())
    assert getattr(after, cell.output).shape == (4, cell.output_size)
    for one, other in zip(cell.step(cell.params(drawn.params), drawn.state, drawn.x), after):
        assert torch.equal(one, other)
    assert shapes["weight_ih"][0] == len(cell.gates) * cell.hidden_size


@every_cell
def test_options_go_to_json_and_back(cell):
    options = json.loads(json.dumps(cell.options()))
    again = CELLS[cell.name](**options)
    assert again == cell
    assert hash(again) == hash(cell)
    assert again.label == cell.label


def test_labels_are_unique_and_cells_are_frozen():
    labels = [cell.label for cell in all_cells()]
    assert len(set(labels)) == len(labels)
    assert {cell.name for cell in all_cells()} == set(CELLS)
    assert set(CELLS) == {"elman", "jordan", "lstm", "gru", "elementwise_lstm"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        LSTM(3, 5).hidden_size = 6


def test_gates_and_peepholes_follow_the_options():
    assert LSTM(3, 5).gates == ("i", "f", "g", "o")
    assert LSTM(3, 5).peephole_gates == ()
    assert LSTM(3, 5, peepholes=True).peephole_gates == ("i", "f", "o")
    for options in ({"forget_gate": False}, {"coupled": True}):
        cell = LSTM(3, 5, peepholes=True, **options)
        assert cell.gates == ("i", "g", "o")
        assert cell.peephole_gates == ("i", "o")
        assert cell.parameter_shapes()["weight_ph"] == (2, 5)
    assert GRU(3, 5).gates == ("r", "z", "n")
    assert Elman(3, 5).gates == Jordan(3, 5, 2).gates == ("h",)
    assert Jordan(3, 5, 2).states == ("h", "y")
    assert Jordan(3, 5, 2).output_size == 2


def test_the_cell_of_1997():
    cell = LSTM.original(3, 5)
    assert cell == LSTM(
        3,
        5,
        forget_gate=False,
        activation="sigmoid_pm2",
        output_activation="sigmoid_pm1",
        gate_activation="sigmoid",
    )


class TestInitialParameters:
    def test_forget_bias_is_one_and_the_rest_zero(self):
        initial = LSTM(3, 5, peepholes=True).initial_parameters()
        i, f, g, o = initial["bias"].chunk(4)
        assert f.eq(1).all()
        assert not any(other.any() for other in (i, g, o))
        assert not initial["weight_ph"].any()
        for cell in (GRU(3, 5), Jordan(3, 5, 2), LSTM(3, 5, forget_gate=False), LSTM(3, 5, coupled=True)):
            initial = cell.initial_parameters()
            assert not any(value.any() for name, value in initial.items() if name.startswith("bias"))

    @pytest.mark.parametrize("cell", [LSTM(30, 17), GRU(30, 17), Elman(30, 17), Jordan(30, 17, 4)])
    def test_each_block_of_r_is_orthogonal(self, cell):
        blocks = cell.initial_parameters(dtype=torch.float64)["weight_hh"].chunk(len(cell.gates))
        for R in blocks:
            torch.testing.assert_close(R @ R.T, torch.eye(17, dtype=torch.float64), rtol=0, atol=1e-12)
        assert len(blocks) == 1 or not torch.equal(blocks[0], blocks[1])

    def test_each_block_of_w_is_glorot(self):
        """Uniform on ±√(6 / (I + H)) a gate: with 4 · 120 · 300 draws the extremes come within 1 % of it."""
        W = LSTM(300, 120).initial_parameters(torch.Generator().manual_seed(5), dtype=torch.float64)[
            "weight_ih"
        ]
        bound = math.sqrt(6 / 420)
        for block in W.chunk(4):
            assert 0.99 * bound < block.abs().max() <= bound
            assert block.var() == pytest.approx(2 / 420, rel=0.03)

    def test_jordan_s_output_weights_are_glorot(self):
        initial = Jordan(3, 40, 60).initial_parameters(dtype=torch.float64)
        for name in ("weight_yh", "weight_hy"):
            assert 0.9 * math.sqrt(6 / 100) < initial[name].abs().max() <= math.sqrt(6 / 100)

    def test_same_seed_same_numbers_whatever_the_precision(self):
        a, b = (GRU(3, 5).initial_parameters(torch.Generator().manual_seed(9)) for _ in range(2))
        c = GRU(3, 5).initial_parameters(torch.Generator().manual_seed(9), dtype=torch.float64)
        for name in a:
            assert torch.equal(a[name], b[name])
            assert torch.equal(a[name], c[name].float())
        d = GRU(3, 5).initial_parameters(torch.Generator().manual_seed(10))
        assert not torch.equal(a["weight_ih"], d["weight_ih"])


@pytest.mark.parametrize("family", CELLS.values(), ids=lambda f: f.name)
class TestRefusals:
    def build(self, family, **changes):
        extra = {"output_size": 2} if family is Jordan else {}
        return family(**{"input_size": 3, "hidden_size": 5, **extra, **changes})

    @pytest.mark.parametrize(
        ("value", "error"),
        [
            (0, ValueRangeError),
            (-1, ValueRangeError),
            (2.5, DTypeError),
            ("8", DTypeError),
            (True, DTypeError),
        ],
    )
    @pytest.mark.parametrize("name", ["input_size", "hidden_size"])
    def test_sizes(self, family, name, value, error):
        with pytest.raises(error, match=name):
            self.build(family, **{name: value})

    def test_numpy_sizes_become_plain(self, family):
        cell = self.build(family, hidden_size=np.int64(7))
        assert type(cell.hidden_size) is int
        assert json.dumps(cell.options())

    def test_flags(self, family):
        with pytest.raises(DTypeError, match="bias"):
            self.build(family, bias=1)

    def test_activations(self, family):
        with pytest.raises(OptionError, match="did you mean 'softsign'"):
            self.build(family, activation="softsing")
        with pytest.raises(DTypeError, match="activation"):
            self.build(family, activation=3)

    def test_options_are_keywords(self, family):
        with pytest.raises(TypeError):
            family(3, 5, 2, "tanh")


def test_contradictions_are_told():
    with pytest.raises(OptionError, match=r"coupled=True makes the forget gate 1 - i.*choose one"):
        LSTM(3, 5, coupled=True, forget_gate=False)
    with pytest.raises(OptionError, match="reset"):
        GRU(3, 5, reset="middle")
    with pytest.raises(ValueRangeError, match="output_size"):
        Jordan(3, 5, 0)


def test_params_refuses_what_does_not_belong():
    cell = LSTM(3, 5)
    right = cell.initial_parameters()
    with pytest.raises(OptionError, match="missing bias; not used by these options: weight_ph"):
        cell.params(
            {"weight_ih": right["weight_ih"], "weight_hh": right["weight_hh"], "weight_ph": right["bias"]}
        )
    with pytest.raises(ShapeError, match=r"weight_hh is \(20, 3\) but must be \(20, 5\).*gates i f g o"):
        cell.params({**right, "weight_hh": right["weight_ih"]})


def test_a_callable_is_an_activation_but_not_a_file_s(draw):
    cell = Elman(3, 5, activation=torch.sin)
    drawn = draw(cell)
    named = Elman(3, 5, activation="identity")
    a = named.step(named.params(drawn.params), State(drawn.state.h), drawn.x).h
    assert torch.equal(cell.step(cell.params(drawn.params), drawn.state, drawn.x).h, a.sin())
    assert "sin" in cell.label
    with pytest.raises(OptionError, match="callable, which no file can hold"):
        cell.options()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_serves_everywhere(draw, name):
    for cell in (
        Elman(3, 5, activation=name),
        Jordan(3, 5, 2, activation=name, output_activation=name),
        LSTM(3, 5, gate_activation=name, activation=name, output_activation=name),
        GRU(3, 5, gate_activation=name, activation=name),
    ):
        drawn = draw(cell)
        after = cell.step(cell.params(drawn.params), drawn.state, drawn.x)
        assert all(s.isfinite().all() for s in after)
