"""The simple models: do they say what their equations say?"""

from __future__ import annotations

import numpy as np
import pytest

from saiki.core.errors import LengthError, ShapeError
from saiki.models.baselines import (
    fit_lag_regressions,
    logistic,
    majority,
    pooled_features,
    ridge,
    ridge_map,
    seasonal_naive,
)


def test_seasonal_naive_repeats_the_last_season():
    history = np.arange(10.0)[None]
    np.testing.assert_array_equal(seasonal_naive(history, 7, 3)[0], [7, 8, 9, 7, 8, 9, 7])
    np.testing.assert_array_equal(seasonal_naive(history, 3, None)[0], [9, 9, 9])
    with pytest.raises(LengthError, match="history has 10 steps but a season has 12"):
        seasonal_naive(history, 3, 12)


def autoregression(n=400, C=4, H=2, seed=0):
    """Windows of z_t = 0.6 z_{t-1} - 0.3 z_{t-2} + 1, exactly."""
    z = np.random.default_rng(seed).normal(size=n)
    for t in range(2, n):
        z[t] = 0.6 * z[t - 1] - 0.3 * z[t - 2] + 1 + 0.3 * z[t]
    origins = np.arange(C, n - H + 1)
    rows = origins[:, None]
    return z[rows + np.arange(-C, 0)], z[rows + np.arange(H)]


def test_linear_regression_on_lags_finds_the_coefficients_of_an_exact_recursion():
    lags, _ = autoregression()
    targets = 0.6 * lags[:, -1:] - 0.3 * lags[:, -2:-1] + 1
    (fitted,) = fit_lag_regressions(lags, targets, methods=["linear"], scalings=["raw"])
    np.testing.assert_allclose(fitted.weight, [[0, 0, -0.3, 0.6]], atol=1e-10)
    np.testing.assert_allclose(fitted.bias, [1], atol=1e-10)
    np.testing.assert_allclose(fitted.predict(lags), targets, atol=1e-9)


def test_missing_targets_leave_the_regression_of_the_observed_ones():
    lags, targets = autoregression()
    holes = targets.copy()
    holes[::3, 1] = np.nan
    fitted = fit_lag_regressions(lags, holes, methods=["linear"], scalings=["raw"])[0]
    kept = ~np.isnan(holes[:, 1])
    alone = fit_lag_regressions(lags[kept], targets[kept, 1:], methods=["linear"], scalings=["raw"])[0]
    np.testing.assert_allclose(fitted.weight[1], alone.weight[0], atol=1e-10)
    assert np.isfinite(fitted.weight).all() and np.isfinite(fitted.bias).all()


def test_window_scaled_regressions_move_with_the_series():
    lags, targets = autoregression()
    for fitted in fit_lag_regressions(lags, targets, gap=2, scalings=["window-scaled"]):
        np.testing.assert_allclose(fitted.predict(lags + 5), fitted.predict(lags) + 5, atol=1e-9)


def test_the_names_tell_the_method_and_the_scaling():
    lags, targets = autoregression(n=80)
    names = [fitted.name for fitted in fit_lag_regressions(lags, targets, gap=2)]
    assert names == [
        f"{method} on {scaling} lags"
        for scaling in ("raw", "window-scaled")
        for method in ("linear", "ridge", "LASSO")
    ]


def test_the_penalty_is_chosen_where_it_helps():
    """Few windows, many useless lags: the tail asks for a strong penalty; a noiseless map for a weak one."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(60, 40))
    _, _, strong = ridge_map(noise, rng.normal(size=(60, 1)), np.arange(60), gap=0)
    x = rng.normal(size=(400, 5))
    _, _, weak = ridge_map(x, x @ rng.normal(size=(5, 1)), np.arange(400), gap=0)
    assert strong > 10 > 0.1 > weak


def test_too_few_windows_fit_nothing_and_shapes_are_checked():
    assert fit_lag_regressions(np.zeros((1, 3)), np.zeros((1, 2))) == []
    assert ridge_map(np.zeros((5, 2)), np.full((5, 1), np.nan), np.arange(5), 0) is None
    with pytest.raises(ShapeError, match=r"must be \(n, C\) and \(n, H\)"):
        fit_lag_regressions(np.zeros((4, 3)), np.zeros((5, 2)))


def test_pooled_features_of_ragged_sequences():
    rows = pooled_features([np.array([[1.0], [3.0]]), np.zeros((0, 1))])
    np.testing.assert_allclose(rows, [[2, 1, 1, 3, 1, 3, 2], [0, 0, 0, 0, 0, 0, 0]])


def test_logistic_and_majority():
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(-2, 1, (40, 2)), rng.normal(2, 1, (40, 2))])
    y = np.repeat(["a", "b"], 40)
    classes = np.array(["a", "b", "c"])
    probabilities = logistic(x, y, x, classes)
    assert (classes[probabilities.argmax(1)] == y).mean() > 0.95
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (probabilities[:, 2] == 0).all()
    np.testing.assert_allclose(majority(np.array(["a", "a", "c"]), classes), [2 / 3, 0, 1 / 3])
    np.testing.assert_allclose(logistic(x[:5], y[:5], x[:2], classes), [[1, 0, 0]] * 2)


def test_ridge_on_features():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 3))
    y = x @ rng.normal(size=(3, 2)) + 4
    np.testing.assert_allclose(ridge(x, y, x[:5]), y[:5], atol=0.01)
