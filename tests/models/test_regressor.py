"""SequenceRegressor: numbers a sequence or a step, one or several, in the user's own units."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from saiki import SequenceRegressor, Training, load
from saiki.core.errors import OptionError, ShapeError, ValueRangeError
from saiki.learning import Observer
from saiki.losses import Huber

QUICK = {"hidden_size": 8, "max_epochs": 3, "random_state": 0, "verbose": False}


def sums(n: int = 80, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Sequences whose target is 1000 + 50 times the mean of their first feature."""
    rng = np.random.default_rng(seed)
    X = [rng.standard_normal((t, 2)) for t in rng.integers(3, 9, size=n)]
    return X, np.array([1000 + 50 * x[:, 0].mean() for x in X])


def test_it_learns_in_the_users_units():
    X, y = sums(200)
    model = SequenceRegressor(hidden_size=16, max_epochs=60, lr=0.01, random_state=0, verbose=False).fit(X, y)
    assert model.score(X, y) > 0.9
    found = model.predict(X)
    assert found.shape == (200,) and abs(found.mean() - 1000) < 20
    assert model.metrics_["mae"] < 0.5 * next(r["mae"] for r in model.baselines_ if r["name"] == "mean")
    assert [r["name"] for r in model.baselines_] == [
        "mean",
        "linear regression on pooled features",
        "ridge regression on pooled features",
    ]
    assert "A simple method won" in model.report(), "pooled features hold the very mean that y is made of"


@pytest.mark.parametrize("K", [1, 3])
def test_several_outputs(K, tmp_path):
    X, y = sums()
    Y = np.stack([y + 10 * k for k in range(K)], axis=1)
    model = SequenceRegressor(**QUICK).fit(X, Y)
    assert model.predict(X).shape == (80, K)
    again = load(model.save(tmp_path / "m"))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_one_number_a_step():
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((t, 1)) for t in rng.integers(2, 10, size=60)]
    y = [np.cumsum(x[:, 0]) for x in X]
    model = SequenceRegressor(hidden_size=16, max_epochs=60, lr=0.02, random_state=0, verbose=False).fit(X, y)
    assert model.per_step_ and model.score(X, y) > 0.9
    assert [f.shape for f in model.predict(X)[:3]] == [t.shape for t in y[:3]]


def test_gaussian_gives_a_deviation():
    X, y = sums()
    model = SequenceRegressor(**QUICK, loss="gaussian").fit(X, y)
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == (80,) and (std > 0).all()
    assert 5 < std.mean() < 100, "in the units of y"
    with pytest.raises(OptionError, match="return_std=True needs a model fitted with loss='gaussian'"):
        SequenceRegressor(**QUICK).fit(X, y).predict(X, return_std=True)


@pytest.mark.parametrize("loss", ["squared", "absolute", "huber", Huber(0.5)], ids=str)
def test_losses_by_name_and_by_value(loss, tmp_path):
    X, y = sums()
    model = SequenceRegressor(**QUICK, loss=loss).fit(X, y)
    again = load(model.save(tmp_path / "m"))
    assert again.loss == loss and np.isfinite(model.predict(X)).all()


def test_a_constant_target_is_met():
    X, _ = sums()
    model = SequenceRegressor(**{**QUICK, "max_epochs": 20, "lr": 0.03}).fit(X, np.full(80, 7.5))
    np.testing.assert_allclose(model.predict(X), 7.5, atol=0.2)
    assert model.metrics_["r2"] <= 1.0


def test_validation_of_another_width_is_an_error():
    X, y = sums()
    with pytest.raises(ShapeError, match="y has 2 outputs a row but the training part has 1"):
        SequenceRegressor(**QUICK, validation=(X[:4], np.zeros((4, 2)))).fit(X, y)


