"""scikit-learn's own checks on both sequence tasks; each exemption has its reason in EXEMPT."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from saiki import SequenceClassifier, SequenceRegressor

_UNIVARIATE = (
    "a 2-d X (n, T) is n sequences of T steps with one feature, so n_features_in_ is 1 and the number of "
    "columns is the length of the sequences, which may change from fit to predict"
)
_BATCHES = (
    "training draws batches of sequences, so weight 2 and the same sequence twice give different draws; the "
    "objective itself is the same (test_classifier.py::test_weight_two_is_the_sequence_twice)"
)
_STEPS = (
    "partial_fit learns from a target a row and goes on with the fitted model, and here fit was given a "
    "target a sequence; streams are tested in test_partial_fit.py"
)
EXEMPT: dict[type, dict[str, str]] = {
    SequenceClassifier: {
        "check_n_features_in": _UNIVARIATE,
        "check_n_features_in_after_fitting": _UNIVARIATE,
        "check_classifiers_train": _UNIVARIATE + "; training itself is tested in test_classifier.py",
        "check_transformer_general": _UNIVARIATE,
        "check_fit_score_takes_y": _STEPS,
        "check_sample_weight_equivalence_on_dense_data": _BATCHES,
    },
    SequenceRegressor: {
        "check_n_features_in": _UNIVARIATE,
        "check_n_features_in_after_fitting": _UNIVARIATE,
        "check_transformer_general": _UNIVARIATE,
        "check_fit_score_takes_y": _STEPS,
        "check_sample_weight_equivalence_on_dense_data": _BATCHES,
    },
}
SMALL = {
    "hidden_size": 8,
    "lr": 0.1,
    "validation": None,
    "patience": None,
    "random_state": 0,
    "verbose": False,
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [SequenceClassifier(max_epochs=5, **SMALL), SequenceRegressor(max_epochs=16, **SMALL)],
    expected_failed_checks=lambda estimator: EXEMPT[type(estimator)],
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", EXEMPT, ids=lambda kind: kind.__name__)
def test_exemptions_are_of_checks_that_exist(kind):
    from sklearn.utils.estimator_checks import estimator_checks_generator

    names = {getattr(check, "func", check).__name__ for _, check in estimator_checks_generator(kind())}
    assert set(EXEMPT[kind]) <= names
    assert all(len(reason) > 40 for reason in EXEMPT[kind].values())
