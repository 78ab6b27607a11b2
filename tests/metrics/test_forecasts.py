"""How much: hand-worked numbers, the scores of simple answers, missing targets, and refusals."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from saiki.core.errors import DataError, DTypeError, ShapeError, ValueRangeError
from saiki.data import load
from saiki.metrics import (
    Score,
    coverage,
    crps_quantiles,
    interval_width,
    mae,
    mase,
    mse,
    quantile_loss,
    r2,
    rmse,
    seasonal_scale,
    smape,
)

nan = math.nan
Y = np.array([1.0, 2.0, nan, 4.0])
F = np.array([2.0, 2.0, 9.0, 1.0])  # errors -1, 0, -, 3
PLAIN = [mae, mse, rmse, r2, smape]


def test_by_hand():
    assert mae(Y, F) == pytest.approx(4 / 3)
    assert mse(Y, F) == pytest.approx(10 / 3)
    assert rmse(Y, F) == pytest.approx(math.sqrt(10 / 3))
    assert r2(Y, F) == pytest.approx(1 - 10 / (14 / 3))  # mean 7/3, squares 16/9 + 1/9 + 25/9
    assert smape(Y, F) == pytest.approx((200 / 3 + 0 + 200 * 3 / 5) / 3)
    assert smape([0.0, 1.0], [0.0, -1.0]) == 100


@pytest.mark.parametrize("metric", PLAIN, ids=lambda metric: metric.__name__)
def test_missing_targets_are_left_out_and_counted(metric):
    score = metric(Y, F)
    assert isinstance(score, Score) and score.count == 3
    assert float(score) == float(metric(Y[[0, 1, 3]], F[[0, 1, 3]]))
    assert metric(Y[[0, 1, 3]], F[[0, 1, 3]]).count == 3
    hidden = F.copy()
    hidden[2] = nan  # what is said about a missing target does not matter
    assert float(metric(Y, hidden)) == float(score)
    assert float(metric(torch.tensor(Y), torch.tensor(F, requires_grad=True))) == float(score)
    assert float(metric(Y.reshape(2, 2), F.reshape(2, 2))) == pytest.approx(float(score))


def test_a_score_is_a_float():
    score = mae(Y, F)
    for again in (copy.deepcopy(score), pickle.loads(pickle.dumps(score))):
        assert again == score and again.count == 3
    assert json.dumps({"mae": Score(0.5, 3)}) == '{"mae": 0.5}'


def test_mase_by_hand():
    history = [1.0, 3.0, 2.0, 5.0, nan, 4.0]
    assert seasonal_scale(history) == pytest.approx((2 + 1 + 3) / 3)
    assert seasonal_scale(history, 2) == pytest.approx((1 + 2 + 1) / 3)
    assert mase(Y, F, 2.0) == pytest.approx(2 / 3)
    both = mase(np.stack([Y, Y]), np.stack([F, F]), [2.0, 4.0])
    assert both == pytest.approx((2 / 3 + 1 / 3) / 2) and both.count == 6


def test_pinball_by_hand():
    """Target 3, quantiles .1 and .9 said to be 1 and 4: 0.1 · 2 and 0.1 · 1."""
    score = quantile_loss([3.0, nan], [[1.0, 4.0], [0.0, 0.0]], (0.1, 0.9))
    assert score == pytest.approx((0.2 + 0.1) / 2) and score.count == 1
    assert crps_quantiles([3.0], [[1.0, 4.0]], (0.1, 0.9)) == pytest.approx(0.3)


@given(
    hnp.arrays(np.float64, 7, elements=st.floats(-1e6, 1e6)),
    hnp.arrays(np.float64, 7, elements=st.floats(-1e6, 1e6)),
)
def test_crps_of_the_median_is_the_absolute_error(y, f):
    assert crps_quantiles(y, f[:, None], (0.5,)) == pytest.approx(float(mae(y, f)), rel=1e-12, abs=1e-9)


def test_crps_of_a_normal_forecast_tends_to_its_closed_form():
    """CRPS of N(0, 1) against y = 0 is (sqrt(2) - 1) / sqrt(pi) = 0.2337."""
    q = (np.arange(4000) + 0.5) / 4000
    levels = np.sqrt(2) * torch.erfinv(torch.tensor(2 * q - 1)).numpy()
    assert crps_quantiles([0.0], levels[None], q) == pytest.approx(
        (math.sqrt(2) - 1) / math.sqrt(math.pi), rel=1e-3
    )


def test_intervals_by_hand():
    low, high = np.zeros(4), np.array([1.0, 1, 1, 6])
    assert coverage(Y, low, high) == pytest.approx(2 / 3)  # 1 is on the edge and inside, 2 outside, 4 inside
    assert interval_width(Y, low, high) == pytest.approx(8 / 3)
    assert coverage(Y, low, high).count == interval_width(Y, low, high).count == 3


def test_answering_one_to_the_adding_problem():
    """Squared error 1/6; the squares' standard deviation is sqrt(1/15 - 1/36) = 0.197."""
    data = load("adding", n=5000, T=50, seed=1)
    assert abs(mse(data.y, np.ones(5000)) - 1 / 6) < 5 * 0.1972 / math.sqrt(5000)


