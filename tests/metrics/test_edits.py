"""Edit distance against a plain recursion, error rates by hand."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saiki.core.errors import DataError, DTypeError, LengthError
from saiki.metrics import cer, edit_distance, edits, label_error_rate, wer

words = st.text("abc", max_size=7)


def by_definition(r: str, h: str) -> int:
    @cache
    def d(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(d(i - 1, j - 1) + (r[i - 1] != h[j - 1]), d(i - 1, j) + 1, d(i, j - 1) + 1)

    return d(len(r), len(h))


@given(r=words, h=words)
def test_the_distance_is_that_of_the_definition(r, h):
    assert edit_distance(r, h) == edit_distance(h, r) == by_definition(r, h)


@given(r=words, h=words)
def test_the_pairs_turn_one_into_the_other_at_that_price(r, h):
    found = edits(r, h)
    assert "".join(a for a, _ in found.pairs if a is not None) == r
    assert "".join(b for _, b in found.pairs if b is not None) == h
    assert found.distance == by_definition(r, h) == found.substitutions + found.deletions + found.insertions


def test_kitten_and_sitting():
    found = edits("kitten", "sitting")
    assert (found.distance, found.substitutions, found.deletions, found.insertions) == (3, 2, 0, 1)
    assert found.pairs[0] == ("k", "s") and found.pairs[-1] == (None, "g")


def test_labels_may_be_anything_that_can_be_hashed():
    assert edit_distance([1, 2, 3], np.array([1, 3])) == 1
    assert edit_distance([("a", 1)], [("a", 2), "b"]) == 2


def test_long_ones_count_more_and_a_rate_can_pass_one():
    assert label_error_rate(["a", "bbb"], ["b", "bbb"]) == 0.25
    found = label_error_rate(["a"], ["bcd"])
    assert found == 3.0 and found.count == 1
    assert label_error_rate([[], [1]], [[2], [1]]) == 1.0


def test_words_and_characters():
    assert wer(["the cat  sat", "down"], ["the cat", "down town"]) == 2 / 4
    assert cer([" ab  c "], ["ab c"]) == 0.0
    assert cer(["abcd"], ["abd"]) == 0.25 and cer(["abcd"], ["abd"]).count == 4


def test_what_cannot_be_measured_is_named():
    with pytest.raises(LengthError, match="2 references but 1 hypotheses"):
        label_error_rate(["a", "b"], ["a"])
    with pytest.raises(DataError, match="hold no label"):
        wer(["", " "], ["a", ""])
    with pytest.raises(DTypeError, match=r"references is one text.*\[references\]"):
        wer("one two", "one two")
    with pytest.raises(DTypeError, match=r"hypotheses\[0\] is int but must be text"):
        cer(["1"], [1])
