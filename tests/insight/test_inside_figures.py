"""The pictures of the looks inside: whole, themed, within their edges, and true to their numbers."""

from __future__ import annotations

import re
from functools import cache
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from saiki import insight, nn
from saiki.core.errors import OptionError, ShapeError
from saiki.insight import figures_features, figures_gates, figures_reach
from saiki.insight.features import EmbeddingMap, Excitement, Filters
from saiki.insight.panels import power

SVG = "{http://www.w3.org/2000/svg}"


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(20011)


@cache
def network(kind: str) -> nn.Stack:
    config = {
        "lstm": nn.LSTMConfig(hidden_size=5),
        "elman": nn.RNNConfig(hidden_size=5),
        "gru": nn.GRUConfig(hidden_size=3, num_layers=2),
    }[kind]
    return nn.Stack.build([config, nn.LastConfig()], 3, 2, generator=rng())


@cache
def sequences() -> tuple[torch.Tensor, ...]:
    source = rng()
    return tuple(torch.randn(n, 3, generator=source) for n in (12, 9, 12))


@cache
def reach(kind: str) -> insight.GradientReach:
    return insight.gradient_reach(network(kind), list(sequences()))


@cache
def jacobians(kind: str) -> insight.StepJacobians:
    return insight.step_jacobians(network(kind), list(sequences()))


@cache
def use(kind: str) -> insight.GateReport:
    return insight.gate_use(network(kind), list(sequences()))


def excitement() -> Excitement:
    made = np.sin(np.arange(24.0)).reshape(8, 3)
    values = {"made_value": 0.9, "found_value": -0.4, "found_alone": -0.5}
    return Excitement(layer="lstm", unit=2, made=made, found=made[::-1], sequence=0, step=9, **values)


def letters() -> EmbeddingMap:
    places = np.random.default_rng(1).normal(size=(26, 2))
    return EmbeddingMap(name="embedding", vectors=places, places=places, explained=np.array([0.6, 0.2]))


def weights() -> list[Filters]:
    W = np.random.default_rng(2).normal(size=(7, 4))
    return [Filters(name="lstm", gate=gate, weights=W) for gate in "if"]


PICTURES = {
    "reach": lambda w: figures_reach.gradient_reach(reach("lstm"), width=w),
    "reach_both": lambda w: figures_reach.gradient_reach(
        {"before training": reach("gru"), "after training": reach("gru")}, width=w
    ),
    "jacobians": lambda w: figures_reach.step_jacobians(jacobians("gru"), width=w),
    "bound": lambda w: figures_reach.vanishing_bound(reach("elman"), jacobians("elman"), width=w),
    "gates": lambda w: figures_gates.gates(use("lstm"), width=w),
    "gates_of_two": lambda w: figures_gates.gates(use("gru"), width=w),
    "time_constants": lambda w: figures_gates.time_constants(use("gru"), width=w),
    "units": lambda w: figures_gates.units(use("lstm"), width=w),
    "state_norms": lambda w: figures_gates.state_norms(use("lstm"), width=w),
    "filters": lambda w: figures_features.filters(weights(), width=w),
    "filters_named": lambda w: figures_features.filters(
        weights()[0], inputs=["a", "long name", "c", "d"], width=w
    ),
    "embedding_map": lambda w: figures_features.embedding_map(
        letters(), names=[f"word {k}" for k in range(26)], width=w
    ),
    "exciting_input": lambda w: figures_features.exciting_input(excitement(), width=w),
}


