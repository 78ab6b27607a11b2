"""Activations against autograd, their bounds, and their values at points worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from saiki.core.activations import ACTIVATIONS, Activation, get_activation
from saiki.core.errors import DTypeError, OptionError

KINKS = [-3.0, -2.5, 0.0, 2.5, 3.0]


def points() -> torch.Tensor:
    return torch.cat(
        (torch.linspace(-12, 12, 4801, dtype=torch.float64), torch.tensor(KINKS, dtype=torch.float64))
    )


def test_the_names_are_those_promised():
    assert set(ACTIVATIONS) == {
        "tanh",
        "sigmoid",
        "hard_sigmoid",
        "hard_sigmoid_keras2",
        "relu",
        "leaky_relu",
        "softsign",
        "identity",
        "sigmoid_pm2",
        "sigmoid_pm1",
    }


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_both_derivatives_agree_with_autograd(name):
    """At the kinks too: there autograd takes the flat side and so do we. 4e-16 is two roundings near 1."""
    activation = get_activation(name)
    a = points().requires_grad_()
    y = activation(a)
    (true,) = torch.autograd.grad(y.sum(), a)
    torch.testing.assert_close(activation.derivative(a, y).detach(), true, rtol=0, atol=4e-16)
    torch.testing.assert_close(activation.derivative_from_output(y).detach(), true, rtol=0, atol=4e-16)
    assert activation.derivative(a, y).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_element_type_is_kept(name, dtype):
    activation = get_activation(name)
    y = activation(torch.linspace(-4, 4, 9, dtype=dtype))
    assert y.dtype == dtype and activation.derivative_from_output(y).dtype == dtype


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_max_slope_is_reached_and_never_passed(name):
    activation = get_activation(name)
    a = points()
    slopes = activation.derivative(a, activation(a))
    assert slopes.max().item() == pytest.approx(activation.max_slope, rel=1e-12)
    secants = (activation(a[1:4801]) - activation(a[:4800])) / (a[1:4801] - a[:4800])
    assert secants.max().item() <= activation.max_slope * (1 + 1e-9)


@pytest.mark.parametrize(
    ("name", "a", "y"),
    [
        ("tanh", 5.0, 1 - 9.0796e-5),
        ("softsign", 5.0, 1 - 1 / 6),
        ("softsign", -1.0, -0.5),
        ("sigmoid", math.log(3), 0.75),
        ("sigmoid_pm2", math.log(3), 1.0),
        ("sigmoid_pm1", math.log(3), 0.5),
        ("hard_sigmoid", 1.5, 0.75),
        ("hard_sigmoid", 3.5, 1.0),
        ("hard_sigmoid_keras2", 1.5, 0.8),
        ("hard_sigmoid_keras2", -2.6, 0.0),
        ("relu", -2.0, 0.0),
        ("leaky_relu", -2.0, -0.02),
        ("identity", -2.0, -2.0),
    ],
)
def test_values_worked_by_hand(name, a, y):
    got = get_activation(name)(torch.tensor(a, dtype=torch.float64)).item()
    assert got == pytest.approx(y, rel=1e-9, abs=1e-12) or (
        name == "tanh" and got == pytest.approx(y, abs=1e-9)
    )


def test_slopes_in_saturation_worked_by_hand():
    """At a = 5 softsign still has slope 1/36 where tanh has 1.8e-4: why it saturates more gently."""
    a = torch.tensor(5.0, dtype=torch.float64)
    for name, slope in (("softsign", 1 / 36), ("tanh", 1.8158e-4)):
        activation = get_activation(name)
        assert activation.derivative(a, activation(a)).item() == pytest.approx(slope, rel=1e-4)


def test_extremes_stay_finite_and_nan_stays_nan():
    for activation in ACTIVATIONS.values():
        a = torch.tensor([-1e30, 1e30], dtype=torch.float64)
        slopes = activation.derivative(a, activation(a))
        assert torch.isfinite(slopes).all() and (slopes >= 0).all()
        assert torch.isnan(activation(torch.tensor(float("nan"))))


def test_a_callable_is_an_activation_without_known_slope():
    custom = get_activation(torch.sin)
    assert custom.name == "custom" and custom.derivative is None and math.isnan(custom.max_slope)
    assert custom(torch.tensor(0.0)) == 0
    assert get_activation(custom) is custom and isinstance(get_activation("tanh"), Activation)


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(OptionError, match=r"unknown activation 'tanhh'; did you mean 'tanh'\?"):
        get_activation("tanhh")
    with pytest.raises(DTypeError, match=r"a name or a callable, not int"):
        get_activation(3)
