"""Missing values: refused by place, filled on straight lines, or masked."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from saiki.core.errors import DataError, OptionError, ShapeError
from saiki.data import (
    affected,
    check_complete,
    interpolate,
    interpolate_series,
    mask,
    read_table,
    require_missing_option,
)

nan = np.nan


def test_error_names_the_first_place_the_count_and_the_choices():
    table = read_table(io.StringIO("t,x,k,y\n1,1,a,1\n2,1,,\n3,,b,\n"))
    with pytest.raises(DataError) as caught:
        check_complete(table, ["x", "k", "y"])
    assert str(caught.value) == (
        "4 values are missing in 3 columns, the first in column 'k', line 3 of the open file; "
        "missing='error' takes "
        "none. Use missing='interpolate' to fill them in, or missing='mask' to tell the network "
        "where they are."
    )
    with pytest.raises(
        DataError, match=r"^1 value is missing, the first in column 'x', line 4 of the open file"
    ):
        check_complete(table, ["x"])
    check_complete(table, ["t"])


def test_options():
    assert require_missing_option("mask") == "mask"
    with pytest.raises(OptionError, match="missing='drop' is unknown"):
        require_missing_option("drop")


def test_interpolation_by_hand():
    values = np.array([nan, 1, nan, nan, 4, nan, 0, nan, nan])
    assert interpolate(values).tolist() == [1, 1, 2, 3, 4, 2, 0, 0, 0]
    assert np.isnan(interpolate(np.array([nan, nan]))).all()
    assert interpolate(np.empty((0, 2))).shape == (0, 2)


gappy = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=8),
    elements=st.one_of(st.just(nan), st.floats(-1e300, 1e300)),
)


@given(gappy, st.integers(0, 2))
def test_interpolation_agrees_with_numpy_column_by_column(values, axis):
    axis = axis % values.ndim
    filled = np.moveaxis(interpolate(values, axis=axis), axis, 0).reshape(values.shape[axis], -1)
    columns = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    steps = np.arange(len(columns))
    for column, mine in zip(columns.T, filled.T, strict=True):
        seen = ~np.isnan(column)
        if seen.any():
            expected = (
                np.interp(steps / 16, steps[seen] / 16, column[seen] / 4) * 4
            )  # quarters do not overflow
            scale = np.abs(column[seen]).max()
            smallest = np.finfo(float).tiny  # below it a quarter times four is another number
            np.testing.assert_allclose(mine, expected, rtol=1e-12, atol=1e-12 * scale + smallest)
            assert (mine >= column[seen].min() - 1e-12 * scale).all()
            assert (mine <= column[seen].max() + 1e-12 * scale).all()
            np.testing.assert_array_equal(mine[seen], column[seen])  # what was observed is untouched
        else:
            assert np.isnan(mine).all()


def test_interpolating_a_window_looks_at_nothing_outside_it():
    whole = np.array([1.0, nan, nan, 100.0])
    assert interpolate(whole[:3]).tolist() == [1, 1, 1]


def test_series_are_filled_one_by_one():
    table = read_table({"s": list("aabb"), "t": [0, 1, 0, 1], "y": [1.0, None, None, 5.0]}, id="s")
    assert interpolate_series(table, ["y"]).tolist() == [[1], [1], [5], [5]]
    empty = read_table({"s": list("aabb"), "t": [0, 1, 0, 1], "y": [1.0, 2.0, None, None]}, id="s")
    with pytest.raises(DataError) as caught:
        interpolate_series(empty, ["y"])
    assert str(caught.value) == (
        "column 'y' of series 'b' has no value at all, so nothing can be interpolated. Leave the "
        "column out with "
        "columns=, leave the series out, or use missing='mask'."
    )


def test_mask_is_zero_and_one_channel_a_column():
    values = np.array([[1, nan, 3], [4, 5, 6]])
    assert affected(values) == (1,)
    assert mask(values, [1]).tolist() == [[1, 0, 3, 0], [4, 5, 6, 1]]
    assert mask(values, [2, 1]).tolist() == [[1, 0, 3, 1, 0], [4, 5, 6, 1, 1]]
    with pytest.raises(DataError) as caught:
        mask(values, [0])
    assert str(caught.value) == (
        "a value is missing in column 1, which had none missing when the model was trained. Fill it "
        "in, or train on "
        "data that has gaps in this column."
    )
    with pytest.raises(ShapeError):
        mask(values, [3])


@given(gappy)
def test_masked_values_hold_no_nan(values):
    out = mask(values, affected(values))
    assert np.isfinite(out).all()
    assert out.shape[-1] == values.shape[-1] + len(affected(values))
