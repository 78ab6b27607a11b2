"""Optimisers against torch's own, against the textbook's numbers, and what is penalised."""

import math

import pytest
import torch
from problems import OPTIMISERS

from saiki import learning as L
from saiki.core.errors import CheckpointError, OptionError
from saiki.learning.options import mapping_of
from saiki.nn.basic import Dense, Embedding


class Weights(torch.nn.Module):
    """A few numbers with a name."""

    def __init__(self, *values, name="weight_hh"):
        super().__init__()
        self.register_parameter(name, torch.nn.Parameter(torch.tensor(values, dtype=torch.float64)))
        self.name = name

    @property
    def w(self):
        return self.get_parameter(self.name)


def follow(optimizer, gradients, *, lr, start=0.0, factors=None, **options):
    """The weight after each of the given gradients."""
    network = Weights(start)
    updater = L.Updater(optimizer, network, lr=lr, **options)
    path = []
    for t, g in enumerate(gradients):
        g = g(network.w.item()) if callable(g) else g
        updater.step(
            {"weight_hh": torch.tensor([g], dtype=torch.float64)}, 1.0 if factors is None else factors[t]
        )
        path.append(network.w.item())
    return path


def changes(path, start=0.0):
    return [b - a for a, b in zip([start, *path], path)]


TORCH = {
    "sgd": (L.SGD(), lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.1)),
    "momentum": (L.Momentum(0.8), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, weight_decay=0.1)),
    "momentum, textbook, is torch's at (1 - μ) η": (
        L.Momentum(0.8, textbook=True),
        lambda p: torch.optim.SGD(p, lr=0.2 * 0.05, momentum=0.8, weight_decay=0.1),
    ),
    "nesterov": (
        L.Nesterov(0.8),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.1),
    ),
    "nesterov, textbook, is torch's at (1 - μ) η": (
        L.Nesterov(0.8, textbook=True),
        lambda p: torch.optim.SGD(p, lr=0.2 * 0.05, momentum=0.8, nesterov=True, weight_decay=0.1),
    ),
    "adagrad": (L.AdaGrad(), lambda p: torch.optim.Adagrad(p, lr=0.05, weight_decay=0.1)),
    "rmsprop": (L.RMSprop(0.95), lambda p: torch.optim.RMSprop(p, lr=0.05, alpha=0.95, weight_decay=0.1)),
    "adam": (L.Adam(0.8, 0.99), lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.99), weight_decay=0.1)),
    "adamw": (L.AdamW(), lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1)),
}


@pytest.mark.parametrize("case", TORCH)
def test_agreement_with_torch_at_a_constant_rate(case, rng):
    ours, build = TORCH[case]
    start = torch.randn(4, dtype=torch.float64, generator=rng)
    network, theirs = Weights(*start.tolist()), torch.nn.Parameter(start.clone())
    updater, reference = L.Updater(ours, network, lr=0.05, weight_decay=0.1), build([theirs])
    for _ in range(20):
        g = torch.randn(4, dtype=torch.float64, generator=rng)
        updater.step({"weight_hh": g})
        theirs.grad = g.clone()
        reference.step()
        torch.testing.assert_close(network.w, theirs, rtol=1e-12, atol=1e-14)  # 20 steps of rounding
    assert network.w.grad is None


def test_textbook_momentum_worked_by_hand():
    path = follow(L.Momentum(0.9, textbook=True), [1, 2, -1, 0.5], lr=0.1)
    assert changes(path) == pytest.approx([-0.01, -0.029, -0.0161, -0.01949], abs=1e-15)


def test_textbook_momentum_under_a_schedule_remembers_changes_not_gradients():
    mu, eta, gradients, factors = 0.9, 0.1, [1.0, 2.0, -1.0, 0.5], [1.0, 0.5, 0.25, 0.1]
    delta, expected = 0.0, []
    for g, factor in zip(gradients, factors):
        delta = mu * delta - (1 - mu) * eta * factor * g
        expected.append(delta)
    ours = follow(L.Momentum(mu, textbook=True), gradients, lr=eta, factors=factors)
    assert changes(ours) == pytest.approx(expected, abs=1e-15)
    torchs = follow(L.Momentum(mu), gradients, lr=eta * (1 - mu), factors=factors)
    assert abs(changes(torchs)[1] - expected[1]) > 1e-3  # torch would scale the old gradient by the new rate


