"""The forecaster that reads a stream: what it sees, what it learns online, what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError

from saiki.core.errors import (
    DataError,
    ModelFolderError,
    NonFiniteError,
    OptionError,
    SchemaError,
    ShapeError,
    UsageError,
)
from saiki.learning import BPTT, Observer, Training, TruncatedBPTT
from saiki.learning.prequential import prequential
from saiki.learning.rtrl import RTRL
from saiki.models import Forecaster, load
from saiki.models.forecast_online import online_rule
from saiki.models.forecast_report import report_of
from saiki.models.forecast_rows import Reader, StreamFraming, read_rows
from saiki.models.forecast_stream_files import stream_from, stream_tensors
from saiki.models.forecast_streaming import online_of
from saiki.models.forecast_table import Raw, Scaling
from saiki.nn import DenseConfig, GRUConfig, LastConfig, LSTMConfig, MeanConfig

SMALL = {
    "mode": "stream",
    "horizon": 3,
    "context": 6,
    "hidden_size": 3,
    "max_epochs": 1,
    "random_state": 0,
    "verbose": False,
    "baselines": False,
    "rule": {"type": "truncated_bptt", "window": 8},
    "lr": 0.01,
}
RULES = {
    "truncated": {"type": "truncated_bptt", "window": 5},
    "truncated by threes": {"type": "truncated_bptt", "window": 6, "stride": 3},
    "rtrl": RTRL(),
    "snap1 by twos": RTRL("snap1", every=2),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """One thread, and folders without a report, whose pictures take longer than everything else here."""
    torch.set_num_threads(1)
    monkeypatch.setattr(Forecaster, "report", lambda model: None)


def wave(n=90, seed=0):
    t = np.arange(n)
    return 5 + np.sin(2 * np.pi * t / 6) + 0.1 * np.random.default_rng(seed).normal(size=n)


def frame(first=0, stop=90, **columns):
    times = pd.date_range("2000-01-01", periods=stop, freq="D")
    table = pd.DataFrame({"time": times, "y": wave(stop), **{k: v[:stop] for k, v in columns.items()}})
    return table.iloc[first:].reset_index(drop=True)


def small(**options):
    return Forecaster(**{**SMALL, **options})


def everything(model):
    """All that decides what comes next, as bytes by name."""
    weights = {name: value.numpy() for name, value in model.network_.state_dict().items()}
    return {name: value.tobytes() for name, value in {**weights, **stream_tensors(model.stream_)}.items()}


def assert_same(model, other):
    ours, theirs = everything(model), everything(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


# ---- what goes in and comes out ----------------------------------------------------------------------------


def test_a_forecast_goes_on_from_the_stream_and_time_goes_on():
    model = small().fit(frame())
    coming = model.forecast()
    assert list(coming.columns) == ["time", "y", "y_q0.1", "y_q0.5", "y_q0.9"]
    assert list(coming["time"]) == list(pd.date_range("2000-03-31", periods=3, freq="D"))
    assert (np.diff(coming[["y_q0.1", "y_q0.5", "y_q0.9"]].to_numpy(), axis=1) > 0).all()
    # the same table read from its first row ends in the same state, but for the pieces it was read in
    np.testing.assert_allclose(model.forecast(frame())["y"], coming["y"], rtol=1e-5)
    assert len(model.forecast(steps=2)) == 2
    model.update(frame(90, 93))
    assert model.forecast()["time"].iloc[0] == pd.Timestamp("2000-04-03")


def test_the_network_carries_its_state_from_the_first_row():
    """A change of the first row alone reaches the forecast after the last: there is no window."""
    model = small(network=[GRUConfig(hidden_size=3)], window_scaling=None, max_epochs=3).fit(wave())
    with torch.no_grad():
        for name, value in model.network_.named_parameters():
            if "weight" in name:
                value.normal_(generator=torch.Generator().manual_seed(1))
    other = wave(30)
    other[0] += 3
    assert not np.array_equal(model.predict(wave(30)), model.predict(other))


def test_nothing_that_comes_later_reaches_a_forecast():
    y = wave(60)
    changed = np.where(np.arange(60) < 40, y, 100.0)
    for scaling in ("running", "series"):
        model = small(scaling=scaling).fit(wave())
        ours, theirs = (model.backtest(table).forecasts for table in (y, changed))
        before = ours.origins <= 40
        np.testing.assert_array_equal(ours.point[before], theirs.point[before])
        assert not np.array_equal(ours.point, theirs.point)


@pytest.mark.parametrize(
    ("loss", "quantiles"),
    [("auto", None), ("gaussian", (0.1, 0.9)), ("squared", (0.2, 0.5, 0.8)), ("huber", None)],
)
def test_every_loss_answers_and_learns(loss, quantiles):
    model = small(loss=loss, quantiles=quantiles).fit(wave())
    model.update(wave(96)[90:])
    assert model.stream_.updates == 6
    found = np.asarray(model.forecast())
    assert found.shape == (3, 1 + len(quantiles or ())) and np.isfinite(found).all()
    assert (np.diff(found[:, 1:], axis=1) > 0).all()
    assert model.online_.forecasts.point.shape == (6, 3, 1)


# ---- rows as the network reads them ------------------------------------------------------------------------


def read(values, window_scaling, running=False, mask=False, context=2):
    columns = small().fit({"y": wave()}).columns_
    framing = StreamFraming(
        horizon=2, context=context, window_scaling=window_scaling, level=False, mask=mask, running=running,
        shown=np.ones(1), asked=np.ones(1),
    )  # fmt: skip
    numbers = np.array(values, dtype=float)[:, None]
    raw = Raw("", None, None, numbers, *(np.zeros((len(numbers), 0)),) * 2, np.zeros(0))
    train = Raw("", None, None, np.array([[1.0], [3.0]]), *(np.zeros((2, 0)),) * 2, np.zeros(0))
    scaling = Scaling.fit([train], columns, "standard", False)
    return read_rows(raw, Reader.fresh(columns), framing, columns, scaling, np.zeros((0, 0)))[0][0], framing


def test_rows_by_hand():
    """Scaling (v - 2) / 1; what is shown and asked under each window scaling, a gap in the third row."""
    nan = np.nan
    rows, framing = read([2, 5, nan, 4, 6], None)
    np.testing.assert_array_equal(rows.inputs[:, 0], [0, 3, 3, 2, 4])
    np.testing.assert_array_equal(rows.targets(framing, 0, 5)[..., 0],
                                  [[3, nan], [nan, 2], [2, 4], [4, nan], [nan, nan]])  # fmt: skip
    rows, framing = read([2, 5, nan, 4, 6], "last")
    np.testing.assert_array_equal(rows.inputs[:, 0], [0, 1.5, 1.5, 0.25, 1.125])  # as with "mean", below
    np.testing.assert_array_equal(rows.level[:, 0], [0, 3, 3, 2, 4])
    np.testing.assert_array_equal(rows.targets(framing, 0, 3)[..., 0], [[3, nan], [nan, -1], [-1, 1]])
    rows, framing = read([2, 5, nan, 4, 6], "mean")  # means 2, 3.5, 3.5, 3.75, 4.875
    np.testing.assert_array_equal(rows.level[:, 0] + 2, [2, 3.5, 3.5, 3.75, 4.875])
    np.testing.assert_array_equal(rows.inputs[:, 0], [0, 1.5, 1.5, 0.25, 1.125])
    np.testing.assert_array_equal(rows.targets(framing, 1, 2)[0, :, 0], [nan, 0.5])
    rows, _ = read([2, 5, nan, 4, 6], None, mask=True)
    np.testing.assert_array_equal(rows.inputs, [[0, 1], [3, 1], [0, 0], [2, 1], [4, 1]])


def test_running_scaling_is_the_mean_and_spread_so_far_and_then_forgets():
    y = wave(150)
    rows, framing = read(y, None, running=True)
    for t in (1, 10, 99):
        np.testing.assert_allclose(rows.center[t, 0], y[: t + 1].mean())
        np.testing.assert_allclose(rows.scale[t, 0], y[: t + 1].std())
    assert framing.memory == 100
    assert rows.scale[0, 0] == 1 and not rows.ready[8].any() and rows.ready[9].all()
    moved, _ = read(np.append(wave(100), wave(900) + 1000), None, running=True)
    assert abs(moved.center[-1, 0] - 1005) < 1  # after 900 rows the old level counts for e^-9


def test_running_scaling_follows_a_stream_of_any_size():
    y = wave(120)
    model = small(scaling="running").fit(y[:90])
    larger = small(scaling="running").fit(1e4 * y[:90] + 1e6)
    np.testing.assert_allclose((larger.predict() - 1e6) / 1e4, model.predict(), rtol=1e-3)
    model.update(1000 * y[90:])
    assert model.stream_.readers[0].mean[0] > 500


# ---- learning online ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_a_block_its_rows_and_a_stream_that_was_saved_are_the_same_bits(rule, tmp_path):
    y = wave(110)
    options = {"rule": RULES[rule], "scaling": "running", "window_scaling": "mean"}
    block, single = small(**options).fit(y[:90]), small(**options).fit(y[:90])
    assert_same(block, single)
    weights = block.network_.state_dict()["layers.lstm.weight_hh_l0"].clone()
    block.update(y[90:])
    for row in y[90:100]:
        single.update(np.array([row]))
    single.save(tmp_path / "model")
    single = load(tmp_path / "model")
    for row in y[100:]:
        single.update(np.array([row]))
    assert_same(block, single)
    np.testing.assert_array_equal(block.predict(), single.predict())
    assert block.stream_.rows == 20
    assert block.stream_.updates == 20 // (online_of(block).every)
    assert not torch.equal(weights, block.network_.state_dict()["layers.lstm.weight_hh_l0"])


def test_a_layer_that_draws_masks_goes_on_drawing_where_it_stopped(tmp_path):
    y = wave(100)
    one, two = small(dropout=0.3).fit(y[:90]), small(dropout=0.3).fit(y[:90])
    one.update(y[90:])
    two.update(y[90:95]).save(tmp_path / "model")
    assert_same(one, load(tmp_path / "model").update(y[95:]))


def test_an_update_learns_the_step_whose_targets_have_come():
    """H rows after it, by the rule's gradient at that step and one step of the optimiser."""
    y = wave(91)
    model = small(training=Training(optimizer="sgd", clip_norm=None)).fit(y[:90])
    online, stream = online_of(model), model.stream_
    before = {name: value.detach().clone() for name, value in model.network_.named_parameters()}
    row = stream.pending[0]
    step = row.followed_by(read_rows(
        Raw("", None, None, y[90:, None], *(np.zeros((1, 0)),) * 2, np.zeros(0)), stream.readers[0],
        model.learned_.stream, model.columns_, model.learned_.scaling, np.zeros((0, 0)))[0][0])  # fmt: skip
    from saiki.models.forecast_stream import chunk_of

    framing = model.learned_.stream
    batch = chunk_of([step.features(framing, 0, 1)], [step.targets(framing, 0, 1)], torch.float32, "cpu")
    _, gradients, _ = online.rule.gradient(model.network_, online.loss, batch, stream.rule)
    truth = (y[88:91] - step.center[0]) / step.scale[0] - step.level[0]
    np.testing.assert_allclose(batch.targets[0, :, 0].numpy() * framing.asked, truth, rtol=1e-5)
    model.update(y[90:])
    for name, value in model.network_.named_parameters():
        expected = before[name] - 0.01 * gradients[name] if name in gradients else before[name]
        torch.testing.assert_close(value, expected, msg=name)


