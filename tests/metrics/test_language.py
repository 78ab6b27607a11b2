"""Perplexity and bits a character, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from saiki.core.errors import ShapeError, ValueRangeError
from saiki.metrics.language import bits_per_character, perplexity


def test_by_hand():
    log_p = np.log([0.5, 0.25, 0.125, 0.125])
    assert perplexity(log_p) == pytest.approx(4.75683, abs=5e-6)
    assert bits_per_character(log_p, 4) == pytest.approx((1 + 2 + 3 + 3) / 4)
    assert bits_per_character(log_p, 9) == pytest.approx(1.0)


def test_a_uniform_guess_has_as_many_as_there_are():
    assert perplexity(np.full(5, -math.log(30))) == pytest.approx(30)


def test_the_impossible_is_finite_and_the_wrong_is_named():
    assert math.isfinite(perplexity([-math.inf, -1.0]))
    with pytest.raises(ShapeError, match=r"is \(0,\) but must be \(n,\)"):
        perplexity([])
    with pytest.raises(ValueRangeError, match="at most 0"):
        perplexity([2.3])
    with pytest.raises(ValueRangeError):
        bits_per_character([math.nan], 1)
