"""Generated texts: every pair is right, no source comes twice, and nothing held out was seen."""

from __future__ import annotations

import datetime
import re

import pytest

from saiki.core.errors import ValueRangeError
from saiki.data import load
from saiki.data.tasks_text import FORMS, addition, dates


def test_sums_are_right_and_each_is_there_once():
    data = addition(n=2000, digits=2, seed=3)
    seen = set()
    for source, target in zip(data.X, data.y):
        a, b = map(int, re.fullmatch(r"(\d{1,2})\+(\d{1,2})", source).groups())
        assert target == str(a + b)
        seen.add((min(a, b), max(a, b)))
    assert len(seen) == len(data) == 2000
    assert addition(n=50, seed=1).X == addition(n=50, seed=1).X != addition(n=50, seed=2).X


def test_sums_backwards_and_of_fixed_lengths():
    plain, back = addition(n=40, seed=0), addition(n=40, seed=0, reverse=True)
    assert [x[::-1] for x in back.X] == plain.X and back.y == plain.y
    padded = addition(n=4000, padded=True, seed=0)
    assert {len(x) for x in padded.X} == {7} and {len(y) for y in padded.y} == {4}
    assert {*"".join(padded.X), *"".join(padded.y)} == set("0123456789+ ")  # the textbook's 12 symbols


def test_more_sums_than_there_are():
    with pytest.raises(ValueRangeError, match="n is 28 but of the 55 different sums of 1 digits at most"):
        addition(n=28, digits=1)
    assert len(addition(n=27, digits=1)) == 27


def test_dates_are_right_whatever_their_form():
    data = dates(n=2000, seed=5)
    assert len(set(data.X)) == 2000
    for source, target in zip(data.X, data.y):
        day = datetime.date.fromisoformat(target)
        assert source.lower() in {form(day).lower() for form in FORMS}
    assert data.X == dates(n=2000, seed=5).X != dates(n=2000, seed=6).X


def test_no_form_of_a_date_has_two_readings():
    """Every text that a day can be written as belongs to that day alone."""
    seen = {}
    for year in (1950, 1999, 2011, 2049):
        for k in range(365):
            day = datetime.date(year, 1, 1) + datetime.timedelta(days=k)
            for form in FORMS:
                assert seen.setdefault(form(day).lower(), day) == day
    assert len(seen) > 4 * 365 * 12


def test_both_are_built_in():
    assert load("addition", n=5).task == load("dates", n=5).task == "translate"