def test_online_forecasts_are_those_of_a_frozen_model_where_it_is_frozen():
    """Made on the way, before their targets came, and with the figures that a backtest finds."""
    y = wave(120)
    model = small(baselines=True).fit(y[:90])
    weights = {name: value.clone() for name, value in model.network_.state_dict().items()}
    online = model.update(y[90:], learn=False).online_
    for name, value in model.network_.state_dict().items():
        assert torch.equal(value, weights[name])
    assert model.stream_.updates == 0 and model.stream_.rows == 30
    whole = model.backtest(y, start=33)  # origins 87 ... 117: the stream's first three were made at fit's end
    assert len(online.forecasts) == 30
    same = whole.forecasts.origins >= 88
    np.testing.assert_allclose(online.forecasts.point, whole.forecasts.point[same], rtol=1e-4)
    np.testing.assert_allclose(online.forecasts.quantiles, whole.forecasts.quantiles[same], rtol=1e-4)
    np.testing.assert_array_equal(online.forecasts.truth, whole.forecasts.truth[same])
    assert [row["name"] for row in online.baselines] == [row["name"] for row in whole.baselines]
    assert len(online.baselines) == 7


def test_frozen_rows_move_the_rule_on_all_the_same():
    """Learning after rows that were only read starts from the state that they left."""
    model = small(rule=RTRL()).fit(wave())
    steps = int(model.stream_.rule.tensors["steps"][0])
    model.update(wave(96)[90:], learn=False)
    assert int(model.stream_.rule.tensors["steps"][0]) == steps + 6
    model.update(wave(97)[96:])
    assert model.stream_.updates == 1


