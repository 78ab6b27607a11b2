"""Spans as conlleval cuts and counts them."""

from __future__ import annotations

import pytest

from saiki.core.errors import DTypeError, LabelError, LengthError
from saiki.metrics.spans import SpanCounts, is_span_tag, marks_spans, span_counts, span_f1, spans, total


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("B-a I-a O B-b", [("a", 0, 2), ("b", 3, 4)]),
        ("I-a I-a O I-b", [("a", 0, 2), ("b", 3, 4)]),  # IOB1
        ("I-a B-a I-a", [("a", 0, 1), ("a", 1, 3)]),
        ("B-a B-a", [("a", 0, 1), ("a", 1, 2)]),
        ("B-a I-b", [("a", 0, 1), ("b", 1, 2)]),  # not well-formed: another kind begins another span
        ("O I-a O", [("a", 1, 2)]),
        ("I-a E-a I-a E-a", [("a", 0, 2), ("a", 2, 4)]),  # IOE
        ("B-a E-a S-b B-b I-b E-b", [("a", 0, 2), ("b", 2, 3), ("b", 3, 6)]),  # BIOES
        ("S-a S-a", [("a", 0, 1), ("a", 1, 2)]),
        ("E-a E-a", [("a", 0, 1), ("a", 1, 2)]),
        ("U-a L-a", [("a", 0, 1), ("a", 1, 2)]),
        ("B I O", [("", 0, 2)]),  # one kind, without a name
        ("B-x-y I-x-y", [("x-y", 0, 2)]),  # the first dash parts
        ("O O", []),
        ("", []),
    ],
)
def test_where_spans_begin_and_end(tags, found):
    assert spans(tags.split()) == found


def test_counts_by_kind_and_together():
    """Worked by hand: three true spans and three found; one right, one too short, one of another kind."""
    targets = [["B-per", "I-per", "O", "B-loc"], ["B-org", "O"]]
    predictions = [["B-per", "O", "O", "B-loc"], ["B-loc", "O"]]
    counts = span_counts(targets, predictions)
    assert counts == {"loc": SpanCounts(1, 2, 1), "org": SpanCounts(1, 0, 0), "per": SpanCounts(1, 1, 0)}
    assert total(counts.values()) == (3, 3, 1)
    assert counts["loc"].precision == 0.5 and counts["loc"].recall == 1.0
    assert counts["loc"].f1 == pytest.approx(2 / 3) and counts["org"].f1 == 0.0
    score = span_f1(targets, predictions)
    assert score == pytest.approx(1 / 3) and score.count == 3
    assert span_f1(targets, targets) == 1.0
    assert span_f1([["O"]], [["O"]]) == 0.0 and span_f1([], []).count == 0


def test_which_tags_mark_spans():
    assert marks_spans(["O", "B-a", "I-a"]) and marks_spans(["S-a"])
    assert not marks_spans(["O"]) and not marks_spans(["NOUN", "O"]) and not marks_spans([])
    assert is_span_tag("B-") and not is_span_tag("B") and not is_span_tag("X-a")


@pytest.mark.parametrize(
    ("targets", "predictions", "error", "said"),
    [
        ([["O"]], [], LengthError, "0 sentences but targets 1"),
        ([["O", "O"]], [["O"]], LengthError, "sentence 0 has 1 predicted tags but 2 true ones"),
        ([["NOUN"]], [["O"]], LabelError, "the tag 'NOUN' at step 0 marks no span"),
        ([[3]], [["O"]], DTypeError, "the tag at step 0 is 3 "),
        (["O"], ["O"], DTypeError, "one list of tags a sentence"),
    ],
)
def test_what_cannot_be_counted_is_named(targets, predictions, error, said):
    with pytest.raises(error, match=said):
        span_f1(targets, predictions)
