"""Test then train: every row is answered before it is learned, errors and means by hand, the picture."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from saiki import Forecaster, SequenceClassifier, SequenceRegressor
from saiki.core.errors import DataError, DTypeError, LengthError, OptionError, ShapeError, UsageError
from saiki.insight.figures_online import running_error
from saiki.learning import TruncatedBPTT, prequential

SMALL = {"hidden_size": 4, "random_state": 0, "verbose": False, "lr": 0.05}


class Diary:
    """Answers the mean of the targets it has learned, and writes down what happens."""

    def __init__(self, seen=()):
        self.targets, self.log = list(seen), []

    def __sklearn_is_fitted__(self):
        return bool(self.targets)

    def predict_stream(self, X):
        self.log.append(("answer", len(X)))
        return np.full(len(X), np.mean(self.targets))

    def partial_fit(self, X, y, learn=True, classes=None):
        self.log.append(("learn" if learn else "read", len(X)))
        if learn:
            self.targets += list(y)


def rows(T=12):
    y = np.random.default_rng(0).normal(size=T)
    return np.zeros((T, 1)), y


@pytest.mark.parametrize("block", [1, 5])
def test_each_row_is_answered_before_it_is_learned(block):
    X, y = rows()
    model = Diary()
    found = prequential(model, (X, y), block=block)
    assert model.log[0] == ("learn", block)  # nobody could answer before
    assert [what for what, _ in model.log[1:]] == ["answer", "learn"] * (len(model.log[1:]) // 2)
    assert found.row.tolist() == list(range(block, 12))
    want = np.concatenate([[y[: block * (t // block)].mean()] for t in range(block, 12)])
    np.testing.assert_allclose(found.prediction, want)
    np.testing.assert_allclose(found.error, np.abs(want - y[block:]))
    np.testing.assert_allclose(found.running, np.cumsum(found.error) / np.arange(1, len(found) + 1))
    assert found.mean == found.running[-1]


def test_recent_means_and_rows_without_a_target():
    X, y = rows()
    y[4] = np.nan
    model = Diary(seen=[0.0])
    found = prequential(model, iter([(X[k : k + 1], y[k : k + 1]) for k in range(4)]))
    assert len(found) == 4
    hidden = prequential(Diary(seen=[1.0]), (X[:6], y[:6]), learn=False)
    assert np.isnan(hidden.error[4]) and np.isfinite(hidden.running).all()
    np.testing.assert_allclose(hidden.recent(2)[5], hidden.error[5])
    np.testing.assert_allclose(hidden.recent(3)[3], hidden.error[1:4].mean())
    np.testing.assert_allclose(hidden.recent(100), hidden.running)


def test_other_errors():
    X, y = rows()
    squared = prequential(Diary(seen=[0.0]), (X, y), error="squared", learn=False)
    np.testing.assert_allclose(squared.error, y**2)
    own = prequential(Diary(seen=[0.0]), (X, y), error=lambda said, came: came - said, learn=False)
    np.testing.assert_allclose(own.error, y)


def test_without_learning_the_weights_stay_and_the_state_moves():
    source = np.random.default_rng(1)
    X = source.normal(size=(30, 2))
    y = np.concatenate([[0.0], X[:-1, 0]])
    model = SequenceRegressor(rule=TruncatedBPTT(4, 2), **SMALL).partial_fit(X[:20], y[:20])
    held = {name: value.clone() for name, value in model.network_.state_dict().items()}
    found = prequential(model, (X[20:], y[20:]), learn=False)
    assert all((held[name] == value).all() for name, value in model.network_.state_dict().items())
    assert model.stream_.rows == 30 and model.stream_.updates == 10
    assert len(found) == 10
    twin = SequenceRegressor(rule=TruncatedBPTT(4, 2), **SMALL).partial_fit(X[:20], y[:20])
    twin.partial_fit(X[20:29], y[20:29], learn=False)
    assert twin.predict_stream(X[29:])[0] == found.prediction[-1]


def test_a_classifier_is_measured_by_its_wrong_answers():
    X = np.random.default_rng(1).normal(size=(120, 1))
    y = np.where(X[:, 0] > 0, "up", "down")
    model = SequenceClassifier(rule=TruncatedBPTT(2, 2), **SMALL)
    found = prequential(model, (X, y), block=2, classes=["up", "down"])
    assert set(np.unique(found.error)) <= {0.0, 1.0}
    assert np.array_equal(found.error, found.prediction != found.target)
    assert found.recent(40)[-1] < 0.15 < found.recent(20)[19]


def test_several_outputs():
    X = np.random.default_rng(1).normal(size=(9, 1))
    Y = np.concatenate([X, -X], axis=1)
    found = prequential(SequenceRegressor(**SMALL), (X, Y))
    assert found.prediction.shape == (8, 2)
    np.testing.assert_allclose(found.error, np.abs(found.prediction - Y[1:]).mean(axis=1))


def test_a_forecaster_is_measured_on_the_rows_that_follow():
    y = np.sin(np.arange(90) / 4)
    options = {**SMALL, "max_epochs": 1, "baselines": False, "quantiles": None, "validation": None}

    def model():
        return Forecaster(horizon=2, context=6, mode="stream", **options).fit(y[:70])

    whole = prequential(model(), y[70:])
    blocks = prequential(model(), [y[70:79], y[79:]])
    assert whole.prediction.shape == whole.target.shape == (len(whole), 2, 1)
    assert np.array_equal(whole.prediction, blocks.prediction)
    np.testing.assert_allclose(whole.error, np.abs(whole.prediction - whole.target).mean(axis=(1, 2)))
    np.testing.assert_allclose(whole.target[-1].ravel(), y[-2:])
    frozen = prequential(model(), y[70:], learn=False)
    assert len(frozen) == len(whole) and not np.array_equal(frozen.prediction[-1], whole.prediction[-1])


def test_refusals():
    X, y = rows()
    with pytest.raises(OptionError, match="Diarist does not learn from streams"):
        prequential(type("Diarist", (), {})(), (X, y))
    with pytest.raises(UsageError, match="cannot be tested without learning"):
        prequential(Diary(), (X, y), learn=False)
    with pytest.raises(DataError, match="nothing to measure"):
        prequential(Diary(), (X[:1], y[:1]))
    with pytest.raises(LengthError, match="12 rows but 11 targets"):
        prequential(Diary(), (X, y[:-1]))
    with pytest.raises(DTypeError, match="rows and their targets"):
        prequential(Diary(), (5, 6))
    with pytest.raises(OptionError, match="did you mean 'squared'"):
        prequential(Diary(seen=[0]), (X, y), error="squard")
    with pytest.raises(OptionError, match="one number a row"):
        prequential(Diary(seen=[0]), (X, y), error=lambda said, came: np.zeros(2))


# -------------------------------------------------------------------- the picture


def test_the_picture_names_its_lines_and_marks():
    source = np.random.default_rng(0)
    errors = {"learns": source.random(400), "frozen": source.random(400) + 1}
    svg = running_error(errors, window=50, marks={200: "the pattern changes"}, unit="mV")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    for text in ("learns", "frozen", "the pattern changes", "mean absolute error, mV", "the last 50 rows"):
        assert text in svg, text
    assert svg == running_error(errors, window=50, marks={200: "the pattern changes"}, unit="mV")
    assert "all rows so far" in running_error({"one": [1.0]})


def test_the_picture_refuses():
    with pytest.raises(ShapeError, match="all of one length"):
        running_error({"a": np.zeros(3), "b": np.zeros(4)})
    with pytest.raises(ShapeError, match="no model"):
        running_error({})
    with pytest.raises(ShapeError, match=r"rows is \(2,\) but must be \(3,\)"):
        running_error({"a": np.zeros(3)}, rows=[1, 2])
    with pytest.raises(OptionError, match="at most five"):
        running_error({str(k): np.zeros(3) for k in range(6)})
    with pytest.raises(OptionError, match="window is 0"):
        running_error({"a": np.zeros(3)}, window=0)
