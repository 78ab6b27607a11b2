"""The tagger under scikit-learn's rules, and under sentences of any kind: a typed error or a right answer."""

from __future__ import annotations

import inspect
import pickle
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from saiki.core.errors import SaikiError
from saiki.models import TASKS, SequenceTagger
from saiki.models.tagger_input import read_labels, read_sentences, read_tags

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=2),
)
nested = st.recursive(leaves, lambda inner: st.lists(inner, max_size=5), max_leaves=12)
arrays = st.sampled_from(
    [np.zeros((2, 3)), np.array("a b"), np.array(["a b", "c"]), np.array([["a", "b"]]), np.zeros(0), object()]
)
anything = st.one_of(
    nested, arrays, st.dictionaries(leaves, leaves, max_size=2), st.sets(st.text(), max_size=2)
)
words = st.text(min_size=1, max_size=6)
sentences = st.lists(st.lists(words, min_size=1, max_size=5), min_size=1, max_size=4)
RULES = settings(max_examples=80, suppress_health_check=list(HealthCheck), deadline=None)


@pytest.fixture(scope="module")
def model():
    quick = {"hidden_size": 3, "word_size": 3, "character_size": 2, "max_epochs": 1, "validation": None}
    return SequenceTagger(**quick, patience=None, random_state=0, verbose=False).fit(
        ["a b c", "b c"] * 4, ["X Y Z", "Y Z"] * 4, ["p", "q"] * 4
    )


def typed(call: Any) -> Any:
    """The call's answer, or None where it refused with a typed error of the door."""
    try:
        return call()
    except SaikiError as error:
        if not str(error) or not isinstance(error, ValueError | TypeError):
            raise AssertionError(f"{type(error).__name__} is no error of the door") from error
        return None


@RULES
@given(X=anything)
def test_any_sentences(model, X):
    found = typed(lambda: model.predict(X))
    assert found is None or all(set(line) <= {"X", "Y", "Z"} for line in found)


@RULES
@given(X=sentences)
def test_any_words_are_tagged(model, X):
    """Letters of any script, control characters, words never seen: every word gets a tag."""
    if typed(lambda: read_sentences(X)) is None:
        return
    assert [len(line) for line in model.predict(X)] == [len(line) for line in X]
    for p in model.predict_proba(X):
        np.testing.assert_allclose(p.sum(axis=1), 1)


@RULES
@given(y=anything, labels=anything)
def test_any_answers(y, labels):
    X = [["a", "b"], ["c"]]
    typed(lambda: read_tags(y, X))
    typed(lambda: read_labels(labels, 2))


def test_init_only_stores_and_the_schema_has_every_argument():
    names = [name for name in inspect.signature(SequenceTagger.__init__).parameters if name != "self"]
    arguments = {name: object() for name in names}
    assert vars(SequenceTagger(**arguments)) == arguments
    assert {f.name for f in fields(SequenceTagger.OptionsFile)} == set(names)
    assert TASKS["tagger"] is SequenceTagger


def test_it_travels_between_processes_and_is_cloned_unfitted(model):
    again = pickle.loads(pickle.dumps(model))
    assert again.predict(["a b"]) == model.predict(["a b"])
    with pytest.raises(ValueError, match="is not fitted yet"):
        clone(model).predict(["a b"])
