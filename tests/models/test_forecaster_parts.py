"""The parts of the forecaster: windows, the quantile head, calibration, sampled paths, scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saiki.core.errors import OptionError
from saiki.data import Windows
from saiki.losses import Quantile, Squared
from saiki.models.forecast_network import (
    ForecastNetwork,
    ForecastShape,
    build_network,
    gaussian_quantiles,
    ordered,
    start_at_ridge,
)
from saiki.models.forecast_paths import _inverse, calibration, stretched
from saiki.models.forecast_scores import Forecasts, by_horizon, figures, seasonal_difference
from saiki.models.forecast_windows import Framing, Panel, WindowSource, observed_windows, spread_of
from saiki.nn import GRUConfig, LastConfig, Stack

C, H = 5, 3


def panel(rng, rows=30, targets=2, past=1, known=1, gaps=0):
    values = rng.normal(size=(rows, targets + past)).cumsum(axis=0)
    values[rng.integers(0, rows, gaps), rng.integers(0, targets + past, gaps)] = np.nan
    starts = np.array([0, rows // 2, rows])
    return Panel(values, rng.normal(size=(rows, known)), np.array([[0.0, 1.0], [1.0, 0.0]]), starts, targets)


def framing(**options):
    defaults = {
        "context": C,
        "horizon": H,
        "window_scaling": "last",
        "level": False,
        "masked": (),
        "spread": np.array([2.0, 0.5]),
    }
    return Framing(**{**defaults, **options})


def source(data, **options):
    index = observed_windows(data, Windows.over(data.lengths, C, H))
    return WindowSource(data, index.origin, index.series, framing(**options), torch.float64)


# ---- windows -----------------------------------------------------------------------------------------------


def test_a_batch_is_what_the_file_says():
    data = panel(np.random.default_rng(0))
    windows = source(data)
    batch = windows.batch(torch.tensor([3, 0]))
    origin = windows.origins[3]
    series = windows.owner[3]
    z = data.values[origin - C : origin + H]
    o = z[C - 1, :2]
    first = batch.inputs.steps.to_list()[0].numpy()  # (C, K + P + F + D)
    np.testing.assert_allclose(first[:, :2], (z[:C, :2] - o) / [2.0, 0.5])
    np.testing.assert_allclose(first[:, 2], z[:C, 2])
    np.testing.assert_allclose(first[:, 3], data.known[origin - C : origin, 0])
    np.testing.assert_allclose(first[:, 4:], np.tile(data.static[series], (C, 1)))
    np.testing.assert_allclose(batch.targets[0].numpy(), (z[C:, :2] - o) / [2.0, 0.5])
    np.testing.assert_allclose(batch.inputs.lags[0].numpy(), first[:, :2].T)
    np.testing.assert_allclose(batch.inputs.known[0].numpy(), data.known[origin : origin + H])
    assert batch.mask is None and batch.B == 2
    assert windows.framing.features(data) == first.shape[1]


def test_no_window_crosses_from_one_series_into_the_next():
    windows = source(panel(np.random.default_rng(0)))
    for origin, series in zip(windows.origins, windows.owner):
        low, high = windows.panel.starts[series : series + 2]
        assert low <= origin - C and origin + H <= high


def test_masked_gaps_are_zero_with_a_flag_and_the_highway_sees_them_filled():
    data = panel(np.random.default_rng(0))
    data.values[8:10, 0] = np.nan
    data.values[12, 1] = np.nan
    windows = source(data, masked=(0, 1))
    at = int(np.flatnonzero(windows.origins == 11)[0])
    batch = windows.batch(torch.tensor([at]))
    steps = batch.inputs.steps.to_list()[0].numpy()
    assert (steps[[2, 3], 0] == 0).all()
    np.testing.assert_array_equal(steps[:, 3], [1, 1, 0, 0, 1])
    z = data.values[6:11, 0]
    filled = np.interp(np.arange(5), [0, 1, 4], z[[0, 1, 4]])
    np.testing.assert_allclose(batch.inputs.lags[0, 0].numpy(), (filled - z[4]) / 2.0)
    np.testing.assert_array_equal(batch.mask[0].numpy(), ~np.isnan(data.values[11:14, :2]))
    assert torch.isfinite(batch.targets).all()


@given(seed=st.integers(0, 1000), gaps=st.integers(0, 25), scaling=st.sampled_from(["last", "mean", None]))
def test_what_comes_after_the_origin_never_reaches_the_inputs(seed, gaps, scaling):
    rng = np.random.default_rng(seed)
    data = panel(rng, gaps=gaps)
    windows = source(data, window_scaling=scaling)
    if not len(windows):
        return
    at = int(rng.integers(len(windows)))
    changed = data.values.copy()
    changed[windows.origins[at] :] = rng.normal(size=changed[windows.origins[at] :].shape) * 100
    other = replace(windows, panel=replace(data, values=changed))
    ours, theirs = windows.batch(torch.tensor([at])).inputs, other.batch(torch.tensor([at])).inputs
    assert torch.equal(ours.steps.data, theirs.steps.data) and torch.equal(ours.lags, theirs.lags)
    assert torch.isfinite(ours.steps.data).all()


def test_windows_without_an_observed_value_are_left_out():
    data = panel(np.random.default_rng(0))
    data.values[2:8, 0] = np.nan  # rows 3 to 7 are the context at origin 8 of the first series
    index = observed_windows(data, Windows.over(data.lengths, C, H))
    assert 8 not in index.origin and 7 not in index.origin and 9 in index.origin


def test_the_spread_is_the_root_mean_square_after_window_scaling():
    windows = source(panel(np.random.default_rng(0)))
    shown = windows.shown()[..., :2]
    away = shown - shown[:, -1:]
    np.testing.assert_allclose(spread_of(windows), np.sqrt((away**2).mean(axis=(0, 1))))
    flat = replace(windows, panel=replace(windows.panel, values=np.zeros_like(windows.panel.values)))
    np.testing.assert_array_equal(spread_of(flat), [1, 1])


def test_the_fingerprint_tells_data_and_options_apart():
    windows = source(panel(np.random.default_rng(0)))
    same = source(panel(np.random.default_rng(0)))
    assert windows.fingerprint() == same.fingerprint()
    others = [
        source(panel(np.random.default_rng(1))),
        source(windows.panel, window_scaling="mean"),
        source(windows.panel, spread=np.array([2.0, 0.6])),
        windows.select(np.arange(3)),
    ]
    assert len({windows.fingerprint(), *(other.fingerprint() for other in others)}) == 5


# ---- network -----------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 7),
    scale=st.sampled_from([0.01, 1.0, 30.0, 1e4]),
    data=st.data(),
)
def test_quantiles_never_cross(seed, size, scale, data):
    median = data.draw(st.integers(0, size - 1))
    a = scale * torch.randn(4, size, generator=torch.Generator().manual_seed(seed))
    q = ordered(a, median)
    assert (q.diff(dim=-1) >= 0).all()
    assert torch.equal(q[:, median], a[:, median])


def network(shape, features, rng):
    stack = Stack.build(
        [GRUConfig(hidden_size=4), LastConfig()], features, generator=rng, dtype=torch.float64
    )
    return ForecastNetwork(stack, shape, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("level", [False, True])
def test_the_start_is_the_best_linear_forecast(level, rng):
    """Before any training the network speaks as ridge does, with the quantiles of ridge's residuals."""
    noise = np.random.default_rng(0)
    data = panel(noise, rows=400, past=0)
    t = np.arange(400)[:, None]
    data.values[:] = np.sin(2 * np.pi * t / 8 + [0, 1]) + 0.05 * noise.normal(size=(400, 2))
    windows = source(data, level=level)
    shape = ForecastShape(
        horizon=H, targets=2, kind="quantile", quantiles=(0.1, 0.5, 0.9), known=1, lags=C, level=level
    )
    net = network(shape, windows.framing.features(data), rng)
    assert start_at_ridge(net, windows) is not None
    batch = windows.batch(torch.arange(len(windows)))
    with torch.no_grad():
        q = net(batch.inputs)
    assert q.shape == (len(windows), H, 2, 3)
    below = (batch.targets[..., None] < q).double().mean(dim=(0, 1, 2))
    np.testing.assert_allclose(below, [0.1, 0.5, 0.9], atol=0.01)
    loss = Quantile((0.1, 0.5, 0.9))
    assert loss(q, batch.targets).mean() < 0.1 * loss(torch.zeros_like(q), batch.targets).mean()