def test_a_stream_that_changes_is_followed():
    """The sine turns over: the model that learns on is better after a while than the frozen one."""
    t = np.arange(210)
    y = np.where(t < 90, np.sin(t * np.pi / 3), 2 * np.sign(np.sin(t * np.pi / 3 + 0.1)))
    options = {"hidden_size": 8, "max_epochs": 8, "window_scaling": None, "quantiles": None, "horizon": 1}
    options |= {"lr": 0.02, "rule": TruncatedBPTT(6)}
    learning, frozen = (small(**options).fit(y[:90]) for _ in range(2))
    found = learning.update(y[90:]).online_.forecasts
    still = frozen.update(y[90:], learn=False).online_.forecasts
    error, other = (np.abs(f.truth - f.point)[-40:].mean() for f in (found, still))
    assert error < 0.5 * other, (error, other)


def test_a_prequential_run_is_the_updates_errors():
    y = wave(100)
    found = prequential(small().fit(y[:90]), list(y[90:, None]))
    block = small().fit(y[:90]).update(y[90:]).online_
    assert len(found) == 10
    np.testing.assert_allclose(found.mean, block.metrics["mae"])
    layers = [{"type": "gru", "hidden_size": 3, "num_layers": 2}, {"type": "dense", "size": 4}]
    deep = small(network=layers, rule=RTRL(), training=Training(refit="all")).fit(y[:90])
    assert len(prequential(deep, y[90:])) == 10
    assert list(deep.network_.layers) == ["gru", "dense", "head"]


