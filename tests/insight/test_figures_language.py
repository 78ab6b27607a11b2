"""The picture of entropy against temperature."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from saiki.core.errors import ShapeError
from saiki.insight.figures_language import entropy_by_temperature


@pytest.mark.parametrize("loss", [None, 2.1])
def test_it_is_one_svg_with_its_levels_named(loss):
    svg = entropy_by_temperature([0.5, 1.0, 2.0], [0.4, 2.0, 4.0], most=5.0, loss=loss)
    root = ElementTree.fromstring(svg)
    words = " ".join(element.text or "" for element in root.iter())
    assert "all tokens equally likely" in words and "as learned" in words
    assert ("loss" in words) == (loss is not None)


def test_lengths_that_differ_are_named():
    with pytest.raises(ShapeError, match=r"temperatures are \(2,\) and bits \(3,\)"):
        entropy_by_temperature([0.5, 1.0], [1.0, 2.0, 3.0], most=5.0)