def test_the_gradient_reaches_every_part_and_gradcheck_holds(rng):
    data = panel(np.random.default_rng(0))
    windows = source(data, level=True)
    shape = ForecastShape(
        horizon=H, targets=2, kind="quantile", quantiles=(0.2, 0.5), known=1, lags=C, level=True
    )
    net = network(shape, windows.framing.features(data), rng)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64) * 0.3)
    batch = windows.batch(torch.arange(2))
    names = [name for name, _ in net.named_parameters()]

    def answer(*values):
        return torch.func.functional_call(net, dict(zip(names, values)), (batch.inputs,))

    values = tuple(p.detach().requires_grad_() for p in net.parameters())
    assert torch.autograd.gradcheck(answer, values)
    gradients = torch.autograd.grad(answer(*values).sum(), values)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_the_shape_of_points_and_gaussians(rng):
    data = panel(np.random.default_rng(0))
    windows = source(data)
    batch = windows.batch(torch.arange(4))
    for kind, size in (("point", (4, H, 2)), ("gaussian", (4, H, 2, 2))):
        shape = ForecastShape(horizon=H, targets=2, kind=kind, known=1, lags=C)
        net = network(shape, windows.framing.features(data), rng)
        start_at_ridge(net, windows)
        assert net(batch.inputs).shape == size
    assert torch.isfinite(Squared()(net(batch.inputs)[..., 0], batch.targets, batch.mask)).all()


