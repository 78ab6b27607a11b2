"""scikit-learn's parameter rules: clone, get_params, set_params, searches, pipelines; and options on file."""

from __future__ import annotations

import inspect
import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from saiki import SequenceClassifier, SequenceRegressor, Training
from saiki.core.errors import DTypeError, OptionError, ValueRangeError
from saiki.models import searching
from saiki.nn import DropoutConfig, GRUConfig, LastConfig

TASKS = [SequenceClassifier, SequenceRegressor]
QUICK = {"hidden_size": 4, "max_epochs": 2, "random_state": 0, "verbose": False}


@pytest.fixture
def waves():
    """24 sequences of 6 steps: class 0 rises, class 1 falls."""
    rng = np.random.default_rng(7)
    y = np.arange(24) % 2
    slope = np.where(y == 0, 1.0, -1.0)
    X = slope[:, None] * np.linspace(-1, 1, 6) + 0.1 * rng.standard_normal((24, 6))
    return X, y


@pytest.mark.parametrize("kind", TASKS)
def test_init_only_stores(kind):
    arguments = {name: object() for name in inspect.signature(kind.__init__).parameters if name != "self"}
    estimator = kind(**arguments)
    assert vars(estimator) == arguments


@pytest.mark.parametrize("kind", TASKS)
def test_the_schema_on_file_has_every_constructor_argument(kind):
    assert {f.name for f in fields(kind.OptionsFile)} == set(kind().get_params(deep=False))


@pytest.mark.parametrize("kind", TASKS)
def test_clone_keeps_configs_and_training(kind):
    network = [GRUConfig(hidden_size=3), DropoutConfig(p=0.1), LastConfig()]
    original = kind(network=network, training=Training(clip_norm=0.5), loss=torch.nn.functional.mse_loss)
    copy = clone(original)
    assert copy.network == network
    assert copy.training == Training(clip_norm=0.5)
    assert copy.loss is torch.nn.functional.mse_loss


def test_nested_parameters_of_training():
    model = SequenceClassifier()
    assert model.set_params(training__clip_norm=0.25) is model
    assert model.training == Training(clip_norm=0.25)
    assert model.get_params()["training__clip_norm"] == 0.25
    shared = model.training
    model.set_params(training__l1=0.1, hidden_size=3)
    assert shared.l1 == 0.0, "a Training is a value that others may hold: it is replaced, not changed"
    assert (model.training.clip_norm, model.training.l1, model.hidden_size) == (0.25, 0.1, 3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hiden_size", "unknown parameter 'hiden_size' of SequenceClassifier; did you mean 'hidden_size'"),
        ("training__clip_nrm", "unknown parameter 'training__clip_nrm'; did you mean 'clip_norm'"),
        ("cell__size", "unknown parameter 'cell__size'"),
    ],
)
def test_unknown_parameters_offer_the_nearest(name, said):
    with pytest.raises(OptionError, match=said):
        SequenceClassifier().set_params(**{name: 1})


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("cell", "lstn", "unknown cell 'lstn'; did you mean 'lstm'"),
        ("hidden_size", 0, "hidden_size is 0 but must be a whole number from 1 on, or 'auto'"),
        ("hidden_size", "large", "hidden_size is 'large'"),
        ("num_layers", True, "num_layers is True"),
        ("max_epochs", 1.5, "max_epochs is 1.5"),
        ("batch_size", "some", "batch_size is 'some' but must be a whole number from 1 on, or 'all'"),
        ("patience", 0, "patience is 0"),
        ("lr", -1, "lr is -1 but must be a positive number"),
        ("dropout", 1.0, "dropout is 1.0"),
        ("dtype", "float16", "unknown dtype 'float16'"),
        ("device", "tpu9", "device is 'tpu9'"),
        ("loss", 3, "loss is int but must be a name or a callable"),
        ("loss", "square", "unknown loss of a classifier 'square'"),
        ("scaling", "norm", "scaling is 'norm' but must be 'standard', 'minmax' or None"),
        ("validation", 1.5, "validation is 1.5 but must be a share between 0 and 1"),
        ("layout", "first", "unknown layout 'first'"),
        ("per_step", 1, "per_step is 1"),
        ("class_weight", "even", "class_weight is 'even' but must be 'balanced'"),
        ("class_weight", {7: 1.0}, "class_weight: unknown class '7'"),
        ("network", [], "network is an empty list"),
        ("network", [{"type": "lstm", "hiden_size": 3}], "network line 1.*did you mean 'hidden_size'"),
    ],
)
def test_bad_options_are_named_before_training(waves, option, value, said):
    model = SequenceClassifier(**{**QUICK, option: value})
    with pytest.raises(ValueError if option != "loss" or value != 3 else TypeError, match=said):
        model.fit(*waves)
    assert not hasattr(model, "network_")