def test_textbook_nesterov_takes_the_gradient_where_momentum_leads():
    mu, eta, factors = 0.9, 0.1, [1.0, 0.5, 0.25, 0.1]

    def slope(w):
        return 3 * w**2 - w + 1

    w, delta, ahead = 0.5, 0.0, []
    for factor in factors:
        delta = mu * delta - (1 - mu) * eta * factor * slope(w + mu * delta)
        w += delta
        ahead.append(w + mu * delta)
    path = follow(L.Nesterov(mu, textbook=True), [slope] * 4, lr=eta, start=0.5, factors=factors)
    assert path == pytest.approx(ahead, abs=1e-14)


def test_rmsprop_with_epsilon_inside_and_outside_worked_by_hand():
    inside = follow(L.RMSprop(0.9, eps=1e-6, eps_inside=True), [1e-3], lr=0.01)[0]
    outside = follow(L.RMSprop(0.9, eps=1e-6), [1e-3], lr=0.01)[0]
    assert inside == pytest.approx(-0.00953463, abs=5e-9)
    assert outside == pytest.approx(-0.0315231, abs=5e-8)


def test_adagrad_bears_a_gradient_that_is_zero_from_the_start():
    assert follow(L.AdaGrad(), [0.0, 0.0], lr=0.1, start=1.0) == [1.0, 1.0]


@pytest.mark.parametrize(("h", "share"), [(10.0, 0.952381), (1.0, 0.666667), (0.01, 0.019608)])
def test_weight_decay_near_a_minimum(h, share):
    """L = h (w - 1)²/2 + α w²/2 has its minimum at h/(h + α)."""
    path = follow(L.SGD(), [lambda w: h * (w - 1)] * 20_000, lr=0.05, start=0.3, weight_decay=0.5)
    assert path[-1] == pytest.approx(share, abs=5e-7)


def test_only_l1_gives_exact_zeros():
    """L = h (w - w⁰)²/2 + λ|w| has its minimum at the soft threshold w⁰ - λ/h, or exactly 0."""
    small = follow(L.SGD(), [lambda w: 2 * (w - 0.2)] * 2000, lr=0.1, start=1.0, l1=0.5)[-1]
    large = follow(L.SGD(), [lambda w: 2 * (w - 1.0)] * 2000, lr=0.1, start=0.1, l1=0.5)[-1]
    shrunk = follow(L.SGD(), [lambda w: 2 * (w - 0.2)] * 2000, lr=0.1, start=1.0, weight_decay=0.5)[-1]
    assert small == 0.0
    assert large == pytest.approx(1.0 - 0.5 / 2, abs=1e-12)
    assert shrunk == pytest.approx(0.16, abs=1e-12)
    adaptive = follow(L.Adam(), [lambda w: 2 * (w - 0.2)] * 2000, lr=0.01, start=1.0, l1=2.0)[-1]
    assert adaptive == 0.0


class Small(torch.nn.Module):
    """One parameter of each kind, under the names our layers use."""

    def __init__(self):
        super().__init__()
        self.embedding = Embedding(5, 3)
        self.dense = Dense(3, 2)
        shapes = {
            "weight_ih_l0": (8, 3),
            "weight_hh_l0": (8,),
            "weight_ph_l0": (3, 2),
            "bias_l0": (8,),
            "h0_l0": (2,),
        }
        self.recurrent = torch.nn.Module()
        for name, shape in shapes.items():
            self.recurrent.register_parameter(name, torch.nn.Parameter(torch.ones(shape)))
        self.norm = torch.nn.LayerNorm(4)


def test_weight_decay_acts_on_w_and_r_only():
    assert L.penalised(Small()) == {"dense.weight", "recurrent.weight_ih_l0", "recurrent.weight_hh_l0"}
    network = Small()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    zero = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    L.Updater(L.SGD(), network, lr=0.1, weight_decay=0.5, l1=0.1).step(zero)
    for name, p in network.named_parameters():
        assert torch.equal(p, before[name]) is (name not in L.penalised(network)), name


