"""Which: accuracy, F1, confusion and log-loss, by scikit-learn. Missing labels (None, NaN) are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from saiki.core.errors import DataError, LabelError, OptionError, ShapeError, ValueRangeError
from saiki.metrics.score import Array, Score, as_array


class Confusion(NamedTuple):
    """Counts of label by prediction.

    Attributes:
        matrix: (K, K) int64; row: true label, column: predicted label.
        labels: (K,) their names in order.
    """

    matrix: Array
    labels: Array


def accuracy(targets: object, predictions: object) -> Score:
    """Share of labels that were predicted right, 0 to 1.

    Args:
        targets: labels, one a sequence or step, any shape; None or NaN where missing.
        predictions: labels, the same shape.
    Raises:
        ShapeError: the shapes differ. DataError: no label is there. LabelError: a prediction is missing.
    """
    from sklearn.metrics import accuracy_score

    y, p = _pair(targets, predictions)
    return Score(accuracy_score(y, p), len(y))


def f1(
    targets: object,
    predictions: object,
    average: Literal["macro", "micro"] = "macro",
    labels: Sequence[Any] | None = None,
) -> Score:
    """F1, the harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN); 0 for a class never met nor
    predicted.

    Args:
        targets: labels, None or NaN where missing.
        predictions: labels, the same shape.
        average: `macro` is the mean over the classes, each counting alike; `micro` adds up the counts
            first (with one label a case it is the accuracy).
        labels: classes to average over; by default those that occur in targets or predictions.
    Raises:
        OptionError: the average is unknown. Others as in `accuracy`.
    """
    from sklearn.metrics import f1_score

    if average not in ("macro", "micro"):
        raise OptionError(f"average={average!r} is unknown.", "Use 'macro' or 'micro'.")
    y, p = _pair(targets, predictions)
    chosen = None if labels is None else _as_labels(labels, "labels", like=y)
    return Score(f1_score(y, p, average=average, labels=chosen, zero_division=0.0), len(y))


def confusion(targets: object, predictions: object, labels: Sequence[Any] | None = None) -> Confusion:
    """How often each label was taken for each.

    Args:
        targets: labels, None or NaN where missing.
        predictions: labels, the same shape.
        labels: the classes in the order wanted; by default all that occur, sorted.
    Raises:
        LabelError: a label is not among `labels`. Others as in `accuracy`.
    """
    from sklearn.metrics import confusion_matrix

    y, p = _pair(targets, predictions)
    chosen = np.unique(np.concatenate([y, p])) if labels is None else _as_labels(labels, "labels", like=y)
    for name, values in (("targets", y), ("predictions", p)):
        _require_known(values, chosen, name)
    matrix = np.asarray(confusion_matrix(y, p, labels=chosen), dtype=np.int64)
    return Confusion(matrix, chosen)


def log_loss(targets: object, probabilities: object, labels: Sequence[Any] | None = None) -> Score:
    """Mean negative logarithm of the probability given to the true label, in nats.

        mean -ln p(y)      p not below the smallest step of float64, so that it stays finite

    Args:
        targets: (...) labels, or codes 0 ... K - 1; None or NaN where missing.
        probabilities: (..., K), each row from 0 to 1 and adding up to 1.
        labels: K labels, one for each column; by default the codes.
    Raises:
        ShapeError: the shapes do not fit.
        ValueRangeError: the rows are no probabilities.
        LabelError: a target is none of the labels.
        DataError: no label is there.
    """
    from sklearn.metrics import log_loss as negative_log_likelihood

    y = _as_labels(targets, "targets")
    p = as_array(probabilities, "probabilities")
    if p.ndim != y.ndim + 1 or p.shape[:-1] != y.shape or p.shape[-1] < 1:
        raise ShapeError(
            f"probabilities are {p.shape} but targets are {y.shape}; expected one column a class "
            "behind those axes.",
            "Give the probabilities of predict_proba.",
        )
    K = p.shape[-1]
    y, p = y.reshape(-1), p.reshape(-1, K)
    seen = _present(y)
    y, p = y[seen], p[seen]
    if not len(y):
        raise _nothing(seen.size)
    chosen = np.arange(K) if labels is None else _as_labels(labels, "labels", like=y)
    if chosen.shape != (K,) or len(np.unique(chosen)) != K:
        raise ShapeError(
            f"labels are {chosen.tolist()} but probabilities have {K} columns.",
            "Give one label for each column.",
        )
    fair = np.isfinite(p).all(axis=1) & (p >= 0).all(axis=1) & (np.abs(p.sum(axis=1) - 1) <= 1e-3)
    if not fair.all():
        row = int(np.flatnonzero(~fair)[0])
        raise ValueRangeError(
            f"row {row} of probabilities is {p[row].tolist()}, which is no distribution (it adds up "
            f"to {p[row].sum():g}).",
            "Give probabilities, not scores: softmax them first.",
        )
    if y.dtype.kind == "f":
        y = y.astype(np.int64) if np.array_equal(y, np.floor(y)) else y
    _require_known(y, chosen, "targets")
    codes = {label: code for code, label in enumerate(chosen.tolist())}
    numbers = np.array([codes[label] for label in y.tolist()])
    if K == 1:
        return Score(0.0, len(y))  # one class has probability 1
    p = p / p.sum(axis=1, keepdims=True)
    return Score(negative_log_likelihood(numbers, p, labels=np.arange(K)), len(y))


def _pair(targets: object, predictions: object) -> tuple[Array, Array]:
    """(n,) labels that are there and their predictions, of one dtype."""
    y = _as_labels(targets, "targets")
    p = _as_labels(predictions, "predictions")
    if y.shape != p.shape:
        raise ShapeError(
            f"predictions are {p.shape} but targets are {y.shape}; they must be alike.",
            "Give one predicted label for each label; for probabilities use log_loss.",
        )
    y, p = y.reshape(-1), p.reshape(-1)
    seen = _present(y)
    if not seen.any():
        raise _nothing(seen.size)
    missing = seen & ~_present(p)
    if missing.any():
        raise LabelError(
            f"predictions[{int(np.flatnonzero(missing)[0])}] is missing where the target is there.",
            "Predict a label for all.",
        )
    y, p = _plain(y[seen]), _plain(p[seen])
    if (y.dtype.kind in "US") != (p.dtype.kind in "US"):
        raise LabelError(
            f"targets are {'text' if y.dtype.kind in 'US' else 'numbers'} but predictions are "
            f"{'text' if p.dtype.kind in 'US' else 'numbers'}.",
            "Give both as labels or both as codes.",
        )
    for name, labels in (("targets", y), ("predictions", p)):
        if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
            odd = labels[labels != np.floor(labels)][0]
            raise LabelError(
                f"{name} hold {odd}, a measured number and not a label.",
                "Give labels or whole codes; for numbers there is mae and its kin.",
            )
    return y, p


def _as_labels(x: object, name: str, like: Array | None = None) -> Array:
    if hasattr(x, "detach"):
        x = x.detach().cpu().numpy()
    try:
        array = np.asarray(x)
        if array.dtype.kind in "US" and not isinstance(x, np.ndarray):
            array = np.asarray(x, dtype=object)  # numpy would turn None and numbers beside text into text
    except ValueError as error:
        raise ShapeError(f"{name} are ragged and cannot be an array.", "Lay them end to end.") from error
    if array.dtype.kind not in "iufbUSO":
        raise LabelError(f"{name} hold {array.dtype} but labels are text or numbers.", "Give labels.")
    if like is not None:
        array = _plain(array)
    return array


def _present(labels: Array) -> Array:
    if labels.dtype.kind == "f":
        return ~np.isnan(labels)
    if labels.dtype.kind == "O":
        return np.array([value is not None and value == value for value in labels.tolist()], dtype=bool)
    return np.ones(labels.shape, dtype=bool)


def _plain(labels: Array) -> Array:
    """Labels without missing ones as text, integers or floats: never objects."""
    if labels.dtype.kind == "O":
        values = labels.tolist()
        texts = [isinstance(value, str) for value in values]
        if any(texts) and not all(texts):
            raise LabelError("labels mix text and numbers.", "Give them all as text.")
        labels = np.array(values)
    if labels.dtype.kind == "f" and np.array_equal(labels, np.floor(labels)):
        return labels.astype(np.int64)
    return labels


def _require_known(values: Array, labels: Array, name: str) -> None:
    strange = ~np.isin(values, labels)
    if strange.any():
        raise LabelError(
            f"{name} hold {values[strange][0].item()!r}, which is none of the labels {labels.tolist()}.",
            "Give every label in labels=.",
        )


def _nothing(size: int) -> DataError:
    return DataError(
        f"targets hold no label ({size} in all, the rest missing), so there is nothing to measure.",
        "Give at least one label.",
    )
