"""Scaling goes there and back, learns from training rows alone, and survives constant and missing columns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from saiki.core.errors import DataError, OptionError, SchemaError, ShapeError
from saiki.data import Scaler, window_level

nan = np.nan
KINDS = ("standard", "minmax", None)


@pytest.mark.parametrize(("kind", "peer"), [("standard", StandardScaler), ("minmax", MinMaxScaler)])
def test_agrees_with_scikit_learn(kind, peer):
    values = np.random.default_rng(0).normal(3, 2, size=(50, 4))
    values[::7, 2] = nan
    expected = peer().fit_transform(values)
    np.testing.assert_allclose(Scaler.fit(values, kind).transform(values), expected, rtol=1e-12, atol=1e-12)


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 8), st.integers(1, 3)),
        elements=st.one_of(st.just(nan), st.floats(-1e12, 1e12)),
    ),
    st.sampled_from(KINDS),
)
def test_inverse_gives_the_numbers_back(values, kind):
    if kind is not None and np.isnan(values).all(axis=0).any():
        with pytest.raises(DataError, match="has no value in the training rows"):
            Scaler.fit(values, kind)
        return
    scaler = Scaler.fit(values, kind)
    z = scaler.transform(values)
    assert (scaler.scale > 0).all() and np.isfinite(scaler.scale).all()
    np.testing.assert_array_equal(np.isnan(z), np.isnan(values))
    size = np.nanmax(np.abs(np.append(values, 0)))
    np.testing.assert_allclose(scaler.inverse(z), values, rtol=1e-12, atol=1e-12 * size)
    if kind == "minmax":
        assert np.nanmin(z) >= 0 and np.nanmax(z) <= 1 + 1e-12


@pytest.mark.parametrize("constant", [0.0, 5.0, 1e-310, 1e300, 0.1])
@pytest.mark.parametrize("kind", ["standard", "minmax"])
def test_constant_columns_become_zero(constant, kind):
    values = np.full((7, 1), constant)
    scaler = Scaler.fit(values, kind)
    assert (scaler.transform(values) == 0).all() and scaler.scale.item() == 1
    np.testing.assert_array_equal(scaler.inverse(scaler.transform(values)), values)


def test_large_numbers_do_not_overflow():
    values = np.array([[1e308], [-1e308], [0.0]])
    for kind in ("standard", "minmax"):
        assert np.isfinite(Scaler.fit(values, kind).scale).all()


def test_per_series_maps():
    a, b = np.array([[0.0], [2.0]]), np.array([[100.0], [300.0]])
    scaler = Scaler.fit([a, b], per_series=True, series=["a", "b"], columns=["y"])
    assert scaler.center.tolist() == [[1], [200]] and scaler.scale.tolist() == [[1], [100]]
    assert scaler.transform(b, scaler.index("b")).tolist() == [[-1], [1]]
    batch = np.stack([a, b, a])
    z = scaler.transform(batch, [0, 1, 0])
    assert z[..., 0].tolist() == [[-1, 1]] * 3
    np.testing.assert_array_equal(scaler.inverse(z, np.array([0, 1, 0])), batch)
    shared = Scaler.fit([a, b], columns=["y"])
    assert shared.center.tolist() == [[100.5]] and shared.index("whatever") == 0
    assert shared.transform(batch, [0, 1, 0]).shape == batch.shape
    with pytest.raises(DataError) as caught:
        Scaler.fit([a, b], per_series=True, series=["north", "south"]).index("nort")
    assert str(caught.value) == (
        "series 'nort' was not among the training series, so it has no scaling of its own; did you "
        "mean 'north'? Use "
        "a scaling shared by all series, or fit on data that has this series."
    )
    more = scaler.with_series("c", np.array([[4.0], [6.0]]))
    assert more.center[more.index("c")].tolist() == [5] and scaler.series == ("a", "b")


def test_widths_and_other_axes():
    scaler = Scaler.fit(np.array([[0.0, 10], [4.0, 30]]), columns=["a", "b"])
    assert scaler.inverse_width(np.array([1.0, 1.0])).tolist() == [2, 10]
    quantiles = np.zeros((3, 2, 5))  # (H, F, Q)
    assert scaler.inverse(quantiles, axis=1)[0, :, 0].tolist() == [2, 20]
    assert scaler.select(["b"]).inverse(np.zeros((3, 1))).tolist() == [[20]] * 3


def test_tensors_like_arrays_and_dtypes_kept():
    values = np.random.default_rng(1).normal(size=(6, 3))
    scaler = Scaler.fit(values)
    for dtype in (torch.float32, torch.float64):
        z = scaler.transform(torch.from_numpy(values).to(dtype))
        assert z.dtype == dtype
        np.testing.assert_allclose(z.numpy(), scaler.transform(values), rtol=1e-5, atol=1e-6)
    assert scaler.transform(values.astype(np.float32)).dtype == np.float32


def test_save_and_restore():
    scaler = Scaler.fit([np.eye(3), 2 * np.eye(3)], "minmax", per_series=True, series=["a", "b"])
    again = Scaler.restore(scaler.to_config(), scaler.tensors())
    assert again.to_config() == scaler.to_config()
    np.testing.assert_array_equal(again.center, scaler.center)
    config, tensors = scaler.to_config(), scaler.tensors()
    for broken in (
        {**tensors, "scale": np.zeros((2, 3))},
        {**tensors, "scale": np.ones((1, 3))},
        {**tensors, "center": np.full((2, 3), nan)},
    ):
        with pytest.raises(SchemaError):
            Scaler.restore(config, broken)


def test_refusals():
    with pytest.raises(OptionError, match="scaling='standart' is unknown; did you mean 'standard'"):
        Scaler.fit(np.zeros((2, 2)), "standart")
    with pytest.raises(DataError, match="column 'b' holds an infinite value in row 1"):
        Scaler.fit(np.array([[0, 1.0], [0, np.inf]]), columns=["a", "b"])
    with pytest.raises(ShapeError, match="the scaler has 2 columns on axis -1"):
        Scaler.fit(np.zeros((2, 2))).transform(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match=r"series is \(3,\)"):
        Scaler.fit([np.zeros((2, 1))] * 3, per_series=True).transform(np.zeros((2, 4, 1)), [0, 1, 2])
    with pytest.raises(ShapeError):
        Scaler.fit([np.zeros((2, 2)), np.zeros((2, 3))])
    with pytest.raises(ShapeError):
        Scaler.fit(np.zeros((2, 2)), columns=["a"])
    with pytest.raises(DataError, match="no rows"):
        Scaler.fit([])


def test_window_level_by_hand():
    windows = np.array([[[1.0, nan], [3, nan], [nan, nan]], [[5, 2], [6, nan], [7, 4]]])
    assert window_level(windows, "mean").tolist() == [[[2, 0]], [[6, 3]]]
    assert window_level(windows, "last").tolist() == [[[3, 0]], [[7, 4]]]
    assert window_level(windows, None).tolist() == [[[0, 0]], [[0, 0]]]
    with pytest.raises(OptionError, match="window_scaling='median' is unknown"):
        window_level(windows, "median")
    with pytest.raises(ShapeError, match="at least one step"):
        window_level(windows[:, :0], "mean")


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 3)),
        elements=st.one_of(st.just(nan), st.floats(-1e6, 1e6)),
    ),
    st.sampled_from(["mean", "last", None]),
)
def test_window_level_of_tensors_is_that_of_arrays(windows, how):
    level = window_level(windows, how)
    assert level.shape == (len(windows), 1, windows.shape[2]) and np.isfinite(level).all()
    np.testing.assert_allclose(
        window_level(torch.from_numpy(windows), how).numpy(), level, rtol=1e-12, atol=1e-9
    )
    seen = ~np.isnan(windows)
    np.testing.assert_allclose((windows - level + level)[seen], windows[seen], rtol=1e-12, atol=1e-9)