@pytest.mark.parametrize("given", [False, True])
def test_refit_trains_on_all_and_measures_before(given):
    X, y = sums(60)
    options = {**QUICK, "max_epochs": 8, "lr": 0.02, "baselines": False}
    options["validation"] = (X[:20], y[:20]) if given else 1 / 3
    fit_on = (X[20:], y[20:]) if given else (X, y)
    plain = SequenceRegressor(**options).fit(*fit_on)
    again = SequenceRegressor(**options, training=Training(refit="all")).fit(*fit_on)
    assert any("Trained again" in note and "on all 60 sequences" in note for note in again.record_.notes)
    assert any("before it was trained again" in note for note in again.record_.notes)
    assert again.metrics_ == plain.metrics_, (
        "the figures are of the network that had not seen these sequences"
    )
    assert not np.array_equal(again.predict(X), plain.predict(X))


@pytest.mark.parametrize("count", [2, 6])
def test_refit_resumes_with_the_same_figures(count, tmp_path):
    """8 epochs of fit, then the refit: checkpoint 2 lies in the first, and its best weights are taken up."""
    X, y = sums(60)
    options = {**QUICK, "max_epochs": 8, "lr": 0.02, "baselines": False, "training": Training(refit="all")}
    folder, away = tmp_path / "whole", tmp_path / "away"

    class Copy(Observer):
        seen = 0

        def on_checkpoint(self, event) -> None:
            self.seen += 1
            if self.seen == count:
                shutil.copytree(folder, away)

    whole = SequenceRegressor(**options).fit(X, y, checkpoint=folder, observers=[Copy()])
    resumed = SequenceRegressor(**options).fit(X, y, checkpoint=away, resume=True)
    np.testing.assert_array_equal(whole.predict(X), resumed.predict(X))
    assert whole.metrics_ == resumed.metrics_ != {}


def test_a_quantile_loss_is_not_for_one_number():
    X, y = sums(10)
    with pytest.raises(OptionError, match="unknown loss of a regressor 'quantile'"):
        SequenceRegressor(**QUICK, loss="quantile").fit(X, y)


@pytest.mark.parametrize("loss", ["auto", "gaussian"])
def test_missing_targets_are_left_out_of_loss_and_figures(loss, tmp_path):
    """What stands where nothing was observed cannot matter, so hiding wild numbers equals hiding none."""
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((t, 1)) for t in rng.integers(3, 8, size=40)]
    y = [np.cumsum(x[:, 0]) for x in X]
    for k in range(40):
        y[k][k % 3] = np.nan
    y[7][:] = np.nan  # a sequence of which nothing was observed
    model = SequenceRegressor(loss=loss, missing="mask", **QUICK).fit(X, y)
    assert np.isfinite(model.metrics_["rmse"]) and np.isfinite(model.score(X, y))
    assert [r["name"] for r in model.baselines_][2] == "ridge regression on each step's features"
    assert all(np.isfinite(r["rmse"]) for r in model.baselines_)
    assert model.evaluate(X, y)["mae"] == pytest.approx(
        np.nanmean(np.abs(np.concatenate(model.predict(X)) - np.concatenate(y)))
    )
    assert "Predicted beside true" in model.report()
    np.testing.assert_array_equal(load(model.save(tmp_path / "m")).predict(X)[0], model.predict(X)[0])
    with pytest.raises(ValueRangeError, match=r"y is NaN \(missing\) at row 0.*missing='mask'"):
        SequenceRegressor(loss=loss, **QUICK).fit(X, y)
    with pytest.raises(ValueRangeError, match="y has no value at all"):
        SequenceRegressor(loss=loss, missing="mask", **QUICK).fit(X, [t * np.nan for t in y])


def test_several_outputs_may_have_gaps_each():
    X, y = sums()
    Y = np.stack([y, y + 1], axis=1)
    Y[::4, 1] = np.nan
    model = SequenceRegressor(missing="mask", **QUICK).fit(X, Y)
    assert np.isfinite(model.predict(X)).all() and np.isfinite(model.metrics_["r2"])