def test_naive_forecasts_of_m4_hourly_score_as_published():
    """Naive 43.003 / 11.608 and seasonal naive 13.912 / 1.193, the organisers' figures."""
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "forecasting" / "m4_hourly"
    if not folder.is_dir():
        pytest.skip("the M4 files are not here")
    from saiki.data import read_table

    def rows(part):
        table = read_table(folder / f"Hourly-{part}.csv.gz", time=False, columns=None)
        return table.values(table.numbers)

    train, test = rows("train"), rows("test")
    histories = [row[~np.isnan(row)] for row in train]
    scale = [seasonal_scale(history, 24) for history in histories]
    for forecast, expected in (
        (np.array([np.repeat(history[-1], 48) for history in histories]), (43.003, 11.608)),
        (np.array([np.tile(history[-24:], 2) for history in histories]), (13.912, 1.193)),
    ):
        assert (round(smape(test, forecast), 3), round(mase(test, forecast, scale), 3)) == expected


def test_r2_of_few_or_constant_targets():
    assert math.isnan(r2([1.0], [1.0]))
    assert r2([1.0, 1.0], [1.0, 1.0]) == 1 and r2([1.0, 1.0], [1.0, 2.0]) == 0


@pytest.mark.parametrize("metric", PLAIN, ids=lambda metric: metric.__name__)
def test_refusals(metric):
    with pytest.raises(ShapeError) as caught:
        metric(np.zeros((3, 1)), np.zeros(3))
    assert str(caught.value) == (
        "forecasts is (3,) but targets is (3, 1); they must be alike. Reshape or cut one of them; "
        "(n, 1) and (n,) are "
        "different."
    )
    with pytest.raises(DataError, match=r"targets hold no observed value \(2 in all"):
        metric([nan, nan], [1.0, 2.0])
    with pytest.raises(DataError, match=r"targets hold no observed value \(0 in all"):
        metric([], [])
    with pytest.raises(ValueRangeError, match=r"forecasts\[1\] is nan where the target is observed"):
        metric([1.0, 2.0], [1.0, nan])
    with pytest.raises(ValueRangeError, match=r"targets\[0\] is inf"):
        metric([math.inf, 2.0], [1.0, 1.0])
    with pytest.raises(DTypeError, match="targets holds"):
        metric(["a"], [1.0])
    with pytest.raises(ShapeError, match="targets is ragged"):
        metric([[1.0], [1.0, 2.0]], [1.0])


def test_refusals_of_scales_levels_and_intervals():
    with pytest.raises(DataError, match="no two observed values 24 steps apart"):
        seasonal_scale(np.zeros(10), 24)
    with pytest.raises(DataError, match=r"average 0\.0, so MASE is not defined"):
        seasonal_scale(np.ones(10))
    with pytest.raises(ShapeError, match="one series"):
        seasonal_scale(np.ones((10, 2)))
    with pytest.raises(ValueRangeError):
        seasonal_scale([1.0, 2.0], 0)
    with pytest.raises(ValueRangeError, match="scale must be finite and above 0"):
        mase(Y, F, 0.0)
    with pytest.raises(ShapeError, match=r"scale is \(2,\)"):
        mase(Y, F, [1.0, 2.0])
    with pytest.raises(ShapeError, match=r"must be \(..., Q\) = \(4, 2\)"):
        quantile_loss(Y, F, (0.1, 0.9))
    for levels in ((), (0.0, 0.5), (1.2,), (nan,)):
        with pytest.raises(ValueRangeError, match="between 0 and 1"):
            quantile_loss(Y, F[:, None], levels)
    with pytest.raises(ValueRangeError, match=r"high\[1\] is 0.0, below low there, 1.0. Swap low and high"):
        coverage([1.0, 2.0], [0.0, 1.0], [1.0, 0.0])
    with pytest.raises(ValueRangeError, match=r"low\[0\] is nan"):
        interval_width([1.0], [nan], [1.0])