def test_which_rule_learns_online():
    assert online_rule(BPTT(), 40) == TruncatedBPTT(40, stride=1)
    assert online_rule(TruncatedBPTT(30), 40) == TruncatedBPTT(30, stride=1)
    assert online_rule(TruncatedBPTT(30, stride=10), 40) == TruncatedBPTT(30, stride=10)
    assert online_rule(RTRL("snap1"), 40) == RTRL("snap1")
    assert small(rule=None)._training().rule == BPTT()
    assert small(rule=None).fit(wave())._training().rule == TruncatedBPTT(16)
    model = small(rule="bptt").fit(wave())
    assert model.update(wave(95)[90:]).stream_.updates == 5


# ---- several series, missing values, covariates ------------------------------------------------------------


def test_series_of_a_long_table_go_on_each_by_itself():
    long = pd.concat([frame(0, 90).assign(id="a"), frame(0, 80).assign(id="b", y=50 * wave(80, 1))])
    model, other = small(id="id").fit(long), small(id="id").fit(long)
    more = pd.concat([frame(90, 95).assign(id="a"), frame(80, 84).assign(id="b", y=50 * wave(84, 1)[80:])])
    model.update(more)
    assert model.stream_.rows == 9 and model.stream_.updates == 9  # no two rows are of one day
    coming = model.forecast()
    assert list(coming["id"]) == ["a"] * 3 + ["b"] * 3
    assert coming["time"].iloc[3] == pd.Timestamp("2000-03-25")
    other.update(more[more["id"] == "a"])
    kept = other.forecast()
    np.testing.assert_array_equal(kept["time"][3:], pd.date_range("2000-03-21", periods=3, freq="D"))
    with pytest.raises(DataError, match=r"series 'c' is not among those that fit saw \(a, b\)"):
        model.update(frame(95, 97).assign(id="c"))
    # a table by itself may have a series that fit never saw
    assert small(id="id").fit(long).forecast(frame().assign(id="c", y=1e4 * wave()))["y"].min() > 1e3


