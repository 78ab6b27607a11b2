"""Windows: every window equals the slice, nothing is copied, and series do not mix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saiki.core.errors import DataError, DTypeError, OptionError, ShapeError, ValueRangeError
from saiki.data import Windows


@given(
    st.lists(st.integers(0, 15), min_size=1, max_size=4),
    st.integers(1, 5),
    st.integers(0, 4),
    st.integers(1, 3),
)
def test_every_window_equals_the_slice(lengths, context, horizon, stride):
    values = np.arange(2.0 * sum(lengths)).reshape(-1, 2)
    fits = [index for index, length in enumerate(lengths) if length >= context + horizon]
    if not fits:
        with pytest.raises(DataError, match="but a window needs context"):
            Windows.over(lengths, context, horizon, stride=stride, short="skip")
        return
    windows = Windows.over(lengths, context, horizon, stride=stride, short="skip")
    starts = np.cumsum([0, *lengths])
    past, future = windows.past(values), windows.future(values)
    assert past.shape == (len(windows), context, 2) and future.shape == (len(windows), horizon, 2)
    seen = set()
    for index, (series, step) in enumerate(zip(windows.series.tolist(), windows.step.tolist(), strict=True)):
        own = values[starts[series] : starts[series + 1]]
        np.testing.assert_array_equal(past[index], own[step - context : step])
        np.testing.assert_array_equal(future[index], own[step : step + horizon])
        seen.add((series, step))
    expected = {
        (series, step) for series in fits for step in range(lengths[series] - horizon, context - 1, -stride)
    }
    assert seen == expected and len(windows) == len(expected)
    assert sorted(windows.step.tolist()) == windows.step.tolist()  # origins in time order


@given(st.lists(st.integers(0, 12), min_size=1, max_size=3), st.integers(1, 4), st.integers(0, 4))
def test_views_hold_every_window_and_share_memory(lengths, context, horizon):
    if max(lengths) < context + horizon:
        return
    windows = Windows.over(lengths, context, horizon, short="skip")
    values = np.arange(3.0 * sum(lengths)).reshape(-1, 3)
    for series in range(len(lengths)):
        past, future = windows.views(values, series)
        own = windows.select(windows.series == series)
        np.testing.assert_array_equal(past, own.past(values))
        np.testing.assert_array_equal(future, own.future(values))
        assert not past.flags.writeable and not future.flags.writeable
        assert past.size == 0 or np.shares_memory(past, values)
        assert future.size == 0 or np.shares_memory(future, values)


def test_views_of_one_dimension_and_strided_values():
    values = np.arange(20.0)[::2]
    past, future = Windows.over([10], 3, 2).views(values)
    assert past[0].tolist() == [0, 2, 4] and future[-1].tolist() == [16, 18]
    assert np.shares_memory(past, values)


def test_tensors_are_gathered_like_arrays():
    windows = Windows.over([6, 7], 3, 2)
    values = np.random.default_rng(0).normal(size=(13, 4))
    some = [4, 0, 2]
    torch.testing.assert_close(
        windows.past(torch.from_numpy(values), some), torch.from_numpy(windows.past(values, some))
    )
    assert windows.future(torch.from_numpy(values), slice(0, 2)).shape == (2, 2, 4)


def test_origins_follow_the_times_of_several_series():
    times = np.concatenate([np.arange(100, 105), np.arange(102, 108)]).astype(float)
    windows = Windows.over([5, 6], 2, 1, times=times)
    assert times[windows.origin].tolist() == sorted(times[windows.origin].tolist())
    assert windows.series.tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_latest_is_what_a_forecast_starts_from():
    values = np.arange(11.0)
    assert Windows.latest([5, 6], 3).past(values).tolist() == [[2, 3, 4], [8, 9, 10]]


def test_within_keeps_the_future_inside_and_lets_the_past_reach_back():
    windows = Windows.over([20], 4, 2)
    assert windows.within([slice(0, 12)]).step.tolist() == list(range(4, 11))
    assert windows.within([slice(12, 20)]).step.tolist() == list(range(12, 19))
    with pytest.raises(ShapeError, match="2 spans were given for 1 series"):
        windows.within([slice(0, 2)] * 2)


def test_too_short_a_series_is_named_with_its_length():
    with pytest.raises(DataError) as caught:
        Windows.over([40, 9, 3], 8, 4, names=["a", "b", "c"])
    assert str(caught.value) == (
        "series 'b' has 9 rows, but a window needs context + horizon = 8 + 4 = 12, and 1 more are "
        "too short. Use a "
        "shorter context or horizon, bring longer series, or leave the short ones out."
    )
    with pytest.raises(DataError, match=r"^the series has 1 row, but a window needs context = 2"):
        Windows.over([1], 2, 0)
    with pytest.raises(DataError, match="there are no series"):
        Windows.over([], 2, 1)
    assert Windows.over([40, 9, 3], 8, 4, short="skip").series.max() == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"context": 0}, ValueRangeError),
        ({"horizon": -1}, ValueRangeError),
        ({"stride": 0}, ValueRangeError),
        ({"context": 2.5}, DTypeError),
        ({"lengths": [-3]}, ValueRangeError),
        ({"times": np.arange(3)}, ShapeError),
        ({"short": "drop"}, OptionError),
    ],
)
def test_malformed_options(options, error):
    with pytest.raises(error):
        Windows.over(**{"lengths": [10], "context": 2, "horizon": 1, **options})


def test_values_of_another_length_are_refused():
    with pytest.raises(ShapeError, match=r"values are \(9, 1\) but the series have 10 rows"):
        Windows.over([10], 2, 1).past(np.zeros((9, 1)))
    with pytest.raises(ShapeError):
        Windows.over([10], 2, 1).views(np.zeros(11))


def test_selecting_nothing():
    assert len(Windows.over([10], 2, 1).select([])) == 0
