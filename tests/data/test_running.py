"""The running scaler: against numpy's mean and deviation at every row, in blocks, saved and restored."""

from __future__ import annotations

import numpy as np
import pytest

from saiki.core.errors import DataError, OptionError, SchemaError, ShapeError
from saiki.data.running import RunningScaler
from saiki.data.scaling import Scaler


def rows(T=40, F=3, seed=0):
    return np.random.default_rng(seed).normal([5, -2, 1e4], [2, 0.1, 30], size=(T, F))


@pytest.mark.parametrize("kind", ["standard", "minmax", None])
def test_each_row_is_scaled_by_the_rows_up_to_it(kind):
    x = rows()
    scaled, after = RunningScaler.start(3, kind).advance(x)
    for t in range(1, len(x) + 1):
        want = Scaler.fit(x[:t], kind).transform(x[:t])[-1]
        np.testing.assert_allclose(scaled[t - 1], want, rtol=1e-9, atol=1e-9)
    fixed = after.fixed(["a", "b", "c"])
    np.testing.assert_allclose(fixed.center, Scaler.fit(x, kind).center, rtol=1e-12)
    np.testing.assert_allclose(fixed.scale, Scaler.fit(x, kind).scale, rtol=1e-9)


@pytest.mark.parametrize("kind", ["standard", "minmax", None])
def test_blocks_of_any_size_give_the_same_bits(kind):
    x = rows()
    whole, after = RunningScaler.start(3, kind).advance(x)
    parts, scaler = [], RunningScaler.start(3, kind)
    for block in np.split(x, [1, 2, 2, 17]):
        scaled, scaler = scaler.advance(block)
        parts.append(scaled)
        scaler = RunningScaler.restore(kind, scaler.tensors(), 3)
    assert np.array_equal(np.concatenate(parts), whole)
    assert all(np.array_equal(scaler.tensors()[n], v) for n, v in after.tensors().items())


@pytest.mark.parametrize("kind", ["standard", "minmax"])
def test_missing_values_move_nothing_and_constants_become_zero(kind):
    x = np.column_stack([rows()[:, 0], np.full(40, 7.0)])
    holed = x.copy()
    holed[3:9, 0] = np.nan
    scaled, after = RunningScaler.start(2, kind).advance(holed)
    assert np.isnan(scaled[3:9, 0]).all() and not scaled[:, 1].any()
    left, alone = RunningScaler.start(2, kind).advance(np.delete(x, range(3, 9), axis=0))
    assert np.array_equal(np.delete(scaled, range(3, 9), axis=0), left)
    assert alone.first[0] == after.first[0] and after.count.tolist() == [34, 40]


def test_refusals():
    start = RunningScaler.start(2)
    with pytest.raises(ShapeError, match=r"must be \(T, 2\)"):
        start.advance(np.zeros((3, 1)))
    with pytest.raises(DataError, match="column 1 holds an infinite value in row 0"):
        start.advance(np.array([[0, np.inf]]))
    with pytest.raises(OptionError, match="scaling='standrd' is unknown"):
        RunningScaler.start(2, "standrd")
    with pytest.raises(SchemaError, match="count is"):
        RunningScaler.restore("standard", {}, 2)
    with pytest.raises(SchemaError, match="fewer rows than none"):
        RunningScaler.restore("standard", {**start.tensors(), "second": np.array([0.0, -1.0])}, 2)
