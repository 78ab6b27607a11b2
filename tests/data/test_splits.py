"""Splits in time order, and by chance class by class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saiki.core.errors import DataError, DTypeError, ShapeError, ValueRangeError
from saiki.data import split_in_time, split_sequences

MONTHS = np.arange("2000-01", "2010-01", dtype="datetime64[M]").astype("datetime64[us]")


def parts(split):
    return [(part.start, part.stop) for part in (split.train, split.validation, split.test)]


def test_shares_and_counts():
    assert parts(split_in_time(100)) == [(0, 80), (80, 100), (100, 100)]
    assert parts(split_in_time(100, validation=0.1, test=30)) == [(0, 60), (60, 70), (70, 100)]
    assert parts(split_in_time(100, validation=None)) == [(0, 100), (100, 100), (100, 100)]
    assert parts(split_in_time(100, validation=20, test=10, gap=5)) == [(0, 60), (65, 85), (90, 100)]


def test_dates():
    for part in ("2005", "2005-01", "2005-01-01", "20050101", np.datetime64("2005-01-01")):
        assert parts(split_in_time(MONTHS, validation=part, test="2008-06")) == [
            (0, 60),
            (60, 101),
            (101, 120),
        ]
    assert parts(split_in_time(np.arange(1700.0, 1800), validation=1790.0)) == [
        (0, 90),
        (90, 100),
        (100, 100),
    ]


@given(
    st.integers(0, 60),
    st.one_of(st.none(), st.integers(0, 70), st.floats(0, 0.99)),
    st.one_of(st.none(), st.integers(0, 70), st.floats(0, 0.99)),
    st.integers(0, 10),
)
def test_parts_are_in_order_and_apart(rows, validation, test, gap):
    try:
        split = split_in_time(rows, validation=validation, test=test, gap=gap)
    except DataError:
        return  # too little for what was asked: the words are tested below
    (a, b), (c, d), (e, f) = parts(split)
    assert a == 0 and b <= c <= d <= e <= f == rows and b > 0
    if c < d:
        assert c - b == gap
    if e < f:
        assert e - d == gap


def test_refusals_in_time():
    with pytest.raises(DataError) as caught:
        split_in_time(10, validation=6, test=6, name="a")
    assert str(caught.value) == (
        "no row of series 'a' is left for training: 10 rows with validation=6, test=6, gap=0. Hold "
        "out less, or "
        "bring more rows."
    )
    with pytest.raises(DataError, match="no row is left for training"):
        split_in_time(10, validation=10)
    with pytest.raises(DataError, match="no row is left for test"):
        split_in_time(MONTHS, test="2011")
    with pytest.raises(ValueRangeError, match=r"validation is 1.5 but a share"):
        split_in_time(10, validation=1.5)
    with pytest.raises(DTypeError, match="without a time column"):
        split_in_time(10, validation="2001-01-01")
    with pytest.raises(DTypeError, match="which is no date"):
        split_in_time(MONTHS, validation="soon")
    with pytest.raises(DTypeError, match="the times are numbers"):
        split_in_time(np.arange(5.0), validation="soon")
    with pytest.raises(DTypeError, match="True"):
        split_in_time(10, validation=True)
    with pytest.raises(ValueRangeError):
        split_in_time(10, gap=-1)


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=60), st.floats(0.05, 0.6), st.integers(0, 5))
def test_classes_in_proportion(labels, share, seed):
    train, held = split_sequences(labels, share, seed=seed)
    assert sorted([*train, *held]) == list(range(len(labels)))
    names, counts = np.unique(labels, return_counts=True)
    own = np.array([np.sum(np.array(labels)[held] == name) for name in names])
    if len(names) > 1:
        assert (own < counts).all()  # every class is left in training
        room = counts - 1
        assert len(held) == min(max(1, round(share * len(labels))), room.sum())
        if (counts >= 2 / share).all():
            assert (np.abs(own - share * counts) <= 1.5).all()
    again = split_sequences(labels, share, seed=seed)
    np.testing.assert_array_equal(again[1], held)


def test_seeds_differ_and_counts_hold():
    _, one = split_sequences(100, 30, seed=1)
    _, two = split_sequences(100, 30, seed=2)
    assert len(one) == len(two) == 30 and one.tolist() != two.tolist()
    train, held = split_sequences(5, 0)
    assert len(train) == 5 and len(held) == 0


def test_refusals_by_chance():
    with pytest.raises(DataError) as caught:
        split_sequences(3, 3)
    assert str(caught.value) == (
        "3 of 3 sequences are to be held out, so none is left for training. Hold out fewer, or bring "
        "more sequences."
    )
    with pytest.raises(ValueRangeError):
        split_sequences(10, 1.2)
    with pytest.raises(DTypeError):
        split_sequences(10, "a fifth")
    with pytest.raises(ShapeError, match=r"labels are \(2, 1\)"):
        split_sequences([["a"], ["b"]])
