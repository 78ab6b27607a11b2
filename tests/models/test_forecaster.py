"""The forecaster from a table to a forecast: tiny networks on small series, seconds in all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone

from saiki.core.errors import (
    DataError,
    DTypeError,
    ModelFolderError,
    OptionError,
    SchemaError,
    ValueRangeError,
)
from saiki.data import load as load_data
from saiki.learning import Training
from saiki.losses import Quantile
from saiki.models import Forecaster, load
from saiki.models.forecast_table import Covariates
from saiki.nn import AttentionPoolConfig, DenseConfig, GRUConfig, LastConfig, SegmentConfig

SMALL = {
    "horizon": 4,
    "context": 12,
    "hidden_size": 4,
    "max_epochs": 1,
    "random_state": 0,
    "verbose": False,
    "baselines": False,
}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def wave(n=120, seed=0):
    t = np.arange(n)
    return 5 + 0.02 * t + np.sin(2 * np.pi * t / 12) + 0.1 * np.random.default_rng(seed).normal(size=n)


def frame(n=120, **columns):
    times = pd.date_range("2000-01-01", periods=n, freq="MS")
    return pd.DataFrame({"time": times, "y": wave(n), **columns})


def small(**options):
    return Forecaster(**{**SMALL, **options})


# ---- what goes in and comes out ----------------------------------------------------------------------------


def test_pandas_in_pandas_out_and_the_time_goes_on():
    model = small().fit(frame())
    forecast = model.forecast()
    assert isinstance(forecast, pd.DataFrame)
    assert list(forecast.columns) == ["time", "y", "y_q0.1", "y_q0.5", "y_q0.9"]
    assert list(forecast["time"]) == list(pd.date_range("2010-01-01", periods=4, freq="MS"))
    np.testing.assert_array_equal(forecast["y"], forecast["y_q0.5"])
    assert len(model.forecast(steps=2)) == 2
    pd.testing.assert_frame_equal(model.forecast(frame()), forecast)


def test_every_kind_of_table_gives_the_same_numbers(tmp_path):
    data = frame()
    expected = small().fit(data).forecast()["y"].to_numpy()
    data.to_csv(tmp_path / "y.csv", index=False)
    from_file = small().fit(tmp_path / "y.csv").forecast()
    assert isinstance(from_file, dict)
    np.testing.assert_allclose(from_file["y"], expected)
    from_polars = small().fit(pl.from_pandas(data)).forecast()
    assert isinstance(from_polars, pl.DataFrame)
    np.testing.assert_allclose(from_polars["y"].to_numpy(), expected)
    np.testing.assert_allclose(small().fit(data.set_index("time")).forecast()["y"], expected)


def test_an_array_has_no_time_and_whole_numbers_are_times_too():
    model = small(quantiles=None).fit(wave())
    forecast = model.forecast()
    assert forecast.shape == (4, 1)
    np.testing.assert_allclose(model.predict(), forecast)
    counted = small().fit({"step": np.arange(120) * 10, "y": wave()}, None).forecast()
    np.testing.assert_array_equal(counted["step"], [1200, 1210, 1220, 1230])


def test_long_tables_keep_their_ids():
    long = pd.concat([frame().assign(id="b"), frame(100).assign(id="a", y=100 * wave(100, 1))])
    model = small(id="id").fit(long)
    forecast = model.forecast()
    assert list(forecast["id"]) == ["b"] * 4 + ["a"] * 4
    assert forecast["y"][:4].max() < 20 < 200 < forecast["y"][4:].min()
    assert model.predict().shape == (4, 2)
    assert forecast["time"].iloc[4] == pd.Timestamp("2008-05-01")


def test_a_shared_network_takes_a_series_it_never_saw_and_one_that_knows_its_series_does_not():
    both = pd.concat([frame().assign(id="a"), frame().assign(id="b", y=50 * wave(seed=1))])
    new = frame().assign(id="c", y=1000 * wave(seed=2))
    assert small(id="id").fit(both).forecast(new)["y"].min() > 1000
    for ids in ("one_hot", "embed"):
        model = small(id="id", ids=ids).fit(both)
        assert len(model.forecast()) == 8
        with pytest.raises(DataError, match="series 'c' was not among the training series"):
            model.forecast(new)


def test_a_forecast_of_a_new_series_changes_nothing_that_was_learned():
    both = pd.concat([frame().assign(id="a"), frame().assign(id="b", y=50 * wave(seed=1))])
    model = small(id="id").fit(both)
    before = model.forecast()
    model.forecast(frame().assign(id="c", y=1e6 * wave(seed=2)))
    low = model.forecast(frame().assign(id="c", y=1e-3 * wave(seed=2)))
    assert low["y"].max() < 1
    pd.testing.assert_frame_equal(model.forecast(), before)
    assert model.learned_.scaling.numbers.series == ("a", "b")


def test_shared_runs_each_column_alone_and_joint_lets_them_speak():
    a, b = wave(), wave(seed=1)
    for mode, moves in (("shared", False), ("joint", True)):
        model = small(series=mode, hidden_size=8).fit({"a": a, "b": b})
        with torch.no_grad():  # heads begin at zero; give the recurrent part a voice
            model.network_.head.weight.normal_(generator=torch.Generator().manual_seed(0))
        before = model.forecast({"a": a, "b": b})["a"]
        after = model.forecast({"a": a, "b": b + np.linspace(0, 3, 120)})["a"]
        assert (np.abs(before - after).max() > 1e-6) == moves, mode


def test_the_ids_change_the_answer_when_the_network_is_told():
    both = {"a": wave(), "b": wave()}
    model = small(ids="one_hot", hidden_size=8, max_epochs=1).fit(both)
    with torch.no_grad():
        model.network_.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    forecast = model.forecast(both)
    assert np.abs(forecast["a"] - forecast["b"]).max() > 1e-6


# ---- covariates --------------------------------------------------------------------------------------------


def test_a_covariate_known_ahead_is_used():
    """y is the covariate of the same step and nothing else, which no past value tells."""
    x = np.random.default_rng(0).normal(size=400)
    data = {"y": x.copy(), "x": x}
    options = {"hidden_size": 8, "max_epochs": 30, "lr": 0.01, "patience": None, "window_scaling": None}
    told = small(covariates={"future": ["x"]}, **options).fit(data)
    alone = small(targets="y", **options).fit({"y": x})
    assert told.metrics_["mae"] < 0.3 * alone.metrics_["mae"]
    ahead = np.array([1.0, -1.0, 2.0, 0.0])
    np.testing.assert_allclose(told.forecast(future={"x": ahead})["y"], ahead, atol=0.7)
    longer = {"y": np.append(x, [np.nan] * 4), "x": np.append(x, ahead)}
    np.testing.assert_allclose(told.forecast(longer)["y"], told.forecast(data, future={"x": ahead})["y"])


def test_a_past_covariate_is_used():
    """y follows the covariate by one step."""
    x = np.random.default_rng(0).normal(size=400)
    data = {"y": np.append(0, x[:-1]), "x": x}
    options = {"horizon": 1, "hidden_size": 8, "max_epochs": 20, "lr": 0.01, "patience": None}
    options |= {"window_scaling": None}
    told = small(covariates=["x"], targets="y", **options).fit(data)
    alone = small(targets="y", **options).fit({"y": data["y"]})
    assert told.metrics_["mae"] < 0.3 * alone.metrics_["mae"]


def test_categories_and_static_covariates_are_encoded_and_unseen_levels_are_refused():
    rng = np.random.default_rng(0)
    parts = []
    for name, region in (("u", "north"), ("v", "south")):
        weather = rng.choice(["dry", "wet"], 120)
        parts.append(frame().assign(id=name, region=region, weather=weather))
    long = pd.concat(parts)
    model = small(id="id", covariates={"past": ["weather"], "static": ["region"]}).fit(long)
    assert model.columns_.levels == {"weather": ["dry", "wet"], "region": ["north", "south"]}
    assert len(model.forecast(long)) == 8
    odd = long.copy()
    odd.iloc[7, odd.columns.get_loc("weather")] = "hail"
    with pytest.raises(DataError, match="'weather' holds 'hail'"):
        model.forecast(odd)


def test_a_frame_without_a_covariate_is_a_clear_error():
    x = np.random.default_rng(0).normal(size=120)
    model = small(covariates={"past": ["x"], "future": ["z"]}).fit(frame(x=x, z=x))
    with pytest.raises(
        DataError, match="lacks the past covariate column 'x' that the model was trained with"
    ):
        model.forecast(frame(z=x))
    with pytest.raises(
        DataError, match="needs the covariates 'z' for as many steps to come, but 0 were given"
    ):
        model.forecast(frame(x=x, z=x))
    with pytest.raises(DataError, match="lacks the future covariate column 'z'"):
        model.forecast(frame(x=x, z=x), future={"time": ["2010-01-01"], "w": [1.0]})


def test_roles_are_checked():
    with pytest.raises(OptionError, match="unknown kind of covariate 'futur'; did you mean 'future'"):
        small(covariates={"futur": ["x"]}).fit(frame())
    with pytest.raises(DataError, match="xx"):
        small(covariates=["xx"]).fit(frame())
    with pytest.raises(OptionError, match="column 'y' is a target and has another role"):
        small(targets="y", covariates=["y"]).fit(frame())
    with pytest.raises(OptionError, match="named twice"):
        Covariates.of({"past": ["x"], "future": ["x"]})
    with pytest.raises(OptionError, match="'recursive' cannot use the past covariate 'x'"):
        small(strategy="recursive", covariates=["x"], targets="y").fit(frame(x=wave()))


# ---- losses and intervals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "quantiles", "columns"),
    [
        ("auto", (0.05, 0.25, 0.75), ["y", "y_q0.05", "y_q0.25", "y_q0.75"]),
        ("auto", None, ["y"]),
        ("gaussian", (0.1, 0.9), ["y", "y_q0.1", "y_q0.9"]),
        ("gaussian", None, ["y"]),
        ("squared", (0.1, 0.9), ["y", "y_q0.1", "y_q0.9"]),
        ("huber", None, ["y"]),
        (Quantile((0.1, 0.5, 0.9)), (0.1, 0.9), ["y", "y_q0.1", "y_q0.9"]),
    ],
)
@pytest.mark.parametrize("strategy", ["direct", "recursive"])
def test_every_loss_gives_ordered_intervals(loss, quantiles, columns, strategy):
    model = small(loss=loss, quantiles=quantiles, strategy=strategy).fit(frame())
    forecast = model.forecast()
    assert list(forecast.columns) == ["time", *columns]
    bands = forecast[columns[1:]].to_numpy()
    assert np.isfinite(forecast[columns].to_numpy()).all()
    assert (np.diff(bands, axis=1) >= 0).all()
    assert ("coverage" in model.metrics_) == (quantiles is not None)


def test_a_users_own_loss():
    def tenth_power(outputs, targets):
        return ((outputs - targets).abs() ** 1.5).mean(dim=(1, 2))

    assert np.isfinite(small(loss=tenth_power, quantiles=None).fit(frame()).forecast()["y"]).all()


def test_horizon_one_and_context_one():
    for options in ({"horizon": 1}, {"context": 1}, {"horizon": 1, "context": 1, "window_scaling": None}):
        model = small(**options).fit(frame())
        assert len(model.forecast()) == options.get("horizon", 4)


def test_recursion_equals_direct_for_horizon_one():
    direct = small(horizon=1).fit(frame())
    recursive = small(horizon=1, strategy="recursive").fit(frame())
    pd.testing.assert_frame_equal(direct.forecast(), recursive.forecast())


def test_recursion_feeds_the_median_back():
    """The second step of a recursive forecast is the first step of a forecast that was shown the first."""
    data = frame()
    model = small(strategy="recursive").fit(data)
    two = model.forecast(steps=2)
    shown = pd.concat([data, two[["time", "y"]].iloc[:1]], ignore_index=True)
    np.testing.assert_allclose(model.forecast(shown, steps=1)["y"].iloc[0], two["y"].iloc[1], rtol=1e-5)
    width = model.forecast(steps=8)
    assert (width["y_q0.9"] - width["y_q0.1"]).iloc[-1] > (width["y_q0.9"] - width["y_q0.1"]).iloc[0]
    with pytest.raises(ValueRangeError, match="steps is 9, but this model was trained to answer 4"):
        small().fit(data).forecast(steps=9)


# ---- invariances and leaks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("window_scaling", ["last", "mean"])
@pytest.mark.parametrize("strategy", ["direct", "recursive"])
def test_adding_a_constant_to_a_series_shifts_its_forecasts_by_it(window_scaling, strategy):
    data = frame()
    model = small(window_scaling=window_scaling, strategy=strategy, dtype="float64").fit(data)
    before = model.forecast(data)
    after = model.forecast(data.assign(y=data["y"] + 300))
    columns = ["y", "y_q0.1", "y_q0.9"]
    np.testing.assert_allclose(after[columns], before[columns] + 300, atol=1e-8)


def test_with_the_level_shown_the_shift_is_no_longer_exact():
    data = frame()
    model = small(level=True, dtype="float64").fit(data)
    moved = model.forecast(data.assign(y=data["y"] + 300))["y"] - model.forecast(data)["y"]
    assert np.abs(moved - 300).max() > 1e-3


def test_the_future_does_not_reach_the_past():
    """Forecasts from an origin are the same whatever comes after it, gaps before it included."""
    values = wave()
    values[[40, 41, 60, 99]] = np.nan
    other = values.copy()
    other[100:] = -1000
    model = small(missing="interpolate").fit({"y": wave()})
    rows = [model.backtest({"y": series}, start=20, every=100).forecasts.point for series in (values, other)]
    np.testing.assert_array_equal(rows[0], rows[1])


def test_scalers_and_weights_see_training_rows_only():
    data = frame()
    other = data.copy()
    other.loc[100:, "y"] = 1e4
    ours = small(validation=None, test=20).fit(data)
    theirs = small(validation=None, test=20).fit(other)
    np.testing.assert_array_equal(ours.learned_.scaling.numbers.scale, theirs.learned_.scaling.numbers.scale)
    for (name, p), q in zip(ours.network_.state_dict().items(), theirs.network_.state_dict().values()):
        assert torch.equal(p, q), name


# ---- gaps --------------------------------------------------------------------------------------------------


def test_missing_values_are_refused_filled_or_masked():
    holes = frame()
    holes.loc[[30, 31, 80, 119], "y"] = np.nan
    with pytest.raises(DataError, match="4 values are missing, the first in column 'y'"):
        small().fit(holes)
    filled = small(missing="interpolate").fit(holes)
    masked = small(missing="mask").fit(holes)
    assert masked.network_.input_size == filled.network_.input_size + 1
    for model in (filled, masked):
        assert np.isfinite(model.forecast()["y"]).all()
        assert np.isfinite(model.metrics_["mae"])
    observed = int(np.isfinite(filled.backtest_.forecasts.truth).sum())
    assert observed < filled.backtest_.forecasts.truth.size


def test_missing_targets_are_left_out_of_the_figures():
    data = frame()
    model = small(missing="interpolate").fit(data)
    whole = model.backtest(data, start=4)
    holes = data.copy()
    holes.loc[118, "y"] = np.nan
    forecasts = model.backtest(holes, start=4).forecasts
    error = np.abs(whole.forecasts.point - whole.forecasts.truth)[0, :, 0]
    kept = np.delete(error, 2)
    np.testing.assert_allclose(np.abs(forecasts.point - forecasts.truth)[0, [0, 1, 3], 0], kept)
    assert model.backtest(holes, start=4).metrics["mae"] == pytest.approx(kept.mean())


def test_absent_rows_are_an_error_or_completed():
    gappy = frame().drop(index=[50, 51])
    with pytest.raises(DataError, match="gaps"):
        small().fit(gappy)
    assert len(small(missing="mask").fit(gappy).forecast()) == 4


# ---- measuring ---------------------------------------------------------------------------------------------


def test_a_backtest_is_a_loop_of_forecasts():
    data = frame()
    model = small().fit(data)
    found = model.backtest(data, start="2009-01-01", every=3)
    assert found.times == ["2009-01-01", "2009-04-01", "2009-07-01"]
    for place, origin in enumerate((108, 111, 114)):
        alone = model.forecast(data.iloc[:origin])
        np.testing.assert_allclose(found.forecasts.point[place, :, 0], alone["y"], rtol=1e-6)
        np.testing.assert_allclose(found.forecasts.quantiles[place, :, 0, 2], alone["y_q0.9"], rtol=1e-6)
        np.testing.assert_allclose(found.forecasts.truth[place, :, 0], data["y"][origin : origin + 4])
    error = np.abs(found.forecasts.point - found.forecasts.truth)
    assert found.metrics["mae"] == pytest.approx(error.mean())
    np.testing.assert_allclose([row["mae"] for row in found.by_horizon], error.mean(axis=(0, 2)))
    assert "3 origins, 4 steps ahead" in str(found)


def test_the_simple_models_are_measured_on_the_same_windows():
    model = small(baselines=True, season=12, test=24).fit(frame())
    names = [row["name"] for row in model.baselines_]
    assert names[0] == "seasonal-naive" and len(names) == 7
    data = frame()["y"].to_numpy()
    naive = [np.abs(data[o - 12 : o - 8] - data[o : o + 4]).mean() for o in range(96, 117)]
    assert model.baselines_[0]["mae"] == pytest.approx(np.mean(naive))
    assert model.details_["measured_on"] == "test" and model.details_["origins"] == 21
    again = model.backtest(frame(), start=24)
    assert again.metrics["mae"] == pytest.approx(model.metrics_["mae"])
    for ours, theirs in zip(again.baselines, model.baselines_):
        assert ours["mae"] == pytest.approx(theirs["mae"])


def test_the_highway_starts_at_ridge():
    """Untrained, the network is ridge regression on window-scaled lags, but for the unit of its penalty."""
    model = small(baselines=True, quantiles=None, max_epochs=1, lr=1e-12, dtype="float64").fit(frame())
    ridge = next(row for row in model.baselines_ if row["name"] == "ridge on window-scaled lags")
    assert model.metrics_["mae"] == pytest.approx(ridge["mae"], rel=0.01)


def test_score_is_the_skill_over_naive():
    model = small(baselines=True).fit(frame())
    found = model.backtest(frame())
    naive = found.baselines[0]["mae"]
    assert model.score(frame()) == pytest.approx(1 - found.metrics["mae"] / naive)


def test_a_constant_series_is_no_trouble():
    model = small(baselines=True).fit({"y": np.full(100, 3.5)})
    np.testing.assert_allclose(model.forecast()["y"], 3.5, atol=0.05)
    assert np.isnan(model.metrics_["mase"])


# ---- bad input ---------------------------------------------------------------------------------------------


def test_a_series_too_short_says_how_long_it_must_be():
    with pytest.raises(
        DataError, match=r"the series has 15 rows, but a window needs context \+ horizon = 12 \+ 4 = 16"
    ):
        small(validation=None).fit(frame(15))
    with pytest.raises(DataError, match="10 rows, but a forecast looks at the last 12"):
        small().fit(frame()).forecast(frame(10))


def test_a_part_without_observed_values_is_refused():
    for part in ("validation", "test"):
        values = wave()
        values[-10:] = np.nan
        options = {"validation": None, part: 10}
        with pytest.raises(DataError, match=f"the {part} part holds no window with observed values"):
            small(missing="mask", **options).fit(values)
    with pytest.raises(DataError, match="column 'y' has no value in the training rows"):
        small(missing="mask").fit(np.full(120, np.nan))
    with pytest.raises(DTypeError, match="start is '2000-01-01', but without a time column"):
        small().fit(wave()).backtest(wave(), start="2000-01-01")


@pytest.mark.parametrize("factor", [1e300, 1e-300])
def test_numbers_of_any_size_are_scaled(factor):
    forecast = small(baselines=True).fit(wave() * factor).forecast()[:, 0]
    np.testing.assert_allclose(forecast / factor, small().fit(wave()).forecast()[:, 0], rtol=1e-4)


def test_infinite_and_text_cells_are_named():
    bad = frame()
    bad.loc[5, "y"] = np.inf
    with pytest.raises(DataError, match="infinite"):
        small().fit(bad)
    text = frame().astype({"y": object})
    text.loc[5, "y"] = "broken"
    with pytest.raises(DataError, match="broken"):
        small(targets="y").fit(text)


def test_another_step_between_rows_is_refused():
    model = small().fit(frame())
    daily = pd.DataFrame({"time": pd.date_range("2000-01-01", periods=50), "y": wave(50)})
    with pytest.raises(DataError, match="are 1 day apart, but the model was trained on rows 1 month apart"):
        model.forecast(daily)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"horizon": 0}, ValueRangeError, "horizon is 0"),
        ({"context": 2.5}, DTypeError, "context is 2.5"),
        ({"quantiles": (0.9, 0.1)}, ValueRangeError, "ascending"),
        ({"quantiles": 0.5}, DTypeError, "must be a list"),
        ({"strategy": "recursiv"}, OptionError, "strategy is 'recursiv' but must be one of"),
        ({"window_scaling": "first"}, OptionError, "window_scaling is 'first'"),
        ({"missing": "drop"}, OptionError, "missing is 'drop'"),
        ({"loss": "cross_entropy"}, OptionError, "is for classes"),
        ({"loss": "quantile", "quantiles": None}, OptionError, "needs quantiles"),
        ({"loss": Quantile((0.2, 0.8))}, OptionError, "must be among them"),
        ({"series": "joint", "ids": "one_hot"}, OptionError, "ids tells a shared network"),
        ({"highway": 1}, DTypeError, "highway is 1"),
        ({"targets": 5}, DTypeError, "targets is 5 but must be a list of column names"),
        ({"until": 0.5}, DTypeError, "until is 0.5 but must be a number of rows"),
        ({"until": "soon"}, DTypeError, "until is 'soon', which is no date"),
        ({"validation": 0.95}, DataError, "6 rows for training, but a window needs"),
        ({"validation": 2}, DataError, "the validation part holds no window"),
    ],
)
def test_options_are_checked_before_training(options, error, match):
    with pytest.raises(error, match=match):
        small(**options).fit(frame())


# ---- networks ----------------------------------------------------------------------------------------------


def test_layers_of_ones_own():
    network = [SegmentConfig(length=4), DenseConfig(size=6, activation="relu"), GRUConfig(hidden_size=5)]
    model = small(network=network).fit(frame())
    names = [row.name for row in model.summary().rows]
    assert names == ["input", "segment", "dense", "gru", "last", "head", "highway"]
    assert model.summary().total == sum(p.numel() for p in model.network_.parameters())
    assert model.transform(frame()).shape == (1, 5)
    pooled = small(network=[{"type": "gru", "hidden_size": 3}, AttentionPoolConfig()], highway=False)
    assert pooled.fit(frame()).network_.highway is None
    assert small(cell="elman", num_layers=2, bidirectional=True, dropout=0.2).fit(frame()).network_


def test_it_is_an_estimator():
    model = small(training=Training(clip_norm=0.5))
    copy = clone(model).set_params(training__clip_norm=2.0, hidden_size=3)
    assert copy.training.clip_norm == 2.0 and model.training.clip_norm == 0.5
    assert copy.fit(frame()).network_.stack.output_size == 3
    same = small().fit(frame()).forecast()
    pd.testing.assert_frame_equal(same, small().fit(frame()).forecast())


def test_a_search_over_time_series_splits():
    from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

    search = GridSearchCV(
        small(validation=None, baselines=True),
        {"hidden_size": [2, 4], "training__clip_norm": [1.0]},
        cv=TimeSeriesSplit(2, test_size=24),
    )
    search.set_params(estimator__training=Training())
    search.fit(frame(140))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.get_params()["hidden_size"] in (2, 4)


def test_the_width_by_the_rule_of_thumb():
    model = small(hidden_size="auto").fit(frame())
    assert model.size_.hidden_size == model.network_.stack.output_size
    assert "training values" in model.parameter_note_


def test_refit_trains_again_on_all_rows():
    data = frame()
    plain = small(max_epochs=3).fit(data)
    again = small(max_epochs=3, training=Training(refit="all")).fit(data)
    assert not torch.equal(plain.network_.head.bias, again.network_.head.bias)


def test_until_leaves_the_rest_out():
    data = frame()
    cut = small(until=100).fit(data)
    assert cut.forecast()["time"].iloc[0] == data["time"][100]
    pd.testing.assert_frame_equal(small(until="2008-04-01").fit(data).forecast(), cut.forecast())
    pd.testing.assert_frame_equal(small().fit(data.iloc[:100]).forecast(), cut.forecast())


# ---- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strategy": "recursive", "loss": "gaussian"},
        {"loss": "squared", "missing": "mask", "level": True, "window_scaling": "mean"},
        {"series": "joint", "highway": False, "covariates": {"past": ["x"]}, "targets": ["y", "z"]},
        {"ids": "embed", "baselines": True, "network": [GRUConfig(hidden_size=3), LastConfig()]},
        {"covariates": {"future": ["kind", "x"]}, "targets": "y", "scaling": "minmax"},
    ],
    ids=["plain", "recursive", "points", "joint", "embed", "known"],
)
def test_forecasts_are_identical_after_reloading(options, tmp_path):
    x = np.random.default_rng(0).normal(size=120)
    data = frame(x=x, z=wave(seed=3), kind=np.where(x > 0, "up", "down"))
    if "covariates" not in options:
        data = data.drop(columns=["x", "kind"])
    model = small(**options).fit(data)
    future = None
    if options.get("covariates", {}).get("future"):
        times = pd.date_range("2010-01-01", periods=4, freq="MS")
        future = pd.DataFrame({"time": times, "kind": ["up", "down", "up", "up"], "x": [1.0, 2, 3, 4]})
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    pd.testing.assert_frame_equal(again.forecast(future=future), model.forecast(future=future))
    pd.testing.assert_frame_equal(again.forecast(data, future=future), model.forecast(data, future=future))
    ours, theirs = model.backtest(data, start=30), again.backtest(data, start=30)
    assert ours.metrics == theirs.metrics and ours.baselines == theirs.baselines
    assert again.get_params()["quantiles"] == model.quantiles
    assert (tmp_path / "model" / "report.html").read_text().count("<svg") >= 2
    with pytest.raises(ModelFolderError):
        model.save(tmp_path / "model")


def test_a_config_that_does_not_fit_its_tensors_is_refused(tmp_path):
    from saiki.models.forecast_files import put_together

    model = small().fit(frame())
    fitted, tensors = model._fitted(), model._tensors()
    what = {"horizon": 4, "strategy": "direct"}
    with pytest.raises(SchemaError, match=r"tensor window.spread is \(2,\)"):
        put_together(fitted, {**tensors, "window.spread": np.ones(2)}, **what)
    with pytest.raises(SchemaError, match="tensor stretch holds values that are not positive"):
        put_together(fitted, {**tensors, "stretch": np.zeros(3)}, **what)
    with pytest.raises(SchemaError, match="no place for"):
        put_together(fitted, {**tensors, "extra": np.zeros(3)}, **what)
    with pytest.raises(SchemaError, match=r"tail.numbers is \(1, 3, 1\)"):
        put_together(fitted, {**tensors, "tail.numbers": np.zeros((1, 3, 1))}, **what)


def test_an_unfinished_run_goes_on_bit_for_bit(tmp_path):
    from saiki.learning import Observer

    class StopAfterOne(Observer):
        def on_checkpoint(self, event):
            if event.update > 0:
                raise KeyboardInterrupt

    options = {"max_epochs": 3, "patience": None}
    whole = small(**options).fit(frame())
    with pytest.raises(KeyboardInterrupt):
        small(**options).fit(frame(), checkpoint=tmp_path / "run", observers=[StopAfterOne()])
    assert len(load(tmp_path / "run").forecast()) == 4
    resumed = small(**options).fit(frame(), checkpoint=tmp_path / "run", resume=True)
    pd.testing.assert_frame_equal(resumed.forecast(), whole.forecast())


# ---- a real record -----------------------------------------------------------------------------------------


def test_co2_on_a_short_fit():
    """A few seconds on the real record are enough to halve seasonal-naive's error, gaps and all."""
    model = Forecaster(
        horizon=52,
        context=104,
        missing="mask",
        validation=None,
        test="1997-01-01",
        cell="gru",
        hidden_size=8,
        max_epochs=2,
        level=True,
        random_state=0,
        verbose=False,
    ).fit(load_data("co2").table)
    naive = model.baselines_[0]
    assert naive["name"] == "seasonal-naive" and 1.6 < naive["mae"] < 1.9
    assert model.metrics_["mae"] < 0.45 * naive["mae"]
    assert 0.5 < model.metrics_["coverage"] <= 1
    forecast = model.forecast()
    assert min(forecast["co2_q0.1"]) > 365 and max(forecast["co2_q0.9"]) < 380


def test_the_report_draws_attention_over_past_steps_and_writes_the_unit(tmp_path):
    series = np.sin(np.arange(120) / 5)
    network = [GRUConfig(hidden_size=3), ("look", AttentionPoolConfig())]
    model = Forecaster(**SMALL, network=network, unit="ppm").fit(series)
    found = model.details_["attention"]
    assert [one["layer"] for one in found] == ["look"]
    weights = np.array(found[0]["weights"])
    assert weights.shape == (12, 12)  # windows shown, steps of the context
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    assert np.ptp(weights, axis=1).max() > 1e-6  # looks at some steps more than at others
    page = model.report()
    assert "Attention over past steps" in page
    assert "ppm" in page
    model.save(tmp_path / "m")
    assert load(tmp_path / "m").report().count("<svg") == page.count("<svg")
    with pytest.raises(DTypeError, match="unit is 3 but must be text such as 'ppm'"):
        Forecaster(**SMALL, unit=3).fit(series)