@pytest.mark.parametrize(
    "options", [{}, {"series": "joint"}, {"ids": "one_hot"}, {"ids": "embed"}, {"level": True}]
)
def test_several_columns(options):
    y = {"a": wave(), "b": 3 * wave(seed=1)}
    model = small(**options).fit(y)
    model.update({"a": wave(94)[90:], "b": 3 * wave(94, 1)[90:]})
    assert model.predict().shape == (3, 2)
    assert model.online_.forecasts.point.shape == ((4, 3, 2) if options.get("series") else (8, 3, 1))
    assert np.isfinite(model.predict()).all()


def test_gaps_are_carried_or_masked_and_absent_rows_are_gaps():
    for missing in ("mask", "interpolate"):
        data = frame()
        data.loc[[20, 21, 50], "y"] = np.nan
        model = small(missing=missing).fit(data)
        assert model.network_.input_size == (2 if missing == "mask" else 1)
        more = frame(90, 100)
        more.loc[2, "y"] = np.nan
        filled = small(missing=missing).fit(data).update(more)
        absent = model.update(more.drop(index=2))
        assert_same(filled, absent)
        assert absent.stream_.rows == 10
        assert np.isfinite(absent.predict()).all()


def test_a_covariate_known_ahead_is_used_and_its_rows_to_come_too():
    x = np.random.default_rng(0).normal(size=430)
    data = {"y": x[:400].copy(), "x": x[:400]}
    options = {"hidden_size": 8, "max_epochs": 20, "window_scaling": None, "horizon": 1, "patience": None}
    options |= {"rule": TruncatedBPTT(40), "lr": 0.03}
    told = small(covariates={"future": ["x"]}, **options).fit(data)
    assert told.metrics_["mae"] < 0.4  # a forecast that did not see x would err by 0.8
    with pytest.raises(
        DataError, match="needs the covariates 'x' for as many steps to come, but 0 were given"
    ):
        told.forecast()
    assert abs(told.forecast(future={"x": np.array([1.5])})["y"][0] - 1.5) < 0.7
    before = told.forecast(future={"x": x[400:401]})["y"]
    to_come = {"y": np.append(x[400:410], np.nan), "x": x[400:411]}
    told.update(to_come)
    assert told.stream_.rows == 10
    assert len(told.online_.forecasts) == 9  # the first was made when nothing was known ahead of it
    assert told.online_.metrics["mae"] < 0.5
    assert not np.array_equal(told.forecast()["y"], before)
    told.update({"y": x[410:412].copy(), "x": x[410:412]})
    assert told.stream_.rows == 12


def test_past_and_static_covariates_and_categories():
    rng = np.random.default_rng(0)
    parts = [
        frame().assign(id=name, region=region, rain=rng.normal(size=90), sky=rng.choice(["blue", "grey"], 90))
        for name, region in (("u", 1.0), ("v", 2.0))
    ]
    model = small(id="id", covariates={"past": ["rain", "sky"], "static": ["region"]}).fit(pd.concat(parts))
    assert model.network_.input_size == 1 + 3 + 1
    more = frame(90, 92).assign(id="u", region=1.0, rain=0.0, sky="grey")
    assert np.isfinite(model.update(more).predict()).all()
    with pytest.raises(DataError, match="static covariates of series 'u' are not those"):
        model.update(frame(92, 93).assign(id="u", region=3.0, rain=0.0, sky="grey"))
    with pytest.raises(DataError, match="'sky' holds 'pink'"):
        model.update(frame(92, 93).assign(id="u", region=1.0, rain=0.0, sky="pink"))


