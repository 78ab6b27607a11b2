"""The alignment picture: what is in it, in which colours, and what does not fit."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from saiki.core.errors import ShapeError
from saiki.insight.figures_alignment import Said, alignment, pooled_for_eye

RNG = np.random.default_rng(0)
P = RNG.dirichlet([1, 1, 3], size=50)
HEARD = RNG.standard_normal((100, 40))
NAMES = ["a", " ", "<blank>"]


def draw(**options) -> str:
    given = {
        "heard": HEARD,
        "reference": [Said("a", 4, 9), Said(" ", 20, 21)],
        "said": [Said("a", 5, 8)],
        "seconds_a_step": 0.02,
    }
    return alignment(P, NAMES, **{**given, **options})


def words(svg: str) -> list[str]:
    return [e.text for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text") if e.text]


def test_it_names_its_parts_and_its_labels():
    found = words(draw())
    assert {"heard", "probability", "reference", "said", "seconds", "a", "␣"} <= set(found)
    assert found.count("a") == 2 and "1" in found  # fifty steps of 20 ms are a second


def test_parts_that_are_not_there_are_left_out():
    found = words(draw(heard=None, reference=(), seconds_a_step=None))
    assert "heard" not in found and "reference" not in found and "step" in found


def test_it_is_vectors_in_the_pages_colours_and_light():
    svg = draw(width=360)
    assert "<image" not in svg and "var(--saiki-ink" in svg and "var(--saiki-model" in svg
    assert len(svg) < 60_000
    assert svg == draw(width=360)


def test_names_that_would_run_into_each_other_are_left_out():
    close = [Said("abcdef", k, k + 1) for k in range(20)]
    assert 1 <= words(draw(said=close)).count("abcdef") < 20


def test_cells_are_means_and_few():
    cells = pooled_for_eye(np.arange(1000.0)[:, None] * np.ones((1, 40)))
    assert cells.shape == (160, 14) and abs(cells[0, 0] - 2.5) < 0.6
    assert pooled_for_eye(np.ones((3, 2))).shape == (3, 2)


@pytest.mark.parametrize(("p", "names"), [(P, ["a"]), (P[:0], NAMES), (P[0], NAMES)])
def test_what_does_not_fit_is_named(p, names):
    with pytest.raises(ShapeError, match="alignment: posteriors is"):
        alignment(p, names)
