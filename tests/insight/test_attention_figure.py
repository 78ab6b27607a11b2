"""The picture of attention: a field a weight, the symbols beside it, nothing past its edges."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from saiki.core.errors import OptionError, ShapeError, ValueRangeError
from saiki.insight.figures_attention import alignment

SVG = "{http://www.w3.org/2000/svg}"


def weights(T, S):
    drawn = np.random.default_rng(0).random((T, S)) ** 4
    return drawn / drawn.sum(axis=1, keepdims=True)


def words(svg):
    return ["".join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_each_weight_of_note_is_a_field_and_each_symbol_is_written():
    alpha = weights(3, 4)
    svg = alignment(alpha, ["a", "$b$", "c", "<d>"], ["x", "y", "</s>"], title="one of them")
    assert {"a", "$b$", "c", "<d>", "x", "y", "</s>", "one of them"} <= set(words(svg))
    shown = sorted(float(v) for v in re.findall(r"(?<!fill-)opacity: ([0-9.]+)", svg))
    assert np.allclose(shown, sorted(alpha[(alpha >= 0.005) & (alpha < 0.9995)].round(3)), atol=1e-9)
    assert alignment(alpha, ["a", "$b$", "c", "<d>"], ["x", "y", "</s>"], title="one of them") == svg


@pytest.mark.parametrize("shape", [(1, 1), (3, 30), (45, 20), (5, 9)], ids=str)
def test_nothing_leaves_the_picture(shape):
    T, S = shape
    names = ["an unusually long symbol" if k % 7 == 0 else f"s{k}" for k in range(max(T, S))]
    svg = alignment(weights(T, S), names[:S], names[:T])
    root = ElementTree.fromstring(svg)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert width <= 640
    for text in root.iter(f"{SVG}text"):
        long = 7.1 * len("".join(text.itertext()))  # the width that the pictures reckon with
        turned = "rotate" in text.get("transform", "")
        if turned:  # from its start upwards
            x, y = (float(v) for v in re.findall(r"-?[0-9.]+", text.attrib["transform"])[:2])
            low, high = y - long, y
        else:
            x, y = float(text.attrib["x"]), float(text.attrib["y"])
            anchor = re.findall(r"anchor: (\w+)", text.attrib["style"])[0]
            low = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * long
            high = low + long
        assert low >= -1 and high <= (height if turned else width) + 1
        assert 0 <= (x if turned else y) <= (width if turned else height)
    assert any("…" in word for word in words(svg))


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(ShapeError, match=r"weights are \(2, 3\) but must be \(T, S\) = \(2, 2\)"):
        alignment(weights(2, 3), "ab", "ab")
    with pytest.raises(OptionError, match=r"between 1 and 20,000 weights, not 0"):
        alignment(np.zeros((1, 0)), "", "a")
    with pytest.raises(ValueRangeError, match=r"between 0 and 1"):
        alignment([[2.0]], "a", "b")
