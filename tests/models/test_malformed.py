"""No X or y, however malformed, ends in anything but a typed error or a right answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from children import survives
from saiki import Ragged, SequenceClassifier, SequenceRegressor
from saiki.core.errors import SaikiError

QUICK = {"hidden_size": 2, "max_epochs": 1, "random_state": 0, "verbose": False, "baselines": False}
EXAMPLES = 60
MANY = 600  # each, in `make test-long`

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)
dtypes = st.sampled_from([">f4", "f4", "f8", "f2", "i1", "u8", "?", "c8", "U3", "S2", "M8[D]", "O"])
arrays = dtypes.flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        shapes,
        elements=st.one_of(st.floats(allow_nan=True), st.none(), st.text(max_size=2), st.integers(-9, 9))
        if dtype == "O"
        else None,
    )
)
views = arrays.map(lambda a: a[::-1] if a.ndim else a).map(lambda a: a.T)
tensors = hnp.arrays(st.sampled_from(["f4", "f8", "i8", "?"]), shapes).map(
    lambda a: torch.from_numpy(np.ascontiguousarray(a)) if a.ndim else torch.tensor(a.item())
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=2),
)
nested = st.recursive(leaves, lambda inner: st.lists(inner, max_size=5), max_leaves=12)
anything = st.one_of(
    arrays, views, tensors, nested, st.lists(arrays, max_size=5), st.dictionaries(leaves, leaves)
)
lengths = st.one_of(
    st.none(),
    st.lists(st.integers(-3, 9), max_size=7),
    st.lists(st.floats(), max_size=4),
    hnp.arrays("i8", shapes),
    st.just("abc"),
)
ALLOWED = (
    ValueError,
    TypeError,
)  # every SaikiError of the door is one of both; OverflowError and IndexError are not


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    X, y = [rng.standard_normal((t, 2)) for t in (3, 4, 2, 5, 3, 4)], [0, 1, 0, 1, 0, 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        return (
            SequenceClassifier(**QUICK, validation=None, patience=None).fit(X, y),
            SequenceRegressor(**QUICK, validation=None, patience=None).fit(X, [0.0, 1, 2, 3, 4, 5]),
        )


def _typed(call) -> Any:
    """The call's answer, or None where it refused with a typed error."""
    try:
        return call()
    except SaikiError as error:
        if not str(error) or not isinstance(error, ALLOWED):
            raise AssertionError(f"{type(error).__name__} is no error of the door") from error
        return None


RULES = settings(deadline=None, suppress_health_check=list(HealthCheck))


def _predicts(models, X, given_lengths) -> None:
    for model in models:
        found = _typed(lambda model=model: model.predict(X, given_lengths))
        if found is not None:
            assert len(found) == len(X)
            if found.dtype.kind == "f":
                assert np.isfinite(found).all(), "finite input gives finite answers"
            else:
                assert np.isin(found, model.classes_).all()


def predict_answers_or_refuses(fitted, X, given_lengths):
    survives(lambda: _predicts(fitted, X, given_lengths))


def fit_learns_or_refuses(X, y, kind):
    survives(lambda: _typed(lambda: kind(**QUICK).fit(X, y)))


good = st.lists(
    hnp.arrays("f4", st.tuples(st.integers(0, 5), st.just(2)), elements=st.floats(-9, 9, width=32)),
    max_size=7,
)


def fit_on_good_sequences_and_any_targets(X, y, weight, kind):
    survives(lambda: _typed(lambda: kind(**QUICK).fit(X, y, sample_weight=weight)))


def good_input_is_learned(fitted, X, data):
    """Two sequences and two labels at least, one sequence that is not empty: nothing to refuse."""
    if len(X) < 4 or not any(map(len, X)):
        return
    y = np.arange(len(X)) % 2
    whole = {"validation": None, "patience": None}
    options = data.draw(st.sampled_from([{}, whole])) if all(map(len, X)) else whole

    def call():
        model = SequenceClassifier(**QUICK, **options).fit(X, y)
        assert np.isfinite(model.predict_proba(X)).all()
        np.testing.assert_array_equal(model.predict(Ragged.from_list(X)), model.predict(X))

    survives(call)


def test_one_sequence_with_nan_is_named_not_predicted(fitted):
    X = [np.zeros((2, 2)), np.array([[0.0, np.nan]])]
    with pytest.raises(ValueError, match=r"X, sequence 1 is NaN .* at step 0, feature 1"):
        fitted[0].predict(X)


def test_huge_values_are_met_with_finite_answers_or_an_error(fitted):
    X = [np.full((3, 2), 1e300)]
    found = _typed(lambda: fitted[1].predict(X))
    assert found is None or np.isfinite(found).all()


# ---- each with some examples, and with many in `make test-long` ------------------------------------------

kinds = st.sampled_from([SequenceClassifier, SequenceRegressor])
weights = st.one_of(st.none(), arrays, nested)
any_predict = given(X=anything, given_lengths=lengths)
any_fit = given(X=anything, y=anything, kind=kinds)
any_targets = given(X=good, y=anything, weight=weights, kind=kinds)
good_input = given(X=good, data=st.data())
some, many = settings(RULES, max_examples=EXAMPLES), settings(RULES, max_examples=MANY)

test_predict = some(any_predict(predict_answers_or_refuses))
test_fit = some(any_fit(fit_learns_or_refuses))
test_targets = some(any_targets(fit_on_good_sequences_and_any_targets))
test_good_input = some(good_input(good_input_is_learned))
test_predict_many = pytest.mark.long(many(any_predict(predict_answers_or_refuses)))
test_fit_many = pytest.mark.long(many(any_fit(fit_learns_or_refuses)))
test_targets_many = pytest.mark.long(many(any_targets(fit_on_good_sequences_and_any_targets)))
test_good_input_many = pytest.mark.long(many(good_input(good_input_is_learned)))
