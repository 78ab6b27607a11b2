"""Kneser-Ney n-grams: they sum to one, agree with a sum by hand, and bear the smallest texts."""

from __future__ import annotations

import numpy as np
import pytest

from saiki.models.baselines_language import NGramModel


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_sum_to_one_after_any_past(order):
    rng = np.random.default_rng(0)
    V = 7
    model = NGramModel(rng.integers(0, V - 1, 300), V, order)  # token V - 1 is never seen
    for past in ([], [0], [3, 1, 2], [6, 6], [5, 6, 0, 1]):
        total = sum(
            np.exp(model.log_probabilities(np.array([w]), past=np.array(past, dtype=np.int64)))[0]
            for w in range(V)
        )
        assert total == pytest.approx(1.0, abs=1e-12)


def test_bigrams_by_hand():
    # a b a b a c: pairs ab 2, ba 2, ac 1; no n-gram occurs 3 or 4 times
    text = np.array([0, 1, 0, 1, 0, 2])
    model = NGramModel(text, 3, 2)
    # different tokens before: a after {b} 1 (and the text's start), b after {a} 1, c after {a} 1; D(1) = 0.5
    # as nothing occurs twice, so p_1 = 0.5/3 + (1.5/3)(1/3) = 1/3 for each
    # after a: c(ab) = 2, c(ac) = 1; one pair once, two pairs twice: Y = 1/5, D(1) = 1 - 2 · 1/5 · 2 = 0.2,
    # D(2) = 0.75 for want of pairs seen three times
    left = (0.75 + 0.2) / 3
    wanted = [(2 - 0.75) / 3 + left / 3, (1 - 0.2) / 3 + left / 3, left / 3]
    found = [np.exp(model.log_probabilities(np.array([w]), past=np.array([0])))[0] for w in (1, 2, 0)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_longer_contexts_help_where_the_text_repeats():
    text = np.tile(np.arange(5), 40)
    losses = [-NGramModel(text, 5, n).log_probabilities(text[:50], past=text[-5:]).mean() for n in (1, 2, 3)]
    assert losses[0] == pytest.approx(np.log(5), rel=1e-3)
    assert losses[1] < 0.1 and losses[2] < losses[0]


@pytest.mark.parametrize("text", [[0], [0, 0], [0, 1], [2, 2, 2]])
def test_the_smallest_texts(text):
    model = NGramModel(np.array(text), 3, 8)
    found = model.log_probabilities(np.array([0, 1, 2, 0]))
    assert np.isfinite(found).all() and (found <= 0).all()