@pytest.mark.parametrize(
    ("option", "value", "error", "said"),
    [
        ("random_state", "seven", DTypeError, "a seed is an integer"),
        ("random_state", -1, ValueRangeError, "seed is -1"),
        ("training", {"clip_norm": 1.0}, DTypeError, "training is dict"),
        ("network", "lstm", DTypeError, "network is str"),
        ("network", [object()], DTypeError, "network line 1 is object"),
    ],
)
def test_bad_types_are_named(waves, option, value, error, said):
    with pytest.raises(error, match=said):
        SequenceClassifier(**{**QUICK, option: value}).fit(*waves)


def test_grid_search_reaches_nested_options(waves):
    grid = {"cell": ["elman", "gru"], "training__clip_norm": [0.5, None]}
    search = GridSearchCV(SequenceClassifier(**QUICK), grid, cv=2).fit(*waves)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.predict(waves[0]).shape == (24,)


def test_baselines_are_off_inside_searches(waves, monkeypatch):
    fitted = []
    monkeypatch.setattr(
        SequenceClassifier, "_baselines", lambda self, train, validation: fitted.append(1) or [{"name": "x"}]
    )
    cross_val_score(SequenceClassifier(**QUICK), *waves, cv=2)
    assert fitted == []
    GridSearchCV(SequenceClassifier(**QUICK), {"lr": [0.01, 0.02]}, cv=2).fit(*waves)
    assert fitted == [1], "the refit of the best parameters measures them, the folds do not"
    with searching():
        SequenceClassifier(**QUICK).fit(*waves)
    assert fitted == [1]
    SequenceClassifier(**QUICK, baselines=False).fit(*waves)
    assert fitted == [1]
    SequenceClassifier(**QUICK).fit(*waves)
    assert fitted == [1, 1]


def test_ragged_lists_and_targets_a_step_go_through_a_search():
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((t, 2)) for t in rng.integers(2, 7, size=20)]
    search = GridSearchCV(SequenceRegressor(**QUICK), {"lr": [0.01, 0.1]}, cv=KFold(2), error_score="raise")
    search.fit(X, [x[:, 0] for x in X])
    assert search.best_estimator_.per_step_ and np.isfinite(search.best_score_)


def test_a_fitted_estimator_travels_between_processes(waves):
    model = SequenceClassifier(**QUICK, dropout=0.3).fit(*waves)
    again = pickle.loads(pickle.dumps(model))  # what joblib does with the folds' estimators
    np.testing.assert_array_equal(again.predict_proba(waves[0]), model.predict_proba(waves[0]))


def test_in_a_pipeline_last_and_in_the_middle(waves):
    X, y = waves
    last = make_pipeline(StandardScaler(), SequenceClassifier(**QUICK)).fit(X, y)
    assert last.predict(X).shape == (24,)
    middle = make_pipeline(SequenceClassifier(**QUICK), LogisticRegression()).fit(X, y)
    assert middle[0].transform(X).shape == (24, 4)
    assert middle.score(X, y) > 0.9


@pytest.mark.parametrize("kind", TASKS)
def test_the_seed_decides_every_bit(waves, kind):
    X, y = waves
    first = kind(**QUICK, dropout=0.3).fit(X, y).predict(X)
    np.testing.assert_array_equal(first, kind(**QUICK, dropout=0.3).fit(X, y).predict(X))
    weights = [
        next(iter(kind(**{**QUICK, "random_state": seed}).fit(X, y).network_.parameters())) for seed in (1, 2)
    ]
    assert not torch.equal(*weights)


def test_random_states_of_numpy_are_drawn_from(waves):
    state = np.random.RandomState(3)
    seeds = [SequenceClassifier(**{**QUICK, "random_state": state}).fit(*waves).seed_ for _ in range(2)]
    assert seeds[0] != seeds[1]
    again = SequenceClassifier(**{**QUICK, "random_state": np.random.RandomState(3)}).fit(*waves)
    assert again.seed_ == seeds[0]


def test_not_fitted_says_what_to_do():
    with pytest.raises(ValueError, match=r"is not fitted yet; call fit first, or saiki.load"):
        SequenceClassifier().predict([[1.0]])
