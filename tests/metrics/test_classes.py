"""Which: hand-worked numbers, labels of every kind, missing labels, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saiki.core.errors import DataError, LabelError, OptionError, ShapeError, ValueRangeError
from saiki.metrics import accuracy, confusion, f1, log_loss

Y = ["a", "a", "b", "c", "c", "c"]
P = ["a", "b", "b", "c", "c", "a"]
# true a: 1 of 2 found, 1 wrongly said; b: 1 of 1, 1 wrongly; c: 2 of 3, 0 wrongly


def test_by_hand():
    assert accuracy(Y, P) == pytest.approx(4 / 6)
    assert f1(Y, P) == pytest.approx((2 / (2 + 1 + 1) + 2 / (2 + 1) + 4 / (4 + 1)) / 3)
    assert f1(Y, P, "micro") == pytest.approx(4 / 6)
    matrix, labels = confusion(Y, P)
    assert labels.tolist() == ["a", "b", "c"]
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert confusion(Y, P, ["c", "b", "a", "d"]).matrix.tolist() == [
        [2, 0, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0],
    ]  # fmt: skip
    assert f1(Y, P, labels=["b"]) == pytest.approx(2 / 3)
    assert f1(["a", "a"], ["a", "a"], labels=["a", "z"]) == pytest.approx(0.5)  # z never met nor predicted: 0


def test_log_loss_by_hand():
    p = [[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]]
    assert log_loss([0, 1], p) == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 2)
    assert log_loss(["x", "y"], p, ["x", "y", "z"]) == log_loss([0, 1], p)
    assert log_loss([1, 1], [[1.0, 0.0], [0.0, 1.0]]) == pytest.approx(-math.log(np.finfo(float).eps) / 2)
    assert log_loss([0], [[1.0]]) == 0
    assert log_loss(np.zeros((2, 3), dtype=int), np.full((2, 3, 4), 0.25)) == pytest.approx(math.log(4))


@pytest.mark.parametrize("missing", [None, math.nan])
def test_missing_labels_are_left_out_and_counted(missing):
    assert accuracy([*Y, missing], [*P, "a"]).count == 6
    assert float(accuracy([*Y, missing], [*P, "a"])) == float(accuracy(Y, P))
    assert float(f1([0, 1, missing], [0, 0, 5])) == float(f1([0, 1], [0, 0]))
    assert confusion([*Y, missing], [*P, "z"]).labels.tolist() == ["a", "b", "c"]
    score = log_loss([0, missing], [[0.5, 0.5], [math.nan, 0]])
    assert score == pytest.approx(math.log(2)) and score.count == 1


@pytest.mark.parametrize("kind", [list, np.array, lambda x: np.array(x, dtype=object)])
def test_labels_of_every_kind(kind):
    for labels in (Y, [1, 1, 2, 3, 3, 3], [1.0, 1, 2, 3, 3, 3], [True, True, False, True, False, False]):
        assert accuracy(kind(labels), kind(labels)) == 1
        assert f1(kind(labels), kind(labels)) == 1
    assert accuracy(torch.tensor([1, 2]), torch.tensor([1, 1])) == 0.5


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_confusion_agrees_with_counting_and_with_accuracy(pairs):
    y, p = (list(side) for side in zip(*pairs, strict=True))
    matrix, labels = confusion(y, p, range(4))
    for i in range(4):
        for j in range(4):
            assert matrix[i, j] == sum(pair == (i, j) for pair in pairs)
    assert labels.tolist() == [0, 1, 2, 3]
    assert accuracy(y, p) == pytest.approx(np.trace(matrix) / len(pairs))
    assert f1(y, p, "micro") == pytest.approx(float(accuracy(y, p)))


def test_refusals():
    with pytest.raises(ShapeError, match=r"predictions are \(1,\) but targets are \(2,\)"):
        accuracy(["a", "b"], ["a"])
    with pytest.raises(DataError, match="targets hold no label"):
        accuracy([None], ["a"])
    with pytest.raises(LabelError, match=r"predictions\[0\] is missing"):
        accuracy(["a"], [None])
    with pytest.raises(LabelError, match="targets are text but predictions are numbers"):
        accuracy(["a"], [1])
    with pytest.raises(LabelError, match="mix text and numbers"):
        accuracy(np.array(["a", 1], dtype=object), np.array(["a", 1], dtype=object))
    with pytest.raises(OptionError, match="average='weighted'"):
        f1(Y, P, "weighted")
    with pytest.raises(LabelError, match="targets hold 'c', which is none of the labels"):
        confusion(Y, P, ["a", "b"])
    with pytest.raises(ShapeError, match=r"probabilities are \(2,\) but targets are \(2,\)"):
        log_loss([0, 1], [0.5, 0.5])
    with pytest.raises(
        ValueRangeError, match=r"row 1 of probabilities is \[2.0, 3.0\], which is no distribution"
    ):
        log_loss([0, 1], [[0.5, 0.5], [2, 3]])
    with pytest.raises(LabelError, match="targets hold 2, which is none of the labels"):
        log_loss([0, 2], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(ShapeError, match="but probabilities have 2 columns"):
        log_loss(["a"], [[0.5, 0.5]], ["a"])
    with pytest.raises(ShapeError, match="ragged"):
        accuracy([[1], [1, 2]], [1, 2])
    with pytest.raises(LabelError, match="datetime64"):
        accuracy(np.array(["2001-01-01"], dtype="M8[D]"), np.array(["2001-01-01"], dtype="M8[D]"))


def test_measured_numbers_are_no_labels() -> None:
    with pytest.raises(LabelError, match=r"targets hold 0\.5, a measured number and not a label"):
        accuracy([0.5, 1.0], [1.0, 1.0])
