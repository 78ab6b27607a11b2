"""Test, then train: the error of a model on a stream, each row answered before it is learned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from saiki.core.checks import require_bool, require_int
from saiki.core.errors import DataError, DTypeError, LengthError, OptionError, UsageError
from saiki.core.names import choose

Array: TypeAlias = NDArray[Any]
ErrorKind: TypeAlias = "Literal['auto', 'absolute', 'squared', 'zero_one'] | Callable[[Array, Array], Array]"


@runtime_checkable
class StreamLearner(Protocol):
    """A model that answers the next rows of a stream, and learns from them: SequenceRegressor, ….

    `partial_fit` is called as scikit-learn's: with `classes=` on the first call where the caller has them,
    and with `learn=False` where weights are to stay.
    """

    def predict_stream(self, X: Any) -> Any:  # noqa: ANN401
        """Answers at the rows that come next; nothing moves on."""
        ...

    def partial_fit(self, X: Any, y: Any, **options: Any) -> Any:  # noqa: ANN401
        """Learn from the rows."""
        ...


@runtime_checkable
class StreamForecaster(Protocol):
    """A model whose rows are its targets: Forecaster(mode="stream").

    After `update`, `online_.forecasts` holds the forecasts whose targets arrived with these rows: `point` and
    `truth`, (n, H, K), each forecast made before its target was seen; None if there were none.
    """

    online_: Any

    def update(self, data: Any, *, learn: bool = True) -> Any:  # noqa: ANN401
        """Read rows one after another, learning from each target as it arrives."""
        ...


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Prequential:
    """What `prequential` found, one entry for each row that was tested.

    Attributes:
        row: (n,) the row of the stream, counted from 0; of a forecaster the place of the forecast.
        prediction: (n, …) what the model said before it saw the target.
        target: (n, …) what came.
        error: (n,) the error of each row, the mean over its outputs; NaN where no target was observed.
        running: (n,) the mean of all errors up to the row.
    """

    row: Array
    prediction: Array
    target: Array
    error: Array
    running: Array

    def __len__(self) -> int:
        return len(self.error)

    @property
    def mean(self) -> float:
        """The mean error over the whole stream."""
        return float(self.running[-1])

    def recent(self, window: int) -> Array:
        """(n,) the mean error of the last `window` rows up to each; of those there are, at the start.

        Source: Gama, Sebastião & Rodrigues 2013, "On evaluating stream learning algorithms", section 3.2.
        """
        require_int(window, "window", low=1)
        return mean_of_last(self.error, window)


def prequential(
    model: Any,  # noqa: ANN401  a StreamLearner or a StreamForecaster
    stream: Any,  # noqa: ANN401
    *,
    block: int = 1,
    classes: object = None,
    learn: bool = True,
    error: ErrorKind = "auto",
) -> Prequential:
    """Let a model answer each row of a stream, then learn from it.

        e_t = ℓ(f(x_t; θ_{t-1}), y_t)        then θ_t from x_t, y_t        running_t = (1/t) Σ_{i ≤ t} e_i

    So every row tests the model before it trains it, and no row is lost to a test set. The first block of a
    model that was never fitted can only train; it is not among the results.

    Args:
        model: SequenceRegressor, SequenceClassifier, or a Forecaster in mode "stream" that was fitted. It is
            changed: it has learned the stream when this returns.
        stream: a pair (X, y) of T rows and T targets, or an iterable of such blocks; for a forecaster the
            rows after those it has read (as `update` takes them), or a list of tables.
        block: rows answered at once before they are learned, for a pair (X, y). 1 is the strict protocol.
        classes: of a classifier that was never fitted.
        learn: False tests only: states move on, weights stay.
        error: "absolute", "squared", "zero_one" (0 where the answer is right), or a function of (prediction,
            target), one block each, that gives one number a row. "auto" is zero_one for labels, else
            absolute.
    Raises:
        OptionError: the model does not learn from streams, or an option is none of these.
        DataError: nothing could be tested.
    Source: Dawid 1984 (prequential analysis).
    """
    require_bool(learn, "learn")
    if isinstance(model, StreamLearner):
        found = list(_learner(model, _blocks(stream, require_int(block, "block", low=1)), classes, learn))
        row = np.concatenate([place for place, _, _ in found]) if found else np.zeros(0)
    elif isinstance(model, StreamForecaster) or hasattr(model, "update"):
        found = list(_forecaster(model, stream, learn))
        row = np.arange(sum(len(said) for _, said, _ in found))
    else:
        raise OptionError(
            f"{type(model).__name__} does not learn from streams.",
            "Use SequenceRegressor, SequenceClassifier or Forecaster(mode='stream').",
        )
    if not found:
        raise DataError(
            "no row of the stream was answered before it was learned, so there is nothing to measure.",
            "Give more rows, or a model that has seen some.",
        )
    prediction = np.concatenate([said for _, said, _ in found])
    target = np.concatenate([came for _, _, came in found])
    each = _errors(error, prediction, target)
    return Prequential(
        row=row, prediction=prediction, target=target, error=each, running=mean_of_last(each, len(each))
    )


_Tested: TypeAlias = tuple[Array, Array, Array]  # rows, predictions, targets


def _learner(
    model: StreamLearner, blocks: Iterable[tuple[Any, Any]], classes: object, learn: bool
) -> Iterator[_Tested]:
    begun = _is_fitted(model)
    if not begun and not learn:
        raise UsageError("a model that was never fitted cannot be tested without learning.", "Fit it first.")
    options: dict[str, Any] = {} if learn else {"learn": False}
    at = 0
    for x, y in blocks:
        said = np.asarray(model.predict_stream(x)) if begun else None
        first = {"classes": classes} if not begun and classes is not None else {}
        model.partial_fit(x, y, **options, **first)
        if said is not None:
            yield np.arange(at, at + len(said)), said, np.asarray(y).reshape(said.shape)
        begun = True
        at += len(y)


def _forecaster(model: StreamForecaster, stream: Any, learn: bool) -> Iterator[_Tested]:  # noqa: ANN401
    tables = stream if isinstance(stream, list | tuple | Iterator) and not _is_numbers(stream) else [stream]
    for table in tables:
        model.update(table, learn=learn)
        if model.online_ is not None:
            point, truth = model.online_.forecasts.point, model.online_.forecasts.truth
            yield np.arange(len(point)), np.asarray(point), np.asarray(truth)


def _is_numbers(stream: object) -> bool:
    return isinstance(stream, list | tuple) and all(np.isscalar(part) for part in stream)


def _is_fitted(model: object) -> bool:
    told = getattr(model, "__sklearn_is_fitted__", None)
    return bool(told()) if callable(told) else True


def _blocks(stream: Any, block: int) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401
    if isinstance(stream, tuple) and len(stream) == 2:
        X, y = stream
        if not hasattr(X, "__len__") or not hasattr(y, "__len__"):
            raise DTypeError(
                f"the stream is ({type(X).__name__}, {type(y).__name__}) but must be rows and their targets.",
                "Give (X, y), X (T, F) and y (T,) or (T, K).",
            )
        if len(X) != len(y):
            raise LengthError(f"the stream has {len(X)} rows but {len(y)} targets.", "Give one for each row.")
        for start in range(0, len(X), block):
            yield X[start : start + block], y[start : start + block]
        return
    if not isinstance(stream, Iterable):
        raise DTypeError(f"the stream is {type(stream).__name__} but must be (X, y), or blocks of such.")
    yield from stream


def _absolute(prediction: Array, target: Array) -> Array:
    return np.asarray(np.abs(prediction - target))


def _squared(prediction: Array, target: Array) -> Array:
    return np.asarray((prediction - target) ** 2)


def _zero_one(prediction: Array, target: Array) -> Array:
    return np.asarray(prediction != target, dtype=np.float64)


_KINDS: dict[str, Callable[[Array, Array], Array]] = {
    "absolute": _absolute,
    "squared": _squared,
    "zero_one": _zero_one,
}


def _errors(kind: ErrorKind, prediction: Array, target: Array) -> Array:
    """(n,) the error of each row."""
    if callable(kind):
        found = np.asarray(kind(prediction, target), dtype=np.float64)
        if found.shape != (len(prediction),):
            raise OptionError(
                f"error gave {found.shape} but must give one number a row, ({len(prediction)},)."
            )
        return found
    if kind == "auto":
        kind = "absolute" if prediction.dtype.kind == "f" else "zero_one"
    each = choose(kind, _KINDS, "error")(prediction, target)
    rows = each.reshape(len(each), -1).astype(np.float64)
    seen = ~np.isnan(rows)
    count = seen.sum(axis=1)
    sums = np.where(seen, rows, 0).sum(axis=1)
    return np.asarray(np.where(count > 0, sums / np.maximum(count, 1), np.nan))


def mean_of_last(error: Array, window: int) -> Array:
    """(n,) the mean of the last `window` errors up to each row, NaN left out."""
    seen = ~np.isnan(error)
    sums = np.concatenate([[0.0], np.cumsum(np.where(seen, error, 0))])
    counts = np.concatenate([[0], np.cumsum(seen)])
    stop = np.arange(1, len(error) + 1)
    start = np.maximum(stop - window, 0)
    total, count = sums[stop] - sums[start], counts[stop] - counts[start]
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