def words(svg):
    return [e.text for e in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("width", [840, 380])
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_whole_themed_and_within_its_edges(name, width):
    svg = PICTURES[name](width)
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg" and root.attrib["aria-label"]
    assert not re.findall(r"#[0-9a-fA-F]{6}\b|#000\b|black|white|nan", re.sub(r"var\([^)]*\)", "", svg))
    _, _, wide, high = map(float, root.attrib["viewBox"].split())
    assert wide == width
    for e in root.iter(f"{SVG}text"):
        if "rotate" in e.attrib.get("transform", ""):
            continue
        x, y, long = float(e.attrib["x"]), float(e.attrib["y"]), 7.2 * len(e.text)
        anchor = re.search(r"text-anchor: (\w+)", e.attrib["style"])
        start = x - {"start": 0, "middle": long / 2, "end": long}[anchor[1] if anchor else "start"]
        assert start >= -1 and start + long <= width + 1, (e.text, start)
        assert 0 <= y <= high, (e.text, y)


def test_the_same_data_give_the_same_bytes():
    for name in ("reach", "embedding_map"):
        assert PICTURES[name](840) == PICTURES[name](840)


def test_the_reach_is_in_the_title_and_curves_are_named():
    found = words(PICTURES["reach"](840))
    layer = reach("lstm").layers[0]
    said = f"above 1/1000 for {reach('lstm').lags[-1]} steps"
    assert layer.reach is None and f"lstm: {said}" in found
    assert {"state", "h", "c", "input", "steps back"} <= set(found)
    both = words(PICTURES["reach_both"](840))
    assert sum(w.startswith("gru.l0, before training: ") for w in both) == 1
    assert sum(w.startswith("gru.l1, after training: ") for w in both) == 1


def test_the_spectral_radius_of_every_gate_is_written():
    found = words(PICTURES["jacobians"](840))
    radii = {gate: R.spectral_radius for gate, R in jacobians("gru").layers[0].recurrent.items()}
    assert f"spectral radius of R: {', '.join(f'{g} {radii[g]:.2f}' for g in 'rzn')}" in found


def test_a_curve_that_is_gone_says_after_how_many_steps():
    net = nn.Stack.build([nn.RNNConfig(hidden_size=3)], 3, generator=rng())
    with torch.no_grad():
        net.layers["rnn"].weight_hh_l0 *= 0.1
    svg = figures_reach.gradient_reach(insight.gradient_reach(net, list(sequences())))
    assert "rnn: 1/1000 after 3 steps" in words(svg) or "rnn: 1/1000 after 4 steps" in words(svg)


def test_shares_are_written_under_the_gates():
    found = words(PICTURES["gates"](840))
    assert {"input gate i", "forget gate f", "candidate g", "output gate o", "output ψ(c)"} <= set(found)
    f = use("lstm").layers[0].gate("f")
    share = 100 * f.open.mean()
    assert any(
        w.startswith(f"open {share:.0f} %" if share >= 1 or share == 0 else "open <1 %") for w in found
    )


def test_dead_and_saturated_units_are_counted():
    net = nn.Stack.build([nn.RNNConfig(hidden_size=4, activation="relu")], 3, generator=rng())
    with torch.no_grad():
        net.layers["rnn"].bias_l0[1:3] = -100.0
    found = words(figures_gates.units(insight.gate_use(net, list(sequences()))))
    assert found.count("2 of 4") == 2  # saturated, and dead


def test_names_that_would_cover_others_are_left_out():
    places = np.zeros((5, 2))
    places[4] = 1.0
    found = EmbeddingMap(name="e", vectors=places, places=places, explained=np.array([1.0, 0.0]))
    shown = [w for w in words(figures_features.embedding_map(found, names="abcde")) if w in "abcde"]
    assert sorted(shown) == ["a", "b", "e"]  # at one place there is room for a name on either side


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (1000.0, "1,000"), (0.1, "0.1"), (1e-3, "10⁻³"), (1e12, "10¹²"), (0.5, "0.5")],
)
def test_powers_of_ten_are_written_as_one_reads_them(value, text):
    assert power(value) == text


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: figures_reach.gradient_reach({}), OptionError, "same layers"),
        (
            lambda: figures_reach.gradient_reach({"a": reach("gru"), "b": reach("lstm")}),
            OptionError,
            "same layers",
        ),
        (lambda: figures_reach.vanishing_bound(reach("gru"), jacobians("gru")), OptionError, "Elman"),
        (lambda: figures_gates.time_constants(use("elman")), OptionError, "holds its memory"),
        (lambda: figures_features.filters([]), OptionError, "between 1 and 20,000"),
        (lambda: figures_features.filters(weights(), inputs=["a"]), ShapeError, "one name each"),
        (lambda: figures_features.embedding_map(letters(), names="ab"), ShapeError, "2 names for 26 ids"),
        (lambda: figures_features.exciting_input(excitement(), inputs=["a"]), ShapeError, "1 names for 3"),
    ],
)
def test_what_cannot_be_drawn_is_a_clear_error(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_network_whose_gradient_is_nothing_or_everything_is_still_drawn():
    net = nn.Stack.build(
        [nn.RNNConfig(hidden_size=2, activation="identity")], 3, generator=rng(), dtype=torch.float64
    )
    x = [torch.randn(40, 3, generator=rng(), dtype=torch.float64)]
    for factor in (0.0, 1e9):
        with torch.no_grad():
            net.layers["rnn"].weight_hh_l0.copy_(factor * torch.eye(2))
            net.layers["rnn"].weight_ih_l0.zero_()
        assert figures_reach.gradient_reach(insight.gradient_reach(net, x))
        assert figures_reach.step_jacobians(insight.step_jacobians(net, x))
        assert figures_gates.gates(insight.gate_use(net, x)) and figures_gates.state_norms(
            insight.gate_use(net, x)
        )