# ---- intervals ---------------------------------------------------------------------------------------------


def test_calibration_gives_every_quantile_its_share():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(400, 3, 1))
    levels = (0.1, 0.5, 0.9)
    narrow = np.zeros((400, 3, 1, 3)) + np.array([-0.4, 0.0, 0.6])
    stretch = calibration(narrow, truth, levels, 1)
    assert stretch[1] == 1
    below = (truth[..., None] < stretched(narrow, 1, stretch)).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(below[[0, 2]], [0.1, 0.9], atol=0.01)
    np.testing.assert_array_equal(calibration(narrow[:2], truth[:2], levels, 1), [1, 1, 1])  # too few


def test_sampling_inverts_the_quantile_function():
    levels = np.array([0.1, 0.5, 0.9])
    known = np.array([[[-2.0, 0.0, 1.0]]])
    u = np.random.default_rng(0).uniform(size=(20_000, 1))
    z = np.sqrt(2) * torch.erfinv(torch.from_numpy(2 * u - 1)).numpy()
    drawn = _inverse(levels, np.repeat(known[0], 20_000, axis=0)[:, None], np.zeros((20_000, 1)), u, z)
    np.testing.assert_allclose(np.quantile(drawn, levels), [-2.0, 0.0, 1.0], atol=0.05)
    inside = np.array([[0.3], [0.5], [0.7]])
    at = _inverse(levels, np.tile(known, (3, 1, 1)), np.zeros((3, 1)), inside, np.zeros((3, 1)))
    np.testing.assert_allclose(at[:, 0], [-1.0, 0.0, 0.5])  # straight lines between the quantiles


def test_gaussian_quantiles():
    q = gaussian_quantiles(np.array([1.0]), np.array([2.0]), (0.025, 0.5, 0.975))
    np.testing.assert_allclose(q, [[1 - 2 * 1.959964, 1.0, 1 + 2 * 1.959964]], rtol=1e-6)


# ---- scores ------------------------------------------------------------------------------------------------


def test_figures_by_hand():
    truth = np.array([[[1.0], [2.0]], [[np.nan], [4.0]]])
    point = np.array([[[2.0], [2.0]], [[9.0], [1.0]]])
    quantiles = np.stack([point - 1, point + 1], axis=-1)
    found = Forecasts(
        series=np.array([0, 1]),
        origins=np.array([5, 6]),
        point=point,
        quantiles=quantiles,
        levels=(0.1, 0.9),
        truth=truth,
        scale=np.array([[2.0], [3.0]]),
        seasonal=np.array([[0.5], [np.nan]]),
    )
    said = figures(found)
    assert said["mae"] == pytest.approx(4 / 3)
    assert said["mse"] == pytest.approx(10 / 3)
    assert said["mse_scaled"] == pytest.approx((0.25 + 0 + 1) / 3)
    assert said["mase"] == pytest.approx((2 + 0) / 2)  # the second series has no seasonal difference
    assert said["smape"] == pytest.approx((200 / 3 + 0 + 200 * 3 / 5) / 3)
    assert said["coverage"] == pytest.approx(2 / 3)
    assert said["width"] == pytest.approx(2)
    rows = by_horizon(found)
    assert [row["mae"] for row in rows] == pytest.approx([1.0, 1.5])
    assert rows[0]["coverage"] == 1 and rows[1]["coverage"] == 0.5


def test_a_seasonal_difference_where_there_is_one():
    values = np.column_stack([np.arange(6.0), np.tile([1.0, 2.0], 3)])
    np.testing.assert_array_equal(seasonal_difference(values, 2), [2.0, np.nan])
    assert np.isnan(seasonal_difference(values, 6)).all()


def test_a_network_that_does_not_pool_is_refused(rng):
    stack = Stack.build([GRUConfig(hidden_size=4)], 1, generator=rng)
    assert not stack.pooled
    with pytest.raises(OptionError, match="must end in one row a window"):
        build_network(
            [GRUConfig(hidden_size=4)],
            1,
            ForecastShape(horizon=1, targets=1, kind="point"),
            source=rng,
            dtype=torch.float32,
            device="cpu",
        )