def test_groups_by_name_pattern():
    network = Small()
    ones = {name: torch.ones_like(p) for name, p in network.named_parameters()}
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    groups = (
        L.Group("embedding.*", frozen=True),
        L.Group("*weight_hh*", lr=1.0, weight_decay=0.0),
        L.Group("*bias*", weight_decay=0.5),
        L.Group("*"),
    )
    updater = L.Updater(L.SGD(), network, lr=0.1, groups=groups)
    assert "embedding.weight" not in updater.names
    updater.step(ones, factor=0.5)
    moved = {name: before[name] - p for name, p in network.named_parameters()}
    assert (moved["embedding.weight"] == 0).all()
    torch.testing.assert_close(moved["recurrent.weight_hh_l0"], torch.full((8,), 0.5))
    torch.testing.assert_close(moved["recurrent.weight_ih_l0"], torch.full((8, 3), 0.05))
    torch.testing.assert_close(moved["recurrent.bias_l0"], torch.full((8,), 0.05 * 1.5))
    with pytest.raises(OptionError, match=r"'\*\.byas' matches no parameter"):
        L.Updater(L.SGD(), network, lr=0.1, groups=(L.Group("*.byas"),))
    with pytest.raises(OptionError, match=r"did you mean 'dense\.weight'"):
        L.Updater(L.SGD(), network, lr=0.1, groups=(L.Group("dens.weight"),))
    with pytest.raises(OptionError, match="nothing to train"):
        L.Updater(L.SGD(), network, lr=0.1, groups=(L.Group("*", frozen=True),))


@pytest.mark.parametrize("optimizer", OPTIMISERS, ids=repr)
def test_state_saved_and_restored_goes_on_bit_for_bit(optimizer, rng):
    gradients = [
        {"a.w": torch.randn(3, generator=rng), "b.w": torch.randn(2, 2, generator=rng)} for _ in range(6)
    ]

    def build():
        network = torch.nn.ModuleDict({"a": torch.nn.Module(), "b": torch.nn.Module()})
        network["a"].w = torch.nn.Parameter(torch.ones(3))
        network["b"].w = torch.nn.Parameter(torch.ones(2, 2))
        return network, L.Updater(optimizer, network, lr=0.1)

    whole, updater = build()
    for g in gradients:
        updater.step(g)
    first, updater = build()
    for g in gradients[:3]:
        updater.step(g)
    weights, state = {n: w.clone() for n, w in first.state_dict().items()}, updater.tensors()
    second, updater = build()
    second.load_state_dict(weights)
    updater.load(state)
    for g in gradients[3:]:
        updater.step(g)
    for name, w in whole.state_dict().items():
        assert torch.equal(w, second.state_dict()[name])


def test_a_foreign_state_is_refused():
    updater = L.Updater(L.Momentum(), Weights(1.0, 2.0), lr=0.1)
    with pytest.raises(CheckpointError, match="belongs to no parameter"):
        updater.load({"other/momentum_buffer": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r"is \(3,\) but must be \(2,\)"):
        updater.load({"weight_hh/momentum_buffer": torch.zeros(3)})


def test_optimisers_by_name():
    assert L.get_optimizer("adam") == L.Adam()
    assert L.get_optimizer({"type": "momentum", "momentum": 0.5, "textbook": True}) == L.Momentum(0.5, True)
    for optimizer in OPTIMISERS:
        assert L.get_optimizer(mapping_of(optimizer)) == optimizer
    assert set(L.OPTIMISERS) == {"sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"}
    with pytest.raises(OptionError, match="did you mean 'adam'"):
        L.get_optimizer("adan")
    with pytest.raises(OptionError, match="did you mean 'beta1'"):
        L.get_optimizer({"type": "adam", "beta_1": 0.5})
    with pytest.raises(OptionError, match="has no 'type'"):
        L.get_optimizer({"momentum": 0.5})
    with pytest.raises(OptionError, match="must be a name or a configuration"):
        L.get_optimizer(3)
    with pytest.raises(OptionError, match="momentum is 1 but must be below 1"):
        L.Momentum(1)
    for broken in (lambda: L.Adam(beta1=-0.1), lambda: L.RMSprop(eps=0), lambda: L.AdaGrad(eps=math.nan)):
        with pytest.raises(ValueError, match="must be"):
            broken()


def test_adamw_shrinks_apart_from_the_gradient():
    alone = follow(L.AdamW(), [0.0], lr=0.1, start=1.0)[0]
    assert alone == pytest.approx(1 - 0.1 * 0.01)  # its own α = 0.01
    assert follow(L.AdamW(), [0.0], lr=0.1, start=1.0, weight_decay=0.0)[0] == 1.0
    assert follow(L.Adam(), [0.0], lr=0.1, start=1.0)[0] == 1.0