# ---- what is refused ---------------------------------------------------------------------------------------


def bad_frames():
    nan, inf = frame(95, 98), frame(95, 98)
    nan.loc[1, "y"] = np.nan
    inf.loc[1, "y"] = np.inf
    huge = frame(95, 98)
    huge.loc[1, "y"] = 1e300
    return {
        "nan": (nan, DataError, "1 value is missing, the first in column 'y'"),
        "infinite": (inf, DataError, "column 'y' holds 1 infinite value"),
        "huge": (huge, NonFiniteError, "became NaN or infinite at update"),
        "no such column": (
            frame(95, 98).rename(columns={"y": "z"}),
            DataError,
            "lacks the target column 'y'",
        ),
        "text": (frame(95, 98).assign(y="high"), DataError, "must hold numbers"),
        "again": (frame(94, 98), DataError, "stream has been read up to 2000-04-04"),
        "absent rows": (frame(96, 98), DataError, "1 row is absent before the new row of 2000-04-06"),
        "off the grid": (
            frame(95, 98).assign(time=pd.date_range("2000-04-05 06:00", periods=3, freq="D")),
            DataError,
            "does not stand a whole number of steps",
        ),
    }


def test_bad_rows_leave_the_stream_as_it_was_and_the_rest_goes_on_as_if_they_had_not_come():
    model, undisturbed = small().fit(frame()), small().fit(frame())
    model.update(frame(90, 95))
    undisturbed.update(frame(90, 95))
    before = everything(model)
    for name, (rows, error, message) in bad_frames().items():
        with pytest.raises(error, match=message):
            model.update(rows)
        assert everything(model) == before, name
    assert_same(model.update(frame(95, 105)), undisturbed.update(frame(95, 105)))


def test_rows_of_another_width_are_refused():
    model = small().fit(np.stack([wave(), wave(seed=1)], axis=1))
    before = everything(model)
    with pytest.raises(ShapeError, match=r"rows of 3 numbers came, but the stream has 2 a row.*\(rows, 2\)"):
        model.update(np.zeros((4, 3)))
    with pytest.raises(ShapeError, match="rows of 1 numbers came, but the stream has 2 a row"):
        model.update(np.zeros(2))
    with pytest.raises(DataError, match="a list of new rows must hold numbers, as many in each row"):
        model.update([[1.0, 2.0], [3.0]])
    assert everything(model) == before
    other = small().fit(np.stack([wave(), wave(seed=1)], axis=1)).update([[5.0, 5.0]])
    assert_same(model.update(np.full((1, 2), 5.0)), other)


def test_update_before_fit_and_of_windows():
    with pytest.raises(NotFittedError, match="this Forecaster is not fitted yet"):
        small().update(wave())
    with pytest.raises(
        UsageError, match="update is for a forecaster that reads a stream, and this one has mode='window'"
    ):
        Forecaster(3).update(wave())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "river"}, "mode is 'river' but must be one of 'window', 'stream'"),
        ({"strategy": "recursive"}, "a stream is answered with its whole horizon at each row"),
        ({"bidirectional": True}, "the backward direction starts in the future, which is not there yet"),
        ({"network": [LSTMConfig(hidden_size=3, bidirectional=True)]}, "is bidirectional, but a stream"),
        ({"network": [LSTMConfig(hidden_size=3), LastConfig()]}, "looks at other steps, but a stream"),
        ({"network": [LSTMConfig(hidden_size=3), MeanConfig()]}, "looks at other steps"),
        ({"network": [DenseConfig(size=9)]}, "network has no recurrent layer"),
        ({"mode": "window", "scaling": "running", "rule": None}, "moves with the rows of a stream"),
    ],
)  # fmt: skip
def test_options_that_a_stream_cannot_have(options, message):
    with pytest.raises(OptionError, match=message):
        small(**options).fit(wave())


# ---- files, report, command line ---------------------------------------------------------------------------


