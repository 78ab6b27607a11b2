"""Texts from data go into the page as text, never as markup."""

from __future__ import annotations

import pytest

from saiki.core.errors import ShapeError
from saiki.insight import ReportData, report
from saiki.insight.samples import samples


def test_a_page_shows_samples_and_lets_no_markup_through():
    rows = [("<script>alert(1)</script>", "a & b", "a & b"), ("x\ny", "z", "")]
    page = report(
        ReportData(
            title="t",
            task="translator",
            pictures=(samples("Samples", "Some.", ("source", "wanted", "said"), rows, right=[True, False]),),
        )
    )
    assert "<script>" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count('title="right"') == page.count('title="wrong"') == 1
    assert "x<br>y" in page and "(nothing)" in page and "a &amp; b" in page


def test_marks_are_left_out_where_nothing_is_right_or_wrong():
    shown = samples("Drawn", "At temperature 1.", ("text",), [("a",)]).svg
    assert "✓" not in shown and shown.count("<td") == 1


@pytest.mark.parametrize(
    ("rows", "right", "said"),
    [([("a",)], None, "sample 0 has 1 texts but there are 2 columns"), ([("a", "b")], [], "but 0 marks")],
)
def test_rows_that_do_not_fit(rows, right, said):
    with pytest.raises(ShapeError, match=said):
        samples("t", "c", ("one", "two"), rows, right)
