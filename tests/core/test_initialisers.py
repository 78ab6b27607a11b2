"""Initialisers: variances worked by hand, orthogonality, and the same numbers for the same generator."""

from __future__ import annotations

import math

import pytest
import torch

from saiki.core.errors import DTypeError, OptionError, ShapeError, ValueRangeError
from saiki.core.initialisers import INITIALISERS, initialise, variance

F64 = torch.float64


@pytest.mark.parametrize(
    ("name", "fan_in", "fan_out", "expected"),
    [
        ("lecun_uniform", 12, 7, 1 / 12),
        ("lecun_normal", 12, 7, 1 / 12),
        ("glorot_uniform", 4, 8, 1 / 6),
        ("glorot_normal", 4, 8, 1 / 6),
        ("he_uniform", 8, 3, 1 / 4),
        ("he_normal", 8, 3, 1 / 4),
    ],
)
def test_variance_worked_by_hand_and_measured(name, fan_in, fan_out, expected, rng):
    assert variance(name, fan_in, fan_out) == pytest.approx(expected, rel=1e-15)
    n = 200_000
    w = initialise(name, (n,), rng, dtype=F64, fan_in=fan_in, fan_out=fan_out)
    # the sample variance of n numbers scatters by at most √(2/n) = 0.3 %; five times that
    assert w.var().item() == pytest.approx(expected, rel=5 * math.sqrt(2 / n))
    assert abs(w.mean().item()) < 5 * math.sqrt(expected / n)
    if name.endswith("uniform"):
        limit = math.sqrt(3 * expected)
        assert 0.999 * limit < w.abs().max().item() <= limit


@pytest.mark.parametrize("name", ["lecun_uniform", "glorot_uniform", "he_uniform"])
def test_a_matrix_is_fan_out_by_fan_in(name, rng):
    limit = math.sqrt(3 * variance(name, 3, 5000))
    w = initialise(name, (5000, 3), rng, dtype=F64)
    assert 0.99 * limit < w.abs().max().item() <= limit


def test_further_axes_multiply_both_fans(rng):
    limit = math.sqrt(3 * variance("glorot_uniform", 6 * 5, 400 * 5))
    w = initialise("glorot_uniform", (400, 6, 5), rng, dtype=F64)
    assert 0.99 * limit < w.abs().max().item() <= limit


@pytest.mark.parametrize("shape", [(7, 7), (9, 4), (4, 9), (1, 1), (1, 5), (5, 1)])
def test_orthogonal(shape, rng):
    q = initialise("orthogonal", shape, rng, dtype=F64)
    gram = q @ q.T if shape[0] <= shape[1] else q.T @ q
    torch.testing.assert_close(gram, torch.eye(min(shape), dtype=F64), rtol=0, atol=1e-14)


def test_orthogonal_prefers_no_sign(rng):
    """QR without the sign correction has a first column of one sign; corrected, both are as likely."""
    signs = torch.stack(
        [initialise("orthogonal", (3, 3), rng, dtype=F64).diagonal().sign() for _ in range(400)]
    )
    assert (signs.mean(0).abs() < 5 / math.sqrt(400)).all()


@pytest.mark.parametrize("name", INITIALISERS)
def test_deterministic_and_the_same_in_every_precision(name):
    make = lambda dtype: initialise(name, (5, 4), torch.Generator().manual_seed(5), dtype=dtype)
    double = make(F64)
    assert torch.equal(double, make(F64)) and double.dtype == F64 and not double.requires_grad
    assert torch.equal(make(torch.float32), double.float())
    assert torch.equal(make(torch.bfloat16), double.bfloat16())


def test_constants(rng):
    assert torch.equal(initialise("zeros", (3,), rng), torch.zeros(3))
    assert torch.equal(initialise("ones", (3,), rng), torch.ones(3))


@pytest.mark.parametrize("name", INITIALISERS)
def test_empty_matrices(name, rng):
    assert initialise(name, (0, 4), rng).shape == (0, 4) and initialise(name, (4, 0), rng).shape == (4, 0)


def test_what_is_refused(rng):
    with pytest.raises(OptionError, match=r"unknown initialiser 'glorot'; did you mean"):
        initialise("glorot", (3, 3), rng)
    with pytest.raises(ShapeError, match=r"lecun_normal needs fan_in and fan_out, and shape \(3,\)"):
        initialise("lecun_normal", (3,), rng)
    with pytest.raises(ShapeError, match=r"orthogonal makes a matrix, and shape \(2, 2, 2\)"):
        initialise("orthogonal", (2, 2, 2), rng)
    with pytest.raises(ValueRangeError, match=r"shape is -1"):
        initialise("zeros", (-1, 2), rng)
    with pytest.raises(DTypeError, match=r"torch.int64"):
        initialise("ones", (2, 2), rng, dtype=torch.int64)
    with pytest.raises(DTypeError, match=r"must be a torch.Generator"):
        initialise("he_normal", (2, 2), 0)
    with pytest.raises(OptionError, match=r"unknown initialiser 'zeros'"):
        variance("zeros", 1, 1)