def test_a_folder_keeps_the_stream_and_refuses_another_ones(tmp_path):
    model = small().fit(frame())
    model.update(frame(90, 95)).save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert "stream.safetensors" in config["files"]
    model.update(frame(95, 115))
    page = report_of(model)
    assert "Error on the way" in page
    words = " ".join(page.split()).replace("\N{NO-BREAK SPACE}", " ")
    assert "Since fit, 25 rows were read and 25 updates made. The 25 forecasts" in words.replace(
        "\N{NARROW NO-BREAK SPACE}", " "
    )
    again = load(tmp_path / "model").update(frame(95, 115))
    assert again.details_["online"] == model.details_["online"]
    assert again.details_["online"]["count"] == 25
    pd.testing.assert_frame_equal(pd.DataFrame(again.forecast()), model.forecast())
    (tmp_path / "model" / "stream.safetensors").write_bytes(b"0" * 64)
    with pytest.raises(ModelFolderError, match=r"stream\.safetensors"):
        load(tmp_path / "model")
    online, tensors = online_of(model), stream_tensors(model.stream_)
    for name in tensors:
        with pytest.raises(SchemaError):
            stream_from({key: value for key, value in tensors.items() if key != name}, online)
        if tensors[name].ndim:
            with pytest.raises(SchemaError):
                stream_from({**tensors, name: tensors[name][..., None]}, online)
    with pytest.raises(SchemaError, match="there is a tensor 'more', which the stream has no place for"):
        stream_from({**tensors, "more": np.zeros(1)}, online)


def test_a_run_that_did_not_finish_stands_nowhere(tmp_path):
    class Stop(Observer):
        def on_epoch(self, entry):
            if entry.epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(max_epochs=3).fit(frame(), checkpoint=tmp_path / "checkpoints", observers=[Stop()])
    model = load(tmp_path)
    with pytest.raises(UsageError, match="stands at no row of the stream"):
        model.forecast()
    assert len(model.forecast(frame())) == 3
    resumed = small(max_epochs=3).fit(frame(), checkpoint=tmp_path / "checkpoints", resume=True)
    assert_same(resumed, small(max_epochs=3).fit(frame()))


def test_the_command_line_fits_updates_and_forecasts(tmp_path, monkeypatch, capsys):
    from saiki.cli.main import main

    monkeypatch.chdir(tmp_path)
    frame(0, 90).to_csv("first.csv", index=False)
    frame(90, 100).to_csv("more.csv", index=False)
    (tmp_path / "job.toml").write_text(
        'task = "forecaster"\noutput = "model"\n[data]\npath = "first.csv"\n[model]\nmode = "stream"\n'
        "horizon = 3\ncontext = 6\nhidden_size = 3\nmax_epochs = 1\nrandom_state = 0\nlr = 0.01\n"
        'baselines = false\n[training]\nrule = {type = "truncated_bptt", window = 8}\n'
    )

    def run(*words):
        monkeypatch.setattr("sys.argv", ["saiki", *words])
        try:
            main()
        except SystemExit as stop:
            return stop.code or 0, capsys.readouterr()
        return 0, capsys.readouterr()

    assert run("fit", "forecaster", "--config", "job.toml", "--quiet")[0] == 0
    code, said = run("update", "model", "more.csv", "--json")
    assert code == 0, said.err
    found = json.loads(said.out)
    assert (found["rows"], found["updates"], found["origins"]) == (10, 10, 10)
    assert_same(load("model"), small(baselines=False).fit(frame(0, 90)).update(frame(90, 100)))
    code, said = run("update", "model", "more.csv")
    assert code == 1 and "stream has been read up to 2000-04-09" in said.err
    code, said = run("forecast", "model")
    assert code == 0 and said.out.splitlines()[1].startswith("2000-04-10")
    words = "fit forecaster first.csv -o windows --horizon 3 --context 6 --hidden-size 3 --max-epochs 1 -q"
    assert run(*words.split(), "--mode", "window", "--no-baselines")[0] == 0
    code, said = run("update", "windows", "more.csv")
    assert code == 2 and "mode='window'" in said.err
