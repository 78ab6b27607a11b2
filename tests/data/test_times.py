"""Time columns and the step between rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saiki.data import Frequency, infer_frequency, parse_times


def times(*texts):
    return np.array(texts, dtype="datetime64[us]")


def every(start, step, count):
    return np.datetime64(start, "us") + np.arange(count) * np.timedelta64(step, "s")


@pytest.mark.parametrize(
    ("found", "name", "season"),
    [
        (every("2001-01-01", 60, 5), "1 minute", 1440),
        (every("2001-01-01", 900, 5), "15 minutes", 96),
        (every("2001-01-01", 1800, 5), "30 minutes", 48),
        (every("2001-01-01", 3600, 5), "1 hour", 24),
        (every("2001-01-01", 86400, 7), "1 day", 7),
        (every("2001-01-01", 604800, 7), "1 week", 52),
        (every("2001-01-01", 1, 7), "1 second", 1),
        (times("2001-01-01", "2001-02-01", "2001-03-01"), "1 month", 12),
        (times("2001-01-31", "2001-02-28", "2001-03-31"), "1 month", 12),
        (times("2001-01-01", "2001-04-01", "2001-07-01"), "3 months", 4),
        (times("2001-05-01", "2002-05-01"), "1 year", 1),
        (times("2001-03-29", "2001-03-30", "2001-04-02", "2001-04-03"), "1 business day", 5),
        (np.array([1700.0, 1701, 1702]), "1", 1),
        (np.array([0.0, 0.25, 0.5]), "0.25", 1),
    ],
)
def test_step_and_season(found, name, season):
    frequency = infer_frequency([found])
    assert (frequency.name, frequency.season) == (name, season)
    np.testing.assert_allclose(frequency.steps(found), 1)


def test_months_follow_the_calendar():
    ends = infer_frequency([times("2000-12-31", "2001-01-31", "2001-02-28")])
    assert ends.month_end
    np.testing.assert_array_equal(
        ends.following(times("2001-02-28")[0], 2), times("2001-03-31", "2001-04-30")
    )
    quarter = Frequency("months", 3)
    np.testing.assert_array_equal(
        quarter.following(times("2001-11-15T06:00")[0], 2), times("2002-02-15T06:00", "2002-05-15T06:00")
    )


def test_business_days_jump_the_weekend():
    found = times("2001-03-29", "2001-03-30", "2001-04-02", "2001-04-03")
    frequency = infer_frequency([found])
    np.testing.assert_array_equal(
        frequency.following(times("2001-04-05")[0], 2), times("2001-04-06", "2001-04-09")
    )
    assert frequency.steps(times("2001-04-05", "2001-04-10")).tolist() == [3]


def test_one_row_has_no_step():
    assert infer_frequency([times("2001-01-01")]) is None
    assert infer_frequency([times("2001-01-01"), times("2001-01-01", "2001-01-02")]).name == "1 day"


@given(
    st.sampled_from(
        [
            ("time", 3_600_000_000.0),
            ("time", 604_800_000_000.0),
            ("months", 1.0),
            ("months", 3.0),
            ("number", 0.5),
        ]
    ),
    st.integers(1, 40),
)
def test_following_continues_the_grid(kind_and_step, count):
    frequency = Frequency(*kind_and_step)
    first = 3.0 if frequency.kind == "number" else np.datetime64("1999-11-28", "us")
    ahead = frequency.following(first, count)
    np.testing.assert_allclose(frequency.steps(np.concatenate([[first], ahead])), 1)
    np.testing.assert_array_equal(frequency.grid(first, ahead[-1]), np.concatenate([[first], ahead]))


@given(st.datetimes().filter(lambda moment: moment.year >= 1000))
def test_what_is_written_reads_back(moment):
    for separator in " T":
        found, style = parse_times([moment.isoformat(separator)])
        again, _ = parse_times(style.write(found))
        np.testing.assert_array_equal(again, found)
        assert found[0] == np.datetime64(moment)


@pytest.mark.parametrize(
    "text", ["", "x", "2001-13-01", "2001-1-1", "01/02/2001", "2001-01/02", "2001-01-01 25:00", "now", "NaT"]
)
def test_what_is_no_time(text):
    assert parse_times([text]) is None
    assert parse_times(["2001-01-01", text]) == 1


def test_eight_digits_that_are_no_dates_are_numbers():
    found, style = parse_times([19990101, 19991301])
    assert style.kind == "number" and found.tolist() == [19990101, 19991301]
